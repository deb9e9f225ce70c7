"""What is the webhook's own: ChartMogul's payload, signatures, and what every kind of answer comes to."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from http import HTTPStatus
from pathlib import Path
from shutil import which

import msgspec
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from mogul_assets.destinations import webhook
from mogul_assets.destinations.configured import Misconfigured, configured, settings_of
from mogul_assets.destinations.messenger import LedgerResource
from mogul_assets.destinations.webhook import WebhookDestination
from mogul_assets.errors import ConfigurationError, DestinationRefused, DestinationUnavailable
from mogul_assets.messages.message import Message, News, Outcome, State
from mogul_assets.messages.sending import UNUSABLE
from mogul_assets.settings import load
from mogul_assets_tests.peers import servers
from mogul_assets_tests.peers.receiver import SECRET, Receiver, Reply
from mogul_assets_tests.tables import table_of

OLD_SECRET = "whsec_" + "d2hhdCB0aGUgdHdvIG9mIHRoZW0gc2hhcmVk"
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _secrets(monkeypatch):
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("WEBHOOK_SECRET_BEFORE", OLD_SECRET)


@pytest.fixture
def hook(tmp_path):
    """A destination at a URL; this machine's addresses are allowed."""

    def made(url, **options):
        ledger = LedgerResource(path=str(tmp_path / "ledger.db"))
        options = {"secret": {"env": "WEBHOOK_SECRET"}, "allow_private": ["127.0.0.1"]} | options
        return WebhookDestination(name="hook", url=url, ledger=ledger, **options)

    return made


def news(**changes):
    return News(
        **{
            "uuid": "movement-1",
            "movement_key": "k1",
            "identity": "i1",
            "date": datetime(2024, 1, 2, 22, 58, 44, tzinfo=UTC),
            "movement_type": "expansion",
            "description": "switched plan from Yellow to Blue",
            "mrr_movement": 10000,
            "mrr": 19900,
            "currency_code": "USD",
            "invoice_currency": "USD",
            "invoice_mrr_movement": 10000,
            "subscription_external_id": "sub_1",
            "customer_uuid": "cus_1",
            "customer_external_id": "ext_1",
            "customer_name": "Steve Rogers",
            "customer_email": "steve@example.com",
            "customer_status": "Active",
            "customer_mrr": 19900,
            "customer_arr": 238800,
            "customer_external_ids": ("ext_1", "ext_1"),
            "customer_data_source_uuid": "ds_1",
        }
        | changes
    )


def payload(**changes):
    return json.loads(msgspec.json.encode(webhook.payload(news(**changes))))


def message(body=b'{"customer":{"uuid":"cus_1"}}', **changes):
    return Message(
        **{
            "id": "msg_1",
            "destination": "hook",
            "kind": "movement",
            "subject": "k1",
            "payload": body,
            "attempt": 1,
            "sequence": 3,
            "enqueued_at": NOW,
        }
        | changes
    )


def answers(destination, *messages):
    async def sent():
        async with destination.sending() as send:
            return [await send(one) for one in messages]

    return asyncio.run(sent())


def answer(destination, one=None):
    return answers(destination, one or message())[0]


# The payload

DOCUMENTED = {
    "date": "2024-01-02T22:58:44.000Z",
    "type": "mrr_movement",
    "customer": {
        "name": "Steve Rogers",
        "uuid": "cus_1",
        "email": "steve@example.com",
        "status": "active",
        "company": "",
        "currency": "USD",
        "current_arr": 238800,
        "current_mrr": 19900,
        "external_id": "ext_1",
        "external_ids": ["ext_1", "ext_1"],
        "currency_symbol": "$",
        "data_source_uuid": "ds_1",
    },
    "description": "switched plan from Yellow to Blue",
    "subscription": {"external_id": "sub_1"},
    "movement_type": "expansion",
    "account_currency": "USD",
    "invoice_currency": "USD",
    "account_currency_symbol": "$",
    "invoice_currency_symbol": "$",
    "movement_amount_in_cent": 10000,
    "mrr_movement_in_account_currency": 10000,
    "mrr_movement_in_invoice_currency": 10000,
}
"""The keys, their order, types and forms of ChartMogul's published samples."""


