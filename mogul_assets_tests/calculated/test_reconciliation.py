"""Reconciliation of movements with ChartMogul's own figures."""

import json
from datetime import date
from zoneinfo import ZoneInfo

import pytest

from mogul_assets.calculated.reconciliation import (
    REPORTED_AS,
    Level,
    MonthlySums,
    MonthSum,
    compare,
    levels,
    monthly_sums,
    restated_partitions,
)
from mogul_assets.catalog.datasets import CUSTOMERS, MRR_MOVEMENTS
from mogul_assets.catalog.metrics import MonthlyMrr
from mogul_assets.catalog.window import Month
from mogul_assets_tests.calculated.relations import moment, relate, shared

APRIL, MAY = date(2022, 4, 1), date(2022, 5, 1)
LATER = moment("2030-01-01")


def sums(connection, *movements, zone="UTC", until=LATER):
    rows = [
        {"date": moment(when), "mrr_movement": cents, "movement_type": movement_type}
        for when, cents, movement_type in movements
    ]
    relate(connection, "movements", MRR_MOVEMENTS.schema, rows)
    return monthly_sums(connection, "movements", ZoneInfo(zone), until)


def ours(cents, movements=1, *, movement_type="expansion", month=MAY, zone="UTC"):
    return MonthlySums(ZoneInfo(zone), {month: {movement_type: MonthSum(cents, movements)}})


def reported(month=MAY, **sums):
    zeros = dict.fromkeys(("new_business", "expansion", "contraction", "churn", "reactivation"), 0)
    return MonthlyMrr(month, mrr=0, **zeros | sums)


class TestMonthlySums:
    def test_add_up_movements_by_month_and_type(self, connection):
        result = sums(
            connection,
            ("2022-04-30T23:59:59", 5, "new_biz"),
            ("2022-05-01", 7, "new_biz"),
            ("2022-05-31", 8, "new_biz"),
            ("2022-05-31", -3, "churn"),
        )
        assert result.months == {
            APRIL: {"new_biz": MonthSum(5, 1)},
            MAY: {"new_biz": MonthSum(15, 2), "churn": MonthSum(-3, 1)},
        }

    def test_know_the_months_of_the_accounts_time_zone(self, connection):
        edge = ("2022-04-30T22:30", 5, "new_biz")
        assert set(sums(connection, edge, zone="Europe/Berlin").months) == {MAY}
        assert set(sums(connection, edge, zone="America/New_York").months) == {APRIL}

    def test_leave_out_movements_dated_ahead(self, connection):
        movements = [("2022-05-01T12:00", 5, "churn"), ("2022-05-01T12:00:01", 7, "churn")]
        result = sums(connection, *movements, until=moment("2022-05-01T12:00"))
        assert result.months == {MAY: {"churn": MonthSum(5, 1)}}

    def test_count_a_movement_without_amount_as_nothing(self, connection):
        assert sums(connection, ("2022-05-31", None, "churn")).months == {MAY: {"churn": MonthSum(0, 1)}}


class TestCompare:
    def test_the_recorded_months_agree_with_movements_that_make_them_up(self):
        entries = json.loads(shared("fixtures/metrics_mrr.json").read_bytes())["entries"]
        months = [
            MonthlyMrr(
                date.fromisoformat(entry["date"]).replace(day=1),
                entry["mrr"],
                *(entry[f"mrr-{field.replace('_', '-')}"] for field in REPORTED_AS.values()),
            )
            for entry in entries
        ]
        may = {
            "new_biz": MonthSum(977000, 3),
            "expansion": MonthSum(1559209, 9),
            "contraction": MonthSum(-770875, 2),
            "churn": MonthSum(-1730666, 4),
            "reactivation": MonthSum(315000, 1),
        }
        differences = compare(MonthlySums(ZoneInfo("UTC"), {MAY: may}), months)
        assert {difference.month for difference in differences} == {APRIL}
        assert len(differences) == 5

    @pytest.mark.parametrize("cents", [1003, 997])
    def test_a_cent_a_movement_is_rounding(self, cents):
        assert compare(ours(cents, 3), [reported(expansion=1000)]) == []

    @pytest.mark.parametrize("cents", [1004, 996])
    def test_more_than_that_is_a_difference_with_its_figures(self, cents):
        (difference,) = compare(ours(cents, 3), [reported(expansion=1000)])
        assert (difference.ours, difference.reported) == (cents, 1000)
        assert str(difference) == f"2022-05 expansion: {cents} cents in 3 movements, ChartMogul reports 1000"

    def test_a_month_without_movements_must_be_reported_without_any(self):
        (difference,) = compare(MonthlySums(ZoneInfo("UTC"), {}), [reported(churn=-1), reported(APRIL)])
        assert (difference.month, difference.movement_type) == (MAY, "churn")

    def test_a_month_that_was_not_reported_is_not_compared(self):
        assert compare(ours(1000), [reported(APRIL)]) == []

    def test_new_business_is_what_activities_call_new_biz(self):
        assert compare(ours(1000, movement_type="new_biz"), [reported(new_business=1000)]) == []


class TestRestatedPartitions:
    @pytest.mark.parametrize(
        ("zone", "months"),
        [
            ("UTC", ["2022-05"]),
            ("Europe/Berlin", ["2022-04", "2022-05"]),
            ("America/New_York", ["2022-05", "2022-06"]),
        ],
    )
    def test_are_the_utc_months_that_the_accounts_month_overlaps(self, zone, months):
        differences = compare(ours(9, zone=zone), [reported()])
        assert restated_partitions(differences) == [Month.parse(month) for month in months]

    def test_are_each_named_once_and_in_order(self):
        months = [date(2022, number, 1) for number in range(12, 1, -1)]
        nothing = MonthlySums(ZoneInfo("Asia/Tokyo"), {})
        differences = compare(nothing, [reported(month, churn=-9, expansion=9) for month in months])
        assert restated_partitions(differences[::-1]) == [Month(2022, number) for number in range(1, 13)]


class TestLevels:
    def test_count_mrr_and_the_customers_that_pay(self, connection):
        relate(connection, "customers", CUSTOMERS.schema, [{"mrr": 100}, {"mrr": 50}, {"mrr": 0}, {"mrr": None}])
        result = levels(connection, "customers", mrr=150, customer_count=3)
        assert result == [Level("mrr", 150, 150), Level("customers", 2, 3)]
        assert [level.passed for level in result] == [True, False]

    def test_of_an_account_without_customers_are_zero(self, connection):
        relate(connection, "customers", CUSTOMERS.schema, [])
        assert [level.ours for level in levels(connection, "customers", mrr=0, customer_count=0)] == [0, 0]

    def test_may_be_half_a_percent_off(self):
        assert Level("mrr", 100_500, 100_000).passed
        assert not Level("mrr", 99_499, 100_000).passed

    def test_of_an_empty_account_must_be_nothing(self):
        assert Level("mrr", 0, 0).passed
        assert not Level("mrr", 1, 0).passed
