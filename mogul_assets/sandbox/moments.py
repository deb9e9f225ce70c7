"""Moments as the API writes them: whole seconds since 1970 (UTC) inside, four styles outside."""

from __future__ import annotations

from datetime import UTC, datetime

HOUR = 3_600
DAY = 86_400


def seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def moment(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()[:19]


def offset(at: int) -> str:
    """``2016-01-01T12:00:00+00:00``: customers' since, activities, subscriptions, exports."""
    return f"{_iso(at)}+00:00"


def milliseconds(at: int) -> str:
    """``2015-11-01T00:00:00.000Z``: invoices, line items, transactions, leads, data sources."""
    return f"{_iso(at)}.000Z"


def plain(at: int) -> str:
    """``2023-09-30T23:00:00Z``: subscription events."""
    return f"{_iso(at)}Z"


def nanoseconds(at: int, micros: int = 0) -> str:
    """``2023-10-30T03:16:56.035017000Z``: the sort keys inside cursors."""
    return f"{_iso(at)}.{micros:06}000Z"