def ordered(value):
    return json.dumps(value)


def test_the_payload_is_that_of_the_documented_sample_to_the_order_of_its_keys():
    told = payload()
    assert told["customer"].pop("custom_attributes") == {}
    assert ordered(told) == ordered(DOCUMENTED)


def test_custom_attributes_come_last_among_the_customers_and_as_they_are():
    attributes = {"tier": "gold", "seats": 3, "active": True, "since": "2024-01-01", "ratio": 0.5, "none": None}
    customer = payload(custom_attributes=attributes)["customer"]
    assert list(customer)[-1] == "custom_attributes"
    assert customer["custom_attributes"] == attributes


@pytest.mark.parametrize(
    ("status", "told"), [("Active", "active"), ("Past Due", "past_due"), ("New Lead", "new_lead"), (None, "")]
)
def test_a_status_is_told_as_the_samples_tell_it(status, told):
    assert payload(customer_status=status)["customer"]["status"] == told


def test_what_the_account_does_not_say_is_empty_and_never_null():
    optional = [name for name in News.__struct_fields__ if name.startswith("customer_") and name[9:] not in _NUMBERS]
    told = payload(**dict.fromkeys([*optional, "description", "subscription_external_id"]), customer_external_ids=())
    customer = told["customer"]
    assert {name for name, value in customer.items() if value == ""} == {
        *("name", "uuid", "email", "status", "company", "external_id", "data_source_uuid")
    }
    assert told["description"] == told["subscription"]["external_id"] == ""
    assert customer["external_ids"] == []


_NUMBERS = {"mrr", "arr", "external_ids"}


def test_a_symbol_is_the_accounts_own_where_it_has_one():
    told = payload(currency_code="CAD", invoice_currency="SEK", customer_currency="CAD", customer_currency_sign="C$")
    assert (told["customer"]["currency_symbol"], told["account_currency_symbol"]) == ("C$", "C$")
    assert told["invoice_currency_symbol"] == "SEK"


def test_an_invoice_in_another_currency_has_its_own_amount_and_symbol():
    told = payload(currency_code="EUR", invoice_currency="GBP", invoice_mrr_movement=8600)
    assert (told["account_currency"], told["account_currency_symbol"]) == ("EUR", "€")
    assert (told["invoice_currency"], told["invoice_currency_symbol"]) == ("GBP", "£")
    assert (told["mrr_movement_in_account_currency"], told["mrr_movement_in_invoice_currency"]) == (10000, 8600)
    assert told["customer"]["currency"] == "EUR"


def test_without_an_invoice_the_amount_is_the_accounts_and_without_a_rate_it_is_not_guessed():
    assert payload(invoice_currency=None, invoice_mrr_movement=None)["mrr_movement_in_invoice_currency"] == 10000
    assert payload(invoice_currency="GBP", invoice_mrr_movement=None)["mrr_movement_in_invoice_currency"] is None


@given(
    st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2090, 1, 1)),  # noqa: DTZ001 - the zone is drawn
    st.integers(-14 * 60, 14 * 60),
)
def test_a_date_is_told_in_utc_with_milliseconds(moment, minutes):
    moment = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    told = payload(date=moment)["date"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told)
    assert timedelta(0) <= moment - datetime.fromisoformat(told) < timedelta(milliseconds=1)


@given(st.text(), st.integers(-(2**62), 2**62))
def test_any_text_and_any_amount_comes_through_whole(text, amount):
    told = payload(customer_name=text or None, description=text, mrr_movement=amount)
    assert told["customer"]["name"] == told["description"] == text
    assert told["movement_amount_in_cent"] == amount


def test_a_draft_is_found_by_the_movement_and_keeps_its_customers_turn(hook):
    (draft,) = hook("https://receiver.example/").drafts([news()], NOW)
    assert (draft.kind, draft.subject, draft.order, draft.left_out) == ("movement", "k1", "cus_1", None)
    assert draft.due_at == news().date
    assert draft.movement == news().movement


