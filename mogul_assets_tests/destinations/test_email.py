"""Mails through a real mail server and, where they have links, through the object stores' servers."""

from __future__ import annotations

import asyncio
import io
import json
import re
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from dagster_gcp import GCSResource

from mogul_assets.destinations.configured import Misconfigured, configured, settings_of
from mogul_assets.destinations.email import DATASETS, LASTING, LEFT, EmailDestination
from mogul_assets.destinations.gcs import GCSDestination
from mogul_assets.destinations.messenger import CAUGHT_UP, LedgerResource
from mogul_assets.errors import ConfigurationError, DestinationRefused, DestinationUnavailable
from mogul_assets.messages import sending
from mogul_assets.messages.message import Message, Outcome, State
from mogul_assets.messages.periods import last_period
from mogul_assets.settings import load
from mogul_assets_tests.destinations.places import PLACES
from mogul_assets_tests.messages import letters
from mogul_assets_tests.messages.letters import NOW
from mogul_assets_tests.peers import azure_blob, gcs
from mogul_assets_tests.peers.smtp import CUT, PASSWORD, SECRET, USER, serving

ANNA, BEN, NOBODY = "anna@example.com", "ben@example.com", "gone@nobody.example.com"

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # which is there already


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv(SECRET, PASSWORD)
    with serving(tmp_path) as peer:
        yield peer


@pytest.fixture
def email(server, tmp_path):
    def make(**options):
        return EmailDestination(
            **{
                "name": "finance",
                "ledger": LedgerResource(path=str(tmp_path / "ledger.db")),
                "host": "localhost",
                "port": server.port,
                "ca_file": str(server.ca_file),
                "username": USER,
                "password": {"env": SECRET},
                "sender": "ChartMogul <reports@example.com>",
                "recipients": [ANNA, BEN],
                **options,
            }
        )

    return make


@pytest.fixture
def tables(tmp_path):
    return read_at(letters.account(tmp_path / "store"), NOW)


def read_at(tables, moment):
    return [replace(table, read_at=moment) for table in tables]


@pytest.fixture(autouse=True)
def monday(monkeypatch):
    """Deliveries begin at 9:00 on Monday, 23 November 2026, and mails tell of the Sunday before."""
    moment = [NOW]
    monkeypatch.setattr(sending, "now", lambda: moment[0])
    monkeypatch.setitem(sending.drain.__kwdefaults__, "clock", lambda: moment[0])
    return moment


def records(destination, *states):
    with destination.ledger.open() as ledger:
        return {record.subject: record for record in ledger.records(destination.name, states)}


def tries(destination, draft, times=1):
    """What the destination's own sending makes of a draft."""

    async def run():
        async with destination.sending() as send:
            message = Message("msg_1", destination.name, "mail", draft.subject, draft.payload, 1, None, NOW)
            return [await send(message) for _ in range(times)]

    return asyncio.run(run())


def attached(message):
    (archive,) = message.iter_attachments()
    with zipfile.ZipFile(io.BytesIO(archive.get_content())) as files:
        return {name: files.read(name).decode("utf-8-sig") for name in files.namelist()}


