"""``mogul destinations``: which there are, what each must be granted, and whether it is."""

import json
import re
import sys
from datetime import UTC, datetime, timedelta

import pytest

from mogul_assets.destinations import TYPES, load_type
from mogul_assets.errors import DestinationUnavailable
from mogul_assets.settings import load
from mogul_assets.store.store import Store
from mogul_assets_tests.cli.conftest import DESTINATIONS, SANDBOX, complaint
from mogul_assets_tests.shelf import Shelf


@pytest.mark.parametrize("word", TYPES)
def test_the_grants_of_every_type_can_be_read_before_there_is_a_file(place, word):
    (place.folder / "mogul.yaml").unlink()
    result = place.mogul("destinations", "grants", word, "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["of"], found["example"]) == (0, word, True)
    assert found["grants"].strip()


def test_the_grants_of_a_destination_have_its_own_names(place):
    options = {**load_type("bigquery").EXAMPLE, "project": "our-project", "dataset": "revenue"}
    place.write(f"{SANDBOX}{DESTINATIONS}  dwh: {json.dumps({'type': 'bigquery', **options})}")
    result = place.mogul("destinations", "grants", "dwh", BIGQUERY_CREDENTIALS=None)
    assert result.exit_code == 0, result.stderr
    assert {"our-project", "revenue"} <= set(re.findall(r"[\w-]+", result.stdout))


def test_a_name_that_is_neither_is_answered_with_those_there_are(place):
    result = place.mogul("destinations", "grants", "lak")
    assert result.exit_code == 2
    assert "destinations: warehouse, lake; types: " in complaint(result)


def test_a_destination_that_lets_us_do_all_passes_its_test_and_nothing_stays_there(place):
    result = place.mogul("destinations", "test", "lake", "--json")
    assert result.exit_code == 0
    assert {one["problem"] for one in json.loads(result.stdout)} == {None}
    assert not (place.folder / "out/files").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="/sys is a folder where nobody may make one")
def test_one_that_does_not_fails_it_with_the_next_step(place):
    place.write(f"{SANDBOX}\ndestinations:\n  lake: {{type: files, path: /sys/mogul}}")
    result = place.mogul("destinations", "test", "lake", "--json")
    missing = [one for one in json.loads(result.stdout) if one["problem"]]
    assert result.exit_code == 1
    assert missing
    assert missing[0]["remedy"]
    assert "problem" in place.mogul("destinations", "test", "lake").stdout


class Echo(Shelf):
    """Answers with what it was asked, secrets and all."""

    def check(self):
        return []

    def prove(self):
        raise DestinationUnavailable(f"echo: {self.key.reveal()}")


def test_a_test_message_that_fails_tells_no_secret(place, monkeypatch):
    monkeypatch.setitem(TYPES, "echo", f"{__name__}:Echo")
    place.write(f"{SANDBOX}\ndestinations:\n  echo: {{type: echo, path: out, key: {{env: ECHO_KEY}}}}")
    result = place.mogul("destinations", "test", "echo", "--send", ECHO_KEY="s3cret-4711")
    assert result.exit_code == 1
    assert "DestinationUnavailable, whose text quotes a secret and is withheld" in complaint(result)


@pytest.mark.parametrize("command", ["grants", "test"])
def test_one_that_is_configured_wrong_is_told_with_its_line(place, command):
    place.write(f"{SANDBOX}{DESTINATIONS}  wrong: {{type: files}}")
    result = place.mogul("destinations", command, "wrong")
    assert result.exit_code == 2
    assert "line 5" in complaint(result)
    assert "path is missing" in complaint(result)


def test_all_of_the_file_are_listed_with_when_they_are_delivered_to(place):
    place.write(
        f"{SANDBOX}\ndestinations:\n"
        "  one: {type: files, path: a, schedule: daily, on_refresh: true}\n"
        "  two: {type: files, path: b, on_refresh: maybe, datasets: [tags]}"
    )
    result = place.mogul("destinations", "list", "--json")
    one, two = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (one["schedule"], one["on_refresh"], one["problem"]) == ("0 9 * * *", True, None)
    assert (two["on_refresh"], two["datasets"]) == (False, ["tags"])
    assert "on_refresh is 'maybe'; write true or false" in two["problem"]
    assert "0 9 * * * UTC, after each refresh" in place.mogul("destinations", "list").stdout


def test_status_says_when_a_delivery_is_tried_again_and_where_nothing_does_that(place):
    store, now = Store(load(place.folder / "mogul.yaml").store.path), datetime.now(UTC)
    wait = [timedelta(hours=1)]
    store.failed("lake", "tags", "no answer in 20 s", at=now, again_after=wait)
    shown = place.mogul("status", "lake").stdout
    assert f"tried again at {now + wait[0]:%H:%M} UTC" in shown
    assert "overdue" not in shown
    (tags,) = [one for one in json.loads(place.mogul("status", "lake", "--json").stdout) if one["dataset"] == "tags"]
    assert (tags["failures"], datetime.fromisoformat(tags["due_at"])) == (1, now + wait[0])
    store.failed("lake", "tags", "no answer in 20 s", at=now - 2 * wait[0], again_after=wait)
    assert "overdue: is the daemon running? mogul ui" in place.mogul("status", "lake").stdout
