"""One try of one mail: what the ledger is told of everything that a mail server and a network can do."""

from __future__ import annotations

import base64
import socket
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest

from mogul_assets.errors import ConfigurationError
from mogul_assets.messages import smtp
from mogul_assets.messages.message import Outcome
from mogul_assets_tests.peers import servers
from mogul_assets_tests.peers import smtp as peer_
from mogul_assets_tests.peers.smtp import CUT, PASSWORD, USER, serving

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # which is there already

FROM, TO = "reports@example.com", "someone@example.com"
CONTENT = b"Message-ID: <msg_1@example.com>\r\nSubject: recap\r\n\r\n.\r\n..two\r\nend\r\n"


@pytest.fixture
def peer(tmp_path):
    with serving(tmp_path) as peer:
        yield peer


def server(peer, **how):
    known = {"username": USER, "password": PASSWORD, "trust": smtp.trusting(str(peer.ca_file)), "host": "localhost"}
    return smtp.Server(**{"port": peer.port, "hello": "example.com", **known, **how})


def sent(peer, content=CONTENT, **how):
    return smtp.sent(server(peer, **how), FROM, TO, content)


def test_a_mail_arrives_as_it_was_written(peer):
    assert sent(peer).outcome is Outcome.TAKEN
    (received,) = peer.received
    assert (received.sender, received.recipients, received.encrypted) == (FROM, (TO,), True)
    assert received.content == CONTENT


def test_implicit_tls(tmp_path):
    with serving(tmp_path, tls="implicit") as peer:
        assert sent(peer, tls="implicit").outcome is Outcome.TAKEN
        assert [received.encrypted for received in peer.received] == [True]


def test_a_server_on_this_machine_needs_neither_tls_nor_a_log_in(tmp_path):
    with serving(tmp_path, tls="none", log_in=False) as peer:
        assert sent(peer, tls="none", username=None).outcome is Outcome.TAKEN


AGAIN, REFUSED, UNKNOWN = Outcome.AGAIN, Outcome.REFUSED, Outcome.UNKNOWN
ANSWERS = [
    ("GREETING", "421 4.3.2 shutting down", AGAIN, "421"),
    ("GREETING", "554 5.7.1 not from there", REFUSED, "554"),
    ("GREETING", CUT, AGAIN, "connection"),
    ("AUTH", "454 4.7.0 later", AGAIN, "454"),
    ("AUTH", "535 5.7.8 who?", REFUSED, "535"),
    ("MAIL", "451 4.3.0 later", AGAIN, "451"),
    ("MAIL", "550 5.7.1 not as that one", REFUSED, "550"),
    ("MAIL", CUT, AGAIN, "connection"),
    ("RCPT", "450 4.2.0 greylisted", AGAIN, "450"),
    ("RCPT", "550 5.1.1 no such user", REFUSED, "550"),
    ("RCPT", CUT, AGAIN, "connection"),
    ("DATA", "451 4.3.0 later", AGAIN, "451"),
    ("DATA", "554 5.7.1 no", REFUSED, "554"),
    ("DATA", CUT, AGAIN, "connection"),
    ("END", "452 4.3.1 full", AGAIN, "452"),
    ("END", "554 5.6.0 spam", REFUSED, "554"),
    ("END", CUT, UNKNOWN, "no answer"),
]


@pytest.mark.parametrize(("step", "said", "outcome", "status"), ANSWERS, ids=lambda value: str(value).partition(" ")[0])
def test_what_the_server_says_decides_what_comes_next(peer, step, said, outcome, status):
    peer.script[step] = [said] * (2 if step == "AUTH" else 1)  # there are two ways to log in, and both are tried
    answer = sent(peer)
    assert (answer.outcome, answer.status) == (outcome, status)
    assert answer.text.startswith(f"localhost:{peer.port}: ")
    assert sent(peer).outcome is Outcome.TAKEN
    assert len(peer.received) == (2 if outcome is UNKNOWN else 1)


def test_every_try_sends_the_same_bytes(peer):
    peer.script["END"] = [CUT]
    sent(peer)
    sent(peer)
    first, second = peer.received
    assert first.content == second.content == CONTENT


def test_a_connection_lost_within_the_mail_leaves_no_doubt(peer):
    peer.script["CONTENT"] = [CUT]
    answer = sent(peer, CONTENT + b"line\r\n" * 2_000_000)  # more than fits between the two
    assert (answer.outcome, answer.status) == (AGAIN, "connection")


def test_a_mail_that_is_too_large_says_what_would_make_it_smaller(tmp_path):
    with serving(tmp_path, size=1000) as peer:
        answer = sent(peer, CONTENT + b"line\r\n" * 1000)
        assert (answer.outcome, answer.status) == (REFUSED, "552")
        assert "attachment_mb" in answer.text
        assert "links" in answer.text
        assert "DATA" not in peer.commands  # its size was said before


def test_a_certificate_of_an_unknown_authority_is_refused(peer):
    answer = sent(peer, trust=smtp.trusting(None))
    assert (answer.outcome, answer.status) == (REFUSED, "certificate")
    assert "ca_file" in answer.text
    assert "AUTH" not in peer.commands


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_certificate_of_another_host_is_refused(tmp_path, tls):
    with serving(tmp_path, tls=tls, named="other.example.com") as peer:
        answer = sent(peer, tls=tls)
        assert (answer.outcome, answer.status) == (REFUSED, "certificate")
        assert "Hostname mismatch" in answer.text


