"""``mogul backfill``: past months of the datasets that are kept by month."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import dagster as dg

from mogul_assets.assets.datasets import key
from mogul_assets.assets.deliveries import delivery_key
from mogul_assets.assets.reads import GROUP
from mogul_assets.automation.jobs import REFRESH, deliver_job_name, partition_range
from mogul_assets.catalog.columns import Dataset
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.window import Month
from mogul_assets.cli import Command, pretend, shown
from mogul_assets.cli.project import MONTH, Project, pass_project
from mogul_assets.cli.runs import Ran, instance, run
from mogul_assets.cli.sync import allowing_loss, deliveries, due, told
from mogul_assets.settings import Entry

WINDOWED: tuple[Dataset, ...] = tuple(dataset for dataset in DATASETS.values() if dataset.window is not None)
READ = (
    dg.AssetKey([GROUP, "account"]),
    *(dg.AssetKey([GROUP, dataset.read]) for dataset in WINDOWED),
    *(key(dataset) for dataset in WINDOWED),
)
"""What a month is read for: its reads, and what is settled from them."""


@click.command(
    cls=Command,
    examples={
        "mogul backfill --from 2024-01 --to 2024-06": "half a year again, everywhere",
        "mogul backfill warehouse --from 2024-01 --to 2024-06 --no-refresh": "as the store has it, to one",
    },
)
@click.argument("destinations", nargs=-1)
@click.option("--from", "first", type=MONTH, required=True, help="The first month, like 2024-01.")
@click.option("--to", "last", type=MONTH, required=True, help="The last month, included.")
@click.option("--refresh/--no-refresh", "reread", default=True, show_default=True, help="Read the months again first.")
@click.option("--allow-loss", is_flag=True, help="Deliver this once, however many rows of the months are gone.")
@shown.json_option
@pass_project
def command(
    project: Project,
    destinations: tuple[str, ...],
    *,
    first: Month,
    last: Month,
    reread: bool,
    allow_loss: bool,
    as_json: bool,
) -> int:
    """Read months of the account again, and deliver exactly those to DESTINATIONS (all that are not paused).

    Only for datasets kept by month (mrr_movements, currency_rates); all others are delivered whole by every
    sync. Months are UTC; the first month of the account takes everything older, the current one everything later.
    """
    messengers = [name for name in destinations if not project.settings.entry(name).partitioned]
    if messengers:
        raise click.UsageError(f"{messengers[0]} sends messages: history is sent by  mogul replay {messengers[0]}")
    since, this = project.settings.account.since, Month.of(datetime.now(UTC))
    if not since <= first <= last <= this:
        raise click.UsageError(f"{first} to {last} is no span of months between {since} and {this}")
    entries = due([one for one in project.entries(destinations) if one.partitioned], named=bool(destinations))
    tags = partition_range(first, last)

    def deliver(on: dg.DagsterInstance, entry: Entry) -> Ran:
        assets = [delivery_key(entry, dataset.name) for dataset in WINDOWED if dataset.name in entry.datasets]
        job = deliver_job_name(entry.name)
        config = allowing_loss(entry) if allow_loss else {}
        return run(project, on, job, tags, assets, config=config) if assets else Ran(job, ok=True, outcome="done")

    with pretend.account(project), instance(project) as on:
        ran = [run(project, on, REFRESH, tags, READ)] if reread else []
        if all(one.ok for one in ran):
            ran += deliveries(project, on, entries, deliver)
    return told(ran, as_json=as_json)
