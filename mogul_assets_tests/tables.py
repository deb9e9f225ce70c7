"""Tables for tests: rows written as the store writes them, and the handle to them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mogul_assets.catalog.window import Month, Window
from mogul_assets.store.table import DataFile, Table, new_generation


def table_of(
    folder: Path,
    rows: pa.Table | Sequence[dict[str, Any]],
    *,
    dataset: str = "plans",
    key: Sequence[str] = ("id",),
    schema: pa.Schema | None = None,
    window: Window | None = None,
    window_column: str | None = None,
    generation: str | None = None,
    read_at: datetime | None = None,
) -> Table:
    """``rows`` written to Parquet below ``folder``, sorted by ``key``; by month where there is a window.

    ``rows`` outside of ``window`` are refused: a table never holds them.
    """
    data = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows), schema=schema)
    generation = generation or new_generation()
    data = data.sort_by([(column, "ascending") for column in key]) if key and data.num_rows else data
    if window is None:
        files = [_written(folder, dataset, data, generation, None)]
    else:
        assert window_column is not None
        files = [
            _written(folder, dataset, data.filter(mask), generation, month)
            for month, mask in _by_month(data[window_column].to_pylist(), window)
        ]
    return Table(
        dataset=dataset,
        generation=generation,
        schema=data.schema,
        key=tuple(key),
        files=tuple(files),
        read_at=read_at or datetime.now(UTC),
        window=window,
        window_column=window_column,
    )


def rows_of(table: Table) -> list[dict[str, Any]]:
    """What a table holds, in order."""
    return [row for batch in table.batches() for row in batch.to_pylist()]


def _by_month(moments: Sequence[date], window: Window) -> Iterable[tuple[Month, pa.Array]]:
    months = []
    for moment in moments:
        at = moment if isinstance(moment, datetime) else datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
        assert window.holds(at), f"{at} is not in the window {window}"
        months.append(str(Month.of(at)))
    column = pa.array(months, pa.string())
    return [(Month.parse(month), pc.equal(column, month)) for month in sorted(set(months))]


def _written(folder: Path, dataset: str, data: pa.Table, generation: str, month: Month | None) -> DataFile:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{dataset}-{month or 'all'}-{generation}-{token_hex(4)}.parquet"
    pq.write_table(data, path, compression="zstd")
    content = path.read_bytes()
    return DataFile(
        path=str(path),
        rows=data.num_rows,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        generation=generation,
        month=month,
    )
