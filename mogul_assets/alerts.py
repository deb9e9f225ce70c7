"""What is wrong, who was told what of it, and what of it is over: once per incident, however often it is met.

No Dagster.
"""

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

    ``text`` says what it means for the data, and what to do. ``news`` is what of it somebody has to know, each in a
    word that stays the same: datasets, what helps. In one incident each is told once, however often it comes and goes.
    Without any, the problem begins no incident; one that stands goes on while what was its news is in ``stays``: what
    is not over yet. ``since`` is when it began, UTC, where that is known.
    """

    key: str
    title: str
    text: str
    news: frozenset[str]
    stays: frozenset[str] = frozenset()
    since: datetime | None = None


class Incident(msgspec.Struct, frozen=True):
    """A problem from its beginning until everybody who was told of it was told of its end."""

    key: str
    title: str
    text: str
    since: datetime
    news: frozenset[str] = frozenset()
    """What of it somebody has to know, as it was last found."""
    told: dict[str, frozenset[str]] = {}
    """What each channel knows that was told of it, and not yet of its end."""
    over_at: datetime | None = None

    def to_be_told(self, channel: str) -> bool:
        known = self.told.get(channel)
        if self.over_at is not None:
            return known is not None
        return known is None or not self.news <= known

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
            return self._headed(self.incidents[0])
        over = sum(one.over_at is not None for one in self.incidents)
        counts = {"problems": len(self.incidents) - over, "resolved": over}
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)

    @property
    def text(self) -> str:
        if len(self.incidents) == 1:  # its title says the rest
            return _cut(f"S{self.incidents[0].said()[1:]}")
        return _cut("\n\n".join(f"{self._headed(one)}, {one.said()}" for one in self.incidents))

    def _headed(self, one: Incident) -> str:
        if one.over_at is not None:
            return f"Resolved: {one.title}"
        return f"Worse: {one.title}" if self.channel in one.told else one.title


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…\nThe whole list: mogul alerts"


def incidents(before: Iterable[Incident], problems: Iterable[Problem], now: datetime) -> list[Incident]:
    """The incidents as they stand now: those that go on, those that began, and those whose end is still to be told."""
    known = {one.key: one for one in before}
    found = {}
    for problem in problems:
        its = known.get(problem.key) or Incident(problem.key, problem.title, problem.text, problem.since or now)
        goes_on = not its.news.union(*its.told.values()).isdisjoint(problem.news | problem.stays)
        if problem.news:
            since = its.since if goes_on else (problem.since or now)
            found[problem.key] = Incident(problem.key, problem.title, problem.text, since, problem.news, its.told)
        elif goes_on:
            found[problem.key] = its
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
        news = [one for one in standing if one.to_be_told(channel)]
        if news:
            found.append(Notice(channel, news))
    return found


def after(standing: Sequence[Incident], notice: Notice) -> list[Incident]:
    """The incidents once a notice was taken."""
    keys = {one.key for one in notice.incidents}
    found = [_told(one, notice.channel) if one.key in keys else one for one in standing]
    return [one for one in found if one.over_at is None or one.told]


def _told(one: Incident, channel: str) -> Incident:
    told = {name: known for name, known in one.told.items() if name != channel}
    if one.over_at is None:
        told[channel] = one.news | one.told.get(channel, frozenset())
    return msgspec.structs.replace(one, told=told)


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
    if not known:
        return "Nothing has arrived there yet."
    if len(known) < len(moments):
        return "Of some of it nothing has arrived there yet."
    return f"What arrived before stands there, as the account was at {min(known):%Y-%m-%d %H:%M} UTC."
