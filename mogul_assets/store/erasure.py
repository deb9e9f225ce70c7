"""Forgetting a customer: nothing of it stays in the store, in no file of any age.

What the customer is known by is written down first, so that a process that dies at any moment leaves tables that can
be read, and who begins again goes on where it ended; last of all that goes, too.

Files are not changed here either: of datasets new ones are written, and the pointers move; raw reads and quarantine
are replaced at once, and what is left in them is as it was to the byte.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import filelock
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Raw

from mogul_assets.account.pages import Page
from mogul_assets.catalog.columns import Dataset
from mogul_assets.catalog.datasets import CUSTOMER_RECORDS, KNOWN, SOURCE_CUSTOMERS
from mogul_assets.catalog.reads import READS
from mogul_assets.catalog.window import Month
from mogul_assets.errors import StoreBusy
from mogul_assets.store import durable, settle, tolerant
from mogul_assets.store.person import Person, own_ids
from mogul_assets.store.shape import COLLECTIONS, typed_datasets
from mogul_assets.store.sql import parquet, quoted
from mogul_assets.store.store import INCIDENTS, NEWS_LOCK, WATERMARKS, Store, group_of
from mogul_assets.store.table import DataFile, Table, generation_after, new_generation
from mogul_assets.store.values import Refused

PERSONAL: Mapping[str, Dataset] = {name: dataset for name, dataset in KNOWN.items() if dataset.about is not None}
"""The datasets whose rows are a customer's."""
ENTRIES: Mapping[str, Dataset] = {
    read: dataset
    for read in READS
    for dataset in typed_datasets(read)
    if dataset.each is None and dataset.about is not None
}
"""The reads whose entries are a customer's, each with the dataset whose rows its entries are; the customers first."""
_TOLD = ("error", "text", "title")
"""Where small files of the store have sentences in them: some name a row that was refused."""


@dataclass
class Found:
    """What the store has of a person: rows by dataset, entries of raw reads by read, and rows in quarantine by read.

    ``older`` counts rows in files that no pointer names any more. ``merged_into`` are the customers that its records
    belong to now.
    """

    person: Person
    rows: Counter[str] = field(default_factory=Counter)
    entries: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    older: int = 0
    merged_into: tuple[str, ...] = ()

    @property
    def anything(self) -> bool:
        return bool(self.rows.total() + self.entries.total() + self.quarantined.total() + self.older)


def find(store: Store, uuid: str) -> Found:
    """All that the store has of the customer. Changes nothing.

    Raises:
        StoreBusy: another process writes to it.
    """
    with _alone(store), _database(store) as connection:
        return _found(connection, store, uuid)


def unfinished(store: Store, uuid: str) -> Person | None:
    """The customer, where somebody began to forget it, and did not come to the end.

    Raises:
        StoreBusy: that is another one.
    """
    try:
        begun = msgspec.json.decode(_note(store).read_bytes(), type=Person)
    except FileNotFoundError:
        return None
    if begun.uuid != uuid:
        raise StoreBusy(
            "another customer was begun to be forgotten", remedy=f"first: mogul forget-customer {begun.uuid}"
        )
    return begun


def forget(store: Store, uuid: str) -> Found:
    """Remove the customer from the store; what was found of it. ``finished`` is to be called when all else is done.

    Raises:
        StoreBusy: another process writes to it.
        StoreUnwritable: its place is full; what was not removed yet stands, and may be removed by another call.
    """
    with _alone(store), durable.writing_to(store.root), _database(store) as connection:
        found = _found(connection, store, uuid, unfinished(store, uuid))
        durable.replace(_note(store), msgspec.json.encode(found.person), mode=0o600)
        for file in _quarantine_files(store):
            _out_of_quarantine(file, found.person)
        for read in ENTRIES:
            for landed in store.raw_reads(read):
                if any(parted(read, page, found.person)[1] for page in store.raw_pages(landed)):
                    pages = (_without(read, page, found.person) for page in store.raw_pages(landed))
                    store.land_again(landed, pages)
        store.name_no_more(CUSTOMER_RECORDS.read, uuid)
        for group in dict.fromkeys(map(group_of, PERSONAL.values())):
            _out_of_datasets(connection, store, group, found.person)
        store.purge(grace_seconds=-1)
        for path in (*(store.root / WATERMARKS).rglob("*.json"), store.root / INCIDENTS):
            _unnamed(path, found.person)
    return found


