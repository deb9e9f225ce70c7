"""Settling the datasets that a list makes: typed, unique, sorted, checked, and moved all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa

from mogul_assets.account.lists import LISTS
from mogul_assets.catalog.columns import Dataset
from mogul_assets.catalog.datasets import CUSTOM_ATTRIBUTES, INVOICES
from mogul_assets.refresh.checked import Refreshed, checked, note_copies, plain, tables_of
from mogul_assets.refresh.reads import landed_reads
from mogul_assets.refresh.relations import Typed, register, stood, typed_parts, view, working
from mogul_assets.store import durable, settle
from mogul_assets.store.shape import PLACE, typed_datasets
from mogul_assets.store.sql import parquet, quoted
from mogul_assets.store.store import GONE_ENTRIES, RawRead, Store, group_of
from mogul_assets.store.table import DataFile, Table

EDITED, GONE = "edited since the last reading", "gone since the last reading"
"""Rows of each dataset, found when a list is read whole: what a partial reading cannot see is among them."""


def settle_read(store: Store, read: str, *, generation: str, quarantine_limit: float) -> Refreshed:
    """Type what was landed of the read and move the datasets that it makes, all at once.

    Raises:
        DataRefused: a blocking check failed; the new files lie beside the old, and nothing moved.
    """
    standing = landed_reads(store, read)
    last, before = standing[-1], {dataset: stood(store, dataset.name) for dataset in typed_datasets(read)}
    with working(store, generation, read) as (connection, scratch):
        typed = typed_parts(store, read, standing, scratch)
        written: dict[Dataset, Sequence[DataFile]] = {}
        facts = typed.facts()
        if len(standing) > 1:
            _read_again(connection, read, standing, typed)
        for dataset in typed_datasets(read):
            part = parquet([typed.parts[dataset.name]])
            rows = settle.unique(connection, _latest(part, dataset) if len(standing) > 1 else part, dataset)
            note_copies(facts, dataset, rows)
            view(connection, f"unique_{dataset.name}", rows.sql)
            relation = _completed(connection, store, dataset, f"unique_{dataset.name}")
            with durable.writing_to(store.root):
                written[dataset] = settle.write(
                    connection, relation, dataset, store.folder(dataset, generation), generation
                )
        if not last.partial and not settled(store, read):
            facts |= _unseen(connection, before, written)
        found = checked(connection, store, written, typed, quarantine_limit)
        store.publish(
            written,
            generation=generation,
            read_at=last.read_at,
            typed_from=[landed.generation for landed in standing],
            checks=plain(found),
            facts=facts,
        )
    return Refreshed(tables_of(store, written), facts, found)


def settled(store: Store, read: str) -> bool:
    """Whether the datasets of a list are what was landed of it last."""
    pointer = store.pointer(group_of(typed_datasets(read)[0]))
    return pointer is not None and pointer.typed_from == [landed.generation for landed in store.raw_reads(read)]


def _read_again(connection: duckdb.DuckDBPyConnection, read: str, standing: Sequence[RawRead], typed: Typed) -> None:
    """Temporary table ``read_again``: the entries of partial reads, and the last read (by its place) that had each.

    One that the account said is gone is in it too, and in no read from then on.
    """
    (entries,) = (dataset for dataset in typed_datasets(read) if dataset.each is None)
    kind = entries.by_name[_entry(entries)].kind.arrow
    gone = [
        (str(entry), place) for place, landed in enumerate(standing) for entry in landed.facts.get(GONE_ENTRIES, [])
    ]
    names, places = zip(*gone, strict=True) if gone else ((), ())
    connection.register(
        "gone", pa.table({"entry": pa.array(names, pa.string()).cast(kind), "place": pa.array(places, pa.int64())})
    )
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE read_again AS SELECT entry, max(place) AS place FROM (
            SELECT {quoted(_entry(entries))} AS entry, {PLACE} AS place
            FROM {parquet([typed.parts[entries.name]])} WHERE {PLACE} > 0
            UNION ALL FROM gone
        ) GROUP BY entry
    """)


