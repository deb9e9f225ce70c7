"""Pages for tests: entries as the API writes them, and texts that no JSON writer would give."""

import json
from datetime import UTC, datetime
from pathlib import Path

from mogul_assets.account.pages import Page
from mogul_assets.catalog.reads import READS
from mogul_assets.store.shape import SEQUENCE
from mogul_assets.store.typing import Typist

RECORDINGS = Path(__file__).parents[3] / "shared" / "fixtures"
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)

RECORDED = [
    *(("customers", name) for name in ("customers.json", "customers.page2.json")),
    ("contacts", "contacts.json"),
    *(("plans", name) for name in ("plans.json", "plans.page1.json")),
    *(("invoices", name) for name in ("invoices.json", "invoices.page1.json", "customer_invoices.json")),
    *(("subscription_events", name) for name in ("subscription_events.json", "subscription_events.page1.json")),
    *(("activities", f"activities.{name}.json") for name in ("page1", "page2", "per_page2")),
    ("data_sources", "data_sources.json"),
]
"""The recorded pages of typed lists."""

_EDITING = {
    "disabled": True,
    "disabled_at": "2024-01-02T03:04:05.678Z",
    "disabled_by": "someone@example.com",
    "user_created": False,
    "errors": {"currency": ["is unknown"]},
    "edit_history_summary": {"values_changed": {"date": {"original_value": "2024-01-01"}}},
}

INVENTED = {
    "customers": {
        "id": 7,
        "uuid": "cus_7",
        "external_id": "seven",
        "name": "Seven 😀",
        "customer-since": "2016-01-01T12:00:00+02:00",
        "data_source_uuid": "ds_1",
        "data_source_uuids": ["ds_1", "ds_2"],
        "external_ids": ["seven", "sept"],
        "mrr": 100,
        "attributes": {
            "custom": {"n": 1, "d": 1.50, "b": False, "s": "x", "t": "2026-11-23T00:00:00Z", "z": None, "l": [1, "é"]},
            "stripe": {"plan": {"nested": [1.0]}},
            "clearbit": {},
            "tags": ["a", "b"],
        },
        "address": {"country": "Germany"},
    },
    "contacts": {"uuid": "con_7", "position": 1, "last_seen": None, "custom": {"a": 1.0}, "notes": "x\u0000y"},
    "plans": {"uuid": "pl_7", "external_id": "7", "name": "Gold", "interval_unit": "month", "interval_count": 1},
    "invoices": {
        "uuid": "inv_7",
        "external_id": "7",
        "date": "2024-02-29T00:00:00.000Z",
        "due_date": None,
        "currency": "EUR",
        "customer_uuid": "cus_7",
        "customer_external_id": "seven",
        "status": "paid",
        "collection_method": "manual",
        **_EDITING,
        "line_items": [
            {
                "uuid": "li_7",
                "type": "subscription",
                "prorated": True,
                "proration_type": "differential",
                "balance_transfer": None,
                "amount_in_cents": -1,
                "quantity": 3,
                "service_period_start": "2024-02-29T00:00:00.000Z",
                "event_order": 1,
                **_EDITING,
            },
            {"uuid": "li_8", "type": "one_time"},
        ],
        "transactions": [{"uuid": "tr_7", "date": "2024-03-01T00:00:00Z", "amount_in_cents": None, **_EDITING}],
    },
    "subscription_events": {
        "id": 7,
        "data_source_customer_external_id": "seven",
        "event_type": "subscription_start",
        "event_date": "2024-02-29T00:00:00Z",
        "quantity": 1,
        "currency": "EUR",
        "amount_in_cents": 100,
        "disabled": False,
        "errors": {},
    },
    "activities": {
        "uuid": "a7",
        "date": "2016-01-01T12:00:00+00:00",
        "type": "new_biz",
        "activity-mrr": 4004,
        "activity-mrr-movement": 4004,
        "activity-arr": 48048,
        "customer-uuid": "cus_7",
        "plan-external-id": "7",
    },
    "data_sources": {
        "uuid": "ds_7",
        "created_at": "2025-12-02T09:32:26.858Z",
        "processing_status": {"processed": 1},
        "invoice_handling_setting": {"manual": {"a": True}},
    },
}
"""An entry of each list with what the recordings lack."""


class Verbatim(str):
    """JSON text that is written as it stands; a byte that is not UTF-8 as its surrogate escape."""

    __slots__ = ()


def encoded(value):
    """A value as JSON text, ``Verbatim`` ones as they stand."""
    if isinstance(value, Verbatim):
        return value
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{encoded(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(encoded, value)) + "]"
    return json.dumps(value)


def page(read, *entries, sequence=0, shard=None):
    body = encoded({READS[read].root: list(entries)}).encode("utf-8", "surrogateescape")
    return Page(read, body, sequence, NOW, shard or {})


def typed(read, *pages):
    """The rows of some pages by dataset, each without its sequence, and the report."""
    typist = Typist(read)
    rows = {dataset.name: [] for dataset in typist.datasets}
    for tables in typist.tables(pages):
        for name, table in tables.items():
            rows[name] += table.drop_columns([SEQUENCE]).to_pylist()
    return rows, typist.report
