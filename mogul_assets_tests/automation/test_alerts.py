"""Alerts through Dagster's sensor, to a real Slack, mail server and receiver."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import dagster as dg
import msgspec
import pytest

from mogul_assets.assets.deliveries import AGAIN_AFTER
from mogul_assets.assets.reads import NOT_OLDER_THAN
from mogul_assets.automation.alerts import alerts_sensor
from mogul_assets.automation.freshness import LATE
from mogul_assets.automation.jobs import partition_range, refresh_range
from mogul_assets.catalog.window import Month
from mogul_assets.cli.backfill import READ
from mogul_assets.destinations.configured import configured
from mogul_assets.settings import load
from mogul_assets.store.store import Watermark
from mogul_assets_tests.automation.conftest import SHELVED, started, tick
from mogul_assets_tests.cli.conftest import Place
from mogul_assets_tests.peers import slack as slack_peer
from mogul_assets_tests.peers import smtp
from mogul_assets_tests.peers.receiver import SECRET, Receiver
from mogul_assets_tests.peers.slack import Slack

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
AWAY = {"remedy": "it is tried again", "transient": True, "again_after": AGAIN_AFTER}
"""What the store is told of a failure that may pass by itself."""


@pytest.fixture
def channels(monkeypatch, tmp_path):
    """A Slack, a mail server and a receiver, and the block of mogul.yaml that names them."""
    monkeypatch.setenv(slack_peer.SECRET, slack_peer.TOKEN)
    monkeypatch.setenv(smtp.SECRET, smtp.PASSWORD)
    monkeypatch.setenv("ALERTS_SECRET", SECRET)
    receiver = Receiver()
    with Slack() as slack, smtp.serving(tmp_path) as mails, receiver.running():
        text = f"""
alerts:
  slack: {{token: {{env: {slack_peer.SECRET}}}, channels: ["#revenue"], url: "{slack.url}"}}
  email:
    {{host: localhost, port: {mails.port}, ca_file: "{mails.ca_file}", username: {smtp.USER},
     password: {{env: {smtp.SECRET}}}, sender: mogul@example.com, recipients: [oncall@example.com]}}
  webhook: {{url: "{receiver.url}", secret: {{env: ALERTS_SECRET}}, allow_private: ["127.0.0.0/8"]}}
