"""How pages come from the client's event loop to the thread that asked for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from mogul_assets.account.client import Answer, Client, Tally
from mogul_assets.account.pages import Page, PageSink

PAGES_AHEAD = 32
"""Pages read before the sink has taken them: memory is bounded where the sink is the slower one."""

Progress = Callable[[int, int | None], None]
"""Told the rows landed so far, and how many there will be where that is known."""


@dataclass(frozen=True, slots=True)
class ReadSummary:
    """What one read came to.

    ``rows`` counts rows as they landed, copies at the seams of parallel reads included; ``expected`` is the
    account's own count of them, where it has one; ``shards`` is how many chains of pages were read in parallel;
    ``warnings`` are lines for a person, without customer data. ``whole`` is false where the reading ended before the
    list did, at rows that were known; ``new`` counts those that were not.
    """

    read: str
    pages: int
    rows: int
    requests: int
    retries: int
    shards: int = 1
    expected: int | None = None
    warnings: tuple[str, ...] = ()
    whole: bool = True
    new: int = 0


@dataclass
class Landing:
    """One read on its way: the loop's side lands pages, the caller's side puts them into its sink."""

    read: str
    tally: Tally = field(default_factory=Tally)
    pages: int = 0
    rows: int = 0
    shards: int = 1
    expected: int | None = None
    warnings: list[str] = field(default_factory=list)
    whole: bool = True
    new: int = 0
    _arrived: SimpleQueue[tuple[Page, int] | None] = field(default_factory=SimpleQueue)
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PAGES_AHEAD))

    async def land(self, answer: Answer[Any], rows: int, shard: Mapping[str, str]) -> None:
        """Hand on a page; waits while the sink is behind. On the loop."""
        await self._room.acquire()
        self._arrived.put((Page(self.read, answer.body, self.pages, answer.taken_at, shard), rows))
        self.pages += 1
        self.rows += rows

    def drain(self, client: Client, work: Coroutine[Any, Any, None], sink: PageSink, progress: Progress | None) -> None:
        """Run ``work``, which lands pages, and put them into the sink until it ends. On the caller's thread."""
        job: Future[None] = client.start(work)
        job.add_done_callback(lambda _: self._arrived.put(None))
        landed = 0
        try:
            while (arrival := self._arrived.get()) is not None:
                page, rows = arrival
                sink.put(page)
                client.soon(self._room.release)
                landed += rows
                if progress is not None:
                    progress(landed, self.expected)
            job.result()
        finally:
            job.cancel()

    def summary(self) -> ReadSummary:
        return ReadSummary(
            self.read,
            self.pages,
            self.rows,
            self.tally.requests,
            self.tally.retries,
            self.shards,
            self.expected,
            tuple(self.warnings),
            self.whole,
            self.new,
        )
