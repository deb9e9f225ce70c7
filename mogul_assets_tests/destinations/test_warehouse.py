"""What the three warehouses do alike, beyond what every destination promises: one flow, read off their statements."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pytest

from mogul_assets.catalog.columns import Kind
from mogul_assets.catalog.window import Month, Window
from mogul_assets.destinations.base import Outcome
from mogul_assets.errors import DestinationRefused, StoreDamaged
from mogul_assets.store.table import new_generation
from mogul_assets_tests.destinations.place import Place, Spot
from mogul_assets_tests.destinations.places import PLACES
from mogul_assets_tests.destinations.test_contract import damaged, dated, movements, on
from mogul_assets_tests.peers import bigquery, redshift, snowflake


@dataclass(frozen=True)
class Peer:
    """What stands behind a warehouse under test: every SQL text that came, and a way to say some by hand."""

    said: Callable[[Spot], list[str]]
    run: Callable[[Spot, str], object]


PEERS = {
    "snowflake": Peer(snowflake.said, snowflake.asked),
    "bigquery": Peer(bigquery.said, lambda spot, sql: bigquery.connect(spot.address).query(sql).result(timeout=60)),
    "redshift": Peer(
        lambda spot: redshift.stated(spot.address, spot.name), lambda spot, sql: redshift.asked(spot.address, sql)
    ),
}

pytestmark = pytest.mark.parametrize(
    "place",
    [pytest.param(place, marks=pytest.mark.peer) for place in PLACES if place.word in PEERS],
    indirect=True,
    ids=str,
)

DESCRIBED = pa.schema(
    [
        pa.field("id", pa.int64(), metadata={"description": "Number of the plan's"}),
        pa.field("name", pa.string(), metadata={"description": 'It\'s what "people" say'}),
    ],
    metadata={"description": "Plans of the account."},
)


@dataclass(frozen=True)
class Front:
    """A test's own schema, seen from behind."""

    place: Place
    spot: Spot
    destination: object

    def said(self) -> list[str]:
        return [" ".join(text.split()) for text in PEERS[self.place.word].said(self.spot)]

    def run(self, sql: str) -> object:
        return PEERS[self.place.word].run(self.spot, sql)

    @property
    def dialect(self):
        return self.destination.dialect

    def path(self, table: str = "plans") -> str:
        return self.dialect.name(*self.destination.namespace, table)

    def type(self, kind: Kind) -> str:
        return self.dialect.types[kind]


@pytest.fixture
def front(place, destination, tmp_path):
    return Front(place, place._spot(tmp_path), destination)


def rows_of(place, tmp_path):
    return [tuple(row.values()) for row in place.rows(tmp_path)]


def test_data_goes_in_bulk_however_small(destination, front, table):
    destination.deliver(table([{"id": 1, "name": "needle in a haystack"}]))
    values = [text for text in front.said() if re.search(r"\bVALUES\b", text)]
    assert values
    assert not [text for text in front.said() if "needle in" in text]
    assert all(front.path("mogul_deliveries") in text for text in values)


def test_rows_change_in_one_transaction_that_takes_the_lock_first(destination, front, table):
    plans = table([{"id": 1}])
    destination.deliver(plans)
    before = len(front.said())
    destination.deliver(plans)
    text = ";\n".join(front.said()[before:])
    log, path = re.escape(front.path("mogul_deliveries")), re.escape(front.path())
    steps = ["BEGIN", f"UPDATE {log}", f"DELETE FROM {path}", f"INSERT INTO {path}", f"INSERT INTO {log}", "COMMIT"]
    last = {step: [one.start() for one in re.finditer(rf"\b{step}", text)][-1:] for step in steps}
    assert sorted(steps, key=last.__getitem__) == steps
    assert all(last.values())


def test_where_nothing_differs_the_schema_is_left_alone(destination, front, table):
    plans = table([{"id": 1, "name": "a"}], schema=DESCRIBED)
    destination.deliver(plans)
    before = len(front.said())
    destination.deliver(plans)
    ddl = [text for text in front.said()[before:] if re.match(r"(CREATE|ALTER TABLE|COMMENT)\b", text)]
    assert not [text for text in ddl if "mogul_staging" not in text.lower() and "TEMP" not in text]


