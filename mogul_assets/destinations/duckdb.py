"""Deliveries into a DuckDB file: one table per dataset, and the log of what arrived.

DuckDB reads the table's Parquet files itself. Everything of one delivery (schema, rows, log) is one
transaction, and the connection is closed at once, since the file admits one process at a time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from shlex import quote
from typing import Any, ClassVar, TypeVar

import duckdb
import msgspec
from pydantic import Field
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from mogul_assets.destinations import disk
from mogul_assets.destinations.base import (
    Capabilities,
    Delivered,
    Destination,
    Leftover,
    Outcome,
    Permission,
    Preview,
)
from mogul_assets.destinations.columns import Evolution, description, distinct, fingerprint
from mogul_assets.destinations.log import KEPT, LOST, Entry
from mogul_assets.destinations.relations import differences, fold, moment, parquet, types
from mogul_assets.errors import DestinationRefused, DestinationUnreachable, MogulError, StoreDamaged
from mogul_assets.store.sql import literal, quoted
from mogul_assets.store.table import Table

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LOG = "mogul_deliveries"
_LOG_COLUMNS = {  # the fields of an Entry, in their order
    "dataset": "VARCHAR",
    "generation": "VARCHAR",
    "window_start": "TIMESTAMPTZ",
    "window_end": "TIMESTAMPTZ",
    "rows": "BIGINT",
    "bytes": "BIGINT",
    "schema_fingerprint": "VARCHAR",
    "started_at": "TIMESTAMPTZ",
    "finished_at": "TIMESTAMPTZ",
    "outcome": "VARCHAR",
    "delivery_id": "VARCHAR",
}

_WIDENS = frozenset(
    {
        *((small, "BIGINT") for small in ("TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER")),
        *((small, "DOUBLE") for small in ("FLOAT", "TINYINT", "SMALLINT", "INTEGER")),
        ("DATE", "TIMESTAMP WITH TIME ZONE"),
        ("JSON", "VARCHAR"),
    }
)
"""Changes of type that keep every value: made without asking. BIGINT to DOUBLE is not one (2^53)."""

_REFUSALS = (
    ("not a valid DuckDB database", "is not a DuckDB database", "move the file away, or name another path"),
    ("newer version of DuckDB", "was written by a newer DuckDB", "upgrade duckdb, or name another path"),
    ("No space left", "does not fit on the disk", "free some space there; what was delivered before stands"),
    ("File too large", "does not fit on the disk", "free some space there; what was delivered before stands"),
    ("Out of Memory", "needs more memory than it may use", "raise memory_limit"),
    ("Cannot open file", "cannot be opened for writing", "name a path that the user running this may write to"),
    ("Read-only file system", "cannot be written to", "name a path that the user running this may write to"),
)
"""What DuckDB's messages mean: (fragment, what is the matter with the file, the next step)."""

_HELD = re.compile(
    "IO Error: Could not set lock on file"
    "|Connection Error: Can't open a connection to same database file"
    "|Resource In Use Error"
    "|TransactionContext Error: .*[Cc]onflict"
)
"""What DuckDB says where another process has the file, or another thread of this one the file or the table."""

_WITHOUT_DATA = (duckdb.BinderException, duckdb.CatalogException, duckdb.DependencyException, duckdb.IOException)
"""DuckDB's errors whose text speaks of names and files only; others may quote a value."""


