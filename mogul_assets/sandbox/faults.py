"""What can go wrong between an account and its reader, each fault switchable by path, count and chance."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

import msgspec

from mogul_assets.errors import ConfigurationError
from mogul_assets.sandbox.api import Answer, error

ANSWERS: dict[str, Answer] = {
    "rate_limit": error(429, "Your request rate has exceeded our rate limit."),
    "request_failed": error(402, "The request failed"),
    "too_many_connections": Answer(b"503 Service Unavailable", 503, "text/plain"),
    "unknown_error": Answer(b"error code: 520", 520, "text/plain"),
    "origin_timeout": Answer(b"error code: 524", 524, "text/plain"),
    "server_error": Answer(b"500 Internal Server Error", 500, "text/plain"),
    "empty_error": Answer(b"", 500, "text/plain"),
}
"""Answers that come instead of the right one. Those of 429, 402 and 503 were never recorded: texts are the
documentation's, shapes a guess."""

DELIVERIES = {
    "reset": "the connection is reset in the middle of the body",
    "truncated": "the body ends half-way, the connection is closed in good order",
    "slow": "the body takes `seconds` to arrive, in ten pieces",
    "silence": "nothing comes for `seconds`, then the connection is closed",
}
"""Ways in which the right answer does not arrive, or late."""

CHANGES = {
    "reissue": "all activities get new uuids, and `rows` of them another amount, before the answer",
    "life": "a day passes before the answer: rows come, change and go",
}
"""What happens to the account between two requests."""

SHAPES = {"patch": "every row of the answer gets the `fields`, and keys are renamed as in `rename`"}

KINDS = frozenset((*ANSWERS, *DELIVERIES, *CHANGES, *SHAPES))


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One thing that goes wrong.

    ``path`` is the beginning of the paths it strikes (``/customers``; ``""``: all); the first ``after`` requests
    that match are spared, then ``count`` are struck (``None``: all), each with ``probability``.
    ``retry_after`` adds that header, in seconds, to an answer of ``ANSWERS``.
    """

    kind: str
    path: str = ""
    count: int | None = 1
    after: int = 0
    probability: float = 1.0
    retry_after: int | None = None
    seconds: float = 30.0
    rows: int = 1
    fields: dict[str, Any] = {}
    rename: dict[str, str] = {}

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigurationError(f"unknown fault '{self.kind}'", remedy=f"choose from {', '.join(sorted(KINDS))}")


class Faults:
    """The faults that are switched on. Chances are drawn in order from a fixed seed."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._random = Random(7)
        self.set(faults)

    def set(self, faults: Iterable[Fault]) -> None:
        """Switches on exactly these."""
        # Copies: a fault counts down as it strikes.
        self.active = [msgspec.structs.replace(fault) for fault in faults]

    def add(self, *faults: Fault) -> None:
        self.active += [msgspec.structs.replace(fault) for fault in faults]

    def strike(self, path: str) -> list[Fault]:
        """Those that strike a request to the path (after ``/v1``): any number that change the account or the
        shape of the answer, and at most one of the others.
        """
        struck: list[Fault] = []
        for fault in self.active:
            if not path.startswith(fault.path):
                continue
            if fault.after:
                fault.after -= 1
                continue
            if _exclusive(fault) and any(map(_exclusive, struck)):
                continue
            if fault.count == 0 or self._random.random() >= fault.probability:
                continue
            if fault.count is not None:
                fault.count -= 1
            struck.append(fault)
        return struck


def _exclusive(fault: Fault) -> bool:
    return fault.kind in ANSWERS or fault.kind in DELIVERIES


def patched(answer: Answer, fault: Fault) -> Answer:
    """The answer with every row of its list, or its one object, changed as the fault says."""
    page = msgspec.json.decode(answer.body)
    rows = next((value for value in page.values() if isinstance(value, list)), [page])
    for row in rows:
        for old, new in fault.rename.items():
            if old in row:
                row[new] = row.pop(old)
        row.update(fault.fields)
    return Answer(msgspec.json.encode(page), answer.status, answer.content_type, answer.headers)
