"""What delivers by itself, beside the schedules: whatever a refresh brought, and what failed and is due again.

No two runs of one destination are started at once: Dagster's daemon evaluates one sensor after the other, and each
looks first at what is queued or running. That and a run's key keep a delivery from being started twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import dagster as dg

from mogul_assets.assets.chosen import settings_to_be_held
from mogul_assets.assets.deliveries import AGAIN_AFTER, ATTEMPT
from mogul_assets.automation.jobs import REFRESH, delivery
from mogul_assets.automation.runs import served, under_way
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.window import Month
from mogul_assets.errors import MogulError
from mogul_assets.messages import sending
from mogul_assets.settings import Entry
from mogul_assets.store.store import Store, Watermark, group_of

RETRIES = "retries"
INTERVAL = timedelta(seconds=30)
"""How often a sensor looks."""

Request = dg.RunRequest | dg.SkipReason


def on_refresh_sensor(
    entry: Entry, store: Path, since: Month, job: Any, clock: sending.Clock = sending.now
) -> dg.SensorDefinition:
    """Delivers to a destination what is newer in the store than there, once the refresh that brings it has ended.

    A refresh that has brought nothing yet is not waited for: where one follows the other, that would be for ever.

    Its cursor is what it asked for last: whatever became of that run, the same data is not asked for again. What
    failed is the sensor ``retries``'s, then the next refresh's.
    """

    @dg.sensor(
        name=f"{entry.name}_on_refresh",
        job=job,
        minimum_interval_seconds=int(INTERVAL.total_seconds()),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Delivers to {entry.name} whatever a refresh brought.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> Request:
        opened = Store(store)
        standing = _standing(opened, entry)
        newest = _run_key(entry, standing)
        if newest == context.cursor:
            return dg.SkipReason("nothing new since the last time")
        runs = under_way(context.instance)
        waits_for = _bringing(runs, standing) or served(runs, entry.name)
        if waits_for is not None:
            return dg.SkipReason(f"waits for the run {waits_for.run_id[:8]} ({waits_for.job_name})")
        context.update_cursor(newest)
        newer = [name for name, stands in standing.items() if _newer(stands, opened.watermark(entry.name, name))]
        if not newer:
            return dg.SkipReason(f"{entry.name} holds what the store does")
        return delivery(opened, entry, newer, run_key=newest, tags={}, since=since, now=clock())

    return sensor


@dataclass(frozen=True, slots=True)
class _Stands:
    """The generation of a dataset, and what the settings choose of it for the destination."""

    generation: str
    chosen: str


def _standing(store: Store, entry: Entry) -> dict[str, _Stands]:
    """What stands, for each of the destination's datasets that was ever read."""
    groups = {name: group_of(DATASETS[name]) for name in entry.datasets}
    pointers = {group: store.pointer(group) for group in set(groups.values())}
    return {
        name: _Stands(pointer.generation, settings_to_be_held(entry.choice, name))
        for name, group in groups.items()
        if (pointer := pointers[group]) is not None
    }


def _newer(stands: _Stands, mark: Watermark) -> bool:
    return stands.generation > mark.generation or stands.chosen != mark.chosen.settings


def _bringing(runs: Sequence[dg.DagsterRun], standing: Mapping[str, _Stands]) -> dg.DagsterRun | None:
    """A refresh among the runs that has brought something of what stands, and may bring more."""
    brought = {stands.generation.rpartition("-")[2] for stands in standing.values()}
    return next((run for run in runs if run.job_name == REFRESH and run.run_id[:4] in brought), None)


def _run_key(entry: Entry, standing: Mapping[str, _Stands]) -> str:
    """Names what stands: its newest generation, and all of them, since datasets need not move together."""
    text = "\n".join(f"{name} {stands.generation}{stands.chosen}" for name, stands in standing.items())
    return f"{entry.name}@{_newest(standing)}-{sha256(text.encode()).hexdigest()[:8]}"


def _newest(standing: Mapping[str, _Stands]) -> str:
    return max((stands.generation for stands in standing.values()), default="")


def retries_sensor(
    entries: Mapping[str, Entry], store: Path, since: Month, jobs: Sequence[Any], clock: sending.Clock = sending.now
) -> dg.SensorDefinition:
    """Starts the next try of deliveries whose destination could not be reached, when it is due.

    Only the datasets that failed are delivered, as the store holds them by then. What cannot get better by waiting,
    and what failed too often, is never due.
    """
    *pauses, last = (str(wait // timedelta(minutes=1)) for wait in AGAIN_AFTER)
    after = f"{', '.join(pauses)} and {last} minutes"

    @dg.sensor(
        name=RETRIES,
        jobs=jobs,
        minimum_interval_seconds=int(INTERVAL.total_seconds()),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Tries again, after {after}, what a destination that was not there did not take.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        opened, now = Store(store), clock()
        due = {name: marks for name, entry in entries.items() if (marks := _due(opened, entry, now))}
        if not due:
            yield dg.SkipReason("nothing is due")
            return
        runs = under_way(context.instance)
        for name, marks in due.items():
            run = served(runs, name)
            if run is not None:
                context.log.info(f"{name} waits for the run {run.run_id[:8]} ({run.job_name})")
                continue
            try:
                yield _retry(opened, entries[name], marks, since, now)
            except MogulError as error:  # of one destination's data: the others are tried again
                context.log.warning(f"{name}: {error}")

    return sensor


def _due(store: Store, entry: Entry, now: datetime) -> dict[str, Watermark]:
    """What a destination is to be tried with again, where anything is due.

    What is due by the next tick goes along: a run's datasets fail one after the other.
    """
    marks = {name: store.watermark(entry.name, name) for name in entry.datasets}
    due = {name: mark.due_at for name, mark in marks.items() if mark.due_at is not None}
    if not due or min(due.values()) > now:
        return {}
    return {name: marks[name] for name, at in due.items() if at <= now + INTERVAL}


def _retry(store: Store, entry: Entry, marks: Mapping[str, Watermark], since: Month, now: datetime) -> dg.RunRequest:
    attempt = max(mark.attempts for mark in marks.values()) + 1
    due = max(mark.due_at for mark in marks.values() if mark.due_at is not None)
    newest = _newest(_standing(store, entry))
    return delivery(
        store,
        entry,
        list(marks),
        run_key=f"{entry.name}@{newest}#{attempt}, due {due.isoformat()}",
        tags={ATTEMPT: str(attempt)},
        since=since,
        now=now,
    )
