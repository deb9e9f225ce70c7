"""What the ledger says of a customer that is forgotten: nothing, whatever a message's state, in no byte of its file."""

import io
import sqlite3
import zipfile
from datetime import timedelta

import pytest
import sqlalchemy as sa

from mogul_assets.messages import mail
from mogul_assets.messages.ledger import Ledger
from mogul_assets.messages.ledger_forgetting import FORGOTTEN
from mogul_assets.messages.mail import Attachment, Letter
from mogul_assets.messages.message import Answer, Draft, Outcome, State, Tried
from mogul_assets.messages.periods import Period
from mogul_assets.messages.quoting import names
from mogul_assets.messages.tables import ATTEMPT, MESSAGE
from mogul_assets.store.person import Person
from mogul_assets_tests.messages.ledgers import HOOK, HOUR, NOW, POLICY, look, news, send, states, take

NAME, ADDRESS = 'Zoë "Z" O\'Quist & Co', "zoe@quist.example"
PERSON = Person(
    "cus_zoe",
    records=frozenset({("ds_1", "77")}),
    words=frozenset({NAME, ADDRESS}),
    movements=frozenset({"z1", "z2", "z3", "z4", "z5"}),
    keys=frozenset({"key of z1"}),
)
LATER = NOW + 3 * HOUR


@pytest.fixture
def ledger(url):
    with Ledger(url) as ledger:
        yield ledger


def zoe(uuid, **values):
    return news(uuid, customer=PERSON.uuid, **values)


def draft(kind, subject, payload, **more):
    return Draft(kind, subject, payload, NOW, **more)


def records(ledger):
    return {one.subject: one for one in ledger.records(HOOK, payloads=True)}


def rows(ledger, table):
    with ledger._engine.connect() as connection:
        return [row._mapping for row in connection.execute(sa.select(table))]


def test_a_message_of_any_state_says_nothing_any_more(ledger):
    look(ledger, zoe("z1"), news("a"))
    assert sorted(send(ledger)) == ["a", "z1"]
    look(ledger, zoe("z2"), at=NOW + HOUR)
    take(ledger, NOW + HOUR, Answer(Outcome.REFUSED, "400", "no", quoted=NAME))
    look(ledger, zoe("z3"), at=NOW + 2 * HOUR)
    (flying,) = ledger.claim(HOOK, 1, POLICY, NOW + 2 * HOUR)
    look(ledger, news("b"), at=NOW + 2 * HOUR)
    look(ledger, zoe("z4", date=NOW + timedelta(days=9)), at=NOW + 2 * HOUR)
    counted = ledger.about(PERSON)[HOOK]
    assert (counted.sent, counted.open, counted.others) == (1, 2, 1)

    assert ledger.forget(PERSON, LATER)[HOOK] == counted

    found = records(ledger)
    assert all(found[f"key of z{n}"].payload is None for n in range(1, 5))
    assert [found[f"key of z{n}"].state for n in range(1, 5)] == [
        State.DELIVERED,
        State.FAILED,
        State.UNKNOWN,
        State.LEFT_OUT,
    ]
    assert found["key of z4"].reason == FORGOTTEN
    assert found["key of a"].payload
    assert found["key of b"].payload
    assert not ledger.about(PERSON)
    assert {row["answer"] for row in rows(ledger, ATTEMPT)} == {""}
    assert {row["place"] for row in rows(ledger, MESSAGE)} == {None, "cus_1"}

    # Whoever had it in flight says so late, and is not heard.
    ledger.settle([Tried(flying, Answer(Outcome.AGAIN, "503"), LATER, 0.0)], POLICY, LATER)
    assert states(ledger)["key of z3"] == "unknown"
    assert send(ledger, NOW + timedelta(days=10)) == ["b"]


@pytest.mark.parametrize("outcome", [Outcome.TAKEN, Outcome.REFUSED, Outcome.UNKNOWN])
def test_why_a_message_ended_as_it_did_goes_too(ledger, outcome):
    """What wrote it down may have been a version that repeated a receiver's words there."""
    look(ledger, zoe("z1"))
    take(ledger, NOW, Answer(outcome, "250", f"queued for {ADDRESS}"))
    assert ADDRESS in records(ledger)["key of z1"].reason
    ledger.forget(PERSON, LATER)
    assert records(ledger)["key of z1"].reason is None


