"""An account as its readers see it: its lists by name, its own facts, its own figures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from mogul_assets.account.chains import ListReading, together
from mogul_assets.account.client import Client, Refusal, Tally
from mogul_assets.account.landing import Landing, Progress, ReadSummary
from mogul_assets.account.lists import LISTS, PAGE_ROWS, SINGLES, Listing
from mogul_assets.account.pages import Page, PageSink
from mogul_assets.account.timeline import Timeline
from mogul_assets.catalog.metrics import MonthlyMrr
from mogul_assets.catalog.window import BEGINNING, Month, Window
from mogul_assets.errors import AccountRefused


@dataclass(frozen=True, slots=True)
class AccountInfo:
    """The account. Older recordings of ``/account`` have no id."""

    name: str
    currency: str
    """ISO 4217; of every calculated amount."""
    time_zone: str
    """A name of the tz database; the days of ChartMogul's own figures are in it."""
    id: str | None = None

    @property
    def zone(self) -> ZoneInfo:
        """The time zone itself. Raises ``AccountRefused`` where this machine has none of that name."""
        try:
            return ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise AccountRefused(
                f"the account's time zone '{self.time_zone}' is not known on this machine",
                remedy="update its tzdata package",
            ) from None


class DataSource(msgspec.Struct, frozen=True):
    """What reading needs to know of a data source."""

    uuid: str
    name: str | None = None
    system: str | None = None
    status: str | None = None


class _Sources(msgspec.Struct):
    data_sources: list[DataSource]


class _Metric(msgspec.Struct):
    date: date
    mrr: int = 0
    new_business: int = msgspec.field(name="mrr-new-business", default=0)
    expansion: int = msgspec.field(name="mrr-expansion", default=0)
    contraction: int = msgspec.field(name="mrr-contraction", default=0)
    churn: int = msgspec.field(name="mrr-churn", default=0)
    reactivation: int = msgspec.field(name="mrr-reactivation", default=0)


class _Metrics(msgspec.Struct):
    entries: list[_Metric]


class _Count(msgspec.Struct):
    customers: int = 0


class _Counts(msgspec.Struct):
    entries: list[_Count]


class _Entries(msgspec.Struct):
    entries: list[dict[str, Any]]


NOT_FOUND = 404
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_ENTRIES = msgspec.json.Decoder(_Entries).decode
_ACCOUNT = msgspec.json.Decoder(AccountInfo).decode
_SOURCES = msgspec.json.Decoder(_Sources).decode
_METRICS = msgspec.json.Decoder(_Metrics).decode
_COUNTS = msgspec.json.Decoder(_Counts).decode
_SINGLE: Mapping[str, Callable[[bytes], AccountInfo | _Sources]] = {"account": _ACCOUNT, "data_sources": _SOURCES}


