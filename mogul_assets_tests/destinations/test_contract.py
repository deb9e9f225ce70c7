"""What every data destination promises, whatever it is."""

from __future__ import annotations

import random
import re
import resource
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from mogul_assets.catalog.window import Month, Window
from mogul_assets.destinations import snowflake, warehouse
from mogul_assets.destinations.base import Outcome
from mogul_assets.errors import DestinationRefused, StoreDamaged
from mogul_assets.store.table import new_generation
from mogul_assets_tests import killing
from mogul_assets_tests.destinations.place import DISK, JSON_NULL, JSON_TEXT
from mogul_assets_tests.tables import rows_of

JSON = {"json": "true"}
EVERY_KIND = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False, metadata={"description": "Number of the plan's"}),
        pa.field("text", pa.string()),
        pa.field("number", pa.int64()),
        pa.field("share", pa.float64()),
        pa.field("flag", pa.bool_()),
        pa.field("moment", pa.timestamp("us", tz="UTC")),
        pa.field("day", pa.date32()),
        pa.field("free", pa.string(), metadata=JSON),
    ],
    metadata={"description": "Plans, of every kind."},
)


WORDS = pa.schema([("id", pa.int64()), ("word", pa.string())])


def on(year, month, day=1):
    return datetime(year, month, day, tzinfo=UTC)


def movements(*dates, word="old"):
    return [{"id": f"{at:%Y%m%d}", "date": at, "word": word} for at in dates]


def dated(table, rows, window, **how):
    schema = pa.schema([("id", pa.string()), ("date", pa.timestamp("us", tz="UTC")), ("word", pa.string())])
    return table(rows, schema=schema, window=window, window_column="date", **how)


def words(rows):
    return {row["id"]: row["word"] for row in rows}


def test_rows_arrive_whole_and_in_the_order_of_the_key(destination, place, table, tmp_path):
    plans = table([{"id": 3, "name": "c"}, {"id": 1, "name": "a"}, {"id": 2, "name": None}])
    delivered = destination.deliver(plans)
    assert place.rows(tmp_path) == [{"id": 1, "name": "a"}, {"id": 2, "name": None}, {"id": 3, "name": "c"}]
    assert (delivered.outcome, delivered.rows) == (Outcome.DELIVERED, 3)
    assert delivered.bytes > 0


def test_the_same_delivery_again_changes_nothing(destination, place, table, tmp_path):
    plans = table([{"id": 1, "name": "a"}])
    destination.deliver(plans)
    before = place.state(tmp_path)
    assert destination.deliver(plans).outcome is Outcome.DELIVERED
    assert place.state(tmp_path) == before


def test_a_snapshot_replaces_all_that_lay_there(destination, place, table, tmp_path):
    destination.deliver(table([{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]))
    destination.deliver(table([{"id": 2, "name": "B"}, {"id": 4, "name": "d"}]))
    assert place.rows(tmp_path) == [{"id": 2, "name": "B"}, {"id": 4, "name": "d"}]


def test_a_window_is_replaced_exactly(destination, place, table, tmp_path):
    everything = Window(datetime.min.replace(tzinfo=UTC), None)
    destination.deliver(dated(table, movements(on(2009, 5), on(2026, 1, 31), on(2026, 2, 1), on(2026, 3)), everything))
    february = Window.months(Month(2026, 2), Month(2026, 2))
    destination.deliver(dated(table, movements(on(2026, 2, 14), word="new"), february))
    assert words(place.rows(tmp_path)) == {
        "20090501": "old",
        "20260131": "old",
        "20260214": "new",
        "20260301": "old",
    }


def test_an_open_window_replaces_every_later_month_too(destination, place, table, tmp_path):
    start = Window.months(Month(2026, 1), None)
    destination.deliver(dated(table, movements(on(2026, 1), on(2026, 2), on(2026, 9), on(2027, 1)), start))
    destination.deliver(dated(table, movements(on(2026, 2, 3), word="new"), Window.months(Month(2026, 2), None)))
    assert words(place.rows(tmp_path)) == {"20260101": "old", "20260203": "new"}


def test_the_first_month_takes_everything_older(destination, place, table, tmp_path):
    since = Month(2026, 1)
    every = Window.months(since, None, since=since)
    destination.deliver(dated(table, movements(on(1, 1), on(1999, 12, 31), on(2026, 2)), every))
    destination.deliver(dated(table, movements(on(2001, 1), word="new"), Window.months(since, since, since=since)))
    assert words(place.rows(tmp_path)) == {"20010101": "new", "20260201": "old"}


def test_an_emptied_window_is_empty(destination, place, table, tmp_path):
    january, both = Window.months(Month(2026, 1), Month(2026, 1)), Window.months(Month(2026, 1), Month(2026, 2))
    destination.deliver(dated(table, movements(on(2026, 1), on(2026, 2)), both))
    destination.deliver(dated(table, [], january))
    assert words(place.rows(tmp_path)) == {"20260201": "old"}


def test_a_window_may_be_of_days(destination, place, table, tmp_path):
    def rates(*days):
        rows = [{"date": day, "rate": 1.5} for day in days]
        return {"rows": rows, "key": ("date",), "window_column": "date"}

    whole = Window.months(Month(2026, 1), Month(2026, 3))
    destination.deliver(
        table(**rates(date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 28), date(2026, 3, 1)), window=whole)
    )
    destination.deliver(table(**rates(date(2026, 2, 2)), window=Window.months(Month(2026, 2), Month(2026, 2))))
    assert [row["date"] for row in sorted(place.rows(tmp_path), key=lambda row: row["date"])] == [
        date(2026, 1, 31),
        date(2026, 2, 2),
        date(2026, 3, 1),
    ]


