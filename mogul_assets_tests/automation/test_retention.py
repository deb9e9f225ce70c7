"""What is removed by age: runs with all they wrote, what checks found, messages, rows in quarantine."""

import os
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
from dagster._core.instance import RUNLESS_RUN_ID
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Checks
from dagster._core.storage.event_log.schema import AssetEventTagsTable as Tags
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from dagster._core.test_utils import create_run_for_test

from mogul_assets.assets.common import StoreResource
from mogul_assets.automation import retention
from mogul_assets.automation.retention import PURGE, purge
from mogul_assets.destinations.messenger import LedgerResource
from mogul_assets.errors import ConfigurationError
from mogul_assets.messages.message import Answer, Draft, Movement, Outcome, Tried
from mogul_assets.messages.sending import Policy
from mogul_assets.settings import SHORTEST_RETENTION, load
from mogul_assets_tests.messages import ledgers

NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=1)
"""After all that the tests do, which pytest gathered long before."""
MONTHS = dg.StaticPartitionsDefinition(["january", "february"])


@dg.asset(partitions_def=MONTHS, check_specs=[dg.AssetCheckSpec("sound", asset="months")])
def months():
    yield dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)])


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.peer)])
def kept(request, tmp_path):
    """An instance with SQLite, as everybody has it, and one with a PostgreSQL."""
    with ExitStack() as until:
        if request.param == "postgres":
            url = until.enter_context(ledgers.database(request.getfixturevalue("peer")("redshift")))
            url = url.replace("postgresql:", "postgresql+psycopg2:")  # the driver that there is
            (tmp_path / "dagster.yaml").write_text(f"storage: {{postgres: {{postgres_url: '{url}'}}}}")
        else:
            (tmp_path / "dagster.yaml").touch()
        yield until.enter_context(dg.DagsterInstance.from_config(str(tmp_path)))


@pytest.fixture
def store(tmp_path):
    return StoreResource(path=str(tmp_path / "store"), quarantine_limit=0.01)


def brings(instance, month):
    return dg.materialize([months], instance=instance, partition_key=month).run_id


def shards(tmp_path):
    return {path.stem for path in (tmp_path / "history/runs").glob("*-*.db")}


def test_runs_go_with_all_they_wrote_but_those_that_were_the_last_of_a_month(kept, store, tmp_path):
    first, second, last = (brings(kept, month) for month in ("january", "february", "january"))
    assert purge(kept, store, None, before=NOW - timedelta(days=1)).runs == 0
    assert purge(kept, store, None, before=LATER).runs == 1
    assert set(kept.get_run_ids()) == {second, last}
    assert first not in shards(tmp_path)
    assert set(kept.get_materialized_partitions(dg.AssetKey("months"))) == {"january", "february"}


def test_of_a_run_that_was_the_last_of_something_only_that_stays(kept, store, tmp_path):
    one, other = (dg.asset(name=name)(lambda: None) for name in ("one", "other"))
    run = dg.materialize([one, other], instance=kept).run_id
    newer = dg.materialize([other], instance=kept).run_id
    purge(kept, store, None, before=NOW - timedelta(days=1))
    assert len(kept.all_logs(run)) > 10
    before = {path: path.stat().st_size for path in (tmp_path / "history/runs").glob(f"{run}.db")}
    for _ in range(2):
        assert purge(kept, store, None, before=LATER).runs == 0
    assert all(path.stat().st_size < size for path, size in before.items())
    assert {event.dagster_event_type for event in kept.all_logs(run)} <= {dg.DagsterEventType.ASSET_MATERIALIZATION}
    for name, brought_by in (("one", run), ("other", newer)):
        assert [each.run_id for each in kept.fetch_materializations(dg.AssetKey(name), limit=10).records] == [
            brought_by
        ]
    assert kept.get_run_by_id(run).is_success


def test_the_last_run_of_what_was_wiped_goes_too(kept, store):
    gone = brings(kept, "january")
    kept.wipe_assets([dg.AssetKey("months")])
    assert purge(kept, store, None, before=LATER).runs == 1
    assert not kept.has_run(gone)


def test_what_is_under_way_stays_however_old(kept, store):
    run = create_run_for_test(kept, status=dg.DagsterRunStatus.STARTED)
    assert purge(kept, store, None, before=LATER).runs == 0
    assert kept.has_run(run.run_id)


def test_of_what_a_check_found_the_last_stays(kept, store):
    for _ in range(3):
        brings(kept, "january")
    purge(kept, store, None, before=LATER)
    with kept.event_log_storage.index_connection() as connection:
        assert len(connection.execute(Checks.select()).all()) == 1
    key = dg.AssetCheckKey(dg.AssetKey("months"), "sound")
    assert kept.event_log_storage.get_latest_asset_check_execution_by_key([key])


PAGES = (dg.AssetKey(["lake", "status"]), dg.AssetKey(["hook", "status"]))


