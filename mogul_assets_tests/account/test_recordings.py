"""What was recorded of the live API goes through the client as it came."""

import json
from pathlib import Path

import pytest
from aiohttp import web

from mogul_assets.account import answers
from mogul_assets.account.lists import LISTS
from mogul_assets.account.reader import Account
from mogul_assets.catalog.metrics import MonthlyMrr
from mogul_assets.catalog.window import BEGINNING, Month, Window
from mogul_assets_tests.account.peers import Basket, answering, connected

RECORDINGS = Path(__file__).parents[3] / "shared" / "fixtures"
pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason=f"no recordings at {RECORDINGS}")


def recorded(name):
    return (RECORDINGS / name).read_bytes()


@pytest.mark.parametrize(
    ("listing", "file", "rows", "more"),
    [
        ("customers", "customers.json", 1, True),
        ("customers", "customers.page2.json", 1, True),
        ("contacts", "contacts.json", 1, True),
        ("plans", "plans.page1.json", 1, True),
        ("invoices", "invoices.page1.json", 1, True),
        ("subscription_events", "subscription_events.page1.json", 1, True),
        ("activities", "activities.page1.json", 1, True),
        ("activities", "activities.per_page2.json", 2, True),
    ],
)
def test_a_recorded_page_tells_its_rows_and_whether_there_is_more(listing, file, rows, more):
    envelope = LISTS[listing].decode(recorded(file))
    entries = next(value for value in json.loads(recorded(file)).values() if isinstance(value, list))
    assert [row.key for row in envelope.rows] == [entry[LISTS[listing].key] for entry in entries]
    assert (len(envelope.rows), envelope.has_more, bool(envelope.cursor)) == (rows, more, True)


def test_pages_land_to_the_byte():
    """The two recorded pages of activities: the second answers the cursor, so it stands for what comes after."""
    pages = [recorded("activities.page1.json"), recorded("activities.page2.json").replace(b"true", b"false")]

    async def handler(request):
        first = "start-after" not in request.query
        if not first:
            assert request.query["start-after"] == json.loads(pages[0])["entries"][0]["uuid"]
        return web.Response(body=pages[0 if first else 1])

    basket = Basket()
    with answering(handler) as peer, connected(peer.url) as client:
        Account(client, since=Month(2010, 1)).read("activities", basket, window=Window(BEGINNING, None), serial=True)
    assert [page.body for page in basket.pages] == pages


def test_the_account_of_2021_had_no_id():
    async def handler(request):
        return web.Response(body=recorded("account.json"))

    with answering(handler) as peer, connected(peer.url) as client:
        info = Account(client, since=Month(2010, 1)).info()
    assert (info.id, info.currency, info.time_zone) == (None, "EUR", "Europe/Berlin")


def test_the_recorded_figures_are_months():
    async def handler(request):
        assert dict(request.query) == {"start-date": "2022-04-01", "end-date": "2022-05-31", "interval": "month"}
        return web.Response(body=recorded("metrics_mrr.json"))

    with answering(handler) as peer, connected(peer.url) as client:
        april, may = Account(client, since=Month(2010, 1)).monthly_mrr(Month(2022, 4), Month(2022, 5))
    assert april == MonthlyMrr(Month(2022, 4).start.date(), 68604881, 865500, 2386603, -508125, -1660000, 230000)
    assert may.mrr == 68954549


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("error_401_ping.json", "No valid API key provided"),
        ("error_404_data_source.json", "Data source not found"),
        ("error_422_plan_group.json", "Name can't be blank Plan ids can't be blank"),
        ("error_500_ping.txt", "500 Internal Server Error"),
    ],
)
def test_the_words_of_a_recorded_error_are_found(file, said):
    assert answers.message(recorded(file)) == said
