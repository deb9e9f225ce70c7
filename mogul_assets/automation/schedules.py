"""When: a schedule for each destination asks for fresh data, and a sensor delivers it once it stands."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._utils.schedules import reverse_cron_string_iterator

from mogul_assets import refresh
from mogul_assets.assets.reads import NOT_OLDER_THAN
from mogul_assets.automation.jobs import REFRESH, delivery, refresh_range
from mogul_assets.automation.runs import served, under_way
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.window import Month
from mogul_assets.errors import MogulError
from mogul_assets.settings import Entry
from mogul_assets.store.store import Store, group_of
from mogul_assets.timetable import Timetable, cron_of

TICK = "mogul/tick"
DELIVERIES = "deliveries"


def destination_schedule(entry: Entry, store: Path, since: Month, job: Any) -> dg.ScheduleDefinition:
    """At its time a destination asks for data no older than that time.

    The tick starts a refresh, unless one that was asked for at this time or later is queued or runs already:
    ticks that coincide share one reading. Of ticks that were missed, the last one stands for all: Dagster hands over
    up to five, and each would read the account. The ``deliveries`` sensor does the rest.
    """

    @dg.schedule(
        name=f"{entry.name}_schedule",
        job=job,
        cron_schedule=[timetable.cron for timetable in entry.timetables],
        execution_timezone=entry.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Refresh the account for {entry.name}; the sensor '{DELIVERIES}' then delivers.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        tick = context.scheduled_execution_time.astimezone(UTC)
        latest = max(last_tick(timetable, datetime.now(UTC)) for timetable in entry.timetables)
        if latest > tick:
            return dg.SkipReason(f"missed; the tick of {latest:%Y-%m-%d %H:%M} UTC stands for it")
        shared = _asked_since(context.instance, tick)
        if shared is not None:
            return dg.SkipReason(f"shares the refresh {shared}")
        return dg.RunRequest(
            run_key=tick.isoformat(),
            tags={
                **refresh_range(Store(store), since, tick),
                NOT_OLDER_THAN: tick.isoformat(),
                "mogul/asked_by": entry.name,
            },
        )

    return schedule


def daily_refresh(store: Path, since: Month, job: Any) -> dg.ScheduleDefinition:
    """Once a day, where no destination has a schedule: messages tell of customers, plans and rates, too."""

    @dg.schedule(
        name="refresh_daily",
        job=job,
        cron_schedule=cron_of("daily"),
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Refresh the account once a day, for no destination has a schedule that does.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        tick = context.scheduled_execution_time.astimezone(UTC)
        return dg.RunRequest(run_key=tick.isoformat(), tags=refresh_range(Store(store), since, tick))

    return schedule


def _asked_since(instance: dg.DagsterInstance, tick: datetime) -> str | None:
    """A refresh that waits or runs and whose data will be no older than the tick."""
    for run in under_way(instance, REFRESH):
        asked = run.tags.get(NOT_OLDER_THAN)
        if asked is not None and datetime.fromisoformat(asked) >= tick:
            return run.run_id[:8]
    return None


def deliveries_sensor(
    entries: Mapping[str, Entry], store: Path, since: Month, jobs: Sequence[Any]
) -> dg.SensorDefinition:
    """Starts a destination's delivery when all its datasets are no older than a tick of its own.

    Of several ticks that passed meanwhile, only the last that the data serves counts: where a refresh takes longer
    than the schedule's interval, data no older than the very last tick never stands. The cursor is not needed: a
    run's key is its destination and tick, so that none is delivered twice.
    """

    @dg.sensor(
        name=DELIVERIES,
        jobs=jobs,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Delivers to each scheduled destination as soon as data no older than its tick stands.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        now, opened = datetime.now(UTC), Store(store)
        waiting, runs = [], under_way(context.instance)
        for entry in entries.values():
            try:
                due = []
                for timetable in entry.timetables:
                    tick = served_tick(opened, timetable, now)
                    if tick != last_tick(timetable, now):
                        waiting.append(f"{entry.name} waits for data no older than its tick")
                    if tick is not None and not delivered_since(opened, entry.name, timetable, tick):
                        due.append((tick, timetable.datasets))
                if not due:
                    continue
                if (run := served(runs, entry.name)) is not None:
                    waiting.append(f"{entry.name} waits for the run {run.run_id[:8]} ({run.job_name})")
                    continue
                tick = max(tick for tick, _ in due)
                datasets = [name for name in entry.datasets if any(name in names for _, names in due)]
                key, tags = f"{entry.name}@{tick.isoformat()}", {TICK: tick.isoformat()}
                yield delivery(opened, entry, datasets, run_key=key, tags=tags, since=since, now=now)
            except MogulError as error:  # of one destination's data: the others are delivered to
                waiting.append(f"{entry.name}: {error}")
        if waiting:
            context.log.info("; ".join(waiting))

    return sensor


def last_tick(timetable: Timetable, now: datetime) -> datetime:
    """The last tick before now, UTC."""
    # Dagster's own reading of a cron line, so that schedule and sensor agree to the second. It is no public
    # name: the family is pinned, and a test holds it to what we use.
    return next(reverse_cron_string_iterator(now.timestamp(), timetable.cron, timetable.time_zone)).astimezone(UTC)


def served_tick(store: Store, timetable: Timetable, now: datetime) -> datetime | None:
    """The last tick that every dataset which is due then was read at or after; ``None`` where there is none."""
    one_of_each = {group_of(DATASETS[name]): DATASETS[name] for name in timetable.datasets}
    read = [refresh.read_at(store, dataset) for dataset in one_of_each.values()]
    known = [at for at in read if at is not None]
    return last_tick(timetable, min(now, *known)) if len(known) == len(read) else None


def delivered_since(store: Store, destination: str, timetable: Timetable, tick: datetime) -> bool:
    """Whether the destination already holds, of every dataset that is due then, what was read at the tick or later."""
    marks = [store.watermark(destination, name) for name in timetable.datasets]
    return all(mark.read_at is not None and mark.read_at >= tick for mark in marks)
