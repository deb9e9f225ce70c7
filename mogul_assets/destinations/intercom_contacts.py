"""Which contact is which customer's: both in a scratch database on disk, so that memory grows with neither."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from mogul_assets.destinations.intercom_elements import TEXT, Value, differing


class Key(StrEnum):
    """What a customer and a contact have in common."""

    EXTERNAL_ID = "external_id"
    EMAIL = "email"


class Reason(StrEnum):
    """Why a customer's values are written to no contact."""

    NONE = "no contact with this external id or e-mail"
    SEVERAL = "several contacts match"
    ARCHIVED = "archived"
    SHARED = "the contact matches several customers"
    GONE = "archived or deleted since it was looked up"
    REFUSED = "refused by Intercom"


@dataclass(frozen=True, slots=True)
class Contact:
    """What is looked at of a contact. ``attributes`` are the custom ones."""

    id: str
    external_id: str | None
    email: str | None
    lead: bool
    archived: bool
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Customer:
    """What is wanted of a customer's contact, and the keys that find it, those that count most first.

    ``cut`` are the labels of the texts that are longer than Intercom's attributes.
    """

    uuid: str
    wanted: Mapping[str, Value]
    keys: Sequence[tuple[Key, str]]
    cut: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be written to a contact of one customer (its ``cus_…``), and what stands there now."""

    customer: str
    contact: str
    before: Mapping[str, Any]
    after: dict[str, Value]


def keys(row: Mapping[str, Any], by: Sequence[Key]) -> list[tuple[Key, str]]:
    """What a customer can be found by: any of its external ids, its e-mail; in the order of ``by``, each once."""
    ids = [row["external_id"], *json.loads(row["external_ids"] or "[]")]
    values = {Key.EXTERNAL_ID: [text for text in ids if text], Key.EMAIL: [row["email"]] if row["email"] else []}
    return list(dict.fromkeys((key, str(value)) for key in by for value in values[key]))


def folded(key: Key, value: str) -> str:
    """E-mail addresses are compared whatever their case, and nothing else is."""
    return value.strip().casefold() if key is Key.EMAIL else value


_TABLES = """
    PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;
    CREATE TABLE customer (uuid TEXT PRIMARY KEY, wanted TEXT NOT NULL, cut TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE customer_key (kind TEXT, value TEXT, said TEXT, customer TEXT, rank INTEGER);
    CREATE TABLE contact (id TEXT PRIMARY KEY, lead INTEGER, archived INTEGER, attributes TEXT) WITHOUT ROWID;
    CREATE TABLE contact_key (
        kind TEXT, value TEXT, contact TEXT, PRIMARY KEY (kind, value, contact)
    ) WITHOUT ROWID;
    CREATE TABLE matched (customer TEXT PRIMARY KEY, contact TEXT, reason TEXT) WITHOUT ROWID;
    BEGIN;
"""

_MATCH = """
    INSERT INTO matched
    WITH candidate AS (
        SELECT customer, contact, archived, min(archived * 100 + rank * 2 + lead) AS place
        FROM customer_key JOIN contact_key USING (kind, value) JOIN contact ON contact.id = contact_key.contact
        GROUP BY customer, contact
    ), first AS (
        SELECT *, min(place) OVER (PARTITION BY customer) AS first FROM candidate
    ), best AS (
        SELECT customer, min(contact) AS contact, count(*) AS contacts, max(archived) AS archived
        FROM first WHERE place = first GROUP BY customer
    )
    SELECT uuid, contact, CASE
        WHEN contact IS NULL THEN :none
        WHEN archived THEN :archived
        WHEN contacts > 1 THEN :several
        WHEN count(*) FILTER (WHERE contacts = 1 AND NOT archived) OVER (PARTITION BY contact) > 1 THEN :shared
    END
    FROM customer LEFT JOIN best ON best.customer = uuid
"""
"""Of the contacts found the best count: those that are not archived, by the first key that finds one, users first."""


class Index:
    """Customers, contacts, and who is whose. Add both, then ``match`` once, then ask."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.executescript(_TABLES)

    def add_customers(self, customers: Iterable[Customer]) -> None:
        for one in customers:
            row = (one.uuid, json.dumps(dict(one.wanted)), ", ".join(one.cut))
            self._connection.execute("INSERT INTO customer VALUES (?, ?, ?)", row)
            ranks = {key: rank for rank, key in enumerate(dict.fromkeys(key for key, _ in one.keys))}
            self._connection.executemany(
                "INSERT INTO customer_key VALUES (?, ?, ?, ?, ?)",
                [(key, folded(key, said), said.strip(), one.uuid, ranks[key]) for key, said in one.keys],
            )

    def add_contacts(self, contacts: Iterable[Contact]) -> None:
        """One that is there already (a page may repeat it) is replaced."""
        for contact in contacts:
            self._connection.execute(
                "INSERT OR REPLACE INTO contact VALUES (?, ?, ?, ?)",
                (contact.id, contact.lead, contact.archived, json.dumps(dict(contact.attributes))),
            )
            self._connection.executemany(
                "INSERT OR IGNORE INTO contact_key VALUES (?, ?, ?)",
                [
                    (key, folded(key, value), contact.id)
                    for key, value in ((Key.EXTERNAL_ID, contact.external_id), (Key.EMAIL, contact.email))
                    if value
                ],
            )

    def keys(self) -> Iterator[tuple[Key, str]]:
        """What the customers can be found by, as the account spells it, each once."""
        for kind, said in self._connection.execute("SELECT DISTINCT kind, said FROM customer_key ORDER BY kind, said"):
            yield Key(kind), said

    def key_count(self) -> int:
        return self._count("SELECT DISTINCT kind, said FROM customer_key")

    def cut_count(self) -> int:
        return self._count("SELECT uuid FROM customer WHERE cut != ''")

    def match(self) -> None:
        reasons = {reason.name.lower(): reason.value for reason in Reason}
        self._connection.execute(_MATCH, {name: reasons[name] for name in ("none", "archived", "several", "shared")})

    def changes(self) -> Iterator[Change]:
        """What differs between customers and their contacts, by the customer's uuid."""
        rows = self._connection.execute("""
            SELECT customer, contact, wanted, attributes
            FROM matched JOIN customer ON uuid = customer JOIN contact ON id = contact
            WHERE reason IS NULL ORDER BY customer
        """)
        for customer, contact, wanted, attributes in rows:
            ours, theirs = json.loads(wanted), json.loads(attributes)
            after = differing(ours, theirs)
            if after:
                yield Change(customer, contact, {name: theirs.get(name) for name in ours}, after)

    def left_out(self) -> Iterator[tuple[str, str]]:
        """The customers that have no contact to write to, and why."""
        yield from self._connection.execute(
            "SELECT customer, reason FROM matched WHERE reason IS NOT NULL ORDER BY customer"
        )

    def cuts(self) -> Iterator[tuple[str, str]]:
        """The customers of whose values only the beginning is written, and which these are."""
        yield from self._connection.execute(f"""
            SELECT uuid, 'cut after {TEXT} characters: ' || cut
            FROM customer JOIN matched ON customer = uuid WHERE cut != '' AND reason IS NULL ORDER BY uuid
        """)

    def _count(self, statement: str) -> int:
        return int(self._connection.execute(f"SELECT count(*) FROM ({statement})").fetchone()[0])


@contextmanager
def index(folder: Path) -> Iterator[Index]:
    """An empty one in ``folder``, which is to be removed afterwards."""
    with closing(sqlite3.connect(folder / "contacts.sqlite", isolation_level=None)) as connection:
        yield Index(connection)
