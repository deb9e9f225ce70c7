"""With ``on_refresh`` a destination gets whatever is newer than what it holds, once, and when it stands whole."""

import json

import dagster as dg
import msgspec
import pytest

from mogul_assets.automation.jobs import RANGE_END, RANGE_START, REFRESH
from mogul_assets.catalog.window import Month
from mogul_assets.store.store import Watermark
from mogul_assets_tests.automation.conftest import SHELVED, datasets, started, tick
from mogul_assets_tests.project import NOW

ALWAYS = {"configuration", "status"}
"""The sensors of every project."""


def look(project, cursor=None):
    return tick(project, project.definitions.resolve_sensor_def("shelf_on_refresh"), cursor)


@pytest.fixture
def project(shelved):
    """What was refreshed and not yet delivered to the shelf."""
    return shelved("on_refresh: true")


def test_a_destination_without_it_has_no_such_sensor(shelved):
    assert {sensor.name for sensor in shelved().definitions.sensors} == {"retries", *ALWAYS}


def test_it_may_stand_beside_a_schedule(shelved):
    definitions = shelved("on_refresh: true, schedule: daily").definitions
    assert {sensor.name for sensor in definitions.sensors} == {"deliveries", "retries", "shelf_on_refresh", *ALWAYS}
    assert {schedule.name for schedule in definitions.schedules} == {"shelf_schedule", "purge_schedule"}


def test_what_a_first_refresh_brought_is_delivered_whole(project):
    (request,) = look(project).run_requests
    assert datasets(request) == set(SHELVED)
    assert request.tags[RANGE_START] == project.settings.account.since.partition_key
    assert request.tags[RANGE_END] == Month.of(NOW).partition_key
    assert started(project, request).success
    assert {dataset for dataset, *_ in project.shelf.taken} == set(SHELVED)


def test_what_was_asked_for_is_not_asked_for_again_whatever_became_of_it(project):
    project.shelf.fail("refuses", "tags")
    first = look(project)
    assert not started(project, first.run_requests[0]).success
    second = look(project, first.cursor)
    assert (second.run_requests, second.skip_message) == ([], "nothing new since the last time")


def test_a_cursor_that_was_cleared_asks_under_the_same_key(project):
    assert look(project).run_requests[0].run_key == look(project).run_requests[0].run_key


def test_nothing_is_started_where_the_destination_holds_it_all(project):
    started(project, look(project).run_requests[0])
    again = look(project)
    assert (again.run_requests, again.skip_message) == ([], "shelf holds what the store does")


def older(project, dataset):
    """As if a refresh had brought a dataset since it was delivered."""
    mark = project.store.watermark("shelf", dataset)
    project.store.mark("shelf", dataset, msgspec.structs.replace(mark, generation="20200101T000000Z-0000"))


def test_only_what_is_newer_is_delivered(project):
    started(project, look(project).run_requests[0])
    older(project, "tags")
    (request,) = look(project).run_requests
    assert datasets(request) == {"tags"}
    assert RANGE_START not in request.tags
    older(project, "mrr_movements")
    (request,) = look(project).run_requests
    assert datasets(request) == {"tags", "mrr_movements"}
    assert request.tags[RANGE_START] == Month.of(NOW).partition_key, "it holds all months already"
    mark = project.store.watermark("shelf", "mrr_movements")
    lacking = {month: sha256 for month, sha256 in mark.files.items() if month != f"{NOW.year}-02"}
    project.store.mark("shelf", "mrr_movements", msgspec.structs.replace(mark, files=lacking))
    (request,) = look(project).run_requests
    assert request.tags[RANGE_START] == f"{NOW.year}-02-01"


def test_datasets_of_one_generation_that_came_one_after_the_other_are_both_delivered(project):
    pointers = project.store.root / "pointers" / "source_data"
    held = (pointers / "plans.json").read_bytes()
    (pointers / "plans.json").unlink()
    first = look(project)
    (pointers / "plans.json").write_bytes(held)
    second = look(project, first.cursor)
    assert first.run_requests[0].run_key != second.run_requests[0].run_key
    assert datasets(second.run_requests[0]) - datasets(first.run_requests[0]) == {"plans"}


def brought_by(project, run_id):
    """As if a run had brought what stands."""
    for pointer in project.store.root.glob("pointers/*/*.json"):
        known = json.loads(pointer.read_bytes())
        if isinstance(known, dict):
            known["generation"] = f"{known['generation'].rpartition('-')[0]}-{run_id[:4]}"
            pointer.write_text(json.dumps(known))


@pytest.mark.parametrize(("job", "says"), [(REFRESH, "(refresh)"), ("deliver_shelf", "(deliver_shelf)")])
def test_it_waits_for_the_refresh_that_brings_it_and_for_a_run_of_its_own_and_then_delivers(project, job, says):
    definition = project.definitions.resolve_job_def(job)
    run = project.instance.create_run_for_job(definition, status=dg.DagsterRunStatus.STARTED, tags=definition.tags)
    brought_by(project, run.run_id)
    waiting = look(project)
    assert waiting.run_requests == []
    assert says in waiting.skip_message
    project.instance.report_run_failed(run)
    assert len(look(project, waiting.cursor).run_requests) == 1


def test_a_refresh_that_has_brought_nothing_yet_is_not_waited_for(project):
    job = project.definitions.resolve_job_def(REFRESH)
    project.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=job.tags)
    assert len(look(project).run_requests) == 1


def test_a_store_without_data_is_nothing_to_deliver(project):
    for pointer in project.store.root.glob("pointers/*/*.json"):
        pointer.unlink()
    assert look(project).run_requests == []


def test_what_the_schedule_delivered_is_not_delivered_again(shelved):
    project = shelved("on_refresh: true, schedule: hourly")
    (asked,) = tick(project, project.definitions.resolve_sensor_def("deliveries")).run_requests
    job = project.definitions.resolve_job_def("deliver_shelf")
    run = project.instance.create_run_for_job(job, status=dg.DagsterRunStatus.NOT_STARTED, tags=job.tags)
    waiting = look(project)
    assert waiting.run_requests == []
    project.instance.delete_run(run.run_id)
    started(project, asked)
    assert look(project, waiting.cursor).run_requests == []
    assert len(project.shelf.taken) == len(SHELVED)
    assert project.store.watermark("shelf", "tags") != Watermark()
