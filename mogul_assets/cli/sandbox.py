"""``mogul sandbox``: the pretend account, in the foreground."""

from __future__ import annotations

import signal

import click

from mogul_assets import sandbox
from mogul_assets.cli import OK, Command, pretend
from mogul_assets.cli.project import Project, pass_project
from mogul_assets.errors import ConfigurationError
from mogul_assets.settings import Sandbox


@click.command(
    cls=Command,
    examples={
        "mogul sandbox": "the one that the demo reads",
        "mogul sandbox --customers 20000 --latency 0.1": "larger, and farther away",
    },
)
@click.option("--port", default=0, show_default=True, help="0: any that is free.")
@click.option("--customers", type=click.IntRange(0, 1_000_000), help="How many.  [default: as mogul.yaml says]")
@click.option("--seed", type=int, help="Decides everything else.  [default: as mogul.yaml says]")
@click.option(
    "--limits/--no-limits", default=True, show_default=True, help="ChartMogul's: 40 requests/s, 20 connections."
)
@click.option("--latency", default=0.0, show_default=True, help="Seconds added to each answer.")
@pass_project
def command(
    project: Project, *, port: int, customers: int | None, seed: int | None, limits: bool, latency: float
) -> int:
    """Serve a pretend ChartMogul account on the loopback interface until Ctrl-C.

    The same seed and size give the same company, which goes on growing from the day it was first started. While
    it runs, everything that works on this mogul.yaml finds it.
    """
    known = project.settings.account.sandbox or Sandbox()
    wanted = Sandbox(
        customers=known.customers if customers is None else customers, seed=known.seed if seed is None else seed
    )
    there = pretend.running(project)
    if there is not None:
        raise ConfigurationError(f"a sandbox runs already at {there}", remedy="end that one first")
    bounds = sandbox.Limits() if limits else sandbox.NO_LIMITS
    bounds = sandbox.Limits(bounds.per_second, bounds.connections, latency)
    with pretend.serving(project, wanted, port=port, limits=bounds) as serving:
        click.echo(serving.url)
        try:
            signal.pause()
        except KeyboardInterrupt:
            return OK
    return OK
