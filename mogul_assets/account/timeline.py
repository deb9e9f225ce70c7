"""Activities: a list by date, read in spans of time that are cut smaller while there is room for more requests.

``/activities`` is not paged by its cursor: the recorded one names the next page's first row, and passing it
starts *after* that row, so that a row is lost at every page. ``start-after`` with the id of the last row that came
has no such gap. Activities are also recomputed while they are read, and get new ids: then the row that a page
should start after is gone, and the span is read again from the last place that is safe.

Whether ``start-date`` and ``end-date`` are inclusive, and how they treat the account's time zone, is written
nowhere. So what is asked for is a day wider than the window at either end, spans overlap by a second, and rows
come that belong to a neighbour: typing cuts by window and de-duplicates by id.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from mogul_assets.account import answers
from mogul_assets.account.chains import RESTARTS, Astray, Unfiltered
from mogul_assets.account.client import Answer, Client, Refusal
from mogul_assets.account.landing import Landing
from mogul_assets.account.lists import LISTS, PAGE_ROWS, Envelope
from mogul_assets.catalog.window import BEGINNING, Window
from mogul_assets.errors import AccountInconsistent

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)

HELD = 8
"""Pages after which a span looks for a moment without activities, to land what lies before it. A span that loses
its place is read again from there: had more been landed, re-issued activities would lie there under two ids."""
HELD_AT_MOST = 32
"""Pages after which they are landed without such a moment, so that memory stays bounded."""
FIRST_SPANS = 8
"""Spans that a long reading is cut into at once, before it shows how much room there is."""
WORTH_CUTTING = 3
"""Pages that must be left of a span to cut it: a cut costs half a request, for a page that is not full."""

_LISTING = LISTS["activities"]


@dataclass(frozen=True, slots=True)
class _Held:
    answer: Answer[Envelope]
    asked: Mapping[str, str]
    dates: list[datetime]


@dataclass(eq=False)
class _Span:
    """A stretch of time, asked for from ``start`` to ``end`` and read up to ``at``.

    ``anchor`` is the id of the last row, ``pace`` the time that the last page covered. What is dated before
    ``safe`` is landed; ``held`` is what was read since.
    """

    start: datetime | None
    end: datetime | None
    at: datetime | None = None
    pace: timedelta = timedelta(0)
    anchor: str | None = None
    safe: datetime | None = None
    held: list[_Held] = field(default_factory=list)

    def asked(self) -> dict[str, str]:
        return {name: day.isoformat() for name, day in (("start-date", self.start), ("end-date", self.end)) if day}

    def left(self, newest: datetime | None) -> float:
        """Pages still to come, if the rest is as dense as the last page was."""
        if self.at is None or newest is None:
            return 0
        rest = min(self.end or newest, newest) - self.at
        return rest / self.pace if self.pace else math.inf if rest > SECOND else 0

    def cut(self, newest: datetime) -> _Span | None:
        """Give the later half of what is left away. ``None`` where it is too short to be halved."""
        if self.at is None:
            return None
        middle = self.at + (min(self.end or newest, newest) - self.at) / 2
        # Billing systems stamp midnights and whole minutes: a seam beside those has no rows on it.
        middle = middle.replace(second=30, microsecond=0)
        if not self.at < middle < newest:
            return None
        later = _Span(middle, self.end, at=middle, pace=self.pace)
        self.end = middle + SECOND
        return later


class Timeline:
    """One reading of the activities of a window. On the client's loop."""

    def __init__(self, client: Client, landing: Landing) -> None:
        self._client = client
        self._landing = landing
        self._open: set[_Span] = set()
        self._newest: datetime | None = None

    async def read(self, window: Window, *, serial: bool = False) -> None:
        """Land every activity dated within the window, and some around it.

        Args:
            window: without an end it has activities dated ahead, too.
            serial: one chain of pages.

        Raises:
            AccountInconsistent: the list changed under the reading more often than it is begun again.
        """
        start = window.start
        if start == BEGINNING:
            # Nobody knows whether year 1 may be asked for; the account's first activity is early enough.
            start = await self._edge({"order": "date"}) or BEGINNING
        whole = _Span(None, None)
        if start >= BEGINNING + DAY:
            whole = _Span(start - DAY, window.end and window.end + DAY)
        try:
            await (self._span(whole, None) if serial else self._cut(whole))
        except Unfiltered:
            self._landing.warnings.append(
                "activities: the account did not keep to the dates asked for, so all were read, in one chain"
            )
            await self._span(_Span(None, None), None)

    async def _cut(self, whole: _Span) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._open = {whole}
                group.create_task(self._span(whole, group))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _span(self, span: _Span, group: asyncio.TaskGroup | None) -> None:
        """Read a span, again where it loses its place. ``group`` takes the pieces it is cut into, if it may be."""
        ends: set[str | None] = set()
        for _ in range(RESTARTS + 1):
            try:
                await self._pages(span, group, ends)
            except Astray as error:
                lost = error
                span.start = span.safe or span.start
                span.anchor = span.at = None
                span.held.clear()
            else:
                self._open.discard(span)
                return
        raise AccountInconsistent(
            f"{_LISTING.path} changed while it was read, {RESTARTS + 1} times ({lost})", remedy="run again later"
        )

    async def _pages(self, span: _Span, group: asyncio.TaskGroup | None, ends: set[str | None]) -> None:
        while True:
            page = await self._page(span, ends)
            span.held.append(page)
            if page.dates:
                before = span.at if span.anchor and span.at else page.dates[0]
                span.at, span.pace = page.dates[-1], page.dates[-1] - before
            # The end may have been drawn nearer while the page was on its way.
            past_end = span.end is not None and span.at is not None and span.at > span.end
            if not page.answer.value.has_more or past_end:
                await self._land(span, len(span.held))
                return
            span.anchor = str(page.answer.value.rows[-1].key)
            await self._land_safely(span)
            if group is not None:
                await self._share_out(span, group)

    async def _page(self, span: _Span, ends: set[str | None]) -> _Held:
        """The next page.

        ``ends`` collects ids after which there was nothing although the page before had said that there was
        more: that is the list changing or, at the same id for the second time, its end.
        """
        asked = span.asked()
        try:
            answer = await self._fetch(
                {**asked, **({"start-after": span.anchor} if span.anchor else {})}, span.left(self._newest)
            )
        except Refusal as error:
            if span.anchor is None or not answers.names_no_place(error.status):
                raise
            raise Astray(error.message) from None
        page = answer.value
        dates = [day for row in page.rows if (day := moment(row.value))]
        if not page.rows and (page.has_more or (span.anchor is not None and span.anchor not in ends)):
            ends.add(span.anchor)
            raise Astray("a page that says there is more is followed by an empty one")
        if span.anchor is not None and page.rows and str(page.rows[-1].key) == span.anchor:
            raise Astray("a page ends where the one before it ended")
        if any(later < earlier for earlier, later in pairwise(dates)):
            raise Astray("a page is not in the order of its dates")
        if span.anchor is not None and span.at is not None and dates and dates[0] < span.at:
            raise Astray("a page begins before the one that it follows")
        if "start-date" in asked and any(
            datetime.fromisoformat(asked["start-date"]) - day > DAY
            or ("end-date" in asked and day - datetime.fromisoformat(asked["end-date"]) > DAY)
            for day in dates[:1] + dates[-1:]
        ):
            raise Unfiltered
        return _Held(answer, asked, dates)

    async def _share_out(self, span: _Span, group: asyncio.TaskGroup) -> None:
        """Cut the longest spans while that brings more requests under way."""
        if self._newest is None:
            self._newest = await self._edge({**span.asked(), "order": "-date"})
        while self._newest is not None and len(self._open) < self._client.limits.connections:
            longest = max(self._open, key=lambda each: each.left(self._newest))
            if longest.left(self._newest) < WORTH_CUTTING:
                return
            if len(self._open) >= FIRST_SPANS and not self._client.gate.idle:
                return
            later = longest.cut(self._newest)
            if later is None:
                return
            self._open.add(later)
            self._landing.shards = len(self._open)
            group.create_task(self._span(later, group))

    async def _land_safely(self, span: _Span) -> None:
        """Land what lies before the last moment without activities, once enough is held."""
        if len(span.held) < HELD:
            return
        for count in range(len(span.held) - 1, 0, -1):
            before, after = span.held[count - 1].dates, span.held[count].dates
            if before and after and after[0] - before[-1] > 2 * SECOND:
                span.safe = after[0] - SECOND
                await self._land(span, count)
                return
        if len(span.held) >= HELD_AT_MOST and span.at is not None:
            span.safe = span.at - SECOND
            await self._land(span, len(span.held))

    async def _land(self, span: _Span, count: int) -> None:
        pages, span.held = span.held[:count], span.held[count:]
        for page in pages:
            await self._landing.land(page.answer, len(page.answer.value.rows), page.asked)

    async def _edge(self, params: Mapping[str, str]) -> datetime | None:
        """When the first activity was, in the order asked for."""
        page = (await self._fetch({**params, "per_page": "1"}, math.inf)).value
        return moment(page.rows[0].value) if page.rows else None

    async def _fetch(self, params: Mapping[str, str], urgency: float) -> Answer[Envelope]:
        return await self._client.fetch(
            _LISTING.path,
            {**_LISTING.params, "per_page": str(PAGE_ROWS), **params},
            _LISTING.decode,
            urgency=urgency,
            tally=self._landing.tally,
        )


def moment(value: Any) -> datetime | None:
    """An activity's date, in UTC; ``None`` where it is none: that is for typing to say."""
    try:
        day = datetime.fromisoformat(value)
        return day.replace(tzinfo=day.tzinfo or UTC).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
