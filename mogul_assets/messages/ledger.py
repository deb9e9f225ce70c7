"""The ledger: one row for each message, from before its first try to long after its last.

A message is written down before anybody tries it, and what a try came to is written down before the next one begins:
whatever dies at any moment, nothing is lost, and only what was in flight is sent again, the same bytes under the
same id. SQLite keeps it in a file; Postgres where several machines share it.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, Row, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from mogul_assets.errors import ConfigurationError, DataRefused, LedgerUnavailable, LedgerUnusable
from mogul_assets.messages import sending
from mogul_assets.messages.message import Draft, Message, News, Outcome, State, Tried
from mogul_assets.messages.sending import GIVES_WAY_AFTER, Policy
from mogul_assets.messages.tables import ATTEMPT, DESTINATION, HEAD, MESSAGE, OPEN, is_open
from mogul_assets.processes import lives
from mogul_assets.store.window import CLOCKS_APART

LATE = timedelta(hours=12)
"""How long before the last look at the account a movement may be dated and still be news: ChartMogul's rule."""
LOOKS_APART = timedelta(minutes=10)
"""How often a look that found nothing is written down."""
CLAIMED_FOR = timedelta(minutes=3)
"""Longer than any try may take; of a process of this machine that died, claims are released at once."""
CHUNK = 500
BUSY_SECONDS = 20
ANSWER_CHARACTERS = 300
_POSTGRES_TIME_LIMITS = {
    "connect_timeout": BUSY_SECONDS,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_REMEDY = "write  postgresql+psycopg2://user:password@host/database"
_REAL_TIME = ("movement", "digest")
_LASTING = (
    *("full", "No space left", "readonly", "read-only", "unable to open", "permission denied"),
    *("authentication failed", "no password supplied", "does not exist", "pg_hba.conf"),
)
"""What databases say of that which waiting does not mend. "Full": a disk; "does not exist": a database, a role."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """A destination as the ledger knows it. What is dated before ``started_at`` is history and never news."""

    name: str
    started_at: datetime
    polled_at: datetime | None = None
    succeeded_at: datetime | None = None
    failing_since: datetime | None = None
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    looked_at: datetime | None = None

    @property
    def last_look(self) -> datetime:
        """When the account was last looked at for it, whether anything was new or not; at first its beginning."""
        return max(self.polled_at or self.started_at, self.looked_at or self.started_at)


@dataclass
class Enqueued:
    """What one look at the news came to, in movements."""

    new: int = 0
    left_out: int = 0
    restated: int = 0
    withdrawn: int = 0


@dataclass
class Replayed:
    """What a replay sends, in movements: those never told, those told before; and those that are never sent."""

    new: int = 0
    again: int = 0
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    attempt: int
    """Which one of all, from 1; a message that was asked for again goes on counting here."""
    at: datetime
    seconds: float
    status: str
    answer: str


@dataclass(frozen=True, slots=True)
class Record:
    """A message as people look at it. Amounts are cents of the account's currency.

    ``attempts`` are those since it was written down or last asked for; ``tries`` are all of them.
    """

    id: str
    destination: str
    kind: str
    subject: str
    state: State
    reason: str | None
    attempts: int
    enqueued_at: datetime
    due_at: datetime
    settled_at: datetime | None
    sequence: int | None
    movement_uuid: str | None
    movement_date: datetime | None
    movement_amount: int | None
    restated_amount: int | None
    payload: bytes | None = field(default=None, repr=False)
    tries: tuple[Attempt, ...] = ()


Compose = Callable[[Sequence[News]], Sequence[Draft]]
Fold = Callable[[Sequence[tuple[str, News]]], tuple[Mapping[str, str], Sequence[Draft]]]


class Ledger:
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
        self._owner = f"{_processes()}:{os.getpid()}:{secrets.token_hex(4)}"

    @classmethod
    def at(cls, path: Path) -> Ledger:
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
        return f"<Ledger {self._place}>"

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
            # NORMAL outlives a killed process; a power cut may take the last of it back. What was sent under one id
            # must not come back under another: what is written down is on the disk before anybody sends it.
            connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if asked.get('durable') else 'NORMAL'}")
            # A transaction that reads first and then writes would fail at once where another has written meanwhile.
            connection.exec_driver_sql("BEGIN" if asked.get("reads") else "BEGIN IMMEDIATE")

        return engine

    @contextmanager
    def _transaction(self, destination: str | None = None, **options: bool) -> Iterator[Connection]:
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

    # -- destinations -----------------------------------------------------------------------------------------

    def standing(self, destination: str, now: datetime) -> Standing:
        """The destination, which begins now where the ledger never saw it."""
        with self._transaction(destination) as connection:
            return self._standing(connection, destination, now)

    def known(self) -> list[Standing]:
        """Every destination that the ledger has seen, by name."""
        with self._transaction(reads=True) as connection:
            return [Standing(*row) for row in connection.execute(sa.select(DESTINATION).order_by(DESTINATION.c.name))]

    def rename(self, before: str, name: str) -> bool:
        """Let all that is known of a destination go on under another name; ``False`` where there is nothing to do.

        What is known of the other name already stays as it is, and so does what is known of the one before.
        """
        with self._transaction(before) as connection:
            names = sa.select(DESTINATION.c.name).where(DESTINATION.c.name.in_([before, name]))
            if set(connection.scalars(names)) != {before}:
                return False
            for table, column in ((DESTINATION, DESTINATION.c.name), (MESSAGE, MESSAGE.c.destination)):
                connection.execute(table.update().where(column == before).values({column: name}))
        return True

    def _standing(self, connection: Connection, name: str, now: datetime) -> Standing:
        row = connection.execute(sa.select(DESTINATION).where(DESTINATION.c.name == name)).one_or_none()
        if row is None:
            connection.execute(DESTINATION.insert().values(name=name, started_at=now))
            return Standing(name, now)
        return Standing(*row)

    def looked(self, destinations: Iterable[str], at: datetime) -> None:
        """The account had nothing new: what comes later and is dated long before is late."""
        with self._transaction() as connection:
            connection.execute(
                DESTINATION.update()
                .where(
                    DESTINATION.c.name.in_(list(destinations)),
                    sa.or_(DESTINATION.c.looked_at.is_(None), DESTINATION.c.looked_at < at - LOOKS_APART),
                )
                .values(looked_at=at)
            )

    def disable(self, destination: str, reason: str, now: datetime) -> None:
        """Send nothing to it until ``resume``. What is news is still written down."""
        with self._transaction(destination) as connection:
            self._disable(connection, destination, reason, now)

    def _disable(self, connection: Connection, destination: str, reason: str, now: datetime) -> None:
        connection.execute(
            DESTINATION.update()
            .where(DESTINATION.c.name == destination, DESTINATION.c.disabled_at.is_(None))
            .values(disabled_at=now, disabled_reason=reason)
        )

    def resume(self, destination: str, now: datetime | None = None) -> bool:
        """Send again: what waits for its next try is due at once. ``False`` where it was not disabled."""
        moment = now or sending.now()
        with self._transaction(destination) as connection:
            resumed = connection.execute(
                DESTINATION.update()
                .where(DESTINATION.c.name == destination, DESTINATION.c.disabled_at.is_not(None))
                .values(disabled_at=None, disabled_reason=None, failing_since=None)
            )
            if resumed.rowcount:
                self._due_at_once(connection, destination, moment)
        return resumed.rowcount > 0

    def _due_at_once(self, connection: Connection, destination: str, now: datetime) -> None:
        connection.execute(
            MESSAGE.update()
            .where(
                MESSAGE.c.destination == destination,
                MESSAGE.c.state == State.WAITING,
                MESSAGE.c.due_at > now,
                sa.or_(~MESSAGE.c.ahead, MESSAGE.c.movement_date <= now),
            )
            .values(due_at=now)
        )

    # -- writing down -----------------------------------------------------------------------------------------

    def enqueue(self, destination: str, drafts: Iterable[Draft], now: datetime) -> int:
        """Write down messages whose subjects are not known yet; how many those are."""
        count = 0
        with self._writing(destination, now) as (connection, _):
            for draft in drafts:
                known = sa.select(MESSAGE.c.number).where(
                    MESSAGE.c.destination == destination,
                    MESSAGE.c.kind == draft.kind,
                    MESSAGE.c.subject == draft.subject,
                )
                if connection.execute(known.limit(1)).first() is None:
                    self._insert(connection, destination, [draft], now)
                    count += 1
        return count

    def known_among(self, destination: str, subjects: Sequence[str]) -> set[str]:
        """Those of the subjects that there is a message of, whatever became of it."""
        with self._transaction(reads=True) as connection:
            found = connection.execute(
                sa.select(MESSAGE.c.subject)
                .where(MESSAGE.c.destination == destination, MESSAGE.c.subject.in_(subjects))
                .distinct()
            ).scalars()
            return set(found)

    def enqueue_news(
        self, destination: str, news: Iterable[News], compose: Compose, now: datetime, *, seen_at: datetime
    ) -> Enqueued:
        """Write down what is new, once.

        Args:
            destination: whose news it is.
            news: every movement of the last days and all that are dated ahead, in the order of their dates.
            compose: what tells movements that the ledger does not know.
            now: the moment.
            seen_at: when the account was looked at for it.

        A movement is known by its uuid, else by its key, else as one of equals that was re-issued. An amount that
        changed is noted. One that is dated before the destination began is history; one that is dated more than
        ``LATE`` before the last look is left out. So is what waited untried as long while nobody looked at the
        account for the destination: under a name that comes back, old messages are not all sent at once.
        """
        done, began = Enqueued(), self._by_the_clock(destination, now)
        if began.polled_at is not None and now - began.last_look > LATE:
            done.left_out += self._stale(destination, now)
        late_before = began.last_look - LATE
        # A transaction for each lot, and none while the next is read: others send meanwhile, and one file has one
        # writer. A process that dies between two lots leaves to the next look what it did not write down.
        for chunk in _chunks(each for each in news if each.date >= began.started_at):
            with self._writing(destination, now) as (connection, standing):
                if standing.polled_at is not None and seen_at < standing.polled_at:
                    return done  # another process was here with newer news
                fresh = self._unknown(connection, destination, chunk, seen_at, late_before=late_before, done=done)
                told = [each for each in fresh if each.date >= late_before]
                late = [each for each in fresh if each.date < late_before]
                drafts = [*map(_late, late), *(compose(told) if told else ())]
                self._insert(connection, destination, drafts, now, seen_at)
                done.new += len(told)
                done.left_out += len({d.movement for d in drafts if d.left_out and d.movement is not None})
        with self._writing(destination, now) as (connection, standing):
            if standing.polled_at is None or seen_at >= standing.polled_at:
                done.withdrawn = self._withdraw(connection, destination, seen_at, now)
                connection.execute(
                    DESTINATION.update().where(DESTINATION.c.name == destination).values(polled_at=seen_at)
                )
        return done

    def _by_the_clock(self, destination: str, now: datetime) -> Standing:
        """The destination, without the moments of a clock that had jumped ahead: nothing would be newer than they.

        When it was looked at is then known to nobody, and nothing is late this once.
        """
        with self._transaction(destination) as connection:
            standing, latest = self._standing(connection, destination, now), now + CLOCKS_APART
            right: dict[str, Any] = {"started_at": now, "polled_at": None, "looked_at": None}
            moments = {name: getattr(standing, name) for name in right}
            wrong = {name: moment for name, moment in moments.items() if moment is not None and moment > latest}
            if not wrong:
                return standing
            mended = {name: right[name] for name in wrong}
            connection.execute(DESTINATION.update().where(DESTINATION.c.name == destination).values(**mended))
            self._due_at_once(connection, destination, now)
        _log.warning(
            "%s was last looked at %s, which is ahead of now: the clock was wrong, and that is forgotten",
            destination,
            f"{max(wrong.values()):%Y-%m-%d %H:%M} UTC",
        )
        return replace(standing, **mended)

    def fold(self, destination: str, news: Iterable[News], compose: Fold, now: datetime) -> int:
        """Let what waits untried be told together; how many movements that is, each listed as left out.

        Args:
            destination: whose messages they are.
            news: every movement of the last days.
            compose: of messages, each its subject and its movement, what tells some of them together: the subjects of
                those that are folded, each with the reason, and the messages that take their place.
            now: the moment.
        """
        untried = (
            MESSAGE.c.destination == destination,
            MESSAGE.c.kind == "movement",
            MESSAGE.c.state == State.WAITING,
            MESSAGE.c.attempts == 0,
            MESSAGE.c.reason.is_(None),
            sa.or_(~MESSAGE.c.ahead, MESSAGE.c.movement_date <= now),
        )
        with self._writing(destination, now) as (connection, _):
            rows = connection.execute(sa.select(MESSAGE.c.subject, MESSAGE.c.movement_uuid).where(*untried)).all()
            if not rows:
                return 0
            by_uuid = defaultdict(list)
            for subject, uuid in rows:
                by_uuid[uuid].append(subject)
            waiting = [(subject, each) for each in news if each.uuid in by_uuid for subject in by_uuid[each.uuid]]
            reasons, drafts = compose(waiting)
            for subject, reason in reasons.items():
                connection.execute(
                    MESSAGE.update()
                    .where(*untried, MESSAGE.c.subject == subject)
                    .values(state=State.LEFT_OUT, reason=reason, settled_at=now, payload=None)
                )
            self._insert(connection, destination, drafts, now)
        return len({each.uuid for subject, each in waiting if subject in reasons})

    @contextmanager
    def _writing(self, destination: str, now: datetime) -> Iterator[tuple[Connection, Standing]]:
        """One process at a time writes down for a destination; when the block ends it is on the disk."""
        with self._transaction(destination, durable=True) as connection:
            yield connection, self._standing(connection, destination, now)

    def _unknown(
        self,
        connection: Connection,
        destination: str,
        chunk: Sequence[News],
        seen_at: datetime,
        *,
        late_before: datetime,
        done: Enqueued,
    ) -> list[News]:
        """Those that the ledger does not know. Of the others it notes what changed; one that was withdrawn and is
        back is due again, where it is not dated before ``late_before``.
        """
        fresh = []
        for each, row in _matched(chunk, self._known(connection, destination, chunk)):
            if row is None:
                fresh.append(each)
                continue
            values: dict[str, Any] = {}
            if row.ahead:
                values["seen_at"] = seen_at
            if row.withdrawn and each.date >= late_before:
                self._taken_back(connection, destination, row.movement_uuid)
                done.new += 1
            recognised = {
                "movement_uuid": each.uuid,
                "movement_key": each.movement_key,
                "movement_identity": each.identity,
            }
            if any(getattr(row, name) != value for name, value in recognised.items()):
                values |= recognised
            if row.amount != each.mrr_movement:
                values["restated_amount"] = each.mrr_movement
                done.restated += 1
            if values:
                connection.execute(
                    MESSAGE.update()
                    .where(MESSAGE.c.destination == destination, MESSAGE.c.movement_uuid == row.movement_uuid)
                    .values(**values)
                )
        return fresh

    def _taken_back(self, connection: Connection, destination: str, movement: str) -> None:
        connection.execute(
            MESSAGE.update()
            .where(
                MESSAGE.c.destination == destination,
                MESSAGE.c.movement_uuid == movement,
                MESSAGE.c.state == State.WITHDRAWN,
            )
            .values(state=State.WAITING, reason="it was gone, and is back", settled_at=None)
        )

    def _known(self, connection: Connection, destination: str, chunk: Sequence[News]) -> Sequence[Row[Any]]:
        """What the ledger has of these movements or of their equals: a row for each movement, not for each message."""
        return connection.execute(
            sa.select(
                MESSAGE.c.movement_uuid,
                sa.func.max(MESSAGE.c.movement_key).label("movement_key"),
                sa.func.max(MESSAGE.c.movement_identity).label("movement_identity"),
                sa.func.max(sa.func.coalesce(MESSAGE.c.restated_amount, MESSAGE.c.movement_amount)).label("amount"),
                sa.func.max(sa.cast(MESSAGE.c.ahead, sa.Integer)).label("ahead"),
                sa.func.max(sa.case((MESSAGE.c.state == State.WITHDRAWN, 1), else_=0)).label("withdrawn"),
                sa.func.max(sa.case((MESSAGE.c.state == State.LEFT_OUT, 0), else_=1)).label("told"),
            )
            .where(
                MESSAGE.c.destination == destination,
                sa.or_(
                    MESSAGE.c.movement_uuid.in_([each.uuid for each in chunk]),
                    MESSAGE.c.movement_identity.in_({each.identity for each in chunk}),
                ),
            )
            .group_by(MESSAGE.c.movement_uuid)
        ).all()

    def _stale(self, destination: str, now: datetime) -> int:
        """Leave out what waited too long to be real time. What a person asked for, or was tried, is sent."""
        before = now - LATE
        with self._writing(destination, now) as (connection, _):
            gone = connection.execute(
                MESSAGE.update()
                .where(
                    MESSAGE.c.destination == destination,
                    MESSAGE.c.kind.in_(_REAL_TIME),
                    MESSAGE.c.state == State.WAITING,
                    MESSAGE.c.attempts == 0,
                    MESSAGE.c.reason.is_(None),
                    MESSAGE.c.enqueued_at < before,
                    sa.or_(MESSAGE.c.movement_date.is_(None), MESSAGE.c.movement_date < before),
                )
                .values(
                    state=State.LEFT_OUT,
                    reason=f"waited longer than {LATE // timedelta(hours=1)} hours: mogul messages retry sends it",
                    settled_at=now,
                )
            )
        return gone.rowcount

    def _withdraw(self, connection: Connection, destination: str, seen_at: datetime, now: datetime) -> int:
        gone = connection.execute(
            MESSAGE.update()
            .where(
                MESSAGE.c.destination == destination,
                MESSAGE.c.ahead,
                MESSAGE.c.state == State.WAITING,
                MESSAGE.c.attempts == 0,
                MESSAGE.c.due_at <= now,
                MESSAGE.c.seen_at < seen_at,
            )
            .values(state=State.WITHDRAWN, reason="the movement was gone by its date", settled_at=now)
        )
        return gone.rowcount

    def _insert(
        self,
        connection: Connection,
        destination: str,
        drafts: Sequence[Draft],
        now: datetime,
        seen_at: datetime | None = None,
    ) -> None:
        if not drafts:
            return
        places = {draft.order for draft in drafts if draft.order is not None and draft.left_out is None}
        turns = dict(
            connection.execute(
                sa.select(MESSAGE.c.place, sa.func.max(MESSAGE.c.sequence))
                .where(MESSAGE.c.destination == destination, MESSAGE.c.place.in_(places))
                .group_by(MESSAGE.c.place)
            ).all()
        )
        rows = []
        for draft in drafts:
            turn = None
            if draft.order is not None and draft.left_out is None:
                turn = turns[draft.order] = (turns.get(draft.order) or 0) + 1
            movement = draft.movement
            ahead = movement is not None and movement.date > now
            rows.append(
                {
                    "id": f"msg_{secrets.token_hex(12)}",
                    "destination": destination,
                    "kind": draft.kind,
                    "subject": draft.subject,
                    "payload": draft.payload if draft.left_out is None else None,
                    "state": State.WAITING if draft.left_out is None else State.LEFT_OUT,
                    "reason": draft.left_out,
                    "attempts": 0,
                    "enqueued_at": now,
                    "due_at": max(draft.due_at, now),
                    "settled_at": None if draft.left_out is None else now,
                    "place": draft.order,
                    "sequence": turn,
                    "movement_uuid": movement.uuid if movement else None,
                    "movement_key": movement.key if movement else None,
                    "movement_identity": movement.identity if movement else None,
                    "movement_date": movement.date if movement else None,
                    "movement_amount": movement.amount if movement else None,
                    "ahead": ahead,
                    "seen_at": (seen_at or now) if ahead else None,
                }
            )
        connection.execute(MESSAGE.insert(), rows)

    def note(self, destination: str, kind: str, notes: Iterable[tuple[str, str]], now: datetime) -> int:
        """List what was not sent, as (subject, reason); takes the place of the notes before."""
        drafts = [Draft(kind, subject, b"", now, left_out=reason) for subject, reason in notes]
        with self._writing(destination, now) as (connection, _):
            connection.execute(
                MESSAGE.delete().where(
                    MESSAGE.c.destination == destination, MESSAGE.c.kind == kind, MESSAGE.c.state == State.LEFT_OUT
                )
            )
            for start in range(0, len(drafts), CHUNK):
                self._insert(connection, destination, drafts[start : start + CHUNK], now)
        return len(drafts)

    # -- sending ----------------------------------------------------------------------------------------------

    def claim(self, destination: str, limit: int, policy: Policy, now: datetime) -> list[Message]:
        """Take up to so many messages that are due and whose turn it is; nobody else gets them.

        Nothing while another process has messages of the destination in flight: whoever sends sees to the rest, and
        never are there more at once than one process may have. One that was dated ahead is taken when the account
        was looked at since its date.
        """
        with self._transaction(destination) as connection:
            standing = connection.execute(
                sa.select(DESTINATION.c.disabled_at, DESTINATION.c.polled_at).where(DESTINATION.c.name == destination)
            ).one_or_none()
            if standing is not None and standing.disabled_at is not None:
                return []
            others = sa.select(MESSAGE.c.number).where(
                MESSAGE.c.destination == destination,
                MESSAGE.c.state == State.SENDING,
                MESSAGE.c.claimed_by != self._owner,
            )
            if connection.execute(others.limit(1)).first() is not None:
                return []
            seen = ~MESSAGE.c.ahead
            if standing is not None and standing.polled_at is not None:
                seen = sa.or_(seen, MESSAGE.c.movement_date <= standing.polled_at)
            due = (
                sa.select(MESSAGE.c.number)
                .where(
                    MESSAGE.c.destination == destination,
                    MESSAGE.c.state == State.WAITING,
                    MESSAGE.c.due_at <= now,
                    seen,
                )
                .order_by(MESSAGE.c.due_at, MESSAGE.c.number)
            )
            if policy.ordered:
                # Of 50,000 of ten customers all but ten wait for their turn: to look at each took 60 ms a claim.
                first = due.limit(CHUNK).subquery()
                in_turn = due.where(~_held_up())
                numbers = (
                    connection.execute(in_turn.where(MESSAGE.c.number.in_(sa.select(first))).limit(limit))
                    .scalars()
                    .all()
                    or connection.execute(in_turn.limit(limit)).scalars().all()
                )
            else:
                numbers = connection.execute(due.limit(limit)).scalars().all()
            if not numbers:
                return []
            connection.execute(
                MESSAGE.update()
                .where(MESSAGE.c.number.in_(numbers))
                .values(state=State.SENDING, claimed_by=self._owner, claimed_until=now + CLAIMED_FOR)
            )
            rows = connection.execute(
                sa.select(
                    MESSAGE.c.id,
                    MESSAGE.c.destination,
                    MESSAGE.c.kind,
                    MESSAGE.c.subject,
                    MESSAGE.c.payload,
                    MESSAGE.c.attempts + 1,
                    MESSAGE.c.sequence,
                    MESSAGE.c.enqueued_at,
                )
                .where(MESSAGE.c.number.in_(numbers))
                .order_by(MESSAGE.c.due_at, MESSAGE.c.number)
            ).all()
        return [Message(*row) for row in rows]

    def settle(self, tried: Sequence[Tried], policy: Policy, now: datetime) -> tuple[datetime | None, str | None]:
        """Write down what tries of one destination's messages came to.

        Returns:
            When the first of those that are to be tried again is due; and why the destination is disabled, where
            these tries did that.
        """
        if not tried:
            return None, None
        destination = tried[0].message.destination
        with self._transaction(destination) as connection:
            ours = sa.select(MESSAGE.c.id, MESSAGE.c.number).where(
                MESSAGE.c.id.in_([t.message.id for t in tried]), MESSAGE.c.claimed_by == self._owner
            )
            numbers = dict(connection.execute(ours).all())
            # After a claim's time (this machine slept) another process may have it: that one says what came of it.
            known = [t for t in tried if t.message.id in numbers]
            if not known:
                return None, None
            rows = [{"b_number": numbers[t.message.id], **_settled(t, policy)} for t in known]
            connection.execute(
                MESSAGE.update()
                .where(MESSAGE.c.number == sa.bindparam("b_number"))
                .values(
                    state=sa.bindparam("b_state"),
                    reason=sa.bindparam("b_reason"),
                    attempts=sa.bindparam("b_attempts"),
                    due_at=sa.bindparam("b_due_at"),
                    settled_at=sa.bindparam("b_settled_at"),
                    claimed_by=None,
                    claimed_until=None,
                ),
                rows,
            )
            before = dict(
                connection.execute(
                    sa.select(ATTEMPT.c.message, sa.func.max(ATTEMPT.c.attempt))
                    .where(ATTEMPT.c.message.in_(numbers.values()))
                    .group_by(ATTEMPT.c.message)
                ).all()
            )
            connection.execute(
                ATTEMPT.insert(),
                [
                    {
                        "message": numbers[t.message.id],
                        "attempt": before.get(numbers[t.message.id], 0) + 1,
                        "at": t.at,
                        "seconds": round(t.seconds, 3),
                        "status": _plain(t.answer.status)[:100],
                        "answer": _plain(t.answer.text)[:ANSWER_CHARACTERS],
                    }
                    for t in known
                ],
            )
            due = min((row["b_due_at"] for row in rows if row["b_state"] is State.WAITING), default=None)
            return due, self._mood(connection, destination, known, policy, now)

    def _mood(
        self, connection: Connection, destination: str, tried: Sequence[Tried], policy: Policy, now: datetime
    ) -> str | None:
        """What the tries say of the destination as a whole."""
        standing = self._standing(connection, destination, now)
        gone = next((t for t in tried if t.answer.outcome is Outcome.GONE), None)
        if any(t.answer.outcome is Outcome.TAKEN for t in tried):
            connection.execute(
                DESTINATION.update()
                .where(DESTINATION.c.name == destination)
                .values(succeeded_at=now, failing_since=None)
            )
        elif standing.failing_since is None:
            connection.execute(DESTINATION.update().where(DESTINATION.c.name == destination).values(failing_since=now))
        elif gone is None and policy.silence is not None and now - standing.failing_since >= policy.silence:
            reason = f"no message was taken since {standing.failing_since:%Y-%m-%d %H:%M} UTC"
            self._disable(connection, destination, reason, now)
            return reason
        if gone is not None and standing.disabled_at is None:
            reason = f"it wants no more messages ({gone.answer.status})"
            self._disable(connection, destination, reason, now)
            return reason
        return None

    def postpone(self, destination: str, until: datetime) -> None:
        """Let everything that waits for the destination wait so long."""
        with self._transaction(destination) as connection:
            connection.execute(
                MESSAGE.update()
                .where(
                    MESSAGE.c.destination == destination,
                    MESSAGE.c.state == State.WAITING,
                    MESSAGE.c.due_at < until,
                )
                .values(due_at=until)
            )

    def release(self, destination: str, now: datetime, *, ambiguous: State = State.WAITING) -> int:
        """Free what was claimed by processes that are gone; how many messages that is.

        They may have been sent: with ``ambiguous`` ``UNKNOWN`` they are not sent again by themselves.
        """
        with self._transaction(destination) as connection:
            claims = sa.select(MESSAGE.c.claimed_by, sa.func.max(MESSAGE.c.claimed_until)).where(
                MESSAGE.c.destination == destination, MESSAGE.c.state == State.SENDING
            )
            held = connection.execute(claims.group_by(MESSAGE.c.claimed_by)).all()
            gone = [owner for owner, until in held if owner != self._owner and (until <= now or _dead(owner))]
            if not gone:
                return 0
            values: dict[str, Any] = {"state": ambiguous, "claimed_by": None, "claimed_until": None}
            if ambiguous is State.UNKNOWN:
                values |= {"reason": "the process that sent it was gone before the answer", "settled_at": now}
            freed = connection.execute(
                MESSAGE.update()
                .where(
                    MESSAGE.c.destination == destination,
                    MESSAGE.c.state == State.SENDING,
                    MESSAGE.c.claimed_by.in_(gone),
                )
                .values(**values)
            )
        return freed.rowcount

    def unclaim(self, messages: Sequence[Message]) -> None:
        """Give back what was claimed and not tried."""
        if not messages:
            return
        with self._transaction(messages[0].destination) as connection:
            connection.execute(
                MESSAGE.update()
                .where(MESSAGE.c.id.in_([message.id for message in messages]), MESSAGE.c.claimed_by == self._owner)
                .values(state=State.WAITING, claimed_by=None, claimed_until=None)
            )

    def next_due(self) -> dict[str, datetime]:
        """Of each destination that is not disabled, when there is something to do, or was.

        A message that waits for its turn is nothing to do. One in flight is when its claim ends, at once where the
        process that had it is gone.
        """
        disabled = sa.select(DESTINATION.c.name).where(DESTINATION.c.disabled_at.is_not(None))
        with self._transaction(reads=True) as connection:
            waiting = connection.execute(
                sa.select(MESSAGE.c.destination, sa.func.min(MESSAGE.c.due_at))
                .where(MESSAGE.c.state == State.WAITING, MESSAGE.c.destination.not_in(disabled), ~_held_up())
                .group_by(MESSAGE.c.destination)
            )
            due = dict(waiting.all())
            claims = connection.execute(
                sa.select(
                    MESSAGE.c.destination,
                    MESSAGE.c.claimed_by,
                    sa.func.min(MESSAGE.c.due_at),
                    sa.func.max(MESSAGE.c.claimed_until),
                )
                .where(MESSAGE.c.state == State.SENDING, MESSAGE.c.destination.not_in(disabled))
                .group_by(MESSAGE.c.destination, MESSAGE.c.claimed_by)
            ).all()
        for destination, owner, at, until in claims:
            free = at if _dead(owner) else until
            due[destination] = min(due.get(destination, free), free)
        return due

    def due_after(self, destination: str, now: datetime) -> datetime | None:
        """When something that waits is due that is not yet. What is due and waits for its turn does not count."""
        with self._transaction(reads=True) as connection:
            due: datetime | None = connection.scalar(
                sa.select(sa.func.min(MESSAGE.c.due_at)).where(
                    MESSAGE.c.destination == destination, MESSAGE.c.state == State.WAITING, MESSAGE.c.due_at > now
                )
            )
        return due

    def purge(self, before: datetime) -> int:
        """Forget messages that came to their end before this moment; how many were.

        Those that told a movement go, where that is dated as long ago and so no news any more; but the last of each
        customer stays, from which their messages are counted on. Of all others what they said goes; that they were
        stays, or a recap would be told again.
        """
        ended = (MESSAGE.c.state.not_in(OPEN), MESSAGE.c.settled_at < before)
        turn = MESSAGE.alias()
        later = sa.exists().where(
            turn.c.destination == MESSAGE.c.destination,
            turn.c.place == MESSAGE.c.place,
            turn.c.sequence > MESSAGE.c.sequence,
        )
        counted_on = MESSAGE.c.sequence.is_not(None) & ~later
        with self._transaction() as connection:
            gone = connection.execute(
                MESSAGE.delete().where(
                    *ended, MESSAGE.c.kind.in_(_REAL_TIME), MESSAGE.c.movement_date < before, ~counted_on
                )
            )
            silent = connection.execute(
                MESSAGE.update().where(*ended, MESSAGE.c.payload.is_not(None)).values(payload=None)
            )
        return gone.rowcount + silent.rowcount

    # -- looking ----------------------------------------------------------------------------------------------

    def counts(self, destination: str) -> dict[State, int]:
        """How many of a destination's messages are in each state."""
        with self._transaction(reads=True) as connection:
            rows = connection.execute(
                sa.select(MESSAGE.c.state, sa.func.count())
                .where(MESSAGE.c.destination == destination)
                .group_by(MESSAGE.c.state)
            ).all()
        return {State(state): count for state, count in rows}

    def records(
        self,
        destination: str | None = None,
        states: Sequence[State] = (),
        *,
        limit: int | None = None,
        payloads: bool = False,
    ) -> Iterator[Record]:
        """Messages, newest first."""
        wanted = sa.select(MESSAGE).order_by(MESSAGE.c.number.desc())
        if destination is not None:
            wanted = wanted.where(MESSAGE.c.destination == destination)
        if states:
            wanted = wanted.where(MESSAGE.c.state.in_(states))
        last = None
        left = limit
        while left is None or left > 0:
            page = wanted if last is None else wanted.where(MESSAGE.c.number < last)
            with self._transaction(reads=True) as connection:
                rows = connection.execute(page.limit(CHUNK if left is None else min(CHUNK, left))).all()
            if not rows:
                return
            yield from (_record(row, payload=payloads) for row in rows)
            last = rows[-1].number
            left = None if left is None else left - len(rows)

    def record(self, id_: str) -> Record:
        """One message with its payload and its tries.

        Raises:
            DataRefused: there is none of that id.
        """
        with self._transaction(reads=True) as connection:
            row = connection.execute(sa.select(MESSAGE).where(MESSAGE.c.id == id_)).one_or_none()
            if row is None:
                raise DataRefused(f"there is no message '{id_}'", remedy="mogul messages list  shows those there are")
            tries = connection.execute(
                sa.select(ATTEMPT.c.attempt, ATTEMPT.c.at, ATTEMPT.c.seconds, ATTEMPT.c.status, ATTEMPT.c.answer)
                .where(ATTEMPT.c.message == row.number)
                .order_by(ATTEMPT.c.attempt)
            ).all()
        return _record(row, payload=True, tries=tuple(Attempt(*each) for each in tries))

    def retry(self, ids: Sequence[str], now: datetime) -> int:
        """Let messages be sent again that came to an end, with all of their tries anew; how many.

        What was left out before it was written stays so: there is nothing to send.
        """
        final = [State.DELIVERED, State.FAILED, State.UNKNOWN, State.WITHDRAWN, State.LEFT_OUT]
        count = 0
        for start in range(0, len(ids), CHUNK):
            these = MESSAGE.c.id.in_(ids[start : start + CHUNK])
            with self._transaction() as connection:
                again = connection.execute(
                    MESSAGE.update()
                    .where(these, MESSAGE.c.state.in_(final), MESSAGE.c.payload.is_not(None))
                    .values(_again("asked for again", now))
                )
                waiting = connection.execute(
                    MESSAGE.update()
                    .where(these, MESSAGE.c.state == State.WAITING, MESSAGE.c.due_at > now)
                    # One that was tried was there at its date, whatever the account says since.
                    .values(due_at=now, attempts=0, ahead=sa.and_(MESSAGE.c.ahead, MESSAGE.c.attempts == 0))
                )
            count += again.rowcount + waiting.rowcount
        return count

    def replay(
        self, destination: str, news: Iterable[News], compose: Compose, now: datetime, *, only_count: bool = False
    ) -> Replayed:
        """Let movements be sent whatever their date: those told before as they were, under their own ids.

        With ``only_count`` nothing is changed.
        """
        done = Replayed()
        for chunk in _chunks(news):
            with self._transaction(destination, durable=True) as connection, connection.begin_nested() as step:
                self._standing(connection, destination, now)
                matched = list(_matched(chunk, self._known(connection, destination, chunk)))
                untold = [each for each, row in matched if row is None or not row.told]
                drafts = compose(untold) if untold else ()
                done.new += len({draft.movement for draft in drafts if draft.left_out is None})
                done.left_out += len({draft.movement for draft in drafts if draft.left_out is not None})
                listed = [row.movement_uuid for _, row in matched if row is not None and not row.told]
                connection.execute(
                    MESSAGE.delete().where(
                        MESSAGE.c.destination == destination,
                        MESSAGE.c.movement_uuid.in_(listed),
                        MESSAGE.c.state == State.LEFT_OUT,
                    )
                )
                self._insert(connection, destination, drafts, now)
                told = [row.movement_uuid for _, row in matched if row is not None and row.told]
                sent = connection.execute(
                    MESSAGE.update()
                    .where(
                        MESSAGE.c.destination == destination,
                        MESSAGE.c.movement_uuid.in_(told),
                        MESSAGE.c.state.not_in(OPEN),
                        MESSAGE.c.payload.is_not(None),
                    )
                    .values(_again("replayed", now))
                )
                done.again += sent.rowcount
                if only_count:
                    step.rollback()
        return done


def _version(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("ledger_version"):
        return None
    version: str | None = connection.scalar(sa.text("SELECT version_num FROM ledger_version"))
    return version


def _held_up() -> sa.ColumnElement[bool]:
    """Whether a message waits for an earlier one of its place. What is open has an index of its own."""
    earlier = MESSAGE.alias("earlier")
    return sa.exists().where(
        earlier.c.destination == MESSAGE.c.destination,
        earlier.c.place == MESSAGE.c.place,
        earlier.c.sequence < MESSAGE.c.sequence,
        # One that is dated ahead is no earlier one, though it was known before.
        earlier.c.movement_date <= MESSAGE.c.movement_date,
        is_open(earlier),
        earlier.c.attempts < GIVES_WAY_AFTER,
    )


def _chunks(news: Iterable[News]) -> Iterator[list[News]]:
    """At most about ``CHUNK`` movements at a time; a customer's of one moment stay together: among them are equals.

    An import may give thousands of movements the same moment, midnight: they cannot all stay together.
    """
    chunk: list[News] = []
    for _, moment in groupby(news, key=lambda each: (each.date, each.customer_uuid or each.customer_external_id)):
        chunk.extend(moment)
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _matched(chunk: Sequence[News], rows: Sequence[Any]) -> Iterator[tuple[News, Any]]:
    """Each movement with what the ledger has of it: by uuid, else by key, else any of its equals that is left.

    Of equals, one that was withdrawn comes last: whichever of them is still there, so many were told.
    """
    found: dict[int, Any] = {}
    left = list(rows)
    for of_news, of_row, withdrawn in (
        ("uuid", "movement_uuid", (0, 1)),
        ("movement_key", "movement_key", (0,)),
        ("identity", "movement_identity", (0,)),
        ("movement_key", "movement_key", (1,)),
        ("identity", "movement_identity", (1,)),
    ):
        by: defaultdict[str, list[Any]] = defaultdict(list)
        for row in reversed(left):
            if row.withdrawn in withdrawn:
                by[getattr(row, of_row)].append(row)
        for index, each in enumerate(chunk):
            if index not in found and by[getattr(each, of_news)]:
                found[index] = by[getattr(each, of_news)].pop()
        taken = {id(row) for row in found.values()}
        left = [row for row in left if id(row) not in taken]
    return ((each, found.get(index)) for index, each in enumerate(chunk))


def _again(reason: str, now: datetime) -> dict[str, Any]:
    """What becomes of a message that somebody asks for: it has all of its tries anew; those before stay listed."""
    return {
        "state": State.WAITING,
        "due_at": now,
        "settled_at": None,
        "reason": reason,
        "attempts": 0,
        "ahead": False,
    }


def _late(news: News) -> Draft:
    movement = news.movement
    return Draft(
        "movement", movement.key, b"", news.date, left_out="it came more than 12 hours late", movement=movement
    )


def _settled(tried: Tried, policy: Policy) -> Mapping[str, Any]:
    message, answer, ended = tried.message, tried.answer, tried.at + timedelta(seconds=tried.seconds)
    row: dict[str, Any] = {
        "b_attempts": message.attempt,
        "b_due_at": ended,
        "b_settled_at": ended,
        "b_reason": None,
    }
    if answer.outcome is Outcome.TAKEN:
        noted = "" if answer.quoted else _plain(answer.text)[:ANSWER_CHARACTERS]
        return {**row, "b_state": State.DELIVERED, "b_reason": noted or None}
    said = _plain(answer.said)[:ANSWER_CHARACTERS]
    row["b_reason"] = said
    if answer.outcome is Outcome.UNKNOWN:
        return {**row, "b_state": State.UNKNOWN}
    if answer.outcome is Outcome.REFUSED:
        return {**row, "b_state": State.FAILED}
    if answer.outcome is Outcome.AGAIN and message.attempt > len(policy.retries):
        return {**row, "b_state": State.FAILED, "b_reason": f"{said}; tried {message.attempt} times"}
    pause = policy.retries[min(message.attempt, len(policy.retries)) - 1]
    pause *= 1 + random.uniform(-policy.jitter, policy.jitter)  # noqa: S311 - jitter
    return {
        **row,
        "b_state": State.WAITING,
        "b_due_at": ended + max(pause, answer.retry_after or timedelta(0)),
        "b_settled_at": None,
    }


def _processes() -> str:
    """Where a process's number means something: containers of one host name count theirs each by itself."""
    try:
        return f"{socket.gethostname()}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:  # not Linux
        return socket.gethostname()


def _plain(text: str) -> str:
    """What Postgres keeps as text: no NUL, no half of a character."""
    return text.replace("\0", "").encode(errors="replace").decode()


def _dead(owner: str) -> bool:
    """Whether a process of this machine, by ``host:process:…``, is gone."""
    processes, number, _ = owner.split(":")
    return processes == _processes() and not lives(int(number))


def _record(row: Row[Any], *, payload: bool, tries: tuple[Attempt, ...] = ()) -> Record:
    return Record(
        row.id,
        row.destination,
        row.kind,
        row.subject,
        State(row.state),
        row.reason,
        row.attempts,
        row.enqueued_at,
        row.due_at,
        row.settled_at,
        row.sequence,
        row.movement_uuid,
        row.movement_date,
        row.movement_amount,
        row.restated_amount,
        row.payload if payload else None,
        tries,
    )
