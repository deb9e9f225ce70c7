"""Deliveries into Intercom: what a customer pays, as custom attributes of the contact that is that customer."""

import json
import re
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, field_validator

from mogul_assets.destinations.base import (
    Capabilities,
    Delivered,
    Destination,
    Leftover,
    Outcome,
    Permission,
    Preview,
    Secret,
)
from mogul_assets.destinations.intercom_contacts import Change, Customer, Index, Key, Reason, index, keys
from mogul_assets.destinations.intercom_elements import ELEMENTS, LAST_UPDATED, Value, attribute, cut, shown, wanted
from mogul_assets.destinations.messenger import LedgerResource
from mogul_assets.destinations.spreadsheets import spreadsheets
from mogul_assets.destinations.trial import Trial
from mogul_assets.errors import ConfigurationError, DestinationRefused, MogulError
from mogul_assets.store.table import BATCH_ROWS, DataFile, Table

if TYPE_CHECKING:
    from mogul_assets.destinations.intercom_client import Attribute, Workspace

ATTRIBUTES = 250
"""Custom attributes that a workspace may have: https://www.intercom.com/help/en/articles/179"""

_URLS = {"us": "https://api.intercom.io", "eu": "https://api.eu.intercom.io", "au": "https://api.au.intercom.io"}
_GRANTS = "grant it: mogul destinations grants intercom"
_REFUSALS = 20
"""Contacts that Intercom may refuse before a delivery ends: what it refuses of so many it will refuse of all."""

