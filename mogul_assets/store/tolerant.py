"""Row by row: how a page is typed that the fast path refuses.

Slower by an order of magnitude, and asked only for single pages. A row that cannot be read is set aside with
its reason and its own JSON; the rows around it are kept.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Raw

from mogul_assets.account.pages import Page
from mogul_assets.catalog.columns import Column, Dataset
from mogul_assets.store.shape import COLLECTIONS, SEQUENCE, order, typed_columns
from mogul_assets.store.values import READERS, Refused, assemble, text


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row set aside: of which dataset, why, and the JSON it came as."""

    dataset: str
    reason: str
    body: str

    def text_at(self, path: str) -> str | None:
        """The text at a path of it; ``None`` where that cannot be read either."""
        try:
            raw = at(Raw(self.body.encode()), path)
            return None if raw is None else text(raw)
        except Refused:
            return None


@dataclass
class Typed:
    rows: dict[str, list[dict[str, Any]]]
    entries: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    rejected: list[Rejected] = field(default_factory=list)


_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)", re.DOTALL)
"""One escape of a JSON string; the group holds half a surrogate pair that stands alone."""


def entries(body: bytes, root: str) -> list[Raw]:
    """The entries of a page, each as it came.

    Raises:
        Refused: where the page is not an object with that list.
    """
    # Half a pair makes the whole page unreadable to msgspec: it is split with another character of that length.
    whole = _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], body)
    try:
        rows = msgspec.json.decode(msgspec.json.decode(whole, type=dict[str, Raw])[root], type=list[Raw])
    except (msgspec.MsgspecError, UnicodeError, KeyError, RecursionError):
        raise Refused(f"the page has no list '{root}'") from None
    return rows if whole == body else list(_originals(rows, whole, body))


def _originals(rows: Iterable[Raw], whole: bytes, body: bytes) -> Iterator[Raw]:
    at = 0
    for row in rows:
        at = whole.index(bytes(row), at)
        end = at + len(bytes(row))
        yield Raw(body[at:end])
        at = end


def unknown_fields(rows: Iterable[Raw], known: Mapping[str, Any]) -> Counter[tuple[str, ...]]:
    """How often each field occurs that ``known`` does not name; ``known`` is nested as the objects are."""
    found: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        found.update(_unknown(row, known, ()))
    return found


