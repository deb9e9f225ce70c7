"""``mogul metrics`` for Prometheus, and when ``mogul status`` takes a delivery for stale."""

import http.client
import json
import re
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mogul_assets.automation.freshness import LATE, overdue_since
from mogul_assets.exposition import Gauge, exposed
from mogul_assets.messages.ledger import Ledger
from mogul_assets.messages.message import Draft
from mogul_assets.settings import load
from mogul_assets.store.store import Store, Watermark
from mogul_assets_tests.cli.conftest import SANDBOX, complaint

LINE = re.compile(
    r'(?P<name>[a-z][a-z0-9_]*)(?:\{(?P<labels>[a-z_]+="(?:[^"\\\n]|\\["\\n])*"(?:,[^}]*)?)\})? (?P<value>\S+)'
)


@pytest.fixture
def two(place, monkeypatch):
    """A lake that was delivered to an hour ago, and failed since for one of its datasets; a hook with two messages."""
    monkeypatch.setenv("HOOK_SECRET", "x" * 32)
    place.write(
        f"{SANDBOX}\ndestinations:\n"
        "  lake: {type: files, path: out/files, datasets: [tags, plans]}\n"
        "  hook: {type: webhook, url: 'https://example.com/', secret: {env: HOOK_SECRET}}\n"
    )
    now = datetime.now(UTC)
    store = Store(load(place.folder / "mogul.yaml").store.path)
    for dataset in ("tags", "plans"):
        store.mark("lake", dataset, Watermark(generation="g", delivered_at=now - timedelta(hours=1), rows=1_234_567))
    for _ in range(2):  # two days, of a series each
        store.failed("lake", "plans", 'of "Ada Lovelace"')
    with Ledger.at(place.folder / "out/ledger.db") as ledger:
        ledger.standing("hook", now)
        ledger.enqueue("hook", [Draft("movement", f"key{n}", b'{"name": "Ada Lovelace"}', now) for n in range(2)], now)
    return place


def read(text):
    """The samples by name and labels, of a text that keeps to the format."""
    samples, declared = {}, []
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# "):
            kind, name, *_ = line[2:].split(" ", 2)
            declared.append((kind, name))
            continue
        found = LINE.fullmatch(line)
        assert found, line
        assert declared[-2:] == [("HELP", found["name"]), ("TYPE", found["name"])]
        samples[found["name"], *re.findall(r'="([^"]*)"', found["labels"] or "")] = float(found["value"])
    assert len(declared) == len(set(declared))
    return samples


def test_labels_and_help_are_escaped_as_the_format_wants():
    text = exposed([Gauge("a", "one\ntwo \\ three", [({"b": 'say "no"\n\\'}, 1_234_567), ({}, 0.5)])])
    assert text == ('# HELP a one\\ntwo \\\\ three\n# TYPE a gauge\na{b="say \\"no\\"\\n\\\\"} 1234567\na 0.5\n')


def test_a_metric_that_nothing_was_measured_of_is_left_out():
    assert exposed([Gauge("a", "one", [])]) == ""


def test_each_delivery_tells_age_rows_and_failures(two):
    result = two.mogul("metrics")
    assert result.exit_code == 0, result.stderr
    samples = read(result.stdout)
    assert samples["mogul_delivery_rows", "lake", "tags"] == 1_234_567
    assert samples["mogul_delivery_age_seconds", "lake", "tags"] == pytest.approx(3600, abs=60)
    assert (samples["mogul_delivery_ok", "lake", "tags"], samples["mogul_delivery_ok", "lake", "plans"]) == (1, 0)
    assert samples["mogul_delivery_failed_attempts", "lake", "plans"] == 2
    assert samples["mogul_delivery_failed_attempts", "lake", "tags"] == 0


def test_what_never_arrived_has_no_age_and_is_not_well(two):
    samples = read(two.mogul("metrics").stdout)
    assert samples["mogul_delivery_ok", "hook", "mrr_movements"] == 0
    assert ("mogul_delivery_age_seconds", "hook", "mrr_movements") not in samples


def test_messages_that_wait_are_counted(two):
    samples = read(two.mogul("metrics").stdout)
    assert samples["mogul_messages", "hook", "waiting"] == 2
    assert samples["mogul_messages", "hook", "failed"] == 0


def test_nobodys_data_and_no_address_is_in_it(two):
    text = two.mogul("metrics").stdout
    assert not [word for word in ("Ada", "example.com", str(two.folder)) if word in text]


