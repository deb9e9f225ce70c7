"""What keeps a dataset that lost many of its rows from taking the place of what was delivered. Pure.

A reading that went wrong often looks like a loss: a data source that was disconnected, a key that sees less. What is
delivered is gone at the destination; so a loss waits for somebody who says that it is meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

SHARE = 0.2
"""How much of its rows a dataset may lose from one delivery to the next, where ``mogul.yaml`` says nothing."""

FEW = 20
"""Below this many rows the share says nothing: of 4 plans one is 25 %."""

EMPTIED = 5
"""From this many rows on, none at all is held back. Below, somebody tidied up a few tags."""

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?) ?%")


def share_of(value: Any) -> float | None:
    """``20%`` as 0.2, and ``off`` as ``None``.

    Raises:
        ValueError: it is neither, or above 100 %.
    """
    if value in ("off", False):
        return None
    written = _PERCENT.fullmatch(str(value))
    if written is None or float(written[1]) > 100:
        raise ValueError(f"guard is '{value}'; write a share such as 20%, or off")
    return float(written[1]) / 100


def loss(before: Mapping[str, int], now: Mapping[str, int], share: float | None) -> str | None:
    """What is lost that must not be, in words; ``None`` where nothing is.

    Args:
        before: rows by month (``""`` where it has none) as delivered last, of the months that are delivered now.
        now: rows by month to be delivered.
        share: more than this share of all the rows may not be lost, and no month of ``FEW`` rows or more may be
            empty; ``None``: everything may.
    """
    had, has = sum(before.values()), sum(now.values())
    if share is None:
        return None
    if (has == 0 and had >= EMPTIED) or (had >= FEW and had - has > share * had):
        return f"{had:,} rows at the last delivery, {has:,} now"
    emptied = sorted(month for month, rows in before.items() if rows >= FEW and not now.get(month))
    return f"{before[emptied[0]]:,} rows of {emptied[0]} at the last delivery, none now" if emptied else None