_OF_ONE = frozenset({400, 409, 422})
"""What Intercom answers where it does not take the values of one contact."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class IntercomDestination(Destination):
    """One workspace. Only custom attributes are written, and of those only what differs."""

    CHOOSES: ClassVar[tuple[str, ...]] = ()
    EXAMPLE: ClassVar[Mapping[str, Any]] = {
        "token": {"env": "INTERCOM_TOKEN"},
        "region": "eu",
        "prefix": "ChartMogul",
        "elements": ["mrr", "plan", "customer_status", "subscriber_since", "last_updated"],
        "match": ["external_id", "email"],
    }

    token: Secret = Field(description="The access token of an app of yours in Intercom.")
    region: Literal["us", "eu", "au"] = Field(default="us", description="Where Intercom keeps the workspace's data.")
    prefix: str = Field(default="ChartMogul", description="What the names of the attributes begin with.")
    elements: list[str] = Field(default=list(ELEMENTS), description="Which of the fourteen are written.")
    match: list[str] = Field(
        default=[Key.EXTERNAL_ID.value, Key.EMAIL.value],
        description="What a contact is found by, in this order: external_id, email, or one of them.",
    )
    url: str | None = Field(default=None, description="Where the API is, if not where the region's is.")

    ledger: dg.ResourceDependency[LedgerResource]

    @field_validator("prefix")
    @classmethod
    def _may_be_in_a_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9 _-]{0,58}[A-Za-z0-9])?", value):
            raise ValueError("Intercom's names hold letters, digits, blanks, _ and - only; at most 60 of them here")
        return value

    @field_validator("elements")
    @classmethod
    def _are_elements(cls, value: list[str]) -> list[str]:
        return _chosen(value, ELEMENTS, "element")

    @field_validator("match")
    @classmethod
    def _are_keys(cls, value: list[str]) -> list[str]:
        return _chosen(value, [key.value for key in Key], "way to match")

    @field_validator("url")
    @classmethod
    def _is_safe(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"https://|http://(127\.0\.0\.1|localhost)(?=[:/]|$)", value):
            raise ValueError("the token would be sent in the clear; begin with https://")
        return value

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(datasets=frozenset({"customers"}))

    def grants(self) -> str:
        """The permissions of the app that the token is of, by their names in Intercom's Developer Hub."""
        return (
            "In Intercom's Developer Hub, your app, Authentication, choose these and no others:\n"
            "  Read and list users and companies   finds the contacts\n"
            "  Write users and companies           writes their custom attributes\n"
            "  Write data attributes               makes the attributes, once\n"
            "  Read one admin                      says which workspace it is"
        )

    # -- what is done there ------------------------------------------------------------------------------------

    @contextmanager
    def _workspace(self) -> Iterator["Workspace"]:
        """The workspace; what goes wrong within is told.

        Raises:
            MogulError: whatever Intercom or the network answered.
        """
        from mogul_assets.destinations.intercom_client import Workspace  # noqa: PLC0415 - only where it is needed

        token = self.token.reveal()
        if not re.fullmatch(r"[!-~]+", token):
            raise ConfigurationError(
                f"{self.name}: {self.token.env} holds no token: there are blanks or line breaks in it",
                remedy="put the access token alone into it",
            )
        workspace = Workspace(token, self._url)
        try:
            yield workspace
        except Exception as error:
            told = self._told(error)
            if told is None:
                raise
            raise told from None
        finally:
            workspace.close()

    def _told(self, error: Exception) -> MogulError | None:
        from mogul_assets.destinations.intercom_client import told  # noqa: PLC0415 - only where it is needed

        return error if isinstance(error, MogulError) else told(self.name, error, _GRANTS)

    @contextmanager
    def _matched(self, workspace: "Workspace", table: Table) -> Iterator[Index]:
        """The table's customers and their contacts."""
        from mogul_assets.destinations.intercom_client import FILTERS, pages, searches  # noqa: PLC0415

        by = [Key(word) for word in self.match]
        with tempfile.TemporaryDirectory(prefix="mogul-intercom-") as folder, index(Path(folder)) as found:
            for batch in table.batches():
                found.add_customers(
                    Customer(
                        row["uuid"], wanted(row, self.elements, self.prefix), keys(row, by), cut(row, self.elements)
                    )
                    for row in batch.to_pylist()
                )
            # Whatever asks less often: each search finds the contacts of a few customers, each page 150 of any.
            if searches(found.key_count()) < pages(workspace.contact_count()):
                for contacts in _at_once(workspace.found, _parts(found.keys(), FILTERS)):
                    found.add_contacts(contacts)
            else:
                found.add_contacts(workspace.contacts())
            found.match()
            yield found

    def _needed(self, workspace: "Workspace") -> tuple[list[str], list["Attribute"]]:
        """The elements that have no attribute there yet, and the attributes that are archived.

        Raises:
            DestinationRefused: one is there with another type, or there is no room for them.
        """
        there, count = workspace.attributes()
        missing, archived = [], []
        for word in self.elements:
            name, kind = attribute(self.prefix, word), ELEMENTS[word].type
            found = there.get(name)
            if found is None:
                missing.append(word)
            elif found.type != kind:
                raise DestinationRefused(
                    f"{self.name}: the attribute '{name}' is there with type {found.type}, and must be {kind}",
                    remedy="rename it in Intercom, or choose another prefix",
                )
            elif found.archived:
                archived.append(found)
        need = len(missing) + len(archived)
        if need and count + need > ATTRIBUTES:
            raise DestinationRefused(
                f"{self.name}: {need} attributes are needed, and the workspace has {count} of the {ATTRIBUTES} that it"
                " may have",
                remedy=f"archive {count + need - ATTRIBUTES} in Intercom, or name fewer elements",
            )
        return missing, archived

    def deliver(self, table: Table) -> Delivered:
        """Write what differs to each customer's contact. Those that have none are listed in the ledger.

        Every contact is written by itself. Where that ends early, what is written stands, and the next delivery
        finds it equal and writes the rest.
        """
        began, now = time.monotonic(), datetime.now(UTC)
        if not self.capabilities.takes(table.dataset):
            raise DestinationRefused(f"{self.name}: takes customers, not {table.dataset}", remedy="deliver customers")
        with self._workspace() as workspace:
            missing, archived = self._needed(workspace)
            for word in missing:
                workspace.make(attribute(self.prefix, word), ELEMENTS[word])
            for one in archived:
                workspace.unarchive(one.id)
            with self._matched(workspace, table) as found:
                done = self._written(workspace, found.changes(), now)
                notes = dict(found.cuts()) | dict(found.left_out()) | done.left_out
                cut = found.cut_count()
        with self.ledger.open() as ledger:
            ledger.note(self.name, "contact", notes.items(), now)
        if done.refused:
            raise DestinationRefused(
                f"{self.name}: Intercom refused {done.refused} contacts ({done.answer}), {done.contacts} were written",
                remedy=f"see which: mogul messages list {self.name}",
            )
        return Delivered(
            outcome=Outcome.DELIVERED,
            rows=done.contacts,
            bytes=done.bytes,
            seconds=time.monotonic() - began,
            location=self._location,
            details={
                "customers": table.rows,
                "customers listed": len(notes),
                "texts cut": cut,
                "attributes made": len(missing) + len(archived),
            },
        )

    def _written(self, workspace: "Workspace", changes: Iterable[Change], now: datetime) -> "_Done":
        from mogul_assets.destinations.intercom_client import status  # noqa: PLC0415 - only where it is needed

        name = attribute(self.prefix, LAST_UPDATED)
        stamp: dict[str, Value] = {name: int(now.timestamp())} if LAST_UPDATED in self.elements else {}

        def tried(change: Change) -> tuple[Change, Exception | None]:
            try:
                workspace.write(change.contact, change.after | stamp)
            except Exception as error:  # noqa: BLE001 - the others in flight are waited for, and counted, first
                return change, error
            return change, None

        done, ended = _Done(), list[Exception]()
        for change, error in _at_once(tried, takewhile(lambda _: not ended, changes)):
            if error is None:
                done.contacts += 1
                done.bytes += len(json.dumps(change.after | stamp))
            elif status(error) == 404:
                done.left_out[change.customer] = Reason.GONE
            elif status(error) in _OF_ONE and done.refused < _REFUSALS:
                done.refused += 1
                done.answer = str(status(error))
                done.left_out[change.customer] = Reason.REFUSED
            else:
                ended.append(error)
        if ended:
            told = self._told(ended[0])
            if told is None:
                raise ended[0]
            raise type(told)(
                f"{told.message}; {done.contacts} contacts were written, the next delivery writes the rest",
                remedy=told.remedy,
            ) from None
        return done

    # -- what is told of it ------------------------------------------------------------------------------------

    def preview(self, table: Table) -> Preview:
        """``new`` counts the contacts that have none of the attributes yet, ``changed`` those where some differ."""
        with self._workspace() as workspace:
            missing, archived = self._needed(workspace)
            with self._matched(workspace, table) as found:
                kinds = Counter(all(value is None for value in change.before.values()) for change in found.changes())
                reasons = Counter(reason for _, reason in found.left_out())
        return Preview(
            location=self._location,
            rows=table.rows,
            columns=tuple((attribute(self.prefix, word), ELEMENTS[word].type) for word in self.elements),
            new=kinds[True],
            changed=kinds[False],
            statements=(
                *(f"make the attribute '{attribute(self.prefix, word)}'" for word in missing),
                *(f"take the attribute '{one.name}' out of the archive" for one in archived),
                *(f"leave out {count} customers: {reason}" for reason, count in sorted(reasons.items())),
            ),
        )

    def rendered(self, tables: Sequence[Table], now: datetime) -> Mapping[str, bytes]:  # noqa: ARG002 - as messengers have it
        """``contacts.csv``: contact by contact what would be written, and who is left out. Customers' data."""
        with tempfile.TemporaryDirectory(prefix="mogul-intercom-") as name, self._workspace() as workspace:
            folder = Path(name)
            for table in tables:
                with self._matched(workspace, table) as found:
                    sheet = _sheet(folder / "contacts.parquet", self._lines(found), table)
                return {part.path.name: part.path.read_bytes() for part in spreadsheets(sheet, folder, "contacts")}
        return {}

    def _lines(self, found: Index) -> Iterator[tuple[str | None, ...]]:
        kinds = {attribute(self.prefix, word): ELEMENTS[word].type for word in self.elements}
        for change in found.changes():
            for name, value in change.after.items():
                before = shown(change.before.get(name), kinds[name])
                yield change.customer, change.contact, name, before, shown(value, kinds[name]), None
        for customer, reason in (*found.left_out(), *found.cuts()):
            yield customer, None, None, None, None, reason

    def check(self) -> list[Permission]:
        """Tries what deliveries do, writing to a contact and an attribute that are not there."""
        trial, missing = Trial(self._told, _GRANTS), list[str]()
        with self._workspace() as workspace:
            with trial.of("say which workspace it is", "Read one admin"):
                workspace_name, region = workspace.named()
            if trial.passed("say which workspace it is"):
                trial.found[-1] = Permission(f"reach the workspace '{workspace_name}' in {region}")
                if region.lower() != self.region:
                    trial.found.append(
                        Permission("lie in the region", f"it lies in {region}", f"set region: {region.lower()}")
                    )
            with trial.of("find contacts", "Read and list users and companies"):
                workspace.contact_count()
                workspace.found([(Key.EMAIL, "nobody@example.invalid")])
            with trial.of("write to contacts", "Write users and companies"):
                workspace.may_write()
            with trial.of("make attributes", "Write data attributes"):
                workspace.may_make()
                missing, _ = self._needed(workspace)
            if trial.passed("make attributes"):
                trial.found[-1] = Permission(f"make attributes ({len(missing)} of {len(self.elements)} are missing)")
        return trial.found

    def forget(self) -> list[Leftover]:
        """The attributes, with the values that contacts have."""
        from mogul_assets.destinations.intercom_client import VERSION  # noqa: PLC0415 - only where it is needed

        names = {attribute(self.prefix, word) for word in ELEMENTS}
        with self._workspace() as workspace:
            ours = [one for one in workspace.attributes()[0].values() if one.name in names and not one.archived]
        headers = " ".join(
            f"-H {header}"
            for header in (
                f"'Authorization: Bearer '\"${self.token.env}\"",
                f"'Intercom-Version: {VERSION}'",
                "'Content-Type: application/json'",
            )
        )
        return [
            Leftover(
                f"the attribute '{one.name}' with its values",
                f"curl -X PUT {self._url}/data_attributes/{one.id} {headers} -d '{{\"archived\": true}}'",
            )
            for one in sorted(ours, key=lambda one: one.name)
        ]

    def remains(self, datasets: Sequence[str]) -> list[Leftover]:
        """The attributes of its contact: no delivery touches a contact whose customer is gone."""
        if not datasets:
            return []
        names = ", ".join(attribute(self.prefix, word) for word in self.elements)
        return [Leftover(f"on its contact: {names}", "delete the contact in Intercom, or empty these attributes")]

    def last_delivery(self, dataset: str) -> datetime | None:  # noqa: ARG002 - Intercom keeps no such thing
        return None

    @property
    def _url(self) -> str:
        return (self.url or _URLS[self.region]).rstrip("/")

    @property
    def _location(self) -> str:
        return f"{self._url}/contacts"


