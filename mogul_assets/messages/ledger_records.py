"""Looking at messages: how many there are, the list of them, and one with its tries. Nothing here changes any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Row

from mogul_assets.errors import DataRefused
from mogul_assets.messages.ledger_database import Database
from mogul_assets.messages.message import State
from mogul_assets.messages.tables import ATTEMPT, MESSAGE

PAGE = 500
"""Messages read at a time."""


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


class Records(Database):
    """Messages as people look at them."""

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
                rows = connection.execute(page.limit(PAGE if left is None else min(PAGE, left))).all()
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

    def known_among(self, destination: str, subjects: Sequence[str]) -> set[str]:
        """Those of the subjects that there is a message of, whatever became of it."""
        with self._transaction(reads=True) as connection:
            found = connection.execute(
                sa.select(MESSAGE.c.subject)
                .where(MESSAGE.c.destination == destination, MESSAGE.c.subject.in_(subjects))
                .distinct()
            ).scalars()
            return set(found)


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
