"""The HTTP client: one per account and key, shared by everything in the process that reads it."""

from __future__ import annotations

import asyncio
import atexit
import ipaddress
import logging
import math
import os
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar
from urllib.parse import urlsplit

import msgspec
import tenacity

from mogul_assets.account import answers
from mogul_assets.account.pacing import Gate
from mogul_assets.errors import AccountRefused, AccountUnavailable, ConfigurationError

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """How hard an account is asked, and for how long; all times in seconds.

    ChartMogul allows 40 requests a second and 20 connections for all who read an account together: a little is
    left to the others. ``total`` bounds one request with all its retries.
    """

    requests_per_second: float = 39
    connections: int = 18
    connect: float = 10
    request: float = 60
    attempts: int = 12
    total: float = 300
    first_wait: float = 0.5
    longest_wait: float = 30
    longest_retry_after: float = 60


@dataclass(slots=True)
class Tally:
    """What one reading asked for: requests sent, and how many of them repeated another."""

    requests: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A body as it came, what was decoded from it, and when it was complete (UTC)."""

    body: bytes
    value: T
    taken_at: datetime


class Incomplete(Exception):
    """A decoder's word for a body that is cut short: it is asked for again."""


class Refusal(AccountRefused):
    """An answer that says no, with its status."""

    def __init__(self, message: str, *, remedy: str, status: int) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status


class _Passing(Exception):
    """An attempt failed in a way that may pass. ``status`` is ``None`` where no whole answer came."""

    def __init__(self, what: str, *, status: int | None = None, wait: float = 0) -> None:
        super().__init__(what)
        self.status = status
        self.wait = wait


def basic(key: str) -> str:
    """ChartMogul's way of taking a key: the user name of HTTP Basic, without a password."""
    return f"Basic {b64encode(f'{key}:'.encode()).decode()}"


