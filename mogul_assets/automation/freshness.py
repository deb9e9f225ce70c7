"""Whether a destination was delivered to when its schedule says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, pairwise

import dagster as dg
from dagster._utils.schedules import reverse_cron_string_iterator

from mogul_assets.automation.schedules import last_tick
from mogul_assets.settings import Entry
from mogul_assets.timetable import Timetable

LATE = timedelta(hours=2)
"""How long after its tick a delivery may still be under way: a first read of a large account, and three more tries."""
_TICKS, _SINCE = 400, datetime(2026, 1, 1, tzinfo=UTC)
"""The longest pause of a cron line is looked for among so many ticks: a year of daily ones, with both changes of the
clock. Counted back from a fixed day, so that the definitions are the same whenever they are loaded."""


def overdue_since(entry: Entry, dataset: str, delivered_at: datetime | None, now: datetime) -> datetime | None:
    """The tick (UTC) that was to bring something newer of the dataset by now; ``None`` where nothing is late.

    Nothing is where there is no schedule, or it is paused, or nothing ever arrived: then it is not known since when.
    """
    timetable = _timetable(entry, dataset)
    if timetable is None or delivered_at is None:
        return None
    tick = last_tick(timetable, now - LATE)
    return tick if delivered_at < tick else None


def freshness_policy(entry: Entry, dataset: str) -> dg.FreshnessPolicy | None:
    """The same rule as Dagster's daemon keeps it, for the asset's health in the UI; ``None`` where it has no schedule.

    Dagster's policy of a cron line asks for a delivery *before* each tick, and would tell a missed one an interval
    too late; a time window that is as long as the schedule's longest pause, and ``LATE``, tells it when it is late.
    """
    timetable = _timetable(entry, dataset)
    return (
        None
        if timetable is None
        else dg.FreshnessPolicy.time_window(fail_window=_longest_pause(timetable.cron, timetable.time_zone) + LATE)
    )


@cache
def _longest_pause(cron: str, time_zone: str) -> timedelta:
    ticks = islice(reverse_cron_string_iterator(_SINCE.timestamp(), cron, time_zone), _TICKS)
    return max(after - before for after, before in pairwise(tick.astimezone(UTC) for tick in ticks))


def _timetable(entry: Entry, dataset: str) -> Timetable | None:
    return next((one for one in entry.timetables if dataset in one.datasets), None)
