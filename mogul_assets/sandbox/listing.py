"""A list of the API: its order, its cursors, its filters, and its rows as JSON rendered once."""

from __future__ import annotations

from base64 import b64decode, b64encode
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from mogul_assets.sandbox.documents import shaped
from mogul_assets.sandbox.history import Dated

Key = tuple[str, str | int]
Facet = Callable[[Dated], Iterable[str]]
"""The values under which a filter finds a row."""

MOST = 200
"""Rows on a page: the default, and the limit to which larger wishes are silently cut."""

_encode = msgspec.json.Encoder().encode


class BadCursor(Exception):
    """A cursor that this list did not hand out."""


def encode_cursor(key: Key, missing: str) -> str:
    """Base64 of ``<timestamp>&<id>``; a missing timestamp is written as the empty string."""
    stamp, identity = key
    return b64encode(f"{'' if stamp == missing else stamp}&{identity}".encode()).decode()


def decode_cursor(cursor: str, missing: str, *, number: bool) -> Key:
    """The key inside a cursor. An id left out stands before all ids.

    Raises:
        BadCursor: where there is none inside.
    """
    try:
        stamp, _, identity = b64decode(cursor, validate=True).decode().partition("&")
        return stamp or missing, (int(identity or 0) if number else identity)
    except ValueError:
        raise BadCursor(cursor) from None


@dataclass(frozen=True, slots=True)
class Slice:
    """One page: JSON rows, their place among all (counted from 0), and how many there are in all."""

    rows: list[bytes]
    first: int
    total: int
    last_key: Key | None
    next_key: Key | None

    @property
    def has_more(self) -> bool:
        return self.first + len(self.rows) < self.total


class Listing:
    """Rows in the order in which they are served, found by facets.

    Args:
        entries: the rows, in any order.
        facets: by the filter's name, where its values are found.
        descending: newest first.
    """

    def __init__(
        self, entries: Iterable[Dated], facets: Mapping[str, Facet] | None = None, *, descending: bool = False
    ) -> None:
        self.entries = sorted(entries, key=lambda entry: entry.key, reverse=descending)
        self.facets = facets or {}
        self.descending = descending
        self._everything: Sequence[int] = range(len(self.entries))
        self._indexes: dict[str, Mapping[str, list[int]]] = {}
        self._found: dict[tuple[tuple[str, str], ...], Sequence[int]] = {}
        self._bodies: dict[tuple[int, bool], list[bytes | None]] = {}

    def find(self, wanted: Mapping[str, str]) -> Sequence[int]:
        """Places of the rows that have all the wanted values, in order."""
        question = tuple(sorted(wanted.items()))
        if not question:
            return self._everything
        if question not in self._found:
            hits = sorted((self._index(name).get(value, []) for name, value in question), key=len)
            found = set(hits[0]).intersection(*hits[1:]) if len(hits) > 1 else hits[0]
            if len(self._found) > 1_000:
                self._found.clear()
            self._found[question] = sorted(found)
        return self._found[question]

    def _index(self, name: str) -> Mapping[str, list[int]]:
        if name not in self._indexes:
            index: dict[str, list[int]] = defaultdict(list)
            for place, entry in enumerate(self.entries):
                for value in dict.fromkeys(self.facets[name](entry)):
                    index[value].append(place)
            self._indexes[name] = index
        return self._indexes[name]

    def place_after(self, places: Sequence[int], key: Key) -> int:
        """How many of the places come up to and with that key, whether or not a row has it."""
        if self.descending:
            return bisect_left(places, True, key=lambda place: self.entries[place].key < key)
        return bisect_left(places, True, key=lambda place: self.entries[place].key > key)

    def page(self, places: Sequence[int], first: int, count: int, *, shape: int, histories: bool = False) -> Slice:
        chosen = places[first : first + count]
        following = first + len(chosen)
        return Slice(
            rows=[self._body(place, shape, histories) for place in chosen],
            first=first,
            total=len(places),
            last_key=self.entries[chosen[-1]].key if chosen else None,
            next_key=self.entries[places[following]].key if following < len(places) else None,
        )

    def _body(self, place: int, shape: int, histories: bool) -> bytes:
        bodies = self._bodies.get((shape, histories))
        if bodies is None:
            bodies = self._bodies[shape, histories] = [None] * len(self.entries)
        body = bodies[place]
        if body is None:
            body = bodies[place] = _encode(shaped(self.entries[place].document, shape, histories=histories))
        return body

    def warm(self, *, shape: int, histories: bool = False) -> None:
        """Renders every row now, so that a benchmark measures its reader only."""
        for place in self._everything:
            self._body(place, shape, histories)
