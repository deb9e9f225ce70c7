"""Movements with their customers, as messages tell them: from the files of ``movement_news``, in order."""

from __future__ import annotations

import json
from collections.abc import Iterator

import duckdb
import msgspec

from mogul_assets.messages.message import News
from mogul_assets.store.sql import parquet
from mogul_assets.store.table import Table

ORDER = "date, coalesce(customer_uuid, customer_external_id), rank, uuid"
BATCH_ROWS = 500


def news_of(table: Table) -> Iterator[News]:
    """The rows of ``movement_news`` in the order in which they happened; memory does not grow with the table.

    Raises:
        ValueError: the table is another dataset.
    """
    if table.dataset != "movement_news":
        raise ValueError(f"messages are made of movement_news, not of {table.dataset}")
    if not table.files:
        return
    with duckdb.connect(config={"threads": 1}) as connection:
        # Who reads may pause for seconds between two batches, and a run's output is a log.
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        rows = connection.sql(f"SELECT * FROM {parquet(table.paths)} ORDER BY {ORDER}")
        for batch in rows.to_arrow_reader(BATCH_ROWS):
            for row in batch.to_pylist():
                for name, empty in (("customer_external_ids", "[]"), ("custom_attributes", "{}")):
                    row[name] = json.loads(row[name] or empty)
                yield msgspec.convert(row, News)
