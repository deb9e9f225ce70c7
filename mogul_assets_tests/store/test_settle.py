"""Settling: rows unique by key and sorted by it, in files that are the same bytes for the same rows."""

import pytest

from mogul_assets.store import settle


@pytest.fixture
def connection(tmp_path):
    with settle.database(tmp_path / "scratch") as connection:
        yield connection


def test_moments_are_kept_in_utc(connection):
    assert connection.execute("SELECT current_setting('TimeZone')").fetchone() == ("UTC",)
