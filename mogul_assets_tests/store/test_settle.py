"""Settling: unique by key, sorted by it, split by month, and always the same bytes."""

import random
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mogul_assets.catalog.columns import Column, Dataset, Group, Kind
from mogul_assets.catalog.window import Month
from mogul_assets.store import settle, sql
from mogul_assets.store.shape import SEQUENCE, order

SNAPSHOT = Dataset(
    name="seats",
    group=Group.SOURCE,
    description="Who sits where.",
    key=("row", "seat"),
    read="seats",
    columns=(
        Column("row", Kind.TEXT, "Row.", "row", nullable=False),
        Column("seat", Kind.INT, "Seat.", "seat", nullable=False),
        Column("who", Kind.TEXT, "Who.", "who"),
    ),
)
WINDOWED = Dataset(
    name="visits",
    group=Group.SOURCE,
    description="Who came when.",
    key=("id",),
    read="visits",
    window="at",
    columns=(Column("id", Kind.INT, "Number.", "id"), Column("at", Kind.MOMENT, "When.", "at", nullable=False)),
)


@pytest.fixture
def connection(tmp_path):
    with settle.database(tmp_path / "scratch") as connection:
        yield connection


def seat(row, number, who, sequence=0):
    return {"row": row, "seat": number, "who": who, SEQUENCE: sequence}


def registered(connection, rows, dataset=SNAPSHOT):
    schema = pa.schema([*dataset.schema, pa.field(SEQUENCE, pa.int64())])
    rows = [{SEQUENCE: 0, **row} for row in rows]
    connection.register("rows", pa.Table.from_pylist(rows, schema=schema))
    return "rows"


def unique(connection, rows):
    found = settle.unique(connection, registered(connection, rows), SNAPSHOT)
    kept = connection.execute(f"SELECT row, seat, who FROM {found.sql} ORDER BY ALL").fetchall()
    return kept, found.copies, found.contradictions


def written(connection, rows, folder, dataset=SNAPSHOT):
    return settle.write(
        connection, registered(connection, rows, dataset), dataset, folder, "20261123T000000.000000Z-aaaa"
    )


# -- unique


def test_rows_that_are_unique_stay_as_they_are(connection):
    assert unique(connection, [seat("a", 1, "x"), seat("a", 2, "x")]) == ([("a", 1, "x"), ("a", 2, "x")], 0, 0)


def test_of_copies_the_one_taken_last_wins(connection):
    rows = [seat("a", 1, "second", 7), seat("a", 1, "third", order(place=1)), seat("a", 1, "first", 3)]
    assert unique(connection, rows) == ([("a", 1, "third")], 2, 1)


def test_copies_that_agree_are_no_contradiction(connection):
    assert unique(connection, [seat("a", 1, "x", 1), seat("a", 1, "x", 2), seat("b", 1, None)]) == (
        [("a", 1, "x"), ("b", 1, None)],
        1,
        0,
    )


def test_copies_of_which_one_has_nothing_contradict_each_other(connection):
    assert unique(connection, [seat("a", 1, "x", 1), seat("a", 1, None, 2)]) == ([("a", 1, None)], 1, 1)


def test_of_copies_taken_at_once_the_same_one_wins_whatever_their_order(connection):
    rows = [seat("a", at % 300, f"who {at}", 5) for at in range(900)]
    kept = set()
    for attempt in range(3):
        random.Random(attempt).shuffle(rows)
        kept.add(tuple(unique(connection, rows)[0]))
    assert len(kept) == 1


# -- written


def test_rows_are_sorted_by_key(connection, tmp_path):
    rows = [seat("b", 1, "x"), seat("a", 10, "x"), seat("a", 9, "x"), seat("B", 1, "x"), seat("ä", 1, "x")]
    (file,) = written(connection, rows, tmp_path)
    keys = [(row["row"], row["seat"]) for row in pq.read_table(file.path).to_pylist()]
    assert keys == [("B", 1), ("a", 9), ("a", 10), ("b", 1), ("ä", 1)]
    assert (file.rows, file.bytes) == (5, Path(file.path).stat().st_size)


def test_the_file_has_the_datasets_schema_to_the_description(connection, tmp_path):
    (file,) = written(connection, [seat("a", 1, "x")], tmp_path)
    assert pq.read_schema(file.path).equals(SNAPSHOT.schema, check_metadata=True)


