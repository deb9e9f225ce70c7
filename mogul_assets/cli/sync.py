"""``mogul sync``: one refresh, then a run for each destination; what ``demo`` and ``backfill`` share with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import click
import dagster as dg

from mogul_assets.assets.deliveries import NEWS_ASSET, configuration_problem, delivery_key
from mogul_assets.assets.reads import READ_LISTS
from mogul_assets.automation.jobs import (
    NEWS,
    REFRESH,
    deliver_job_name,
    delivery_tags,
    partition_range,
    refresh_range,
)
from mogul_assets.catalog.window import Month
from mogul_assets.cli import FAILED, OK, Command, pretend, shown
from mogul_assets.cli.project import Project, pass_project
from mogul_assets.cli.runs import Ran, instance, run
from mogul_assets.cli.status import states
from mogul_assets.settings import Entry


@click.command(
    cls=Command,
    examples={
        "mogul sync": "everything, everywhere",
        "mogul sync warehouse": "one destination",
        "mogul sync --full": "every list and the whole history again",
        "mogul sync warehouse --allow-loss": "what was held back because many rows are gone",
    },
)
@click.argument("destinations", nargs=-1)
@click.option("--full", is_flag=True, help="Every list whole, and the whole history again, from account.since on.")
@click.option("--allow-loss", is_flag=True, help="Deliver this once, however many rows of a dataset are gone.")
@shown.json_option
@pass_project
def command(project: Project, destinations: tuple[str, ...], *, full: bool, allow_loss: bool, as_json: bool) -> int:
    """Refresh the account, then deliver to DESTINATIONS (all that are not paused, where none is named).

    Reads and delivers what is needed: of what is kept by month the current month, the last, and whatever was
    missed; of lists what is new, and all when that is due. Each delivery is a run of its own, which Dagster's UI
    shows; one that fails stops no other. Where the refresh fails, nothing is delivered.
    """
    entries = due(project.entries(destinations), named=bool(destinations))
    return told(synced(project, entries, full=full, allow_loss=allow_loss), as_json=as_json)


def due(entries: Sequence[Entry], *, named: bool) -> list[Entry]:
    """Those to deliver to: one that is paused only where it is named, and else a line on stderr says so."""
    paused = [] if named else [entry.name for entry in entries if entry.paused]
    if paused:
        click.echo(f"paused, and left out: {', '.join(paused)} (deliver all the same by naming it)", err=True)
    return [entry for entry in entries if entry.name not in paused]


def allowing_loss(entry: Entry) -> dict[str, Any]:
    """The run's configuration with which its ``guard`` lets everything through."""
    return {"resources": {entry.name: {"config": {"allow_loss": True}}}}


def synced(project: Project, entries: Sequence[Entry], *, full: bool = False, allow_loss: bool = False) -> list[Ran]:
    """Refresh, and deliver where that went well. With the sandbox account, one runs meanwhile."""
    since = project.settings.account.since

    def whole() -> dict[str, str]:
        return partition_range(since, Month.of(datetime.now(UTC)))

    def deliver(on: dg.DagsterInstance, entry: Entry) -> Ran:
        if entry.real_time:  # what is told as it happens is told of what was read for it
            assets = [NEWS_ASSET, *(delivery_key(entry, name) for name in entry.datasets)]
            return run(project, on, NEWS, {}, assets)
        missing = delivery_tags(project.store, entry, entry.datasets, since, datetime.now(UTC))
        config = allowing_loss(entry) if allow_loss else {}
        tags = whole() if full and missing else missing
        return run(project, on, deliver_job_name(entry.name), tags, config=config)

    with pretend.account(project), instance(project) as on:
        unread = refresh_range(project.store, since, datetime.now(UTC))
        config = {"ops": {READ_LISTS: {"config": {"full": full}}}}
        refreshed = run(project, on, REFRESH, whole() if full else unread, config=config)
        return [refreshed, *(deliveries(project, on, entries, deliver) if refreshed.ok else ())]


def deliveries(
    project: Project,
    on: dg.DagsterInstance,
    entries: Sequence[Entry],
    deliver: Callable[[dg.DagsterInstance, Entry], Ran],
) -> list[Ran]:
    """A run for each destination. One that is configured wrong is not started, and says why.

    Where what failed is to be tried again and nobody is there who would, a warning says so.
    """

    def one(entry: Entry) -> Ran:
        problem = configuration_problem(project.destination(entry.name))
        if problem is not None:
            return Ran(deliver_job_name(entry.name), problems=(problem,))
        ran = deliver(on, entry)
        if ran.ok or not any(state.due_at for state in states(project, entry.name)) or _watched(on):
            return ran
        alone = f"{entry.name}: no daemon runs that tries it again → mogul ui, or: mogul sync {entry.name}"
        return replace(ran, warnings=(*ran.warnings, alone))

    return [one(entry) for entry in entries]


def _watched(on: dg.DagsterInstance) -> bool:
    """Whether Dagster's daemon runs, whose sensor ``retries`` does what a failure says is done."""
    return all(daemon.healthy for daemon in on.get_daemon_statuses().values())


def told(ran: Sequence[Ran], *, as_json: bool = False, quiet: bool = False) -> int:
    """Show how the runs went, each problem on a line of stderr, and give the exit code."""
    if as_json:
        shown.as_json(ran)
    elif not quiet:
        rows = [(one.job, one.outcome, f"{one.seconds:.1f}", one.run_id[:8]) for one in ran]
        shown.table(("run", "", "seconds:", "id"), rows)
        for warning in (warning for one in ran for warning in one.warnings):
            click.echo(f"warning: {warning}")
    for problem in (problem for one in ran for problem in one.problems):
        click.echo(f"mogul: {problem}", err=True)
    return OK if all(one.ok for one in ran) else FAILED
