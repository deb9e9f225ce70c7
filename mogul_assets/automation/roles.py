"""Which of the destinations play which part, in the order of mogul.yaml."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from mogul_assets.destinations.configured import LINKS
from mogul_assets.settings import Entry

Entries = Mapping[str, Entry]


@dataclass(frozen=True)
class Roles:
    """The parts; each gives entries by name.

    A destination is ``replaced`` where an IO manager of the user's own takes its place, and ``unusable`` where its
    entry is wrong: its assets and jobs are there all the same, and say why they fail.
    """

    every: Entries
    replaced: Collection[str] = ()
    unusable: Collection[str] = ()

    @property
    def ours(self) -> Entries:
        """Whose deliveries we know of."""
        return _those(self.every, lambda one: one.name not in self.replaced)

    @property
    def told(self) -> Entries:
        """What is told movements as they happen."""
        return _those(self.ours, lambda one: one.real_time)

    @property
    def together(self) -> Entries:
        """What gets its datasets in one message."""
        return _those(self.ours, lambda one: one.habits.together)

    @property
    def apart(self) -> Entries:
        """What gets each dataset by itself: all others."""
        return _those(self.every, lambda one: one.name not in {*self.told, *self.together})

    @property
    def messengers(self) -> Entries:
        """What sends messages, and can."""
        return _those(self.ours, lambda one: one.habits.messages and one.name not in self.unusable)

    @property
    def linking(self) -> Entries:
        """What sends links in its messages, to files that are to go some day."""
        return _those(self.messengers, lambda one: one.habits.together and bool(one.options.get(LINKS)))

    @property
    def active(self) -> Entries:
        """What is delivered to by itself."""
        return _those(self.every, lambda one: not one.paused)

    @property
    def scheduled(self) -> Entries:
        return _those(self.active, lambda one: bool(one.timetables))

    @property
    def on_refresh(self) -> Entries:
        return _those(self.active, lambda one: one.on_refresh)

    @property
    def awaited(self) -> Entries:
        """What has messages sent by itself: as they happen, and again when they are due."""
        return _those(self.messengers, lambda one: not one.paused)


def _those(entries: Entries, is_one: Callable[[Entry], bool]) -> Entries:
    return {name: entry for name, entry in entries.items() if is_one(entry)}
