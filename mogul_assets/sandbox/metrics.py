"""``/metrics``: figures by period, taken from the movements and from nothing else.

Days are the account's (its time zone), and a movement dated ahead does not count yet, so that the five sums
of a month are the sums of that month's movements by type.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from typing import Any
from zoneinfo import ZoneInfo

from mogul_assets.sandbox.company import Company
from mogul_assets.sandbox.moments import moment

SUMS = {
    "new_biz": "mrr-new-business",
    "expansion": "mrr-expansion",
    "contraction": "mrr-contraction",
    "churn": "mrr-churn",
    "reactivation": "mrr-reactivation",
}
METRICS = ("mrr", "arr", "customer-churn-rate", "mrr-churn-rate", "ltv", "customers", "asp", "arpa")
"""The eight of ``/metrics/all``, in its order."""

ROUTES = {
    **{name: name for name in METRICS if name != "customers"},
    "customer-count": "customers",
}
"""The key of an entry, by the last part of the path."""


@dataclass(slots=True)
class _Tally:
    """Cents by movement type, and customers won and lost."""

    sums: dict[str, int]
    won: int = 0
    lost: int = 0
    first_sales: int = 0


class Figures:
    """The company's figures, day by day."""

    def __init__(self, company: Company) -> None:
        zone = ZoneInfo(company.account.time_zone)
        self.today = moment(company.now).astimezone(zone).date()
        days: dict[date, _Tally] = {}
        for at, activity in company.movements:
            if at > company.now:
                break
            day = moment(at).astimezone(zone).date()
            tally = days.get(day)
            if tally is None:
                tally = days[day] = _Tally(dict.fromkeys(SUMS, 0))
            tally.sums[activity.type] += activity.activity_mrr_movement
            tally.won += activity.activity_mrr == activity.activity_mrr_movement
            tally.first_sales += activity.type == "new_biz"
            tally.lost += activity.activity_mrr == 0
        self._days = sorted(days)
        self._tallies = [days[day] for day in self._days]
        self._mrr = list(accumulate((sum(tally.sums.values()) for tally in self._tallies), initial=0))
        self._customers = list(accumulate((tally.won - tally.lost for tally in self._tallies), initial=0))

    def level(self, day: date) -> tuple[int, int]:
        """(MRR in cents, paying customers) at the end of that day."""
        place = bisect_right(self._days, day)
        return self._mrr[place], self._customers[place]

    def period(self, start: date, end: date) -> dict[str, Any]:
        """All figures of the days from ``start`` to ``end``, both included."""
        first, last = bisect_right(self._days, start - timedelta(1)), bisect_right(self._days, end)
        tallies = self._tallies[first:last]
        sums = {kind: sum(tally.sums[kind] for tally in tallies) for kind in SUMS}
        before, customers_before = self._mrr[first], self._customers[first]
        mrr, customers = self._mrr[last], self._customers[last]
        lost, sales = sum(tally.lost for tally in tallies), sum(tally.first_sales for tally in tallies)
        churn_rate = round(100 * lost / customers_before, 2) if customers_before else 0.0
        shrinking = sums["churn"] + sums["contraction"] + sums["expansion"] + sums["reactivation"]
        arpa = mrr // customers if customers else 0
        return {
            "date": end.isoformat(),
            "mrr": mrr,
            "arr": mrr * 12,
            "customer-churn-rate": churn_rate,
            "mrr-churn-rate": round(-100 * shrinking / before, 2) if before else 0.0,
            "ltv": round(arpa * 100 / churn_rate) if churn_rate else 0,
            "customers": customers,
            "asp": sums["new_biz"] // sales if sales else 0,
            "arpa": arpa,
            **{SUMS[kind]: cents for kind, cents in sums.items()},
        }

    def answer(self, route: str, start: date, end: date, interval: str) -> dict[str, Any]:
        """What ``/metrics/<route>`` says.

        Args:
            route: ``all``, or a key of ``ROUTES``.
            start: first day.
            end: last day; a period that it cuts is stamped with it.
            interval: ``day``, ``week``, ``month``, ``quarter`` or ``year``.
        """
        periods = [self.period(*span) for span in _spans(start, min(end, _end_of(self.today, interval)), interval)]
        # "Current" is today's and "previous" that of 30 days ago, whatever range is asked for, except for rates.
        now, then = self.period(self.today - timedelta(29), self.today), self.period(
            self.today - timedelta(59), self.today - timedelta(30)
        )  # fmt: skip
        if route == "all":
            entries = [{"date": period["date"]} for period in periods]
            summary: dict[str, Any] = {}
            for name in METRICS:
                for entry, period, change in zip(entries, periods, _changes(periods, name), strict=True):
                    entry[name], entry[f"{name}-percentage-change"] = period[name], change
                summary[f"current-{name}"], summary[f"previous-{name}"] = now[name], then[name]
                summary[f"{name}-percentage-change"] = _change(then[name], now[name])
            return {"entries": entries, "summary": summary}
        name = ROUTES[route]
        more = tuple(SUMS.values()) if name == "mrr" else ()
        return {
            "entries": [
                {"date": period["date"], name: period[name], "percentage-change": change}
                | {key: period[key] for key in more}
                for period, change in zip(periods, _changes(periods, name), strict=True)
            ],
            "summary": {
                "current": now[name],
                "previous": then[name],
                "percentage-change": _change(then[name], now[name]),
            },
        }


def _changes(periods: list[dict[str, Any]], name: str) -> list[float]:
    """Percent from one period to the next; the first one's is always 0.0, so it depends on the range asked for."""
    values = [period[name] for period in periods]
    return [_change(before, after) for before, after in zip([*values[:1], *values], values, strict=False)]


def _change(before: float, after: float) -> float:
    return round(100 * (after - before) / before, 2) if before else 0.0


def _end_of(day: date, interval: str) -> date:
    if interval == "day":
        return day
    if interval == "week":
        return day + timedelta(6 - day.weekday())
    months = {"month": 1, "quarter": 3, "year": 12}[interval]
    month = (day.month - 1) // months * months + months
    return date(day.year + month // 12, month % 12 + 1, 1) - timedelta(1)


def _spans(start: date, end: date, interval: str) -> Iterator[tuple[date, date]]:
    while start <= end:
        last = min(_end_of(start, interval), end)
        yield start, last
        start = last + timedelta(1)
