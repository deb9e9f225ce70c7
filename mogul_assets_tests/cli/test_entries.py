"""``mogul destinations``: what changes mogul.yaml, and what it shows of one entry."""

import json
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from mogul_assets.definitions import build_definitions
from mogul_assets.destinations.objects import LOG
from mogul_assets.messages.ledger import Ledger
from mogul_assets.settings import load
from mogul_assets.store.store import Store
from mogul_assets_tests.cli.conftest import DESTINATIONS, SANDBOX, complaint

COMMENTED = f"""\
# ours
{SANDBOX}

destinations:
  warehouse: {{type: duckdb, path: out/mogul.duckdb, schedule: daily}} # for finance
  lake:
    type: files
    path: out/files # on the big disk
    schedule: daily
    on_refresh: true
  hook:
    type: webhook
    url: https://hook.example.com
    secret: {{env: HOOK_SECRET}}
# the end
"""


def text_of(place):
    return (place.folder / "mogul.yaml").read_text()


def automation(place):
    """What starts by itself, by name."""
    definitions = build_definitions(load(place.folder / "mogul.yaml"))
    return {one.name for one in (*(definitions.schedules or []), *(definitions.sensors or []))}


@pytest.fixture
def commented(place):
    place.write(COMMENTED)
    return place


def test_what_is_removed_says_what_stays_and_goes_from_the_file_alone(commented):
    (commented.folder / "out/files" / LOG).mkdir(parents=True)
    result = commented.mogul("destinations", "remove", "lake", "--yes")
    assert result.exit_code == 0, result.stderr
    assert f"{commented.folder}/out/files/{LOG}" in result.stdout
    assert (commented.folder / "out/files").exists()
    lines = text_of(commented).splitlines()
    assert lines == [line for line in COMMENTED.splitlines() if line not in LAKE]


def watermarks(place):
    return {path.name for path in (place.folder / "out/store/watermarks").iterdir()}


def histories(place):
    """The destinations that Dagster has a history of."""
    with dg.DagsterInstance.from_config(str(place.folder)) as instance:
        return {key.path[0] for key in instance.get_asset_keys()} & {"warehouse", "lake"}


