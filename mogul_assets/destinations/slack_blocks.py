"""What Slack shows: movements, digests and recaps in Block Kit.

Customers' texts are data. Where a whole text is theirs it is ``plain_text``; where it stands among our own it is
escaped, and ``verbatim`` keeps Slack from making links and mentions of what is left (docs.slack.dev, "Text object").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from unicodedata import category
from urllib.parse import quote

from mogul_assets.catalog.datasets import MOVEMENT_TYPES
from mogul_assets.messages.message import News, utc
from mogul_assets.messages.money import spoken
from mogul_assets.messages.recap import Listed, Recap, Sum

TEXT, HEADER, FIELD, FIELDS, BLOCKS = 3000, 150, 2000, 10, 50
"""Slack's limits: characters of a text, of a header and of a field; fields of a section; blocks of a message."""
_NAME, _WORDS, _URL = 100, 300, 300
"""Characters of a customer's name and of other texts that are shown; escaped they are up to five times as many."""

Block = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """A message: ``text`` is what notifications show and screen readers read."""

    text: str
    blocks: list[Block]


def plain(text: str, limit: int = _WORDS) -> str:
    """A customer's text on one line, without what is not to be seen, cut to so many characters."""
    words = " ".join(text.split())
    shown = "".join(letter for letter in words if category(letter) != "Cc" and letter not in _TURNING)
    return shown if len(shown) <= limit else shown[: limit - 1].rstrip() + "…"


