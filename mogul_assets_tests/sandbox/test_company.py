from collections import Counter
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from currency_converter import CurrencyConverter

from mogul_assets.sandbox import generate
from mogul_assets.sandbox.company import LEADS, calculate
from mogul_assets.sandbox.moments import DAY, milliseconds, moment, offset
from mogul_assets_tests.sandbox.conftest import NOW
from mogul_assets_tests.sandbox.truths import TRUTHS, content, documents


def test_the_same_arguments_make_the_same_bytes(company):
    assert content(generate(now=NOW, customers=150)) == content(company)


def test_another_seed_makes_another_company(company):
    assert content(generate(seed=8, now=NOW, customers=150))["customers"] != content(company)["customers"]


@pytest.mark.parametrize("customers", [1, 50, 500])
def test_a_company_has_as_many_customers_as_asked_for(customers):
    assert len(generate(now=NOW, customers=customers).customers) == customers


def test_an_account_may_be_empty():
    assert generate(now=NOW, customers=0).customers == []


@pytest.mark.parametrize("truth", TRUTHS)
def test_a_company_agrees_with_itself(company, truth):
    truth(company)


def test_history_reaches_back_four_years(company):
    first = min(entry.document.date for entry in company.activities)
    assert (NOW - timedelta(days=4 * 366)).isoformat() < first < (NOW - timedelta(days=3 * 366)).isoformat()


def test_a_first_payment_abroad_is_worth_its_price_at_that_days_rate_of_the_central_bank(company):
    plans = {plan.document.external_id: plan for plan in company.plans}
    rates = CurrencyConverter(fallback_on_wrong_date=True, fallback_on_missing_rate=True)
    checked = 0
    for number, history in company.histories.items():
        record = history.record
        if record.currency == "EUR" or not history.moves or record.source.key == "sheet":
            continue
        move = next(move for move in history.moves if move.ordinal == 0)
        interval = plans[record.plan.document.external_id].document
        months = {"year": 12, "month": interval.interval_count, "day": 7 / 30.4375}[interval.interval_unit]
        price = record.plan.unit_price(record.currency) * record.seats * (100 - record.discount) // 100 / months
        assert move.cents == round(rates.convert(price, record.currency, "EUR", date=moment(move.at).date())), number
        checked += 1
    assert checked > 20


def test_an_invoice_line_holds_price_less_discount_plus_tax(company):
    taxes = {history.owner: history.record.place.tax for history in company.histories.values()}
    single = {uuid for uuid, numbers in company.members.items() if len(numbers) == 1}
    lines = [
        (line, taxes[invoice.customer_uuid])
        for invoice in documents(company.invoices)
        if invoice.customer_uuid in single
        for line in invoice.line_items
        if line.type == "subscription"
    ]
    for line, tax in lines:
        assert line.tax_amount_in_cents == round((line.amount_in_cents - line.tax_amount_in_cents) * tax)
    assert any(line.discount_amount_in_cents for line, _ in lines)
    assert any(line.prorated for line, _ in lines)


@pytest.mark.parametrize("kind", ["customers", "contacts", "invoices", "activities", "plans", "subscription_events"])
def test_no_two_objects_share_an_id(company, kind):
    keys = Counter(entry.key[1] for entry in getattr(company, kind))
    assert keys.most_common(1)[0][1] == 1


def test_a_company_of_four_hundred_has_everything_that_can_happen_to_one():
    company = generate(now=NOW, customers=400)
    customers, invoices = documents(company.customers), documents(company.invoices)
    lines = [line for invoice in invoices for line in invoice.line_items]
    transactions = [each for invoice in invoices for each in invoice.transactions]
    events, activities = documents(company.subscription_events), documents(company.activities)

    assert {each.status for each in customers} == {*LEADS, "Active", "Past Due", "Cancelled"}
    assert {each.type for each in activities} == {"new_biz", "expansion", "contraction", "churn", "reactivation"}
    assert {each.status for each in invoices} == {"open", "paid", "refunded", "written_off", "voided"}
    assert {line.type for line in lines} == {"subscription", "one_time", "trial"}
    assert {(each.type, each.result) for each in transactions} == {
        ("payment", "successful"),
        ("payment", "failed"),
        ("refund", "successful"),
    }
    assert {each.interval_unit for each in documents(company.plans)} == {"day", "month", "year"}
    assert {each.currency for each in invoices} == {"EUR", "USD", "GBP", "SEK", "CHF", "AED"}

    assert any(len(set(each.data_source_uuids)) < len(each.data_source_uuids) for each in customers)
    assert any(len(set(each.data_source_uuids)) > 1 for each in customers)
    assert {None, ""} < {each.email for each in customers}
    assert any("🚀" in (each.company or "") for each in customers)
    kinds = {type(value) for each in customers for value in each.attributes.custom.values()}
    assert {str, int, float, bool, type(None)} <= kinds
    assert any("convertedAt" in each.attributes.custom for each in customers)

    assert any(each.disabled for each in invoices)
    assert any(each.errors for each in invoices)
    assert any(line.plan_uuid is None for line in lines)
    assert any(line.subscription_set_external_id is msgspec.UNSET for line in lines)
    assert any(line.balance_transfer for line in lines)

    assert {"", None} < {each.amount_in_cents for each in events} | {None}
    assert any(isinstance(each.amount_in_cents, str) and each.amount_in_cents.isdigit() for each in events)
    assert any(each.retracted_event_id for each in events)
    assert any(each.disabled for each in events)

    now = offset(company.now)
    assert any(each.date > now for each in activities)
    moments = Counter((each.customer_uuid, each.date) for each in activities)
    assert moments.most_common(1)[0][1] > 1
    assert any(isinstance(each.subscription_set_external_id, msgspec.Raw) for each in activities)


def test_one_source_has_subscribers_and_no_invoices(company):
    billed = {entry.source for entry in company.invoices}
    subscribed = {entry.document.billing_connector_uuid for entry in company.activities}
    assert subscribed - billed


def test_nothing_has_happened_that_is_not_scheduled_after_now(company):
    now = milliseconds(company.now)
    for invoice in documents(company.invoices):
        assert invoice.date <= now
        assert all(each.date <= now for each in invoice.transactions)


def test_a_later_now_leaves_the_past_as_it_was(company):
    """The same company a month on, told from the start, holds all that had happened until then."""
    later = calculate(replace(company.recipe, now=company.now + 30 * DAY))
    before, after = ({entry.key: entry.document for entry in each.activities} for each in (company, later))
    now = offset(company.now)
    gone = [key for key, activity in before.items() if activity.date <= now and key not in after]
    assert gone == []
    assert len(after) > len(before)
