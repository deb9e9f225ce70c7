"""Dagster's SQLite files, written without waiting for the disk at every event.

Dagster opens and closes a connection for each of the 800 events of a refresh, and SQLite waits for the disk at each
commit, and again when the last connection to a file is closed: on two busy cores that was 27 of the 43 seconds
that the events took. Here each file keeps one connection open, and its journal, which is written ahead, is not
waited for. A power cut may cost the last events, and never the file (https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine


@contextmanager
def unhurried() -> Iterator[None]:
    """For the time of the block, and every SQLite file that SQLAlchemy opens; other databases stay as they are."""
    held: dict[str, sqlite3.Connection] = {}

    def connected(connection: Any, _record: Any) -> None:
        if not isinstance(connection, sqlite3.Connection):
            return
        connection.execute("PRAGMA synchronous = NORMAL")
        file = connection.execute("PRAGMA database_list").fetchone()[2]
        if file and file not in held:
            held[file] = sqlite3.connect(file, check_same_thread=False)
        if file:
            # Only who has read since the journal was switched on keeps it open.
            held[file].execute("PRAGMA user_version").fetchall()

    event.listen(Engine, "connect", connected)
    try:
        yield
    finally:
        event.remove(Engine, "connect", connected)
        for connection in held.values():
            connection.close()
