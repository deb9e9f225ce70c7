"""What is done by hand from the launchpad: every destination by its name, and each run found by it."""

import shutil
from pathlib import Path

import dagster as dg
import pytest

from mogul_assets.assets.deliveries import DESTINATION
from mogul_assets.destinations.messenger import LedgerResource
from mogul_assets.destinations.webhook import WebhookDestination
from mogul_assets.messages.message import Answer, Draft, Outcome, Tried
from mogul_assets.settings import load
from mogul_assets_tests.automation.conftest import SHELVED, tick
from mogul_assets_tests.project import NOW, SETTINGS, Project, failures_of

HOOK = "  hook: {type: webhook, url: 'https://example.com', secret: {env: HOOK_SECRET}}\n"


def send(project, destination="shelf", **more):
    return project.run("send_now", run_config={"ops": {"send": {"config": {"destination": destination}}}}, **more)


def arrived(instance, result):
    """The datasets that a run says arrived."""
    said = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    return {entry.dagster_event.asset_key.path[-1] for entry in said}


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
    assert arrived(project.instance, result) == set(project.settings.entry("warehouse").datasets)


def test_an_unknown_destination_ends_send_now_with_the_names_there_are(delivered):
    result = delivered.project.run("send_now", run_config={"ops": {"send": {"config": {"destination": "nowhere"}}}})
    assert not result.success
    assert "there are: warehouse, lake" in str(result.all_events)


def paused(project, destination, *, paused):
    config = {"destination": destination, "paused": paused}
    return project.run("pause_destination", run_config={"ops": {"pause": {"config": config}}})


def test_pause_destination_pauses_in_the_file_and_takes_it_back(tmp_path, instance):
    text = SETTINGS.format(since=f"{NOW.year}-01") + "  # the archive\n  tape: {type: files, path: out/tape}\n"
    project = Project(tmp_path, instance, None, text)
    assert paused(project, "tape", paused=True).success
    there = load(project.settings.file)
    assert [name for name, entry in there.destinations.items() if entry.paused] == ["tape"]
    assert paused(project, "tape", paused=True).success, "paused already"
    assert paused(project, "tape", paused=False).success
    assert project.settings.file.read_text() == text


def test_pause_destination_lets_a_disabled_one_be_sent_to_again(tmp_path, instance):
    hook = "  hook: {type: webhook, url: 'https://example.com', secret: {env: HOOK_SECRET}}\n"
    project = Project(tmp_path, instance, None, SETTINGS.format(since=f"{NOW.year}-01") + hook)
    ledger = LedgerResource.of(project.settings.ledger)
    with ledger.open() as opened:
        opened.standing("hook", NOW)
        opened.enqueue("hook", [Draft("movement", "key", b"{}", NOW)], NOW)
        (message,) = opened.claim("hook", 1, WebhookDestination.POLICY, NOW)
        opened.settle([Tried(message, Answer(Outcome.GONE, "410"), NOW, 0.1)], WebhookDestination.POLICY, NOW)
        assert [one.disabled_at for one in opened.known()] == [NOW]
    assert paused(project, "hook", paused=False).success
    with ledger.open() as opened:
        assert [one.disabled_at for one in opened.known()] == [None]


def test_pause_destination_names_those_there_are(tmp_path, instance):
    result = paused(Project(tmp_path, instance, None), "nowhere", paused=True)
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


# -- send_now


def test_send_now_tries_every_dataset_and_ends_by_saying_what_did_not_arrive(shelved, instance):
    project = shelved()
    project.shelf.fail("refuses", SHELVED[0])
    result = send(project)
    assert arrived(instance, result) == set(SHELVED[1:]) == {dataset for dataset, *_ in project.shelf.taken}
    (said,) = failures_of(result).values()
    assert f"3 of 4 delivered ({', '.join(SHELVED[1:])}), not {SHELVED[0]}; shelf: it takes no such thing" in said


def test_send_now_says_of_each_dataset_that_it_arrived_before_it_goes_on_to_the_next(shelved, instance):
    project, seen, run_id = shelved(), [], dg.DagsterRun(job_name="send_now").run_id

    def heard(entry):
        if entry.dagster_event and entry.dagster_event.is_step_materialization:
            seen.append(len(project.shelf.taken))

    instance.add_event_listener(run_id, heard)
    assert send(project, run_id=run_id).success
    assert seen == [1, 2, 3, 4]


def test_send_now_does_not_wait_for_a_destination_that_is_not_there_once_for_each_dataset(shelved):
    project = shelved()
    project.shelf.fail("away")
    result = send(project)
    (said,) = failures_of(result).values()
    assert f"0 of 4 delivered (none), not {', '.join(SHELVED)}; shelf: no answer in 20 s" in said
    assert said.count("no answer") == 1
    assert project.shelf.asked == 1
    assert all(project.store.watermark("shelf", name).due_at for name in SHELVED), "each is tried again"


