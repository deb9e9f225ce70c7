"""MRR movements: what the activities do not say themselves.

The order of movements of one moment, the plan before each, the units it is about, and a key that outlives
ChartMogul's recalculations. All four look at the whole history, however few months are written afterwards.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise

import duckdb
import pyarrow as pa

from mogul_assets.calculated.sql import COUNTS
from mogul_assets.catalog.datasets import CUSTOMER, MRR_MOVEMENTS
from mogul_assets.store.sql import quoted

IDENTITY = (
    "billing_connector_uuid",
    "coalesce(customer_external_id, customer_uuid)",
    "subscription_external_id",
    "subscription_set_external_id",
    "plan_external_id",
    "epoch_us(date)",
    "movement_type",
)
"""What makes a movement itself, in the order of the key's encoding: nothing that ChartMogul recomputes."""

TIES = (
    "subscription_external_id",
    "mrr_movement",
    "mrr",
    "plan_external_id",
    "subscription_set_external_id",
    "movement_type",
    "billing_connector_uuid",
    "customer_external_id",
    "currency_code",
    "description",
    "uuid",
)
"""What orders movements of one moment where their amounts do not; the last only between rows that are alike."""


def encoded(parts: Sequence[str]) -> str:
    """SQL for one text of several, which no other parts can give: ``4:plan,-,`` is "plan" and null."""
    texts = [f"({part})::VARCHAR" for part in parts]
    return " || ".join(f"coalesce(strlen({text}) || ':' || {text}, '-') || ','" for text in texts)


def _within_source(source: str, identifier: str) -> str:
    return f"CASE WHEN {identifier} IS NOT NULL THEN md5_number({encoded((source, identifier))}) END"


# Texts are joined and sorted on as 128-bit digests: with the texts themselves a million movements took
# 9 s instead of 3 s, and three times the memory.
_ID = "md5_number(uuid)"

_DERIVED = {
    "previous_plan_external_id": "previous_plan",
    "active_subscription_quantity": "quantity",
    "movement_key": f"substr(sha256({encoded(IDENTITY)} || ordinal), 1, 32)",
}


