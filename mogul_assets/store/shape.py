"""What typing makes of a read: which datasets, which of their columns, and the rows of a customer's collections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import Raw

from mogul_assets.catalog.columns import Column, Dataset
from mogul_assets.catalog.datasets import CUSTOMER_RECORDS, CUSTOMERS, DATASETS
from mogul_assets.store.values import Refused, exact, is_moment

SEQUENCE = "_sequence"
"""Order in which rows were taken, beside the columns of typed parts: of duplicates, the last one wins.

A read's place among those that are typed together, a page's number in the read, and an entry's in the page.
"""
_PAGE_BITS, _ENTRY_BITS = 24, 20

PLACE = f"({SEQUENCE} >> {_PAGE_BITS + _ENTRY_BITS})"
"""The read's place, as SQL."""


def order(*, place: int = 0, page: int = 0, entry: int = 0) -> int:
    return (((place << _PAGE_BITS) + page) << _ENTRY_BITS) + entry


@dataclass(frozen=True)
class Collection:
    """A dataset made from a collection inside an entry.

    ``needs`` are fields of the entry, handed to ``rows`` as the JSON that stands in their place; ``fills`` are
    the columns that a row brings, ``extra`` further ones for later. ``everywhere`` names the outer columns
    that hold on every row; the others only on the primary one (``None``: all hold everywhere).
    """

    needs: tuple[str, ...]
    rows: Callable[..., Iterator[dict[str, Any]]]
    fills: tuple[str, ...]
    extra: tuple[str, ...] = ()
    everywhere: frozenset[str] | None = None


def typed_datasets(read: str) -> tuple[Dataset, ...]:
    """The datasets whose rows come from a read; of calculated ones, only what the API itself gives."""
    return tuple(d for d in (*DATASETS.values(), CUSTOMER_RECORDS) if d.read == read and d is not CUSTOMERS)


def typed_columns(dataset: Dataset) -> tuple[Column, ...]:
    """The columns that typing fills: those found in the API's object, or put together from its parts."""
    collection = COLLECTIONS.get(dataset.each or "")
    fills = collection.fills if collection else ()
    return tuple(c for c in dataset.columns if c.source is not None or c.parts or c.name in fills)


def typed_schema(dataset: Dataset) -> pa.Schema:
    """The schema of a dataset's typed parts: its typed columns, nullable as yet, and the sequence."""
    collection = COLLECTIONS.get(dataset.each or "")
    fields = [column.field.with_nullable(True) for column in typed_columns(dataset)]
    extra = [pa.field(name, pa.string()) for name in (collection.extra if collection else ())]
    return pa.schema([*fields, *extra, pa.field(SEQUENCE, pa.int64())])


def _attributes(custom: Raw) -> Iterator[dict[str, Any]]:
    """One row an attribute, with the kind of JSON it came as: the type is decided over the whole account."""
    for name, raw in _decode(custom, _OBJECT, "attributes.custom is not an object").items():
        body = bytes(raw)
        value = exact(raw)
        if body.startswith(b'"'):
            kind = "moment" if is_moment(value or "") else "string"
        elif body in (b"true", b"false"):
            kind = "flag"
        elif body == b"null":
            kind = "nothing"
        elif body[:1] in b"{[":
            kind = "string"
        else:
            kind = "integer" if body.lstrip(b"-").isdigit() else "decimal"
        yield {"name": name, "value": value, "kind": kind}


def _tags(tags: Raw) -> Iterator[dict[str, Any]]:
    for tag in _texts(tags, "attributes.tags is not a list"):
        if tag is None:
            raise Refused("a tag is null")
        yield {"tag": tag}


def _sources(uuids: Raw, externals: Raw, primary_uuid: Raw, primary_external: Raw) -> Iterator[dict[str, Any]]:
    sources = _texts(uuids, "data_source_uuids is not a list")
    external_ids = _texts(externals, "external_ids is not a list")
    if len(sources) != len(external_ids):
        raise Refused("data_source_uuids and external_ids are of unequal length")
    primary = (exact(primary_uuid), exact(primary_external))
    for pair in zip(sources, external_ids, strict=True):
        if None in pair:
            raise Refused("a data source or an external id is null")
        yield {"data_source_uuid": pair[0], "external_id": pair[1], "is_primary": pair == primary}


_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_LIST = msgspec.json.Decoder(list[Raw])
_STRINGS = msgspec.json.Decoder(list[str])


def _texts(raw: Raw, reason: str) -> Sequence[str | None]:
    try:
        return _STRINGS.decode(raw)
    except msgspec.MsgspecError:
        return [exact(item) for item in _decode(raw, _LIST, reason)]


def _decode(raw: Raw, decoder: msgspec.json.Decoder[Any], reason: str) -> Any:
    """The collection; absent, null and the empty list that some servers write for an empty object are empty."""
    if bytes(raw) in (b"", b"null", b"[]"):
        return decoder.decode(b"{}" if decoder is _OBJECT else b"[]")
    try:
        return decoder.decode(raw)
    except msgspec.MsgspecError:
        raise Refused(reason) from None


COLLECTIONS: dict[str, Collection] = {
    "attributes.custom": Collection(("attributes.custom",), _attributes, ("name", "value"), extra=("kind",)),
    "attributes.tags": Collection(("attributes.tags",), _tags, ("tag",)),
    "data_source_uuids": Collection(
        ("data_source_uuids", "external_ids", "data_source_uuid", "external_id"),
        _sources,
        ("data_source_uuid", "external_id", "is_primary"),
        everywhere=frozenset({"customer_id", "uuid"}),
    ),
}
"""The collections of a customer, by the ``each`` of the dataset that they make."""
