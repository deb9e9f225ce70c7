"""MRR movements: rank, previous plan, quantity and key."""

import hashlib
import json
from itertools import permutations

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mogul_assets.calculated.movements import chained, movements
from mogul_assets.catalog.datasets import INVOICE_LINE_ITEMS, MRR_MOVEMENTS
from mogul_assets_tests.calculated.relations import moment, relate, shared

NOON = moment("2026-01-01T12:00")
LATER = moment("2026-02-01T12:00")
ACTIVITIES = pa.schema([column.field for column in MRR_MOVEMENTS.columns if column.source is not None])


def activity(uuid, movement=100, mrr=100, **more):
    return {
        "uuid": uuid,
        "date": NOON,
        "mrr_movement": movement,
        "mrr": mrr,
        "movement_type": "expansion",
        "customer_uuid": "cus_1",
        "customer_external_id": "one",
        "billing_connector_uuid": "ds_1",
        "subscription_external_id": "sub_1",
        "plan_external_id": "gold",
    } | more


def item(start, end, quantity=1, **more):
    return {
        "type": "subscription",
        "data_source_uuid": "ds_1",
        "subscription_external_id": "sub_1",
        "service_period_start": moment(start),
        "service_period_end": moment(end),
        "quantity": quantity,
        "errors": "{}",
    } | more


def calculated(connection, activities, items=()):
    relate(connection, "activities", ACTIVITIES, activities)
    relate(connection, "items", INVOICE_LINE_ITEMS.schema, items)
    result = movements(connection, activities="activities", line_items="items")
    return {row["uuid"]: row for row in result.to_arrow_table().cast(MRR_MOVEMENTS.schema).to_pylist()}


def column(connection, name, activities, items=()):
    return {uuid: row[name] for uuid, row in calculated(connection, activities, items).items()}


class TestResult:
    def test_has_the_catalogues_columns_in_its_order_and_loses_no_row(self, connection):
        rows = [activity("a", customer_name="Ünïcode 🦊 \x00"), activity("b", customer_uuid=None, date=LATER)]
        result = calculated(connection, rows)
        assert set(result) == {"a", "b"}
        assert result["a"]["customer_name"] == "Ünïcode 🦊 \x00"

    def test_an_account_without_movements_has_none(self, connection):
        assert calculated(connection, []) == {}


