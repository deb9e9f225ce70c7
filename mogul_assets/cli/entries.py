"""What changes mogul.yaml: ``mogul destinations add``, ``edit``, ``pause``, ``resume`` and ``remove``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Protocol

import click

from mogul_assets import editing, pausing, running
from mogul_assets.cli import FAILED, OK, Command, shown, values
from mogul_assets.cli.project import Project, pass_project
from mogul_assets.destinations import load_type
from mogul_assets.destinations.base import Destination, Leftover, Permission
from mogul_assets.destinations.configured import Misconfigured, configured
from mogul_assets.errors import ConfigurationError, MogulError
from mogul_assets.settings import HABITS, Habits, Settings, parsed
from mogul_assets.store.store import WATERMARKS


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


_SET = click.option("--set", "given", metavar="KEY=VALUE", multiple=True, help="A setting; of a secret, its variable.")
_NO_CHECK = click.option("--no-check", is_flag=True, help="Do not reach it before writing.")


@click.command(
    cls=Command,
    short_help="One more, tried before it is written.",
    examples={
        "mogul destinations add files lake": "asks for what it needs",
        "mogul destinations add files lake --set path=out/files --schedule daily": "in a script",
        "mogul destinations add slack team --set token=SLACK_TOKEN --set channels=#revenue": "a secret: its variable",
    },
)
@click.argument("word", metavar="TYPE")
@click.argument("name")
@_SET
@click.option("--schedule", help="daily, weekly, monthly, hourly, real_time, or a cron line.")
@_NO_CHECK
@pass_project
def add(project: Project, word: str, name: str, *, given: tuple[str, ...], schedule: str | None, no_check: bool) -> int:
    """Write a destination NAME of a TYPE into mogul.yaml, once it was reached and lets us do what we must.

    On a terminal asks for what is not given; secrets are asked for by the names of their variables. Ends with 1 where
    something is not allowed, and then writes nothing.
    """
    kind = load_type(word)
    if name in project.settings.destinations:
        raise ConfigurationError(
            f"there is a destination '{name}' already", remedy=f"change it: mogul destinations edit {name} --set …"
        )
    settings = {"type": word, **values.pairs(kind, given), **({"schedule": schedule} if schedule else {})}
    if sys.stdin.isatty():
        unscheduled = "schedule" not in settings and HABITS.get(word, Habits()).schedule is None
        settings |= values.asked(kind, settings, schedule=unscheduled)
    change = Change.of(project, lambda text: editing.with_entry(text, name, settings))
    if not (no_check or _tried(change.destination(name))):
        return FAILED
    change.write()
    entry = change.settings.entry(name)
    click.echo(f"{name} is in {change.settings.file.name}, line {entry.line}; delivered to: {when(entry)}")
    click.echo(f"assets: {', '.join(f'{name}/{dataset}' for dataset in entry.datasets)}")
    first = f"mogul destinations test {name} --send" if entry.real_time else f"mogul sync {name}"
    click.echo(f"next:   {first}")
    click.echo(running.read_again(project.settings))
    return OK


@click.command(
    cls=Command,
    short_help="Other settings for one, tried before they are written.",
    examples={
        "mogul destinations edit lake --set format=csv --set schedule=weekly": "two settings",
        "mogul destinations edit lake --unset schedule": "back to what it means where it is not there",
    },
)
@click.argument("name")
@_SET
@click.option("--unset", "gone", metavar="KEY", multiple=True, help="A setting that is to go.")
@_NO_CHECK
@pass_project
def edit(project: Project, name: str, *, given: tuple[str, ...], gone: tuple[str, ...], no_check: bool) -> int:
    """Change settings of the destination NAME in mogul.yaml, once it was reached with the new ones.

    Ends with 1 where something is not allowed, and then writes nothing.
    """
    entry = project.settings.entry(name)
    fresh = values.pairs(load_type(entry.type), given)
    if not (fresh or gone):
        raise click.UsageError("nothing is to be changed: give --set or --unset")
    if "type" in {*fresh, *gone}:
        raise ConfigurationError("a destination keeps its type", remedy=f"mogul destinations remove {name}, then add")

    def changed(text: str) -> str:
        for key, value in fresh.items():
            text = editing.with_setting(text, name, key, value)
        for key in gone:
            text = editing.without_setting(text, name, key)
        return text

    change = Change.of(project, changed)
    if not (no_check or _tried(change.destination(name))):
        return FAILED
    change.write()
    click.echo(f"{name} is changed; delivered to: {when(change.settings.entry(name))}")
    click.echo(running.read_again(project.settings))
    return OK


def _tried(destination: Destination) -> bool:
    """Whether it lets us do all that we must; says what it does not."""
    try:
        permissions = destination.check()
    except MogulError:
        click.echo(_UNWRITTEN, err=True)
        raise
    fine = all(one.problem is None for one in permissions)
    if not fine:
        show_permissions(permissions)
        click.echo(_UNWRITTEN, err=True)
    return fine


_UNWRITTEN = "nothing was written; to write it all the same: --no-check"


def show_permissions(permissions: Sequence[Permission]) -> None:
    shown.table(
        ("", "permission", "how it stands", "next step"),
        (
            ("ok" if one.problem is None else "problem", one.name, one.problem or "allowed", one.remedy)
            for one in permissions
        ),
    )


class _Timed(Protocol):
    """When something is delivered to, as an entry of the file says."""

    @property
    def schedule(self) -> str | None: ...
    @property
    def schedules(self) -> Mapping[str, str]: ...
    @property
    def time_zone(self) -> str: ...
    @property
    def real_time(self) -> bool: ...
    @property
    def on_refresh(self) -> bool: ...
    @property
    def paused(self) -> bool: ...


def when(one: _Timed) -> str:
    """When it is delivered to, in words."""
    times = [
        f"{one.schedule} {one.time_zone}" if one.schedule else "",
        *(f"{dataset} {cron} {one.time_zone}" for dataset, cron in one.schedules.items()),
        "as it happens" if one.real_time else "",
        "after each refresh" if one.on_refresh else "",
    ]
    told = ", ".join(filter(None, times)) or "by hand"
    return f"paused ({told})" if one.paused else told


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
    """Take the destination NAME out of mogul.yaml. Deletes nothing else; says what stays and what deletes it."""
    destination, file = project.destination(name), project.settings.file.name
    change = Change.of(project, lambda text: editing.without_entry(text, name))
    left = []
    for where, lies in (("there", destination.forget), ("here", lambda: _kept(project, name))):
        try:
            left += lies()
        except MogulError as error:
            click.echo(f"what lies {where} cannot be told now: {error}", err=True)
    if left:
        click.echo(f"what stays, and what deletes it once {name} is out of {file}:")
    for one in left:  # in no table: a command is copied whole
        click.echo(f"{one.what}\n  {one.remove}")
    if not yes:
        click.confirm(f"take {name} out of {file}?", abort=True, err=True)
    change.write()
    click.echo(f"{name} is out of {file}")
    click.echo(running.read_again(project.settings))
    return OK


def _kept(project: Project, name: str) -> list[Leftover]:
    """What of a destination is kept here."""
    from mogul_assets.cli.runs import instance  # noqa: PLC0415 - brings Dagster

    found, marks, place = [], project.store.root / WATERMARKS / name, project.settings.ledger
    if marks.exists():
        found.append(Leftover("in the store, what was delivered last", f"rm -r {quote(str(marks))}"))
    if place.url or (place.path and place.path.exists()):
        with project.ledger() as ledger:
            count = sum(ledger.counts(name).values())
            if count or any(one.name == name for one in ledger.known()):
                found.append(Leftover(f"in the ledger, {count:,} messages", f"mogul messages remove {name}"))
    with instance(project) as opened:
        keys = [quote(key.to_string()) for key in opened.get_asset_keys(prefix=[name])]
    if keys:
        wipe = f"DAGSTER_HOME={quote(str(project.home))} dagster asset wipe --noprompt {' '.join(keys)}"
        what = f"in Dagster, the history of {len(keys)} assets; its runs go by age ({project.settings.retention} days)"
        found.append(Leftover(what, wipe))
    return found


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
    return _told(pausing.pause(project.settings, name))


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
    return _told(pausing.resume(project.settings, name, project.ledger))


def _told(lines: Iterable[str]) -> int:
    for line in lines:
        click.echo(line)
    return OK
