"""Ledgers to test with, in a file and on a PostgreSQL, and movements to tell."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

from mogul_assets.messages.ledger import Ledger
from mogul_assets.messages.message import Answer, Draft, Message, News, Outcome, State, Tried
from mogul_assets.messages.sending import Policy, drain
from mogul_assets_tests.peers import redshift

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
BEGAN = NOW - timedelta(days=30)
HOOK = "hook"
POLICY = Policy((timedelta(seconds=5), timedelta(seconds=15), timedelta(minutes=1)), concurrency=8, ordered=True)
TAKEN = Answer(Outcome.TAKEN, "200")
FAILED = Answer(Outcome.AGAIN, "503", "overloaded")


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'ledger.db'}"


@contextmanager
def database(address: dict[str, Any]) -> Iterator[str]:
    """The URL of a new database of a real PostgreSQL."""
    name, owner = f"ledger_{token_hex(6)}", address["owner"]
    redshift.asked(address, f"CREATE DATABASE {name}")
    try:
        yield f"postgresql://{owner['user']}:{owner['password']}@{owner['host']}:{owner['port']}/{name}"
    finally:
        redshift.asked(address, f"DROP DATABASE {name} WITH (FORCE)")


def news(uuid: str, *, key: str = "", identity: str = "", **values: Any) -> News:
    """A movement of an hour ago, of ``customer``."""
    given = {"date": NOW - HOUR, "amount": 100, "customer": "cus_1", **values}
    return News(
        uuid=uuid,
        movement_key=key or f"key of {uuid}",
        identity=identity or key or f"key of {uuid}",
        date=given["date"],
        movement_type="expansion",
        mrr_movement=given["amount"],
        mrr=given["amount"],
        currency_code="USD",
        customer_uuid=given["customer"],
    )


def compose(told: Sequence[News]) -> list[Draft]:
    return [
        Draft(
            "movement",
            one.movement_key,
            json.dumps([one.uuid, one.mrr_movement]).encode(),
            one.date,
            order=one.customer_uuid,
            movement=one.movement,
        )
        for one in told
    ]


def look(ledger: Ledger, *told: News, at: datetime = NOW, seen_at: datetime | None = None) -> Any:
    """Write down what is new, as the account says it at ``at``."""
    ledger.standing(HOOK, BEGAN)
    ordered = sorted(told, key=lambda one: (one.date, one.customer_uuid))
    return ledger.enqueue_news(HOOK, ordered, compose, at, seen_at=seen_at or at)


def take(ledger: Ledger, at: datetime = NOW, answer: Answer = TAKEN, limit: int = 100) -> list[Message]:
    """One round: whatever is due is tried, and answered so."""
    claimed = ledger.claim(HOOK, limit, POLICY, at)
    ledger.settle([Tried(one, answer, at, 0.0) for one in claimed], POLICY, at)
    return claimed


def send(ledger: Ledger, at: datetime = NOW) -> list[str]:
    """Deliver everything that is due; the uuids, as they were told, in their order."""
    uuids = []
    while told := take(ledger, at):
        uuids += [json.loads(one.payload)[0] for one in told]
    return uuids


def states(ledger: Ledger) -> dict[str, str]:
    """Of each message its state, by subject."""
    return {one.subject: one.state.value for one in ledger.records(HOOK)}


def answering(answer: Callable[[Message], Answer]) -> Any:
    """A receiver in this process."""

    @asynccontextmanager
    async def sending() -> AsyncIterator[Any]:
        async def tried(message: Message) -> Answer:
            return answer(message)

        yield tried

    return sending()


def write(file: str, words: str) -> None:
    """Add a line that no kill can halve."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{words}\n".encode())
    os.close(descriptor)


def lines(file: Path) -> list[list[str]]:
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


# What processes do -----------------------------------------------------------------------------------------------


def drain_to(url: str, file: str) -> None:
    """Send what is due to a file that takes everything: a line a message, its id and a hash of what it says."""

    def taken(message: Message) -> Answer:
        write(file, f"{message.id} {hashlib.sha256(message.payload).hexdigest()}")
        return TAKEN

    with Ledger(url) as ledger:
        while ledger.counts(HOOK).get(State.WAITING) or ledger.counts(HOOK).get(State.SENDING):
            drain(ledger, HOOK, answering(taken), POLICY)


def claim_and_hold(url: str, file: str) -> None:
    """Claim one message and die with it, when killed."""
    with Ledger(url) as ledger:
        (claimed,) = ledger.claim(HOOK, 1, POLICY, datetime.now(UTC))
        write(file, claimed.id)
        time.sleep(60)


def hammer(url: str, file: str) -> None:
    """Claim and settle without a pause, several at a time, until nothing is left; a line for each claim."""
    with Ledger(url) as ledger:
        while ledger.counts(HOOK).get(State.WAITING):
            moment = datetime.now(UTC)
            claimed = ledger.claim(HOOK, 5, POLICY, moment)
            for one in claimed:
                write(file, f"{one.id} {os.getpid()}")
            ledger.settle([Tried(one, TAKEN, moment, 0.0) for one in claimed], POLICY, moment)


def open_and_close(url: str) -> None:
    with Ledger(url) as ledger:
        ledger.standing(HOOK, NOW)
