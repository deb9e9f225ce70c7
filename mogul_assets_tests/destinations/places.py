"""The data destinations under test, and how a reader who knows nothing of ours reads each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from mogul_assets.destinations import load_type
from mogul_assets.destinations.base import Destination

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class State:
    """What a reader finds: rows in order, and the columns that can be told from outside."""

    rows: Rows
    columns: tuple[tuple[str, str], ...]
    bytes_of: tuple[tuple[str, str], ...] = ()
    """(file, sha256) where the place promises the same bytes for the same state."""


@dataclass(frozen=True)
class Place:
    word: str
    below: str
    read: Callable[[Path, str], State | None]

    def __str__(self) -> str:
        return self.word

    def destination(self, folder: Path, **options: Any) -> Destination:
        return load_type(self.word)(name="shelf", path=str(folder / self.below), **options)

    def state(self, folder: Path, dataset: str = "plans") -> State | None:
        """What lies there; ``None`` where the dataset was never delivered."""
        return self.read(folder / self.below, dataset)

    def rows(self, folder: Path, dataset: str = "plans") -> Rows:
        state = self.state(folder, dataset)
        assert state is not None
        return state.rows


def _read_duckdb(path: Path, dataset: str) -> State | None:
    if not path.exists():
        return None
    while True:
        try:
            with duckdb.connect(path, read_only=True) as connection:
                if not connection.execute("FROM duckdb_tables() WHERE table_name = ?", [dataset]).fetchall():
                    return None
                connection.execute("SET TimeZone = 'UTC'")
                name = '"' + dataset.replace('"', '""') + '"'
                described = connection.execute(f"DESCRIBE {name}").fetchall()
                rows = connection.sql(f"FROM {name}").to_arrow_table().to_pylist()
                return State(rows, tuple((column, kind) for column, kind, *_ in described))
        except duckdb.IOException as error:
            if "Conflicting lock" not in str(error):
                raise
            time.sleep(0.005)


def _read_files(path: Path, dataset: str) -> State | None:
    manifest = path / dataset / "manifest.json"
    for file in manifest.parent.glob("*.parquet"):
        pq.read_metadata(file)  # fails for half a file: none may ever have the name of a whole one
    if not manifest.exists():
        return None
    content = json.loads(manifest.read_bytes())
    columns = {column["name"]: column["type"] for column in content["columns"]}
    parts = [pq.ParquetFile(manifest.parent / file["file"]).read() for file in content["files"]]
    everything = pa.concat_tables(parts, promote_options="permissive") if parts else pa.table({})
    rows = [{name: row.get(name) for name in columns} for row in everything.to_pylist()]
    assert [part.num_rows for part in parts] == [file["rows"] for file in content["files"]]
    return State(rows, tuple(columns.items()), tuple((file["file"], file["sha256"]) for file in content["files"]))


PLACES = (
    Place("duckdb", "shelf.duckdb", _read_duckdb),
    Place("files", "shelf", _read_files),
)
