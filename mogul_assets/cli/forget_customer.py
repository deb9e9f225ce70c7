"""``mogul forget-customer``: a person out of everything that is kept here, and what lies elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from mogul_assets.assets.chosen import as_chosen, to_be_held
from mogul_assets.automation.runs import under_way
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.cli import FAILED, OK, Command, shown
from mogul_assets.cli.project import Project, pass_project
from mogul_assets.cli.runs import instance
from mogul_assets.destinations.base import Destination, Leftover
from mogul_assets.destinations.choice import Choice
from mogul_assets.errors import ConfigurationError, DataRefused, MogulError, StoreBusy
from mogul_assets.store import erasure

if TYPE_CHECKING:
    from mogul_assets.messages.ledger_forgetting import Forgotten
    from mogul_assets.settings import Entry

_UUID = re.compile(r"cus_[0-9A-Za-z][0-9A-Za-z-]{7,}")
_ELSEWHERE = (
    "First delete the customer in ChartMogul: as long as the account has it, the next refresh brings it back, and no "
    "list of who is forgotten is kept here."
)

BY_RECORD = {name for name, dataset in DATASETS.items() if dataset.about is not None and dataset.about.uuid is None}
_BY_RECORD = f"versions of {', '.join(sorted(BY_RECORD))}: they name it by its ids in the data sources, not known here"


@dataclass(frozen=True)
class Removed:
    """What there was of the customer, and where: rows, entries of raw reads, messages."""

    where: str
    what: str
    count: int


@dataclass(frozen=True)
class Left:
    """What may still tell of it at a destination, and how to remove it. ``problem``: why that could not be done now."""

    destination: str
    what: str
    remove: str
    problem: bool = False


@dataclass(frozen=True)
class Told:
    """All that the command says. ``done`` is false where it was only asked what there is."""

    customer: str
    done: bool
    removed: Sequence[Removed]
    left: Sequence[Left]


@click.command(
    "forget-customer",
    cls=Command,
    examples={
        "mogul forget-customer cus_8f1e1b1e-0d4b-4b6e-9a55-0c9b7d1e2f3a": "says what there is, asks, and removes it",
        "mogul forget-customer cus_… --yes --json": "in a script",
    },
)
@click.argument("uuid")
@click.option("--yes", is_flag=True, help="Do not ask.")
@shown.json_option
@pass_project
def command(project: Project, uuid: str, *, yes: bool, as_json: bool) -> int:
    """Remove the customer UUID (cus_…) from the store, raw reads, quarantine, what messages said and history tables.

    Afterwards lists what lies at destinations, and how to remove it. Delete the customer in ChartMogul first: as
    long as the account has it, the next refresh brings it back. A command that was killed is finished by running it
    again.
    """
    if not _UUID.fullmatch(uuid):
        raise click.BadParameter(
            f"'{uuid}' is not ChartMogul's id of a customer; it looks like cus_8f1e1b1e-0d4b-4b6e-9a55-0c9b7d1e2f3a",
            param_hint="UUID",
        )
    _ = project.settings
    with instance(project) as on:
        if under_way(on):
            raise StoreBusy(
                "a run is under way, which may deliver what is to be removed",
                remedy="wait for it to end, or cancel it in Dagster; then again",
            )
    begun = erasure.unfinished(project.store, uuid)
    found = erasure.find(project.store, uuid)
    messages: Mapping[str, Forgotten] = {}
    if _has_ledger(project):
        with project.ledger() as ledger:
            messages = ledger.about(found.person.with_all_of(begun))
    there = [*_in_store(found), *_in_messages({name: one.total for name, one in messages.items()})]
    if (
        not there
        and begun is None
        and not any(_keeps_versions(project, name) for name in project.settings.destinations)
    ):
        raise DataRefused(
            f"nothing here tells of a customer {uuid}",
            remedy=f"its id is in ChartMogul's address bar, and the column uuid of customers{_hint(found)}",
        )
    if not as_json:
        _show(uuid, there, found)
    if not yes:
        click.confirm("Remove all of it?", abort=True, err=True)
    versions, left = _forget(project, uuid)
    told = Told(uuid, done=True, removed=[*there, *versions], left=left)
    if as_json:
        shown.as_json(told)
    else:
        click.echo(f"\n{uuid} is forgotten here.")
        for one in versions:
            click.echo(f"{one.count:,} versions of its rows are gone from {one.what}.")
        shown.table(("where", "what may still tell of it", "what removes it"), map(_row, left), title="\nelsewhere")
    return FAILED if any(one.problem for one in left) else OK


def _versions(destination: Destination) -> list[str]:
    """The datasets of which older rows are kept there that tell of customers."""
    return [name for name in destination.versions() if DATASETS[name].about is not None]


def _keeps_versions(project: Project, name: str) -> bool:
    """Whether it may tell of a customer that the store knows no more."""
    try:
        return bool(_versions(project.destination(name)))
    except MogulError:
        return False


def _row(one: Left) -> tuple[str, str, str]:
    return one.destination, one.what, one.remove


def _hint(found: erasure.Found) -> str:
    return f"; its records belong to {', '.join(found.merged_into)} now" if found.merged_into else ""


def _in_store(found: erasure.Found) -> list[Removed]:
    return [
        *(Removed("dataset", name, count) for name, count in found.rows.items()),
        *(Removed("raw read", name, count) for name, count in found.entries.items()),
        *(Removed("quarantine", name, count) for name, count in found.quarantined.items()),
        *([Removed("dataset", "files that are out of use", found.older)] if found.older else []),
    ]


def _in_messages(counts: Mapping[str, int]) -> list[Removed]:
    return [Removed("messages", name, count) for name, count in counts.items()]


def _show(uuid: str, there: Sequence[Removed], found: erasure.Found) -> None:
    click.echo(f"{uuid}: what there is of it here")
    shown.table(("where", "what", "of it:"), ((one.where, one.what, f"{one.count:,}") for one in there))
    if found.merged_into:
        click.echo(f"Its records belong to {', '.join(found.merged_into)} now, which stays.")
    click.echo(f"\n{_ELSEWHERE}\n")


def _forget(project: Project, uuid: str) -> tuple[list[Removed], list[Left]]:
    """Remove it from everywhere here and from history tables: what went there; what is left, and where that failed."""
    person = erasure.forget(project.store, uuid).person
    if _has_ledger(project):
        with project.ledger() as ledger:
            ledger.forget(person, datetime.now(UTC))
    erased: list[Removed] = []
    left: list[Left] = []
    for entry in project.settings.destinations.values():
        destination, datasets = project.destination(entry.name), _personal(project, entry)
        try:
            if versions := _versions(destination):
                erased.append(Removed("history", entry.name, destination.erase(person, versions)))
            if BY_RECORD.intersection(versions) and not person.records:
                left.append(Left(entry.name, _BY_RECORD, "see docs/history.md, 'Erasing a person'"))
        except MogulError as error:
            left.append(Left(entry.name, str(error), f"then again: mogul forget-customer {uuid}", problem=True))
        try:
            remains = destination.remains(datasets)
        except MogulError as error:
            remains = [Leftover(f"what lies there cannot be told now: {error.message}", error.remedy)]
        left += [Left(entry.name, one.what, one.remove) for one in remains]
        left += _held(project, entry, datasets)
    if not any(one.problem for one in left):
        erasure.finished(project.store)
    return erased, [*left, *_here(project)]


def _has_ledger(project: Project) -> bool:
    """Whether there may be one: it is made by who first opens it."""
    path = project.settings.ledger.path
    return project.settings.ledger.url is not None or (path is not None and path.exists())


def _personal(project: Project, entry: Entry) -> list[str]:
    """The datasets whose rows are customers', and which were delivered, or told."""
    delivered = [name for name in entry.datasets if project.store.watermark(entry.name, name).delivered_at is not None]
    return [name for name in delivered if DATASETS[name].about is not None]


def _held(project: Project, entry: Entry, datasets: Sequence[str]) -> list[Left]:
    """What the guard would hold back: of a small account one customer is much."""
    if entry.habits.messages:
        return []
    store = project.store
    firsts = {name: store.stale_from(entry.name, name, to_be_held(entry.choice, name, store)) for name in datasets}
    tables = [table for name, first in firsts.items() if (table := store.table(name, first))]
    try:
        with as_chosen(Choice.of(entry.choice), tables, store) as sent:
            held = [
                table.dataset
                for table, one in zip(tables, sent, strict=True)
                if store.lost(entry.name, table, entry.guard, sent=one.table, chosen=one.mark)
            ]
    except (ConfigurationError, DataRefused):
        return []  # the delivery says so itself
    what = f"{', '.join(held)}: the guard holds back a delivery that lost so many rows"
    return [Left(entry.name, what, f"mogul sync {entry.name} --allow-loss")] if held else []


def _here(project: Project) -> list[Left]:
    past = f"they go after {project.settings.retention} days: retention in mogul.yaml"
    return [
        Left("Dagster's history", "ids of rows, where a check or a failed delivery named one", past),
        Left("backups", f"copies of {project.settings.store.path} and of the ledger that you made", "delete them"),
    ]
