"""The calculated customers: entries of the customer list, with what they paid and what they subscribed to."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import duckdb

from mogul_assets.calculated.checks import NET_PAYMENTS, SAMPLES, Finding
from mogul_assets.calculated.sql import COUNTS
from mogul_assets.catalog.datasets import CUSTOMERS
from mogul_assets.store.sql import quoted


@dataclass(frozen=True, slots=True)
class Customers:
    """``relation`` has the columns of ``CUSTOMERS`` in its order, rows in no order; ``warnings`` say what is null."""

    relation: duckdb.DuckDBPyRelation
    warnings: tuple[Finding, ...]


def sources_without_invoices(connection: duckdb.DuckDBPyConnection, *, movements: str, invoices: str) -> list[str]:
    """The data sources (ds_…, sorted) that have subscribers but no invoice that can be read.

    ``GET /invoices`` holds what was "created using the API": a source that ChartMogul imports by itself may
    show movements only.
    """
    rows = connection.sql(f"""
        SELECT DISTINCT billing_connector_uuid FROM {quoted(movements)}
        WHERE billing_connector_uuid NOT IN (
            SELECT data_source_uuid FROM {quoted(invoices)} WHERE data_source_uuid IS NOT NULL
        )
        ORDER BY ALL
    """).fetchall()
    return [uuid for (uuid,) in rows]


def customers(
    connection: duckdb.DuckDBPyConnection,
    *,
    records: str,
    line_items: str,
    invoices: str,
    transactions: str,
    plans: str,
    movements: str,
    rates: str,
    currency: str,
    sources_without_invoices: Collection[str] = (),
) -> Customers:
    """The customers, one row for each of ``records``.

    Args:
        connection: where the relations are known by name, each with its dataset's columns.
        records: the entries of the customer list (``CUSTOMER_RECORDS``).
        line_items: invoice line items.
        invoices: invoices.
        transactions: payments and refunds.
        plans: plans.
        movements: MRR movements; only their customer, source, plan and date are read.
        rates: exchange rates from ``currency``.
        currency: the account's currency (ISO 4217).
        sources_without_invoices: data sources whose payments cannot be known.

    ``net_payments`` is successful payments less successful refunds, in cents of ``currency``. Disabled and
    invalid transactions count for nothing, nor do those of such invoices. A transaction without an amount
    stands for the sum of its invoice's line items. Other currencies are divided by the rate of the
    transaction's UTC day. Each amount is kept to a millionth of a cent and the sum is exact, so that it does not
    depend on the order of rows; the sum alone is rounded, half away from zero, so that a refund mirrors its
    payment. A cent is a hundredth of the currency whatever the currency: ChartMogul gave a yen account
    ``"mrr": 523387`` for 5,233.87 yen (recorded 2025-03-14). It is null, never wrong, where a transaction has
    no rate, type or currency that is known, and where one of the customer's sources is among
    ``sources_without_invoices``; 0 where nothing was paid.

    ``plan_name``, ``plan_external_id`` and ``billing_cycle`` ("month", "3 months") are each value once, in the
    order of the plans' first use, then of their names, joined with a pipe; used is what a line item that counts,
    of a subscription, or a movement names.
    """
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE customer_derived AS
        WITH invoice AS (
            SELECT uuid FROM {quoted(invoices)} WHERE {COUNTS}
        ), item AS (
            SELECT items.* FROM {quoted(line_items)} AS items SEMI JOIN invoice ON invoice.uuid = items.invoice_uuid
            WHERE {COUNTS}
        ), whole AS (
            SELECT invoice_uuid, sum(amount_in_cents) AS cents FROM item GROUP BY invoice_uuid
        ), payment AS (
            SELECT customer_uuid, type, payments.currency, timezone('UTC', transacted_at)::DATE AS date,
                CASE type WHEN 'payment' THEN 1 WHEN 'refund' THEN -1 END
                    * coalesce(amount_in_cents, whole.cents, 0) AS cents
            FROM {quoted(transactions)} AS payments
                SEMI JOIN invoice ON invoice.uuid = payments.invoice_uuid
                LEFT JOIN whole USING (invoice_uuid)
            WHERE result = 'successful' AND {COUNTS}
        ), converted AS (
            SELECT customer_uuid,
                (CASE WHEN payment.currency = $currency THEN cents ELSE cents / rate END)::DECIMAL(38, 6) AS cents,
                CASE
                    WHEN payment.cents IS NULL THEN concat_ws(' ', 'type', type)
                    ELSE concat_ws(' ', payment.currency, payment.date)
                END AS unknown
            FROM payment LEFT JOIN {quoted(rates)} AS rates
                ON rates.base_currency = $currency AND rates.rate > 0
                AND rates.currency = payment.currency AND rates.date = payment.date
        ), paid AS (
            SELECT customer_uuid, round(sum(cents))::BIGINT AS cents,
                array_agg(DISTINCT unknown) FILTER (cents IS NULL) AS unknown
            FROM converted GROUP BY customer_uuid
        ), plan AS (
            SELECT uuid, data_source_uuid, external_id, name,
                if(interval_count > 1, interval_count || ' ' || "interval" || 's', "interval") AS cycle
            FROM {quoted(plans)}
        ), subscribed AS (
            SELECT customer_uuid, plan_uuid, data_source_uuid, plan_external_id, min(service_period_start) AS since
            FROM item WHERE type = 'subscription' GROUP BY ALL
            UNION ALL
            SELECT customer_uuid, NULL, billing_connector_uuid, plan_external_id, min(date)
            FROM {quoted(movements)} GROUP BY ALL
        ), named AS (
            SELECT customer_uuid, since, coalesce(by_uuid.name, by_id.name) AS name,
                coalesce(by_uuid.external_id, plan_external_id) AS external_id,
                coalesce(by_uuid.cycle, by_id.cycle) AS cycle
            FROM subscribed
                LEFT JOIN plan AS by_uuid ON by_uuid.uuid = plan_uuid
                LEFT JOIN plan AS by_id
                    ON by_id.data_source_uuid = subscribed.data_source_uuid AND by_id.external_id = plan_external_id
        ), subscriptions AS (
            SELECT customer_uuid, list_sort(list(struct_pack(since, name, external_id, cycle))) AS plans
            FROM named GROUP BY customer_uuid
        ), sources AS (
            SELECT uuid, list_intersect(
                list_append(from_json(data_source_uuids, '["VARCHAR"]'), data_source_uuid), $unreadable::VARCHAR[]
            ) AS unreadable
            FROM {quoted(records)}
        )
        SELECT uuid, {_joined("name")} AS plan_name, {_joined("external_id")} AS plan_external_id,
            {_joined("cycle")} AS billing_cycle, coalesce(unknown, []) AS unknown, unreadable,
            CASE WHEN unknown IS NULL AND len(unreadable) = 0 THEN coalesce(cents, 0) END AS net_payments
        FROM sources
            LEFT JOIN paid ON paid.customer_uuid = uuid
            LEFT JOIN subscriptions ON subscriptions.customer_uuid = uuid
        """,
        {"currency": currency, "unreadable": sorted(sources_without_invoices)},
    )
    columns = ", ".join(
        f"{'record' if column.source is not None else 'derived'}.{quoted(column.name)}" for column in CUSTOMERS.columns
    )
    relation = connection.sql(
        f"SELECT {columns} FROM {quoted(records)} AS record JOIN customer_derived AS derived USING (uuid)"
    )
    convertible, readable = NET_PAYMENTS
    warnings = (_warning(connection, convertible, "unknown"), _warning(connection, readable, "unreadable"))
    return Customers(relation, warnings)


def _joined(field: str) -> str:
    """Each value of ``plans`` once, in its order. Ordered aggregates over all customers took three times as long."""
    values = f"list_transform(plans, lambda plan: plan.{field})"
    return f"array_to_string(list_filter({values}, lambda value, place: list_position({values}, value) = place), '|')"


def _warning(connection: duckdb.DuckDBPyConnection, name: str, reasons: str) -> Finding:
    """The customers that have ``reasons``, a list column, with some of these."""
    ((count, total, samples),) = connection.sql(f"""
        SELECT count(*) FILTER (len({reasons}) > 0), count(*),
            (SELECT min(reason, {SAMPLES}) FROM (SELECT DISTINCT unnest({reasons}) AS reason FROM customer_derived))
        FROM customer_derived
    """).fetchall()
    return Finding(name, False, count, total, tuple(samples or ()), NET_PAYMENTS[name])
