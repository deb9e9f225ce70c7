"""What is done by hand, for any destination by name: each a job with a form in the launchpad."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from mogul_assets import pausing, refresh
from mogul_assets.assets.common import failures, generation_of, raise_together
from mogul_assets.assets.deliveries import (
    DestinationIOManager,
    concerns,
    delivery_key,
    discreet,
    metadata_of,
    pool_of,
    tell,
)
from mogul_assets.catalog.datasets import MOVEMENT_NEWS
from mogul_assets.destinations.configured import sending_messages
from mogul_assets.destinations.messenger import LedgerResource
from mogul_assets.errors import ConfigurationError, DestinationRefused
from mogul_assets.messages.message import State
from mogul_assets.refresh.news import past_news
from mogul_assets.settings import Entry, Settings


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


_Operation = Callable[[Settings], dg.OpDefinition | dg.GraphDefinition]


def _job(name: str, node: dg.OpDefinition | dg.GraphDefinition, form: Which, description: str) -> dg.JobDefinition:
    graph = dg.GraphDefinition(name=name, node_defs=[node])
    return graph.to_job(config=dg.RunConfig(ops={node.name: form}), description=description)


def _send(settings: Settings) -> dg.GraphDefinition:
    """One step for each destination, in the pool of its deliveries: of a step, Dagster must know that beforehand.

    The first step chooses which of them runs; each has the whole form.
    """

    @dg.op(
        out={name: dg.Out(dg.Nothing, is_required=False) for name in map(_step, settings.destinations)},
        description="Choose the destination; the steps of all others are skipped.",
    )
    def choose(context: dg.OpExecutionContext, config: Send) -> Iterator[dg.Output[None]]:
        with failures():
            yield dg.Output(None, _step(_named(context, settings, config).name))

    steps = [_sent(settings, entry) for entry in settings.destinations.values()]

    @dg.config_mapping
    def form(form: Send) -> dict[str, Any]:
        return {step.name: {"config": form.model_dump()} for step in (choose, *steps)}

    return dg.GraphDefinition(
        name="send",
        node_defs=[choose, *steps],
        dependencies={step.name: {"chosen": dg.DependencyDefinition("choose", step.name)} for step in steps},
        config=form,
        description="Deliver every dataset of one destination, whole, as the store holds it.",
    )


def _step(destination: str) -> str:
    return f"to_{destination}"


def _sent(settings: Settings, entry: Entry) -> dg.OpDefinition:
    @dg.op(
        name=_step(entry.name),
        ins={"chosen": dg.In(dg.Nothing)},
        required_resource_keys={entry.name, "store"},
        pool=pool_of(entry),
        description=f"Deliver every dataset of {entry.name}, whole, as the store holds it.",
    )
    def sent(context: dg.OpExecutionContext, config: Send) -> None:
        with failures():
            manager, store = _chosen(context, entry), context.resources.store
        arrived: list[str] = []
        errors: dict[str, Exception] = {}
        for names in [entry.datasets] if entry.habits.messages else [(name,) for name in entry.datasets]:
            try:
                wanted = (MOVEMENT_NEWS.name,) if entry.real_time else names
                tables = [refresh.standing(store.open(), name, since=settings.account.since) for name in wanted]
                if entry.habits.messages:
                    delivered = tell(manager.destination, tables, store, names, anew=True)
                else:
                    delivered = manager.deliver(tables[0], allow_loss=config.allow_loss)
            except Exception as error:  # noqa: BLE001 - of these: the others are delivered
                errors |= dict.fromkeys(names, error)
                continue
            for name, table in zip(names, delivered.sent, strict=True):
                metadata = metadata_of(delivered, table)
                context.log_event(dg.AssetMaterialization(delivery_key(entry, name), metadata=metadata))
            arrived += names
        how = f"{len(arrived)} of {len(entry.datasets)} delivered"
        raise_together(errors, besides=f"{how} ({', '.join(arrived) or 'none'}), not {', '.join(errors)}")

    return sent


def _test(settings: Settings) -> dg.OpDefinition:
    @dg.op(
        required_resource_keys=set(settings.destinations),
        description="Reach one destination and say, permission by permission, what it lets us do. Sends nothing.",
    )
    def test(context: dg.OpExecutionContext, config: Which) -> None:
        with failures():
            destination = _chosen(context, _named(context, settings, config)).destination
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
    @dg.op(description="Write into mogul.yaml that no schedule and no sensor delivers to one destination, or undo it.")
    def pause(context: dg.OpExecutionContext, config: Pause) -> None:
        with failures():
            name, ledger = _named(context, settings, config).name, LedgerResource.of(settings.ledger)
            said = pausing.pause(settings, name) if config.paused else pausing.resume(settings, name, ledger.open)
            for line in said:
                context.log.info(line)

    return pause


def _replay(settings: Settings) -> dg.OpDefinition:
    @dg.op(
        required_resource_keys={*settings.destinations, "store"},
        description="Send the movements between two moments to one destination, as the store has them.",
    )
    def replayed(context: dg.OpExecutionContext, config: Span) -> None:
        with failures():
            destination = _chosen(context, _named(context, settings, config)).destination
            messenger = sending_messages(destination, instead="launch a backfill of its assets")
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
            entry = _named(context, settings, config)
            messenger = sending_messages(_chosen(context, entry).destination, instead="materialise its assets again")
            with messenger.ledger.open() as ledger:
                found = config.messages or [one.id for one in ledger.records(entry.name, [State(config.state)])]
                again = ledger.retry(found, datetime.now(UTC))
        context.log.info(f"{again:,} of {len(found):,} messages are due now: the sensor news sends them")

    return retried


def _named(context: dg.OpExecutionContext, settings: Settings, form: Which) -> Entry:
    """The destination that the form names, which the run is found by from now on.

    Raises:
        ConfigurationError: there is none of that name.
    """
    entry = settings.entry(form.destination)
    concerns(context.instance, context.run, entry.name)
    return entry


def _chosen(context: dg.OpExecutionContext, entry: Entry) -> DestinationIOManager:
    """What delivers to a destination.

    Raises:
        DestinationRefused: an IO manager of the user's own takes its place.
    """
    manager = getattr(context.resources, entry.name)
    if not isinstance(manager, DestinationIOManager):
        raise DestinationRefused(f"{entry.name} is an IO manager of your own", remedy="materialise its assets instead")
    return manager


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"'{text}' is no day", remedy="write it like 2026-01-31, UTC") from None
    return moment.replace(tzinfo=moment.tzinfo or UTC)
