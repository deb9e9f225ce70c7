"""Slack's Web API, as far as a bot that writes messages needs it: on a thread, with rules as Slack documents them.

What would page people, and what they would read, is told by reading messages as its clients do.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Self
from urllib.parse import parse_qs, urlparse

SECRET = "PEER_SLACK_TOKEN"
"""The environment variable that holds the bot's token."""
TOKEN = "xoxb-peer-0123456789"
SCOPES = ("chat:write", "files:write", "channels:read", "groups:read")


@dataclass
class Channel:
    id: str
    name: str
    member: bool = True
    archived: bool = False
    private: bool = False


@dataclass
class Fault:
    """What becomes of the next call of a method, once. ``done``: the call is carried out, and only its answer lost."""

    method: str
    error: str | None = None
    status: int = 200
    retry_after: int | None = None
    cut: bool = False
    done: bool = False
    page: str | None = None
    """A page of somebody else's."""


@dataclass
class Upload:
    filename: str
    length: int
    alt: str | None
    content: bytes = b""
    channel: str | None = None
    title: str | None = None


@dataclass
class Slack:
    """The workspace. Its attributes may be changed at any time.

    >>> with Slack() as slack:
    ...     WebClient(token=TOKEN, base_url=slack.url)
    """

    channels: list[Channel] = field(default_factory=lambda: [Channel("C000000001", "revenue")])
    scopes: tuple[str, ...] = SCOPES
    faults: list[Fault] = field(default_factory=list)
    page: int = 999
    """Most channels of one answer."""
    posts: list[dict[str, Any]] = field(default_factory=list)
    uploads: dict[str, Upload] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    url: str = ""

    def __enter__(self) -> Self:
        self._numbers, self._lock = count(1), threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"slack": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/api/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def shared(self) -> list[Upload]:
        """The files that were shared in a channel."""
        return [upload for upload in self.uploads.values() if upload.channel]

    def fault(self, method: str) -> Fault | None:
        with self._lock:
            self.calls.append(method)
            found = next((fault for fault in self.faults if fault.method == method), None)
            if found:
                self.faults.remove(found)
            return found

    def answer(self, method: str, said: dict[str, Any]) -> dict[str, Any]:
        """What a method answers.

        Raises:
            _Refused: with Slack's word.
        """
        methods = {
            "auth.test": self._auth_test,
            "users.conversations": self._conversations,
            "chat.postMessage": self._post,
            "files.getUploadURLExternal": self._upload_url,
            "files.completeUploadExternal": self._complete,
        }
        if method not in methods:
            raise _Refused("unknown_method")
        with self._lock:
            return methods[method](said)

    def _scope(self, *scopes: str) -> None:
        if not set(scopes) <= set(self.scopes):
            raise _Refused("missing_scope")

    def _auth_test(self, said: dict[str, Any]) -> dict[str, Any]:
        return {"url": "https://peer.slack.com/", "team": "Peer", "user": "mogul", "team_id": "T1", "user_id": "U1"}

    def _conversations(self, said: dict[str, Any]) -> dict[str, Any]:
        private = "private_channel" in said.get("types", "public_channel")
        self._scope("channels:read", *(["groups:read"] if private else []))
        found = [channel for channel in self.channels if channel.member and (private or not channel.private)]
        size, first = min(int(said.get("limit", 100)), self.page), int(said.get("cursor") or 0)
        following = str(first + size) if first + size < len(found) else ""
        return {
            "channels": [
                {"id": one.id, "name": one.name, "is_archived": one.archived, "is_private": one.private}
                for one in found[first : first + size]
            ],
            "response_metadata": {"next_cursor": following},
        }

    def _channel(self, name: str, *, by_name: bool = True) -> Channel:
        names = {channel.id: channel for channel in self.channels}
        if by_name:
            names |= {spelt: one for one in self.channels for spelt in (one.name, f"#{one.name}")}
        channel = names.get(name)
        if channel is None or (channel.private and not channel.member):
            raise _Refused("channel_not_found")
        if channel.archived:
            raise _Refused("is_archived")
        if not channel.member:
            raise _Refused("not_in_channel")
        return channel

    def _post(self, said: dict[str, Any]) -> dict[str, Any]:
        self._scope("chat:write")
        channel = self._channel(said.get("channel", ""))
        if not said.get("text") and not said.get("blocks"):
            raise _Refused("no_text")
        if len(said.get("text", "")) > 40_000:
            raise _Refused("msg_too_long")
        checked(said.get("blocks", []))
        metadata = said.get("metadata")
        if metadata is not None and (
            not re.fullmatch(r"\w+", metadata.get("event_type", "")) or not isinstance(metadata["event_payload"], dict)
        ):
            raise _Refused("invalid_metadata_format")
        post = said | {"channel": channel.id, "ts": f"{1_790_000_000 + next(self._numbers)}.000100"}
        self.posts.append(post)
        return {"channel": channel.id, "ts": post["ts"], "message": post}

    def _upload_url(self, said: dict[str, Any]) -> dict[str, Any]:
        self._scope("files:write")
        if not said.get("filename") or int(said.get("length", 0)) <= 0:
            raise _Refused("invalid_arguments")
        file = f"F{next(self._numbers):09}"
        self.uploads[file] = Upload(said["filename"], int(said["length"]), said.get("alt_txt"))
        return {"upload_url": f"{self.url.removesuffix('api/')}upload/{file}", "file_id": file}

    def _complete(self, said: dict[str, Any]) -> dict[str, Any]:
        self._scope("files:write")
        files = json.loads(said["files"]) if isinstance(said["files"], str) else said["files"]
        channel = self._channel(said["channel_id"], by_name=False)
        for one in files:
            upload = self.uploads.get(one["id"])
            if upload is None or len(upload.content) != upload.length:
                raise _Refused("file_not_found")
            upload.channel, upload.title = channel.id, one.get("title")
        return {"files": [{"id": one["id"], "title": one.get("title")} for one in files]}


