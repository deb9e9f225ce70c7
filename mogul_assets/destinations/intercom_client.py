"""An Intercom workspace through Intercom's own client, patient with its limits. Imported where a verb needs it."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from intercom import (
    CreateDataAttributeRequestOne,
    Intercom,
    MultipleFilterSearchRequest,
    SingleFilterSearchRequest,
    StartingAfterPaging,
)
from intercom.core.api_error import ApiError

from mogul_assets.destinations.intercom_contacts import Contact, Key
from mogul_assets.destinations.intercom_elements import Element, Value
from mogul_assets.errors import DestinationRefused, DestinationUnavailable, DestinationUnreachable, MogulError

VERSION = "2.14"
"""Of the API: the one that the client is made from. A workspace's app has a default of its own."""

STEP_SECONDS = 20.0
"""Connecting, sending and waiting for an answer, each."""

CONCURRENCY = 8
PAGE = 150
"""Contacts a page: the most there are."""

FILTERS = 15
"""Of one search: the most there may be in a group."""

_FAULTS = 3
"""Tries where the server, or the way to it, fails."""
_LIMITS = 8
"""Tries where the workspace's limit is used up: each waits until it is renewed, every ten seconds."""
PAUSE = 0.5
"""Seconds after a first fault; four times as long after the next."""
_LONGEST = 60.0
_PASSING = frozenset({408, 500, 502, 503, 504})


class Pace:
    """When the next request may go, as the answers' headers tell it (``X-RateLimit-…``, ``Retry-After``).

    The last few that are left are not used: requests in flight are not counted yet, and the workspace's own are too.
    """

    def __init__(self, clock: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep) -> None:
        self._clock, self.sleep = clock, sleep
        self._until, self._lock = 0.0, threading.Lock()

    def wait(self) -> None:
        while (seconds := self._until - self._clock()) > 0:
            self.sleep(min(seconds, _LONGEST))

    def heard(self, status: int, headers: Mapping[str, str]) -> None:
        remaining = _number(headers.get("X-RateLimit-Remaining"))
        if status != 429 and (remaining is None or remaining >= CONCURRENCY):
            return
        now = self._clock()
        reset, after = _number(headers.get("X-RateLimit-Reset")), _number(headers.get("Retry-After"))
        seconds = after if after is not None else reset - now if reset is not None else 10.0
        # A clock that is ahead of Intercom's would not wait at all, one that is behind for hours.
        seconds = min(max(seconds, 1.0 if status == 429 else 0.0), _LONGEST)
        with self._lock:
            self._until = max(self._until, now + seconds)


class Patient(httpx.BaseTransport):
    """Sends at the workspace's pace, and again what may pass. All that is sent may be, but for making an attribute."""

    def __init__(self, inner: httpx.BaseTransport, pace: Pace) -> None:
        self._inner, self._pace = inner, pace

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        faults = limits = 0
        while True:
            self._pace.wait()
            try:
                response = self._inner.handle_request(request)
                response.read()  # here, for an answer may be lost half-way
            except httpx.TransportError:
                faults += 1
                if faults == _FAULTS or _makes(request):
                    raise
            else:
                self._pace.heard(response.status_code, response.headers)
                limits += response.status_code == 429
                faults += response.status_code in _PASSING
                again = response.status_code == 429 or (response.status_code in _PASSING and not _makes(request))
                if not again or faults == _FAULTS or limits == _LIMITS:
                    return _proper_object(response)
            if faults:
                self._pace.sleep(PAUSE * 4 ** (faults - 1))

    def close(self) -> None:
        self._inner.close()


@dataclass(frozen=True, slots=True)
class Attribute:
    """A custom attribute of people's data, as the workspace has it."""

    id: int
    name: str
    type: str
    archived: bool


