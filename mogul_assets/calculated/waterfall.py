"""From one month's MRR to the next's: what came, grew, came back, shrank and went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mogul_assets.catalog.datasets import CUSTOMER, MOVEMENT_TYPES
from mogul_assets.catalog.window import Month
from mogul_assets.store.sql import connect, parquet
from mogul_assets.store.table import Table

MONTHS = 12


@dataclass(frozen=True, slots=True)
class Step:
    """One month, in cents of the account's currency.

    ``opening`` + ``types`` + ``rest`` = ``closing``, and that is the opening of the next. ``rest`` is what no movement
    of the five types says: exchange rates that moved a customer's MRR between two movements, and rounding.
    """

    month: Month
    opening: int
    types: Mapping[str, int]
    closing: int

    @property
    def rest(self) -> int:
        return self.closing - self.opening - sum(self.types.values())


def waterfall(movements: Table, last: Month, *, months: int = MONTHS) -> tuple[Step, ...]:
    """The months up to and with ``last``, the oldest first.

    ``movements`` is ``mrr_movements`` from the account's beginning on: a customer's MRR is the last one that its
    movements say. (1,200 customers with 7,900 movements: 0.02 s.)
    """
    first = last.plus(1 - months)
    spans = list(first.until(last))
    if not movements.files:
        return tuple(Step(month, 0, dict.fromkeys(MOVEMENT_TYPES, 0), 0) for month in spans)
    with connect() as connection:
        rows = connection.execute(
            f"WITH history AS (SELECT * FROM {parquet(movements.paths)}) {_BY_MONTH}", [last.plus(1).start]
        ).fetchall()
    level = {f"{month:%Y-%m}": (change, dict(zip(MOVEMENT_TYPES, sums, strict=True))) for month, change, *sums in rows}
    opening = sum(change for month, (change, _) in level.items() if month < str(first))
    steps = []
    for month in spans:
        change, types = level.get(str(month), (0, dict.fromkeys(MOVEMENT_TYPES, 0)))
        steps.append(Step(month, opening, types, opening + change))
        opening += change
    return tuple(steps)


_BY_MONTH = f"""
    , told AS (
        SELECT timezone('UTC', date) AS date, movement_type, coalesce(mrr_movement, 0) AS amount,
            coalesce(mrr, 0) - coalesce(lag(mrr) OVER (
                PARTITION BY {CUSTOMER} ORDER BY date, rank
            ), 0) AS change
        FROM history WHERE date < $1
    )
    SELECT date_trunc('month', date), sum(change)::BIGINT,
        {", ".join(f"coalesce(sum(amount) FILTER (movement_type = '{type_}'), 0)::BIGINT" for type_ in MOVEMENT_TYPES)}
    FROM told GROUP BY 1
"""


def as_markdown(steps: Sequence[Step], currency: str) -> str:
    """A table for a person to read, in whole units of the currency.

    Of an account of some size Dagster shows it behind a link, over the whole page: beside other metadata the last
    columns would be cut off.
    """
    rest = any(step.rest for step in steps)
    head = ["Month", "Opening", *MOVEMENT_TYPES.values(), *(["Rates, rounding"] if rest else []), "Closing"]
    lines = [
        f"MRR in {currency}, whole units. A month is UTC; the last one is not over yet.",
        "",
        _row(head),
        _row(["---", *["---:"] * (len(head) - 1)]),
    ]
    for step in steps:
        between = [*step.types.values(), *([step.rest] if rest else [])]
        lines.append(
            _row([str(step.month), _whole(step.opening), *(_whole(one, "+") for one in between), _whole(step.closing)])
        )
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _whole(cents: int, sign: str = "") -> str:
    return f"{round(cents / 100):{sign if cents else ''},}"
