"""Forgetting a customer: what messages say of it goes, whatever became of them; that they were sent stays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mogul_assets.messages import quoting
from mogul_assets.messages.ledger_database import Database
from mogul_assets.messages.message import State
from mogul_assets.messages.recognition import CHUNK
from mogul_assets.messages.tables import ATTEMPT, MESSAGE, OPEN
from mogul_assets.store.person import Person


@dataclass
class Forgotten:
    """What the ledger had to say of a customer at one destination, in messages.

    ``sent`` may lie at the receiver; ``open`` were still to be sent, and are not any more.
    """

    sent: int = 0
    open: int = 0
    others: int = 0

    @property
    def total(self) -> int:
        return self.sent + self.open + self.others


FORGOTTEN = "its customer was forgotten"


class Forgetting(Database):
    """Messages that tell of one customer."""

    def about(self, person: Person) -> dict[str, Forgotten]:
        """How many messages tell of a customer, by destination. Changes nothing."""
        return {name: _told(rows) for name, rows in self._about(person).items()}

    def forget(self, person: Person, now: datetime) -> dict[str, Forgotten]:
        """Remove what messages say of a customer, whatever became of them; how many, by destination.

        What was still to be sent is left out. That a message was sent, when, and of which movement stays, without
        anything that says whose it is: else it would be told again where the account still has the customer. The
        file is written anew, so that nothing is left in it of what was removed, now or earlier.
        """
        found = self._about(person)
        for destination, rows in found.items():
            numbers = [number for number, _ in rows]
            with self._transaction(destination, durable=True) as connection:
                for start in range(0, len(numbers), CHUNK):
                    self._silence(connection, numbers[start : start + CHUNK], person, now)
        self._compact()
        return {name: _told(rows) for name, rows in found.items()}

    def _silence(self, connection: Connection, numbers: Sequence[int], person: Person, now: datetime) -> None:
        these = MESSAGE.c.number.in_(numbers)
        # A note of Intercom's is found by the customer, and is made again by the next delivery that has one to make.
        connection.execute(MESSAGE.delete().where(these, MESSAGE.c.subject.in_(person.ids)))
        connection.execute(ATTEMPT.update().where(ATTEMPT.c.message.in_(numbers)).values(answer=""))
        # A receiver's words may have been repeated there.
        ended = (State.DELIVERED, State.FAILED, State.UNKNOWN)
        connection.execute(MESSAGE.update().where(these, MESSAGE.c.state.in_(ended)).values(reason=None))
        # Withdrawn ones would be due again where their movement comes back, with nothing to send.
        due = (State.WAITING, State.WITHDRAWN)
        for states, state, reason in (
            (due, State.LEFT_OUT, FORGOTTEN),
            ((State.SENDING,), State.UNKNOWN, f"{FORGOTTEN} while it was sent"),
        ):
            connection.execute(
                MESSAGE.update()
                .where(these, MESSAGE.c.state.in_(states))
                .values(state=state, reason=reason, settled_at=now, claimed_by=None, claimed_until=None)
            )
        connection.execute(MESSAGE.update().where(these).values(payload=None, place=None, sequence=None))

    def _about(self, person: Person) -> dict[str, list[tuple[int, State]]]:
        """Messages that tell of a customer, its own and those that name it among others, as (number, state)."""
        mail = MESSAGE.c.kind == "mail"
        wanted = sa.select(
            *(MESSAGE.c[name] for name in ("number", "destination", "kind", "subject", "state", "place")),
            *(MESSAGE.c[name] for name in ("movement_uuid", "movement_key")),
            MESSAGE.c.payload.is_not(None).label("speaks"),
            # A mail may have megabytes of files with it: they are looked at one by one.
            sa.case((mail, None), else_=MESSAGE.c.payload).label("says"),
        ).order_by(MESSAGE.c.number)
        found: defaultdict[str, list[tuple[int, State]]] = defaultdict(list)
        last = 0
        while True:
            with self._transaction(reads=True) as connection:
                rows = connection.execute(wanted.where(MESSAGE.c.number > last).limit(CHUNK)).all()
            if not rows:
                return found
            last = rows[-1].number
            for row in rows:
                named = not person.ids.isdisjoint((row.place, row.subject))
                told = row.movement_uuid in person.movements or row.movement_key in person.keys
                if named or (row.speaks and (told or self._names(row, person))):
                    found[row.destination].append((row.number, State(row.state)))

    def _names(self, row: Any, person: Person) -> bool:
        says = row.says
        if says is None:
            with self._transaction(reads=True) as connection:
                says = connection.scalar(sa.select(MESSAGE.c.payload).where(MESSAGE.c.number == row.number))
        return says is not None and quoting.names(row.kind, says, person)


def _told(messages: Iterable[tuple[int, State]]) -> Forgotten:
    done = Forgotten()
    for _, state in messages:
        if state in OPEN:
            done.open += 1
        elif state in {State.DELIVERED, State.UNKNOWN}:
            done.sent += 1
        else:
            done.others += 1
    return done
