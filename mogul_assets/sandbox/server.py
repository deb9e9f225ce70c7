"""The account behind HTTP: authentication, limits, latency and faults around what ``api`` answers.

``/v1/…`` is ChartMogul's. ``/_control/…`` is the sandbox's own, without a key:

- ``POST /_control/faults``: a JSON list of faults (see ``faults.Fault``), which replaces those switched on
- ``POST /_control/life``: ``{"days": 1, "corrections": 1, …}`` (see ``life.live``); time passes
- ``GET /_control/requests``: how many requests were answered, by status
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from aiohttp import web

from mogul_assets.errors import ConfigurationError, MogulError
from mogul_assets.sandbox import life
from mogul_assets.sandbox.api import Answer, Api, CursorSemantics, error
from mogul_assets.sandbox.company import Company
from mogul_assets.sandbox.faults import ANSWERS, CHANGES, DELIVERIES, Fault, Faults, patched


@dataclass(frozen=True, slots=True)
class Limits:
    """ChartMogul's documented limits; ``None`` switches one off. ``latency`` is added to each answer, in seconds."""

    per_second: float | None = 40
    connections: int | None = 20
    latency: float = 0.0


NO_LIMITS = Limits(per_second=None, connections=None)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was answered. ``path`` is without ``/v1``; ``status`` is 0 where the answer was cut off."""

    method: str
    path: str
    query: dict[str, str]
    status: int


class Sandbox:
    """A pretend account: a company, the key that opens it, its limits and its faults.

    Args:
        company: what is in the account.
        key: the API key; the user name of Basic authentication.
        limits: ``NO_LIMITS`` for none.
        faults: switched on from the start.
        shape: the year whose shapes are written: 2023, 2025 or 2026.
        cursor_semantics: of ``/activities``, see ``api.Api``.
        gzip: compress where the reader accepts it, as ChartMogul does; costs more than all the rest.
    """

    def __init__(
        self,
        company: Company,
        *,
        key: str = "sandbox",
        limits: Limits = Limits(),
        faults: Iterable[Fault] = (),
        shape: int = 2026,
        cursor_semantics: CursorSemantics = "skip_boundary",
        gzip: bool = False,
    ) -> None:
        self.key = key
        self.limits = limits
        self.faults = Faults(faults)
        self.gzip = gzip
        self.requests: list[Asked] = []
        self._api = Api(company, shape=shape, cursor_semantics=cursor_semantics)

    @property
    def company(self) -> Company:
        return self._api.company

    @company.setter
    def company(self, company: Company) -> None:
        self._api = Api(company, shape=self._api.shape, cursor_semantics=self._api.cursor_semantics)

    @property
    def api(self) -> Api:
        return self._api

    def live(self, **happenings: Any) -> Company:
        """Time passes; takes what ``life.live`` takes, and gives the company as it then is."""
        self.company = life.live(self.company, **happenings)
        return self.company

    def reissue(self, *, corrected: int = 0) -> Company:
        """The activities get new uuids, and some of them another amount."""
        self.company = life.reissue(self.company, corrected=corrected)
        return self.company


@dataclass(frozen=True, slots=True)
class Serving:
    """A sandbox that is being served. ``url`` is what a client is configured with."""

    url: str
    sandbox: Sandbox

    @property
    def control(self) -> str:
        return self.url.removesuffix("/v1") + "/_control"

    @property
    def requests(self) -> list[Asked]:
        return self.sandbox.requests


class _Handler:
    """Answers requests, in one event loop."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.in_flight = 0
        self.tokens = sandbox.limits.per_second or 0.0
        self.refilled = time.monotonic()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path.startswith("/_control/"):
            return await self._control(request)
        if path.startswith("/_exports/"):
            packed = self.sandbox.api.export_file(path.removeprefix("/_exports/activities-").removesuffix(".zip"))
            return web.Response(status=404) if packed is None else web.Response(body=packed)
        self.in_flight += 1
        status = 0
        try:
            response = await self._answer(request, path.removeprefix("/v1"))
            status = response.status
            return response
        finally:
            self.in_flight -= 1
            self.sandbox.requests.append(Asked(request.method, path.removeprefix("/v1"), dict(request.query), status))

    async def _answer(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        sandbox, limits = self.sandbox, self.sandbox.limits
        if not self._opens(request.headers.get("Authorization", "")):
            return _response(error(401, "No valid API key provided"))
        if limits.connections is not None and self.in_flight > limits.connections:
            return _response(ANSWERS["too_many_connections"])
        if not self._take_token():
            return _response(ANSWERS["rate_limit"])
        body = await request.read()
        if limits.latency:
            await asyncio.sleep(limits.latency)
        struck = sandbox.faults.strike(path)
        for fault in struck:
            if fault.kind in ANSWERS:
                return _response(_with_retry_after(ANSWERS[fault.kind], fault.retry_after))
            if fault.kind in CHANGES:
                sandbox.reissue(corrected=fault.rows) if fault.kind == "reissue" else sandbox.live()
        answer = sandbox.api.answer(request.method, path, request.query, body)
        for fault in struck:
            if fault.kind == "patch" and answer.status == 200:
                answer = patched(answer, fault)
        if b'"/_exports/' in answer.body:
            answer = replace(answer, body=answer.body.replace(b'"/_exports/', b'"%b/_exports/' % _root(request)))
        for fault in struck:
            if fault.kind in DELIVERIES:
                return await _mishandled(request, answer, fault)
        response = _response(answer)
        if sandbox.gzip and "gzip" in request.headers.get("Accept-Encoding", ""):
            response.enable_compression(web.ContentCoding.gzip)
        return response

    def _opens(self, authorization: str) -> bool:
        """Basic authentication: the key as user, and as password the key again or nothing."""
        scheme, _, coded = authorization.partition(" ")
        try:
            user, _, password = b64decode(coded).decode().partition(":")
        except ValueError:
            return False
        return scheme.lower() == "basic" and user == self.sandbox.key and password in {"", self.sandbox.key}

    def _take_token(self) -> bool:
        """A bucket that holds one second's requests and fills steadily."""
        rate = self.sandbox.limits.per_second
        if rate is None:
            return True
        now = time.monotonic()
        self.tokens, self.refilled = min(rate, self.tokens + (now - self.refilled) * rate), now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    async def _control(self, request: web.BaseRequest) -> web.Response:
        sandbox, verb = self.sandbox, request.path.removeprefix("/_control/")
        try:
            if verb == "faults" and request.method == "POST":
                sandbox.faults.set(msgspec.json.decode(await request.read(), type=list[Fault]))
                return _response(Answer(msgspec.json.encode(sandbox.faults.active)))
            if verb == "life" and request.method == "POST":
                company = sandbox.live(**msgspec.json.decode(await request.read() or b"{}"))
                counts = {
                    "now": company.now,
                    "customers": len(company.customers),
                    "activities": len(company.activities),
                }
                return _response(Answer(msgspec.json.encode(counts)))
            if verb == "requests" and request.method == "GET":
                by_status = Counter(str(asked.status) for asked in sandbox.requests)
                return _response(Answer(msgspec.json.encode({"count": len(sandbox.requests), "by_status": by_status})))
        except (MogulError, msgspec.MsgspecError, TypeError) as refused:
            return _response(error(422, str(refused)))
        return _response(error(404, f"No control '{verb}'"))


def _root(request: web.BaseRequest) -> bytes:
    return f"{request.scheme}://{request.host}".encode()


def _response(answer: Answer) -> web.Response:
    return web.Response(
        body=answer.body, status=answer.status, content_type=answer.content_type, headers=dict(answer.headers)
    )


def _with_retry_after(answer: Answer, wait: int | None) -> Answer:
    return answer if wait is None else replace(answer, headers={"Retry-After": str(wait)})


async def _mishandled(request: web.BaseRequest, answer: Answer, fault: Fault) -> web.StreamResponse:
    """Delivers the answer the way that the fault says."""
    transport = request.transport
    if fault.kind == "silence":
        await asyncio.sleep(fault.seconds)
        if transport is not None:
            transport.abort()
        return web.Response()
    response = web.StreamResponse(status=answer.status)
    response.content_type = answer.content_type
    response.content_length = len(answer.body)
    await response.prepare(request)
    if fault.kind == "slow":
        step = max(1, len(answer.body) // 10)
        for start in range(0, len(answer.body), step):
            await response.write(answer.body[start : start + step])
            await asyncio.sleep(fault.seconds / 10)
        return response
    await response.write(answer.body[: len(answer.body) // 2])
    # Let the first half leave before the connection goes.
    await asyncio.sleep(0.05)
    if transport is not None:
        if fault.kind == "reset":
            # Closing with no time to linger sends RST instead of FIN.
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
    raise ConnectionResetError


async def run(sandbox: Sandbox, *, port: int, ready: Any, stop: asyncio.Event) -> None:
    """Serves on the loopback interface until ``stop`` is set.

    Args:
        sandbox: what is served.
        port: 0 for any that is free.
        ready: called with the ``Serving`` once it listens.
        stop: ends it.

    Raises:
        ConfigurationError: the port is taken.
    """
    server = web.Server(_Handler(sandbox), handler_cancellation=True, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        try:
            await site.start()
        except OSError as taken:
            raise ConfigurationError(f"port {port} is taken", remedy="choose another one, or 0 for any") from taken
        ready(Serving(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", sandbox))
        await stop.wait()
    finally:
        await runner.cleanup()


@contextmanager
def serve(sandbox: Sandbox, *, port: int = 0) -> Iterator[Serving]:
    """Serves the sandbox in a thread of its own for as long as the block runs.

    Raises:
        ConfigurationError: the port is taken.
    """
    started: list[Serving] = []
    failed: list[BaseException] = []
    ready = threading.Event()
    handles: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        stop = asyncio.Event()
        handles.append((asyncio.get_running_loop(), stop))

        def listening(serving: Serving) -> None:
            started.append(serving)
            ready.set()

        await run(sandbox, port=port, ready=listening, stop=stop)

    def work() -> None:
        try:
            asyncio.run(main())
        except BaseException as error_:  # noqa: BLE001 - raised again in the caller's thread
            failed.append(error_)
            ready.set()

    thread = threading.Thread(target=work, name="sandbox", daemon=True)
    thread.start()
    ready.wait()
    if failed:
        raise failed[0]
    try:
        yield started[0]
    finally:
        loop, stop = handles[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join()
