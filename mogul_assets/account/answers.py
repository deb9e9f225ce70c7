"""What the API says when it does not give a page: which answers pass by themselves, and what to do about the others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

SHOWN = 200
"""Characters of the API's own message that an error repeats."""

REMEDIES = {
    400: "this is a fault of this program, or account.url is not ChartMogul's API: run `mogul check --account`",
    401: "the API key is wrong or was deleted: copy it again from ChartMogul's API keys page into the variable that"
    " account.api_key names",
    403: "the key or the account has expired, or may not read this: look at ChartMogul's API keys and plan pages",
    404: "nothing is at this address: account.url must be ChartMogul's API, https://api.chartmogul.com/v1",
    422: "this is a fault of this program, or account.url is not ChartMogul's API: run `mogul check --account`",
}
NOT_THE_API = "account.url must be ChartMogul's API, https://api.chartmogul.com/v1"


def passes(status: int) -> bool:
    """True where the same request may succeed later.

    429 is the limits; 402 is ChartMogul's "valid, but the request failed" and no matter of money; 503 also means
    too many connections; 520-527 are Cloudflare's. A 3xx, and any other 4xx, stays as it is.
    """
    return status >= 500 or status in {402, 408, 425, 429}


def names_no_place(status: int) -> bool:
    """True where the answer to a page in mid-list may mean that the place it should begin at is gone."""
    return status in {400, 404, 410, 422}


def remedy(status: int) -> str:
    return REMEDIES.get(status, NOT_THE_API if status < 400 else REMEDIES[400])


def message(body: bytes) -> str:
    """The API's own words, on one line and shortened; empty where it said nothing.

    Errors come in four shapes: ``{"message": …}``, ``{"error": …}``, ``{"errors": {field: …}}`` and
    ``{field: [...]}``, and as plain text.
    """
    try:
        words = " ".join(_words(msgspec.json.decode(body)))
    except (msgspec.DecodeError, UnicodeDecodeError):
        words = body[:4096].decode("utf-8", "replace")
    if words.lstrip().startswith("<"):
        return "a web page"
    words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return words if len(words) <= SHOWN else f"{words[:SHOWN]}…"


def _words(answer: Any) -> Iterator[str]:
    match answer:
        case str():
            yield answer
        case list():
            for item in answer:
                yield from _words(item)
        case {"message": str(text)} | {"error": str(text)} | {"errors": text}:
            yield from _words(text)
        case dict():
            for key, value in answer.items():
                if key != "error_details":
                    yield from _words(value)


def retry_after(header: str | None, now: datetime) -> float:
    """Seconds to wait as a ``Retry-After`` header asks, in seconds or as an HTTP date; 0 where it does not."""
    if header is None:
        return 0
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return 0
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())
