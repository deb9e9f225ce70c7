"""Ticks ask for fresh data, share one refresh, and deliver once it stands."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._utils.schedules import reverse_cron_string_iterator

from mogul_assets.assets.reads import NOT_OLDER_THAN
from mogul_assets.automation.jobs import RANGE_END, RANGE_START
from mogul_assets.automation.schedules import last_tick, served_tick
from mogul_assets.store.window import Month
from mogul_assets_tests.project import NOW, SETTINGS, Project, failures_of


@pytest.fixture
def kept():
    """An instance that lasts: a schedule opens the instance again from its reference."""
    with dg.DagsterInstance.local_temp() as instance:
        yield instance


def evaluate(project, name, at, instance):
    schedule = project.definitions.resolve_schedule_def(name)
    with dg.build_schedule_context(instance=instance, scheduled_execution_time=at) as context:
        return schedule.evaluate_tick(context)


def sense(project):
    sensor = project.definitions.resolve_sensor_def("deliveries")
    with dg.build_sensor_context(instance=project.instance, definitions=project.definitions) as context:
        return sensor.evaluate_tick(context)


def test_each_destination_with_a_schedule_has_one_schedule(delivered):
    schedules = {schedule.name for schedule in delivered.project.definitions.schedules}
    assert schedules == {"warehouse_schedule", "lake_schedule"}


def test_a_tick_asks_for_data_no_older_than_itself(delivered, kept):
    (request,) = evaluate(delivered.project, "warehouse_schedule", NOW, kept).run_requests
    assert datetime.fromisoformat(request.tags[NOT_OLDER_THAN]) == NOW
    assert request.tags[RANGE_END] == Month.of(NOW).partition_key


def test_a_first_refresh_covers_the_whole_history_and_a_later_one_last_month(tmp_path, kept, delivered):
    fresh = Project(tmp_path, kept, None, SETTINGS.format(since="2012-03"))
    (request,) = evaluate(fresh, "warehouse_schedule", NOW, kept).run_requests
    assert request.tags[RANGE_START] == "2012-03-01"
    (later,) = evaluate(delivered.project, "warehouse_schedule", NOW, kept).run_requests
    assert later.tags[RANGE_START] == max(Month.of(NOW).plus(-1), Month(NOW.year, 1)).partition_key


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
def test_ticks_that_coincide_share_one_refresh(tmp_path, kept, status):
    project = Project(tmp_path, kept, None)
    job = project.definitions.resolve_job_def("refresh")
    kept.create_run_for_job(job, status=status, tags={NOT_OLDER_THAN: NOW.isoformat()})
    shared = evaluate(project, "lake_schedule", NOW, kept)
    assert not shared.run_requests
    assert "shares the refresh" in shared.skip_message
    later = evaluate(project, "lake_schedule", NOW + timedelta(days=1), kept)
    assert len(later.run_requests) == 1


def test_what_was_delivered_since_the_tick_is_not_delivered_again(delivered):
    assert not sense(delivered.project).run_requests


def test_a_destination_waits_while_older_data_stands(tmp_path, instance):
    project = Project(tmp_path, instance, None)
    assert sense(project).run_requests == []


def test_the_last_tick_is_the_one_that_dagster_s_own_cron_gives():
    at = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
    ticks = reverse_cron_string_iterator(at.timestamp(), "0 9 * * 0", "UTC")
    assert next(ticks) == datetime(2026, 11, 22, 9, tzinfo=UTC)


def test_every_job_of_the_readme_is_there(delivered):
    names = {job.name for job in delivered.project.definitions.resolve_all_job_defs()}
    assert {"refresh", "deliver_warehouse", "deliver_lake", "send_now", "test_destination"} <= names


def test_test_destination_reaches_it_and_sends_nothing(delivered):
    project = delivered.project
    before = sorted((project.folder / "out").rglob("*"))
    result = project.run("test_destination", run_config={"ops": {"test": {"config": {"destination": "lake"}}}})
    assert result.success
    assert sorted((project.folder / "out").rglob("*")) == before


def test_send_now_delivers_every_dataset_of_one_destination(delivered):
    project = delivered.project
    result = project.run("send_now", run_config={"ops": {"send": {"config": {"destination": "warehouse"}}}})
    assert result.success
    sent = {event.asset_key.path[-1] for event in result.all_events if event.is_step_materialization}
    assert sent == set(project.settings.entry("warehouse").datasets)


def test_an_unknown_destination_ends_send_now_with_the_names_there_are(delivered):
    result = delivered.project.run("send_now", run_config={"ops": {"send": {"config": {"destination": "nowhere"}}}})
    assert not result.success
    assert "there are: warehouse, lake" in str(result.all_events)


@pytest.mark.parametrize(
    "asked",
    [("retry_messages", "retried", {}), ("replay", "replayed", {"start": "2026-01-01", "end": "2026-02-01"})],
    ids=["retry", "replay"],
)
@pytest.mark.parametrize(
    ("destination", "says"),
    [("hook", "url is missing"), ("lake", "lake sends no messages")],
    ids=["configured wrong", "no messages"],
)
def test_what_sends_no_messages_ends_a_job_for_messages_with_the_reason(tmp_path, instance, asked, destination, says):
    job, op, more = asked
    project = Project(tmp_path, instance, None, SETTINGS.format(since=f"{NOW.year}-01") + "  hook: {type: webhook}\n")
    result = project.run(job, run_config={"ops": {op: {"config": {"destination": destination, **more}}}})
    assert says in failures_of(result)[op]


def test_a_destination_is_delivered_once_its_data_is_no_older_than_its_tick(delivered):
    project = delivered.project
    shutil.rmtree(project.store.root / "watermarks")
    tick = last_tick(project.settings.entry("lake"), datetime.now(UTC))
    assert served_tick(project.store, project.settings.entry("lake"), datetime.now(UTC)) == tick
    requests = {request.job_name: request for request in sense(project).run_requests}
    assert set(requests) == {"deliver_warehouse", "deliver_lake"}
    assert requests["deliver_lake"].run_key == f"lake@{tick.isoformat()}"


def test_where_refreshes_take_longer_than_the_interval_the_last_tick_that_they_serve_counts(delivered):
    project = delivered.project
    every_minute = replace(project.settings.entry("lake"), schedule="* * * * *")
    oldest = min(project.store.table(name).read_at for name in every_minute.datasets)
    tick = served_tick(project.store, every_minute, datetime.now(UTC) + timedelta(hours=3))
    assert oldest - timedelta(minutes=1) < tick <= oldest
