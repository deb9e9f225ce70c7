"""What a webhook posts to: verifies each message by the reference library, remembers it, and answers as told.

A ``Receiver`` runs on a thread of the test. ``python -m mogul_assets_tests.peers.receiver`` is one in a process of its
own, which outlives a sender that is killed: ``/taken`` is what it took, ``/count`` how much that is.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

SECRET = "whsec_" + "d2hhdCB0aGUgdHdvIG9mIHRoZW0gc2hhcmU="


@dataclass(frozen=True)
class Reply:
    """What one request is answered with. ``reset`` cuts the connection: before the message is taken, or after."""

    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0
    reset: str = ""


Script = Callable[[int], Reply]
"""The reply to the n-th request, from 0."""


class Taken(msgspec.Struct, frozen=True):
    """A request that came whole. ``valid``: whether its signature was."""

    id: str
    digest: str
    customer: str
    sequence: int | None
    key: str
    at: float
    status: int
    valid: bool
    headers: dict[str, str] = {}
    body: bytes = b""


def fast(number: int) -> Reply:
    return Reply()


class Busy:
    """Takes so many requests in a second; of more it asks to come again in the next."""

    def __init__(self, a_second: int) -> None:
        self._a_second, self._began, self._count = a_second, 0.0, 0

    def __call__(self, number: int) -> Reply:
        now = time.monotonic()
        if now - self._began >= 1:
            self._began, self._count = now, 0
        self._count += 1
        return Reply() if self._count <= self._a_second else Reply(429, headers={"Retry-After": "1"})


def resetting(number: int) -> Reply:
    """One connection in five is cut: by turns before the message is taken, and after."""
    return Reply(reset=("before", "after")[number // 5 % 2]) if number % 5 == 4 else Reply()


SCRIPTS: dict[str, Script] = {"fast": fast, "busy": Busy(200), "resetting": resetting}


class Receiver:
    """A receiver at ``url``. ``taken`` grows with every request that came whole, whatever it was answered."""

    def __init__(self, script: Script = fast, *, secret: str = SECRET, detailed: bool = True) -> None:
        self.script, self.taken, self.port = script, [], 0
        self.requests = 0
        self.scheme = "http"
        self._judge, self._detailed = Webhook(secret), detailed
        self.taken: list[Taken] = []

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook?key=of-mine"

    @property
    def messages(self) -> list[Taken]:
        """Those that were answered with success."""
        return [one for one in self.taken if 200 <= one.status < 300]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/count":
            return web.Response(text=str(len(self.taken)))
        if request.path == "/taken":
            return web.Response(body=msgspec.json.encode(self.taken), content_type="application/json")
        reply = self.script(self.requests)
        self.requests += 1
        body = await request.read()
        if reply.reset != "before":
            self.taken.append(self._judged(request, body, reply))
        if reply.reset:
            _cut(request)
        await asyncio.sleep(reply.seconds)
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    def _judged(self, request: web.BaseRequest, body: bytes, reply: Reply) -> Taken:
        try:
            told, valid = self._judge.verify(body, dict(request.headers)), True
        except WebhookVerificationError:
            told, valid = {}, False
        sequence = request.headers.get("mogul-sequence")
        return Taken(
            id=request.headers.get("webhook-id", ""),
            digest=hashlib.sha256(body).hexdigest(),
            customer=told.get("customer", {}).get("uuid", ""),
            sequence=int(sequence) if sequence else None,
            key=request.headers.get("mogul-movement-key", ""),
            at=time.time(),
            status=0 if reply.reset else reply.status,
            valid=valid,
            headers={name.lower(): value for name, value in request.headers.items()} if self._detailed else {},
            body=body if self._detailed else b"",
        )

    async def serve(self, port: int = 0, secure: ssl.SSLContext | None = None) -> None:
        """Serves until it is cancelled; ``port`` is set once it listens."""
        self.scheme = "https" if secure else "http"
        runner = web.ServerRunner(web.Server(self.handle, handler_cancellation=True), shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=secure)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    @contextmanager
    def running(self, secure: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Receiver]:
        """Serves on a thread for as long as the block lasts."""
        loop = asyncio.new_event_loop()
        task = loop.create_task(self.serve(port, secure))

        def run() -> None:
            with loop_of(loop):
                loop.run_until_complete(asyncio.wait([task]))

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            while not self.port and thread.is_alive():
                time.sleep(0.005)
            assert self.port, task.exception()
            yield self
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join(5)
            self.port = 0


@contextmanager
def loop_of(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        loop.close()


def _cut(request: web.BaseRequest) -> None:
    """The connection ends at once, with a reset, as of a machine that falls over."""
    transport: Any = request.transport
    held = transport.get_extra_info("socket")
    held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--script", choices=SCRIPTS, default="fast")
    arguments = arguments.parse_args()
    receiver = Receiver(SCRIPTS[arguments.script], detailed=False)
    asyncio.run(receiver.serve(arguments.port))


if __name__ == "__main__":
    main()