def movements(connection: duckdb.DuckDBPyConnection, *, activities: str, line_items: str) -> duckdb.DuckDBPyRelation:
    """The whole history of movements, with the columns of ``MRR_MOVEMENTS`` in its order; rows in no order.

    Args:
        connection: where the two relations are known by name.
        activities: the columns of ``MRR_MOVEMENTS`` that have a source, the whole history, unique by ``uuid``.
        line_items: the columns of ``INVOICE_LINE_ITEMS``.

    What is derived is computed at once, into the connection's temporary table ``movement_derived``, which the
    relation joins to the activities: read month by month, it computes nothing twice.

    ``rank`` counts a customer's movements of one moment in the order in which each ``mrr`` is the one before
    plus the movement; see ``chained``. Movements that do not chain, and those between which the chain leaves
    a choice, are in the order of ``TIES``.

    ``previous_plan_external_id`` is the plan of the subscription's movement before; for a subscription's first
    movement, of the subscription set's.

    ``active_subscription_quantity`` is the sum of ``quantity`` over the subscription's line items whose service
    period ``[start, end)`` covers ``date``; items that are disabled or invalid are left out.

    ``movement_key`` is the first 32 hexadecimal digits of the SHA-256 of: each part of ``IDENTITY`` as its
    length in UTF-8 bytes, a colon, the text and a comma (``-,`` where null); then the ordinal, from 0, among
    movements with the same parts, in the order of their ranks. The moment is in microseconds since 1970. It
    must never change: messages already sent are recognised by it.
    """
    connection.register("movement_ranks", _ranks(connection, activities))
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE movement_derived AS
        WITH movement AS (
            SELECT {_ID} AS id, date, coalesce(rank, 1) AS rank, plan_external_id AS plan,
                md5_number({encoded(IDENTITY)}) AS identity,
                {_within_source("billing_connector_uuid", "subscription_external_id")} AS subscription,
                {_within_source("billing_connector_uuid", "subscription_set_external_id")} AS subscription_set
            FROM {quoted(activities)} LEFT JOIN movement_ranks USING (uuid)
        ), placed AS (
            SELECT id, date, rank, subscription,
                row_number() OVER equals - 1 AS ordinal,
                CASE
                    WHEN subscription IS NOT NULL AND row_number() OVER of_subscription > 1
                    THEN lag(plan) OVER of_subscription
                    WHEN subscription_set IS NOT NULL
                    THEN lag(plan) OVER of_set
                END AS previous_plan
            FROM movement
            WINDOW
                equals AS (PARTITION BY identity ORDER BY rank, id),
                of_subscription AS (PARTITION BY subscription ORDER BY date, rank, identity, id),
                of_set AS (PARTITION BY subscription_set ORDER BY date, rank, identity, id)
        ), period AS (
            SELECT {_within_source("data_source_uuid", "subscription_external_id")} AS subscription,
                service_period_start, service_period_end, quantity
            FROM {quoted(line_items)}
            WHERE type = 'subscription' AND {COUNTS} AND service_period_start < service_period_end
        ), step AS (
            SELECT subscription, service_period_start AS moment, quantity, 1 AS periods FROM period
            UNION ALL
            SELECT subscription, service_period_end, -quantity, -1 FROM period
        ), level AS (
            SELECT subscription, moment,
                sum(sum(quantity)) OVER history AS quantity, sum(sum(periods)) OVER history AS periods
            FROM step
            GROUP BY subscription, moment
            HAVING sum(quantity) <> 0 OR sum(periods) <> 0
            WINDOW history AS (PARTITION BY subscription ORDER BY moment)
        )
        SELECT id, date, rank, ordinal, previous_plan,
            CASE WHEN level.periods > 0 THEN level.quantity::BIGINT END AS quantity
        FROM placed ASOF LEFT JOIN level
            ON placed.subscription = level.subscription AND placed.date >= level.moment
    """)
    connection.unregister("movement_ranks")
    return connection.sql(f"""
        SELECT {", ".join(f"{_DERIVED.get(name, quoted(name))} AS {quoted(name)}" for name in MRR_MOVEMENTS.by_name)}
        FROM {quoted(activities)} JOIN movement_derived USING (date)
        WHERE id = {_ID}
    """)


def _ranks(connection: duckdb.DuckDBPyConnection, activities: str) -> pa.Table:
    """(uuid, rank) of the movements that share customer and moment with others; all others are first.

    Only these few rows leave the database, and of them only numbers become Python's.
    """
    reader = connection.sql(f"""
        WITH activity AS (
            SELECT *, {CUSTOMER} AS customer FROM {quoted(activities)}
        ), moment AS (
            SELECT customer, date, count(*) AS size, coalesce(min(mrr), 0) AS mrr FROM activity GROUP BY customer, date
        ), shared AS (
            SELECT customer, date, size,
                CASE WHEN lag(size, 1, 1) OVER history = 1 THEN lag(mrr, 1, 0) OVER history END AS before
            FROM moment
            WINDOW history AS (PARTITION BY customer ORDER BY date)
            QUALIFY size > 1
        )
        SELECT uuid, size, before, coalesce(mrr_movement, 0) AS mrr_movement, coalesce(mrr, 0) AS mrr
        FROM shared JOIN activity
            ON shared.date = activity.date AND shared.customer IS NOT DISTINCT FROM activity.customer
        ORDER BY shared.customer, shared.date, {", ".join(TIES)}
    """).to_arrow_reader()
    uuids: list[pa.Array[pa.StringScalar]] = []
    ranks = array("q")
    last = 0
    rows = _numbers(reader, uuids)
    for size, before, *first in rows:
        steps = [(first[0], first[1]), *((movement, mrr) for _, _, movement, mrr in islice(rows, size - 1))]
        # Without a figure of its own, the moment before was shared too: it is the group that came last.
        order = chained(steps, last if before is None else before) or range(size)
        places = sorted(range(size), key=order.__getitem__)
        ranks.extend(place + 1 for place in places)
        last = steps[order[-1]][1]
    # From a buffer: given a list, pa.array imports pandas (0.6 s, 60 MB) to see whether it is one of its own.
    rank = pa.Array.from_buffers(pa.int64(), len(ranks), [None, pa.py_buffer(ranks)])
    return pa.Table.from_arrays([pa.chunked_array(uuids, pa.string()), pa.chunked_array([rank])], ["uuid", "rank"])


def _numbers(reader: pa.RecordBatchReader, uuids: list[pa.Array[pa.StringScalar]]) -> Iterator[tuple[int, ...]]:
    for batch in reader:
        uuids.append(batch["uuid"])
        yield from zip(*(batch[name].to_pylist() for name in batch.schema.names[1:]), strict=True)


def chained(steps: Sequence[tuple[int, int]], before: int) -> list[int] | None:
    """The order in which movements of one moment add up, as indices; ``None`` where there is none.

    Args:
        steps: (movement, MRR after it) in the order of their ties, in cents.
        before: the customer's MRR before that moment.

    Each movement is an edge from the MRR it found to the MRR it left, and the order is a path over all edges:
    Hierholzer's algorithm gives the one that is first by ties, in time linear in their number. ChartMogul
    rounds MRR and movement each by itself (a recorded account says 4004 + 4004 = 8009), so an MRR found is an
    MRR left within a cent. Where the path is no circle its start follows from the edges, whatever ``before``
    says: MRR drifts with exchange rates between movements.
    """
    left = {before, *(mrr for _, mrr in steps)}
    found = [
        next((mrr for mrr in (exact, exact - 1, exact + 1) if mrr in left), exact)
        for exact in (mrr - movement for movement, mrr in steps)
    ]
    surplus = Counter(found)
    surplus.subtract(mrr for _, mrr in steps)
    circle = before if before in found else found[0]
    start = next((mrr for mrr, edges in surplus.items() if edges > 0), circle)
    leaving: defaultdict[int, list[int]] = defaultdict(list)
    for index in reversed(range(len(steps))):
        leaving[found[index]].append(index)
    order: list[int] = []
    walk: list[int] = []
    here = start
    while True:
        if leaving[here]:
            walk.append(leaving[here].pop())
            here = steps[walk[-1]][1]
        elif walk:
            order.append(walk.pop())
            here = found[order[-1]]
        else:
            break
    order.reverse()
    adds_up = len(order) == len(steps) and all(steps[one][1] == found[other] for one, other in pairwise(order))
    return order if adds_up else None
