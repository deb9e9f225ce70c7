"""The pages' own commands back a project up and bring it back, here in another folder as on another machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.store.store import Store
from mogul_assets_tests.cli.conftest import Place
from mogul_assets_tests.docs.pages import blocks
from mogul_assets_tests.refresh import runs


def typed(block, folder):
    """What the block of a page has typed, in a shell in the folder, until a command fails."""
    commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DAGSTER_HOME": str(folder), "COLUMNS": "200"}
    return subprocess.run(
        ["bash", "-ec", "\n".join(commands)],
        check=False,
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
        timeout=300,
    )


@pytest.mark.slow
def test_what_was_backed_up_goes_on_elsewhere(synced, tmp_path):
    backup, restore = (block for block in blocks("operations.md", "console") if "tar" in block)
    done = typed(backup, synced.folder)
    assert done.returncode == 0, done.stderr

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = typed(restore, elsewhere)
    assert done.returncode == 0, done.stdout + done.stderr
    here, there = Store(synced.folder / "out/store"), Store(elsewhere / "out/store")
    assert {name: runs.contents(there, name) for name in DATASETS} == {
        name: runs.contents(here, name) for name in DATASETS
    }

    moved = Place(elsewhere, (elsewhere / "mogul.yaml").read_text())
    again = moved.mogul("sync")
    assert again.exit_code == 0, again.stderr
    assert moved.mogul("status").exit_code == 0
