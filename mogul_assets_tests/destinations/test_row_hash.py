"""What tells one version of a row from the next, and where history can be switched on. No destination is asked."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.destinations import history
from mogul_assets.destinations.configured import Misconfigured, configured
from mogul_assets.destinations.duckdb import DuckDBDestination
from mogul_assets.settings import load
from mogul_assets_tests.destinations.test_contract import EVERY_KIND

ROW = {
    "id": 7,
    "text": "é",
    "number": -(2**63),
    "share": 0.1,
    "flag": True,
    "moment": datetime(2026, 11, 23, 5, 6, 7, 89, tzinfo=UTC),
    "day": date(2026, 11, 23),
    "free": '{"a": 1}',
}


def hashes(made):
    """By row, as a delivery to DuckDB computes them."""
    with duckdb.connect() as connection:
        files = ", ".join(f"'{path}'" for path in made.paths)
        return [
            one for (one,) in connection.sql(f"SELECT {history.digest(made)} FROM read_parquet([{files}])").fetchall()
        ]


def hashed(table, row, schema=None, **how):
    (one,) = hashes(table([row], schema=schema, **how))
    return one


def test_it_never_changes(table):
    text = (
        '3:day=16:1795392000000000,4:flag=4:true,4:free=8:{"a": 1},2:id=1:7,6:moment=16:1795410367000089,'
        "6:number=20:-9223372036854775808,5:share=3:0.1,4:text=2:é,"
    )
    assert hashed(table, ROW, EVERY_KIND) == hashlib.sha256(text.encode()).hexdigest()[:32]
    assert hashed(table, ROW, EVERY_KIND) == "a3eb8092e29113d871e9ca8fe43f5fbb"


def test_a_column_that_is_null_says_as_much_as_one_that_is_not_there(table):
    wider = EVERY_KIND.append(pa.field("more", pa.string()))
    assert hashed(table, {**ROW, "more": None}, wider) == hashed(table, ROW, EVERY_KIND)


def test_the_order_of_columns_says_nothing(table):
    assert hashed(table, {"id": 1, "name": "a"}) == hashed(table, {"name": "a", "id": 1})


def test_a_day_that_becomes_a_moment_says_the_same(table):
    assert hashed(table, {"id": 1, "at": date(2026, 1, 2)}) == hashed(
        table, {"id": 1, "at": datetime(2026, 1, 2, tzinfo=UTC)}
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": "1,1:b=1:2"}, {"a": "1", "b": "2"}),
        ({"a": "", "b": None}, {"a": None, "b": ""}),
        ({"a": "x\0"}, {"a": "x"}),
        ({"a": None, "b": "x"}, {"a": "x", "b": None}),
    ],
)
def test_rows_that_differ_have_another(one, other, table):
    texts = pa.schema([("id", pa.int64()), ("a", pa.string()), ("b", pa.string())])
    assert hashed(table, {"id": 1, **one}, texts) != hashed(table, {"id": 1, **other}, texts)


def test_every_column_counts_but_those_that_are_fleeting(table):
    movements = DATASETS["mrr_movements"]
    row = dict.fromkeys(movements.schema.names) | {"uuid": "a", "rank": 1, "movement_key": "k"}
    how = {"schema": movements.schema.remove_metadata(), "dataset": "mrr_movements", "key": ("uuid",)}
    loose = pa.schema([field.with_nullable(nullable=True) for field in how["schema"]])
    how["schema"] = loose
    other = {pa.string(): "b", pa.int64(): 9}
    changed = {
        field.name
        for field in loose
        if hashed(table, {**row, field.name: other.get(field.type, ROW["moment"])}, **how) != hashed(table, row, **how)
    }
    assert set(loose.names) - changed == {"uuid", "rank"}


def test_files_are_loaded_with_it_row_by_row_and_with_columns_that_they_lack(table, tmp_path):
    made = table([{"id": number, "name": str(number)} for number in range(1000)])
    wider = made.schema.append(pa.field("more", pa.string()))
    wide = table([], schema=wider)
    asked = replace(wide, files=made.files)
    (file,) = history.digested(asked, map(Path, made.paths), tmp_path / "digested")
    rows = pq.read_table(file)
    assert rows.schema.names == ["id", "name", "more", "row_hash"]
    assert rows["row_hash"].to_pylist() == hashes(made)
    assert rows["id"].to_pylist() == list(range(1000))


@pytest.mark.parametrize("name", DATASETS)
def test_any_dataset_can_keep_history(name, table, tmp_path):
    """DuckDB's own names, types and comments for the four columns beside each dataset's."""
    dataset = DATASETS[name]
    shelf = DuckDBDestination(name="shelf", path=str(tmp_path / "shelf.duckdb"), history="all")
    shelf.deliver(table([], dataset=name, key=dataset.key, schema=dataset.schema))
    with duckdb.connect(tmp_path / "shelf.duckdb") as connection:
        columns = connection.execute("SELECT column_name, comment FROM duckdb_columns() WHERE table_name = ?", [name])
        found = dict(columns.fetchall())
    assert list(found) == [*dataset.schema.names, *history.COLUMNS]
    assert found["valid_to"] == "When it was first read without it; null while it is current."


def entry(folder, line):
    (folder / "mogul.yaml").write_text(f"account: {{sandbox: true}}\ndestinations:\n  shelf: {{{line}}}\n")
    settings = load(folder / "mogul.yaml")
    return configured(settings, settings.entry("shelf"))


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("type: duckdb, path: a", set()),
        ("type: duckdb, path: a, history: null", set()),
        ("type: duckdb, path: a, history: plans", {"plans"}),
        ("type: duckdb, path: a, history: [plans, tags]", {"plans", "tags"}),
        ("type: duckdb, path: a, history: all", set(DATASETS)),
        ("type: duckdb, path: a, history: all, datasets: [plans]", set(DATASETS)),
        (
            "type: redshift, host: a, database: b, user: c, password: {env: D}, bucket: e, role: f, history: [plans]",
            {"plans"},
        ),
    ],
)
def test_it_is_chosen_by_dataset(line, kept, tmp_path):
    destination = entry(tmp_path, line)
    assert {name for name in (*DATASETS, "my_own") if destination.keeps_history(name)} == kept


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("type: files, path: a, history: all", "line 3, destination 'shelf': history: there is no such setting"),
        ("type: duckdb, path: a, history: [plan]", "history: unknown dataset 'plan'; there are: contacts, "),
        ("type: duckdb, path: a, history: true", "history: unknown dataset 'True'"),
        (
            "type: duckdb, path: a, history: [plans], datasets: [tags]",
            "history: plans is not delivered there; it takes tags",
        ),
    ],
)
def test_what_cannot_be_is_told_by_the_entry_alone(line, problem, tmp_path):
    destination = entry(tmp_path, line)
    assert isinstance(destination, Misconfigured)
    assert problem in destination.problem
