"""Raw pages into typed columns: one fast path, and a tolerant one for what it refuses.

The fast path decodes a page into structs made from the catalogue (msgspec; ``Raw`` keeps free-form fields to
the byte) and turns them into Arrow columns. It refuses a page rather than guess: a page with a field nobody
declared is decoded again with that field added and counted; one with a value of an unexpected form goes row by
row through ``store.tolerant``, where a row that cannot be read is set aside with its reason and the others are
kept. Both paths give equal rows wherever the fast one accepts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from itertools import chain, repeat
from types import GenericAlias
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import UNSET, Raw, UnsetType

from mogul_assets.account.pages import Page
from mogul_assets.catalog.columns import Column, Dataset, Kind
from mogul_assets.catalog.datasets import LEFT_OUT
from mogul_assets.catalog.reads import READS
from mogul_assets.store import tolerant
from mogul_assets.store.shape import (
    COLLECTIONS,
    SEQUENCE,
    Collection,
    order,
    typed_columns,
    typed_datasets,
    typed_schema,
)
from mogul_assets.store.tolerant import Rejected
from mogul_assets.store.values import EARLIEST, EPOCH, LATEST, READERS, Refused, assemble, integer, number

BATCH_PAGES = 24
"""Pages typed at once: enough rows (4,800) to make the columns' fixed cost small, 6 MB of raw pages."""


@dataclass
class Report:
    """What typing found besides rows: ``drift`` and ``left_out`` count fields, ``rejected`` are the rows set aside."""

    entries: int = 0
    drift: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    rejected: list[Rejected] = field(default_factory=list)
    tolerant_pages: int = 0


class Typist:
    """Types the pages of one read. Keeps what it learned of unknown fields from page to page."""

    def __init__(self, read: str) -> None:
        self.read = read
        self.root = READS[read].root or ""
        self.datasets = typed_datasets(read)
        self.report = Report()
        sources = (source for dataset in self.datasets for c in typed_columns(dataset) for source, _ in _sources(c))
        self._asked = sorted({source.lstrip("^@") for source in sources if source.lstrip("^").startswith("@")})
        self._learned: set[tuple[str, ...]] = set()
        self._shape = _Shape.of(read, frozenset())

    def tables(self, pages: Iterable[Page]) -> Iterator[dict[str, pa.Table]]:
        """Typed rows by dataset, some thousand at a time; their order is in the sequence column.

        Parts that were read in parallel come page by page in turns, so pages are gathered by what they were asked
        with, where that matters: two pages at a time took twice as long as twenty-four.
        """
        gathered: dict[tuple[str | None, ...], list[Page]] = {}
        for page in pages:
            batch = gathered.setdefault(tuple(page.shard.get(name) for name in self._asked), [])
            batch.append(page)
            if len(batch) >= BATCH_PAGES:
                yield from self._batch(batch)
                batch.clear()
        for batch in gathered.values():
            if batch:
                yield from self._batch(batch)

    def _batch(self, pages: Sequence[Page]) -> Iterator[dict[str, pa.Table]]:
        try:
            yield self._columns(self._decoded(pages), pages)
        except (Refused, msgspec.MsgspecError, pa.ArrowException, OverflowError, UnicodeError, RecursionError):
            if len(pages) > 1:
                for page in pages:
                    yield from self._batch([page])
            else:
                yield self._tolerant(pages[0])

    def _decoded(self, pages: Sequence[Page]) -> list[list[Any]]:
        """The entries of each page, all of one shape: one page may teach a field that those before it lack."""
        while True:
            shape = self._shape
            decoded = [self._decode(page) for page in pages]
            if self._shape is shape:
                return decoded

    def _decode(self, page: Page) -> list[Any]:
        while True:
            try:
                return self._shape.decoder.decode(page.body).rows  # type: ignore[no-any-return]
            except msgspec.ValidationError:
                unknown = self._shape.unknown(tolerant.entries(page.body, self.root))
                if unknown <= self._learned:
                    raise
                self._learned |= unknown
                self._shape = _Shape.of(self.read, frozenset(self._learned))

    def _columns(self, decoded: Sequence[list[Any]], pages: Sequence[Page]) -> dict[str, pa.Table]:
        rows = list(chain.from_iterable(decoded))
        sequence = pa.array(
            chain.from_iterable(
                range(first := order(page=page.sequence), first + len(entries))
                for page, entries in zip(pages, decoded, strict=True)
            ),
            pa.int64(),
        )
        level = _Level(rows, self._shape.root, sequence, pages[0].shard)
        tables = {dataset.name: _typed(dataset, level) for dataset in self.datasets}
        for dataset in self.datasets:
            for column in typed_columns(dataset):
                if not column.nullable and tables[dataset.name].column(column.name).null_count:
                    raise Refused(f"{column.name} is missing")
        self.report.entries += len(rows)
        for path, count in level.counts():
            known = ".".join(path) in LEFT_OUT.get(self.read, {})
            (self.report.left_out if known else self.report.drift)[".".join(path)] += count
        return tables

    def _tolerant(self, page: Page) -> dict[str, pa.Table]:
        self.report.tolerant_pages += 1
        result = tolerant.type_page(page, self.root, self.datasets, self._shape.known)
        self.report.entries += result.entries
        self.report.rejected += result.rejected
        for path, count in result.unknown.items():
            known = path in LEFT_OUT.get(self.read, {})
            (self.report.left_out if known else self.report.drift)[path] += count
        return {
            dataset.name: pa.Table.from_pylist(result.rows[dataset.name], typed_schema(dataset))
            for dataset in self.datasets
        }


