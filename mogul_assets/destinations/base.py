"""What every destination is: its verbs, and its capabilities as data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from dagster import Config, ConfigurableResource
from pydantic import Field

from mogul_assets import settings
from mogul_assets.catalog.window import Window
from mogul_assets.destinations.choice import Choice
from mogul_assets.errors import DestinationRefused
from mogul_assets.store.person import Person
from mogul_assets.store.table import Table


class Secret(settings.Secret, Config):
    """A secret among a destination's options: Dagster's resources hold pydantic models of Dagster's own kind only."""


class Outcome(StrEnum):
    DELIVERED = "delivered"
    SUPERSEDED = "superseded"
    """The destination already holds a newer generation; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one delivery did. ``rows`` and ``bytes`` are what was sent; ``location`` is where a person looks."""

    outcome: Outcome
    rows: int
    bytes: int
    seconds: float
    location: str
    details: Mapping[str, str | int | float] = field(default_factory=dict)
    anew: bool = False
    """Whether the table, or a column of it, was not there at the last delivery: outside of the window it is empty,
    or null."""
    sent: tuple[Table, ...] = ()
    """The tables as they went there, where that was to be chosen first; their files are gone by now."""


@dataclass(frozen=True, slots=True)
class Permission:
    """One thing that a destination must be allowed to do. ``problem`` is ``None`` where it is."""

    name: str
    problem: str | None = None
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a delivery would send, without sending it.

    ``new``, ``changed`` and ``gone`` count rows by primary key against what lies at the destination;
    ``None`` where that cannot be known.
    """

    location: str
    rows: int
    columns: tuple[tuple[str, str], ...]
    """(name, type as the destination spells it)"""
    window: Window | None = None
    new: int | None = None
    changed: int | None = None
    gone: int | None = None
    statements: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a type can take, as data.

    ``datasets`` ``None`` is all thirteen. Limits are in bytes, ``None`` where there is none.
    """

    datasets: frozenset[str] | None = None
    text_bytes: int | None = None
    row_bytes: int | None = None
    nul_in_text: bool = True

    def takes(self, dataset: str) -> bool:
        return self.datasets is None or dataset in self.datasets


@dataclass(frozen=True, slots=True)
class Leftover:
    """What deleting a destination from ``mogul.yaml`` leaves behind, and how to remove it."""

    what: str
    remove: str


class Destination(ConfigurableResource, ABC):  # type: ignore[type-arg]
    """One configured place. Constructing it connects to nothing and imports no vendor SDK.

    Every verb may raise ``DestinationUnavailable`` (transient) or ``DestinationRefused`` (terminal), in one
    line that names no secret.
    """

    EXAMPLE: ClassVar[Mapping[str, Any]] = {}
    """Options that make a destination of this type, as they would stand in ``mogul.yaml``."""
    CHOOSES: ClassVar[tuple[str, ...]] = settings.CHOICE
    """Which of these settings mean something to this type."""
    NEEDS: ClassVar[Mapping[str, frozenset[str]]] = {}
    """Columns by dataset that it cannot do without, as they are; beside keys and windows."""

    name: str = Field(description="The destination's name in mogul.yaml, unique in it.")
    choice: dict[str, Any] = Field(
        default_factory=dict,
        description="What of its datasets it gets: table_prefix, tables, columns and rows of its entry.",
    )

    @property
    def chooses(self) -> Choice:
        """Raises ``ConfigurationError`` where its settings cannot be read."""
        return Choice.of(self.choice)

    def secrets(self) -> list[Secret]:
        """The secrets among the settings, by the names of their variables."""
        values = (getattr(self, name) for name in type(self).model_fields)
        salt = self.chooses.columns.salt
        return [*(one for one in values if isinstance(one, Secret)), *([Secret(env=salt.env)] if salt else [])]

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities: ...

    def grants(self) -> str:
        """What gives it the least rights that it needs: SQL or a policy to copy, with its own names in it."""
        return "Nothing is to be granted."

    @abstractmethod
    def check(self) -> list[Permission]:
        """Reach it, and say permission by permission what it lets us do. Changes nothing there for good."""

    @abstractmethod
    def deliver(self, table: Table) -> Delivered:
        """Make the destination's dataset, or exactly the table's window of it, be the table.

        Idempotent and atomic: a reader sees the old whole or the new whole, and a failure at any moment
        leaves one of the two. A generation older than the one that lies there changes nothing.
        """

    @abstractmethod
    def preview(self, table: Table) -> Preview: ...

    def rendered(self, tables: Sequence[Table], now: datetime) -> Mapping[str, bytes]:  # noqa: ARG002 - as declared
        """What would be sent now, as files for people to look at, by name. Customers' data is in them."""
        return {}

    def prove(self) -> str:
        """Send one harmless message that says it is a test; where it went, in one line.

        Raises:
            DestinationRefused: it sends no messages.
        """
        raise DestinationRefused(
            f"{self.name} sends no messages", remedy=f"try it with  mogul destinations test {self.name}"
        )

    @abstractmethod
    def forget(self) -> list[Leftover]:
        """What removing the destination from the file leaves. Removes nothing."""

    def remains(self, datasets: Sequence[str]) -> list[Leftover]:
        """What may tell of a customer there once the store has forgotten it, and how to remove it. Removes nothing.

        ``datasets`` are those delivered there whose rows are customers'.
        """
        return [Leftover(f"its rows of {', '.join(datasets)}", f"mogul sync {self.name}")] if datasets else []

    def versions(self) -> Sequence[str]:
        """The datasets whose older rows are kept there, so that no delivery removes a customer's: ``erase`` does."""
        return ()

    def erase(self, person: Person, datasets: Sequence[str]) -> int:  # noqa: ARG002 - as declared
        """Remove a customer's rows from these datasets' tables there, of every age; how many those were."""
        return 0

    @abstractmethod
    def last_delivery(self, dataset: str) -> datetime | None:
        """When the dataset last arrived there (UTC), as the destination itself knows it."""
