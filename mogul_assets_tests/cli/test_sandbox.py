"""The sandbox account between two commands, beside them, and in Dagster's UI."""

import json
import os
import signal
import socket
from datetime import UTC, datetime, timedelta
from urllib.request import urlopen

import pytest
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from mogul_assets.cli.pretend import grown
from mogul_assets.settings import Sandbox

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SMALL = Sandbox(customers=20)


def uuids(company):
    return {entry.document.uuid for entry in company.invoices}


@pytest.fixture
def state(tmp_path):
    return tmp_path / "out/sandbox-state.json"


def test_the_same_seed_and_size_give_the_same_account_again(state):
    assert grown(state, SMALL, NOW).activities == grown(state, SMALL, NOW).activities


def test_the_account_grows_and_what_was_stays(state):
    first = grown(state, SMALL, NOW)
    later = grown(state, SMALL, NOW + timedelta(days=90))
    assert uuids(first) < uuids(later)
    assert later.now == int((NOW + timedelta(days=90)).timestamp())


def test_another_size_is_another_account_and_leaves_the_first_alone(state):
    first = grown(state, SMALL, NOW)
    other = grown(state, Sandbox(customers=5), NOW + timedelta(days=30))
    assert other.recipe.origin > first.recipe.origin
    assert grown(state, SMALL, NOW).recipe == first.recipe


def test_a_sandbox_in_the_foreground_is_what_other_commands_read(place):
    process = place.start("sandbox", "--customers", "3", "--no-limits")
    try:
        url = process.stdout.readline().strip()
        assert json.loads((place.folder / "out/sandbox.json").read_text()) == {"url": url}
        checked = place.mogul("check", "--account", "--json")
        told = {finding["subject"]: finding["text"] for finding in json.loads(checked.stdout)}
        assert told["customers"] == "3 rows"
        assert place.mogul("sandbox").exit_code == 2
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert not (place.folder / "out/sandbox.json").exists()


def test_the_address_of_a_killed_sandbox_is_not_believed(place):
    (place.folder / "out").mkdir()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
    (place.folder / "out/sandbox.json").write_text(json.dumps({"url": url}))
    assert place.mogul("check", "--account").exit_code == 0


def test_the_ui_serves_dagster_and_the_sandbox_and_ends_with_all_it_started(place):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = place.start("ui", "--port", str(port))
    try:
        asking = Retrying(retry=retry_if_exception_type(OSError), stop=stop_after_delay(120), wait=wait_fixed(0.5))
        version = json.loads(asking(urlopen, f"http://127.0.0.1:{port}/server_info", timeout=10).read())
        assert "dagster_webserver_version" in version
        assert (place.folder / "out/sandbox.json").exists()
        started = descendants(process.pid)
        assert started
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=90)
    assert process.returncode == 0
    assert not [pid for pid in started if os.path.exists(f"/proc/{pid}")]  # noqa: PTH110 - a process, no file
    assert not (place.folder / "out/sandbox.json").exists()


def descendants(pid):
    parents = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - processes, no files
        try:
            with open(f"/proc/{entry}/stat") as stat:  # noqa: PTH123
                parents[int(entry)] = int(stat.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    found = {pid}
    for _ in parents:
        found |= {child for child, parent in parents.items() if parent in found}
    return found - {pid}
