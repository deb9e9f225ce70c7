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

from mogul_assets.cli import FAILED, OK, Command, pretend
from mogul_assets.cli.project import Project, pass_project
from mogul_assets.errors import ConfigurationError

HOST = "127.0.0.1"
PATIENCE_SECONDS = 15
"""How long Dagster's processes may take to end by themselves."""


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
    with pretend.account(project), _dagster(project, port) as dagster:
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

    Its children ignore the Ctrl-C of a shell that started them in the background, and outlive their parent's
    end: only a signal to the whole group reaches them.
    """
    workspace = project.settings.file.parent / "workspace.yaml"
    what = ("-w", str(workspace)) if workspace.exists() else ("-m", "mogul_assets.definitions")
    level = () if project.verbose else ("--log-level", "warning")
    command = [sys.executable, "-m", "dagster", "dev", *what, "-h", HOST, "-p", str(port), *level]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        yield process
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE_SECONDS)