def test_an_empty_table_is_delivered_as_empty(destination, place, table, tmp_path):
    destination.deliver(table([], schema=EVERY_KIND))
    state = place.state(tmp_path)
    assert state.rows == []
    assert [name for name, _ in state.columns] == EVERY_KIND.names
    destination.deliver(table([{"id": 1}], schema=EVERY_KIND))
    destination.deliver(table([], schema=EVERY_KIND))
    assert place.rows(tmp_path) == []


def test_a_table_without_files_is_delivered_as_empty(destination, place, table, tmp_path):
    window = Window.months(Month(2026, 1), None)
    none = dated(table, [], window)
    assert none.files == ()
    destination.deliver(none)
    assert place.rows(tmp_path) == []


def test_a_new_column_is_added(destination, place, table, tmp_path):
    destination.deliver(table([{"id": 1}]))
    destination.deliver(table([{"id": 1, "name": "a"}]))
    assert place.rows(tmp_path) == [{"id": 1, "name": "a"}]


def test_rows_outside_of_the_window_are_null_in_a_new_column(destination, place, table, tmp_path):
    def movement(month, **more):
        window = Window.months(Month(2026, month), Month(2026, month))
        return table([{"id": month, "date": on(2026, month), **more}], window=window, window_column="date")

    destination.deliver(movement(1))
    destination.deliver(movement(2, word="w"))
    assert {row["id"]: row["word"] for row in place.rows(tmp_path)} == {1: None, 2: "w"}


def test_a_column_that_is_gone_stays_and_is_null(destination, place, table, tmp_path):
    destination.deliver(table([{"id": 1, "name": "a"}]))
    destination.deliver(table([{"id": 1}, {"id": 2}]))
    assert place.rows(tmp_path) == [{"id": 1, "name": None}, {"id": 2, "name": None}]


def test_a_column_that_comes_back_is_filled_again(destination, place, table, tmp_path):
    for rows in ([{"id": 1, "name": "a"}], [{"id": 1}], [{"id": 1, "name": "b"}]):
        destination.deliver(table(rows))
    assert place.rows(tmp_path) == [{"id": 1, "name": "b"}]


def test_a_type_that_only_widens_is_taken(destination, place, table, tmp_path):
    destination.deliver(table([{"id": 1, "at": date(2026, 1, 2)}]))
    destination.deliver(table([{"id": 1, "at": on(2026, 1, 2)}]))
    (row,) = place.rows(tmp_path)
    assert row["at"] == on(2026, 1, 2)


def test_another_type_is_refused_with_the_command_to_run(destination, place, table, tmp_path):
    destination.deliver(table([{"id": 1, "name": "a"}]))
    with pytest.raises(DestinationRefused, match="name") as refused:
        destination.deliver(table([{"id": 1, "name": 7}]))
    assert refused.value.remedy.count("run: ") == 1
    assert place.rows(tmp_path) == [{"id": 1, "name": "a"}]


