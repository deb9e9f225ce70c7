"""The days, weeks and months that a recap or a mail tells, as the people who read it count them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mogul_assets.errors import ConfigurationError

MONDAY, SUNDAY = 0, 6
"""What a week begins with; numbered as ``date.weekday()`` does."""


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open span ``[start, end)`` of moments, UTC, from one midnight of its time zone to another.

    ``kind`` is ``daily``, ``weekly`` or ``monthly``. ``label`` is for people (``16–22 November 2026``), ``subject``
    for the ledger (``weekly 2026-11-16``).
    """

    kind: str
    start: datetime
    end: datetime
    label: str
    subject: str


def last_period(kind: str, now: datetime, zone: str = "UTC", *, week_begins: int = MONDAY) -> Period:
    """The last day, week or month that was over at ``now``.

    Args:
        kind: ``daily``, ``weekly`` or ``monthly``.
        now: any moment with a time zone.
        zone: whose midnights count, such as ``Europe/Paris``. A day there may have 23 or 25 hours, or none.
        week_begins: ``MONDAY`` or ``SUNDAY``.

    Raises:
        ConfigurationError: where there is no such period or no such time zone.
    """
    if kind not in _KINDS:
        raise ConfigurationError(f"there is no period '{kind}'", remedy=f"choose one of: {', '.join(_KINDS)}")
    here, its = zone_of(zone), _KINDS[kind]
    first, after = its.last(now.astimezone(here).date(), week_begins)
    return Period(
        kind, _midnight(first, here), _midnight(after, here), its.label(first, after), f"{kind} {its.name(first)}"
    )


def zone_of(name: str) -> ZoneInfo:
    """The time zone of that name.

    Raises:
        ConfigurationError: where there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigurationError(
            f"there is no time zone '{name}'", remedy="write it like Europe/Paris or UTC"
        ) from None


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """When the day begins there; where clocks skip its midnight, the moment at which they do (``fold`` 0)."""
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def _last_day(today: date, _: int) -> tuple[date, date]:
    return today - timedelta(days=1), today


def _last_week(today: date, begins: int) -> tuple[date, date]:
    after = today - timedelta(days=(today.weekday() - begins) % 7)
    return after - timedelta(weeks=1), after


def _last_month(today: date, _: int) -> tuple[date, date]:
    after = today.replace(day=1)
    return (after - timedelta(days=1)).replace(day=1), after


def _span(first: date, after: date) -> str:
    last = after - timedelta(days=1)
    if first.year != last.year:
        return f"{_day(first)} – {_day(last)}"
    if first.month != last.month:
        return f"{first.day} {first:%B} – {_day(last)}"
    return f"{first.day}–{_day(last)}"


def _day(day: date) -> str:
    return f"{day.day} {day:%B} {day.year}"


@dataclass(frozen=True, slots=True)
class _Kind:
    last: Callable[[date, int], tuple[date, date]]
    """The last one before a day, as its first day and the one after it; weeks begin on a given day."""
    label: Callable[[date, date], str]
    name: Callable[[date], str]


_KINDS = {
    "daily": _Kind(_last_day, lambda first, _: f"{first:%A}, {_day(first)}", date.isoformat),
    "weekly": _Kind(_last_week, _span, date.isoformat),
    "monthly": _Kind(_last_month, lambda first, _: f"{first:%B} {first.year}", lambda first: f"{first:%Y-%m}"),
}
