"""The commands on a small account, from nothing to two destinations."""

import json
import os
import re
import signal
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import duckdb
import msgspec
import pytest
from dagster._daemon.types import DaemonHeartbeat

from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.window import BEGINNING, Window
from mogul_assets.refresh.incremental import told
from mogul_assets.settings import load
from mogul_assets.store.store import Store
from mogul_assets_tests.cli.conftest import DESTINATIONS, SANDBOX, SINCE, THIS, complaint


def store_of(place):
    return Store(load(place.folder / "mogul.yaml").store.path)


def states(place):
    return {(s["destination"], s["dataset"]): s for s in json.loads(place.mogul("status", "--json").stdout)}


def runs_of(place):
    with dg.DagsterInstance.from_config(str(place.folder)) as instance:
        return [(run.job_name, run.status.value) for run in instance.get_runs(ascending=True)]


# -- demo -----------------------------------------------------------------------------------------------------


def test_the_demo_lands_thirteen_datasets_and_says_what_to_try_next(demonstrated):
    assert demonstrated.exit_code == 0, demonstrated.stderr
    assert "Three things to try next" in demonstrated.stdout
    with duckdb.connect(str(demonstrated.folder / "out/mogul.duckdb"), read_only=True) as warehouse:
        for name in DATASETS:
            (rows,) = warehouse.execute(f"SELECT count(*) FROM {name}").fetchone()
            assert re.search(rf"^{name} +warehouse +{rows:,} ", demonstrated.stdout, re.MULTILINE)
            assert rows == store_of(demonstrated).table(name).rows > 0
    assert {path.name for path in (demonstrated.folder / "out/files").iterdir()} >= {"tags", "mrr_movements"}


def test_off_a_terminal_progress_is_a_plain_line_a_step(demonstrated):
    lines = demonstrated.stderr.splitlines()
    assert "\x1b" not in demonstrated.stderr + demonstrated.stdout
    assert any(re.fullmatch(r"refresh 1/\d+: \S+, \d+\.\d s", line) for line in lines)
    assert all(re.match(r"(refresh|deliver_\w+) \d+/\d+: ", line) for line in lines)


def test_dagster_shows_the_demo_as_a_refresh_and_a_run_for_each_destination(demonstrated):
    assert runs_of(demonstrated) == [
        ("refresh", "SUCCESS"),
        ("deliver_warehouse", "SUCCESS"),
        ("deliver_lake", "SUCCESS"),
    ]


def test_the_demo_takes_its_sandbox_away_again(demonstrated):
    assert not (demonstrated.folder / "out/sandbox.json").exists()


def test_the_demo_is_not_for_an_account_of_ones_own(place):
    place.write("account: {api_key: {env: KEY}}")
    result = place.mogul("demo")
    assert (result.exit_code, "mogul sync" in complaint(result)) == (2, True)


# -- status, preview, check -----------------------------------------------------------------------------------


def test_status_is_well_after_a_demo(demonstrated):
    result = demonstrated.mogul("status")
    assert result.exit_code == 0
    assert len(states(demonstrated)) == len(DATASETS) + 2
    assert all(s["error"] is None and s["generation"] and s["delivered_at"] for s in states(demonstrated).values())


def test_status_fails_where_nothing_was_delivered_yet(place):
    result = place.mogul("status", "lake")
    assert result.exit_code == 1
    assert "never" in result.stdout


def test_a_preview_counts_what_a_delivery_would_change_and_changes_nothing(synced):
    with duckdb.connect(str(synced.folder / "out/mogul.duckdb")) as warehouse:
        warehouse.execute("DELETE FROM tags WHERE rowid = 0")
        warehouse.execute("UPDATE customers SET name = 'nobody' WHERE rowid < 2")
        warehouse.execute("INSERT INTO plans BY NAME SELECT 'plan' AS uuid")
    for _ in range(2):
        result = synced.mogul("preview", "warehouse", "--json")
        seen = {s["dataset"]: s["preview"] for s in json.loads(result.stdout)}
        counts = {name: (seen[name]["new"], seen[name]["changed"], seen[name]["gone"]) for name in DATASETS}
        changed = {name: count for name, count in counts.items() if count != (0, 0, 0)}
        assert changed == {"tags": (1, 0, 0), "customers": (0, 2, 0), "plans": (0, 0, 1)}