NAMES = ("select", "Order", 'say "hi"', "o'clock", "naïve", "日本", "a b", "a.b", "a;--", "😀", "%s", "{x}", "?", "$1")


def test_any_name_can_name_a_column(destination, place, table, tmp_path):
    row = {"id": 1, **{name: f"in {name}" for name in NAMES if name not in place.refused_names}}
    destination.deliver(table([row]))
    destination.deliver(table([row]))
    assert place.rows(tmp_path) == [{place.spelled(name): value for name, value in row.items()}]


def test_a_name_that_cannot_name_a_column_there_is_told(destination, place, table, tmp_path):
    for name in place.refused_names:
        with pytest.raises(DestinationRefused, match=re.escape(name)):
            destination.deliver(table([{"id": 1, name: "a"}]))
        assert place.state(tmp_path) is None


def test_names_that_differ_in_case_only_are_two_columns_or_refused_by_name(destination, place, table, tmp_path):
    both = table([{"id": 1, "word": "a", "Word": "b"}])
    if place.folds:
        with pytest.raises(DestinationRefused, match="'word' and 'Word'"):
            destination.deliver(both)
        assert place.state(tmp_path) is None
    else:
        destination.deliver(both)
        assert place.rows(tmp_path) == [{"id": 1, "word": "a", "Word": "b"}]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        'o\'clock "quoted"',
        "😀👩‍👩‍👧",
        "naïve é e\u0301",
        "\0",
        "a\0b",
        "line\r\nline\ttab",
        "NULL",
        "\\N",
        "\ufeff",
        "x" * 5_000_000,
    ],
    ids=[
        "empty",
        "space",
        "quotes",
        "emoji",
        "accents",
        "NUL",
        "NUL inside",
        "lines",
        "NULL",
        "backslash",
        "BOM",
        "5 MB",
    ],
)
def test_any_text_within_the_limits_arrives_as_it_is(text, destination, place, table, tmp_path):
    texts = table([{"id": 1, "text": text}, {"id": 2, "text": None}])
    limits = destination.capabilities
    too_long = limits.text_bytes is not None and len(text.encode()) > limits.text_bytes
    if too_long or ("\0" in text and not limits.nul_in_text):
        with pytest.raises(DestinationRefused, match=r"plans\.text of row"):
            destination.deliver(texts)
        assert place.state(tmp_path) is None
    else:
        destination.deliver(texts)
        assert [row["text"] for row in place.rows(tmp_path)] == [text, None]


def test_extremes_of_every_kind_arrive_as_they_are(destination, place, table, tmp_path):
    rows = [
        {
            "id": -(2**63),
            "text": "",
            "number": 2**63 - 1,
            "share": 5e-324,
            "flag": False,
            "moment": on(1, 1),
            "day": date.min,
            "free": '{"a":[1,"ü",null],"b":{}}',
        },
        {"id": 0, **dict.fromkeys(EVERY_KIND.names[1:])},
        {
            "id": 2**63 - 1,
            "text": "z",
            "number": -(2**63),
            "share": float("-inf"),
            "flag": True,
            "moment": datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            "day": date.max,
            "free": "true",
        },
    ]
    destination.deliver(table(rows, schema=EVERY_KIND))
    assert place.rows(tmp_path) == rows


@pytest.mark.needs(JSON_NULL)
def test_a_null_of_json_is_no_missing_value(destination, place, table, tmp_path):
    rows = [{"id": 1, "free": "null"}, {"id": 2, "free": None}]
    schema = pa.schema([EVERY_KIND.field("id"), EVERY_KIND.field("free")])
    destination.deliver(table(rows, schema=schema))
    assert place.rows(tmp_path) == rows


@pytest.mark.needs(JSON_TEXT)
def test_json_arrives_to_the_byte(destination, place, table, tmp_path):
    texts = ['{"a": 1, "a": 2.0, "b": 1e999}', "12345678901234567890.10", " [ ] "]
    rows = [{"id": number, "free": text} for number, text in enumerate(texts)]
    schema = pa.schema([EVERY_KIND.field("id"), EVERY_KIND.field("free")])
    destination.deliver(table(rows, schema=schema))
    assert place.rows(tmp_path) == rows


