"""Destinations as the ledger knows them: since when, how they fare, and whether they are sent to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mogul_assets.messages import sending
from mogul_assets.messages.ledger_database import Database
from mogul_assets.messages.message import State
from mogul_assets.messages.tables import DESTINATION, MESSAGE

LOOKS_APART = timedelta(minutes=10)
"""How often a look that found nothing is written down."""


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


class Standings(Database):
    """What is written down of destinations themselves."""

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

    def remove(self, destination: str) -> int:
        """Forget that there was a destination, and all its messages; how many there were."""
        with self._transaction(destination) as connection:
            gone = connection.execute(MESSAGE.delete().where(MESSAGE.c.destination == destination))
            connection.execute(DESTINATION.delete().where(DESTINATION.c.name == destination))
        return gone.rowcount

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

    def _disable(self, connection: Connection, destination: str, reason: str, now: datetime) -> None:
        """Send nothing to it until ``resume``. What is news is still written down."""
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