def test_the_account_tells_when_it_was_read(demonstrated):
    samples = read(demonstrated.mogul("metrics").stdout)
    ages = {name[1]: value for name, value in samples.items() if name[0] == "mogul_dataset_age_seconds"}
    assert len(ages) == 13
    assert samples["mogul_account_refresh_age_seconds",] == max(ages.values())


# -- on a port


def ask(address, path="/metrics"):
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.getheader("Content-Type"), answer.read().decode()


@pytest.fixture
def served(two):
    process = two.start("metrics", "--serve", "0")
    two.address = process.stdout.readline().removeprefix("http://").partition("/")[0]
    yield two
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=20)
    assert (process.returncode, out, errors) == (0, "", "")


def test_it_is_served_on_loopback_until_it_is_interrupted(served):
    assert served.address.startswith("127.0.0.1:")
    status, kind, text = ask(served.address)
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert read(text).keys() == read(served.mogul("metrics").stdout).keys()
    assert ask(served.address, "/")[0] == 404


def test_each_answer_is_of_the_files_as_they_are_then(served):
    served.write(f"{SANDBOX}\ndestinations: {{shelf: {{type: files, path: out, datasets: [tags]}}}}")
    assert ("mogul_delivery_ok", "shelf", "tags") in read(ask(served.address)[2])
    served.write("account")
    status, _, text = ask(served.address)
    assert (status, "mogul.yaml is empty or not a mapping" in text) == (503, True)


def test_a_port_that_is_taken_is_one_line(served):
    result = served.mogul("metrics", "--serve", served.address.partition(":")[2])
    assert (result.exit_code, "choose another" in complaint(result)) == (2, True)


# -- stale


def scheduled(place, schedule, hours_ago):
    """A lake with this schedule that was delivered to so long ago."""
    place.write(f"{SANDBOX}\ndestinations: {{lake: {{type: files, path: out, datasets: [tags], {schedule}}}}}")
    store = Store(load(place.folder / "mogul.yaml").store.path)
    store.mark("lake", "tags", Watermark(generation="g", delivered_at=datetime.now(UTC) - timedelta(hours=hours_ago)))
    return place


@pytest.mark.parametrize(
    ("schedule", "hours_ago", "code"),
    [
        ("schedule: hourly", 1, 0),
        ("schedule: hourly", 4, 1),
        ("schedule: daily", 49, 1),
        ("schedule: monthly", 24 * 60, 1),
        ("schedule: hourly, paused: true", 4, 0),
        ("on_refresh: true", 24 * 60, 0),
    ],
)
def test_status_ends_with_1_where_a_schedule_brought_nothing(place, schedule, hours_ago, code):
    result = scheduled(place, schedule, hours_ago).mogul("status")
    assert result.exit_code == code
    assert ("is the daemon running" in result.stdout) is bool(code)
    assert read(place.mogul("metrics").stdout)["mogul_delivery_ok", "lake", "tags"] == 1 - code


def test_what_is_paused_says_so_and_worries_nobody(place):
    scheduled(place, "paused: true", 1)
    store = Store(load(place.folder / "mogul.yaml").store.path)
    store.failed("lake", "tags", "it is not there")
    result = place.mogul("status")
    assert (result.exit_code, "paused it is not there" in result.stdout) == (0, True)
    samples = read(place.mogul("metrics").stdout)
    assert (samples["mogul_delivery_paused", "lake", "tags"], samples["mogul_delivery_ok", "lake", "tags"]) == (1, 1)


def test_a_script_learns_since_when(place):
    (state,) = json.loads(scheduled(place, "schedule: hourly", 4).mogul("status", "--json").stdout)
    assert datetime.fromisoformat(state["overdue_since"]) <= datetime.now(UTC) - LATE
    assert state["error"] is None


def test_a_tick_has_two_hours_and_not_a_second_more(place):
    entry = load(scheduled(place, "schedule: daily", 1).folder / "mogul.yaml").entry("lake")
    tick = datetime(2026, 11, 23, 9, tzinfo=UTC)
    yesterday, second = tick - timedelta(hours=23), timedelta(seconds=1)
    assert overdue_since(entry, "tags", yesterday, tick + LATE - second) is None
    assert overdue_since(entry, "tags", yesterday, tick + LATE + second) == tick
    assert overdue_since(entry, "tags", tick, tick + LATE + second) is None
    assert overdue_since(entry, "tags", None, tick + LATE + second) is None


def test_the_page_names_every_metric_there_is(demonstrated, two):
    page = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
    told = set(re.findall(r"^\| `(mogul_\w+)`", page, re.MULTILINE))
    assert told == {name for place in (demonstrated, two) for name, *_ in read(place.mogul("metrics").stdout)}
