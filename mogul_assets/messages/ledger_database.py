"""The database that the ledger is kept in: SQLite or Postgres, one transaction at a time, at the newest migration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from mogul_assets.errors import ConfigurationError, LedgerUnavailable, LedgerUnusable
from mogul_assets.messages.tables import HEAD

BUSY_SECONDS = 20
_POSTGRES_TIME_LIMITS = {
    "connect_timeout": BUSY_SECONDS,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_REMEDY = "write  postgresql+psycopg2://user:password@host/database"
_LASTING = (
    *("full", "No space left", "readonly", "read-only", "unable to open", "permission denied"),
    *("authentication failed", "no password supplied", "does not exist", "pg_hba.conf"),
)
"""What databases say of that which waiting does not mend. "Full": a disk; "does not exist": a database, a role."""


class Database:
    """One open ledger; close it, or use it in a ``with``. Not for several threads at once.

    Args:
        url: SQLAlchemy's; ``sqlite:///…`` or ``postgresql+psycopg2://…``.

    Raises:
        ConfigurationError: the URL is none.
        LedgerUnavailable: the database cannot be reached now.
        LedgerUnusable: it can never be used as it is.
    """

    def __init__(self, url: str | sa.URL) -> None:
        try:
            self._url = make_url(url)
        except (ArgumentError, ValueError):  # of a port that is no number, with the whole of it in its words
            raise ConfigurationError("the ledger's URL is none", remedy=_REMEDY) from None
        if self._url.drivername in {"postgres", "postgresql"}:
            self._url = self._url.set(drivername="postgresql+psycopg2")
        if self._url.drivername not in {"sqlite", "postgresql+psycopg2"}:
            raise ConfigurationError(f"the ledger cannot be kept by {self._url.drivername}", remedy=_REMEDY)
        self._sqlite = self._url.get_backend_name() == "sqlite"
        self._engine = self._connected()
        try:
            self._upgrade()
        except BaseException:
            self._engine.dispose()
            raise

    @classmethod
    def at(cls, path: Path) -> Self:
        """The ledger in a file, which only its owner may read: customers' names are in it."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        except OSError as error:
            raise LedgerUnusable(
                f"the ledger {path} cannot be made: {error.strerror}", remedy="see to the folder, or set ledger.path"
            ) from None
        return cls(sa.URL.create("sqlite", database=str(path)))

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._place}>"

    @property
    def _place(self) -> str:
        return str(self._url.database) if self._sqlite else f"on {self._url.host}, database {self._url.database}"

    def _connected(self) -> Engine:
        if not self._sqlite:
            return sa.create_engine(
                self._url, pool_pre_ping=True, connect_args=_POSTGRES_TIME_LIMITS, hide_parameters=True
            )
        engine = sa.create_engine(self._url, connect_args={"timeout": BUSY_SECONDS}, hide_parameters=True)

        @event.listens_for(engine, "connect")
        def prepared(connection: Any, _record: object) -> None:
            connection.isolation_level = None  # the driver begins transactions late; see ``begun``
            for pragma in ("journal_mode=WAL", "foreign_keys=ON"):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def begun(connection: Connection) -> None:
            asked = connection.get_execution_options()
            if asked.get("bare"):  # for what cannot be done in a transaction
                return
            # NORMAL outlives a killed process; a power cut may take the last of it back. What was sent under one id
            # must not come back under another: what is written down is on the disk before anybody sends it.
            connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if asked.get('durable') else 'NORMAL'}")
            # A transaction that reads first and then writes would fail at once where another has written meanwhile.
            connection.exec_driver_sql("BEGIN" if asked.get("reads") else "BEGIN IMMEDIATE")

        return engine

    @contextmanager
    def _transaction(self, destination: str | None = None, **options: Any) -> Iterator[Connection]:
        """A transaction; the only one at this moment that writes to the messages of ``destination``.

        SQLite has one writer at a time. Postgres has many, who lock rows in different orders, and would now and
        then find themselves waiting for each other.
        """
        try:
            with self._engine.execution_options(**options).begin() as connection:
                if destination is not None and not self._sqlite:
                    connection.execute(sa.text(f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'"))
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(destination))))
                yield connection
        except DBAPIError as error:
            said = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
            passing = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
            if not passing or any(words in said for words in _LASTING):
                raise LedgerUnusable(
                    f"the ledger {self._place}: {self._discreet(said)}", remedy="make room, or see to its permissions"
                ) from None
            raise LedgerUnavailable(
                f"the ledger {self._place}: {self._discreet(said)}", remedy="nothing is lost; this is tried again"
            ) from None

    def _compact(self) -> None:
        """Let nothing be left in the database's files of what was removed from its tables.

        Of Postgres' own journal and backups that cannot be said: they are its administrator's.
        """
        if not self._sqlite:
            with self._transaction(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(sa.text(f"SET lock_timeout = '{BUSY_SECONDS}s'"))
                connection.execute(sa.text("VACUUM FULL message, attempt"))
            return
        with self._transaction(bare=True) as connection:
            connection.exec_driver_sql("PRAGMA secure_delete=ON")
            connection.exec_driver_sql("VACUUM")
            busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
        if busy:
            raise LedgerUnavailable(f"the ledger {self._place} is read by another process", remedy="run it again")

    def _discreet(self, said: str) -> str:
        return said.replace(str(self._url.password), "…") if self._url.password else said

    def _upgrade(self) -> None:
        with self._transaction(reads=True) as connection:
            if _version(connection) == HEAD:
                return
        # Of two processes that open a new ledger one makes it. Destinations have no such name.
        with self._transaction("ledger version") as connection:
            version = _version(connection)
            if version == HEAD:
                return
            if version is not None and version > HEAD:
                raise LedgerUnusable(
                    f"the ledger {self._place} was written by a newer version ({version}; this one knows {HEAD})",
                    remedy="run the newer version, or begin another ledger",
                )
            from alembic import command  # noqa: PLC0415 - 0.3 s, and needed once in the life of a ledger
            from alembic.config import Config  # noqa: PLC0415

            config = Config()
            config.set_main_option("script_location", "mogul_assets.messages:migrations")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _version(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("ledger_version"):
        return None
    version: str | None = connection.scalar(sa.text("SELECT version_num FROM ledger_version"))
    return version
