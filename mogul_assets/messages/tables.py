"""The ledger's tables. What changes here changes in a migration too: ``migrations/versions``."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    FromClause,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    text,
)
from sqlalchemy.types import TypeDecorator

from mogul_assets.messages.message import State

HEAD = "0001"
"""The migration that these tables are the result of."""


class Moment(TypeDecorator[datetime]):
    """A moment in UTC. SQLite keeps no zones, so none is kept anywhere."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - as declared
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - as declared
        return None if value is None else value.replace(tzinfo=UTC)


METADATA = MetaData()

OPEN = (State.WAITING.value, State.SENDING.value)


def is_open(message: FromClause) -> ColumnElement[bool]:
    """Whether a message is, written as the index has it: both databases take it only where they read the same."""
    return message.c.state.in_(bindparam(None, OPEN, expanding=True, literal_execute=True))


_IS_OPEN = text("state IN ('waiting', 'sending')")

DESTINATION = Table(
    "destination",
    METADATA,
    Column("name", String(100), primary_key=True),
    Column("started_at", Moment, nullable=False, comment="movements dated before it are history"),
    Column("polled_at", Moment, comment="when new movements were last written down"),
    Column("succeeded_at", Moment),
    Column("failing_since", Moment, comment="the first failed try since the last success"),
    Column("disabled_at", Moment),
    Column("disabled_reason", Text),
    Column("looked_at", Moment, comment="when the account was last seen to have nothing new"),
)

MESSAGE = Table(
    "message",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("destination", String(100), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("subject", Text, nullable=False),
    Column("payload", LargeBinary, comment="frozen: every try sends these bytes"),
    Column("state", String(12), nullable=False),
    Column("reason", Text, comment="why it is where it is, where that is not the way it should be"),
    Column("attempts", Integer, nullable=False, default=0),
    Column("enqueued_at", Moment, nullable=False),
    Column("due_at", Moment, nullable=False),
    Column("settled_at", Moment, comment="when it came to its end"),
    Column("claimed_by", String(200)),
    Column("claimed_until", Moment),
    Column("place", Text, comment="what it keeps its turn in: a customer"),
    Column("sequence", Integer, comment="its turn there, from 1"),
    Column("movement_uuid", String(100)),
    Column("movement_key", String(64)),
    Column("movement_identity", String(64), comment="the same for movements that differ in nothing but their ordinal"),
    Column("movement_date", Moment),
    Column("movement_amount", BigInteger, comment="cents, as it was told"),
    Column("restated_amount", BigInteger, comment="cents, as the account says since"),
    Column("ahead", Boolean, nullable=False, default=False, comment="its movement was dated ahead"),
    Column("seen_at", Moment, comment="when a movement that is dated ahead was last there"),
    Index("message_due", "destination", "state", "due_at"),
    Index("message_turn", "destination", "place", "sequence"),
    # Of a customer with a history of thousands, what is delivered is not looked through for what is open.
    Index("message_open", "destination", "place", "sequence", sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN),
    Index("message_uuid", "destination", "movement_uuid"),
    Index("message_identity", "destination", "movement_identity"),
    Index("message_subject", "destination", "kind", "subject"),
)

ATTEMPT = Table(
    "attempt",
    METADATA,
    Column("message", ForeignKey("message.number", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("status", String(100), nullable=False),
    Column("answer", Text, nullable=False),
)