class Workspace:
    """What is asked of a workspace. Every method may raise what ``told`` explains; they may be called by threads."""

    def __init__(self, token: str, url: str, pace: Pace | None = None) -> None:
        # Each thread has a connection of its own, which stays open.
        limits = httpx.Limits(max_connections=CONCURRENCY, max_keepalive_connections=CONCURRENCY)
        transport = Patient(httpx.HTTPTransport(limits=limits), pace or Pace())
        self._http = httpx.Client(transport=transport, timeout=STEP_SECONDS)
        self._client = Intercom(
            token=token, base_url=url, headers={"Intercom-Version": VERSION}, httpx_client=self._http
        )

    def close(self) -> None:
        self._http.close()

    def named(self) -> tuple[str, str]:
        """The workspace that the token is of, and the region in which it lies (``US``, ``EU``, ``AU``)."""
        admin = _proper(self._client.admins.identify(), "app")
        return str(admin.app.name), str(admin.app.region)

    def attributes(self) -> tuple[dict[str, Attribute], int]:
        """People's custom attributes by name, archived ones too; and how many of the workspace count to its limit."""
        listed = [
            one for one in _proper(self._client.data_attributes.list(include_archived=True), "data").data if one.custom
        ]
        people = {
            one.name: Attribute(int(one.id or 0), one.name, str(one.data_type), bool(one.archived))
            for one in listed
            if one.model == "contact"
        }
        return people, sum(not one.archived for one in listed if one.model in ("contact", "company"))

    def make(self, name: str, element: Element) -> None:
        """A new attribute of people's data."""
        # The client's class lacks what all kinds of attribute have in common, and passes it on.
        request = CreateDataAttributeRequestOne(
            data_type=element.type, name=name, model="contact", description=element.description
        )
        self._client.data_attributes.create(request=request)

    def unarchive(self, attribute: int) -> None:
        self._client.data_attributes.update(attribute, request={"archived": False})

    def contact_count(self) -> int:
        return int(_proper(self._client.contacts.list(per_page=1).response, "total_count").total_count or 0)

    def contacts(self) -> Iterator[Contact]:
        """All of them, page by page. One that changes meanwhile may come twice."""
        for page in self._client.contacts.list(per_page=PAGE).iter_pages():
            yield from map(_contact, page.items or ())

    def found(self, keys: Sequence[tuple[Key, str]]) -> list[Contact]:
        """Those that have one of the keys, of which there may be ``FILTERS``."""
        query = MultipleFilterSearchRequest(
            operator="OR", value=[SingleFilterSearchRequest(field=key, operator="=", value=text) for key, text in keys]
        )
        found, after = list[Contact](), None
        while True:
            # The client's own way to the next page (5.0.1) asks for the first one again, for ever.
            paging = StartingAfterPaging(per_page=PAGE, starting_after=after)
            page = self._client.contacts.search(query=query, pagination=paging)
            found += map(_contact, page.items or ())
            following = page.response.pages and page.response.pages.next
            if not page.has_next or following is None:
                return found
            after = following.starting_after

    def write(self, contact: str, attributes: Mapping[str, Value]) -> None:
        """Set these custom attributes, and nothing else."""
        self._client.contacts.update(contact, custom_attributes=dict(attributes))

    def may_write(self) -> None:
        """Tries to write to a contact that is not there: who may not is told so first."""
        _not_there(lambda: self.write("0" * 24, {}))

    def may_make(self) -> None:
        """The same for an attribute."""
        _not_there(lambda: self.unarchive(0))


def _not_there(tried: Callable[[], object]) -> None:
    try:
        tried()
    except ApiError as error:
        if error.status_code != 404:
            raise


def searches(keys: int) -> int:
    return math.ceil(keys / FILTERS)


def pages(contacts: int) -> int:
    return math.ceil(contacts / PAGE)


def status(error: Exception) -> int | None:
    """What Intercom answered, where the error is an answer of its."""
    return error.status_code if isinstance(error, ApiError) else None


def told(name: str, error: Exception, grants: str) -> MogulError | None:
    """What an exception of the client means for the destination ``name``; ``None`` where it is none of its."""
    again = "it is tried again"
    if isinstance(error, httpx.TransportError):
        return DestinationUnreachable(
            f"{name}: the connection to Intercom failed ({type(error).__name__})", remedy=again
        )
    if isinstance(error, _ImproperError) or (isinstance(error, ApiError) and (error.status_code or 0) < 400):
        return DestinationRefused(f"{name}: what answers is not Intercom's API", remedy="correct region or url")
    if not isinstance(error, ApiError):
        return None
    answered = f"{name}: Intercom answered {error.status_code}{_code(error.body)}"
    if error.status_code == 429 or error.status_code in _PASSING:
        return DestinationUnavailable(answered, remedy=again)
    if error.status_code == 401:
        return DestinationRefused(answered, remedy="take the access token of the app, and the region of its workspace")
    return DestinationRefused(
        answered, remedy=grants if error.status_code == 403 else "see docs/destinations/intercom.md"
    )


class _ImproperError(Exception):
    """An answer that is JSON, and not what was asked for."""


def _proper_object(response: httpx.Response) -> httpx.Response:
    # The client takes for granted that an answer is an object, whatever else it holds.
    if response.is_success and not response.content.lstrip().startswith(b"{"):
        raise _ImproperError
    return response


def _proper(answer: Any, part: str) -> Any:
    if getattr(answer, part, None) is None:
        raise _ImproperError
    return answer


def _contact(one: Any) -> Contact:
    return Contact(
        id=_proper(one, "id").id,
        external_id=one.external_id,
        email=one.email,
        lead=one.role != "user",
        archived=bool(getattr(one, "archived", False)),
        attributes=one.custom_attributes or {},
    )


def _code(body: Any) -> str:
    """Intercom's word for what is wrong. Its sentences may quote what was sent."""
    body = body.model_dump() if hasattr(body, "model_dump") else body
    errors = body.get("errors") if isinstance(body, dict) else None
    word = errors[0].get("code") if errors and isinstance(errors[0], dict) else None
    return f" {word}" if isinstance(word, str) and re.fullmatch(r"\w{1,60}", word) else ""


def _makes(request: httpx.Request) -> bool:
    return request.method == "POST" and request.url.path.endswith("/data_attributes")


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and re.fullmatch(r"\d{1,12}(\.\d+)?", text) else None