def test_a_table_of_nulls_arrives(destination, place, table, tmp_path):
    rows = [{"id": number, **dict.fromkeys(EVERY_KIND.names[1:])} for number in range(3)]
    destination.deliver(table(rows, schema=EVERY_KIND))
    assert place.rows(tmp_path) == rows


@pytest.mark.slow
def test_a_large_table_arrives_in_order(destination, place, table, tmp_path):
    ids = pa.array(range(300_000), pa.int64())
    large = table(pa.table({"id": ids, "name": ids.cast(pa.string())}))
    assert destination.deliver(large).rows == 300_000
    assert place.rows(tmp_path) == rows_of(large)


def test_an_older_generation_changes_nothing(destination, place, table, tmp_path):
    older, newer = new_generation(on(2026, 1)), new_generation(on(2026, 2))
    destination.deliver(table([{"id": 2}], generation=newer))
    before, arrived = place.state(tmp_path), destination.last_delivery("plans")
    late = destination.deliver(table([{"id": 1}], generation=older))
    assert (late.outcome, late.rows, late.bytes) == (Outcome.SUPERSEDED, 0, 0)
    assert place.state(tmp_path) == before
    assert destination.last_delivery("plans") == arrived


def test_an_older_generation_may_fill_another_month(destination, place, table, tmp_path):
    older, newer = new_generation(on(2026, 1)), new_generation(on(2026, 2))
    january, february = (Window.months(Month(2026, month), Month(2026, month)) for month in (1, 2))
    destination.deliver(dated(table, movements(on(2026, 2)), february, generation=newer))
    filled = destination.deliver(dated(table, movements(on(2026, 1)), january, generation=older))
    late = destination.deliver(dated(table, [], Window.months(Month(2026, 1), None), generation=older))
    assert (filled.outcome, late.outcome) == (Outcome.DELIVERED, Outcome.SUPERSEDED)
    assert words(place.rows(tmp_path)) == {"20260101": "old", "20260201": "old"}


def test_a_newer_window_protects_only_what_it_covered(destination, place, table, tmp_path):
    oldest, first, second, third = (new_generation(on(2026, month)) for month in (1, 2, 3, 4))
    months = [Window.months(Month(2026, month), Month(2026, month)) for month in (1, 2, 3)]
    destination.deliver(dated(table, [], Window.months(Month(2026, 1), None), generation=first))
    destination.deliver(dated(table, movements(on(2026, 2)), months[1], generation=third))

    def outcomes(generation):
        return [destination.deliver(dated(table, [], month, generation=generation)).outcome for month in months]

    assert outcomes(oldest) == [Outcome.SUPERSEDED] * 3
    assert outcomes(second) == [Outcome.DELIVERED, Outcome.SUPERSEDED, Outcome.DELIVERED]


def test_a_delivery_tells_whether_other_months_are_there(destination, table):
    january, february = (Window.months(Month(2026, month), Month(2026, month)) for month in (1, 2))
    assert destination.deliver(dated(table, movements(on(2026, 1)), january)).anew
    assert not destination.deliver(dated(table, movements(on(2026, 2)), february)).anew


def test_a_delivery_tells_whether_other_months_have_its_columns(destination, table):
    def delivered(month, **more):
        window = Window.months(Month(2026, month), Month(2026, month))
        row = {"id": month, "date": on(2026, month), **more}
        return destination.deliver(table([row], window=window, window_column="date")).anew

    told = [delivered(1), delivered(2, word="w"), delivered(3, word="w"), delivered(4), delivered(5, word="w")]
    assert told == [True, True, False, True, True]


@pytest.mark.parametrize("months", [1, 2])
def test_files_of_before_a_column_came_are_null_in_it(months, destination, place, table, tmp_path):
    window = Window.months(Month(2026, 1), Month(2026, months))
    rows = [{"id": month, "date": on(2026, month)} for month in (1, 2)]
    old = table(rows[:1], window=window, window_column="date")
    new = table(
        [{**row, "word": "w"} for row in rows[1:months]] or [{**rows[0], "word": "w"}],
        window=window,
        window_column="date",
    )
    files = (*old.files, *new.files)[:months]
    destination.deliver(replace(new, files=files, generation=new_generation()))
    assert [(row["id"], row["word"]) for row in place.rows(tmp_path)] == [(1, None), (2, "w")][:months]


def damaged(table, rows):
    """A table whose file holds another row than it says."""
    right, wrong = table(rows), table([*rows, {**rows[-1], "id": 99}])
    Path(wrong.paths[0]).replace(right.paths[0])
    return right


