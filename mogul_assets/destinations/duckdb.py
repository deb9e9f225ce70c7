"""Deliveries into a DuckDB file: one table per dataset, and the log of what arrived.

DuckDB reads the table's Parquet files itself. Everything of one delivery (schema, rows, log) is one
transaction, and the connection is closed at once, since the file admits one process at a time.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from shlex import quote
from typing import Any, ClassVar, TypeVar

import duckdb
import msgspec
from pydantic import Field
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from mogul_assets.destinations import disk, history
from mogul_assets.destinations.base import (
    Capabilities,
    Delivered,
    Leftover,
    Outcome,
    Permission,
    Preview,
)
from mogul_assets.destinations.columns import Evolution, description, distinct, fingerprint
from mogul_assets.destinations.log import KEPT, LOG, LOG_SCHEMA, LOST, Entry
from mogul_assets.destinations.relations import differences, fold, moment, parquet, types
from mogul_assets.errors import DestinationRefused, DestinationUnreachable, MogulError, StoreDamaged
from mogul_assets.store.person import Person
from mogul_assets.store.sql import connect, literal, quoted
from mogul_assets.store.table import Table

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

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


_STAGED = quoted("temp", "mogul_staged")
"""Of this connection alone, with the rows of a delivery that keeps history."""


@dataclass(frozen=True, slots=True)
class _Statements:
    """A delivery, in its order. With history ``delete`` closes versions, and ``standing`` counts the current rows."""

    before: tuple[str, ...]
    delete: str
    insert: str
    renew: str = ""
    standing: str = ""

    @property
    def shown(self) -> tuple[str, ...]:
        return (*self.before, self.delete, *filter(None, [self.renew]), self.insert)


class DuckDBDestination(history.KeepsHistory):
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
        new rows. Tables are emptied and filled, never dropped, so that views on them stand. With history, versions
        are closed and opened instead.

        Raises:
            DestinationUnreachable: the file is held longer than ``wait_seconds``.
            DestinationRefused: a column changed its type, JSON that DuckDB does not take, no DuckDB file, a
                full disk, a table there that was made without history and the like.
            StoreDamaged: a file of the table is missing, or holds other rows than it says.
        """
        began, started_at = time.monotonic(), datetime.now(UTC)
        self._refuse(table)
        with disk.writing(self._file.parent, destination=self.name):
            self._file.parent.mkdir(parents=True, exist_ok=True)

        def work(connection: duckdb.DuckDBPyConnection) -> tuple[Entry, _Replaced]:
            connection.execute("BEGIN")
            replaced = self._replaced(connection, table)
            entry = Entry.of(table, replaced.outcome, started_at=started_at, delivery_id=token_hex(8))
            self._logged(connection, entry)
            connection.execute("COMMIT")
            return entry, replaced

        try:
            entry, replaced = self._session(work)
        except duckdb.ConversionException:
            raise self._misfit(table) from None  # DuckDB's own message quotes the value
        seconds = time.monotonic() - began
        delivered = entry.delivered(self._location(table.dataset), seconds=seconds, anew=replaced.anew)
        if not self.keeps_history(table.origin):
            return delivered
        details = {**delivered.details, "opened": replaced.inserted, "closed": replaced.deleted}
        return replace(delivered, details=details)

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
            statements=statements.shown,
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

    def remains(self, datasets: Sequence[str]) -> list[Leftover]:
        if not datasets:
            return []
        file, fresh = quote(str(self._file)), quote(str(self._file.with_name("fresh.duckdb")))
        sql = f"ATTACH {literal(str(self._file))} AS old; COPY FROM DATABASE old TO fresh"
        move = quote(sql) if set('"$`\\!') & set(sql) else f'"{sql}"'
        return [
            *super().remains(datasets),
            Leftover(
                f"deleted rows in free blocks of {self._file}, until they are written over",
                f"after that: duckdb {fresh} {move} && mv {fresh} {file}",
            ),
        ]

    def erase(self, person: Person, datasets: Sequence[str]) -> int:
        """One transaction.

        Raises:
            DestinationUnreachable: the file is held longer than ``wait_seconds``.
            DestinationRefused: a full disk and the like.
        """

        def work(connection: duckdb.DuckDBPyConnection) -> int:
            gone = 0
            connection.execute("BEGIN")
            for dataset in datasets:
                table = self.chooses.name(dataset)
                columns = [fold(name) for name in self._held(connection, table)]
                if (rows := self.chooses.rows_of(person, dataset, columns, spelled=fold)) is not None:
                    found = connection.execute(f"DELETE FROM {self._table(table)} WHERE {rows}").fetchone()
                    gone += found[0] if found else 0
            connection.execute("COMMIT")
            return gone

        return self._session(work) if self._file.exists() else 0

    def last_delivery(self, dataset: str) -> datetime | None:
        if not self._file.exists():
            return None

        def work(connection: duckdb.DuckDBPyConnection) -> datetime | None:
            if not self._held(connection, LOG):
                return None
            found = connection.execute(
                f"SELECT max(epoch_us(finished_at)) FROM {self._table(LOG)} WHERE dataset = ? AND outcome = ?",
                [self.chooses.name(dataset), Outcome.DELIVERED],
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

    def _replaced(self, connection: duckdb.DuckDBPyConnection, table: Table) -> _Replaced:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(self.schema_)}")
        log = ", ".join(f"{name} {kind}" for name, kind in types(LOG_SCHEMA).items())
        connection.execute(f"CREATE TABLE IF NOT EXISTS {self._table(LOG)} ({log})")
        held = self._held(connection, table.dataset)
        if not held:
            connection.execute(
                f"UPDATE {self._table(LOG)} SET outcome = ? WHERE dataset = ? AND outcome = ?",
                [LOST, table.dataset, Outcome.DELIVERED],
            )
        if self._superseded(connection, table):
            return _Replaced(Outcome.SUPERSEDED)
        last = connection.execute(
            f"SELECT schema_fingerprint FROM {self._table(LOG)} WHERE dataset = ? AND outcome = ?"
            " ORDER BY finished_at DESC LIMIT 1",
            [table.dataset, Outcome.DELIVERED],
        ).fetchone()
        whole = {fold(name) for name in table.schema.names} <= {fold(name) for name in held}
        statements = self._statements(table, held)
        for statement in (*statements.before, *self._comments(table)):
            connection.execute(statement)
        deleted = _count(connection, statements.delete)
        if statements.renew:
            connection.execute(statements.renew)
        inserted = _count(connection, statements.insert)
        standing = _count(connection, statements.standing) if statements.standing else inserted
        if standing != table.rows:
            what = "current would not be" if statements.standing else "its files do not hold"
            raise StoreDamaged(f"{table.dataset}: {what} {table.rows} rows", remedy="refresh it")
        anew = last != (fingerprint(table.schema),) or not whole
        return _Replaced(Outcome.DELIVERED, anew=anew, deleted=deleted, inserted=inserted)

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

    def _statements(self, table: Table, held: Mapping[str, str]) -> _Statements:
        """The SQL that makes the table's rows replace those there.

        Raises:
            DestinationRefused: where a column changed its type and could lose by it, and where the table there keeps
                history and this delivery does not, or the other way round.
        """
        at, keeps = f"{self.name}: {table.dataset}", self.keeps_history(table.origin)
        name, rows = self._table(table.dataset), types(table.schema)
        wanted = types(history.versioned(table, at=at).schema) if keeps else rows
        history.refuse_other(
            held,
            history=keeps,
            fold=fold,
            rename=f"ALTER TABLE {name} RENAME TO {quoted(f'{table.dataset}_before')}",
            dataset=table.origin,
            at=at,
        )
        change = Evolution.between(held, wanted, widens=_WIDENS, fold=fold)
        if change.retyped and held:
            there = {fold(column): kind for column, kind in held.items()}
            column = change.retyped[0]
            raise DestinationRefused(
                f"{at}.{column} is {there[fold(column)]} there and {wanted[column]} now",
                remedy=f"look who reads it, then run: {_retyping(name, column, wanted[column])};",
            )
        columns = ", ".join(map(quoted, rows))
        ddl = (
            [
                *(f"ALTER TABLE {name} ADD COLUMN {quoted(column)} {wanted[column]}" for column in change.added),
                *(_retyping(name, column, wanted[column]) for column in change.widened),
            ]
            if held
            else [f"CREATE TABLE {name} ({', '.join(f'{quoted(column)} {kind}' for column, kind in wanted.items())})"]
        )
        files, within = parquet(table.paths, rows), _within(table)
        if not keeps:
            # The files' order is the key's: sorting a million line items again would take longer than loading them.
            return _Statements(
                tuple(ddl),
                delete=f"DELETE FROM {name} WHERE {within}",
                insert=f"INSERT INTO {name} BY NAME SELECT {columns} FROM {files}",
            )
        hashed = f"{history.digest(table)} AS {quoted(history.ROW_HASH)}"
        versions = history.change(
            table,
            name,
            _STAGED,
            name=quoted,
            staged_name=quoted,
            values={column: quoted(column) for column in rows},
            moment=moment(table.read_at),
            within=within,
        )
        return _Statements(
            (*ddl, f"CREATE TEMP TABLE {_STAGED} AS SELECT {columns}, {hashed} FROM {files}"),
            delete=versions.close,
            insert=versions.insert,
            renew=versions.renew,
            standing=versions.standing,
        )

    def _comments(self, table: Table) -> list[str]:
        name, told = self._table(table.dataset), [*table.schema]
        if self.keeps_history(table.origin):
            told += history.COLUMNS.values()
        targets = [("TABLE " + name, description(table.schema))]
        targets += [(f"COLUMN {name}.{quoted(field.name)}", description(field)) for field in told]
        return [f"COMMENT ON {target} IS {literal(text)}" for target, text in targets if text]

    def _logged(self, connection: duckdb.DuckDBPyConnection, entry: Entry) -> None:
        places = ", ".join("?" for _ in LOG_SCHEMA)
        connection.execute(f"INSERT INTO {self._table(LOG)} VALUES ({places})", msgspec.structs.astuple(entry))
        connection.execute(
            f"DELETE FROM {self._table(LOG)} WHERE dataset = ? AND finished_at < ?",
            [entry.dataset, entry.finished_at - KEPT],
        )

    def _compared(
        self, connection: duckdb.DuckDBPyConnection, table: Table
    ) -> tuple[tuple[int, int, int], _Statements]:
        held, wanted = self._held(connection, table.dataset), types(table.schema)
        statements = self._statements(table, held)
        if not held or not table.key:
            return (table.rows, 0, 0), statements
        columns, key, within, ours = "*", table.key, _within(table), parquet(table.paths, wanted)
        if self.keeps_history(table.origin):
            told = history.compared(table, at=f"{self.name}: {table.dataset}")
            wanted, key, within = types(told.schema), told.key, f"{quoted(history.IS_CURRENT)} AND {within}"
            columns, hashed = ", ".join(map(quoted, wanted)), f"{history.digest(table)} AS {quoted(history.ROW_HASH)}"
            ours = f"(SELECT {', '.join(map(quoted, key))}, {hashed} FROM {ours})"
        theirs = f"(SELECT {columns} FROM {self._table(table.dataset)} WHERE {within})"
        return differences(connection, ours, theirs, wanted=wanted, key=key), statements

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

        Those that are called otherwise are another destination's, which needs the log, or an asset's of the user's own.
        """
        every = connection.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = current_database() ORDER BY ALL"
        ).fetchall()
        if (self.schema_, LOG) not in every:
            return [], [table for _, table in every]
        delivered = {dataset for (dataset,) in connection.execute(f"SELECT dataset FROM {self._table(LOG)}").fetchall()}
        own = delivered & self.chooses.names
        ours = [table for schema, table in every if schema == self.schema_ and table in own]
        others = [table for schema, table in every if schema != self.schema_ or table not in {*own, LOG}]
        return [*ours, *([LOG] if own == delivered else [])], others

    def _misfit(self, table: Table) -> DestinationRefused:
        """Says where the value is that DuckDB would not convert, and not what it is."""
        wanted = types(table.schema)
        with connect() as connection:
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
            if not read_only and not place.exists():
                _create(place)
            # Beyond that it spills, by default beside the file.
            with connect(place, read_only=read_only, memory_limit=self.memory_limit) as connection:
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


@dataclass(frozen=True, slots=True)
class _Replaced:
    """What came of it. ``anew``: the table or a column was not there, or not at the last delivery."""

    outcome: Outcome
    anew: bool = False
    deleted: int = 0
    inserted: int = 0


def _create(place: Path) -> None:
    """An empty database, whole or not at all: one whose first 12 kB were cut off, DuckDB never opens again."""
    new = place.with_name(f".{place.name}.{token_hex(4)}")
    try:
        with connect(new):
            pass
        try:
            os.link(new, place)  # never over one that another process made meanwhile
        except FileExistsError:
            return
        except OSError:  # a file system without links
            new.replace(place)
    finally:
        new.unlink(missing_ok=True)


def _count(connection: duckdb.DuckDBPyConnection, statement: str) -> int:
    """What the statement counts, or the rows that it changed."""
    found = connection.execute(statement).fetchone()
    assert found is not None
    return int(found[0])


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
