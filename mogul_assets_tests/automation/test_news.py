"""Real time: what is new reaches its receivers in one run, once, whatever else goes on meanwhile."""

import base64
import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from urllib.request import Request, urlopen

import dagster as dg
import pyarrow.dataset as ds
import pytest

from mogul_assets.assets.common import AccountResource
from mogul_assets.assets.deliveries import DESTINATION, NEWS_ASSET
from mogul_assets.automation import news as real_time
from mogul_assets.automation.jobs import NEWS, deliver_job, news_job
from mogul_assets.automation.news import AGAIN_AFTER, KEPT_RUNS, news_sensor
from mogul_assets.destinations.messenger import LedgerResource
from mogul_assets.messages.message import State
from mogul_assets.refresh.news import LOOK_BACK, read_news
from mogul_assets.sandbox.company import generate
from mogul_assets.sandbox.server import NO_LIMITS, Sandbox, serve
from mogul_assets.store.table import new_generation
from mogul_assets_tests.automation.conftest import started, tick
from mogul_assets_tests.docs.pages import page
from mogul_assets_tests.peers.receiver import SECRET, Receiver, Reply
from mogul_assets_tests.project import NOW, Project, failures_of

BORN = NOW - timedelta(hours=8)
"""The company's clock is behind ours: what happens to it as time passes is news, and not yet late."""
RUN_BYTES = 250_000
HOOK = "{{type: webhook, url: '{url}', allow_private: [127.0.0.1], secret: {{env: HOOK_SECRET}}}}"


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A company, and a store after one refresh; look, but do not touch."""
    company = generate(seed=5, now=BORN, customers=1500)
    with serve(Sandbox(company, limits=NO_LIMITS)) as serving, dg.DagsterInstance.ephemeral() as instance:
        project = Project(tmp_path_factory.mktemp("begun"), instance, serving)
        assert project.refresh().success
        return SimpleNamespace(company=company, root=project.store.root)


@pytest.fixture
def hooked(begun, tmp_path, instance, monkeypatch):
    """A project with that store, a company of its own, and a webhook to each of the receivers."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)

    def make(*receivers):
        hooks = "\n".join(f"  hook{n}: {HOOK.format(url=one.url)}" for n, one in enumerate(receivers))
        text = f"account: {{sandbox: true, since: {NOW.year}-01}}\ndestinations:\n{hooks}\n"
        project = Project(tmp_path, instance, serving, text)
        shutil.copytree(begun.root, project.store.root)
        project.ledger = LedgerResource.of(project.settings.ledger)
        with project.ledger.open() as ledger:
            for name in project.settings.destinations:
                ledger.standing(name, BORN)
        return project

    with serve(Sandbox(begun.company, limits=NO_LIMITS)) as serving:
        yield make


@pytest.fixture
def receiver():
    with Receiver().running() as receiver:
        yield receiver


def sensor_of(project, clock=lambda: datetime.now(UTC)):
    settings = project.settings
    entries = settings.destinations
    return news_sensor(
        entries,
        account=AccountResource.of(settings.account, settings.store.path),
        ledger=LedgerResource.of(settings.ledger),
        store=settings.store.path,
        since=settings.account.since,
        jobs=[news_job(list(entries.values())), *map(deliver_job, entries.values())],
        clock=clock,
    )


def news(project):
    return project.run(NEWS)


def happened(project, hours):
    """Lets time pass; the keys of what can be told of it."""
    before = {each["uuid"] for each in activities(project)}
    project.serving.sandbox.live(days=hours / 24, corrections=0, cancellations=0, merges=0, deletions=0)
    return [each for each in activities(project) if each["uuid"] not in before]


def activities(project):
    found, after = [], ""
    while True:
        query = f"?per_page=200&start-date={BORN - timedelta(hours=1):%Y-%m-%dT%H:%M:%S}Z{after}"
        request = Request(project.serving.url + "/activities" + query)
        request.add_header("Authorization", "Basic " + base64.b64encode(b"sandbox:").decode())
        page = json.load(urlopen(request))
        found += page["entries"]
        if not page["has_more"]:
            return found
        after = f"&start-after={page['entries'][-1]['uuid']}"


def test_what_happened_reaches_the_receiver_once(hooked, receiver):
    project = hooked(receiver)
    fresh = happened(project, 6)
    assert fresh
    assert news(project).success
    told = [one.headers["mogul-movement-key"] for one in receiver.messages]
    assert len(told) == len(set(told)) == len(fresh)
    assert all(one.valid for one in receiver.taken)
    assert news(project).success
    assert len(receiver.taken) == len(fresh)