def finished(store: Store) -> None:
    """The customer is forgotten everywhere: what it was known by is, too."""
    note = _note(store)
    for file in (note, *note.parent.glob(f".{note.name}.*")):  # the others are of processes that were killed
        file.unlink(missing_ok=True)


def _note(store: Store) -> Path:
    return store.root / "forgetting.json"


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Nobody else writes to the store: neither a refresh nor who reads the news."""
    with store.writing():
        news = filelock.FileLock(store.root / NEWS_LOCK)
        try:
            news.acquire(timeout=20)
        except filelock.Timeout:
            raise StoreBusy("another process reads the news", remedy="wait for it, then again") from None
        with news:
            yield


# -- looking --------------------------------------------------------------------------------------------------


def _found(connection: duckdb.DuckDBPyConnection, store: Store, uuid: str, before: Person | None = None) -> Found:
    person, merged_into = _known(connection, store, uuid)
    found = Found(person.with_all_of(before), merged_into=merged_into)
    _look_at_entries(store, found)
    for read, body in _quarantined(store):
        found.quarantined[read] += _rejected(read, body, found.person)
    for name, dataset in PERSONAL.items():
        table = store.table(name)
        standing = set(table.paths) if table is not None else set()
        for path, rows in _counted(connection, store, dataset, found.person).items():
            if path in standing:
                found.rows[name] += rows
            else:
                found.older += rows
    found.entries, found.quarantined = +found.entries, +found.quarantined
    return found


@contextmanager
def _database(store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    generation, step = new_generation(), "forgetting"
    try:
        with settle.database(store.scratch(generation, step)) as connection:
            yield connection
    finally:
        store.clear_scratch(generation, step)


def _known(connection: duckdb.DuckDBPyConnection, store: Store, uuid: str) -> tuple[Person, tuple[str, ...]]:
    """The person by what all files of the store say of its uuid, and the customers that its records belong to now."""
    owners: dict[tuple[str, str], str] = {}
    owned = store.table(SOURCE_CUSTOMERS.name)
    person = Person(uuid)
    records, known = set[tuple[str, str]](), {"words": set[str](), "movements": set[str](), "keys": set[str]()}
    for dataset in PERSONAL.values():
        about = dataset.about
        assert about is not None
        if about.uuid is None:
            continue
        columns = {"words": about.words}
        if "movement_key" in dataset.by_name:
            columns |= {"movements": ("uuid",), "keys": ("movement_key",)}
        if about.record:
            found = _rows(connection, store, dataset, about.record, person.rows(about))
            records |= {(source, id_) for source, id_, _ in found}
        for kind, names in columns.items():
            for name in names:
                found = _rows(connection, store, dataset, (name,), person.rows(about))
                known[kind] |= {value for value, _ in found if value}
    records = {record for record in records if None not in record}
    if owned is not None:
        # A record that went to another customer is that one's: it may be a person who is not to be forgotten.
        sql = f"SELECT data_source_uuid, external_id, uuid FROM {parquet(owned.paths)}"
        wanted = ", ".join(f"({_literals(record)})" for record in sorted(records))
        if wanted:
            sql += f" WHERE (data_source_uuid, external_id) IN ({wanted})"
            owners = {(source, id_): owner for source, id_, owner in connection.execute(sql).fetchall()}
    records = {record for record in records if owners.get(record, uuid) == uuid}
    person = Person(uuid, records=frozenset(records), **{kind: frozenset(values) for kind, values in known.items()})
    return person, tuple(sorted(set(owners.values()) - {uuid}))


def _literals(values: Sequence[str]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)


def _rows(
    connection: duckdb.DuckDBPyConnection, store: Store, dataset: Dataset, columns: Sequence[str], condition: str
) -> list[tuple[Any, ...]]:
    """What these columns hold in rows that meet the condition, in files of any age, and how many rows each.

    Nothing, where all files are an earlier version's and lack the columns.
    """
    files = sorted((store.root / "data" / dataset.name).rglob("*.parquet"))
    with suppress(duckdb.BinderException):
        names = ", ".join(map(quoted, columns))
        sql = f"SELECT {names}, count(*) FROM {parquet(files)} WHERE {condition} GROUP BY ALL"
        return connection.execute(sql).fetchall() if files else []
    return []


def _counted(
    connection: duckdb.DuckDBPyConnection, store: Store, dataset: Dataset, person: Person
) -> Mapping[str, int]:
    """The person's rows by file; of all of a dataset's files, whatever their age."""
    return dict(_rows(connection, store, dataset, ("filename",), _condition(store, dataset, person)))


def _condition(store: Store, dataset: Dataset, person: Person) -> str:
    """The rows that are the person's, or refer to such rows within their read."""
    assert dataset.about is not None
    found = [person.rows(dataset.about)]
    for reference in dataset.references:
        target = KNOWN[reference.dataset]
        if not reference.within_read or target.about is None or group_of(target) != group_of(dataset):
            continue
        table = store.table(target.name)
        if table is not None and table.paths:
            found.append(
                f"{quoted(reference.column)} IN (SELECT {quoted(reference.target)} FROM {parquet(table.paths)}"
                f" WHERE {person.rows(target.about)})"
            )
    return f"({' OR '.join(found)}) IS TRUE"


