"""What warehouses differ in, as data, and the statements of a delivery made from it. No I/O.

The statements are the ones that run and the ones that a preview shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa

from mogul_assets.catalog.columns import Kind
from mogul_assets.catalog.window import BEGINNING
from mogul_assets.destinations import history
from mogul_assets.destinations.base import Outcome
from mogul_assets.destinations.columns import Evolution, description, distinct, fingerprint, is_json
from mogul_assets.destinations.log import KEPT, LOG, LOG_SCHEMA, LOST, Entry
from mogul_assets.errors import DestinationRefused
from mogul_assets.store.sql import literal
from mogul_assets.store.table import Table

CREATED = "created"
"""The outcome in the one row of the log, for each dataset, that deliveries lock: no delivery itself."""

_COPY = "__mogul_new"
"""Ends the name of a column that is taking another's place."""
_OLD = "__mogul_old"
"""Ends the name of a column whose place another has taken."""

_KINDS: dict[pa.DataType, Kind] = {kind.arrow: kind for kind in Kind if kind is not Kind.JSON}


def kind_of(field: pa.Field[pa.DataType]) -> Kind:
    """Which of the seven kinds a field is.

    Raises:
        DestinationRefused: for any other type.
    """
    if is_json(field):
        return Kind.JSON
    if field.type not in _KINDS:
        raise DestinationRefused(
            f"column '{field.name}' has the type {field.type}", remedy="cast it to one of the types of the datasets"
        )
    return _KINDS[field.type]


@dataclass(frozen=True, slots=True)
class Held:
    """A column as it lies there, its type spelled as in ``Dialect.types`` where it is one of those."""

    name: str
    type: str
    comment: str | None = None


@dataclass(frozen=True)
class There:
    """What lies at the destination. Columns by their table's folded name; a table that is not there has none."""

    schema: bool
    columns: Mapping[str, tuple[Held, ...]]
    comments: Mapping[str, str | None]
    """Of the tables, by the same name."""
    locked: bool = False
    """Whether the log has the dataset's row to lock."""
    fingerprint: str | None = None
    """Of the columns that were delivered last, as the log has it; ``None`` where it knows of no delivery."""