class TestMails:
    def test_each_recipient_gets_one_of_their_own(self, email, tables, server):
        delivered = email().tell(tables)
        assert delivered.details["messages sent"] == 2
        assert [received.recipients for received in server.received] == [(ANNA,), (BEN,)]
        for received, recipient in zip(server.received, (ANNA, BEN), strict=True):
            assert received.sender == "reports@example.com"
            assert received.encrypted
            assert received.message["To"] == recipient
            assert received.message["Subject"] == "ChartMogul: Sunday, 22 November 2026, +$24.50 MRR"

    def test_all_four_datasets_are_in_the_archive(self, email, tables, server):
        email(recipients=[ANNA]).tell(tables)
        message = server.received[0].message
        today = tables[0].read_at.date()
        files = attached(message)
        assert list(files) == [
            "mrr_movements-daily-2026-11-22.csv",
            f"customers-{today}.csv",
            f"custom_attributes-{today}.csv",
            f"tags-{today}.csv",
        ]
        assert files[f"tags-{today}.csv"] == '"customer_uuid","tag"\r\n"cus_0","\'@vip"\r\n'
        assert '"seats","Integer","-5"' in files[f"custom_attributes-{today}.csv"]
        assert re.findall(r'\r\n"[\dT:.Z-]+","(\w+)"', files["mrr_movements-daily-2026-11-22.csv"]) == [
            *("Acme", "Brightwater", "Coralline")
        ]
        assert next(message.iter_attachments()).get_filename() == "finance-daily-2026-11-22.zip"

    def test_all_movements_are_sent_by_choice(self, email, tables, server):
        email(recipients=[ANNA], everything=True).tell(tables)
        files = attached(server.received[0].message)
        name = f"mrr_movements-{tables[0].read_at.date()}.csv"
        assert files[name].count("\r\n") == 1 + len(letters.HISTORY)

    def test_a_dataset_that_is_not_asked_for_is_not_in_it(self, email, tables, server):
        email(recipients=[ANNA]).tell([table for table in tables if table.dataset == "tags"])
        message = server.received[0].message
        assert [name.partition("-")[0] for name in attached(message)] == ["tags"]
        assert "MRR" not in message["Subject"]

    @pytest.mark.parametrize(
        ("period", "zone", "subject"),
        [
            ("daily", "UTC", "daily 2026-11-22"),
            ("weekly", "UTC", "weekly 2026-11-15"),  # Sunday to Saturday
            ("monthly", "UTC", "monthly 2026-10"),
            ("daily", "Pacific/Auckland", "daily 2026-11-22"),
            ("daily", "Pacific/Honolulu", "daily 2026-11-21"),
        ],
    )
    def test_it_tells_the_last_whole_period(self, email, tables, period, zone, subject):
        drafts = email(period=period, time_zone=zone).composed(tables, NOW)
        assert [draft.subject for draft in drafts] == [f"{subject} {ANNA}", f"{subject} {BEN}"]

    def test_a_period_is_told_once(self, email, tables, server, monday):
        email().tell(tables)
        email().tell(tables)
        monday[0] += timedelta(hours=14)
        email().tell(read_at(tables, monday[0]))
        assert len(server.received) == 2
        monday[0] += timedelta(hours=1)  # midnight
        email().tell(read_at(tables, monday[0]))
        assert len(server.received) == 4

    def test_a_period_is_told_by_an_account_that_was_read_after_it(self, email, tables, server, monday):
        email().tell(tables)
        monday[0] += timedelta(days=1)
        email().tell([*read_at(tables[:1], monday[0]), *tables[1:]])
        assert len(server.received) == 2

    def test_periods_that_went_by_untold_are_told_afterwards_the_oldest_first(self, email, tables, server, monday):
        one = email(recipients=[ANNA])
        one.tell(tables)
        monday[0] += timedelta(days=3)
        one.tell(read_at(tables, monday[0]))
        with one.ledger.open() as ledger:
            told = sorted(record.subject for record in ledger.records("finance"))
        assert told == [f"daily 2026-11-{day} {ANNA}" for day in (22, 23, 24, 25)]
        assert len(server.received) == 4

    def test_of_many_the_newest_seven(self, email, tables, server, monday):
        one = email(recipients=[ANNA])
        one.tell(tables)
        monday[0] += timedelta(days=30)
        one.tell(read_at(tables, monday[0]))
        assert len(server.received) == 1 + CAUGHT_UP

    def test_a_recipient_who_is_new_is_told_from_now_on(self, email, tables, server, monday):
        for _ in range(3):
            email(recipients=[ANNA]).tell(read_at(tables, monday[0]))
            monday[0] += timedelta(days=1)
        email(recipients=[ANNA, BEN]).tell(read_at(tables, monday[0]))
        assert [mail.recipients for mail in server.received].count((BEN,)) == 1

    def test_send_now_sends_it_once_more(self, email, tables, server, monday):
        email().tell(tables)
        monday[0] += timedelta(minutes=1)
        email().tell(tables, anew=True)
        assert len(server.received) == 4
        assert len({received.message["Message-ID"] for received in server.received}) == 4

    def test_its_id_is_the_ledgers(self, email, tables, server):
        email().tell(tables)
        ids = {record.id for record in records(email()).values()}
        assert {received.message["Message-ID"] for received in server.received} == {
            f"<{id_}@example.com>" for id_ in ids
        }