def test_what_the_account_still_has_is_not_told_again(ledger):
    look(ledger, zoe("z1"), zoe("z4", date=NOW + HOUR))
    send(ledger)
    ledger.forget(PERSON, NOW)
    assert look(ledger, zoe("z1"), zoe("z4", date=NOW + HOUR), zoe("new"), at=LATER).new == 1
    assert send(ledger, LATER) == ["new"]


def test_one_that_was_withdrawn_and_comes_back_has_nothing_to_send(ledger):
    look(ledger, zoe("z1", date=NOW + HOUR))
    look(ledger, at=NOW + 2 * HOUR)
    assert states(ledger) == {"key of z1": "withdrawn"}
    ledger.forget(PERSON, LATER)
    look(ledger, zoe("z1", date=NOW + HOUR), at=LATER)
    assert states(ledger) == {"key of z1": "left out"}
    assert send(ledger, LATER) == []


def test_age_removes_what_is_left_of_it(ledger):
    look(ledger, zoe("z1"))
    send(ledger)
    ledger.forget(PERSON, NOW)
    assert ledger.purge(NOW + timedelta(days=90)) == 1
    assert states(ledger) == {}


def test_what_names_it_among_others_goes_too(ledger):
    ledger.enqueue(
        HOOK,
        [
            draft("recap", "daily 1", f'{{"text": "Top: {ADDRESS}"}}'.encode()),
            draft("recap", "daily 2", b'{"text": "Top: joe@example.com"}'),
            draft("digest", "k", b'"Zo\\u00eb \\"Z\\" O\'Quist &amp; Co and 3 more"'),
            draft("mail", "weekly", letter(NAME)),
            draft("mail", "monthly", letter("Joe")),
            draft("mail", "yearly", letter("Joe", b'name,mrr\r\n"Zo\xc3\xab ""Z"" O\'Quist & Co",3\r\n')),
        ],
        NOW,
    )
    ledger.note(HOOK, "contact", [(PERSON.uuid, "no contact"), ("cus_1", "no contact")], NOW)
    ledger.forget(PERSON, NOW)
    assert {subject for subject, one in records(ledger).items() if one.payload} == {"daily 2", "monthly"}
    assert {subject for subject, state in states(ledger).items() if state == "left out"} == {
        *("daily 1", "k", "weekly", "yearly", "cus_1")
    }


def letter(customer, rows=b"name,mrr\r\nJoe,1\r\n"):
    """A mail that tells of the customer in its words, with a spreadsheet."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("customers.csv", rows)
    told = Letter(
        Period("weekly", NOW - timedelta(days=7), NOW, "week", "weekly 1"), f"Of {customer}", "an account", NOW, ()
    )
    attachments = [Attachment("customers.zip", packed.getvalue())]
    return mail.mail(told, sender="a@example.com", recipient="b@example.com", at=NOW, attachments=attachments)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("cus_zoe", True),
        ("cus_zoe1", False),
        ("xcus_zoe", False),
        ("Zoë &quot;Z&quot; O&#x27;Quist &amp; Co", True),
        ("Zoë &quot;Z&quot; O&#39;Quist &amp; Co", True),
        ("zoe@quist.example.org", True),
        ("77", False),
    ],
)
def test_a_text_names_it_by_whole_words(text, named):
    assert names("recap", text.encode(), PERSON) is named


def test_a_name_of_two_letters_is_looked_for_nowhere():
    assert not names("recap", b"Al and Bo", Person("cus_al", words=frozenset({"Al"})))


def test_no_byte_of_it_stays_in_the_file(tmp_path):
    path = tmp_path / "ledger.db"
    secret = b"needle-in-a-payload"

    def there():
        content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        return [word for word in (secret, b"cus_zoe") if word in content]

    with Ledger.at(path) as ledger:
        look(ledger, zoe("z1"), *(news(f"a{n}") for n in range(50)))
        ledger.enqueue(HOOK, [draft("recap", f"r{n}", secret * 400 + b" cus_zoe") for n in range(20)], NOW)
        while take(ledger):
            pass
    with sqlite3.connect(path, isolation_level=None) as plain:
        # As age does it, with a SQLite that was not built to write over what it frees: Debian's is.
        plain.execute("PRAGMA secure_delete=OFF")
        plain.execute("UPDATE message SET payload = NULL WHERE kind = 'recap'")
    plain.close()
    assert there() == [secret, b"cus_zoe"]
    with Ledger.at(path) as ledger, Ledger.at(path) as other:
        other.enqueue(HOOK, [draft("recap", "s", secret * 400 + b" cus_zoe")], NOW)
        ledger.forget(PERSON, LATER)
        assert there() == []
