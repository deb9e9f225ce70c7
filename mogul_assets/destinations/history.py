"""History mode: a dataset's table keeps every version of its rows, each with the time in which it was current (SCD 2).

Where a plain delivery deletes and inserts, one with history closes the versions that are not among the new rows, and
inserts the rows that no current version is the same as. Both are told by ``row_hash``, which is computed here, so
that it is the same at every destination: it covers the key and all that tells a version from the next. The current
rows are always those of the dataset, as without history.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, WithJsonSchema, field_validator

from mogul_assets.catalog.columns import Kind
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.destinations.base import Destination
from mogul_assets.errors import DestinationRefused
from mogul_assets.store.sql import connect, literal, quoted
from mogul_assets.store.table import BATCH_ROWS, Table, conforming

VALID_FROM = "valid_from"
VALID_TO = "valid_to"
IS_CURRENT = "is_current"
ROW_HASH = "row_hash"

COLUMNS: Mapping[str, pa.Field[pa.DataType]] = {
    name: pa.field(name, kind.arrow, metadata={"description": text})
    for name, kind, text in (
        (VALID_FROM, Kind.MOMENT, "When the account was first read with this version of the row."),
        (VALID_TO, Kind.MOMENT, "When it was first read without it; null while it is current."),
        (IS_CURRENT, Kind.FLAG, "True for the version that holds now."),
        (ROW_HASH, Kind.TEXT, "The same as long as the row does not change; not for reading."),
    )
}
"""What a table with history has beside the dataset's columns, in this order."""

ALL = "all"


