from collections import defaultdict

import msgspec
import pytest
import requests

from mogul_assets.sandbox import live, reissue
from mogul_assets.sandbox.company import calculate
from mogul_assets.sandbox.metrics import SUMS, Figures
from mogul_assets.sandbox.moments import DAY, offset
from mogul_assets_tests.sandbox.truths import TRUTHS, content, documents

QUIET = {"corrections": 0, "cancellations": 0, "merges": 0, "deletions": 0}


@pytest.fixture(scope="module")
def lived(company):
    """The company after ten eventful days."""
    for _ in range(5):
        company = live(company, days=2, corrections=2, cancellations=2, merges=1, deletions=1)
    return company


def uuids(entries):
    return {entry.document.uuid for entry in entries}


@pytest.mark.parametrize("truth", TRUTHS)
def test_a_company_that_has_lived_agrees_with_itself(lived, truth):
    truth(lived)


def test_its_metrics_are_the_sums_of_its_movements(lived):
    sums = defaultdict(int)
    for at, activity in lived.movements:
        if at <= lived.now:
            sums[activity.type] += activity.activity_mrr_movement
    figures = Figures(lived)
    period = figures.period(figures.today.replace(year=2020), figures.today)
    assert {kind: period[name] for kind, name in SUMS.items()} == dict(sums)
    assert period["mrr"] == sum(customer.mrr for customer in documents(lived.customers))


def test_the_same_days_bring_the_same_things(company):
    assert content(live(company, days=3)) == content(live(company, days=3))


def test_what_was_kept_from_before_is_what_would_be_told_anew(lived):
    assert content(calculate(lived.recipe)) == content(lived)


def test_time_brings_customers_invoices_and_movements_and_changes_no_past_ones(company):
    later = live(company, days=30, **QUIET)
    for kind in ("customers", "invoices", "activities", "subscription_events"):
        before, after = ({entry.key[1] for entry in getattr(each, kind)} for each in (company, later))
        assert len(after - before) > 0, kind
    now, kept = offset(company.now), uuids(later.activities)
    assert all(each.uuid in kept for each in documents(company.activities) if each.date <= now)


def test_a_correction_changes_an_old_movement_its_invoice_and_its_history(company):
    corrected = live(company, days=0, **QUIET | {"corrections": 10})
    before = {(each.customer_uuid, each.date, each.description): each for each in documents(company.activities)}
    after = {(each.customer_uuid, each.date, each.description): each for each in documents(corrected.activities)}
    changed = [key for key in before if before[key].activity_mrr_movement != after[key].activity_mrr_movement]
    assert any(date < offset(company.now - 60 * DAY) for _, date, _ in changed)
    lines = [line for invoice in documents(corrected.invoices) for line in invoice.line_items]
    edited = [
        line.edit_history_summary["values_changed"]["amount_in_cents"] for line in lines if line.edit_history_summary
    ]
    assert edited
    assert all(each["original_value"] < each["edited_value"] for each in edited)


def test_a_cancellation_is_a_movement_dated_ahead(company):
    cancelled = live(company, days=1, **QUIET | {"cancellations": 5})
    now = offset(cancelled.now)
    ahead = [
        each
        for each in documents(cancelled.activities)
        if each.date > now and each.uuid not in uuids(company.activities) and each.type in {"churn", "contraction"}
    ]
    assert len(ahead) >= 3


def test_a_movement_dated_ahead_counts_once_its_day_has_come(company):
    cancelled = live(company, days=1, **QUIET | {"cancellations": 5})
    ahead = [each for each in documents(cancelled.activities) if each.date > offset(cancelled.now)]
    later = live(cancelled, days=400, **QUIET)
    moments = {each.uuid: each for each in documents(later.activities)}
    assert any(each.uuid in moments for each in ahead)


def test_a_merged_customer_takes_everything_with_it(company):
    merged = live(company, days=0, **QUIET | {"merges": 1})
    (gone,) = uuids(company.customers) - uuids(merged.customers)
    records = set(next(each.external_ids[0] for each in documents(company.customers) if each.uuid == gone).split())
    (into,) = [each for each in documents(merged.customers) if records <= set(each.external_ids)]
    assert "merged-customer" in into.attributes.tags
    assert not any(each.customer_uuid == gone for each in documents(merged.invoices))
    assert len(merged.activities) == len(company.activities)


def test_a_deleted_customer_leaves_nothing(company):
    after = live(company, days=0, **QUIET | {"deletions": 1})
    (gone,) = uuids(company.customers) - uuids(after.customers)
    for kind in ("contacts", "invoices", "activities"):
        assert not any(each.customer_uuid == gone for each in documents(getattr(after, kind)))


def test_activities_issued_again_differ_in_nothing_but_their_uuids(company):
    again = reissue(company)
    assert not uuids(again.activities) & uuids(company.activities)
    for before, after in zip(documents(company.activities), documents(again.activities), strict=True):
        assert msgspec.structs.replace(after, uuid=before.uuid) == before


def test_life_goes_on_over_http(serving, reader):
    before = serving.sandbox.company
    asked = {"days": 5, "deletions": 2, "merges": 0}
    answer = requests.post(f"{serving.control}/life", json=asked, timeout=20).json()
    assert answer["now"] == before.now + 5 * DAY
    assert len(reader.rows("/customers")) == answer["customers"]
    unknown = requests.post(f"{serving.control}/life", json={"weather": 1}, timeout=20)
    assert unknown.status_code == 422
