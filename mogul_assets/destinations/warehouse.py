"""A delivery into a warehouse: one flow for all, each type saying only what is its own.

Bulk load into a staging table, then ``DELETE`` and ``INSERT … SELECT`` in one transaction, so that a reader sees
the old rows until it sees the new ones, and grants, views and policies on the table stand. DDL commits by itself
in most warehouses: the schema is changed before.
"""

import logging
import tempfile
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar, Protocol, TypeVar

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, field_validator
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from mogul_assets.catalog.columns import Kind
from mogul_assets.destinations import history
from mogul_assets.destinations.base import Delivered, Leftover, Outcome, Preview
from mogul_assets.destinations.columns import is_json
from mogul_assets.destinations.dialect import CREATED, Dialect, Statements, There, kind_of
from mogul_assets.destinations.limits import Oversize, fitting
from mogul_assets.destinations.log import LOG, Entry
from mogul_assets.destinations.relations import differences, parquet, types
from mogul_assets.errors import (
    DestinationRefused,
    DestinationUnavailable,
    DestinationUnreachable,
    MogulError,
    StoreDamaged,
)
from mogul_assets.store.person import Person
from mogul_assets.store.sql import connect, quoted
from mogul_assets.store.table import Table

T = TypeVar("T")

STANDS = "what was delivered before stands"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WAIT = 60
"""Seconds for which a delivery comes back after meeting another."""

_log = logging.getLogger(__name__)


class Conflict(Exception):
    """Another delivery was at the same rows, or made the same table: begin again."""