# -- the fast path: structs from the catalogue --------------------------------------------------------------

_TEXT, _INT, _FLOAT = str | int | None, int | str | None, float | int | str | None
_DECODED: dict[Kind, Any] = {
    Kind.TEXT: _TEXT,
    Kind.INT: _INT,
    Kind.FLOAT: _FLOAT,
    Kind.FLAG: bool | None,
    Kind.MOMENT: str | None,
    Kind.DAY: str | None,
    Kind.JSON: Raw,
}


@dataclass
class _Node:
    """One object of the API's answer: its fields that are decoded, and the objects and lists in it."""

    leaves: dict[str, Any] = field(default_factory=dict)
    objects: dict[str, _Node] = field(default_factory=dict)
    lists: dict[str, _Node] = field(default_factory=dict)
    counted: set[str] = field(default_factory=set)
    """Leaves that are there to be counted: unknown ones, and known ones without a column."""
    attributes: dict[str, str] = field(default_factory=dict)
    """The attribute of the struct, by the API's name."""

    def at(self, path: Sequence[str]) -> _Node:
        node = self
        for name in path:
            node = node.lists[name] if name in node.lists else node.objects.setdefault(name, _Node())
        return node

    def leaf(self, path: Sequence[str], kind: Any) -> None:
        node = self.at(path[:-1])
        if node.leaves.get(path[-1]) is not Raw:  # Raw holds whatever another column wants of it
            node.leaves[path[-1]] = kind

    def struct(self, name: str) -> type[msgspec.Struct]:
        names = [*self.leaves, *self.objects, *self.lists]
        self.attributes = {api: f"f{position}" for position, api in enumerate(names)}
        fields: list[tuple[str, Any, Any]] = []
        for api, attribute in self.attributes.items():
            if api in self.lists:
                inner = GenericAlias(list, (self.lists[api].struct(f"{name}_{attribute}"),))
                fields.append((attribute, inner | None, None))
            elif api in self.objects:
                fields.append((attribute, self.objects[api].struct(f"{name}_{attribute}") | None, None))
            elif api in self.counted:
                fields.append((attribute, Raw | UnsetType, UNSET))
            elif self.leaves[api] is Raw:
                fields.append((attribute, Raw, Raw()))
            else:
                fields.append((attribute, self.leaves[api], None))
        return msgspec.defstruct(
            name,
            fields,
            rename={attribute: api for api, attribute in self.attributes.items()},
            forbid_unknown_fields=True,
            gc=False,
        )

    def paths(self) -> dict[str, Any]:
        """The names known at each level, for ``unknown``: nested where an object or a list of objects is."""
        known: dict[str, Any] = dict.fromkeys(self.leaves)
        known |= {name: node.paths() for name, node in (self.objects | self.lists).items()}
        return known


