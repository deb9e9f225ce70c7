"""Files that mails point to: they lie in an object store under keys that nobody can guess, and go when links end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from secrets import token_urlsafe
from urllib.error import HTTPError
from urllib.request import urlopen

from mogul_assets.destinations.formats import Part
from mogul_assets.destinations.objects import CONNECTING, ObjectStore
from mogul_assets.destinations.trial import Trial
from mogul_assets.errors import DestinationRefused, DestinationUnavailable

_ENDS = "%Y%m%dT%H%M%SZ"
_KEY = re.compile(r"(?P<ends>\d{8}T\d{6}Z)-[\w-]{43}/[^/]+")


def folder(destination: str) -> str:
    """Where a destination's files lie, below the prefix of the store."""
    return f"_mails/{destination}/"


def linked(
    store: ObjectStore, destination: str, files: Sequence[Part], *, now: datetime, lasting: timedelta
) -> list[str]:
    """Put the files there, and what fetches each of them without a log-in until ``now + lasting``.

    A key says when it ends, so that what is to be deleted is known without being written down anywhere.
    """
    place = _place(destination, now + lasting)
    with store.holding("put the files of a mail") as bucket:
        for file in files:
            bucket.upload(place + file.path.name, file.path, file.sha256)
        return [bucket.link(place + file.path.name, int(lasting.total_seconds())) for file in files]


def _place(destination: str, ends: datetime) -> str:
    return f"{folder(destination)}{ends.astimezone(UTC):{_ENDS}}-{token_urlsafe(32)}/"


def expired(store: ObjectStore, destination: str, now: datetime) -> int:
    """Delete the files whose links have ended; how many those were. What is no file of a mail is left alone."""
    with store.holding("delete the files of mails whose links have ended") as bucket:
        over = [listed.key for listed in bucket.listing(folder(destination)) if _over(destination, listed.key, now)]
        for key in over:
            bucket.delete(key)
    return len(over)


def _over(destination: str, key: str, now: datetime) -> bool:
    found = _KEY.fullmatch(key.removeprefix(folder(destination)))
    return found is not None and datetime.strptime(found["ends"], _ENDS).replace(tzinfo=UTC) <= now


def tried(store: ObjectStore, destination: str, trial: Trial, *, lasting: timedelta) -> None:
    """Try what links need, with a scratch file that is fetched as a recipient would, and removed again."""
    key = _place(destination, datetime.now(UTC)) + "check.csv"
    with trial.of("put files for links"), store.holding("put a file") as bucket:
        bucket.put(key, b"mogul")
    if not trial.passed("put files for links"):
        return
    with trial.of("sign links"), store.holding("sign a link") as bucket:
        link = bucket.link(key, int(lasting.total_seconds()))
    if trial.passed("sign links"):
        with trial.of(f"links that last {lasting.days} days"), store.holding("sign a link") as bucket:
            problem = bucket.links_end_early()
            if problem is not None:
                raise DestinationRefused(f"{store.name}: {problem.said}", remedy=problem.remedy)
        with trial.of("fetch a file by its link"):
            _fetched(store, link)
    with trial.of("delete files whose links have ended"), store.holding("delete a file") as bucket:
        bucket.delete(key)


def _fetched(store: ObjectStore, link: str) -> None:
    try:
        with urlopen(link, timeout=CONNECTING) as answer:  # noqa: S310 - a link of the store's own
            answer.read()
    except HTTPError as error:
        raise DestinationRefused(
            f"{store.name}: a link was answered {error.code}",
            remedy="its key must be allowed to read objects, from wherever the recipients are",
        ) from None
    except OSError as error:
        raise DestinationUnavailable(
            f"{store.name}: a link led nowhere: {type(error).__name__}", remedy="look at the network and at the name"
        ) from None
