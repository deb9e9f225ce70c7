from datetime import UTC, datetime

import pytest

from mogul_assets.calculated.waterfall import as_markdown, waterfall
from mogul_assets.catalog.datasets import MOVEMENT_TYPES, MRR_MOVEMENTS
from mogul_assets.catalog.window import Month, Window
from mogul_assets.messages import recap
from mogul_assets.messages.periods import last_period
from mogul_assets.store.store import Store
from mogul_assets_tests.project import NOW
from mogul_assets_tests.tables import table_of

THIS = Month(2026, 3)


def movements(folder, *rows):
    """Movements as (customer, day, type, amount, the customer's MRR after it)."""
    full = [
        dict.fromkeys(MRR_MOVEMENTS.by_name)
        | {
            "customer_uuid": customer,
            "date": datetime.fromisoformat(day).replace(tzinfo=UTC),
            "movement_type": type_,
            "mrr_movement": amount,
            "mrr": mrr,
            "uuid": f"{number:04}",
            "movement_key": f"key-{number:04}",
            "rank": number + 1,
        }
        for number, (customer, day, type_, amount, mrr) in enumerate(rows)
    ]
    whole = Window(datetime(1, 1, 1, tzinfo=UTC), None)
    return table_of(
        folder,
        full,
        dataset="mrr_movements",
        key=("uuid",),
        schema=MRR_MOVEMENTS.schema,
        window=whole,
        window_column="date",
    )


def test_each_month_opens_with_what_the_one_before_closed_with(tmp_path):
    table = movements(
        tmp_path,
        ("ann", "2025-12-31T23:59:59", "new_biz", 100_00, 100_00),
        ("ann", "2026-01-01", "expansion", 50_00, 150_00),
        ("bob", "2026-03-02", "new_biz", 20_00, 20_00),
        ("ann", "2026-03-31T23:59:59", "churn", -150_00, 0),
        ("ann", "2026-04-01", "reactivation", 10_00, 10_00),
    )
    steps = waterfall(table, THIS, months=3)
    assert [(str(step.month), step.opening, step.closing, step.rest) for step in steps] == [
        ("2026-01", 100_00, 150_00, 0),
        ("2026-02", 150_00, 150_00, 0),
        ("2026-03", 150_00, 20_00, 0),
    ]
    assert steps[2].types == {**dict.fromkeys(MOVEMENT_TYPES, 0), "new_biz": 20_00, "churn": -150_00}


def test_what_no_movement_says_is_a_column_of_its_own(tmp_path):
    table = movements(
        tmp_path,
        ("ann", "2026-01-01", "new_biz", 100_00, 100_00),
        ("ann", "2026-02-01", "expansion", 50_00, 153_00),  # 3.00 by the exchange rate
    )
    (step,) = waterfall(table, Month(2026, 2), months=1)
    assert (step.types["expansion"], step.rest, step.closing) == (50_00, 3_00, 153_00)
    assert "| 2026-02 | 100 | 0 | +50 | 0 | 0 | 0 | +3 | 153 |" in as_markdown([step], "USD")


def test_an_account_without_movements_has_months_of_nothing(tmp_path):
    table = movements(tmp_path)
    assert [(step.opening, step.closing) for step in waterfall(table, THIS)] == [(0, 0)] * 12


def test_a_recap_of_the_last_month_says_the_same(stored):
    table = Store(stored.root).table("mrr_movements")
    told = recap.recap(table, last_period("monthly", NOW))
    step = waterfall(table, Month.of(NOW))[-2]
    assert (step.opening, step.closing, step.rest) == (told.opening, told.closing, told.rest)
    assert step.types == {type_: told.types[type_].amount for type_ in MOVEMENT_TYPES}


@pytest.mark.parametrize(("cents", "said"), [(0, "0"), (1_234_567_89, "1,234,568"), (-49, "0"), (-1_50, "-2")])
def test_amounts_are_whole(cents, said, tmp_path):
    (step,) = waterfall(movements(tmp_path, ("ann", "2026-03-01", "new_biz", cents, cents)), THIS, months=1)
    assert as_markdown([step], "EUR").endswith(f"| {said} |")