def test_equal_rows_give_equal_bytes_whatever_their_order_and_batches(connection, tmp_path):
    # More rows than a group has, so that the seams between groups are tested as well.
    rows = [seat(f"row {at % 97}", at, f"who {at % 1013}") for at in range(settle.GROUP_ROWS + 1_000)]
    sums = set()
    for attempt in range(3):
        random.Random(attempt).shuffle(rows)
        connection.execute(f"SET threads = {1 + attempt % 2}")
        (file,) = written(connection, rows, tmp_path / str(attempt))
        sums.add(file.sha256)
    assert len(sums) == 1
    groups = pq.ParquetFile(file.path).metadata
    assert [groups.row_group(at).num_rows for at in range(groups.num_row_groups)] == [settle.GROUP_ROWS, 1_000]


@pytest.mark.parametrize("rows_at_once", [1, 7, 60])
def test_rows_sorted_part_by_part_give_the_same_bytes(rows_at_once, connection, tmp_path, monkeypatch):
    chance = random.Random(3)
    seats = [seat(chance.choice("abcdefé'😀"), number, f"guest {number}") for number in range(200)]
    came = [
        {"id": n, "at": datetime(2026, chance.randint(1, 12), chance.randint(1, 28), tzinfo=UTC)} for n in range(200)
    ]
    whole = [*written(connection, seats, tmp_path / "a"), *written(connection, came, tmp_path / "b", WINDOWED)]
    monkeypatch.setattr(settle, "SORTED_ROWS", rows_at_once)
    parts = [*written(connection, seats, tmp_path / "c"), *written(connection, came, tmp_path / "d", WINDOWED)]
    assert [file.sha256 for file in parts] == [file.sha256 for file in whole]
    assert [file.month for file in parts] == [file.month for file in whole]


def test_a_file_is_named_after_its_content(connection, tmp_path):
    (one,) = written(connection, [seat("a", 1, "x")], tmp_path)
    (same,) = written(connection, [seat("a", 1, "x")], tmp_path)
    (other,) = written(connection, [seat("a", 1, "y")], tmp_path)
    assert one.path == same.path
    assert one.sha256[:12] in Path(one.path).name
    assert pq.read_table(one.path)["who"].to_pylist() == ["x"]
    assert {path.name for path in tmp_path.glob("seats*")} == {Path(one.path).name, Path(other.path).name}


def test_an_empty_snapshot_is_a_file_without_rows(connection, tmp_path):
    (file,) = written(connection, [], tmp_path)
    assert (file.rows, pq.read_table(file.path).num_rows) == (0, 0)


# -- months


def visits(*moments):
    return [{"id": at, "at": datetime.fromisoformat(moment)} for at, moment in enumerate(moments)]


def test_a_windowed_dataset_is_a_file_for_each_month_that_has_rows(connection, tmp_path):
    rows = visits(
        "2026-10-31T23:59:59.999999+00:00",
        "2026-11-01T00:00:00+00:00",
        "2026-11-01T00:30:00+01:00",
        "2025-01-15T12:00:00+00:00",
    )
    files = written(connection, rows, tmp_path, WINDOWED)
    held = {str(file.month): pq.read_table(file.path)["id"].to_pylist() for file in files}
    assert held == {"2025-01": [3], "2026-10": [0, 2], "2026-11": [1]}
    assert [file.month for file in files] == sorted(file.month for file in files)
    assert pq.read_schema(files[0].path).names == ["id", "at"]


def test_the_first_and_the_last_year_have_months_too(connection, tmp_path):
    files = written(connection, visits("0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00"), tmp_path, WINDOWED)
    assert [file.month for file in files] == [Month(1, 1), Month(9999, 12)]


def test_a_windowed_dataset_without_rows_has_no_files(connection, tmp_path):
    assert written(connection, [], tmp_path, WINDOWED) == ()


@pytest.mark.parametrize("rows", [65_535, 65_536, 65_537])
def test_months_are_split_wherever_batches_end(rows, connection, tmp_path):
    half = datetime(2026, 10, 5, tzinfo=UTC)
    made = [{"id": at, "at": half if at < rows else datetime(2026, 11, 5, tzinfo=UTC)} for at in range(rows + 10)]
    october, november = written(connection, made, tmp_path, WINDOWED)
    assert (october.rows, november.rows) == (rows, 10)
    assert pq.read_table(november.path)["id"].to_pylist() == list(range(rows, rows + 10))


def test_names_and_texts_are_safe_in_sql():
    with duckdb.connect() as connection:
        name, text = 'a "quoted" name', "it's; DROP TABLE x --"
        connection.execute(f"CREATE TABLE {sql.quoted(name)} AS SELECT {sql.literal(text)} AS text")
        assert connection.execute(f"SELECT text FROM {sql.quoted(name)}").fetchone() == (text,)
