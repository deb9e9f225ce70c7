"""What of the datasets goes to one destination: which columns, of which customers, under which names. No Dagster.

A table is written anew where columns or rows differ, batch by batch and file by file: it keeps its order and its
months, the same input gives the same bytes, and memory does not grow with it. Filtering and hashing are done on
Arrow's batches: DuckDB promises an order only where it sorts again, and the hashes take a fraction of the writing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from mogul_assets.catalog.columns import Dataset, Kind
from mogul_assets.catalog.datasets import CUSTOMER_STATUSES, DATASETS
from mogul_assets.destinations.formats import proven
from mogul_assets.errors import ConfigurationError, StoreDamaged
from mogul_assets.settings import CHOICE, Secret, describe
from mogul_assets.store import settle
from mogul_assets.store.person import Person
from mogul_assets.store.sql import connect, literal, parquet, quoted
from mogul_assets.store.table import DataFile, Table, conforming

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,126}")
"""What a table may be called: what every type takes. Redshift's names are the shortest, of 127 bytes."""
LOG = "mogul_deliveries"
"""The table that warehouses keep their deliveries in."""

_PART_ROWS = 8192
"""Of a row group that is sorted again. DuckDB 2.0 runs out of 256 MB where it meets those of 65,536 line items."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How a dataset's rows are filtered: the columns that name a row's customer, or its own data source.

    ``record`` names the customer where no column has its uuid: by data source, and by its id there.
    """

    customer: str | None = None
    record: tuple[str, str] | None = None
    source: str | None = None


def rule_of(dataset: str) -> Rule:
    """How a dataset's rows are told by a filter; where nothing tells them, it stays whole."""
    known = DATASETS.get(dataset)
    about = known.about if known else None
    customer = about.uuid if about else None
    record = about.record if about and customer is None else None
    return Rule(customer, record, known.data_source if known else None)


OF_CUSTOMERS = ("customers", "source_customers", "tags")
"""The datasets that say which customers a filter means."""


def _several(value: Any) -> Any:
    """One text, or a list of them."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not values:
        raise ValueError("write one, or a list such as [a, b]")
    if any(not isinstance(one, str) or not one for one in values):
        raise ValueError("all in the list are to be texts: quote numbers")
    return tuple(dict.fromkeys(values))


Several = Annotated[tuple[str, ...], BeforeValidator(_several)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Columns(_Frozen):
    """Columns by dataset: those that are left out, and those of which a hash is delivered."""

    leave_out: Mapping[str, Several] = {}
    hash: Mapping[str, Several] = {}
    salt: Secret | None = None


class Rows(_Frozen):
    """Which customers' rows are delivered: all four have to hold, of each one value."""

    data_source: Several = ()
    country: Several = ()
    status: Several = ()
    tag: Several = ()

    def those(self, dataset: str) -> dict[str, tuple[str, ...]]:
        """The filters that this dataset's rows can be told by."""
        rule = rule_of(dataset)
        ofcustomers = rule.customer is not None or rule.record is not None
        given = {name: values for name, values in self if values}
        return {
            name: values for name, values in given.items() if ofcustomers or (name == "data_source" and rule.source)
        }

    def by_customer(self, dataset: str) -> bool:
        """Whether it has to be known who the customers are; a data source may stand in the row itself."""
        names = self.those(dataset).keys()
        return bool(names if rule_of(dataset).source is None else names - {"data_source"})


