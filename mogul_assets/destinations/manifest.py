"""The manifest of a dataset: which data files count, and what they hold. Pure; nothing here reads or writes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec
import pyarrow as pa

from mogul_assets.catalog.window import BEGINNING, Month, Window
from mogul_assets.destinations.columns import Evolution, description, distinct, fingerprint, is_json
from mogul_assets.errors import DestinationRefused
from mogul_assets.store.table import DataFile, Table

NAME = "manifest.json"

_WIDENS = frozenset({("date32[day]", "timestamp[us, tz=UTC]"), ("json", "string")})
"""Changes of type that keep every value, so that files of both types are read as one."""


class ManifestFile(msgspec.Struct, frozen=True, kw_only=True):
    """One data file, never changed once it is named.

    ``file`` is its path below the destination's root, ``month`` like ``2026-11`` where it has one; ``source`` the
    checksum of the store's file that it was made of.
    """

    file: str
    rows: int
    bytes: int
    sha256: str
    source: str
    generation: str
    month: str | None = None


class ManifestColumn(msgspec.Struct, frozen=True, kw_only=True):
    """One column, its type as Arrow spells it; ``json`` for text that is JSON."""

    name: str
    type: str
    nullable: bool
    description: str


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Which generation was delivered to which moments; ``None`` is open-ended."""

    start: datetime | None
    end: datetime | None
    generation: str


class Retired(msgspec.Struct, frozen=True, kw_only=True):
    """A file that no longer counts since ``at``; whoever had begun to read may finish."""

    file: str
    at: datetime


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What lies there of a dataset. Moments are UTC.

    ``destination`` is the name of the one that delivers it, empty where none was written down. ``choice`` says in
    words what its settings chose of the dataset at the newest delivery, where that was not all of it.
    ``columns`` hold those of the newest delivery, then those which only older files still have; the fingerprint
    is of the former. ``window`` and ``generation`` are the newest delivery's, ``spans`` say the same for each part
    of the dataset.
    """

    dataset: str
    destination: str = ""
    choice: dict[str, str] = {}
    format: str
    generation: str
    delivered_at: datetime
    delivery_id: str
    window: Span
    rows: int
    bytes: int
    key: tuple[str, ...]
    columns: tuple[ManifestColumn, ...]
    schema_fingerprint: str = ""
    files: tuple[ManifestFile, ...]
    spans: tuple[Span, ...]
    retired: tuple[Retired, ...] = ()

    def belongs_to(self, destination: str) -> bool:
        return self.destination in ("", destination)

    def has_columns_of(self, table: Table) -> bool:
        """Whether the newest delivery had the table's columns: files of others are null in some, or may be."""
        return self.schema_fingerprint == fingerprint(table.schema)

    def made_of(self, source: DataFile, ext: str) -> tuple[ManifestFile, ...]:
        """The files with the ending ``ext`` that hold what the store's file does."""
        month = str(source.month) if source.month else None
        return tuple(
            file
            for file in self.files
            if (file.source, file.month) == (source.sha256, month) and file.file.endswith(f".{ext}")
        )

    def supersedes(self, table: Table) -> bool:
        """Whether a newer generation was delivered to any moment of the table's window."""
        window = span_of(table)
        return any(_overlap(span, window) and span.generation > table.generation for span in self.spans)

    def replaced_by(self, table: Table) -> tuple[ManifestFile, ...]:
        """The files whose rows the table replaces.

        Raises:
            DestinationRefused: where a month is to replace a part of files that are not by month.
        """
        if table.window is None:
            return self.files
        if any(file.month is None for file in self.files):
            raise DestinationRefused(
                f"{table.dataset}: it lies there whole, not by month", remedy="move the dataset's folder away"
            )
        return tuple(file for file in self.files if file.month and table.window.holds(Month.parse(file.month).start))


