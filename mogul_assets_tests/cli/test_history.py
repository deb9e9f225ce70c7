"""Dagster's SQLite files while a command runs."""

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from mogul_assets.cli.history import unhurried

NORMAL, FULL = 1, 2


@pytest.fixture
def engine(tmp_path):
    """As Dagster's: a file whose journal is written ahead, and a connection for each question."""
    engine = create_engine(f"sqlite:///{tmp_path}/runs.db", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("PRAGMA journal_mode = WAL"))
    return engine


def written(engine):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS events (id INTEGER)"))
        connection.execute(text("INSERT INTO events VALUES (1)"))
        return connection.execute(text("PRAGMA synchronous")).scalar()


def test_the_journal_stays_open_and_is_not_waited_for_while_a_command_runs(engine, tmp_path):
    with unhurried():
        assert written(engine) == NORMAL
        assert (tmp_path / "runs.db-wal").stat().st_size > 0
    assert not (tmp_path / "runs.db-wal").exists()


def test_afterwards_everything_is_written_and_as_it_was(engine):
    with unhurried():
        written(engine)
    assert written(engine) == FULL
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM events")).scalar() == 2


def test_a_database_in_memory_is_left_alone():
    with unhurried(), create_engine("sqlite://").connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
