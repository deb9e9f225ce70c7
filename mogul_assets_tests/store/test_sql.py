"""Every DuckDB of ours, the destination's file included, is opened in one way."""

import os
import signal
import threading
import time

import duckdb
import pytest

from mogul_assets.store.sql import connect


@pytest.fixture
def elsewhere(monkeypatch):
    """A machine in Tokyo."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("elsewhere")
def test_moments_are_utc_wherever_the_machine_is():
    with connect() as connection:
        assert connection.sql("SELECT make_timestamptz(0)::VARCHAR").fetchall() == [("1970-01-01 00:00:00+00",)]


def test_no_extension_is_fetched():
    with connect() as connection, pytest.raises(duckdb.Error, match="Install it first"):
        connection.sql("FROM sqlite_scan('none.db', 'none')")


def test_a_file_may_be_opened_for_reading_alone_with_further_settings(tmp_path):
    with connect(tmp_path / "here.duckdb") as connection:
        connection.execute("CREATE TABLE plan AS SELECT 1")
    with connect(tmp_path / "here.duckdb", read_only=True, threads=1) as connection:
        assert connection.sql("SELECT current_setting('threads')").fetchall() == [(1,)]
        with pytest.raises(duckdb.InvalidInputException, match="read-only"):
            connection.execute("DROP TABLE plan")


def test_ctrl_c_during_a_query_is_no_error_that_somebody_takes_for_a_failure(stopping):
    with pytest.raises(KeyboardInterrupt), connect() as connection:  # noqa: PT012 - the signal meets the query
        stopping.start()
        connection.execute("SELECT count(DISTINCT hash(range)) FROM range(40000000)").fetchall()


@pytest.fixture
def stopping():
    """A signal to come, whose handler raises an error of its own."""

    def stopped(_number, _frame):
        raise InterruptedError

    before = signal.signal(signal.SIGUSR1, stopped)
    sender = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
    yield sender
    sender.cancel()
    signal.signal(signal.SIGUSR1, before)


def test_another_error_stays_what_it_is():
    with pytest.raises(RuntimeError, match="not ours"), connect():
        raise RuntimeError("not ours")
