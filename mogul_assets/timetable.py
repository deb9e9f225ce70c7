"""When a destination is due: schedules by name or as cron lines, read and judged. No Dagster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

NAMED_SCHEDULES = {
    "daily": "0 {hour} * * *",
    "weekly": "0 {hour} * * 0",
    "monthly": "0 {hour} 1 * *",
    "hourly": "0 * * * *",
}
"""ChartMogul's own times: at 9:00 UTC each day, each Sunday, each first of the month."""
HOUR = 9
REAL_TIME = "real_time"
"""The schedule of what tells movements as they happen: it has no times."""

_EVERY = re.compile(r"every ([1-9]\d?) (minutes|hours)")
_UNITS = {"minutes": (60, "*/{} * * * *"), "hours": (24, "0 */{} * * *")}


@dataclass(frozen=True, slots=True)
class Timetable:
    """The datasets that are due together: at each tick of ``cron``, in ``time_zone``."""

    cron: str
    time_zone: str
    datasets: tuple[str, ...]


def cron_of(schedule: str, hour: int | None = None, named: Mapping[str, str] = NAMED_SCHEDULES) -> str:
    """The cron line of a schedule: a name, ``every 15 minutes``, or a cron line as it is.

    ``hour`` is that of the named ones which have one.

    Raises:
        ValueError: what is wrong, and what would be right.
    """
    cron = named.get(schedule, schedule)
    if found := _EVERY.fullmatch(schedule):
        every, (whole, line) = int(found[1]), _UNITS[found[2]]
        if whole % every or every == whole:
            # Cron counts anew in every hour and day: what does not divide them would come at uneven times.
            parts = ", ".join(str(part) for part in range(2, whole) if whole % part == 0)
            raise ValueError(f"'{schedule}' does not come at even times; every … {found[2]} takes {parts}")
        cron = line.format(every)
    if hour is not None and "{hour}" not in cron:
        raise ValueError("hour goes with daily, weekly or monthly; leave it out")
    cron = cron.replace("{hour}", str(HOUR if hour is None else hour))
    if not _is_cron(cron):
        names = ", ".join(named)
        raise ValueError(
            f"'{schedule}' is no schedule; write {names}, every 15 minutes, or a cron line such as '15 6 * * *'"
        )
    return cron


def is_time_zone(text: str) -> bool:
    """Whether the time zone data of this machine knows the name."""
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


_CRON = tuple(
    re.compile(rf"(\*|{value}(-{value})?)(/[1-9]\d*)?(,(\*|{value}(-{value})?)(/[1-9]\d*)?)*", re.IGNORECASE)
    for value in (
        r"[0-5]?\d",
        r"([01]?\d|2[0-3])",
        r"(0?[1-9]|[12]\d|3[01]|L)",
        r"(0?[1-9]|1[0-2]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)",
        r"([0-7]|sun|mon|tue|wed|thu|fri|sat)",
    )
)
"""Minute, hour, day, month and weekday. What Dagster would not take must not reach it: no destination would load."""


def _is_cron(text: str) -> bool:
    parts = text.split()
    return len(parts) == len(_CRON) and all(kind.fullmatch(part) for kind, part in zip(_CRON, parts, strict=True))
