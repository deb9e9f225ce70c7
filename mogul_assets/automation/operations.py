"""What is done by hand, for any destination by name: each a job with a form in the launchpad."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from mogul_assets import editing, refresh, running
from mogul_assets.assets.common import StoreResource, failures, generation_of
from mogul_assets.assets.deliveries import DestinationIOManager, chosen_of, deliver, delivery_key, discreet, tell
from mogul_assets.catalog.datasets import MOVEMENT_NEWS
from mogul_assets.destinations.base import Destination
from mogul_assets.destinations.configured import Misconfigured
from mogul_assets.destinations.messenger import Messenger
from mogul_assets.errors import ConfigurationError, DestinationRefused
from mogul_assets.messages.message import State
from mogul_assets.news import past_news
from mogul_assets.settings import Entry, Settings, load


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
    """A job for each operation that there is a destination for; its form begins with the first one.

    Nothing in a form changes with the day of loading: the definitions are the same whenever they are loaded.
    """
    any_ = next(iter(settings.destinations), "")
    messenger = next((name for name, entry in settings.destinations.items() if entry.habits.messages), "")
    first, second = (settings.account.since.plus(month).partition_key for month in (0, 1))
    table: Sequence[tuple[str, _Operation, Which, str]] = (
        ("send_now", _send, Send(destination=any_), "Deliver to one destination now, outside its schedule."),
        ("test_destination", _test, Which(destination=any_), "Test one destination; sends nothing."),
        (
            "pause_destination",
            _pause,
            Pause(destination=any_),
            "Pause one destination, or with paused: false let it be delivered to again.",
        ),
        (
            "replay",
            _replay,
            Span(destination=messenger, start=first, end=second),
            "Send past movements as messages; with only_count, say how many those are.",
        ),
        (
            "retry_messages",
            _retry,
            Again(destination=messenger),
            "Let messages be sent again that came to an end: the same bytes under the same ids.",
        ),
    )
    return [_job(job, make(settings), form, said) for job, make, form, said in table if form.destination]


_Operation = Callable[[Settings], dg.OpDefinition]


def _job(name: str, op: dg.OpDefinition, form: Which, description: str) -> dg.JobDefinition:
    graph = dg.GraphDefinition(name=name, node_defs=[op])
    return graph.to_job(config=dg.RunConfig(ops={op.name: form}), description=description)


def _send(settings: Settings) -> dg.OpDefinition:
    @dg.op(
        required_resource_keys={*settings.destinations, "store"},
        description="Deliver every dataset of one destination, whole, as the store holds it.",
    )
    def send(context: dg.OpExecutionContext, config: Send) -> None:
        with failures():
            entry, destination = _chosen(context, settings, config)
            store: StoreResource = context.resources.store
            wanted = (MOVEMENT_NEWS.name,) if entry.real_time else entry.datasets
            tables = [refresh.standing(store.open(), name, since=settings.account.since) for name in wanted]
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
                    dg.AssetMaterialization(
                        delivery_key(entry, name),
                        metadata={
                            "dagster/row_count": delivered.rows,
                            "location": delivered.location,
                            **{what: text for one in said for what, text in one.items()},
                        },
                    )
                )

    return send


def _test(settings: Settings) -> dg.OpDefinition:
    @dg.op(
        required_resource_keys=set(settings.destinations),
        description="Reach one destination and say, permission by permission, what it lets us do. Sends nothing.",
    )
    def test(context: dg.OpExecutionContext, config: Which) -> None:
        with failures():
            _, destination = _chosen(context, settings, config)
            with discreet(destination):
                permissions = destination.check()
            missing = [permission for permission in permissions if permission.problem is not None]
            for permission in permissions:
                context.log.info(f"{permission.name}: {permission.problem or 'allowed'}")
            if missing:
                raise DestinationRefused(
                    f"{config.destination}: {missing[0].name}: {missing[0].problem}", remedy=missing[0].remedy
                )

    return test


def _pause(settings: Settings) -> dg.OpDefinition:
    @dg.op(
        required_resource_keys=set(settings.destinations),
        description="Write into mogul.yaml that no schedule and no sensor delivers to one destination, or undo it.",
    )
    def pause(context: dg.OpExecutionContext, config: Pause) -> None:
        with failures():
            name = config.destination
            if not config.paused and settings.entry(name).habits.messages:
                messenger = _messenger(_chosen(context, settings, config)[1], instead="")
                with messenger.ledger.open() as ledger:
                    if ledger.resume(name):
                        context.log.info(f"{name} was disabled, and is sent to again")
            if load(settings.file).entry(name).paused is config.paused:
                context.log.info(f"{name} was {'paused' if config.paused else 'delivered to'} already")
                return
            editing.set_paused(settings.file, name, paused=config.paused)
            context.log.info(f"{name} is {'paused' if config.paused else 'delivered to again, by its schedule'}")
            context.log.info(running.read_again(settings))

    return pause


def _replay(settings: Settings) -> dg.OpDefinition:
    @dg.op(
        required_resource_keys={*settings.destinations, "store"},
        description="Send the movements between two moments to one destination, as the store has them.",
    )
    def replayed(context: dg.OpExecutionContext, config: Span) -> None:
        with failures():
            _, destination = _chosen(context, settings, config)
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

    return replayed


def _retry(settings: Settings) -> dg.OpDefinition:
    @dg.op(
        required_resource_keys=set(settings.destinations),
        description="Let messages of one destination be sent again: those of a state, or these.",
    )
    def retried(context: dg.OpExecutionContext, config: Again) -> None:
        with failures():
            entry, destination = _chosen(context, settings, config)
            messenger = _messenger(destination, instead="materialise its assets again")
            with messenger.ledger.open() as ledger:
                found = config.messages or [one.id for one in ledger.records(entry.name, [State(config.state)])]
                again = ledger.retry(found, datetime.now(UTC))
        context.log.info(f"{again:,} of {len(found):,} messages are due now: the sensor news sends them")

    return retried


def _chosen(context: dg.OpExecutionContext, settings: Settings, form: Which) -> tuple[Entry, Destination]:
    """What the form names.

    Raises:
        ConfigurationError: there is none of that name.
        DestinationRefused: an IO manager of the user's own takes its place.
    """
    entry, manager = settings.entry(form.destination), getattr(context.resources, form.destination)
    if not isinstance(manager, DestinationIOManager):
        raise DestinationRefused(f"{entry.name} is an IO manager of your own", remedy="materialise its assets instead")
    return entry, manager.destination


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
