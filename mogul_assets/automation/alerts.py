"""Alerts: what is wrong is looked for every minute, and told once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

import dagster as dg

from mogul_assets import alerts
from mogul_assets.alerts import Problem
from mogul_assets.assets.deliveries import configuration_problem, discreet
from mogul_assets.automation.freshness import LATE, overdue_since
from mogul_assets.automation.jobs import REFRESH
from mogul_assets.automation.runs import UNDER_WAY
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.destinations.base import Destination
from mogul_assets.destinations.messenger import Messenger
from mogul_assets.errors import MogulError
from mogul_assets.messages import sending
from mogul_assets.settings import Alerts, Entry
from mogul_assets.store.store import Store, Watermark, group_of

ALERTS = "alerts"
MINUTE = 60
_ENDED = [status for status in dg.DagsterRunStatus if status not in UNDER_WAY]


def alerts_sensor(
    settings: Alerts,
    channels: Mapping[str, Destination],
    entries: Mapping[str, Entry],
    *,
    destinations: Mapping[str, Destination],
    store: Path,
    clock: sending.Clock = sending.now,
) -> dg.SensorDefinition:
    """Tells each channel what is new to it. A channel that does not take it is tried again at the next look."""

    @dg.sensor(
        name=ALERTS,
        minimum_interval_seconds=MINUTE,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Tells {', '.join(channels)} what is wrong, once per incident, and when it is over.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        now, file = clock(), alerts.incidents_file(store)
        found = [*refresh_problems(context.instance, Store(store)), *problems(entries, destinations, Store(store), now)]
        before = alerts.kept(file)
        standing = alerts.incidents(before, found, now)
        said, failed = 0, []
        for notice in (
            () if alerts.quiet(settings.quiet, settings.time_zone, now) else alerts.notices(standing, channels)
        ):
            try:
                tell(channels[notice.channel], notice)
            except MogulError as error:  # of one channel: the others are told
                failed.append(str(error))
            else:
                said, standing = said + 1, alerts.after(standing, notice)
                alerts.keep(file, standing)  # before the next channel is tried: nobody is told twice
        if standing != before:
            alerts.keep(file, standing)
        for problem in failed:
            context.log.warning(problem)
        open_ = sum(one.over_at is None for one in standing)
        return dg.SkipReason(f"{open_} open incidents; {said} notices sent, {len(failed)} not taken")

    return sensor


def tell(channel: Destination, notice: alerts.Notice) -> None:
    """Send a notice. Raises ``MogulError`` where it was not taken."""
    if not isinstance(channel, Messenger):
        channel.check()  # one that is configured wrong says so
        return
    with discreet(channel):
        channel.notice(f"mogul: {notice.title}", notice.text)


def refresh_problems(instance: dg.DagsterInstance, store: Store) -> Iterator[Problem]:
    """That the account could not be read, where the last refresh that ended failed."""
    last = next(iter(instance.get_runs(dg.RunsFilter(job_name=REFRESH, statuses=_ENDED), limit=1)), None)
    if last is not None and last.status is dg.DagsterRunStatus.FAILURE:
        pointers = {name: store.pointer(group_of(dataset)) for name, dataset in DATASETS.items()}
        read_at = {name: None if pointer is None else pointer.read_at for name, pointer in pointers.items()}
        yield Problem(
            REFRESH,
            "The account was not read",
            f"The run {last.run_id[:8]} of the job {REFRESH} failed. {alerts.oldest(read_at)} "
            "→ look at the run in Dagster;  mogul check --account",
        )


def problems(
    entries: Mapping[str, Entry], destinations: Mapping[str, Destination], store: Store, now: datetime
) -> Iterator[Problem]:
    """What is wrong with the destinations, one problem each; nothing is of one that is paused."""
    for name, entry in entries.items():
        if entry.paused:
            continue
        wrong = configuration_problem(destinations[name])
        if wrong is not None:
            text = f"{wrong}. Nothing is delivered there. → mend mogul.yaml;  mogul check {name}"
            yield Problem(f"{name} configuration", f"{name} cannot be used as it is configured", text)
            continue
        marks = {dataset: store.watermark(name, dataset) for dataset in entry.datasets}
        failed = {dataset: mark for dataset, mark in marks.items() if _given_up(entry, mark, now)}
        if failed:
            first = next(iter(failed.values()))
            since = min((mark.failed_at for mark in failed.values() if mark.failed_at is not None), default=None)
            text = (
                f"{first.error}. {alerts.oldest({d: mark.read_at for d, mark in failed.items()})} → mogul status {name}"
            )
            yield Problem(f"{name} failed", f"{name}: {alerts.named(list(failed))} not delivered", text, since)
            continue
        late = {d: at for d, mark in marks.items() if (at := overdue_since(entry, d, mark.delivered_at, now))}
        if late:
            text = f"{alerts.oldest({d: marks[d].read_at for d in late})} → mogul status {name};  mogul sync {name}"
            yield Problem(
                f"{name} late", f"{name}: {alerts.named(list(late))} due and not there", text, min(late.values())
            )


def _given_up(entry: Entry, mark: Watermark, now: datetime) -> bool:
    """Whether a delivery failed and is not about to be tried again.

    Messages that wait have their tries in the ledger, for a day and more: they are a problem once nothing was taken
    for as long as any delivery may take.
    """
    if mark.error is None or mark.due_at is not None:
        return False
    waiting = entry.habits.messages and mark.transient
    return not waiting or mark.delivered_at is None or now - mark.delivered_at > LATE