class KeepsHistory(Destination):
    """A destination that can keep the versions of rows."""

    history: Annotated[
        list[str],
        WithJsonSchema(
            {"anyOf": [{"const": ALL}, {"enum": [*DATASETS]}, {"type": "array", "items": {"enum": [*DATASETS]}}]}
        ),
    ] = Field(default_factory=list, description="Datasets whose every version is kept: their names, or all.")

    @field_validator("history", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        names = value if isinstance(value, list) else [] if value is None else [value]
        for name in names:
            if name not in DATASETS and name != ALL:
                raise ValueError(f"unknown dataset '{name}'; there are: {', '.join(DATASETS)}")
        return names

    def keeps_history(self, dataset: str) -> bool:
        """Whether the versions of its rows are kept; never those of an asset of the user's own."""
        return dataset in DATASETS and bool({dataset, ALL}.intersection(self.history))

    def versions(self) -> Sequence[str]:
        return [name for name in DATASETS if self.keeps_history(name)]


def versioned(table: Table, *, at: str) -> Table:
    """The table as it lies there: with the four columns, and the key by which rows are the same through time.

    Raises:
        DestinationRefused: it has no such key.
    """
    key = DATASETS[table.origin].identity or table.key
    if not key or not set(key) <= set(table.schema.names):
        raise DestinationRefused(
            f"{at}: history needs the columns that a row is known by: {', '.join(key) or 'it has no key'}",
            remedy="deliver it with them, or take it out of history",
        )
    schema = pa.schema([*table.schema, *COLUMNS.values()], metadata=table.schema.metadata)
    return replace(table, schema=schema, key=key)


def staged(table: Table) -> Table:
    """The table as it is loaded: with ``row_hash``, which ``digested`` files have."""
    return replace(table, schema=table.schema.append(COLUMNS[ROW_HASH]))


def compared(table: Table, *, at: str) -> Table:
    """The table with nothing but what a preview compares: the key, and ``row_hash``."""
    key = versioned(table, at=at).key
    return replace(table, schema=pa.schema([*(table.schema.field(name) for name in key), COLUMNS[ROW_HASH]]), key=key)


def digest(table: Table) -> str:
    """SQL, for DuckDB, of a row's ``row_hash``: 32 hexadecimal digits of the SHA-256 of one text.

    That is, for every column which is not null and not fleeting, by name: the name's length in characters, a colon,
    the name, ``=``, the value's length in bytes, a colon, the value and a comma. So a column that is null says as much
    as one that is not there. Moments and days are microseconds since 1970: a day that becomes a moment changes nothing.
    It must never change, or every row of every table gets another version.
    """
    fleeting = DATASETS[table.origin].fleeting
    parts = []
    for field in sorted(table.schema, key=lambda field: field.name):
        if field.name in fleeting:
            continue
        timed = pa.types.is_timestamp(field.type) or pa.types.is_date(field.type)
        value = f"epoch_us({quoted(field.name)})" if timed else quoted(field.name)
        text, name = f"{value}::VARCHAR", literal(f"{len(field.name)}:{field.name}=")
        parts.append(f"coalesce({name} || strlen({text}) || ':' || {text} || ',', '')")
    return f"substr(sha256({' || '.join(parts)}), 1, 32)"


def digested(table: Table, files: Iterable[Path], folder: Path) -> tuple[Path, ...]:
    """Copies of the files in ``folder``, with exactly the columns of ``staged``. Memory does not grow with them."""
    wanted, hashed, made = staged(table).schema, digest(table), []
    folder.mkdir(parents=True, exist_ok=True)
    with connect() as connection:
        for place, path in enumerate(files):
            made.append(folder / f"{place:05}.parquet")
            # Buffered ahead, what was read is kept until the file is closed.
            with (
                pq.ParquetFile(path, pre_buffer=False) as parquet,
                pq.ParquetWriter(made[-1], wanted, compression="zstd") as writer,
            ):
                for batch in parquet.iter_batches(BATCH_ROWS):
                    rows = pa.Table.from_batches([conforming(batch, table.schema)])
                    connection.register("batch", rows)
                    column = connection.sql(f"SELECT {hashed} FROM batch").to_arrow_table().column(0)
                    writer.write_table(rows.append_column(COLUMNS[ROW_HASH], column).cast(wanted))
    return tuple(made)


@dataclass(frozen=True, slots=True)
class Change:
    """What takes the place of deleting and inserting, as SQL that every warehouse takes in this one spelling.

    No name of the table's is qualified: its alias in an ``UPDATE`` is spelled differently everywhere. So what it is
    compared with has names of its own.
    """

    close: str
    renew: str
    """Gives the current rows what is fleeting as it is now; empty where nothing is."""
    insert: str
    standing: str
    """Counts the current rows, of the window where there is one."""


def change(
    table: Table,
    path: str,
    staging: str,
    *,
    name: Callable[[str], str],
    staged_name: Callable[[str], str],
    values: Mapping[str, str],
    moment: str,
    within: str,
) -> Change:
    """The change that makes the current rows at ``path`` those of ``staging``; both are quoted paths.

    Args:
        table: what is delivered, without the four columns.
        path: where it lies.
        staging: where its rows were loaded, with their ``row_hash``.
        name: how a column of ``path`` is named.
        staged_name: how a column of ``staging`` is.
        values: the expression over ``staging`` that makes each column of the table.
        moment: when the account was read, as a literal.
        within: holds for the rows that the table replaces.
    """
    ours, theirs = staged_name(ROW_HASH), name(ROW_HASH)
    current = f"{name(IS_CURRENT)} AND {within}"
    fleeting = {
        column: f"staged_{place}"
        for place, column in enumerate(DATASETS[table.origin].fleeting)
        if column in table.schema.names
    }
    renew = ""
    if fleeting:
        columns = "".join(f", {staged_name(column)} AS {fresh}" for column, fresh in fleeting.items())
        renew = (
            f"UPDATE {path} SET {', '.join(f'{name(column)} = {fresh}' for column, fresh in fleeting.items())}"
            f" FROM (SELECT {ours} AS staged_hash{columns} FROM {staging}) AS staged"
            f" WHERE {current} AND {theirs} = staged_hash"
            f" AND ({' OR '.join(f'{name(column)} <> {fresh}' for column, fresh in fleeting.items())})"
        )
    return Change(
        close=(
            f"UPDATE {path} SET {name(VALID_TO)} = {moment}, {name(IS_CURRENT)} = false WHERE {current}"
            f" AND NOT EXISTS (SELECT 1 FROM (SELECT {ours} AS staged_hash FROM {staging}) AS staged"
            f" WHERE staged_hash = {theirs})"
        ),
        renew=renew,
        insert=(
            f"INSERT INTO {path} ({', '.join(map(name, (*values, VALID_FROM, IS_CURRENT, ROW_HASH)))})"
            f" SELECT {', '.join((*values.values(), moment, 'true', ours))} FROM {staging}"
            f" WHERE NOT EXISTS (SELECT 1 FROM (SELECT {theirs} AS current_hash FROM {path} WHERE {current}) AS lying"
            f" WHERE current_hash = {ours})"
        ),
        standing=f"SELECT count(*) FROM {path} WHERE {current}",
    )


def refuse_other(
    held: Collection[str], *, history: bool, fold: Callable[[str], str], rename: str, dataset: str, at: str
) -> None:
    """Refuse a table, of the columns ``held``, that was made the other way: with history, or without.

    Raises:
        DestinationRefused: with ``rename``, the statement that moves it out of the way.
    """
    folded = {fold(name) for name in held}
    has = [name for name in COLUMNS if fold(name) in folded]
    if held and history and len(has) < len(COLUMNS):
        raise DestinationRefused(
            f"{at}: the table there keeps no history",
            remedy=f"look who reads it, then run: {rename};  the next delivery makes one that does",
        )
    if has and not history and dataset in DATASETS:  # a table of the user's own may have a column called so
        raise DestinationRefused(
            f"{at}: the table there keeps history, which this delivery would end",
            remedy=f"write  history: [{dataset}]  or run: {rename};  the next delivery makes one that keeps none",
        )
