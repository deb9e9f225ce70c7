"""Raw reads at rest: pages exactly as they came, in Parquet, compressed.

One file a read and refresh, one row a page: when it was taken, the filter it was asked with, its body. Any tool
that reads Parquet can look into it, and it can be typed again without reading the account.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from mogul_assets.account.pages import Page

_SCHEMA = pa.schema(
    [
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("taken_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("body", pa.binary(), nullable=False),
    ]
)
_GROUP_BYTES = 4 << 20
"""Bodies held before they are compressed and written: the memory a read takes."""


class RawWriter:
    """Lands the pages of one read in one file. A context manager; a ``PageSink``."""

    def __init__(self, path: Path, read: str) -> None:
        self.path, self.read = path, read
        self.pages = 0
        self.bytes = 0
        self._held: list[Page] = []
        self._held_bytes = 0

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        schema = _SCHEMA.with_metadata({"read": self.read})
        self._parquet = pq.ParquetWriter(
            self.path,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )
        return self

    def put(self, page: Page) -> None:
        self._held.append(page)
        self._held_bytes += len(page.body)
        self.pages += 1
        self.bytes += len(page.body)
        if self._held_bytes >= _GROUP_BYTES:
            self._write()

    def _write(self) -> None:
        if not self._held:
            return
        columns = [
            [page.sequence for page in self._held],
            [page.taken_at for page in self._held],
            [json.dumps(dict(page.shard), sort_keys=True) for page in self._held],
            [page.body for page in self._held],
        ]
        batch = pa.RecordBatch.from_arrays(
            [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA
        )
        self._parquet.write_batch(batch)
        self._held, self._held_bytes = [], 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._write()
        finally:
            self._parquet.close()


def pages(read: str, files: Sequence[Path]) -> Iterator[Page]:
    """The pages of landed files, in the order in which they were taken, a row group in memory at a time."""
    for file in files:
        with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
            for group in range(parquet.num_row_groups):
                for row in parquet.read_row_group(group).to_batches():
                    for sequence, taken_at, shard, body in zip(
                        *(column.to_pylist() for column in row.columns), strict=True
                    ):
                        yield Page(read, body, sequence, taken_at.astimezone(UTC), json.loads(shard))


def taken_at(file: Path) -> datetime | None:
    """When the first page of a landed file was taken."""
    first = next(pages("", [file]), None)
    return first.taken_at if first else None
