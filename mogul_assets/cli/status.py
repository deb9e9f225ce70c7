"""``mogul status``: what each delivery last achieved."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import click
from rich.filesize import decimal

from mogul_assets.assets.deliveries import configuration_problem
from mogul_assets.cli import FAILED, OK, Command, shown
from mogul_assets.cli.project import Project, pass_project


@dataclass(frozen=True)
class Status:
    """One delivery. ``error`` is what went wrong since the last success; moments are UTC."""

    destination: str
    dataset: str
    delivered_at: datetime | None
    rows: int
    bytes: int
    generation: str
    error: str | None

    @property
    def ok(self) -> bool:
        return self.delivered_at is not None and self.error is None


@click.command(
    cls=Command,
    examples={
        "mogul status": "all deliveries",
        "mogul status warehouse --json": "of one destination, for a script",
    },
)
@click.argument("destinations", nargs=-1)
@shown.json_option
@pass_project
def command(project: Project, destinations: tuple[str, ...], *, as_json: bool) -> int:
    """What arrived at DESTINATIONS (all, where none is named), how long ago, and what went wrong since.

    Rows and bytes are those of the last delivery: of a dataset with months, only the months that it took.
    Ends with 1 where a delivery failed since its last success, or never took place.
    """
    states = [state for entry in project.entries(destinations) for state in _states(project, entry.name)]
    if as_json:
        shown.as_json(states)
    else:
        shown.table(
            ("destination", "dataset", "last success", "rows:", "size:", "generation", "last error"),
            (
                (
                    s.destination,
                    s.dataset,
                    shown.age(s.delivered_at),
                    f"{s.rows:,}",
                    decimal(s.bytes),
                    s.generation,
                    s.error,
                )
                for s in states
            ),
        )
    return OK if all(state.ok for state in states) else FAILED


def _states(project: Project, destination: str) -> list[Status]:
    problem = configuration_problem(project.destination(destination))
    return [
        Status(destination, dataset, mark.delivered_at, mark.rows, mark.bytes, mark.generation, problem or mark.error)
        for dataset in project.settings.entry(destination).datasets or ("none",)
        for mark in [project.store.watermark(destination, dataset)]
    ]
