from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mogul_assets.catalog.datasets import MOVEMENT_TYPES, MRR_MOVEMENTS
from mogul_assets.catalog.window import Window
from mogul_assets.messages.periods import last_period
from mogul_assets.messages.recap import Late, Sum, Threshold, recap
from mogul_assets_tests.tables import table_of

MONDAY = datetime(2026, 11, 2, 9, tzinfo=UTC)
WEEK = last_period("weekly", MONDAY)
"""26 October to 1 November: of two months."""


def moment(text):
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


def table(folder, *rows):
    """The movements of customers, as (customer, moment, amount) with what else is to be said of one."""
    mrr = defaultdict(int)
    full = []
    for number, (customer, at, amount, *more) in enumerate(rows):
        mrr[customer] += amount
        full.append(
            dict.fromkeys(MRR_MOVEMENTS.by_name)
            | {
                "customer_uuid": customer,
                "customer_name": customer.title(),
                "date": at if isinstance(at, datetime) else moment(at),
                "mrr_movement": amount,
                "mrr": mrr[customer],
                "movement_type": "expansion" if amount >= 0 else "contraction",
                "currency_code": "USD",
                "uuid": f"{number:04}",
                "movement_key": f"key-{number:04}",
                "rank": number + 1,
            }
            | (more[0] if more else {})
        )
    return table_of(
        folder,
        full,
        dataset="mrr_movements",
        key=("uuid",),
        schema=MRR_MOVEMENTS.schema,
        window=Window(datetime(1, 1, 1, tzinfo=UTC), None),
        window_column="date",
    )


@pytest.fixture
def told(tmp_path):
    def tell(*rows, period=WEEK, **more):
        return recap(table(tmp_path, *rows), period, **more)

    return tell


def test_a_period_is_told_from_its_first_moment_to_before_its_last(told):
    one = told(
        ("acme", "10-25T23:59:59.999999", 1),
        ("acme", "10-26T00:00:00", 10),
        ("acme", "11-01T23:59:59.999999", 100),
        ("acme", "11-02T00:00:00", 1000),
    )
    assert (one.opening, one.net, one.closing) == (1, Sum(2, 110), 111)


def test_mrr_is_what_each_customers_last_movement_left(told):
    one = told(
        ("acme", "01-01", 5000),
        ("acme", "03-01", -1000),
        ("bolt", "10-26", 700),
        ("acme", "10-27", -4000),
    )
    assert (one.opening, one.closing, one.customers) == (4000, 700, (1, 1))


def test_of_movements_of_one_moment_the_last_by_rank_counts(told):
    one = told(
        ("acme", "10-27", 100, {"mrr": 150, "rank": 2, "uuid": "a"}),
        ("acme", "10-27", 50, {"mrr": 50, "rank": 1, "uuid": "b"}),
    )
    assert one.closing == 150


def test_each_type_has_its_count_and_sum_also_one_that_did_not_happen(told):
    one = told(
        ("acme", "10-26", 500, {"movement_type": "new_biz"}),
        ("bolt", "10-26", 250, {"movement_type": "new_biz"}),
        ("acme", "10-28", -500, {"movement_type": "churn"}),
        ("acme", "10-29", 7, {"movement_type": "transfer"}),
    )
    assert list(one.types) == [*MOVEMENT_TYPES, "transfer"]
    assert one.types["new_biz"] == Sum(2, 750)
    assert one.types["churn"] == Sum(1, -500)
    assert one.types["expansion"] == Sum()
    assert one.types["transfer"] == Sum(1, 7)


def test_the_largest_are_listed_the_largest_first(told):
    one = told(*((f"customer {n}", "10-27", n * sign) for n in range(10, 18) for sign in (1, -1)), largest=3)
    assert [listed.amount for listed in one.gains] == [17, 16, 15]
    assert [listed.amount for listed in one.losses] == [-17, -16, -15]
    assert one.gains[0].customer == "Customer 17"


def test_what_is_too_small_is_not_listed_but_counted_with_its_reason(told):
    one = told(
        ("base", "01-01", 100_000),
        ("acme", "10-27", 4),
        ("bolt", "10-27", -4),
        ("core", "10-27", 5),
        ("dome", "10-27", 500),
        threshold=Threshold(cents=5, share=0.005),
    )
    assert [(left_out.reason, left_out.sum) for left_out in one.left_out] == [
        ("below $0.05", Sum(2, 0)),
        ("below 0.5 % of MRR", Sum(1, 5)),
    ]
    assert one.left_out[0].movements[1].key == "key-0002"
    assert [listed.amount for listed in one.gains] == [500]
    assert one.losses == ()
    assert one.net == Sum(4, 505)


def test_what_exchange_rates_did_to_mrr_is_the_rest(told):
    one = told(("acme", "01-01", 1000), ("acme", "10-27", 100, {"mrr": 1080}))
    assert (one.opening, one.net.amount, one.rest, one.closing) == (1000, 100, -20, 1080)


def test_what_came_after_an_earlier_recap_is_late(tmp_path):
    before = last_period("weekly", MONDAY - timedelta(weeks=1))
    first = ("acme", "10-20", 1000)
    said = recap(table(tmp_path, first), before).told
    assert recap(table(tmp_path, first), WEEK, earlier=said).late is None
    late = recap(table(tmp_path, first, ("bolt", "10-21", 300), ("bolt", "10-27", 1)), WEEK, earlier=said).late
    assert late == Late("19–25 October 2026", Sum(1, 300))


def test_an_account_without_movements_has_a_recap_of_nothing(told):
    one = told()
    assert (one.opening, one.closing, one.net, one.currency) == (0, 0, Sum(), None)
    assert (one.gains, one.losses, one.left_out) == ((), (), ())


def test_only_files_of_the_months_needed_are_opened(tmp_path):
    full = table(tmp_path, ("acme", "10-27", 100), ("acme", "11-20", 100))
    later = next(file for file in full.files if str(file.month) == "2026-11")
    Path(later.path).write_bytes(b"not Parquet")
    october = last_period("monthly", MONDAY)
    assert recap(full, october).net == Sum(1, 100)


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["acme", "bolt", "core"]),
        st.datetimes(datetime(2026, 9, 1), datetime(2026, 11, 30), timezones=st.just(UTC)),  # noqa: DTZ001
        st.integers(-(10**12), 10**12),
    ),
    max_size=12,
).map(lambda rows: sorted(rows, key=lambda row: row[1]))


@settings(max_examples=40, deadline=None)
@given(
    ROWS,
    st.sampled_from(["daily", "weekly", "monthly"]),
    st.sampled_from(["UTC", "Europe/Paris", "America/Sao_Paulo", "Pacific/Kiritimati"]),
    st.datetimes(datetime(2026, 9, 15), datetime(2026, 11, 30), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(0, 10**6),
)
def test_whatever_happened_the_figures_add_up(rows, kind, zone, now, cents):
    period = last_period(kind, now, zone)
    with TemporaryDirectory() as folder:
        one = recap(table(Path(folder), *rows), period, threshold=Threshold(cents))
    within = [amount for _, at, amount in rows if period.start <= at < period.end]
    assert one.net == Sum(len(within), sum(within))
    assert one.opening == sum(amount for _, at, amount in rows if at < period.start)
    told = [*one.types.values(), *(left_out.sum for left_out in one.left_out)]
    assert Sum(sum(s.count for s in told), sum(s.amount for s in told)) == one.net
    assert one.opening + one.net.amount + one.rest == one.closing
    assert one.rest == 0