class Choice(_Frozen):
    """What of its datasets a destination gets, as its entry in ``mogul.yaml`` says."""

    table_prefix: str = ""
    tables: Mapping[str, str] = {}
    columns: Columns = Columns()
    rows: Rows = Rows()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Choice:
        """What these settings say.

        Raises:
            ConfigurationError: naming the setting; never its value, which may be a secret.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise ConfigurationError(describe(error), remedy="see docs/choice.md") from None

    def name(self, dataset: str) -> str:
        """What its table, or folder, is called there."""
        return self.table_prefix + self.tables.get(dataset, dataset)

    def left_out(self, dataset: str) -> tuple[str, ...]:
        return tuple(sorted(self.columns.leave_out.get(dataset, ())))

    def hashed(self, dataset: str) -> tuple[str, ...]:
        return tuple(sorted(self.columns.hash.get(dataset, ())))

    def told(self, dataset: str) -> dict[str, str]:
        """In words, for people; ``dataset`` is the name that it has elsewhere. Empty where it goes as it is."""
        rows = self.rows.those(dataset)
        said = {
            "dataset": dataset if self.name(dataset) != dataset else "",
            "columns left out": ", ".join(self.left_out(dataset)),
            "columns hashed": ", ".join(self.hashed(dataset)),
            "rows of": "; ".join(f"{name} {' or '.join(values)}" for name, values in rows.items()),
        }
        return {what: text for what, text in said.items() if text}

    def salt(self, dataset: str) -> str:
        """What is hashed with; nothing where nothing of it is.

        Raises:
            ConfigurationError: the variable is not set.
        """
        return self.columns.salt.reveal() if self.columns.salt is not None and self.hashed(dataset) else ""

    def fingerprint(self, dataset: str) -> str:
        """Sixteen hexadecimal digits that are others where the choice, or the salt, is; empty where all goes as it is.

        Raises:
            ConfigurationError: the salt's variable is not set.
        """
        said = self.told(dataset)
        if not said:
            return ""
        rows = {name: sorted(values) for name, values in self.rows.those(dataset).items()}
        text = json.dumps([self.name(dataset), self.left_out(dataset), self.hashed(dataset), rows])
        return hmac.new(self.salt(dataset).encode(), text.encode(), hashlib.sha256).hexdigest()[:16]

    @property
    def names(self) -> set[str]:
        """What the tables of all datasets are called there."""
        return set(map(self.name, DATASETS))

    def rows_of(
        self,
        person: Person,
        dataset: str,
        columns: Collection[str],
        *,
        spelled: Callable[[str], str] = str,
        name: Callable[[str], str] = quoted,
        text: Callable[[str], str] = literal,
    ) -> str | None:
        """The SQL condition of a customer's rows there: as they are sent now, and as they were before a column was
        hashed. Those of another salt nobody can find. ``None`` where there can be none: the dataset tells of nobody,
        or its table there has no ``columns``, each ``spelled`` as they are there. ``name`` and ``text`` quote.

        Raises:
            ConfigurationError: the salt's variable is not set.
        """
        about = DATASETS[dataset].about
        if about is None or not columns:
            return None
        asked = about.among(columns, spelled)
        known = (self.as_sent(person, dataset), person)
        return " OR ".join(dict.fromkeys(one.rows(asked, name, text) for one in known))

    def as_sent(self, person: Person, dataset: str) -> Person:
        """A customer by what stands for it in the rows of a dataset there: a hash, where that column is hashed.

        Raises:
            ConfigurationError: the salt's variable is not set.
        """
        about, hashed, salt = DATASETS[dataset].about, self.hashed(dataset), self.salt(dataset)
        if about is None or not hashed:
            return person

        def sent(column: str | None, value: str) -> str:
            return hidden(value, salt) if column in hashed else value

        source, id_ = about.record or (None, None)
        records = frozenset((sent(source, of), sent(id_, known)) for of, known in person.records)
        return Person(sent(about.uuid, person.uuid), records=records)

    def shape(self, dataset: Dataset) -> Dataset:
        """The dataset as it arrives: without what is left out; what is hashed is text."""
        left_out, hashed = self.left_out(dataset.name), self.hashed(dataset.name)
        return replace(
            dataset,
            columns=tuple(
                replace(column, kind=Kind.TEXT, description=_hashed(column.description))
                if column.name in hashed
                else column
                for column in dataset.columns
                if column.name not in left_out
            ),
        )


def _hashed(description: str) -> str:
    return f"{description} Salted SHA-256.".strip()


# -- what a choice may be


def judge(
    given: Mapping[str, Any],
    datasets: Sequence[str],
    *,
    of: str,
    chooses: Collection[str] = CHOICE,
    needs: Mapping[str, Collection[str]] | None = None,
) -> None:
    """See that a destination can be delivered to so.

    Args:
        given: the settings as in the file.
        datasets: what it gets.
        of: its type.
        chooses: which of the settings its type takes.
        needs: columns by dataset that it cannot do without, as they are.

    Raises:
        ConfigurationError: what cannot be, and what would be right.
    """
    for name in given:
        if name not in chooses:
            raise ConfigurationError(f"{name} is not for {of}", remedy=f"it takes {', '.join(chooses) or 'none such'}")
    choice = Choice.of(given)
    named = {
        "tables": choice.tables,
        "columns.leave_out": choice.columns.leave_out,
        "columns.hash": choice.columns.hash,
    }
    for setting, by_dataset in named.items():
        for name in by_dataset:
            if name not in datasets:
                raise ConfigurationError(
                    f"{setting}: '{name}' is not delivered there", remedy=f"it takes {', '.join(datasets)}"
                )
    for name in datasets:
        _judge_columns(choice, DATASETS[name], (needs or {}).get(name, ()))
    if choice.columns.hash and choice.columns.salt is None:
        raise ConfigurationError("columns.hash needs a salt", remedy="columns: {salt: {env: MOGUL_SALT}}")
    _judge_names(choice, datasets)
    _judge_rows(choice.rows)


def _judge_columns(choice: Choice, dataset: Dataset, needed: Collection[str]) -> None:
    left_out, hashed = choice.left_out(dataset.name), choice.hashed(dataset.name)
    for setting, names in (("columns.leave_out", left_out), ("columns.hash", hashed)):
        for name in names:
            at = f"{setting}: {dataset.name}.{name}"
            if name not in dataset.by_name:
                raise ConfigurationError(
                    f"{setting}: {dataset.name} has no column '{name}'", remedy=f"it has {', '.join(dataset.by_name)}"
                )
            text = dataset.by_name[name].kind is Kind.TEXT
            if name == dataset.window:
                raise ConfigurationError(f"{at} is what its months are told by", remedy="let it be as it is")
            if name in needed:
                raise ConfigurationError(f"{at} is what its messages are made of", remedy="let it be as it is")
            if name in dataset.key and (setting == "columns.leave_out" or not text):
                remedy = "hash it" if text else "let it be as it is"
                raise ConfigurationError(f"{at} is of the key, which rows are told apart by", remedy=remedy)
    if both := sorted(set(left_out) & set(hashed)):
        raise ConfigurationError(f"columns: {dataset.name}.{both[0]} is left out and hashed", remedy="do one of them")


def _judge_names(choice: Choice, datasets: Sequence[str]) -> None:
    taken: dict[str, str] = {LOG: "the log of deliveries"}
    for dataset in datasets:
        name = choice.name(dataset)
        if not NAME.fullmatch(name):
            raise ConfigurationError(
                f"{dataset} cannot be called '{name}' there",
                remedy="use letters, digits and _, a letter first, 127 at most",
            )
        # Whatever case a destination keeps: names that differ in nothing else are mixed up by people.
        other = taken.setdefault(name.lower(), dataset)
        if other is not dataset:
            raise ConfigurationError(
                f"{dataset} and {other} would both be '{name}' there", remedy="give them two names"
            )


def _judge_rows(rows: Rows) -> None:
    known = {status.lower() for status in CUSTOMER_STATUSES}
    for status in rows.status:
        if status.lower() not in known:
            raise ConfigurationError(
                f"rows.status: there is no status '{status}'", remedy=f"there are {', '.join(CUSTOMER_STATUSES)}"
            )
    for country in rows.country:
        if not re.fullmatch(r"[A-Za-z]{2}", country):
            raise ConfigurationError(
                f"rows.country: '{country}' is no country", remedy="write its two letters, as in DE"
            )
    for source in rows.data_source:
        if not source.startswith("ds_"):
            raise ConfigurationError(
                f"rows.data_source: '{source}' is no data source", remedy="write its uuid (ds_…), as in data_sources"
            )


# -- what is chosen


@dataclass(frozen=True, slots=True)
class Customers:
    """Those that a filter means: their uuids, and their records as ``data source, newline, id there``.

    ``digest`` is another where they are.
    """

    uuids: pa.Array
    records: pa.Array
    digest: str


def customers_of(rows: Rows, tables: Mapping[str, Table]) -> Customers:
    """Whom ``rows`` means, by the tables of ``OF_CUSTOMERS``.

    Raises:
        StoreDamaged: one of them cannot be read.
    """
    conditions = {
        "data_source": "(data_source_uuid IN (FROM unnest($data_source)) OR uuid IN"
        " (SELECT uuid FROM source_customers WHERE data_source_uuid IN (FROM unnest($data_source))))",
        "country": "lower(country) IN (FROM unnest($country))",
        "status": "lower(status) IN (FROM unnest($status))",
        "tag": "uuid IN (SELECT customer_uuid FROM tags WHERE tag IN (FROM unnest($tag)))",
    }
    folded = {"country", "status"}
    given = {name: [value.lower() if name in folded else value for value in values] for name, values in rows if values}
    meant = " AND ".join(conditions[name] for name in given) or "true"
    try:
        with connect() as connection:
            for name in OF_CUSTOMERS:
                table = tables[name]
                if table.paths:
                    connection.execute(f"CREATE TEMP VIEW {quoted(name)} AS SELECT * FROM {parquet(table.paths)}")
                else:
                    connection.register(name, table.schema.empty_table())
            uuids = connection.sql(
                f"SELECT uuid FROM customers WHERE {meant} ORDER BY uuid", params=given
            ).to_arrow_table()
            connection.register("meant", uuids)
            records = connection.sql(
                "SELECT data_source_uuid || chr(10) || external_id FROM source_customers"
                " WHERE uuid IN (SELECT uuid FROM meant)"
            ).to_arrow_table()
    except duckdb.Error as error:
        raise StoreDamaged(
            f"the customers cannot be read ({type(error).__name__})", remedy="refresh them: mogul sync"
        ) from None
    digest = hashlib.sha256("\n".join(uuids.column(0).to_pylist()).encode()).hexdigest()[:16]
    return Customers(_one(uuids), _one(records), digest)


def _one(table: pa.Table) -> pa.Array:
    return table.column(0).cast(pa.string()).combine_chunks()


def chosen(table: Table, choice: Choice, folder: Path, *, salt: str = "", customers: Customers | None = None) -> Table:
    """The table as it is chosen. Its files are in ``folder``, unless nothing but its name is another.

    Args:
        table: as the store has it.
        choice: judged already.
        folder: where files are written; it is the caller's to remove.
        salt: what is hashed with.
        customers: whom ``rows`` means, where that needs to be known (``Rows.by_customer``).

    Raises:
        StoreDamaged: a file is missing, or not what its checksum says.
    """
    dataset = table.dataset
    left_out, hashed = choice.left_out(dataset), choice.hashed(dataset)
    told, filtered = choice.told(dataset), bool(choice.rows.those(dataset))
    named = replace(table, dataset=choice.name(dataset), choice=told)
    if not (left_out or hashed or filtered):
        return named
    schema = pa.schema(
        [_as_text(field) if field.name in hashed else field for field in table.schema if field.name not in left_out],
        metadata=table.schema.metadata,
    )
    resorted = any(name in hashed for name in table.key)

    def rows_of(file: DataFile) -> Iterator[pa.RecordBatch]:
        # Buffered ahead, what was read is kept until the file is closed.
        with pq.ParquetFile(file.path, pre_buffer=False) as source:
            for batch in source.iter_batches(settle.GROUP_ROWS):
                rows = conforming(batch, table.schema)
                if filtered:
                    rows = rows.filter(_meant(rows, dataset, choice.rows, customers))
                columns = [
                    _digests(rows[field.name], salt) if field.name in hashed else rows[field.name] for field in schema
                ]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def written(file: DataFile) -> DataFile:
        if not Path(file.path).is_file():
            raise StoreDamaged(f"{dataset}: {file.path} is missing", remedy="refresh the dataset")
        proven(Path(file.path), file.sha256)  # what is written anew gets a checksum of its own
        stem = folder / f"{named.dataset}-{file.month or 'all'}"
        if not resorted:
            return settle.file_of(rows_of(file), schema, stem, file.generation, file.month)
        return _sorted(rows_of(file), schema, table.key, stem, file)

    files = [written(file) for file in table.files]
    # A month without rows has no file, and a snapshot always has one.
    kept = tuple(file for file in files if file.rows or file.month is None)
    return replace(named, schema=schema, files=kept)


def _as_text(field: pa.Field[pa.DataType]) -> pa.Field[pa.DataType]:
    text: bytes = (field.metadata or {}).get(b"description", b"")
    return pa.field(field.name, pa.string(), nullable=field.nullable, metadata={"description": _hashed(text.decode())})


def _meant(rows: pa.RecordBatch, dataset: str, filters: Rows, customers: Customers | None) -> pa.Array:
    """Which of the rows the filters mean; of one that names no customer nobody knows, so it is not."""
    rule, masks = rule_of(dataset), []
    if filters.data_source and rule.source is not None:
        masks.append(pc.is_in(rows[rule.source], value_set=pa.array(filters.data_source, pa.string())))
    if filters.by_customer(dataset):
        assert customers is not None
        if rule.customer is not None:
            masks.append(pc.is_in(rows[rule.customer], value_set=customers.uuids))
        else:
            assert rule.record is not None
            records = pc.binary_join_element_wise(*(rows[name] for name in rule.record), "\n")
            masks.append(pc.is_in(records, value_set=customers.records))
    mask = masks[0]
    for other in masks[1:]:
        mask = pc.and_(mask, other)
    return mask


def hidden(text: str, salt: str) -> str:
    """What is delivered in the place of a text."""
    return hashlib.sha256((salt + text).encode()).hexdigest()


def _digests(column: pa.Array, salt: str) -> pa.Array:
    """SHA-256, in hexadecimal digits, of the salt and the value's text; nothing stays nothing."""
    values = column.cast(pa.string()).dictionary_encode()  # each value of a batch once
    digests = [None if text is None else hidden(text, salt) for text in values.dictionary.to_pylist()]
    return pa.array(digests, pa.string()).take(values.indices)


def _sorted(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema, key: Sequence[str], stem: Path, file: DataFile
) -> DataFile:
    """A file whose key was hashed, in the order of what it is now: in the old one it would tell something of that."""
    part = stem.with_name(f"{stem.name}.unsorted")
    with pq.ParquetWriter(part, schema, compression="lz4") as writer:
        for batch in batches:
            writer.write_batch(batch, row_group_size=_PART_ROWS)
    with settle.database(stem.parent / "spill") as connection:
        rows = settle.ordered(connection, parquet([part]), schema.names, key)
        made = settle.file_of(rows, schema, stem, file.generation, file.month)
    part.unlink()
    return made
