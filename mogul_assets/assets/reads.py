"""``account/…``: one asset for each list of the API, and the exchange rates, landed raw."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from mogul_assets import refresh
from mogul_assets.account.landing import Progress
from mogul_assets.account.reader import AccountInfo
from mogul_assets.assets.common import AccountResource, StoreResource, failures, generation_of, months, span
from mogul_assets.catalog.reads import READS, Read
from mogul_assets.catalog.window import BEGINNING, Month, Window
from mogul_assets.errors import MogulError
from mogul_assets.refresh import incremental
from mogul_assets.store.store import RawRead, Store

GROUP = "account"
WARNINGS = "warnings"
"""The metadata of a reading that says what it met, a line each."""
NOT_OLDER_THAN = "mogul/not_older_than"
"""Run tag: a moment. What was read since then is not read again, so that ticks that coincide share one reading."""


READ_LISTS = "read_lists"
"""The step that reads all lists without a window."""


class Reading(dg.Config):
    """How the lists are read in this run."""

    full: bool = Field(default=False, description="Read every list whole, whatever is due.")


def read_assets(since: Month, rates: str) -> Sequence[dg.AssetsDefinition]:
    """The assets of the ``account`` group. Reading is one run at a time (pool ``account``).

    ``rates`` is who quotes the exchange rates, by the word of ``mogul.yaml``.
    """
    windowed = [
        _windowed(read, since, rates if read.name == "exchange_rates" else "chartmogul")
        for read in READS.values()
        if read.windowed
    ]
    return [_lists([read for read in READS.values() if not read.windowed]), *windowed]


def _lists(reads: Sequence[Read]) -> dg.AssetsDefinition:
    """The lists without a window: one step, read at once, each an asset of its own.

    Each list is bound by its longest chain of pages. At 40 requests a second and 100 ms a request, 1,200 pages took
    33 s at once and 74 s one list after the other. The account comes first: whether it changed decides how the others
    are read. Customers wait for the other lists only where these tell which customers to read.
    """

    @dg.multi_asset(
        name=READ_LISTS,
        specs=[
            dg.AssetSpec(
                [GROUP, read.name],
                group_name=GROUP,
                description=read.description,
                kinds={"chartmogul"},
                skippable=True,
            )
            for read in reads
        ],
        can_subset=True,
        pool="account",
    )
    def landed(
        context: dg.AssetExecutionContext, config: Reading, account: AccountResource, store: StoreResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        opened, generation, now = store.open(), generation_of(context), datetime.now(UTC)
        wanted = {read.name: read for read in reads if dg.AssetKey([GROUP, read.name]) in context.selected_asset_keys}
        shared = {name: None if config.full else _read_since(opened.raw_reads(name), context) for name in wanted}
        for name, done in shared.items():
            if done is not None:
                yield dg.MaterializeResult(
                    asset_key=[GROUP, name], metadata={**_metadata(done), "shared": "read by another run"}
                )

        def land(name: str, why: str | None) -> RawRead:
            progress = _progress(context, wanted[name])
            return incremental.land(opened, account.open(), name, generation=generation, why=why, progress=progress)

        with failures(), opened.writing(), ThreadPoolExecutor(len(wanted) or 1) as pool:
            begun: dict[str, Future[RawRead]] = {}
            unread = [name for name in wanted if shared[name] is None]
            if "account" in unread:
                begun["account"] = pool.submit(land, "account", "it is one request")
                wait(begun.values())
            everything = "this run was asked to" if config.full else _changed(context, opened)
            whys = {
                name: everything or incremental.whole_because(opened, name, full_read=account.full_read, now=now)
                for name in unread
            }
            for name in sorted(unread, key=incremental.CUSTOMERS.__eq__):
                if name == incremental.CUSTOMERS and whys[name] is None:
                    wait(begun.values())
                if name not in begun:
                    begun[name] = pool.submit(land, name, whys[name])
            errors = []
            for name, landing in begun.items():
                try:
                    done = landing.result()
                except MogulError as error:
                    errors.append(error)
                    continue
                _warn(context, done)
                context.log.info(f"{name}: {incremental.told(done)}")
                yield dg.MaterializeResult(asset_key=[GROUP, name], metadata=_metadata(done))
            if errors:
                raise errors[0]

    return landed


def _windowed(read: Read, since: Month, kind: str) -> dg.AssetsDefinition:
    """A list that is read by its dates: a step over a range of months."""

    @dg.asset(
        key=[GROUP, read.name],
        deps=[dg.AssetKey([GROUP, "account"])],
        group_name=GROUP,
        description=read.description,
        kinds={kind},
        partitions_def=months(since),
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool="account",
    )
    def landed(
        context: dg.AssetExecutionContext, account: AccountResource, store: StoreResource
    ) -> dg.MaterializeResult[Any]:
        opened, now = store.open(), datetime.now(UTC)
        with failures():
            first, _, window = span(context, since, now)
            info = refresh.known_account(opened)
            if _changed(context, opened) is not None:
                window = Window(BEGINNING, None)
            shared = _read_since(opened.raw_reads(read.name), context)
            if shared is not None and shared.window is not None and shared.window.holds(max(first.start, window.start)):
                return dg.MaterializeResult(metadata={**_metadata(shared), "shared": "read by another run"})
            with opened.writing():
                done = _land(context, read, opened, account, info=info, window=window, today=now.date())
        _warn(context, done)
        return dg.MaterializeResult(metadata={**_metadata(done), "window": str(window)})

    return landed


def _land(
    context: dg.AssetExecutionContext,
    read: Read,
    store: Store,
    account: AccountResource,
    *,
    info: AccountInfo,
    window: Window,
    today: date,
) -> RawRead:
    generation = generation_of(context)
    if read.name == "exchange_rates":
        return refresh.land_rates(
            store, account.rate_provider(), base=info.currency, generation=generation, window=window, today=today
        )
    return refresh.land(
        store, account.open(), read.name, generation=generation, window=window, progress=_progress(context, read)
    )


def _changed(context: dg.AssetExecutionContext, store: Store) -> str | None:
    """Why everything is read again, where the account is not what it was; said in the log too."""
    changed = refresh.account_changed(store, refresh.known_account(store)) if store.raw_reads("account") else None
    if changed is not None:
        context.log.warning(changed)
    return changed


def _read_since(reads: Sequence[RawRead], context: dg.AssetExecutionContext) -> RawRead | None:
    """The newest landed read, where it is as new as this run was asked for."""
    asked = context.run.tags.get(NOT_OLDER_THAN)
    if asked is None or not reads or reads[-1].read_at < datetime.fromisoformat(asked):
        return None
    return reads[-1]


def _metadata(read: RawRead) -> dict[str, Any]:
    rows = int(read.facts.get("rows", 0))
    metadata: dict[str, Any] = {
        "dagster/row_count": read.facts["known"] + read.facts["new"] if read.partial else rows,
        "read": incremental.told(read) if read.window is None else str(read.window),
        "rows read": rows,
        "pages": read.pages,
        "megabytes": round(read.bytes / 1e6, 2),
        "requests": int(read.facts.get("requests", 0)),
        "retries": int(read.facts.get("retries", 0)),
        "read at": dg.MetadataValue.timestamp(read.read_at),
        "generation": read.generation,
    }
    for name in ("name", "currency", "time_zone", "base"):
        if name in read.facts:
            metadata[name] = str(read.facts[name])
    if read.facts.get("warnings"):
        metadata[WARNINGS] = "\n".join(read.facts["warnings"])
    return metadata


def _warn(context: dg.AssetExecutionContext, read: RawRead) -> None:
    for warning in read.facts.get("warnings", []):
        context.log.warning(warning)


def _progress(context: dg.AssetExecutionContext, read: Read) -> Progress:
    """One plain line for each tenth of a list."""
    told = 0

    def progress(done: int, total: int | None) -> None:
        nonlocal told
        tenths = done * 10 // total if total else 0
        if tenths > told:
            told = tenths
            context.log.info(f"{read.name}: {done:,} of {total:,} rows")

    return progress
