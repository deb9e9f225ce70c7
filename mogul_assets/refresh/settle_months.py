"""Settling the datasets that are kept by month: exchange rates, and the MRR movements with all that spans them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import duckdb

from mogul_assets.account.reader import Account, AccountInfo
from mogul_assets.calculated.checks import Finding
from mogul_assets.calculated.movements import movements
from mogul_assets.calculated.reconciliation import Difference, compare, monthly_sums, restated_partitions
from mogul_assets.catalog.columns import Dataset
from mogul_assets.catalog.datasets import CUSTOMER, DATASETS, MRR_MOVEMENTS
from mogul_assets.catalog.window import BEGINNING, Month, Window
from mogul_assets.errors import AccountRefused
from mogul_assets.refresh.checked import NOT_COMPARED, Refreshed, checked, note_copies, plain, tables_of
from mogul_assets.refresh.reads import land, landed_reads
from mogul_assets.refresh.relations import register, rows_of, typed_parts, view, working
from mogul_assets.store import durable, settle
from mogul_assets.store.shape import PLACE, SEQUENCE, typed_schema
from mogul_assets.store.sql import literal, parquet, quoted
from mogul_assets.store.store import Store, group_of
from mogul_assets.store.table import Table, new_generation

PROVISIONAL = timedelta(days=2)
"""How long after its date ChartMogul corrects a movement as a matter of course, with the rates of its day."""

OLDEST_FIGURES = Month(1970, 1)
"""ChartMogul is asked for no older ones: a movement dated in the year 1 is a slip of somebody's import."""


def settle_rates(store: Store, *, generation: str, quarantine_limit: float) -> Refreshed:
    """Type what was landed of the exchange rates, and move ``currency_rates``.

    Months that were not read stay as they were, but rates of another base currency go.
    """
    base = landed_reads(store, "exchange_rates")[-1].facts.get("base", "")
    candidate = _candidate(
        store,
        DATASETS["currency_rates"],
        generation=generation,
        quarantine_limit=quarantine_limit,
        derive=lambda _connection, relation: (
            f"(SELECT * FROM {quoted(relation)} WHERE base_currency = {literal(str(base))})"
        ),
    )
    return _published(store, candidate)


def settle_movements(
    store: Store, account: Account, info: AccountInfo, *, generation: str, quarantine_limit: float, now: datetime
) -> Refreshed:
    """Type what was landed of the activities, compute what spans the whole history, and move ``mrr_movements``.

    Before it moves, the months are compared with ChartMogul's own figures. A month that differs and was not read
    in this refresh was restated, and so may be the other months of its customers: they are read again first.
    """
    read_now = [r.window for r in store.raw_reads("activities") if r.generation == generation and r.window]
    restated: set[Month] = set()
    while True:
        candidate = _candidate(
            store,
            MRR_MOVEMENTS,
            generation=generation,
            quarantine_limit=quarantine_limit,
            derive=_derived_movements(store),
        )
        try:
            differences = _reconciled(store, candidate.table, account, info, now)
        except AccountRefused as refused:
            # Movements that cannot be compared are still movements: a key may be kept from the metrics.
            differences = []
            candidate.facts[NOT_COMPARED] = str(refused)
        suspect = {*restated_partitions(differences), *_recomputed(store, candidate.table)}
        months = {max(month, account.since) for month in suspect}  # the first takes everything older
        unread = {month for month in months if not any(window.holds(month.start) for window in read_now)}
        if not unread:
            break
        # One reading of the span from the first to the last: restated months lie close together.
        window = Window.months(min(unread), max(unread), since=account.since)
        land(store, account, "activities", generation=new_generation(), window=window, now=now)
        restated |= unread
        read_now.append(window)
    candidate.facts["account"] = {"currency": info.currency, "time zone": info.time_zone}
    if restated:
        candidate.facts["restated months"] = ", ".join(map(str, sorted(restated)))
    return replace(_published(store, candidate), differences=differences)


def _derived_movements(store: Store) -> Callable[[duckdb.DuckDBPyConnection, str], str]:
    def derive(connection: duckdb.DuckDBPyConnection, history: str) -> str:
        register(connection, store, "invoice_line_items")
        movements(connection, activities=history, line_items="invoice_line_items").create_view("derived")
        return "derived"

    return derive


def _recomputed(store: Store, table: Table) -> list[Month]:
    """The months of customers whose past is another in ``table`` than where the pointer stands.

    A sum by month does not see a merged customer's level of MRR or a re-issued id. Movements of the last
    days before a reading are left out: ChartMogul corrects them as a matter of course.
    """
    before = store.table(MRR_MOVEMENTS.name)
    if before is None:
        return []
    stood, stands = ({file.sha256: file.path for file in each.files} for each in (before, table))
    columns = ", ".join(quoted(column.name) for column in MRR_MOVEMENTS.columns if column.source is not None)
    past = f"date < {literal((before.read_at - PROVISIONAL).isoformat())}"
    old, new = (f"(SELECT {columns} FROM {name} WHERE {past})" for name in ("old", "new"))
    with working(store, table.generation, "recomputed") as (connection, _):
        for name, here, there in (("old", stood, stands), ("new", stands, stood)):
            rows_of(connection, name, [here[sha256] for sha256 in here.keys() - there.keys()], table.schema)
        rows_of(connection, "movements", table.paths, table.schema)
        months = connection.execute(f"""
            SELECT DISTINCT strftime(date, '%Y-%m') FROM movements WHERE {CUSTOMER} IN (
                SELECT {CUSTOMER} FROM ({old} EXCEPT {new} UNION ({new} EXCEPT {old}))
            )
        """).fetchall()
    return [Month.parse(month) for (month,) in months]


