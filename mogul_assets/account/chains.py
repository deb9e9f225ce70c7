"""Lists that are paged by cursor: read in one chain of pages, or in several that divide the list by a filter.

The API ignores a filter that it does not know, and may one day know a value that is not known here. So a list is
only divided where it is proven that nothing falls between the parts or into two of them: their counts add up to
the whole's before anything is read, every row is of its part, and no fewer rows arrive than were counted.
Anything else is read in one chain, and said.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from mogul_assets.account import answers
from mogul_assets.account.client import Client, Refusal
from mogul_assets.account.landing import Landing
from mogul_assets.account.lists import PAGE_ROWS, Envelope, Listing
from mogul_assets.errors import AccountInconsistent

T = TypeVar("T")

RESTARTS = 3
"""How often a chain that loses its place is begun again."""


class Astray(Exception):
    """A chain of pages lost its place, because the list changed under it or because the API skipped."""


class Unfiltered(Exception):
    """A row came that its filter should have kept out."""


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results, in order; the first failure ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


class ListReading:
    """One reading of one list. On the client's loop."""

    def __init__(self, client: Client, listing: Listing, landing: Landing) -> None:
        self._client = client
        self._listing = listing
        self._landing = landing
        self._seen: set[int] = set()

    async def read(self, shards: Mapping[str, str], *, serial: bool = False) -> None:
        """Land every row of the list.

        Args:
            shards: values of the listing's filter → what rows carry for it; may be empty.
            serial: one chain, whatever the shards.
        """
        before = await self.count() if self._listing.counted else None
        self._landing.expected = before
        divided = bool(shards) and not serial and await self._read_divided(shards, before)
        if not divided:
            await self._chain()
        if before is None or len(self._seen) == before:
            return
        after = await self.count() or 0
        if divided and len(self._seen) < min(before, after):
            self._warn(f"{len(self._seen)} of {before} rows came in parallel, so the list was read again in one chain")
            await self._chain()
        if len(self._seen) < min(before, after):
            self._warn(f"only {len(self._seen)} rows came of the {min(before, after)} that the account counts")
        elif before != after:
            self._warn(f"the list changed while it was read: {before} rows before, {after} after")

    async def count(self, shard: Mapping[str, str] | None = None) -> int | None:
        """Rows in the list, or in a part of it: the number of pages of one row. ``None`` where it is not said."""
        params = {**self._listing.params, **(shard or {}), "per_page": "1"}
        page = (
            await self._client.fetch(self._listing.path, params, self._listing.decode, tally=self._landing.tally)
        ).value
        if not page.rows:
            return 0
        return page.total_pages if page.meta is None else page.meta.total_pages

    async def _read_divided(self, shards: Mapping[str, str], whole: int | None) -> bool:
        """Read the list in parts. False where that may have left something out."""
        name = self._listing.shard_by
        if name is None or (whole is not None and whole <= PAGE_ROWS and self._listing.shards):
            return False
        if whole is None:
            self._warn("the account no longer says how long the list is, so it was read in one chain")
            return False
        parts = await together([self.count({name: value}) for value in shards])
        counts = {value: part for value, part in zip(shards, parts, strict=True) if part}
        total = sum(counts.values())
        if total > whole:
            self._warn(f"its parts by {name} have {total} rows where the list has {whole}, so it was read in one chain")
            return False
        if total < whole:
            self._warn(f"its parts by {name} have {total} of its {whole} rows, so it was read in one chain as well")
            if self._listing.shards:
                return False
            # First the whole, then the parts: of two copies the later wins, and it knows which part it is of.
            await self._chain()
        elif not counts:
            return False
        try:
            await together([self._chain({name: value}, shards[value], count) for value, count in counts.items()])
        except Unfiltered:
            self._warn(f"the account did not keep to the filter {name}, so the list was read again in one chain")
            return False
        self._landing.shards = len(counts)
        return True

    async def _chain(self, shard: Mapping[str, str] | None = None, value: str = "", rows: int | None = None) -> None:
        """Every page of the list, or of a part whose rows all carry ``value``, one after the other."""
        for _ in range(RESTARTS + 1):
            try:
                return await self._pages(shard or {}, value, rows)
            except Astray as error:
                lost = error
        raise AccountInconsistent(
            f"{self._listing.path} lost its place {RESTARTS + 1} times ({lost})", remedy="run again later"
        )

    async def _pages(self, shard: Mapping[str, str], value: str, rows: int | None) -> None:
        asked = {**self._listing.params, **shard, "per_page": str(PAGE_ROWS)}
        cursor: str | None = None
        left = math.inf if rows is None else rows
        while True:
            try:
                answer = await self._client.fetch(
                    self._listing.path,
                    asked if cursor is None else {**asked, "cursor": cursor},
                    self._listing.decode,
                    urgency=left,
                    tally=self._landing.tally,
                )
            except Refusal as error:
                if cursor is None or not answers.names_no_place(error.status):
                    raise
                raise Astray(error.message) from None
            page = answer.value
            self._judge(page, cursor, value if shard else "")
            self._seen.update(hash(str(row.key)) for row in page.rows)
            await self._landing.land(answer, len(page.rows), shard)
            if not page.has_more:
                return
            cursor = page.cursor
            left = max(0, left - len(page.rows))

    def _judge(self, page: Envelope, cursor: str | None, value: str) -> None:
        if page.has_more and (page.cursor is None or page.cursor == cursor or not page.rows):
            raise Astray("a page that says there is more leads nowhere")
        if value and self._listing.value is not None and any(row.value != value for row in page.rows):
            raise Unfiltered

    def _warn(self, what: str) -> None:
        self._landing.warnings.append(f"{self._listing.name}: {what}")
