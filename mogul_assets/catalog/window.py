"""Months and windows: the UTC calendar that windowed datasets are kept by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_MONTH = re.compile(r"(?!0000)(\d{4})-(0[1-9]|1[0-2])(?:-01)?", re.ASCII)

CLOCKS_APART = timedelta(minutes=2)
"""How much the clocks of machines may differ. A moment further ahead was written by a clock that was wrong."""
BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
"""Start of the first partition, which takes everything older too."""


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month in UTC, written ``2026-11``: the partition key of windowed assets without its day."""

    year: int
    number: int

    @classmethod
    def of(cls, moment: datetime) -> Month:
        moment = moment.astimezone(UTC)
        return cls(moment.year, moment.month)

    @classmethod
    def parse(cls, text: str) -> Month:
        """From ``2026-11`` or Dagster's partition key ``2026-11-01``.

        Raises:
            ValueError: where it is neither.
        """
        written = _MONTH.fullmatch(text)
        if written is None:
            raise ValueError(f"'{text}' is not a month; write it like 2026-11")
        return cls(int(written[1]), int(written[2]))

    @property
    def start(self) -> datetime:
        return datetime(self.year, self.number, 1, tzinfo=UTC)

    @property
    def partition_key(self) -> str:
        """The name Dagster's ``MonthlyPartitionsDefinition`` gives it: ``2026-11-01``."""
        return f"{self}-01"

    def plus(self, months: int) -> Month:
        count = self.year * 12 + self.number - 1 + months
        return Month(count // 12, count % 12 + 1)

    def until(self, last: Month) -> Iterator[Month]:
        """This month to ``last``, both included; empty where ``last`` is earlier."""
        month = self
        while month <= last:
            yield month
            month = month.plus(1)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.number:02}"


LAST = Month(9999, 12)


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open span ``[start, end)`` of moments, both UTC; ``end`` ``None`` leaves it open."""

    start: datetime
    end: datetime | None

    @classmethod
    def months(cls, first: Month, last: Month | None, *, since: Month | None = None) -> Window:
        """From ``first`` to the end of ``last`` (``None``: open).

        Where ``first`` is ``since``, the account's first month, the window takes everything older too. The
        calendar's last month has no end to give.
        """
        start = BEGINNING if first == since else first.start
        return cls(start, None if last is None or last >= LAST else last.plus(1).start)

    def holds(self, moment: datetime) -> bool:
        return self.start <= moment and (self.end is None or moment < self.end)

    def covers(self, other: Window) -> bool:
        ends = self.end is None or (other.end is not None and other.end <= self.end)
        return self.start <= other.start and ends

    def overlaps(self, other: Window) -> bool:
        return (other.end is None or self.start < other.end) and (self.end is None or other.start < self.end)

    def __str__(self) -> str:
        start = "the beginning" if self.start == BEGINNING else f"{self.start:%Y-%m-%d}"
        return f"from {start} on" if self.end is None else f"{start} to {self.end:%Y-%m-%d}"
