from __future__ import annotations

import re
from dataclasses import replace
from email import message_from_bytes
from email.policy import SMTP
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mogul_assets.messages import mail
from mogul_assets.messages.chart import waterfall
from mogul_assets.messages.mail import File, Letter
from mogul_assets.messages.periods import last_period
from mogul_assets.messages.recap import Listed, recap
from mogul_assets_tests.messages import letters
from mogul_assets_tests.messages.letters import NOW

DAY = last_period("daily", NOW)
LINK = 'https://store.example.com/a.csv?name="a.csv"&signature=1'
FILES = (
    File("mrr_movements-daily-2026-11-22.csv", "MRR movements of that day", 3, 1234, LINK),
    File("customers-2026-11-23.csv", "Customers", 1, 5_600_000, LINK),
)


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    return recap(letters.movements(tmp_path_factory.mktemp("figures")), DAY)


@pytest.fixture(scope="module")
def letter(figures):
    return Letter(
        period=DAY,
        subject="ChartMogul",
        origin="Sent by 'finance'",
        read_at=NOW,
        files=FILES,
        recap=figures,
        chart=waterfall(figures),
        links_until=NOW,
    )


def written(letter, **how):
    to = {"sender": "Größe GmbH <reports@example.com>", "recipient": "someone@example.com", "at": NOW}
    return mail.mail(letter, **{**to, **how})


def parsed(payload):
    return message_from_bytes(payload, policy=SMTP)


