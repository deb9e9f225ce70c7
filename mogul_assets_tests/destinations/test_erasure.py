"""What a customer leaves at destinations: rows that can be deleted there, and what every type says of the rest."""

import subprocess
import sys

import duckdb
import pytest

from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.destinations import TYPES, load_type
from mogul_assets.destinations.configured import configured
from mogul_assets.destinations.messenger import LedgerResource
from mogul_assets.settings import load
from mogul_assets.store.person import Person
from mogul_assets_tests.destinations.places import PLACES

PERSON = Person("cus_zoe", records=frozenset({("ds_1", "o'77"), ("ds_2", "8")}))
WITH_TABLES = [place for place in PLACES if place.word in {"duckdb", "snowflake", "bigquery", "redshift"}]
OTHERS = {
    "tags": [{"customer_uuid": "cus_1", "tag": "b"}],
    "subscription_events": [
        {"id": 2, "data_source_uuid": "ds_2", "data_source_customer_external_id": "o'77"},
        {"id": 3, "data_source_uuid": None, "data_source_customer_external_id": None},
    ],
}
ITS = {
    "tags": [{"customer_uuid": "cus_zoe", "tag": "a"}, {"customer_uuid": "cus_zoe", "tag": "b"}],
    "subscription_events": [{"id": 1, "data_source_uuid": "ds_1", "data_source_customer_external_id": "o'77"}],
}


@pytest.mark.parametrize(
    "place",
    [pytest.param(place, marks=[pytest.mark.peer] if place.peer else []) for place in WITH_TABLES],
    indirect=True,
    ids=str,
)
def test_its_rows_are_deleted_where_tables_are(place, destination, table, tmp_path):
    for name, rows in OTHERS.items():
        destination.deliver(table([*rows, *ITS[name]], dataset=name, key=DATASETS[name].key))
    assert destination.erase(PERSON, ["tags", "subscription_events", "plans", "contacts"]) == 3
    for name, rows in OTHERS.items():
        found = [{key.lower(): value for key, value in row.items()} for row in place.rows(tmp_path, name)]
        assert sorted(found, key=str) == sorted(rows, key=str)
    assert destination.erase(PERSON, list(OTHERS)) == 0
    destination.deliver(table([{"uuid": "cus_zoe"}, {"uuid": "cus_1"}], dataset="customers", key=("uuid",)))
    assert destination.erase(PERSON, ["customers"]) == 1  # by the columns that an older table has


@pytest.mark.parametrize("word", [word for word in TYPES if word not in {"s3", "gcs", "azure_blob"}])
def test_every_type_says_what_may_stay_and_what_removes_it(word, tmp_path):
    kind = load_type(word)
    options = {name: value for name, value in kind.EXAMPLE.items() if name != "links"}
    if "ledger" in kind.model_fields:
        options["ledger"] = LedgerResource(path=str(tmp_path / "ledger.db"))
    destination = kind(name="place", **options)
    left = destination.remains(["customers", "tags"])
    assert left
    assert all(one.what and one.remove for one in left)
    assert destination.remains([]) == []
    replaced = any(one.remove == "mogul sync place" and "customers, tags" in one.what for one in left)
    assert replaced is (word not in {"slack", "email", "webhook", "intercom"})


@pytest.mark.parametrize("word", TYPES)
def test_where_versions_of_rows_are_kept_erasing_reaches_them(word):
    """Whoever can keep history says so where a customer is forgotten."""
    kind = load_type(word)
    if "history" in kind.model_fields:
        assert set(kind(name="place", **kind.EXAMPLE, history="all").versions()) == set(DATASETS)
    else:
        assert tuple(kind(name="place", **kind.EXAMPLE).versions()) == ()


def test_history_keeps_a_column_by_which_a_customer_can_be_forgotten(tmp_path):
    ids = "[customer_uuid, customer_external_id]"
    text = (
        "account: {sandbox: true}\ndestinations: {shelf: {type: duckdb, path: m.duckdb, history: [contacts], columns: "
    )
    (tmp_path / "mogul.yaml").write_text(f"{text}{{leave_out: {{contacts: {ids}}}}}}}}}\n")
    settings = load(tmp_path / "mogul.yaml")
    made = configured(settings, settings.entry("shelf"))
    assert "history: no column of contacts is left that says whose a row is" in made.problem


def test_a_table_of_ones_own_may_have_a_column_called_like_history_s(tmp_path, table):
    shelf = load_type("duckdb")(name="shelf", path=str(tmp_path / "m.duckdb"))
    for price in (1, 2):
        shelf.deliver(table([{"id": 1, "price": price, "valid_from": 7}], dataset="prices", key=("id",)))
    with duckdb.connect(tmp_path / "m.duckdb", read_only=True) as connection:
        assert connection.execute("SELECT price FROM prices").fetchall() == [(2,)]


@pytest.mark.parametrize("keep", ["all", "latest"])
def test_files_say_which_stay(keep, tmp_path):
    lake = load_type("files")(name="lake", path=str(tmp_path), keep=keep, grace_seconds=7200)
    rows, files = lake.remains(["customers", "tags"])
    assert rows.remove == "mogul sync lake"
    assert f"{tmp_path}/{{customers,tags}}" in files.what
    assert ("2:00:00" in files.remove) is (keep == "latest")


def test_a_database_file_written_anew_holds_nothing_that_was_deleted(tmp_path, table):
    """DuckDB leaves deleted rows in blocks that it writes over later: the command that is told removes them."""
    shelf = load_type("duckdb")(name="shelf", path=str(tmp_path / "a shelf" / "mogul.duckdb"))
    needle = "needle in a haystack"
    rows = [{"customer_uuid": "cus_zoe", "tag": needle}, *OTHERS["tags"]]
    key = DATASETS["tags"].key
    shelf.deliver(table(rows, dataset="tags", key=key))
    shelf.deliver(table(OTHERS["tags"], dataset="tags", key=key))
    file = tmp_path / "a shelf" / "mogul.duckdb"
    assert needle.encode() in file.read_bytes()
    _, blocks = shelf.remains(["tags"])
    program = tmp_path / "duckdb"
    said = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute(sys.argv[2])"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{said}' \"$@\"\n")
    program.chmod(0o755)
    command = blocks.remove.removeprefix("after that: ")
    subprocess.run(command.replace("duckdb ", f"{program} ", 1), shell=True, check=True)  # noqa: S602 - as it is told
    assert needle.encode() not in file.read_bytes()
    with duckdb.connect(file, read_only=True) as connection:
        assert connection.execute("FROM tags").fetchall() == [("cus_1", "b")]


@pytest.mark.parametrize(
    "place",
    [pytest.param(place, marks=[pytest.mark.peer] if place.peer else []) for place in WITH_TABLES],
    indirect=True,
    ids=str,
)
def test_every_version_of_its_rows_goes_where_history_is_kept(place, table, tmp_path):
    destination = place.destination(tmp_path, history=["customers"])
    theirs, others = ({"uuid": uuid, "name": "Zoë"} for uuid in ("cus_zoe", "cus_1"))
    key = DATASETS["customers"].key
    for name in ("Zoë", "Zoe"):
        destination.deliver(table([{**theirs, "name": name}, {**others, "name": name}], dataset="customers", key=key))
    assert destination.versions() == ["customers"]
    assert destination.erase(PERSON, destination.versions()) == 2
    assert destination.deliver(table([others], dataset="customers", key=key)).outcome == "delivered"
    found = [{key.lower(): value for key, value in row.items()} for row in place.rows(tmp_path, "customers")]
    assert {row["uuid"] for row in found} == {"cus_1"}
    assert len(found) > 1
