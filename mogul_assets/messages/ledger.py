"""The ledger: one row for each message, from before its first try to long after its last.

A message is written down before anybody tries it, and what a try came to is written down before the next one begins:
whatever dies at any moment, nothing is lost, and only what was in flight is sent again, the same bytes under the
same id. SQLite keeps it in a file; Postgres where several machines share it.
"""

from __future__ import annotations

import logging
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from mogul_assets.catalog.window import CLOCKS_APART
from mogul_assets.messages.ledger_claims import Claims
from mogul_assets.messages.ledger_forgetting import Forgetting
from mogul_assets.messages.ledger_records import Attempt, Record, Records
from mogul_assets.messages.ledger_standing import Standing
from mogul_assets.messages.message import Draft, News, State
from mogul_assets.messages.recognition import CHUNK, chunks, matched
from mogul_assets.messages.tables import DESTINATION, MESSAGE, OPEN

LATE = timedelta(hours=12)
"""How long before the last look at the account a movement may be dated and still be news: ChartMogul's rule."""
LOT_BYTES = 16_000_000
"""Of payloads written down in one transaction, and held in memory: a mail's carry their attachments."""
_REAL_TIME = ("movement", "digest")

__all__ = ["LATE", "Attempt", "Compose", "Enqueued", "Fold", "Ledger", "Record", "Replayed", "Standing"]

_log = logging.getLogger(__name__)


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


Compose = Callable[[Sequence[News]], Sequence[Draft]]
Fold = Callable[[Sequence[tuple[str, News]]], tuple[Mapping[str, str], Sequence[Draft]]]


class Ledger(Records, Claims, Forgetting):
    """One open ledger: what is written down, and what is forgotten of it; its looking and its sending are apart."""

    def enqueue(self, destination: str, drafts: Iterable[Draft], now: datetime) -> int:
        """Write down messages whose subjects are not known yet; how many those are."""
        count = 0
        for lot in _lots(drafts):
            with self._writing(destination, now) as (connection, _):
                for draft in lot:
                    known = sa.select(MESSAGE.c.number).where(
                        MESSAGE.c.destination == destination,
                        MESSAGE.c.kind == draft.kind,
                        MESSAGE.c.subject == draft.subject,
                    )
                    if connection.execute(known.limit(1)).first() is None:
                        self._insert(connection, destination, [draft], now)
                        count += 1
        return count

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
        for chunk in chunks(each for each in news if each.date >= began.started_at):
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
        for each, row in matched(chunk, self._known(connection, destination, chunk)):
            if row is None:
                fresh.append(each)
                continue
            values: dict[str, Any] = {}
            if row.ahead:
                values["seen_at"] = seen_at
            if row.withdrawn and each.date >= late_before:
                if not self._taken_back(connection, destination, row.movement_uuid):
                    fresh.append(each)
                    continue
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

    def _taken_back(self, connection: Connection, destination: str, movement: str) -> bool:
        """Let the messages of a movement that is back be due again; ``False``: they are to be written anew.

        What they said is forgotten after the retention, and a movement may come back much later, dated ahead again.
        """
        withdrawn = (
            MESSAGE.c.destination == destination,
            MESSAGE.c.movement_uuid == movement,
            MESSAGE.c.state == State.WITHDRAWN,
        )
        connection.execute(MESSAGE.delete().where(*withdrawn, MESSAGE.c.payload.is_(None)))
        back = connection.execute(
            MESSAGE.update()
            .where(*withdrawn)
            .values(state=State.WAITING, reason="it was gone, and is back", settled_at=None)
        )
        return back.rowcount > 0

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
        for chunk in chunks(news):
            with self._transaction(destination, durable=True) as connection, connection.begin_nested() as step:
                self._standing(connection, destination, now)
                pairs = list(matched(chunk, self._known(connection, destination, chunk)))
                untold = [each for each, row in pairs if row is None or not row.told]
                drafts = compose(untold) if untold else ()
                done.new += len({draft.movement for draft in drafts if draft.left_out is None})
                done.left_out += len({draft.movement for draft in drafts if draft.left_out is not None})
                listed = [row.movement_uuid for _, row in pairs if row is not None and not row.told]
                connection.execute(
                    MESSAGE.delete().where(
                        MESSAGE.c.destination == destination,
                        MESSAGE.c.movement_uuid.in_(listed),
                        MESSAGE.c.state == State.LEFT_OUT,
                    )
                )
                self._insert(connection, destination, drafts, now)
                told = [row.movement_uuid for _, row in pairs if row is not None and row.told]
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


def _lots(drafts: Iterable[Draft]) -> Iterator[list[Draft]]:
    """Drafts of ``LOT_BYTES`` together, or one that is larger: they are not made while a transaction is open."""
    lot: list[Draft] = []
    size = 0
    for draft in drafts:
        if lot and size + len(draft.payload) > LOT_BYTES:
            yield lot
            lot.clear()  # whoever wrote it down still has the list
            size = 0
        lot.append(draft)
        size += len(draft.payload)
    if lot:
        yield lot


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
        "movement",
        movement.key,
        b"",
        news.date,
        left_out=f"it came more than {LATE // timedelta(hours=1)} hours late",
        movement=movement,
    )
