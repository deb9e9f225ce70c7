"""The jobs: refresh the account, deliver to one destination, and what is done by hand from the launchpad."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster import AssetMaterialization
from dagster._core.storage.tags import RETRY_ON_ASSET_OR_OP_FAILURE_TAG
from pydantic import Field

from mogul_assets import editing, refresh, running
from mogul_assets.assets.chosen import to_be_held
from mogul_assets.assets.common import StoreResource, failures, generation_of
from mogul_assets.assets.deliveries import (
    DESTINATION,
    NEWS_ASSET,
    DestinationIOManager,
    chosen_of,
    deliver,
    delivery_key,
    discreet,
    tell,
)
from mogul_assets.catalog.datasets import DATASETS, MOVEMENT_NEWS
from mogul_assets.catalog.reads import READS
from mogul_assets.destinations.base import Destination
from mogul_assets.destinations.configured import Misconfigured
from mogul_assets.destinations.messenger import Messenger
from mogul_assets.errors import ConfigurationError, DestinationRefused, MogulError
from mogul_assets.messages.message import State
from mogul_assets.news import past_news
from mogul_assets.settings import Entry, Settings, load
from mogul_assets.store.store import Store
from mogul_assets.store.window import Month

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


class Which(dg.Config):
    """Which destination, by its name in mogul.yaml."""

    destination: str


class Send(Which):
    """Where to, and whether a dataset may have lost more of its rows than its ``guard`` allows."""

    allow_loss: bool = False


class Pause(Which):
    """Which one, and whether it is paused from now on, or delivered to again."""

    paused: bool = True


class Span(Which):
    """Which movements: dated from ``start`` on and before ``end``, days or moments in UTC."""

    start: str
    end: str
    only_count: bool = True


class Again(Which):
    """Which messages: these, or all in a state."""

    messages: list[str] = Field(default_factory=list)
    state: str = State.FAILED.value


def operations(settings: Settings) -> Sequence[dg.JobDefinition]:
    """What is done by hand, for any destination by name: each a job with a form in the launchpad."""
    entries, since = settings.destinations, settings.account.since
    keys = set(entries)

    def chosen(context: dg.OpExecutionContext, name: str) -> tuple[Entry, Destination]:
        entry, manager = settings.entry(name), getattr(context.resources, name, None)
        if not isinstance(manager, DestinationIOManager):
            raise DestinationRefused(f"{name} is an IO manager of your own", remedy="materialise its assets instead")
        return entry, manager.destination

    @dg.op(
        required_resource_keys=keys | {"store"},
        description="Deliver every dataset of one destination, whole, as the store holds it.",
    )
    def send(context: dg.OpExecutionContext, config: Send) -> None:
        with failures():
            entry, destination = chosen(context, config.destination)
            store: StoreResource = context.resources.store
            wanted = (MOVEMENT_NEWS.name,) if entry.real_time else entry.datasets
            tables = [refresh.standing(store.open(), name, since=since) for name in wanted]
            if entry.habits.messages:
                done = dict.fromkeys(entry.datasets, tell(destination, tables, store, entry.datasets, anew=True))
            else:
                guard = None if config.allow_loss else entry.guard
                done = {table.dataset: deliver(destination, table, store, guard=guard) for table in tables}
            for name, delivered in done.items():
                said = [
                    chosen_of(table) for table in delivered.sent if table.choice.get("dataset", table.dataset) == name
                ]
                context.log_event(
                    AssetMaterialization(
                        delivery_key(entry, name),
                        metadata={
                            "dagster/row_count": delivered.rows,
                            "location": delivered.location,
                            **{what: text for one in said for what, text in one.items()},
                        },
                    )
                )

    @dg.op(
        required_resource_keys=keys,
        description="Reach one destination and say, permission by permission, what it lets us do. Sends nothing.",
    )
    def test(context: dg.OpExecutionContext, config: Which) -> None:
        with failures():
            _, destination = chosen(context, config.destination)
            with discreet(destination):
                permissions = destination.check()
            missing = [permission for permission in permissions if permission.problem is not None]
            for permission in permissions:
                context.log.info(f"{permission.name}: {permission.problem or 'allowed'}")
            if missing:
                raise DestinationRefused(
                    f"{config.destination}: {missing[0].name}: {missing[0].problem}", remedy=missing[0].remedy
                )

    @dg.op(
        required_resource_keys=keys,
        description="Write into mogul.yaml that no schedule and no sensor delivers to one destination, or undo it.",
    )
    def pause(context: dg.OpExecutionContext, config: Pause) -> None:
        with failures():
            name = config.destination
            if not config.paused and settings.entry(name).habits.messages:
                messenger = _messenger(chosen(context, name)[1], instead="")
                with messenger.ledger.open() as ledger:
                    if ledger.resume(name):
                        context.log.info(f"{name} was disabled, and is sent to again")
            if load(settings.file).entry(name).paused is config.paused:
                context.log.info(f"{name} was {'paused' if config.paused else 'delivered to'} already")
                return
            editing.set_paused(settings.file, name, paused=config.paused)
            context.log.info(f"{name} is {'paused' if config.paused else 'delivered to again, by its schedule'}")
            context.log.info(running.read_again(settings))

    @dg.op(
        required_resource_keys=keys | {"store"},
        description="Send the movements between two moments to one destination, as the store has them.",
    )
    def replayed(context: dg.OpExecutionContext, config: Span) -> None:
        with failures():
            _, destination = chosen(context, config.destination)
            messenger = _messenger(destination, instead="launch a backfill of its assets")
            store = context.resources.store.open()
            start, end = (_moment(text) for text in (config.start, config.end))
            table = past_news(store, start, end, generation=generation_of(context))
            counted = messenger.replay(table, only_count=config.only_count)
        what = "nothing was changed" if config.only_count else "they are due now"
        context.log.info(
            f"{counted.new:,} messages never told, {counted.again:,} told before and sent again as they were, "
            f"{counted.left_out:,} never sent; {what}"
        )

    @dg.op(
        required_resource_keys=keys,
        description="Let messages of one destination be sent again: those of a state, or these.",
    )
    def retried(context: dg.OpExecutionContext, config: Again) -> None:
        with failures():
            entry, destination = chosen(context, config.destination)
            messenger = _messenger(destination, instead="materialise its assets again")
            with messenger.ledger.open() as ledger:
                found = config.messages or [one.id for one in ledger.records(entry.name, [State(config.state)])]
                again = ledger.retry(found, datetime.now(UTC))
        context.log.info(f"{again:,} of {len(found):,} messages are due now: the sensor news sends them")

    first = next(iter(entries), "")

    @dg.job(
        name="send_now",
        config=dg.RunConfig(ops={"send": Send(destination=first)}),
        description="Deliver to one destination now, outside its schedule.",
    )
    def send_now() -> None:
        send()

    @dg.job(
        name="test_destination",
        config=dg.RunConfig(ops={"test": Which(destination=first)}),
        description="Test one destination; sends nothing.",
    )
    def test_destination() -> None:
        test()

    @dg.job(
        name="pause_destination",
        config=dg.RunConfig(ops={"pause": Pause(destination=first)}),
        description="Pause one destination, or with paused: false let it be delivered to again.",
    )
    def pause_destination() -> None:
        pause()

    told = [name for name, entry in entries.items() if entry.habits.messages]
    if not told:
        return [send_now, test_destination, pause_destination]
    last = datetime.now(UTC).replace(day=1)

    @dg.job(
        name="replay",
        config=dg.RunConfig(
            ops={"replayed": Span(destination=told[0], start=f"{last:%Y-%m-%d}", end=f"{datetime.now(UTC):%Y-%m-%d}")}
        ),
        description="Send past movements as messages; with only_count, say how many those are.",
    )
    def replay() -> None:
        replayed()

    @dg.job(
        name="retry_messages",
        config=dg.RunConfig(ops={"retried": Again(destination=told[0])}),
        description="Let messages be sent again that came to an end: the same bytes under the same ids.",
    )
    def retry_messages() -> None:
        retried()

    return [send_now, test_destination, pause_destination, replay, retry_messages]


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


def _messenger(destination: Destination, *, instead: str) -> Messenger:
    """The destination, where it sends messages; ``instead`` is the remedy where it does not."""
    if isinstance(destination, Misconfigured):
        raise destination.error()
    if not isinstance(destination, Messenger):
        raise DestinationRefused(f"{destination.name} sends no messages", remedy=instead)
    return destination


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"'{text}' is no day", remedy="write it like 2026-01-31, UTC") from None
    return moment.replace(tzinfo=moment.tzinfo or UTC)
