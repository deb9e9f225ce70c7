"""Ticks ask for fresh data, share one refresh, and deliver once it stands."""

import shutil
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._utils.schedules import reverse_cron_string_iterator

from mogul_assets import refresh
from mogul_assets.account.client import Client
from mogul_assets.account.reader import Account
from mogul_assets.assets.reads import NOT_OLDER_THAN
from mogul_assets.automation.freshness import LATE
from mogul_assets.automation.jobs import RANGE_END, RANGE_START
from mogul_assets.automation.schedules import last_tick, served_tick
from mogul_assets.catalog.window import Month, Window
from mogul_assets.store.store import Store, Watermark
from mogul_assets.store.table import new_generation
from mogul_assets_tests.account.peers import EAGER
from mogul_assets_tests.automation.conftest import datasets
from mogul_assets_tests.project import NOW, SETTINGS, Project


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
    assert schedules == {"warehouse_schedule", "lake_schedule", "purge_schedule"}


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
    assert {
        "refresh",
        "deliver_warehouse",
        "deliver_lake",
        "send_now",
        "test_destination",
        "pause_destination",
    } <= names


def test_a_destination_is_delivered_once_its_data_is_no_older_than_its_tick(delivered):
    project = delivered.project
    shutil.rmtree(project.store.root / "watermarks")
    (daily,) = project.settings.entry("lake").timetables
    tick = last_tick(daily, datetime.now(UTC))
    assert served_tick(project.store, daily, datetime.now(UTC)) == tick
    requests = {request.job_name: request for request in sense(project).run_requests}
    assert set(requests) == {"deliver_warehouse", "deliver_lake"}
    assert requests["deliver_lake"].run_key == f"lake@{tick.isoformat()}"


def test_where_refreshes_take_longer_than_the_interval_the_last_tick_that_they_serve_counts(delivered):
    project = delivered.project
    (daily,) = project.settings.entry("lake").timetables
    every_minute = replace(daily, cron="* * * * *")
    oldest = min(project.store.table(name).read_at for name in every_minute.datasets)
    tick = served_tick(project.store, every_minute, datetime.now(UTC) + timedelta(hours=3))
    assert oldest - timedelta(minutes=1) < tick <= oldest


def test_past_months_that_were_read_again_serve_no_tick(delivered, tmp_path):
    project, (daily,) = delivered.project, delivered.project.settings.entry("lake").timetables
    store = Store(shutil.copytree(project.store.root, tmp_path / "store"))
    later = datetime.now(UTC) + timedelta(days=3)
    stood = store.table("mrr_movements").read_at
    with closing(Client(project.serving.url, "sandbox", EAGER)) as client:
        account = Account(client, since=project.settings.account.since)
        past, generation = Window.months(account.since, account.since, since=account.since), new_generation()
        refresh.land(store, account, "activities", generation=generation, window=past, now=later)
        info = refresh.known_account(store)
        refresh.settle_movements(store, account, info, generation=generation, quarantine_limit=0, now=later)
    assert store.raw_reads("activities")[-1].read_at == later
    assert store.table("mrr_movements").read_at == stood
    assert served_tick(store, replace(daily, datasets=("mrr_movements",)), later) == last_tick(daily, stood)


def test_of_missed_ticks_the_last_one_reads_the_account(tmp_path, kept):
    project = Project(tmp_path, kept, None)
    (daily,) = project.settings.entry("lake").timetables
    last = last_tick(daily, datetime.now(UTC))
    missed = [evaluate(project, "lake_schedule", last - timedelta(days=days), kept) for days in (2, 1)]
    assert [one.run_requests for one in missed] == [[], []]
    assert f"{last:%Y-%m-%d %H:%M} UTC stands for it" in missed[0].skip_message
    assert len(evaluate(project, "lake_schedule", last, kept).run_requests) == 1


OWN = "schedule: weekly, schedules: {mrr_movements: every 15 minutes}"


def test_a_dataset_with_a_schedule_of_its_own_is_delivered_alone(shelved):
    project = shelved(OWN)
    weekly, often = project.settings.entry("shelf").timetables
    schedule = project.definitions.resolve_schedule_def("shelf_schedule")
    assert schedule.cron_schedule == [weekly.cron, often.cron]
    read_at, now = project.store.table("mrr_movements").read_at, datetime.now(UTC)
    (first,) = sense(project).run_requests
    assert datasets(first) >= {"mrr_movements"}
    for name in weekly.datasets:
        project.store.mark("shelf", name, Watermark(generation="g", delivered_at=now, read_at=now))
    (own,) = sense(project).run_requests
    assert datasets(own) == {"mrr_movements"}
    project.store.mark("shelf", "mrr_movements", Watermark(generation="g", delivered_at=now, read_at=read_at))
    assert not sense(project).run_requests


# -- freshness


@pytest.mark.parametrize(
    ("schedule", "hours"),
    [
        ("daily", 24),
        ("weekly", 7 * 24),
        ("monthly", 31 * 24),
        ("hourly", 1),
        ("every 15 minutes", 0.25),
        ("0 9 * * 1-5", 72),
        ("daily, time_zone: Europe/Paris", 25),  # the night on which the clock is put back
    ],
)
def test_a_delivery_is_fresh_for_the_longest_pause_of_its_schedule(shelved, schedule, hours):
    project = shelved(f"schedule: {schedule}", ["tags"])
    policy = project.definitions.resolve_asset_graph().get(dg.AssetKey(["shelf", "tags"])).freshness_policy
    assert policy.fail_window.to_timedelta() == timedelta(hours=hours) + LATE


@pytest.mark.parametrize("options", ["", "on_refresh: true", "schedule: daily, paused: true"])
def test_what_no_schedule_delivers_promises_no_freshness(shelved, options):
    project = shelved(options, ["tags"])
    assert project.definitions.resolve_asset_graph().get(dg.AssetKey(["shelf", "tags"])).freshness_policy is None


def test_a_dataset_is_as_fresh_as_its_own_schedule_promises(shelved):
    graph = shelved(OWN).definitions.resolve_asset_graph()
    windows = {
        name: graph.get(dg.AssetKey(["shelf", name])).freshness_policy.fail_window.to_timedelta() - LATE
        for name in ("mrr_movements", "tags")
    }
    assert windows == {"mrr_movements": timedelta(minutes=15), "tags": timedelta(days=7)}
