"""When: a schedule for each destination asks for fresh data, and a sensor delivers it once it stands."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._utils.schedules import reverse_cron_string_iterator

from mogul_assets.assets.reads import NOT_OLDER_THAN
from mogul_assets.automation.jobs import REFRESH, delivery, refresh_range
from mogul_assets.automation.runs import served, under_way
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.errors import MogulError
from mogul_assets.settings import HOUR, NAMED_SCHEDULES, Entry
from mogul_assets.store.store import Store, group_of
from mogul_assets.store.window import Month

TICK = "mogul/tick"
DELIVERIES = "deliveries"


def destination_schedule(entry: Entry, store: Path, since: Month, job: Any) -> dg.ScheduleDefinition:
    """At its time a destination asks for data no older than that time.

    The tick starts a refresh, unless one that was asked for at this time or later is queued or runs already:
    ticks that coincide share one reading. The ``deliveries`` sensor does the rest.
    """
    assert entry.schedule is not None

    @dg.schedule(
        name=f"{entry.name}_schedule",
        job=job,
        cron_schedule=entry.schedule,
        execution_timezone=entry.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Refresh the account for {entry.name}; the sensor '{DELIVERIES}' then delivers.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        tick = context.scheduled_execution_time.astimezone(UTC)
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
        cron_schedule=NAMED_SCHEDULES["daily"].format(hour=HOUR),
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
                tick = served_tick(opened, entry, now)
                if tick != last_tick(entry, now):
                    waiting.append(f"{entry.name} waits for data no older than its tick")
                if tick is None or delivered_since(opened, entry, tick):
                    continue
                if (run := served(runs, entry.name)) is not None:
                    waiting.append(f"{entry.name} waits for the run {run.run_id[:8]} ({run.job_name})")
                    continue
                key, tags = f"{entry.name}@{tick.isoformat()}", {TICK: tick.isoformat()}
                yield delivery(opened, entry, entry.datasets, run_key=key, tags=tags, since=since, now=now)
            except MogulError as error:  # of one destination's data: the others are delivered to
                waiting.append(f"{entry.name}: {error}")
        if waiting:
            context.log.info("; ".join(waiting))

    return sensor


def last_tick(entry: Entry, now: datetime) -> datetime | None:
    """The destination's last tick before now, UTC; ``None`` where it has no schedule."""
    if entry.schedule is None or entry.problem is not None:
        return None
    # Dagster's own reading of a cron line, so that schedule and sensor agree to the second. It is no public
    # name: the family is pinned, and a test holds it to what we use.
    return next(reverse_cron_string_iterator(now.timestamp(), entry.schedule, entry.time_zone)).astimezone(UTC)


def served_tick(store: Store, entry: Entry, now: datetime) -> datetime | None:
    """The destination's last tick that every one of its datasets was read at or after; ``None`` where there is none."""
    pointers = [store.pointer(group) for group in sorted({group_of(DATASETS[name]) for name in entry.datasets})]
    read_at = [pointer.read_at for pointer in pointers if pointer is not None]
    return last_tick(entry, min(now, *read_at)) if len(read_at) == len(pointers) else None


def delivered_since(store: Store, entry: Entry, tick: datetime) -> bool:
    """Whether the destination already holds, of every dataset, what was read at the tick or later."""
    marks = [store.watermark(entry.name, name) for name in entry.datasets]
    return all(mark.read_at is not None and mark.read_at >= tick for mark in marks)