def _reconciled(store: Store, table: Table, account: Account, info: AccountInfo, now: datetime) -> list[Difference]:
    """Compare movements with ``/metrics/mrr``, month by month, over the whole history."""
    if not table.files:
        return []
    # A month earlier: west of Greenwich the first UTC month begins in the account's month before.
    first = max(OLDEST_FIGURES, min(file.month for file in table.files if file.month is not None).plus(-1))
    with working(store, table.generation, "reconciliation") as (connection, _):
        rows_of(connection, "mrr_movements", table.paths, table.schema)
        sums = monthly_sums(connection, "mrr_movements", info.zone, now)
    return compare(sums, account.monthly_mrr(first, Month.of(now)))


@dataclass(frozen=True)
class _Candidate:
    """A windowed dataset's new files, written and checked, before its pointer moves."""

    dataset: Dataset
    table: Table
    typed_from: Sequence[str]
    open_from: Month | None
    findings: Mapping[str, Sequence[Finding]]
    facts: dict[str, Any]


def _candidate(
    store: Store,
    dataset: Dataset,
    *,
    generation: str,
    quarantine_limit: float,
    derive: Callable[[duckdb.DuckDBPyConnection, str], str],
) -> _Candidate:
    """Take the windows read since last time from the raw reads, all other months from what stands; then derive."""
    before = store.pointer(group_of(dataset))
    standing = landed_reads(store, dataset.read)
    fresh = [r for r in standing if before is None or r.generation not in before.typed_from]
    table = store.table(dataset.name) if before is not None else None
    window = quoted(dataset.window or "")
    with working(store, generation, dataset.name) as (connection, scratch):
        typed = typed_parts(store, dataset.read, fresh, scratch)
        spans = [read.window for read in fresh if read.window is not None]
        # Of two readings of one month the later holds, whatever the earlier had.
        valid = " OR ".join(
            f"({PLACE} = {at} AND {_within(window, span)} AND NOT {_any(window, spans[at + 1 :])})"
            for at, span in enumerate(spans)
        )
        part = parquet([typed.parts[dataset.name]])
        rows = settle.unique(connection, f"(SELECT * FROM {part} WHERE {valid or 'false'})", dataset)
        facts = typed.facts()
        note_copies(facts, dataset, rows)
        view(connection, "fresh", rows.sql)
        names = [field.name for field in typed_schema(dataset) if field.name != SEQUENCE]
        columns = ", ".join(map(quoted, names))
        sql = f"SELECT {columns} FROM fresh"
        if table is not None and table.files:
            key = ", ".join(map(quoted, dataset.key))
            sql += (
                f" UNION ALL SELECT {columns} FROM {parquet(table.paths)} ANTI JOIN fresh USING ({key})"
                f" WHERE NOT {_any(window, spans)}"
            )
        view(connection, "history", f"({sql})")
        relation = derive(connection, "history")
        with durable.writing_to(store.root):
            files = settle.write(connection, relation, dataset, store.folder(dataset, generation), generation)
        found = checked(connection, store, {dataset: files}, typed, quarantine_limit)
    opened = [r.read_at for r in standing if r.end is None]
    return _Candidate(
        dataset,
        Table(
            dataset.name,
            generation,
            dataset.schema,
            dataset.key,
            files,
            # Months that were read again make what came since no newer.
            max(opened or (r.read_at for r in standing)),
            Window(BEGINNING, None),
            dataset.window,
        ),
        [r.generation for r in standing],
        Month.of(max(opened)) if opened else None,
        found,
        facts,
    )


def _published(store: Store, candidate: _Candidate) -> Refreshed:
    dataset, table = candidate.dataset, candidate.table
    before = store.table(dataset.name)
    store.publish(
        {dataset: table.files},
        generation=table.generation,
        read_at=table.read_at,
        typed_from=candidate.typed_from,
        open_from=candidate.open_from,
        checks=plain(candidate.findings),
        facts=candidate.facts,
    )
    tables = tables_of(store, [dataset])
    was = {file.month: file.sha256 for file in before.files} if before is not None else {}
    now = {file.month: file.sha256 for file in tables[dataset.name].files}
    changed = frozenset(month for month in was.keys() | now.keys() if month and was.get(month) != now.get(month))
    return Refreshed(tables, candidate.facts, candidate.findings, changed)


def _within(column: str, span: Window) -> str:
    start = f"{column} >= {literal(span.start.isoformat())}"
    return start if span.end is None else f"{start} AND {column} < {literal(span.end.isoformat())}"


def _any(column: str, spans: Sequence[Window]) -> str:
    return "(" + (" OR ".join(f"({_within(column, span)})" for span in spans) or "false") + ")"