"""
        yield text, slack, mails, receiver


class Watched:
    """A project with alerts, whose clock the test turns."""

    def __init__(self, project, text):
        file = project.folder / "mogul.yaml"
        file.write_text(file.read_text() + text)
        self.project, self.now = project, NOW
        self.settings = type(project)(project.folder, project.instance, None, file.read_text()).settings

    def look(self):
        """What the sensor says of one look."""
        entries = dict(self.settings.destinations)
        sensor = alerts_sensor(
            self.settings.alerts,
            {type_: configured(self.settings, entry) for type_, entry in self.settings.alerts.channels.items()},
            entries,
            destinations={
                name: self.project.shelf if name == "shelf" else configured(self.settings, entry)
                for name, entry in entries.items()
            },
            store=self.project.store.root,
            clock=lambda: self.now,
        )
        with dg.build_sensor_context(instance=self.project.instance) as context:
            return sensor.evaluate_tick(context).skip_message

    def fails(self, *datasets, error="no answer", **how):
        """These datasets fail at this moment, as deliveries tell the store, and the sensor looks."""
        for dataset in datasets:
            self.project.store.failed("shelf", dataset, error, at=self.now, **how)
        return self.look()

    def fails_to_the_last_try(self, *datasets):
        """A whole series of tries: a scheduled one and those after it."""
        self.fails(*datasets, **AWAY)
        for wait in AGAIN_AFTER:
            self.now += wait
            self.fails(*datasets, again=True, **AWAY)
        self.now += MINUTE
        return self.look()

    def arrives(self, *datasets):
        for dataset in datasets:
            mark = Watermark(generation="g", delivered_at=self.now, read_at=self.now)
            self.project.store.mark("shelf", dataset, mark)
        return self.look()


@pytest.fixture
def watched(shelved, channels):
    return Watched(shelved("on_refresh: true"), channels[0])


def delivered(watched):
    """Deliver what stands, as the sensor asks for it."""
    request = tick(watched.project, watched.project.definitions.resolve_sensor_def("shelf_on_refresh")).run_requests[0]
    return started(watched.project, request)


def test_one_that_refuses_is_told_once_with_what_it_means_and_its_end_too(watched, channels):
    _, slack, mails, receiver = channels
    watched.project.shelf.fail("refuses")
    assert not delivered(watched).success
    assert watched.look() == "1 open incidents; 3 notices sent, 0 not taken"
    assert watched.look() == "1 open incidents; 0 notices sent, 0 not taken"
    (post,), (mail,), (taken,) = slack.posts, mails.received, receiver.taken
    told = slack_peer.read(post)
    assert "mogul: shelf: plans, tags, customers and 1 more not delivered\nSince 20" in told
    assert "it takes no such thing → change it" in told
    assert "Nothing has arrived there yet. → mogul status shelf" in told
    assert mail.message["Subject"].startswith("mogul: shelf: plans, tags, customers")
    assert (taken.valid, msgspec.json.decode(taken.body)["type"]) == (True, "mogul_alert")
    watched.project.shelf.fail(None)
    for dataset in SHELVED:
        watched.project.store.mark("shelf", dataset, Watermark(generation="g", delivered_at=NOW, read_at=NOW))
    assert watched.look() == "0 open incidents; 3 notices sent, 0 not taken"
    assert "Resolved" in slack_peer.read(slack.posts[-1])
    assert watched.look() == "0 open incidents; 0 notices sent, 0 not taken"


def test_what_is_tried_again_is_no_incident_before_its_last_try(watched):
    mark = Watermark(error="no answer", failed_at=NOW, transient=True, attempts=1, due_at=NOW + timedelta(minutes=1))
    watched.project.store.mark("shelf", "tags", mark)
    assert watched.look().startswith("0 open")
    watched.project.store.mark("shelf", "tags", msgspec.structs.replace(mark, attempts=4, due_at=None))
    assert watched.look().startswith("1 open incidents; 3 notices")


@pytest.mark.parametrize(("schedule", "pause"), [("daily", DAY), ("hourly", HOUR), ("every 15 minutes", 15 * MINUTE)])
def test_an_outage_is_one_incident_from_its_first_failure_until_the_data_arrives(shelved, channels, schedule, pause):
    watched = Watched(shelved(f"schedule: {schedule}", ["plans", "tags"]), channels[0])
    watched.arrives("plans", "tags")
    watched.now = first = NOW + timedelta(hours=21)  # the tick of "daily"
    for at in range(4):
        watched.now = first + at * pause
        if pause > sum(AGAIN_AFTER, MINUTE):
            watched.fails_to_the_last_try("plans", "tags")
        else:
            watched.fails("plans", "tags", **AWAY)
        watched.now = max(watched.now, first + at * pause + min(LATE + MINUTE, pause - MINUTE))
        watched.look()
    told = [slack_peer.read(post) for post in channels[1].posts]
    assert len(told) == 1
    assert "shelf: plans, tags not delivered\nSince 2026-11-24 09:00 UTC" in told[0]
    assert watched.arrives("plans").startswith("1 open incidents; 0 notices")
    assert watched.arrives("tags").startswith("0 open incidents; 3 notices")
    assert "Resolved: shelf: tags not delivered\nSince 2026-11-24 09:00" in slack_peer.read(channels[1].posts[-1])


def test_what_may_pass_by_itself_neither_ends_what_did_not_nor_makes_it_worse(watched):
    watched.fails("plans", error="no permission", remedy="grant it")
    for _ in range(6):
        watched.now += MINUTE
        assert watched.fails("plans", **AWAY).startswith("1 open incidents; 0 notices")


def test_another_cause_and_other_datasets_at_the_same_destination_are_told_once(watched, channels):
    assert watched.fails("tags", error="it is a view", remedy="rename it").startswith("1 open incidents; 3 notices")
    watched.now += DAY
    said = watched.fails(*SHELVED, error="no permission", remedy="grant it")
    assert said.startswith("1 open incidents; 3 notices")
    told = slack_peer.read(channels[1].posts[-1])
    assert "Worse: shelf: plans, tags, customers and 1 more not delivered\nSince 2026-11-23 12:00" in told
    assert "no permission" in told
    watched.now += DAY
    said = watched.fails("tags", error="no such user", remedy="correct user")
    assert said.startswith("1 open incidents; 3 notices")
    for wording, remedy, datasets in (
        ("no permission (query 7f3a)", "grant it", SHELVED),
        ("it is a view", "rename it", ("tags",)),
        ("no permission (query 9e01)", "grant it", ("plans", "tags")),
    ):
        watched.now += HOUR
        watched.arrives(*set(SHELVED) - set(datasets))
        assert watched.fails(*datasets, error=wording, remedy=remedy).startswith("1 open incidents; 0 notices")


def test_what_is_held_back_is_another_incident_than_what_fails(watched, channels):
    assert watched.fails("tags", error="tags had 40 rows", held=True).startswith("1 open incidents; 3 notices")
    assert "shelf: tags held back" in slack_peer.read(channels[1].posts[-1])
    watched.now += DAY
    assert watched.fails(*SHELVED, error="no permission").startswith("2 open incidents; 3 notices")
    assert "shelf: plans, tags, customers and 1 more not delivered" in slack_peer.read(channels[1].posts[-1])
    watched.now += DAY
    watched.fails("tags", error="tags had 40 rows", held=True)
    assert watched.arrives("plans", "customers", "mrr_movements").startswith("2 open incidents; 0 notices")
    assert watched.arrives("tags").startswith("0 open incidents; 3 notices")
    assert "2 resolved" in slack_peer.read(channels[1].posts[-1])


def test_a_run_that_meets_one_failure_after_the_other_is_told_once_it_ended(watched, channels):
    job = watched.project.definitions.resolve_job_def("deliver_shelf")
    run = watched.project.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=job.tags)
    for dataset in SHELVED:
        assert watched.fails(dataset, error=f"{dataset}: no").startswith("0 open")
        watched.now += MINUTE
    watched.project.instance.report_run_failed(run)
    assert watched.look().startswith("1 open incidents; 3 notices")
    assert "plans, tags, customers and 1 more" in slack_peer.read(channels[1].posts[0])


def test_a_run_that_never_ends_hides_no_failure(watched):
    job = watched.project.definitions.resolve_job_def("deliver_shelf")
    watched.project.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=job.tags)
    watched.fails("plans", error="no")
    watched.now += LATE
    assert watched.look().startswith("1 open incidents; 3 notices")


def test_an_entry_that_becomes_wrong_ends_nothing(watched):
    watched.fails("plans", error="no")
    watched.project.shelf = configured(watched.settings, replace(watched.settings.entry("shelf"), problem="no such"))
    assert watched.look().startswith("2 open incidents; 3 notices")
    assert watched.fails("plans", "tags", error="no such", remedy="mend it").startswith("2 open incidents; 0 notices")


def test_what_was_late_stays_so_while_it_fails(shelved, channels):
    watched = Watched(shelved("schedule: hourly", ["tags"]), channels[0])
    watched.arrives("tags")
    watched.now += 4 * HOUR
    assert watched.look().startswith("1 open incidents; 3 notices")
    assert watched.fails("tags", **AWAY).startswith("1 open incidents; 0 notices")
    assert watched.fails_to_the_last_try("tags").startswith("2 open incidents; 0 notices")
    assert watched.arrives("tags").startswith("0 open incidents; 3 notices")


def test_messages_have_two_hours_to_be_taken(shelved, channels, monkeypatch):
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    project = shelved("}\n  hook: {type: webhook, url: 'https://example.com/', secret: {env: HOOK_SECRET}")
    watched = Watched(project, channels[0])
    for passed, said in ((timedelta(0), "0 open"), (LATE, "0 open"), (MINUTE, "1 open incidents; 3 notices")):
        watched.now += passed
        project.store.failed("hook", "mrr_movements", "503", at=watched.now, transient=True)
        assert watched.look().startswith(said)


def test_a_channel_that_takes_nothing_is_asked_again_and_harms_no_other(watched, channels):
    _, slack, mails, receiver = channels
    watched.project.store.mark("shelf", "tags", Watermark(error="no", failed_at=NOW))
    mails.script["GREETING"] = ["554 5.3.2 go away"]
    assert watched.look() == "1 open incidents; 2 notices sent, 1 not taken"
    assert watched.look() == "1 open incidents; 1 notices sent, 0 not taken"
    assert (len(slack.posts), len(mails.received), len(receiver.taken)) == (1, 1, 1)


@pytest.fixture
def read(project, stored, channels):
    """A project whose account was read, and can be read again."""
    shutil.copytree(stored.root, project.store.root)
    return Watched(project, channels[0])


def refresh_failed(watched, **run):
    job = watched.project.definitions.resolve_job_def("refresh")
    return watched.project.instance.create_run_for_job(job, status=dg.DagsterRunStatus.FAILURE, **run)


@pytest.fixture
def unread(read):
    """The same; a refresh failed since, which was told."""
    refresh_failed(read)
    assert read.look().startswith("1 open incidents; 3 notices")
    return read


REFRESHED = dg.AssetSelection.groups("account", "source_data", "calculated_data")


def materialised(project, selection):
    """What *Materialize* in the UI does: a run of Dagster's own job."""
    job = project.definitions.resolve_implicit_global_asset_job_def()
    tags = refresh_range(project.store, project.settings.account.since, datetime.now(UTC))
    keys = selection.resolve(project.definitions.resolve_asset_graph())
    return job.get_subset(asset_selection=keys).execute_in_process(instance=project.instance, tags=tags)


