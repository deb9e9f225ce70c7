"""A workspace of Intercom: contacts, search, paging, archive, custom attributes and limits, as its API 2.14 has them.

It is stricter than Intercom: what a request may not hold is refused, not passed over. Contacts are made and
archived through the API itself; ``Workspace`` is what a test looks at, and breaks.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

TOKEN = "dG9rOjEyMzQ1Njc4OQ-of-the-peer"
LIMIT = 250
_STANDARD = (("name", "string"), ("email", "string"), ("external_id", "string"), ("created_at", "date"))
_CONTACT = frozenset({"role", "external_id", "email", "phone", "name", "avatar", "owner_id", "custom_attributes"}) | {
    *("signed_up_at", "last_seen_at", "unsubscribed_from_emails"),
}
_FIELDS = frozenset({"id", "role", "name", "email", "external_id", "phone", "created_at", "updated_at"})
_OPERATORS = frozenset({"=", "!=", "IN", "NIN", "~", "!~", "^", "$", ">", "<"})
_TYPES: Mapping[str, Any] = {
    "string": lambda value: isinstance(value, str) and len(value) <= 255,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "date": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
}
SCOPES = (
    ("GET", r"/me", "Read one admin"),
    ("GET", r"/contacts.*|/data_attributes", "Read and list users and companies"),
    ("POST", r"/contacts/search", "Read and list users and companies"),
    ("POST|PUT", r"/contacts.*", "Write users and companies"),
    ("POST|PUT", r"/data_attributes.*", "Write data attributes"),
)


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message or code


@dataclass
class Fault:
    """What requests to a path are answered instead: ``status`` and headers, so many times."""

    path: str
    status: int
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    done: bool = False
    """Whether what was asked for is done all the same: an answer that is lost."""


class Workspace:
    def __init__(self, *, region: str = "US", limit: int = 10_000, window: float = 10.0) -> None:
        self.region, self.limit, self.window = region, limit, window
        self.contacts: dict[str, dict[str, Any]] = {}
        self.attributes: dict[int, dict[str, Any]] = {}
        self.scopes = {scope for *_, scope in SCOPES}
        """What the token may do."""
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, Any]] = []
        self.answered: list[int] = []
        self.lock = threading.RLock()
        self._window = (0.0, 0)

    def contact(self, **given: Any) -> str:
        """A contact that is there, by its id."""
        return str(self.create({"role": "user", **given})["id"])

    def attribute(self, name: str, data_type: str = "string", model: str = "contact") -> int:
        return int(self.make({"name": name, "data_type": data_type, "model": model})["id"])

    def writes(self) -> list[tuple[str, Any]]:
        """The contacts that were written to, and what, in their order."""
        return [(path.split("/")[2], body) for method, path, body in self.requests if _is_write(method, path)]

    def custom(self, contact: str) -> dict[str, Any]:
        """What stands in a contact's attributes."""
        return {name: value for name, value in self.contacts[contact]["custom_attributes"].items() if value is not None}

    # -- the API ------------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Any:
        parts = path.strip("/").split("/")
        match method, parts:
            case "GET", ["me"]:
                return self._me()
            case "GET", ["contacts"]:
                return self._listed(query)
            case "POST", ["contacts", "search"]:
                return self._searched(body)
            case "POST", ["contacts"]:
                return self.create(body)
            case "POST", ["contacts", id_, "archive"]:
                self._live(id_)["archived"] = True
                return {"type": "contact", "id": id_, "archived": True}
            case "GET", ["contacts", id_]:
                return self._seen(self._live(id_))
            case "PUT", ["contacts", id_]:
                return self._update(id_, body)
            case "GET", ["data_attributes"]:
                return self._attributes(query)
            case "POST", ["data_attributes"]:
                return self.make(body)
            case "PUT", ["data_attributes", id_]:
                return self._changed(int(id_), body)
        raise Refused(404, "not_found", "The requested resource was not found")

    def _me(self) -> Any:
        app = {"type": "app", "id_code": "peer", "name": "Peer", "region": self.region, "timezone": "Europe/Dublin"}
        return {
            "type": "admin",
            "id": "1",
            "name": "Ada",
            "email": "ada@peer.example",
            "email_verified": True,
            "app": {**app, "created_at": 1, "identity_verification": False},
        }

    def _live(self, id_: str) -> dict[str, Any]:
        found = self.contacts.get(id_)
        if found is None or found["archived"]:
            raise Refused(404, "not_found", "User Not Found")
        return found

    def _seen(self, contact: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in contact.items() if key != "archived"}

    def _page(self, found: list[dict[str, Any]], per_page: int, after: str | None) -> Any:
        if not 1 <= per_page <= 150:
            raise Refused(400, "parameter_invalid", "Per Page is too big")
        last = base64.b64decode(after).decode() if after else ""
        rest = [one for one in found if one["id"] > last]
        page, pages = rest[:per_page], {"type": "pages", "page": 1, "per_page": per_page}
        if len(rest) > per_page:
            cursor = base64.b64encode(page[-1]["id"].encode()).decode()
            pages["next"] = {"page": 2, "starting_after": cursor}
        pages["total_pages"] = -(-len(found) // per_page)
        return {"type": "list", "data": [self._seen(one) for one in page], "total_count": len(found), "pages": pages}

    def _listed(self, query: Mapping[str, str]) -> Any:
        _only(query, {"page", "per_page", "starting_after"})
        live = [one for one in self.contacts.values() if not one["archived"]]
        return self._page(live, int(query.get("per_page", "50")), query.get("starting_after"))

    def _searched(self, body: Any) -> Any:
        _only(body, {"query", "pagination"})
        paging = body.get("pagination") or {}
        _only(paging, {"per_page", "starting_after"})
        live = [one for one in self.contacts.values() if not one["archived"] and _holds(body["query"], one)]
        return self._page(live, int(paging.get("per_page", 50)), paging.get("starting_after"))

    def create(self, body: Any) -> Any:
        _only(body, _CONTACT)
        if not (body.get("email") or body.get("external_id") or body.get("role") == "lead"):
            raise Refused(400, "parameter_not_found", "email or external_id")
        for other in self.contacts.values():
            # Several users may share an e-mail address where their external ids differ; leads may always.
            if body.get("external_id") and other["external_id"] == body["external_id"]:
                archived = "An archived" if other["archived"] else "A"
                raise Refused(
                    409, "conflict", f"{archived} contact matching those details already exists with id={other['id']}"
                )
        now, id_ = int(time.time()), f"{len(self.contacts) + 1:024x}"
        contact = {
            "type": "contact",
            "id": id_,
            "workspace_id": "peer",
            "role": "user",
            "archived": False,
            **dict.fromkeys(_CONTACT - {"custom_attributes", "role"}),
            "has_hard_bounced": False,
            "marked_email_as_spam": False,
            "unsubscribed_from_emails": False,
            "created_at": now,
            "updated_at": now,
            "custom_attributes": {},
            **body,
        }
        self._checked(body.get("custom_attributes") or {})
        self.contacts[id_] = contact
        return self._seen(contact)

    def _update(self, id_: str, body: Any) -> Any:
        contact = self._live(id_)
        _only(body, _CONTACT)
        self._checked(body.get("custom_attributes") or {})
        contact["custom_attributes"] = {**contact["custom_attributes"], **(body.pop("custom_attributes", None) or {})}
        contact.update(body, updated_at=int(time.time()))
        return self._seen(contact)

    def _checked(self, values: Mapping[str, Any]) -> None:
        there = {
            one["name"]: one["data_type"]
            for one in self.attributes.values()
            if one["model"] == "contact" and not one["archived"]
        }
        for name, value in values.items():
            if name not in there:
                raise Refused(400, "parameter_invalid", f"Custom attribute '{name}' does not exist")
            if value is not None and not _TYPES[there[name]](value):
                raise Refused(400, "parameter_invalid", f"{value!r} is not a valid value for '{name}'")

    def _attributes(self, query: Mapping[str, str]) -> Any:
        _only(query, {"model", "include_archived"})
        standard = [_attribute(None, name, kind, "contact", custom=False) for name, kind in _STANDARD]
        listed = [one for one in (*standard, *self.attributes.values()) if query.get("model") in (None, one["model"])]
        if query.get("include_archived") != "true":
            listed = [one for one in listed if not one["archived"]]
        return {"type": "list", "data": listed}

    def make(self, body: Any) -> Any:
        _only(body, {"name", "model", "data_type", "description", "options", "messenger_writable"})
        name, kind = body.get("name", ""), body.get("data_type")
        if body.get("model") not in ("contact", "company"):
            raise Refused(400, "parameter_invalid", "Model must be either contact or company")
        if kind not in _TYPES:
            raise Refused(400, "parameter_invalid", "Data Type isn't an option")
        if not re.fullmatch(r"[\w $€£¥-]+", name):
            raise Refused(
                400,
                "parameter_invalid",
                "Your name for this attribute must only contain alphanumeric characters, currency symbols, and hyphens",
            )
        if any(one["name"] == name and one["model"] == body["model"] for one in self.attributes.values()):
            raise Refused(400, "parameter_invalid", f"You already have '{name}' in your people data.")
        if sum(not one["archived"] for one in self.attributes.values()) >= LIMIT:
            raise Refused(400, "parameter_invalid", "You have reached the limit of custom attributes")
        id_ = len(self.attributes) + 1
        self.attributes[id_] = _attribute(id_, name, kind, body["model"], description=body.get("description"))
        return self.attributes[id_]

    def _changed(self, id_: int, body: Any) -> Any:
        if id_ not in self.attributes:
            raise Refused(404, "field_not_found", "We couldn't find that data attribute to update")
        _only(body, {"archived", "description", "options", "messenger_writable"})
        self.attributes[id_].update(body)
        return self.attributes[id_]

    # -- limits, permissions, faults ----------------------------------------------------------------------------

    def admitted(self, method: str, path: str, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers that tell how many requests are left.

        Raises:
            Refused: nobody whom the workspace knows, not allowed, or too many.
        """
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Refused(401, "unauthorized", "Access Token Invalid")
        if headers.get("Intercom-Version") != "2.14":
            raise Refused(400, "intercom_version_invalid", "The requested version could not be found")
        scope = next(
            (s for methods, shape, s in SCOPES if method in methods.split("|") and re.fullmatch(shape, path)), ""
        )
        if scope and scope not in self.scopes:
            raise Refused(403, "token_unauthorized", f"Missing {scope}")
        now = time.time()
        began, asked = self._window
        self._window = (began, asked + 1) if now < began + self.window else (now, 1)
        began, asked = self._window
        told = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(max(0, self.limit - asked)),
            "X-RateLimit-Reset": str(int(began + self.window) + 1),
        }
        if asked > self.limit:
            raise _TooManyError(told)
        return told

    def fault(self, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and re.fullmatch(fault.path, path):
                fault.times -= 1
                return fault
        return None


class _TooManyError(Refused):
    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__(429, "rate_limit_exceeded", "Exceeded rate limit")
        self.headers = headers


def _attribute(
    id_: int | None, name: str, kind: str, model: str, *, custom: bool = True, description: str | None = None
) -> Any:
    full = f"custom_attributes.{name}" if custom else name
    found = {"type": "data_attribute", "name": name, "full_name": full, "label": name, "data_type": kind}
    return {
        **found,
        "model": model,
        "custom": custom,
        "archived": False,
        "api_writable": custom,
        "ui_writable": False,
        **(
            {"id": id_, "description": description, "created_at": 1, "updated_at": 1, "admin_id": "1"} if custom else {}
        ),
    }


def _is_write(method: str, path: str) -> bool:
    return method == "PUT" and path.startswith("/contacts/")


def _only(given: Any, known: Any) -> None:
    if not isinstance(given, Mapping):
        raise Refused(422, "type_mismatch", "an object is expected")
    for name in given:
        if name not in known:
            raise Refused(422, "unprocessable_entity", f"unknown field {name}")


def _holds(query: Any, contact: Mapping[str, Any]) -> bool:
    operator, value = query.get("operator"), query.get("value")
    if operator in ("AND", "OR"):
        _only(query, {"operator", "value"})
        if not 1 <= len(value) <= 15:
            raise Refused(400, "parameter_invalid", "max 15 filters")
        return (all if operator == "AND" else any)([_holds(one, contact) for one in value])
    _only(query, {"field", "operator", "value"})
    if query.get("field") not in _FIELDS or operator not in _OPERATORS:
        raise Refused(400, "parameter_invalid", "Invalid field or operator")
    if operator != "=":
        raise Refused(400, "unsupported", "the peer knows = only")
    theirs = contact.get(query["field"])
    if query["field"] == "email":
        return theirs is not None and theirs.casefold() == value.casefold()
    return bool(theirs == value)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    workspace: Workspace

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        address, workspace = urlsplit(self.path), self.workspace
        query = dict(parse_qsl(address.query))
        try:
            body = json.loads(raw) if raw else {}
            with workspace.lock:
                workspace.requests.append((self.command, address.path, json.loads(raw) if raw else None))
                fault = workspace.fault(address.path)
                if fault is not None and not fault.done:
                    return self._out(fault.status, fault.body or _error("server_error"), fault.headers)
                told = workspace.admitted(self.command, address.path, self.headers)
                answer = workspace.answer(self.command, address.path, query, body)
            if fault is not None:
                return self._out(fault.status, fault.body or _error("server_error"), fault.headers)
            return self._out(200, json.dumps(answer).encode(), told)
        except Refused as refused:
            self._out(refused.status, _error(refused.code, refused.message), getattr(refused, "headers", {}))

    do_GET = do_POST = do_PUT = _serve  # noqa: N815 - the base class's names

    def _out(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.workspace.answered.append(status)
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


def _error(code: str, message: str = "") -> bytes:
    errors = [{"code": code, "message": message or code}]
    return json.dumps({"type": "error.list", "request_id": "peer", "errors": errors}).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


@contextmanager
def serving(workspace: Workspace, port: int = 0) -> Iterator[str]:
    """The workspace on a port of this machine; its URL."""
    handler = type("Handler", (Handler,), {"workspace": workspace})
    with _Server(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(10)


if __name__ == "__main__":
    with serving(Workspace(), int(sys.argv[1])):
        threading.Event().wait()
