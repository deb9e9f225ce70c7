"""Who is to be forgotten: all that a customer is known by, and how to tell that a row, an entry or a text is its."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from functools import cached_property

import msgspec

from mogul_assets.catalog.columns import About
from mogul_assets.store.sql import literal, quoted

SHORTEST = 3
"""Characters of a name that is looked for in a text: a shorter one would be found in every other."""
_MARK = "a customer that was forgotten"
_OWN_ID = re.compile(rb'"uuid"\s*:\s*"([^"\\]+)"')


class Person(msgspec.Struct, frozen=True, dict=True):
    """A customer, a person or a company, by all that it is known by.

    ``records`` are its ids in the data sources, as (data source, id); ``words`` its names and addresses.
    ``movements`` and ``keys`` are those of its movements, and ``parts`` ChartMogul's ids of whatever else is its.
    """

    uuid: str
    records: frozenset[tuple[str, str]] = frozenset()
    words: frozenset[str] = frozenset()
    movements: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    parts: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"<Person {self.uuid}>"

    def with_all_of(self, other: Person | None) -> Person:
        """The same person, by all that either of the two knows."""
        if other is None:
            return self
        known = {name: getattr(self, name) | getattr(other, name) for name in self.__struct_fields__[1:]}
        return Person(self.uuid, **known)

    def rows(self, about: About, name: Callable[[str], str] = quoted, text: Callable[[str], str] = literal) -> str:
        """The SQL condition of a dataset's rows that are about it; may be null. ``name`` and ``text`` quote."""
        found = [f"{name(about.uuid)} = {text(self.uuid)}"] if about.uuid else []
        if about.record:
            source, id_ = map(name, about.record)
            found += [f"({source} = {text(of)} AND {id_} = {text(known)})" for of, known in sorted(self.records)]
        return " OR ".join(found) or "1 = 0"

    @property
    def ids(self) -> set[str]:
        """What stands for it in a text without its name: its uuid, and its ids in the data sources."""
        return {self.uuid, *(id_ for _, id_ in self.records)}

    def quoted_in(self, content: bytes) -> bool:
        """Whether a text, JSON or HTML names it: by its uuid, a name or an address, as a whole word."""
        return self._words.search(content) is not None

    @cached_property
    def _words(self) -> re.Pattern[bytes]:
        words = {self.uuid, *(word for word in self.words if len(word) >= SHORTEST)}
        escapes: tuple[Callable[[str], str], ...] = (
            str,
            lambda word: html.escape(word, quote=False),
            html.escape,
            lambda word: html.escape(word).replace("&#x27;", "&#39;"),
            lambda word: word.replace('"', '""'),  # in a CSV file
        )
        spelled = {escape(word) for word in words for escape in escapes}
        spelled |= {json.dumps(word, ensure_ascii=ascii_)[1:-1] for word in spelled for ascii_ in (True, False)}
        # A longer name before its beginning; at a letter a word goes on.
        longest = sorted(spelled, key=lambda word: (-len(word), word))
        return re.compile(
            rb"(?<!\w)(?:" + b"|".join(re.escape(word.encode(errors="replace")) for word in longest) + rb")(?!\w)"
        )

    def owns(self, content: bytes) -> bool:
        """Whether a piece of JSON is, or holds, something of its that has an id of ChartMogul's."""
        return not self.parts.isdisjoint(own_ids(content))

    def unnamed(self, text: str) -> str:
        """The text with nothing in it that stands for the person, or its name."""
        words = sorted({*self.ids, *(word for word in self.words if len(word) >= SHORTEST)}, key=len, reverse=True)
        return re.sub(r"(?<!\w)(?:" + "|".join(map(re.escape, words)) + r")(?!\w)", _MARK, text)


def own_ids(content: bytes) -> set[str]:
    """ChartMogul's ids of an object of its API and of those in it; not of others that it refers to."""
    return {found.decode() for found in _OWN_ID.findall(content)}