@dataclass(frozen=True)
class _Shape:
    """What a page of one read looks like, as far as it is known by now."""

    root: _Node
    decoder: msgspec.json.Decoder[Any]
    known: dict[str, Any]
    """Names declared in the catalogue, nested; fields learned later are not in it, so they stay drift."""
    learned: dict[str, Any]

    @staticmethod
    @cache
    def of(read: str, learned: frozenset[tuple[str, ...]]) -> _Shape:
        root = _Node()
        for dataset in typed_datasets(read):
            if dataset.each is not None and dataset.each not in COLLECTIONS:
                root.lists.setdefault(dataset.each, _Node())
        for dataset in typed_datasets(read):
            collection = COLLECTIONS.get(dataset.each or "")
            inner = () if collection or dataset.each is None else (dataset.each,)
            for need in collection.needs if collection else ():
                root.leaf(need.split("."), Raw)
            for column in typed_columns(dataset):
                for source, kind in _sources(column):
                    if source.startswith("@"):
                        continue
                    outside = () if source.startswith("^") else inner
                    root.leaf([*outside, *source.lstrip("^").split(".")], kind)
        for dotted in LEFT_OUT.get(read, {}):
            _count(root, dotted.split("."))
        known = root.paths()
        for dotted in LEFT_OUT.get(read, {}):
            _forget(known, dotted.split("."))
        for path in learned:
            _count(root, path)
        rows = GenericAlias(list, (root.struct("Entry"),))
        page = msgspec.defstruct("Page", [("rows", rows)], rename={"rows": READS[read].root or ""})
        return _Shape(root, msgspec.json.Decoder(page), known, root.paths())

    def unknown(self, entries: Iterable[Raw]) -> set[tuple[str, ...]]:
        """Paths of fields that no struct has yet but could have, in the entries given."""
        found = tolerant.unknown_fields(entries, self.learned)
        return {path for path in found if not _UNNAMEABLE.search("".join(path))}


_UNNAMEABLE = re.compile(r'[\x00-\x1f"\\]')
"""What the name of a struct's field may not hold: pages with such a field go row by row."""


def _sources(column: Column) -> Iterator[tuple[str, Any]]:
    if column.parts:
        yield from ((source, Raw) for _, source in column.parts)
    for source in (column.source, column.or_source):
        if source is not None:
            yield source, _TEXT if column.enum else _DECODED[column.kind]


def _count(root: _Node, path: Sequence[str]) -> None:
    root.leaf(path, Raw)
    root.at(path[:-1]).counted.add(path[-1])


def _forget(known: dict[str, Any], path: Sequence[str]) -> None:
    for name in path[:-1]:
        known = known[name]
    known.pop(path[-1], None)


@cache
def _read_all(attribute: str) -> Callable[[Sequence[Any]], list[Any]]:
    """Reads one attribute of every row.

    Compiled with the name in it: 2.2 million values took 0.06 s, through ``operator.attrgetter`` 0.16 s.
    """
    read: Callable[[Sequence[Any]], list[Any]] = eval(f"lambda rows: [row.{attribute} for row in rows]")  # noqa: S307
    return read


@cache
def _read_some(attribute: str) -> Callable[[Sequence[Any]], list[Any]]:
    """Reads one attribute of every row that is there."""
    text = f"lambda rows: [None if row is None else row.{attribute} for row in rows]"
    read: Callable[[Sequence[Any]], list[Any]] = eval(text)  # noqa: S307 - attributes are f0, f1, … of our own making
    return read


