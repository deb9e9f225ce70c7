"""What stands, and what was landed, as relations of DuckDB: what the steps of a refresh compute with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from mogul_assets.account.pages import Page
from mogul_assets.catalog.datasets import KNOWN
from mogul_assets.errors import StoreDamaged, StoreUnwritable
from mogul_assets.store import durable, settle
from mogul_assets.store.shape import SEQUENCE, order, typed_datasets, typed_schema
from mogul_assets.store.sql import parquet, quoted
from mogul_assets.store.store import RawRead, Store
from mogul_assets.store.table import Table
from mogul_assets.store.typing import Report, Typist


@contextmanager
def working(store: Store, generation: str, name: str) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """A DuckDB to compute with and a folder for what is in between, which goes with the block.

    Raises:
        StoreUnwritable: the disk is full.
    """
    scratch = store.scratch(generation, name)
    try:
        with durable.writing_to(store.root), settle.database(scratch) as connection:
            yield connection, scratch
    except duckdb.IOException as error:
        if not any(said in str(error) for said in ("No space left", "File too large")):
            raise
        remedy = "make room, then run again; nothing was lost"
        raise StoreUnwritable(f"cannot write to {scratch}: the disk is full", remedy=remedy) from error
    finally:
        store.clear_scratch(generation, name)


@dataclass
class Typed:
    """Typed parts of some raw reads, by dataset, what typing said of them, and the file of the rows set aside."""

    parts: dict[str, Path]
    report: Report
    aside: Path | None

    def facts(self) -> dict[str, Any]:
        drift, left_out = dict(sorted(self.report.drift.items())), dict(sorted(self.report.left_out.items()))
        return {
            "entries": self.report.entries,
            **({"fields not known": drift} if drift else {}),
            **({"fields without a column": left_out} if left_out else {}),
            **({"rows in quarantine": len(self.report.rejected)} if self.report.rejected else {}),
        }


def typed_parts(store: Store, read: str, reads: Sequence[RawRead], scratch: Path) -> Typed:
    """Type raw reads into one Parquet part a dataset; later reads come later in the sequence."""
    datasets = typed_datasets(read)
    parts = {dataset.name: scratch / f"{dataset.name}.parquet" for dataset in datasets}
    writers = {
        d.name: pq.ParquetWriter(
            parts[d.name], typed_schema(d), compression="none", use_dictionary=False, write_statistics=False
        )
        for d in datasets
    }
    typist = Typist(read)
    try:
        for position, landed in enumerate(reads):
            shift = order(place=position)
            for tables in typist.tables(store.raw_pages(landed)):
                for name, table in tables.items():
                    if table.num_rows:
                        writers[name].write_table(_shifted(table, shift))
    finally:
        for writer in writers.values():
            writer.close()
    pa.default_memory_pool().release_unused()  # 100 MB, which sorting needs next
    # A row that came again in a later reading is one row.
    typist.report.rejected = list(dict.fromkeys(typist.report.rejected))
    rejected = typist.report.rejected
    return Typed(parts, typist.report, store.quarantine(read, reads[-1].generation, rejected) if rejected else None)


def _shifted(table: pa.Table, shift: int) -> pa.Table:
    if not shift:
        return table
    place = table.schema.get_field_index(SEQUENCE)
    return table.set_column(place, table.schema.field(place), pa.compute.add(table.column(place), shift))


def type_pages(connection: duckdb.DuckDBPyConnection, read: str, pages: Iterable[Page], prefix: str) -> None:
    """The rows of some pages as temporary tables ``<prefix>_<dataset>``, unique by key: the last one counts."""
    datasets = typed_datasets(read)
    for dataset in datasets:
        connection.register("typed", typed_schema(dataset).empty_table())
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {prefix}_{dataset.name} AS FROM typed")
    for tables in Typist(read).tables(pages):
        for name, rows in tables.items():
            connection.register("typed", rows)
            connection.execute(f"INSERT INTO {prefix}_{name} BY NAME FROM typed")
    for dataset in datasets:
        key = ", ".join(map(quoted, dataset.key))
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {prefix}_{dataset.name} AS SELECT * EXCLUDE ({SEQUENCE})"
            f" FROM {prefix}_{dataset.name} QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {SEQUENCE} DESC) = 1"
        )


def register(connection: duckdb.DuckDBPyConnection, store: Store, name: str) -> None:
    """A stored dataset as a view of its name; one that was never read is empty."""
    table = store.table(name)
    rows_of(connection, name, table.paths if table is not None else [], KNOWN[name].schema)


def rows_of(connection: duckdb.DuckDBPyConnection, name: str, paths: Sequence[str], schema: pa.Schema) -> None:
    """The rows of some files as a view; of none: an empty one."""
    if paths:
        view(connection, name, parquet(paths))
    else:
        connection.register(name, schema.empty_table())


def view(connection: duckdb.DuckDBPyConnection, name: str, sql: str) -> None:
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(name)} AS SELECT * FROM {sql}")


def stood(store: Store, dataset: str) -> Table | None:
    """The table before. What is damaged of it is made again, and tells nothing."""
    with suppress(StoreDamaged):
        return store.table(dataset)
    return None
