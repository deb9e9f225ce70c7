"""The handle that assets pass each other: which files, of what schema, of which window; never rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex

import pyarrow as pa
import pyarrow.parquet as pq

from mogul_assets.catalog.window import Month, Window

BATCH_ROWS = 65_536


def new_generation(now: datetime | None = None, *, suffix: str = "") -> str:
    """A name for one refresh's files that sorts by time: ``20261123T020512.123456Z-a1b2``.

    With a ``suffix`` of four hexadecimal digits the same arguments give the same name.
    """
    return f"{now or datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{suffix or token_hex(2)}"


def generation_after(generation: str) -> str:
    """The name that follows: of the same reading, told again, whatever the clock says meanwhile."""
    moment, _, suffix = generation.rpartition("-")
    at = datetime.strptime(moment, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    return new_generation(at + timedelta(microseconds=1), suffix=suffix)


GENERATION = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{4}")


@dataclass(frozen=True, slots=True)
class DataFile:
    """One Parquet file of a dataset, never changed once written.

    ``month`` is set for windowed datasets, whose rows all fall into it. ``generation`` is the refresh that
    wrote the file, which may be older than the table's: a month that did not change keeps its file.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    generation: str
    month: Month | None = None


def conforming(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Rows with exactly the columns of ``schema``: by name, and null where a file of an older generation lacks one.

    Raises:
        pyarrow.ArrowInvalid: a value that its column's type does not hold.
    """
    arrays = [
        batch[field.name].cast(field.type) if field.name in batch.schema.names else pa.nulls(len(batch), field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


@dataclass(frozen=True)
class Table:
    """A dataset, or the window of one, at one generation.

    Rows are unique by ``key`` and sorted by it within each file; files of a windowed dataset are in the
    order of their months. ``window`` is ``None`` for a snapshot: the files are then the whole dataset.
    ``read_at`` is when the account was read (UTC). ``choice`` says in words what a destination's entry chose of
    it, where this is not all.
    """

    dataset: str
    generation: str
    schema: pa.Schema
    key: tuple[str, ...]
    files: tuple[DataFile, ...]
    read_at: datetime
    window: Window | None = None
    window_column: str | None = None
    choice: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def origin(self) -> str:
        """The dataset by its own name; ``dataset`` is what it is called where it goes."""
        return self.choice.get("dataset", self.dataset)

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def paths(self) -> list[str]:
        return [file.path for file in self.files]

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """The rows, in order, at most ``rows`` at a time: memory does not grow with the table."""
        for file in self.files:
            # Buffered ahead, what was read is kept until the file is closed.
            with pq.ParquetFile(Path(file.path), pre_buffer=False) as parquet:
                for batch in parquet.iter_batches(rows):
                    yield conforming(batch, self.schema)

    def __repr__(self) -> str:
        window = "" if self.window is None else f", {self.window}"
        return f"<Table {self.dataset}{window}: {self.rows} rows, generation {self.generation}>"
