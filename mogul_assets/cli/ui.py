"""``mogul ui``: Dagster's web server and daemon, and the sandbox where it is the account."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from mogul_assets import running
from mogul_assets.cli import FAILED, OK, Command, pretend, upgrade
from mogul_assets.cli.project import Project, pass_project
from mogul_assets.errors import ConfigurationError
from mogul_assets.running import HOST

PATIENCE_SECONDS = 15
"""How long Dagster's processes may take to end by themselves: a run that is told to end lets go of its files."""

_ENDED = Retrying(
    retry=retry_if_result(bool),
    stop=stop_after_delay(PATIENCE_SECONDS),
    wait=wait_fixed(0.1),
    retry_error_callback=lambda _: None,
)


@click.command(
    cls=Command,
    examples={
        "mogul ui": "until Ctrl-C",
        "mogul ui --port 3001": "where 3000 is taken",
    },
)
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535), help="Of the web server.")
@pass_project
def command(project: Project, *, port: int) -> int:
    """Dagster on http://127.0.0.1:3000, on the same state as the other commands, until Ctrl-C.

    Runs the schedules too. Where the account is the sandbox, that runs beside it, so that Materialise works.
    Only this machine can reach it.
    """
    _ = project.settings, project.home
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise ConfigurationError(f"port {port} is taken", remedy="choose another: mogul ui --port 3001") from None
    if upgrade.due(project.home):
        from mogul_assets.cli.runs import instance  # noqa: PLC0415 - brings Dagster

        with instance(project):
            pass
    with pretend.account(project), _dagster(project, port) as dagster, running.noted(project.settings, port):
        click.echo(f"http://{HOST}:{port}  (Ctrl-C ends it)")
        try:
            code = dagster.wait()
        except KeyboardInterrupt:
            return OK
    click.echo(f"mogul: dagster ended with {code} → its own lines above say why", err=True)
    return FAILED


@contextmanager
def _dagster(project: Project, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """``dagster dev`` in a session of its own, ended with all its processes.

    They may outlive their parent: signals go to the whole group. SIGINT is the quick one (10 s on two
    busy cores; after SIGTERM the code server stays for more than 15).
    """
    workspace = project.settings.file.parent / "workspace.yaml"
    what = ("-w", str(workspace)) if workspace.exists() else ("-m", "mogul_assets.definitions")
    level = () if project.verbose else ("--log-level", "warning")
    quiet = "ignore:Function `dev_command` is superseded"  # by a tool that this project does without
    command = [sys.executable, "-W", quiet, "-m", "dagster", "dev", *what, "-h", HOST, "-p", str(port), *level]
    # Where a shell started us in the background we ignore SIGINT, and Dagster would inherit that and never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, start_new_session=True)

    def lives() -> bool:
        process.poll()  # lets the ended one go, which would count as a member of its group else
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 0)
            return True
        return False

    try:
        yield process
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            _ENDED(lives)
