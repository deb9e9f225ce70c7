"""Slack's own client, and what each of its answers means. The verb that needs it imports it: slack_sdk is heavy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError, SlackRequestError
from slack_sdk.http_retry.async_handler import AsyncRetryHandler
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from mogul_assets.errors import DestinationRefused, DestinationUnavailable, DestinationUnreachable, MogulError
from mogul_assets.messages.message import Answer, Outcome
from mogul_assets.messages.sending import pause_of

CONNECTING, ANSWERING, TRYING, UPLOADING = 10, 15, 20, 20
"""Seconds: to connect, for one answer, for a message with the pauses that Slack asks for, for its picture."""
_PATIENCE = 5
"""Seconds of pause that are waited for within a try; after a longer one the message is tried again."""

FAILURES = (SlackClientError, aiohttp.ClientError, OSError, TimeoutError, ValueError, AttributeError)
"""What slack_sdk raises. The last two where what answers is not Slack: a proxy's page is no JSON, or a bare text."""

_REMEDIES = {
    "channel_not_found": "correct the channel's name; a private one:  /invite the bot there",
    "not_in_channel": "in that channel:  /invite the bot",
    "is_archived": "unarchive the channel, or name another",
    "invalid_auth": "put the app's bot token (xoxb-…) into the variable",
    "not_authed": "put the app's bot token (xoxb-…) into the variable",
    "not_allowed_token_type": "put the app's bot token (xoxb-…) into the variable",
    "token_expired": "turn token rotation off for the app, and install it again",
    "token_revoked": "install the app again, and put its new token into the variable",
    "account_inactive": "install the app again, and put its new token into the variable",
    "missing_scope": "give the app the scopes that  mogul destinations grants  prints, and install it again",
    "no_permission": "give the app the scopes that  mogul destinations grants  prints, and install it again",
    "restricted_action": "the workspace's settings keep apps out of the channel: ask its administrator",
    "restricted_action_read_only_channel": "the channel is for reading only: ask who manages it",
    "invalid_blocks": "this is a fault of ours: report it with the message's id",
    "msg_too_long": "this is a fault of ours: report it with the message's id",
}
_GONE = frozenset({"token_revoked", "account_inactive"})
_PASSING = frozenset(
    {
        "ratelimited",
        "rate_limited",
        "message_limit_exceeded",
        "internal_error",
        "fatal_error",
        "service_unavailable",
        "request_timeout",
        "team_added_to_org",
    }
)
"""Slack's words for what passes by itself; every other word stays until somebody acts."""


_QUIET = logging.getLogger(f"{__name__}.client")
_QUIET.setLevel(logging.WARNING)  # below that slack_sdk logs what it sends: customers' names


class _RateLimit(AsyncRateLimitErrorRetryHandler):
    """Slack's own handler, which would also wait for an hour."""

    async def _can_retry_async(self, *, response: Any = None, **others: Any) -> bool:
        waits = _pause(dict(response.headers)) if response is not None else None
        if waits is not None and waits.total_seconds() > _PATIENCE:
            return False
        return await super()._can_retry_async(response=response, **others)


@asynccontextmanager
async def opened(token: str, url: str) -> AsyncIterator[AsyncWebClient]:
    """A client of the workspace that the token is of. Proxies are those of the environment, ``NO_PROXY`` minded."""
    limits = aiohttp.ClientTimeout(total=ANSWERING, sock_connect=CONNECTING)
    # Of the handlers that slack_sdk has by default none is left: a lost connection is for the ledger to try again.
    handlers: list[AsyncRetryHandler] = [_RateLimit(max_retry_count=2)]
    async with aiohttp.ClientSession(timeout=limits, trust_env=True) as session:
        client = AsyncWebClient(token, url, ANSWERING, session=session, logger=_QUIET, retry_handlers=handlers)
        client.proxy = None  # read from the environment by the session
        yield client


async def tried(call: Awaitable[Any], seconds: float) -> Any:
    """What Slack answers, or an ``Answer`` that says why it did not do it."""
    try:
        async with asyncio.timeout(seconds):
            return await call
    except FAILURES as error:
        return answer(error)


def answer(error: BaseException) -> Answer:
    """What a failed call comes to."""
    if isinstance(error, SlackApiError):
        word, status, headers = _said(error.response)
        if word is None:
            return Answer(Outcome.AGAIN, str(status), "Slack answered nothing that can be read", _pause(headers))
        if word in _PASSING or status == 429 or status >= 500:
            return Answer(Outcome.AGAIN, word, "Slack is busy", _pause(headers))
        outcome = Outcome.GONE if word in _GONE else Outcome.REFUSED
        return Answer(outcome, word, _REMEDIES.get(word, "look the word up at docs.slack.dev"))
    if isinstance(error, aiohttp.ClientConnectorError | ConnectionRefusedError):
        return Answer(Outcome.AGAIN, "unreachable", "Slack is out of reach")
    if isinstance(error, TimeoutError):
        return Answer(Outcome.AGAIN, "timeout", "Slack did not answer in time")
    if isinstance(error, aiohttp.ClientError | OSError):
        return Answer(Outcome.AGAIN, "connection lost", "the connection failed before Slack had answered")
    if isinstance(error, SlackRequestError):
        return Answer(Outcome.AGAIN, "upload failed", "Slack did not take the file")
    return Answer(Outcome.AGAIN, "unreadable", "what answered is not Slack")


def told(error: Exception) -> MogulError | None:
    """The same, for a person who checks; ``None`` where it is no failure of Slack's."""
    if not isinstance(error, FAILURES):
        return None
    what = answer(error)
    if what.outcome is Outcome.AGAIN:
        kind = DestinationUnreachable if what.status == "unreachable" else DestinationUnavailable
        return kind(f"{what.text} ({what.status})", remedy="it is tried again")
    return DestinationRefused(f"Slack answered {what.status}", remedy=what.text)


def _said(response: Any) -> tuple[str | None, int, dict[str, Any]]:
    """Slack's word, the status and the headers: slack_sdk hands out its own response, or aiohttp's."""
    if isinstance(response, aiohttp.ClientResponse):
        return None, response.status, dict(response.headers)
    data = response.data if isinstance(response.data, dict) else {}
    return data.get("error"), int(response.status_code), dict(response.headers)


def _pause(headers: dict[str, Any]) -> timedelta | None:
    asked = next((value for name, value in headers.items() if name.lower() == "retry-after"), None)
    text = asked[0] if isinstance(asked, list) else asked
    return pause_of(None if text is None else str(text))
