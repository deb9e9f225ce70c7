"""One refresh, step by step: land a read, settle the datasets it makes, compute the calculated ones.

Each step works from what stands in the store and ends by moving one pointer, or leaves everything as it was. The
steps are what the assets run; they know nothing of Dagster, so that tests and benchmarks run the same code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from mogul_assets.account.landing import ReadSummary
from mogul_assets.account.lists import LISTS
from mogul_assets.account.pages import Page, PageSink
from mogul_assets.account.rates import RateProvider
from mogul_assets.account.reader import Account, AccountInfo
from mogul_assets.calculated.checks import Finding, findings
from mogul_assets.calculated.customers import customers, sources_without_invoices
from mogul_assets.calculated.movements import movements
from mogul_assets.calculated.reconciliation import (
    LEVELS,
    Difference,
    Level,
    compare,
    levels,
    monthly_sums,
    restated_partitions,
)
from mogul_assets.catalog.columns import Dataset
from mogul_assets.catalog.datasets import (
    CUSTOM_ATTRIBUTES,
    CUSTOMER,
    CUSTOMER_RECORDS,
    CUSTOMERS,
    DATASETS,
    INVOICES,
    KNOWN,
    MOVEMENT_NEWS,
    MRR_MOVEMENTS,
)
from mogul_assets.catalog.window import BEGINNING, Month, Window
from mogul_assets.errors import AccountRefused, DataRefused, StoreDamaged, StoreUnwritable
from mogul_assets.store import durable, settle
from mogul_assets.store.settle import Unique
from mogul_assets.store.shape import PLACE, SEQUENCE, order, typed_datasets, typed_schema
from mogul_assets.store.sql import literal, parquet, quoted
from mogul_assets.store.store import GONE_ENTRIES, RawRead, Store, group_of
from mogul_assets.store.table import DataFile, Table, new_generation
from mogul_assets.store.tolerant import Rejected
from mogul_assets.store.typing import Report, Typist

Progress = Callable[[int, int | None], None]

PROVISIONAL = timedelta(days=2)
"""How long after its date ChartMogul corrects a movement as a matter of course, with the rates of its day."""

OLDEST_FIGURES = Month(1970, 1)
"""ChartMogul is asked for no older ones: a movement dated in the year 1 is a slip of somebody's import."""

NOT_COMPARED = "not compared with ChartMogul's figures"
EDITED, GONE = "edited since the last reading", "gone since the last reading"
"""Rows of each dataset, found when a list is read whole: what a partial reading cannot see is among them."""


@dataclass(frozen=True)
class Refreshed:
    """What one step settled: its tables, what it found, and the months whose rows are not what they were."""

    tables: Mapping[str, Table]
    facts: Mapping[str, Any] = field(default_factory=dict)
    findings: Mapping[str, Sequence[Finding]] = field(default_factory=dict)
    changed: frozenset[Month] = frozenset()
    differences: Sequence[Difference] = ()


# -- which months ---------------------------------------------------------------------------------------------


def coverage(store: Store, read: str, *, since: Month, now: datetime) -> Month:
    """The first month that a refresh has to read of a windowed read; it reads every later one too.

    The earliest of last month, the first month never read, the month of the last reading, and where a reading
    began that was landed but never settled: what was wrong with it is then read again.
    """
    this = Month.of(now)
    (dataset,) = typed_datasets(read)
    pointer = store.pointer(group_of(dataset))
    landed = [(r, r.window) for r in store.raw_reads(read) if r.window is not None]
    settled = [(r, window) for r, window in landed if pointer is not None and r.generation in pointer.typed_from]
    opened = [r.read_at for r, _ in settled if r.end is None]
    if not opened:
        return since
    unread = (m for m in since.until(this) if not any(window.holds(m.start) for _, window in settled))
    failed = (Month.of(window.start) for r, window in landed if (r, window) not in settled)
    return max(since, min(this.plus(-1), Month.of(max(opened)), next(unread, this), *failed))


