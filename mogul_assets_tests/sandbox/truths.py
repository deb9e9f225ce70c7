"""What is true of any company, new or lived in."""

from collections import defaultdict
from itertools import pairwise

import msgspec

from mogul_assets.sandbox.company import LEADS
from mogul_assets.sandbox.moments import offset

LISTS = ("data_sources", "plans", "customers", "contacts", "invoices", "subscription_events", "activities")


def content(company):
    return {name: msgspec.json.encode(getattr(company, name)) for name in LISTS}


def documents(entries):
    return [entry.document for entry in entries]


def by_customer(company):
    """Each customer's activities in the order in which they add up."""
    chains = defaultdict(list)
    for entry in company.activities:
        chains[entry.document.customer_uuid].append(entry.document)
    return chains


def movements_of_each_customer_add_up_one_after_the_other(company):
    for chain in by_customer(company).values():
        mrr = 0
        for activity in chain:
            mrr += activity.activity_mrr_movement
            assert activity.activity_mrr == mrr
            assert activity.activity_arr == 12 * mrr
        assert [each.date for each in chain] == sorted(each.date for each in chain)


def customers_figures_are_those_of_their_movements_until_now(company):
    chains, now = by_customer(company), offset(company.now)
    for customer in documents(company.customers):
        past = [each for each in chains[customer.uuid] if each.date <= now]
        assert customer.mrr == (past[-1].activity_mrr if past else 0)
        assert customer.arr == 12 * customer.mrr
        assert customer.customer_since == (past[0].date if past else None)
        expected = {"Active", "Past Due"} if customer.mrr else {"Cancelled"} if past else set(LEADS)
        assert customer.status in expected


def movements_are_named_after_what_they_do(company):
    for chain in by_customer(company).values():
        assert chain[0].type == "new_biz"
        for before, activity in pairwise(chain):
            lost, regained = activity.activity_mrr == 0, before.activity_mrr == 0
            assert (activity.type == "churn") == lost
            assert (activity.type == "reactivation") == (regained and activity.date != chain[0].date)
            assert (activity.activity_mrr_movement < 0) == (activity.type in {"churn", "contraction"})


def everything_that_objects_refer_to_exists(company):
    customers = {each.uuid: each for each in documents(company.customers)}
    sources = {each.uuid for each in company.data_sources}
    plans = {each.uuid for each in documents(company.plans)}
    for customer in customers.values():
        assert len(customer.data_source_uuids) == len(customer.external_ids)
        assert set(customer.data_source_uuids) <= sources
    for invoice in documents(company.invoices):
        assert invoice.customer_external_id in customers[invoice.customer_uuid].external_ids
        assert {line.plan_uuid for line in invoice.line_items if line.plan_uuid} <= plans
    for activity in documents(company.activities):
        customer = customers[activity.customer_uuid]
        pairs = zip(customer.data_source_uuids, customer.external_ids, strict=True)
        assert (activity.billing_connector_uuid, activity.customer_external_id) in set(pairs)


TRUTHS = (
    movements_of_each_customer_add_up_one_after_the_other,
    customers_figures_are_those_of_their_movements_until_now,
    movements_are_named_after_what_they_do,
    everything_that_objects_refer_to_exists,
)
