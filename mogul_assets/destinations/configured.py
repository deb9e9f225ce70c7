"""A destination of ``mogul.yaml``, made from its entry; one that is wrong stands in for itself and says why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from dagster import ConfigurableResource
from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo

from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.destinations import load_type
from mogul_assets.destinations.base import Capabilities, Delivered, Destination, Leftover, Permission, Preview
from mogul_assets.destinations.choice import judge
from mogul_assets.destinations.history import ALL, KeepsHistory
from mogul_assets.destinations.messenger import LedgerResource, Messenger
from mogul_assets.errors import ConfigurationError, DestinationRefused
from mogul_assets.settings import Entry, Settings, describe
from mogul_assets.store.table import Table


class Misconfigured(Destination):
    """Stands where a destination's entry cannot be used: every verb says what is wrong with it."""

    problem: str = Field(description="What is wrong, and where.")

    def error(self) -> ConfigurationError:
        return ConfigurationError(self.problem, remedy="mend it, then  mogul check")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    def grants(self) -> str:
        raise self.error()

    def check(self) -> list[Permission]:
        raise self.error()

    def deliver(self, table: Table) -> Delivered:
        raise self.error()

    def preview(self, table: Table) -> Preview:
        raise self.error()

    def rendered(self, tables: Sequence[Table], now: datetime) -> Mapping[str, bytes]:
        raise self.error()

    def prove(self) -> str:
        raise self.error()

    def forget(self) -> list[Leftover]:
        raise self.error()

    def versions(self) -> Sequence[str]:
        raise self.error()  # whether older rows are kept there, nobody knows

    def remains(self, datasets: Sequence[str]) -> list[Leftover]:
        raise self.error()

    def last_delivery(self, dataset: str) -> datetime | None:
        return None


CONNECTION = "connection"
"""The field of a destination that takes a user's own resource; it is no setting of ``mogul.yaml``."""

LEDGER = "ledger"
"""The field of a destination that remembers messages: the ledger that all of them share."""

LINKS = "links"
"""The setting of a destination that names another: the one that holds what its links lead to."""
STORE = "links_store"
"""The field that this other destination is handed over by."""

CHOSEN = "choice"
"""The field that says what of its datasets a destination gets: settings of any type, beside its own."""

_HANDED = {CONNECTION, LEDGER, STORE, CHOSEN}


def configured(
    settings: Settings,
    entry: Entry,
    own: ConfigurableResource[Any] | None = None,
    others: Mapping[str, ConfigurableResource[Any]] | None = None,
) -> Destination:
    """The destination that an entry describes, or one that says what is wrong with it. Connects to nothing.

    Args:
        settings: what relative paths are counted from.
        entry: the destination's part of the file.
        own: a user's own resource that it connects with, or own destination that takes its place.
        others: those of the other destinations, by name: one of them may hold what its links lead to.
    """
    place = f"{settings.file.name}, line {entry.line}, destination '{entry.name}'"
    if entry.problem is not None:
        return Misconfigured(name=entry.name, problem=f"{place}: {entry.problem}")
    try:
        destination = own if isinstance(own, Destination) else _made(settings, entry, own, others or {})
    except ConfigurationError as error:
        return Misconfigured(name=entry.name, problem=f"{place}: {error}")
    except ValidationError as error:
        return Misconfigured(name=entry.name, problem=f"{place}: {describe(error)}")
    refused = [name for name in entry.datasets if not destination.capabilities.takes(name)]
    if refused:
        takes = ", ".join(name for name in DATASETS if destination.capabilities.takes(name))
        problem = f"{entry.type} does not take {', '.join(refused)}; it takes {takes}"
        return Misconfigured(name=entry.name, problem=f"{place}: {problem}")
    try:
        _judge_choice(entry, destination)
    except ConfigurationError as error:
        return Misconfigured(name=entry.name, problem=f"{place}: {error}")
    kept = destination.history if isinstance(destination, KeepsHistory) else []
    if absent := [name for name in kept if name not in (*entry.datasets, ALL)]:
        problem = f"history: {', '.join(absent)} is not delivered there; it takes {', '.join(entry.datasets)}"
        return Misconfigured(name=entry.name, problem=f"{place}: {problem}")
    for dataset in (DATASETS[name] for name in destination.versions() if kept):
        out = destination.chooses.left_out(dataset.name)
        asked = dataset.about.among([name for name in dataset.by_name if name not in out]) if dataset.about else None
        if asked is not None and not (asked.uuid or asked.record):
            problem = f"history: no column of {dataset.name} is left that says whose a row is, which forgetting needs"
            return Misconfigured(name=entry.name, problem=f"{place}: {problem}")
    if isinstance(destination, Messenger) and destination.real_time is not entry.real_time:
        problem = "schedule is real_time, and period is not; leave period out"
        if destination.real_time:
            problem = f"{entry.type} tells movements as they happen; write  schedule: real_time"
        return Misconfigured(name=entry.name, problem=f"{place}: {problem}")
    return destination


