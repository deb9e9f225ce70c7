"""What is told as messages: the news, the deliveries that tell them as they happen, and those of one mail.

Unpartitioned, all of them: no backfill can send a message twice. History is sent by a replay only.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from mogul_assets.assets.common import AccountResource, StoreResource, failures, generation_of, raise_together
from mogul_assets.assets.datasets import column_schema, key
from mogul_assets.assets.deliveries import (
    ATTEMPT,
    DESTINATION,
    KINDS,
    NEWS_ASSET,
    DestinationIOManager,
    as_it_arrives,
    cannot_run,
    concerns,
    delivery_key,
    metadata_of,
    past,
    tell,
)
from mogul_assets.catalog.datasets import DATASETS, MOVEMENT_NEWS
from mogul_assets.catalog.window import Month
from mogul_assets.destinations.base import Delivered, Destination
from mogul_assets.errors import DestinationDisabled
from mogul_assets.refresh import news, standing
from mogul_assets.settings import Entry
from mogul_assets.store.store import group_of
from mogul_assets.store.table import Table

REAL_TIME = "real_time"
STARTED_BY_SENSOR = "dagster/sensor_name"
"""Dagster's own tag of a run that nobody started by hand."""


def news_asset() -> dg.AssetsDefinition:
    """``internal/movement_news``: read by itself, whatever else reads the account at this moment."""

    @dg.asset(
        key=NEWS_ASSET,
        group_name=MOVEMENT_NEWS.group.value,
        description=MOVEMENT_NEWS.description,
        kinds={"chartmogul"},
        deps=[dg.AssetKey(["account", "account"]), dg.AssetKey(["source_data", "source_customers"])],
        metadata={"dagster/column_schema": column_schema(MOVEMENT_NEWS)},
    )
    def movement_news(
        context: dg.AssetExecutionContext, account: AccountResource, store: StoreResource
    ) -> dg.MaterializeResult[Any]:
        with failures():
            opened = store.open()
            table = news.read_news(opened, account.open(), generation=generation_of(context), now=datetime.now(UTC))
            pointer = opened.pointer(group_of(MOVEMENT_NEWS))
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": table.rows,
                "read at": dg.MetadataValue.timestamp(table.read_at),
                "generation": table.generation,
                **(pointer.facts if pointer is not None else {}),
            }
        )

    return movement_news


def real_time_assets(entries: Sequence[Entry], destinations: Mapping[str, Destination]) -> dg.AssetsDefinition:
    """``<destination>/mrr_movements`` of everything that is told as it happens: one step, a thread for each.

    In steps of their own, one after the other, a receiver that takes its time would hold up all behind it.
    """

    @dg.multi_asset(
        name=REAL_TIME,
        specs=[
            _spec(entry, name, NEWS_ASSET, "every movement, as it happens", destinations[entry.name])
            for entry in entries
            for name in entry.datasets
        ],
        can_subset=True,
        required_resource_keys={"store", *(entry.name for entry in entries)},
    )
    def told(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        selected = {key.path[0] for key in context.selected_asset_keys}
        wanted = [entry for entry in entries if entry.name in selected]
        concerns(context.instance, context.run, *(entry.name for entry in wanted))
        errors: dict[str, Exception] = {}
        with failures():
            tables = [standing(context.resources.store.open(), MOVEMENT_NEWS.name)]
            with ThreadPoolExecutor(len(wanted) or 1) as pool:
                begun = {pool.submit(_told, context, entry, tables, entry.datasets): entry for entry in wanted}
                for done in as_completed(begun):
                    entry = begun[done]
                    try:
                        delivered = done.result()
                    except DestinationDisabled as error:
                        # The run that disabled it failed, and that once is enough to be told by night.
                        if STARTED_BY_SENSOR not in context.run.tags:
                            errors[entry.name] = error
                        context.log.warning(str(error))
                        continue
                    except Exception as error:  # noqa: BLE001 - of one destination: the others are told
                        errors[entry.name] = error
                        continue
                    for name in entry.datasets:
                        metadata = metadata_of(delivered, tables[0])
                        yield dg.MaterializeResult(asset_key=delivery_key(entry, name), metadata=metadata)
        raise_together(errors)

    return told


def together_assets(entry: Entry, destination: Destination, since: Month) -> dg.AssetsDefinition:
    """``<destination>/<dataset>`` of a destination that tells its datasets in one message: one step, all or none.

    A part of them by hand would be taken for the period's message, and the whole would not follow.
    """

    @dg.multi_asset(
        name=f"{entry.name}_together",
        specs=[
            _spec(entry, name, key(DATASETS[name]), f"{name}, in one message with the others", destination)
            for name in entry.datasets
        ],
        required_resource_keys={"store", entry.name},
    )
    def told(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        concerns(context.instance, context.run, entry.name)
        with failures():
            tables = [standing(context.resources.store.open(), name, since=since) for name in entry.datasets]
            delivered = _told(context, entry, tables, entry.datasets)
        for name, table in zip(entry.datasets, delivered.sent, strict=True):
            metadata = {**metadata_of(delivered, table), "dagster/row_count": table.rows}
            yield dg.MaterializeResult(asset_key=delivery_key(entry, name), metadata=metadata)

    return told


def _spec(entry: Entry, dataset: str, upstream: dg.AssetKey, what: str, destination: Destination) -> dg.AssetSpec:
    problem, (_, shape) = cannot_run(destination), as_it_arrives(destination, DATASETS[dataset])
    return dg.AssetSpec(
        delivery_key(entry, dataset),
        deps=[upstream],
        skippable=True,
        group_name=entry.name,
        description=f"To {entry.name} ({entry.type}): {what}.{past(entry, dataset)}{problem}",
        kinds={KINDS.get(entry.type, entry.type)},
        tags={DESTINATION: entry.name},
        metadata={"dagster/column_schema": column_schema(shape)},
    )


def _told(
    context: dg.AssetExecutionContext, entry: Entry, tables: Sequence[Table], datasets: Sequence[str]
) -> Delivered:
    manager = getattr(context.resources, entry.name)
    if not isinstance(manager, DestinationIOManager):
        raise TypeError(f"{entry.name} is an IO manager of your own: it gets assets of its own, not these")
    again = ATTEMPT in context.run.tags
    return tell(manager.destination, tables, context.resources.store, datasets, again=again)
