"""What just happened: movements of the last days, read by themselves, each with its customer.

A full refresh takes minutes, and holds the store while it writes. Who waits for a message does not wait for it: this
reads the newest days only, joins them to what stands in the store, and moves a pointer of its own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

import duckdb
import filelock

from mogul_assets.account.pages import Gathered, Page
from mogul_assets.account.reader import Account
from mogul_assets.calculated.movements import IDENTITY, encoded, movements
from mogul_assets.catalog.datasets import CUSTOMER_RECORDS, DATASETS, MOVEMENT_NEWS, MRR_MOVEMENTS
from mogul_assets.catalog.window import BEGINNING, Window
from mogul_assets.errors import StoreBusy
from mogul_assets.refresh import known_account, register, standing, type_pages, working
from mogul_assets.store import durable, settle
from mogul_assets.store.sql import literal, parquet, quoted
from mogul_assets.store.store import NEWS_LOCK, Store, group_of
from mogul_assets.store.table import Table

LOOK_BACK = timedelta(hours=48)
"""How far before the last look movements are read again: sources import late, and amounts are corrected."""
KEPT = timedelta(days=35)
"""How long movements stay news: what comes later than the look-back the next refresh finds, and it is listed."""
SINGLY = 100
"""New movements whose customers are read one by one; of more, the store's copy has to do."""
STAYS_SECONDS = 15 * 60
"""How long the files of earlier news stay, for whoever still reads them. A generation a minute was 400 MB a day."""


def read_news(store: Store, account: Account, *, generation: str, now: datetime) -> Table:
    """Read what is new since the last look, and move ``movement_news``.

    Raises:
        DataRefused: the account was never read whole.
        StoreBusy: another process does the same.
    """
    info = known_account(store)
    before = store.table(MOVEMENT_NEWS.name)
    # A clock that was wrong may have written it: nothing happened yet after a moment that is ahead.
    seen = min(before.read_at, now) if before is not None else now
    start = max(seen - LOOK_BACK, BEGINNING + LOOK_BACK)
    lock = filelock.FileLock(store.root / NEWS_LOCK)
    with durable.writing_to(store.root), working(store, generation, MOVEMENT_NEWS.name) as (connection, _):
        try:
            lock.acquire(timeout=20)
        except filelock.Timeout:
            raise StoreBusy("another process reads the news", remedy="wait for it; this is tried again") from None
        with lock:
            gathered = Gathered()
            account.read("activities", gathered, window=Window(start, None))
            type_pages(connection, "activities", gathered.pages, "fresh")
            _movements(connection, store, start, now)
            touched = _touched(connection, before)
            read = account.customers(touched[:SINGLY]) if before is not None else []
            _customers(connection, store, read)
            _told(connection, before, info.currency)
            folder = store.folder(MOVEMENT_NEWS, generation)
            files = settle.write(connection, "news", MOVEMENT_NEWS, folder, generation)
            facts = {"requests for customers": len(touched[:SINGLY]), "customers from the store": len(touched[SINGLY:])}
            store.publish(
                {MOVEMENT_NEWS: files}, generation=generation, read_at=now, typed_from=[generation], facts=facts
            )
            _tidied(store)
    table = store.table(MOVEMENT_NEWS.name)
    assert table is not None
    return table


def seen_at(store: Store) -> datetime | None:
    """When the account was last looked at for news (UTC)."""
    pointer = store.pointer(group_of(MOVEMENT_NEWS))
    return pointer.read_at if pointer is not None else None


