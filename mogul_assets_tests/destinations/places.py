"""The data destinations under test, and how a reader who knows nothing of ours reads each.

One entry of ``PLACES`` runs the whole contract on a type.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from mogul_assets.destinations.dialect import ascii_lower
from mogul_assets_tests.destinations import object_places as objects
from mogul_assets_tests.destinations.place import DISK, HISTORY, JSON_NULL, JSON_TEXT, Place, Spot, State
from mogul_assets_tests.peers import bigquery, redshift, snowflake


def _below(*path: str) -> Callable[[Spot], Path]:
    return lambda spot: spot.folder.joinpath("there", *path)


_duckdb_file, _files_folder = _below("shelf.duckdb"), _below("shelf")


def _listed(spot: Spot) -> list[str]:
    return sorted(str(path) for path in spot.folder.glob("there/**"))


def _read_duckdb(spot: Spot, dataset: str) -> State | None:
    path = _duckdb_file(spot)
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


def _read_files(spot: Spot, dataset: str) -> State | None:
    manifest = _files_folder(spot) / dataset / "manifest.json"
    for file in _files_folder(spot).rglob("*.parquet"):
        pq.read_metadata(file)  # fails for half a file: none may ever have the name of a whole one
    if not manifest.exists():
        return None
    content = json.loads(manifest.read_bytes())
    columns = {column["name"]: column["type"] for column in content["columns"]}
    parts = [pq.ParquetFile(_files_folder(spot) / file["file"]).read() for file in content["files"]]
    everything = pa.concat_tables(parts, promote_options="permissive") if parts else pa.table({})
    rows = [{name: row.get(name) for name in columns} for row in everything.to_pylist()]
    assert [part.num_rows for part in parts] == [file["rows"] for file in content["files"]]
    return State(rows, tuple(columns.items()), tuple((file["file"], file["sha256"]) for file in content["files"]))


ON_DISK = frozenset({DISK, JSON_NULL, JSON_TEXT})

AS_IT_IS = frozenset({JSON_NULL, JSON_TEXT})


def _files_as(written: str, compression: str, abilities: frozenset[str]) -> Place:
    """The formats on disk: they are written by one code for all places of files."""
    return objects.place(
        "files",
        lambda spot: {"path": str(_files_folder(spot)), "format": written, "compression": compression},
        objects.fetched_below(_files_folder),
        _listed,
        label=written,
        abilities=abilities,
    )


PLACES = (
    Place(
        "duckdb",
        lambda spot: {"path": str(_duckdb_file(spot))},
        _read_duckdb,
        _listed,
        abilities=ON_DISK | {HISTORY},
        folds=True,
        traced=frozenset({"mogul_assets.destinations.duckdb"}),  # DuckDB writes below Python
    ),
    Place("files", lambda spot: {"path": str(_files_folder(spot))}, _read_files, _listed, abilities=ON_DISK),
    Place(
        "snowflake",
        snowflake.options,
        snowflake.read,
        snowflake.listed,
        peer="snowflake",
        abilities=frozenset({JSON_NULL, HISTORY}),
        folds=True,
        spelled=ascii_lower,
    ),
    Place(
        "bigquery",
        bigquery.options,
        bigquery.read,
        bigquery.listed,
        peer="bigquery",
        abilities=frozenset({JSON_NULL, HISTORY}),
        folds=True,
        refused_names=frozenset({'say "hi"', "a.b", "a;--", "😀", "{x}", "?", "$1"}),
    ),
    Place(
        "redshift",
        redshift.options,
        redshift.read,
        redshift.listed,
        peer="redshift",
        abilities=frozenset({JSON_NULL, HISTORY}),
        folds=True,
        spelled=ascii_lower,
    ),
    objects.place("s3", objects.s3_options, objects.s3_fetched, objects.s3_listed, peer="s3", abilities=AS_IT_IS),
    objects.place("gcs", objects.gcs_options, objects.gcs_fetched, objects.gcs_listed, peer="gcs", abilities=AS_IT_IS),
    objects.place(
        "azure_blob",
        objects.azure_options,
        objects.azure_fetched,
        objects.azure_listed,
        peer="azure_blob",
        abilities=AS_IT_IS,
    ),
    _files_as("csv", "gzip", AS_IT_IS),
    _files_as("jsonl", "zstd", frozenset()),
)
