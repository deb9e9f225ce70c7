"""What is DuckDB's own: the file, its locks, its types and its log."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.window import Month, Window
from mogul_assets.destinations.duckdb import DuckDBDestination
from mogul_assets.errors import DestinationRefused, DestinationUnavailable, StoreDamaged
from mogul_assets.store.table import Table, new_generation
from mogul_assets_tests import killing
from mogul_assets_tests.tables import table_of


@pytest.fixture
def file(tmp_path):
    return tmp_path / "shelf.duckdb"


@pytest.fixture
def shelf(file):
    return DuckDBDestination(name="shelf", path=str(file))


def asked(file, sql):
    with duckdb.connect(file) as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_gets_its_columns_types_and_comments(name, shelf, file, table):
    dataset = DATASETS[name]
    shelf.deliver(table([], schema=dataset.schema, dataset=name, key=dataset.key))
    spelled = {
        "text": "VARCHAR",
        "int": "BIGINT",
        "float": "DOUBLE",
        "flag": "BOOLEAN",
        "moment": "TIMESTAMP WITH TIME ZONE",
        "day": "DATE",
        "json": "JSON",
    }
    columns = "SELECT column_name, data_type, comment FROM duckdb_columns() WHERE table_name = "
    assert asked(file, f"{columns} '{name}' ORDER BY column_index") == [
        (column.name, spelled[column.kind], column.description) for column in dataset.columns
    ]
    assert asked(file, f"SELECT comment FROM duckdb_tables() WHERE table_name = '{name}'") == [(dataset.description,)]


def test_views_on_a_table_outlive_its_deliveries(shelf, file, table):
    shelf.deliver(table([{"id": 1}]))
    asked(file, "CREATE VIEW doubled AS SELECT id * 2 AS twice FROM plans")
    shelf.deliver(table([{"id": 4, "name": "d"}]))
    assert asked(file, "FROM doubled") == [(8,)]


def test_tables_live_in_the_schema_that_is_named(file, table):
    DuckDBDestination(name="shelf", path=str(file), schema='my "own"').deliver(table([{"id": 1}]))
    assert asked(file, 'FROM "my ""own""".plans') == [(1,)]


def test_tables_of_others_in_the_file_are_left_alone(shelf, file, table):
    asked(file, "CREATE TABLE theirs AS SELECT 42 AS answer")
    shelf.deliver(table([{"id": 1}]))
    assert asked(file, "FROM theirs") == [(42,)]
    assert [leftover.remove for leftover in shelf.forget()] == [
        'DROP TABLE "main"."plans";',
        'DROP TABLE "main"."mogul_deliveries";',
    ]


def test_forgetting_a_file_of_ours_names_the_file(shelf, file, table):
    shelf.deliver(table([{"id": 1}]))
    assert [leftover.remove for leftover in shelf.forget()] == [f"rm {file}"]
    assert file.exists()


def test_what_forgetting_says_really_removes_it(shelf, file, table):
    asked(file, "CREATE TABLE theirs (one INTEGER)")
    shelf.deliver(table([{"id": 1}]))
    for leftover in shelf.forget():
        asked(file, leftover.remove)
    assert shelf.forget() == []
    assert shelf.last_delivery("plans") is None


def test_a_dropped_table_is_delivered_again_even_from_an_older_generation(shelf, file, table):
    older = table([{"id": 1}], generation=new_generation(datetime(2026, 1, 1, tzinfo=UTC)))
    shelf.deliver(table([{"id": 2}]))
    asked(file, "DROP TABLE plans")
    shelf.deliver(older)
    assert asked(file, "FROM plans") == [(1,)]


def test_the_statements_of_a_preview_do_the_delivery(shelf, file, table):
    window = Window.months(Month(2026, 1), None)
    at = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)
    shelf.deliver(table([{"id": 1, "date": at}], window=window, window_column="date"))
    more = table([{"id": 2, "date": at, "new": "n"}], window=window, window_column="date")
    for statement in shelf.preview(more).statements:
        asked(file, statement)
    assert asked(file, 'SELECT id, "new" FROM plans') == [(2, "n")]