def past_news(store: Store, start: datetime, end: datetime, *, generation: str) -> Table:
    """Movements dated in ``[start, end)`` as the store has them, like news: for a replay. Reads no account.

    Raises:
        DataRefused: there are no movements yet.
    """
    info = known_account(store)
    standing(store, MRR_MOVEMENTS.name)
    # Not among the news, whose files go after minutes: somebody is asked first, and a replay takes its time.
    folder = store.root / "data" / "replay" / generation
    with durable.writing_to(store.root), working(store, generation, "replay") as (connection, _):
        register(connection, store, MRR_MOVEMENTS.name)
        connection.execute(
            f"CREATE TEMP TABLE movement AS SELECT * FROM mrr_movements"
            f" WHERE date >= {literal(start.isoformat())} AND date < {literal(end.isoformat())}"
        )
        _customers(connection, store, [])
        _told(connection, None, info.currency)
        files = settle.write(connection, "news", MOVEMENT_NEWS, folder, generation)
    return Table(MOVEMENT_NEWS.name, generation, MOVEMENT_NEWS.schema, MOVEMENT_NEWS.key, files, end)


def _movements(connection: duckdb.DuckDBPyConnection, store: Store, start: datetime, now: datetime) -> None:
    """Temporary table ``movement``: those read now, and before them those that the store has of the last weeks.

    Nothing here needs the history: what messages do not tell (the plan before, the units) is not computed.
    """
    connection.execute(f"""
        CREATE OR REPLACE TEMP VIEW activity AS
        SELECT * FROM fresh_mrr_movements WHERE date >= {literal(start.isoformat())}
    """)
    connection.register("no_line_items", DATASETS["invoice_line_items"].schema.empty_table())
    movements(connection, activities="activity", line_items="no_line_items").create_view("derived")
    register(connection, store, MRR_MOVEMENTS.name)
    connection.execute(f"""
        CREATE TEMP TABLE movement AS
        FROM derived UNION ALL BY NAME SELECT * FROM mrr_movements
        WHERE date < {literal(start.isoformat())} AND date >= {literal((now - KEPT).isoformat())}
    """)


def _touched(connection: duckdb.DuckDBPyConnection, before: Table | None) -> Sequence[str]:
    """The customers of movements that were not there at the last look, the newest first."""
    known = parquet(before.paths) if before is not None and before.files else "(SELECT NULL AS uuid WHERE false)"
    rows = connection.execute(f"""
        SELECT customer_uuid FROM movement ANTI JOIN {known} USING (uuid)
        WHERE customer_uuid IS NOT NULL GROUP BY ALL ORDER BY max(date) DESC
    """).fetchall()
    return [uuid for (uuid,) in rows]


def _customers(connection: duckdb.DuckDBPyConnection, store: Store, read: Sequence[Page]) -> None:
    """Temporary tables ``customer`` and ``attribute``: those read singly, else the store's."""
    type_pages(connection, "customers", read, "read")
    for name in (CUSTOMER_RECORDS.name, "custom_attributes", "plans", "currency_rates", "invoice_line_items"):
        register(connection, store, name)
    connection.execute(f"""
        CREATE TEMP TABLE customer AS FROM read_{CUSTOMER_RECORDS.name} UNION ALL BY NAME
        SELECT * FROM {CUSTOMER_RECORDS.name} ANTI JOIN read_{CUSTOMER_RECORDS.name} USING (uuid)
        WHERE uuid IN (SELECT customer_uuid FROM movement);

        CREATE TEMP TABLE attribute AS
        SELECT customer_uuid, name, value, kind IN ('integer', 'decimal', 'flag') AS plain FROM read_custom_attributes
        UNION ALL
        SELECT customer_uuid, name, value, type IN ('Integer', 'Decimal', 'Boolean') FROM custom_attributes
        ANTI JOIN read_{CUSTOMER_RECORDS.name} ON uuid = customer_uuid
        WHERE customer_uuid IN (SELECT customer_uuid FROM movement);
    """)