def read_at(store: Store, dataset: Dataset) -> datetime | None:
    """When the account was last read to its end for the dataset as it stands; ``None`` where it never was.

    Of a windowed dataset some past months may have been read since.
    """
    pointer = store.pointer(group_of(dataset))
    if pointer is None or dataset.window is None:
        return pointer.read_at if pointer is not None else None
    settled = [read for read in store.raw_reads(dataset.read) if read.generation in pointer.typed_from]
    return max((read.read_at for read in settled if read.end is None), default=None)


# -- reads ----------------------------------------------------------------------------------------------------


def land(
    store: Store,
    account: Account,
    read: str,
    *,
    generation: str,
    window: Window | None = None,
    progress: Progress | None = None,
    now: datetime | None = None,
    how: str | None = None,
) -> RawRead:
    """Read one list of the account and land it, raw. ``window`` is for windowed reads, and only for them.

    ``now`` is when the reading begins; by the clock, unless given. ``how`` is remembered with it, for a person.
    """

    def pages(sink: PageSink) -> ReadSummary:
        return account.read(read, sink, window=window, progress=progress)

    facts = {} if how is None else {"how": how}
    if read == "account":
        info = account.info()
        facts |= {"name": info.name, "currency": info.currency, "time_zone": info.time_zone}
    return landed(store, read, pages, generation=generation, window=window, now=now, **facts)


def known_account(store: Store) -> AccountInfo:
    """The account as it was last read.

    Raises:
        DataRefused: where it was not read yet.
    """
    facts = _landed_reads(store, "account")[-1].facts
    return AccountInfo(facts["name"], facts["currency"], facts["time_zone"])


def standing(
    store: Store, name: str, first: Month | None = None, last: Month | None = None, *, since: Month | None = None
) -> Table:
    """The dataset as it stands, whole or its months ``first`` to ``last``, as ``Store.table`` gives them.

    Raises:
        DataRefused: it was never read.
    """
    table = store.table(name, first, last, since=since)
    if table is None:
        remedy = "refresh the account first: mogul sync"
        if name == MOVEMENT_NEWS.name:
            remedy = f"materialise {MOVEMENT_NEWS.group.value}/{name}"
        raise DataRefused(f"the store has no {name} yet", remedy=remedy)
    return table


def _landed_reads(store: Store, read: str) -> list[RawRead]:
    landed = store.raw_reads(read)
    if not landed:
        raise DataRefused(
            f"account/{read} was not read yet", remedy=f"materialise account/{read} first, or run: mogul sync"
        )
    return landed


def land_rates(
    store: Store,
    provider: RateProvider,
    *,
    base: str,
    generation: str,
    window: Window,
    today: date,
    now: datetime | None = None,
) -> RawRead:
    """Read the exchange rates of the account's currency, ``base``, up to ``today``, and land them."""

    def pages(sink: PageSink) -> ReadSummary:
        return provider.read(base, window, sink, today)

    return landed(store, "exchange_rates", pages, generation=generation, window=window, now=now, base=base)


def landed(
    store: Store,
    read: str,
    pages: Callable[[PageSink], ReadSummary],
    *,
    generation: str,
    now: datetime | None,
    window: Window | None = None,
    **facts: Any,
) -> RawRead:
    """Land what ``pages`` puts into the sink it is given, with what it says of it and further ``facts``."""
    with store.landing(read, generation, window) as landing:
        landing.read_at = now or datetime.now(UTC)
        summary = pages(landing)
        landing.partial = not summary.whole
        landing.facts = {
            "rows": summary.rows,
            "requests": summary.requests,
            "retries": summary.retries,
            "shards": summary.shards,
            "warnings": list(summary.warnings),
            "new": summary.new,
            **facts,
        }
    return store.raw_reads(read)[-1]


def account_changed(store: Store, info: AccountInfo) -> str | None:
    """In one line, whether currency or time zone are not those that the movements in the store were read with."""
    pointer = store.pointer(group_of(MRR_MOVEMENTS))
    known = pointer.facts.get("account", {}) if pointer else {}
    for name, now in (("currency", info.currency), ("time zone", info.time_zone)):
        before = known.get(name, now)
        if before != now:
            return f"the account's {name} was {before} and is {now}: everything is read again"
    return None


