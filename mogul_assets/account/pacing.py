"""When a request may start: so many a second, so many at once, the most urgent first."""

from __future__ import annotations

import asyncio
import itertools
from heapq import heappop, heappush


class Gate:
    """Turns at one account's API, shared by everything that reads it. Lives on one event loop.

    Turns are spaced evenly instead of being handed out in bursts: a burst that follows a quiet moment is what a
    server's window of one second counts as too many. A turn that comes late (the loop was busy) leaves the
    schedule as it was, so a timer's lateness costs no throughput.

    Of those waiting, the one with the longest way to go is first. A list that can only be read page after page
    takes its pages times the latency however much room there is, so it must never wait for one that could be
    cut into pieces.
    """

    def __init__(self, per_second: float, at_once: int) -> None:
        self._interval = 1 / per_second
        self._at_once = at_once
        self._inside = 0
        self._next = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()

    @property
    def idle(self) -> bool:
        """True where a turn is free now and nobody waits for it."""
        now = asyncio.get_running_loop().time()
        return not self._waiting and self._inside < self._at_once and self._next <= now

    async def enter(self, urgency: float) -> None:
        """Wait for a turn; whoever has had one calls ``leave``."""
        turn = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (-urgency, next(self._arrivals), turn))
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        self._inside -= 1
        self._admit()

    def pause(self, seconds: float) -> None:
        """Let nobody start for a while: the account's limit is reached, for all who read it."""
        self._next = max(self._next, asyncio.get_running_loop().time() + seconds)

    def _admit(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and self._inside < self._at_once:
            now = loop.time()
            if now < self._next:
                if self._timer is None:
                    self._timer = loop.call_at(self._next, self._ring)
                return
            _, _, turn = heappop(self._waiting)
            if turn.done():
                continue
            kept_up = now - self._next < self._interval
            self._next = (self._next if kept_up else now) + self._interval
            self._inside += 1
            turn.set_result(None)

    def _ring(self) -> None:
        self._timer = None
        self._admit()