def test_a_movement_that_leaves_the_mrr_as_it_was_is_listed_and_not_sent(hook):
    drafts = hook("https://receiver.example/").drafts([news(mrr_movement=0), news()], NOW)
    assert [draft.left_out for draft in drafts] == ["it leaves the MRR as it was", None]


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ("", None),
        ("schedule: real_time", None),
        ("schedule: daily", "as they happen"),
        ("schedule: 0 9 * * *", "as they"),
    ],
)
def test_it_goes_by_no_schedule_but_real_time(schedule, problem, tmp_path):
    file = tmp_path / "mogul.yaml"
    entry = f"type: webhook\n    url: https://receiver.example/\n    secret: {{env: WEBHOOK_SECRET}}\n    {schedule}\n"
    file.write_text(f"account: {{sandbox: true}}\ndestinations:\n  hook:\n    {entry}")
    settings = load(file)
    made = configured(settings, settings.entry("hook"))
    assert isinstance(made, WebhookDestination if problem is None else Misconfigured)
    assert problem is None or problem in made.problem


# Headers


def test_a_message_is_signed_so_that_the_reference_library_verifies_it(hook):
    with Receiver().running() as receiver:
        assert answer(hook(receiver.url)).outcome is Outcome.TAKEN
    (taken,) = receiver.taken
    assert taken.valid
    assert taken.body == message().payload
    assert (taken.id, taken.key, taken.sequence) == ("msg_1", "k1", 3)
    assert taken.headers["content-type"] == "application/json"


def test_what_was_changed_on_its_way_is_not_verified(hook):
    with Receiver().running() as receiver:
        answer(hook(receiver.url))
    (taken,) = receiver.taken
    for name in ("webhook-id", "webhook-timestamp"):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(taken.body, taken.headers | {name: "1" + taken.headers[name]})
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(taken.body + b" ", taken.headers)


def test_each_try_is_the_same_message_signed_anew(hook):
    with Receiver(lambda number: Reply(503 if number == 0 else 200)).running() as receiver:
        first, _ = answers(hook(receiver.url), message(), message(attempt=2))
        assert first.outcome is Outcome.AGAIN
        time.sleep(1)
        answer(hook(receiver.url))
    tries = receiver.taken
    assert len({(one.id, one.digest) for one in tries}) == 1
    assert len({one.headers["webhook-timestamp"] for one in tries}) > 1
    assert all(one.valid for one in tries)


@pytest.mark.parametrize("known", [SECRET, OLD_SECRET], ids=["of the new secret", "of the old one"])
def test_while_the_secret_is_changed_a_receiver_of_either_verifies(known, hook):
    with Receiver(secret=known).running() as receiver:
        answer(hook(receiver.url, previous_secret={"env": "WEBHOOK_SECRET_BEFORE"}))
        answer(hook(receiver.url))
    assert [one.valid for one in receiver.taken] == [True, known == SECRET]


def test_headers_of_the_users_own_are_sent_and_told_among_the_secrets(hook, monkeypatch):
    monkeypatch.setenv("TOKEN", "t0ken")
    monkeypatch.setenv("API_KEY", " k3y\n")
    with Receiver().running() as receiver:
        destination = hook(receiver.url, bearer={"env": "TOKEN"}, headers={"X-Api-Key": {"env": "API_KEY"}})
        answer(destination)
    (taken,) = receiver.taken
    assert taken.headers["authorization"] == "Bearer t0ken"
    assert taken.headers["x-api-key"] == "k3y"
    assert {secret.env for secret in destination.secrets()} == {"WEBHOOK_SECRET", "TOKEN", "API_KEY"}


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"webhook-id": {"env": "A"}}},
        {"headers": {"Content-Type": {"env": "A"}}},
        {"headers": {"Mogul-Sequence": {"env": "A"}}},
        {"headers": {"Host": {"env": "A"}}},
        {"headers": {"two words": {"env": "A"}}},
        {"headers": {"line\nend": {"env": "A"}}},
        {"headers": {"x-api-key": "a literal"}},
        {"headers": {"Authorization": {"env": "A"}}, "bearer": {"env": "B"}},
        {"bearer": "a literal"},
        {"secret": SECRET},
        {"allow_private": ["everything"]},
        {"url": "ftp://receiver.example/"},
        {"url": "https://user:s3cret@receiver.example/"},
    ],
)
def test_settings_that_cannot_be_are_refused_when_they_are_read(options, hook):
    with pytest.raises(ValidationError):
        hook(**({"url": "https://receiver.example/"} | options))


