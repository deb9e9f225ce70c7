"""DuckDB, opened in one way, and SQL for it, put together safely: names, texts and Parquet files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

_INTERRUPTED = "Query interrupted"


@contextmanager
def connect(
    place: Path | str = ":memory:", *, read_only: bool = False, **options: str | int
) -> Iterator[duckdb.DuckDBPyConnection]:
    """An open DuckDB, in memory or in a file, with further settings of DuckDB's. In UTC; fetches no extension.

    Raises:
        duckdb.Error: the file is held, or is none of DuckDB's.
        KeyboardInterrupt: a signal came during a query, whatever its handler raised. DuckDB drops that for a
            ``RuntimeError`` (2.0): Ctrl-C was a failed step, and the run went on.
    """
    with duckdb.connect(  # noqa: TID251 - here
        place, read_only=read_only, config={"autoinstall_known_extensions": False, **options}
    ) as connection:
        connection.execute("SET TimeZone = 'UTC'")  # among the settings it fails: it wants icu before that is loaded
        try:
            yield connection
        except RuntimeError as error:
            if str(error) == _INTERRUPTED:
                raise KeyboardInterrupt from error
            raise


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