def test_tables_and_columns_are_described(destination, front, table):
    destination.deliver(table([{"id": 1, "name": "a"}], schema=DESCRIBED))
    said = "\n".join(front.said())
    for text in ("Plans of the account.", "Number of the plan's", 'It\'s what "people" say'):
        assert front.dialect.literal(text) in said


def test_a_description_that_changed_is_changed_there(destination, front, table):
    plans = [{"id": 1, "name": "a"}]
    destination.deliver(table(plans, schema=DESCRIBED))
    field = DESCRIBED.field("name").with_metadata({"description": "what it is called"})
    before = len(front.said())
    destination.deliver(table(plans, schema=DESCRIBED.set(1, field)))
    assert [text for text in front.said()[before:] if "what it is called" in text]
    before = len(front.said())
    destination.deliver(table(plans, schema=DESCRIBED.set(1, field)))
    assert not [text for text in front.said()[before:] if "what it is called" in text]


def test_a_column_added_by_hand_stays_and_is_null_in_new_rows(destination, place, front, table, tmp_path):
    destination.deliver(table([{"id": 1}]))
    extra = front.dialect.name("extra")
    front.run(f"ALTER TABLE {front.path()} ADD COLUMN {extra} {front.type(Kind.INT)}")
    front.run(f"UPDATE {front.path()} SET {extra} = 7 WHERE true")
    assert rows_of(place, tmp_path) == [(1, 7)]
    destination.deliver(table([{"id": 1}, {"id": 2}]))
    assert rows_of(place, tmp_path) == [(1, None), (2, None)]


def test_a_column_removed_by_hand_is_added_again(destination, place, front, table, tmp_path):
    plans = table([{"id": 1, "name": "a"}])
    destination.deliver(plans)
    front.run(f"ALTER TABLE {front.path()} DROP COLUMN {front.dialect.name('name')}")
    destination.deliver(plans)
    assert place.rows(tmp_path) == [{"id": 1, "name": "a"}]


def test_a_column_retyped_by_hand_is_refused_until_the_command_was_run(destination, place, front, table, tmp_path):
    destination.deliver(table([{"id": 1, "name": "a"}]))
    with pytest.raises(DestinationRefused, match=r"plans\.name is .* there and .* now") as refused:
        destination.deliver(table([{"id": 1, "name": 7}]))
    assert place.rows(tmp_path) == [{"id": 1, "name": "a"}]
    command = refused.value.remedy.partition("run: ")[2].partition(";")[0]
    front.run(command)
    destination.deliver(table([{"id": 1, "name": 7}]))
    assert {**place.rows(tmp_path)[0]} == {"id": 1, "name_before": None, "name": 7}


def test_what_is_made_anew_is_told(destination, front, table):
    plans, wider = table([{"id": 1}]), table([{"id": 1, "name": "a"}])
    assert [destination.deliver(one).anew for one in (plans, plans, wider, wider)] == [True, False, True, False]
    front.run(f"DROP TABLE {front.path()}")
    assert destination.deliver(wider).anew


@pytest.mark.parametrize("removing", ["DROP TABLE {table}", "ALTER TABLE {table} DROP COLUMN {column}"])
def test_what_was_removed_by_hand_is_told_as_made_anew_though_a_delivery_failed_meanwhile(
    removing, destination, front, table
):
    plans = [{"id": 1, "name": "a"}]
    destination.deliver(table(plans))
    front.run(removing.format(table=front.path(), column=front.dialect.name("name")))
    with pytest.raises(StoreDamaged):
        destination.deliver(damaged(table, plans))
    assert [destination.deliver(table(plans)).anew for _ in range(2)] == [True, False]


