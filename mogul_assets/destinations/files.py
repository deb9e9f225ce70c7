"""Deliveries into a folder: Parquet files that never change, and one manifest that says which of them count.

A reader reads ``<path>/<dataset>/manifest.json`` and then the files it names, and nothing else in the folder:
what a manifest stops naming stays for a grace time, so that whoever began to read goes on undisturbed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from shlex import quote
from typing import Any, ClassVar

import duckdb
import msgspec
import pyarrow as pa
from filelock import FileLock, Timeout
from pydantic import Field

from mogul_assets.destinations import disk
from mogul_assets.destinations.base import (
    Capabilities,
    Delivered,
    Destination,
    Leftover,
    Outcome,
    Permission,
    Preview,
)
from mogul_assets.destinations.columns import Evolution, description, distinct, is_json
from mogul_assets.destinations.log import KEPT, Entry
from mogul_assets.destinations.relations import differences, parquet, types
from mogul_assets.errors import DestinationRefused, DestinationUnavailable, StoreDamaged
from mogul_assets.store.table import GENERATION, DataFile, Table
from mogul_assets.store.window import BEGINNING, Month, Window

MANIFEST = "manifest.json"
LOG = "_deliveries"

_OURS = re.compile(rf"\w+-(\d{{4}}-\d\d-)?{GENERATION.pattern}-[0-9a-f]{{12}}\.parquet(\.part)?")
"""Names of files that a delivery made; no other file is ever removed."""

_WIDENS = frozenset({("date32[day]", "timestamp[us, tz=UTC]"), ("json", "string")})
"""Changes of type that keep every value, so that files of both types are read as one."""


class ManifestFile(msgspec.Struct, frozen=True, kw_only=True):
    """One data file. ``file`` is its name beside the manifest, ``month`` like ``2026-11`` where it has one."""

    file: str
    rows: int
    bytes: int
    sha256: str
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


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What lies in a dataset's folder. Moments are UTC.

    ``columns`` hold those of the newest delivery, then those which only older files still have. ``window`` and
    ``generation`` are the newest delivery's, ``spans`` say the same for each part of the dataset.
    """

    dataset: str
    generation: str
    delivered_at: datetime
    delivery_id: str
    window: Span
    rows: int
    bytes: int
    key: tuple[str, ...]
    columns: tuple[ManifestColumn, ...]
    files: tuple[ManifestFile, ...]
    spans: tuple[Span, ...]


