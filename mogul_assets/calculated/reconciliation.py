"""Reconciliation: the movements in the store against the figures that ChartMogul itself reports."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import duckdb

from mogul_assets.catalog.metrics import MonthlyMrr
from mogul_assets.catalog.window import Month
from mogul_assets.store.sql import quoted

REPORTED_AS = {
    "new_biz": "new_business",
    "expansion": "expansion",
    "contraction": "contraction",
    "churn": "churn",
    "reactivation": "reactivation",
}
"""The field of ``MonthlyMrr`` that sums each type of movement."""

LEVEL_TOLERANCE = 0.005
"""How far a level may be off, relatively: exchange rates move it between two readings of the account."""
LEVELS = {
    name: f"{said} is within {LEVEL_TOLERANCE * 100:g} % of ChartMogul's own of today."
    for name, said in (("mrr", "MRR"), ("customers", "The number of paying customers"))
}
"""What should hold of each level, by its name."""


@dataclass(frozen=True, slots=True)
class MonthSum:
    """The movements of one type in one month: their sum in cents of the account's currency, and their number."""

    cents: int
    movements: int


@dataclass(frozen=True, slots=True)
class MonthlySums:
    """Sums by month, which is its first day in ``zone``, and by type of movement."""

    zone: ZoneInfo
    months: Mapping[date, Mapping[str, MonthSum]]


@dataclass(frozen=True, slots=True)
class Difference:
    """One month and type of movement whose sums differ; amounts in cents of the account's currency.

    ``month`` is its first day in the account's time zone; ``partitions`` are the UTC months that it overlaps,
    and so all that may have been restated.
    """

    month: date
    movement_type: str
    ours: int
    reported: int
    movements: int
    partitions: tuple[Month, ...]

    def __str__(self) -> str:
        return (
            f"{self.month:%Y-%m} {self.movement_type}: {self.ours} cents in {self.movements} movements,"
            f" ChartMogul reports {self.reported}"
        )


@dataclass(frozen=True, slots=True)
class Level:
    """A total as it stands today: cents for "mrr", a number for "customers"."""

    name: str
    ours: int
    reported: int

    @property
    def difference(self) -> float:
        """How far ours is from the reported one, relative to that."""
        gap = abs(self.ours - self.reported)
        return gap / abs(self.reported) if self.reported else math.inf if gap else 0.0

    @property
    def passed(self) -> bool:
        return self.difference <= LEVEL_TOLERANCE


def monthly_sums(connection: duckdb.DuckDBPyConnection, movements: str, zone: ZoneInfo, until: datetime) -> MonthlySums:
    """The movements' sums by calendar month of the account's time zone and by type.

    Args:
        connection: where ``movements`` is known by name.
        movements: the columns of ``MRR_MOVEMENTS``.
        zone: the account's time zone.
        until: movements dated after it are left out: ChartMogul's figures do not have them yet.
    """
    rows = connection.execute(
        f"""
        SELECT date_trunc('month', timezone($zone, date))::DATE AS month, movement_type,
            coalesce(sum(mrr_movement), 0)::BIGINT, count(*)
        FROM {quoted(movements)} WHERE date <= $until
        GROUP BY ALL ORDER BY ALL
        """,
        {"zone": zone.key, "until": until},
    ).fetchall()
    months: defaultdict[date, dict[str, MonthSum]] = defaultdict(dict)
    for month, movement_type, cents, count in rows:
        months[month][movement_type] = MonthSum(cents, count)
    return MonthlySums(zone, months)


def compare(sums: MonthlySums, reported: Iterable[MonthlyMrr]) -> list[Difference]:
    """The reported months and types in which our sums are another by more than one cent a movement.

    A cent, because ChartMogul rounds each movement and each sum by itself. A month that was not reported was
    not asked for, and is not compared.
    """
    differences = []
    for theirs in sorted(reported, key=lambda theirs: theirs.month):
        ours = sums.months.get(theirs.month, {})
        for movement_type, field in REPORTED_AS.items():
            own, cents = ours.get(movement_type, MonthSum(0, 0)), getattr(theirs, field)
            if abs(own.cents - cents) > own.movements:
                partitions = _partitions(theirs.month, sums.zone)
                differences.append(Difference(theirs.month, movement_type, own.cents, cents, own.movements, partitions))
    return differences


def _partitions(month: date, zone: ZoneInfo) -> tuple[Month, ...]:
    start = datetime.combine(month, time(), zone)
    next_month = (month + timedelta(days=31)).replace(day=1)
    end = datetime.combine(next_month, time(), zone).astimezone(UTC) - timedelta(microseconds=1)
    return tuple(Month.of(start).until(Month.of(end)))


def restated_partitions(differences: Sequence[Difference]) -> list[Month]:
    """The UTC months to read again, in order: those that a month which differs overlaps."""
    return sorted({month for difference in differences for month in difference.partitions})


def levels(connection: duckdb.DuckDBPyConnection, customers: str, *, mrr: int, customer_count: int) -> list[Level]:
    """MRR and number of paying customers, of the stored ``customers`` and as ChartMogul reports them today.

    Args:
        connection: where ``customers`` is known by name.
        customers: the columns of ``CUSTOMERS``.
        mrr: the last ``mrr`` of ``GET /metrics/mrr``, in cents.
        customer_count: the last ``customers`` of ``GET /metrics/customer-count``.
    """
    ((cents, count),) = connection.sql(
        f"SELECT coalesce(sum(mrr), 0)::BIGINT, count(*) FILTER (mrr > 0) FROM {quoted(customers)}"
    ).fetchall()
    return [Level("mrr", cents, mrr), Level("customers", count, customer_count)]
