"""Every DuckDB of ours, the destination's file included, is opened in one way."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pyarrow as pa
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


class _Stopped(BaseException):
    """What the handler of Ctrl-C raises here, as Dagster's does."""


@pytest.fixture
def handler():
    def stop(_number, _frame):
        raise _Stopped

    before = signal.signal(signal.SIGINT, stop)
    yield stop
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("handler")
def test_ctrl_c_during_a_query_is_no_error_that_somebody_takes_for_a_failure():
    sender = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(_Stopped), connect() as connection:  # noqa: PT012 - the signal is to meet the query
        sender.start()
        connection.execute("SELECT count(DISTINCT hash(range)) FROM range(20000000)").fetchall()


@pytest.mark.usefixtures("handler")
def test_nor_is_it_one_where_duckdb_asks_python_for_rows():
    rows = pa.table({"mrr": [1]})

    def batches():
        yield from rows.to_batches()
        signal.raise_signal(signal.SIGINT)
        yield from rows.to_batches()

    with pytest.raises(_Stopped), connect(threads=1) as connection:  # noqa: PT012 - rows are asked for by the second
        connection.register("movements", pa.RecordBatchReader.from_batches(rows.schema, batches()))
        connection.execute("SELECT sum(mrr) FROM movements").fetchall()


def test_afterwards_ctrl_c_is_handled_as_before(handler):
    with connect():
        pass
    assert signal.getsignal(signal.SIGINT) is handler


def test_another_error_stays_what_it_is():
    with pytest.raises(RuntimeError, match="not ours"), connect():
        raise RuntimeError("not ours")


def test_beside_the_main_thread_nobody_handles_signals():
    def one():
        with connect() as connection:
            return connection.execute("SELECT 1").fetchall()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(one).result() == [(1,)]
