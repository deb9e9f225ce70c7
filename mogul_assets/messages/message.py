"""A message on its way: what is asked for, what was written down, and what a receiver answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec


class State(StrEnum):
    """Where a message stands. The first two are open, the others final until somebody asks for a retry."""

    WAITING = "waiting"
    SENDING = "sending"
    """Claimed by a process, which has it in flight."""
    DELIVERED = "delivered"
    FAILED = "failed"
    """Given up: refused for good, or tried as often as it may be."""
    UNKNOWN = "unknown"
    """Its end is ambiguous: it may have arrived. Not sent again by itself."""
    WITHDRAWN = "withdrawn"
    """Its movement, dated ahead, was gone by then."""
    LEFT_OUT = "left out"
    """Never to be sent; ``reason`` says why."""


class Outcome(StrEnum):
    """What one try came to."""

    TAKEN = "taken"
    AGAIN = "again"
    """May pass by itself: tried again when due."""
    REFUSED = "refused"
    """Will never be taken as it is."""
    GONE = "gone"
    """The receiver wants no more messages at all: the destination is disabled."""
    UNKNOWN = "unknown"
    """Sent, and no answer tells whether it was taken."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver said to one try. ``status`` is its own code or word; ``text`` is ours, and says what it means.

    ``retry_after`` is how long the receiver asked to be left alone. What is ``quoted`` are its own words, and may
    repeat what it was sent, a customer's data: they are kept with the try, and go into no error and no log.
    """

    outcome: Outcome
    status: str
    text: str = ""
    retry_after: timedelta | None = None
    quoted: str = ""

    @property
    def said(self) -> str:
        """Status and text in a line that may be shown to anybody."""
        return f"{self.status}: {self.text}" if self.text else self.status

    @property
    def kept(self) -> str:
        """What is kept with the try, and shown to who asks for it."""
        return "; ".join(filter(None, (self.text, self.quoted)))


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to be written down, once.

    ``subject`` is what it is found by: a movement's key, or ``daily 2026-11-22`` for a recap. ``payload`` is frozen:
    every try sends these bytes. It is sent from ``due_at`` on, the moment of what it tells, UTC. One that is
    ``left_out`` for a reason is listed and never sent. ``order`` names what it keeps its turn in (a customer).
    """

    kind: str
    """``movement``, ``digest``, ``recap``, ``mail``, ``contact``"""
    subject: str
    payload: bytes
    due_at: datetime
    order: str | None = None
    left_out: str | None = None
    movement: Movement | None = None


class Movement(msgspec.Struct, frozen=True):
    """What a movement is recognised by: its uuid first, then its key, then what its equals share."""

    uuid: str
    key: str
    identity: str
    """The same for movements that differ in nothing but their ordinal."""
    date: datetime
    amount: int
    """In cents of the account's currency: an amount that changes is noted, and not sent again."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the ledger has it, claimed for one try."""

    id: str
    """``msg_`` and a random part: the same at every try, and never another message's."""
    destination: str
    kind: str
    subject: str
    payload: bytes
    attempt: int
    """Which try this is since it was written down or last asked for, from 1."""
    sequence: int | None
    """Its place among the messages of its ``order``, from 1."""
    enqueued_at: datetime


@dataclass(frozen=True, slots=True)
class Tried:
    """One try of a message that came to an end."""

    message: Message
    answer: Answer
    at: datetime
    seconds: float


def utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


class News(msgspec.Struct, frozen=True, kw_only=True):
    """A movement with what a message says of its customer. Amounts are cents of the account's currency, UTC dates.

    A row of ``movement_news``; what is ``None`` the account does not say.
    """

    uuid: str
    movement_key: str
    identity: str
    date: datetime
    movement_type: str
    """``new_biz``, ``expansion``, ``contraction``, ``churn``, ``reactivation``"""
    description: str | None = None
    mrr_movement: int
    mrr: int
    """The customer's MRR after it."""
    rank: int = 1
    """Its place among the customer's movements of that moment."""
    currency_code: str
    """The account's."""
    account_mrr: int | None = None
    """All customers' together, at the last refresh."""
    invoice_currency: str | None = None
    invoice_mrr_movement: int | None = None
    """The movement in cents of ``invoice_currency``, at the rate of its date; ``None`` without a rate."""
    billing_connector_uuid: str | None = None
    subscription_external_id: str | None = None
    plan_external_id: str | None = None
    plan_name: str | None = None
    customer_uuid: str | None = None
    customer_external_id: str | None = None
    customer_name: str | None = None
    """The person's, or the company's where the account knows no other."""
    customer_email: str | None = None
    customer_company: str | None = None
    customer_status: str | None = None
    customer_currency: str | None = None
    customer_currency_sign: str | None = None
    customer_mrr: int = 0
    customer_arr: int = 0
    customer_url: str | None = None
    customer_external_ids: Sequence[str] = ()
    customer_data_source_uuid: str | None = None
    custom_attributes: Mapping[str, Any] = {}

    @property
    def movement(self) -> Movement:
        return Movement(self.uuid, self.movement_key, self.identity, self.date, self.mrr_movement)