def _latest(part: str, dataset: Dataset) -> str:
    """The typed rows that count: of each entry those of the last read that has it, so that what it lost is lost."""
    return (
        f"(SELECT part.* FROM {part} AS part"
        f" LEFT JOIN read_again AS again ON again.entry = part.{quoted(_entry(dataset))}"
        f" WHERE again.place IS NULL OR again.place = {PLACE})"
    )


def _entry(dataset: Dataset) -> str:
    """The column that names the entry of the list that a row was made from."""
    key = LISTS[dataset.read].key
    source = key if dataset.each is None else f"^{key}"
    return next(column.name for column in dataset.columns if column.source == source)


def _unseen(
    connection: duckdb.DuckDBPyConnection,
    before: Mapping[Dataset, Table | None],
    written: Mapping[Dataset, Sequence[DataFile]],
) -> dict[str, dict[str, int]]:
    """How many rows of the tables before are other ones in the new files, and how many are in them no more.

    Rows are compared as 64-bit digests of key and content: 32 bytes each, however wide.
    """
    edited, gone = {}, {}
    for dataset, table in before.items():
        if table is None:
            continue
        edited[dataset.name] = gone[dataset.name] = 0
        if {file.sha256 for file in table.files} == {file.sha256 for file in written[dataset]}:
            continue
        key, row = (", ".join(map(quoted, names)) for names in (dataset.key, dataset.schema.names))
        digests = f"(SELECT hash({key}) AS key, hash({row}) AS row FROM {{}})"
        edited[dataset.name], gone[dataset.name] = connection.execute(
            "SELECT count(*) FILTER (new.row <> old.row), count(*) FILTER (new.row IS NULL)"
            f" FROM {digests.format(parquet(table.paths))} AS old"
            f" LEFT JOIN {digests.format(parquet([file.path for file in written[dataset]]))} AS new USING (key)"
        ).fetchall()[0]
    return {EDITED: edited, GONE: gone} if edited else {}


def _completed(connection: duckdb.DuckDBPyConnection, store: Store, dataset: Dataset, relation: str) -> str:
    """The relation with the columns that only the whole read, or another dataset, can fill."""
    if dataset is CUSTOM_ATTRIBUTES:
        return f"({_ATTRIBUTE_TYPES.format(relation=relation)})"
    if dataset is INVOICES:
        register(connection, store, "source_customers")
        # Invoices are sorted part by part: what all parts need is computed once.
        connection.execute(_CUSTOMER_IDS)
        return f"({_INVOICE_CUSTOMERS.format(relation=relation)})"
    return relation


_ATTRIBUTE_TYPES = """
    SELECT customer_uuid, name, value, type FROM {relation} JOIN (
        SELECT name, CASE
            WHEN count(*) FILTER (kind <> 'nothing') = 0 THEN 'String'
            WHEN bool_and(kind = 'flag') FILTER (kind <> 'nothing') THEN 'Boolean'
            WHEN bool_and(kind = 'integer') FILTER (kind <> 'nothing') THEN 'Integer'
            WHEN bool_and(kind IN ('integer', 'decimal')) FILTER (kind <> 'nothing') THEN 'Decimal'
            WHEN bool_and(kind = 'moment') FILTER (kind <> 'nothing') THEN 'Timestamp'
            ELSE 'String'
        END AS type
        FROM {relation} GROUP BY name
    ) USING (name)
"""

_CUSTOMER_IDS = """
    CREATE OR REPLACE TEMP TABLE customer_ids AS
    SELECT md5_number(uuid || ' ' || data_source_uuid) AS customer, min(external_id) AS external_id
    FROM source_customers GROUP BY ALL HAVING count(*) = 1
"""

_INVOICE_CUSTOMERS = """
    SELECT invoice.* REPLACE (
        coalesce(invoice.data_source_customer_external_id, customer_ids.external_id)
            AS data_source_customer_external_id
    )
    FROM {relation} AS invoice LEFT JOIN customer_ids
        ON customer_ids.customer = md5_number(invoice.customer_uuid || ' ' || invoice.data_source_uuid)
"""
