"""What Dagster loads: the assembly of assets, resources, jobs and automation, and nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from mogul_assets.automation.roles import Roles
from mogul_assets.automation.schedules import daily_refresh, deliveries_sensor, destination_schedule
from mogul_assets.automation.sensors import on_refresh_sensor, retries_sensor
from mogul_assets.automation.status import status_assets, status_sensor
from mogul_assets.destinations.base import Destination
from mogul_assets.destinations.configured import Misconfigured, configured
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
    unusable = {name for name, one in destinations.items() if isinstance(one, Misconfigured)}
    roles = Roles(entries, replaced=replaced, unusable=unusable)
    checks = [configuration_check(entry, destinations[name]) for name, entry in entries.items()]
    jobs = _Jobs(
        refresh=refresh_job(),
        deliver={name: deliver_job(entry) for name, entry in entries.items()},
        news=[news_job(list(roles.told.values()))] if roles.told else [],
        configuration=[configuration_job(checks)] if checks else [],
    )
    # Here, for sensors and schedules open the store by its path alone, whichever looks first.
    Store(settings.store.path).rename(settings.ledger.renamed)
    return dg.Definitions(
        assets=[_owned(settings, asset) for asset in _assets(settings, roles, destinations)],
        asset_checks=checks,
        resources={
            **common,
            **managers,
            TABLES: StoreTables(store=common["store"], since=str(settings.account.since)),
            **given,
        },
        jobs=[jobs.refresh, *jobs.news, *jobs.deliver.values(), *jobs.configuration, *operations(settings)],
        schedules=list(_schedules(settings, roles, jobs)),
        sensors=[
            *_sensors(settings, roles, jobs, destinations),
            *(configuration_sensor(job, checks, settings.file) for job in jobs.configuration),
        ],
        executor=dg.in_process_executor,
    )


@dataclass(frozen=True)
class _Jobs:
    """What schedules and sensors start; ``news`` and ``configuration`` are none or one."""

    refresh: Any
    deliver: Mapping[str, Any]
    news: Sequence[Any]
    configuration: Sequence[Any]


def _assets(settings: Settings, roles: Roles, destinations: Mapping[str, Destination]) -> Iterator[dg.AssetsDefinition]:
    since = settings.account.since
    yield from read_assets(since, settings.account.rates.provider)
    yield from dataset_assets(since)
    if any(one.real_time for one in roles.every.values()):
        yield news_asset()
    for name, entry in roles.apart.items():
        yield from (_kept_fresh(entry, asset) for asset in delivery_assets(entry, destinations[name], since))
    if roles.told:
        yield real_time_assets(list(roles.told.values()), destinations)
    for name, entry in roles.together.items():
        yield _kept_fresh(entry, together_assets(entry, destinations[name], since))
    if roles.ours:
        yield status_assets(list(roles.ours.values()), destinations, settings)


def _schedules(settings: Settings, roles: Roles, jobs: _Jobs) -> Iterator[dg.ScheduleDefinition]:
    store, since = settings.store.path, settings.account.since
    for entry in roles.scheduled.values():
        yield destination_schedule(entry, store, since, jobs.refresh)
    if roles.linking:
        yield expiry(list(roles.linking.values()))
    yield purge_schedule(LedgerResource.of(settings.ledger) if roles.messengers else None, settings.retention)
    if roles.told.keys() & roles.active.keys() and not roles.scheduled:
        yield daily_refresh(store, since, jobs.refresh)


def _sensors(
    settings: Settings, roles: Roles, jobs: _Jobs, destinations: Mapping[str, Destination]
) -> Iterator[dg.SensorDefinition]:
    store, since, deliver = settings.store.path, settings.account.since, list(jobs.deliver.values())
    if roles.scheduled:
        yield deliveries_sensor(roles.scheduled, store, since, deliver)
    for name, entry in roles.on_refresh.items():
        yield on_refresh_sensor(entry, store, since, jobs.deliver[name])
    if roles.awaited:
        yield news_sensor(
            roles.awaited,
            account=AccountResource.of(settings.account, store),
            ledger=LedgerResource.of(settings.ledger),
            store=store,
            since=since,
            jobs=[*jobs.news, *(jobs.deliver[name] for name in roles.awaited)],
        )
    if roles.active:
        yield retries_sensor(roles.active, store, since, deliver)
    if settings.alerts.channels:
        channels = {type_: configured(settings, entry) for type_, entry in settings.alerts.channels.items()}
        yield alerts_sensor(settings.alerts, channels, roles.every, destinations=destinations, store=store)
    if roles.ours:
        yield status_sensor(list(roles.ours.values()), destinations, settings)


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
