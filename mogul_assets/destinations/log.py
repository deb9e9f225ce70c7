"""The log that data destinations keep of their deliveries, beside the data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pyarrow as pa

from mogul_assets.catalog.columns import Kind
from mogul_assets.destinations.base import Delivered, Outcome
from mogul_assets.destinations.columns import fingerprint
from mogul_assets.store.table import Table

LOG = "mogul_deliveries"
"""Its table."""

LOG_SCHEMA = pa.schema(
    [
        pa.field(name, kind.arrow, metadata={"description": text})
        for name, kind, text in (
            ("dataset", Kind.TEXT, "The dataset, as its table is named"),
            ("generation", Kind.TEXT, "The refresh of the account that was delivered; sorts by time"),
            ("window_start", Kind.MOMENT, "First moment that was replaced; null where there is none"),
            ("window_end", Kind.MOMENT, "First moment after what was replaced; null where there is none"),
            ("rows", Kind.INT, "Rows sent"),
            ("bytes", Kind.INT, "Bytes sent, as compressed Parquet"),
            ("schema_fingerprint", Kind.TEXT, "Changes when the columns do"),
            ("started_at", Kind.MOMENT, "When the delivery began"),
            ("finished_at", Kind.MOMENT, "When the delivery ended"),
            (
                "outcome",
                Kind.TEXT,
                "delivered, superseded (nothing changed), lost (the table is gone), created (to be locked)",
            ),
            ("delivery_id", Kind.TEXT, "The delivery, as Dagster shows it too"),
        )
    ],
    metadata={"description": "What was delivered here, and when. One row a delivery, written in its transaction."},
)
"""The fields of an ``Entry``, in their order."""

KEPT = timedelta(days=400)
"""How far the log reaches back, for each dataset."""
LOST = "lost"
"""What the outcome of a delivery becomes once the table that it filled is gone: it counts no more."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery. Moments are UTC; a window without an edge is open there, a snapshot has none."""

    dataset: str
    generation: str
    window_start: datetime | None
    window_end: datetime | None
    rows: int
    bytes: int
    schema_fingerprint: str
    started_at: datetime
    finished_at: datetime
    outcome: Outcome
    delivery_id: str

    @classmethod
    def of(cls, table: Table, outcome: Outcome, *, started_at: datetime, delivery_id: str) -> Entry:
        """What is to be said of a delivery that ends now."""
        sent = outcome is Outcome.DELIVERED
        return cls(
            dataset=table.dataset,
            generation=table.generation,
            window_start=table.window.start if table.window else None,
            window_end=table.window.end if table.window else None,
            rows=table.rows if sent else 0,
            bytes=table.bytes if sent else 0,
            schema_fingerprint=fingerprint(table.schema),
            started_at=started_at,
            finished_at=datetime.now(UTC),
            outcome=outcome,
            delivery_id=delivery_id,
        )

    def delivered(self, location: str, *, seconds: float, anew: bool = False) -> Delivered:
        return Delivered(
            outcome=self.outcome,
            rows=self.rows,
            bytes=self.bytes,
            seconds=seconds,
            location=location,
            details={"delivery_id": self.delivery_id},
            anew=anew,
        )
