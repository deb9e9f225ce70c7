"""``mogul messages``: what the ledger remembers of every message."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime

import click

from mogul_assets.cli import OK, Command, Group, shown
from mogul_assets.cli.project import Project, pass_project
from mogul_assets.errors import ConfigurationError, DataRefused
from mogul_assets.messages.ledger import Record
from mogul_assets.messages.message import State

STATES = [state.value for state in State]
state_option = click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Only those; may be repeated."
)


@click.group(
    cls=Group,
    examples={
        "mogul messages list": "the newest, of all destinations",
        "mogul messages show msg_4f1c…": "one, with what it says and every try",
        "mogul messages retry hook --state failed": "try again what was given up",
        "mogul messages export hook > hook.csv": "all of them, for a spreadsheet",
        "mogul messages remove hook": "what is left of a destination that is gone",
    },
)
def command() -> None:
    """What was said to whom, what waits for its next try, and what was left out and why."""


@command.command(
    name="list",
    cls=Command,
    short_help="The newest messages.",
    examples={
        "mogul messages list hook --state waiting": "what waits for its next try",
        "mogul messages list --state 'left out'": "what was never sent, and why",
    },
)
@click.argument("destination", required=False)
@state_option
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="How many, the newest first.")
@shown.json_option
@pass_project
def list_(project: Project, destination: str | None, *, states: tuple[str, ...], limit: int, as_json: bool) -> int:
    """Show messages of DESTINATION, or of all: what became of each, and when the next try is due. No customer data."""
    _known(project, destination)
    with project.ledger() as opened:
        found = list(opened.records(destination, [State(each) for each in states], limit=limit))
        counts = opened.counts(destination) if destination else {}
    if as_json:
        shown.as_json([_plain(each) for each in found])
        return OK
    shown.table(
        ("message", "destination", "what", "about", "state", "tries:", "enqueued", "next try", "why"),
        (
            (
                one.id,
                one.destination,
                one.kind,
                one.subject,
                one.state,
                one.attempts,
                _moment(one.enqueued_at),
                _moment(one.due_at) if one.state is State.WAITING else "",
                _why(one),
            )
            for one in found
        ),
    )
    if counts:
        click.echo(", ".join(f"{count:,} {state.value}" for state, count in sorted(counts.items())))
    return OK


def _why(one: Record) -> str:
    if one.restated_amount is not None and one.restated_amount != one.movement_amount:
        return f"{one.reason or ''} restated: {one.movement_amount} is {one.restated_amount} cents now".strip()
    return one.reason or ""


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


@command.command(
    cls=Command,
    short_help="One message, whole.",
    examples={"mogul messages show msg_4f1c…": "what it says, and what each try was answered"},
)
@click.argument("message")
@shown.json_option
@pass_project
def show(project: Project, message: str, *, as_json: bool) -> int:
    """Show MESSAGE with its payload, which is customer data, and every try with its answer."""
    with project.ledger() as opened:
        one = opened.record(message)
    if as_json:
        shown.as_json(_plain(one))
        return OK
    facts = asdict(replace(one, payload=None, tries=()))
    shown.table(("", ""), ((name, value) for name, value in facts.items() if value not in (None, ())))
    if one.tries:
        rows = ((t.attempt, _moment(t.at), f"{t.seconds:.2f}", t.status, t.answer) for t in one.tries)
        shown.table(("try:", "at", "seconds:", "status", "answer"), rows, title="\nTries")
    if one.payload is not None:
        click.echo("\n" + one.payload.decode(errors="replace"))
    return OK


@command.command(
    cls=Command,
    short_help="Try again what came to an end.",
    examples={
        "mogul messages retry msg_4f1c…": "one, or several",
        "mogul messages retry hook --state failed": "everything that was given up, of one destination",
    },
)
@click.argument("which", nargs=-1, required=True, metavar="MESSAGE… | DESTINATION")
@state_option
@pass_project
def retry(project: Project, which: tuple[str, ...], *, states: tuple[str, ...]) -> int:
    """Let messages be sent again, the same bytes under the same id: by their ids, or all of a destination in --state.

    They are due at once: the sensor news sends them, or  mogul sync DESTINATION. What was left out for its size, or
    because it came late, stays so.
    """
    with project.ledger() as opened:
        ids = list(which)
        if not which[0].startswith("msg_"):
            if len(which) > 1 or not states:
                raise click.UsageError("a destination goes with --state, such as --state failed")
            _known(project, which[0])
            ids = [one.id for one in opened.records(which[0], [State(each) for each in states])]
        again = opened.retry(ids, datetime.now(UTC))
    click.echo(f"{again:,} of {len(ids):,} messages are due now")
    if ids and not again:
        raise DataRefused("none of them can be sent again", remedy="look at their states: mogul messages list")
    return OK


@command.command(
    cls=Command,
    short_help="All messages as CSV.",
    examples={"mogul messages export hook > hook.csv": "one line a message, without what it says"},
)
@click.argument("destination", required=False)
@state_option
@click.option("--payloads", is_flag=True, help="Also what they say: customer data.")
@pass_project
def export(project: Project, destination: str | None, *, states: tuple[str, ...], payloads: bool) -> int:
    """Write the messages of DESTINATION, or of all, to stdout as CSV."""
    _known(project, destination)
    with project.ledger() as opened:
        _csv(opened.records(destination, [State(each) for each in states], payloads=payloads), payloads=payloads)
    return OK


@command.command(
    cls=Command,
    short_help="Forget those of a destination that is gone.",
    examples={"mogul messages remove hook": "after  mogul destinations remove hook"},
)
@click.argument("destination")
@pass_project
def remove(project: Project, destination: str) -> int:
    """Remove all messages of DESTINATION, which is in mogul.yaml no more. One of its name begins anew."""
    if destination in project.settings.destinations:
        raise ConfigurationError(
            f"{destination} is in {project.settings.file.name}: what it was told would be told again",
            remedy=f"mogul destinations remove {destination}",
        )
    _known(project, destination)
    with project.ledger() as opened:
        click.echo(f"{opened.remove(destination):,} messages of {destination} are removed")
    return OK


def _csv(records: Iterable[Record], *, payloads: bool) -> None:
    writer = None
    for one in records:
        row = _plain(one)
        row.pop("tries")
        if not payloads:
            row.pop("payload")
        if writer is None:
            writer = csv.DictWriter(sys.stdout, row, lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)


def _plain(one: Record) -> dict[str, object]:
    payload = one.payload.decode(errors="replace") if one.payload is not None else None
    return {**asdict(one), "payload": payload}


def _known(project: Project, destination: str | None) -> None:
    """Raises where nobody knows the destination: neither the file nor, of one that is gone, the ledger."""
    if destination is not None and destination not in project.settings.destinations:
        with project.ledger() as opened:
            if destination not in {one.name for one in opened.known()}:
                project.settings.entry(destination)