def sees(instance, number):
    """What no run writes: looks at two pages, the freshness of one delivery, and two months brought by somebody."""
    for page in PAGES:
        tags = {"dagster/data_version": str(number)}
        instance.report_runless_asset_event(dg.AssetObservation(page, metadata={"page": number}, tags=tags))
    for month in ("january", "february"):
        instance.report_runless_asset_event(dg.AssetMaterialization("brought", partition=month))
    turned = {"previous_state": FreshnessState.UNKNOWN, "new_state": FreshnessState.PASS}
    instance._report_runless_asset_event(  # as Dagster's daemon does
        FreshnessStateChange(key=dg.AssetKey("fresh"), state_change_timestamp=float(number), **turned)
    )


def runless(instance):
    """Events of no run, in the file of their own and in the index (on a PostgreSQL one table), and tags of events."""
    log, count = instance.event_log_storage, sa.select(sa.func.count())
    with log.run_connection(RUNLESS_RUN_ID) as own:
        alone = own.scalar(count.select_from(Events).where(Events.c.run_id == RUNLESS_RUN_ID))
    with log.index_connection() as index:
        return (alone, *(index.scalar(count.select_from(table)) for table in (Events, Tags)))


def test_of_what_no_run_wrote_the_newest_of_each_asset_stays(kept, store):
    for number in range(3):
        sees(kept, number)
    purge(kept, store, None, before=NOW - timedelta(days=1))
    assert runless(kept) == (15, 15, 6)
    purge(kept, store, None, before=LATER)
    assert runless(kept) == (5, 5, 2)
    for page in PAGES:
        (record,) = kept.fetch_observations(page, limit=10).records
        assert record.asset_observation.metadata["page"].value == 2
        assert kept.event_log_storage.get_event_tags_for_asset(page) == [{"dagster/data_version": "2"}]
    assert kept.get_materialized_partitions(dg.AssetKey("brought")) == {"january", "february"}
    fresh = kept.get_freshness_state_records([dg.AssetKey("fresh")])[dg.AssetKey("fresh")]
    assert fresh.freshness_state is FreshnessState.PASS


def test_of_what_is_observed_only_so_much_stays_however_new(kept, store, monkeypatch):
    monkeypatch.setattr(retention, "KEPT_OBSERVATIONS", 2)
    for number in range(4):
        sees(kept, number)
    purge(kept, store, None, before=NOW - timedelta(days=1))
    for page in PAGES:
        seen = [one.asset_observation.metadata["page"].value for one in kept.fetch_observations(page, limit=10).records]
        assert seen == [3, 2]
    assert len(kept.fetch_materializations(dg.AssetKey("brought"), limit=10).records) == 8


def told(uuid, date=NOW, order="customer"):
    movement = Movement(uuid=uuid, key=uuid, identity=uuid, date=date, amount=1)
    return Draft("movement", uuid, b"words", NOW, order=order, movement=movement)


def test_a_message_goes_and_the_count_of_its_customer_goes_on(kept, store, tmp_path):
    ledger = LedgerResource(path=str(tmp_path / "ledger.db"))
    with ledger.open() as opened:
        opened.enqueue("hook", [told("first"), told("second"), told("ahead", NOW + timedelta(days=9), None)], NOW)
        policy = Policy(())
        for _ in range(3):
            for message in opened.claim("hook", 3, policy, NOW):
                opened.settle([Tried(message, Answer(Outcome.TAKEN, "200"), NOW, 0.1)], policy, NOW)
    assert purge(kept, store, ledger, before=NOW - timedelta(days=1)).messages == 0
    purge(kept, store, ledger, before=LATER)
    with ledger.open() as opened:
        assert {one.subject: one.payload for one in opened.records(payloads=True)} == {
            "second": None,
            "ahead": b"words",
        }
        opened.enqueue("hook", [told("third")], NOW)
        assert {one.subject: one.sequence for one in opened.records()}["third"] == 3


def test_what_the_store_names_no_more_goes_though_nothing_is_refreshed(kept, store, tmp_path):
    stray = tmp_path / "store/raw/plans/left.part"
    stray.parent.mkdir(parents=True)
    stray.touch()
    assert purge(kept, store, None, before=LATER).files == 0
    os.utime(stray, (0, 0))
    assert purge(kept, store, None, before=NOW - timedelta(days=1)).files == 1
    assert not stray.exists()


def test_it_is_a_job_of_every_project(project):
    assert project.run(PURGE).success


@pytest.mark.parametrize("days", [0, SHORTEST_RETENTION - 1, "soon", "yes", 7.5])
def test_a_retention_that_is_none_is_one_clear_line(tmp_path, days):
    file = tmp_path / "mogul.yaml"
    file.write_text(f"account: {{sandbox: true}}\nretention: {days}\n")
    with pytest.raises(ConfigurationError, match=r"mogul.yaml, line 2: retention is .*write days, 7 at least"):
        load(file)
    file.write_text("account: {sandbox: true}\nretention: 10\n")
    assert load(file).retention == 10