def test_a_refresh_that_failed_is_told_with_the_day_of_what_stands(unread, channels):
    told = slack_peer.read(channels[1].posts[0])
    assert "The account was not read" in told
    assert "as the account was at 20" in told
    assert unread.look().startswith("1 open incidents; 0 notices")
    assert unread.project.refresh().success
    assert unread.look().startswith("0 open incidents; 3 notices")


def test_past_months_that_are_read_again_are_not_the_account(unread):
    last = Month.of(datetime.now(UTC)).plus(-1)
    assert unread.project.run("refresh", partition_range(last, last), asset_selection=READ).success
    assert unread.look().startswith("1 open incidents; 0 notices"), "no list was read"
    activities = dg.AssetSelection.assets(["account", "activities"], ["calculated_data", "mrr_movements"])
    assert materialised(unread.project, REFRESHED - activities).success
    assert unread.look().startswith("1 open incidents; 0 notices"), "and this month not"


def test_the_account_is_read_whichever_run_reads_it(unread):
    assert materialised(unread.project, REFRESHED).success
    assert unread.look().startswith("0 open incidents; 3 notices")


def test_what_was_read_since_the_tick_that_asked_for_it_is_as_new_as_it_was_to_be(read):
    refresh_failed(read, tags={NOT_OLDER_THAN: (datetime.now(UTC) - DAY).isoformat()})
    assert read.look().startswith("0 open")


