"""DuckDB, opened in one way, and SQL for it, put together safely: names, texts and Parquet files."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import duckdb

_STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def connect(
    place: Path | str = ":memory:", *, read_only: bool = False, **options: str | int
) -> Iterator[duckdb.DuckDBPyConnection]:
    """An open DuckDB, in memory or in a file, with further settings of DuckDB's. In UTC; fetches no extension.

    Raises:
        duckdb.Error: the file is held, or is none of DuckDB's.
    """
    with (
        _interruptible(),
        duckdb.connect(  # noqa: TID251 - here
            place, read_only=read_only, config={"autoinstall_known_extensions": False, **options}
        ) as connection,
    ):
        connection.execute("SET TimeZone = 'UTC'")  # among the settings it fails: it wants icu before that is loaded
        yield connection


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ends with what a handler of Ctrl-C raised meanwhile, whatever became of it.

    DuckDB 2.0 drops that for a ``RuntimeError`` during a query, and for an ``InvalidInputException`` where it asks
    Python for rows: Ctrl-C was a failed step, and the run went on.
    """
    if threading.current_thread() is not threading.main_thread():  # where no signal arrives
        yield
        return
    raised: list[BaseException] = []
    with ExitStack() as stack:
        for number in _STOPPING:
            stack.enter_context(_noted(number, raised))
        try:
            yield
        except Exception:
            if not raised:
                raise
        if raised:
            raise raised[0] from None


@contextmanager
def _noted(number: signal.Signals, raised: list[BaseException]) -> Iterator[None]:
    """Keeps what the signal's handler raises."""
    handler = signal.getsignal(number)
    if not callable(handler):
        yield
        return

    def noting(number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except BaseException as error:
            raised.append(error)
            raise

    signal.signal(number, noting)
    try:
        yield
    finally:
        if signal.getsignal(number) is noting:  # a generator may end long after what it was begun in
            signal.signal(number, handler)


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
