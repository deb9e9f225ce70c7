"""From an account to thirteen datasets at two destinations, through Dagster."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter

import dagster as dg
import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

from mogul_assets.assets.common import StoreResource
from mogul_assets.assets.datasets import RECONCILIATION
from mogul_assets.assets.deliveries import DestinationIOManager
from mogul_assets.automation.jobs import RANGE_END, RANGE_START
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.reads import READS
from mogul_assets.catalog.window import Month
from mogul_assets.destinations.duckdb import DuckDBDestination
from mogul_assets_tests.project import NOW, Project, failures_of


def test_one_refresh_settles_all_thirteen_datasets(delivered):
    assert failures_of(delivered.runs.refresh) == {}
    assert {name: delivered.project.store.table(name) is not None for name in DATASETS} == dict.fromkeys(DATASETS, True)


def test_one_refresh_is_one_generation(delivered):
    tables = [delivered.project.store.table(name) for name in DATASETS]
    assert len({table.generation for table in tables}) == 1


def test_every_dataset_arrives_at_both_destinations_with_the_rows_of_the_store(delivered):
    project = delivered.project
    with duckdb.connect(str(project.folder / "out/mogul.duckdb"), read_only=True) as warehouse:
        for name in DATASETS:
            rows = project.store.table(name).rows
            assert warehouse.sql(f'SELECT count(*) FROM "{name}"').fetchall() == [(rows,)]
            manifest = json.loads((project.folder / "out/files" / name / "manifest.json").read_text())
            files = [project.folder / "out/files" / file["file"] for file in manifest["files"]]
            assert sum(pq.read_metadata(file).num_rows for file in files) == rows


def test_the_account_is_read_once_however_many_destinations_there_are(delivered):
    asked = Counter((asked.path, *sorted(asked.query.items())) for asked in delivered.project.serving.requests)
    assert {path for path, *_ in asked} >= {"/account", "/plans", "/invoices", "/activities"}
    # The data sources are a dataset, and what the list of invoices is divided by.
    assert {path: times for (path, *_), times in asked.items() if times > 1} == {"/data_sources": 2}


def test_no_check_that_blocks_and_no_reconciliation_fails_on_a_sound_account(delivered):
    checks = delivered.runs.refresh.get_asset_check_evaluations()
    assert {c.check_name for c in checks if not c.passed and c.severity is dg.AssetCheckSeverity.ERROR} == set()
    (reconciliation,) = [check for check in checks if check.check_name == RECONCILIATION]
    assert reconciliation.passed, reconciliation.description


def test_every_declared_check_is_evaluated(delivered):
    keys = delivered.project.definitions.resolve_asset_graph().asset_check_keys
    declared = {key for key in keys if key.name != "configuration"}
    evaluated = {check.asset_check_key for check in delivered.runs.refresh.get_asset_check_evaluations()}
    assert declared - evaluated == set()


def test_a_materialisation_tells_rows_size_generation_and_when_it_was_read(delivered):
    (event,) = delivered.runs.refresh.asset_materializations_for_node("settle_plans")
    assert event.metadata["dagster/row_count"].value == delivered.project.store.table("plans").rows
    assert {"generation", "read at", "megabytes"} <= set(event.metadata)


@pytest.mark.parametrize("group", ["calculated_data", "warehouse"])
def test_each_month_tells_its_own_rows_the_first_also_those_before(delivered, group):
    project = delivered.project
    events = project.instance.fetch_materializations(dg.AssetKey([group, "mrr_movements"]), limit=50).records
    told = {
        event.partition_key: event.asset_materialization.metadata["dagster/partition_row_count"].value
        for event in reversed(events)
    }
    first, last = project.settings.account.since, Month.of(NOW)
    files = project.store.table("mrr_movements").files
    assert any(file.month < first for file in files)
    assert told == {
        month.partition_key: sum(file.rows for file in files if min(max(file.month, first), last) == month)
        for month in first.until(last)
    }


def test_schemas_and_lineage_are_on_the_definitions(delivered):
    spec = delivered.project.definitions.resolve_asset_graph().get(dg.AssetKey(["source_data", "plans"]))
    schema = spec.metadata["dagster/column_schema"]
    assert [column.name for column in schema.columns] == DATASETS["plans"].schema.names
    assert all(column.description for column in schema.columns)
    lineage = spec.metadata["dagster/column_lineage"]
    assert lineage.deps_by_column["interval"][0].column_name == "interval_unit"


def test_a_second_delivery_of_one_generation_changes_nothing(delivered):
    project = delivered.project
    before = sorted((project.folder / "out/files").rglob("*.parquet"))
    with duckdb.connect(str(project.folder / "out/mogul.duckdb"), read_only=True) as warehouse:
        rows = warehouse.sql("SELECT * FROM mrr_movements ORDER BY uuid").fetchall()
    assert project.deliver("lake").success
    assert project.deliver("warehouse").success
    assert sorted((project.folder / "out/files").rglob("*.parquet")) == before
    with duckdb.connect(str(project.folder / "out/mogul.duckdb"), read_only=True) as warehouse:
        assert warehouse.sql("SELECT * FROM mrr_movements ORDER BY uuid").fetchall() == rows


def test_a_delivery_before_the_first_refresh_says_so(project):
    result = project.deliver("lake")
    assert not result.success
    said = " ".join(failures_of(result).values())
    assert "the store has no plans yet → refresh the account first: mogul sync" in said


def test_an_account_that_does_not_answer_ends_the_refresh_with_one_line(tmp_path, instance):
    result = Project(tmp_path, instance, None).refresh()
    assert "the sandbox account does not run" in failures_of(result)["read_lists"]


def test_one_broken_destination_harms_no_other(tmp_path, instance, serving):
    text = f"""