@dataclass(frozen=True, slots=True)
class Statements:
    """A delivery, in its order: ``before`` outside of the transaction, the rest inside.

    ``superseded`` counts newer deliveries to any moment of the window. With history ``delete`` closes versions.
    """

    before: tuple[str, ...]
    lock: str
    superseded: str
    delete: str
    insert: str
    prune: str
    renew: str = ""
    """Between ``delete`` and ``insert``, with history: what changes in versions that stay current."""
    standing: str = ""
    """With history, counts the current rows of the window after ``insert``: as many as the table has."""
    rewritten: tuple[str, ...] = ()
    """Columns that ``before`` copies into a new type, told as ``name: old to new``."""
    anew: bool = False
    """Whether the table was not there at the last delivery, or a column: empty one and the other.

    It goes by the log, since ``before`` may have made them for a delivery that failed then.
    """

    @property
    def shown(self) -> tuple[str, ...]:
        return (*self.before, self.delete, *filter(None, [self.renew]), self.insert)


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How one warehouse spells things. Templates are filled by ``str.format``."""

    types: Mapping[Kind, str]
    """As the engine's own catalogue spells them, so that what is held and what is wanted can be compared."""
    fold: Callable[[str], str]
    """Names that fold alike are one name there."""
    keeps_case: bool = False
    """Whether a name is kept as it was written, rather than folded."""
    quote: Callable[[str], str]
    """One identifier, quoted as it is."""
    literal: Callable[[str], str]
    moment: Callable[[datetime], str]
    parsed: str = "PARSE_JSON({})"
    unparsed: str = "TRY_PARSE_JSON({}) IS NULL"
    """Holds for a JSON text that the engine does not take; said of a column that is not null."""
    size: str = "OCTET_LENGTH({})"
    epoch: str
    """The moment ``{}`` in microseconds since 1970."""
    widens: Mapping[tuple[str, str], str | None]
    """Changes of type, (old, new), that keep every value: ``None`` where the engine alters in place, else the
    expression that makes the new value of the old ``{}``."""
    day: Callable[[datetime], str] = lambda at: f"DATE '{at.date().isoformat()}'"
    create_schema: str = "CREATE SCHEMA IF NOT EXISTS {schema}"
    create: str = "CREATE TABLE IF NOT EXISTS {table} ({columns}){comment}{clauses}"
    table_comment: str = ""
    """Told at creation; empty where that takes a statement of its own."""
    column_comment: str = ""
    clauses: Callable[[Table], str] = lambda _: ""
    """Keys and partitions of a new table, with a space before them."""
    add: str = "ALTER TABLE {table} ADD COLUMN {column} {type}{comment}"
    retype: str = "ALTER TABLE {table} ALTER COLUMN {column} SET DATA TYPE {type}"
    rename: str = "ALTER TABLE {table} RENAME COLUMN {column} TO {to}"
    rename_table: str = "ALTER TABLE {table} RENAME TO {to}"
    """``to`` is a name; ``path`` the same with its schema."""
    replaced: tuple[str, ...] = (
        "ALTER TABLE {table} DROP COLUMN {column}",
        "ALTER TABLE {table} RENAME COLUMN {copy} TO {column}",
    )
    """How a filled ``copy`` takes the name of ``column``; ``old`` is a name that is free."""
    comment_on_table: str = "COMMENT ON TABLE {table} IS {text}"
    comment_on_column: str = "COMMENT ON COLUMN {table}.{column} IS {text}"

    @property
    def staged(self) -> Mapping[Kind, str]:
        """The staging table's types: JSON is text there."""
        return {**self.types, Kind.JSON: self.types[Kind.TEXT]}

    @property
    def fetched(self) -> Mapping[Kind, str]:
        """How a column is read back for comparison, moments as integers; JSON is not compared."""
        return {kind: self.epoch if kind is Kind.MOMENT else "{}" for kind in Kind if kind is not Kind.JSON}

    def spelled(self, name: str) -> str:
        """The name as it is kept there."""
        return name if self.keeps_case else self.fold(name)

    def name(self, *names: str) -> str:
        """A path, each name as it is kept there, quoted."""
        return ".".join(self.quote(self.spelled(name)) for name in names)

    def value(self, value: object) -> str:
        """A text, an integer, a moment or nothing."""
        if value is None:
            return "NULL"
        if isinstance(value, datetime):
            return self.moment(value)
        return str(value) if isinstance(value, int) else self.literal(str(value))

    def columns(self, schema: pa.Schema) -> dict[str, str]:
        """Type by name, each in the dataset's spelling.

        Raises:
            DestinationRefused: for a type that no dataset has.
        """
        return {field.name: self.types[kind_of(field)] for field in schema}

    def staging(self, path: str, schema: pa.Schema, *, create: str = "CREATE TABLE {table} ({columns})") -> str:
        """The staging table: the dataset's own spelling of names, and JSON as text."""
        columns = (f"{self.quote(field.name)} {self.staged[kind_of(field)]}" for field in schema)
        return create.format(table=path, columns=", ".join(columns))

    def created(self, path: str, schema: pa.Schema, clauses: str = "") -> list[str]:
        """The statements that make a table with its comments."""
        columns = ", ".join(
            f"{self.name(field.name)} {self.types[kind_of(field)]}"
            + _told(self.column_comment, self.literal, description(field))
            for field in schema
        )
        comment = _told(self.table_comment, self.literal, description(schema))
        made = self.create.format(table=path, columns=columns, comment=comment, clauses=clauses)
        held = tuple(
            Held(self.fold(field.name), "", description(field) if self.column_comment else None) for field in schema
        )
        return [made, *self.commented(path, schema, held, description(schema) if self.table_comment else None)]

    def commented(self, path: str, schema: pa.Schema, held: tuple[Held, ...], comment: str | None) -> list[str]:
        """What changes the comments that differ; one that the catalogue does not have stays."""
        there = {self.fold(column.name): column.comment for column in held}
        found = []
        if (text := description(schema)) and text != comment:
            found.append(self.comment_on_table.format(table=path, text=self.literal(text)))
        for field in schema:
            if (text := description(field)) and text != there.get(self.fold(field.name)):
                column = self.name(field.name)
                found.append(self.comment_on_column.format(table=path, column=column, text=self.literal(text)))
        return found

    def evolved(
        self, path: str, table: Table, held: tuple[Held, ...], comment: str | None, *, at: str
    ) -> tuple[list[str], list[str]]:
        """What makes the columns there those of the table, and which of them are rewritten for it.

        A column that could not be altered in place gets a new one that takes its name. Where that was broken
        off, it is gone on with: the copy's name tells.

        Raises:
            DestinationRefused: where a column changed its type and could lose by it.
        """
        wanted, there = self.columns(table.schema), {column.name: column.type for column in held}
        change = Evolution.between(there, wanted, widens=self.widens, fold=self.fold)
        types = {self.fold(name): kind for name, kind in there.items()}
        if change.retyped:
            column = change.retyped[0]
            was = types[self.fold(column)]
            kept = self.rename.format(table=path, column=self.name(column), to=self.name(f"{column}_before"))
            raise DestinationRefused(
                f"{at}.{column} is {was} there and {wanted[column]} now",
                remedy=f"look who reads it, then run: {kept};  the next delivery adds the column anew",
            )
        texts = {field.name: description(field) for field in table.schema}
        statements: list[str] = []
        rewritten: list[str] = []
        for column in change.added:
            if types.get(self.fold(column + _COPY)) == wanted[column]:
                statements.append(self._renamed(path, column))
            else:
                told = _told(self.column_comment, self.literal, texts[column])
                statements.append(
                    self.add.format(table=path, column=self.name(column), type=wanted[column], comment=told)
                )
        for column in change.widened:
            was, now = types[self.fold(column)], wanted[column]
            expression = self.widens[was, now]
            if expression is None:
                statements.append(self.retype.format(table=path, column=self.name(column), type=now))
                continue
            copy = self.name(column + _COPY)
            if self.fold(column + _COPY) not in types:
                statements.append(self.add.format(table=path, column=copy, type=now, comment=""))
            value = expression.format(self.name(column))
            statements.append(f"UPDATE {path} SET {copy} = {value} WHERE true")
            statements += [
                step.format(table=path, column=self.name(column), copy=copy, old=self.name(column + _OLD))
                for step in self.replaced
            ]
            rewritten.append(f"{column}: {was} to {now}")
        fresh = {self.fold(column) for column in (*change.added, *(name.partition(":")[0] for name in rewritten))}
        told_already = {self.fold(column) for column in change.added} if self.column_comment else set()
        known = tuple(
            Held(self.fold(field.name), "", texts[field.name])
            for field in table.schema
            if self.fold(field.name) in told_already
        )
        rest = tuple(column for column in held if self.fold(column.name) not in fresh)
        return [*statements, *self.commented(path, table.schema, (*rest, *known), comment)], rewritten

    def _renamed(self, path: str, column: str) -> str:
        return self.rename.format(table=path, column=self.name(column + _COPY), to=self.name(column))

    def within(self, table: Table) -> str:
        """The condition that holds for exactly the rows which the table replaces."""
        if table.window is None:
            return "true"
        assert table.window_column is not None
        kind = kind_of(table.schema.field(table.window_column))
        column, edge = self.name(table.window_column), self.day if kind is Kind.DAY else self.moment
        start, end = table.window.start, table.window.end
        conditions = [] if start == BEGINNING else [f"{column} >= {edge(start)}"]
        conditions += [] if end is None else [f"{column} < {edge(end)}"]
        return " AND ".join(conditions) or "true"

    def statements(
        self,
        namespace: tuple[str, ...],
        table: Table,
        there: There,
        *,
        staging: str,
        now: datetime,
        at: str,
        keeps_history: bool = False,
    ) -> Statements:
        """The delivery of ``table`` from the table ``staging`` (a quoted path) to where ``there`` lies.

        Raises:
            DestinationRefused: for a change of type that could lose values, names that fold alike, and a table there
                that keeps history where this delivery does not, or the other way round.
        """
        lying = history.versioned(table, at=at) if keeps_history else table
        distinct(lying.schema.names, self.fold, at=at)
        path, log = self.name(*namespace, table.dataset), self.name(*namespace, LOG)
        before: list[str] = []
        rewritten: list[str] = []
        if not there.schema:
            before.append(self.create_schema.format(schema=self.name(*namespace)))
        if not there.columns.get(self.fold(LOG)):
            before += self.created(log, LOG_SCHEMA)
        held = there.columns.get(self.fold(table.dataset), ())
        filled = {self.fold(column.name).removesuffix(self.fold(_COPY)) for column in held}
        dataset = f"{self.name('dataset')} = {self.literal(table.dataset)}"
        outcome, current = self.name("outcome"), fingerprint(table.schema)
        whole = {self.fold(field.name) for field in table.schema} <= filled
        # First, lest the log tell of what is no longer there should the delivery fail: of deliveries before this one.
        past = f"{dataset} AND {outcome} = {self.literal(Outcome.DELIVERED)}"
        past += f" AND {self.name('finished_at')} < {self.moment(now)}"
        if there.fingerprint is not None and not held:
            before.append(f"UPDATE {log} SET {outcome} = {self.literal(LOST)} WHERE {past}")
        elif there.fingerprint == current and not whole:
            before.append(f"UPDATE {log} SET {self.name('schema_fingerprint')} = '' WHERE {past}")
        if held:
            self._refuse_other(namespace, table, held, at=at, keeps_history=keeps_history)
            evolved, rewritten = self.evolved(path, lying, held, there.comments.get(self.fold(table.dataset)), at=at)
            before += evolved
        else:
            before += self.created(path, lying.schema, self.clauses(lying))
        if not there.locked:
            before.append(self.logged(log, _sentinel(table, now)))
        values = {
            field.name: self.parsed.format(self.quote(field.name)) if is_json(field) else self.quote(field.name)
            for field in table.schema
        }
        statements = Statements(
            before=tuple(before),
            lock=(
                f"UPDATE {log} SET {self.name('finished_at')} = {self.moment(now)}"
                f" WHERE {dataset} AND {outcome} = {self.literal(CREATED)}"
            ),
            superseded=(
                f"SELECT count(*) FROM {log} WHERE {dataset} AND {outcome} = {self.literal(Outcome.DELIVERED)}"
                f" AND {self.name('generation')} > {self.literal(table.generation)}{self._overlaps(table)}"
            ),
            delete=f"DELETE FROM {path} WHERE {self.within(table)}",
            insert=(
                f"INSERT INTO {path} ({', '.join(map(self.name, values))})"
                f" SELECT {', '.join(values.values())} FROM {staging}"
            ),
            prune=(
                f"DELETE FROM {log} WHERE {dataset} AND {outcome} <> {self.literal(CREATED)}"
                f" AND {self.name('finished_at')} < {self.moment(now - KEPT)}"
            ),
            rewritten=tuple(rewritten),
            anew=there.fingerprint != current or not whole,
        )
        if not keeps_history:
            return statements
        change = history.change(
            table,
            path,
            staging,
            name=self.name,
            staged_name=self.quote,
            values=values,
            moment=self.moment(table.read_at),
            within=self.within(table),
        )
        return replace(
            statements, delete=change.close, renew=change.renew, insert=change.insert, standing=change.standing
        )

    def _refuse_other(
        self, namespace: tuple[str, ...], table: Table, held: tuple[Held, ...], *, at: str, keeps_history: bool
    ) -> None:
        away = f"{table.dataset}_before"
        history.refuse_other(
            [column.name for column in held],
            history=keeps_history,
            fold=self.fold,
            rename=self.rename_table.format(
                table=self.name(*namespace, table.dataset), to=self.name(away), path=self.name(*namespace, away)
            ),
            dataset=table.origin,
            at=at,
        )

    def _overlaps(self, table: Table) -> str:
        """Holds for rows of the log whose window has a moment in common with the table's."""
        if table.window is None:
            return ""
        start, end = self.name("window_start"), self.name("window_end")
        before = f" AND ({end} IS NULL OR {end} > {self.moment(table.window.start)})"
        return before + (
            f" AND ({start} IS NULL OR {start} < {self.moment(table.window.end)})" if table.window.end else ""
        )

    def logged(self, log: str, entry: Entry, *, now: str = "") -> str:
        """Adds a row to the log; ``now`` is the engine's own clock, for a statement that is sent before its time."""
        names = ", ".join(self.name(field.name) for field in LOG_SCHEMA)
        values = ", ".join(
            now if now and field.name == "finished_at" else self.value(getattr(entry, field.name))
            for field in LOG_SCHEMA
        )
        return f"INSERT INTO {log} ({names}) VALUES ({values})"

    def arrived(self, log: str, delivery_id: str) -> str:
        """Counts the delivery's own rows in the log."""
        return (
            f"SELECT count(*) FROM {log} WHERE {self.name('delivery_id')} = {self.literal(delivery_id)}"
            f" AND {self.name('outcome')} <> {self.literal(CREATED)}"
        )

    def known(self, log: str, dataset: str) -> str:
        """What the log has of a dataset: (outcome, fingerprint of the columns, last), the latest last."""
        known = f"{self.name('outcome')}, {self.name('schema_fingerprint')}"
        last = self.name("finished_at")
        return (
            f"SELECT {known}, max({last}) FROM {log} WHERE {self.name('dataset')} = {self.literal(dataset)}"
            f" GROUP BY {known} ORDER BY max({last})"
        )

    def last(self, log: str, dataset: str) -> str:
        """When the dataset last arrived, in microseconds since 1970, or null."""
        finished = self.fetched[Kind.MOMENT].format(f"max({self.name('finished_at')})")
        return (
            f"SELECT {finished} FROM {log} WHERE {self.name('dataset')} = {self.literal(dataset)}"
            f" AND {self.name('outcome')} = {self.literal(Outcome.DELIVERED)}"
        )

    def misfit(self, staging: str, key: tuple[str, ...], column: str) -> str:
        """Finds one staged row whose JSON the engine does not take: its key as text, and the size in bytes."""
        name = self.quote(column)
        keys = "".join(f"CAST({self.quote(one)} AS {self.staged[Kind.TEXT]}), " for one in key)
        return (
            f"SELECT {keys}{self.size.format(name)} FROM {staging}"
            f" WHERE {name} IS NOT NULL AND {self.unparsed.format(name)} LIMIT 1"
        )

    def read(
        self, path: str, table: Table, held: tuple[Held, ...], *, only: pa.Schema | None = None
    ) -> tuple[str, pa.Schema]:
        """Reads what the table would replace, for comparison, and what comes: names in the dataset's spelling.

        Of a column that the dataset does not have, whether it is null is all that is read. With history these are the
        current rows, and of them the columns ``only``.
        """
        within = self.within(table)
        fields = {self.fold(field.name): field for field in only or table.schema}
        if only is not None:
            held = tuple(column for column in held if self.fold(column.name) in fields)
            within = f"{self.name(history.IS_CURRENT)} AND {within}"
        values, read = [], []
        for column in held:
            field = fields.get(self.fold(column.name))
            name = self.quote(column.name)
            if field is None:
                values.append(f"CASE WHEN {name} IS NOT NULL THEN 1 END")
                read.append(pa.field(column.name, pa.int64()))
            elif (kind := kind_of(field)) in self.fetched:
                values.append(self.fetched[kind].format(name))
                read.append(pa.field(field.name, pa.int64() if kind is Kind.MOMENT else kind.arrow))
        return f"SELECT {', '.join(values)} FROM {path} WHERE {within}", pa.schema(read)


def _sentinel(table: Table, now: datetime) -> Entry:
    return Entry(
        dataset=table.dataset,
        generation="",
        window_start=None,
        window_end=None,
        rows=0,
        bytes=0,
        schema_fingerprint="",
        started_at=now,
        finished_at=now,
        outcome=CREATED,  # type: ignore[arg-type] # no delivery's outcome: the row stands for the dataset
        delivery_id="",
    )


def _told(template: str, literal: Callable[[str], str], text: str) -> str:
    return template.format(text=literal(text)) if template and text else ""


def ascii_upper(name: str) -> str:
    """Folds what an engine folds without quotes: ``str.upper`` would make ß and SS one name."""
    return name.encode().upper().decode()


def ascii_lower(name: str) -> str:
    return name.encode().lower().decode()


def escaped(text: str) -> str:
    """A text in quotes, where a backslash within begins an escape sequence: in Snowflake and in Redshift."""
    return literal(text.replace("\\", "\\\\"))


def utc(at: datetime) -> str:
    """``2026-11-23 02:05:12.123456``, of four digits in every year."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
