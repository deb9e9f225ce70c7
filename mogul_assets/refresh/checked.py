"""What came of a step, and what was found of it before anything points to its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from mogul_assets.calculated.checks import Finding, findings
from mogul_assets.calculated.reconciliation import Difference
from mogul_assets.catalog.columns import Dataset
from mogul_assets.catalog.datasets import CUSTOMER_RECORDS, CUSTOMERS
from mogul_assets.catalog.window import Month
from mogul_assets.errors import DataRefused
from mogul_assets.refresh.relations import Typed, register, rows_of, stood, view
from mogul_assets.store.settle import Unique
from mogul_assets.store.sql import quoted
from mogul_assets.store.store import Store
from mogul_assets.store.table import DataFile, Table
from mogul_assets.store.tolerant import Rejected

NOT_COMPARED = "not compared with ChartMogul's figures"


@dataclass(frozen=True)
class Refreshed:
    """What one step settled: its tables, what it found, and the months whose rows are not what they were."""

    tables: Mapping[str, Table]
    facts: Mapping[str, Any] = field(default_factory=dict)
    findings: Mapping[str, Sequence[Finding]] = field(default_factory=dict)
    changed: frozenset[Month] = frozenset()
    differences: Sequence[Difference] = ()


class ChecksFailed(DataRefused):
    """Blocking checks failed. ``found`` is every finding, by dataset."""

    def __init__(self, said: str, places: Sequence[str], found: Mapping[str, Sequence[Finding]]) -> None:
        look = f"; look at the new in {' and '.join(places)}" if places else ""
        super().__init__(f"the new data did not pass its checks ({said})", remedy=f"the old data stands{look}")
        self.found = found


def checked(
    connection: duckdb.DuckDBPyConnection,
    store: Store,
    written: Mapping[Dataset, Sequence[DataFile]],
    typed: Typed | None,
    quarantine_limit: float,
) -> dict[str, list[Finding]]:
    """The checks of new files, before anything points to them."""
    relations: dict[str, str] = {}
    for name in {reference.dataset for dataset in written for reference in dataset.references}:
        # Who refers to customers means the list that was read; the calculated dataset comes later.
        target = CUSTOMER_RECORDS.name if name == CUSTOMERS.name else name
        if stood(store, target) is not None:
            register(connection, store, target)
            relations[name] = target
    rejected = typed.report.rejected if typed is not None else []
    for dataset, files in written.items():
        rows_of(connection, f"new_{dataset.name}", [file.path for file in files], dataset.schema)
        name = CUSTOMERS.name if dataset is CUSTOMER_RECORDS else dataset.name
        relations[name] = _referable(connection, dataset, rejected)
    found = {
        dataset.name: findings(connection, dataset, {**relations, dataset.name: f"new_{dataset.name}"})
        for dataset in written
    }
    if typed is not None:
        aside = Counter(row.dataset for row in rejected)
        for dataset, files in written.items():
            rows = sum(file.rows for file in files)
            found[dataset.name].append(_quarantine(aside[dataset.name], rows, quarantine_limit))
    failed = [(name, f) for name, each in found.items() for f in each if f.blocking and not f.passed]
    if failed:
        said = "; ".join(f"{name}: {f.description} {f.count:,} of {f.total:,} rows do not" for name, f in failed)
        names = {name for name, _ in failed}
        places = [str(Path(files[0].path).parent) for d, files in written.items() if files and d.name in names]
        if typed is not None and typed.aside is not None:
            places.append(f"{typed.aside} (rows that could not be read, each with its reason)")
        raise ChecksFailed(said, places, found)
    return found


def _referable(connection: duckdb.DuckDBPyConnection, dataset: Dataset, rejected: Iterable[Rejected]) -> str:
    """The view of what may be referred to: the new rows, and those in quarantine, whose parts are no orphans."""
    new, key = f"new_{dataset.name}", dataset.by_name[dataset.key[0]]
    ids = {row.text_at(key.source or "") for row in rejected if row.dataset == dataset.name} - {None}
    if not ids:
        return new
    aside = pa.array(ids, pa.string()).cast(key.kind.arrow)
    connection.register(f"aside_{dataset.name}", pa.table({key.name: aside}))
    name = f"known_{dataset.name}"
    view(connection, name, f"(SELECT {quoted(key.name)} FROM {new} UNION ALL FROM aside_{dataset.name})")
    return name


def _quarantine(rejected: int, rows: int, limit: float) -> Finding:
    total = rejected + rows
    return Finding(
        name="quarantine",
        blocking=rejected > limit * total,
        count=rejected,
        total=total,
        samples=(),
        description=f"No more than {limit:.1%} of the rows are unreadable.",
    )


def plain(found: Mapping[str, Sequence[Finding]]) -> list[dict[str, Any]]:
    return [
        {"dataset": name, "check": f.name, "blocking": f.blocking, "count": f.count, "total": f.total}
        for name, each in found.items()
        for f in each
    ]


def note_copies(facts: dict[str, Any], dataset: Dataset, rows: Unique) -> None:
    if rows.copies:
        facts.setdefault("copies dropped", {})[dataset.name] = rows.copies
    if rows.contradictions:
        facts.setdefault("keys whose copies differed", {})[dataset.name] = rows.contradictions


def tables_of(store: Store, written: Collection[Dataset]) -> dict[str, Table]:
    tables = {dataset.name: store.table(dataset.name) for dataset in written}
    return {name: table for name, table in tables.items() if table is not None}
