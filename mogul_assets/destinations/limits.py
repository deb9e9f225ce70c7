"""Values beyond what a destination takes: refused by row and column, or delivered as null where that was asked for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mogul_assets.destinations.base import Capabilities
from mogul_assets.errors import DestinationRefused
from mogul_assets.store.table import BATCH_ROWS, Table

Oversize = Literal["refuse", "null"]

_KEY = 100
"""Characters of each part of a key that a message shows."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The files to send, in the table's order: its own, or copies without the values that do not fit."""

    files: tuple[Path, ...]
    nulled: int


def fitting(table: Table, capabilities: Capabilities, *, oversize: Oversize, folder: Path, at: str) -> Fitted:
    """The table's files, each value within the limits of ``capabilities``.

    Only text can be too large. Memory does not grow with the table; a file in which everything fits is passed on
    as it is. ``folder`` takes the copies. A part of the key is never nulled.

    Raises:
        DestinationRefused: where a value does not fit and ``oversize`` is ``refuse``, or it is part of the key;
            it names row, column and size, and never the value.
    """
    columns = frozenset(field.name for field in table.schema if pa.types.is_string(field.type))
    files, nulled = [], 0
    for place, path in enumerate(map(Path, table.paths)):
        beyond = 0
        if columns and not _surely_fits(path, capabilities):
            for batch in _batches(path, (*table.key, *sorted(columns))):
                for name, mask in _masks(batch, columns, capabilities):
                    if oversize == "refuse" or name in table.key:
                        raise _refused(batch, name, mask, key=table.key, limit=capabilities.text_bytes, at=at)
                    beyond += pc.sum(mask).as_py()
        nulled += beyond
        files.append(_without(path, columns, capabilities, folder / f"{place:05}.parquet") if beyond else path)
    return Fitted(tuple(files), nulled)


def _surely_fits(path: Path, capabilities: Capabilities) -> bool:
    """Whether the footer alone tells: no column has more bytes, uncompressed, than one value may have.

    Pages hold each value once at least, in a dictionary or as it is, so that none is larger than they are.
    """
    if not capabilities.nul_in_text:
        return False
    if capabilities.text_bytes is None:
        return True
    footer = pq.read_metadata(path)
    return all(
        footer.row_group(group).column(column).total_uncompressed_size <= capabilities.text_bytes
        for group in range(footer.num_row_groups)
        for column in range(footer.num_columns)
    )


def _batches(path: Path, columns: Iterable[str] | None = None) -> Iterator[pa.RecordBatch]:
    # Buffered ahead, what was read is kept until the file is closed: 106 MB more at a million line items.
    with pq.ParquetFile(path, pre_buffer=False) as parquet:
        there = parquet.schema_arrow.names
        wanted = there if columns is None else [name for name in dict.fromkeys(columns) if name in there]
        yield from parquet.iter_batches(BATCH_ROWS, columns=wanted)


def _masks(
    batch: pa.RecordBatch, columns: Collection[str], capabilities: Capabilities
) -> Iterator[tuple[str, pa.BooleanArray]]:
    """The columns in which a value does not fit, and which values those are."""
    for name in (name for name in batch.schema.names if name in columns):
        if _surely_holds(batch[name], capabilities):
            continue
        beyond = [] if capabilities.nul_in_text else [pc.match_substring(batch[name], "\0")]
        if capabilities.text_bytes is not None:
            beyond.append(pc.greater(pc.binary_length(batch[name]), capabilities.text_bytes))
        mask = pc.fill_null(reduce(pc.or_, beyond), fill_value=False)
        if pc.any(mask).as_py():
            yield name, mask


def _surely_holds(column: pa.StringArray, capabilities: Capabilities) -> bool:
    """Whether every value fits, told by the column's bytes at once: in a third of the time of asking each for a NUL."""
    values = column.buffers()[2]
    if not capabilities.nul_in_text and values is not None and re.search(b"\0", values):
        return False
    return capabilities.text_bytes is None or (pc.max(pc.binary_length(column)).as_py() or 0) <= capabilities.text_bytes


def _refused(
    batch: pa.RecordBatch, column: str, mask: pa.BooleanArray, *, key: Iterable[str], limit: int | None, at: str
) -> DestinationRefused:
    row = pc.index(mask, value=True).as_py()
    named = ", ".join(str(batch[name][row].as_py())[:_KEY] for name in key) or "without a key"
    size = pc.binary_length(batch[column])[row].as_py()
    why = f"has a NUL in its {size} bytes" if limit is None or size <= limit else f"is {size} bytes of at most {limit}"
    return DestinationRefused(
        f"{at}.{column} of row {named} {why}, which is not taken there",
        remedy="change it in the account, or set oversize: null to deliver null in its place",
    )


def _without(path: Path, columns: Collection[str], capabilities: Capabilities, to: Path) -> Path:
    """A copy of the file with null where a value does not fit."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(to, pq.read_schema(path), compression="zstd") as writer:
        for batch in _batches(path):
            masks = dict(_masks(batch, columns, capabilities))
            arrays = [
                pc.if_else(masks[name], pa.scalar(None, array.type), array) if name in masks else array
                for name, array in zip(batch.schema.names, batch.columns, strict=True)
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=batch.schema))
    return to
