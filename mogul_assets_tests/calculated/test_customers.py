"""Calculated customers: net payments, plans and billing cycles."""

import json
from datetime import date

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mogul_assets.calculated.customers import customers, sources_without_invoices
from mogul_assets.catalog.datasets import CUSTOMER_RECORDS, CUSTOMERS, DATASETS
from mogul_assets_tests.calculated.relations import moment, relate

DAY = "2026-01-05"


def record(uuid="cus_1", **more):
    return {"uuid": uuid, "data_source_uuid": "ds_1", "data_source_uuids": '["ds_1"]'} | more


def invoice(uuid="inv_1", **more):
    return {"uuid": uuid, "data_source_uuid": "ds_1", "errors": "{}"} | more


def payment(cents, **more):
    return {
        "uuid": f"tr_{cents}",
        "invoice_uuid": "inv_1",
        "customer_uuid": "cus_1",
        "type": "payment",
        "result": "successful",
        "transacted_at": moment(DAY),
        "amount_in_cents": cents,
        "currency": "EUR",
        "errors": "{}",
    } | more


def item(**more):
    return {
        "invoice_uuid": "inv_1",
        "customer_uuid": "cus_1",
        "data_source_uuid": "ds_1",
        "type": "subscription",
        "service_period_start": moment(DAY),
        "errors": "{}",
    } | more


def plan(name, **more):
    return {
        "uuid": f"pl_{name}",
        "external_id": name.lower(),
        "name": name,
        "interval": "month",
        "interval_count": 1,
        "data_source_uuid": "ds_1",
    } | more


def movement(day, plan_external_id):
    return {
        "date": moment(day),
        "plan_external_id": plan_external_id,
        "customer_uuid": "cus_1",
        "billing_connector_uuid": "ds_1",
    }


def rate(currency, units, day=DAY, base="EUR"):
    return {"date": date.fromisoformat(day), "base_currency": base, "currency": currency, "rate": units}


def calculated(connection, records=None, *, currency="EUR", unreadable=(), **given):
    relate(connection, "records", CUSTOMER_RECORDS.schema, [record()] if records is None else records)
    given = {"invoices": [invoice()]} | given
    for argument, dataset in (
        ("line_items", "invoice_line_items"),
        ("invoices", "invoices"),
        ("transactions", "transactions"),
        ("plans", "plans"),
        ("movements", "mrr_movements"),
        ("rates", "currency_rates"),
    ):
        relate(connection, argument, DATASETS[dataset].schema, given.get(argument, ()))
    return customers(
        connection,
        records="records",
        line_items="line_items",
        invoices="invoices",
        transactions="transactions",
        plans="plans",
        movements="movements",
        rates="rates",
        currency=currency,
        sources_without_invoices=unreadable,
    )


def rows(result):
    return result.relation.order("uuid").to_arrow_table().cast(CUSTOMERS.schema).to_pylist()


def only(connection, column, **given):
    (row,) = rows(calculated(connection, **given))
    return row[column]


def warnings(result):
    return {warning.name: (warning.count, warning.samples) for warning in result.warnings if not warning.passed}


class TestCustomers:
    def test_are_one_row_for_each_record_with_the_catalogues_columns(self, connection):
        records = [record("cus_1", name="Ünïcode 🦊 \x00", mrr=8008), record("cus_2", data_source_uuids=None)]
        one, two = rows(calculated(connection, records, transactions=[payment(1, customer_uuid="cus_unknown")]))
        assert (one["name"], one["mrr"], one["net_payments"]) == ("Ünïcode 🦊 \x00", 8008, 0)
        assert two["uuid"] == "cus_2"

    def test_an_account_without_customers_has_none(self, connection):
        assert rows(calculated(connection, [])) == []


