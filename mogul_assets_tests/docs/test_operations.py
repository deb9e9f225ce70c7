"""What the pages tell somebody to type is there to be typed, and what they say of times is so."""

import re
import shlex

import click
import pytest
from ruamel.yaml import YAML

from mogul_assets.automation.news import KEPT_RUNS
from mogul_assets.automation.retention import KEPT_OBSERVATIONS
from mogul_assets.cli import main
from mogul_assets.settings import RETENTION, SHORTEST_RETENTION
from mogul_assets.store.store import GRACE_SECONDS
from mogul_assets_tests.docs.copies import ROOT
from mogul_assets_tests.docs.pages import DOCS, page

COMMANDS = sorted(
    {
        (file.name, line)
        for file in DOCS.glob("*.md")
        for line in re.findall(r"(?:^\$ |`)(mogul [^`\n#>]+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
)


@pytest.mark.parametrize(("file", "line"), COMMANDS)
def test_every_command_of_the_pages_is_one(file, line):
    command, words = main, shlex.split(line)[1:]
    context = click.Context(main)
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
        assert command is not None, file
    if words:  # named alone, it is only spoken of
        command.make_context(line, words, parent=context)


def test_what_is_kept_is_kept_so_long():
    text = page("operations.md")
    assert f"{GRACE_SECONDS // 3600} hours" in text
    assert f"`retention: {RETENTION}`" in text
    assert f"{SHORTEST_RETENTION} at least" in text
    assert f"the newest {KEPT_RUNS} " in text
    assert f"of a page no more than the newest {KEPT_OBSERVATIONS};" in text
    kept = YAML(typ="safe").load(ROOT / "dagster.yaml")["retention"]
    days = kept["sensor"]["purge_after_days"]
    ticks = f"{days['success']} days, skipped ones of sensors {days['skipped']} day"
    assert ticks in text
    assert kept["schedule"]["purge_after_days"] == days["success"] == days["failure"]