class Seen(HTMLParser):
    """What a person sees of HTML: its texts, and where its links and pictures lead."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.tags, self.leads, self.pictures = [], set(), [], []
        self.feed(html)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        named = dict(attributes)
        self.leads += [named["href"]] if "href" in named else []
        self.pictures += [named] if tag == "img" else []

    def handle_data(self, data):
        self.texts.append(data)


def test_both_forms_say_the_same_figures(letter):
    lines = mail.text(letter).splitlines()
    seen = Seen(mail.html(letter, chart=None)).text
    for name, count, amount in [
        ("Opening MRR", "2 customers", "$150.00"),
        ("New business", "1", "+$49.00"),
        ("Expansion", "1", "+$25.50"),
        ("Contraction", "0", "$0.00"),
        ("Churn", "1", "−$50.00"),
        ("Closing MRR", "2 customers", "$174.50"),
    ]:
        assert [line for line in lines if line.split("  ")[0] == f"{name} ({count})" and line.endswith(f" {amount}")]
        assert f"{name} {count} {amount}" in seen
    assert "+$24.50: net change in MRR, 3 movements" in lines
    assert "+$24.50 net change in MRR, 3 movements" in seen


def test_the_largest_gains_and_losses_are_named(letter):
    seen = Seen(mail.html(letter, chart=None)).text
    assert "Largest gains Coralline purchased the Silver monthly plan +$49.00 MRR $49.00 Acme switched plan" in seen
    assert "Largest losses Brightwater cancelled the Bronze monthly plan −$50.00 MRR $0.00" in seen
    assert "- −$50.00  Brightwater (MRR $0.00): cancelled the Bronze monthly plan" in mail.text(letter).splitlines()


def test_a_quiet_day_is_told_too(tmp_path):
    quiet = recap(letters.movements(tmp_path, letters.HISTORY[0]), DAY)
    told = Letter(DAY, "ChartMogul", "Sent", NOW, FILES, recap=quiet, chart=waterfall(quiet))
    assert "$0.00: net change in MRR, 0 movements" in mail.text(told)
    assert "Largest" not in mail.text(told) + mail.html(told, chart=None)


def test_what_exchange_rates_did_has_a_line_of_its_own(letter):
    moved = replace(letter.recap, closing=letter.recap.closing + 123)
    assert re.search(r"Exchange rates, rounding +\+\$1\.23\n", mail.text(replace(letter, recap=moved)))


def test_without_movements_there_are_files_alone(letter):
    bare = replace(letter, recap=None, chart=None)
    assert "MRR," not in Seen(mail.html(bare, chart=None)).text
    assert mail.text(bare).startswith("ChartMogul: Sunday, 22 November 2026\n\nFiles\n- mrr_movements-daily")
    message = parsed(written(bare))
    assert message["Subject"] == "ChartMogul: Sunday, 22 November 2026"
    assert message.get_body(("html",)).get_content_type() == "text/html"


@pytest.mark.parametrize(
    ("currency", "said"), [("JPY", "−¥50"), ("KWD", "−KWD\N{NO-BREAK SPACE}50.000"), ("EUR", "−€50.00")]
)
def test_amounts_are_in_the_accounts_currency(tmp_path, letter, currency, said):
    other = recap(letters.movements(tmp_path, currency=currency), DAY)
    assert said in mail.text(replace(letter, recap=other))


def test_links_lead_where_they_should_and_say_until_when(letter):
    assert Seen(mail.html(letter, chart=None)).leads == [LINK, LINK]
    assert mail.text(letter).count(f"\n  {LINK}\n") == 2
    for form in (mail.text(letter), Seen(mail.html(letter, chart=None)).text):
        assert "Whoever has a link can fetch its file until 23 November 2026, 09:00 UTC, without a log-in" in form
        assert "3 rows" in form
        assert "5.6 MB" in form


def test_the_mail_is_two_forms_a_picture_and_what_is_attached(letter):
    message = parsed(written(letter, attachments=[mail.Attachment("finance.zip", b"PK\0\xff")]))
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "application/zip",
    ]
    body = message.get_body(("html",)).get_content()
    (shown,) = Seen(body).pictures
    (picture,) = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert shown["src"] == "cid:" + picture["Content-ID"].strip("<>")
    assert shown["alt"].startswith("Waterfall chart of MRR, Sunday, 22 November 2026: Opening MRR $150.00")
    assert picture.get_content() == letter.chart
    assert picture.get_content_disposition() == "inline"
    (attached,) = message.iter_attachments()
    assert (attached.get_filename(), attached.get_content()) == ("finance.zip", b"PK\0\xff")


def test_its_headers(letter):
    message = parsed(written(letter))
    assert parsedate_to_datetime(message["Date"]) == NOW
    assert message["From"] == "Größe GmbH <reports@example.com>"
    assert message["To"] == "someone@example.com"
    assert message["Subject"] == "ChartMogul: Sunday, 22 November 2026, +$24.50 MRR"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "Message-ID" not in message


def test_any_server_lets_its_bytes_through(letter):
    payload = written(letter, attachments=[mail.Attachment("x.zip", bytes(range(256)) * 100)])
    assert payload.isascii()
    assert b"\n" not in payload.replace(b"\r\n", b"")
    assert max(map(len, payload.split(b"\r\n"))) <= 998  # RFC 5322 2.1.1


def test_its_id_is_the_ledgers_and_every_try_has_the_same(letter):
    payload = written(letter)
    assert mail.envelope(payload) == ("reports@example.com", "someone@example.com")
    first, second = (mail.identified(payload, "msg_1") for _ in range(2))
    assert first == second
    assert parsed(first)["Message-ID"] == "<msg_1@example.com>"
    assert first.endswith(payload)
    assert mail.identified(payload, "msg_2") != first


def test_the_page_needs_nothing_else(letter):
    (picture,) = Seen(mail.page(letter)).pictures
    assert picture["src"].startswith("data:image/png;base64,")
    assert not re.search(r'(src|href)="(?!data:|https://store)', mail.page(letter))


def test_dark_mode_changes_every_colour_that_is_set(letter):
    shown = mail.html(letter, chart=None)
    light, _, dark = shown.partition("@media (prefers-color-scheme: dark)")
    for selector in ("body", "a", ".aside"):
        assert re.search(rf"  {re.escape(selector)} {{[^}}]*color: #", light)
        assert re.search(rf"  {re.escape(selector)} {{[^}}]*color: #", dark)
    assert '<meta name="color-scheme" content="light dark">' in shown
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in shown


ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "div"),
    *("h1", "h2", "p", "table", "tr", "td", "span", "bdi", "br", "a", "img"),
}
HOSTILE = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["<script>alert(1)</script>", "{{ 7*7 }}", "{% raw %}", "a\r\nBcc: x@y.z", "\u202egnp.exe", '"><img>']
    ),
)


@settings(max_examples=100, deadline=None)
@given(customer=HOSTILE, description=HOSTILE)
def test_what_customers_wrote_is_text_and_nothing_else(letter, customer, description):
    one = Listed("key", NOW, "expansion", 100, None, customer, description)
    told = replace(letter, recap=replace(letter.recap, gains=(one,), losses=()), chart=None)
    shown = " ".join("".join(c if c.isprintable() else " " for c in customer).split())
    seen = Seen(mail.html(told, chart=None))
    assert seen.tags <= ALLOWED
    assert "img" not in seen.tags
    assert shown in seen.texts or not shown
    plain = mail.text(told)
    assert f"- +$1.00  {shown or 'a customer without a name'}" in plain
    assert len(plain.splitlines()) == len(
        mail.text(replace(told, recap=replace(told.recap, gains=(CALM,)))).splitlines()
    )


CALM = Listed("key", NOW, "expansion", 100, None, "Acme", "added a seat")


def test_a_plain_mail_says_what_it_is_told_to():
    message = parsed(mail.plain("[test] é", "nothing to do", sender="a@example.com", recipient="b@example.com", at=NOW))
    assert (message["Subject"], message["To"]) == ("[test] é", "b@example.com")
    assert message.get_content().strip() == "nothing to do"
