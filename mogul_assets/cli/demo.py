"""``mogul demo``: the whole way once, with the pretend account."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass

import click
from rich.filesize import decimal

from mogul_assets.cli import OK, Command, shown
from mogul_assets.cli.project import Project, pass_project
from mogul_assets.cli.sync import synced, told
from mogul_assets.errors import ConfigurationError

NEXT = """
Three things to try next:
  {mogul} ui
      the same in Dagster: press Materialise on anything
  {mogul} preview {destination} mrr_movements --rows 5
      what a delivery would change, and the rows themselves
  {mogul} check --account
      what an account lets us read; for your own, name its key in {file}
"""


@dataclass(frozen=True)
class Landed:
    """One dataset at one destination: what its last delivery sent."""

    dataset: str
    destination: str
    rows: int
    bytes: int
    seconds: float


@click.command(
    cls=Command,
    examples={
        "mogul demo": "in the folder of mogul.yaml",
        "mogul demo --json | jq .landed": "what landed where, for a script",
    },
)
@shown.json_option
@pass_project
def command(project: Project, *, as_json: bool) -> int:
    """From nothing to thirteen datasets at every destination of mogul.yaml, with a pretend account.

    Starts the account on a free loopback port with ChartMogul's own limits, reads it, delivers, and shows what
    landed where. Needs no key and no network.
    """
    settings = project.settings
    if settings.account.sandbox is None:
        raise ConfigurationError(
            f"{settings.file.name} names an account of your own", remedy="read that with  mogul sync"
        )
    ran = synced(project, list(settings.destinations.values()))
    landed = [
        Landed(dataset, entry.name, mark.rows, mark.bytes, round(mark.seconds, 3))
        for entry in settings.destinations.values()
        for dataset in entry.datasets
        for mark in [project.store.watermark(entry.name, dataset)]
        if mark.delivered_at is not None
    ]
    if as_json:
        shown.as_json({"runs": ran, "landed": landed})
        return told(ran, quiet=True)
    shown.table(
        ("dataset", "at", "rows:", "size:", "seconds:"),
        ((one.dataset, one.destination, f"{one.rows:,}", decimal(one.bytes), f"{one.seconds:.2f}") for one in landed),
    )
    click.echo()
    code = told(ran)
    if code == OK and settings.destinations:
        mogul = "mogul" if shutil.which("mogul") else sys.argv[0]
        click.echo(NEXT.format(mogul=mogul, destination=next(iter(settings.destinations)), file=settings.file.name))
    return code
