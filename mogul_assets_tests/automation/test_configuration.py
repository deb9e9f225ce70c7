"""What is wrong with a destination's entry shows by itself: when the file says something else, and once a day."""

import os
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.test_utils import freeze_time

from mogul_assets.assets.deliveries import CONFIGURATION
from mogul_assets.automation.configuration import configuration_sensor
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets_tests.automation.conftest import tick
from mogul_assets_tests.automation.daemon import daemon
from mogul_assets_tests.project import Project

TEXT = """
account: {sandbox: true, since: 2026-01}
destinations:
  lake: {type: files, path: out, datasets: [tags]}
  hook: {type: webhook, url: "https://example.com", secret: {env: NOWHERE_SET}}
  wrong: {type: duckdb, pth: out/m.duckdb}
"""


@pytest.fixture
def project(tmp_path, instance):
    return Project(tmp_path, instance, None, TEXT)


FIRST = next(iter(DATASETS))


def sensor_of(project):
    return project.definitions.resolve_sensor_def("configuration")


def test_each_destination_is_judged_and_none_takes_another_down(project):
    (request,) = tick(project, sensor_of(project)).run_requests
    evaluations = {
        one.asset_key.path[0]: one
        for one in project.run(request.job_name or CONFIGURATION).get_asset_check_evaluations()
    }
    assert {name: one.passed for name, one in evaluations.items()} == {"lake": True, "hook": False, "wrong": False}
    assert "NOWHERE_SET is not set" in evaluations["hook"].description
    assert "pth: there is no such setting" in evaluations["wrong"].description


def looks(project, clock=lambda: datetime(2026, 11, 23, 12, tzinfo=UTC)):
    """Looks at the file, one after another: each gives what the sensor asks for, and what it reports itself."""
    job, checks = project.definitions.resolve_job_def(CONFIGURATION), project.definitions.asset_checks
    sensor, cursor = configuration_sensor(job, checks, project.settings.file, clock), None
    while True:
        answer = tick(project, sensor, cursor)
        cursor = answer.cursor
        yield answer.run_requests, answer.asset_events


def test_a_file_is_judged_when_it_says_something_else_and_once_a_day(project):
    clock, file = [datetime(2026, 11, 23, 23, 58, tzinfo=UTC)], project.settings.file
    look, keys = looks(project, lambda: clock[0]), []

    def asks():
        requests, _ = next(look)
        keys.extend(request.run_key for request in requests)
        return bool(requests)

    assert (asks(), asks()) == (True, False)
    os.utime(file, (0, 0))
    assert not asks()
    file.write_text(TEXT.replace("NOWHERE_SET", "SET_NOWHERE"))
    assert (asks(), asks()) == (True, False)
    file.write_text(TEXT)  # and back: Dagster starts no run twice whose key it has seen
    assert (asks(), asks()) == (True, False)
    clock[0] += timedelta(minutes=2)
    assert (asks(), asks()) == (True, False)
    assert set(keys) == {None} or len(set(keys)) == len(keys)


UNREADABLE = {
    "no YAML": (TEXT + "  more: {type: files", "mogul.yaml, line 7: "),
    "no account": (TEXT.replace("account", "acount"), "unknown key 'acount'"),
    "gone": (None, "there is no "),
}


@pytest.mark.parametrize(("text", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_cannot_be_read_fails_the_check_of_each_until_it_can(project, text, reason):
    look, file = looks(project), project.settings.file
    next(look)
    file.write_text(text) if text else file.unlink()
    requests, failed = next(look)
    assert not requests
    assert {one.asset_key.path[0] for one in failed} == {"lake", "hook", "wrong"}
    assert not any(one.passed for one in failed)
    assert {reason in one.description for one in failed} == {True}
    assert next(look) == ([], [])
    file.write_text(TEXT)
    assert len(next(look)[0]) == 1


def test_a_file_that_somebody_edits_is_judged_without_a_reload(tmp_path, monkeypatch):
    """Through Dagster's own daemon, whose code has loaded the file as it was: a run loads it anew."""
    file = tmp_path / "mogul.yaml"
    file.write_text(TEXT)
    monkeypatch.setenv("MOGUL_FILE", str(file))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    more = "  more: {type: files, pth: out/more, datasets: [plans]}\n"
    assets = (["lake", "tags"], ["wrong", FIRST], ["more", "plans"])
    checks = [dg.AssetCheckKey(dg.AssetKey(asset), CONFIGURATION) for asset in assets]
    with daemon(tmp_path) as running:

        def found(minutes):
            with freeze_time(datetime.now(UTC) + timedelta(minutes=minutes)):
                running.sense()
            running.finish()
            last = running.instance.event_log_storage.get_latest_asset_check_execution_by_key(checks)
            return {key.asset_key.path[0]: one.status.value for key, one in last.items()}

        assert found(0) == {"lake": "SUCCEEDED", "wrong": "FAILED"}
        file.write_text(TEXT.replace("path: out,", "pth: out,").replace("pth: out/m.", "path: out/m.") + more)
        # What is new in the file is judged too; its check is there to be seen once Dagster has loaded the file again.
        assert found(1) == {"lake": "FAILED", "wrong": "SUCCEEDED", "more": "FAILED"}
        file.write_text("destinations")
        assert found(2) == {"lake": "FAILED", "wrong": "FAILED", "more": "FAILED"}
