"""Sending what is due: how often, how many at once, in which order. What a try is, its destination knows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from mogul_assets.messages.message import Answer, Message

Send = Callable[[Message], Awaitable[Answer]]
"""Tries one message once. Whatever a receiver or a network does comes back as an ``Answer``."""

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Policy:
    """How a type's messages are tried, as data.

    ``retries`` are the pauses after each failed try, ± ``jitter`` of them; when they are used up the message has
    failed. ``concurrency`` are the tries in flight at once: what a killed process may send twice. With ``ordered`` a
    message waits for an earlier one of its order until that is delivered or has failed ``GIVES_WAY_AFTER`` times.
    ``silence``: so long without a success while tries fail, and the destination is disabled.
    """

    retries: tuple[timedelta, ...]
    jitter: float = 0.2
    concurrency: int = 8
    ordered: bool = False
    silence: timedelta | None = None


GIVES_WAY_AFTER = 3