class TestNetPayments:
    def paid(self, connection, *transactions, **given):
        return only(connection, "net_payments", transactions=transactions, **given)

    def test_is_payments_less_refunds(self, connection):
        assert self.paid(connection, payment(1000), payment(250, type="refund")) == 750

    def test_is_zero_where_nothing_was_paid(self, connection):
        assert self.paid(connection) == 0

    @pytest.mark.parametrize(
        "more",
        [
            {"result": "failed"},
            {"disabled": True},
            {"errors": '{"date":["is invalid"]}'},
            {"invoice_uuid": "inv_off"},
            {"invoice_uuid": "inv_bad"},
            {"customer_uuid": "cus_2"},
        ],
        ids=lambda more: "-".join(f"{key}={value}" for key, value in more.items()),
    )
    def test_leaves_out_what_does_not_count(self, connection, more):
        invoices = [invoice(), invoice("inv_off", disabled=True), invoice("inv_bad", errors='{"a":["b"]}')]
        assert self.paid(connection, payment(1000), payment(7, **more), invoices=invoices) == 1000

    def test_a_transaction_without_amount_stands_for_its_invoices_items(self, connection):
        items = [
            item(amount_in_cents=700),
            item(amount_in_cents=-100, type="one_time"),
            item(amount_in_cents=50, disabled=True),
            item(amount_in_cents=60, invoice_uuid="inv_2"),
        ]
        invoices = [invoice(), invoice("inv_2")]
        assert self.paid(connection, payment(None), line_items=items, invoices=invoices) == 600
        assert self.paid(connection, payment(None)) == 0

    def test_converts_at_the_rate_of_the_utc_day(self, connection):
        late = payment(1100, currency="USD", transacted_at=moment("2026-01-05T23:59:59"))
        rates = [rate("USD", 1.1), rate("USD", 2.0, "2026-01-06"), rate("USD", 4.0, base="GBP")]
        connection.execute("SET TimeZone = 'Asia/Tokyo'")
        assert self.paid(connection, late, rates=rates) == 1000

    def test_rounds_the_sum_and_not_each_amount_half_away_from_zero(self, connection):
        half = payment(1, currency="USD")
        rates = [rate("USD", 2.0)]
        assert self.paid(connection, half, rates=rates) == 1
        assert self.paid(connection, half | {"type": "refund"}, rates=rates) == -1
        assert self.paid(connection, *[half] * 3, rates=rates) == 2

    def test_a_cent_is_a_hundredth_of_every_currency(self, connection):
        """A recorded yen account: 10 USD every 7 days were an mrr of 523387, 5,233.87 yen."""
        paid = self.paid(
            connection, payment(1000, currency="USD"), rates=[rate("USD", 1 / 120, base="JPY")], currency="JPY"
        )
        assert paid == 120_000

    def test_is_null_and_named_where_a_rate_is_missing(self, connection):
        result = calculated(
            connection,
            [record("cus_1"), record("cus_2")],
            transactions=[payment(1000), payment(5, currency="THB"), payment(7, customer_uuid="cus_2")],
        )
        assert [row["net_payments"] for row in rows(result)] == [None, 7]
        assert warnings(result) == {"net_payments_convertible": (1, ("THB 2026-01-05",))}

    def test_is_null_and_named_where_a_type_is_not_known(self, connection):
        result = calculated(connection, transactions=[payment(1000), payment(5, type="chargeback")])
        assert rows(result)[0]["net_payments"] is None
        assert warnings(result) == {"net_payments_convertible": (1, ("type chargeback",))}

    def test_is_null_without_a_currency_or_a_day(self, connection):
        rates = [rate("USD", 1.0)]
        assert self.paid(connection, payment(5, currency=None), rates=rates) is None
        assert self.paid(connection, payment(5, currency="USD", transacted_at=None), rates=rates) is None

    def test_is_null_and_named_where_any_source_of_the_customer_hides_its_invoices(self, connection):
        result = calculated(
            connection,
            [
                record("cus_1", data_source_uuids=json.dumps(["ds_1", "ds_2"])),
                record("cus_2"),
                record("cus_3", data_source_uuid="ds_2", data_source_uuids=None),
            ],
            transactions=[payment(1000)],
            unreadable=["ds_2"],
        )
        assert [row["net_payments"] for row in rows(result)] == [None, 0, None]
        assert warnings(result) == {"net_payments_readable": (2, ("ds_2",))}


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 10**12), st.sampled_from(["EUR", "USD"])), max_size=8), st.data())
def test_net_payments_do_not_depend_on_the_order_of_transactions(amounts, data):
    transactions = [payment(cents, currency=currency) for cents, currency in amounts]
    rates = [rate("USD", 1.0891)]
    with duckdb.connect() as connection:
        one = only(connection, "net_payments", transactions=transactions, rates=rates)
        other = only(connection, "net_payments", transactions=data.draw(st.permutations(transactions)), rates=rates)
    assert one == other


