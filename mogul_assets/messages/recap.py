"""What happened to MRR in one period: the figures of a recap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from mogul_assets.catalog.datasets import CUSTOMER, MOVEMENT_TYPES
from mogul_assets.catalog.window import BEGINNING, Window
from mogul_assets.messages.money import spoken
from mogul_assets.messages.periods import Period
from mogul_assets.store.sql import connect, parquet
from mogul_assets.store.table import Table


@dataclass(frozen=True, slots=True)
class Sum:
    """How many movements, and what they come to in cents."""

    count: int = 0
    amount: int = 0


@dataclass(frozen=True, slots=True)
class Listed:
    """One movement of a recap, in cents. Texts are the customers' own: whoever shows them escapes them."""

    key: str
    date: datetime
    type: str
    amount: int
    mrr: int | None
    """The customer's, after it."""
    customer: str | None
    description: str | None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Movements that are not told one by one, and why. They count in the recap's net change all the same."""

    reason: str
    movements: tuple[Listed, ...]

    @property
    def sum(self) -> Sum:
        return Sum(len(self.movements), sum(one.amount for one in self.movements))


@dataclass(frozen=True, slots=True)
class Told:
    """What an earlier recap said of its period: enough to find later what it could not know."""

    label: str
    start: datetime
    end: datetime
    sum: Sum


@dataclass(frozen=True, slots=True)
class Late:
    """What has changed in an earlier period since its recap: movements that came, went or were corrected."""

    label: str
    sum: Sum


@dataclass(frozen=True, slots=True)
class Recap:
    """A period in figures, in cents of ``currency``. They add up:

    ``opening`` + ``types`` + ``left_out`` + ``rest`` = ``closing``, and ``net`` is the middle without ``rest``.
    """

    period: Period
    currency: str | None
    opening: int
    """Every customer's MRR at the period's start, from the movements before."""
    closing: int
    customers: tuple[int, int]
    """How many had an MRR at its start and at its end."""
    net: Sum
    """Of all its movements."""
    types: Mapping[str, Sum]
    """The five, and whatever else the account says; without what is left out."""
    left_out: tuple[LeftOut, ...]
    gains: tuple[Listed, ...]
    """The largest, without what is left out; the largest first."""
    losses: tuple[Listed, ...]
    late: Late | None = None

    @property
    def rest(self) -> int:
        """What no movement says: exchange rates that moved a customer's MRR between two movements, and rounding."""
        return self.closing - self.opening - self.net.amount

    @property
    def told(self) -> Told:
        return Told(self.period.label, self.period.start, self.period.end, self.net)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Which movements are too small to be told. ``share`` is of the account's MRR: 0.005 is half a percent."""

    cents: int = 0
    share: float | None = None

    def least(self, total: int) -> float:
        """The smallest amount that is told, in cents, while the account's MRR is ``total``."""
        return max(self.cents, 0 if self.share is None else self.share * total)

    def reason(self, amount: int, total: int | None, currency: str | None) -> str | None:
        """Why a movement of so many cents is not told; ``None``: it is. Without ``total`` no share is asked for."""
        if abs(amount) < self.cents:
            return f"below {spoken(self.cents, currency)}"
        if self.share is not None and total is not None and abs(amount) < self.share * total:
            return f"below {self.share * 100:.6g} % of MRR"
        return None


EVERYTHING = Threshold()


NEEDED = frozenset(
    {"currency_code", "customer_uuid", "date", "movement_key", "movement_type", "mrr", "mrr_movement", "rank"}
)
"""The columns of ``mrr_movements`` that the figures are made of."""
_SPARED = ("customer_external_id", "customer_name", "description")
"""Those that are shown where they are there."""