def test_what_a_failed_delivery_made_is_still_told(destination, table):
    for rows in ([{"id": 1}], [{"id": 1, "name": "a"}]):
        with pytest.raises(StoreDamaged):
            destination.deliver(damaged(table, rows))
        assert [destination.deliver(table(rows)).anew for _ in range(2)] == [True, False]


def test_datasets_lie_side_by_side(destination, place, table, tmp_path):
    destination.deliver(table([{"id": 1}], dataset="plans"))
    destination.deliver(table([{"id": 2}], dataset="tags", generation=new_generation(on(2020, 1))))
    assert place.rows(tmp_path, "plans") == [{"id": 1}]
    assert place.rows(tmp_path, "tags") == [{"id": 2}]


def test_a_missing_file_of_the_store_is_named_and_what_lay_there_stands(destination, place, table, tmp_path):
    destination.deliver(table([{"id": 1}]))
    lost = table([{"id": 2}])
    (tmp_path / "store" / lost.paths[0]).unlink()
    with pytest.raises(StoreDamaged, match="missing"):
        destination.deliver(lost)
    assert place.rows(tmp_path) == [{"id": 1}]


def test_two_columns_of_one_name_are_refused(destination, table):
    twice = pa.table([pa.array([1]), pa.array([2])], names=["id", "id"])
    with pytest.raises(DestinationRefused, match="one name"):
        destination.deliver(table(twice, key=()))


def test_the_last_delivery_is_remembered_by_the_place(destination, place, table, tmp_path):
    assert destination.last_delivery("plans") is None
    before = datetime.now(UTC)
    destination.deliver(table([{"id": 1}]))
    again = place.destination(tmp_path)
    assert before <= again.last_delivery("plans") <= datetime.now(UTC)
    assert again.last_delivery("tags") is None


def test_a_preview_counts_by_key_and_sends_nothing(destination, place, table, tmp_path):
    destination.deliver(table([{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 3, "name": None}]))
    before = place.state(tmp_path)
    preview = destination.preview(table([{"id": 2, "name": "B"}, {"id": 3, "name": None}, {"id": 4, "name": "d"}]))
    assert (preview.rows, preview.new, preview.changed, preview.gone) == (3, 1, 1, 1)
    assert [place.spelled(name) for name, _ in preview.columns] == ["id", "name"]
    assert place.state(tmp_path) == before


def test_a_preview_looks_within_the_window_only(destination, table):
    destination.deliver(dated(table, movements(on(2026, 1), on(2026, 2)), Window.months(Month(2026, 1), None)))
    january = Window.months(Month(2026, 1), Month(2026, 1))
    preview = destination.preview(dated(table, movements(on(2026, 1, 2)), january))
    assert (preview.new, preview.changed, preview.gone) == (1, 0, 1)


def test_a_preview_of_a_first_delivery_makes_nothing(destination, place, table, tmp_path):
    preview = destination.preview(table([{"id": 1}]))
    assert (preview.new, preview.changed, preview.gone) == (1, 0, 0)
    assert place.everything(tmp_path) == []


def test_a_preview_counts_a_column_that_comes_or_goes_as_a_change(destination, table):
    destination.deliver(table([{"id": 1, "name": "a"}, {"id": 2, "name": None}]))
    preview = destination.preview(table([{"id": 1}, {"id": 2}], schema=WORDS))
    assert (preview.new, preview.changed, preview.gone) == (0, 1, 0)


def test_a_preview_without_a_key_counts_only_rows(destination, table):
    destination.deliver(table([{"id": 1}], key=()))
    preview = destination.preview(table([{"id": 1}, {"id": 1}], key=()))
    assert (preview.rows, preview.new, preview.changed, preview.gone) == (2, None, None, None)


def test_a_preview_refuses_what_the_delivery_would_refuse(destination, table):
    destination.deliver(table([{"id": 1, "name": "a"}]))
    with pytest.raises(DestinationRefused, match="name"):
        destination.preview(table([{"id": 1, "name": 7}]))


def test_a_check_tries_everything_and_leaves_nothing(destination, place, table, tmp_path):
    assert [permission.problem for permission in destination.check()] == [None] * len(destination.check())
    assert place.everything(tmp_path) == []
    destination.deliver(table([{"id": 1}]))
    before, everything = place.state(tmp_path), place.everything(tmp_path)
    assert not any(permission.problem for permission in destination.check())
    assert (place.state(tmp_path), place.everything(tmp_path)) == (before, everything)


