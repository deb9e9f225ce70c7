"""Whether a destination was delivered to when its schedule says."""

from __future__ import annotations

from datetime import datetime, timedelta

from mogul_assets.automation.schedules import last_tick
from mogul_assets.settings import Entry

LATE = timedelta(hours=2)
"""How long after its tick a delivery may still be under way: a first read of a large account, and three more tries."""


def overdue_since(entry: Entry, delivered_at: datetime | None, now: datetime) -> datetime | None:
    """The tick (UTC) that was to bring something newer by now; ``None`` where nothing is late.

    Nothing is where there is no schedule, or it is paused, or nothing ever arrived: then it is not known since when.
    """
    tick = None if entry.paused else last_tick(entry, now - LATE)
    return tick if tick is not None and delivered_at is not None and delivered_at < tick else None