@pytest.fixture
def lasting(tmp_path):
    """An instance with the project's own ``dagster.yaml``: one that lives in memory has no pools."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(Path(__file__).parents[2] / "dagster.yaml", home)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def test_send_now_waits_for_whoever_delivers_to_the_same_destination(shelved, lasting):
    project, seen = shelved(), []
    project.instance, pools, run_id = lasting, lasting.event_log_storage, dg.DagsterRun(job_name="send_now").run_id
    other = lasting.create_run_for_job(project.definitions.resolve_job_def("deliver_shelf")).run_id
    pools.initialize_concurrency_limit_to_default("deliver_shelf")
    assert pools.claim_concurrency_slot("deliver_shelf", other, "shelf__plans").is_claimed

    def heard(entry):
        if "blocked by limit for pool deliver_shelf" in entry.user_message:
            seen.append(len(project.shelf.taken))
            pools.free_concurrency_slots_for_run(other)

    lasting.add_event_listener(run_id, heard)
    assert send(project, run_id=run_id).success
    assert (seen, len(project.shelf.taken)) == ([0], 4)


def test_no_sensor_starts_a_delivery_beside_send_now(shelved, instance):
    project, asked = shelved("on_refresh: true"), []
    sensor = project.definitions.resolve_sensor_def("shelf_on_refresh")
    run_id = dg.DagsterRun(job_name="send_now").run_id

    def heard(entry):
        if entry.dagster_event and entry.dagster_event.is_step_materialization:
            asked.append(tick(project, sensor).skip_message)

    assert len(tick(project, sensor).run_requests) == 1
    instance.add_event_listener(run_id, heard)
    assert send(project, run_id=run_id).success
    assert asked == [f"waits for the run {run_id[:8]} (send_now)"] * 4


# -- whose a run is


def found(instance, destination):
    """The runs that the filter of the runs' page finds."""
    return {run.run_id for run in instance.get_runs(dg.RunsFilter(tags={DESTINATION: destination}))}


@pytest.mark.parametrize(
    ("job", "op", "more"),
    [
        ("send_now", "send", {}),
        ("test_destination", "test", {}),
        ("pause_destination", "pause", {}),
        ("replay", "replayed", {"start": "2026-01-01", "end": "2026-02-01"}),
        ("retry_messages", "retried", {}),
    ],
)
def test_a_run_by_hand_is_found_by_its_destination_whatever_becomes_of_it(tmp_path, instance, job, op, more):
    project = Project(tmp_path, instance, None, SETTINGS.format(since=f"{NOW.year}-01") + HOOK)
    run = project.run(job, run_config={"ops": {op: {"config": {"destination": "lake", **more}}}})
    assert found(instance, "lake") == {run.run_id}


def materialise(project, *keys):
    """As the button of the UI does."""
    job = project.definitions.resolve_implicit_global_asset_job_def()
    selection = [dg.AssetKey(key) for key in keys]
    return job.execute_in_process(instance=project.instance, asset_selection=selection, raise_on_error=False)


@pytest.mark.parametrize("how", [None, "away"])
def test_what_is_materialised_by_hand_is_found_by_its_destination(shelved, instance, how):
    project = shelved()
    project.shelf.fail(how)
    run = materialise(project, ["shelf", "tags"], ["shelf", "plans"])
    assert run.success is (how is None)
    assert found(instance, "shelf") == {run.run_id}


@pytest.mark.parametrize("destination", ["hook", "mail"])
def test_so_is_what_sends_messages_though_none_was_sent(tmp_path, instance, destination):
    messengers = HOOK + "  mail: {type: email}\n"
    project = Project(tmp_path, instance, None, SETTINGS.format(since=f"{NOW.year}-01") + messengers)
    run = materialise(project, *([destination, name] for name in project.settings.entry(destination).datasets))
    assert not run.success
    assert found(instance, destination) == {run.run_id}


def test_a_run_for_several_destinations_names_them_all(stored, tmp_path, instance):
    project = Project(tmp_path, instance, None)
    shutil.copytree(stored.root, project.store.root)
    run = materialise(project, ["warehouse", "tags"], ["lake", "tags"], ["lake", "plans"])
    assert found(instance, "lake, warehouse") == {run.run_id}


# -- the forms


def test_the_form_of_a_replay_is_the_same_whenever_it_is_loaded(tmp_path, instance):
    project = Project(tmp_path, instance, None, SETTINGS.format(since="2019-12") + HOOK)
    form = project.definitions.resolve_job_def("replay").run_config["ops"]["replayed"]["config"]
    assert form == {"destination": "hook", "start": "2019-12-01", "end": "2020-01-01", "only_count": True}