class Session(Protocol):
    """An open connection. It raises what the vendor's client raises."""

    def execute(self, statement: str) -> int:
        """Runs one statement; the rows that it changed, where it changed any."""

    def rows(self, statement: str) -> Sequence[tuple[Any, ...]]: ...

    def batches(self, statement: str) -> Iterable[pa.RecordBatch | pa.Table]:
        """The rows by columns, in the order of the query: memory does not grow with them."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Transacted:
    """What came of a transaction: its row of the log, and the rows that it deleted and inserted.

    With history those are the versions closed and opened.
    """

    entry: Entry
    deleted: int = 0
    inserted: int = 0


class Warehouse(history.KeepsHistory):
    """One schema of one warehouse, with a table per dataset, named like it, and ``mogul_deliveries``."""

    BACKUPS: ClassVar[Leftover]
    """What the warehouse itself keeps of rows that were deleted."""

    connection: dg.ResourceDependency[dg.ConfigurableResource[Any] | None] = None  # type: ignore[assignment]
    """A resource of the user's own, used instead of the one made from the settings."""

    oversize: Oversize = Field(
        default="refuse", description="A value beyond the limits: refuse the delivery, or deliver null in its place."
    )
    step_seconds: float = Field(default=3600, gt=0, description="How long one step of a delivery may take.")

    @field_validator("oversize", mode="before")
    @classmethod
    def _null(cls, value: object) -> object:
        """``oversize: null`` is nothing, as YAML reads it."""
        return "null" if value is None else value

    # What a type says of itself.

    @property
    @abstractmethod
    def dialect(self) -> Dialect: ...

    @property
    @abstractmethod
    def namespace(self) -> tuple[str, ...]:
        """What stands before a table's name: database and schema, or the like."""

    @abstractmethod
    def session(self) -> Session:
        """Connect, in 20 s at most. The vendor's SDK is imported here."""

    @abstractmethod
    def look(self, session: Session, names: Sequence[str]) -> There:
        """The schema, and the tables of these names in it, as the catalogue there has them."""

    @abstractmethod
    def stage(self, session: Session, table: Table, files: Sequence[Path], staging: str) -> None:
        """Load the files, in bulk, into a new table of the quoted path ``staging``; there may be no file."""

    @abstractmethod
    def told(self, error: Exception) -> MogulError | Conflict | None:
        """What an exception of the vendor's client means; ``None`` where it is none of its exceptions.

        The message says what is the matter there, without a value or a secret.
        """

    # What a type may do otherwise.

    def unstage(self, session: Session, table: Table, staging: str) -> None:  # noqa: ARG002 - others need the table
        """Remove what ``stage`` made, however far it came."""
        session.execute(f"DROP TABLE IF EXISTS {staging}")

    def staging(self, delivery: str) -> str:
        """The quoted path of a delivery's staging table, its own name of plain letters whatever the dataset's."""
        return self.dialect.name(*self.namespace, f"mogul_staging_{delivery}")

    def location(self, dataset: str) -> str:
        """Where a person looks."""
        return ".".join(self.dialect.spelled(name) for name in (*self.namespace, dataset))

    def transact(
        self, session: Session, table: Table, statements: Statements, entry: Callable[[Outcome], Entry]
    ) -> Transacted:
        """Replace the rows and write the log, in one transaction, which is rolled back on any error.

        Raises:
            Conflict: another delivery was faster; nothing was changed.
            StoreDamaged: other rows arrived than the table says.
        """
        session.execute("BEGIN")
        try:
            session.execute(statements.lock)
            ((newer,),) = session.rows(statements.superseded)
            done = Transacted(entry(Outcome.SUPERSEDED))
            if not newer:
                deleted = session.execute(statements.delete)
                if statements.renew:
                    session.execute(statements.renew)
                inserted = session.execute(statements.insert)
                self._whole(table, session.rows(statements.standing)[0][0] if statements.standing else inserted)
                done = Transacted(entry(Outcome.DELIVERED), deleted, inserted)
            session.execute(self.dialect.logged(self._log_path, done.entry))
            session.execute(statements.prune)
        except BaseException:
            if not self._quietly(lambda: session.execute("ROLLBACK"), "roll back"):
                # Else the next DDL, such as of clearing up, would commit half of it: Snowflake's does.
                self._quietly(session.close, "close the connection")
            raise
        self._commit(session, done.entry)
        return done

    # The verbs.

    def deliver(self, table: Table) -> Delivered:
        """Replace the dataset's table, or exactly the window in it, in one transaction.

        A new column is added and a type is widened; a column that the dataset no longer has stays, null in new
        rows. Tables are emptied and filled, never dropped. With history, versions are closed and opened instead.

        Raises:
            DestinationUnavailable: it cannot be reached, or another delivery was in the way for a minute.
            DestinationRefused: a column changed its type, a value beyond the limits, a missing permission, a table
                there that was made without history and the like.
            StoreDamaged: a file of the table is missing, or holds other rows than it says.
        """
        began, started_at, delivery = time.monotonic(), datetime.now(UTC), token_hex(8)
        self._refuse(table)
        at, keeps = self._at(table), self.keeps_history(table.origin)
        staging = self.staging(delivery)

        def entry(outcome: Outcome) -> Entry:
            return Entry.of(table, outcome, started_at=started_at, delivery_id=delivery)

        with tempfile.TemporaryDirectory(prefix="mogul-") as folder:
            fitted = fitting(table, self.capabilities, oversize=self.oversize, folder=Path(folder), at=at)
            loaded, files = table, fitted.files
            if keeps:
                loaded, files = history.staged(table), history.digested(table, files, Path(folder) / "digested")
            with self._undisturbed(at), self._connected(at) as session:
                statements = self._patiently(at, lambda: self._prepared(session, table, staging, started_at))
                try:
                    with self._during("staging the rows", at):
                        self.stage(session, loaded, files, staging)
                    done = self._patiently(at, lambda: self._transacted(session, table, statements, staging, entry))
                finally:
                    self._quietly(lambda: self.unstage(session, table, staging), f"remove {staging}")
        anew = done.entry.outcome is Outcome.DELIVERED and statements.anew
        delivered = done.entry.delivered(self.location(table.dataset), seconds=time.monotonic() - began, anew=anew)
        details: dict[str, str | int | float] = dict(delivered.details)
        if keeps:
            details |= {"opened": done.inserted, "closed": done.deleted}
        if fitted.nulled:
            details["oversize"] = fitted.nulled
        if statements.rewritten:
            details["rewritten"] = ", ".join(statements.rewritten)
            _log.warning("%s: columns were rewritten for a new type: %s", at, details["rewritten"])
        return replace(delivered, details=details)

    def preview(self, table: Table) -> Preview:
        """What ``deliver`` would do, with its statements; it raises what that would refuse.

        Rows are compared by key. JSON is left out of the comparison: the warehouse keeps it parsed, and spells it
        its own way.
        """
        self._refuse(table)
        at, now = self._at(table), datetime.now(UTC)
        with (
            tempfile.TemporaryDirectory(prefix="mogul-") as folder,
            self._undisturbed(at),
            self._connected(at) as session,
        ):
            there = self._looked(session, table, at)
            statements = self._statements(table, there, self.staging("preview"), now)
            counts: tuple[int | None, int | None, int | None] = (table.rows, 0, 0) if table.key else (None, None, None)
            if table.key and there.columns.get(self.dialect.fold(table.dataset)):
                with self._during("reading what lies there", at):
                    counts = self._compared(session, table, there, Path(folder))
        new, changed, gone = counts
        return Preview(
            location=self.location(table.dataset),
            rows=table.rows,
            columns=tuple(
                (self.dialect.spelled(name), kind) for name, kind in self.dialect.columns(table.schema).items()
            ),
            window=table.window,
            new=new,
            changed=changed,
            gone=gone,
            statements=statements.shown,
        )

    def forget(self) -> list[Leftover]:
        """The tables of the datasets that were ever delivered, the log last; none where there is no log.

        Those that are called otherwise are another destination's, which needs the log, or an asset's of the user's own.
        """
        with self._reading_log() as session:
            if not self.look(session, (LOG,)).columns.get(self.dialect.fold(LOG)):
                return []
            dataset = self.dialect.name("dataset")
            found = [name for (name,) in session.rows(f"SELECT DISTINCT {dataset} FROM {self._log_path} ORDER BY 1")]
        ours = [name for name in found if name in self.chooses.names]
        return [
            Leftover(f"table {self.location(name)}", f"DROP TABLE {self.dialect.name(*self.namespace, name)};")
            for name in (*ours, *([LOG] if ours == found else []))
        ]

    def remains(self, datasets: Sequence[str]) -> list[Leftover]:
        return [*super().remains(datasets), self.BACKUPS] if datasets else []

    def erase(self, person: Person, datasets: Sequence[str]) -> int:
        """One ``DELETE`` a table, each whole or not at all; doing it again does no harm.

        Raises:
            DestinationUnavailable: it cannot be reached, or deliveries were in the way for a minute.
            DestinationRefused: a missing permission and the like.
        """
        gone = 0
        with self._connected(self.name) as session:
            with self._during("looking at what is there", self.name):
                there = self.look(session, [self.chooses.name(dataset) for dataset in datasets])
            for dataset in datasets:
                table, dialect = self.chooses.name(dataset), self.dialect
                columns = [dialect.fold(one.name) for one in there.columns.get(dialect.fold(table), ())]
                rows = self.chooses.rows_of(
                    person, dataset, columns, spelled=dialect.fold, name=dialect.name, text=dialect.literal
                )
                if rows is None:
                    continue
                at, path = f"{self.name}: {dataset}", dialect.name(*self.namespace, table)
                gone += self._patiently(at, partial(self._erased, session, f"DELETE FROM {path} WHERE {rows}", at))
        return gone

    def _erased(self, session: Session, statement: str, at: str) -> int:
        with self._during("removing a customer's rows", at):
            return session.execute(statement)

    def last_delivery(self, dataset: str) -> datetime | None:
        with self._reading_log() as session:
            if not self.look(session, (LOG,)).columns.get(self.dialect.fold(LOG)):
                return None
            ((microseconds,),) = session.rows(self.dialect.last(self._log_path, self.chooses.name(dataset)))
        return None if microseconds is None else _EPOCH + timedelta(microseconds=int(microseconds))

    # How they do it.

    @property
    def _log_path(self) -> str:
        return self.dialect.name(*self.namespace, LOG)

    def _at(self, table: Table) -> str:
        return f"{self.name}: {table.dataset}"

    def _refuse(self, table: Table) -> None:
        """Refuse what can be refused by looking at the handle alone."""
        if self.dialect.fold(table.dataset) == self.dialect.fold(LOG):
            raise DestinationRefused(f"{self.name}: {LOG} is the log of deliveries", remedy="rename the dataset")
        for path in table.paths:
            if not Path(path).is_file():
                raise StoreDamaged(f"{table.dataset}: {path} is missing", remedy="refresh the dataset")

    @contextmanager
    def _connected(self, at: str) -> Iterator[Session]:
        try:
            with self._during("connecting", at):
                session = self.session()
        except DestinationUnavailable as away:
            raise DestinationUnreachable(away.message, remedy=away.remedy) from None
        try:
            yield session
        finally:
            self._quietly(session.close, "close the connection")

    @contextmanager
    def _reading_log(self) -> Iterator[Session]:
        at = self.name
        with self._undisturbed(at), self._connected(at) as session, self._during("reading its log", at):
            yield session

    @contextmanager
    def _undisturbed(self, at: str) -> Iterator[None]:
        """Tells of another delivery that was met where nothing is begun again."""
        try:
            yield
        except Conflict:
            raise DestinationUnavailable(
                f"{at}: another delivery was in the way; {STANDS}", remedy="it is tried again"
            ) from None

    @contextmanager
    def _during(self, step: str, at: str) -> Iterator[None]:
        """Tells the vendor's errors of the block in one line of ours."""
        try:
            yield
        except (MogulError, Conflict):
            raise
        except Exception as error:
            told = self.told(error)
            if told is None:
                raise
            if isinstance(told, MogulError):
                told = type(told)(f"{at}: {step}: {told.message}; {STANDS}", remedy=told.remedy)
            raise told from None  # the vendor's own text may quote values

    def _patiently(self, at: str, work: Callable[[], T]) -> T:
        """``work``, begun again while another delivery is in its way.

        Raises:
            DestinationUnavailable: after a minute of that.
        """
        again = Retrying(
            retry=retry_if_exception_type(Conflict),
            stop=stop_after_delay(_WAIT),
            wait=wait_random_exponential(multiplier=0.1, max=5),
            reraise=True,
        )
        try:
            return again(work)
        except Conflict:
            raise DestinationUnavailable(
                f"{at}: other deliveries were in the way for {_WAIT} seconds; {STANDS}", remedy="it is tried again"
            ) from None

    def _looked(self, session: Session, table: Table, at: str) -> There:
        with self._during("looking at what is there", at):
            there = self.look(session, (table.dataset, LOG))
            if not there.columns.get(self.dialect.fold(LOG)):
                return there
            known = [
                (outcome, kind) for outcome, kind, _ in session.rows(self.dialect.known(self._log_path, table.dataset))
            ]
            delivered = [kind for outcome, kind in known if outcome == Outcome.DELIVERED]
            locked = any(outcome == CREATED for outcome, _ in known)
            return replace(there, locked=locked, fingerprint=delivered[-1] if delivered else None)

    def _statements(self, table: Table, there: There, staging: str, now: datetime) -> Statements:
        return self.dialect.statements(
            self.namespace,
            table,
            there,
            staging=staging,
            now=now,
            at=self._at(table),
            keeps_history=self.keeps_history(table.origin),
        )

    def _prepared(self, session: Session, table: Table, staging: str, now: datetime) -> Statements:
        """The statements of the delivery, of which those outside of the transaction are run."""
        at = self._at(table)
        there = self._looked(session, table, at)
        statements = self._statements(table, there, staging, now)
        with self._during("changing the schema", at):
            for statement in statements.before:
                session.execute(statement)
        return statements

    def _transacted(
        self,
        session: Session,
        table: Table,
        statements: Statements,
        staging: str,
        entry: Callable[[Outcome], Entry],
    ) -> Transacted:
        at = self._at(table)
        try:
            with self._during("replacing the rows", at):
                return self.transact(session, table, statements, entry)
        except DestinationRefused as refused:
            misfits: list[DestinationRefused] = []
            self._quietly(lambda: misfits.extend(self._misfits(session, table, staging)), "look for what was refused")
            raise (misfits or [refused])[0] from None

    def _misfits(self, session: Session, table: Table, staging: str) -> Iterator[DestinationRefused]:
        """Says where JSON is that was refused, and not what it is; nothing where it was not that."""
        for field in (field for field in table.schema if is_json(field)):
            for *key, size in session.rows(self.dialect.misfit(staging, table.key, field.name)):
                row = ", ".join(map(str, key)) or "without a key"
                yield DestinationRefused(
                    f"{self._at(table)}.{field.name} of row {row} ({size} bytes) is not JSON that is taken there;"
                    f" {STANDS}",
                    remedy="correct the value in the account",
                )

    def _whole(self, table: Table, rows: int) -> None:
        if rows != table.rows:
            held = "current would be" if self.keeps_history(table.origin) else "its files hold"
            raise StoreDamaged(f"{table.dataset}: {held} {rows} rows, not {table.rows}; {STANDS}", remedy="refresh it")

    def _commit(self, session: Session, done: Entry) -> None:
        """Commit; whatever else than a conflict comes for an answer, look in the log whether it was.

        Raises:
            Conflict: it was not.
            MogulError: it was not, or nobody can tell.
        """
        try:
            with self._during("committing", f"{self.name}: {done.dataset}"):
                session.execute("COMMIT")
        except Conflict:
            raise
        except Exception:
            self._quietly(session.close, "close the connection")  # else it may hold the lock that is asked for next
            if not self._arrived(done):
                raise

    def _arrived(self, done: Entry) -> bool:
        """Whether the delivery is in the log: asked with the lock in hand, when its transaction is over."""
        at = f"{self.name}: {done.dataset}"
        dataset, outcome = self.dialect.name("dataset"), self.dialect.name("outcome")
        lock = (
            f"UPDATE {self._log_path} SET {outcome} = {outcome} WHERE {dataset} = {self.dialect.literal(done.dataset)}"
        )

        def asked() -> bool:
            with self._connected(at) as session, self._during("looking whether it was committed", at):
                session.execute("BEGIN")
                session.execute(lock)
                ((count,),) = session.rows(self.dialect.arrived(self._log_path, done.delivery_id))
                session.execute("ROLLBACK")
                return bool(count)

        try:
            return self._patiently(at, asked)
        except MogulError:
            raise DestinationUnavailable(
                f"{at}: the connection was lost while committing, and whether it was committed cannot be asked;"
                " the table is the old or the new one, whole",
                remedy="it is tried again, which settles it",
            ) from None

    def _compared(self, session: Session, table: Table, there: There, folder: Path) -> tuple[int, int, int]:
        held = there.columns[self.dialect.fold(table.dataset)]
        path = self.dialect.name(*self.namespace, table.dataset)
        told = history.compared(table, at=self._at(table)) if self.keeps_history(table.origin) else None
        statement, schema = self.dialect.read(path, table, held, only=told.schema if told else None)
        theirs = folder / "there.parquet"
        with pq.ParquetWriter(theirs, schema) as writer:
            for part in session.batches(statement):
                arrays = [part.column(place).cast(field.type) for place, field in enumerate(schema)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        compared = [field for field in (told or table).schema if kind_of(field) in self.dialect.fetched]
        wanted = types(pa.schema(compared))
        kinds = {field.name: kind_of(field) for field in compared}
        made = {name: f"epoch_us({quoted(name)})" for name, kind in kinds.items() if kind is Kind.MOMENT}
        if told:
            made[history.ROW_HASH] = history.digest(table)
        ours = ", ".join(f"{made.get(name, quoted(name))} AS {quoted(name)}" for name in kinds)
        wanted = {name: "BIGINT" if kinds[name] is Kind.MOMENT else kind for name, kind in wanted.items()}
        with connect() as connection:
            return differences(
                connection,
                f"(SELECT {ours} FROM {parquet(table.paths, types(table.schema))})",
                parquet([str(theirs)], wanted),
                wanted=wanted,
                key=(told or table).key,
            )

    def _quietly(self, work: Callable[[], object], what: str) -> bool:
        """Clearing up, and whether it worked: a failure is told in the log, and never hides what went wrong before."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever the client raises on a connection that is gone
            _log.warning("%s: could not %s: %s", self.name, what, type(error).__name__)
            return False
        return True
