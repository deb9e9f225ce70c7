"""``mogul destinations``: what there is, what each must be allowed, and whether it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import click

from mogul_assets import schema as described
from mogul_assets.assets.deliveries import configuration_problem, discreet
from mogul_assets.cli import FAILED, OK, Command, Group, entries, shown
from mogul_assets.cli.project import Project, pass_project
from mogul_assets.destinations import TYPES, load_type
from mogul_assets.destinations.base import Destination
from mogul_assets.destinations.configured import Misconfigured
from mogul_assets.errors import ConfigurationError
from mogul_assets.settings import Entry


@dataclass(frozen=True)
class Listed:
    """One destination of the file. ``problem`` is what keeps it from being used."""

    name: str
    type: str
    datasets: tuple[str, ...]
    schedule: str | None
    schedules: Mapping[str, str]
    time_zone: str
    real_time: bool
    on_refresh: bool
    problem: str | None
    paused: bool = False


@dataclass(frozen=True)
class Grants:
    """What gives a destination the rights that it needs; ``example`` where its names are not those of the file."""

    of: str
    example: bool
    grants: str


@click.group(
    cls=Group,
    examples={
        "mogul destinations list": "which there are",
        "mogul destinations grants warehouse": "what to grant one of them",
        "mogul destinations test warehouse": "whether it is granted",
    },
)
def command() -> None:
    """The destinations of mogul.yaml: which there are, what they must be allowed, and whether they are.

    What changes mogul.yaml keeps its comments and its order.
    """


@command.command(
    "list",
    cls=Command,
    short_help="What is in mogul.yaml, and when it is delivered to.",
    examples={"mogul destinations list": "all of the file", "mogul destinations list --json": "for a script"},
)
@shown.json_option
@pass_project
def list_(project: Project, *, as_json: bool) -> int:
    """Show the destinations of mogul.yaml: type, datasets, and when they are delivered to. Connects to nothing.

    Ends with 1 where an entry cannot be used as it is.
    """
    listed = [
        Listed(
            entry.name,
            entry.type,
            entry.datasets,
            entry.schedule,
            entry.schedules,
            entry.time_zone,
            entry.real_time,
            entry.on_refresh,
            configuration_problem(project.destination(entry.name)),
            entry.paused,
        )
        for entry in project.settings.destinations.values()
    ]
    if as_json:
        shown.as_json(listed)
    else:
        shown.table(
            ("name", "type", "datasets:", "when", "problem"),
            ((one.name, one.type, len(one.datasets), entries.when(one), one.problem) for one in listed),
        )
    return FAILED if any(one.problem for one in listed) else OK


@command.command(
    cls=Command,
    short_help="What gives one the least rights that it needs, to copy.",
    examples={
        "mogul destinations grants snowflake": "of a type, with names to replace",
        "mogul destinations grants warehouse": "of yours, with its own names",
    },
)
@click.argument("which", metavar="NAME-OR-TYPE")
@shown.json_option
@pass_project
def grants(project: Project, which: str, *, as_json: bool) -> int:
    """Print what gives a destination the least rights that it needs: the SQL or the policy, to copy.

    For a NAME of mogul.yaml with its own names in it; for a TYPE with those of an example. Connects to nothing.
    """
    destination, example = _meant(project, which)
    found = Grants(which, example, destination.grants())
    if as_json:
        shown.as_json(found)
    else:
        click.echo(found.grants)
    return OK


def _meant(project: Project, which: str) -> tuple[Destination, bool]:
    """The destination of that name, or an example of that type. A name of the file goes before a type's."""
    try:
        names = project.settings.destinations
    except ConfigurationError:
        if which not in TYPES:
            raise
        names = {}  # a type can be read about before there is a file
    if which in names:
        return project.destination(which), False
    if which in TYPES:
        kind = load_type(which)
        return kind(name=which, **kind.EXAMPLE), True
    raise ConfigurationError(
        f"there is no destination and no type '{which}'",
        remedy=f"destinations: {', '.join(names) or 'none'}; types: {', '.join(TYPES)}",
    )