def after(
    held: Manifest | None,
    table: Table,
    files: tuple[ManifestFile, ...],
    *,
    columns: tuple[ManifestColumn, ...],
    destination: str,
    written_as: str,
    delivery_id: str,
    at: datetime,
) -> Manifest:
    """The manifest once ``files``, the table's, have taken the place of what it replaces in ``held``."""
    gone = held.replaced_by(table) if held else ()
    kept = tuple(file for file in held.files if file not in gone) if held else ()
    named = tuple(sorted((*kept, *files), key=lambda file: file.month or ""))
    names = {file.file for file in named}
    retired = (*(held.retired if held else ()), *(Retired(file=file.file, at=at) for file in gone))
    window = span_of(table)
    return Manifest(
        dataset=table.dataset,
        destination=destination,
        choice=dict(table.choice),
        format=written_as,
        generation=table.generation,
        delivered_at=at,
        delivery_id=delivery_id,
        window=window,
        rows=sum(file.rows for file in named),
        bytes=sum(file.bytes for file in named),
        key=table.key,
        columns=columns,
        schema_fingerprint=fingerprint(table.schema),
        files=named,
        spans=tuple(_laid(window, held.spans if held else ())),
        retired=tuple(one for one in retired if one.file not in names),
    )


def columns_after(held: Manifest | None, table: Table, *, at: str, remove: str) -> tuple[ManifestColumn, ...]:
    """The manifest's columns after the delivery.

    Args:
        held: what lies there.
        table: what is delivered.
        at: the destination, for messages.
        remove: the command that removes the dataset there.

    Raises:
        DestinationRefused: where files that readers know have another type for a column, or two are of one name.
    """
    distinct(table.schema.names, str, at=f"{at}: {table.dataset}")
    columns = tuple(
        ManifestColumn(name=one.name, type=type_of(one), nullable=one.nullable, description=description(one))
        for one in table.schema
    )
    before = {column.name: column for column in held.columns} if held else {}
    wanted = {column.name: column.type for column in columns}
    change = Evolution.between({name: one.type for name, one in before.items()}, wanted, widens=_WIDENS)
    if change.retyped:
        name = change.retyped[0]
        raise DestinationRefused(
            f"{at}: {table.dataset}.{name} is {before[name].type} there and {wanted[name]} now",
            remedy=f"look who reads it, then run: {remove}",
        )
    return (*columns, *(column for name, column in before.items() if name not in wanted))


def type_of(field: pa.Field[pa.DataType]) -> str:
    return "json" if is_json(field) else str(field.type)


def refuse_window(table: Table) -> None:
    """Refuse a window that is not whole months: files are replaced by the month.

    Raises:
        DestinationRefused: for any other.
    """
    window = table.window
    if window is None:
        return
    edges = [edge for edge in (window.start, window.end) if edge is not None]
    outside = [file for file in table.files if file.month is None or not window.holds(file.month.start)]
    if any(edge != Month.of(edge).start for edge in edges) or outside:
        raise DestinationRefused(
            f"{table.dataset}: files take whole months, not the window {window}", remedy="deliver whole months"
        )


def span_of(table: Table) -> Span:
    window = table.window or Window(BEGINNING, None)
    start = None if window.start == BEGINNING else window.start
    return Span(start=start, end=window.end, generation=table.generation)


def _overlap(one: Span, other: Span) -> bool:
    return _window(one).overlaps(_window(other))


def _window(span: Span) -> Window:
    return Window(span.start or BEGINNING, span.end)


def _laid(new: Span, over: tuple[Span, ...]) -> Iterator[Span]:
    """The spans after a delivery: the new one, and of each old one what sticks out before and after it."""
    for old in over:
        if not _overlap(old, new):
            yield old
            continue
        if new.start and (old.start is None or old.start < new.start):
            yield Span(start=old.start, end=new.start, generation=old.generation)
        if new.end and (old.end is None or old.end > new.end):
            yield Span(start=new.end, end=old.end, generation=old.generation)
    yield new