@dataclass(slots=True)
class _Done:
    """What became of the contacts; ``left_out`` by customer."""

    contacts: int = 0
    bytes: int = 0
    refused: int = 0
    answer: str = ""
    left_out: dict[str, str] = field(default_factory=dict)


def _chosen(words: list[str], among: Iterable[str], what: str) -> list[str]:
    """The words.

    Raises:
        ValueError: there are none, or one that is not known, or is there twice.
    """
    known = list(among)
    if not words:
        raise ValueError(f"it names no {what}; leave it out for all of them")
    for word in words:
        if word not in known:
            raise ValueError(f"there is no {what} '{word}'; there are: {', '.join(known)}")
        if words.count(word) > 1:
            raise ValueError(f"the {what} '{word}' is there twice")
    return words


def _parts(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def _at_once(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """``function`` of each, in their order, a few at a time; no further item is taken before a result is."""
    from mogul_assets.destinations.intercom_client import CONCURRENCY  # noqa: PLC0415 - only where it is needed

    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="intercom") as pool:
        running: deque[Future[_Result]] = deque()
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) == CONCURRENCY:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


_COLUMNS = pa.schema(
    [(name, pa.string()) for name in ("customer", "contact", "attribute", "before", "after", "left_out")]
)


def _sheet(path: Path, lines: Iterable[tuple[str | None, ...]], table: Table) -> Table:
    """The lines as a table of their own."""
    with pq.ParquetWriter(path, _COLUMNS) as writer:
        for part in _parts(lines, BATCH_ROWS):
            writer.write_table(pa.table(dict(zip(_COLUMNS.names, zip(*part, strict=True), strict=True)), _COLUMNS))
    content = DataFile(str(path), rows=0, bytes=path.stat().st_size, sha256="", generation=table.generation)
    return replace(
        table, dataset="contacts", schema=_COLUMNS, key=(), files=(content,), window=None, window_column=None
    )
