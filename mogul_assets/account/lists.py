"""The lists of the API as data: where each is, what is asked of it, and what it can be read in parallel by.

Only what a reader needs is decoded of a page: whether there is more, and of each row its id and the one value
that a filter or an order goes by. Everything else stays bytes for the typing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, cast

import msgspec

from mogul_assets.catalog.datasets import CUSTOMER_STATUSES, EVENT_TYPES
from mogul_assets.catalog.reads import READS

PAGE_ROWS = 200
"""The API clamps ``per_page`` to this."""


class Row(Protocol):
    key: Any
    value: Any


class _Meta(msgspec.Struct):
    total_pages: int | None = None


class Envelope(Protocol):
    """A page of any list. ``total_pages``, here or in ``meta``, is only on pages asked for without a cursor."""

    rows: Sequence[Row]
    has_more: bool
    cursor: str | None
    total_pages: int | None
    meta: _Meta | None


@dataclass(frozen=True)
class Listing:
    """One paged list.

    ``params`` go with every request. ``shard_by`` is the filter whose ``shards`` (value to send → value in the
    rows) divide the list; ``value`` the key of a row that says which shard it belongs to, ``None`` where rows
    do not say. ``counted``: a page asked for without a cursor says how many pages there are.
    ``newest_first``: rows are in the order of their creation, so that what is new is at the beginning.
    """

    name: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    key: str = "uuid"
    value: str | None = None
    shard_by: str | None = None
    shards: Mapping[str, str] = field(default_factory=dict)
    counted: bool = True
    newest_first: bool = False

    @cached_property
    def decode(self) -> Callable[[bytes], Envelope]:
        """A page's envelope. Raises msgspec's ``DecodeError`` and ``ValidationError``."""
        return self._decoder(
            ("has_more", bool),
            ("cursor", str | None, None),
            ("total_pages", int | None, None),
            ("meta", _Meta | None, None),
        )

    def keys(self, body: bytes) -> Iterator[int]:
        """The rows of a landed page, each by the ``digest`` of its id."""
        return (digest(row.key) for row in self._decode_rows(body).rows)

    @cached_property
    def _decode_rows(self) -> Callable[[bytes], Envelope]:
        return self._decoder()  # a customer that was read singly lies in a page without an envelope

    def _decoder(self, *envelope: tuple[Any, ...]) -> Callable[[bytes], Envelope]:
        row = msgspec.defstruct(
            "Row",
            [("key", Any, None), ("value", Any, None)],
            rename={"key": self.key, "value": self.value or ""},
            gc=False,
        )
        page = msgspec.defstruct(
            "Page",
            [("rows", list[row]), *envelope],  # type: ignore[valid-type]
            rename={"rows": cast("str", READS[self.name].root)},
            gc=False,
        )
        return cast("Callable[[bytes], Envelope]", msgspec.json.Decoder(page).decode)


def digest(key: object) -> int:
    """A row's id in 64 bits, the same within this process."""
    return hash(str(key))


LISTS: dict[str, Listing] = {
    listing.name: listing
    for listing in (
        Listing(
            "customers",
            "/customers",
            value="status",
            shard_by="status",
            # The filter writes underscores where the rows have spaces.
            shards={status.replace(" ", "_"): status for status in CUSTOMER_STATUSES},
        ),
        Listing("contacts", "/contacts", counted=False, newest_first=True),
        Listing("plans", "/plans"),
        Listing(
            "invoices",
            "/invoices",
            {"validation_type": "all", "with_disabled": "true", "include_edit_histories": "true"},
            # The shards are the account's data sources. Recorded rows do not name theirs.
            shard_by="data_source_uuid",
            newest_first=True,
        ),
        Listing(
            "subscription_events",
            "/subscription_events",
            {"with_disabled": "true", "include_edit_histories": "true"},
            key="id",
            value="event_type",
            shard_by="event_type",
            shards={event: event for event in EVENT_TYPES},
            newest_first=True,
        ),
        Listing("activities", "/activities", {"order": "date"}, value="date", counted=False),
    )
}

SINGLES: dict[str, tuple[str, Mapping[str, str]]] = {
    "account": (
        "/account",
        {
            "include": "churn_recognition,churn_when_zero_mrr,auto_churn_subscription,refund_handling,"
            "proximate_movement_reclassification"
        },
    ),
    "data_sources": (
        "/data_sources",
        {
            "with_processing_status": "true",
            "with_auto_churn_subscription_setting": "true",
            "with_invoice_handling_setting": "true",
        },
    ),
}
"""Reads that are one request: path and parameters."""