def test_every_delivery_is_logged_with_its_window(shelf, file, table):
    january = Window.months(Month(2026, 1), Month(2026, 1))
    rows = [{"id": 1, "date": datetime(2026, 1, 5, tzinfo=UTC)}]
    sent = table(rows, window=january, window_column="date")
    shelf.deliver(sent)
    shelf.deliver(
        table(rows, window=january, window_column="date", generation=new_generation(datetime(2020, 1, 1, tzinfo=UTC)))
    )
    window = "window_start = '2026-01-01 00:00:00+00' AND window_end = '2026-02-01 00:00:00+00'"
    logged = f"SELECT generation, rows, bytes, outcome, {window}, finished_at >= started_at FROM mogul_deliveries"
    first, second = asked(file, f"{logged} ORDER BY started_at")
    assert first == (sent.generation, 1, sent.bytes, "delivered", True, True)
    assert second[1:] == (0, 0, "superseded", True, True)


def test_the_log_of_a_dataset_is_kept_for_400_days(shelf, file, table):
    shelf.deliver(table([{"id": 1}]))
    shelf.deliver(table([{"id": 1}], dataset="tags"))
    asked(file, "UPDATE mogul_deliveries SET finished_at = finished_at - INTERVAL 401 DAY")
    shelf.deliver(table([{"id": 1}]))
    assert asked(file, "SELECT dataset, count(*) FROM mogul_deliveries GROUP BY ALL ORDER BY ALL") == [
        ("plans", 1),
        ("tags", 1),
    ]


def test_the_log_cannot_be_overwritten_by_a_dataset_of_its_name(shelf, table):
    with pytest.raises(DestinationRefused, match="log of deliveries"):
        shelf.deliver(table([{"id": 1}], dataset="Mogul_Deliveries"))


def test_names_that_differ_in_case_only_are_refused_by_name(shelf, table):
    with pytest.raises(DestinationRefused, match="'id' and 'ID'"):
        shelf.deliver(table([{"id": 1, "ID": 2}]))


def test_a_retyped_column_names_the_alter_to_run_and_running_it_helps(shelf, file, table):
    shelf.deliver(table([{"id": 1, "name": "7"}]))
    retyped = table([{"id": 1, "name": 8}])
    with pytest.raises(DestinationRefused, match=r"plans\.name is VARCHAR there and BIGINT now") as refused:
        shelf.deliver(retyped)
    asked(file, refused.value.remedy.partition("run: ")[2])
    shelf.deliver(retyped)
    assert asked(file, "FROM plans") == [(1, 8)]


def test_a_narrower_column_of_the_users_own_table_is_widened(shelf, file, table):
    asked(file, "CREATE TABLE plans (ID INTEGER, share FLOAT)")
    shelf.deliver(table([{"id": 2**40, "share": 0.1}]))
    assert asked(file, "FROM plans") == [(2**40, 0.1)]


def test_json_that_duckdb_does_not_take_is_named_by_row_and_never_shown(shelf, table):
    schema = pa.schema([("id", pa.string()), pa.field("free", pa.string(), metadata={"json": "true"})])
    shelf.deliver(table([{"id": "a", "free": "{}"}], schema=schema))
    with pytest.raises(DestinationRefused, match=r"plans\.free of row b \(15 bytes\)") as refused:
        shelf.deliver(table([{"id": "a", "free": "1"}, {"id": "b", "free": '"secret \\ud800"'}], schema=schema))
    assert "secret" not in "".join(map(str, (refused.value, refused.value.__cause__)))


def test_a_value_that_the_users_own_constraint_refuses_is_never_shown(shelf, file, table):
    asked(file, "CREATE TABLE plans (id BIGINT, name VARCHAR UNIQUE)")
    with pytest.raises(DestinationRefused, match="ConstraintException") as refused:
        shelf.deliver(table([{"id": 1, "name": "secret"}, {"id": 2, "name": "secret"}]))
    assert "secret" not in str(refused.value)


def test_a_file_with_other_rows_than_it_says_is_refused(shelf, file, table):
    shelf.deliver(table([{"id": 1}]))
    one, other = table([{"id": 2}]), table([{"id": 3}, {"id": 4}])
    Path(other.paths[0]).replace(one.paths[0])
    with pytest.raises(StoreDamaged, match="do not hold 1 rows"):
        shelf.deliver(one)
    assert asked(file, "FROM plans") == [(1,)]