def _unknown(raw: Raw, known: Mapping[str, Any], prefix: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    try:
        fields = _object(raw)
    except Refused:
        return  # the row is set aside as it came, with these fields in it
    for name, value in fields.items():
        if name not in known:
            yield (*prefix, name)
        elif known[name]:
            nested = msgspec.json.decode(value, type=list[Raw]) if bytes(value).startswith(b"[") else [value]
            for inner in nested:
                yield from _unknown(inner, known[name], (*prefix, name))


def type_page(page: Page, root: str, datasets: Iterable[Dataset], known: Mapping[str, Any]) -> Typed:
    """The rows of one page by dataset, each a mapping by column.

    ``known`` are the declared fields, to count the others.
    """
    datasets = tuple(datasets)
    typed = Typed({dataset.name: [] for dataset in datasets})
    try:
        rows = entries(page.body, root)
    except Refused as refusal:
        typed.rejected += [Rejected(d.name, str(refusal), page.body.decode(errors="replace")) for d in datasets]
        return typed
    typed.entries = len(rows)
    typed.unknown = Counter({".".join(path): n for path, n in unknown_fields(rows, known).items()})
    for position, entry in enumerate(rows):
        sequence = order(page=page.sequence, entry=position)
        for dataset in datasets:
            for made in _rows(dataset, entry, page.shard):
                if isinstance(made, Rejected):
                    typed.rejected.append(made)
                else:
                    typed.rows[dataset.name].append({**made, SEQUENCE: sequence})
    return typed


def _rows(dataset: Dataset, entry: Raw, shard: Mapping[str, str]) -> Iterator[dict[str, Any] | Rejected]:
    columns = typed_columns(dataset)
    if dataset.each in COLLECTIONS:
        yield from _collected(dataset, columns, entry, shard)
    elif dataset.each is None:
        yield _row(dataset, columns, entry, None, shard)
    else:
        try:
            items = _items(at(entry, dataset.each))
        except Refused as refusal:
            yield _rejected(dataset, refusal, entry)
            return
        for item in items:
            yield _row(dataset, columns, item, entry, shard)


def _items(raw: Raw | None) -> list[Raw]:
    if raw is None or bytes(raw) in (b"", b"null"):
        return []
    try:
        return msgspec.json.decode(raw, type=list[Raw])
    except msgspec.MsgspecError:
        return [raw]  # not a list: one row, which is then set aside with what is wrong with it


def _row(
    dataset: Dataset, columns: Iterable[Column], entry: Raw, outer: Raw | None, shard: Mapping[str, str]
) -> dict[str, Any] | Rejected:
    if not bytes(entry).startswith(b"{"):
        return _rejected(dataset, Refused("not an object"), entry)
    try:
        row = {column.name: value_of(column, entry, outer, shard) for column in columns}
        _complete(columns, row)
    except Refused as refusal:
        return _rejected(dataset, refusal, entry)
    return row


def _collected(
    dataset: Dataset, columns: Iterable[Column], entry: Raw, shard: Mapping[str, str]
) -> Iterator[dict[str, Any] | Rejected]:
    collection = COLLECTIONS[dataset.each or ""]
    try:
        made = list(collection.rows(*(at(entry, path) or Raw() for path in collection.needs)))
        for row in made:
            primary = collection.everywhere is None or row["is_primary"]
            for column in columns:
                if column.name in collection.fills:
                    continue
                holds = primary or column.name in (collection.everywhere or ())
                row[column.name] = value_of(column, entry, entry, shard) if holds else None
            _complete(columns, row)
    except Refused as refusal:
        yield _rejected(dataset, refusal, entry)
        return
    yield from made


def _complete(columns: Iterable[Column], row: Mapping[str, Any]) -> None:
    for column in columns:
        if not column.nullable and row.get(column.name) is None:
            raise Refused(f"{column.name} is missing")


def value_of(column: Column, entry: Raw, outer: Raw | None, shard: Mapping[str, str]) -> Any:
    if column.parts:
        return assemble((key, bytes(at(entry, source) or b"")) for key, source in column.parts)
    for source in (column.source, column.or_source):
        if source is None:
            continue
        if source.lstrip("^").startswith("@"):
            value: Any = shard.get(source.lstrip("^@"))
        else:
            raw = at(outer or Raw(), source[1:]) if source.startswith("^") else at(entry, source)
            try:
                value = text(raw) if column.enum else READERS[column.kind](raw)
            except Refused as refusal:
                raise Refused(f"{column.name}: {refusal}") from None
        if value is not None:
            return column.enum.index(value) if column.enum and value in column.enum else None if column.enum else value
    return None


def at(raw: Raw, path: str) -> Raw | None:
    value: Raw | None = raw
    *outer, last = path.split(".")
    for name in outer:
        value = _object(value).get(name) if value is not None else None
        if value is not None and bytes(value) not in _NO_OBJECT and not bytes(value).startswith(b"{"):
            raise Refused(f"{name} is not an object")
    return _object(value).get(last) if value is not None else None


_NO_OBJECT = frozenset({b"null", b"[]"})
"""What may stand for an object that is empty: some servers write the list."""


def _object(raw: Raw) -> dict[str, Raw]:
    """The fields of an object; of two that share a name, the last. Anything else has none."""
    if not bytes(raw).startswith(b"{"):
        return {}
    try:
        return msgspec.json.decode(raw, type=dict[str, Raw])
    except (msgspec.MsgspecError, UnicodeError):
        raise Refused("text that is not valid Unicode") from None


def _rejected(dataset: Dataset, refusal: Refused, body: Raw) -> Rejected:
    return Rejected(dataset.name, str(refusal), bytes(body).decode(errors="replace"))