@pytest.mark.parametrize(
    "text",
    ["secret", "whsec_", "whsec_!!!!", "whsec_c2hvcnQ=", SECRET.removeprefix("whsec_"), f"{SECRET[:20]}!{SECRET[20:]}"],
)
def test_what_is_no_secret_is_told_by_its_variable(text, hook, monkeypatch):
    monkeypatch.setenv("WEBHOOK_SECRET", text)
    with pytest.raises(ConfigurationError, match="WEBHOOK_SECRET holds no secret of a webhook") as refused:
        answer(hook("http://127.0.0.1:1/"))
    assert not any(text[at : at + 9] in str(refused.value) for at in range(6, len(text) - 8))


@pytest.mark.parametrize("value", ["one\ntwo", "one\r\nx-injected: 1", "ключ"])
def test_a_header_takes_no_line_of_its_own(value, hook, monkeypatch):
    monkeypatch.setenv("TOKEN", value)
    with pytest.raises(ConfigurationError, match="TOKEN holds what no header can"):
        answer(hook("http://127.0.0.1:1/", bearer={"env": "TOKEN"}))


# Answers


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_success(status, hook):
    with Receiver(lambda _: Reply(status, body=b"")).running() as receiver:
        assert answer(hook(receiver.url)).outcome is Outcome.TAKEN


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307, 308, *(s.value for s in HTTPStatus if s >= 400)])
def test_anything_else_is_tried_again_but_410(status, hook):
    with Receiver(lambda _: Reply(status, body=b"")).running() as receiver:
        said = answer(hook(receiver.url))
    assert said.outcome is (Outcome.GONE if status == 410 else Outcome.AGAIN)
    assert said.status == str(status)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status, hook):
    with Receiver().running() as elsewhere:
        with Receiver(lambda _: Reply(status, headers={"Location": elsewhere.url})).running() as receiver:
            assert "redirects" in answer(hook(receiver.url)).text
        assert not elsewhere.taken


