"""What a mail says, and the mail itself: recap, chart and files, as HTML and as plain text."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import SMTP
from email.utils import format_datetime, parseaddr, parsedate_to_datetime
from functools import cache
from typing import Any

from mogul_assets.catalog.datasets import MOVEMENT_TYPES
from mogul_assets.messages.chart import described
from mogul_assets.messages.mail_templates import HTML, TEXT
from mogul_assets.messages.message import utc
from mogul_assets.messages.money import spoken
from mogul_assets.messages.periods import Period
from mogul_assets.messages.recap import Listed, Recap

_POLICY = SMTP.clone(cte_type="7bit")
"""Lines end in CRLF, and no byte has its eighth bit: whatever is between sender and recipient lets it through."""
_CHART = "chart"
_LINKS_UNTIL = "Mogul-Links-Until"
_WIDTH = 32
"""Characters of a line's name in plain text."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that a mail comes with, by a link where it has one. ``about`` says which rows of what it holds."""

    name: str
    about: str
    rows: int
    bytes: int
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """What a mail tells, whoever gets it. ``chart`` is a PNG; ``read_at`` is when the account was read."""

    period: Period
    subject: str
    origin: str
    read_at: datetime
    files: Sequence[File]
    recap: Recap | None = None
    chart: bytes | None = None
    links_until: datetime | None = None
    """Until when the files can be fetched; ``None``: they are attached."""

    def title(self) -> str:
        return f"{self.subject}: {self.period.label}"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that a mail carries itself."""

    name: str
    content: bytes


def html(letter: Letter, *, chart: str | None) -> str:
    """The letter as HTML. ``chart`` is where its picture is found. What customers wrote is escaped."""
    return _rendered(HTML, letter, chart=chart)


def text(letter: Letter) -> str:
    return _rendered(TEXT, letter)


def page(letter: Letter) -> str:
    """The letter as one HTML file that needs nothing else."""
    chart = None if letter.chart is None else f"data:image/png;base64,{base64.b64encode(letter.chart).decode()}"
    return html(letter, chart=chart)


def mail(letter: Letter, *, sender: str, recipient: str, at: datetime, attachments: Sequence[Attachment] = ()) -> bytes:
    """The whole mail to one recipient, but for its Message-ID: ``identified`` puts it there."""
    message = _headed(_heading(letter), sender, recipient, at)
    if letter.links_until is not None:
        # Not Expires (RFC 10080): the recap stays worth reading, and clients hide what has expired.
        message[_LINKS_UNTIL] = format_datetime(utc(letter.links_until))
    message.set_content(text(letter), cte="quoted-printable")
    reference = f"{_CHART}@{parseaddr(sender)[1].rpartition('@')[2]}"
    shown = None if letter.chart is None else f"cid:{reference}"
    message.add_alternative(html(letter, chart=shown), subtype="html", cte="quoted-printable")
    if letter.chart is not None:
        body = message.get_body(("html",))
        assert isinstance(body, EmailMessage)
        named: dict[str, Any] = {"filename": f"{_CHART}.png", "cid": f"<{reference}>"}
        body.add_related(letter.chart, "image", "png", disposition="inline", **named)
    for attachment in attachments:
        message.add_attachment(attachment.content, "application", "zip", filename=attachment.name)
    return message.as_bytes()


def plain(subject: str, said: str, *, sender: str, recipient: str, at: datetime) -> bytes:
    """A mail of plain text: a test, or an alert."""
    message = _headed(subject, sender, recipient, at)
    message.set_content(f"{said}\n", cte="quoted-printable")
    return message.as_bytes()


def envelope(payload: bytes) -> tuple[str, str]:
    """The addresses that the mail is from and goes to."""
    headers = _headers(payload)
    return parseaddr(headers["From"])[1], parseaddr(headers["To"])[1]


def links_until(payload: bytes) -> datetime | None:
    """Until when its links lead anywhere; ``None`` where it carries its files itself."""
    ends = _headers(payload)[_LINKS_UNTIL]
    return None if ends is None else parsedate_to_datetime(ends)


def identified(payload: bytes, id_: str) -> bytes:
    """The mail with its Message-ID: made of its own bytes and the ledger's id, so that every try sends the same."""
    sender, _ = envelope(payload)
    return f"Message-ID: <{id_}@{sender.rpartition('@')[2]}>\r\n".encode() + payload