@pytest.mark.slow
def test_what_stays_is_deleted_by_the_commands_that_it_says(synced):
    assert (watermarks(synced), histories(synced)) == ({"warehouse", "lake"}, {"warehouse", "lake"})
    result = synced.mogul("destinations", "remove", "lake", "--yes")
    commands = [line for line in result.stdout.splitlines() if line.startswith("  ")]
    assert {shlex.split(line)[0] for line in commands} == {"rm", f"DAGSTER_HOME={synced.folder}"}
    for command in commands:
        subprocess.run(["sh", "-c", command], check=True, env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"})
    assert (watermarks(synced), histories(synced)) == ({"warehouse"}, {"warehouse"})
    assert not [path for path in (synced.folder / "out/files").rglob("*") if path.is_file()]


def test_where_little_was_known_of_it_little_stays(commented):
    ledger = commented.folder / "out/ledger.db"
    assert "ledger" not in commented.mogul("destinations", "remove", "hook", input_="n\n").stdout
    assert not ledger.exists()
    with Ledger.at(ledger) as opened:
        opened.standing("hook", datetime.now(UTC))
    told = commented.mogul("destinations", "remove", "hook", "--yes").stdout
    assert "  mogul messages remove hook\n" in told
    assert "watermarks" not in told
    assert "dagster" not in told


LAKE = COMMENTED.splitlines()[5:10]


def test_nothing_is_removed_unless_that_is_meant(commented):
    assert commented.mogul("destinations", "remove", "lake", input_="n\n").exit_code == 130
    assert text_of(commented) == COMMENTED
    assert commented.mogul("destinations", "remove", "lake", input_="y\n").exit_code == 0
    assert "lake" not in load(commented.folder / "mogul.yaml").destinations


def test_one_that_cannot_be_used_is_removed_all_the_same(place):
    place.write(f"{SANDBOX}{DESTINATIONS}  wrong: {{type: files}}\n")
    result = place.mogul("destinations", "remove", "wrong", "--yes")
    assert result.exit_code == 0
    assert "what lies there cannot be told now" in result.stderr
    assert text_of(place) == SANDBOX + DESTINATIONS


def test_one_that_others_need_is_not_removed(place):
    text = (
        f"{SANDBOX}\ndestinations:\n"
        "  lake: {type: s3, bucket: b}\n"
        "  mails: {type: email, host: h, sender: a@b.c, recipients: [a@b.c], schedule: daily, links: lake}\n"
    )
    place.write(text)
    result = place.mogul("destinations", "remove", "lake", "--yes")
    assert (result.exit_code, text_of(place)) == (2, text)
    assert "destination 'mails'" in complaint(result)
    assert "nothing was written" in complaint(result)


def test_one_that_is_paused_starts_by_itself_no_more_and_by_hand_all_the_same(commented):
    before = automation(commented)
    assert {"lake_schedule", "lake_on_refresh", "news"} <= before
    for name in ("lake", "hook"):
        assert commented.mogul("destinations", "pause", name).exit_code == 0
    assert automation(commented) == before - {"lake_schedule", "lake_on_refresh", "news"}
    jobs = {job.name for job in build_definitions(load(commented.folder / "mogul.yaml")).jobs}
    assert {"deliver_lake", "deliver_hook"} <= jobs
    listed = json.loads(commented.mogul("destinations", "list", "--json").stdout)
    assert {one["name"]: one["paused"] for one in listed} == {"warehouse": False, "lake": True, "hook": True}
    assert "paused (0 9 * * * UTC, after each refresh)" in commented.mogul("destinations", "list").stdout


HOUSEKEEPING = {"configuration", "purge_schedule", "status"}
"""What goes on where nothing is delivered."""


def test_with_all_of_them_paused_nothing_is_delivered_by_itself(commented):
    for name in ("warehouse", "lake", "hook"):
        commented.mogul("destinations", "pause", name)
    assert automation(commented) == HOUSEKEEPING


def test_one_that_goes_on_leaves_the_file_as_it_was(commented):
    for name in ("warehouse", "lake", "hook"):
        assert "is paused" in commented.mogul("destinations", "pause", name).stdout
        assert "was paused already" in commented.mogul("destinations", "pause", name).stdout
    for name in ("warehouse", "lake", "hook"):
        assert "is delivered to again" in commented.mogul("destinations", "resume", name).stdout
        assert "was neither paused nor disabled" in commented.mogul("destinations", "resume", name).stdout
    assert text_of(commented) == COMMENTED


def test_all_of_one_is_shown_and_secrets_by_the_names_of_their_variables(commented):
    Store(load(commented.folder / "mogul.yaml").store.path).failed("hook", "mrr_movements", "no answer in 20 s")
    result = commented.mogul("destinations", "show", "hook", "--json", HOOK_SECRET="s3cret")
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert found["settings"] == {"url": "https://hook.example.com", "secret": {"env": "HOOK_SECRET"}}
    assert found["capabilities"]["datasets"] == ["mrr_movements"]
    assert [(one["dataset"], one["error"]) for one in found["deliveries"]] == [("mrr_movements", "no answer in 20 s")]
    assert "s3cret" not in result.stdout + commented.mogul("destinations", "show", "hook", HOOK_SECRET="s3cret").stdout
    assert "out/files" in commented.mogul("destinations", "show", "lake").stdout


def test_a_secret_in_its_own_letters_is_not_shown(place):
    place.write(f"{SANDBOX}\ndestinations:\n  hook: {{type: webhook, url: https://h.example, secret: s3cret}}\n")
    result = place.mogul("destinations", "show", "hook")
    assert result.exit_code == 1
    assert "never as a literal" in result.stdout
    assert "s3cret" not in result.stdout + result.stderr


@pytest.mark.parametrize("command", ["show", "pause", "resume", "remove"])
def test_one_that_is_not_there_is_answered_with_those_that_are(place, command):
    result = place.mogul("destinations", command, "lak", *(["--yes"] if command == "remove" else []))
    assert result.exit_code == 2
    assert "there are: warehouse, lake" in complaint(result)


def test_paused_says_true_or_false_and_anything_else_is_quiet(place):
    place.write(f"{SANDBOX}\ndestinations:\n  lake: {{type: files, path: a, schedule: daily, paused: yes please}}\n")
    entry = load(place.folder / "mogul.yaml").entry("lake")
    assert (entry.paused, entry.problem) == (True, "paused is 'yes please'; write true or false")
