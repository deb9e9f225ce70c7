"""SQL for DuckDB, put together safely: names, texts and Parquet files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def quoted(*names: str) -> str:
    """An identifier, quoted whatever it is: ``"schema"."table"``."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def parquet(paths: Iterable[Path | str]) -> str:
    """The rows of Parquet files as one relation, in the order of the files.

    Without ``hive_partitioning = false`` a folder named ``a=b`` on the way becomes a column.
    """
    files = ", ".join(literal(str(path)) for path in paths)
    return f"read_parquet([{files}], hive_partitioning = false, union_by_name = true)"
