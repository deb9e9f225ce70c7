"""The API's objects: their keys, which of them may be null and which absent, and when each key came.

A field that is ``UNSET`` is absent from the JSON. Field for field as recorded, or as documented where no
recording has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

from msgspec import UNSET, Raw, Struct, UnsetType, field, structs


class Document(Struct, gc=False):
    """Any of the objects below. They hold no cycles, so the garbage collector may pass them by."""


class Account(Document, kw_only=True):
    id: str
    name: str
    currency: str
    time_zone: str
    week_start_on: str


class DataSource(Document, kw_only=True):
    uuid: str
    name: str
    system: str
    created_at: str
    status: str
    processing_status: dict[str, int]
    auto_churn_subscription_setting: dict[str, Any]
    invoice_handling_setting: dict[str, Any]


class Plan(Document, kw_only=True):
    external_id: str
    name: str
    interval_count: int
    uuid: str
    interval_unit: str
    data_source_uuid: str


class PlanGroup(Document, kw_only=True):
    name: str
    uuid: str
    plans_count: int


class Attributes(Document, kw_only=True):
    custom: dict[str, Any]
    clearbit: dict[str, Any] = field(default_factory=dict)
    stripe: dict[str, Any]
    tags: list[str]


class Address(Document, kw_only=True):
    country: str | None
    state: str | None
    city: str | None
    address_zip: str | None


class Customer(Document, kw_only=True):
    id: int
    uuid: str
    external_id: str | None
    name: str | None
    email: str | None
    status: str
    customer_since: str | None = field(name="customer-since")
    attributes: Attributes
    data_source_uuid: str
    data_source_uuids: list[str]
    external_ids: list[str]
    company: str | None
    country: str | None
    state: str | None
    city: str | None
    zip: str | None
    lead_created_at: str | None
    free_trial_started_at: str | None
    address: Address
    mrr: int
    arr: int
    billing_system_url: str | None = field(name="billing-system-url")
    chartmogul_url: str = field(name="chartmogul-url")
    billing_system_type: str = field(name="billing-system-type")
    currency: str
    currency_sign: str = field(name="currency-sign")
    owner: str | None
    website_url: str | None
    lead_status: str
    free_subscriber_status: str
    trial_subscriber_status: str
    paid_subscriber_status: str
    last_seen: str | None


class Contact(Document, kw_only=True):
    uuid: str
    customer_uuid: str | None
    customer_external_id: str | None
    data_source_uuid: str
    external_id: str | None
    position: int
    first_name: str | None
    last_name: str | None
    title: str | None
    email: str | None
    phone: str | None
    linked_in: str | None
    twitter: str | None
    notes: str | None
    last_seen: str | None
    custom: dict[str, Any]


class Note(Document, kw_only=True):
    uuid: str
    customer_uuid: str
    type: str
    text: str
    call_duration: int
    author: str
    created_at: str
    updated_at: str


class Opportunity(Document, kw_only=True):
    uuid: str
    customer_uuid: str
    owner: str
    pipeline: str
    pipeline_stage: str
    estimated_close_date: str
    currency: str
    amount_in_cents: int
    type: str
    forecast_category: str
    win_likelihood: int
    custom: dict[str, Any]
    created_at: str
    updated_at: str


class Task(Document, kw_only=True):
    task_uuid: str
    customer_uuid: str
    task_details: str
    assignee: str
    due_date: str
    completed_at: str | None
    created_at: str
    updated_at: str


class Editable(Document, kw_only=True):
    """What invoices, line items, transactions each say of their validity and of edits by hand."""

    errors: dict[str, list[str]] = field(default_factory=dict)
    disabled: bool = False
    disabled_at: str | None = None
    disabled_by: str | None = None
    user_created: bool = False
    edit_history_summary: dict[str, Any] | UnsetType = field(default_factory=dict)


class LineItem(Editable, kw_only=True):
    """Subscription keys are absent from one-time items, ``description`` from the others."""

    subscription_uuid: str | UnsetType = UNSET
    subscription_external_id: str | UnsetType = UNSET
    subscription_set_external_id: str | UnsetType = UNSET
    prorated: bool | UnsetType = UNSET
    proration_type: str | UnsetType | None = UNSET
    service_period_start: str | UnsetType = UNSET
    service_period_end: str | UnsetType = UNSET
    uuid: str
    external_id: str | None = None
    type: str
    description: str | UnsetType = UNSET
    amount_in_cents: int
    quantity: int
    discount_code: str = ""
    discount_amount_in_cents: int = 0
    tax_amount_in_cents: int = 0
    transaction_fees_in_cents: int = 0
    account_code: str | None = ""
    plan_uuid: str | UnsetType | None = UNSET
    plan_external_id: str | UnsetType | None = UNSET
    transaction_fees_currency: str | None = None
    discount_description: str | None = None
    event_order: int | None = None
    balance_transfer: bool | UnsetType | None = UNSET


class Transaction(Editable, kw_only=True):
    uuid: str
    external_id: str | None = None
    amount_in_cents: int | None
    type: str
    date: str
    result: str
    transaction_fees_in_cents: int | None = None
    transaction_fees_currency: str | None = None


class Invoice(Editable, kw_only=True):
    uuid: str
    external_id: str
    date: str
    due_date: str | None
    currency: str
    customer_uuid: str | UnsetType
    customer_external_id: str
    status: str
    collection_method: str
    line_items: list[LineItem]
    transactions: list[Transaction]


class SubscriptionEvent(Document, kw_only=True):
    id: int
    data_source_uuid: str
    customer_external_id: str
    subscription_set_external_id: str | None = None
    subscription_external_id: str | None
    plan_external_id: str | None
    event_date: str
    effective_date: str
    event_type: str
    external_id: str | None = None
    errors: dict[str, list[str]] = field(default_factory=dict)
    created_at: str
    updated_at: str
    quantity: int | str | None = None
    currency: str | None = None
    amount_in_cents: int | str | None = None
    tax_amount_in_cents: int | None = None
    retracted_event_id: str | None = None
    event_order: int | None = None
    disabled: bool = False
    disabled_at: str | None = None
    disabled_by: str | None = None


class Activity(Document, rename="kebab", kw_only=True):
    description: str
    activity_mrr_movement: int
    activity_mrr: int
    activity_arr: int
    date: str
    type: str
    currency: str
    subscription_external_id: str | None
    subscription_set_external_id: str | Raw | None
    plan_external_id: str | None
    customer_name: str | None
    customer_uuid: str
    customer_external_id: str
    billing_connector_uuid: str
    uuid: str


class CustomerActivity(Document, rename="kebab", kw_only=True):
    """What ``/customers/{uuid}/activities`` lists: another object than ``Activity``, without a uuid."""

    id: int
    description: str
    activity_mrr_movement: int
    activity_mrr: int
    activity_arr: int
    date: str
    type: str
    currency: str
    currency_sign: str
    subscription_external_id: str | None
    plan_external_id: str | None


class Subscription(Document, kw_only=True):
    id: int
    external_id: str
    subscription_set_external_id: str
    quantity: int
    uuid: str
    mrr: int
    arr: int
    status: str
    plan: str
    billing_cycle: str = field(name="billing-cycle")
    billing_cycle_count: int = field(name="billing-cycle-count")
    start_date: str = field(name="start-date")
    end_date: str | None = field(name="end-date")
    currency: str
    currency_sign: str = field(name="currency-sign")


_EDITABLE_2025 = dict.fromkeys(("disabled", "disabled_at", "disabled_by", "user_created"), 2025)

SINCE: Mapping[type[Document], Mapping[str, int]] = {
    Account: {"id": 2025},
    Customer: {
        "website_url": 2025,
        "lead_status": 2026,
        "free_subscriber_status": 2026,
        "trial_subscriber_status": 2026,
        "paid_subscriber_status": 2026,
        "last_seen": 2026,
    },
    Contact: {"external_id": 2025, "last_seen": 2026},
    Invoice: {"customer_external_id": 2025, "status": 2025, "collection_method": 2025, **_EDITABLE_2025},
    LineItem: {"plan_external_id": 2025, "errors": 2025, **_EDITABLE_2025},
    Transaction: {"errors": 2025, **_EDITABLE_2025},
    SubscriptionEvent: {"event_order": 2025, "disabled": 2025, "disabled_at": 2025, "disabled_by": 2025},
    CustomerActivity: {"plan_external_id": 2025},
}
"""The first of the three shapes (2023, 2025, 2026) in which a key is there; keys not named always were."""

GONE: Mapping[type[Document], Mapping[str, int]] = {Attributes: {"clearbit": 2025}}
"""The first shape in which a key is there no longer."""

AnyDocument = TypeVar("AnyDocument", bound=Document)


@lru_cache(maxsize=256)
def _absent(kind: type[Document], shape: int, histories: bool) -> tuple[str, ...]:
    absent = [name for name, year in SINCE.get(kind, {}).items() if shape < year]
    absent += [name for name, year in GONE.get(kind, {}).items() if shape >= year]
    if issubclass(kind, Editable) and not histories:
        absent.append("edit_history_summary")
    return tuple(absent)


def shaped(document: AnyDocument, shape: int, *, histories: bool = False) -> AnyDocument:
    """The document as the API wrote it in that year: a copy without the keys that were not there.

    ``histories`` keeps ``edit_history_summary``, which is only there when asked for.
    """
    changes: dict[str, Any] = dict.fromkeys(_absent(type(document), shape, histories), UNSET)
    for name in _nested(type(document)):
        value = getattr(document, name)
        changes[name] = (
            [shaped(each, shape, histories=histories) for each in value]
            if isinstance(value, list)
            else shaped(value, shape, histories=histories)
        )
    return structs.replace(document, **changes) if changes else document


def _nested(kind: type[Document]) -> tuple[str, ...]:
    return {Invoice: ("line_items", "transactions"), Customer: ("attributes",)}.get(kind, ())
