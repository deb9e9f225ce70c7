"""What a column and a dataset are."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import pyarrow as pa


class Kind(StrEnum):
    """The seven types a column can have; each destination maps them to its own."""

    TEXT = "text"
    INT = "int"
    FLOAT = "float"
    FLAG = "flag"
    MOMENT = "moment"
    """A point in time: ``timestamp[us, UTC]``."""
    DAY = "day"
    JSON = "json"
    """A free-form value as its exact JSON text."""

    @property
    def arrow(self) -> pa.DataType:
        return _ARROW[self]


_ARROW: dict[Kind, pa.DataType] = {
    Kind.TEXT: pa.string(),
    Kind.INT: pa.int64(),
    Kind.FLOAT: pa.float64(),
    Kind.FLAG: pa.bool_(),
    Kind.MOMENT: pa.timestamp("us", tz="UTC"),
    Kind.DAY: pa.date32(),
    Kind.JSON: pa.string(),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name and type, where in the API's object it is found, what it means.

    ``source`` is a dotted path in the object that makes the row; a leading ``^`` steps out to the object
    around it (a line item's ``^uuid`` is its invoice's). A path names the API's own spelling, hyphens
    included. ``None`` means that the value is derived, and ``description`` says from what. ``or_source``
    is a second spelling, tried where the first is absent. ``enum`` turns the API's word into ChartMogul's
    number for it; an unknown word gives null here and stays readable in the column that keeps the word.
    """

    name: str
    kind: Kind
    description: str
    source: str | None = None
    or_source: str | None = None
    nullable: bool = True
    enum: tuple[str, ...] | None = None
    parts: tuple[tuple[str, str], ...] | None = None
    """For a JSON column assembled from several fields: (key, source) pairs; absent fields are left out."""

    @property
    def field(self) -> pa.Field[pa.DataType]:
        metadata = {"description": self.description}
        if self.kind is Kind.JSON:
            metadata["json"] = "true"
        return pa.field(self.name, self.kind.arrow, nullable=self.nullable, metadata=metadata)


class Group(StrEnum):
    SOURCE = "source_data"
    CALCULATED = "calculated_data"
    INTERNAL = "internal"
    """Kept in the store for other datasets, or messages, to be made of; never delivered as it is."""


@dataclass(frozen=True, slots=True)
class About:
    """The columns by which a row names the customer that it is about.

    ``uuid`` is ChartMogul's id of it; ``record`` the data source and the customer's id in that, which name a record
    that was merged into it, too. ``words`` hold its names and addresses: what a text that tells of it quotes.
    """

    uuid: str | None = None
    record: tuple[str, str] | None = None
    words: tuple[str, ...] = ()

    def among(self, columns: Collection[str], spelled: Callable[[str], str] = str) -> About:
        """What of it a table of these columns, ``spelled`` its own way, can be asked by: an older one lacks some."""
        record = self.record if self.record and {*map(spelled, self.record)} <= {*columns} else None
        return About(self.uuid if self.uuid and spelled(self.uuid) in columns else None, record)


@dataclass(frozen=True)
class Dataset:
    """One dataset.

    ``key`` is the primary key, and the sort order. ``window`` names the column by whose month a windowed
    dataset is kept and replaced; ``None`` is a snapshot, read whole. ``read`` is the account read that the
    rows come from; ``each`` the path of the repeated element in it that makes a row (``None``: the entry
    itself). ``references`` are columns that should be found in another dataset's column: a list read
    minutes apart may lack it, so only those marked ``within_read`` must hold. ``identity`` is what makes a row
    the same through time, where that is not the key. ``fleeting`` columns, never null, get other values without
    the row having changed. ``about`` says whose a row is, where
    rows are a customer's: what is removed when the customer is forgotten. A row that refers to such a row within its
    read goes with it. ``data_source`` is the column that names a row's own data source, where it has one alone.
    """

    name: str
    group: Group
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    read: str
    each: str | None = None
    window: str | None = None
    references: tuple[Reference, ...] = ()
    identity: tuple[str, ...] = ()
    fleeting: tuple[str, ...] = ()
    about: About | None = None
    data_source: str | None = None

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema([column.field for column in self.columns], metadata={"description": self.description})

    @cached_property
    def by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    @property
    def path(self) -> tuple[str, str]:
        """Where the dataset stands among the assets: ``("source_data", "plans")``."""
        return (self.group.value, self.name)

    def __repr__(self) -> str:
        return f"<Dataset {self.name}>"


@dataclass(frozen=True, slots=True)
class Reference:
    column: str
    dataset: str
    target: str
    within_read: bool = False
    """Both sides come from one read, so a miss is a fault of the data rather than of the clock."""
