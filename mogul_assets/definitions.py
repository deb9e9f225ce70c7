"""What Dagster loads: the assembly of assets, resources, jobs and automation, and nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from mogul_assets.assets.common import AccountResource
from mogul_assets.assets.common import resources as shared_resources
from mogul_assets.assets.datasets import dataset_assets
from mogul_assets.assets.deliveries import (
    TABLES,
    DestinationIOManager,
    StoreTables,
    configuration_check,
    delivery_assets,
)
from mogul_assets.assets.messages import news_asset, real_time_assets, together_assets
from mogul_assets.assets.reads import read_assets
from mogul_assets.automation.alerts import alerts_sensor
from mogul_assets.automation.configuration import configuration_job, configuration_sensor
from mogul_assets.automation.freshness import freshness_policy
from mogul_assets.automation.jobs import deliver_job, expiry, news_job, refresh_job
from mogul_assets.automation.news import news_sensor
from mogul_assets.automation.operations import operations
from mogul_assets.automation.retention import purge_schedule
from mogul_assets.automation.schedules import daily_refresh, deliveries_sensor, destination_schedule
from mogul_assets.automation.sensors import on_refresh_sensor, retries_sensor
from mogul_assets.automation.status import status_assets, status_sensor
from mogul_assets.destinations.configured import LINKS, Misconfigured, configured
from mogul_assets.destinations.messenger import LedgerResource
from mogul_assets.errors import ConfigurationError
from mogul_assets.settings import Entry, Settings, load
from mogul_assets.store.store import Store


def build_definitions(settings: Settings, *, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Everything that Dagster needs to know of these settings; connects to nothing.

    Args:
        settings: what ``mogul.yaml`` says.
        resources: take the place of those made from the settings, by name. A resource of a ``dagster-*`` library
            under a destination's name is what that destination connects with; an IO manager or a ``Destination``
            takes its place.
    """
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    since = settings.account.since
    entries, given = dict(settings.destinations), dict(resources or {})
    own = {name: given.pop(name) for name in entries if isinstance(given.get(name), dg.ConfigurableResource)}
    common = {**shared_resources(settings), **given}
    destinations = {name: configured(settings, entry, own.get(name), own) for name, entry in entries.items()}
    managers = {
        name: DestinationIOManager(destination=destination, store=common["store"], guard=entries[name].guard)
        for name, destination in destinations.items()
    }
    # An IO manager of one's own is handed what an asset of its own returns.
    replaced = given.keys() & entries.keys()
    for name in replaced:
        if entries[name].choice:  # nobody is to believe that it leaves out what is left out
            raise ConfigurationError(
                f"{', '.join(entries[name].choice)}: an IO manager of your own takes the place of '{name}'",
                remedy="take them out of its entry: what it writes is its own affair",
            )
    told = [one for name, one in entries.items() if one.real_time and name not in replaced]
    together = [one for name, one in entries.items() if one.habits.together and name not in replaced]
    usable = {name for name, one in destinations.items() if not isinstance(one, Misconfigured)} - replaced
    messengers = {name: one for name, one in entries.items() if one.habits.messages and name in usable}
    apart = [one for one in entries.values() if one not in told and one not in together]
    linking = [one for one in together if one.options.get(LINKS) and one.name in usable]
    channels = {type_: configured(settings, entry) for type_, entry in settings.alerts.channels.items()}
    refresh = refresh_job()
    deliveries = {name: deliver_job(entry) for name, entry in entries.items()}
    news = [news_job(told)] if told else []
    active = {name: entry for name, entry in entries.items() if not entry.paused}
    scheduled = {name: entry for name, entry in active.items() if entry.timetables}
    awaited = {name: entry for name, entry in messengers.items() if name in active}
    checks = [configuration_check(entry, destinations[name]) for name, entry in entries.items()]
    configuration = configuration_job(checks) if checks else None
    store = settings.store.path
    observed = [one for name, one in entries.items() if name not in replaced]
    known_by = (observed, destinations, store, LedgerResource.of(settings.ledger))
    Store(store).rename(settings.ledger.renamed)
    sensors = [
        *([deliveries_sensor(scheduled, store, since, list(deliveries.values()))] if scheduled else []),
        *(on_refresh_sensor(one, store, since, deliveries[name]) for name, one in active.items() if one.on_refresh),
        *(
            [
                news_sensor(
                    awaited,
                    account=AccountResource.of(settings.account, store),
                    ledger=LedgerResource.of(settings.ledger),
                    store=store,
                    since=since,
                    jobs=[*news, *(deliveries[name] for name in awaited)],
                )
            ]
            if awaited
            else []
        ),
        *([retries_sensor(active, store, since, list(deliveries.values()))] if active else []),
        *(
            [alerts_sensor(settings.alerts, channels, entries, destinations=destinations, store=store)]
            if channels
            else []
        ),
        *([configuration_sensor(configuration, settings.digest)] if configuration else []),
        *([status_sensor(*known_by)] if observed else []),
    ]
    assets = [
        *read_assets(since),
        *dataset_assets(since),
        *([news_asset()] if any(one.real_time for one in entries.values()) else []),
        *(
            _kept_fresh(entry, asset)
            for entry in apart
            for asset in delivery_assets(entry, destinations[entry.name], since)
        ),
        *([real_time_assets(told, destinations)] if told else []),
        *(_kept_fresh(entry, together_assets(entry, destinations[entry.name], since)) for entry in together),
        *([status_assets(*known_by)] if observed else []),
    ]
    return dg.Definitions(
        assets=[_owned(settings, asset) for asset in assets],
        asset_checks=checks,
        resources={
            **common,
            **managers,
            TABLES: StoreTables(store=common["store"], since=str(since)),
            **given,
        },
        jobs=[
            refresh,
            *news,
            *deliveries.values(),
            *([configuration] if configuration else []),
            *operations(settings),
        ],
        schedules=[
            *(destination_schedule(entry, store, since, refresh) for entry in scheduled.values()),
            *([expiry(linking)] if linking else []),
            purge_schedule(LedgerResource.of(settings.ledger) if messengers else None, settings.retention),
            *([daily_refresh(store, since, refresh)] if any(not one.paused for one in told) and not scheduled else []),
        ],
        sensors=sensors,
        executor=dg.in_process_executor,
    )


def _kept_fresh(entry: Entry, asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """The deliveries with what their destination's schedule promises: their health in the UI."""
    return asset.map_asset_specs(
        lambda spec: spec.replace_attributes(freshness_policy=freshness_policy(entry, spec.key.path[-1]))
    )


def _owned(settings: Settings, asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """The assets with who looks after them: a destination's own owners, or those of everything."""

    def owners(key: dg.AssetKey) -> list[str]:
        entry = settings.destinations.get(key.path[0])
        return list((entry.owners if entry else ()) or settings.owners)

    return asset.map_asset_specs(lambda spec: spec.replace_attributes(owners=owners(spec.key)))


@dg.definitions
def mogul_assets() -> dg.Definitions:
    return build_definitions(load())
