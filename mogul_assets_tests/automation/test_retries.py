"""A delivery that its destination did not take is tried again when it is due, and never twice at once."""

from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.events import RunFailureReason
from dagster._core.execution.retries import auto_reexecution_should_retry_run

from mogul_assets.assets.deliveries import ATTEMPT
from mogul_assets.automation.jobs import RANGE_END, RANGE_START, deliver_job
from mogul_assets.automation.runs import PROCESS, process
from mogul_assets.automation.sensors import retries_sensor
from mogul_assets.catalog.window import Month
from mogul_assets_tests.automation.conftest import SHELVED, datasets, started, tick
from mogul_assets_tests.project import NOW

MINUTE = timedelta(minutes=1)


def retries(project, at):
    """The runs that ``retries`` asks for at that moment."""
    entries = project.settings.destinations
    jobs = [deliver_job(entry) for entry in entries.values()]
    sensor = retries_sensor(entries, project.store.root, project.settings.account.since, jobs, clock=lambda: at)
    return tick(project, sensor).run_requests


def mark(project, dataset="plans"):
    return project.store.watermark("shelf", dataset)


def waits(project, dataset="plans"):
    """How long after its failure a dataset is tried again."""
    found = mark(project, dataset)
    return found.due_at and found.due_at - found.failed_at


@pytest.fixture
def failed(shelved):
    """A project whose destination did not take tags and movements, for now."""
    project = shelved()
    project.shelf.fail("away", "tags", "mrr_movements")
    assert not project.deliver("shelf").success
    return project


def test_a_run_that_meets_a_destination_that_is_not_there_ends_as_failed_and_is_due_in_a_minute(failed):
    assert waits(failed, "tags") == MINUTE
    assert (mark(failed, "tags").transient, mark(failed, "tags").attempts) == (True, 1)


def test_nothing_is_started_before_it_is_due(failed):
    assert retries(failed, mark(failed, "tags").due_at - MINUTE) == []


def test_what_is_due_is_started_for_the_datasets_that_failed_and_no_other(failed):
    (request,) = retries(failed, mark(failed, "tags").due_at)
    not_tried = {name for name in SHELVED if mark(failed, name).delivered_at is None}
    assert datasets(request) == not_tried
    assert {"tags", "mrr_movements"} <= not_tried
    assert request.tags[ATTEMPT] == "2"
    assert request.run_key.startswith(f"shelf@{failed.store.table('tags').generation}#2")


def test_a_retry_that_arrives_clears_what_was_wrong(failed):
    (request,) = retries(failed, mark(failed, "tags").due_at)
    failed.shelf.fail(None)
    assert started(failed, request).success
    assert {mark(failed, name).error for name in SHELVED} == {None}
    assert {mark(failed, name).due_at for name in SHELVED} == {None}
    assert retries(failed, NOW + timedelta(days=1)) == []


def test_it_is_tried_after_1_5_and_15_minutes_and_then_left_to_the_next_schedule(failed):
    waited = []
    while (wait := waits(failed, "tags")) is not None and len(waited) < 4:
        waited.append(wait)
        (request,) = retries(failed, mark(failed, "tags").due_at)
        assert not started(failed, request).success
    assert waited == [MINUTE, 5 * MINUTE, 15 * MINUTE]
    assert mark(failed, "tags").attempts == 4
    assert retries(failed, NOW + timedelta(days=1)) == []


def test_a_run_that_is_no_retry_begins_a_new_series(failed):
    for _ in range(2):
        (request,) = retries(failed, mark(failed, "tags").due_at)
        started(failed, request)
    assert waits(failed, "tags") == 15 * MINUTE
    failed.deliver("shelf")
    assert waits(failed, "tags") == MINUTE
    assert (mark(failed, "tags").attempts, mark(failed, "tags").failures) == (1, 4)


@pytest.mark.parametrize("how", ["refuses", "breaks"])
def test_what_cannot_get_better_by_waiting_is_never_tried_again(shelved, how):
    project = shelved()
    project.shelf.fail(how, "plans")
    assert not project.deliver("shelf").success
    assert (mark(project).transient, mark(project).due_at) == (False, None)
    assert mark(project).error.endswith(f"→ {mark(project).remedy}")
    assert mark(project).error
    assert "Ada" not in mark(project).error
    assert retries(project, NOW + timedelta(days=1)) == []


