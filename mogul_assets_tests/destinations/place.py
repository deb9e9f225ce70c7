"""What the contract has to know of a destination under test, as data.

What its peer, or its own way, cannot prove is left out of ``abilities``: a test that needs it is not collected
for the place.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mogul_assets.destinations import load_type
from mogul_assets.destinations.base import Destination
from mogul_assets.destinations.files import FilesDestination

Rows = list[dict[str, Any]]

DISK = "disk"
"""Lies below a folder: may be full, copied aside, and be written to by a child that is killed."""
JSON_TEXT = "json text"
"""JSON is kept to the byte. Elsewhere it is parsed, and read in its ``canonical`` form."""
JSON_NULL = "json null"
"""JSON's ``null`` is told from no value."""
HISTORY = "history"
"""Versions of rows are kept there by choice."""


@dataclass(frozen=True)
class State:
    """What a reader finds: rows in the order of their key, and the columns that can be told from outside.

    Where rows lie in no order the reader sorts by the first column, which is the key in every test.
    """

    rows: Rows
    columns: tuple[tuple[str, str], ...]
    bytes_of: tuple[tuple[str, str], ...] = ()
    """(file, sha256) where the place promises the same bytes for the same state."""


@dataclass(frozen=True)
class Spot:
    """One test's own part of a place: below ``folder`` on a disk, under ``name`` on a peer."""

    folder: Path
    address: Mapping[str, Any]
    """The peer's, as its module's ``start`` gave it; nothing for a place on disk."""

    @property
    def name(self) -> str:
        """A word of the spot's own, fit for a bucket, a database or a schema."""
        return "t" + hashlib.sha256(bytes(self.folder)).hexdigest()[:20]


@dataclass(frozen=True)
class Place:
    """A type of destination under test.

    ``options`` makes a spot ready (its bucket, its database) and gives the options as they would stand in
    ``mogul.yaml``; it is called for each destination that is made. ``read`` is the independent reader: ``None``
    where the dataset was never delivered. ``listing`` names whatever lies in the spot, the log included.
    """

    word: str
    options: Callable[[Spot], Mapping[str, Any]]
    read: Callable[[Spot, str], State | None]
    listing: Callable[[Spot], list[str]]
    peer: str | None = None
    """The module of ``mogul_assets_tests.peers`` that starts its server."""
    abilities: frozenset[str] = frozenset()
    folds: bool = False
    """Whether names that differ only in case are one name there."""
    spelled: Callable[[str], str] = str
    """How the reader tells a column's name."""
    refused_names: frozenset[str] = frozenset()
    """Of the contract's ``NAMES``, those that cannot name a column there."""
    traced: frozenset[str] = frozenset()
    """Modules whose lines are points to be killed at, because what they call is below Python."""
    label: str = ""
    """Told beside the word where a type has several entries."""
    address: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join(filter(None, (self.word, self.label)))

    def __reduce__(self) -> tuple[Callable[..., Place], tuple[str, Mapping[str, Any]]]:
        """Found again by its name in a child process."""
        return _named, (str(self), self.address)

    def on(self, address: Mapping[str, Any]) -> Place:
        """The place on its running peer. ``address["environment"]`` holds the variables that options name."""
        return replace(self, address=address)

    def destination(self, folder: Path, **options: Any) -> Destination:
        """The destination at the spot of ``folder``; ``options`` are a user's, over those that it needs."""
        os.environ.update(self.address.get("environment", {}))
        return load_type(self.word)(**{"name": "shelf", **self.options(self._spot(folder)), **options})

    def state(self, folder: Path, dataset: str = "plans") -> State | None:
        """What lies there; ``None`` where the dataset was never delivered."""
        return self.read(self._spot(folder), dataset)

    def rows(self, folder: Path, dataset: str = "plans") -> Rows:
        state = self.state(folder, dataset)
        assert state is not None
        return state.rows

    def everything(self, folder: Path) -> list[str]:
        return self.listing(self._spot(folder))

    def _spot(self, folder: Path) -> Spot:
        return Spot(folder, self.address)


def canonical(text: str | None) -> str | None:
    """JSON as readers of places that parse it give it."""
    return (
        None
        if text is None
        else json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    )


def _named(name: str, address: Mapping[str, Any]) -> Place:
    from mogul_assets_tests.destinations.places import PLACES  # noqa: PLC0415 - the places are made of this class

    return next(place for place in PLACES if str(place) == name).on(address)


def delivered(folder: FilesDestination, dataset: str = "plans") -> list[Path]:
    """The data files that count in a folder, in order."""
    return [Path(folder.path, file.file) for file in folder.manifest(dataset).files]
