"""ChartMogul's own figures, as ``GET /metrics/mrr`` reports them: what reconciliation compares with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class MonthlyMrr:
    """One calendar month of ``/metrics/mrr?interval=month``, in cents of the account's currency.

    ``month`` is the month's first day in the account's time zone; the API dates an entry by the last one.
    ``mrr`` is the level at the month's end, the five others are the month's sums; contraction and churn are
    negative, as the API gives them.
    """

    month: date
    mrr: int
    new_business: int
    expansion: int
    contraction: int
    churn: int
    reactivation: int