class Client:
    """Requests to one API, paced, retried and bounded in time, over connections that are kept.

    Requests run on an event loop in a thread of the client's own, which starts with the first of them;
    ``run`` hands it a coroutine from any other thread. Use ``shared``, so that all readers of an account keep
    its limits together.

    Args:
        url: the API's address. ``https`` only, but for loopback: a key is sent in clear to nobody else.
        key: the API key, or ``None`` where the service wants none.
        limits: pacing, patience and time-outs.
        service: the name by which errors call the other side.
        scheme: makes the ``Authorization`` header of the key.

    Raises:
        ConfigurationError: the address cannot be used, or the key is empty.
    """

    _all: ClassVar[dict[tuple[str, str | None], Client]] = {}
    _guard: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        url: str,
        key: str | None,
        limits: Limits | None = None,
        *,
        service: str = "ChartMogul",
        scheme: Callable[[str], str] = basic,
    ) -> None:
        self.url = _usable(url, service)
        self.limits = limits or Limits()
        self.service = service
        self._key = key if key is None else key.strip()
        if self._key == "":
            raise ConfigurationError(f"The key for {service} is empty", remedy="set the variable that mogul.yaml names")
        self._headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "mogul-assets"}
        if self._key is not None:
            self._headers["Authorization"] = scheme(self._key)
        self._gate = Gate(self.limits.requests_per_second, self.limits.connections)
        self._back_off = tenacity.wait_random_exponential(self.limits.first_wait, self.limits.longest_wait)
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def shared(cls, url: str, key: str, limits: Limits | None = None) -> Client:
        """The process's one client for this address and key. The limits of whoever asked first hold."""
        with cls._guard:
            name = (url, key)
            if name not in cls._all:
                cls._all[name] = cls(url, key, limits)
            return cls._all[name]

    def __repr__(self) -> str:
        return f"<Client {self.url}>"

    @property
    def gate(self) -> Gate:
        return self._gate

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work on the client's loop and wait for it; interrupting the wait cancels the work."""
        future = self.start(work)
        try:
            return future.result()
        finally:
            future.cancel()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name=repr(self), daemon=True)
                self._thread.start()
                atexit.register(self.close)
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def soon(self, callback: Callable[[], object]) -> None:
        """Call something on the client's loop, without waiting for it."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(callback)

    def close(self) -> None:
        """Break off what runs, and give connections and thread back. A later request starts anew."""
        with self._starting, self._guard:
            for name in [name for name, client in self._all.items() if client is self]:
                del self._all[name]
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        atexit.unregister(self.close)
        asyncio.run_coroutine_threadsafe(self._wind_up(), loop).result(self.limits.connect)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(self.limits.connect)
        loop.close()

    async def _wind_up(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def fetch(
        self,
        path: str,
        params: Mapping[str, str],
        decode: Callable[[bytes], T],
        *,
        urgency: float = math.inf,
        tally: Tally | None = None,
    ) -> Answer[T]:
        """What lies at a path below the address. Awaited on the client's loop (``run``).

        A body that ``decode`` finds cut short is asked for again.

        Args:
            path: below the address, beginning with a slash.
            params: the query.
            decode: raises msgspec's ``DecodeError`` (or ``Incomplete``) for a body that is cut, and its
                ``ValidationError`` for one of another shape, which is final.
            urgency: how far this reader has still to go; the furthest goes first (see ``Gate``).
            tally: counts requests and retries.
        """
        tally = tally or Tally()

        def retried(state: tenacity.RetryCallState) -> None:
            tally.retries += 1
            failure = state.outcome and state.outcome.exception()
            log.info("%s, %s: %s; again in %.1f s", self.service, path, failure, state.upcoming_sleep)

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(_Passing),
            wait=self._wait,
            stop=tenacity.stop_after_attempt(self.limits.attempts) | tenacity.stop_before_delay(self.limits.total),
            before_sleep=retried,
        )
        try:
            async with asyncio.timeout(self.limits.total):  # which else ends no attempt that is under way
                return await retrying(self._attempt, path, params, decode, urgency, tally)
        except TimeoutError:
            raise AccountUnavailable(
                f"{self.service} gave no good answer to {path} in {self.limits.total:g} s",
                remedy=f"run again later; if it lasts, look at {self.service}'s status page and your network",
            ) from None
        except tenacity.RetryError as error:
            last = error.last_attempt
            status = getattr(last.exception(), "status", None)
            raise AccountUnavailable(
                f"{self.service} gave no good answer to {path} in {last.attempt_number} attempts, lastly: "
                f"{last.exception()}",
                remedy="something else uses up the account's limits: stop it, or run again later"
                if status == 429
                else f"run again later; if it lasts, look at {self.service}'s status page and your network",
            ) from None

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Exponential with full jitter, and never less than the server asked for."""
        failure = state.outcome and state.outcome.exception()
        return max(self._back_off(state), failure.wait if isinstance(failure, _Passing) else 0)

    async def _attempt(
        self, path: str, params: Mapping[str, str], decode: Callable[[bytes], T], urgency: float, tally: Tally
    ) -> Answer[T]:
        import aiohttp  # noqa: PLC0415 - a tenth of what loading the definitions takes, which read no account

        await self._gate.enter(urgency)
        tally.requests += 1
        try:
            async with self._connected().get(
                self.url + path, params=params, headers=self._headers, allow_redirects=False
            ) as response:
                body = await response.read()
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise AccountRefused(
                f"{self.service}'s certificate at {self.url} is not to be trusted ({type(error).__name__})",
                remedy="check the address, and the machine's certificates and clock",
            ) from None
        except TimeoutError:
            raise _Passing("no answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _Passing(f"the connection failed ({type(error).__name__})") from None
        finally:
            self._gate.leave()
        taken_at = datetime.now(UTC)
        if response.status != 200:
            raise self._failure(path, response.status, body, response.headers.get("Retry-After"), taken_at)
        try:
            return Answer(body, decode(body), taken_at)
        except msgspec.ValidationError as error:
            raise AccountRefused(
                f"{self.service} answered {path} in a shape that is not the API's ({error})",
                remedy=f"{answers.NOT_THE_API}; if it is, the API has changed: look for a newer mogul_assets",
            ) from None
        except (msgspec.DecodeError, UnicodeDecodeError, Incomplete):
            if body.lstrip().startswith(b"<"):
                raise AccountRefused(
                    f"{self.service} answered {path} with a web page", remedy=answers.NOT_THE_API
                ) from None
            raise _Passing("the answer is cut short") from None

    def _failure(self, path: str, status: int, body: bytes, retry_after: str | None, now: datetime) -> Exception:
        said = answers.message(body)
        if self._key is not None:
            said = said.replace(self._key, "…")
        said = f"{status}: {said}" if said else f"{status}"
        if not answers.passes(status):
            return Refusal(f"{self.service} refused {path} ({said})", remedy=answers.remedy(status), status=status)
        wait = min(answers.retry_after(retry_after, now), self.limits.longest_retry_after)
        if status == 429:
            # The limit is the account's: whoever else asks in this time only prolongs it.
            self._gate.pause(wait or self.limits.first_wait)
        return _Passing(said, status=status, wait=wait)

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp  # noqa: PLC0415 - as above

            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self.limits.connections),
                timeout=aiohttp.ClientTimeout(total=self.limits.request, sock_connect=self.limits.connect),
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=1 << 20,
            )
        return self._session


def _usable(url: str, service: str) -> str:
    """The address without a slash at its end. Names no part of it that could be a secret.

    Raises:
        ConfigurationError: see ``Client``.
    """
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname or ""
        parts.port  # noqa: B018 - refuses a port that is none
    except ValueError:
        raise ConfigurationError(
            f"The url of {service} is not an address", remedy="write it like https://api.chartmogul.com/v1"
        ) from None
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
        raise ConfigurationError(
            f"The url of {service} is not an address", remedy="write it like https://api.chartmogul.com/v1"
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            f"The url of {service} holds a user name or password", remedy="use account.api_key for it"
        )
    if parts.scheme == "http" and not _loopback(host):
        raise ConfigurationError(f"The url of {service} would send the key in clear to {host}", remedy="write https://")
    return url.strip().rstrip("/")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# A forked child has the parent's clients but not their threads.
os.register_at_fork(after_in_child=Client._all.clear)  # noqa: SLF001