class _Refused(Exception):
    pass


class _Handler(BaseHTTPRequestHandler):
    slack: Slack
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        url = urlparse(self.path)
        method = "upload" if url.path.startswith("/upload/") else url.path.removeprefix("/api/")
        fault = self.slack.fault(method)
        if fault and not fault.done:
            self._faulty(fault)
            return
        if method == "upload":
            self.slack.uploads[url.path.rsplit("/", 1)[1]].content = content
            self._said(b"OK", "text/plain")
            return
        said = {name: values[0] for name, values in parse_qs(url.query).items()}
        if "json" in self.headers.get("content-type", ""):
            said |= json.loads(content)
        else:
            said |= {name: values[0] for name, values in parse_qs(content.decode()).items()}
        try:
            if self.headers.get("authorization", "").removeprefix("Bearer ") not in self.slack.tokens:
                raise _Refused("invalid_auth")  # noqa: TRY301 - as the methods do
            answer = {"ok": True, **self.slack.answer(method, said)}
        except _Refused as refused:
            answer = {"ok": False, "error": str(refused)}
        if fault:
            self._faulty(fault)
        else:
            self._said(json.dumps(answer).encode())

    do_GET = do_POST  # noqa: N815 - as http.server calls it

    def _faulty(self, fault: Fault) -> None:
        if fault.cut:
            self.close_connection = True
            return
        if fault.page is not None:
            self._said(fault.page.encode(), "text/html", fault.status)
            return
        pause = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        self._said(
            json.dumps({"ok": False, "error": fault.error or "internal_error"}).encode(), status=fault.status, **pause
        )

    def _said(self, content: bytes, kind: str = "application/json", status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "X-OAuth-Scopes": ",".join(self.slack.scopes),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


_OBJECTS = {"plain_text": {"type", "text", "emoji"}, "mrkdwn": {"type", "text", "verbatim"}}
_BLOCKS = {
    "section": {"type", "block_id", "text", "fields", "accessory"},
    "header": {"type", "block_id", "text"},
    "context": {"type", "block_id", "elements"},
    "divider": {"type", "block_id"},
}


def checked(blocks: list[dict[str, Any]]) -> None:
    """Whether Slack would take these blocks (docs.slack.dev, "Blocks").

    Raises:
        _Refused: it would not.
    """
    try:
        assert len(blocks) <= 50
        for block in blocks:
            assert set(block) <= _BLOCKS[block["type"]]
            if block["type"] == "section":
                assert "text" in block or block["fields"]
                assert len(block.get("fields", [])) <= 10
            if block["type"] == "header":
                assert block["text"]["type"] == "plain_text"
            if block["type"] == "context":
                assert 1 <= len(block["elements"]) <= 10
            for limit, text in _texts(block):
                assert set(text) <= _OBJECTS[text["type"]]
                assert 1 <= len(text["text"]) <= limit
    except (AssertionError, KeyError, TypeError):
        raise _Refused("invalid_blocks") from None


def _texts(block: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Its text objects, with the most characters of each."""
    if "text" in block:
        yield 150 if block["type"] == "header" else 3000, block["text"]
    yield from ((2000, text) for text in block.get("fields", []))
    yield from ((2000, text) for text in block.get("elements", []))


_CONTROL = re.compile(r"<([^<>]*)>")
_MENTION = re.compile(r"(?<![\w@])@(here|channel|everyone)\b")


def pages(message: dict[str, Any]) -> list[str]:
    """Whom a message would notify: ``!channel``, ``@U123``, … as Slack's clients read it."""
    texts = [{"type": "mrkdwn", "text": message["text"], "verbatim": message.get("parse", "none") == "none"}]
    texts += [text for block in message["blocks"] for _, text in _texts(block)]
    marked = [text for text in texts if text["type"] == "mrkdwn"]
    found = [
        inner for text in marked for inner in _CONTROL.findall(text["text"]) if re.match(r"[@!#](?!date\^)", inner)
    ]
    return found + [name for text in marked if not text.get("verbatim") for name in _MENTION.findall(text["text"])]


def links(message: dict[str, Any]) -> list[str]:
    """Where a message leads."""
    marked = [text["text"] for block in message["blocks"] for _, text in _texts(block) if text["type"] == "mrkdwn"]
    controls = [unescape(inner) for text in marked for inner in _CONTROL.findall(text)]
    return [inner.partition("|")[0] for inner in controls if not inner.startswith(("!", "@", "#"))]


def read(message: dict[str, Any]) -> str:
    """What a message looks like, without its fonts, a line for each text."""
    return "\n".join(shown(text) for block in message["blocks"] for _, text in _texts(block))


def shown(text: dict[str, Any]) -> str:
    """A text object as people see it: of a link its words, of ``&amp;`` an ampersand, and no marks of fonts."""
    if text["type"] == "mrkdwn":
        controls = _CONTROL.sub(lambda match: match[1].rpartition("|")[2], text["text"])
        return unescape(controls.replace("*", "").replace("`", ""))
    return unescape(text["text"])
