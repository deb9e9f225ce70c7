"""What is removed by age, once a day: runs with all they wrote, what no run wrote, messages, and rows in quarantine."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import sqlalchemy as sa

from mogul_assets.assets.common import StoreResource, failures
from mogul_assets.automation.runs import UNDER_WAY
from mogul_assets.destinations.messenger import LedgerResource
from mogul_assets.messages import sending

if TYPE_CHECKING:
    from dagster._core.storage.event_log import SqlEventLogStorage

PURGE = "purge"
AT_ONCE = 100
"""Runs of one look; 2,000 a purge: the first one after years ends, and the next goes on."""
LOOKS = 20
KEPT_OBSERVATIONS = 200
"""Of one asset, that no run made. Of a status page that changes each minute there are 1,440 a day, 11 KB each."""
_ENDED = [status for status in dg.DagsterRunStatus if status not in UNDER_WAY]


@dataclass(frozen=True, slots=True)
class Purged:
    runs: int = 0
    messages: int = 0
    files: int = 0


def purge(
    instance: dg.DagsterInstance, store: StoreResource, ledger: LedgerResource | None, *, before: datetime
) -> Purged:
    """Remove what came to its end before this moment.

    Of runs those stay that were the last to bring some partition of some asset: without them Dagster would show it
    as missing; but for that, what they wrote goes. A message that is purged is known no more; see ``Ledger.purge`` for
    those that are not.
    """
    runs = 0
    for gone, last in _old(instance, before):
        for run_id in gone:
            forget_run(instance, run_id)
        _empty(instance, last)
        runs += len(gone)
    log = _sql(instance)
    if log is not None:
        _forget_checks(log, before)
        _forget_runless(log, before)
    messages = 0
    if ledger is not None:
        with ledger.open() as opened:
            messages = opened.purge(before)
    opened_store = store.open()
    with opened_store.writing():
        files = [*opened_store.purge_quarantine(before), *opened_store.purge()]
    return Purged(runs, messages, len(files))


def forget_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Remove a run with its events and its logs."""
    instance.delete_run(run_id)
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    shard = _shard(instance, run_id)
    if shard is not None:
        shard.unlink(missing_ok=True)


