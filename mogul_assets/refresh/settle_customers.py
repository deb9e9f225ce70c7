"""Settling the calculated customers, from everything else."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from mogul_assets.account.reader import Account, AccountInfo
from mogul_assets.calculated.checks import Finding
from mogul_assets.calculated.customers import customers, sources_without_invoices
from mogul_assets.calculated.reconciliation import LEVELS, Level, levels
from mogul_assets.catalog.datasets import CUSTOMER_RECORDS, CUSTOMERS
from mogul_assets.errors import AccountRefused, DataRefused
from mogul_assets.refresh.checked import NOT_COMPARED, Refreshed, checked, plain, tables_of
from mogul_assets.refresh.relations import register, working
from mogul_assets.store import durable, settle
from mogul_assets.store.store import Store


def settle_customers(store: Store, account: Account, info: AccountInfo, *, generation: str, now: datetime) -> Refreshed:
    """Compute the calculated customers from everything else, and move ``customers``.

    MRR and the number of paying customers are compared with ChartMogul's own of today.
    """
    needed = (
        CUSTOMER_RECORDS.name,
        "invoice_line_items",
        "invoices",
        "transactions",
        "plans",
        "mrr_movements",
        "currency_rates",
    )
    records = store.table(CUSTOMER_RECORDS.name)
    if records is None:
        raise DataRefused("the customers were not settled yet", remedy="materialise source_data/source_customers first")
    with working(store, generation, "customers") as (connection, _):
        for name in needed:
            register(connection, store, name)
        missing = sources_without_invoices(connection, movements="mrr_movements", invoices="invoices")
        result = customers(
            connection,
            records=CUSTOMER_RECORDS.name,
            line_items="invoice_line_items",
            invoices="invoices",
            transactions="transactions",
            plans="plans",
            movements="mrr_movements",
            rates="currency_rates",
            currency=info.currency,
            sources_without_invoices=missing,
        )
        result.relation.create_view("calculated")
        with durable.writing_to(store.root):
            files = settle.write(connection, "calculated", CUSTOMERS, store.folder(CUSTOMERS, generation), generation)
        facts: dict[str, Any] = {}
        if missing:
            facts["sources without readable invoices"] = ", ".join(sorted(missing))
        found = checked(connection, store, {CUSTOMERS: files}, None, 0)
        found[CUSTOMERS.name] += result.warnings
        try:
            mrr, count = account.today(now.astimezone(info.zone).date())
        except AccountRefused as refused:
            facts[NOT_COMPARED] = str(refused)
        else:
            for level in levels(connection, "calculated", mrr=mrr, customer_count=count):
                facts[f"{level.name}, here"], facts[f"{level.name}, ChartMogul's"] = level.ours, level.reported
                found[CUSTOMERS.name].append(_level(level))
        store.publish(
            {CUSTOMERS: files},
            generation=generation,
            read_at=records.read_at,
            typed_from=[records.generation],
            checks=plain(found),
            facts=facts,
        )
    return Refreshed(tables_of(store, {CUSTOMERS: files}), facts, found)


def _level(level: Level) -> Finding:
    return Finding(
        name=f"{level.name}_level",
        blocking=False,
        count=0 if level.passed else 1,
        total=1,
        samples=(),
        description=LEVELS[level.name],
        said=f"{level.ours:,} here, {level.reported:,} in ChartMogul"
        + (f" ({level.difference:.2%} apart)" if level.reported else ""),
    )