account: {{sandbox: true, since: {NOW.year}-01}}
destinations:
  lake: {{type: files, path: out/files}}
  broken: {{type: duckdb, pth: out/x.duckdb}}
"""
    project = Project(tmp_path, instance, serving, text)
    assert project.refresh().success
    assert project.deliver("lake").success
    broken = project.deliver("broken")
    assert not broken.success
    assert all("pth: there is no such setting" in text for text in failures_of(broken).values())
    check = dg.AssetCheckKey(dg.AssetKey(["broken", "contacts"]), "configuration")
    job = dg.Definitions(
        assets=project.definitions.assets, asset_checks=project.definitions.asset_checks,
        resources=project.definitions.resources,
        jobs=[dg.define_asset_job("look", selection=dg.AssetSelection.checks(check))],
    ).resolve_job_def("look")  # fmt: skip
    (evaluation,) = job.execute_in_process(instance=instance).get_asset_check_evaluations()
    assert not evaluation.passed
    assert "there is no such setting" in evaluation.description


def test_a_frame_of_a_users_own_asset_is_delivered_like_a_dataset(tmp_path, instance):
    store = StoreResource(path=str(tmp_path / "store"), quarantine_limit=0.01)
    destination = DuckDBDestination(name="warehouse", path=str(tmp_path / "own.duckdb"))

    @dg.asset(io_manager_key="warehouse", metadata={"key": ["country"]})
    def arr_by_country() -> pd.DataFrame:
        return pd.DataFrame({"country": ["DE", "AT"], "arr": [1200, 2400]})

    result = dg.materialize(
        [arr_by_country],
        resources={"warehouse": DestinationIOManager(destination=destination, store=store)},
        instance=instance,
    )
    assert result.success
    with duckdb.connect(str(tmp_path / "own.duckdb"), read_only=True) as warehouse:
        assert warehouse.sql("SELECT * FROM arr_by_country").fetchall() == [("AT", 2400), ("DE", 1200)]


def test_anything_else_than_a_table_or_a_frame_is_refused_by_name(tmp_path, instance):
    store = StoreResource(path=str(tmp_path / "store"), quarantine_limit=0.01)
    destination = DuckDBDestination(name="warehouse", path=str(tmp_path / "own.duckdb"))

    @dg.asset(io_manager_key="warehouse")
    def numbers() -> list[int]:
        return [1, 2]

    manager = DestinationIOManager(destination=destination, store=store)
    result = dg.materialize([numbers], resources={"warehouse": manager}, instance=instance, raise_on_error=False)
    assert "numbers: return a Table or a pandas DataFrame" in str(result.all_events)


def test_what_another_run_read_since_the_tick_is_not_read_again(delivered):
    project = delivered.project
    before = len(project.serving.requests)
    asked = min(project.store.raw_reads(read)[-1].read_at for read in READS).isoformat()
    result = project.refresh(**{"mogul/not_older_than": asked})
    assert result.success
    lists = [r.path for r in project.serving.requests[before:] if "metrics" not in r.path]
    assert lists == []


def test_reads_are_the_assets_of_the_account_group(delivered):
    graph = delivered.project.definitions.resolve_asset_graph()
    keys = {key.path[-1] for key in graph.get_all_asset_keys() if key.path[0] == "account"}
    assert keys == set(READS)


def test_a_destination_that_is_not_there_is_waited_for_once_a_run(delivered, tmp_path, instance):
    held = tmp_path / "held.duckdb"
    duckdb.connect(str(held)).close()
    text = f"""