@pytest.mark.parametrize(
    ("asked", "pause"),
    [
        ("0", 0),
        ("7", 7),
        ("-5", None),
        ("999999", 86400),
        ("9" * 400, 86400),
        ("soon", None),
        ("", None),
        (timedelta(hours=2), 7200),
        (timedelta(hours=-2), 0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", None),
    ],
)
def test_how_long_it_asks_to_be_left_alone_is_read_as_seconds_or_a_date(asked, pause, hook):
    if isinstance(asked, timedelta):
        asked = format_datetime(datetime.now(UTC) + asked, usegmt=True)
    with Receiver(lambda _: Reply(429, headers={"Retry-After": asked})).running() as receiver:
        said = answer(hook(receiver.url)).retry_after
    assert said is None if pause is None else said == pytest.approx(timedelta(seconds=pause), abs=timedelta(seconds=5))


def test_of_a_long_answer_the_beginning_is_kept_in_one_line(hook):
    with Receiver(lambda _: Reply(500, body=b"it\n\tfell\x00 \xff over " + b"x" * 10_000_000)).running() as receiver:
        text = answer(hook(receiver.url)).quoted
    assert text.startswith("it fell")
    assert len(text) <= 300
    assert text.isprintable()


def waiting(hook, folder, url):
    """A webhook that one movement is new to, and its table."""
    place = hook(url)
    with place.ledger.open() as ledger:
        ledger.standing("hook", NOW - timedelta(hours=1))
    return place, table_of(folder, [news_row(0)], dataset="movement_news", key=["movement_key"])


def test_a_receivers_own_words_are_with_the_try_and_in_no_error(hook, tmp_path):
    """It may repeat what it was sent."""
    with Receiver(lambda _: Reply(422, body=b"steve@example.com is unknown")).running() as receiver:
        place, table = waiting(hook, tmp_path, receiver.url)
        with pytest.raises(DestinationUnavailable, match=r"\(422\)") as raised:
            place.tell([table])
    assert "steve" not in str(raised.value)
    with place.ledger.open() as ledger:
        (one,) = ledger.records("hook")
        assert one.reason == "422"
        assert ledger.record(one.id).tries[0].answer == "steve@example.com is unknown"


def test_what_waits_for_one_whose_variable_is_not_set_is_due_in_some_minutes(hook, tmp_path, monkeypatch):
    """Left due, the sensor would start a run every few seconds."""
    place, table = waiting(hook, tmp_path, "https://receiver.invalid/")
    monkeypatch.delenv("WEBHOOK_SECRET")
    began = datetime.now(UTC)
    with pytest.raises(ConfigurationError, match="WEBHOOK_SECRET is not set"):
        place.tell([table])
    with place.ledger.open() as ledger:
        assert ledger.counts("hook") == {State.WAITING: 1}
        assert ledger.next_due()["hook"] >= began + UNUSABLE


@contextmanager
def listening(then):
    """A socket that does with each connection what ``then`` says."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    then(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/hook?key=of-mine"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def garbage(connection):
    connection.recv(65536)
    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


def closing(connection):
    connection.recv(65536)


@pytest.mark.parametrize(("then", "word"), [(garbage, "http"), (closing, "connection")])
def test_what_is_no_answer_is_tried_again(then, word, hook):
    with listening(then) as url:
        said = answer(hook(url))
    assert (said.outcome, said.status) == (Outcome.AGAIN, word)
    assert "of-mine" not in said.text


def endless(connection):
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    with suppress(OSError):
        while True:
            connection.sendall(b"and on it goes " * 4096)


def test_an_answer_without_an_end_is_not_waited_for(hook):
    began = time.monotonic()
    with listening(endless) as url:
        assert answer(hook(url)).outcome is Outcome.TAKEN
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("reset", ["before", "after"])
def test_a_connection_that_is_cut_is_tried_again(reset, hook):
    with Receiver(lambda _: Reply(reset=reset)).running() as receiver:
        said = answer(hook(receiver.url))
    assert (said.outcome, said.status) == (Outcome.AGAIN, "connection")
    assert "of-mine" not in said.text


def test_nobody_there_is_tried_again(hook):
    said = answer(hook(f"http://127.0.0.1:{servers.free_port()}/?key=of-mine"))
    assert (said.outcome, said.status) == (Outcome.AGAIN, "connection")
    assert "of-mine" not in said.text


def test_a_name_that_nobody_knows_is_tried_again(hook):
    said = answer(hook("https://receiver.invalid/?key=of-mine"))
    assert (said.outcome, said.status) == (Outcome.AGAIN, "name")
    assert "of-mine" not in said.text


def test_a_slow_receiver_has_so_many_seconds_and_holds_up_no_other_message(hook, monkeypatch):
    monkeypatch.setattr(webhook, "TRYING", 0.5)

    async def both(destination):
        async with destination.sending() as send:
            return await asyncio.gather(*(send(message(id=f"msg_{number}")) for number in range(8)))

    with Receiver(lambda number: Reply(seconds=0 if number % 2 else 30)).running() as receiver:
        began = time.monotonic()
        said = asyncio.run(both(hook(receiver.url)))
    assert time.monotonic() - began < 3
    assert (
        sorted((one.outcome, one.status) for one in said)
        == [(Outcome.AGAIN, "timeout")] * 4 + [(Outcome.TAKEN, "200")] * 4
    )


def test_a_private_address_is_refused_with_what_to_set(hook):
    with Receiver().running() as receiver:
        said = answer(hook(receiver.url, allow_private=[]))
        assert not receiver.taken
    assert said.outcome is Outcome.REFUSED
    assert "allow_private" in said.text


@pytest.fixture
def secure(monkeypatch, tmp_path):
    """A server's certificate of an authority that this machine trusts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    return server_context(authority, "127.0.0.1")


def server_context(authority, *names):
    import ssl  # noqa: PLC0415

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def test_over_tls_the_certificate_is_proven(hook, secure):
    with Receiver().running(secure) as receiver:
        assert receiver.url.startswith("https://")
        assert answer(hook(receiver.url)).outcome is Outcome.TAKEN
        assert not [one.problem for one in hook(receiver.url).check() if one.problem]
    assert len(receiver.taken) == 1


@pytest.mark.usefixtures("secure")
def test_one_of_another_authority_or_another_name_is_not_taken(hook):
    for stranger in (server_context(trustme.CA(), "127.0.0.1"), server_context(trustme.CA(), "other.example")):
        with Receiver().running(stranger) as receiver:
            said = answer(hook(receiver.url))
            assert (said.outcome, said.status) == (Outcome.AGAIN, "certificate")
            assert [one.name for one in hook(receiver.url).check() if one.problem] == ["connect"]
        assert not receiver.taken


@pytest.mark.usefixtures("secure")
def test_where_no_tls_is_spoken_it_is_said(hook):
    with Receiver().running() as receiver:
        assert answer(hook(receiver.url.replace("http:", "https:"))).status == "tls"


# The verbs


def test_the_check_connects_and_sends_nothing(hook):
    with Receiver().running() as receiver:
        assert [(one.name, one.problem) for one in hook(receiver.url).check()] == [("secrets", None), ("connect", None)]
        assert receiver.requests == 0


def test_the_check_says_what_is_wrong_and_what_helps(hook, monkeypatch):
    with Receiver().running() as receiver:
        (_, connect) = hook(receiver.url, allow_private=[]).check()
        assert "private address" in connect.problem
        assert "allow_private" in connect.remedy
    (_, connect) = hook(f"http://127.0.0.1:{servers.free_port()}/?key=of-mine").check()
    assert "refused" in connect.problem
    (_, connect) = hook("https://receiver.invalid/?key=of-mine").check()
    assert "looked up" in connect.problem
    assert "of-mine" not in connect.problem + connect.remedy
    monkeypatch.delenv("WEBHOOK_SECRET")
    secrets, _ = hook("https://receiver.invalid/").check()
    assert "WEBHOOK_SECRET is not set" in secrets.problem


def test_the_preview_tells_the_payloads_shape_and_nobodys_data(hook, tmp_path):
    preview, _ = looked_at(hook, tmp_path)
    assert preview.rows == 5
    assert dict(preview.columns)["customer.external_ids"] == "array of strings"
    assert [name for name, _ in preview.columns if "." not in name] == [
        name for name in DOCUMENTED if name not in {"customer", "subscription"}
    ]
    assert preview.statements == ("POST https://receiver.example/",)


def test_the_newest_payloads_are_files_to_look_at(hook, tmp_path):
    _, files = looked_at(hook, tmp_path)
    assert list(files) == ["k2.json", "k3.json", "k4.json"]
    assert [json.loads(body)["description"] for body in files.values()] == ["number 2", "number 3", "number 4"]


def looked_at(hook, folder):
    rows = [news_row(number) for number in range(5)]
    table = table_of(folder, rows, dataset="movement_news", key=["movement_key"])
    place = hook("https://receiver.example/?key=of-mine")
    return place.preview(table), place.rendered([table], NOW)


def news_row(number):
    return msgspec.to_builtins(
        news(uuid=f"m{number}", movement_key=f"k{number}", description=f"number {number}", customer_external_ids=())
    ) | {"date": NOW + timedelta(hours=number), "customer_external_ids": "[]", "custom_attributes": '{"tier": "gold"}'}


def test_a_test_message_is_of_a_type_of_its_own_and_signed(hook):
    with Receiver().running() as receiver:
        said = hook(receiver.url).prove()
    (taken,) = receiver.taken
    assert taken.valid
    assert json.loads(taken.body)["type"] == "mogul_test"
    assert taken.id in said
    assert "of-mine" not in said


def test_a_test_message_that_is_not_taken_fails_with_the_status_and_not_with_what_may_be_an_echo(hook, monkeypatch):
    monkeypatch.setenv("WEBHOOK_TOKEN", "b34rer-4711")
    with (
        Receiver(lambda _: Reply(403, body=b"who is b34rer-4711?")).running() as receiver,
        pytest.raises(DestinationUnavailable, match=r"/: 403 → look what the receiver says of it") as raised,
    ):
        hook(receiver.url, bearer={"env": "WEBHOOK_TOKEN"}).prove()
    assert "b34rer-4711" not in str(raised.value)
    with pytest.raises(DestinationRefused, match="private address"):
        hook("http://127.0.0.1:1/", allow_private=[]).prove()


def test_the_grants_make_a_secret_that_it_takes(hook, monkeypatch):
    destination = hook("https://receiver.example/?key=of-mine")
    command = destination.grants()
    assert "of-mine" not in command
    shell = f'{command}\nprintf %s "$WEBHOOK_SECRET"'
    made = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True).stdout
    monkeypatch.setenv("WEBHOOK_SECRET", made)
    assert [signer.sign("msg_1", NOW, "{}") for signer in destination._signers()]