class _Level:
    """The structs of one level (entries, or the line items in them), seen as columns."""

    def __init__(
        self,
        rows: Sequence[Any],
        node: _Node,
        sequence: pa.Array,
        shard: Mapping[str, str],
        outer: tuple[_Level, pa.Array] | None = None,
    ) -> None:
        self.rows, self.node, self.sequence, self.shard, self.outer = rows, node, sequence, shard, outer
        self._inner: dict[str, _Level] = {}
        self._arrays: dict[tuple[str, Kind], pa.Array] = {}

    def values(self, path: Sequence[str]) -> Sequence[Any]:
        """What stands at the path in each row; ``None`` where it, or an object on the way, is absent."""
        node, objects = self.node, self.rows
        for depth, name in enumerate(path):
            read = _read_some if depth else _read_all
            objects = read(node.attributes[name])(objects)
            node = node.objects.get(name, node)
        return objects

    def inner(self, name: str) -> _Level:
        """The rows of a list in each entry, one after the other, with the entries around them."""
        if name not in self._inner:
            lists = self.values((name,))
            rows = list(chain.from_iterable(items for items in lists if items))
            parents = pa.array(
                chain.from_iterable(repeat(at, len(items)) for at, items in enumerate(lists) if items), pa.int64()
            )
            self._inner[name] = _Level(
                rows, self.node.lists[name], self.sequence.take(parents), self.shard, (self, parents)
            )
        return self._inner[name]

    def array(self, source: str, kind: Kind) -> pa.Array:
        """One source of a column as Arrow.

        Raises:
            Refused: where a value has a form that only the tolerant path can judge.
        """
        if source.startswith("^"):
            assert self.outer is not None
            level, parents = self.outer
            return level.array(source[1:], kind).take(parents)
        if source.startswith("@"):  # what the page was asked for
            value = self.shard.get(source[1:])
            return pa.array([value] * len(self.rows), kind.arrow)
        if (source, kind) not in self._arrays:
            path = source.split(".")
            column = self.values(path)
            if kind is not Kind.JSON and self.node.at(path[:-1]).leaves[path[-1]] is Raw:
                column = [READERS[kind](raw) for raw in column]  # another dataset wants its exact JSON
            self._arrays[source, kind] = _ARROW[kind](column)
        return self._arrays[source, kind]

    def counts(self, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
        """How often each counted field is there, in this level and those below."""
        if not self.rows:
            return
        yield from self._counts(self.node, self.rows, prefix)
        for name in self.node.lists:
            yield from self.inner(name).counts((*prefix, name))

    def _counts(
        self, node: _Node, rows: Sequence[Any], prefix: tuple[str, ...]
    ) -> Iterator[tuple[tuple[str, ...], int]]:
        for name in sorted(node.counted):
            attribute = node.attributes[name]
            if found := sum(row is not None and getattr(row, attribute) is not UNSET for row in rows):
                yield (*prefix, name), found
        for name, inner in node.objects.items():
            if inner.counted or inner.objects:
                attribute = node.attributes[name]
                objects = [None if row is None else getattr(row, attribute) for row in rows]
                yield from self._counts(inner, objects, (*prefix, name))


def _typed(dataset: Dataset, entries: _Level) -> pa.Table:
    schema = typed_schema(dataset)
    if dataset.each in COLLECTIONS:
        return _collected(dataset, COLLECTIONS[dataset.each], entries)
    level = entries if dataset.each is None else entries.inner(dataset.each)
    if not level.rows:
        return schema.empty_table()
    arrays = [_column(column, level) for column in typed_columns(dataset)]
    return pa.Table.from_arrays([*arrays, level.sequence], schema=schema)


def _column(column: Column, level: _Level) -> pa.Array:
    if column.parts:
        return _parts(column.parts, level)
    assert column.source is not None
    kind = Kind.TEXT if column.enum else column.kind
    array = level.array(column.source, kind)
    if column.or_source is not None:
        array = pc.coalesce(array, level.array(column.or_source, kind))
    return _enum(array, column.enum) if column.enum else array


def _enum(array: pa.Array, words: tuple[str, ...]) -> pa.Array:
    return pc.index_in(array, value_set=pa.array(words)).cast(pa.int64())


def _parts(parts: Sequence[tuple[str, str]], level: _Level) -> pa.Array:
    columns = [level.values(source.split(".")) for _, source in parts]
    texts: dict[tuple[bytes, ...], str | None] = {}

    def text(pieces: tuple[bytes, ...]) -> str | None:
        if pieces not in texts:
            texts[pieces] = assemble(zip((key for key, _ in parts), pieces, strict=True))
        return texts[pieces]

    return pa.array([text(tuple(map(bytes, row))) for row in zip(*columns, strict=True)], pa.string())


def _texts(column: Sequence[Any]) -> pa.Array:
    try:
        array = pa.array(column, pa.string())
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        array = pa.array([v if v is None or isinstance(v, str) else str(v) for v in column], pa.string())
    # ChartMogul writes "" for an optional text that is not set (recorded: email, company, discount_code).
    return pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array)


