"""Which movements the ledger knows already, and by what: the uuid, else the key, else as one of equals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from mogul_assets.messages.message import News

CHUNK = 500
"""About how many movements are looked up, and written down, in one transaction."""


def chunks(news: Iterable[News]) -> Iterator[list[News]]:
    """At most about ``CHUNK`` movements at a time; a customer's of one moment stay together: among them are equals.

    An import may give thousands of movements the same moment, midnight: they cannot all stay together.
    """
    chunk: list[News] = []
    for _, moment in groupby(news, key=lambda each: (each.date, each.customer_uuid or each.customer_external_id)):
        chunk.extend(moment)
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def matched(chunk: Sequence[News], rows: Sequence[Any]) -> Iterator[tuple[News, Any]]:
    """Each movement with what the ledger has of it: by uuid, else by key, else any of its equals that is left.

    Of equals, one that was withdrawn comes last: whichever of them is still there, so many were told.
    """
    found: dict[int, Any] = {}
    left = list(rows)
    for of_news, of_row, withdrawn in (
        ("uuid", "movement_uuid", (0, 1)),
        ("movement_key", "movement_key", (0,)),
        ("identity", "movement_identity", (0,)),
        ("movement_key", "movement_key", (1,)),
        ("identity", "movement_identity", (1,)),
    ):
        by: defaultdict[str, list[Any]] = defaultdict(list)
        for row in reversed(left):
            if row.withdrawn in withdrawn:
                by[getattr(row, of_row)].append(row)
        for index, each in enumerate(chunk):
            if index not in found and by[getattr(each, of_news)]:
                found[index] = by[getattr(each, of_news)].pop()
        taken = {id(row) for row in found.values()}
        left = [row for row in left if id(row) not in taken]
    return ((each, found.get(index)) for index, each in enumerate(chunk))