class DuckDBDestination(Destination):
    """One DuckDB file. Tables are named like their datasets and live in ``schema``.

    They have no primary key: DuckDB keeps it in memory as an index, and the store has checked it already.
    """

    EXAMPLE: ClassVar[Mapping[str, Any]] = {"path": "out/mogul.duckdb"}

    path: str = Field(description="The database file; it and its folder are made where they are missing.")
    schema_: str = Field(default="main", alias="schema", description="The schema of the tables.")
    wait_seconds: float = Field(default=20, ge=0, description="How long to wait for a process that holds the file.")
    memory_limit: str = Field(
        default="512MB", description="What DuckDB may use; beyond that it spills beside the file."
    )

    @property
    def capabilities(self) -> Capabilities:
        """Everything: DuckDB takes NUL in text, and text of 5 MB."""
        return Capabilities()

    def deliver(self, table: Table) -> Delivered:
        """Replace the dataset's table, or exactly the window in it, in one transaction.

        A new column is added and a type is widened; a column that the dataset no longer has stays, null in
        new rows. Tables are emptied and filled, never dropped, so that views on them stand.

        Raises:
            DestinationUnreachable: the file is held longer than ``wait_seconds``.
            DestinationRefused: a column changed its type, JSON that DuckDB does not take, no DuckDB file, a
                full disk and the like.
            StoreDamaged: a file of the table is missing, or holds other rows than it says.
        """
        began, started_at = time.monotonic(), datetime.now(UTC)
        self._refuse(table)
        with disk.writing(self._file.parent, destination=self.name):
            self._file.parent.mkdir(parents=True, exist_ok=True)

        def work(connection: duckdb.DuckDBPyConnection) -> tuple[Entry, bool]:
            connection.execute("BEGIN")
            outcome, anew = self._replaced(connection, table)
            entry = Entry.of(table, outcome, started_at=started_at, delivery_id=token_hex(8))
            self._logged(connection, entry)
            connection.execute("COMMIT")
            return entry, anew

        try:
            entry, anew = self._session(work)
        except duckdb.ConversionException:
            raise self._misfit(table) from None  # DuckDB's own message quotes the value
        return entry.delivered(self._location(table.dataset), seconds=time.monotonic() - began, anew=anew)

    def preview(self, table: Table) -> Preview:
        """What ``deliver`` would do: it raises what that would refuse, and shows the SQL that it would run."""
        self._refuse(table)
        wanted = types(table.schema)
        counts: tuple[int, int, int] = (table.rows, 0, 0)
        statements = self._statements(table, {})
        if self._file.exists():
            counts, statements = self._session(lambda connection: self._compared(connection, table), read_only=True)
        new, changed, gone = counts if table.key else (None, None, None)
        return Preview(
            location=self._location(table.dataset),
            rows=table.rows,
            columns=tuple(wanted.items()),
            window=table.window,
            new=new,
            changed=changed,
            gone=gone,
            statements=tuple(statements),
        )

    def check(self) -> list[Permission]:
        """Tries the folder, opening the file, and making a table in it, which is rolled back.

        Where there is no file yet, a scratch file beside it is tried and removed: another process may be
        about to make the real one.
        """
        found = disk.permissions(self._file.parent)
        if any(permission.problem for permission in found):
            return found
        file = self._file if self._file.exists() else self._file.with_name(f".mogul-check-{token_hex(4)}.duckdb")

        def work(connection: duckdb.DuckDBPyConnection) -> None:
            connection.execute("BEGIN")
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(self.schema_)}")
            connection.execute(f"CREATE TABLE {self._table(f'mogul_check_{token_hex(4)}')} (one INTEGER)")
            connection.execute("ROLLBACK")

        problem, remedy = None, ""
        with disk.borrowed(file.parent):
            try:
                self._session(work, file=file)
            except MogulError as error:
                problem, remedy = error.message, error.remedy
            finally:
                if file != self._file:
                    file.unlink(missing_ok=True)
        return [*found, Permission("make a table in the file", problem, remedy)]

    def forget(self) -> list[Leftover]:
        """The file where all tables in it are deliveries; else those tables, one by one."""
        if not self._file.exists():
            return []
        ours, others = self._session(self._tables, read_only=True)
        if ours and not others:
            count = sum(table != LOG for table in ours)
            return [Leftover(f"{self._file} with {count} tables", f"rm {quote(str(self._file))}")]
        return [Leftover(f"{table} in {self._file}", f"DROP TABLE {self._table(table)};") for table in ours]

    def last_delivery(self, dataset: str) -> datetime | None:
        if not self._file.exists():
            return None

        def work(connection: duckdb.DuckDBPyConnection) -> datetime | None:
            if not self._held(connection, LOG):
                return None
            found = connection.execute(
                f"SELECT max(epoch_us(finished_at)) FROM {self._table(LOG)} WHERE dataset = ? AND outcome = ?",
                [dataset, Outcome.DELIVERED],
            ).fetchone()
            microseconds = found[0] if found else None
            return None if microseconds is None else EPOCH + timedelta(microseconds=microseconds)

        return self._session(work, read_only=True)

    @property
    def _file(self) -> Path:
        return Path(self.path).expanduser()

    def _table(self, name: str) -> str:
        return quoted(self.schema_, name)

    def _location(self, dataset: str) -> str:
        return f"{self._file} table {self._table(dataset)}"

    def _refuse(self, table: Table) -> None:
        """Refuse what can be refused by looking at the handle alone."""
        if fold(table.dataset) == LOG:
            raise DestinationRefused(f"{self.name}: {LOG} is the log of deliveries", remedy="rename the dataset")
        distinct(table.schema.names, fold, at=f"{self.name}: {table.dataset}")
        for path in table.paths:
            if not Path(path).is_file():
                raise StoreDamaged(f"{table.dataset}: {path} is missing", remedy="refresh the dataset")

    def _replaced(self, connection: duckdb.DuckDBPyConnection, table: Table) -> tuple[Outcome, bool]:
        """What came of it, and whether the table or a column was not there, or not at the last delivery."""
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(self.schema_)}")
        log = ", ".join(f"{name} {kind}" for name, kind in _LOG_COLUMNS.items())
        connection.execute(f"CREATE TABLE IF NOT EXISTS {self._table(LOG)} ({log})")
        held = self._held(connection, table.dataset)
        if not held:
            connection.execute(
                f"UPDATE {self._table(LOG)} SET outcome = ? WHERE dataset = ? AND outcome = ?",
                [LOST, table.dataset, Outcome.DELIVERED],
            )
        if self._superseded(connection, table):
            return Outcome.SUPERSEDED, False
        last = connection.execute(
            f"SELECT schema_fingerprint FROM {self._table(LOG)} WHERE dataset = ? AND outcome = ?"
            " ORDER BY finished_at DESC LIMIT 1",
            [table.dataset, Outcome.DELIVERED],
        ).fetchone()
        whole = {fold(name) for name in table.schema.names} <= {fold(name) for name in held}
        *before, insert = self._statements(table, held)
        for statement in (*before, *self._comments(table)):
            connection.execute(statement)
        inserted = connection.execute(insert).fetchone()
        if inserted != (table.rows,):
            raise StoreDamaged(f"{table.dataset}: its files do not hold {table.rows} rows", remedy="refresh it")
        return Outcome.DELIVERED, last != (fingerprint(table.schema),) or not whole

    def _superseded(self, connection: duckdb.DuckDBPyConnection, table: Table) -> bool:
        """Whether a newer generation was delivered to any moment of the table's window."""
        start, end = (table.window.start, table.window.end) if table.window else (None, None)
        found = connection.execute(
            f"""
            SELECT count(*) FROM {self._table(LOG)}
            WHERE dataset = $dataset AND generation > $generation AND outcome = $outcome
              AND coalesce(window_start, '-infinity') < coalesce($end_, 'infinity'::TIMESTAMPTZ)
              AND coalesce(window_end, 'infinity') > coalesce($start_, '-infinity'::TIMESTAMPTZ)
            """,
            {
                "dataset": table.dataset,
                "generation": table.generation,
                "outcome": Outcome.DELIVERED,
                "start_": start,
                "end_": end,
            },
        ).fetchone()
        return found != (0,)

    def _statements(self, table: Table, held: Mapping[str, str]) -> list[str]:
        """The SQL that makes the table's rows replace those there, the ``INSERT`` last.

        Raises:
            DestinationRefused: where a column changed its type and could lose by it.
        """
        name, wanted = self._table(table.dataset), types(table.schema)
        change = Evolution.between(held, wanted, widens=_WIDENS, fold=fold)
        if change.retyped and held:
            there = {fold(column): kind for column, kind in held.items()}
            column = change.retyped[0]
            raise DestinationRefused(
                f"{self.name}: {table.dataset}.{column} is {there[fold(column)]} there and {wanted[column]} now",
                remedy=f"look who reads it, then run: {_retyping(name, column, wanted[column])};",
            )
        columns = ", ".join(map(quoted, wanted))
        ddl = (
            [
                *(f"ALTER TABLE {name} ADD COLUMN {quoted(column)} {wanted[column]}" for column in change.added),
                *(_retyping(name, column, wanted[column]) for column in change.widened),
            ]
            if held
            else [f"CREATE TABLE {name} ({', '.join(f'{quoted(column)} {kind}' for column, kind in wanted.items())})"]
        )
        # The files' order is the key's: sorting a million line items again would take longer than loading them.
        return [
            *ddl,
            f"DELETE FROM {name} WHERE {_within(table)}",
            f"INSERT INTO {name} BY NAME SELECT {columns} FROM {parquet(table.paths, wanted)}",
        ]

    def _comments(self, table: Table) -> list[str]:
        name = self._table(table.dataset)
        targets = [("TABLE " + name, description(table.schema))]
        targets += [(f"COLUMN {name}.{quoted(field.name)}", description(field)) for field in table.schema]
        return [f"COMMENT ON {target} IS {literal(text)}" for target, text in targets if text]

    def _logged(self, connection: duckdb.DuckDBPyConnection, entry: Entry) -> None:
        places = ", ".join("?" for _ in _LOG_COLUMNS)
        connection.execute(f"INSERT INTO {self._table(LOG)} VALUES ({places})", msgspec.structs.astuple(entry))
        connection.execute(
            f"DELETE FROM {self._table(LOG)} WHERE dataset = ? AND finished_at < ?",
            [entry.dataset, entry.finished_at - KEPT],
        )

    def _compared(self, connection: duckdb.DuckDBPyConnection, table: Table) -> tuple[tuple[int, int, int], list[str]]:
        held, wanted = self._held(connection, table.dataset), types(table.schema)
        statements = self._statements(table, held)
        if not held or not table.key:
            return (table.rows, 0, 0), statements
        theirs = f"(SELECT * FROM {self._table(table.dataset)} WHERE {_within(table)})"
        ours = parquet(table.paths, wanted)
        return differences(connection, ours, theirs, wanted=wanted, key=table.key), statements

    def _held(self, connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
        """The columns that a table has there, with their types; none where there is no such table."""
        return dict(
            connection.execute(
                "SELECT column_name, data_type FROM duckdb_columns()"
                " WHERE database_name = current_database() AND lower(schema_name) = lower(?)"
                " AND lower(table_name) = lower(?) ORDER BY column_index",
                [self.schema_, table],
            ).fetchall()
        )

    def _tables(self, connection: duckdb.DuckDBPyConnection) -> tuple[list[str], list[str]]:
        """The tables in the file: ours in our schema, the log last; and all others.

        Those whose names begin otherwise are another destination's, which needs the log.
        """
        every = connection.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = current_database() ORDER BY ALL"
        ).fetchall()
        if (self.schema_, LOG) not in every:
            return [], [table for _, table in every]
        delivered = {dataset for (dataset,) in connection.execute(f"SELECT dataset FROM {self._table(LOG)}").fetchall()}
        own = {name for name in delivered if name.startswith(self.chooses.table_prefix)}
        ours = [table for schema, table in every if schema == self.schema_ and table in own]
        others = [table for schema, table in every if schema != self.schema_ or table not in {*own, LOG}]
        return [*ours, *([LOG] if own == delivered else [])], others

    def _misfit(self, table: Table) -> DestinationRefused:
        """Says where the value is that DuckDB would not convert, and not what it is."""
        wanted = types(table.schema)
        with duckdb.connect() as connection:
            for column in (name for name, kind in wanted.items() if kind == "JSON"):
                keys = ", ".join(f"{quoted(name)}::VARCHAR" for name in table.key) or "'?'"
                found = connection.execute(
                    f"SELECT {keys}, strlen({quoted(column)}) FROM {parquet(table.paths, wanted)}"
                    f" WHERE NOT json_valid({quoted(column)}) LIMIT 1"
                ).fetchone()
                if found:
                    *key, size = found
                    return DestinationRefused(
                        f"{self.name}: {table.dataset}.{column} of row {', '.join(key)} ({size} bytes) is not JSON that"
                        " DuckDB takes",
                        remedy="correct the value in the account",
                    )
        return DestinationRefused(
            f"{self.name}: a value of {table.dataset} does not fit its column", remedy="compare the table's columns"
        )

    def _session(
        self, work: Callable[[duckdb.DuckDBPyConnection], T], *, read_only: bool = False, file: Path | None = None
    ) -> T:
        """``work`` on an open connection, closed at once; begun again while somebody else holds the file."""
        place = file or self._file

        def once() -> T:
            with duckdb.connect(place, read_only=read_only, config=self._config) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                return work(connection)

        held = Retrying(
            retry=retry_if_exception(_is_held),
            stop=stop_after_delay(self.wait_seconds),
            wait=wait_random(0.02, 0.2),
            reraise=True,
        )
        try:
            return held(once)
        except duckdb.ConversionException:
            raise
        except duckdb.Error as error:
            raise self._told(error, place) from None  # its text may quote a value

    @property
    def _config(self) -> dict[str, str | bool | int | float | list[str]]:
        """Bounded memory, spilling to DuckDB's default beside the file; no extension is ever fetched."""
        return {"memory_limit": self.memory_limit, "autoinstall_known_extensions": False}

    def _told(self, error: duckdb.Error, file: Path) -> MogulError:
        text = str(error).splitlines()[0]
        if _is_held(error):
            return DestinationUnreachable(
                f"{self.name}: {file} is held by {_holder(text)}", remedy="close it there; it is tried again"
            )
        for fragment, what, remedy in _REFUSALS:
            if fragment in text:
                return DestinationRefused(f"{self.name}: {file} {what}", remedy=remedy)
        said = text if isinstance(error, _WITHOUT_DATA) else type(error).__name__
        return DestinationRefused(f"{self.name}: DuckDB refused: {said}", remedy=f"look at the tables in {file}")


def _within(table: Table) -> str:
    """The condition that holds for exactly the rows which the table replaces."""
    if table.window is None:
        return "true"
    assert table.window_column is not None
    column, start, end = quoted(table.window_column), table.window.start, table.window.end
    return f"{column} >= {moment(start)}" + ("" if end is None else f" AND {column} < {moment(end)}")


def _retyping(table: str, column: str, kind: str) -> str:
    return f"ALTER TABLE {table} ALTER COLUMN {quoted(column)} TYPE {kind}"


def _is_held(error: BaseException) -> bool:
    return isinstance(error, duckdb.Error) and _HELD.match(str(error)) is not None


def _holder(text: str) -> str:
    """Who holds the file: DuckDB names the process's id, the system its command."""
    found = re.search(r"PID (\d+)", text)
    if found is None:
        return "another delivery of this process"
    try:
        command = Path("/proc", found[1], "comm").read_text().strip()
    except OSError:  # gone meanwhile, or a system without /proc
        return f"process {found[1]}"
    return f"process {found[1]} ({command})"
