"""What is wrong with a destination's entry shows by itself: when the file says something else, and once a day."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from mogul_assets.automation.configuration import configuration_sensor
from mogul_assets_tests.automation.conftest import tick
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


def sensor_of(project):
    return project.definitions.resolve_sensor_def("configuration")


def test_each_destination_is_judged_and_none_takes_another_down(project):
    (request,) = tick(project, sensor_of(project)).run_requests
    assert request.run_key.startswith("configuration ")
    evaluations = {one.asset_key.path[0]: one for one in project.run("configuration").get_asset_check_evaluations()}
    assert {name: one.passed for name, one in evaluations.items()} == {"lake": True, "hook": False, "wrong": False}
    assert "NOWHERE_SET is not set" in evaluations["hook"].description
    assert "pth: there is no such setting" in evaluations["wrong"].description


def test_the_same_file_is_judged_once_a_day(project):
    clock = [datetime(2026, 11, 23, 23, 59, tzinfo=UTC)]
    job = project.definitions.resolve_job_def("configuration")

    def asked(digest, cursor):
        sensor = configuration_sensor(job, digest, lambda: clock[0])
        with dg.build_sensor_context(instance=project.instance, cursor=cursor) as context:
            answer = sensor.evaluate_tick(context)
        return len(answer.run_requests), answer.cursor

    first, cursor = asked("one", None)
    again, _ = asked("one", cursor)
    other_text, _ = asked("two", cursor)
    clock[0] += timedelta(minutes=1)
    next_day, _ = asked("one", cursor)
    assert (first, again, other_text, next_day) == (1, 0, 1, 1)


def test_another_text_is_another_file(tmp_path, project, instance):
    other = Project(tmp_path, instance, None, TEXT.replace("NOWHERE_SET", "SET_NOWHERE"))
    assert other.settings.digest != project.settings.digest
