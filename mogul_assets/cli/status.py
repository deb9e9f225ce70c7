"""``mogul status``: what each delivery last achieved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import click
from rich.filesize import decimal

from mogul_assets.automation.status import LEFT, Standing, standings
from mogul_assets.cli import FAILED, OK, Command, shown
from mogul_assets.cli.project import Project, pass_project
from mogul_assets.store.store import Watermark

COLUMNS = (
    *("destination", "dataset", "last success", "rows:", "size:", "generation"),
    *("next try", "messages", "last error"),
)
OVERDUE = timedelta(minutes=5)


@dataclass(frozen=True)
class Status:
    """One delivery; moments are UTC.

    ``error`` is what went wrong last since the last success, ``failures`` how often something did, and ``due_at`` when
    it is tried again; ``None``: with the next schedule or refresh.
    """

    destination: str
    dataset: str
    delivered_at: datetime | None
    rows: int
    bytes: int
    generation: str
    error: str | None
    failures: int = 0
    due_at: datetime | None = None
    messages: str = ""
    """How many wait or were given up, where it sends messages."""
    overdue_since: datetime | None = None
    """The tick of its schedule that was to bring something newer by now."""
    paused: bool = False
    """What is wrong with it is shown, and counts for nothing: somebody wants it quiet."""

    @property
    def ok(self) -> bool:
        return self.paused or (self.delivered_at is not None and self.error is None and self.overdue_since is None)


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

    What a destination that was not there did not take is tried again after 1, 5 and 15 minutes while Dagster's
    daemon runs (mogul ui), then with its next schedule. Rows and bytes are those of the last delivery: of a dataset
    with months, only the months that it took.
    Ends with 1 where a delivery failed since its last success, never took place, or is stale: two hours after its
    schedule's last tick nothing newer has arrived. What is paused counts for nothing.
    """
    found = states(project, *destinations)
    if as_json:
        shown.as_json(found)
    else:
        shown.table(
            COLUMNS,
            (
                (
                    s.destination,
                    s.dataset,
                    shown.age(s.delivered_at),
                    f"{s.rows:,}",
                    decimal(s.bytes),
                    s.generation,
                    _again(s.due_at, datetime.now(UTC)),
                    s.messages,
                    " ".join(filter(None, ("paused" if s.paused else "", s.error or _stale(s.overdue_since)))),
                )
                for s in found
            ),
        )
    return OK if all(state.ok for state in found) else FAILED


def _again(due: datetime | None, now: datetime) -> str:
    """When what failed is tried again; that it is overdue means that nothing runs the retries."""
    if due is None:
        return ""
    late = " (overdue: is the daemon running? mogul ui)" if now - due > OVERDUE else ""
    return f"tried again at {due:%H:%M} UTC{late}"


def _stale(tick: datetime | None) -> str:
    return "" if tick is None else f"stale: due at {tick:%Y-%m-%d %H:%M} UTC → is the daemon running? mogul ui"


def states(project: Project, *destinations: str) -> list[Status]:
    """How each delivery to these destinations stands."""
    entries = project.entries(destinations)
    known = {entry.name: project.destination(entry.name) for entry in entries}
    found = standings(entries, known, project.settings, project.store)
    return [state for standing in found for state in _states(standing)]


def _states(standing: Standing) -> Iterator[Status]:
    entry, late, sends = standing.entry, standing.late, standing.entry.habits.messages
    left = {word: standing.messages.get(word, 0) for word in LEFT}
    for dataset in entry.datasets or ("none",):
        mark = standing.marks.get(dataset, Watermark())
        error = standing.problem or mark.error
        yield Status(
            entry.name,
            dataset,
            mark.delivered_at,
            mark.rows,
            mark.bytes,
            mark.generation,
            error,
            mark.failures,
            (standing.messages_due_at if error else None) if sends else mark.due_at,
            messages=", ".join(f"{count:,} {word.value}" for word, count in left.items() if count),
            overdue_since=late.get(dataset),
            paused=entry.paused,
        )
