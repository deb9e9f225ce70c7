"""``account/…``: one asset for each list of the API, and the exchange rates, landed raw."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from mogul_assets import refresh
from mogul_assets.assets.common import AccountResource, StoreResource, failures, generation_of, months, span
from mogul_assets.catalog.reads import READS, Read
from mogul_assets.store.store import RawRead
from mogul_assets.store.window import BEGINNING, Month, Window

GROUP = "account"
NOT_OLDER_THAN = "mogul/not_older_than"
"""Run tag: a moment. What was read since then is not read again, so that ticks that coincide share one reading."""


def read_assets(since: Month) -> Sequence[dg.AssetsDefinition]:
    """The assets of the ``account`` group. Reading is one run at a time (pool ``account``)."""
    return [_read_asset(read, since) for read in READS.values()]


def _read_asset(read: Read, since: Month) -> dg.AssetsDefinition:
    upstream = [] if read.name == "account" else [dg.AssetKey([GROUP, "account"])]

    @dg.asset(
        key=[GROUP, read.name],
        deps=upstream if read.windowed else [],
        group_name=GROUP,
        description=read.description,
        kinds={"chartmogul"} if read.name != "exchange_rates" else {"ecb"},
        partitions_def=months(since) if read.windowed else None,
        backfill_policy=dg.BackfillPolicy.single_run() if read.windowed else None,
        pool="account",
    )
    def landed(context: dg.AssetExecutionContext, account: AccountResource, store: StoreResource) -> Any:
        with failures():
            return _windowed(context, account, store) if read.windowed else _whole(context, account, store)

    def _whole(context: dg.AssetExecutionContext, account: AccountResource, store: StoreResource) -> Any:
        opened = store.open()
        shared = _read_since(opened.raw_reads(read.name), context)
        if shared is not None:
            return dg.MaterializeResult(metadata={**_metadata(shared), "shared": "read by another run"})
        with opened.writing():
            done = refresh.land(
                opened, account.open(), read.name, generation=generation_of(context), progress=_progress(context, read)
            )
        _warn(context, done)
        return dg.MaterializeResult(metadata=_metadata(done))

    def _windowed(context: dg.AssetExecutionContext, account: AccountResource, store: StoreResource) -> Any:
        opened, now = store.open(), datetime.now(UTC)
        first, _, window = span(context, since, now)
        info = refresh.known_account(opened)
        changed = refresh.account_changed(opened, info)
        if changed is not None:
            context.log.warning(changed)
            window = Window(BEGINNING, None)
        shared = _read_since(opened.raw_reads(read.name), context)
        if shared is not None and shared.window is not None and shared.window.holds(max(first.start, window.start)):
            return dg.MaterializeResult(metadata={**_metadata(shared), "shared": "read by another run"})
        with opened.writing():
            if read.name == "exchange_rates":
                done = refresh.land_rates(
                    opened,
                    account.rate_provider(),
                    base=info.currency,
                    generation=generation_of(context),
                    window=window,
                    today=now.date(),
                )
            else:
                done = refresh.land(
                    opened,
                    account.open(),
                    read.name,
                    generation=generation_of(context),
                    window=window,
                    progress=_progress(context, read),
                )
        _warn(context, done)
        return dg.MaterializeResult(metadata={**_metadata(done), "window": str(window)})

    return landed


def _read_since(reads: Sequence[RawRead], context: dg.AssetExecutionContext) -> RawRead | None:
    """The newest landed read, where it is as new as this run was asked for."""
    asked = context.run.tags.get(NOT_OLDER_THAN)
    if asked is None or not reads or reads[-1].read_at < datetime.fromisoformat(asked):
        return None
    return reads[-1]


def _metadata(read: RawRead) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "dagster/row_count": int(read.facts.get("rows", 0)),
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
        metadata["warnings"] = "\n".join(read.facts["warnings"])
    return metadata


def _warn(context: dg.AssetExecutionContext, read: RawRead) -> None:
    for warning in read.facts.get("warnings", []):
        context.log.warning(warning)


def _progress(context: dg.AssetExecutionContext, read: Read) -> refresh.Progress:
    """One plain line for each tenth of a list."""
    told = 0

    def progress(done: int, total: int | None) -> None:
        nonlocal told
        tenths = done * 10 // total if total else 0
        if tenths > told:
            told = tenths
            context.log.info(f"{read.name}: {done:,} of {total:,} rows")

    return progress
