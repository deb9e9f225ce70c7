"""A small account's tables, as mails tell of them. The mail's day is Sunday, 22 November 2026."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from mogul_assets.catalog.datasets import CUSTOM_ATTRIBUTES, CUSTOMERS, MRR_MOVEMENTS, TAGS
from mogul_assets.catalog.window import Window
from mogul_assets.store.table import Table
from mogul_assets_tests.tables import table_of

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
DAY = "2026-11-22T12:00"

HISTORY = (
    ("Acme", "2026-10-05T08:00", 10000, "new_biz", "purchased the Silver monthly plan"),
    ("Brightwater", "2026-11-02T08:00", 5000, "new_biz", "purchased the Bronze monthly plan"),
    ("Acme", DAY, 2550, "expansion", "switched plan from Silver to Gold"),
    ("Brightwater", DAY, -5000, "churn", "cancelled the Bronze monthly plan"),
    ("Coralline", DAY, 4900, "new_biz", "purchased the Silver monthly plan"),
    ("Coralline", "2026-11-23T00:00", 100, "expansion", "added a seat"),
)


def movements(folder: Path, *rows: tuple[str, str, int, str, str], currency: str = "USD") -> Table:
    """``mrr_movements`` of (customer, moment in UTC, amount, type, description), the first first."""
    mrr: dict[str, int] = defaultdict(int)
    full = []
    for number, (customer, at, amount, kind, description) in enumerate(rows or HISTORY):
        mrr[customer] += amount
        told = {
            "date": datetime.fromisoformat(at).replace(tzinfo=UTC),
            "customer_name": customer,
            "customer_uuid": f"cus_{customer}",
            "mrr_movement": amount,
            "mrr": mrr[customer],
            "movement_type": kind,
            "description": description,
            "currency_code": currency,
            "uuid": f"{number:06}",
            "movement_key": f"key-{number:06}",
            "rank": 1,
        }
        full.append(dict.fromkeys(MRR_MOVEMENTS.by_name) | told)
    ever = Window(datetime(1, 1, 1, tzinfo=UTC), None)
    return table_of(
        folder,
        full,
        dataset="mrr_movements",
        key=MRR_MOVEMENTS.key,
        schema=MRR_MOVEMENTS.schema,
        window=ever,
        window_column="date",
    )


def customers(folder: Path, *names: str) -> Table:
    rows = [
        dict.fromkeys(CUSTOMERS.by_name) | {"uuid": f"cus_{number}", "name": name}
        for number, name in enumerate(names or ("Acme", "Brightwater", "Coralline"))
    ]
    return table_of(folder, rows, dataset="customers", key=CUSTOMERS.key, schema=CUSTOMERS.schema)


def account(folder: Path) -> list[Table]:
    """All that a mail takes."""
    attribute = {"customer_uuid": "cus_0", "name": "seats", "type": "Integer", "value": "-5"}
    tag = {"customer_uuid": "cus_0", "tag": "@vip"}
    return [
        table_of(folder, [tag], dataset="tags", key=TAGS.key, schema=TAGS.schema),
        table_of(
            folder,
            [attribute],
            dataset="custom_attributes",
            key=CUSTOM_ATTRIBUTES.key,
            schema=CUSTOM_ATTRIBUTES.schema,
        ),
        customers(folder),
        movements(folder),
    ]
