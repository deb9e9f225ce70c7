"""The other side of the wire: a server that answers as a test says, and a sink that keeps what lands."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec
from aiohttp import web

from mogul_assets.account.client import Client, Limits
from mogul_assets.account.pages import Page
from mogul_assets.catalog.reads import READS

KEY = "4f2a-a-secret-key"
EAGER = Limits(requests_per_second=10_000, connect=2, request=5, total=20, first_wait=0.001, longest_wait=0.01)
"""No pacing and hardly any waiting: what is tested is what happens, not how long it takes."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Peer:
    url: str
    requests: list[web.Request] = field(default_factory=list)


@contextmanager
def answering(handler: Handler) -> Iterator[Peer]:
    """Serve ``handler`` for every request, on loopback, until the block ends."""
    loop, peer, ready = asyncio.new_event_loop(), Peer(""), threading.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        peer.requests.append(request)
        return await handler(request)

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        peer.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        return runner

    def work() -> None:
        runner = loop.run_until_complete(start())
        ready.set()
        loop.run_forever()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield peer
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


@contextmanager
def connected(url: str, key: str | None = KEY, limits: Limits = EAGER) -> Iterator[Client]:
    client = Client(url, key, limits)
    try:
        yield client
    finally:
        client.close()


@dataclass
class Basket:
    """A sink that keeps its pages, and which threads brought them."""

    pages: list[Page] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def put(self, page: Page) -> None:
        self.pages.append(page)
        self.threads.add(threading.get_ident())

    def rows(self) -> list[dict[str, object]]:
        """The entries as the account sent them, copies at seams included."""
        return [
            row for page in self.pages for row in msgspec.json.decode(page.body)[READS[page.read].root or "entries"]
        ]

    def by(self, key: str) -> dict[object, dict[str, object]]:
        """The entries by their id; of two copies the later."""
        return {row[key]: row for row in self.rows()}