def _empty(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> None:
    """Remove what these runs wrote, but that they were, and what they were the last to bring."""
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events  # noqa: PLC0415 - as below

    log = _sql(instance)
    if log is None:
        return
    gone = Events.c.run_id.in_(run_ids), Events.c.id.not_in(_newest())
    with log.index_connection() as connection:
        full = list(connection.scalars(sa.select(Events.c.run_id).where(*gone).distinct()))
    if not full:  # as on every night but one
        return
    for run_id in full:
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        shard = _shard(instance, run_id)
        if shard is not None and shard.exists():
            # A web server that has shown the run once does not make the file again.
            with closing(sqlite3.connect(shard, isolation_level=None)) as events:
                events.execute("DELETE FROM event_logs")
                events.execute("VACUUM")
    with log.index_transaction() as connection:
        _forget_events(connection, sa.select(Events.c.id).where(*gone))


def _shard(instance: dg.DagsterInstance, run_id: str) -> Path | None:
    """The file that SQLite keeps for each run, 147 KB of it with nothing left in it; ``None`` on other databases."""
    from dagster._core.storage.event_log import SqliteEventLogStorage  # noqa: PLC0415 - the definitions load without it

    log = instance.event_log_storage
    return Path(log.path_for_shard(run_id)) if isinstance(log, SqliteEventLogStorage) else None


def purge_schedule(
    ledger: LedgerResource | None, days: int, clock: sending.Clock = sending.now
) -> dg.ScheduleDefinition:
    """Every night, what is older than ``days``."""

    @dg.op(required_resource_keys={"store"}, description=f"Remove what came to its end more than {days} days ago.")
    def purged(context: dg.OpExecutionContext) -> None:
        with failures():
            done = purge(context.instance, context.resources.store, ledger, before=clock() - timedelta(days=days))
        context.log.info(f"removed: {done.runs:,} runs, {done.messages:,} messages, {done.files:,} files")

    @dg.job(name=PURGE, description=f"Remove runs, status pages, messages and quarantined rows older than {days} days.")
    def job() -> None:
        purged()

    return dg.ScheduleDefinition(job=job, cron_schedule="20 3 * * *", default_status=dg.DefaultScheduleStatus.RUNNING)


def _old(instance: dg.DagsterInstance, before: datetime) -> Iterator[tuple[list[str], list[str]]]:
    """The runs that ended and were made before this moment; apart from them, those that are the last of something.

    ``AT_ONCE`` at a time.
    """
    last = _last(instance)
    old = dg.RunsFilter(statuses=_ENDED, created_before=before)
    cursor = None
    for _ in range(LOOKS):
        ids = instance.get_run_ids(old, cursor=cursor, limit=AT_ONCE)
        if not ids:
            return
        stayed = [run_id for run_id in ids if run_id in last]
        yield [run_id for run_id in ids if run_id not in last], stayed
        cursor = stayed[-1] if stayed else cursor


def _sql(instance: dg.DagsterInstance) -> "SqlEventLogStorage | None":
    """The tables of its events. Dagster removes from them whole runs and whole assets, and nothing by age."""
    from dagster._core.storage.event_log import SqlEventLogStorage  # noqa: PLC0415 - the definitions load without it

    log = instance.event_log_storage
    return log if isinstance(log, SqlEventLogStorage) else None


def _last(instance: dg.DagsterInstance) -> set[str]:
    """The runs that were the last to bring some partition of some asset."""
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events  # noqa: PLC0415 - as above

    log = _sql(instance)
    if log is None:
        return set()
    with log.index_connection() as connection:
        return set(connection.scalars(sa.select(Events.c.run_id).where(Events.c.id.in_(_newest())).distinct()))


def _newest() -> sa.Select[tuple[int]]:
    """The newest materialisation of each partition of each asset, by its id."""
    from dagster._core.storage.event_log.schema import AssetKeyTable as Assets  # noqa: PLC0415 - as above
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events  # noqa: PLC0415 - as above

    # Of an asset that was wiped, Postgres keeps the events.
    there = sa.select(Assets.c.asset_key).where(Assets.c.last_materialization.is_not(None))
    return (
        sa.select(sa.func.max(Events.c.id))
        .where(Events.c.dagster_event_type == dg.DagsterEventType.ASSET_MATERIALIZATION.value)
        .where(Events.c.asset_key.in_(there))
        .group_by(Events.c.asset_key, Events.c.partition)
    )


def _forget_checks(log: "SqlEventLogStorage", before: datetime) -> None:
    """Remove what old checks found, but for each one's last: Dagster keeps that when their run goes."""
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Checks  # noqa: PLC0415 - as above

    newest = sa.select(sa.func.max(Checks.c.id)).group_by(Checks.c.asset_key, Checks.c.check_name)
    old = Checks.c.create_timestamp < before.replace(tzinfo=None)
    with log.index_transaction() as connection:
        connection.execute(Checks.delete().where(old, Checks.c.id.not_in(newest.scalar_subquery())))


def _forget_runless(log: "SqlEventLogStorage", before: datetime) -> None:
    """Remove the old events of no run: looks at status pages, turns of freshness, and what others report.

    Of each kind the newest of each partition of each asset stays: pages show it, and freshness goes on from it.
    The 1,440 of a day take 0.1 s, and 100,000, of 1 GB, that nobody removed before, 6 s once.
    """
    from dagster._core.instance import RUNLESS_RUN_ID  # noqa: PLC0415 - as above
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events  # noqa: PLC0415 - as above

    kind, event = Events.c.dagster_event_type, Events.c.id
    place = sa.func.row_number().over(
        partition_by=(Events.c.asset_key, kind, Events.c.partition), order_by=event.desc()
    )
    ranked = sa.select(event, kind, Events.c.timestamp, place.label("place")).where(Events.c.run_id == RUNLESS_RUN_ID)
    found = ranked.subquery().c
    observed = found.dagster_event_type == dg.DagsterEventType.ASSET_OBSERVATION.value
    gone = sa.select(found.id).where(
        found.place > 1,
        sa.or_(found.timestamp < before.replace(tzinfo=None), observed & (found.place > KEPT_OBSERVATIONS)),
    )
    # SQLite has them in a file of their own and in the index.
    for opened in (log.run_connection(RUNLESS_RUN_ID), log.index_transaction()):
        with opened as connection:
            _forget_events(connection, gone)


def _forget_events(connection: sa.Connection, gone: sa.Select[tuple[int]]) -> None:
    """Remove the events of these ids, with their tags."""
    from dagster._core.storage.event_log.schema import AssetEventTagsTable as Tags  # noqa: PLC0415 - as above
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events  # noqa: PLC0415 - as above

    connection.execute(Tags.delete().where(Tags.c.event_id.in_(gone)))
    connection.execute(Events.delete().where(Events.c.id.in_(gone)))
