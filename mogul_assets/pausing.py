"""A destination that nothing delivers to by itself any more, or again: for the command and the job alike. No Dagster.

Both say, line by line as it happens, what they did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mogul_assets import editing, running
from mogul_assets.messages.message import State
from mogul_assets.settings import Settings, load

if TYPE_CHECKING:
    from mogul_assets.messages.ledger import Ledger


def pause(settings: Settings, name: str) -> Iterator[str]:
    """Write into mogul.yaml that no schedule and no sensor delivers to a destination.

    Raises:
        ConfigurationError: there is none of that name, or the file cannot be read, or was changed meanwhile.
        StoreUnwritable: its folder is full, or may not be written to.
    """
    if load(settings.file).entry(name).paused:  # others may have written to it since it was loaded
        yield f"{name} was paused already"
        return
    editing.set_paused(settings.file, name, paused=True)
    yield f"{name} is paused; it goes on with  mogul destinations resume {name}"
    yield running.read_again(settings)


def resume(settings: Settings, name: str, ledger: Callable[[], Ledger]) -> Iterator[str]:
    """Take that back, and send again to one that was disabled because its receiver took nothing more.

    Raises what ``pause`` does, and what opening the ``ledger`` does where the destination sends messages.
    """
    entry, disabled = load(settings.file).entry(name), False
    if entry.habits.messages:
        with ledger() as opened:
            disabled = opened.resume(name)
            waiting = opened.counts(name).get(State.WAITING, 0)
        if disabled:
            yield f"{name} is sent to again; {waiting:,} messages wait for it"
    if entry.paused:
        editing.set_paused(settings.file, name, paused=False)
        yield f"{name} is delivered to again, by its schedule"
        yield running.read_again(settings)
    elif not disabled:
        yield f"{name} was neither paused nor disabled"