@command.command(
    cls=Command,
    short_help="Reach one, and try what it must let us do.",
    examples={
        "mogul destinations test warehouse": "reach it, and try everything that it must let us do",
        "mogul destinations test warehouse --json": "for a script",
        "mogul destinations test slack --send": "and send one message that says it is a test",
    },
)
@click.argument("name")
@click.option("--send", is_flag=True, help="Also send one message that says it is a test, where it sends messages.")
@shown.json_option
@pass_project
def test(project: Project, name: str, *, send: bool, as_json: bool) -> int:
    """Reach the destination NAME and try, permission by permission, what it must let us do. Delivers nothing.

    What is tried is undone. Ends with 1 where something is not allowed, and says what would allow it.
    """
    destination = project.destination(name)
    with discreet(destination):
        permissions = destination.check()
    if as_json:
        shown.as_json(permissions)
    else:
        entries.show_permissions(permissions)
    fine = all(one.problem is None for one in permissions)
    if send and fine:
        with discreet(destination):
            proven = destination.prove()
        click.echo(proven)
    return OK if fine else FAILED


@dataclass(frozen=True)
class Arrived:
    """What a delivery last achieved; ``delivered_at`` is UTC."""

    dataset: str
    delivered_at: datetime | None
    rows: int
    error: str | None


@dataclass(frozen=True)
class Shown:
    """All that is known of a destination without connecting to it. ``settings`` are as in the file."""

    name: str
    type: str
    when: str
    paused: bool
    settings: Mapping[str, Any]
    capabilities: Mapping[str, Any]
    problem: str | None
    deliveries: tuple[Arrived, ...]


@command.command(
    cls=Command,
    short_help="All of one: settings, what it can take, last deliveries.",
    examples={
        "mogul destinations show warehouse": "all of it",
        "mogul destinations show warehouse --json": "for a script",
    },
)
@click.argument("name")
@shown.json_option
@pass_project
def show(project: Project, name: str, *, as_json: bool) -> int:
    """Show the destination NAME: settings, schedule, what its type can take, and what last arrived.

    Secrets are shown by the names of their variables. Connects to nothing. Ends with 1 where it cannot be used.
    """
    entry, destination = project.settings.entry(name), project.destination(name)
    problem = configuration_problem(destination)
    marks = [(dataset, project.store.watermark(name, dataset)) for dataset in entry.datasets]
    found = Shown(
        name,
        entry.type,
        entries.when(entry),
        entry.paused,
        {key: _discreet(destination, value) for key, value in {**entry.options, **entry.choice}.items()},
        {} if problem else {key: value for key, value in asdict(destination.capabilities).items() if value is not None},
        problem,
        tuple(Arrived(dataset, mark.delivered_at, mark.rows, mark.error) for dataset, mark in marks),
    )
    if as_json:
        shown.as_json(found)
        return FAILED if problem else OK
    rows = {
        "type": found.type,
        "when": found.when,
        **(found.settings if problem else {key: found.settings[key] for key in entry.options}),
        **({} if problem else _chosen(entry, destination)),
        **{f"can take: {key}": value for key, value in found.capabilities.items()},
        **({"problem": problem} if problem else {}),
    }
    shown.table((name, ""), rows.items())
    shown.table(
        ("dataset", "last success", "rows:", "last error"),
        ((one.dataset, shown.age(one.delivered_at), f"{one.rows:,}", one.error) for one in found.deliveries),
        title="\nlast deliveries",
    )
    return FAILED if problem else OK


def _chosen(entry: Entry, destination: Destination) -> Mapping[str, Any]:
    """What it gets of its datasets, in the words of ``preview``."""
    choice = destination.chooses
    told = {name: {"table": choice.name(name), **choice.told(name)} for name in entry.datasets if choice.told(name)}
    said = {f"{name}: {what}": text for name, one in told.items() for what, text in one.items() if what != "dataset"}
    return said | ({"salt": choice.columns.salt.model_dump()} if choice.columns.salt else {})


def _discreet(destination: Destination, value: Any) -> Any:
    """The setting as in the file. Where that cannot be used it may hold a secret in its own letters."""
    if not isinstance(destination, Misconfigured) or (isinstance(value, dict) and set(value) == {"env"}):
        return value
    return "…"


@command.command(
    cls=Command,
    short_help="mogul.yaml as a JSON schema, for editors.",
    examples={
        "mogul destinations schema > mogul.schema.json": "to keep beside mogul.yaml",
        "# yaml-language-server: $schema=mogul.schema.json": "the line of mogul.yaml that names it",
    },
)
def schema() -> int:
    """Print mogul.yaml as a JSON schema: an editor completes with it, and marks what is wrong.

    It is docs/mogul.schema.json of the repository; the first line of mogul.yaml names it.
    """
    click.echo(described.text(), nl=False)
    return OK


for each in (entries.add, entries.edit, entries.pause, entries.resume, entries.remove):
    command.add_command(each)
