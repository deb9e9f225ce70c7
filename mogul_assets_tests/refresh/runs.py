"""Whole runs without Dagster, step by step as its assets take them, and what there is to compare afterwards."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from importlib import resources
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from aiohttp import web

from mogul_assets import refresh
from mogul_assets.account.client import Client
from mogul_assets.account.rates import EcbRates, RateProvider
from mogul_assets.account.reader import Account
from mogul_assets.assets.common import StoreResource
from mogul_assets.assets.deliveries import deliver
from mogul_assets.automation.jobs import RANGE_END, RANGE_START, deliver_range
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.window import BEGINNING, Month, Window
from mogul_assets.destinations.base import Destination
from mogul_assets.refresh import incremental
from mogul_assets.sandbox import Company
from mogul_assets.store.store import Store
from mogul_assets.store.table import DataFile, new_generation
from mogul_assets_tests.account.peers import EAGER, answering

SINCE = Month(2024, 1)
WHOLE = ("data_sources", "plans", "customers", "contacts", "invoices", "subscription_events")
"""The reads of a snapshot, in an order in which what is referred to comes first."""


def moment_of(company: Company) -> datetime:
    return datetime.fromtimestamp(company.now, UTC)


def refreshed(
    store: Store,
    url: str,
    now: datetime,
    *,
    rates: RateProvider,
    since: Month = SINCE,
    settled_at: datetime | None = None,
    quarantine_limit: float = 0.01,
    full_read: str = "always",
) -> dict[str, refresh.Refreshed]:
    """One refresh of the account at ``url``, as of ``now``; what each step settled, by read or dataset.

    ``settled_at`` is when the activities are settled: later, where the run crosses a month's end. ``full_read`` is the
    setting of that name.
    """
    generation = new_generation(now)
    steps: dict[str, refresh.Refreshed] = {}
    with closing(Client(url, "sandbox", EAGER)) as client, store.writing():
        account = Account(client, since=since)
        _land_lists(store, account, generation, now, full_read)
        info = refresh.known_account(store)
        changed = refresh.account_changed(store, info)
        windows = {
            read: Window(BEGINNING, None)
            if changed is not None
            else Window.months(refresh.coverage(store, read, since=since, now=now), None, since=since)
            for read in ("exchange_rates", "activities")
        }
        refresh.land(store, account, "activities", generation=generation, window=windows["activities"], now=now)
        refresh.land_rates(
            store,
            rates,
            base=info.currency,
            generation=generation,
            window=windows["exchange_rates"],
            today=now.date(),
            now=now,
        )
        for read in WHOLE:
            steps[read] = refresh.settle_read(store, read, generation=generation, quarantine_limit=quarantine_limit)
        steps["currency_rates"] = refresh.settle_rates(store, generation=generation, quarantine_limit=quarantine_limit)
        steps["mrr_movements"] = refresh.settle_movements(
            store,
            account,
            info,
            generation=generation,
            quarantine_limit=quarantine_limit,
            now=settled_at or now,
        )
        steps["customers"] = refresh.settle_customers(
            store, account, info, generation=generation, now=settled_at or now
        )
    return steps


def listed(
    store: Store, url: str, now: datetime, *, full_read: str, quarantine_limit: float = 0.01
) -> dict[str, refresh.Refreshed]:
    """The part of a refresh that reads the lists: a third of its work."""
    generation = new_generation(now)
    with closing(Client(url, "sandbox", EAGER)) as client, store.writing():
        _land_lists(store, Account(client, since=SINCE), generation, now, full_read)
        return {
            read: refresh.settle_read(store, read, generation=generation, quarantine_limit=quarantine_limit)
            for read in WHOLE
        }


def _land_lists(store: Store, account: Account, generation: str, now: datetime, full_read: str) -> None:
    refresh.land(store, account, "account", generation=generation, now=now)
    changed = refresh.account_changed(store, refresh.known_account(store))
    for read in sorted(WHOLE, key="customers".__eq__):
        why = changed or incremental.whole_because(store, read, full_read=full_read, now=now)
        incremental.land(store, account, read, generation=generation, why=why, now=now)


def delivered(
    store: Store, destination: Destination, now: datetime, *, since: Month = SINCE, names: Sequence[str] = (*DATASETS,)
) -> None:
    """Every dataset to one destination, of windowed ones the months that a scheduled run covers."""
    tags = deliver_range(store, destination.name, names, since, now)
    first, last = Month.parse(tags[RANGE_START]), Month.parse(tags[RANGE_END])
    for name in names:
        months = (first, last) if DATASETS[name].window is not None else (None, None)
        table = store.table(name, *months, since=since)
        assert table is not None, f"{name} was never settled"
        deliver(destination, table, StoreResource(path=str(store.root), quarantine_limit=0.01))


def rows(store: Store, dataset: str) -> list[dict[str, Any]]:
    """What the store holds of a dataset, in its order."""
    table = store.table(dataset)
    assert table is not None, f"{dataset} was never settled"
    return pa.Table.from_batches(table.batches(), table.schema).to_pylist()


def contents(store: Store, dataset: str) -> dict[str, str]:
    """The checksums of a dataset's files, by month; every byte of it."""
    table = store.table(dataset)
    assert table is not None, f"{dataset} was never settled"
    return {str(file.month or ""): file.sha256 for file in table.files}


def documents(entries: Sequence[Any]) -> list[dict[str, Any]]:
    """What the pretend company holds, as a reader of JSON sees it."""
    return [json.loads(msgspec.json.encode(entry.document)) for entry in entries]


def rows_of_file(file: DataFile) -> list[dict[str, Any]]:
    return pq.ParquetFile(file.path).read().to_pylist()


@contextmanager
def quoting(
    since: date = date(2023, 12, 20), currencies: Sequence[str] = ("USD", "GBP", "SEK", "CHF")
) -> Iterator[RateProvider]:
    """The ECB's rates over HTTP: its real archive, cut to some years and currencies."""
    archive = resources.files("currency_converter").joinpath("eurofxref-hist.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        lines = list(csv.DictReader(io.StringIO(files.read(files.namelist()[0]).decode())))
    text = io.StringIO()
    writer = csv.DictWriter(text, ["Date", *currencies], extrasaction="ignore")
    writer.writeheader()
    writer.writerows(line for line in lines if line["Date"] >= f"{since}")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as files:
        files.writestr("eurofxref-hist.csv", text.getvalue())

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=packed.getvalue(), content_type="application/zip")

    with answering(handler) as peer:
        yield EcbRates(f"{peer.url}/eurofxref-hist.zip", EAGER)