class FilesDestination(Destination):
    """One folder, with a folder per dataset in it. Parquet, the store's own bytes.

    A windowed dataset has a file a month; a month that did not change keeps its file. Files are copied rather
    than linked: the store removes its own.
    """

    EXAMPLE: ClassVar[Mapping[str, Any]] = {"path": "out/files"}

    path: str = Field(description="The folder; it is made where it is missing.")
    wait_seconds: float = Field(default=20, ge=0, description="How long to wait for another delivery to end.")
    grace_seconds: float = Field(
        default=3600, ge=0, description="How long files stay that the manifest no longer names."
    )

    @property
    def capabilities(self) -> Capabilities:
        """Everything: Parquet has no limits of its own."""
        return Capabilities()

    def deliver(self, table: Table) -> Delivered:
        """Copy the files that are not there yet, then replace the manifest by one rename.

        Raises:
            DestinationUnavailable: another delivery of the dataset took longer than ``wait_seconds``.
            DestinationRefused: a column changed its type in files that stay, a window that is not whole months,
                a full disk, a folder that may not be written to and the like.
            StoreDamaged: a file of the table is missing, or is not what its checksum says.
        """
        began, started_at, delivery = time.monotonic(), datetime.now(UTC), token_hex(8)
        folder = self._folder(table.dataset)
        _refuse_window(table)
        with disk.writing(folder, destination=self.name):
            folder.mkdir(parents=True, exist_ok=True)
            with self._alone(folder):
                outcome = self._replaced(folder, table, delivery)
                entry = Entry.of(table, outcome, started_at=started_at, delivery_id=delivery)
                self._logged(entry)
        return entry.delivered(str(folder / MANIFEST), seconds=time.monotonic() - began)

    def preview(self, table: Table) -> Preview:
        """What ``deliver`` would do: it raises what that would refuse."""
        _refuse_window(table)
        held = self.manifest(table.dataset)
        self._columns(table, held)
        counts: tuple[int | None, int | None, int | None] = (table.rows, 0, 0)
        if held and table.key:
            counts = _compared(table, self._paths(table.dataset, _replaced_by(table, held)), held)
        new, changed, gone = counts if table.key else (None, None, None)
        return Preview(
            location=str(self._folder(table.dataset) / MANIFEST),
            rows=table.rows,
            columns=tuple((field.name, _type(field)) for field in table.schema),
            window=table.window,
            new=new,
            changed=changed,
            gone=gone,
        )

    def check(self) -> list[Permission]:
        """Tries the folder: making it, and writing, renaming and locking a file in it."""
        return disk.permissions(self._root)

    def forget(self) -> list[Leftover]:
        """The folders of the datasets, and the log."""
        return [
            Leftover(f"the folder {folder.parent}", f"rm -r {quote(str(folder.parent))}")
            for folder in sorted(self._root.glob(f"*/{MANIFEST}"))
        ] + [
            Leftover(f"the log of deliveries {log}", f"rm -r {quote(str(log))}")
            for log in [self._root / LOG]
            if log.exists()
        ]

    def last_delivery(self, dataset: str) -> datetime | None:
        held = self.manifest(dataset)
        return held.delivered_at if held else None

    def manifest(self, dataset: str) -> Manifest | None:
        """What lies there, or ``None`` where nothing was delivered yet.

        Raises:
            DestinationRefused: for a manifest that no delivery wrote.
        """
        path = self._folder(dataset) / MANIFEST
        try:
            return msgspec.json.decode(path.read_bytes(), type=Manifest)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise disk.told(error, path, destination=self.name) from error
        except msgspec.DecodeError as error:
            raise DestinationRefused(
                f"{self.name}: {path} is not a manifest of ours: {error}", remedy="move the dataset's folder away"
            ) from error

    def files(self, dataset: str) -> list[Path]:
        """The data files that count now, in order; none where nothing was delivered yet."""
        held = self.manifest(dataset)
        return [Path(path) for path in self._paths(dataset, held.files)] if held else []

    @property
    def _root(self) -> Path:
        return Path(self.path).expanduser()

    def _folder(self, dataset: str) -> Path:
        return self._root / dataset

    def _paths(self, dataset: str, files: tuple[ManifestFile, ...]) -> list[str]:
        return [str(self._folder(dataset) / file.file) for file in files]

    @contextmanager
    def _alone(self, folder: Path) -> Iterator[None]:
        """One delivery of a dataset at a time."""
        lock = FileLock(folder / ".lock", timeout=self.wait_seconds)
        try:
            lock.acquire()
        except Timeout:
            raise DestinationUnavailable(
                f"{self.name}: another delivery holds {folder}", remedy="it is tried again"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _replaced(self, folder: Path, table: Table, delivery: str) -> Outcome:
        held = self.manifest(table.dataset)
        window = _span(table)
        if held and any(_overlap(span, window) and span.generation > table.generation for span in held.spans):
            return Outcome.SUPERSEDED
        columns = self._columns(table, held)
        gone = _replaced_by(table, held) if held else ()
        kept = tuple(file for file in held.files if file not in gone) if held else ()
        new = tuple(_named(table.dataset, file) for file in table.files)
        for source, file in zip(table.files, new, strict=True):
            target = folder / file.file
            if not (target.is_file() and target.stat().st_size == file.bytes):
                _copied(source, target)
        disk.synced(folder)
        files = tuple(sorted((*kept, *new), key=lambda file: file.month or ""))
        manifest = Manifest(
            dataset=table.dataset,
            generation=table.generation,
            delivered_at=datetime.now(UTC),
            delivery_id=delivery,
            window=window,
            rows=sum(file.rows for file in files),
            bytes=sum(file.bytes for file in files),
            key=table.key,
            columns=columns,
            files=files,
            spans=tuple(_laid(window, held.spans if held else ())),
        )
        for file in gone:  # their grace time begins now; before the rename, for a kill between the two
            if (folder / file.file).exists():
                os.utime(folder / file.file)
        _put(folder / MANIFEST, manifest)
        self._swept(folder, {file.file for file in files})
        return Outcome.DELIVERED

    def _columns(self, table: Table, held: Manifest | None) -> tuple[ManifestColumn, ...]:
        """The manifest's columns after the delivery.

        Raises:
            DestinationRefused: where files that readers know have another type for a column.
        """
        distinct(table.schema.names, str, at=f"{self.name}: {table.dataset}")
        columns = tuple(
            ManifestColumn(name=one.name, type=_type(one), nullable=one.nullable, description=description(one))
            for one in table.schema
        )
        before = {column.name: column for column in held.columns} if held else {}
        wanted = {column.name: column.type for column in columns}
        change = Evolution.between({name: one.type for name, one in before.items()}, wanted, widens=_WIDENS)
        if change.retyped:
            name = change.retyped[0]
            raise DestinationRefused(
                f"{self.name}: {table.dataset}.{name} is {before[name].type} there and {wanted[name]} now",
                remedy=f"look who reads it, then run: rm -r {quote(str(self._folder(table.dataset)))}",
            )
        return (*columns, *(column for name, column in before.items() if name not in wanted))

    def _swept(self, folder: Path, named: set[str]) -> None:
        """Remove files of ours that nobody has named for the grace time: retired ones, and a killed delivery's."""
        until = time.time() - self.grace_seconds
        for path in folder.iterdir():
            if path.name not in named and _OURS.fullmatch(path.name) and path.stat().st_mtime < until:
                path.unlink()

    def _logged(self, entry: Entry) -> None:
        folder = self._root / LOG / entry.dataset
        folder.mkdir(parents=True, exist_ok=True)
        _put(folder / f"{entry.finished_at:%Y%m%dT%H%M%S}-{entry.delivery_id}.json", entry)
        oldest = f"{entry.finished_at - KEPT:%Y%m%dT%H%M%S}"
        for path in folder.glob("*.json"):
            if path.name < oldest:
                path.unlink()


def _refuse_window(table: Table) -> None:
    """Refuse a window that is not whole months: files are replaced by the month."""
    window = table.window
    if window is None:
        return
    edges = [edge for edge in (window.start, window.end) if edge is not None]
    outside = [file for file in table.files if file.month is None or not window.holds(file.month.start)]
    if any(edge != Month.of(edge).start for edge in edges) or outside:
        raise DestinationRefused(
            f"{table.dataset}: files take whole months, not the window {window}", remedy="deliver whole months"
        )


def _replaced_by(table: Table, held: Manifest) -> tuple[ManifestFile, ...]:
    """The files whose rows the table replaces."""
    if table.window is None:
        return held.files
    if any(file.month is None for file in held.files):
        raise DestinationRefused(
            f"{table.dataset}: it lies there whole, not by month", remedy="move the dataset's folder away"
        )
    return tuple(file for file in held.files if file.month and table.window.holds(Month.parse(file.month).start))


def _compared(table: Table, theirs: list[str], held: Manifest) -> tuple[int, int, int]:
    wanted = types(table.schema)
    columns = {column.name: "VARCHAR" for column in held.columns}
    with duckdb.connect(config={"temp_directory": "", "autoinstall_known_extensions": False}) as connection:
        ours = parquet(table.paths, wanted)
        return differences(connection, ours, parquet(theirs, columns), wanted=wanted, key=table.key)


def _type(field: pa.Field[pa.DataType]) -> str:
    return "json" if is_json(field) else str(field.type)


def _named(dataset: str, file: DataFile) -> ManifestFile:
    """The file's name says what it holds: a name is never used for other bytes."""
    month = f"{file.month}-" if file.month else ""
    return ManifestFile(
        file=f"{dataset}-{month}{file.generation}-{file.sha256[:12]}.parquet",
        rows=file.rows,
        bytes=file.bytes,
        sha256=file.sha256,
        generation=file.generation,
        month=str(file.month) if file.month else None,
    )


def _copied(file: DataFile, target: Path) -> None:
    """Copy a file of the store, whole or not at all, and proven by its checksum.

    Raises:
        StoreDamaged: where the store's file is missing or is not what it was.
    """
    part = target.with_name(f"{target.name}.part")
    if not Path(file.path).is_file():
        raise StoreDamaged(f"{file.path} is missing", remedy="refresh the dataset")
    shutil.copyfile(file.path, part)
    # The disk is slower than the checksum: both at once take what a copy without one takes.
    with part.open("rb+") as copy, ThreadPoolExecutor(1) as beside:
        synced = beside.submit(os.fsync, copy.fileno())
        digest = hashlib.file_digest(copy, "sha256").hexdigest()
        synced.result()
    if digest != file.sha256:
        raise StoreDamaged(f"{file.path} is not what its checksum says", remedy="refresh the dataset")
    part.replace(target)


def _put(path: Path, what: msgspec.Struct) -> None:
    """Write a small JSON file, whole or not at all, to outlast a power cut."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(what), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    disk.synced(path.parent)


def _span(table: Table) -> Span:
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
