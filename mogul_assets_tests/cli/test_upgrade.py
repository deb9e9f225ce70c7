"""What an earlier version wrote is brought up to date by the first command; what a newer one wrote is refused."""

import dagster as dg
import pytest
import sqlalchemy as sa
from alembic import command
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.sql import get_alembic_config

from mogul_assets.cli import upgrade
from mogul_assets.cli.project import Project
from mogul_assets.cli.runs import instance
from mogul_assets.errors import ConfigurationError

DATABASES = {"history/runs.db": sqlite_run_storage, "history/runs/index.db": sqlite_event_log}


def version(database):
    with sa.create_engine(f"sqlite:///{database}").connect() as connection:
        return connection.scalar(sa.text("SELECT version_num FROM alembic_version"))


@pytest.fixture
def kept(place):
    """The folder of an instance that was used."""
    with dg.DagsterInstance.from_config(str(place.folder)) as instance:
        instance.get_runs(limit=1)
    return place.folder


def written_by(folder, revision):
    """Let every database have the version, and the tables, of an earlier one."""
    for name, storage in DATABASES.items():
        with sa.create_engine(f"sqlite:///{folder / name}").begin() as connection:
            config = get_alembic_config(storage.__file__)
            config.attributes["connection"] = connection
            command.downgrade(config, revision)


@pytest.fixture
def opened(place, kept, monkeypatch):
    """Opens the instance as every command does that runs something, and ``mogul ui`` before Dagster starts."""
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)

    def opening():
        with instance(Project(kept / "mogul.yaml")) as on:
            return on.get_runs(limit=1)

    return opening


def test_the_tables_of_an_earlier_dagster_are_brought_up_to_date_once(kept, opened, capsys):
    heads = {name: version(kept / name) for name in DATABASES}
    written_by(kept, "-3")
    assert all(version(kept / name) != head for name, head in heads.items())
    opened()
    assert "Dagster's tables are brought up to date" in capsys.readouterr().err
    assert {name: version(kept / name) for name in DATABASES} == heads
    opened()
    assert capsys.readouterr().err == ""


def test_another_dagster_than_the_last_looks_again(kept, opened):
    assert upgrade.due(kept)
    opened()
    assert not upgrade.due(kept)
    (kept / "history/dagster-version").write_text("1.0.0")
    assert upgrade.due(kept)


def test_the_tables_of_a_newer_dagster_are_refused_in_one_line(kept, opened):
    with sa.create_engine(f"sqlite:///{kept / 'history/runs.db'}").begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'of_tomorrow'"))
    with pytest.raises(ConfigurationError, match="was written by a newer Dagster than"):
        opened()
    assert upgrade.due(kept)
