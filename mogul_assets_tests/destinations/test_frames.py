"""A user's own pandas asset becomes a table like any other."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mogul_assets.destinations.frames import table_of_frame
from mogul_assets.errors import DestinationRefused
from mogul_assets_tests.tables import rows_of

MOMENT = pa.timestamp("us", "UTC")


@pytest.fixture
def staged(tmp_path):
    return lambda frame, **how: table_of_frame(frame, folder=tmp_path / "staged", **{"dataset": "scores", **how})


def test_a_frame_without_a_key_keeps_its_order(staged):
    table = staged(pd.DataFrame({"id": [3, 1, 2]}))
    assert rows_of(table) == [{"id": 3}, {"id": 1}, {"id": 2}]
    assert (table.key, table.window, table.rows) == ((), None, 3)


def test_a_frame_with_a_key_is_sorted_by_it(staged):
    table = staged(pd.DataFrame({"a": ["y", "x", "x"], "b": [1, 2, 1]}), key=["a", "b"])
    assert [(row["a"], row["b"]) for row in rows_of(table)] == [("x", 1), ("x", 2), ("y", 1)]
    assert table.key == ("a", "b")


@pytest.mark.parametrize(
    ("values", "kind", "first"),
    [
        (np.array([1], "int8"), pa.int64(), 1),
        (np.array([2**63 - 1], "uint64"), pa.int64(), 2**63 - 1),
        (np.array([0.5], "float32"), pa.float64(), 0.5),
        ([True], pa.bool_(), True),
        (["é😀"], pa.string(), "é😀"),
        (pd.Categorical(["a"]), pa.string(), "a"),
        (pd.array(["a"], dtype="string"), pa.string(), "a"),
        (pd.array([None], dtype="Int64"), pa.int64(), None),
        ([None], pa.string(), None),
        ([Decimal("0.10")], pa.string(), "0.10"),
        ([date(2026, 1, 2)], pa.date32(), date(2026, 1, 2)),
        (pd.to_datetime(["2026-01-02 00:00:00.123456789"]), MOMENT, datetime(2026, 1, 2, 0, 0, 0, 123456, UTC)),
        (pd.to_datetime(["2026-01-02 03:00"]).tz_localize("Europe/Paris"), MOMENT, datetime(2026, 1, 2, 2, tzinfo=UTC)),
        ([{"a": [1, None]}], pa.string(), '{"a": [1, null]}'),
        ([[1, 2]], pa.string(), "[1, 2]"),
    ],
    ids=lambda value: str(value) if isinstance(value, pa.DataType) else "",
)  # fmt: skip
def test_every_type_becomes_one_of_the_datasets(values, kind, first, staged):
    table = staged(pd.DataFrame({"it": values}))
    assert table.schema.field("it").type == kind
    assert rows_of(table) == [{"it": first}]


def test_lists_and_structs_are_marked_as_json(staged):
    assert staged(pd.DataFrame({"it": [[1]]})).schema.field("it").metadata == {b"json": b"true"}


def test_a_named_index_becomes_columns_and_an_unnamed_one_does_not(staged):
    frame = pd.DataFrame({"mrr": [5]}, index=pd.Index(["cus_1"], name="uuid"))
    assert rows_of(staged(frame)) == [{"uuid": "cus_1", "mrr": 5}]
    assert rows_of(staged(pd.DataFrame({"mrr": [5]}, index=["cus_1"]))) == [{"mrr": 5}]


def test_an_empty_frame_is_a_table_of_no_rows(staged):
    table = staged(pd.DataFrame({"id": pd.Series([], dtype="int64")}), key=["id"])
    assert (table.rows, table.schema.names) == (0, ["id"])


@pytest.mark.parametrize(
    ("frame", "how", "problem"),
    [
        (pd.DataFrame({"it": ["secret", 7]}), {}, "column 'it' mixes types"),
        (pd.DataFrame({"it": [b"secret"]}), {}, "column 'it' mixes types"),
        (pd.DataFrame({"it": np.array([2**64 - 1], "uint64")}), {}, "column 'it' mixes types"),
        (pd.DataFrame([[1, 2]], columns=["it", "it"]), {}, "two columns"),
        (pd.DataFrame({"id": [1, 1]}), {"key": ["id"]}, "repeated in 1 rows"),
        (pd.DataFrame({"id": ["a", None]}), {"key": ["id"]}, "null"),
        (pd.DataFrame({"id": [1]}), {"key": ["uuid"]}, "no column 'uuid'"),
        (pd.DataFrame({"id": [1]}), {"dataset": "../etc"}, "cannot name a table"),
        (pd.DataFrame({"id": [1]}), {"dataset": "_deliveries"}, "cannot name a table"),
    ],
    ids=["mixed", "bytes", "too large", "one name", "repeated", "null key", "no key", "path", "log"],
)
def test_what_cannot_be_a_table_is_refused_without_its_values(frame, how, problem, staged):
    with pytest.raises(DestinationRefused, match=problem) as refused:
        staged(frame, **how)
    assert "secret" not in str(refused.value)
    assert refused.value.remedy


def test_a_frame_can_be_delivered_to_every_place(place, destination, staged, tmp_path):
    rows = [{"id": 1, "at": datetime(2026, 1, 2, tzinfo=UTC)}, {"id": 2, "at": None}]
    destination.deliver(staged(pd.DataFrame(rows), dataset="plans", key=["id"]))
    assert place.rows(tmp_path) == rows
