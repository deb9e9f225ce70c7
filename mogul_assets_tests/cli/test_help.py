"""Help: instant, complete, and with an example for each command."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from mogul_assets.cli import COMMANDS, main

DESTINATIONS = tuple(
    f"destinations {name}"
    for name in ("list", "show", "add", "edit", "grants", "test", "pause", "resume", "remove", "schema")
)
MESSAGES = tuple(f"messages {name}" for name in ("list", "show", "retry", "export", "remove"))


@pytest.mark.parametrize("command", [*COMMANDS, *DESTINATIONS, *MESSAGES])
def test_every_command_teaches_by_example(command):
    result = CliRunner().invoke(main, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert f"mogul {command}" in result.stdout.partition("Examples:")[2]


def test_help_names_every_command_and_every_exit_code():
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for word in (*COMMANDS, "Exit codes", "130"):
        assert word in result.stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from mogul_assets.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('dagster', 'pyarrow', 'duckdb', 'pydantic', 'rich') if name in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.splitlines()[-1] == "[]"
