"""Data files of a delivery: Parquet, CSV or JSON lines, compressed, in parts of a bounded size.

Whatever the store's own files are already is passed on as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Protocol, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from mogul_assets.destinations.columns import is_json
from mogul_assets.destinations.relations import parquet
from mogul_assets.errors import StoreDamaged
from mogul_assets.store.sql import connect, literal, quoted
from mogul_assets.store.table import DataFile, conforming

_ENDINGS = {"zstd": ".zst", "gzip": ".gz", "none": ""}
_ROWS = 65_536
"""Rows in memory at a time, and in a row group."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How data files are written: ``format`` parquet, csv or jsonl; ``compression`` zstd, gzip or none.

    A file ends with the batch of rows in which it reaches ``bytes``.
    """

    format: str
    compression: str
    bytes: int

    @property
    def ext(self) -> str:
        return self.format if self.format == "parquet" else self.format + _ENDINGS[self.compression]

    def takes(self, file: DataFile) -> bool:
        """Whether the store's own file is what is wanted."""
        return self.format == "parquet" and self.compression == "zstd" and file.bytes <= self.bytes


@dataclass(frozen=True, slots=True)
class Part:
    path: Path
    rows: int
    bytes: int
    sha256: str


def parts(file: DataFile, schema: pa.Schema, layout: Layout, folder: Path) -> Iterator[Part]:
    """The data files that a file of the store becomes: itself, or files in ``folder``, each removed before the next.

    Raises:
        StoreDamaged: where the store's file is missing, or is not what its checksum says.
    """
    source = Path(file.path)
    if not source.is_file():
        raise StoreDamaged(f"{source} is missing", remedy="refresh the dataset")
    if layout.takes(file):
        yield Part(source, file.rows, file.bytes, file.sha256)
        return
    proven(source, file.sha256)
    for path, rows in _written(source, schema, layout, folder):
        yield Part(path, rows, path.stat().st_size, _digest(path))
        path.unlink()


def proven(path: Path, sha256: str) -> None:
    """See that the file is what its checksum says.

    Raises:
        StoreDamaged: where it is not.
    """
    if _digest(path) != sha256:
        raise StoreDamaged(f"{path} is not what its checksum says", remedy="refresh the dataset")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def relation(written_as: str, paths: Sequence[str], columns: Mapping[str, str]) -> str:
    """The rows of data files as DuckDB reads them; ``columns`` are DuckDB's types by name."""
    if not paths or written_as == "parquet":
        return parquet(paths, columns)
    files = ", ".join(map(literal, paths))
    types = ", ".join(f"{quoted(name)}: {literal(kind)}" for name, kind in columns.items())
    if written_as == "jsonl":
        return (
            f"read_json([{files}], format = 'newline_delimited', columns = {{{types}}}, maximum_object_size = {2**30})"
        )
    reading = "header = true, quote = '\"', escape = '\"', allow_quoted_nulls = false, auto_detect = false"
    return f"read_csv([{files}], {reading}, nullstr = '', max_line_size = {2**30}, columns = {{{types}}})"


class _Writer(Protocol):
    def write_batch(self, batch: pa.RecordBatch) -> object: ...


class _Lines:
    """JSON lines: objects with every column, JSON as it is. What JSON has no number for is a text, such as ``NaN``."""

    def __init__(self, session: duckdb.DuckDBPyConnection, sink: pa.NativeFile, schema: pa.Schema) -> None:
        self._session = session
        self._sink = sink
        self._names = [f"c{place}" for place in range(len(schema))]  # DuckDB folds names: two may be one to it
        values = ", ',', ".join(
            f"{literal(json.dumps(field.name, ensure_ascii=False) + ':')}, coalesce({_json(name, field)}, 'null')"
            for name, field in zip(self._names, schema, strict=True)
        )
        self._line = f"concat('{{', {values}, '}}', chr(10))"

    def write_batch(self, batch: pa.RecordBatch) -> None:
        rows = pa.Table.from_batches([batch]).rename_columns(self._names)
        lines = self._session.from_arrow(rows).project(self._line).fetchall()
        self._sink.write("".join(line for (line,) in lines).encode())


def _json(column: str, field: pa.Field[pa.DataType]) -> str:
    """The SQL of a column's value as JSON text; a text that is none although it should be is a string."""
    if is_json(field):
        text = f"translate({column}, chr(10) || chr(13), '  ')"
        return f"CASE WHEN json_valid({column}) THEN {text} ELSE to_json({column})::VARCHAR END"
    if field.type == pa.float64():
        return f"CASE WHEN isfinite({column}) THEN to_json({column})::VARCHAR ELSE {_NO_NUMBER.format(column)} END"
    return f"to_json({column})::VARCHAR"


_NO_NUMBER = """CASE WHEN isnan({0}) THEN '"NaN"' WHEN {0} > 0 THEN '"Infinity"' WHEN {0} < 0 THEN '"-Infinity"' END"""


def _written(source: Path, schema: pa.Schema, layout: Layout, folder: Path) -> Iterator[tuple[Path, int]]:
    with pq.ParquetFile(source, pre_buffer=False) as file:
        batches = (conforming(batch, schema) for batch in file.iter_batches(_ROWS))
        following = next(batches, None) or pa.RecordBatch.from_pylist([], schema=schema)
        while following is not None:
            path, rows = folder / f"{token_hex(8)}.{layout.ext}", 0
            with ExitStack() as stack:
                sink = stack.enter_context(pa.OSFile(str(path), "wb"))
                writer = writing(stack, sink, schema, layout)
                while following is not None:
                    writer.write_batch(following if layout.format == "parquet" else readable(following))
                    rows += following.num_rows
                    following = next(batches, None)
                    if sink.tell() >= layout.bytes:
                        break
            yield path, rows


def writing(stack: ExitStack, sink: pa.NativeFile, schema: pa.Schema, layout: Layout) -> _Writer:
    """Writes batches to ``sink`` until ``stack`` is closed; ``readable`` ones, but for Parquet."""
    writer: _Writer
    if layout.format == "parquet":
        writer = stack.enter_context(pq.ParquetWriter(sink, schema, compression=layout.compression))
        return writer
    if layout.compression != "none":
        sink = stack.enter_context(pa.CompressedOutputStream(sink, layout.compression))
    if layout.format == "jsonl":
        return _Lines(stack.enter_context(connect()), sink, schema)
    options = pyarrow.csv.WriteOptions(eol="\r\n")  # RFC 4180; text is always quoted, so that null is unlike empty
    texts = readable(schema.empty_table()).schema
    writer = stack.enter_context(pyarrow.csv.CSVWriter(sink, texts, write_options=options))
    return writer


_Rows = TypeVar("_Rows", pa.RecordBatch, pa.Table)


def readable(rows: _Rows) -> _Rows:
    """With moments as ISO 8601 writes them, to the microsecond and in UTC."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_timestamp(field.type):
            text = pc.utf8_replace_slice(rows.column(place).cast(pa.string()), start=10, stop=11, replacement="T")
            rows = rows.set_column(place, field.name, text)
    return rows
