"""What each path of the API answers, without the network: (method, path, query) in, status and body out.

The quirks are the recorded ones: cursors that are never null on a last page, extra keys on first pages only,
filters that are silently ignored, an ``/activities`` cursor that loses a row at each page's end, four shapes of
errors. Where no recording or documentation says what happens, the docstring here says what was chosen.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any, Literal

import msgspec
from msgspec import UNSET, structs

from mogul_assets.sandbox import crm, documents
from mogul_assets.sandbox.company import NO_DATE, Company
from mogul_assets.sandbox.documents import shaped
from mogul_assets.sandbox.history import Dated, identifier
from mogul_assets.sandbox.listing import MOST, BadCursor, Facet, Listing, decode_cursor, encode_cursor
from mogul_assets.sandbox.metrics import ROUTES, Figures
from mogul_assets.sandbox.moments import DAY, nanoseconds, offset
from mogul_assets.sandbox.names import SIGNS

Query = Mapping[str, str]
CursorSemantics = Literal["skip_boundary", "exact"]


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def error(status: int, message: str, param: str | None = None) -> Answer:
    """The shape of a 400, a 401, a failed search and, presumably, a 429."""
    return _json({"code": status, "message": message, "param": param}, status)


def not_found(what: str) -> Answer:
    return _json({"error": f"{what} not found"}, 404)


def _json(value: Any, status: int = 200) -> Answer:
    return Answer(msgspec.json.encode(value), status)


def _at(*path: str) -> Facet:
    """The facet whose only value is found there in the document; none where it is null."""

    def values(entry: Dated) -> Iterable[str]:
        value: Any = entry.document
        for name in path:
            value = getattr(value, name)
        return () if value is None or value is UNSET else (str(value),)

    return values


@dataclass(frozen=True, slots=True)
class ListRoute:
    """A list of the whole account. ``filters``: the query parameters that it knows, by their facet."""

    path: str
    root: str
    number: bool
    """Its ids are numbers"""
    descending: bool
    filters: Mapping[str, Facet]
    extras: tuple[str, ...] = ()
    hidden: Mapping[str, Facet] = field(default_factory=dict)
    """Facets that decide which rows are shown unless asked for"""

    @property
    def name(self) -> str:
        return self.path[1:]


def _equal(*names: str) -> dict[str, Facet]:
    return {name: _at(name) for name in names}


_VALIDITY: dict[str, Facet] = {
    "valid": lambda entry: ("no" if entry.document.errors else "yes",),  # type: ignore[attr-defined]
    "disabled": lambda entry: ("yes" if entry.document.disabled else "no",),  # type: ignore[attr-defined]
}

LISTS = (
    ListRoute(
        "/customers",
        "entries",
        number=True,
        descending=False,
        filters={
            "data_source_uuid": lambda entry: entry.document.data_source_uuids,  # type: ignore[attr-defined]
            "external_id": lambda entry: entry.document.external_ids,  # type: ignore[attr-defined]
            "status": lambda entry: (entry.document.status.replace(" ", "_"),),  # type: ignore[attr-defined]
            "system": _at("billing_system_type"),
        },
        extras=("current_page", "total_pages", "per_page", "page"),
    ),
    ListRoute(
        "/contacts",
        "entries",
        number=False,
        descending=True,
        filters=_equal("email", "customer_external_id", "customer_uuid", "data_source_uuid"),
    ),
    ListRoute(
        "/plans",
        "plans",
        number=True,
        descending=True,
        filters=_equal("data_source_uuid", "external_id"),
        extras=("current_page", "total_pages"),
    ),
    ListRoute(
        "/plan_groups",
        "plan_groups",
        number=True,
        descending=True,
        filters={},
        extras=("current_page", "total_pages"),
    ),
    ListRoute(
        "/invoices",
        "invoices",
        number=False,
        descending=True,
        filters=_equal("customer_uuid", "external_id") | {"data_source_uuid": lambda entry: (entry.source,)},
        extras=("total_pages", "current_page"),
        hidden=_VALIDITY,
    ),
    ListRoute(
        "/subscription_events",
        "subscription_events",
        number=True,
        descending=True,
        filters=_equal(
            "data_source_uuid",
            "external_id",
            "customer_external_id",
            "subscription_external_id",
            "event_type",
            "event_date",
            "effective_date",
            "plan_external_id",
        ),
        extras=("meta",),
        hidden={"disabled": _VALIDITY["disabled"]},
    ),
    ListRoute("/customer_notes", "entries", number=False, descending=True, filters=_equal("customer_uuid", "type")),
    ListRoute(
        "/opportunities",
        "entries",
        number=False,
        descending=True,
        filters=_equal("customer_uuid", "owner", "pipeline", "pipeline_stage"),
    ),
    ListRoute("/tasks", "entries", number=False, descending=True, filters=_equal("customer_uuid", "assignee")),
)

_ACTIVITY_FACETS: dict[str, Facet] = _equal("type", "customer_uuid")
_SETTINGS: dict[str, Any] = {
    "churn_recognition": "churn_at_time_of_cancelation",
    "churn_when_zero_mrr": False,
    "auto_churn_subscription": False,
    "refund_handling": "refund_ignore",
    "proximate_movement_reclassification": "one_hour_reclassification",
}
_SOURCE_SETTINGS = ("processing_status", "auto_churn_subscription_setting", "invoice_handling_setting")


class Api:
    """The account of one company behind the API's paths.

    Args:
        company: what is in it.
        shape: the year whose shapes are written: 2023, 2025 or 2026.
        cursor_semantics: of ``/activities``: ``skip_boundary`` as recorded (a page's cursor names the next row,
            and reading goes on after it), or ``exact``.
    """

    def __init__(
        self, company: Company, *, shape: int = 2026, cursor_semantics: CursorSemantics = "skip_boundary"
    ) -> None:
        self.company = company
        self.shape = shape
        self.cursor_semantics = cursor_semantics
        self._listings: dict[str, Listing] = {}
        self._exports: dict[str, dict[str, Any]] = {}
        self._polled: set[str] = set()

    def answer(self, method: str, path: str, query: Query, body: bytes = b"") -> Answer:
        """The answer to one request. Paths are those after ``/v1``."""
        try:
            for verb, pattern, handler in self._routes:
                match = pattern.fullmatch(path)
                if match and verb == method:
                    return handler(query, body, *match.groups())
        except Refusal as refusal:
            return refusal.answer
        except BadCursor:
            return error(400, 'Parameter "cursor" is invalid', "cursor")
        return not_found("Resource")

    def warm(self) -> None:
        """Renders every list now, edit histories left out as they are unless asked for."""
        for route in LISTS:
            self._listing(route).warm(shape=self.shape)
        self._activities.warm(shape=self.shape)

    @cached_property
    def _routes(self) -> list[tuple[str, re.Pattern[str], Callable[..., Answer]]]:
        routes: list[tuple[str, str, Callable[..., Answer]]] = [
            ("GET", "/ping", lambda *_: _json({"data": "pong!"})),
            ("GET", "/account", self._account),
            ("GET", "/data_sources", self._data_sources),
            ("GET", "/data_sources/([^/]+)", self._data_source),
            ("GET", "/customers/search", self._search),
            ("GET", "/customers/([^/]+)", self._customer),
            ("GET", "/customers/([^/]+)/attributes", self._attributes),
            ("GET", "/customers/([^/]+)/activities", self._customer_activities),
            ("GET", "/customers/([^/]+)/subscriptions", self._customer_subscriptions),
            ("GET", "/customers/([^/]+)/contacts", self._customer_contacts),
            ("GET", "/import/customers/([^/]+)/invoices", self._customer_invoices),
            ("GET", "/(contacts|plans|plan_groups|invoices)/([^/]+)", self._single),
            ("POST", "/plan_groups", self._grouped),
            ("GET", "/activities", self._list_activities),
            ("POST", "/activities_export", self._export),
            ("GET", "/activities_export/([^/]+)", self._exported),
            ("GET", "/metrics/([^/]+)", self._metrics),
        ]
        routes += [("GET", route.path, self._list(route)) for route in LISTS]
        return [(verb, re.compile(pattern), handler) for verb, pattern, handler in routes]

    # -- lists

    def _listing(self, route: ListRoute) -> Listing:
        if route.name not in self._listings:
            kept = crm.LISTS.get(route.name)
            entries = kept(self.company) if kept else getattr(self.company, route.name)
            facets = {**route.filters, **{f"hidden {name}": facet for name, facet in route.hidden.items()}}
            if route.name == "plans":
                systems = {source.uuid: source.system for source in self.company.data_sources}
                facets["system"] = lambda entry: (systems[entry.document.data_source_uuid],)  # type: ignore[attr-defined]
            self._listings[route.name] = Listing(entries, facets, descending=route.descending)
        return self._listings[route.name]

    def _list(self, route: ListRoute) -> Callable[..., Answer]:
        def handler(query: Query, _: bytes) -> Answer:
            listing = self._listing(route)
            wanted = {name: query[name] for name in listing.facets if query.get(name)}
            if "valid" in route.hidden and query.get("validation_type", "valid") != "all":
                wanted["hidden valid"] = "no" if query.get("validation_type") == "invalid" else "yes"
            if route.hidden and query.get("with_disabled") != "true":
                wanted["hidden disabled"] = "no"
            histories = query.get("include_edit_histories") == "true"
            return self._page(
                route.root, listing, wanted, query, route.extras, number=route.number, histories=histories
            )

        return handler

    def _page(
        self,
        root: str,
        listing: Listing,
        wanted: Mapping[str, str],
        query: Query,
        extras: tuple[str, ...],
        *,
        number: bool,
        histories: bool = False,
        more: Mapping[str, Any] | None = None,
    ) -> Answer:
        """The next page after the query's cursor, in the envelope of its list."""
        count, cursor = per_page(query), query.get("cursor")
        places = listing.find(wanted)
        first = listing.place_after(places, decode_cursor(cursor, NO_DATE, number=number)) if cursor else 0
        page = listing.page(places, first, count, shape=self.shape, histories=histories)
        envelope: dict[str, Any] = dict(more or {})
        if not cursor:
            pages = -(-page.total // count)
            identity = page.last_key[1] if page.last_key else None
            known = {"current_page": 1, "total_pages": pages, "per_page": count, "page": 1}
            known["meta"] = {  # type: ignore[assignment]
                "next_key": identity,
                "prev_key": None,
                "before_key": f"{nanoseconds(self.company.now)[:23]}Z",
                "page": 1,
                "total_pages": pages,
            }
            envelope |= {name: known[name] for name in extras}
        envelope["cursor"] = encode_cursor(page.last_key, NO_DATE) if page.last_key else None
        envelope["has_more"] = page.has_more
        return _enveloped(root, page.rows, envelope)

    @cached_property
    def _activities(self) -> Listing:
        return Listing(self.company.activities, _ACTIVITY_FACETS)

    @cached_property
    def _activities_newest(self) -> Listing:
        return Listing(self.company.activities, _ACTIVITY_FACETS, descending=True)

    @cached_property
    def _activity_keys(self) -> dict[str, tuple[str, str | int]]:
        return {str(entry.key[1]): entry.key for entry in self.company.activities}

    def _list_activities(self, query: Query, _: bytes) -> Answer:
        """``start-date`` and ``end-date`` both include their moment; an end without a start is refused. An anchor
        that is gone (uuids are re-issued) is a 404.
        """
        newest = query.get("order") == "-date"
        listing = self._activities_newest if newest else self._activities
        places = listing.find({"type": query["type"]} if query.get("type") else {})
        start, end = _bound(query, "start-date"), _bound(query, "end-date")
        if end and not start:
            raise Refusal(error(400, 'Parameter "start-date" is missing', "start-date"))
        # A key of a moment and nothing stands before all rows of that moment, one with "~" after them.
        low, high = (start or "", ""), (end or NO_DATE, NO_DATE)
        first, last = (high, low) if newest else (low, high)
        places = places[listing.place_after(places, first) : listing.place_after(places, last)]
        anchor = query.get("start-after") or query.get("cursor")
        at = 0
        if anchor:
            if anchor not in self._activity_keys:
                raise Refusal(not_found("Activity"))
            at = listing.place_after(places, self._activity_keys[anchor])
        count = per_page(query)
        page = listing.page(places, at, count, shape=self.shape)
        skips = self.cursor_semantics == "skip_boundary" and page.next_key
        key = page.next_key if skips else page.last_key
        envelope: dict[str, Any] = {"has_more": page.has_more}
        if not query.get("cursor"):
            envelope["per_page"] = count
        envelope["cursor"] = key[1] if key else None
        return _enveloped("entries", page.rows, envelope)

    # -- single objects and lists of one customer

    def _account(self, query: Query, _: bytes) -> Answer:
        asked = [name for name in query.get("include", "").split(",") if name in _SETTINGS]
        account = msgspec.to_builtins(shaped(self.company.account, self.shape))
        return _json(account | {name: _SETTINGS[name] for name in asked})

    def _source(self, source: documents.DataSource, query: Query) -> dict[str, Any]:
        hidden = [name for name in _SOURCE_SETTINGS if query.get(f"with_{name}") != "true"]
        whole: dict[str, Any] = msgspec.to_builtins(source)
        return {name: value for name, value in whole.items() if name not in hidden}

    def _data_sources(self, query: Query, _: bytes) -> Answer:
        chosen = [
            source
            for source in self.company.data_sources
            if source.name == query.get("name", source.name) and source.system == query.get("system", source.system)
        ]
        return _json({"data_sources": [self._source(source, query) for source in chosen]})

    def _data_source(self, query: Query, _: bytes, uuid: str) -> Answer:
        for source in self.company.data_sources:
            if source.uuid == uuid:
                return _json(self._source(source, query))
        return not_found("Data source")

    @cached_property
    def _customers(self) -> dict[str, documents.Customer]:
        return {entry.document.uuid: entry.document for entry in self.company.customers}  # type: ignore[attr-defined,misc]

    def _known_customer(self, uuid: str) -> documents.Customer:
        if uuid not in self._customers:
            raise Refusal(not_found("Customer"))
        return self._customers[uuid]

    def _customer(self, _: Query, __: bytes, uuid: str) -> Answer:
        return _json(shaped(self._known_customer(uuid), self.shape))

    def _attributes(self, _: Query, __: bytes, uuid: str) -> Answer:
        return _json(shaped(self._known_customer(uuid).attributes, self.shape))

    def _search(self, query: Query, _: bytes) -> Answer:
        email = query.get("email")
        if not email:
            return error(400, 'Parameter "email" is missing', "email")
        found = [
            entry
            for entry in self.company.customers
            if entry.document.email == email  # type: ignore[attr-defined]
        ]
        if not found:
            return error(404, f'Can\'t find any customers with email: "{email}"', "email")
        answer = self._page("entries", Listing(found), {}, query, ("current_page", "per_page", "page"), number=True)
        if query.get("cursor"):
            return answer
        return _json({**msgspec.json.decode(answer.body), "total_pages": None})

    def _single(self, _: Query, __: bytes, kind: str, uuid: str) -> Answer:
        route = next(route for route in LISTS if route.name == kind)
        for entry in self._listing(route).entries:
            if entry.document.uuid == uuid:  # type: ignore[attr-defined]
                return _json(shaped(entry.document, self.shape))
        return not_found(kind.removesuffix("s").replace("_", " ").capitalize())

    def _customer_contacts(self, query: Query, _: bytes, uuid: str) -> Answer:
        self._known_customer(uuid)
        route = next(route for route in LISTS if route.name == "contacts")
        return self._page("entries", self._listing(route), {"customer_uuid": uuid}, query, (), number=False)

    def _customer_activities(self, query: Query, _: bytes, uuid: str) -> Answer:
        """Another object than in ``/activities``: it has a number and no uuid. Newest first."""
        self._known_customer(uuid)
        entries = []
        for place in self._activities.find({"customer_uuid": uuid}):
            entry = self._activities.entries[place]
            activity: Any = entry.document
            document = documents.CustomerActivity(
                id=entry.number,
                currency_sign=SIGNS[activity.currency],
                **{name: getattr(activity, name) for name in _SHARED_ACTIVITY_FIELDS},
            )
            entries.append(Dated((f"{activity.date[:19]}.604615000Z", entry.number), document))
        listing = Listing(entries, descending=True)
        return self._page("entries", listing, {}, query, ("per_page", "page"), number=True)

    def _customer_subscriptions(self, query: Query, _: bytes, uuid: str) -> Answer:
        """Its cursor is a page number in disguise, and never null, not even after the end."""
        self._known_customer(uuid)
        count, cursor = per_page(query), query.get("cursor")
        page = 1
        if cursor:
            text, _separator, number = decode_cursor(cursor, "", number=False)[0].partition("=")
            if text != "subscriptions_next_page" or not number.isdigit():
                raise BadCursor(cursor)
            page = int(number)
        rows = self.company.subscriptions(uuid)
        chosen = rows[(page - 1) * count : page * count]
        envelope: dict[str, Any] = {"has_more": page * count < len(rows), "per_page": count, "page": page}
        envelope["cursor"] = b64encode(f"subscriptions_next_page={page + 1}".encode()).decode()
        return _enveloped("entries", [msgspec.json.encode(row) for row in chosen], envelope)

    def _customer_invoices(self, query: Query, _: bytes, uuid: str) -> Answer:
        """Oldest first, the customer named beside the invoices and not in them."""
        self._known_customer(uuid)
        invoices = self._listing(next(route for route in LISTS if route.name == "invoices"))
        wanted = {"customer_uuid": uuid, "hidden disabled": "no", "hidden valid": "yes"}
        if query.get("with_disabled") == "true":
            del wanted["hidden disabled"]
        if query.get("validation_type", "valid") != "valid":
            del wanted["hidden valid"]
        entries = [_imported(invoices.entries[place]) for place in invoices.find(wanted)]
        return self._page(
            "invoices",
            Listing(entries),
            {},
            query,
            ("current_page", "total_pages"),
            number=False,
            histories=query.get("include_edit_histories") == "true",
            more={"customer_uuid": uuid},
        )

    # -- metrics and exports

    @cached_property
    def _figures(self) -> Figures:
        return Figures(self.company)

    def _metrics(self, query: Query, _: bytes, route: str) -> Answer:
        if route != "all" and route not in ROUTES:
            return not_found("Resource")
        days = []
        for name in ("start-date", "end-date"):
            try:
                days.append(date.fromisoformat(query[name]))
            except (KeyError, ValueError):
                return error(400, f'Parameter "{name}" is missing', name)
        interval = query.get("interval", "month" if route in {"asp", "ltv"} or "churn" in route else "day")
        if interval not in {"day", "week", "month", "quarter", "year"}:
            return error(400, 'Parameter "interval" is invalid', "interval")
        return _json(self._figures.answer(route, days[0], days[1], interval))

    def _export(self, _: Query, body: bytes) -> Answer:
        """Pending when it is asked for and at the first look, succeeded from the second."""
        asked: dict[str, Any] = msgspec.json.decode(body) if body else {}
        export = identifier("export", self.company.recipe, len(self._exports))
        names = {"type": "activity_type", "start-date": "start_date", "end-date": "end_date"}
        params = {names[name]: value for name, value in asked.items() if name in names}
        self._exports[export] = {
            "id": export,
            "status": "pending",
            "file_url": None,
            "params": {"kind": "activities", "params": params},
            "expires_at": None,
            "created_at": offset(self.company.now),
        }
        return _json(self._exports[export])

    def _grouped(self, _: Query, body: bytes) -> Answer:
        """Nothing is made here; what is wrong with it is told as the API does."""
        given = msgspec.json.decode(body or b"{}", type=dict[str, Any])
        blank = {name: f"{name.capitalize().replace('_', ' ')} can't be blank" for name in ("name", "plan_ids")}
        missing = {name: said for name, said in blank.items() if not given.get(name)}
        if not missing:
            return error(403, "This account is a sandbox: nothing is written to it")
        details = [{"param": name, "code": "blank", "message": said} for name, said in missing.items()]
        return _json({**{name: [said] for name, said in missing.items()}, "error_details": details}, 422)

    def _exported(self, _: Query, __: bytes, export: str) -> Answer:
        if export not in self._exports:
            return not_found("Export")
        record = self._exports[export]
        if export in self._polled:
            record["status"] = "succeeded"
            record["file_url"] = f"/_exports/activities-{export}.zip?X-Amz-Expires=604800"
            record["expires_at"] = offset(self.company.now + 7 * DAY)
        self._polled.add(export)
        return _json(record)

    def export_file(self, export: str) -> bytes | None:
        """The zip of a succeeded export: one CSV, in the columns of the data set "MRR Movements"."""
        record = self._exports.get(export)
        if record is None or record["status"] != "succeeded":
            return None
        params = record["params"]["params"]
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(name.upper() for name in _EXPORTED)
        for _, activity in self.company.movements:
            if params.get("activity_type") in {None, activity.type}:
                writer.writerow(getattr(activity, name) for name in _EXPORTED.values())
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("activities.csv", text.getvalue())
        return packed.getvalue()


_EXPORTED = {
    "date": "date",
    "customer_name": "customer_name",
    "mrr_movement": "activity_mrr_movement",
    "mrr": "activity_mrr",
    "description": "description",
    "movement_type": "type",
    "currency_code": "currency",
    "billing_connector_uuid": "billing_connector_uuid",
    "customer_external_id": "customer_external_id",
    "customer_uuid": "customer_uuid",
    "subscription_external_id": "subscription_external_id",
    "plan_external_id": "plan_external_id",
    "uuid": "uuid",
}
_SHARED_ACTIVITY_FIELDS = tuple(
    name for name in documents.CustomerActivity.__struct_fields__ if name in documents.Activity.__struct_fields__
)


def per_page(query: Query) -> int:
    """``per_page``, or its older spelling ``per-page``; more than 200, or nonsense, is 200."""
    wish = query.get("per_page") or query.get("per-page") or ""
    return min(int(wish), MOST) if wish.isdigit() and int(wish) else MOST


def _bound(query: Query, name: str) -> str | None:
    """A moment of the query in the style of the activities' dates; without an offset it is taken as UTC."""
    text = query.get(name)
    if not text:
        return None
    try:
        # A plus sign that was not escaped arrives as a space.
        moment = datetime.fromisoformat(re.sub(r"(T.*) (\d\d:?\d\d)$", r"\1+\2", text))
    except ValueError:
        raise Refusal(error(400, f'Parameter "{name}" is invalid', name)) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _imported(entry: Dated) -> Dated:
    invoice: Any = entry.document
    items = [structs.replace(item, balance_transfer=UNSET) for item in invoice.line_items]
    return Dated(entry.key, structs.replace(invoice, customer_uuid=UNSET, line_items=items), entry.source)


def _enveloped(root: str, rows: list[bytes], envelope: Mapping[str, Any]) -> Answer:
    rest = msgspec.json.encode(envelope)
    return Answer(b'{"%b":[%b],%b' % (root.encode(), b",".join(rows), rest[1:]))
