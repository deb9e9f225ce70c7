"""What changes the destinations of mogul.yaml: ``mogul destinations remove``, ``pause`` and ``resume``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import click

from mogul_assets import editing
from mogul_assets.cli import OK, Command, shown
from mogul_assets.cli.project import Project, pass_project
from mogul_assets.destinations.base import Destination
from mogul_assets.destinations.configured import Misconfigured, configured
from mogul_assets.errors import ConfigurationError, MogulError
from mogul_assets.messages.message import State
from mogul_assets.settings import Settings, parsed

READ_AGAIN = "Dagster reads it at its next start; one that runs: Deployment → Reload"


@dataclass(frozen=True)
class Change:
    """A change of the file that was thought through and not written yet."""

    project: Project
    before: str
    after: str
    settings: Settings
    """What the file will say."""

    @classmethod
    def of(cls, project: Project, change: Callable[[str], str]) -> Change:
        """A change of the text.

        Raises:
            ConfigurationError: the file would not load, or a destination that can be used now could not be any more.
        """
        file = project.settings.file
        before = editing.read(file)
        after = change(before)
        found = cls(project, before, after, parsed(file, after))
        well = {one.name for one in map(project.destination, project.settings.destinations) if not _wrong(one)}
        for name in found.settings.destinations:
            one = found.destination(name)
            if isinstance(one, Misconfigured) and (name in well or name not in project.settings.destinations):
                raise ConfigurationError(f"{one.problem}; nothing was written", remedy="mend that first")
        return found

    def destination(self, name: str) -> Destination:
        return configured(self.settings, self.settings.entry(name))

    def write(self) -> None:
        editing.save(self.settings.file, self.before, self.after)


def _wrong(destination: Destination) -> bool:
    return isinstance(destination, Misconfigured)


@click.command(
    cls=Command,
    short_help="Take one out of mogul.yaml; what lies there stays.",
    examples={
        "mogul destinations remove lake": "after a question",
        "mogul destinations remove lake --yes": "in a script",
    },
)
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_project
def remove(project: Project, name: str, *, yes: bool) -> int:
    """Take the destination NAME out of mogul.yaml. Deletes nothing there, and says what stays and what deletes it."""
    destination = project.destination(name)
    change = Change.of(project, lambda text: editing.without_entry(text, name))
    try:
        left = destination.forget()
    except MogulError as error:
        click.echo(f"what lies there cannot be told now: {error}", err=True)
        left = []
    if left:
        shown.table(("what stays", "what deletes it"), ((one.what, one.remove) for one in left))
    if not yes:
        click.confirm(f"take {name} out of {change.settings.file.name}?", abort=True, err=True)
    change.write()
    click.echo(
        f"{name} is out of {change.settings.file.name}; its history stays in Dagster and in the store. {READ_AGAIN}"
    )
    return OK


@click.command(
    cls=Command,
    short_help="No schedule and no sensor delivers to one.",
    examples={"mogul destinations pause lake": "until  mogul destinations resume lake"},
)
@click.argument("name")
@pass_project
def pause(project: Project, name: str) -> int:
    """Write  paused: true  at the destination NAME: no schedule and no sensor delivers to it. By hand it still is.

    Messages that it does not get meanwhile are told once it is resumed.
    """
    if project.settings.entry(name).paused:
        click.echo(f"{name} was paused already")
        return OK
    Change.of(project, lambda text: editing.with_setting(text, name, "paused", value=True)).write()
    click.echo(f"{name} is paused; it goes on with  mogul destinations resume {name}. {READ_AGAIN}")
    return OK


@click.command(
    cls=Command,
    short_help="Deliver again to one that was paused or disabled.",
    examples={
        "mogul destinations resume lake": "with its next tick",
        "mogul destinations resume hook": "once its receiver is mended: what waited is sent, in order",
    },
)
@click.argument("name")
@pass_project
def resume(project: Project, name: str) -> int:
    """Deliver again to the destination NAME, which was paused, or disabled because its receiver took nothing more."""
    entry, waiting = project.settings.entry(name), None
    if entry.habits.messages:
        with project.ledger() as ledger:
            if ledger.resume(name):
                waiting = ledger.counts(name).get(State.WAITING, 0)
    if entry.paused:
        Change.of(project, lambda text: editing.without_setting(text, name, "paused")).write()
        click.echo(f"{name} is delivered to again, by its schedule. {READ_AGAIN}")
    if waiting is not None:
        click.echo(f"{name} is sent to again; {waiting:,} messages wait for it")
    elif not entry.paused:
        click.echo(f"{name} was neither paused nor disabled")
    return OK