# -- raw reads ------------------------------------------------------------------------------------------------


def _look_at_entries(store: Store, found: Found) -> None:
    """Count the person's entries, and learn from them what is its: the customers come first."""
    for read in ENTRIES:
        for landed in store.raw_reads(read):
            for page in store.raw_pages(landed):
                for entry in parted(read, page, found.person)[1]:
                    found.entries[read] += 1
                    records = _records_of(entry) if read == CUSTOMER_RECORDS.read else ()
                    more = Person(found.person.uuid, records=frozenset(records), parts=frozenset(own_ids(entry)))
                    found.person = found.person.with_all_of(more)


def _records_of(entry: bytes) -> Iterator[tuple[str, str]]:
    collection = COLLECTIONS["data_source_uuids"]
    with suppress(Refused):
        for row in collection.rows(*(tolerant.at(Raw(entry), path) or Raw() for path in collection.needs)):
            yield row["data_source_uuid"], row["external_id"]


def parted(read: str, page: Page, person: Person) -> tuple[bytes, list[bytes]]:
    """The page's body without the person's entries, each other byte as it came; and those entries."""
    marks = [id_.encode(errors="replace") for id_ in person.ids]
    body = page.body
    if b"\\" not in body and not any(mark in body for mark in marks):
        return body, []
    root = READS[read].root or ""
    try:
        entries = tolerant.entries(body, root)
    except Refused:  # such a page is in quarantine, whole
        empty = msgspec.json.encode({root: []})
        return (empty, [b""]) if any(mark in body for mark in marks) else (body, [])
    spans, at = [], 0
    for entry in entries:
        at = body.index(bytes(entry), at)
        spans.append((at, at + len(bytes(entry))))
        at += len(bytes(entry))
    gone = [_is_about(read, entry, page.shard, person) for entry in entries]
    if not any(gone):
        return body, []
    between = [b"", *(body[end:start] for (_, end), (start, _) in pairwise(spans))]
    left = [(comma, bytes(entry)) for comma, entry, away in zip(between, entries, gone, strict=True) if not away]
    rest = b"".join(comma + entry for comma, entry in left).removeprefix(left[0][0] if left else b"")
    removed = [bytes(entry) for entry, away in zip(entries, gone, strict=True) if away]
    return body[: spans[0][0]] + rest + body[spans[-1][1] :], removed


def _without(read: str, page: Page, person: Person) -> Page:
    return Page(read, parted(read, page, person)[0], page.sequence, page.taken_at, page.shard)


