"""What Dagster loads: the assembly of assets, resources, jobs and automation, and nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from mogul_assets.assets.common import resources as shared_resources
from mogul_assets.assets.datasets import dataset_assets
from mogul_assets.assets.deliveries import (
    TABLES,
    DestinationIOManager,
    StoreTables,
    configuration_check,
    delivery_assets,
)
from mogul_assets.assets.reads import read_assets
from mogul_assets.automation.jobs import deliver_job, operations, refresh_job
from mogul_assets.automation.schedules import deliveries_sensor, destination_schedule
from mogul_assets.destinations.configured import configured
from mogul_assets.settings import Settings, load


def build_definitions(settings: Settings, *, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Everything that Dagster needs to know of these settings; connects to nothing.

    Args:
        settings: what ``mogul.yaml`` says.
        resources: take the place of those made from the settings, by name.
    """
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    since = settings.account.since
    common = {**shared_resources(settings), **(resources or {})}
    entries = dict(settings.destinations)
    destinations = {name: configured(settings, entry) for name, entry in entries.items()}
    managers = {
        name: DestinationIOManager(destination=destination, store=common["store"])
        for name, destination in destinations.items()
    }
    refresh = refresh_job()
    deliveries = {name: deliver_job(entry) for name, entry in entries.items()}
    scheduled = {name: entry for name, entry in entries.items() if entry.schedule}
    return dg.Definitions(
        assets=[
            *read_assets(since),
            *dataset_assets(since),
            *(asset for name, entry in entries.items() for asset in delivery_assets(entry, destinations[name], since)),
        ],
        asset_checks=[configuration_check(entry, destinations[name]) for name, entry in entries.items()],
        resources={
            **common,
            **managers,
            TABLES: StoreTables(store=common["store"], since=str(since)),
            **(resources or {}),
        },
        jobs=[refresh, *deliveries.values(), *(operations(entries, since) if entries else [])],
        schedules=[destination_schedule(entry, settings.store.path, since, refresh) for entry in scheduled.values()],
        sensors=[deliveries_sensor(scheduled, settings.store.path, since, list(deliveries.values()))]
        if scheduled
        else [],
        executor=dg.in_process_executor,
    )


@dg.definitions
def mogul_assets() -> dg.Definitions:
    return build_definitions(load())
