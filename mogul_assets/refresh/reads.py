"""Which months of the account have to be read, and landing what was: reads as they came, and what is known by them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

from mogul_assets.account.landing import Progress, ReadSummary
from mogul_assets.account.pages import PageSink
from mogul_assets.account.rates import RateProvider
from mogul_assets.account.reader import Account, AccountInfo
from mogul_assets.catalog.columns import Dataset
from mogul_assets.catalog.datasets import MOVEMENT_NEWS, MRR_MOVEMENTS
from mogul_assets.catalog.window import Month, Window
from mogul_assets.errors import DataRefused
from mogul_assets.store.shape import typed_datasets
from mogul_assets.store.store import RawRead, Store, group_of
from mogul_assets.store.table import Table


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
    facts = landed_reads(store, "account")[-1].facts
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


def landed_reads(store: Store, read: str) -> list[RawRead]:
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