class TestTries:
    def test_a_refused_recipient_is_reported_and_the_others_get_theirs(self, email, tables, server):
        destination = email(recipients=[NOBODY, ANNA])
        with pytest.raises(DestinationRefused, match="1 of 2 messages") as refused:
            destination.tell(tables)
        assert "it answered 550 5.1.1 → correct the address" in str(refused.value)
        assert "User unknown" not in str(refused.value)  # the server's own words may repeat what it was sent
        assert [received.recipients for received in server.received] == [(ANNA,)]
        failed = records(destination)[f"daily 2026-11-22 {NOBODY}"]
        assert failed.state is State.FAILED
        assert "User unknown" not in failed.reason
        with destination.ledger.open() as ledger:
            assert "User unknown" in ledger.record(failed.id).tries[0].answer

    def test_an_ambiguous_end_is_listed_and_not_sent_again(self, email, tables, server, monday):
        server.script["END"] = [CUT]
        destination = email(recipients=[ANNA])
        with pytest.raises(DestinationRefused):
            destination.tell(tables)
        assert [record.state for record in records(destination).values()] == [State.UNKNOWN]
        monday[0] += timedelta(hours=13)
        destination.tell(tables)
        assert len(server.received) == 1

    def test_what_may_pass_is_tried_again_with_the_same_bytes(self, email, tables, server, monday):
        server.script["END"] = ["451 4.3.0 later"]
        destination = email(recipients=[ANNA])
        with pytest.raises(DestinationUnavailable):
            destination.tell(tables)
        before = next(iter(records(destination, State.WAITING).values()))
        monday[0] += timedelta(minutes=2)
        destination.tell(tables)
        (received,) = server.received
        assert received.message["Message-ID"] == f"<{before.id}@example.com>"
        first, second = tries(destination, next(destination.composed(tables, NOW)), times=2)
        assert first.outcome is second.outcome is Outcome.TAKEN
        assert server.received[1].content == server.received[2].content

    def test_the_pauses_between_tries(self):
        hours = [pause / timedelta(hours=1) for pause in EmailDestination.POLICY.retries]
        assert hours == [1 / 60, 5 / 60, 1 / 4, 1, 3, 6, 12]
        assert EmailDestination.POLICY.concurrency == 1
        assert not EmailDestination.POLICY.resends


class TestAttachments:
    def test_an_archive_that_is_too_large_is_told_with_its_size_and_the_way_out(self, email, tables, server):
        destination = email(attachment_mb=0.0005)
        with pytest.raises(DestinationRefused, match=r"archive of daily 2026-11-22 has 0\.0 MB") as refused:
            destination.tell(tables)
        assert "links" in refused.value.remedy
        assert server.received == []
        assert records(destination) == {}

    def test_carrying_its_files_a_mail_is_sent_whenever_it_can_be(self, email, tables, server, monday):
        destination = email(recipients=[ANNA])
        mail = next(destination.composed(tables, NOW))
        monday[0] += timedelta(weeks=3)
        assert [answer.outcome for answer in tries(destination, mail)] == [Outcome.TAKEN]
        assert "Mogul-Links-Until" not in server.received[0].message

    def test_one_that_just_fits_is_sent(self, email, tables, server, tmp_path):
        email(recipients=[ANNA]).tell(tables)
        (archive,) = server.received[0].message.iter_attachments()
        size = len(archive.get_content()) / 1_000_000
        again = {"recipients": [ANNA], "ledger": LedgerResource(path=str(tmp_path / "other.db"))}
        with pytest.raises(DestinationRefused):
            email(**again, attachment_mb=size - 0.000001).tell(tables)
        email(**again, attachment_mb=size + 0.0001).tell(tables)


