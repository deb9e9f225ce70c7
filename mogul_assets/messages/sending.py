"""Sending what is due: how often, how many at once, in which order. What a try is, its destination knows."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from mogul_assets.errors import ConfigurationError
from mogul_assets.messages.message import Answer, Message, Outcome, State, Tried

if TYPE_CHECKING:
    from mogul_assets.messages.ledger import Ledger

Send = Callable[[Message], Awaitable[Answer]]
"""Tries one message once. Whatever a receiver or a network does comes back as an ``Answer``."""

Clock = Callable[[], datetime]

GIVES_WAY_AFTER = 3
"""Failed tries after which a message no longer holds up the later ones of its order."""
PATIENCE = timedelta(seconds=45)
"""How long one delivery goes on beginning tries; what is left, the next one sends."""
LINGER = timedelta(seconds=6)
"""How long after its beginning a delivery waits for what is due soon: long enough for a first retry of what was
refused at once, and none for a receiver that answers nothing."""
LEFT_ALONE = timedelta(minutes=1)
"""How long at most a receiver is left alone that took nothing, and did not ask for time."""
UNUSABLE = timedelta(minutes=5)
"""How long what waits for a destination that is configured wrong waits: its variable may not be set."""
LONGEST_PAUSE = timedelta(days=1)
"""A receiver that asks for more is asked again after this: a slip of its own would silence it for years."""
LOTS = 4
"""Messages claimed at a time, for each that may be in flight: they are tried within a claim's time, however slowly."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How a type's messages are tried, as data.

    ``retries`` are the pauses after each failed try, ± ``jitter`` of them; when they are used up the message has
    failed. ``concurrency`` are the tries in flight at once: what a killed process may send twice. With ``ordered`` a
    message waits for an earlier one of its order until that is delivered or has failed ``GIVES_WAY_AFTER`` times.
    ``silence``: so long without a success while tries fail, and the destination is disabled. What was in flight when
    its process died is sent again, or listed as ``unknown`` where ``resends`` is off.
    """

    retries: tuple[timedelta, ...]
    jitter: float = 0.2
    concurrency: int = 8
    ordered: bool = False
    silence: timedelta | None = None
    resends: bool = True


@dataclass
class Drained:
    """What one delivery's tries came to, in messages. ``problem`` is what the last failed try was answered, without
    what the receiver wrote itself.
    """

    delivered: int = 0
    again: int = 0
    failed: int = 0
    unknown: int = 0
    bytes: int = 0
    problem: str | None = None
    disabled: str | None = None


def now() -> datetime:
    return datetime.now(UTC)


def pause_of(retry_after: str | None) -> timedelta | None:
    """``Retry-After``: seconds or a date (RFC 9110, 10.2.3), ``LONGEST_PAUSE`` at most.

    ``None`` where nothing was asked for, or what is neither.
    """
    if retry_after is None:
        return None
    try:
        seconds = retry_after.isdecimal()
        asked = timedelta(seconds=int(retry_after)) if seconds else parsedate_to_datetime(retry_after) - now()
    except OverflowError:
        return LONGEST_PAUSE
    except (ValueError, TypeError):
        return None
    return min(max(asked, timedelta(0)), LONGEST_PAUSE)


def drain(
    ledger: Ledger,
    destination: str,
    sending: AbstractAsyncContextManager[Send],
    policy: Policy,
    *,
    clock: Clock = now,
    patience: timedelta = PATIENCE,
    linger: timedelta = LINGER,
) -> Drained:
    """Try what is due until nothing is, or patience ends; every try is written down before the next takes its place.

    A receiver that takes nothing at all is left alone after as many tries as are in flight at once, and one that asks
    for time gets it: what waits for it waits until then.

    Raises:
        LedgerUnavailable: what was tried meanwhile may be sent again.
        LedgerUnusable: the same.
    """
    return asyncio.run(_Drain(ledger, destination, policy, clock=clock, patience=patience, linger=linger).run(sending))


class _Drain:
    def __init__(
        self, ledger: Ledger, destination: str, policy: Policy, *, clock: Clock, patience: timedelta, linger: timedelta
    ) -> None:
        self._ledger = ledger
        self._destination = destination
        self._policy = policy
        self._clock = clock
        self._ends = time.monotonic() + patience.total_seconds()
        self._lingers_until = time.monotonic() + linger.total_seconds()
        self._claimed: deque[Message] = deque()
        self._flying: set[asyncio.Task[Tried]] = set()
        self._failures = 0
        self._quiet_until: datetime | None = None
        self._over = False
        self._done = Drained()

    async def run(self, sending: AbstractAsyncContextManager[Send]) -> Drained:
        ambiguous = State.WAITING if self._policy.resends else State.UNKNOWN
        self._ledger.release(self._destination, self._clock(), ambiguous=ambiguous)
        if not self._claim():  # nothing to connect for
            wait = self._soon()
            if wait is None:
                return self._done
            await asyncio.sleep(wait)
        try:
            async with sending as send:
                await self._rounds(send)
        except ConfigurationError:
            # Left due, it would be a run that fails every few seconds.
            self._leave_alone(self._clock() + UNUSABLE)
            raise
        finally:
            for task in self._flying:
                task.cancel()
            self._ledger.unclaim(self._claimed)
        return self._done

    async def _rounds(self, send: Send) -> None:
        while True:
            if time.monotonic() >= self._ends:
                self._over = True
            if not self._over and not self._quiet():
                while len(self._flying) < self._policy.concurrency and (self._claimed or self._claim()):
                    self._flying.add(asyncio.create_task(self._tried(send, self._claimed.popleft())))
            if self._flying:
                done, self._flying = await asyncio.wait(self._flying, return_when=asyncio.FIRST_COMPLETED)
                self._settle([task.result() for task in done])
            else:
                wait = None if self._over else self._soon()
                if wait is None:
                    return
                await asyncio.sleep(wait)

    def _claim(self) -> bool:
        lot = LOTS * self._policy.concurrency if self._policy.concurrency > 1 else 1
        self._claimed.extend(self._ledger.claim(self._destination, lot, self._policy, self._clock()))
        return bool(self._claimed)

    async def _tried(self, send: Send, message: Message) -> Tried:
        at, began = self._clock(), time.monotonic()
        try:
            answer = await send(message)
        except Exception as error:  # noqa: BLE001 - one message that its type stumbles over holds up no other
            again = Outcome.AGAIN if self._policy.resends else Outcome.UNKNOWN
            answer = Answer(again, "error", f"unexpected {type(error).__name__}")
        return Tried(message, answer, at, time.monotonic() - began)

    def _settle(self, tried: Iterable[Tried]) -> None:
        ended, done, moment = list(tried), self._done, self._clock()
        due, disabled = self._ledger.settle(ended, self._policy, moment)
        for one in ended:
            outcome = one.answer.outcome
            if outcome is Outcome.TAKEN:
                done.delivered += 1
                done.bytes += len(one.message.payload)
                self._failures = 0
                continue
            done.problem = one.answer.said
            if outcome is Outcome.UNKNOWN:
                done.unknown += 1
            elif outcome is Outcome.REFUSED:
                done.failed += 1
            else:
                done.again += 1
                self._failures += not one.answer.retry_after  # who asks for time is there, and gets it
            if one.answer.retry_after:
                self._quiet_until = max(self._quiet_until or moment, moment + one.answer.retry_after)
        if disabled is not None:
            done.disabled, self._over = disabled, True
        elif self._failures >= self._policy.concurrency and due is not None:
            # What fails for a day already may be tried tomorrow; the others do not wait for that.
            self._leave_alone(max(min(due, moment + LEFT_ALONE), self._quiet_until or moment))
        elif self._quiet_until is not None and self._seconds(self._quiet_until) > self._left():
            self._leave_alone(self._quiet_until)

    def _leave_alone(self, until: datetime) -> None:
        self._ledger.unclaim(self._claimed)
        self._claimed.clear()
        self._ledger.postpone(self._destination, until)
        self._over = True

    def _quiet(self) -> bool:
        if self._quiet_until is not None and self._quiet_until <= self._clock():
            self._quiet_until = None
        return self._quiet_until is not None

    def _soon(self) -> float | None:
        """Seconds until there is something to do; ``None`` where that is not worth waiting for."""
        due = self._quiet_until or self._ledger.due_after(self._destination, self._clock())
        if due is None:
            return None
        seconds = self._seconds(due)
        worth = self._quiet_until is not None or time.monotonic() + seconds <= self._lingers_until
        return max(seconds, 0.01) if worth and seconds <= self._left() else None

    def _seconds(self, moment: datetime) -> float:
        return (moment - self._clock()).total_seconds()

    def _left(self) -> float:
        return self._ends - time.monotonic()
