"""Lists that are read only as far as needed: what is new in them, and the customers that it touches.

The API says of no list what was edited or deleted since, so each is read whole from time to time; that finds it. In
between, a list whose newest rows come first is read up to what is known. Customers come in no such order: those with
new movements, invoices, events or contacts are read one by one, while that is cheaper than their list. Wherever what
came cannot be all that is new, the list is read whole, and why is remembered with the reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import duckdb

from mogul_assets import refresh
from mogul_assets.account.chains import NeedsWhole
from mogul_assets.account.landing import Progress, ReadSummary
from mogul_assets.account.lists import LISTS, PAGE_ROWS, digest
from mogul_assets.account.pages import Gathered, PageSink
from mogul_assets.account.reader import Account
from mogul_assets.catalog.columns import Dataset
from mogul_assets.catalog.datasets import DATASETS, MRR_MOVEMENTS
from mogul_assets.catalog.window import BEGINNING, CLOCKS_APART, Month, Window
from mogul_assets.errors import StoreDamaged
from mogul_assets.store.shape import typed_columns
from mogul_assets.store.sql import literal, quoted
from mogul_assets.store.store import GONE_ENTRIES, RawRead, Store, group_of

CUSTOMERS = "customers"
GROWING = tuple(name for name, listing in LISTS.items() if listing.newest_first)
INCREMENTAL = (*GROWING, CUSTOMERS)

FULL_READ: Mapping[str, tuple[timedelta, str]] = {
    "weekly": (timedelta(days=7), "a week has passed"),
    "daily": (timedelta(days=1), "a day has passed"),
    "monthly": (timedelta(days=30), "a month has passed"),
    "always": (timedelta(0), "account.full_read is always"),
}
"""How long a whole reading suffices, by the setting, and what is said when it no longer does."""
SLACK = timedelta(hours=3)
"""How much earlier a whole reading may be due: a daily run that begins a minute earlier than last time skips no day."""
MUCH = 32_000_000
"""Bytes of partial readings that are typed again at each refresh, however short the list itself is: half a second."""
MANY = 200
"""Partial readings after which a list is read whole: each is opened and typed again at each refresh."""
LAG = timedelta(hours=6)
"""How long after its date a movement may come up while a run is between its customers and its movements."""
EARLIEST = timedelta(days=93)
"""From the beginning of time, as far as is looked back."""


def whole_because(store: Store, read: str, *, full_read: str, now: datetime) -> str | None:
    """Why a list has to be read whole, as far as the store knows; ``None``: what is new may do."""
    standing = store.raw_reads(read)
    if read not in INCREMENTAL:
        return "such a list always is"
    if not standing or standing[0].partial:
        return "it never was before"
    if not refresh.settled(store, read):
        return "what was read last did not become the data"
    first, later = standing[0], standing[1:]
    period, passed = FULL_READ[full_read]
    if not now - period + SLACK < first.read_at < now + CLOCKS_APART:
        return passed
    if len(later) >= MANY or sum(each.bytes for each in later) > max(first.bytes, MUCH):
        return "what was new since is longer than the list was"
    return None


def land(
    store: Store,
    account: Account,
    read: str,
    *,
    generation: str,
    why: str | None,
    progress: Progress | None = None,
    now: datetime | None = None,
) -> RawRead:
    """Read one list of the account and land it: what is new, or whole.

    Customers come after the other lists of their run: they are told by what those brought.

    Args:
        store: where it lands.
        account: whose list.
        read: a list that is not read by a window.
        generation: the run's.
        why: the reason to read it whole; ``None``: there is none yet.
        progress: told of rows as they land.
        now: when the reading begins; by the clock, unless given.
    """
    now = now or datetime.now(UTC)
    if why is None:
        try:
            if read == CUSTOMERS:
                return _land_touched(store, account, generation=generation, now=now)
            return _land_new(store, account, read, generation=generation, progress=progress, now=now)
        except NeedsWhole as needed:
            why = str(needed)
        except StoreDamaged:
            why = "what the store has of it cannot be read"
    return refresh.land(store, account, read, generation=generation, progress=progress, now=now, how=f"whole: {why}")


def told(landed: RawRead) -> str:
    """In a few words, how far the list was read."""
    if not landed.partial:
        return str(landed.facts.get("how", "whole"))
    pages = f"{landed.pages:,} page{'' if landed.pages == 1 else 's'}"
    return (
        f"{landed.pages:,} singly" if landed.file.startswith(f"raw/{CUSTOMERS}/") else f"{pages}: up to what is known"
    )


# -- what is new ----------------------------------------------------------------------------------------------


def _known(store: Store, read: str) -> set[int]:
    """The rows that were landed and are not gone, as digests; also those that could not be typed."""
    known: set[int] = set()
    for landed in store.raw_reads(read):
        for page in store.raw_pages(landed):
            known.update(LISTS[read].keys(page.body))
        known.difference_update(map(digest, landed.facts.get(GONE_ENTRIES, [])))
    return known


def _land_new(
    store: Store, account: Account, read: str, *, generation: str, progress: Progress | None, now: datetime
) -> RawRead:
    known = _known(store, read)

    def pages(sink: PageSink) -> ReadSummary:
        return account.read_new(read, sink, known=known, progress=progress)

    return refresh.landed(store, read, pages, generation=generation, now=now, known=len(known))


def _land_touched(store: Store, account: Account, *, generation: str, now: datetime) -> RawRead:
    """Land the customers that were touched since the last look, each read by itself.

    Raises:
        NeedsWhole: they are too many, or not all that is new.
    """
    total = account.count(CUSTOMERS)
    if total is None:
        raise NeedsWhole("the account no longer says how long the list is")
    pages = -(-total // PAGE_ROWS)
    if pages < 2:
        raise NeedsWhole("it has one page")
    last = store.raw_reads(CUSTOMERS)[-1]
    with refresh.working(store, generation, "touched") as (connection, _):
        refresh.register(connection, store, "source_customers")
        connection.execute("CREATE TEMP TABLE owner (uuid VARCHAR, source VARCHAR, external_id VARCHAR)")
        for read in GROWING:
            _owners_in_list(connection, store, read, last, generation)
        _few(connection, pages)  # before movements are asked for
        looked = _owners_of_movements(connection, store, account, last, now)
        touched = _few(connection, pages)
    singly = account.singly(touched)
    found = [page for page in singly.values() if page is not None]
    gone = [uuid for uuid, page in singly.items() if page is None]
    known = _known(store, CUSTOMERS)
    came = {key for page in found for key in LISTS[CUSTOMERS].keys(page.body)}
    here = len((known | came).difference(map(digest, gone)))
    if here != total:  # a new lead has no movement, and one that was merged or deleted none any more
        raise NeedsWhole(f"the account counts {total:,} rows where {here:,} are known")

    def put(sink: PageSink) -> ReadSummary:
        for page in found:
            sink.put(page)
        requests = 1 + looked.requests + len(touched)
        return ReadSummary(
            CUSTOMERS, len(found), len(found), requests, looked.retries, whole=False, new=len(came - known)
        )

    facts: dict[str, Any] = {"known": len(known) - len(gone), GONE_ENTRIES: gone}
    return refresh.landed(store, CUSTOMERS, put, generation=generation, now=now, **facts)


def _few(connection: duckdb.DuckDBPyConnection, pages: int) -> list[str]:
    """The customers of the table ``owner``. One that is not known is missed by the count, if by nothing else.

    Raises:
        NeedsWhole: they are more than half the pages of the list.
    """
    rows = connection.execute("""
        SELECT DISTINCT coalesce(owner.uuid, known.uuid) AS uuid FROM owner LEFT JOIN source_customers AS known
            ON known.data_source_uuid = owner.source AND known.external_id = owner.external_id
        WHERE coalesce(owner.uuid, known.uuid) IS NOT NULL ORDER BY uuid
    """).fetchall()
    if len(rows) > pages // 2:
        raise NeedsWhole(f"{len(rows):,} customers were touched, and the list has {pages:,} pages")
    return [uuid for (uuid,) in rows]


def _owners_in_list(
    connection: duckdb.DuckDBPyConnection, store: Store, read: str, last: RawRead, generation: str
) -> None:
    """Add whose rows are new, other ones or gone in a list, as it was read in this run, to the table ``owner``.

    Raises:
        NeedsWhole: it was also read when the customers were not: what was new then is so no longer.
    """
    reads = [each for each in store.raw_reads(read) if each.generation > last.generation]
    pointer = store.pointer(group_of(DATASETS[read]))
    settled = pointer.typed_from if pointer is not None else []
    if any(each.generation != generation for each in reads) or any(each > last.generation for each in settled):
        raise NeedsWhole(f"{read} were read since without them")
    if not reads:
        return
    dataset = DATASETS[read]
    *_, external_id = _owner(dataset)
    refresh.type_pages(connection, read, chain.from_iterable(map(store.raw_pages, reads)), "new")
    refresh.register(connection, store, dataset.name)
    key = ", ".join(map(quoted, dataset.key))
    # The customer's own id is filled in later where an invoice does not say it.
    columns = ", ".join(quoted(column.name) for column in typed_columns(dataset) if column.name != external_id)
    new = f"new_{dataset.name}"
    _add(
        connection,
        dataset,
        f"{new} SEMI JOIN (SELECT {columns} FROM {new} EXCEPT"
        f" SELECT {columns} FROM {dataset.name} SEMI JOIN {new} USING ({key})) USING ({key})",
    )
    if not reads[-1].partial:
        _add(connection, dataset, f"{dataset.name} ANTI JOIN {new} USING ({key})")


def _owners_of_movements(
    connection: duckdb.DuckDBPyConnection, store: Store, account: Account, last: RawRead, now: datetime
) -> ReadSummary:
    """Add whose movements are new, other ones or gone, or happened lately, to the table ``owner``."""
    lately = max(min(last.read_at, now), BEGINNING + EARLIEST) - LAG
    start = Month.of(lately).plus(-1).start  # as far back as movements are read again
    gathered = Gathered()
    looked = account.read("activities", gathered, window=Window(start, None))
    refresh.type_pages(connection, "activities", gathered.pages, "new")
    pointer = store.pointer(group_of(MRR_MOVEMENTS))
    refresh.register(connection, store, MRR_MOVEMENTS.name)
    columns = ", ".join(quoted(column.name) for column in MRR_MOVEMENTS.columns if column.source is not None)
    # What was read after the customers tells nothing of what they were then.
    known = pointer is not None and pointer.generation <= last.generation
    fresh, stood = (
        f"(SELECT {columns} FROM {name} WHERE date >= {literal(start.isoformat())} AND {which})"
        for name, which in ((f"new_{MRR_MOVEMENTS.name}", "true"), (MRR_MOVEMENTS.name, str(known).lower()))
    )
    # A run reads movements after the customers: one of the last hours may be in the store and not in its customer.
    happened = f"date >= {literal(lately.isoformat())} AND date <= {literal(now.isoformat())}"
    for rows in (f"({fresh} EXCEPT {stood})", f"({stood} EXCEPT {fresh})", f"(SELECT * FROM {fresh} WHERE {happened})"):
        _add(connection, MRR_MOVEMENTS, rows)
    return looked


def _owner(dataset: Dataset) -> tuple[str, str, str]:
    """Where rows say whose they are: the customer's uuid, or its data source and id there."""
    about = dataset.about
    assert about is not None
    assert about.record is not None
    return (about.uuid or "NULL", *about.record)


def _add(connection: duckdb.DuckDBPyConnection, dataset: Dataset, rows: str) -> None:
    connection.execute(f"INSERT INTO owner SELECT {', '.join(_owner(dataset))} FROM {rows}")
