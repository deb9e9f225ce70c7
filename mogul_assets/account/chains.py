"""Lists that are paged by cursor: read in one chain of pages, or in several that divide the list by a filter.

The API ignores a filter that it does not know, and may one day know a value that is not known here. So a list is
only divided where it is proven that nothing falls between the parts or into two of them: their counts add up to
the whole's before anything is read, every row is of its part, and no fewer rows arrive than were counted.
Anything else is read in one chain, and said.

A list whose newest rows come first need not be read to its end to have what is new: everything behind a known row was
created before it, and was there when that one was read. Whether that sufficed shows in the list's count.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from mogul_assets.account import answers
from mogul_assets.account.client import Client, Refusal
from mogul_assets.account.landing import Landing
from mogul_assets.account.lists import PAGE_ROWS, Envelope, Listing, digest
from mogul_assets.errors import AccountInconsistent

T = TypeVar("T")

GONE_SHARE = 0.01
"""More of the known rows than this are gone from a list, by its count: it is read whole before its time."""
RESTARTS = 3
"""How often a chain that loses its place is begun again."""


class Astray(Exception):
    """A chain of pages lost its place, because the list changed under it or because the API skipped."""


class Unfiltered(Exception):
    """A row came that its filter should have kept out."""


class NeedsWhole(Exception):
    """What is new cannot be told from what is known: only a reading of the whole list will do. Says why."""


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results, in order; the first failure ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


class ListReading:
    """One reading of one list. On the client's loop. ``known``: digests of the rows that need not come."""

    def __init__(self, client: Client, listing: Listing, landing: Landing, known: Collection[int] = ()) -> None:
        self._client = client
        self._listing = listing
        self._landing = landing
        self._known = known
        self._seen: set[int] = set()
        self._parts: dict[int, str] = {}

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

    async def read_new(self, shards: Mapping[str, str]) -> None:
        """Land the rows that are not known, and those beside them.

        Each chain ends after the first page that has none but known rows, or with the list. A page that has some is
        not enough: of rows created together one may appear later than the next.

        Args:
            shards: as for ``read``; each is a chain of its own, however few rows it has.

        Raises:
            NeedsWhole: the list has more rows than are known or came, or many fewer, or its filter is not kept.
        """
        # Counted first: what is created meanwhile only adds to what comes.
        counted = await self.count() if self._listing.counted else None
        name = self._listing.shard_by
        try:
            if name is not None and shards:
                await together([self._chain({name: value}, row) for value, row in shards.items()])
                self._landing.shards = len(shards)
            else:
                await self._chain()
        except Unfiltered:
            raise NeedsWhole(f"the account did not keep to the filter {name}") from None
        self._landing.new = sum(key not in self._known for key in self._seen)
        here = len(self._known) + self._landing.new
        if counted is not None and not here * (1 - GONE_SHARE) <= counted <= here:
            raise NeedsWhole(f"the account counts {counted:,} rows where {here:,} are known")
        if counted is not None and counted > len(self._seen):
            self._landing.whole = False  # each part came to its end, and some rows are of none

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
            keys = [digest(row.key) for row in page.rows]
            self._seen.update(keys)
            if self._known and any(self._parts.setdefault(key, value) != value for key in keys):
                raise Unfiltered
            await self._landing.land(answer, len(page.rows), shard)
            if not page.has_more:
                return
            if all(key in self._known for key in keys):
                self._landing.whole = False
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