def test_a_refresh_of_a_part_that_fails_is_told_to_whoever_started_it(read):
    refresh_failed(read, asset_selection=frozenset(READ))
    assert read.look().startswith("0 open")


def test_a_refresh_that_is_run_again_is_told_as_the_first(unread):
    assert unread.project.refresh().success
    first = unread.project.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))[0].run_id
    refresh_failed(unread, root_run_id=first, parent_run_id=first)
    assert unread.look().startswith("0 open incidents; 3 notices")


def test_quiet_hours_end_with_what_is_still_wrong(shelved, channels):
    watched = Watched(shelved(), channels[0] + '  quiet: "11:00-13:00"\n')
    watched.project.store.mark("shelf", "tags", Watermark(error="no", failed_at=NOW))
    assert watched.look() == "1 open incidents; 0 notices sent, 0 not taken"
    watched.now += timedelta(hours=1)
    assert watched.look() == "1 open incidents; 3 notices sent, 0 not taken"
    assert "Since 2026-11-23 12:00 UTC" in slack_peer.read(channels[1].posts[0])


@pytest.mark.parametrize(
    ("options", "hours", "open_"),
    [
        ("schedule: hourly", 4, 1),
        ("schedule: hourly", 1, 0),
        ("schedule: hourly, paused: true", 4, 0),
        ("", 400, 0),
    ],
)
def test_what_is_due_and_not_there_is_an_incident(shelved, channels, options, hours, open_):
    watched = Watched(shelved(options, ["tags"]), channels[0])
    mark = Watermark(generation="g", delivered_at=NOW - timedelta(hours=hours), read_at=NOW - timedelta(hours=hours))
    watched.project.store.mark("shelf", "tags", mark)
    assert watched.look().startswith(f"{open_} open incidents")


