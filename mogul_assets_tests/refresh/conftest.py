from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from mogul_assets.sandbox import NO_LIMITS, Sandbox, generate, serve
from mogul_assets.store.store import Store
from mogul_assets_tests.refresh import runs

NOW = datetime(2026, 3, 20, 9, tzinfo=UTC)


@pytest.fixture(scope="session")
def company():
    return generate(now=NOW, customers=40, years=2.0)


@pytest.fixture(scope="session")
def rates():
    with runs.quoting() as provider:
        yield provider


@pytest.fixture
def sandbox(company):
    """An account of one's own, to break and to change."""
    return Sandbox(company, limits=NO_LIMITS)


@pytest.fixture
def serving(sandbox):
    with serve(sandbox) as served:
        yield served


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def refresh_now(store, serving, rates):
    """A refresh of the account as it is, at its own time; each a second after the one before."""
    seconds = count()

    def refresh(into=store, **how):
        now = runs.moment_of(serving.sandbox.company) + timedelta(seconds=next(seconds))
        return runs.refreshed(into, serving.url, now, rates=rates, **how)

    return refresh


@pytest.fixture
def full_read(refresh_now, tmp_path):
    """What another store holds that reads the account for the first time."""

    def read():
        other = Store(tmp_path / "other")
        refresh_now(into=other)
        return other

    return read
