"""A ledger in a file, and one on a PostgreSQL: what holds for messages holds in both."""

import pytest

from mogul_assets_tests.messages import ledgers


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.peer)])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield ledgers.url_of(tmp_path)
    else:
        with ledgers.database(request.getfixturevalue("peer")("redshift")) as url:
            yield url
