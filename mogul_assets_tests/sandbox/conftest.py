from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from mogul_assets.sandbox import NO_LIMITS, Sandbox, generate, serve

NOW = datetime(2026, 10, 20, 9, tzinfo=UTC)
RECORDINGS = Path(__file__).parents[3] / "shared" / "fixtures"


class Reader:
    """A key holder with one kept connection."""

    def __init__(self, url, key="sandbox"):
        self.url = url
        self.session = requests.Session()
        self.session.auth = (key, "")

    def get(self, path, **query):
        query = {name.replace("__", "-"): value for name, value in query.items()}
        return self.session.get(self.url + path, params=query, timeout=20)

    def json(self, path, **query):
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def pages(self, path, **query):
        """Every page, following the cursor until has_more is false."""
        page = self.json(path, **query)
        yield page
        while page["has_more"]:
            page = self.json(path, **query, cursor=page["cursor"])
            yield page

    def rows(self, path, root="entries", **query):
        return [row for page in self.pages(path, **query) for row in page[root]]

    def activities(self, **query):
        """Every activity, anchored on the last one received."""
        page = self.json("/activities", **query)
        rows = page["entries"]
        while page["has_more"]:
            page = self.json("/activities", **query, start__after=rows[-1]["uuid"])
            rows += page["entries"]
        return rows


@pytest.fixture(scope="session")
def company():
    return generate(now=NOW, customers=150)


@pytest.fixture(scope="session")
def tame():
    return generate(now=NOW, customers=150, wild=False)


@pytest.fixture(scope="session")
def account(company):
    """A reader of an account that nobody changes."""
    with serve(Sandbox(company, limits=NO_LIMITS)) as serving:
        yield Reader(serving.url)


@pytest.fixture
def serving(company):
    """An account of one's own, to break and to change."""
    with serve(Sandbox(company, limits=NO_LIMITS)) as served:
        yield served


@pytest.fixture
def reader(serving):
    return Reader(serving.url)