def test_retries_are_those_of_the_page_and_last_nearly_three_days():
    pauses = WebhookDestination.POLICY.retries
    assert len(pauses) == 17
    assert list(pauses) == sorted(pauses)
    assert timedelta(hours=71) < sum(pauses, timedelta()) < timedelta(days=3)


# The page about it

PAGE = (Path(__file__).parents[2] / "docs" / "destinations" / "webhook.md").read_text()


def code(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_tells_every_setting_with_its_default():
    for name, field in settings_of(WebhookDestination).items():
        default = "must be set" if field.is_required() else "–"
        assert f"| `{name}` | {default} | {field.description} |\n" in PAGE


def test_the_page_tells_every_retry():
    (row,) = re.findall(r"^\| after \| (.*) \|$", PAGE, re.MULTILINE)
    units = {"s": "seconds", "min": "minutes", "h": "hours"}
    told = [timedelta(**{units[unit]: int(number)}) for number, unit in re.findall(r"(\d+) (s|min|h)\b", row)]
    assert tuple(told) == WebhookDestination.POLICY.retries


def test_the_page_shows_the_payload_as_it_is():
    (shown,) = [json.loads(one) for one in code("json")]
    attributes = shown["customer"].pop("custom_attributes")
    assert attributes
    assert [*shown, *shown["customer"]] == [*DOCUMENTED, *DOCUMENTED["customer"]]


def test_the_page_tells_what_every_word_for_no_answer_means():
    for word, remedy in webhook._REMEDIES.items():
        assert f"| `{word}` | {remedy} |\n" in PAGE


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_the_pages_receivers_verify_what_is_sent_and_nothing_else(language, hook, monkeypatch, tmp_path):
    """The page's ten lines, as they stand there, on the port that they name."""
    program = {"python": sys.executable, "javascript": which("node")}[language]
    if program is None:
        servers.missing("node", "there is no node on this machine")
    (lines,) = code(language)
    assert len(lines.strip().splitlines()) <= 10
    port = servers.free_port()
    file = tmp_path / ("receiver.py" if language == "python" else "receiver.mjs")
    file.write_text(lines.replace("8080", str(port)))
    group = servers.started([program, file], log=tmp_path / "log", ready=servers.reachable(port), cwd=tmp_path)
    try:
        url = f"http://127.0.0.1:{port}/"
        assert answer(hook(url)).outcome is Outcome.TAKEN
        both = hook(url, secret={"env": "WEBHOOK_SECRET_BEFORE"}, previous_secret={"env": "WEBHOOK_SECRET"})
        assert answer(both).outcome is Outcome.TAKEN
        assert answer(hook(url, secret={"env": "WEBHOOK_SECRET_BEFORE"})).status == "401"
        monkeypatch.setattr(webhook, "datetime", Yesterday)
        assert answer(hook(url)).status == "401"
    finally:
        servers.stop(group)


class Yesterday(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) - timedelta(days=1)