@pytest.mark.parametrize("asked", [[], ["--write", "look"]])
def test_a_preview_of_one_that_is_configured_wrong_says_what_is_wrong(synced, asked):
    (synced.folder / "mogul.yaml").write_text(f"{SANDBOX}{DESTINATIONS}  wrong: {{type: email}}")
    result = synced.mogul("preview", "wrong", *asked)
    assert result.exit_code == 2
    assert "line 5" in complaint(result)
    assert "host is missing" in complaint(result)


def test_a_preview_shows_columns_and_statements_and_rows_only_where_asked(demonstrated):
    shown = demonstrated.mogul("preview", "warehouse", "tags")
    assert "VARCHAR" in shown.stdout
    assert "DELETE FROM" in shown.stdout
    assert "cus_" not in shown.stdout
    assert len(re.findall("cus_", demonstrated.mogul("preview", "warehouse", "tags", "--rows", "3").stdout)) == 3


def test_check_tells_each_permission_and_what_the_account_lets_us_read(demonstrated):
    result = demonstrated.mogul("check", "--account", "--json")
    told = {finding["subject"]: finding["text"] for finding in json.loads(result.stdout)}
    assert result.exit_code == 0
    assert told["warehouse: make a table in the file"] == told["lake: write a file"] == "allowed"
    assert told["customers"] == "12 rows"


# -- sync and backfill ----------------------------------------------------------------------------------------


def test_a_second_sync_reads_only_the_months_that_can_have_changed(synced):
    assert synced.mogul("sync", "warehouse").exit_code == 0
    assert store_of(synced).raw_reads("activities")[-1].window == Window(THIS.plus(-1).start, None)


def test_a_full_sync_reads_the_whole_history(synced):
    before = states(synced)["lake", "mrr_movements"]
    result = synced.mogul("sync", "lake", "--full", "--json")
    assert [run["job"] for run in json.loads(result.stdout)] == ["refresh", "deliver_lake"]
    after = states(synced)["lake", "mrr_movements"]
    assert after["rows"] >= before["rows"]
    (read,) = store_of(synced).raw_reads("activities")
    assert read.window == Window(BEGINNING, None)
    assert told(store_of(synced).raw_reads("invoices")[-1]) == "whole: this run was asked to"


def test_a_backfill_delivers_exactly_the_months_that_were_asked_for(synced):
    result = synced.mogul(
        "backfill", "lake", "--from", str(SINCE.plus(1)), "--to", str(SINCE.plus(1)), "--no-refresh", "--json"
    )
    (run,) = json.loads(result.stdout)
    assert (result.exit_code, run["job"]) == (0, "deliver_lake")
    table = store_of(synced).table("mrr_movements", SINCE.plus(1), SINCE.plus(1))
    assert states(synced)["lake", "mrr_movements"]["rows"] == table.rows


def test_a_backfill_reads_its_months_again_first(synced):
    result = synced.mogul("backfill", "warehouse", "--from", str(SINCE), "--to", str(SINCE.plus(1)), "--json")
    assert result.exit_code == 0, result.stderr
    assert store_of(synced).raw_reads("activities")[-1].window == Window(BEGINNING, SINCE.plus(2).start)


def test_three_years_to_four_destinations_are_one_reading_and_a_run_each(place):
    first = THIS.plus(-35)
    names = ("one", "two", "three", "four")
    places = "\n".join(f"  {name}: {{type: files, path: out/{name}, datasets: [mrr_movements]}}" for name in names)
    place.write(f"account: {{sandbox: {{customers: 12}}, since: {first}}}\ndestinations:\n{places}\n")
    assert place.mogul("sync", "one").exit_code == 0  # what movements need beside themselves
    before = len(runs_of(place))
    result = place.mogul("backfill", "--from", str(first), "--to", str(THIS), "--json")
    assert result.exit_code == 0, result.stderr
    jobs = ["refresh", *(f"deliver_{name}" for name in names)]
    assert [run["job"] for run in json.loads(result.stdout)] == jobs
    assert runs_of(place)[before:] == [(job, "SUCCESS") for job in jobs]
    assert store_of(place).raw_reads("activities")[-1].window == Window(BEGINNING, None)
    rows = {states(place)[name, "mrr_movements"]["rows"] for name in names}
    assert rows == {store_of(place).table("mrr_movements").rows}