def _ints(column: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(column, pa.int64())
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return pa.array([integer(v) for v in column], pa.int64())


def _floats(column: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(column, pa.float64())
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return pa.array([number(v) for v in column], pa.float64())


def _moments(column: Sequence[Any]) -> pa.Array:
    array = _texts(column).cast(Kind.MOMENT.arrow)
    bounds = pc.min_max(array.cast(pa.int64()))
    if bounds["min"].is_valid and not EARLIEST <= bounds["min"].as_py() <= bounds["max"].as_py() <= LATEST:
        raise Refused("a moment lies outside the years 1 to 9999")
    return array


def _days(column: Sequence[Any]) -> pa.Array:
    array = _texts(column).cast(pa.date32())
    earliest = pc.min(array)
    if earliest.is_valid and earliest.value < (date.min - EPOCH.date()).days:
        raise Refused("a day before the year 1")
    return array


def _jsons(column: Sequence[Any]) -> pa.Array:
    texts = [None if value is None else bytes(value) for value in column]
    array = pa.array(texts, pa.binary()).cast(pa.string())
    return pc.if_else(pc.is_in(array, value_set=pa.array(["", "null"])), pa.scalar(None, pa.string()), array)


_ARROW: dict[Kind, Callable[[Sequence[Any]], pa.Array]] = {
    Kind.TEXT: _texts,
    Kind.INT: _ints,
    Kind.FLOAT: _floats,
    Kind.FLAG: lambda column: pa.array(column, pa.bool_()),
    Kind.MOMENT: _moments,
    Kind.DAY: _days,
    Kind.JSON: _jsons,
}


def _collected(dataset: Dataset, collection: Collection, entries: _Level) -> pa.Table:
    schema = typed_schema(dataset)
    made: list[dict[str, Any]] = []
    parents: list[int] = []
    needs = zip(*(entries.values(need.split(".")) for need in collection.needs), strict=True)
    for position, row in enumerate(needs):
        before = len(made)
        made.extend(collection.rows(*(Raw() if value is None else value for value in row)))
        parents.extend(repeat(position, len(made) - before))
    if not made:
        return schema.empty_table()
    index = pa.array(parents, pa.int64())
    arrays: list[pa.Array] = []
    for name in schema.names:
        if name == SEQUENCE:
            arrays.append(entries.sequence.take(index))
        elif name in made[0]:
            arrays.append(pa.array([row[name] for row in made], schema.field(name).type))
        else:
            source = dataset.by_name[name].source or ""
            array = entries.array(source.lstrip("^"), dataset.by_name[name].kind).take(index)
            if collection.everywhere is not None and name not in collection.everywhere:
                primary = pa.array([row["is_primary"] for row in made], pa.bool_())
                array = pc.if_else(primary, array, pa.scalar(None, array.type))
            arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=schema)
