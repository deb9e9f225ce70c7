"""What is done by hand from the launchpad: every destination by its name, and in forms that stay the same."""

import pytest

from mogul_assets.destinations.messenger import LedgerResource
from mogul_assets.settings import load
from mogul_assets_tests.project import NOW, SETTINGS, Project, failures_of

HOOK = "  hook: {type: webhook, url: 'https://example.com', secret: {env: HOOK_SECRET}}\n"


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
        opened.disable("hook", "it answered 410", NOW)
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


# -- the forms


def test_the_form_of_a_replay_is_the_same_whenever_it_is_loaded(tmp_path, instance):
    project = Project(tmp_path, instance, None, SETTINGS.format(since="2019-12") + HOOK)
    form = project.definitions.resolve_job_def("replay").run_config["ops"]["replayed"]["config"]
    assert form == {"destination": "hook", "start": "2019-12-01", "end": "2020-01-01", "only_count": True}