def _judge_choice(entry: Entry, destination: Destination) -> None:
    if destination.choice != entry.choice:
        kind, named = type(destination).__name__, ", ".join({**entry.choice, **destination.choice})
        raise ConfigurationError(
            f"{named}: a {kind} of your own takes its place, and was made without, or with others",
            remedy=f"make it with what its entry says: {kind}(choice={{…}})",
        )
    judge(destination.choice, entry.datasets, of=entry.type, chooses=destination.CHOOSES, needs=destination.NEEDS)


def _made(
    settings: Settings,
    entry: Entry,
    connection: ConfigurableResource[Any] | None,
    others: Mapping[str, ConfigurableResource[Any]],
) -> Destination:
    kind = load_type(entry.type)
    options = dict(entry.options)
    _named_well(kind, options)
    if isinstance(options.get("path"), str):
        options["path"] = str(settings.file.parent / Path(options["path"]).expanduser())
    if connection is not None:
        if CONNECTION not in kind.model_fields:
            raise ConfigurationError(
                f"{entry.type} takes no connection, and was given a {type(connection).__name__}",
                remedy="give it none, or an IO manager that takes its place",
            )
        options[CONNECTION] = connection
    if LEDGER in kind.model_fields:
        options[LEDGER] = LedgerResource.of(settings.ledger)
    for name, value in (("period", entry.period), ("time_zone", entry.time_zone)):
        if name in kind.model_fields and value is not None:
            options.setdefault(name, value)
    if STORE in kind.model_fields and options.get(LINKS) is not None:
        options[STORE] = _named(settings, str(options[LINKS]), others)
    return kind(name=entry.name, **{CHOSEN: dict(entry.choice)}, **options)


def _named(settings: Settings, name: str, own: Mapping[str, ConfigurableResource[Any]]) -> Destination:
    """The destination that another one names by ``links``."""
    entry = settings.entry(name)
    if STORE in load_type(entry.type).model_fields:  # two that name each other would have no end
        raise ConfigurationError(f"{LINKS}: '{name}' holds no files", remedy="name an S3, GCS or Azure Blob one")
    found = configured(settings, entry, own.get(name))
    if isinstance(found, Misconfigured):
        raise ConfigurationError(f"{LINKS}: '{name}' cannot be used: {found.problem}")
    return found


def settings_of(kind: type[Destination]) -> dict[str, FieldInfo]:
    """The type's own settings, by the names that they have in ``mogul.yaml``."""
    return {field.alias or name: field for name, field in kind.model_fields.items() if name not in {"name", *_HANDED}}


def _named_well(kind: type[Destination], options: Mapping[str, object]) -> None:
    """Dagster's resources take settings they do not know, and a required one that is absent as ``None``."""
    fields = settings_of(kind)
    for name in options:
        if name not in fields:
            raise ConfigurationError(f"{name}: there is no such setting", remedy=f"there are: {', '.join(fields)}")
    for name, field in fields.items():
        if field.is_required() and name not in options:
            raise ConfigurationError(f"{name} is missing", remedy=f"{name}: {field.description or 'set it'}")


def sending_messages(destination: Destination, *, instead: str) -> Messenger:
    """The destination, where it sends messages; ``instead`` is the remedy where it does not.

    Raises:
        ConfigurationError: what is wrong with its entry.
        DestinationRefused: it sends none.
    """
    if isinstance(destination, Misconfigured):
        raise destination.error()
    if not isinstance(destination, Messenger):
        raise DestinationRefused(f"{destination.name} sends no messages", remedy=instead)
    return destination