def test_a_retry_covers_the_months_that_the_destination_does_not_hold(failed):
    (request,) = retries(failed, mark(failed, "tags").due_at)
    assert request.tags[RANGE_START] == failed.settings.account.since.partition_key
    assert request.tags[RANGE_END] == Month.of(NOW).partition_key
    failed.shelf.fail(None)
    started(failed, request)
    assert ("mrr_movements", failed.store.table("tags").generation, "from the beginning on") in failed.shelf.taken
    failed.shelf.fail("away", "mrr_movements")
    failed.deliver("shelf")
    (request,) = retries(failed, mark(failed, "mrr_movements").due_at)
    assert request.tags[RANGE_START] == Month.of(NOW).partition_key


def test_a_retry_of_datasets_without_months_names_none(shelved):
    project = shelved(datasets=["tags", "mrr_movements"])
    project.shelf.fail("refuses", "mrr_movements")
    project.deliver("shelf")
    project.shelf.fail("away", "tags")
    project.deliver("shelf")
    (request,) = retries(project, mark(project, "tags").due_at)
    assert RANGE_START not in request.tags
    project.shelf.fail(None)
    assert started(project, request).success


def test_the_same_failure_is_asked_for_under_the_same_key_and_the_next_under_another(failed):
    due = mark(failed, "tags").due_at
    (first,), (second,) = retries(failed, due), retries(failed, due + MINUTE)
    assert first.run_key == second.run_key
    started(failed, first)
    (third,) = retries(failed, mark(failed, "tags").due_at)
    assert third.run_key != first.run_key


def test_datasets_that_failed_one_after_the_other_are_tried_again_together(failed):
    store, due = failed.store, mark(failed, "tags").due_at
    store.failed("shelf", "plans", "later", at=due - MINUTE + timedelta(seconds=20), again_after=[MINUTE])
    (request,) = retries(failed, due)
    assert "plans" in datasets(request)


@pytest.mark.parametrize(
    "status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
)
def test_nothing_is_started_while_a_run_of_the_destination_is_queued_or_runs(failed, status):
    job = failed.definitions.resolve_job_def("deliver_shelf")
    run = failed.instance.create_run_for_job(job, status=status, tags=job.tags)
    due = mark(failed, "tags").due_at
    assert retries(failed, due) == []
    failed.instance.report_run_failed(run)
    assert len(retries(failed, due)) == 1


def test_what_is_materialised_by_hand_counts_as_a_run_of_its_destination(failed):
    job = failed.definitions.resolve_implicit_global_asset_job_def()
    selection = frozenset({dg.AssetKey(["shelf", "tags"])})
    failed.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, asset_selection=selection)
    assert retries(failed, mark(failed, "tags").due_at) == []


def test_a_run_whose_command_was_killed_holds_up_no_retry(failed):
    job = failed.definitions.resolve_job_def("deliver_shelf")
    host = process().partition(":")[0]
    failed.instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTED, tags={**job.tags, PROCESS: f"{host}:999999999"}
    )
    assert len(retries(failed, mark(failed, "tags").due_at)) == 1


def test_a_destination_that_holds_newer_data_by_then_is_not_tried_further(failed):
    (request,) = retries(failed, mark(failed, "tags").due_at)
    failed.shelf.fail("newer")
    assert started(failed, request).success
    assert (mark(failed, "tags").error, mark(failed, "tags").due_at) == (None, None)


@pytest.mark.parametrize("on_failure", ["true", "false"])
def test_dagster_s_own_retries_leave_it_alone(failed, tmp_path, on_failure):
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(
        f"run_retries: {{enabled: true, max_retries: 2, retry_on_asset_or_op_failure: {on_failure}}}"
    )
    with dg.DagsterInstance.from_config(str(home)) as instance:
        failed.instance = instance
        result = failed.deliver("shelf")
        run = instance.get_run_by_id(result.run_id)
        assert run.status is dg.DagsterRunStatus.FAILURE
        assert not auto_reexecution_should_retry_run(instance, run, RunFailureReason.STEP_FAILURE)
