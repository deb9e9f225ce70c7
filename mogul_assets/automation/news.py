"""Real time, in one hop: a look at the account every few seconds, and a run where something is new or due."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import msgspec

from mogul_assets.account.client import Limits
from mogul_assets.assets.common import AccountResource
from mogul_assets.assets.deliveries import NEWS_ASSET, delivery_key
from mogul_assets.automation.jobs import NEWS, delivery
from mogul_assets.automation.retention import forget_run
from mogul_assets.automation.runs import served, under_way
from mogul_assets.catalog.window import Month
from mogul_assets.destinations.messenger import LedgerResource
from mogul_assets.errors import MogulError
from mogul_assets.messages import sending
from mogul_assets.messages.ledger import Ledger, Standing
from mogul_assets.refresh.news import LOOK_BACK, seen_at
from mogul_assets.settings import Entry
from mogul_assets.store.store import Store

INTERVAL = timedelta(seconds=15)
"""How often the account is looked at: four requests a minute of the 2,400 that it allows."""
LOOK = Limits(connect=5, request=5, attempts=1, total=5)
AGAIN_AFTER = timedelta(minutes=1)
"""How long after a run that brought no news it is asked for again."""
RUNS_AT_ONCE = 2
KEPT_RUNS = 200
"""Runs of this job that stay to look at. One a minute for two days would be 2,880, of 150 KB each."""


class _Cursor(msgspec.Struct, frozen=True):
    """What was asked for last: the pulse of the account, and when."""

    pulse: str = ""
    asked_at: datetime | None = None


def news_sensor(
    entries: Mapping[str, Entry],
    *,
    account: AccountResource,
    ledger: LedgerResource,
    store: Path,
    since: Month,
    jobs: Sequence[Any],
    clock: sending.Clock = sending.now,
) -> dg.SensorDefinition:
    """Starts a run where the account's newest movements changed, and where a message is due.

    The only sensor that may touch the network: one request, at most five seconds; no answer is a skip. Movements
    that only got new ids are no change. What it asked for and what never came of it is asked for again, and so is
    what was read and not written down for every destination: the run was killed between, or the ledger was away.
    """
    told = {name: entry for name, entry in entries.items() if entry.real_time and entry.problem is None}

    @dg.sensor(
        name=NEWS,
        jobs=jobs,
        minimum_interval_seconds=int(INTERVAL.total_seconds()),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells movements as they happen, and sends again what was not taken.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        opened, now = Store(store), clock()
        forget_old_runs(context.instance)
        runs = under_way(context.instance)
        with ExitStack() as until_the_end:
            try:
                remembered = until_the_end.enter_context(ledger.open())
                standings = _standings(remembered, told, now)
                due = {name for name, at in remembered.next_due().items() if at <= now}
                seen = seen_at(opened)
                behind = _behind(standings, seen, now)
            except MogulError as error:
                yield dg.SkipReason(str(error))
                return
            for name in sorted(due & (entries.keys() - told.keys())):
                if served(runs, name) is None:
                    key = f"{name}, due {now.isoformat()}"
                    yield delivery(
                        opened, entries[name], entries[name].datasets, run_key=key, tags={}, since=since, now=now
                    )
            if not told:
                return
            waits_for = _waits_for(context.instance, [run for run in runs if run.job_name == NEWS], seen)
            if waits_for is not None:
                yield dg.SkipReason(waits_for)
                return
            if not opened.raw_reads("account"):
                yield dg.SkipReason("the account was never read: start the job refresh, or mogul sync")
                return
            before = msgspec.json.decode(context.cursor, type=_Cursor) if context.cursor else _Cursor()
            pulse, problem = _pulse(account, now)
            lost = before.asked_at is not None and (seen or before.asked_at) <= before.asked_at
            overdue = lost and now - before.asked_at >= AGAIN_AFTER if before.asked_at else False
            if pulse is not None and (pulse != before.pulse or overdue):
                context.update_cursor(msgspec.json.encode(_Cursor(pulse, now)).decode())
                yield _run(f"{pulse} {now.isoformat()}", told.values())
            elif wanted := sorted(due & told.keys() | behind):
                keys = [delivery_key(told[name], told[name].datasets[0]) for name in wanted]
                # While the account does not answer, what is written down already is sent all the same.
                read = [NEWS_ASSET] if pulse is not None else []
                due_now = f"due {now.isoformat()}"
                yield dg.RunRequest(job_name=NEWS, run_key=due_now, asset_selection=[*read, *keys], asset_check_keys=[])
            else:
                if pulse is not None and not lost:
                    remembered.looked(told, now)
                yield dg.SkipReason(problem or "nothing new")

    return sensor


def _run(key: str, entries: Iterable[Entry]) -> dg.RunRequest:
    keys = [NEWS_ASSET, *(delivery_key(entry, name) for entry in entries for name in entry.datasets)]
    return dg.RunRequest(job_name=NEWS, run_key=key, asset_selection=keys, asset_check_keys=[])


def _waits_for(instance: dg.DagsterInstance, runs: Sequence[dg.DagsterRun], seen: datetime | None) -> str | None:
    """What keeps another run from being started.

    One that has read its news and is still sending, slowly, holds up nobody: what it has claimed is its own.
    """
    if len(runs) >= RUNS_AT_ONCE:
        return f"two runs are under way, {runs[0].run_id[:8]} and {runs[1].run_id[:8]}"
    for run in runs:
        record = instance.get_run_record_by_id(run.run_id)
        if record is not None and (seen is None or record.create_timestamp.astimezone(UTC) > seen):
            return f"the run {run.run_id[:8]} reads the news"
    return None


def _standings(ledger: Ledger, told: Iterable[str], now: datetime) -> list[Standing]:
    """Of every destination that is told. It begins when it is first seen, not when its first movement comes."""
    known = {one.name: one for one in ledger.known()}
    return [known.get(name) or ledger.standing(name, now) for name in told]


def _behind(standings: Iterable[Standing], seen: datetime | None, now: datetime) -> set[str]:
    """The destinations for which the news that stand were not written down, though there was time for it."""
    if seen is None or now - seen < AGAIN_AFTER:
        return set()
    return {one.name for one in standings if one.polled_at is None or one.polled_at < seen}


def _pulse(account: AccountResource, now: datetime) -> tuple[str | None, str | None]:
    """The pulse of the account, or why there is none at the moment."""
    try:
        return account.open(LOOK).pulse(now - LOOK_BACK, now + timedelta(days=1)), None
    except MogulError as error:
        return None, str(error)


def forget_old_runs(instance: dg.DagsterInstance) -> None:
    """Remove runs of this job but for the newest, with their events and logs; what failed goes no sooner than that."""
    for statuses in ([dg.DagsterRunStatus.SUCCESS], [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]):
        of_these = dg.RunsFilter(job_name=NEWS, statuses=statuses)
        for run_id in instance.get_run_ids(of_these, limit=KEPT_RUNS + 20)[KEPT_RUNS:]:
            forget_run(instance, run_id)