def test_a_table_removed_by_hand_is_filled_though_newer_data_had_lain_there(destination, place, front, table, tmp_path):
    older, newer = new_generation(on(2026, 1)), new_generation(on(2026, 2))
    january, february = (Window.months(Month(2026, month), Month(2026, month)) for month in (1, 2))
    both = movements(on(2026, 1), on(2026, 2))
    destination.deliver(dated(table, both, Window.months(Month(2026, 1), None), generation=newer))
    front.run(f"DROP TABLE {front.path()}")
    found = [
        destination.deliver(dated(table, movements(on(2026, month)), window, generation=older))
        for month, window in ((2, february), (1, january))
    ]
    assert [(one.outcome, one.anew) for one in found] == [(Outcome.DELIVERED, True), (Outcome.DELIVERED, False)]
    assert len(place.rows(tmp_path)) == 2
    outcomes = sorted(row["outcome"] for row in place.rows(tmp_path, "mogul_deliveries"))
    assert outcomes == ["created", "delivered", "delivered", "lost"]


def test_a_superseded_delivery_makes_nothing_anew(destination, front, table):
    destination.deliver(table([{"id": 1}], generation=new_generation(on(2026, 2))))
    late = destination.deliver(table([{"id": 1, "name": "a"}], generation=new_generation(on(2026, 1))))
    assert (late.outcome, late.anew) == (Outcome.SUPERSEDED, False)


def test_a_view_on_the_table_stands_and_shows_what_was_delivered(destination, front, table, place):
    destination.deliver(table([{"id": 1}]))
    view = front.path("counted")
    front.run(f"CREATE VIEW {view} AS SELECT count(*) AS {front.dialect.name('rows')} FROM {front.path()}")
    destination.deliver(table([{"id": 1}, {"id": 2}, {"id": 3}]))
    ((count,),) = [tuple(row) for row in front.run(f"SELECT * FROM {view}")]
    assert count == 3


def test_what_was_delivered_is_told_beside_the_data(destination, place, table, tmp_path):
    older, newer = new_generation(on(2026, 1)), new_generation(on(2026, 2))
    window = Window.months(Month(2026, 1), None)
    delivered = destination.deliver(dated(table, movements(on(2026, 1), on(2026, 3)), window, generation=newer))
    late = destination.deliver(dated(table, movements(on(2026, 1)), window, generation=older))
    log = {row["delivery_id"]: row for row in place.rows(tmp_path, "mogul_deliveries") if row["outcome"] != "created"}
    assert len(log) == 2
    first, second = log[delivered.details["delivery_id"]], log[late.details["delivery_id"]]
    assert (first["outcome"], first["rows"], first["bytes"]) == ("delivered", 2, delivered.bytes)
    assert (first["dataset"], first["generation"]) == ("plans", newer)
    assert (first["window_start"], first["window_end"]) == (on(2026, 1), None)
    assert first["started_at"] <= first["finished_at"]
    assert (second["outcome"], second["rows"], second["generation"]) == ("superseded", 0, older)


def test_what_the_log_holds_longer_than_it_reaches_back_goes(destination, place, front, table, tmp_path):
    destination.deliver(table([{"id": 1}]))
    finished = front.dialect.name("finished_at")
    log = front.path("mogul_deliveries")
    front.run(f"UPDATE {log} SET {finished} = {front.dialect.moment(on(2020, 1))} WHERE true")
    destination.deliver(table([{"id": 1}]))
    assert sorted(row["outcome"] for row in place.rows(tmp_path, "mogul_deliveries")) == ["created", "delivered"]


def test_files_that_hold_other_rows_than_they_say_change_nothing(destination, place, table, tmp_path):
    destination.deliver(table([{"id": 1}]))
    right, wrong = table([{"id": 2}]), table([{"id": 2}, {"id": 3}])
    (tmp_path / "store" / wrong.paths[0]).replace(right.paths[0])
    with pytest.raises(StoreDamaged, match="not 1"):
        destination.deliver(right)
    assert place.rows(tmp_path) == [{"id": 1}]