class Lake:
    """An object store, the destination that delivers there, and whatever lies in it."""

    def __init__(self, word, peer, folder):
        self.place = next(place for place in PLACES if str(place) == word).on(peer(word))
        self._folder = folder
        self.destination = self.with_()

    def with_(self, **options):
        return self.place.destination(self._folder, **options)

    def keys(self):
        return set(self.place.everything(self._folder))

    def of_mails(self):
        return {key for key in self.keys() if "/_mails/" in key}


@pytest.fixture(params=["s3", "gcs", "azure_blob"])
def lake(request, peer, tmp_path):
    return Lake(request.param, peer, tmp_path)


@pytest.fixture
def on_s3(peer, tmp_path):
    return Lake("s3", peer, tmp_path)


@pytest.fixture
def on_gcs(peer, tmp_path):
    return Lake("gcs", peer, tmp_path)


@pytest.fixture
def on_azure(peer, tmp_path):
    return Lake("azure_blob", peer, tmp_path)


class Links(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found += [dict(attributes)["href"]] if tag == "a" else []


def links(message):
    return Links(message.get_body(("html",)).get_content()).found


def fetched(link):
    with urlopen(link) as answer:
        return answer.read(), answer.headers["Content-Disposition"]


class TestLinks:
    def test_a_link_gives_the_file_to_whoever_has_it_until_it_ends(self, lake, email, tables, server):
        lake.destination.deliver(tables[0])
        before = lake.keys()
        destination = email(links="lake", links_store=lake.destination)
        destination.tell(tables)
        anna, ben = (links(received.message) for received in server.received)
        assert anna == ben
        assert len(anna) == 4
        assert list(server.received[0].message.iter_attachments()) == []
        content, disposition = fetched(anna[0])
        assert content.decode("utf-8-sig").splitlines()[1].split(",")[1] == '"Acme"'
        assert disposition == 'attachment; filename="mrr_movements-daily-2026-11-22.csv"'
        assert all(re.search(r"/_mails/finance/20261125T090000Z-[\w-]{43}/\w+-", link) for link in anna)

        assert destination.expire(NOW + LASTING["daily"] - timedelta(seconds=1)) == 0
        assert fetched(anna[0])[0] == content
        assert destination.expire(NOW + LASTING["daily"]) == 4
        with pytest.raises(HTTPError) as gone:
            fetched(anna[0])
        assert gone.value.code in (403, 404)  # 403 is what S3 says to whoever may not list objects
        assert lake.keys() == before

    def test_the_next_mail_deletes_what_has_ended(self, lake, email, tables, server, monday):
        destination = email(recipients=[ANNA], links="lake", links_store=lake.destination)
        for _ in range(4):
            destination.tell(read_at(tables, monday[0]))
            monday[0] += timedelta(days=1)
        assert {re.search(r"finance/(\d{8})T", key)[1] for key in lake.of_mails()} == {"20261127", "20261128"}
        assert len(server.received) == 4

    def test_a_mail_that_waited_is_sent_while_there_is_time_to_fetch_its_files(
        self, lake, email, tables, server, monday
    ):
        destination = email(recipients=[ANNA], links="lake", links_store=lake.destination)
        mail = next(destination.composed(tables, NOW))
        monday[0] = NOW + LASTING["daily"] - LEFT
        assert [answer.outcome for answer in tries(destination, mail)] == [Outcome.TAKEN]
        monday[0] += timedelta(seconds=1)
        (answer,) = tries(destination, mail)
        assert answer.outcome is Outcome.REFUSED
        assert answer.text == "its links end 2026-11-25 09:00 UTC: start the job send_now for another mail"
        assert len(server.received) == 1
        assert server.received[0].message["Mogul-Links-Until"] == "Wed, 25 Nov 2026 09:00:00 +0000"

    def test_what_is_no_file_of_its_own_mails_is_left_alone(self, lake, email):
        others = ["_mails/finance/notes.txt", f"_mails/sales/20200101T000000Z-{'x' * 43}/customers.csv"]
        with lake.destination.holding("put something else") as bucket:
            for key in others:
                bucket.put(key, b"theirs")
        assert email(links="lake", links_store=lake.destination).expire(NOW) == 0
        assert len(lake.of_mails()) == 2

    def test_the_check_fetches_a_file_as_recipients_do_and_leaves_nothing(self, lake, email):
        found = email(links="lake", links_store=lake.destination).check()
        assert [(one.name, one.problem) for one in found] == [
            ("connect", None),
            ("start TLS", None),
            ("log in", None),
            ("give a command", None),
            ("name the sender", None),
            ("hold files for links", None),
            ("put files for links", None),
            ("sign links", None),
            ("links that last 2 days", None),
            ("fetch a file by its link", None),
            ("delete files whose links have ended", None),
        ]
        assert lake.of_mails() == set()

    def test_what_deleting_the_destination_leaves_is_named(self, lake, email):
        with lake.destination.holding("look") as bucket:
            root = bucket.root
        left = email(links="lake", links_store=lake.destination).forget()[-1]
        assert f"{root}_mails/finance/" in left.what
        assert "_mails/finance/" in left.remove

    def test_files_that_cannot_be_deleted_hold_up_no_mail(self, on_gcs, email, tables, server, monday):
        destination = email(recipients=[ANNA], links="lake", links_store=on_gcs.destination)
        destination.tell(tables)
        monday[0] += timedelta(days=3)
        with without("delete", on_gcs):
            destination.tell(read_at(tables, monday[0]))
            with pytest.raises(DestinationRefused, match="cannot delete the files of mails whose links have ended"):
                destination.expire(monday[0])
        assert len(server.received) == 4  # one for each day


@contextmanager
def without(what, lake):
    """Meanwhile the account may not do this at the peer of Google's store."""
    who = {"client_email": f"without-{what}@peer.iam.gserviceaccount.com"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(gcs.SECRET, json.dumps(lake.place.address["key"] | who))
        yield


def problems(destination):
    return {one.name: (one.problem, one.remedy) for one in destination.check() if one.problem}


class TestLinksThatEndEarly:
    def test_a_sessions_keys(self, on_s3, email, monkeypatch):
        monkeypatch.setenv("PEER_TOKEN", "of-a-session")
        found = problems(email(links="lake", links_store=on_s3.with_(session_token={"env": "PEER_TOKEN"})))
        assert list(found) == ["links that last 2 days"]
        problem, remedy = found["links that last 2 days"]
        assert "a link ends with them, within hours" in problem
        assert "IAM user" in remedy
        assert "of-a-session" not in str(found)

    def test_the_machines_own_credentials_of_google(self, on_gcs, email):
        own = GCSDestination(name="lake", bucket=on_gcs.destination.bucket, connection=GCSResource(project="peer"))
        found = problems(email(links="lake", links_store=own))
        assert list(found) == ["sign links"]
        assert found["sign links"][1] == "name the key of a service account: credentials"

    def test_a_shared_access_signature(self, on_azure, email, tables, monkeypatch):
        signature = generate_container_sas(
            azure_blob.ACCOUNT,
            on_azure.destination.container,
            account_key=azure_blob.KEY,
            permission=ContainerSasPermissions(read=True, write=True, delete=True, list=True, create=True),
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        monkeypatch.setenv("PEER_SAS", signature)
        signed = on_azure.with_(account_key=None, sas_token={"env": "PEER_SAS"})
        destination = email(links="lake", links_store=signed)
        found = problems(destination)
        assert list(found) == ["sign links"]
        assert "account_key" in found["sign links"][1]
        with pytest.raises(DestinationRefused, match="cannot sign links"):
            destination.tell(tables)

    def test_a_signature_that_has_ended_opens_nothing(self, on_azure):
        with on_azure.destination.holding("try") as bucket:
            bucket.put("_mails/a.csv", b"a")
            with pytest.raises(HTTPError) as ended:
                fetched(bucket.link("_mails/a.csv", -60))
        assert ended.value.code == 403

    def test_a_key_that_may_not_delete(self, on_gcs, email):
        with without("delete", on_gcs):
            found = problems(email(links="lake", links_store=on_gcs.destination))
        assert list(found) == ["delete files whose links have ended"]


class TestCheck:
    def test_it_sends_nothing(self, email, server):
        assert [(one.name, one.problem) for one in email().check()] == [
            ("connect", None),
            ("start TLS", None),
            ("log in", None),
            ("give a command", None),
            ("name the sender", None),
        ]
        assert "RCPT" not in server.commands
        assert server.received == []

    @pytest.mark.parametrize(
        ("options", "name", "problem"),
        [
            ({"port": 1}, "connect", "Connection refused"),
            ({"ca_file": None}, "start TLS", "certificate is not trusted"),
            ({"tls": "implicit"}, "connect", "does not speak TLS there"),
            ({"username": "somebody"}, "log in", "535 5.7.8"),
            ({"ca_file": "/no/such/file"}, "be configured", "holds no certificates"),
            ({"links": "lake"}, "hold files for links", "'lake' cannot hold files"),
        ],
    )
    def test_it_names_the_first_thing_that_fails(self, email, options, name, problem):
        found = problems(email(**options))
        assert list(found) == [name]
        assert problem in found[name][0]
        assert found[name][1]

    def test_a_sender_that_may_not_be_one(self, email, server):
        server.script["MAIL"] = ["550 5.7.60 not allowed to send as this sender"]
        (problem, remedy) = problems(email())["name the sender"]
        assert "550 5.7.60 not allowed" in problem
        assert "sender" in remedy

    def test_a_password_that_is_not_set(self, email, monkeypatch):
        destination = email()
        monkeypatch.delenv(SECRET)
        assert SECRET in problems(destination)["be configured"][0]

    def test_the_proof_is_a_mail_to_each_that_says_so(self, email, server):
        assert email().prove() == f"a test mail was taken for {ANNA}, {BEN}"
        assert [received.recipients for received in server.received] == [(ANNA,), (BEN,)]
        assert all(received.message["Subject"].startswith("[test] ") for received in server.received)
        assert all(received.message["Message-ID"].startswith("<test_") for received in server.received)

    def test_the_proof_names_whom_it_did_not_reach(self, email, server):
        with pytest.raises(DestinationRefused, match=f"no mail to {NOBODY}: .*550 5.1.1"):
            email(recipients=[NOBODY, ANNA]).prove()
        assert [received.recipients for received in server.received] == [(ANNA,)]


class TestPreview:
    def test_the_mail_is_rendered_as_a_file_and_nothing_is_sent(self, email, tables, server, on_s3):
        destination = email(links="lake", links_store=on_s3.destination)
        ((name, content),) = destination.rendered(tables, NOW).items()
        assert name == "finance-daily-2026-11-22.html"
        assert b"Sunday, 22 November 2026" in content
        assert b"data:image/png;base64," in content
        assert server.commands == []
        assert on_s3.keys() == set()

    def test_rows_are_those_of_the_period(self, email, tables, server):
        previews = {table.dataset: email().preview(table) for table in tables}
        assert previews["customers"].rows == 3
        assert previews["customers"].columns[0] == ("uuid", "string")
        assert server.commands == []

    def test_the_mails_are_named(self, email, tables):
        said = email().preview(read_at(tables, NOW)[0]).statements
        period = last_period("daily", min(NOW, datetime.now(UTC)))
        assert said == (f"MAIL {period.subject} {ANNA}", f"MAIL {period.subject} {BEN}")


WRONG = [
    ({"tls": "none", "host": "mail.example.com"}, "tls: none"),
    ({"username": None}, "a log-in is two"),
    ({"password": None}, "a log-in is two"),
    ({"sender": "nobody"}, "sender: 'nobody' is no address"),
    ({"sender": "a@b.com\r\nBcc: x@y.z"}, "sender"),
    ({"sender": "a@b.com, c@d.com"}, "sender"),
    ({"recipients": ["a@b.com, c@d.com"]}, "recipients"),
    ({"recipients": ["an na@b.com"]}, "recipients"),
    ({"recipients": ["anna"]}, "recipients: 'anna' is no address"),
    ({"recipients": ["Anna <anna@example.com>"]}, "more than an address"),
    ({"recipients": ["größe@example.com"]}, "no address"),
    ({"recipients": [ANNA, ANNA]}, "twice"),
    ({"subject": "two\nlines"}, "more than one line"),
]


@pytest.mark.parametrize(("options", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_setting_that_cannot_be_is_refused(email, options, said):
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        email(**options)


@pytest.mark.parametrize("options", [{"recipients": []}, {"period": "real_time"}, {"tls": "ssl"}], ids=str)
def test_so_is_one_of_another_kind(email, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        email(**options)


LAKE = """
  lake: {type: s3, bucket: acme, region: us-east-1, access_key_id: {env: AN_ID}, secret_access_key: {env: A_KEY}}
"""
MAIL = """
  finance:
    {type: email, schedule: weekly, time_zone: Europe/Paris, links: lake, host: localhost, sender: a@example.com,
     recipients: [b@example.com]}
"""


def of_file(folder, destinations):
    """The destination ``finance`` as ``mogul.yaml`` describes it."""
    file = folder / "mogul.yaml"
    file.write_text(f"account: {{sandbox: true}}\ndestinations:{destinations}")
    settings = load(file)
    return configured(settings, settings.entry("finance"))


def test_the_file_names_the_destination_that_holds_what_links_lead_to(tmp_path):
    finance = of_file(tmp_path, LAKE + MAIL)
    assert isinstance(finance, EmailDestination)
    assert (finance.links_store.name, finance.links_store.bucket) == ("lake", "acme")
    assert (finance.period, finance.time_zone) == ("weekly", "Europe/Paris")


@pytest.mark.parametrize(
    ("destinations", "problem"),
    [
        (MAIL, "no destination 'lake'"),
        (MAIL.replace("lake", "finance"), "links: 'finance' holds no files"),
        ("\n  lake: {type: duckdb, path: x}" + MAIL, "links: 'lake' cannot hold files that links lead to"),
        (LAKE.replace("bucket: acme, ", "") + MAIL, "links: 'lake' cannot be used"),
        (LAKE.replace("bucket: acme, ", "") + MAIL, "bucket is missing"),
    ],
)
def test_links_that_lead_nowhere_are_told_before_anything_is_sent(tmp_path, destinations, problem):
    finance = of_file(tmp_path, destinations)
    assert isinstance(finance, Misconfigured)
    assert problem in finance.problem


def test_it_takes_what_chartmogul_mails():
    assert set(DATASETS) == {"tags", "custom_attributes", "customers", "mrr_movements"}
    destination = EmailDestination(name="mails", **EmailDestination.EXAMPLE)
    assert destination.capabilities.datasets == set(DATASETS)


def test_links_last_as_chartmoguls_do():
    assert {period: lasting.days for period, lasting in LASTING.items()} == {"daily": 2, "weekly": 2, "monthly": 7}


def test_the_grants_name_account_sender_and_store():
    said = EmailDestination(name="mails", **EmailDestination.EXAMPLE, links="lake").grants()
    assert "reports@example.com" in said
    assert "mogul destinations grants lake" in said


PAGE = Path(__file__).parents[2] / "docs" / "destinations" / "email.md"


def test_the_page_has_every_setting():
    told = set(PAGE.read_text().splitlines())
    for name, field in settings_of(EmailDestination).items():
        default = (
            "–"
            if field.default is None
            else f"`{str(field.default).lower()}`"
            if field.default is False
            else f"`{field.default}`"
        )
        left_out = "must be set" if field.is_required() else default
        assert f"| `{name}` | {left_out} | {field.description} |" in told