def _told(connection: duckdb.DuckDBPyConnection, before: Table | None, currency: str) -> None:
    """View ``news``: the movements with their customers. Of one known already, the customer as first told of it."""
    columns = ", ".join(
        f"coalesce(known.{quoted(name)}, news.{quoted(name)}) AS {quoted(name)}"
        if name.startswith("custom")
        else f"news.{quoted(name)}"
        for name in MOVEMENT_NEWS.by_name
    )
    known = parquet(before.paths) if before is not None and before.files else "(FROM joined WHERE false)"
    connection.execute(f"""
        CREATE TEMP TABLE told_attribute AS
        SELECT customer_uuid,
            json_group_object(name, CASE WHEN plain THEN value::JSON ELSE to_json(value) END)::VARCHAR AS attributes
        FROM attribute GROUP BY customer_uuid;

        CREATE TEMP TABLE invoiced AS
        SELECT data_source_uuid AS source, subscription_external_id AS subscription,
            arg_max(currency, service_period_start) AS currency
        FROM invoice_line_items
        WHERE subscription_external_id IN (SELECT subscription_external_id FROM movement)
        GROUP BY ALL;

        CREATE TEMP TABLE joined AS
        SELECT
            movement.uuid, movement.movement_key, movement.identity, movement.date,
            coalesce(movement.movement_type, '') AS movement_type, movement.description, movement.mrr_movement,
            coalesce(movement.mrr, 0) AS mrr, movement.rank, {literal(currency)} AS currency_code,
            (SELECT coalesce(sum(mrr), 0)::BIGINT FROM {CUSTOMER_RECORDS.name}) AS account_mrr,
            coalesce(invoiced.currency, {literal(currency)}) AS invoice_currency,
            CASE WHEN coalesce(invoiced.currency, {literal(currency)}) = {literal(currency)} THEN movement.mrr_movement
                ELSE round(movement.mrr_movement * rate.rate)::BIGINT END AS invoice_mrr_movement,
            movement.billing_connector_uuid, movement.subscription_external_id, movement.plan_external_id,
            plans.name AS plan_name, movement.customer_uuid,
            coalesce(customer.external_id, movement.customer_external_id) AS customer_external_id,
            coalesce(customer.name, movement.customer_name) AS customer_name,
            customer.email AS customer_email, customer.company AS customer_company, customer.status AS customer_status,
            coalesce(customer.currency, {literal(currency)}) AS customer_currency,
            customer.currency_sign AS customer_currency_sign,
            coalesce(customer.mrr, movement.mrr, 0) AS customer_mrr,
            coalesce(customer.arr, movement.mrr * 12, 0) AS customer_arr,
            customer.chartmogul_url AS customer_url, customer.external_ids AS customer_external_ids,
            customer.data_source_uuid AS customer_data_source_uuid,
            coalesce(told_attribute.attributes, '{{}}') AS custom_attributes
        FROM (
            SELECT *, date::DATE AS day, md5({encoded(IDENTITY)}) AS identity
            FROM movement WHERE mrr_movement IS NOT NULL
        ) AS movement
        LEFT JOIN customer ON customer.uuid = movement.customer_uuid
        LEFT JOIN told_attribute ON told_attribute.customer_uuid = movement.customer_uuid
        LEFT JOIN invoiced ON invoiced.source = movement.billing_connector_uuid
            AND invoiced.subscription = movement.subscription_external_id
        LEFT JOIN (SELECT data_source_uuid, external_id, any_value(name) AS name FROM plans GROUP BY ALL) AS plans
            ON plans.external_id = movement.plan_external_id
            AND plans.data_source_uuid = movement.billing_connector_uuid
        ASOF LEFT JOIN currency_rates AS rate
            ON rate.currency = invoiced.currency AND movement.day >= rate.date;

        CREATE OR REPLACE TEMP VIEW news AS
        SELECT {columns} FROM joined AS news LEFT JOIN {known} AS known USING (uuid)
    """)


def _tidied(store: Store) -> None:
    """Remove the files of earlier news that nobody reads any more."""
    pointer = store.pointer(group_of(MOVEMENT_NEWS))
    current = {file["path"] for file in pointer.datasets[MOVEMENT_NEWS.name].files} if pointer else set()
    for file in (store.root / "data" / MOVEMENT_NEWS.name).glob("*/*"):
        if str(file.relative_to(store.root)) not in current and time.time() - file.stat().st_mtime > STAYS_SECONDS:
            file.unlink()
            if not any(file.parent.iterdir()):
                file.parent.rmdir()
