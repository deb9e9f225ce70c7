"""What is removed by age: runs with all they wrote, what checks found, messages, rows in quarantine."""

import os
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Checks
from dagster._core.test_utils import create_run_for_test

from mogul_assets.assets.common import StoreResource
from mogul_assets.automation.retention import PURGE, purge
from mogul_assets.destinations.messenger import LedgerResource
from mogul_assets.errors import ConfigurationError
from mogul_assets.messages.message import Answer, Draft, Movement, Outcome, Tried
from mogul_assets.messages.sending import Policy
from mogul_assets.settings import SHORTEST_RETENTION, load

NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=1)
"""After all that the tests do, which pytest gathered long before."""
MONTHS = dg.StaticPartitionsDefinition(["january", "february"])


@dg.asset(partitions_def=MONTHS, check_specs=[dg.AssetCheckSpec("sound", asset="months")])
def months():
    yield dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)])


@pytest.fixture
def kept(tmp_path):
    """An instance in a folder, with SQLite as everybody has it."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


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
