from collections import defaultdict
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

BERLIN = ZoneInfo("Europe/Berlin")
WHOLE = {"start__date": "2022-01-01", "end__date": "2026-12-31", "interval": "month"}
NAMES = {
    "new_biz": "mrr-new-business",
    "expansion": "mrr-expansion",
    "contraction": "mrr-contraction",
    "churn": "mrr-churn",
    "reactivation": "mrr-reactivation",
}


def past(account, company):
    """(local day, activity) of every movement that has happened."""
    for activity in account.activities():
        moment = datetime.fromisoformat(activity["date"])
        if moment.timestamp() <= company.now:
            yield moment.astimezone(BERLIN).date(), activity


@pytest.mark.parametrize(("interval", "letters"), [("month", 7), ("day", 10)])
def test_the_five_sums_are_those_of_the_movements_by_type(account, company, interval, letters):
    """Of days in the account's time zone: some movements fall on another day in UTC."""
    sums = defaultdict(int)
    for day, activity in past(account, company):
        sums[f"{day}"[:letters], NAMES[activity["type"]]] += activity["activity-mrr-movement"]
    entries = account.json("/metrics/mrr", **WHOLE | {"interval": interval})["entries"]
    figures = {(entry["date"][:letters], name): entry[name] for entry in entries for name in NAMES.values()}
    assert {key: cents for key, cents in figures.items() if cents} == {key: c for key, c in sums.items() if c}


@pytest.mark.slow
def test_the_level_is_the_sum_of_all_movements_until_then(account, company):
    for entry in account.json("/metrics/mrr", **WHOLE)["entries"]:
        end = date.fromisoformat(entry["date"])
        assert entry["mrr"] == sum(each["activity-mrr-movement"] for day, each in past(account, company) if day <= end)


def test_the_last_level_and_count_are_those_of_the_customer_list(account):
    customers = account.rows("/customers")
    entry = account.json("/metrics/all", **WHOLE)["entries"][-1]
    assert entry["mrr"] == sum(each["mrr"] for each in customers)
    assert entry["arr"] == 12 * entry["mrr"]
    assert entry["customers"] == sum(each["mrr"] > 0 for each in customers)


@pytest.mark.parametrize(
    ("interval", "dates"),
    [
        ("day", ["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02"]),
        ("week", ["2026-03-01", "2026-03-02"]),
        ("month", ["2026-02-28", "2026-03-02"]),
        ("quarter", ["2026-03-02"]),
        ("year", ["2026-03-02"]),
    ],
)
def test_a_period_is_stamped_with_its_last_day_or_the_end_that_cuts_it(account, interval, dates):
    asked = {"start__date": "2026-02-27", "end__date": "2026-03-02", "interval": interval}
    entries = account.json("/metrics/customer-count", **asked)["entries"]
    assert [entry["date"] for entry in entries] == dates


def test_the_first_change_is_nought_whatever_came_before(account):
    for first in ("2025-03-01", "2026-03-01"):
        asked = {"start__date": first, "end__date": "2026-06-30", "interval": "month"}
        changes = [entry["percentage-change"] for entry in account.json("/metrics/mrr", **asked)["entries"]]
        assert changes[0] == 0.0
        assert any(changes[1:])


@pytest.mark.parametrize("missing", ["start__date", "end__date"])
def test_both_dates_are_required(account, missing):
    asked = {name: value for name, value in WHOLE.items() if name != missing}
    answer = account.get("/metrics/mrr", **asked)
    assert (answer.status_code, answer.json()["param"]) == (400, missing.replace("__", "-"))
