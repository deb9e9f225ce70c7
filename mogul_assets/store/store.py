"""The store: raw reads, datasets and their pointers, and what each delivery last achieved, in one folder.

::

    raw/<read>/<generation>.parquet             pages as they came
    data/<dataset>/<generation>/….parquet       typed, sorted, never changed
    quarantine/<read>/<generation>.parquet      rows that could not be read, with the reason
    pointers/raw/<read>.json                    which raw reads stand
    pointers/<group>.json                       which files are the datasets; those of one read move together
    watermarks/<destination>/<dataset>.json     what was last delivered
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import filelock
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from mogul_assets.account.pages import Page
from mogul_assets.catalog.columns import Dataset, Group
from mogul_assets.catalog.datasets import DATASETS, KNOWN, MOVEMENT_NEWS
from mogul_assets.catalog.window import BEGINNING, CLOCKS_APART, Month, Window
from mogul_assets.errors import StoreBusy, StoreDamaged, StoreTooNew
from mogul_assets.guard import loss
from mogul_assets.store import durable, raw
from mogul_assets.store.raw import RawWriter
from mogul_assets.store.table import DataFile, Table
from mogul_assets.store.tolerant import Rejected

_T = TypeVar("_T")

FORMAT = 2
"""Of pointers and of what they name. A change that an older reader would misread makes it one more: what is older then
is made again by the next refresh."""
WATERMARKS = "watermarks"
GONE_ENTRIES = "gone"
"""Fact of a partial read: the entries of the list that the account has no more."""
INCIDENTS = "incidents.json"
"""What is wrong now, and who was told of it: kept by ``alerts``."""
NEWS_LOCK = "news.lock"
"""The file that is held by who reads the news, beside a refresh, which holds the store."""
GRACE_SECONDS = 24 * 3600
"""How long files stay that no pointer names: longer than any delivery that may still read them."""


class RawRead(msgspec.Struct, frozen=True):
    """One landed read: its file (relative), pages, bytes as they came, and for windowed reads its span."""

    generation: str
    file: str
    read_at: datetime
    pages: int
    bytes: int
    start: datetime | None = None
    end: datetime | None = None
    facts: dict[str, Any] = {}
    """What the reader said of it: rows, requests, retries, warnings."""
    partial: bool = False
    """Of a list: what is new since the read before. It adds to that one, and does not take its place."""
    format: int = FORMAT

    @property
    def window(self) -> Window | None:
        return None if self.start is None else Window(self.start, self.end)


class Entry(msgspec.Struct, frozen=True):
    """One dataset in a pointer."""

    files: list[dict[str, Any]]
    columns: list[list[str]]


class Pointer(msgspec.Struct, frozen=True):
    """Which files are the datasets of one group. ``open_from`` is the month that was the last when it was read."""

    generation: str
    read_at: datetime
    datasets: dict[str, Entry]
    typed_from: list[str]
    """The raw generations that are in it."""
    open_from: str | None = None
    checks: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}
    """What the refresh found: drift, quarantine, copies, warnings."""
    format: int = FORMAT


class _Written(msgspec.Struct, frozen=True):
    """All that may be asked of what another version wrote."""

    format: int = 1


class Chosen(msgspec.Struct, frozen=True):
    """What of a dataset a destination was to get, as digests: by which settings, and whom those meant among customers.

    Empty where that was all of it.
    """

    settings: str = ""
    customers: str = ""


EVERYTHING = Chosen()


class Watermark(msgspec.Struct, frozen=True):
    """What a delivery last achieved, and what went wrong since.

    ``files`` are the checksums delivered, of the store's own files, and ``rows_by_month`` the rows that were sent of
    them, by month (``""`` where it has none); which of them those were, ``chosen`` says.

    ``failures`` counts the tries that failed since the last success, the first of them at ``failing_since``, the last
    at ``failed_at``; ``attempts`` those of the last series: a try of its own and the further ones that it led to.
    ``due_at`` is when the next of those is to begin; ``None``: not by itself. Of the last failure, ``remedy`` is what
    helps, in the same words however the error is worded, ``transient`` whether waiting can, and ``held`` whether the
    guard held it back. ``location`` is where it arrived.
    """

    generation: str = ""
    delivered_at: datetime | None = None
    read_at: datetime | None = None
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    files: dict[str, str] = {}
    rows_by_month: dict[str, int] = {}
    error: str | None = None
    remedy: str = ""
    failing_since: datetime | None = None
    failed_at: datetime | None = None
    transient: bool = False
    held: bool = False
    failures: int = 0
    attempts: int = 0
    due_at: datetime | None = None
    location: str = ""
    chosen: Chosen = EVERYTHING


_OF_FAILURES = (
    *("error", "remedy", "failing_since", "failed_at", "transient", "held", "failures", "attempts", "due_at"),
)
"""What of a watermark went wrong since the last success."""


def group_of(dataset: Dataset) -> str:
    """The pointer that a dataset moves with: those of one raw read move together."""
    if dataset.group is Group.CALCULATED or dataset is MOVEMENT_NEWS:
        return f"{dataset.group}/{dataset.name}"
    return f"{Group.SOURCE}/{dataset.read}"


class Store:
    """The store under one folder. Reading needs no lock; one process writes at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def __repr__(self) -> str:
        return f"<Store {self.root}>"

    # -- one writer -----------------------------------------------------------------------------------------

    @contextmanager
    def writing(self, *, wait: float = 20) -> Iterator[None]:
        """Hold the store as its one writer.

        Raises:
            StoreBusy: where another process still writes after ``wait`` seconds; the message names it.
            StoreUnwritable: where the folder cannot be written to.
        """
        with durable.writing_to(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            holder = self.root / "writer"
            lock = filelock.FileLock(self.root / "writer.lock")
            try:
                lock.acquire(timeout=wait)
            except filelock.Timeout:
                who = holder.read_text() if holder.exists() else "another process"
                raise StoreBusy(
                    f"{who} writes to the store {self.root}", remedy="wait for it to end; this is tried again"
                ) from None
            with lock:
                holder.write_text(f"process {os.getpid()}")
                yield

    # -- raw reads ------------------------------------------------------------------------------------------

    @contextmanager
    def landing(self, read: str, generation: str, window: Window | None = None) -> Iterator[RawLanding]:
        """Land one read; when the block ends well, its pages stand.

        A whole read takes the place of those before; one that the landing is told to be partial stands beside them.
        A windowed one covers its window, and those before it stay for the months that it does not.
        """
        file = self.root / "raw" / read / f"{generation}.parquet"
        with self._raw_file(file, read) as writer:
            landing = RawLanding(writer)
            yield landing
        landed = RawRead(
            generation,
            str(file.relative_to(self.root)),
            datetime.now(UTC) if landing.read_at is None else landing.read_at,
            writer.pages,
            writer.bytes,
            window.start if window else None,
            window.end if window else None,
            landing.facts,
            landing.partial,
        )
        before = [r for r in self.raw_reads(read) if r.generation != generation]
        standing = [*_uncovered(before, landed), landed]
        self._replace(f"raw/{read}", msgspec.json.encode(standing))

    def land_again(self, landed: RawRead, pages: Iterable[Page]) -> None:
        """Put these pages in the place of those of a read that stands; what is known of the read stays."""
        file = self._existing(landed.file)
        with self._raw_file(file, file.parent.name) as writer:
            for page in pages:
                writer.put(page)

    def name_no_more(self, read: str, entry: str) -> None:
        """Let no read that stands name this entry of its list among those that are gone."""
        standing = self.raw_reads(read)
        if any(entry in each.facts.get(GONE_ENTRIES, []) for each in standing):
            changed = [
                msgspec.structs.replace(
                    each,
                    facts={
                        **each.facts,
                        GONE_ENTRIES: [one for one in each.facts.get(GONE_ENTRIES, []) if one != entry],
                    },
                )
                for each in standing
            ]
            self._replace(f"raw/{read}", msgspec.json.encode(changed))

    @contextmanager
    def _raw_file(self, file: Path, read: str) -> Iterator[RawWriter]:
        """What writes a file of pages, which is there when the block ended well."""
        part = file.with_suffix(".part")
        with durable.writing_to(self.root):
            with RawWriter(part, read) as writer:
                yield writer
            durable.settle(part)
            part.replace(file)
            durable.settle(file.parent)

    def raw_reads(self, read: str) -> list[RawRead]:
        """The raw reads that stand, oldest first: of a list the last whole one and the partial ones since.

        Those of an older format do not stand.

        Raises:
            StoreTooNew: a newer version wrote them.
            StoreDamaged: they are not as the store wrote them.
        """
        path = self._pointer(f"raw/{read}")
        written = self._read(path, list[_Written]) or []
        if not written or not all(_readable(one, path) for one in written):
            return []
        return self._read(path, list[RawRead]) or []

    def quarantine(self, read: str, generation: str, rows: Sequence[Rejected]) -> Path:
        """Keep rows that could not be read, with the reason, to look into and to read again."""
        file = self.root / "quarantine" / read / f"{generation}.parquet"
        with durable.writing_to(self.root):
            file.parent.mkdir(parents=True, exist_ok=True)
            columns = {name: [getattr(row, name) for row in rows] for name in ("dataset", "reason", "body")}
            pq.write_table(pa.table(columns), file, compression="zstd")
        return file

    def raw_pages(self, landed: RawRead) -> Iterator[Page]:
        """The pages of a read, in the order in which they were taken.

        Raises:
            StoreDamaged: where the file is missing, or its content is not what was written.
        """
        file = self._existing(landed.file)
        try:
            yield from raw.pages(file.parent.name, [file])
        except (OSError, pa.ArrowException) as error:
            raise _damaged(file, "cannot be read") from error

    # -- datasets -------------------------------------------------------------------------------------------

    def folder(self, dataset: Dataset, generation: str) -> Path:
        """Where the dataset's files of one generation are written."""
        return self.root / "data" / dataset.name / generation

    def scratch(self, generation: str, step: str) -> Path:
        """Where typed parts and spills of one step go; what a killed one leaves, the next purge removes."""
        return self.root / "scratch" / generation / step

    def publish(
        self,
        files: Mapping[Dataset, Sequence[DataFile]],
        *,
        generation: str,
        read_at: datetime,
        typed_from: Sequence[str],
        open_from: Month | None = None,
        checks: Sequence[dict[str, Any]] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Move the pointer of a group to new files, which are kept as they are from now on.

        A file equal to the one it would replace is dropped, and the old one stays. One that goes out of use is
        touched: its grace time begins now. An older generation never takes the place of a newer one: then
        nothing moves. One read at a moment that is still ahead, by a clock that was wrong, is no newer one.
        """
        (group,) = {group_of(dataset) for dataset in files}
        before = self.pointer(group)
        ahead = before is not None and before.read_at > datetime.now(UTC) + CLOCKS_APART
        if before is not None and before.generation > generation and not ahead:
            return
        entries = {}
        with durable.writing_to(self.root):
            for dataset, written in files.items():
                kept = [self._keep(file, before, dataset) for file in written]
                folder = self.folder(dataset, generation)
                if folder.exists():
                    durable.settle(folder)
                entries[dataset.name] = Entry(kept, _columns(dataset))
            pointer = Pointer(
                generation,
                read_at,
                entries,
                list(typed_from),
                str(open_from) if open_from else None,
                list(checks),
                dict(facts or {}),
            )
            for gone in _paths(before) - _paths(pointer):
                if (self.root / gone).exists():
                    (self.root / gone).touch()
            self._replace(group, msgspec.json.format(msgspec.json.encode(pointer), indent=1))

    def _keep(self, file: DataFile, before: Pointer | None, dataset: Dataset) -> dict[str, Any]:
        month = str(file.month) if file.month else None
        for old in before.datasets[dataset.name].files if before and dataset.name in before.datasets else []:
            there = self.root / old["path"]
            whole = there.is_file() and there.stat().st_size == old["bytes"]
            if whole and old["sha256"] == file.sha256 and old["month"] == month:
                if old["path"] != self._relative(file.path):
                    Path(file.path).unlink()
                return dict(old)
        durable.settle(Path(file.path))
        return {
            "path": self._relative(file.path),
            "rows": file.rows,
            "bytes": file.bytes,
            "sha256": file.sha256,
            "generation": file.generation,
            "month": month,
        }

    def _relative(self, path: str) -> str:
        return str(Path(path).relative_to(self.root))

    def pointer(self, group: str) -> Pointer | None:
        """What stands of a group; ``None`` where it was never published, or by an earlier version.

        Its columns have to be those of the catalogue: what was written before it changed is read from no more, and
        made again by the next refresh.

        Raises:
            StoreTooNew: a newer version wrote it.
            StoreDamaged: it is not as the store wrote it.
        """
        path = self._pointer(group)
        written = self._read(path, _Written)
        if written is None or not _readable(written, path):
            return None
        pointer = self._read(path, Pointer)
        return pointer if pointer is not None and _of_this_catalogue(pointer) else None

    def table(
        self, dataset: str, first: Month | None = None, last: Month | None = None, *, since: Month | None = None
    ) -> Table | None:
        """The dataset, or its months ``first`` to ``last``; ``None`` where it was never published.

        A range that reaches the month that was the last when it was read means that month and every later
        one; one that begins at ``since``, the account's first month, takes everything older.

        Raises:
            StoreDamaged: where a file that the pointer names is missing or not of the size it had.
        """
        known = KNOWN[dataset]
        pointer = self.pointer(group_of(known))
        if pointer is None or dataset not in pointer.datasets:
            return None
        files = [self._file(file) for file in pointer.datasets[dataset].files]
        window = None
        if known.window is not None:
            open_from = Month.parse(pointer.open_from) if pointer.open_from else None
            opened = last is None or (open_from is not None and last >= open_from)
            window = Window(
                BEGINNING if first is None or first == since else first.start,
                None if opened or last is None else last.plus(1).start,
            )
            files = [file for file in files if file.month is not None and window.holds(file.month.start)]
        for file in files:
            self._existing(self._relative(file.path), file.bytes)
        return Table(
            dataset,
            pointer.generation,
            known.schema,
            known.key,
            tuple(files),
            pointer.read_at,
            window,
            known.window,
        )

    def _file(self, file: Mapping[str, Any]) -> DataFile:
        return DataFile(
            str(self.root / file["path"]),
            file["rows"],
            file["bytes"],
            file["sha256"],
            file["generation"],
            Month.parse(file["month"]) if file["month"] else None,
        )

    # -- deliveries -----------------------------------------------------------------------------------------

    def watermark(self, destination: str, dataset: str) -> Watermark:
        """What the delivery last achieved. Of one that cannot be read only that is known: all is delivered again."""
        try:
            mark = self._read(self._watermark(destination, dataset), Watermark) or Watermark()
        except StoreDamaged as damaged:
            mark = Watermark(error=damaged.message)
        if mark.error is None or mark.failures:
            return mark
        # An earlier version knew of its last series only.
        return msgspec.structs.replace(mark, failures=max(mark.attempts, 1), failing_since=mark.failed_at)

    def rename(self, renamed: Mapping[str, str]) -> None:
        """Let what was delivered to a destination (old name to new) count for its new name, which was never seen."""
        for before, name in renamed.items():
            old, new = (self.root / WATERMARKS / each for each in (before, name))
            if old.is_dir() and not new.exists():
                with durable.writing_to(self.root), suppress(FileNotFoundError):  # another process did it
                    old.rename(new)

    def mark(self, destination: str, dataset: str, watermark: Watermark) -> None:
        with durable.writing_to(self.root):
            durable.replace(self._watermark(destination, dataset), msgspec.json.encode(watermark))

    def delivered(
        self,
        destination: str,
        table: Table,
        *,
        rows: int,
        bytes_: int,
        seconds: float,
        location: str = "",
        anew: bool = False,
        sent: Table | None = None,
        chosen: Chosen = EVERYTHING,
    ) -> None:
        """Record that a table arrived: months outside its window keep what they had.

        They have nothing where the table was made ``anew``, or lies at another ``location`` than before, or where
        other rows were ``chosen``. While some month is still to come, what was due or wrong stays so: one month by
        hand is not the whole. ``sent`` is the table as it was chosen, where that was not all of it.
        """
        before = self.watermark(destination, table.dataset)
        elsewhere = before.location not in {"", location} or before.chosen != chosen
        kept = {
            month
            for month in before.files
            if not (anew or elsewhere) and table.window is not None and not table.window.holds(Month.parse(month).start)
        }
        outside = {month: before.files[month] for month in kept}
        files = {**outside, **{str(file.month or ""): file.sha256 for file in table.files}}
        arrived: dict[str, Any] = {
            "delivered_at": datetime.now(UTC),
            "rows": rows,
            "bytes": bytes_,
            "seconds": seconds,
            "files": files,
            "rows_by_month": {
                **{month: before.rows_by_month.get(month, 0) for month in kept},
                **rows_by_month(sent or table),
            },
            "location": location,
            "chosen": chosen,
        }
        if table.window is not None and _differing(self._standing(table.dataset) or {}, files):
            mark = msgspec.structs.replace(before, **arrived)
        else:
            mark = Watermark(generation=table.generation, read_at=table.read_at, **arrived)
        self.mark(destination, table.dataset, mark)

    def lost(
        self,
        destination: str,
        table: Table,
        share: float | None,
        *,
        sent: Table | None = None,
        chosen: Chosen = EVERYTHING,
    ) -> str | None:
        """What a delivery of this table would lose that it must not, by what was delivered last; see ``guard.loss``.

        What other settings chose tells nothing of that: the first delivery after those changed is let through.
        """
        mark, window = self.watermark(destination, table.dataset), table.window
        if mark.chosen.settings != chosen.settings:
            return None
        before = mark.rows_by_month
        here = {name: rows for name, rows in before.items() if window is None or window.holds(Month.parse(name).start)}
        return loss(here, rows_by_month(sent or table), share)

    def failed(
        self,
        destination: str,
        dataset: str,
        error: str,
        *,
        remedy: str = "",
        transient: bool = False,
        held: bool = False,
        at: datetime | None = None,
        again_after: Sequence[timedelta] = (),
        again: bool = False,
    ) -> None:
        """Record why a delivery failed, and when it is due again.

        Args:
            destination: its name.
            dataset: its name.
            error: one line, without secrets and customers' data.
            remedy: what helps.
            transient: whether waiting can help.
            held: whether the guard held it back.
            at: when it failed (UTC); now, where it is left out.
            again_after: how long after its failure each further try begins; empty where none is to be made.
            again: whether this was such a further try; else it is the first of a new series.
        """
        at, before = at or datetime.now(UTC), self.watermark(destination, dataset)
        attempts = before.attempts + 1 if again else 1
        due_at = at + again_after[attempts - 1] if attempts <= len(again_after) else None
        mark = msgspec.structs.replace(
            before,
            error=error,
            remedy=remedy,
            failing_since=before.failing_since or at,
            failed_at=at,
            transient=transient,
            held=held,
            failures=before.failures + 1,
            attempts=attempts,
            due_at=due_at,
        )
        self.mark(destination, dataset, mark)

    def told(
        self, destination: str, dataset: str, table: Table, *, rows: int, bytes_: int, seconds: float, location: str
    ) -> None:
        """Record that messages told what a table says of a dataset. The ledger knows which."""
        mark = Watermark(
            generation=table.generation,
            delivered_at=datetime.now(UTC),
            read_at=table.read_at,
            rows=rows,
            bytes=bytes_,
            seconds=seconds,
            location=location,
        )
        self.mark(destination, dataset, mark)

    def superseded(self, destination: str, dataset: str) -> None:
        """Record that the destination holds newer data than was sent: nothing is wrong with it any more."""
        before, fresh = self.watermark(destination, dataset), Watermark()
        cleared = {name: getattr(fresh, name) for name in _OF_FAILURES}
        self.mark(destination, dataset, msgspec.structs.replace(before, **cleared))

    def stale_from(self, destination: str, dataset: str, chosen: Chosen = EVERYTHING) -> Month | None:
        """The first month that the destination does not hold as it stands here; ``None``: it holds all.

        Where something else was ``chosen`` at the last delivery, it holds none.
        """
        if DATASETS[dataset].window is None or (here := self._standing(dataset)) is None:
            return None
        mark = self.watermark(destination, dataset)
        differing = _differing(here, mark.files) if mark.chosen == chosen else here.keys() | mark.files.keys()
        return min(map(Month.parse, differing), default=None)

    def _standing(self, dataset: str) -> dict[str, str] | None:
        """The checksums of a windowed dataset by month, as the pointer has them; ``None``: it was never published."""
        pointer = self.pointer(group_of(DATASETS[dataset]))
        if pointer is None or dataset not in pointer.datasets:
            return None
        return {file["month"]: file["sha256"] for file in pointer.datasets[dataset].files}

    def _watermark(self, destination: str, dataset: str) -> Path:
        return self.root / WATERMARKS / destination / f"{dataset}.json"

    # -- housekeeping ---------------------------------------------------------------------------------------

    def purge(self, *, grace_seconds: float = GRACE_SECONDS) -> list[Path]:
        """Remove files that no pointer names and that are older than the grace time; say which."""
        named = {
            Path("raw") / Path(r.file).parent.name / Path(r.file).name
            for g in self._groups("raw")
            for r in self.raw_reads(g)
        }
        for group in Group:
            for name in self._groups(group.value):
                named |= {Path(path) for path in _paths(self.pointer(f"{group.value}/{name}"))}
        removed, now = [], datetime.now(UTC).timestamp()
        for folder in ("raw", "data", "scratch"):
            for path in sorted((self.root / folder).rglob("*")):
                aged = path.is_file() and now - path.stat().st_mtime > grace_seconds
                if aged and path.relative_to(self.root) not in named:
                    path.unlink()
                    removed.append(path)
            for path in sorted((self.root / folder).rglob("*"), reverse=True):
                if path.is_dir() and not any(path.iterdir()) and now - path.stat().st_mtime > grace_seconds:
                    path.rmdir()
        return removed

    def purge_quarantine(self, before: datetime) -> list[Path]:
        """Remove rows that could not be read before this moment; say which files they were in."""
        old = [
            path
            for path in sorted((self.root / "quarantine").rglob("*.parquet"))
            if path.stat().st_mtime < before.timestamp()
        ]
        for path in old:
            path.unlink()
        return old

    def clear_scratch(self, generation: str, step: str) -> None:
        shutil.rmtree(self.scratch(generation, step), ignore_errors=True)

    def _groups(self, folder: str) -> list[str]:
        return [path.stem for path in sorted((self.root / "pointers" / folder).glob("*.json"))]

    # -- pointers -------------------------------------------------------------------------------------------

    def _replace(self, name: str, content: bytes) -> None:
        with durable.writing_to(self.root):
            durable.replace(self._pointer(name), content)

    def _pointer(self, name: str) -> Path:
        return self.root / "pointers" / f"{name}.json"

    def _read(self, path: Path, kind: type[_T]) -> _T | None:
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise _damaged(path, "is not as the store wrote it") from error

    def _existing(self, relative: str, size: int | None = None) -> Path:
        path = self.root / relative
        found = path.stat().st_size if path.exists() else None
        if found is None or size not in {None, found}:
            raise _damaged(path, "is missing" if found is None else "is not as long as it was")
        return path


class RawLanding:
    """The sink of a read that is being landed, and what is to be remembered of it."""

    def __init__(self, writer: RawWriter) -> None:
        self.put = writer.put
        self.facts: dict[str, Any] = {}
        self.partial = False
        self.read_at: datetime | None = None


def rows_by_month(table: Table) -> dict[str, int]:
    """The table's rows by month; under ``""`` where it has none."""
    rows: dict[str, int] = {}
    for file in table.files:
        month = str(file.month or "")
        rows[month] = rows.get(month, 0) + file.rows
    return rows


def _columns(dataset: Dataset) -> list[list[str]]:
    return [[field.name, str(field.type)] for field in dataset.schema]


def _readable(written: _Written, path: Path) -> bool:
    """Whether it is of this format; ``False`` where it is older."""
    if written.format > FORMAT:
        raise StoreTooNew(
            f"{path} of the store was written by a newer version ({written.format}; this one knows {FORMAT})",
            remedy="run the newer version, or restore the backup from before it",
        )
    return written.format == FORMAT


def _of_this_catalogue(pointer: Pointer) -> bool:
    """Whether what it names has the columns that the catalogue says."""
    return all(name in KNOWN and entry.columns == _columns(KNOWN[name]) for name, entry in pointer.datasets.items())


def _damaged(path: Path, what: str) -> StoreDamaged:
    return StoreDamaged(
        f"{path}, which the store needs, {what}",
        remedy="restore it from a backup; or remove it and read the account again: mogul sync --full",
    )


def _paths(pointer: Pointer | None) -> set[str]:
    """The files, relative to the store, that a pointer names."""
    return {file["path"] for entry in pointer.datasets.values() for file in entry.files} if pointer else set()


def _uncovered(before: Sequence[RawRead], landed: RawRead) -> list[RawRead]:
    """Those of the earlier reads that hold something the new one does not cover."""
    window = landed.window
    if window is None:
        return list(before) if landed.partial else []
    return [read for read in before if read.window is None or not window.covers(read.window)]


def _differing(here: Mapping[str, str], there: Mapping[str, str]) -> set[str]:
    """The months whose checksums are not the same."""
    return {month for month in here.keys() | there.keys() if here.get(month) != there.get(month)}