# -- datasets of one read ---------------------------------------------------------------------------------------


def settle_read(store: Store, read: str, *, generation: str, quarantine_limit: float) -> Refreshed:
    """Type what was landed of the read and move the datasets that it makes, all at once.

    Raises:
        DataRefused: a blocking check failed; the new files lie beside the old, and nothing moved.
    """
    standing = _landed_reads(store, read)
    last, before = standing[-1], {dataset: _stood(store, dataset.name) for dataset in typed_datasets(read)}
    with working(store, generation, read) as (connection, scratch):
        typed = _typed(store, read, standing, scratch)
        written: dict[Dataset, Sequence[DataFile]] = {}
        facts = typed.facts()
        if len(standing) > 1:
            _read_again(connection, read, standing, typed)
        for dataset in typed_datasets(read):
            part = parquet([typed.parts[dataset.name]])
            rows = settle.unique(connection, _latest(part, dataset) if len(standing) > 1 else part, dataset)
            _note_copies(facts, dataset, rows)
            _view(connection, f"unique_{dataset.name}", rows.sql)
            relation = _completed(connection, store, dataset, f"unique_{dataset.name}")
            with durable.writing_to(store.root):
                written[dataset] = settle.write(
                    connection, relation, dataset, store.folder(dataset, generation), generation
                )
        if not last.partial and not settled(store, read):
            facts |= _unseen(connection, before, written)
        found = _checked(connection, store, written, typed, quarantine_limit)
        store.publish(
            written,
            generation=generation,
            read_at=last.read_at,
            typed_from=[landed.generation for landed in standing],
            checks=_plain(found),
            facts=facts,
        )
    return Refreshed(_tables(store, written), facts, found)


def _stood(store: Store, dataset: str) -> Table | None:
    """The table before. What is damaged of it is made again, and tells nothing."""
    with suppress(StoreDamaged):
        return store.table(dataset)
    return None


def settled(store: Store, read: str) -> bool:
    """Whether the datasets of a list are what was landed of it last."""
    pointer = store.pointer(group_of(typed_datasets(read)[0]))
    return pointer is not None and pointer.typed_from == [landed.generation for landed in store.raw_reads(read)]