_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that make what follows them read backwards."""


def escaped(text: str, limit: int = _WORDS) -> str:
    """A customer's text among our own, where ``&``, ``<`` and ``>`` would be Slack's."""
    return _escaped(plain(text, limit))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _amount(cents: int, currency: str | None, *, signed: bool = False) -> str:
    return _escaped(spoken(cents, currency, signed=signed))


def movement(news: News, attributes: Sequence[str] = ()) -> Said:
    """One movement: who, what, how much, the MRR after it, the plan, and the custom attributes of these names."""
    amount, after = _amount(news.mrr_movement, news.currency_code, signed=True), spoken(news.mrr, news.currency_code)
    kind, name = MOVEMENT_TYPES.get(news.movement_type, news.movement_type), _who(news)
    fields = [("New MRR", after), ("Plan", news.plan_name or news.plan_external_id)]
    fields += [(attribute, _value(news.custom_attributes.get(attribute))) for attribute in attributes]
    what = f"{_sign(news.mrr_movement)}  *{amount} MRR*  ·  {escaped(kind) or 'Movement'}"
    blocks = [section(f"{what}  ·  {_link(name, news.customer_url)}")]
    if news.description and plain(news.description):
        blocks.append({"type": "section", "text": _plain_text(plain(news.description))})
    blocks += _fields((label, value) for label, value in fields if value is not None)
    blocks.append(_context([_moment(news.date)]))
    return Said(
        f"{escaped(name, _NAME)}: {escaped(kind.lower())}, {amount} MRR, now {_escaped(after)}", blocks[:BLOCKS]
    )


def digest(news: Sequence[News], largest: int = 5) -> Said:
    """Many movements at once: their sums, and the largest."""
    currency = news[0].currency_code
    types = {kind: _total(one for one in news if one.movement_type == kind) for kind in _kinds(news)}
    lines = [_Line(one.mrr_movement, _who(one), one.description, one.customer_url) for one in news]
    lines.sort(key=lambda line: -abs(line.amount))
    gains, losses = ([line for line in lines if line.amount * sign > 0] for sign in (1, -1))
    net, dates = _total(news), [one.date for one in news]
    blocks = [
        _header(f"{_movements(net.count)} at once"),
        section(f"{_sign(net.amount)}  *{_amount(net.amount, currency, signed=True)} MRR*  net change"),
        *_fields(_sums({kind: sum_ for kind, sum_ in types.items() if sum_.count}, currency)),
        *_largest(gains[:largest], "Largest gains", currency),
        *_largest(losses[:largest], "Largest losses", currency),
        _context([f"{_moment(min(dates))} to {_moment(max(dates))}", "Each of them:  `mogul messages list`"]),
    ]
    text = f"{_movements(net.count)} at once: {_amount(net.amount, currency, signed=True)} MRR"
    return Said(text, blocks[:BLOCKS])


def recap(figures: Recap, zone: str = "UTC") -> Said:
    """A period: net change, opening and closing MRR, the types, the largest, and what is not among them."""
    net, currency = figures.net, figures.currency
    amount = _amount(net.amount, currency, signed=True)
    opening, closing = _amount(figures.opening, currency), _amount(figures.closing, currency)
    title = f"{figures.period.kind.title()} MRR recap, {figures.period.label}"
    levels = f"*{opening}*  →  *{closing}*{_growth(figures)}"
    blocks = [
        _header(title),
        section(f"{_sign(net.amount)}  *{amount} MRR*  net change from {_movements(net.count)}\n{levels}"),
        *_fields([*_sums(figures.types, currency), ("Paying customers", "{:,} → {:,}".format(*figures.customers))]),
        *_largest(map(_line, figures.gains), "Largest gains", currency),
        *_largest(map(_line, figures.losses), "Largest losses", currency),
        {"type": "divider"},
        _context(_notes(figures, zone)),
    ]
    return Said(f"{title}: {amount} net change, {opening} to {closing}", blocks[:BLOCKS])


@dataclass(frozen=True, slots=True)
class _Line:
    amount: int
    name: str | None
    words: str | None
    url: str | None = None


def _who(news: News) -> str:
    return news.customer_company or news.customer_name or news.customer_external_id or "A customer"


def _kinds(news: Sequence[News]) -> list[str]:
    return [*MOVEMENT_TYPES, *sorted({one.movement_type for one in news} - set(MOVEMENT_TYPES))]


def _total(news: Iterable[News]) -> Sum:
    amounts = [one.mrr_movement for one in news]
    return Sum(len(amounts), sum(amounts))


def _movements(count: int) -> str:
    return f"{count:,} movement{'' if count == 1 else 's'}"


def _sign(amount: int) -> str:
    return "▲" if amount > 0 else "▼" if amount < 0 else "●"


def _growth(figures: Recap) -> str:
    if figures.opening <= 0:
        return ""
    return f"  ({(figures.closing - figures.opening) / figures.opening:+.1%})".replace("-", "−")


def _sums(types: Mapping[str, Sum], currency: str | None) -> Iterator[tuple[str, str]]:
    for kind, sum_ in types.items():
        yield MOVEMENT_TYPES.get(kind, kind), f"{spoken(sum_.amount, currency, signed=True)} from {sum_.count:,}"


def _notes(figures: Recap, zone: str) -> Iterator[str]:
    currency = figures.currency
    for left_out in figures.left_out:
        counted = f"{_movements(left_out.sum.count)} {left_out.reason}"
        yield f"Left out: {counted}, together {_amount(left_out.sum.amount, currency, signed=True)}"
    if figures.rest:
        yield f"Exchange rates and rounding: {_amount(figures.rest, currency, signed=True)}"
    if late := figures.late:
        changed = f"{late.sum.count:+,} movement{'' if abs(late.sum.count) == 1 else 's'}".replace("-", "−")
        amount = _amount(late.sum.amount, currency, signed=True)
        yield f"Since the recap of {late.label} its figures have changed: {changed}, {amount}"
    yield f"Days are those of {zone}"


def _line(one: Listed) -> _Line:
    return _Line(one.amount, one.customer, one.description)


def _largest(lines: Iterable[_Line], title: str, currency: str | None) -> Iterator[Block]:
    """In as many sections as their texts need; none without lines."""
    text = heading = f"*{title}*"
    for line in lines:
        amount, name = _amount(line.amount, currency, signed=True), _link(line.name or "A customer", line.url)
        words = f"  ·  {escaped(line.words, _NAME)}" if line.words and plain(line.words) else ""
        shown = f"{amount}  {name}{words}"
        if len(text) + len(shown) >= TEXT:
            yield section(text)
            text = shown
        else:
            text += f"\n{shown}"
    if text != heading:
        yield section(text)


def _link(name: str, url: str | None) -> str:
    shown = f"*{escaped(name, _NAME) or 'A customer'}*"
    if url is None or not url.startswith(("https://", "http://")):
        return shown
    address = quote(url, safe="%/:?#[]@!$&'()*+,;=~").replace("&", "&amp;")
    return f"<{address}|{shown}>" if len(address) <= _URL else shown


def _value(value: object) -> str | None:
    return None if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _moment(moment: datetime) -> str:
    """In the reader's own time zone, where the client can."""
    moment = utc(moment)
    return f"<!date^{int(moment.timestamp())}^{{date_short_pretty}} at {{time}}|{moment.day} {moment:%B %Y, %H:%M} UTC>"


def section(text: str) -> Block:
    """Text of our own, in which customers' texts are ``escaped``."""
    return {"type": "section", "text": _mrkdwn(text)}


def _mrkdwn(text: str) -> Block:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _plain_text(text: str) -> Block:
    return {"type": "plain_text", "text": _escaped(text), "emoji": False}


def _header(text: str) -> Block:
    return {"type": "header", "text": _plain_text(plain(text, HEADER))}


def _context(texts: Iterable[str]) -> Block:
    return {"type": "context", "elements": [_mrkdwn("\n".join(texts))]}


def _fields(fields: Iterable[tuple[str, str]]) -> Iterator[Block]:
    shown = [_mrkdwn(f"*{escaped(name, _NAME)}*\n{escaped(value) or '–'}") for name, value in fields]
    for first in range(0, len(shown), FIELDS):
        yield {"type": "section", "fields": shown[first : first + FIELDS]}
