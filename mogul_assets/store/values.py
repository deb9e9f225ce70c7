"""Single values as ChartMogul writes them: numbers in strings, ``""`` for nothing, four styles of date.

What each function cannot read it refuses with a reason; what it reads loses nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Raw

from mogul_assets.catalog.columns import Kind

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
LATEST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
"""Bounds of a moment, in microseconds since 1970: what Python and every warehouse can hold."""

_INTEGER = re.compile(r"[+-]?\d+(\.0+)?", re.ASCII)
_MOMENT = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)"
    r"(?:[T ](?P<hour>\d\d)(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d+))?)?)?)?"
    r"(?: ?(?P<zone>Z|[+-]\d\d(?::?\d\d)?))?"
)
_DIGITS = 4_000
"""More than any number has; from 4,300 on Python itself refuses to read them."""

_STRING = msgspec.json.Decoder(str)


class Refused(ValueError):
    """A value that cannot be read; the message is the reason, without the value."""


def integer(value: Any) -> int | None:
    """A whole number of at most 64 bits; ``""`` is nothing, and digits in a string are the number."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        raise Refused("true or false where a number belongs")
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value.strip()):
            raise Refused("text where a number belongs")
        if len(value) > _DIGITS:
            raise Refused("a number beyond 64 bits")
        value = int(value.strip().split(".")[0])
    if isinstance(value, float):
        if not value.is_integer():
            raise Refused("a fraction where a whole number belongs")
        value = int(value)
    if not isinstance(value, int):
        raise Refused("an object or a list where a number belongs")
    if not -(2**63) <= value < 2**63:
        raise Refused("a number beyond 64 bits")
    return value


def number(value: Any) -> float | None:
    """A number; ``""`` is nothing, and digits in a string are the number."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Refused("something else where a number belongs")
    try:
        read = float(value)
    except (ValueError, OverflowError):
        raise Refused("text where a number belongs") from None
    if not math.isfinite(read):
        raise Refused("not a finite number")
    return read


def flag(value: Any) -> bool | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    raise Refused("something else where true or false belongs")


def moment(value: Any) -> datetime | None:
    """A point in time, UTC, to the microsecond: offset, ``Z``, ``+0000`` after a space, or a bare date.

    Without an offset it is UTC; beyond six, digits of a second are cut.
    """
    if value is None or value == "":
        return None
    match = _MOMENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise Refused("not a date and time")
    zone = (match["zone"] or "Z").replace("Z", "+00:00")
    fraction = (match["fraction"] or "")[:6].ljust(6, "0")
    time = ":".join(match[part] or "00" for part in ("hour", "minute", "second"))
    try:
        return datetime.fromisoformat(f"{match['day']}T{time}.{fraction}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused("a date and time outside the calendar") from None


def day(value: Any) -> date | None:
    if value is None or value == "":
        return None
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise Refused("not a date") from None


def text(raw: Raw | None) -> str | None:
    """A text, or the exact JSON of anything else; ``""`` is nothing."""
    return (None if raw is None else exact(raw)) or None


def exact(raw: Raw) -> str | None:
    """The text of a JSON string, the exact JSON of anything else, nothing for null."""
    body = bytes(raw)
    if body in (b"", b"null"):
        return None
    try:
        return _STRING.decode(body) if body.startswith(b'"') else body.decode()
    except (msgspec.DecodeError, UnicodeError):
        raise Refused("text that is not valid Unicode") from None


def json_text(raw: Raw | None) -> str | None:
    body = b"" if raw is None else bytes(raw)
    try:
        return None if body in (b"", b"null") else body.decode()
    except UnicodeError:
        raise Refused("text that is not valid Unicode") from None


def assemble(pieces: Iterable[tuple[str, bytes]]) -> str | None:
    """A JSON object of the pieces that are there, each with its own exact text; none: nothing."""
    try:
        present = [f'"{key}":{piece.decode()}' for key, piece in pieces if piece]
    except UnicodeError:
        raise Refused("text that is not valid Unicode") from None
    return "{" + ",".join(present) + "}" if present else None


def is_moment(value: str) -> bool:
    """Whether a custom attribute's text is a date and time."""
    try:
        return moment(value) is not None
    except Refused:
        return False


def _decoded(raw: Raw | None) -> Any:
    if raw is None or not bytes(raw):
        return None
    try:
        return msgspec.json.decode(raw)
    except msgspec.ValidationError:
        raise Refused("a number beyond 64 bits") from None
    except (msgspec.DecodeError, UnicodeError):
        raise Refused("text that is not valid Unicode") from None


READERS: dict[Kind, Callable[[Raw | None], Any]] = {
    Kind.TEXT: text,
    Kind.JSON: json_text,
    Kind.INT: lambda raw: integer(_decoded(raw)),
    Kind.FLOAT: lambda raw: number(_decoded(raw)),
    Kind.FLAG: lambda raw: flag(_decoded(raw)),
    Kind.MOMENT: lambda raw: moment(_decoded(raw)),
    Kind.DAY: lambda raw: day(_decoded(raw)),
}
"""How a column's value is read from the JSON that stands in its place."""