class TestPlans:
    def plans(self, connection, *plans, **given):
        (row,) = rows(calculated(connection, plans=plans, **given))
        return row["plan_name"], row["plan_external_id"], row["billing_cycle"]

    def test_are_in_the_order_of_first_use_by_items_and_movements(self, connection):
        assert self.plans(
            connection,
            plan("Gold"),
            plan("Silver", interval="year"),
            plan("Tin", interval_count=3),
            line_items=[
                item(plan_uuid="pl_Gold"),
                item(plan_uuid="pl_Gold", service_period_start=moment("2020-01-01")),
            ],
            movements=[
                movement("2021-01-01", "tin"),
                movement("2019-01-01", "silver"),
                movement("2025-01-01", "silver"),
            ],
        ) == ("Silver|Gold|Tin", "silver|gold|tin", "year|month|3 months")

    def test_first_used_at_one_moment_are_in_the_order_of_their_names(self, connection):
        gold, silver = plan("Gold", external_id="2"), plan("Silver", external_id="1")
        items = [item(plan_uuid="pl_Silver"), item(plan_uuid="pl_Gold")]
        assert self.plans(connection, gold, silver, line_items=items) == ("Gold|Silver", "2|1", "month")

    def test_are_found_by_their_id_within_the_data_source(self, connection):
        elsewhere = plan("Elsewhere", external_id="gold", data_source_uuid="ds_2", interval="year")
        items = [item(plan_external_id="gold")]
        assert self.plans(connection, plan("Gold"), elsewhere, line_items=items) == ("Gold", "gold", "month")

    def test_no_longer_listed_keep_their_id(self, connection):
        items = [item(plan_external_id="deleted", plan_uuid="pl_deleted")]
        assert self.plans(connection, line_items=items) == (None, "deleted", None)

    @pytest.mark.parametrize(
        "more",
        [
            {"type": "one_time"},
            {"type": "trial"},
            {"disabled": True},
            {"errors": '{"a":["b"]}'},
            {"invoice_uuid": "inv_off"},
        ],
        ids=lambda more: "-".join(f"{key}={value}" for key, value in more.items()),
    )
    def test_of_items_that_do_not_count_are_left_out(self, connection, more):
        invoices = [invoice(), invoice("inv_off", disabled=True)]
        given = {"line_items": [item(plan_uuid="pl_Gold") | more], "invoices": invoices}
        assert self.plans(connection, plan("Gold"), **given) == (None, None, None)


def test_a_source_with_subscribers_but_no_invoice_is_named(connection):
    movements = [{"billing_connector_uuid": source} for source in ("ds_2", "ds_1", "ds_2", None)]
    relate(connection, "movements", DATASETS["mrr_movements"].schema, movements)
    relate(connection, "invoices", DATASETS["invoices"].schema, [invoice(), invoice("inv_2", data_source_uuid=None)])
    assert sources_without_invoices(connection, movements="movements", invoices="invoices") == ["ds_2"]