def test_json_that_is_none_is_refused_by_its_row_and_never_shown(destination, place, table, tmp_path):
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("free", pa.string(), metadata={"json": "true"})])
    destination.deliver(table([{"id": 1, "free": "{}"}], schema=schema))
    with pytest.raises(DestinationRefused, match=r"plans\.free of row 2 \(15 bytes\)") as refused:
        destination.deliver(table([{"id": 1, "free": "{}"}, {"id": 2, "free": '{"secret": oops'}], schema=schema))
    assert "oops" not in str(refused.value)
    assert place.rows(tmp_path) == [{"id": 1, "free": "{}"}]


def test_a_value_beyond_the_limit_is_refused_by_its_row_or_delivered_as_null(destination, place, table, tmp_path):
    limit = destination.capabilities.text_bytes
    if limit is None:
        pytest.skip("no limit there")
    rows = [{"id": 1, "text": "ü" * (limit // 2)}, {"id": 2, "text": "ü" * (limit // 2 + 1)}]
    with pytest.raises(DestinationRefused, match=rf"plans\.text of row 2 is {limit // 2 * 2 + 2} bytes of at most"):
        destination.deliver(table(rows))
    assert place.state(tmp_path) is None
    delivered = place.destination(tmp_path, oversize=None).deliver(table(rows))  # as YAML reads null
    assert delivered.details["oversize"] == 1
    assert [row["text"] for row in place.rows(tmp_path)] == [rows[0]["text"], None]


def test_what_a_preview_shows_is_what_is_run(destination, front, table):
    plans = table([{"id": 1, "name": "a"}], schema=DESCRIBED)
    shown = destination.preview(plans).statements
    destination.deliver(plans)
    said = ";\n".join(front.said())
    known = [one for one in shown if "created" not in one and "mogul_staging" not in one.lower()]
    assert len(known) >= 3
    assert [one for one in known if " ".join(one.split()).rstrip(";") not in said] == []


def test_nothing_secret_is_written_however_much_is_logged(destination, place, table, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    destination.deliver(table([{"id": 1, "free": "{}"}]))
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("free", pa.string(), metadata={"json": "true"})])
    with pytest.raises(DestinationRefused) as refused:
        destination.deliver(table([{"id": 1, "free": "{"}], schema=schema))
    secrets = [value for name, value in place.address.get("environment", {}).items() if name.startswith("MOGUL_TEST")]
    assert secrets
    written = caplog.text + str(refused.value) + repr(destination) + destination.grants()
    assert [secret[:40] for secret in secrets if secret in written] == []


def test_the_log_of_deliveries_cannot_be_delivered_to(destination, place, table, tmp_path):
    with pytest.raises(DestinationRefused, match="mogul_deliveries is the log"):
        destination.deliver(table([{"id": 1}], dataset="Mogul_Deliveries"))
    assert place.everything(tmp_path) == []


def test_what_is_left_behind_is_told_with_what_removes_it(destination, place, front, table, tmp_path):
    destination.deliver(table([{"id": 1}]))
    destination.deliver(table([{"id": 1}], dataset="tags"))
    leftovers = destination.forget()
    assert len(leftovers) == 3
    for leftover in leftovers:
        front.run(leftover.remove.rstrip(";"))
    assert place.state(tmp_path) is None
    assert destination.forget() == []


def test_a_superseded_delivery_leaves_nothing_staged(destination, place, table, tmp_path):
    destination.deliver(table([{"id": 2}], generation=new_generation(on(2026, 2))))
    before = place.everything(tmp_path)
    assert destination.deliver(table([{"id": 1}], generation=new_generation(on(2026, 1)))).outcome is Outcome.SUPERSEDED
    assert place.everything(tmp_path) == before


def test_the_example_is_a_destination_and_says_what_to_grant(place, destination):
    kind = type(destination)
    example = kind(name="example", **kind.EXAMPLE)
    namespace = example.dialect.name(*example.namespace)
    assert namespace.strip('"`').split('"."')[-1].split(".")[-1].strip('`"') in example.grants()