def test_a_certificate_that_has_ended_is_refused(tmp_path):
    with serving(tmp_path, not_after=datetime.now(UTC) - timedelta(days=1)) as peer:
        answer = sent(peer)
        assert (answer.outcome, answer.status) == (REFUSED, "certificate")
        assert "expired" in answer.text


def test_the_machines_own_authorities_are_trusted(peer, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(peer.ca_file))
    assert sent(peer, trust=smtp.trusting(None)).outcome is Outcome.TAKEN


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "something else"])
def test_a_file_without_authorities_is_told_by_its_name(tmp_path, content):
    file = tmp_path / "authorities.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match=f"ca_file: {file} holds no certificates"):
        smtp.trusting(str(file))


@pytest.mark.parametrize(
    ("serves", "asks", "says"),
    [("none", "starttls", "offers no way to start TLS"), ("none", "implicit", "does not speak TLS there")],
)
def test_nothing_is_sent_in_the_open_where_tls_was_asked_for(tmp_path, serves, asks, says):
    with serving(tmp_path, tls=serves, log_in=False) as peer:
        answer = sent(peer, tls=asks)
        assert answer.outcome is REFUSED
        assert says in answer.text
        assert "port 587" in answer.text
        assert not {"AUTH", "MAIL"} & set(peer.commands)


def test_a_server_that_knows_nobody_says_so(tmp_path):
    with serving(tmp_path, tls="none", log_in=False) as peer:
        answer = sent(peer, tls="none", host="127.0.0.1")
        assert answer.outcome is REFUSED
        assert "log in" in answer.text


def test_a_wrong_password_is_refused_without_the_servers_words(peer):
    answer = sent(peer, password="wrong")
    assert (answer.outcome, answer.status) == (REFUSED, "535")
    assert "it answered 535 5.7.8 → correct username and password" in answer.text


SECRETS = [PASSWORD, *(base64.b64encode(text.encode()).decode() for text in (PASSWORD, f"\0{USER}\0{PASSWORD}"))]


@pytest.mark.parametrize("step", ["AUTH", "MAIL", "RCPT", "END"])
@pytest.mark.parametrize("secret", SECRETS, ids=["plain", "login", "auth plain"])
def test_a_password_in_an_answer_is_not_told(peer, step, secret):
    peer.script[step] = [f"550 5.7.0 what is {secret} good for"] * 2
    answer = sent(peer)
    assert answer.outcome is REFUSED
    assert not any(secret in f"{answer} {server(peer)!r}" for secret in SECRETS)


def test_a_servers_words_are_cut_and_are_one_line(peer):
    peer.script["MAIL"] = [f"550-5.7.1 first\r\n550 5.7.1 second {'x' * 1000}"]
    answer = sent(peer)
    assert answer.quoted.startswith("first 5.7.1 second xxx")
    assert "\n" not in answer.quoted
    assert len(answer.quoted) <= 200


@pytest.mark.parametrize(
    ("words", "code"),
    [("5.1.1 no mailbox of Zoe Quist", "550 5.1.1"), ("2.10.20.30, Zoe Quist: blocked", "550")],
)
def test_a_servers_words_are_no_part_of_what_is_said_but_for_their_codes(peer, words, code):
    peer.script["RCPT"] = [f"550 {words}"]
    answer = sent(peer)
    assert f"cannot name the recipient: it answered {code} → correct the address" in answer.said
    assert "Zoe Quist" not in answer.said
    assert "Zoe Quist" in answer.kept


def test_nobody_there_may_pass():
    port = servers.free_port()
    answer = smtp.sent(smtp.Server("127.0.0.1", port, "example.com"), FROM, TO, CONTENT)
    assert (answer.outcome, answer.status) == (AGAIN, "connection")
    assert "Connection refused" in answer.text


@contextmanager
def talking(*says):
    """A server that says these things, one after each line that it gets, and then nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            client, _ = listening.accept()
            with client:
                for said in says:
                    client.sendall(said)
                    client.recv(1000)
                client.recv(1000)

        Thread(target=serve, daemon=True).start()
        yield smtp.Server("127.0.0.1", listening.getsockname()[1], "example.com", tls="none")


def test_a_server_that_says_nothing_is_waited_for_so_long_only(monkeypatch):
    monkeypatch.setattr(smtp, "CONNECTING", 0.2)
    with talking() as silent:
        answer = smtp.sent(silent, FROM, TO, CONTENT)
    assert (answer.outcome, answer.status) == (AGAIN, "connection")
    assert "did not answer in time" in answer.text


def test_a_server_that_falls_silent_is_waited_for_so_long_only(monkeypatch):
    monkeypatch.setattr(smtp, "STEP", 0.2)
    with talking(b"220 hi\r\n") as silent:
        answer = smtp.sent(silent, FROM, TO, CONTENT)
    assert (answer.outcome, answer.status) == (AGAIN, "connection")


def test_silence_after_the_whole_mail_is_unknown(monkeypatch):
    monkeypatch.setattr(smtp, "LONGEST", 1)
    with talking(b"220 hi\r\n", b"250 hi\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n") as silent:
        answer = smtp.sent(silent, FROM, TO, CONTENT)
    assert answer.outcome is UNKNOWN
    assert "ask the recipient before you send it again" in answer.text


def test_what_is_no_mail_server_may_pass():
    with talking(b"HTTP/1.1 400 Bad Request\r\n\r\n") as other:
        answer = smtp.sent(other, FROM, TO, CONTENT)
    assert answer.outcome in (AGAIN, REFUSED)
    assert peer_.PASSWORD not in answer.text
