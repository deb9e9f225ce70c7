from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mogul_assets.destinations import spreadsheets as module
from mogul_assets.destinations.spreadsheets import spreadsheets
from mogul_assets.messages.periods import last_period
from mogul_assets_tests.messages import letters
from mogul_assets_tests.tables import table_of


def read(path):
    """As a spreadsheet reads it: the mark is no part of the first name."""
    return list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True))


@pytest.fixture
def written(tmp_path):
    def write(rows, **how):
        (tmp_path / "out").mkdir(exist_ok=True)
        table = rows if hasattr(rows, "files") else table_of(tmp_path, rows)
        return list(spreadsheets(table, tmp_path / "out", "plans", **how))

    return write


RUN = [
    "=1+1",
    "+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "＝1",
    "\N{NO-BREAK SPACE}=1",
    "\x85=1",
    "\N{ZERO WIDTH SPACE}=1",
    "+49 170 123",
    "-",
]
HARMLESS = ["Acme", "a=b", "-5", "-2.50", "", "'quoted", "Müller & Söhne", "日本", 'says "hi", twice', "two\r\nlines"]


@pytest.mark.parametrize("text", RUN)
def test_what_a_spreadsheet_would_run_is_text_there(written, text):
    (part,) = written([{"id": 1, "name": text}])
    assert read(part.path)[1] == ["1", f"'{text}"]


@pytest.mark.parametrize("text", HARMLESS)
def test_anything_else_is_as_it_was(written, text):
    (part,) = written([{"id": 1, "name": text}])
    assert read(part.path)[1] == ["1", text]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=20))
def test_no_text_runs_and_none_is_lost(texts):
    with TemporaryDirectory() as folder:
        table = table_of(Path(folder), [{"id": number, "name": text} for number, text in enumerate(texts)])
        (part,) = spreadsheets(table, Path(folder), "plans")
        cells = [name for _, name in read(part.path)[1:]]
    for text, cell in zip(texts, cells, strict=True):
        assert cell in (text, f"'{text}")
        assert cell.strip()[:1] not in set("=+@") or cell == f"'{text}"


def test_numbers_stay_numbers_and_nothing_is_unlike_empty(written):
    (part,) = written([{"id": -5, "amount": -2.5, "name": None}, {"id": 1, "amount": None, "name": ""}])
    assert part.path.read_bytes().partition(b"\r\n")[2] == b'-5,-2.5,\r\n1,,""\r\n'


def test_excel_is_told_that_it_is_utf8(written):
    (part,) = written([{"id": 1}])
    assert part.path.read_bytes() == b'\xef\xbb\xbf"id"\r\n1\r\n'


def test_other_readers_do_not_see_that_mark(written):
    (part,) = written([{"id": 1, "name": "Müller"}])
    assert duckdb.sql(f"FROM read_csv('{part.path}')").fetchall() == [(1, "Müller")]


@pytest.mark.parametrize(
    ("rows", "held"),
    [(500_000, [500_000]), (500_001, [500_000, 1]), (1_000_000, [500_000, 500_000])],
    ids=["full", "one more", "twice full"],
)
def test_no_file_has_more_than_half_a_million_rows(tmp_path, written, rows, held):
    table = table_of(tmp_path, pa.table({"id": range(rows), "at": range(rows)}))
    parts = written(table)
    assert [part.rows for part in parts] == held
    assert [part.path.read_bytes().count(b"\n") - 1 for part in parts] == held
    numbers = duckdb.sql(f"SELECT sum(id), count(DISTINCT id) FROM read_csv({[str(part.path) for part in parts]})")
    assert numbers.fetchall() == [(rows * (rows - 1) / 2, rows)]


def test_parts_are_named_by_their_place(written, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 2)
    parts = written([{"id": number} for number in range(5)])
    assert [part.path.name for part in parts] == ["plans-1-of-3.csv", "plans-2-of-3.csv", "plans-3-of-3.csv"]
    assert [read(part.path) for part in parts] == [[["id"], ["0"], ["1"]], [["id"], ["2"], ["3"]], [["id"], ["4"]]]


def test_a_table_without_rows_has_a_file_with_its_columns(tmp_path, written):
    schema = pa.schema([("id", pa.int64()), ("name", pa.string())])
    (part,) = written(table_of(tmp_path, [], schema=schema))
    assert part.rows == 0
    assert read(part.path) == [["id", "name"]]


def test_a_period_begins_with_its_first_moment_and_ends_before_its_last(tmp_path, written):
    rows = [
        ("Before", "2026-11-21T23:59:59.999999", 1, "new_biz", ""),
        ("First", "2026-11-22T00:00", 1, "new_biz", ""),
        ("Last", "2026-11-22T23:59:59.999999", 1, "new_biz", ""),
        ("After", "2026-11-23T00:00", 1, "new_biz", ""),
    ]
    (part,) = written(letters.movements(tmp_path, *rows), period=last_period("daily", letters.NOW))
    assert [row[1] for row in read(part.path)[1:]] == ["First", "Last"]


def test_a_period_is_cut_by_its_own_time_zone(tmp_path, written):
    rows = [
        ("Saturday in Paris", "2026-11-21T22:59", 1, "new_biz", ""),
        ("Sunday in Paris", "2026-11-21T23:00", 1, "new_biz", ""),
    ]
    (part,) = written(letters.movements(tmp_path, *rows), period=last_period("daily", letters.NOW, "Europe/Paris"))
    assert [row[1] for row in read(part.path)[1:]] == ["Sunday in Paris"]


def test_of_a_period_no_other_months_files_are_read(tmp_path, written):
    table = letters.movements(tmp_path)
    for file in table.files:
        if str(file.month) != "2026-11":
            Path(file.path).unlink()
    (part,) = written(table, period=last_period("daily", letters.NOW))
    assert part.rows == 3


def test_the_checksum_and_the_size_are_the_files(written):
    (part,) = written([{"id": 1}])
    content = part.path.read_bytes()
    assert (part.bytes, part.sha256) == (len(content), hashlib.sha256(content).hexdigest())