def _read_again(connection: duckdb.DuckDBPyConnection, read: str, standing: Sequence[RawRead], typed: _Typed) -> None:
    """Temporary table ``read_again``: the entries of partial reads, and the last read (by its place) that had each.

    One that the account said is gone is in it too, and in no read from then on.
    """
    (entries,) = (dataset for dataset in typed_datasets(read) if dataset.each is None)
    kind = entries.by_name[_entry(entries)].kind.arrow
    gone = [
        (str(entry), place) for place, landed in enumerate(standing) for entry in landed.facts.get(GONE_ENTRIES, [])
    ]
    names, places = zip(*gone, strict=True) if gone else ((), ())
    connection.register(
        "gone", pa.table({"entry": pa.array(names, pa.string()).cast(kind), "place": pa.array(places, pa.int64())})
    )
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE read_again AS SELECT entry, max(place) AS place FROM (
            SELECT {quoted(_entry(entries))} AS entry, {PLACE} AS place
            FROM {parquet([typed.parts[entries.name]])} WHERE {PLACE} > 0
            UNION ALL FROM gone
        ) GROUP BY entry
    """)


def _latest(part: str, dataset: Dataset) -> str:
    """The typed rows that count: of each entry those of the last read that has it, so that what it lost is lost."""
    return (
        f"(SELECT part.* FROM {part} AS part"
        f" LEFT JOIN read_again AS again ON again.entry = part.{quoted(_entry(dataset))}"
        f" WHERE again.place IS NULL OR again.place = {PLACE})"
    )


def _entry(dataset: Dataset) -> str:
    """The column that names the entry of the list that a row was made from."""
    key = LISTS[dataset.read].key
    source = key if dataset.each is None else f"^{key}"
    return next(column.name for column in dataset.columns if column.source == source)


def _unseen(
    connection: duckdb.DuckDBPyConnection,
    before: Mapping[Dataset, Table | None],
    written: Mapping[Dataset, Sequence[DataFile]],
) -> dict[str, dict[str, int]]:
    """How many rows of the tables before are other ones in the new files, and how many are in them no more.

    Rows are compared as 64-bit digests of key and content: 32 bytes each, however wide.
    """
    edited, gone = {}, {}
    for dataset, table in before.items():
        if table is None:
            continue
        edited[dataset.name] = gone[dataset.name] = 0
        if {file.sha256 for file in table.files} == {file.sha256 for file in written[dataset]}:
            continue
        key, row = (", ".join(map(quoted, names)) for names in (dataset.key, dataset.schema.names))
        digests = f"(SELECT hash({key}) AS key, hash({row}) AS row FROM {{}})"
        edited[dataset.name], gone[dataset.name] = connection.execute(
            "SELECT count(*) FILTER (new.row <> old.row), count(*) FILTER (new.row IS NULL)"
            f" FROM {digests.format(parquet(table.paths))} AS old"
            f" LEFT JOIN {digests.format(parquet([file.path for file in written[dataset]]))} AS new USING (key)"
        ).fetchall()[0]
    return {EDITED: edited, GONE: gone} if edited else {}


def settle_rates(store: Store, *, generation: str, quarantine_limit: float) -> Refreshed:
    """Type what was landed of the exchange rates, and move ``currency_rates``.

    Months that were not read stay as they were, but rates of another base currency go.
    """
    base = _landed_reads(store, "exchange_rates")[-1].facts.get("base", "")
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
            _rows(connection, name, [here[sha256] for sha256 in here.keys() - there.keys()], table.schema)
        _rows(connection, "movements", table.paths, table.schema)
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
        _rows(connection, "mrr_movements", table.paths, table.schema)
        sums = monthly_sums(connection, "mrr_movements", info.zone, now)
    return compare(sums, account.monthly_mrr(first, Month.of(now)))


def settle_customers(store: Store, account: Account, info: AccountInfo, *, generation: str, now: datetime) -> Refreshed:
    """Compute the calculated customers from everything else, and move ``customers``.

    MRR and the number of paying customers are compared with ChartMogul's own of today.
    """
    needed = (
        CUSTOMER_RECORDS.name,
        "invoice_line_items",
        "invoices",
        "transactions",
        "plans",
        "mrr_movements",
        "currency_rates",
    )
    records = store.table(CUSTOMER_RECORDS.name)
    if records is None:
        raise DataRefused("the customers were not settled yet", remedy="materialise source_data/source_customers first")
    with working(store, generation, "customers") as (connection, _):
        for name in needed:
            register(connection, store, name)
        missing = sources_without_invoices(connection, movements="mrr_movements", invoices="invoices")
        result = customers(
            connection,
            records=CUSTOMER_RECORDS.name,
            line_items="invoice_line_items",
            invoices="invoices",
            transactions="transactions",
            plans="plans",
            movements="mrr_movements",
            rates="currency_rates",
            currency=info.currency,
            sources_without_invoices=missing,
        )
        result.relation.create_view("calculated")
        with durable.writing_to(store.root):
            files = settle.write(connection, "calculated", CUSTOMERS, store.folder(CUSTOMERS, generation), generation)
        facts: dict[str, Any] = {}
        if missing:
            facts["sources without readable invoices"] = ", ".join(sorted(missing))
        found = _checked(connection, store, {CUSTOMERS: files}, None, 0)
        found[CUSTOMERS.name] += result.warnings
        try:
            mrr, count = account.today(now.astimezone(info.zone).date())
        except AccountRefused as refused:
            facts[NOT_COMPARED] = str(refused)
        else:
            for level in levels(connection, "calculated", mrr=mrr, customer_count=count):
                facts[f"{level.name}, here"], facts[f"{level.name}, ChartMogul's"] = level.ours, level.reported
                found[CUSTOMERS.name].append(_level(level))
        store.publish(
            {CUSTOMERS: files},
            generation=generation,
            read_at=records.read_at,
            typed_from=[records.generation],
            checks=_plain(found),
            facts=facts,
        )
    return Refreshed(_tables(store, {CUSTOMERS: files}), facts, found)


# -- how it is done -----------------------------------------------------------------------------------------------


@contextmanager
def working(store: Store, generation: str, name: str) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    scratch = store.scratch(generation, name)
    try:
        with durable.writing_to(store.root), settle.database(scratch) as connection:
            yield connection, scratch
    except duckdb.IOException as error:
        if not any(said in str(error) for said in ("No space left", "File too large")):
            raise
        remedy = "make room, then run again; nothing was lost"
        raise StoreUnwritable(f"cannot write to {scratch}: the disk is full", remedy=remedy) from error
    finally:
        store.clear_scratch(generation, name)


@dataclass
class _Typed:
    """Typed parts of some raw reads, by dataset, what typing said of them, and the file of the rows set aside."""

    parts: dict[str, Path]
    report: Report
    aside: Path | None

    def facts(self) -> dict[str, Any]:
        drift, left_out = dict(sorted(self.report.drift.items())), dict(sorted(self.report.left_out.items()))
        return {
            "entries": self.report.entries,
            **({"fields not known": drift} if drift else {}),
            **({"fields without a column": left_out} if left_out else {}),
            **({"rows in quarantine": len(self.report.rejected)} if self.report.rejected else {}),
        }


def _typed(store: Store, read: str, reads: Sequence[RawRead], scratch: Path) -> _Typed:
    """Type raw reads into one Parquet part a dataset; later reads come later in the sequence."""
    datasets = typed_datasets(read)
    parts = {dataset.name: scratch / f"{dataset.name}.parquet" for dataset in datasets}
    writers = {
        d.name: pq.ParquetWriter(
            parts[d.name], typed_schema(d), compression="none", use_dictionary=False, write_statistics=False
        )
        for d in datasets
    }
    typist = Typist(read)
    try:
        for position, landed in enumerate(reads):
            shift = order(place=position)
            for tables in typist.tables(store.raw_pages(landed)):
                for name, table in tables.items():
                    if table.num_rows:
                        writers[name].write_table(_shifted(table, shift))
    finally:
        for writer in writers.values():
            writer.close()
    pa.default_memory_pool().release_unused()  # 100 MB, which sorting needs next
    # A row that came again in a later reading is one row.
    typist.report.rejected = list(dict.fromkeys(typist.report.rejected))
    rejected = typist.report.rejected
    return _Typed(parts, typist.report, store.quarantine(read, reads[-1].generation, rejected) if rejected else None)


def _shifted(table: pa.Table, shift: int) -> pa.Table:
    if not shift:
        return table
    place = table.schema.get_field_index(SEQUENCE)
    return table.set_column(place, table.schema.field(place), pa.compute.add(table.column(place), shift))


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
    standing = _landed_reads(store, dataset.read)
    fresh = [r for r in standing if before is None or r.generation not in before.typed_from]
    table = store.table(dataset.name) if before is not None else None
    window = quoted(dataset.window or "")
    with working(store, generation, dataset.name) as (connection, scratch):
        typed = _typed(store, dataset.read, fresh, scratch)
        spans = [read.window for read in fresh if read.window is not None]
        # Of two readings of one month the later holds, whatever the earlier had.
        valid = " OR ".join(
            f"({PLACE} = {at} AND {_within(window, span)} AND NOT {_any(window, spans[at + 1 :])})"
            for at, span in enumerate(spans)
        )
        part = parquet([typed.parts[dataset.name]])
        rows = settle.unique(connection, f"(SELECT * FROM {part} WHERE {valid or 'false'})", dataset)
        facts = typed.facts()
        _note_copies(facts, dataset, rows)
        _view(connection, "fresh", rows.sql)
        names = [field.name for field in typed_schema(dataset) if field.name != SEQUENCE]
        columns = ", ".join(map(quoted, names))
        sql = f"SELECT {columns} FROM fresh"
        if table is not None and table.files:
            key = ", ".join(map(quoted, dataset.key))
            sql += (
                f" UNION ALL SELECT {columns} FROM {parquet(table.paths)} ANTI JOIN fresh USING ({key})"
                f" WHERE NOT {_any(window, spans)}"
            )
        _view(connection, "history", f"({sql})")
        relation = derive(connection, "history")
        with durable.writing_to(store.root):
            files = settle.write(connection, relation, dataset, store.folder(dataset, generation), generation)
        found = _checked(connection, store, {dataset: files}, typed, quarantine_limit)
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
        checks=_plain(candidate.findings),
        facts=candidate.facts,
    )
    tables = _tables(store, [dataset])
    was = {file.month: file.sha256 for file in before.files} if before is not None else {}
    now = {file.month: file.sha256 for file in tables[dataset.name].files}
    changed = frozenset(month for month in was.keys() | now.keys() if month and was.get(month) != now.get(month))
    return Refreshed(tables, candidate.facts, candidate.findings, changed)


def _within(column: str, span: Window) -> str:
    start = f"{column} >= {literal(span.start.isoformat())}"
    return start if span.end is None else f"{start} AND {column} < {literal(span.end.isoformat())}"


def _any(column: str, spans: Sequence[Window]) -> str:
    return "(" + (" OR ".join(f"({_within(column, span)})" for span in spans) or "false") + ")"


def _derived_movements(store: Store) -> Callable[[duckdb.DuckDBPyConnection, str], str]:
    def derive(connection: duckdb.DuckDBPyConnection, history: str) -> str:
        register(connection, store, "invoice_line_items")
        movements(connection, activities=history, line_items="invoice_line_items").create_view("derived")
        return "derived"

    return derive


def _completed(connection: duckdb.DuckDBPyConnection, store: Store, dataset: Dataset, relation: str) -> str:
    """The relation with the columns that only the whole read, or another dataset, can fill."""
    if dataset is CUSTOM_ATTRIBUTES:
        return f"({_ATTRIBUTE_TYPES.format(relation=relation)})"
    if dataset is INVOICES:
        register(connection, store, "source_customers")
        # Invoices are sorted part by part: what all parts need is computed once.
        connection.execute(_CUSTOMER_IDS)
        return f"({_INVOICE_CUSTOMERS.format(relation=relation)})"
    return relation


_ATTRIBUTE_TYPES = """
    SELECT customer_uuid, name, value, type FROM {relation} JOIN (
        SELECT name, CASE
            WHEN count(*) FILTER (kind <> 'nothing') = 0 THEN 'String'
            WHEN bool_and(kind = 'flag') FILTER (kind <> 'nothing') THEN 'Boolean'
            WHEN bool_and(kind = 'integer') FILTER (kind <> 'nothing') THEN 'Integer'
            WHEN bool_and(kind IN ('integer', 'decimal')) FILTER (kind <> 'nothing') THEN 'Decimal'
            WHEN bool_and(kind = 'moment') FILTER (kind <> 'nothing') THEN 'Timestamp'
            ELSE 'String'
        END AS type
        FROM {relation} GROUP BY name
    ) USING (name)
