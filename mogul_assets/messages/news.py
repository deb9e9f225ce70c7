"""Movements with their customers, as messages tell them: from the files of ``movement_news``, in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise

import duckdb
import msgspec

from mogul_assets.catalog.datasets import CUSTOMER
from mogul_assets.messages.message import News
from mogul_assets.store.sql import connect, literal, parquet
from mogul_assets.store.table import Table

ORDER = f"date, {CUSTOMER}, rank, uuid"
BATCH_ROWS = 500
SORTED_ROWS = 5_000


def news_of(table: Table) -> Iterator[News]:
    """The rows of ``movement_news`` in the order in which they happened; memory does not grow with the table.

    Raises:
        ValueError: the table is another dataset.
    """
    if table.dataset != "movement_news":
        raise ValueError(f"messages are made of movement_news, not of {table.dataset}")
    if not table.files:
        return
    with connect(threads=1) as connection:
        # Who reads may pause for seconds between two batches, and a run's output is a log.
        connection.execute("SET enable_progress_bar = false")
        source = parquet(table.paths)
        for start, end in _spans(connection, source):
            span = f"date >= {literal(start)}" + (f" AND date < {literal(end)}" if end else "")
            rows = connection.sql(f"SELECT * FROM {source} WHERE {span} ORDER BY {ORDER}")
            for batch in rows.to_arrow_reader(BATCH_ROWS):
                for row in batch.to_pylist():
                    for name, empty in (("customer_external_ids", "[]"), ("custom_attributes", "{}")):
                        row[name] = json.loads(row[name] or empty)
                    yield msgspec.convert(row, News)


def _spans(connection: duckdb.DuckDBPyConnection, source: str) -> Iterator[tuple[str, str | None]]:
    """Spans of time, in order, of about ``SORTED_ROWS`` each: 50,000 rows sorted at once took 40 MB more than 5,000."""
    starts = connection.execute(f"""
        SELECT date::VARCHAR
        FROM (SELECT date, row_number() OVER (ORDER BY date) AS place FROM {source})
        WHERE (place - 1) % {SORTED_ROWS} = 0
        GROUP BY date ORDER BY date
    """).fetchall()
    yield from pairwise([*(start for (start,) in starts), None])
