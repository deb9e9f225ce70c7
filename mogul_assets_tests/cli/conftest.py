"""Projects in folders of their own, and the real commands on them."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from mogul_assets.catalog.window import Month
from mogul_assets.cli import main

THIS = Month.of(datetime.now(UTC))
SINCE = THIS.plus(-2)

SANDBOX = f"account: {{sandbox: {{customers: 12}}, since: {SINCE}}}"
DESTINATIONS = """
destinations:
  warehouse: {type: duckdb, path: out/mogul.duckdb, wait_seconds: 0.2}
  lake: {type: files, path: out/files, datasets: [tags, mrr_movements]}
"""


class Place:
    """A folder with a mogul.yaml, which is Dagster's home too."""

    def __init__(self, folder, text=SANDBOX + DESTINATIONS):
        self.folder = folder
        shutil.copy(Path(__file__).parents[2] / "dagster.yaml", folder)
        self.write(text)

    def write(self, text):
        (self.folder / "mogul.yaml").write_text(text)

    @property
    def environment(self):
        return {"DAGSTER_HOME": str(self.folder), "MOGUL_FILE": str(self.folder / "mogul.yaml"), "COLUMNS": "200"}

    def mogul(self, *arguments, input_=None, **environment):
        """Run a command in this process."""
        unset = {"DAGSTER_DISABLE_TELEMETRY": None, "MOGUL_DEBUG": None}
        return CliRunner().invoke(main, list(arguments), input=input_, env={**unset, **self.environment, **environment})

    def start(self, *arguments, stderr=subprocess.PIPE, file_bytes=resource.RLIM_INFINITY):
        """Start a command as a process of its own, whose files may grow to ``file_bytes``."""
        return subprocess.Popen(
            [sys.executable, "-m", "mogul_assets.cli", *arguments],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY)),  # noqa: PLW1509 - no thread holds a lock
        )


def complaint(result):
    """The one line on stderr; lines of progress apart."""
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("mogul: ")]
    assert "Traceback" not in result.stderr
    return line


@pytest.fixture(autouse=True)
def _as_it_was():
    """A command takes SIGTERM for itself, as the process that it is made to be."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture(scope="session")
def demonstrated(tmp_path_factory):
    """A place that had nothing but mogul.yaml, after ``mogul demo``; look, but do not touch."""
    place = Place(tmp_path_factory.mktemp("demo"))
    (place.folder / "dagster.yaml").unlink()
    process = place.start("demo")
    place.stdout, place.stderr = process.communicate(timeout=300)
    place.exit_code = process.returncode
    return place


@pytest.fixture
def synced(demonstrated, tmp_path):
    """A copy of that place, to work on."""
    folder = tmp_path / "copy"
    shutil.copytree(demonstrated.folder, folder)
    return Place(folder)
