"""Parquet files as DuckDB sees them: types, moments, and what differs between two relations."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from mogul_assets.destinations.columns import is_json
from mogul_assets.errors import DestinationRefused
from mogul_assets.store import sql
from mogul_assets.store.sql import quoted

_TYPES: dict[pa.DataType, str] = {
    pa.string(): "VARCHAR",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
    pa.date32(): "DATE",
}


def types(schema: pa.Schema) -> dict[str, str]:
    """DuckDB's type of every column, spelled as its catalogue spells it.

    Raises:
        DestinationRefused: for a type outside of the seven that datasets have.
    """
    for field in schema:
        if field.type not in _TYPES:
            raise DestinationRefused(
                f"column '{field.name}' has the type {field.type}", remedy="cast it to one of the types of the datasets"
            )
    return {field.name: "JSON" if is_json(field) else _TYPES[field.type] for field in schema}


def kinds(columns: Mapping[str, str]) -> dict[str, str]:
    """DuckDB's type of every column, from the types as Arrow spells them; ``json`` for text that is JSON."""
    spelled = {"json": "JSON", **{str(arrow): kind for arrow, kind in _TYPES.items()}}
    return {name: spelled[kind] for name, kind in columns.items()}


def fold(name: str) -> str:
    """The name as DuckDB compares it: it folds ASCII only, so that É and é are two columns."""
    return name.encode().lower().decode()


def moment(at: datetime) -> str:
    return f"TIMESTAMPTZ '{at.isoformat(sep=' ')}'"


def parquet(paths: Sequence[str], wanted: Mapping[str, str]) -> str:
    """The rows of the files, in order, with null in columns ``wanted`` (name to type) that no file has yet."""
    has = {name for path in paths for name in pq.read_schema(path).names}
    nulls = ", ".join(f"NULL::{kind} AS {quoted(name)}" for name, kind in wanted.items() if name not in has)
    if not paths:
        return f"(SELECT {nulls} WHERE false)"
    return f"(SELECT *, {nulls} FROM {sql.parquet(paths)})" if nulls else sql.parquet(paths)


def differences(
    connection: duckdb.DuckDBPyConnection,
    ours: str,
    theirs: str,
    *,
    wanted: Mapping[str, str],
    key: Sequence[str],
) -> tuple[int, int, int]:
    """Rows new, changed and gone by ``key`` when the relation ``ours`` takes the place of ``theirs``.

    ``wanted`` are the columns of ``ours`` with their types. Rows are compared by a 64-bit hash, so that the join
    carries nothing but keys. A column on one side only is null on the other.
    """
    held = [name for name, *_ in connection.execute(f"DESCRIBE SELECT * FROM {theirs}").fetchall()]
    there = {fold(name) for name in held}
    columns = dict(wanted) | {name: "VARCHAR" for name in held if fold(name) not in {fold(one) for one in wanted}}

    def digested(relation: str, has: Collection[str]) -> str:
        values = ", ".join(f"{quoted(name) if fold(name) in has else 'NULL'}::{kind}" for name, kind in columns.items())
        keys = ", ".join(f"{quoted(name)} AS k{place}" for place, name in enumerate(key))
        return f"(SELECT {keys}, hash({values}) AS digest FROM {relation})"

    on = " AND ".join(f"ours.k{place} = theirs.k{place}" for place in range(len(key)))
    counted = connection.execute(
        "SELECT count(*) FILTER (theirs.k0 IS NULL), count(*) FILTER (ours.digest <> theirs.digest),"
        f" count(*) FILTER (ours.k0 IS NULL) FROM {digested(ours, {fold(name) for name in wanted})} AS ours"
        f" FULL JOIN {digested(theirs, there)} AS theirs ON {on}"
    ).fetchone()
    assert counted is not None
    new, changed, gone = counted
    return new, changed, gone