def recap(
    movements: Table,
    period: Period,
    *,
    threshold: Threshold = EVERYTHING,
    largest: int = 5,
    earlier: Told | None = None,
) -> Recap:
    """The figures of a period.

    Args:
        movements: ``mrr_movements`` from the account's beginning on: a customer's MRR is the last one that its
            movements say. Of the history a few columns are read, and one figure for each customer is kept.
        period: what it tells.
        threshold: what is too small to be told.
        largest: how many gains and how many losses are listed.
        earlier: what the recap before said; what has changed there since is ``late``.
    """
    with connect() as connection:
        _view(connection, "history", movements, Window(BEGINNING, period.end))
        _view(connection, "told", movements, Window(period.start, period.end))
        opening, closing, before, after = connection.execute(_LEVELS, [period.start]).fetchall()[0]
        ((currency,),) = connection.execute("SELECT mode(currency_code) FROM history").fetchall()
        least = threshold.least(opening)
        left_out: dict[str, list[Listed]] = {}
        for one in _listed(connection, "abs(mrr_movement) < $1 ORDER BY date, movement_key", least):
            left_out.setdefault(threshold.reason(one.amount, opening, currency) or "", []).append(one)
        types = connection.execute(
            "SELECT coalesce(movement_type, 'unknown') AS type, count(*), sum(mrr_movement) FROM told "
            "WHERE abs(mrr_movement) >= $1 GROUP BY type ORDER BY type",
            [least],
        ).fetchall()
        ranked = f"AND abs(mrr_movement) >= $1 ORDER BY abs(mrr_movement) DESC, movement_key LIMIT {largest:d}"
        return Recap(
            period=period,
            currency=currency,
            opening=opening,
            closing=closing,
            customers=(before, after),
            net=_sum(connection, "told"),
            types=dict.fromkeys(MOVEMENT_TYPES, Sum()) | {kind: Sum(count, amount) for kind, count, amount in types},
            left_out=tuple(LeftOut(reason, tuple(ones)) for reason, ones in left_out.items()),
            gains=tuple(_listed(connection, f"mrr_movement > 0 {ranked}", least)),
            losses=tuple(_listed(connection, f"mrr_movement < 0 {ranked}", least)),
            late=_late(connection, movements, earlier),
        )


_LEVELS = f"""
    WITH customer AS (
        SELECT coalesce(arg_max(mrr, (date, rank)) FILTER (date < $1), 0) AS opening,
            coalesce(arg_max(mrr, (date, rank)), 0) AS closing
        FROM history GROUP BY {CUSTOMER}
    )
    SELECT coalesce(sum(opening), 0), coalesce(sum(closing), 0),
        count(*) FILTER (opening <> 0), count(*) FILTER (closing <> 0)
    FROM customer
"""


def _view(connection: duckdb.DuckDBPyConnection, name: str, movements: Table, span: Window) -> None:
    """The movements of a span, of the files alone whose months meet it."""
    paths = [
        file.path
        for file in movements.files
        if file.month is None or Window.months(file.month, file.month).overlaps(span)
    ]
    absent = [column for column in _SPARED if column not in movements.schema.names]
    if not paths:
        schema = pa.schema([*movements.schema, *(pa.field(column, pa.string()) for column in absent)])
        connection.register(name, schema.empty_table())
        return
    assert span.end is not None
    nulls = "".join(f", NULL::VARCHAR AS {column}" for column in absent)
    connection.sql(
        f"SELECT * REPLACE (coalesce(mrr_movement, 0) AS mrr_movement){nulls} FROM {parquet(paths)} "
        f"WHERE date >= '{span.start.isoformat()}' AND date < '{span.end.isoformat()}'"
    ).create_view(name)


def _listed(connection: duckdb.DuckDBPyConnection, condition: str, least: float) -> Iterator[Listed]:
    # DuckDB hands out moments that have a zone only where pytz is installed.
    rows = connection.execute(
        "SELECT movement_key, timezone('UTC', date), coalesce(movement_type, 'unknown'), mrr_movement, mrr, "
        f"customer_name, description FROM told WHERE {condition}",
        [least],
    )
    while batch := rows.fetchmany(1_000):
        yield from (Listed(key, date.replace(tzinfo=UTC), *rest) for key, date, *rest in batch)


def _sum(connection: duckdb.DuckDBPyConnection, view: str) -> Sum:
    return Sum(*connection.execute(f"SELECT count(*), coalesce(sum(mrr_movement), 0) FROM {view}").fetchall()[0])


def _late(connection: duckdb.DuckDBPyConnection, movements: Table, earlier: Told | None) -> Late | None:
    if earlier is None:
        return None
    _view(connection, "earlier", movements, Window(earlier.start, earlier.end))
    now = _sum(connection, "earlier")
    since = Sum(now.count - earlier.sum.count, now.amount - earlier.sum.amount)
    return Late(earlier.label, since) if since != Sum() else None