class TestRank:
    def ranks(self, connection, *rows):
        return column(connection, "rank", rows)

    def test_movements_of_one_moment_are_in_the_order_in_which_they_add_up(self, connection):
        assert self.ranks(
            connection,
            activity("third", -20, 130, subscription_external_id="a"),
            activity("first", 100, 100, subscription_external_id="b"),
            activity("second", 50, 150, subscription_external_id="c"),
        ) == {"first": 1, "second": 2, "third": 3}

    def test_movements_of_other_moments_and_other_customers_do_not_count(self, connection):
        assert set(
            self.ranks(
                connection,
                activity("a"),
                activity("b", date=LATER),
                activity("c", customer_uuid="cus_2"),
                activity("d", customer_uuid=None, customer_external_id="three"),
                activity("e", customer_uuid=None, customer_external_id="four"),
            ).values()
        ) == {1}

    def test_a_customer_without_uuid_is_known_by_its_external_id(self, connection):
        rows = [activity(uuid, 10, mrr, customer_uuid=None) for uuid, mrr in (("a", 20), ("b", 10))]
        assert self.ranks(connection, *rows) == {"b": 1, "a": 2}

    def test_a_recorded_sum_rounded_by_itself_chains(self, connection):
        page = json.loads(shared("fixtures/activities.per_page2.json").read_bytes())["entries"]
        rows = [
            activity(
                entry["uuid"],
                entry["activity-mrr-movement"],
                entry["activity-mrr"],
                # Against the order of subscriptions, so that only the amounts can tell.
                subscription_external_id=str(-index),
            )
            for index, entry in enumerate(page)
        ]
        assert [row["mrr"] for row in rows] == [4004, 8009]
        assert list(self.ranks(connection, *reversed(rows)).items()) == [(rows[1]["uuid"], 2), (rows[0]["uuid"], 1)]

    def test_a_cancellation_and_return_of_one_moment_begins_where_the_customer_stood(self, connection):
        ranks = self.ranks(
            connection,
            activity("before", 100, 100),
            activity("return", 100, 100, date=LATER, subscription_external_id="a"),
            activity("leave", -100, 0, date=LATER, subscription_external_id="b"),
        )
        assert ranks == {"before": 1, "leave": 1, "return": 2}

    def test_where_the_customer_stood_is_known_after_a_shared_moment_too(self, connection):
        ranks = self.ranks(
            connection,
            activity("1", 60, 60, subscription_external_id="z"),
            activity("2", 40, 100, subscription_external_id="a"),
            activity("return", 100, 100, date=LATER, subscription_external_id="a"),
            activity("leave", -100, 0, date=LATER, subscription_external_id="b"),
        )
        assert ranks == {"1": 1, "2": 2, "leave": 1, "return": 2}

    def test_movements_chain_although_exchange_rates_moved_the_mrr_before_them(self, connection):
        ranks = self.ranks(
            connection,
            activity("before", 756, 756),
            activity("last", -780, 0, date=LATER, subscription_external_id="a"),
            activity("first", 20, 780, date=LATER, subscription_external_id="b"),
        )
        assert ranks == {"before": 1, "first": 1, "last": 2}

    def test_movements_that_do_not_add_up_are_in_the_order_of_subscription_then_amount(self, connection):
        assert self.ranks(
            connection,
            activity("z", 1, 999, subscription_external_id="b"),
            activity("y", 7, 500, subscription_external_id="a"),
            activity("x", 3, 100, subscription_external_id="a"),
        ) == {"x": 1, "y": 2, "z": 3}

    def test_a_choice_that_amounts_leave_open_is_made_by_subscription(self, connection):
        rows = [
            activity("up b", 50, 50, subscription_external_id="b"),
            activity("up a", 50, 50, subscription_external_id="a"),
            activity("down", -50, 0, subscription_external_id="c"),
        ]
        assert self.ranks(connection, *rows) == {"up a": 1, "down": 2, "up b": 3}

    def test_a_movement_without_amount_is_ranked_all_the_same(self, connection):
        assert self.ranks(connection, activity("a", None, None), activity("b", 5, None)) == {"b": 1, "a": 2}

    def test_thousands_of_movements_of_one_moment_are_ordered_exactly(self):
        steps = [(100, 100 * place) for place in range(1, 20_001)]
        shuffled = steps[::-1]
        assert [shuffled[index] for index in chained(shuffled, 0)] == steps


amounts = st.integers(-3, 3).filter(bool).map(lambda number: number * 100)


@st.composite
def histories(draw, roundings):
    """Movements of one moment that add up, shuffled: (movement, MRR after it), and the MRR before."""
    before = mrr = draw(st.integers(0, 3)) * 100
    steps = []
    for amount in draw(st.lists(amounts, min_size=1, max_size=5)):
        mrr += amount
        steps.append((amount + draw(roundings), mrr))
    return draw(st.permutations(steps)), before


def adds_up(steps, before, tolerance=0):
    levels = [before, *(mrr for _, mrr in steps)]
    return all(abs(level + movement - mrr) <= tolerance for level, (movement, mrr) in zip(levels, steps, strict=False))


@settings(max_examples=300, deadline=None)
@given(histories(st.just(0)))
def test_the_order_found_is_the_first_of_all_that_add_up(history):
    steps, before = history
    every = permutations(range(len(steps)))
    first = next(order for order in every if adds_up([steps[index] for index in order], before))
    assert tuple(chained(steps, before)) == first


@settings(max_examples=300, deadline=None)
@given(histories(st.integers(-1, 1)))
def test_rounding_by_a_cent_a_movement_hides_no_order(history):
    steps, before = history
    assert adds_up([steps[index] for index in chained(steps, before)], before, tolerance=1)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(amounts, st.integers(0, 3).map(lambda mrr: mrr * 100)), min_size=1, max_size=5))
def test_an_order_is_found_exactly_where_there_is_one(steps):
    orders = permutations(steps)
    assert (chained(steps, 0) is not None) == any(adds_up(order[1:], order[0][1]) for order in orders)