@pytest.mark.needs(DISK)
def test_below_a_file_nothing_can_be_delivered_and_the_check_says_so(place, table, tmp_path):
    (tmp_path / "file").write_text("in the way")
    destination = place.destination(tmp_path / "file" / "folder")
    with pytest.raises(DestinationRefused, match="Not a directory"):
        destination.deliver(table([{"id": 1}]))
    problems = [permission for permission in destination.check() if permission.problem]
    assert [permission.name for permission in problems] == ["have the folder"]
    assert problems[0].remedy


@pytest.mark.needs(DISK)
def test_a_folder_of_the_system_cannot_be_written_to(place, table):
    destination = place.destination(Path("/proc/mogul"))
    with pytest.raises(DestinationRefused, match="/proc/mogul"):
        destination.deliver(table([{"id": 1}]))


def test_nothing_is_left_before_the_first_delivery(destination):
    assert destination.forget() == []


def deliver(place, folder, *tables):
    """The work of a child: every table in turn, waiting for others however slow the machine is."""
    warehouse._WAIT = 600
    snowflake.SILENT_SECONDS = 600  # Snowflake says every 45 s that a statement waits; its peer says nothing
    for table in tables:
        place.destination(folder).deliver(table)


@pytest.mark.slow
def test_two_deliveries_at_once_both_end_and_the_newer_wins(place, table, tmp_path):
    generations = [new_generation(on(2026, month)) for month in (1, 2)]
    tables = [
        table([{"id": number, "word": generation} for number in range(2_000)], generation=generation)
        for generation in generations
    ]
    place.destination(tmp_path)  # two children that make its bucket at once would meet
    for _ in range(3):
        for child in [killing.begin(deliver, place, tmp_path, one, one, one) for one in reversed(tables)]:
            killing.end(child)
        assert place.rows(tmp_path) == rows_of(tables[1])


@pytest.mark.slow
def test_a_reader_sees_the_old_or_the_new_whole(place, table, tmp_path):
    tables = [table([{"id": number, "turn": turn} for number in range(1_000)]) for turn in range(12)]
    place.destination(tmp_path).deliver(tables[0])
    writer = killing.begin(deliver, place, tmp_path, *tables)
    seen = []
    while writer.is_alive():
        rows = place.rows(tmp_path)
        assert len(rows) == 1_000
        assert len({row["turn"] for row in rows}) == 1
        seen.append(rows[0]["turn"])
    killing.end(writer)
    assert place.rows(tmp_path)[0]["turn"] == 11
    assert seen == sorted(seen)
    assert len(seen) > 1


def deliver_to_a_full_disk(place, folder, table, room=100_000):
    """The work of a child that may write files of at most so many bytes: EFBIG is what root can provoke anywhere."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    with pytest.raises(DestinationRefused, match="free some space"):
        place.destination(folder).deliver(table)


@pytest.mark.slow
@pytest.mark.needs(DISK)
def test_a_full_disk_is_told_and_what_lay_there_stands(place, table, tmp_path):
    chance = random.Random(7)
    place.destination(tmp_path).deliver(table([{"id": 1, "noise": "a"}]))
    large = table([{"id": number, "noise": f"{chance.getrandbits(512):x}"} for number in range(20_000)])
    killing.end(killing.begin(deliver_to_a_full_disk, place, tmp_path, large))
    assert place.rows(tmp_path) == [{"id": 1, "noise": "a"}]
    place.destination(tmp_path).deliver(large)
    assert place.rows(tmp_path) == rows_of(large)


@pytest.mark.slow
@pytest.mark.needs(DISK)
@pytest.mark.parametrize("room", [1, 100, 8_000, 100_000])
def test_a_disk_that_was_full_at_the_first_delivery_gets_it_later(room, place, table, tmp_path):
    chance = random.Random(7)
    large = table([{"id": number, "noise": f"{chance.getrandbits(512):x}"} for number in range(20_000)])
    killing.end(killing.begin(deliver_to_a_full_disk, place, tmp_path, large, room))
    place.destination(tmp_path).deliver(large)
    assert place.rows(tmp_path) == rows_of(large)
