"""``mogul replay``: past movements, sent as messages."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from mogul_assets.cli import OK, Command
from mogul_assets.cli.project import Project, pass_project
from mogul_assets.destinations.configured import sending_messages
from mogul_assets.refresh import news
from mogul_assets.store.table import new_generation

DAY = click.DateTime(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@click.command(
    cls=Command,
    examples={
        "mogul replay hook --from 2026-01-01 --to 2026-02-01": "January, after saying how many that are",
        "mogul replay hook --from 2026-01-01 --to 2026-02-01 --yes": "for a script: without asking",
    },
)
@click.argument("destination")
@click.option("--from", "start", type=DAY, required=True, help="The first moment, UTC: 2026-01-01.")
@click.option("--to", "end", type=DAY, required=True, help="The moment after the last, UTC.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_project
def command(project: Project, destination: str, *, start: datetime, end: datetime, yes: bool) -> int:
    """Send the movements between two moments to DESTINATION, as the store has them; says first how many those are.

    A message that was sent before is sent as it was, under its own id, so that the receiver can tell. They are
    due at once: the sensor news sends them, or  mogul sync DESTINATION.
    """
    start, end = start.replace(tzinfo=UTC), end.replace(tzinfo=UTC)
    if start >= end:
        raise click.UsageError(f"{start:%Y-%m-%d} is not before {end:%Y-%m-%d}")
    instead = f"deliver past months again: mogul backfill {destination} --from … --to …"
    place = sending_messages(project.destination(destination), instead=instead)
    table = news.past_news(project.store, start, end, generation=new_generation())
    counted = place.replay(table, only_count=True)
    total = counted.new + counted.again
    click.echo(
        f"{total:,} messages: {counted.new:,} that were never told, {counted.again:,} that were and are sent again "
        f"as they were; {counted.left_out:,} movements are never sent"
    )
    if not total:
        return OK
    if not yes:
        click.confirm(f"Send them to {destination}?", abort=True)
    place.replay(table)
    click.echo(f"{total:,} messages are due now")
    return OK