class TestPreviousPlan:
    def plans(self, connection, *rows):
        return column(connection, "previous_plan_external_id", rows)

    def test_is_the_plan_of_the_subscriptions_movement_before(self, connection):
        assert self.plans(
            connection,
            activity("a", plan_external_id="silver"),
            activity("b", date=LATER, plan_external_id="gold"),
            activity("other", subscription_external_id="sub_2", plan_external_id="tin"),
            activity("elsewhere", billing_connector_uuid="ds_2", customer_uuid="cus_2", plan_external_id="tin"),
        ) == {"a": None, "b": "silver", "other": None, "elsewhere": None}

    def test_within_one_moment_rank_says_which_was_before(self, connection):
        assert self.plans(
            connection,
            activity("b", 50, 150, plan_external_id="gold"),
            activity("a", 100, 100, plan_external_id="silver"),
        ) == {"a": None, "b": "silver"}

    def test_a_subscriptions_first_movement_takes_the_sets(self, connection):
        of_set = {"subscription_set_external_id": "set"}
        assert self.plans(
            connection,
            activity("a", plan_external_id="silver", **of_set),
            activity("b", date=LATER, subscription_external_id="sub_2", plan_external_id="addon", **of_set),
            activity("c", date=moment("2026-03-01"), plan_external_id="gold", **of_set),
        ) == {"a": None, "b": "silver", "c": "silver"}

    def test_movements_without_subscription_have_none(self, connection):
        no_subscription = {"subscription_external_id": None}
        rows = [activity("a", **no_subscription), activity("b", date=LATER, **no_subscription)]
        assert self.plans(connection, *rows) == {"a": None, "b": None}


class TestActiveSubscriptionQuantity:
    def quantity(self, connection, *items, **more):
        rows = [activity("a", **more)]
        return column(connection, "active_subscription_quantity", rows, items)["a"]

    def test_adds_up_the_items_whose_period_covers_the_date(self, connection):
        assert self.quantity(connection, item("2025-12-01", "2026-02-01", 2), item("2026-01-01", "2027-01-01", 3)) == 5

    def test_a_period_includes_its_start_and_not_its_end(self, connection):
        ended, begun = item("2025-12-01", "2026-01-01T12:00", 2), item("2026-01-01T12:00", "2026-02-01", 3)
        assert self.quantity(connection, ended, begun) == 3
        assert self.quantity(connection, ended) is None

    def test_is_null_where_no_period_covers_the_date_and_zero_where_one_of_no_units_does(self, connection):
        assert self.quantity(connection, item("2025-01-01", "2025-02-01"), item("2026-05-01", "2026-06-01")) is None
        assert self.quantity(connection, item("2025-12-01", "2026-02-01", 0)) == 0

    @pytest.mark.parametrize(
        "other",
        [
            {"disabled": True},
            {"errors": '{"plan":["is missing"]}'},
            {"type": "one_time"},
            {"subscription_external_id": "sub_2"},
            {"subscription_external_id": None},
            {"data_source_uuid": "ds_2"},
            {"quantity": None},
            {"service_period_start": moment("2026-03-01"), "service_period_end": moment("2025-12-01")},
            {"service_period_start": None, "service_period_end": moment("2025-12-15")},
            {"service_period_end": None},
        ],
        ids="-".join,
    )
    def test_items_that_do_not_count_are_left_out(self, connection, other):
        covering = item("2025-12-01", "2026-02-01", 2)
        assert self.quantity(connection, covering, covering | other) == 2
        assert self.quantity(connection, covering | other) is None


def keys(connection, rows):
    return column(connection, "movement_key", rows)


class TestMovementKey:
    def test_is_the_digest_that_the_documentation_describes(self, connection):
        row = activity("a", subscription_external_id="süb", plan_external_id=None)
        text = "4:ds_1,3:one,4:süb,-,-,16:1767268800000000,9:expansion,0"
        assert keys(connection, [row]) == {"a": hashlib.sha256(text.encode()).hexdigest()[:32]}

    def test_tells_null_from_empty_and_one_boundary_from_another(self, connection):
        pairs = [(None, ""), ("", None), ("", ""), (None, None), ("a", "b"), ("ab", ""), ("a,1:b", None), ("-,", "")]
        rows = [
            activity(str(number), subscription_external_id=one, subscription_set_external_id=other)
            for number, (one, other) in enumerate(pairs)
        ]
        assert len(set(keys(connection, rows).values())) == len(pairs)

    def test_two_equal_addons_bought_at_once_have_two(self, connection):
        equal = [activity("a", 100, 100), activity("b", 100, 200)]
        assert len(set(keys(connection, equal).values())) == 2

    def test_takes_the_customers_uuid_where_the_external_id_is_missing(self, connection):
        (one,), (other,) = (
            keys(connection, [activity("a", customer_external_id=None, customer_uuid=uuid)]).values()
            for uuid in ("cus_1", "cus_2")
        )
        assert one != other


