"""``mogul``, the command line: one module for each command.

``project`` is what commands work on, ``runs`` runs jobs in this process, ``pretend`` keeps the sandbox account,
``shown`` prints. This package imports click and nothing else, so that help comes at once; a command's module is
imported when it is called.
"""

# ruff: noqa: ARG002 - the signatures are click's

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from mogul_assets.errors import ConfigurationError, MogulError

COMMANDS = {
    "demo": "From nothing to thirteen datasets, with a pretend account.",
    "ui": "Dagster in the browser, on the same state.",
    "check": "Is everything configured, reachable and allowed?",
    "preview": "What a delivery would change; sends nothing.",
    "sync": "Refresh the account and deliver, now.",
    "backfill": "Read and deliver past months again.",
    "replay": "Send past movements as messages.",
    "messages": "What was said to whom, what waits, and what was left out.",
    "status": "What arrived where, when, and what went wrong since.",
    "alerts": "What is wrong now, since when, and who was told.",
    "metrics": "The same for Prometheus, once or on a port.",
    "destinations": "Which there are; pause, change and remove them; whether each may do what it must.",
    "forget-customer": "Remove one customer from all that is kept here; list what lies elsewhere.",
    "sandbox": "A pretend ChartMogul account, until Ctrl-C.",
}
"""What there is, and the line that says so: each is ``command`` in the module of its name (``_`` for ``-``)."""

OK, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
EXIT_CODES = {
    OK: "all is well",
    FAILED: "something failed, or is not as it should be",
    WRONG: "wrong usage, or something is configured wrong",
    INTERRUPTED: "interrupted",
}


class _Teaching(click.Command):
    """Help that ends with examples: what to type, and what that does."""

    def __init__(self, *args: Any, examples: Mapping[str, str], **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            formatter.write_dl(list(self.examples.items()), col_max=60)


class Command(_Teaching):
    """A command whose help ends with examples."""


class Group(_Teaching, click.Group):
    """Commands of one kind, whose help ends with examples."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"{__name__}.{cmd_name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run a command and end the process: what went wrong is one line on stderr, and the exit code."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: what was started is ended too
        try:
            code = super().main(*args, **{**extra, "prog_name": "mogul", "standalone_mode": False}) or OK
        except Exception as error:  # noqa: BLE001 - the last one to be asked
            if os.environ.get("MOGUL_DEBUG"):
                traceback.print_exc()
            line, code = _told(error)
            click.echo(f"mogul: {line}", err=True)
        sys.exit(code)


def _told(error: Exception) -> tuple[str, int]:
    match error:
        case click.UsageError():
            asked = error.ctx.command_path if error.ctx else "mogul"
            return f"{error.format_message().rstrip('.')} → {asked} --help", WRONG
        case click.Abort():
            return "interrupted", INTERRUPTED
        case click.ClickException():
            return error.format_message(), error.exit_code
        case ConfigurationError():
            return str(error), WRONG
        case MogulError():
            return str(error), FAILED
    # Its text may quote a customer's data: where it happened is enough to report it.
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    return f"unexpected {type(error).__name__} at {place} → run again with MOGUL_DEBUG=1 and report it", FAILED


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="mogul-assets")
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    envvar="MOGUL_FILE",
    help="The settings.  [default: mogul.yaml in this folder]",
)
@click.option("--verbose", "-v", is_flag=True, help="Dagster's own log on stderr.")
@click.pass_context
def main(context: click.Context, file: Path | None, *, verbose: bool) -> None:
    """A ChartMogul account as thirteen datasets, delivered to the places of your choice.

    Begin with a pretend account: mogul demo. With your own, once mogul.yaml names it: mogul check --account, then
    mogul sync.

    What goes wrong is one line on stderr; MOGUL_DEBUG=1 adds the traceback.
    """
    from mogul_assets.cli.project import Project  # noqa: PLC0415 - help needs none of it

    context.obj = Project(file, verbose=verbose)