def test_a_table_removed_by_hand_is_filled_though_newer_data_had_lain_there(shelf, file, table):
    older, newer = (new_generation(datetime(2026, month, 1, tzinfo=UTC)) for month in (1, 2))

    def movements(*months, generation):
        rows = [{"id": month, "date": datetime(2026, month, 1, tzinfo=UTC)} for month in months]
        window = Window.months(Month(2026, months[0]), Month(2026, months[-1]))
        return table(rows, window=window, window_column="date", generation=generation)

    shelf.deliver(movements(1, 2, generation=newer))
    asked(file, "DROP TABLE plans")
    assert shelf.deliver(movements(2, generation=older)).anew
    shelf.deliver(movements(1, generation=older))
    assert asked(file, "SELECT id FROM plans ORDER BY id") == [(1,), (2,)]
    outcomes = asked(file, "SELECT outcome FROM mogul_deliveries ORDER BY finished_at")
    assert outcomes == [("lost",), ("delivered",), ("delivered",)]


def test_what_is_no_duckdb_file_is_refused_and_left_as_it_is(shelf, file, table):
    file.write_bytes(b"a diary, not a database\n" * 1000)
    for verb in (lambda: shelf.deliver(table([{"id": 1}])), shelf.forget, lambda: shelf.last_delivery("plans")):
        with pytest.raises(DestinationRefused, match="not a DuckDB database"):
            verb()
    assert shelf.check()[-1].problem.endswith("is not a DuckDB database")
    assert file.read_bytes() == b"a diary, not a database\n" * 1000


def test_a_folder_in_the_files_place_is_refused(shelf, file, table):
    file.mkdir()
    with pytest.raises(DestinationRefused, match="directory"):
        shelf.deliver(table([{"id": 1}]))


def test_folders_on_the_way_never_become_columns(shelf, file, tmp_path):
    shelf.deliver(table_of(tmp_path / "id=7" / "[a]*", [{"id": 1}]))
    assert asked(file, "FROM plans") == [(1,)]


def hold(path, held, release):
    """The work of a child: keep the file open until told otherwise."""
    with duckdb.connect(path):
        held.set()
        release.wait(60)


@pytest.fixture
def held(file, table):
    """A file that another process holds, until the event is set."""
    begun, release = killing.children.Event(), killing.children.Event()
    child = killing.begin(hold, str(file), begun, release)
    assert begun.wait(60)
    yield child, release
    release.set()
    killing.end(child)


def test_a_held_file_is_waited_for(held, shelf, file, table):
    _, release = held
    with ThreadPoolExecutor(1) as beside:
        delivery = beside.submit(shelf.deliver, table([{"id": 1}]))
        with pytest.raises(TimeoutError):
            delivery.result(timeout=1)
        release.set()
        delivery.result()
    assert asked(file, "FROM plans") == [(1,)]


def test_a_file_held_too_long_is_named_with_its_holder(held, file, table):
    child, _ = held
    impatient = DuckDBDestination(name="shelf", path=str(file), wait_seconds=0.1)
    with pytest.raises(DestinationUnavailable, match=rf"held by process {child.pid} \(\w+"):
        impatient.deliver(table([{"id": 1}]))
    assert str(child.pid) in impatient.check()[-1].problem


def test_threads_of_one_process_wait_for_each_other(shelf, file, table):
    tables = [table([{"id": number}], dataset=f"plans_{number % 2}") for number in range(8)]
    problems = []

    def work(one: Table) -> None:
        try:
            shelf.deliver(one)
            shelf.last_delivery(one.dataset)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            problems.append(error)

    threads = [threading.Thread(target=work, args=(one,)) for one in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert problems == []
    assert asked(file, "SELECT count(*) FROM mogul_deliveries") == [(8,)]


@pytest.mark.slow
def test_a_delivery_needs_no_more_memory_than_it_may(file, table):
    ids = pa.array(range(300_000), pa.int64())
    texts = pa.array([f"{number * 2654435761 % 2**64:016x}" * 8 for number in range(300_000)])
    small = DuckDBDestination(name="shelf", path=str(file), memory_limit="64MB")
    assert small.deliver(table(pa.table({"id": ids, "text": texts}))).rows == 300_000


def test_the_old_log_is_no_reason_to_fail(shelf, file, table):
    shelf.deliver(table([{"id": 1}]))
    asked(file, "DROP TABLE mogul_deliveries")
    assert shelf.last_delivery("plans") is None
    shelf.deliver(table([{"id": 2}]))
    assert asked(file, "FROM plans") == [(2,)]
    assert shelf.last_delivery("plans") > datetime.now(UTC) - timedelta(minutes=5)