def _is_about(read: str, entry: Raw, shard: Mapping[str, str], person: Person) -> bool:
    dataset = ENTRIES[read]
    about = dataset.about
    assert about is not None

    def value(column: str) -> Any:
        with suppress(Refused):
            return tolerant.value_of(dataset.by_name[column], entry, None, shard)
        return None

    if about.uuid is not None and value(about.uuid) == person.uuid:
        return True
    return about.record is not None and (value(about.record[0]), value(about.record[1])) in person.records


# -- quarantine -----------------------------------------------------------------------------------------------


def _quarantine_files(store: Store) -> list[Path]:
    return sorted((store.root / "quarantine").rglob("*.parquet"))


def _quarantined(store: Store) -> Iterator[tuple[str, str]]:
    for file in _quarantine_files(store):
        for body in pq.read_table(file, columns=["body"]).column("body").to_pylist():
            yield file.parent.name, body


def _rejected(read: str, body: str, person: Person) -> bool:
    """Whether a row in quarantine is the person's: it names it, or is a part of what does."""
    content = body.encode(errors="replace")
    named = person.quoted_in(content) or person.owns(content)
    return named or (read in ENTRIES and _is_about(read, Raw(content), {}, person))


def _out_of_quarantine(file: Path, person: Person) -> None:
    rows = pq.read_table(file)
    stay = [not _rejected(file.parent.name, body, person) for body in rows.column("body").to_pylist()]
    if all(stay):
        return
    if not any(stay):
        file.unlink()
    else:
        sink = pa.BufferOutputStream()
        pq.write_table(rows.filter(pa.array(stay)), sink, compression="zstd")
        age = file.stat()
        durable.replace(file, sink.getvalue().to_pybytes())
        os.utime(file, ns=(age.st_atime_ns, age.st_mtime_ns))  # it goes with age, which is not today's


# -- datasets -------------------------------------------------------------------------------------------------


def _out_of_datasets(connection: duckdb.DuckDBPyConnection, store: Store, group: str, person: Person) -> None:
    """Write the files of a group anew that have rows of the person, and move its pointer."""
    pointer = store.pointer(group)
    if pointer is None:
        return
    generation = generation_after(pointer.generation)
    tables = {name: table for name in pointer.datasets if (table := store.table(name)) is not None}
    theirs = {
        name: _counted(connection, store, PERSONAL[name], person).keys() & set(table.paths)
        for name, table in tables.items()
        if name in PERSONAL
    }
    if not any(theirs.values()):
        return
    written = {
        KNOWN[name]: _rewritten(
            connection,
            table,
            theirs.get(name, ()),
            _condition(store, PERSONAL[name], person) if name in theirs else "false",
            store.folder(KNOWN[name], generation),
        )
        for name, table in tables.items()
    }
    store.publish(
        written,
        generation=generation,
        read_at=pointer.read_at,
        typed_from=pointer.typed_from,
        open_from=Month.parse(pointer.open_from) if pointer.open_from else None,
        checks=pointer.checks,
        facts=pointer.facts,
    )


def _rewritten(
    connection: duckdb.DuckDBPyConnection, table: Table, theirs: Collection[str], condition: str, folder: Path
) -> Sequence[DataFile]:
    """The table's files, those with the person's rows written without them: as a refresh would have written them."""
    stay = [file for file in table.files if file.path not in theirs]
    if not theirs:
        return stay
    rows = f"(SELECT * FROM {parquet(sorted(theirs))} WHERE NOT {condition})"
    fresh = settle.write(connection, rows, KNOWN[table.dataset], folder, folder.name)
    return sorted([*stay, *fresh], key=lambda file: str(file.month))


# -- small files ----------------------------------------------------------------------------------------------


def _unnamed(path: Path, person: Person) -> None:
    """Take the person out of the sentences of a small file: an error may name the row that was refused."""

    def without(value: Any) -> Any:
        if isinstance(value, list):
            return [without(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            name: person.unnamed(item) if name in _TOLD and isinstance(item, str) else without(item)
            for name, item in value.items()
        }

    with suppress(FileNotFoundError, msgspec.DecodeError):  # what cannot be read is begun anew by who needs it
        before = msgspec.json.decode(path.read_bytes())
        if (after := without(before)) != before:
            durable.replace(path, msgspec.json.encode(after))
