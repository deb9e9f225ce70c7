"""The first tables: destinations, messages, attempts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "destination",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("started_at", sa.DateTime, nullable=False, comment="movements dated before it are history"),
        sa.Column("polled_at", sa.DateTime, comment="when new movements were last written down"),
        sa.Column("succeeded_at", sa.DateTime),
        sa.Column("failing_since", sa.DateTime, comment="the first failed try since the last success"),
        sa.Column("disabled_at", sa.DateTime),
        sa.Column("disabled_reason", sa.Text),
        sa.Column("looked_at", sa.DateTime, comment="when the account was last seen to have nothing new"),
    )
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "message",
        sa.Column("number", number, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(40), nullable=False, unique=True),
        sa.Column("destination", sa.String(100), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, comment="frozen: every try sends these bytes"),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("reason", sa.Text, comment="why it is where it is, where that is not the way it should be"),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("enqueued_at", sa.DateTime, nullable=False),
        sa.Column("due_at", sa.DateTime, nullable=False),
        sa.Column("settled_at", sa.DateTime, comment="when it came to its end"),
        sa.Column("claimed_by", sa.String(200)),
        sa.Column("claimed_until", sa.DateTime),
        sa.Column("place", sa.Text, comment="what it keeps its turn in: a customer"),
        sa.Column("sequence", sa.Integer, comment="its turn there, from 1"),
        sa.Column("movement_uuid", sa.String(100)),
        sa.Column("movement_key", sa.String(64)),
        sa.Column(
            "movement_identity",
            sa.String(64),
            comment="the same for movements that differ in nothing but their ordinal",
        ),
        sa.Column("movement_date", sa.DateTime),
        sa.Column("movement_amount", sa.BigInteger, comment="cents, as it was told"),
        sa.Column("restated_amount", sa.BigInteger, comment="cents, as the account says since"),
        sa.Column("ahead", sa.Boolean, nullable=False, comment="its movement was dated ahead"),
        sa.Column("seen_at", sa.DateTime, comment="when a movement that is dated ahead was last there"),
    )
    for name, columns in {
        "message_due": ["destination", "state", "due_at"],
        "message_turn": ["destination", "place", "sequence"],
        "message_uuid": ["destination", "movement_uuid"],
        "message_identity": ["destination", "movement_identity"],
        "message_subject": ["destination", "kind", "subject"],
    }.items():
        op.create_index(name, "message", columns)
    is_open = sa.text("state IN ('waiting', 'sending')")
    op.create_index(
        "message_open",
        "message",
        ["destination", "place", "sequence"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_table(
        "attempt",
        sa.Column("message", number, sa.ForeignKey("message.number", ondelete="CASCADE"), primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("status", sa.String(100), nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
    )
