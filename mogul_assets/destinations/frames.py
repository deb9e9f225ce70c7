"""A user's own pandas asset, on its way to any destination: a frame becomes a ``Table``."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from mogul_assets.errors import DestinationRefused
from mogul_assets.store.table import DataFile, Table, new_generation

if TYPE_CHECKING:
    import pandas as pd

NAME = re.compile(r"[A-Za-z]\w*")


def table_of_frame(frame: pd.DataFrame, *, dataset: str, key: Sequence[str] = (), folder: Path) -> Table:
    """``frame`` as a table, staged as Parquet in ``folder``, which the caller removes after delivery.

    Named levels of the index become columns, an unnamed index does not. Types become those of the datasets:
    moments to the microsecond and in UTC (one without a zone counts as UTC), lists and structs as JSON, decimals
    as their exact text, a column of nothing but nulls as text. With a ``key`` rows are sorted by it; without one
    they keep their order.

    Raises:
        DestinationRefused: for a name that is none, a column of mixed or unknown type, a key that is null or
            not unique.
    """
    if not NAME.fullmatch(dataset):
        raise DestinationRefused(f"'{dataset}' cannot name a table", remedy="use letters, digits and underscores")
    named = [name for name in frame.index.names if name is not None]
    frame = frame.reset_index(level=named) if named else frame
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise DestinationRefused(f"{dataset}: two columns of the frame have one name", remedy="rename one")
    fields, columns = [], []
    for place, name in enumerate(names):
        try:
            column, is_json = _typed(pa.Array.from_pandas(frame.iloc[:, place]))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            raise DestinationRefused(  # Arrow's own message quotes the value
                f"{dataset}: column '{name}' mixes types, or has one that no dataset has",
                remedy="give it one type: text, numbers, flags, days or moments",
            ) from None
        fields.append(pa.field(name, column.type, metadata={"json": "true"} if is_json else None))
        columns.append(column)
    rows = pa.Table.from_arrays(columns, schema=pa.schema(fields))
    if key:
        rows = _keyed(rows, dataset, key)
    return _staged(rows, dataset, tuple(key), folder)


def _typed(column: pa.Array | pa.ChunkedArray) -> tuple[pa.Array | pa.ChunkedArray, bool]:
    """The column in one of the datasets' types, and whether it is JSON."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _typed(column.cast(kind.value_type))
    if pa.types.is_nested(kind):
        texts = [None if value is None else json.dumps(value, default=str) for value in column.to_pylist()]
        return pa.array(texts, pa.string()), True
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us"), safe=False).cast(pa.timestamp("us", tz="UTC")), False
    targets = (
        (pa.types.is_integer, pa.int64()),
        (pa.types.is_floating, pa.float64()),
        (pa.types.is_boolean, pa.bool_()),
        (pa.types.is_date, pa.date32()),
    )
    for matches, target in targets:
        if matches(kind):
            return column.cast(target), False
    if (
        pa.types.is_null(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    ):
        return column.cast(pa.string()), False
    raise pa.ArrowTypeError(str(kind))


def _keyed(rows: pa.Table, dataset: str, key: Sequence[str]) -> pa.Table:
    missing = [name for name in key if name not in rows.column_names]
    if missing:
        raise DestinationRefused(f"{dataset}: the frame has no column '{missing[0]}' of its key", remedy="correct it")
    distinct = rows.group_by(list(key)).aggregate([]).num_rows
    if distinct < rows.num_rows or any(rows[name].null_count for name in key):
        raise DestinationRefused(
            f"{dataset}: its key {', '.join(key)} is null or repeated in {rows.num_rows - distinct} rows",
            remedy="name columns that identify a row, or no key",
        )
    return rows.sort_by([(name, "ascending") for name in key])


def _staged(rows: pa.Table, dataset: str, key: tuple[str, ...], folder: Path) -> Table:
    folder.mkdir(parents=True, exist_ok=True)
    generation = new_generation()
    path = folder / f"{dataset}-{generation}.parquet"
    pq.write_table(rows, path, compression="zstd")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    staged = DataFile(str(path), rows.num_rows, path.stat().st_size, sha256, generation)
    return Table(dataset, generation, rows.schema, key, (staged,), datetime.now(UTC))
