"""Alerts: what is wrong is looked for every minute, and told once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import dagster as dg

from mogul_assets import alerts, refresh
from mogul_assets.alerts import Problem
from mogul_assets.assets.datasets import key
from mogul_assets.assets.deliveries import AGAIN_AFTER, configuration_problem, discreet
from mogul_assets.assets.reads import NOT_OLDER_THAN
from mogul_assets.automation.freshness import LATE, overdue_since
from mogul_assets.automation.jobs import REFRESH
from mogul_assets.automation.runs import served, under_way
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.destinations.base import Destination
from mogul_assets.destinations.messenger import Messenger
from mogul_assets.errors import MogulError
from mogul_assets.messages import sending
from mogul_assets.settings import Alerts, Entry
from mogul_assets.store.store import Store, Watermark

ALERTS = "alerts"
MINUTE = 60
RUNS = 100
"""Failed runs of the job refresh among which the last is looked for that was to read the whole account."""


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
        opened, running = Store(store), _running(context.instance, entries)
        found = [
            *refresh_problems(context.instance, opened),
            *problems(entries, destinations, opened, now, running=running),
        ]
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
    """That the account could not be read: a dataset is older than the last refresh that failed asked for.

    Which run brings it then is all one. A refresh of some datasets, or one that is run again from where it failed, was
    started by somebody who looks at it.
    """
    failed = instance.get_run_records(
        dg.RunsFilter(job_name=REFRESH, statuses=[dg.DagsterRunStatus.FAILURE]), limit=RUNS
    )
    last = next((one for one in failed if _whole(one.dagster_run)), None)
    if last is None:
        return
    run = last.dagster_run
    tick = run.tags.get(NOT_OLDER_THAN)
    asked = last.create_timestamp if tick is None else datetime.fromisoformat(tick)
    read_at = {name: refresh.read_at(store, dataset) for name, dataset in DATASETS.items()}
    if any(at is None or at < asked for at in read_at.values()):
        text = (
            f"The run {run.run_id[:8]} of the job {REFRESH} failed. {alerts.oldest(read_at)} "
            "→ look at the run in Dagster;  mogul check --account"
        )
        yield Problem(REFRESH, "The account was not read", text, frozenset({REFRESH}))


def _whole(run: dg.DagsterRun) -> bool:
    chosen = run.asset_selection
    return run.root_run_id is None and (chosen is None or {key(dataset) for dataset in DATASETS.values()} <= chosen)


def problems(
    entries: Mapping[str, Entry],
    destinations: Mapping[str, Destination],
    store: Store,
    now: datetime,
    *,
    running: Collection[str] = (),
) -> Iterator[Problem]:
    """What is wrong with the destinations, and what of it is news; nothing is of one that is paused.

    What fails at one that is among the ``running``, which a run delivers to just now, is no news yet: the run may meet
    more. An incident is over when the datasets that it was about have arrived, whatever failed them meanwhile.
    """
    for name, entry in entries.items():
        if entry.paused:
            continue
        wrong = configuration_problem(destinations[name])
        if wrong is not None:
            text = f"{wrong}. Nothing is delivered there. → mend mogul.yaml;  mogul check {name}"
            title = f"{name} cannot be used as it is configured"
            yield Problem(f"{name} configuration", title, text, frozenset({name, wrong}))
        marks = {dataset: store.watermark(name, dataset) for dataset in entry.datasets}
        failing = {dataset: mark for dataset, mark in marks.items() if mark.error is not None}
        given_up = {d: mark for d, mark in failing.items() if _given_up(entry, mark, now, running=name in running)}
        for held, what in ((True, "held back"), (False, "not delivered")):
            its = {d: mark for d, mark in given_up.items() if mark.held is held and wrong is None}
            yield _undelivered(name, what, its, stays=frozenset(failing))
        overdue = {d: at for d, mark in marks.items() if (at := overdue_since(entry, d, mark.delivered_at, now))}
        late = {d: at for d, at in overdue.items() if d not in failing and wrong is None}
        stands = alerts.oldest({dataset: marks[dataset].read_at for dataset in late})
        yield Problem(
            f"{name} late",
            f"{name}: {alerts.named(list(late))} due and not there",
            f"{stands} → mogul status {name};  mogul sync {name}",
            news=frozenset(late),
            stays=frozenset(overdue),
            since=min(late.values(), default=None),
        )


def _undelivered(name: str, what: str, marks: Mapping[str, Watermark], *, stays: frozenset[str]) -> Problem:
    """These datasets as one problem, with an error of each cause, told apart by what helps; waiting is none."""
    causes: dict[str, str] = {}
    for mark in marks.values():
        causes.setdefault("" if mark.transient else mark.remedy, f"{mark.error}.")
    errors, stands = "\n".join(causes.values()), alerts.oldest({d: mark.read_at for d, mark in marks.items()})
    return Problem(
        f"{name} {what}",
        f"{name}: {alerts.named(list(marks))} {what}",
        f"{errors} {stands} → mogul status {name}",
        news=frozenset({*marks, *causes} - {""}),
        stays=stays,
        since=min((mark.failing_since for mark in marks.values() if mark.failing_since is not None), default=None),
    )


def _running(instance: dg.DagsterInstance, entries: Mapping[str, Entry]) -> set[str]:
    """The destinations that a run delivers one dataset after the other to just now."""
    runs = [run for run in under_way(instance) if run.status is dg.DagsterRunStatus.STARTED]
    return {name for name, entry in entries.items() if entry.partitioned and served(runs, name) is not None}


def _given_up(entry: Entry, mark: Watermark, now: datetime, *, running: bool) -> bool:
    """Whether a delivery failed so that somebody has to know: waiting cannot help, or has not.

    It has not where a whole series of tries failed, or as many of several. Messages that wait have their tries in the
    ledger, for a day and more: they are told once none was taken for as long as any delivery may take. A run that has
    met nothing more for so long is waited for no longer.
    """
    since, last = mark.failing_since or now, mark.failed_at or now
    if running and now - last < LATE:
        return False
    if entry.habits.messages and mark.transient:
        return now - since > LATE
    return mark.due_at is None or mark.failures > len(AGAIN_AFTER)