account: {{sandbox: true, since: {NOW.year}-01}}
destinations:
  warehouse: {{type: duckdb, path: {held}, wait_seconds: 1, datasets: [plans, tags, contacts]}}
"""
    project = Project(tmp_path, instance, None, text)
    shutil.copytree(delivered.project.store.root, project.store.root)
    holder = subprocess.Popen(
        [sys.executable, "-c", f"import duckdb; c = duckdb.connect({str(held)!r}); print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        holder.stdout.readline()
        said = failures_of(project.deliver("warehouse"))
    finally:
        holder.communicate(b"\n")
    assert len(said) == 3
    assert len(set(said.values())) == 1
    assert all(f"{holder.pid}" in line for line in said.values())
    assert project.store.watermark("warehouse", "tags").error is not None


@pytest.mark.parametrize(
    ("asset", "said"),
    [
        ("source_data/plans", "account/plans was not read yet"),
        ("source_data/currency_rates", "account/exchange_rates was not read yet"),
        ("calculated_data/mrr_movements", "account/account was not read yet"),
        ("calculated_data/customers", "account/account was not read yet"),
    ],
)
def test_a_dataset_whose_read_was_never_landed_says_what_to_materialise(project, asset, said):
    selection = dg.AssetSelection.assets(dg.AssetKey(asset.split("/")))
    job = dg.define_asset_job("one", selection=selection)
    definitions = dg.Definitions.merge(project.definitions, dg.Definitions(jobs=[job]))
    month = Month.of(NOW).partition_key
    result = definitions.resolve_job_def("one").execute_in_process(
        instance=project.instance, tags={RANGE_START: month, RANGE_END: month}, raise_on_error=False
    )
    (line,) = failures_of(result).values()
    assert said in line
    assert "materialise" in line


def test_a_dataset_alone_settles_though_there_is_nothing_to_compare_it_with(project):
    alone = dg.AssetSelection.assets(dg.AssetKey(["account", "contacts"]), dg.AssetKey(["source_data", "contacts"]))
    definitions = dg.Definitions.merge(project.definitions, dg.Definitions(jobs=[dg.define_asset_job("one", alone)]))
    result = definitions.resolve_job_def("one").execute_in_process(instance=project.instance, raise_on_error=False)
    assert failures_of(result) == {}
    said = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert said["key_unique"].passed
    assert not said["customer_uuid_known"].passed
    assert "not checked" in said["customer_uuid_known"].description


def test_a_refresh_ends_by_removing_what_nothing_has_pointed_to_for_a_day(project):
    stray = project.store.root / "data/plans/20200101T000000.000000Z-0000/plans-000000000000.parquet"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"left by a run that was killed")
    os.utime(stray, (0, 0))
    assert failures_of(project.refresh()) == {}
    assert not stray.exists()
    assert project.store.table("plans") is not None
