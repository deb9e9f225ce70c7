"""What a read hands on: pages, exactly as they came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Page:
    """One response of the account, not yet understood.

    ``read`` is the list's name (``customers``); ``shard`` the filter that was sent with it, which every row
    satisfies; ``sequence`` counts pages of one read in the order in which they were taken, so that of two
    copies of a row the one read last can win; ``taken_at`` is UTC.
    """

    read: str
    body: bytes
    sequence: int
    taken_at: datetime
    shard: Mapping[str, str] = field(default_factory=dict)


class PageSink(Protocol):
    """Where pages land. ``put`` may be called from one thread at a time."""

    def put(self, page: Page) -> None: ...


@dataclass(slots=True)
class Gathered:
    """A sink that keeps its pages in memory: those of a few days."""

    pages: list[Page] = field(default_factory=list)

    def put(self, page: Page) -> None:
        self.pages.append(page)
