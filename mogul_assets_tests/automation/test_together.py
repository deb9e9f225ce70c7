"""Four destinations at once, through Dagster's own daemon: one reading of the account, and none waits for another."""

import json
import shutil
from datetime import UTC, datetime

import pytest

from mogul_assets.automation.schedules import last_tick
from mogul_assets_tests.automation.daemon import daemon
from mogul_assets_tests.peers.faults import FaultProxy
from mogul_assets_tests.project import NOW, Project

HEALTHY = {
    "one": {"type": "duckdb", "path": "out/one.duckdb", "datasets": ["plans", "mrr_movements"]},
    "two": {"type": "files", "path": "out/two", "datasets": ["customers", "currency_rates"]},
}
MORE = {
    "three": {"type": "duckdb", "path": "out/three.duckdb", "datasets": ["tags"]},
    "four": {"type": "files", "path": "out/four", "datasets": ["contacts"], "on_refresh": True},
}
GRACE_SECONDS = 60
"""By how much two destinations that are not there may hold up two that are."""


@pytest.fixture
def place(tmp_path, monkeypatch, serving):
    """Makes folders with a ``mogul.yaml`` of their own and these destinations, all of them due at once."""

    def make(name, destinations):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setenv("MOGUL_FILE", str(folder / "mogul.yaml"))
        monkeypatch.setenv("DAGSTER_HOME", str(folder))
        entries = {name: {"schedule": "daily", **options} for name, options in destinations.items()}
        account = {"sandbox": True, "since": f"{NOW.year}-01"}
        return Project(folder, None, serving, json.dumps({"account": account, "destinations": entries}, indent=1))

    return make


def test_four_destinations_at_once_cost_one_reading_of_the_account(place, stored):
    project = place("four", HEALTHY | MORE)
    entries = project.settings.destinations
    (tick,) = {last_tick(one, datetime.now(UTC)) for entry in entries.values() for one in entry.timetables}
    with daemon(project.folder) as running:
        running.tick(tick)
        running.finish()
        running.sense()
        running.finish()
        ran = sorted(run.job_name for run in running.runs() if run.is_success)
    assert ran == ["configuration", "deliver_four", "deliver_one", "deliver_three", "deliver_two", "refresh"]
    assert sorted(request.path for request in project.serving.requests) == stored.asked


def test_two_destinations_that_do_not_answer_hold_up_no_other(place, stored, serving, monkeypatch):
    monkeypatch.setenv("NOT_THERE", "s3cret-4711")
    secret = {"env": "NOT_THERE"}
    port = int(serving.url.rpartition(":")[2].partition("/")[0])

    def seconds(name, destinations):
        """What the healthy ones took, and the marks of all."""
        project = place(name, destinations)
        shutil.copytree(stored.root, project.store.root)
        with daemon(project.folder) as running:
            running.sense()
            running.finish("deliver_one", "deliver_two")
            took = max(running.took("deliver_one"), running.took("deliver_two"))
            running.finish()
        return took, project

    alone, _ = seconds("alone", HEALTHY)
    with FaultProxy(port) as hole:
        hole.black_hole = True
        silent = {
            "redshift": {
                "type": "redshift", "host": "127.0.0.1", "port": hole.port, "database": "d", "user": "u",
                "password": secret, "bucket": "b", "region": "eu-west-1", "role": "default", "sslmode": "disable",
            },
            "snowflake": {
                "type": "snowflake", "account": "a", "user": "u", "password": secret, "database": "D",
                "connection_args": {"host": "127.0.0.1", "port": hole.port, "protocol": "http"},
            },
        }  # fmt: skip
        together, project = seconds("together", HEALTHY | {k: {**v, "datasets": ["tags"]} for k, v in silent.items()})
        assert hole.connections >= len(silent)
    assert together <= alone + GRACE_SECONDS
    for name in silent:
        mark = project.store.watermark(name, "tags")
        assert mark.transient, mark.error
        assert mark.due_at is not None
    assert [path for path in project.folder.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()] == []