def _headers(payload: bytes) -> Message:
    return message_from_bytes(payload.partition(b"\r\n\r\n")[0], policy=_POLICY)


def _headed(subject: str, sender: str, recipient: str, at: datetime) -> EmailMessage:
    message = EmailMessage(_POLICY)
    message["Date"] = format_datetime(utc(at))
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = subject
    message["Auto-Submitted"] = "auto-generated"  # no out-of-office replies: RFC 3834
    message["X-Auto-Response-Suppress"] = "All"  # the same to Exchange
    return message


def _heading(letter: Letter) -> str:
    recap = letter.recap
    net = "" if recap is None else f", {spoken(recap.net.amount, recap.currency, signed=True)} MRR"
    return f"{letter.title()}{net}"


def _rendered(template: str, letter: Letter, **more: Any) -> str:
    rendered: str = _template(template).render(page=_page(letter), recap=letter.recap is not None, **more)
    return rendered


@cache
def _template(text: str) -> Any:
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - only where it is needed

    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        text
    )


def _page(letter: Letter) -> Mapping[str, Any]:
    """What both forms show, as they show it."""
    return {
        "title": letter.title(),
        **({} if letter.recap is None else _recap(letter.recap)),
        "files": [
            {"name": one.name, "said": one.about, "link": one.link}
            | {"rows": _counted(one.rows, "row"), "size": _size(one.bytes)}
            for one in letter.files
        ],
        "how": _how(letter),
        "origin": f"{letter.origin}. The account was read on {_moment(letter.read_at)}.",
    }


def _recap(recap: Recap) -> Mapping[str, Any]:
    def amount(cents: int, *, signed: bool = True) -> str:
        return spoken(cents, recap.currency, signed=signed)

    def level(name: str, cents: int, customers: int) -> dict[str, Any]:
        return _line(name, amount(cents, signed=False), _counted(customers, "customer"), level=True)

    opening, closing = recap.customers
    figures = [
        level("Opening MRR", recap.opening, opening),
        *(
            _line(MOVEMENT_TYPES.get(kind, kind), amount(sum_.amount), f"{sum_.count:,}")
            for kind, sum_ in recap.types.items()
        ),
        *(_line(out.reason, amount(out.sum.amount), f"{out.sum.count:,}") for out in recap.left_out),
        *([_line("Exchange rates, rounding", amount(recap.rest))] if recap.rest else []),
        level("Closing MRR", recap.closing, closing),
    ]

    def listed(movements: Sequence[Listed]) -> list[dict[str, Any]]:
        return [
            {
                "customer": _one_line(one.customer) or "a customer without a name",
                "description": _one_line(one.description),
                "amount": amount(one.amount),
                "mrr": None if one.mrr is None else f"MRR {amount(one.mrr, signed=False)}",
            }
            for one in movements
        ]

    return {
        "net": amount(recap.net.amount),
        "movements": _counted(recap.net.count, "movement"),
        "chart_in_words": described(recap),
        "figures": figures,
        "largest": [("Largest gains", listed(recap.gains)), ("Largest losses", listed(recap.losses))],
    }


def _line(name: str, amount: str, count: str | None = None, *, level: bool = False) -> dict[str, Any]:
    beside = f"{name} ({count})" if count is not None else name
    return {"name": name, "count": count, "amount": amount, "level": level, "text": f"{beside:<{_WIDTH}} {amount:>16}"}


def _how(letter: Letter) -> str:
    if letter.links_until is None:
        return "The files are in the attached archive."
    return (
        f"Whoever has a link can fetch its file until {_moment(letter.links_until)}, without a log-in: "
        "pass this mail on with care. Then the files are deleted."
    )


def _one_line(said: str | None) -> str:
    """Without line ends and what else cannot be seen: a name must not make a line of its own."""
    return " ".join("".join(c if c.isprintable() else " " for c in said or "").split())


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _size(count: int) -> str:
    if count < 1_000_000:
        return f"{max(1, round(count / 1000)):,} kB"
    return f"{count / 1_000_000:,.1f} MB"


def _moment(at: datetime) -> str:
    at = utc(at)
    return f"{at.day} {at:%B %Y, %H:%M} UTC"