def test_one_destination_that_fails_stops_no_other(synced):
    with duckdb.connect(str(synced.folder / "out/mogul.duckdb")):
        result = synced.start("sync")
        stdout, stderr = result.communicate(timeout=300)
    assert result.returncode == 1
    assert re.search("^deliver_warehouse +failed", stdout, re.MULTILINE)
    assert re.search("^deliver_lake +done", stdout, re.MULTILINE)
    assert "Traceback" not in stderr
    (told,) = (line for line in stderr.splitlines() if line.startswith("mogul: "))
    assert re.match(rf"mogul: warehouse/\w+ and {len(DATASETS) - 1} more: .* is held by process {os.getpid()}", told)
    assert "warning: warehouse: no daemon runs that tries it again" in stdout
    after = states(synced)
    assert after["warehouse", "tags"]["error"]
    assert after["lake", "tags"]["error"] is None
    assert synced.mogul("status").exit_code == 1


def test_beside_a_daemon_what_failed_is_tried_again_as_it_says(synced):
    with dg.DagsterInstance.from_config(str(synced.folder)) as instance:
        for kind in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(datetime.now(UTC).timestamp(), kind, "here"))
    with duckdb.connect(str(synced.folder / "out/mogul.duckdb")):
        process = synced.start("sync", "warehouse")
        stdout, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "no daemon" not in stdout


def test_what_is_held_back_says_the_command_that_lets_it_through(synced):
    store, data = store_of(synced), Path(synced.folder, "out/files/tags/manifest.json")
    mark, before = store.watermark("lake", "tags"), data.read_text()
    store.mark("lake", "tags", msgspec.structs.replace(mark, rows_by_month={"": 10 * mark.rows}))
    held = synced.mogul("sync", "lake")
    *_, command = complaint(held).partition("mogul sync")
    assert (held.exit_code, "the old data stands" in held.stderr, data.read_text() == before) == (1, True, True)
    assert re.search("^deliver_lake +1 of 2 ", held.stdout, re.MULTILINE)
    assert synced.mogul("sync", *command.split()).exit_code == 0
    assert store.watermark("lake", "tags").rows_by_month == mark.rows_by_month
    assert synced.mogul("status", "lake").exit_code == 0


def test_a_backfill_too_lets_a_loss_through_where_it_is_told_to(synced):
    store, month = store_of(synced), SINCE.plus(1)
    mark = store.watermark("lake", "mrr_movements")
    store.mark("lake", "mrr_movements", msgspec.structs.replace(mark, rows_by_month={str(month): 10 * mark.rows + 100}))
    backfill = ("backfill", "lake", "--no-refresh", "--from", str(month), "--to", str(month))
    assert "the old data stands" in complaint(synced.mogul(*backfill))
    assert synced.mogul(*backfill, "--allow-loss").exit_code == 0
    assert (
        store.watermark("lake", "mrr_movements").rows_by_month[str(month)]
        == store.table("mrr_movements", month, month).rows
    )


def test_what_is_paused_is_delivered_to_only_by_its_name(synced):
    file = synced.folder / "mogul.yaml"
    file.write_text(file.read_text().replace("type: files", "paused: true, type: files"))
    backfill = ("backfill", "--no-refresh", "--from", str(THIS), "--to", str(THIS), "--json")
    everywhere, named = synced.mogul(*backfill), synced.mogul(*backfill, "lake")
    assert [run["job"] for run in json.loads(everywhere.stdout)] == ["deliver_warehouse"]
    assert "paused, and left out: lake" in everywhere.stderr
    assert [run["job"] for run in json.loads(named.stdout)] == ["deliver_lake"]


def test_a_run_whose_command_was_killed_holds_up_nobody(place):
    process = place.start("sync")
    for line in process.stderr:
        if line.startswith("refresh 10/"):
            break
    process.kill()
    process.communicate()
    result = place.mogul("sync", "lake")
    assert result.exit_code == 0, result.stderr
    assert runs_of(place) == [("refresh", "FAILURE"), ("refresh", "SUCCESS"), ("deliver_lake", "SUCCESS")]


def test_at_a_terminal_there_is_a_bar_and_ctrl_c_ends_the_sync_in_one_line(place):
    terminal, theirs = os.openpty()
    process = place.start("sync", stderr=theirs)
    os.close(theirs)
    seen = os.read(terminal, 4096)
    while b"10/" not in seen:
        seen += os.read(terminal, 4096)
    process.send_signal(signal.SIGINT)
    with suppress(OSError):  # how a terminal says that nobody writes to it any more
        while told := os.read(terminal, 4096):
            seen += told
    assert process.wait(timeout=60) == 130
    assert "━".encode() in seen
    assert seen.decode().rstrip().endswith("mogul: interrupted")
    assert not (place.folder / "out/sandbox.json").exists()