def test_send_now_tells_nothing_twice_that_was_told_as_it_happened(hooked, receiver, instance):
    project = hooked(receiver)
    fresh = happened(project, 6)
    assert news(project).success
    sent = project.run("send_now", run_config={"ops": {"send": {"config": {"destination": "hook0"}}}})
    assert sent.success
    (said,) = instance.all_logs(sent.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    assert said.dagster_event.asset_key == dg.AssetKey(["hook0", "mrr_movements"])
    assert len(receiver.messages) == len(fresh)


def test_a_run_of_the_news_is_found_by_whom_it_tells(hooked, receiver, instance):
    with Receiver().running() as other:
        run = news(hooked(receiver, other))
    assert run.success
    assert instance.get_run_by_id(run.run_id).tags[DESTINATION] == "hook0, hook1"


def test_what_a_clock_ahead_has_read_hides_nothing_from_the_next_look(hooked, receiver):
    project = hooked(receiver)
    settings, ahead = project.settings, datetime.now(UTC) + LOOK_BACK + timedelta(days=1)
    account = AccountResource.of(settings.account, settings.store.path)
    read_news(project.store, account.open(), generation=new_generation(ahead), now=ahead)
    fresh = happened(project, 6)
    assert news(project).success
    assert len({one.headers["mogul-movement-key"] for one in receiver.messages}) == len(fresh) > 0


def test_a_movement_has_the_key_that_the_next_refresh_gives_it(hooked, receiver):
    project = hooked(receiver)
    happened(project, 6)
    news(project)
    assert project.refresh().success
    table = project.store.table("mrr_movements")
    keys = set(ds.dataset(table.paths).to_table(columns=["movement_key"])["movement_key"].to_pylist())
    assert {one.key for one in receiver.messages} <= keys


def test_what_only_got_new_ids_is_no_news(hooked, receiver):
    project = hooked(receiver)
    happened(project, 6)
    news(project)
    told = len(receiver.taken)
    sensor = sensor_of(project)
    cursor = tick(project, sensor).cursor
    project.serving.sandbox.reissue()
    answer = tick(project, sensor, cursor)
    assert not answer.run_requests
    assert news(project).success
    assert len(receiver.taken) == told


def test_the_sensor_asks_for_a_run_where_the_account_changed(hooked, receiver):
    project = hooked(receiver)
    sensor = sensor_of(project)
    first = tick(project, sensor)
    assert [request.job_name for request in first.run_requests] == [NEWS]
    assert NEWS_ASSET in first.run_requests[0].asset_selection
    news(project)
    again = tick(project, sensor, first.cursor)
    assert not again.run_requests
    assert again.skip_message == "nothing new"
    happened(project, 6)
    assert len(tick(project, sensor, first.cursor).run_requests) == 1


def test_a_run_of_which_nothing_came_is_asked_for_again(hooked, receiver):
    project = hooked(receiver)
    asked = tick(project, sensor_of(project))
    soon = tick(project, sensor_of(project, lambda: datetime.now(UTC) + AGAIN_AFTER / 2), asked.cursor)
    assert not soon.run_requests
    later = tick(project, sensor_of(project, lambda: datetime.now(UTC) + AGAIN_AFTER), asked.cursor)
    assert len(later.run_requests) == 1


def test_what_was_read_and_not_written_down_is_told_though_nothing_is_new(hooked, receiver):
    """Its run was killed in between, or the ledger was away."""
    project = hooked(receiver)
    fresh = happened(project, 6)
    cursor = tick(project, sensor_of(project)).cursor
    assert project.run(NEWS, asset_selection=[NEWS_ASSET]).success
    assert tick(project, sensor_of(project), cursor).skip_message == "nothing new"  # it may still be at it
    away = project.store.root.parent / "sandbox.json"
    text = away.read_text()
    away.unlink()  # the account is not needed for it
    (request,) = tick(project, sensor_of(project, lambda: datetime.now(UTC) + AGAIN_AFTER), cursor).run_requests
    assert started(project, request).success
    assert len({one.id for one in receiver.taken}) == len(fresh)
    away.write_text(text)
    later = sensor_of(project, lambda: datetime.now(UTC) + 2 * AGAIN_AFTER)
    assert not tick(project, later, cursor).run_requests


def test_an_account_that_does_not_answer_is_a_skip_that_says_so(hooked, receiver):
    project = hooked(receiver)
    (project.store.root.parent / "sandbox.json").unlink()
    answer = tick(project, sensor_of(project))
    assert not answer.run_requests
    assert "the sandbox account does not run" in answer.skip_message


def test_what_is_due_again_is_sent_though_nothing_is_new(hooked):
    with Receiver(lambda number: Reply(500) if number == 0 else Reply()).running() as receiver:
        project = hooked(receiver)
        sensor = sensor_of(project)
        cursor = tick(project, sensor).cursor
        fresh = happened(project, 6)
        cursor = tick(project, sensor, cursor).cursor
        news(project)
        with project.ledger.open() as ledger:
            left = [one for one in ledger.records("hook0", [State.WAITING]) if one.attempts]
        if left:  # the first retry may be within the same run
            later = sensor_of(project, lambda: left[0].due_at)
            answer = tick(project, later, cursor)
            assert [request.job_name for request in answer.run_requests] == [NEWS]
            news(project)
        assert len(receiver.messages) == len(fresh)
        assert len({one.id for one in receiver.taken}) == len(fresh)


def test_messages_that_wait_are_a_failure_that_may_pass(hooked):
    with Receiver(lambda _: Reply(500)).running() as receiver:
        project = hooked(receiver)
        happened(project, 6)
        assert not news(project).success
    mark = project.store.watermark("hook0", "mrr_movements")
    assert (mark.transient, mark.due_at) == (True, None)


def test_while_a_run_sends_slowly_the_next_one_tells_the_others(hooked, receiver):
    project = hooked(receiver)
    sensor = sensor_of(project)
    cursor = tick(project, sensor).cursor
    running = dg.DagsterRun(job_name=NEWS, status=dg.DagsterRunStatus.STARTED)
    project.instance.add_run(running)
    happened(project, 6)
    assert "reads the news" in tick(project, sensor, cursor).skip_message
    news(project)
    happened(project, 1)
    assert len(tick(project, sensor, cursor).run_requests) == 1
    project.instance.add_run(dg.DagsterRun(job_name=NEWS, status=dg.DagsterRunStatus.STARTED))
    assert "two runs" in tick(project, sensor, cursor).skip_message


def test_the_news_waits_for_no_refresh(hooked, receiver):
    project = hooked(receiver)
    fresh = happened(project, 6)
    with project.store.writing():
        assert news(project).success
    assert len(receiver.messages) == len(fresh)


def test_a_receiver_that_never_answers_holds_up_no_other(hooked, receiver):
    with Receiver(lambda number: Reply(seconds=60)).running() as silent:
        project = hooked(silent, receiver)
        fresh = happened(project, 6)
        run = news(project)
        assert not run.success
        assert len(receiver.messages) == len(fresh)
        told = {event.asset_key.path[0] for event in run.get_asset_materialization_events()}
        assert told == {"internal", "hook1"}
        waited = max(one.at for one in receiver.messages) - min(one.at for one in receiver.messages)
        assert waited < 10
        with project.ledger.open() as ledger:
            assert ledger.counts("hook0")[State.WAITING] >= len(fresh)


def test_a_receiver_that_wants_no_more_is_told_of_once(hooked, receiver):
    with Receiver(lambda number: Reply(410)).running() as gone:
        project = hooked(gone, receiver)
        happened(project, 4)
        by_sensor = {"dagster/sensor_name": NEWS}
        first = project.run(NEWS, by_sensor)
        assert "hook0 is disabled from now on" in failures_of(first)["real_time"]
        told = len(receiver.messages)
        happened(project, 3)
        assert project.run(NEWS, by_sensor).success
        assert len(receiver.messages) > told
        assert len(gone.taken) <= 8
        assert "hook0 is disabled since" in failures_of(project.run(NEWS))["real_time"]


def test_a_look_that_finds_nothing_is_a_look(hooked, receiver):
    project = hooked(receiver)
    sensor = sensor_of(project)
    cursor = tick(project, sensor).cursor
    news(project)
    looked = datetime.now(UTC)
    assert not tick(project, sensor_of(project, lambda: looked), cursor).run_requests
    with project.ledger.open() as ledger:
        (standing,) = ledger.known()
    assert standing.polled_at < standing.last_look == looked


def test_where_no_destination_has_a_schedule_the_account_is_read_once_a_day(hooked, receiver):
    project = hooked(receiver)
    schedule = project.definitions.resolve_schedule_def("refresh_daily")
    assert (schedule.cron_schedule, schedule.job_name) == ("0 9 * * *", "refresh")


def test_before_the_first_refresh_the_sensor_says_what_to_do(tmp_path, instance, monkeypatch, serving):
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    hook = HOOK.format(url="https://example.com")
    project = Project(tmp_path, instance, serving, f"account: {{sandbox: true}}\ndestinations:\n  hook: {hook}\n")
    assert "mogul sync" in tick(project, sensor_of(project)).skip_message


def test_of_its_runs_the_newest_stay(hooked, receiver, monkeypatch):
    monkeypatch.setattr(real_time, "KEPT_RUNS", 1)
    project = hooked(receiver)
    runs = [news(project).run_id for _ in range(3)]
    tick(project, sensor_of(project))
    assert project.instance.get_run_ids(dg.RunsFilter(job_name=NEWS)) == runs[-1:]


def test_run_after_run_dagsters_folder_stays_within_what_the_page_says(hooked, receiver, monkeypatch, tmp_path):
    """As many runs as one likes: those that stay, of 0.25 MB at most, and nothing of those that went."""
    kept = 2
    monkeypatch.setattr(real_time, "KEPT_RUNS", kept)
    project, sizes, folder = hooked(receiver), [], tmp_path / "instance"
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder)) as project.instance:
        empty = used(folder)
        for _ in range(3 * kept):
            assert news(project).success
            tick(project, sensor_of(project))
            sizes.append(used(folder) - empty)
    assert max(sizes) < kept * RUN_BYTES
    assert sizes[-1] < sizes[kept - 1] + RUN_BYTES / 5
    stated = re.search(r"(\d+) MB together", page("operations.md"))
    assert int(stated[1]) * 1e6 == KEPT_RUNS * RUN_BYTES


def used(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
