"""History mode: at every destination that keeps versions, what opens one, what closes one, and what does neither."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest

from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.window import Month, Window
from mogul_assets.destinations.base import Outcome
from mogul_assets.errors import DestinationRefused, StoreDamaged
from mogul_assets.store.table import new_generation
from mogul_assets_tests import killing
from mogul_assets_tests.destinations.place import HISTORY
from mogul_assets_tests.destinations.places import PLACES
from mogul_assets_tests.destinations.test_contract import EVERY_KIND, damaged
from mogul_assets_tests.destinations.test_warehouse import PEERS

pytestmark = pytest.mark.needs(HISTORY)

FIRST, SECOND, THIRD = (datetime(2026, 3, day, 2, 5, 12, 123456, tzinfo=UTC) for day in (1, 2, 3))
PLANS = pa.schema([("id", pa.int64()), ("name", pa.string())])
MOVEMENTS = pa.schema(
    [
        ("uuid", pa.string()),
        ("movement_key", pa.string()),
        ("date", pa.timestamp("us", tz="UTC")),
        ("mrr", pa.int64()),
        ("rank", pa.int64()),
    ]
)
LOCKING = {"redshift"}
"""Where the lock that deliveries wait for each other by is a row of a real server's, and not a peer's own."""
JANUARY = Window.months(Month(2026, 1), Month(2026, 1))
ALL_YEAR = Window.months(Month(2026, 1), None)


@pytest.fixture
def keeping(place, tmp_path):
    return place.destination(tmp_path, history=["plans", "mrr_movements"])


@pytest.fixture
def plans(table):
    """A whole reading of the plans: names by number."""

    def made(at, names, *, schema=PLANS, **more):
        rows = [{"id": number, "name": name, **more} for number, name in names.items()]
        return table(rows, schema=schema, read_at=at, generation=new_generation(at, suffix="0000"))

    return made


@pytest.fixture
def movements(table):
    """A reading of movements: rows of (uuid, movement_key, date, mrr, rank)."""

    def made(at, *rows, window=ALL_YEAR):
        return table(
            [dict(zip(MOVEMENTS.names, row, strict=True)) for row in rows],
            schema=MOVEMENTS,
            dataset="mrr_movements",
            key=("uuid",),
            window=window,
            window_column="date",
            read_at=at,
            generation=new_generation(at, suffix="0000"),
        )

    return made


def on(month, day):
    return datetime(2026, month, day, tzinfo=UTC)


def versions(place, folder, dataset="plans", left_out=("row_hash",)):
    """What a reader finds, version after version."""
    rows = [tuple(value for name, value in row.items() if name not in left_out) for row in place.rows(folder, dataset)]
    return sorted(rows, key=repr)


def as_it_was(place, folder, at):
    """(id, name) of the versions that held at a moment, as docs/history.md asks for them."""
    return {row["id"]: row["name"] for row in place.rows(folder) if held_at(row, at)}


def held_at(row, at):
    return row["valid_from"] <= at and (row["valid_to"] is None or row["valid_to"] > at)


def alike(rows, names=MOVEMENTS.names):
    """The columns of that name, in an order of their own."""
    return sorted(repr([row[name] for name in names]) for row in rows)


def run(place, folder, sql):
    """A statement by hand."""
    spot = place._spot(folder)
    if place.word in PEERS:
        PEERS[place.word].run(spot, sql)
    else:
        with duckdb.connect(place.options(spot)["path"]) as connection:
            connection.execute(sql)


def counts(delivered):
    return delivered.details["opened"], delivered.details["closed"]


def test_every_version_of_a_row_stays_with_the_time_in_which_it_was_current(keeping, place, plans, tmp_path):
    readings = {
        FIRST: {1: "same", 2: "old", 3: "goes", 4: None},
        SECOND: {1: "same", 2: "new", 4: None, 5: "comes"},
        THIRD: {1: "same", 2: "new", 3: "goes", 4: "filled", 5: "comes"},
    }
    delivered = [keeping.deliver(plans(at, names)) for at, names in readings.items()]
    assert [counts(one) for one in delivered] == [(4, 0), (2, 2), (2, 1)]
    assert [one.rows for one in delivered] == [4, 4, 5]
    assert versions(place, tmp_path) == sorted(
        [
            (1, "same", FIRST, None, True),
            (2, "old", FIRST, SECOND, False),
            (2, "new", SECOND, None, True),
            (3, "goes", FIRST, SECOND, False),
            (3, "goes", THIRD, None, True),
            (4, None, FIRST, THIRD, False),
            (4, "filled", THIRD, None, True),
            (5, "comes", SECOND, None, True),
        ],
        key=repr,
    )
    assert {at: as_it_was(place, tmp_path, at) for at in readings} == readings


def test_neither_the_same_generation_again_nor_an_older_one_changes_anything(keeping, place, plans, tmp_path):
    older, newer = plans(FIRST, {1: "a"}), plans(SECOND, {1: "b", 2: "c"})
    keeping.deliver(newer)
    before = versions(place, tmp_path, left_out=())
    again, late = keeping.deliver(newer), keeping.deliver(older)
    assert (again.outcome, counts(again)) == (Outcome.DELIVERED, (0, 0))
    assert (late.outcome, counts(late)) == (Outcome.SUPERSEDED, (0, 0))
    assert versions(place, tmp_path, left_out=()) == before


def test_a_movement_that_only_got_another_uuid_or_rank_keeps_its_version(keeping, place, movements, tmp_path):
    keeping.deliver(movements(FIRST, ("act_1", "k1", on(1, 5), 100, 1), ("act_2", "k2", on(1, 5), 200, 2)))
    recomputed = movements(SECOND, ("act_3", "k1", on(1, 5), 100, 2), ("act_4", "k2", on(1, 5), 205, 1))
    preview = keeping.preview(recomputed)
    assert (preview.new, preview.changed, preview.gone) == (0, 1, 0)
    assert counts(keeping.deliver(recomputed)) == (1, 1)
    assert versions(place, tmp_path, "mrr_movements") == sorted(
        [
            ("act_3", "k1", on(1, 5), 100, 2, FIRST, None, True),
            ("act_2", "k2", on(1, 5), 200, 2, FIRST, SECOND, False),
            ("act_4", "k2", on(1, 5), 205, 1, SECOND, None, True),
        ],
        key=repr,
    )


def test_exactly_the_window_is_closed_and_opened(keeping, place, movements, tmp_path):
    january, february = ("act_1", "k1", on(1, 31), 1, 1), ("act_2", "k2", on(2, 1), 2, 1)
    keeping.deliver(movements(FIRST, january, february))
    moved = ("act_3", "k3", on(1, 30), 1, 1)
    keeping.deliver(movements(SECOND, moved, window=JANUARY))
    assert versions(place, tmp_path, "mrr_movements") == sorted(
        [
            (*january, FIRST, SECOND, False),
            (*february, FIRST, None, True),
            (*moved, SECOND, None, True),
        ],
        key=repr,
    )
    assert counts(keeping.deliver(movements(THIRD, window=JANUARY))) == (0, 1)


def test_a_new_column_opens_a_version_only_where_it_says_something(keeping, place, plans, tmp_path):
    wider = PLANS.append(pa.field("interval", pa.string()))
    keeping.deliver(plans(FIRST, {1: "a", 2: "b"}))
    assert counts(keeping.deliver(plans(SECOND, {1: "a", 2: "b"}, schema=wider, interval=None))) == (0, 0)
    assert counts(keeping.deliver(plans(THIRD, {1: "a"}, schema=wider, interval="month"))) == (1, 2)
    current = [row for row in place.rows(tmp_path) if row["is_current"]]
    assert [(row["id"], row["interval"]) for row in current] == [(1, "month")]


def test_values_of_every_kind_are_told_to_be_the_same(keeping, place, table, tmp_path):
    rows = [
        {
            "id": 1,
            "text": "é😀'\\",
            "number": -(2**63),
            "share": 5e-324,
            "flag": False,
            "moment": datetime(1, 1, 1, tzinfo=UTC),
            "day": date.max,
            "free": '{"a": [1, "ü", null]}',
        },
        {"id": 2, **dict.fromkeys(EVERY_KIND.names[1:])},
    ]
    found = [keeping.deliver(table(rows, schema=EVERY_KIND, read_at=at)) for at in (FIRST, SECOND)]
    assert [counts(one) for one in found] == [(2, 0), (0, 0)]
    rows[0]["free"] = '{"a": [1, "ü", 0]}'
    preview = keeping.preview(table(rows, schema=EVERY_KIND, read_at=THIRD))
    assert (preview.rows, preview.new, preview.changed, preview.gone) == (2, 0, 1, 0)


def test_a_preview_counts_against_the_current_rows_and_shows_what_is_run(keeping, place, plans, tmp_path):
    keeping.deliver(plans(FIRST, {1: "a", 2: "b", 3: "c"}))
    keeping.deliver(plans(SECOND, {1: "a", 2: "B"}))
    before = versions(place, tmp_path)
    preview = keeping.preview(plans(THIRD, {2: "b", 3: "c", 4: "d"}))
    assert (preview.new, preview.changed, preview.gone) == (2, 1, 1)
    close, insert = preview.statements[-2:]
    assert (close.partition(" ")[0], insert.partition(" ")[0]) == ("UPDATE", "INSERT")
    assert versions(place, tmp_path) == before


def test_what_fails_leaves_every_version_as_it_was(keeping, place, plans, tmp_path):
    keeping.deliver(plans(FIRST, {1: "a", 2: "b"}))
    before = versions(place, tmp_path)
    broken = damaged(lambda rows: plans(SECOND, {row["id"]: row["name"] for row in rows}), [{"id": 1, "name": "A"}])
    with pytest.raises(StoreDamaged):
        keeping.deliver(broken)
    assert versions(place, tmp_path) == before


def test_a_table_without_history_is_refused_until_it_is_renamed(place, plans, tmp_path):
    plain, keeping = (place.destination(tmp_path, **how) for how in ({}, {"history": "all"}))
    plain.deliver(plans(FIRST, {1: "a"}))
    for verb in (keeping.preview, keeping.deliver):
        with pytest.raises(DestinationRefused, match="shelf: plans: the table there keeps no history") as refused:
            verb(plans(SECOND, {1: "b"}))
    assert place.rows(tmp_path) == [{"id": 1, "name": "a"}]
    run(place, tmp_path, refused.value.remedy.partition("run: ")[2].partition(";")[0])
    assert counts(keeping.deliver(plans(SECOND, {1: "b"}))) == (1, 0)
    assert place.rows(tmp_path, "plans_before") == [{"id": 1, "name": "a"}]


def test_a_table_with_history_is_never_emptied_where_history_is_off(place, plans, tmp_path):
    plain, keeping = (place.destination(tmp_path, **how) for how in ({}, {"history": ["plans"]}))
    keeping.deliver(plans(FIRST, {1: "a"}))
    with pytest.raises(DestinationRefused, match="keeps history") as refused:
        plain.deliver(plans(SECOND, {1: "b"}))
    assert versions(place, tmp_path) == [(1, "a", FIRST, None, True)]
    assert "history: [plans]" in refused.value.remedy
    run(place, tmp_path, refused.value.remedy.partition("run: ")[2].partition(";")[0])
    plain.deliver(plans(SECOND, {1: "b"}))
    assert place.rows(tmp_path) == [{"id": 1, "name": "b"}]


def test_other_datasets_keep_no_history(keeping, place, table, tmp_path):
    delivered = keeping.deliver(table([{"id": 1, "name": "b"}], dataset="tags"))
    assert place.rows(tmp_path, "tags") == [{"id": 1, "name": "b"}]
    assert "opened" not in delivered.details


@pytest.mark.parametrize("dataset", ["plans", "mrr_movements"])
def test_rows_that_nothing_identifies_are_refused(dataset, keeping, place, table, tmp_path):
    with pytest.raises(DestinationRefused, match=f"shelf: {dataset}: history needs the columns"):
        keeping.deliver(table([{"id": 1}], dataset=dataset, key=()))
    assert place.state(tmp_path, dataset) is None


@pytest.mark.parametrize("place", [place for place in PLACES if place.word == "duckdb"], indirect=True, ids=str)
@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_happens_the_current_rows_are_those_of_a_table_without_history(seed, place, movements, tmp_path):
    chance = random.Random(seed)
    plain, keeping = place.destination(tmp_path / "plain"), place.destination(tmp_path / "kept", history="all")
    known = [(f"k{number}", on(month, 1 + number)) for number in range(6) for month in (1, 2)]
    told = {}
    for turn in range(8):
        at = FIRST + timedelta(hours=turn)
        window = chance.choice([JANUARY, Window.months(Month(2026, 2), None), ALL_YEAR])
        rows = [
            (f"act_{turn}_{key}_{day.month}", f"{key} {day.month}", day, chance.randrange(2), chance.randrange(1, 3))
            for key, day in known
            if window.holds(day) and chance.random() < 0.7
        ]
        for destination in (plain, keeping):
            destination.deliver(movements(at, *rows, window=window))
        lying = place.rows(tmp_path / "kept", "mrr_movements")
        told[at] = place.rows(tmp_path / "plain", "mrr_movements")
        assert alike(row for row in lying if row["is_current"]) == alike(told[at])
    lasting = [name for name in MOVEMENTS.names if name not in DATASETS["mrr_movements"].fleeting]
    for at, was in told.items():
        held = [row for row in lying if held_at(row, at)]
        assert alike(held, lasting) == alike(was, lasting)


def deliver(place, folder, table):
    """The work of a child, again and again."""
    for _ in range(2):
        place.destination(folder, history="all").deliver(table)


AT_ONCE = [place for place in PLACES if place.word in LOCKING]


@pytest.mark.slow
@pytest.mark.parametrize("place", AT_ONCE, indirect=True, ids=str)
def test_two_deliveries_at_once_leave_one_history(place, keeping, plans, tmp_path):
    first, *tables = [plans(at, dict.fromkeys(range(50), at.isoformat())) for at in (FIRST, SECOND, THIRD)]
    keeping.deliver(first)
    for child in [killing.begin(deliver, place, tmp_path, one) for one in reversed(tables)]:
        killing.end(child)
    rows = place.rows(tmp_path)
    assert sorted(row["id"] for row in rows if row["is_current"]) == list(range(50))
    assert {row["name"] for row in rows if row["is_current"]} == {THIRD.isoformat()}
    assert len(rows) in {100, 150}
