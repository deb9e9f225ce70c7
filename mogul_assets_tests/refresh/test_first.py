"""The first refresh: every dataset holds what the account has."""

from collections import Counter
from datetime import UTC, date, datetime

import pytest

from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.sandbox import NO_LIMITS, Sandbox, generate, serve
from mogul_assets.store.store import Store
from mogul_assets_tests.refresh import runs
from mogul_assets_tests.refresh.conftest import NOW


def totals(amounts):
    total = Counter()
    for of, cents in amounts:
        total[of] += cents
    return total


@pytest.fixture(scope="module")
def first(company, rates, tmp_path_factory):
    """(store, steps) of one refresh that every test here looks at."""
    store = Store(tmp_path_factory.mktemp("first") / "store")
    with serve(Sandbox(company, limits=NO_LIMITS)) as serving:
        return store, runs.refreshed(store, serving.url, NOW, rates=rates)


@pytest.fixture(scope="module")
def store(first):
    return first[0]


@pytest.fixture(scope="module")
def invoices(company):
    return runs.documents(company.invoices)


@pytest.fixture(scope="module")
def customers(company):
    return runs.documents(company.customers)


def test_each_dataset_has_a_row_for_each_object(store, company, invoices, customers):
    expected = {
        "contacts": len(company.contacts),
        "custom_attributes": sum(len(each["attributes"]["custom"]) for each in customers),
        "customers": len(customers),
        "data_sources": len(company.data_sources),
        "invoice_line_items": sum(len(each["line_items"]) for each in invoices),
        "invoices": len(invoices),
        "mrr_movements": len(company.activities),
        "plans": len(company.plans),
        "source_customers": sum(len(each["external_ids"]) for each in customers),
        "subscription_events": len(company.subscription_events),
        "tags": sum(len(each["attributes"]["tags"]) for each in customers),
        "transactions": sum(len(each["transactions"]) for each in invoices),
    }
    assert {name: len(runs.rows(store, name)) for name in expected} == expected


def test_the_money_is_what_the_account_says(store, company, invoices):
    billed = totals((each["currency"], item["amount_in_cents"]) for each in invoices for item in each["line_items"])
    items = runs.rows(store, "invoice_line_items")
    assert totals((item["currency"], item["amount_in_cents"]) for item in items) == billed
    activities = runs.documents(company.activities)
    moved = totals((each["type"], each["activity-mrr-movement"]) for each in activities)
    movements = runs.rows(store, "mrr_movements")
    assert totals((row["movement_type"], row["mrr_movement"]) for row in movements) == moved


def test_a_movement_is_its_activity(store, company):
    rows = {row["uuid"]: row for row in runs.rows(store, "mrr_movements")}
    for activity in runs.documents(company.activities):
        row = rows[activity["uuid"]]
        assert row["date"] == datetime.fromisoformat(activity["date"])
        assert (row["mrr"], row["mrr_movement"]) == (activity["activity-mrr"], activity["activity-mrr-movement"])
        assert row["customer_uuid"] == activity["customer-uuid"]
        assert row["description"] == activity["description"]
        assert row["subscription_set_external_id"] == activity.get("subscription-set-external-id")


def test_a_customer_is_its_entry(store, customers):
    rows = {row["uuid"]: row for row in runs.rows(store, "customers")}
    for entry in customers:
        row = rows[entry["uuid"]]
        same = ("id", "external_id", "name", "status", "mrr", "arr", "country", "lead_status")
        assert [row[name] for name in same] == [entry[name] for name in same]
        assert row["email"] == (entry["email"] or None)
        assert row["currency_sign"] == entry["currency-sign"]


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=str)
def test_rows_are_sorted_by_key_and_unique(store, dataset):
    months = [runs.rows_of_file(file) for file in store.table(dataset.name).files]
    for rows in months:
        keys = [tuple(row[name] for name in dataset.key) for row in rows]
        assert keys == sorted(set(keys))


def test_invoices_say_the_source_they_were_read_from(store, company):
    expected = {entry.document.uuid: entry.source for entry in company.invoices}
    assert {row["uuid"]: row["data_source_uuid"] for row in runs.rows(store, "invoices")} == expected


def test_rates_are_the_european_central_banks(store):
    rates = {(row["date"], row["currency"]): row for row in runs.rows(store, "currency_rates")}
    friday, sunday = date(2026, 3, 13), date(2026, 3, 15)
    assert rates[friday, "USD"]["rate"] == rates[sunday, "USD"]["rate"]
    assert rates[sunday, "USD"]["quoted_on"] == friday
    assert {row["base_currency"] for row in rates.values()} == {"EUR"}
    assert max(day for day, _ in rates) == NOW.date()


def test_a_currency_without_a_rate_makes_net_payments_null_and_is_named(first, store, invoices):
    unquoted = {each["customer_uuid"] for each in invoices if each["currency"] == "AED"}
    assert unquoted
    rows = {row["uuid"]: row for row in runs.rows(store, "customers")}
    assert {rows[uuid]["net_payments"] for uuid in unquoted} == {None}
    assert any(row["net_payments"] for row in rows.values())
    _, steps = first
    (warning,) = (f for f in steps["customers"].findings["customers"] if f.name == "net_payments_convertible")
    assert warning.count == len(unquoted)
    assert all(sample.startswith("AED 20") for sample in warning.samples)


def test_every_month_agrees_with_the_accounts_own_figures(first):
    assert first[1]["mrr_movements"].differences == []


def test_fields_without_a_column_are_counted_and_nothing_is_drift(first, company):
    _, steps = first
    assert steps["mrr_movements"].facts["fields without a column"] == {"activity-arr": len(company.activities)}
    assert not [facts for step in steps.values() if (facts := step.facts.get("fields not known"))]


@pytest.mark.parametrize("customers", [0, 1])
def test_an_account_with_hardly_anything_lands_too(customers, tmp_path, rates):
    tiny = generate(now=datetime(2026, 3, 20, tzinfo=UTC), customers=customers, years=2.0)
    store = Store(tmp_path)
    with serve(Sandbox(tiny, limits=NO_LIMITS)) as serving:
        runs.refreshed(store, serving.url, NOW, rates=rates)
    assert len(runs.rows(store, "customers")) == customers
    assert len(runs.rows(store, "mrr_movements")) == len(tiny.activities)
