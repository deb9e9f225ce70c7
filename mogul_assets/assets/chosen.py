"""What of the store's tables a destination gets: for deliveries and for previews, so that both are of the same rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mogul_assets.destinations.choice import OF_CUSTOMERS, Choice, Customers, chosen, customers_of
from mogul_assets.errors import ConfigurationError, DataRefused
from mogul_assets.refresh import standing
from mogul_assets.store.store import Chosen, Store
from mogul_assets.store.table import Table

UNKNOWN = Chosen(settings="unknown")


@dataclass(frozen=True, slots=True)
class Sent:
    """A table as it goes to a destination, and what its watermark has to say of that."""

    table: Table
    mark: Chosen


@contextmanager
def as_chosen(choice: Choice, tables: Sequence[Table], store: Store) -> Iterator[list[Sent]]:
    """What is chosen of the tables; the files written for it go with the block.

    Raises:
        ConfigurationError: the salt's variable is not set.
        DataRefused: a filter needs to know customers that were never read.
        StoreDamaged: a file of a table is missing, or not what it was.
    """
    with tempfile.TemporaryDirectory(prefix="mogul-") as folder:
        customers = _customers(choice, [table.dataset for table in tables], store)
        yield [
            Sent(
                chosen(table, choice, Path(folder), salt=choice.salt(table.dataset), customers=customers),
                _mark(choice, table.dataset, customers),
            )
            for table in tables
        ]


def to_be_held(given: Mapping[str, Any], dataset: str, store: Store) -> Chosen:
    """What the watermark has to say for the destination to hold what the settings choose now.

    What keeps that from being known keeps the delivery from it too, which says so: here it is something else.
    """
    try:
        choice = Choice.of(given)
        return _mark(choice, dataset, _customers(choice, [dataset], store))
    except (ConfigurationError, DataRefused):
        return UNKNOWN


def settings_to_be_held(given: Mapping[str, Any], dataset: str) -> str:
    """The same of the settings alone, which is cheap to know."""
    try:
        return Choice.of(given).fingerprint(dataset)
    except ConfigurationError:
        return UNKNOWN.settings


def _mark(choice: Choice, dataset: str, customers: Customers | None) -> Chosen:
    digest = customers.digest if customers is not None and choice.rows.by_customer(dataset) else ""
    return Chosen(choice.fingerprint(dataset), digest)


def _customers(choice: Choice, datasets: Sequence[str], store: Store) -> Customers | None:
    """Whom the filter means, where that has to be known for one of the datasets."""
    if not any(choice.rows.by_customer(name) for name in datasets):
        return None
    return customers_of(choice.rows, {name: standing(store, name) for name in OF_CUSTOMERS})