# -- by hand


@pytest.fixture
def by_hand(tmp_path, channels):
    folder = tmp_path / "place"
    folder.mkdir()
    place = Place(folder)
    place.write("account: {sandbox: true}\ndestinations: {lake: {type: files, path: out}}\n" + channels[0])
    return place


def test_a_test_reaches_every_channel(by_hand, channels):
    _, slack, mails, receiver = channels
    result = by_hand.mogul("alerts", "--test")
    assert (result.exit_code, result.stdout.split()) == (0, ["slack:", "taken", "email:", "taken", "webhook:", "taken"])
    assert (len(slack.posts), len(mails.received), len(receiver.taken)) == (1, 1, 1)
    shutil.rmtree(by_hand.folder / "out", ignore_errors=True)
    assert by_hand.mogul("alerts").exit_code == 0


def test_check_tries_the_channels_and_sends_nothing(by_hand, channels, monkeypatch):
    _, slack, mails, receiver = channels
    result = by_hand.mogul("check")
    assert result.exit_code == 0, result.stdout
    assert "alerts by slack: log in" in result.stdout
    assert (slack.posts, mails.received, receiver.taken) == ([], [], [])
    monkeypatch.delenv("ALERTS_SECRET")
    assert "alerts by webhook configuration" in by_hand.mogul("check").stdout
    assert by_hand.mogul("check").exit_code == 2


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("alerts: loud", "write  alerts: {slack:"),
        ("alerts: {pager: {}}", "unknown key 'pager'"),
        ('alerts: {quiet: "late"}', "quiet is 'late'"),
        ("alerts: {time_zone: Paris}", "'Paris' is no time zone"),
    ],
)
def test_alerts_that_cannot_be_are_one_line(by_hand, block, said):
    by_hand.write(f"account: {{sandbox: true}}\n{block}\n")
    result = by_hand.mogul("status")
    assert (result.exit_code, "line 2" in result.stderr, said in result.stderr) == (2, True, True), result.stderr


def test_the_example_of_the_page_is_read(by_hand):
    page = (Path(__file__).parents[2] / "docs/alerts.md").read_text()
    by_hand.write("account: {sandbox: true}\n" + page.split("```yaml\n")[1].split("```")[0])
    alerts = load(by_hand.folder / "mogul.yaml").alerts
    assert (alerts.quiet, alerts.time_zone) == ((time(22), time(7)), "Europe/Paris")
    made = [configured(load(by_hand.folder / "mogul.yaml"), entry) for entry in alerts.channels.values()]
    assert [type(one).__name__ for one in made] == ["SlackDestination", "EmailDestination", "WebhookDestination"]


def test_what_is_configured_wrong_is_an_incident(by_hand, instance):
    by_hand.write("account: {sandbox: true}\ndestinations: {lake: {type: files, pth: out}}\n")
    settings = load(by_hand.folder / "mogul.yaml")
    lake, entries = configured(settings, settings.entry("lake")), settings.destinations
    sensor = alerts_sensor(settings.alerts, {}, entries, destinations={"lake": lake}, store=settings.store.path)
    with dg.build_sensor_context(instance=instance) as context:
        assert sensor.evaluate_tick(context).skip_message.startswith("1 open")
    shown = by_hand.mogul("alerts")
    assert (shown.exit_code, "lake cannot be used as it is configured" in shown.stdout) == (1, True)
    assert "pth: there is no such setting" in shown.stdout
