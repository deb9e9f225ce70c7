"""Columns as destinations see them: what a field's metadata says, and how a dataset's columns may change.

Each destination spells types its own way; the rule of what may change is the same for all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mogul_assets.errors import DestinationRefused
from mogul_assets.store.table import BATCH_ROWS, conforming


def is_json(field: pa.Field[pa.DataType]) -> bool:
    """Whether the text of the field is JSON: free-form objects are marked so by the catalogue."""
    return (field.metadata or {}).get(b"json") == b"true"


def description(described: pa.Field[pa.DataType] | pa.Schema) -> str:
    """What the catalogue says of a column or of a dataset, or nothing."""
    text: bytes = (described.metadata or {}).get(b"description", b"")
    return text.decode()


def fingerprint(schema: pa.Schema) -> str:
    """Sixteen hexadecimal digits that change when a column's name, type or place does."""
    text = "\n".join(f"{field.name}\t{field.type}\t{is_json(field)}" for field in schema)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def conforms(there: pa.Schema, schema: pa.Schema) -> bool:
    """Whether columns are those of ``schema`` in name, type and order."""
    return bool(there.names == schema.names and there.types == schema.types)


def conformed(
    files: Iterable[Path], schema: pa.Schema, to: Path, *, codec: str = "zstd", rows: int = BATCH_ROWS
) -> Path:
    """The rows of all files in one, each with exactly the columns of ``schema``; so many in a row group."""
    with pq.ParquetWriter(to, schema, compression=codec) as writer:
        for file in files:
            # Buffered ahead, what was read is kept until the file is closed.
            with pq.ParquetFile(file, pre_buffer=False) as parquet:
                for batch in parquet.iter_batches(rows):
                    writer.write_batch(conforming(batch, schema))
    return to


def distinct(names: Iterable[str], fold: Callable[[str], str], *, at: str) -> None:
    """Refuse names that the destination, folding case its own way, could not tell apart.

    Raises:
        DestinationRefused: with the two names.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(fold(name), name)
        if other is not name:
            raise DestinationRefused(f"{at}: columns '{other}' and '{name}' are one name there", remedy="rename one")


@dataclass(frozen=True, slots=True)
class Evolution:
    """How the columns at a destination differ from a dataset's: names, each in the dataset's spelling.

    A column that the dataset has no longer is in none of these: it stays, and is null in new rows.
    """

    added: tuple[str, ...]
    widened: tuple[str, ...]
    retyped: tuple[str, ...]

    @classmethod
    def between(
        cls,
        held: Mapping[str, str],
        wanted: Mapping[str, str],
        *,
        widens: Collection[tuple[str, str]],
        fold: Callable[[str], str] = str,
    ) -> Evolution:
        """From types by column name, old and new; ``widens`` holds the (old, new) that lose no value."""
        there = {fold(name): kind for name, kind in held.items()}
        common = {name: (there[fold(name)], kind) for name, kind in wanted.items() if fold(name) in there}
        changed = [name for name, (old, new) in common.items() if old != new]
        return cls(
            added=tuple(name for name in wanted if name not in common),
            widened=tuple(name for name in changed if common[name] in widens),
            retyped=tuple(name for name in changed if common[name] not in widens),
        )
