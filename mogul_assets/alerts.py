"""What is wrong, who was told of it, and what of it is over: once per incident, however often it is met. No Dagster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from mogul_assets.store import durable
from mogul_assets.store.store import INCIDENTS

LONGEST = 2_500
"""Characters of a notice: a section of a Slack message holds 3,000."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong now. The same ``key`` is the same incident.

    ``since`` is when it began, UTC, where that is known. ``text`` says what it means for the data, and what to do.
    """

    key: str
    title: str
    text: str
    since: datetime | None = None


class Incident(msgspec.Struct, frozen=True):
    """A problem from its beginning until everybody who was told of it was told of its end."""

    key: str
    title: str
    text: str
    since: datetime
    told: tuple[str, ...] = ()
    """The channels that were told of it, and not yet of its end."""
    over_at: datetime | None = None

    def said(self) -> str:
        began = f"since {self.since:%Y-%m-%d %H:%M} UTC"
        return (
            f"{began}, until {self.over_at:%Y-%m-%d %H:%M}." if self.over_at is not None else f"{began}.\n{self.text}"
        )


@dataclass(frozen=True, slots=True)
class Notice:
    """What a channel is to be told: all that is new to it, in one message."""

    channel: str
    incidents: Sequence[Incident]

    @property
    def title(self) -> str:
        if len(self.incidents) == 1:
            return _headed(self.incidents[0])
        over = sum(one.over_at is not None for one in self.incidents)
        counts = {"problems": len(self.incidents) - over, "resolved": over}
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)

    @property
    def text(self) -> str:
        if len(self.incidents) == 1:  # its title says the rest
            return _cut(f"S{self.incidents[0].said()[1:]}")
        return _cut("\n\n".join(f"{_headed(one)}, {one.said()}" for one in self.incidents))


def _headed(one: Incident) -> str:
    return one.title if one.over_at is None else f"Resolved: {one.title}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…\nThe whole list: mogul alerts"


def incidents(before: Iterable[Incident], problems: Iterable[Problem], now: datetime) -> list[Incident]:
    """The incidents as they stand now: those that go on, those that began, and those whose end is still to be told."""
    known = {one.key: one for one in before}
    found = {}
    for problem in problems:
        its = known.get(problem.key)
        since = its.since if its is not None else (problem.since or now)
        told = its.told if its is not None else ()
        found[problem.key] = Incident(problem.key, problem.title, problem.text, since, told)
    over = [
        msgspec.structs.replace(one, over_at=one.over_at or now)
        for one in known.values()
        if one.key not in found and one.told
    ]
    return [*found.values(), *over]


def notices(standing: Sequence[Incident], channels: Iterable[str]) -> list[Notice]:
    """What each channel does not know yet."""
    found = []
    for channel in channels:
        news = [one for one in standing if (channel in one.told) is (one.over_at is not None)]
        if news:
            found.append(Notice(channel, news))
    return found


def after(standing: Sequence[Incident], notice: Notice) -> list[Incident]:
    """The incidents once a notice was taken."""
    keys = {one.key for one in notice.incidents}
    found = []
    for one in standing:
        if one.key in keys:
            others = tuple(name for name in one.told if name != notice.channel)
            one = msgspec.structs.replace(one, told=others if one.over_at is not None else (*others, notice.channel))  # noqa: PLW2901 - as it is from now on
        if one.over_at is None or one.told:
            found.append(one)
    return found


def quiet(hours: tuple[time, time] | None, time_zone: str, now: datetime) -> bool:
    """Whether nobody is to be told at this moment; what is still wrong when the hours end is told then."""
    if hours is None:
        return False
    start, end = hours
    here = now.astimezone(ZoneInfo(time_zone)).time()
    return start <= here < end if start <= end else here >= start or here < end


def kept(file: Path) -> list[Incident]:
    """The incidents of the last look; none where the file cannot be read: then they are told once more."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[Incident])
    except (OSError, msgspec.MsgspecError, UnicodeError):
        return []


def keep(file: Path, standing: Sequence[Incident]) -> None:
    """Remember them, whole or not at all."""
    with durable.writing_to(file.parent):
        durable.replace(file, msgspec.json.encode(list(standing)))


def incidents_file(store: Path) -> Path:
    """Where they are kept: beside what every delivery achieved."""
    return store / INCIDENTS


def opened(store: Path) -> list[Incident]:
    """The incidents that the last look found, the oldest first."""
    return sorted((one for one in kept(incidents_file(store)) if one.over_at is None), key=lambda one: one.since)


def named(datasets: Sequence[str], *, shown: int = 3) -> str:
    """Some of the names, and how many more."""
    more = len(datasets) - shown
    return ", ".join(datasets[:shown]) + (f" and {more} more" if more > 0 else "")


def oldest(moments: Mapping[str, datetime | None]) -> str:
    """What an old table means for its readers."""
    known = [moment for moment in moments.values() if moment is not None]
    if len(known) < len(moments):
        return "Of some of it nothing has arrived there yet." if known else "Nothing has arrived there yet."
    return f"What arrived before stands there, as the account was at {min(known):%Y-%m-%d %H:%M} UTC."