class Account:
    """Synchronous reading of one account; may be used from several threads, which share the client's limits.

    Every verb raises ``AccountRefused`` where the account says no, and ``AccountUnavailable`` where it gave no
    good answer in the time allowed.

    Args:
        client: the connection.
        since: the first month that is kept; a window that begins with it takes everything older too.
    """

    def __init__(self, client: Client, *, since: Month) -> None:
        self.client = client
        self.since = since

    def __repr__(self) -> str:
        return f"<Account at {self.client.url}>"

    def info(self) -> AccountInfo:
        return self.client.run(self.client.fetch("/account", {}, _ACCOUNT)).value

    def data_sources(self) -> list[DataSource]:
        return self.client.run(self._sources(Tally()))

    def read(
        self,
        name: str,
        sink: PageSink,
        *,
        window: Window | None = None,
        progress: Progress | None = None,
        serial: bool = False,
    ) -> ReadSummary:
        """Land one read, in parallel where the list can be divided.

        Pages go to the sink as they came, from the calling thread, in the order of their ``sequence``. Parts
        that are read in parallel may overlap at their seams, and activities come for a day around the window.

        Args:
            name: a name of ``catalog.reads.READS``, other than the exchange rates.
            window: for ``activities``, and for nothing else.
            sink: where pages land. Its errors end the read.
            progress: told of rows as they land.
            serial: one chain of pages, as the API's documentation has it.

        Raises:
            AccountInconsistent: a list changed under the reading more often than it is begun again.
            ValueError: no such read, or a window where there is none to have.
        """
        if name not in LISTS and name not in SINGLES:
            raise ValueError(f"there is no read '{name}'; there are {', '.join([*SINGLES, *LISTS])}")
        if (window is not None) != (name == "activities"):
            raise ValueError(f"'{name}' is read {'by a window' if window is None else 'whole'}")
        landing = Landing(name)
        if name in SINGLES:
            work = self._read_single(name, landing)
        elif window is not None:
            work = Timeline(self.client, landing).read(self._from_since(window), serial=serial)
        else:
            work = self._read_list(name, landing, serial=serial)
        landing.drain(self.client, work, sink, progress)
        return landing.summary()

    def read_new(
        self, name: str, sink: PageSink, *, known: Collection[int], progress: Progress | None = None
    ) -> ReadSummary:
        """Land what is new in a list whose newest rows come first, as ``read`` does with the whole.

        Args:
            name: a list with ``newest_first``.
            known: digests of the rows that are there already (``Listing.keys``).
            sink: where pages land.
            progress: told of rows as they land.

        Raises:
            NeedsWhole: that cannot be told; what landed is not enough.
        """
        landing = Landing(name)
        landing.drain(self.client, self._read_new(name, landing, known), sink, progress)
        return landing.summary()

    def count(self, name: str, **part: str) -> int | None:
        """How many rows a list, or the part that a filter gives, has; ``None`` where the account does not say.

        One request.
        """
        return self.client.run(ListReading(self.client, LISTS[name], Landing(name)).count(part))

    def customers(self, uuids: Sequence[str]) -> list[Page]:
        """Single customers, each as a page of the customer list; one that is gone has none. One request each."""
        return [page for page in self.singly(uuids).values() if page is not None]

    def singly(self, uuids: Sequence[str]) -> dict[str, Page | None]:
        """The same by uuid; ``None`` for one that is gone."""
        return dict(zip(uuids, self.client.run(self._customers(uuids)), strict=True))

    async def _customers(self, uuids: Sequence[str]) -> list[Page | None]:
        return await together(self._customer(uuid, place) for place, uuid in enumerate(uuids))

    async def _customer(self, uuid: str, place: int) -> Page | None:
        try:
            answer = await self.client.fetch(f"/customers/{quote(uuid, safe='')}", {}, _OBJECT)
        except Refusal as refusal:
            if refusal.status == NOT_FOUND:
                return None
            raise
        return Page("customers", b'{"entries":[' + answer.body + b"]}", place, answer.taken_at)

    def pulse(self, start: datetime, end: datetime) -> str:
        """A digest of the newest movements between two moments (at most 200); one request.

        It is the same while they are, whatever ids they are given meanwhile.
        """
        params = {
            "start-date": start.isoformat(),
            "end-date": end.isoformat(),
            "order": "-date",
            "per_page": str(PAGE_ROWS),
        }
        entries = self.client.run(self.client.fetch(LISTS["activities"].path, params, _ENTRIES)).value.entries
        rows = sorted(msgspec.json.encode({**entry, "uuid": None}, order="sorted") for entry in entries)
        return hashlib.sha256(b"\n".join(rows)).hexdigest()[:32]

    def monthly_mrr(self, first: Month, last: Month) -> list[MonthlyMrr]:
        """ChartMogul's own figures, from ``/metrics/mrr``, for each month from first to last; one request.

        Months are in the account's time zone.
        """
        params = {
            "start-date": f"{first.start:%Y-%m-%d}",
            "end-date": f"{last.plus(1).start - timedelta(days=1):%Y-%m-%d}",
            "interval": "month",
        }
        entries = self.client.run(self.client.fetch("/metrics/mrr", params, _METRICS)).value.entries
        return [
            MonthlyMrr(
                entry.date.replace(day=1),
                entry.mrr,
                entry.new_business,
                entry.expansion,
                entry.contraction,
                entry.churn,
                entry.reactivation,
            )
            for entry in entries
        ]

    def today(self, today: date) -> tuple[int, int]:
        """MRR in cents and number of paying customers, as ``/metrics`` has them today; two requests."""
        params = {"start-date": f"{today:%Y-%m-%d}", "end-date": f"{today:%Y-%m-%d}", "interval": "day"}
        mrr = self.client.run(self.client.fetch("/metrics/mrr", params, _METRICS)).value.entries
        count = self.client.run(self.client.fetch("/metrics/customer-count", params, _COUNTS)).value.entries
        return (mrr[-1].mrr if mrr else 0, count[-1].customers if count else 0)

    def _from_since(self, window: Window) -> Window:
        return Window(BEGINNING, window.end) if window.start <= self.since.start else window

    async def _read_single(self, name: str, landing: Landing) -> None:
        path, params = SINGLES[name]
        answer = await self.client.fetch(path, params, _SINGLE[name], tally=landing.tally)
        rows = len(answer.value.data_sources) if isinstance(answer.value, _Sources) else 1
        await landing.land(answer, rows, {})

    async def _read_list(self, name: str, landing: Landing, *, serial: bool) -> None:
        listing = LISTS[name]
        shards = listing.shards or await self._source_shards(listing, landing.tally)
        await ListReading(self.client, listing, landing).read(shards, serial=serial)

    async def _read_new(self, name: str, landing: Landing, known: Collection[int]) -> None:
        listing = LISTS[name]
        # One chain has the fewest requests; but what rows do not say of themselves, only the filter does.
        shards = {} if listing.shards else await self._source_shards(listing, landing.tally)
        await ListReading(self.client, listing, landing, known).read_new(shards)

    async def _source_shards(self, listing: Listing, tally: Tally) -> Mapping[str, str]:
        if listing.shard_by != "data_source_uuid":
            return {}
        return {source.uuid: source.uuid for source in await self._sources(tally)}

    async def _sources(self, tally: Tally) -> list[DataSource]:
        path, params = SINGLES["data_sources"]
        return (await self.client.fetch(path, params, _SOURCES, tally=tally)).value.data_sources