@st.composite
def accounts(draw):
    """Movements of two customers at two moments that add up, many of them equal but for amounts."""
    rows = []
    for customer in ("one", "two"):
        mrr = 0
        for date in (NOON, LATER):
            for _ in range(draw(st.integers(0, 4))):
                amount = draw(st.integers(1, 3)) * 100
                mrr += amount
                rows.append(
                    activity(
                        f"uuid {len(rows)}",
                        amount,
                        mrr,
                        date=date,
                        customer_external_id=customer,
                        customer_uuid=f"cus_{customer}",
                        subscription_external_id=draw(st.sampled_from(["a", "b", None])),
                    )
                )
    return rows


@settings(max_examples=25, deadline=None)
@given(accounts(), st.data())
def test_reissued_ids_and_another_order_of_arrival_change_nothing_but_the_ids(rows, data):
    shuffled = data.draw(st.permutations(rows))
    reissued = [row | {"uuid": f"new {number}"} for number, row in enumerate(shuffled)]
    with duckdb.connect() as connection:
        one, other = calculated(connection, rows), calculated(connection, reissued)

    def content(result):
        return sorted(json.dumps(row | {"uuid": None}, default=str) for row in result.values())

    assert content(one) == content(other)
    assert len({row["movement_key"] for row in one.values()}) == len(rows)


@settings(max_examples=25, deadline=None)
@given(accounts(), st.integers(101, 199))
def test_a_corrected_exchange_rate_keeps_every_movements_key(rows, percent):
    corrected = [
        row | {"mrr_movement": row["mrr_movement"] * percent, "mrr": row["mrr"] * percent, "customer_name": "New"}
        for row in rows
    ]
    with duckdb.connect() as connection:
        assert keys(connection, rows) == keys(connection, corrected)


def test_a_hundred_thousand_movements_and_items_keep_their_count_order_and_keys(connection):
    connection.execute("""
        CREATE TABLE activities AS
        SELECT timestamptz '2026-01-01' + to_hours(100 * (number % 5 // 2)::INT) AS date, number::VARCHAR AS uuid,
            number // 5 AS customer, (customer)::VARCHAR AS customer_external_id, 'cus_' || customer AS customer_uuid,
            (10 * (number % 5 + 1))::BIGINT AS mrr, 10::BIGINT AS mrr_movement, 'ds' AS billing_connector_uuid,
            'sub' || customer AS subscription_external_id, NULL::VARCHAR AS subscription_set_external_id,
            'plan' || number % 5 AS plan_external_id, 'expansion' AS movement_type, NULL::VARCHAR AS customer_name,
            NULL::VARCHAR AS description, 'EUR' AS currency_code
        FROM range(100_000) numbers(number) ORDER BY hash(number);
        CREATE TABLE items AS
        SELECT 'subscription' AS type, 'ds' AS data_source_uuid, 'sub' || number // 5 AS subscription_external_id,
            timestamptz '2026-01-01' AS service_period_start, timestamptz '2027-01-01' AS service_period_end,
            (number % 5)::BIGINT AS quantity, false AS disabled, '{}' AS errors
        FROM range(100_000) numbers(number)
    """)
    result = movements(connection, activities="activities", line_items="items")
    wrong = """
        rank <> uuid::BIGINT % 5 % 2 + 1 OR active_subscription_quantity <> 10
        OR previous_plan_external_id IS DISTINCT FROM (CASE WHEN mrr > 10 THEN 'plan' || (uuid::BIGINT % 5 - 1) END)
    """
    count = f"count(*), count(DISTINCT movement_key), count(*) FILTER ({wrong})"
    assert result.aggregate(count).fetchall() == [(100_000, 100_000, 0)]
