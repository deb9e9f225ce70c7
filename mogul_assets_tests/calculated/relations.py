"""Relations of a dataset's columns from a few rows that name only what matters."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

SHARED = Path(__file__).parents[3] / "shared"


def shared(path: str) -> Path:
    """A recorded file, or a skipped test where the recordings are not at hand."""
    file = SHARED / path
    if not file.exists():
        pytest.skip(f"no recordings at {file}")
    return file


def relate(connection: duckdb.DuckDBPyConnection, name: str, schema: pa.Schema, rows: Iterable[Mapping[str, Any]]):
    nullable = pa.schema([field.with_nullable(True) for field in schema])
    connection.register(name, pa.Table.from_pylist([dict(row) for row in rows], nullable))


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
