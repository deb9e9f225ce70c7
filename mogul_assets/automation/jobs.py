"""The jobs: refresh the account, deliver to one destination, tell the news, delete what links led to."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster._core.storage.tags import RETRY_ON_ASSET_OR_OP_FAILURE_TAG

from mogul_assets import refresh
from mogul_assets.assets.chosen import to_be_held
from mogul_assets.assets.deliveries import (
    DESTINATION,
    NEWS_ASSET,
    delivery_key,
    discreet,
)
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.reads import READS
from mogul_assets.catalog.window import Month
from mogul_assets.errors import MogulError
from mogul_assets.settings import Entry
from mogul_assets.store.store import Store

REFRESH = "refresh"
NEWS = "news"
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


def refresh_job() -> Any:
    """Read the account and settle all thirteen datasets."""
    return dg.define_asset_job(
        REFRESH,
        selection=dg.AssetSelection.groups("account", "source_data", "calculated_data"),
        description="Read the account and settle the thirteen datasets; delivers nothing.",
    )


def deliver_job_name(destination: str) -> str:
    return f"deliver_{destination}"


def deliver_job(entry: Entry) -> Any:
    """Deliver what the store holds to one destination; reads no account."""
    return dg.define_asset_job(
        deliver_job_name(entry.name),
        selection=dg.AssetSelection.groups(entry.name).without_checks(),
        description=f"Deliver what the store holds to {entry.name}; reads no account.",
        tags={DESTINATION: entry.name, RETRY_ON_ASSET_OR_OP_FAILURE_TAG: "false"},  # the sensor `retries` does that
    )


def news_job(entries: Sequence[Entry]) -> Any:
    """Read what is new and tell it, to everything that is told movements as they happen; send what is due again."""
    assets = [NEWS_ASSET, *(delivery_key(entry, name) for entry in entries for name in entry.datasets)]
    return dg.define_asset_job(
        NEWS,
        selection=dg.AssetSelection.assets(*assets).without_checks(),
        description="Read the newest movements and tell them, as they happen; send again what is due.",
        # It goes before whatever waits in the queue; the sensor starts the next one, however this one ends.
        tags={"dagster/priority": "10", "dagster/max_retries": "0", RETRY_ON_ASSET_OR_OP_FAILURE_TAG: "false"},
    )


def refresh_range(store: Store, since: Month, now: datetime) -> dict[str, str]:
    """The run tags that make a refresh cover what it has to, to the current month."""
    firsts = [refresh.coverage(store, name, since=since, now=now) for name, read in READS.items() if read.windowed]
    return partition_range(min(firsts), Month.of(now))


def deliver_range(
    store: Store,
    destination: str,
    datasets: Sequence[str],
    since: Month,
    now: datetime,
    *,
    choice: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """The run tags that make a delivery cover every month that the destination does not hold as the store does.

    ``choice``: the settings that say what of that it is to hold.
    """
    this = Month.of(now)
    windowed = [name for name in datasets if DATASETS[name].window is not None]
    stale = [store.stale_from(destination, name, to_be_held(choice or {}, name, store)) for name in windowed]
    never = any(store.watermark(destination, name).delivered_at is None for name in windowed)
    first = since if never else min([month for month in stale if month is not None], default=this)
    return partition_range(min(max(first, since), this), this)


def delivery_tags(store: Store, entry: Entry, datasets: Sequence[str], since: Month, now: datetime) -> dict[str, str]:
    """The run tags that make a delivery of these datasets cover what it has to: none where nothing is by month."""
    by_month = entry.partitioned and any(DATASETS[name].window is not None for name in datasets)
    return deliver_range(store, entry.name, datasets, since, now, choice=entry.choice) if by_month else {}


def delivery(
    store: Store,
    entry: Entry,
    datasets: Sequence[str],
    *,
    run_key: str,
    tags: Mapping[str, str],
    since: Month,
    now: datetime,
) -> dg.RunRequest:
    """A run that delivers these of a destination's datasets, over the months that it does not hold as the store does.

    ``run_key`` keeps it from being started twice.
    """
    return dg.RunRequest(
        job_name=deliver_job_name(entry.name),
        run_key=run_key,
        asset_selection=[delivery_key(entry, name) for name in datasets],
        asset_check_keys=[],  # else those of the assets come along
        tags={**tags, **delivery_tags(store, entry, datasets, since, now)},
    )


def partition_range(first: Month, last: Month) -> dict[str, str]:
    return {RANGE_START: first.partition_key, RANGE_END: last.partition_key}


def expiry(entries: Sequence[Entry]) -> dg.ScheduleDefinition:
    """Every hour: the files that links in mails led to are deleted once those have ended."""

    @dg.op(
        required_resource_keys={entry.name for entry in entries},
        description="Delete the files that links in mails led to, once the links have ended.",
    )
    def expired(context: dg.OpExecutionContext) -> None:
        now, problems = datetime.now(UTC), []
        for entry in entries:
            destination = getattr(context.resources, entry.name).destination
            try:
                with discreet(destination):
                    gone = destination.expire(now)
            except MogulError as error:  # of one: the others' files go
                problems.append(str(error))
            else:
                context.log.info(f"{entry.name}: {gone} files deleted")
        if problems:
            raise dg.Failure(description="; ".join(problems))

    @dg.job(name="expire_links", description="Delete the files that links in mails led to, once the links have ended.")
    def expire_links() -> None:
        expired()

    return dg.ScheduleDefinition(
        job=expire_links, cron_schedule="50 * * * *", default_status=dg.DefaultScheduleStatus.RUNNING
    )