"""

_CUSTOMER_IDS = """
    CREATE OR REPLACE TEMP TABLE customer_ids AS
    SELECT md5_number(uuid || ' ' || data_source_uuid) AS customer, min(external_id) AS external_id
    FROM source_customers GROUP BY ALL HAVING count(*) = 1
"""

_INVOICE_CUSTOMERS = """
    SELECT invoice.* REPLACE (
        coalesce(invoice.data_source_customer_external_id, customer_ids.external_id)
            AS data_source_customer_external_id
    )
    FROM {relation} AS invoice LEFT JOIN customer_ids
        ON customer_ids.customer = md5_number(invoice.customer_uuid || ' ' || invoice.data_source_uuid)
"""


def type_pages(connection: duckdb.DuckDBPyConnection, read: str, pages: Iterable[Page], prefix: str) -> None:
    """The rows of some pages as temporary tables ``<prefix>_<dataset>``, unique by key: the last one counts."""
    datasets = typed_datasets(read)
    for dataset in datasets:
        connection.register("typed", typed_schema(dataset).empty_table())
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {prefix}_{dataset.name} AS FROM typed")
    for tables in Typist(read).tables(pages):
        for name, rows in tables.items():
            connection.register("typed", rows)
            connection.execute(f"INSERT INTO {prefix}_{name} BY NAME FROM typed")
    for dataset in datasets:
        key = ", ".join(map(quoted, dataset.key))
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {prefix}_{dataset.name} AS SELECT * EXCLUDE ({SEQUENCE})"
            f" FROM {prefix}_{dataset.name} QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {SEQUENCE} DESC) = 1"
        )


def register(connection: duckdb.DuckDBPyConnection, store: Store, name: str) -> None:
    """A stored dataset as a view of its name; one that was never read is empty."""
    table = store.table(name)
    _rows(connection, name, table.paths if table is not None else [], KNOWN[name].schema)


def _rows(connection: duckdb.DuckDBPyConnection, name: str, paths: Sequence[str], schema: pa.Schema) -> None:
    """The rows of some files as a view; of none: an empty one."""
    if paths:
        _view(connection, name, parquet(paths))
    else:
        connection.register(name, schema.empty_table())


def _view(connection: duckdb.DuckDBPyConnection, name: str, sql: str) -> None:
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(name)} AS SELECT * FROM {sql}")


def _note_copies(facts: dict[str, Any], dataset: Dataset, rows: Unique) -> None:
    if rows.copies:
        facts.setdefault("copies dropped", {})[dataset.name] = rows.copies
    if rows.contradictions:
        facts.setdefault("keys whose copies differed", {})[dataset.name] = rows.contradictions


def _checked(
    connection: duckdb.DuckDBPyConnection,
    store: Store,
    written: Mapping[Dataset, Sequence[DataFile]],
    typed: _Typed | None,
    quarantine_limit: float,
) -> dict[str, list[Finding]]:
    """The checks of new files, before anything points to them."""
    relations: dict[str, str] = {}
    for name in {reference.dataset for dataset in written for reference in dataset.references}:
        # Who refers to customers means the list that was read; the calculated dataset comes later.
        target = CUSTOMER_RECORDS.name if name == CUSTOMERS.name else name
        if _stood(store, target) is not None:
            register(connection, store, target)
            relations[name] = target
    rejected = typed.report.rejected if typed is not None else []
    for dataset, files in written.items():
        _rows(connection, f"new_{dataset.name}", [file.path for file in files], dataset.schema)
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
    _view(connection, name, f"(SELECT {quoted(key.name)} FROM {new} UNION ALL FROM aside_{dataset.name})")
    return name


class ChecksFailed(DataRefused):
    """Blocking checks failed. ``found`` is every finding, by dataset."""

    def __init__(self, said: str, places: Sequence[str], found: Mapping[str, Sequence[Finding]]) -> None:
        look = f"; look at the new in {' and '.join(places)}" if places else ""
        super().__init__(f"the new data did not pass its checks ({said})", remedy=f"the old data stands{look}")
        self.found = found


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


def _level(level: Level) -> Finding:
    return Finding(
        name=f"{level.name}_level",
        blocking=False,
        count=0 if level.passed else 1,
        total=1,
        samples=(),
        description=LEVELS[level.name],
        said=f"{level.ours:,} here, {level.reported:,} in ChartMogul"
        + (f" ({level.difference:.2%} apart)" if level.reported else ""),
    )


def _plain(found: Mapping[str, Sequence[Finding]]) -> list[dict[str, Any]]:
    return [
        {"dataset": name, "check": f.name, "blocking": f.blocking, "count": f.count, "total": f.total}
        for name, each in found.items()
        for f in each
    ]


def _tables(store: Store, written: Collection[Dataset]) -> dict[str, Table]:
    tables = {dataset.name: store.table(dataset.name) for dataset in written}
    return {name: table for name, table in tables.items() if table is not None}
