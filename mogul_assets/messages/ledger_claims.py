"""Messages on their way: who may try which of them now, and what their tries came to."""

from __future__ import annotations

import os
import random
import secrets
import socket
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mogul_assets.messages.ledger_standing import Standings
from mogul_assets.messages.message import Message, Outcome, State, Tried
from mogul_assets.messages.sending import GIVES_WAY_AFTER, Policy
from mogul_assets.messages.tables import ATTEMPT, DESTINATION, MESSAGE, is_open
from mogul_assets.processes import lives

CLAIMED_FOR = timedelta(minutes=3)
"""Longer than any try may take; of a process of this machine that died, claims are released at once."""
LOOKED_THROUGH = 500
"""How many of those that are due are looked through first for one whose turn it is."""
ANSWER_CHARACTERS = 300


class Claims(Standings):
    """Claims have an owner, this process as it opened the ledger: what one has claimed, no other tries."""

    def __init__(self, url: str | sa.URL) -> None:
        super().__init__(url)
        self._owner = f"{_processes()}:{os.getpid()}:{secrets.token_hex(4)}"

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
                first = due.limit(LOOKED_THROUGH).subquery()
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
                        "answer": _plain(t.answer.kept)[:ANSWER_CHARACTERS],
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


def _settled(tried: Tried, policy: Policy) -> Mapping[str, Any]:
    message, answer, ended = tried.message, tried.answer, tried.at + timedelta(seconds=tried.seconds)
    row: dict[str, Any] = {
        "b_attempts": message.attempt,
        "b_due_at": ended,
        "b_settled_at": ended,
        "b_reason": None,
    }
    if answer.outcome is Outcome.TAKEN:
        return {**row, "b_state": State.DELIVERED, "b_reason": _plain(answer.text)[:ANSWER_CHARACTERS] or None}
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
