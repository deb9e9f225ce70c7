"""The page of a destination in the UI: what it tells, when it changes, and what is never on it."""

import json
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from mogul_assets.assets.deliveries import AGAIN_AFTER
from mogul_assets.automation.status import STATUS, Standing
from mogul_assets.messages.message import State
from mogul_assets.settings import Entry
from mogul_assets.store.store import Store, Watermark
from mogul_assets_tests.project import Project

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DELIVERED = Watermark(generation="20261123T090000.000000Z-abcd", delivered_at=NOW - timedelta(hours=2), rows=1_234)
FAILED = Watermark(
    error="lake: the disk is full → make room", failed_at=NOW, failures=33, attempts=2, due_at=NOW + AGAIN_AFTER[1]
)

SETTINGS = """
account: {sandbox: true, since: 2026-01}
destinations:
  warehouse: {type: duckdb, path: out/mogul.duckdb, schedule: daily, hour: 6}
  hook: {type: webhook, url: "https://receiver.example/", secret: {env: HOOK_SECRET}}
  careless: {type: snowflake, password: hunter22, account: a, user: u, database: d}
"""


@pytest.fixture
def project(tmp_path, instance, monkeypatch):
    monkeypatch.setenv("HOOK_SECRET", "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ=")
    return Project(tmp_path, instance, None, SETTINGS)


def standing(*marks, schedule="0 6 * * *", **more):
    entry = Entry("lake", "files", ("customers", "plans"), {"path": "out"}, schedule, 1, **more)
    return Standing(entry, dict(zip(entry.datasets, marks, strict=True)), now=NOW)


def looked(project, cursor=None):
    """What the sensor observes, and its cursor."""
    (sensor,) = [one for one in project.definitions.sensors if one.name == STATUS]
    tick = sensor.evaluate_tick(dg.build_sensor_context(project.instance, cursor=cursor))
    return {event.asset_key.path[0]: event for event in tick.asset_events}, tick.cursor


@pytest.mark.parametrize(
    ("word", "seen"),
    [
        ("delivered", standing(DELIVERED, DELIVERED)),
        ("never delivered", standing(DELIVERED, Watermark())),
        ("failing", standing(FAILED, FAILED)),
        ("1 of 2 failing", standing(FAILED, DELIVERED)),
        ("stale", standing(DELIVERED, Watermark(delivered_at=NOW - timedelta(days=3)))),
        ("paused", standing(FAILED, FAILED, paused=True)),
    ],
)
def test_the_worst_that_is_so_is_how_it_stands(word, seen):
    assert seen.word == word
    assert seen.page.startswith(f"## lake: {word}\n")


def test_it_tells_what_arrived_and_what_is_due():
    page = standing(DELIVERED, DELIVERED).page
    assert "| customers | 2026-11-23 10:00 | 1,234 | 20261123T090000.000000Z-abcd | 2026-11-24 06:00 |" in page
    assert "What is wrong" not in page


def test_it_tells_what_failed_why_and_when_it_is_tried_again():
    page = standing(FAILED, DELIVERED).page
    reason = "`customers` failed 33 times, the last at 2026-11-23 12:00: lake: the disk is full → make room."
    assert f"- {reason} Next try: 2026-11-23 12:05." in page


def test_a_long_reason_and_a_bar_do_not_break_the_page():
    seen = standing(Watermark(error="x" * 10_000, failed_at=NOW), DELIVERED, schedules={"plans": "0 1 * * *"})
    assert len(seen.page) < 2_000
    entry = Entry("lake", "files", ("plans",), {"path": "a|b\nc"}, None, 1)
    assert "| path | a\\|b c |" in Standing(entry, {"plans": DELIVERED}, now=NOW).page


def test_the_page_is_the_same_until_something_happens():
    earlier = standing(DELIVERED, DELIVERED)
    later = Standing(earlier.entry, earlier.marks, now=NOW + timedelta(minutes=1))
    assert later.page == earlier.page


def test_who_logs_on_is_not_in_an_address():
    entry = Entry("lake", "files", ("plans",), {"endpoint": "https://me:hunter22@store.example/"}, None, 1)
    page = Standing(entry, {"plans": DELIVERED}, now=NOW).page
    assert "https://…@store.example/" in page
    assert "hunter22" not in page


def test_no_secret_is_on_a_page_not_even_one_that_stands_in_the_file(project):
    observed, _ = looked(project)
    assert observed.keys() == {"warehouse", "hook", "careless"}
    pages = {name: event.metadata[STATUS].value for name, event in observed.items()}
    assert "| secret | set from $HOOK_SECRET |" in pages["hook"]
    assert "| password | … |" in pages["careless"]
    assert "never as a literal" in pages["careless"]
    for page in pages.values():
        assert not any(secret in page for secret in ("hunter22", "whsec_"))


def test_messages_that_wait_are_counted(project):
    entry = project.settings.entry("hook")
    seen = Standing(entry, {"mrr_movements": DELIVERED}, messages={State.WAITING: 1_200, State.DELIVERED: 5}, now=NOW)
    assert "Messages: 1,200 waiting, 0 failed, 0 unknown" in seen.page


def test_only_what_has_changed_is_observed_again(project):
    _, cursor = looked(project)
    assert looked(project, cursor) == ({}, cursor)
    Store(project.settings.store.path).failed("warehouse", "plans", "warehouse: the disk is full")
    observed, after = looked(project, cursor)
    assert observed.keys() == {"warehouse"}
    assert observed["warehouse"].tags["dagster/data_version"] == json.loads(after)["warehouse"]
    assert observed["warehouse"].metadata["state"].value == "1 of 13 failing"
    assert observed["warehouse"].metadata["datasets that failed"].value == 1


def test_a_page_says_that_it_shows_a_file_that_is_another_by_now(project):
    _, cursor = looked(project)
    project.settings.file.write_text(SETTINGS.replace("hour: 6", "hour: 7"))
    observed, cursor = looked(project, cursor)
    assert observed.keys() == {"warehouse", "hook", "careless"}
    for event in observed.values():
        assert "mogul.yaml has changed since Dagster loaded it" in event.metadata[STATUS].value
    project.settings.file.write_text(SETTINGS)
    observed, _ = looked(project, cursor)
    assert observed.keys() == {"warehouse", "hook", "careless"}
    assert not any("has changed" in event.metadata[STATUS].value for event in observed.values())


def test_the_button_observes_one_of_them(project):
    key = dg.AssetKey(["warehouse", STATUS])
    job = project.definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={key})
    run = job.execute_in_process(instance=project.instance)
    (event,) = run.get_asset_observation_events()
    assert event.asset_observation_data.asset_observation.asset_key == key
    assert "never delivered" in event.asset_observation_data.asset_observation.metadata[STATUS].value


def test_a_delivery_by_hand_leaves_the_page_alone(project):
    job = project.definitions.resolve_job_def("deliver_warehouse")
    assert dg.AssetKey(["warehouse", STATUS]) not in job.asset_layer.executable_asset_keys
