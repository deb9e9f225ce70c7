"""``mogul messages`` and ``mogul replay``: what the person on call does about messages."""

import csv
import io
import json
import shutil
from datetime import timedelta

import pytest

from mogul_assets.messages.ledger import Ledger
from mogul_assets.messages.message import Answer, Draft, Outcome, State, Tried
from mogul_assets.messages.sending import Policy
from mogul_assets_tests.cli.conftest import SANDBOX, complaint
from mogul_assets_tests.peers.receiver import SECRET, Receiver
from mogul_assets_tests.project import NOW

POLICY = Policy((timedelta(hours=1),))
WORDS = b'{"customer": {"name": "Ada Lovelace"}}'


@pytest.fixture
def receiver():
    with Receiver().running() as receiver:
        yield receiver


@pytest.fixture
def hooked(place, receiver, monkeypatch):
    """A project with a webhook, and four messages: one delivered, one given up, one waiting, one left out."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    hook = f"{{type: webhook, url: '{receiver.url}', allow_private: [127.0.0.1], secret: {{env: HOOK_SECRET}}}}"
    place.write(f"{SANDBOX}\ndestinations:\n  lake: {{type: files, path: out/files}}\n  hook: {hook}\n")
    with Ledger.at(place.folder / "out/ledger.db") as ledger:
        drafts = [Draft("movement", f"key{n}", WORDS, NOW) for n in range(3)]
        late = Draft("movement", "key3", b"", NOW, left_out="it came more than 12 hours late")
        ledger.standing("hook", NOW)
        ledger.enqueue("hook", [*drafts, late], NOW)
        first, second, third = ledger.claim("hook", 3, POLICY, NOW)
        outcomes = {first: (Outcome.TAKEN, "200"), second: (Outcome.REFUSED, "403"), third: (Outcome.AGAIN, "503")}
        tried = [Tried(one, Answer(what, status, "said so"), NOW, 0.1) for one, (what, status) in outcomes.items()]
        ledger.settle(tried, POLICY, NOW)
    return place


def listed(place, *arguments):
    result = place.mogul("messages", "list", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_the_list_tells_what_became_of_each_and_nobodys_data(hooked):
    result = hooked.mogul("messages", "list", "hook")
    assert result.exit_code == 0
    for words in ("delivered", "failed", "403: said so", "waiting", "left out", "more than 12 hours late"):
        assert words in result.stdout
    assert "Ada" not in result.stdout
    assert "1 delivered, 1 failed, 1 left out, 1 waiting" in result.stdout


def test_it_may_be_narrowed_to_a_state(hooked):
    assert [one["state"] for one in listed(hooked, "hook", "--state", "failed")] == ["failed"]
    assert {one["state"] for one in listed(hooked, "--state", "failed", "--state", "waiting")} == {"failed", "waiting"}
    assert len(listed(hooked, "--limit", "2")) == 2


def test_one_message_is_shown_with_what_it_says_and_every_try(hooked):
    (one,) = listed(hooked, "hook", "--state", "failed")
    result = hooked.mogul("messages", "show", one["id"])
    for words in ("Ada Lovelace", "403", "said so"):
        assert words in result.stdout


def test_what_was_given_up_is_tried_again_under_its_id(hooked):
    (one,) = listed(hooked, "hook", "--state", "failed")
    result = hooked.mogul("messages", "retry", "hook", "--state", "failed")
    assert (result.exit_code, result.stdout) == (0, "1 of 1 messages are due now\n")
    waiting = {each["id"] for each in listed(hooked, "hook", "--state", "waiting")}
    assert one["id"] in waiting


def test_what_was_left_out_stays_so(hooked):
    (one,) = listed(hooked, "hook", "--state", "left out")
    result = hooked.mogul("messages", "retry", one["id"])
    assert result.exit_code == 1
    assert "none of them can be sent again" in complaint(result)


def test_all_of_them_are_a_spreadsheet_and_what_they_say_is_asked_for(hooked):
    without = hooked.mogul("messages", "export", "hook").stdout
    assert len(list(csv.DictReader(io.StringIO(without)))) == 4
    assert "Ada" not in without
    assert "Ada" in hooked.mogul("messages", "export", "hook", "--payloads").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("messages", "list", "hok"), "no destination 'hok'"),
        (("messages", "show", "msg_nobody"), "there is no message 'msg_nobody'"),
        (("messages", "retry", "hook"), "a destination goes with --state"),
        (("messages", "list", "--state", "lost"), "'lost' is not one of"),
        (("replay", "lake", "--from", "2026-01-01", "--to", "2026-02-01"), "lake sends no messages"),
        (("replay", "hook", "--from", "2026-02-01", "--to", "2026-01-01"), "is not before"),
        (("backfill", "hook", "--from", "2026-01", "--to", "2026-02"), "mogul replay hook"),
        (("destinations", "test", "lake", "--send"), "lake sends no messages"),
    ],
)
def test_a_mistake_gets_one_line(hooked, arguments, said):
    result = hooked.mogul(*arguments)
    assert result.exit_code in {1, 2}
    assert said in complaint(result)


def test_a_destination_that_was_disabled_is_sent_to_again(hooked):
    with Ledger.at(hooked.folder / "out/ledger.db") as ledger:
        (waiting,) = ledger.claim("hook", 1, POLICY, NOW + timedelta(hours=2))
        ledger.settle([Tried(waiting, Answer(Outcome.GONE, "410"), NOW, 0.1)], POLICY, NOW)
    status = hooked.mogul("status", "hook")
    assert status.exit_code == 1
    assert "it wants no more messages (410) → mogul destinations resume hook" in status.stdout
    assert "1 waiting, 1 failed" in status.stdout
    assert "1 messages wait" in hooked.mogul("destinations", "resume", "hook").stdout
    assert hooked.mogul("destinations", "resume", "hook").stdout == "hook was neither paused nor disabled\n"
    assert hooked.mogul("check", "hook").exit_code == 0


def test_a_ledger_that_cannot_be_used_is_found_by_the_check(hooked):
    file = hooked.folder / "mogul.yaml"
    hooked.write(f"{file.read_text()}ledger: {{url: {{env: LEDGER_URL}}}}\n")
    checked = hooked.mogul("check", "hook", LEDGER_URL=None)
    assert checked.exit_code == 2
    assert "LEDGER_URL is not set" in checked.stdout


def test_and_the_status_says_it_of_who_sends_messages_alone(hooked):
    file = hooked.folder / "mogul.yaml"
    hooked.write(f"{file.read_text()}ledger: {{url: {{env: LEDGER_URL}}}}\n")
    found = hooked.mogul("status", "--json", LEDGER_URL=None)
    assert found.exit_code == 1
    errors = {one["destination"]: one["error"] for one in json.loads(found.stdout)}
    assert "LEDGER_URL is not set" in errors.pop("hook")
    assert errors == {"lake": None}


def test_a_test_message_is_sent_where_it_is_asked_for(hooked, receiver):
    assert hooked.mogul("destinations", "test", "hook").exit_code == 0
    assert not receiver.messages
    assert hooked.mogul("destinations", "test", "hook", "--send").exit_code == 0
    (taken,) = receiver.messages
    assert taken.valid


def test_a_replay_says_first_how_many_messages_that_are(hooked, receiver, stored):
    shutil.copytree(stored.root, hooked.folder / "out/store")
    span = ("replay", "hook", "--from", f"{NOW.year - 1}-01-01", "--to", f"{NOW.year}-01-01")
    declined = hooked.mogul(*span, input_="n\n")
    assert declined.exit_code == 130
    count = int(declined.stdout.split(" messages")[0].replace(",", ""))
    assert count > 0
    before = len(listed(hooked, "hook", "--limit", "10000"))
    assert before == 4
    assert hooked.mogul(*span, "--yes").exit_code == 0
    waiting = [one for one in listed(hooked, "hook", "--limit", "10000") if one["state"] == State.WAITING.value]
    assert len(waiting) == count + 1
    again = hooked.mogul(*span, input_="n\n")
    assert again.stdout.startswith("0 messages")


def test_messages_of_a_destination_are_removed_once_it_is_gone_from_the_file(hooked):
    refused = hooked.mogul("messages", "remove", "hook")
    assert refused.exit_code == 2
    assert "mogul destinations remove hook" in complaint(refused)
    told = hooked.mogul("destinations", "remove", "hook", "--yes").stdout
    assert "4 messages" in told
    assert "  mogul messages remove hook\n" in told
    removed = hooked.mogul("messages", "remove", "hook")
    assert (removed.exit_code, removed.stdout) == (0, "4 messages of hook are removed\n")
    assert listed(hooked) == []
    assert hooked.mogul("messages", "remove", "hook").exit_code == 2
