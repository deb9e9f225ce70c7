"""Values beyond what a destination takes: refused by row, or null where that was asked for."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mogul_assets.destinations import limits
from mogul_assets.destinations.base import Capabilities
from mogul_assets.destinations.limits import fitting
from mogul_assets.errors import DestinationRefused
from mogul_assets_tests.tables import table_of

TEN = Capabilities(text_bytes=10)
WITHOUT_NUL = Capabilities(nul_in_text=False)


@pytest.fixture
def fitted(tmp_path):
    def fitted(rows, capabilities, *, oversize="refuse", key=("id",)):
        table = table_of(tmp_path / "store", rows, key=key)
        return table, fitting(table, capabilities, oversize=oversize, folder=tmp_path / "copies", at="shelf: plans")

    return fitted


def test_files_in_which_everything_fits_are_passed_on_as_they_are(fitted):
    table, done = fitted([{"id": 1, "text": "x" * 10}, {"id": 2, "text": None}], TEN)
    assert (list(map(str, done.files)), done.nulled) == (table.paths, 0)


def test_without_limits_no_file_is_read(fitted, monkeypatch):
    monkeypatch.setattr(limits.pq, "ParquetFile", None)
    table, done = fitted([{"id": 1, "text": "x" * 10_000}], Capabilities())
    assert list(map(str, done.files)) == table.paths


def test_a_footer_that_tells_that_everything_fits_is_enough(fitted, monkeypatch):
    monkeypatch.setattr(limits.pq, "ParquetFile", None)
    _, done = fitted([{"id": 1, "text": "x" * 10}], Capabilities(text_bytes=10_000))
    assert done.nulled == 0


@pytest.mark.parametrize("repeated", [1, 1000], ids=["plain", "in a dictionary"])
def test_a_text_too_long_is_refused_by_row_column_and_size(repeated, fitted):
    rows = [{"id": number, "text": "short"} for number in range(1, 7)]
    rows += [{"id": 7 + number, "text": "ü" * 6} for number in range(repeated)]
    with pytest.raises(DestinationRefused) as refused:
        fitted(rows, TEN)
    assert refused.value.message == ("shelf: plans.text of row 7 is 12 bytes of at most 10, which is not taken there")
    assert "oversize: null" in refused.value.remedy
    assert "ü" not in str(refused.value)


def test_bytes_count_and_not_characters(fitted):
    fitted([{"id": 1, "text": "ü" * 5}], TEN)
    with pytest.raises(DestinationRefused, match="11 bytes of at most 10"):
        fitted([{"id": 1, "text": "ü" * 5 + "x"}], TEN)


def test_a_nul_is_refused_where_it_is_not_taken(fitted):
    with pytest.raises(DestinationRefused, match=r"plans\.text of row 2 has a NUL in its 3 bytes"):
        fitted([{"id": 1, "text": "a"}, {"id": 2, "text": "a\0b"}], WITHOUT_NUL)
    fitted([{"id": 1, "text": "a\0b"}], TEN)


def test_what_does_not_fit_is_null_where_that_was_asked_for_and_counted(fitted):
    rows = [
        {"id": 1, "text": "x" * 11, "other": "a\0b"},
        {"id": 2, "text": "fits", "other": "y" * 11},
        {"id": 3, "text": None, "other": "z"},
    ]
    _, done = fitted(rows, Capabilities(text_bytes=10, nul_in_text=False), oversize="null")
    assert done.nulled == 3
    (file,) = done.files
    assert pq.read_table(file).to_pylist() == [
        {"id": 1, "text": None, "other": None},
        {"id": 2, "text": "fits", "other": None},
        {"id": 3, "text": None, "other": "z"},
    ]


def test_only_files_with_such_values_are_copied(tmp_path):
    folder = tmp_path / "store"
    parts = [table_of(folder, [{"id": number, "text": "x" * size}]) for number, size in ((1, 5), (2, 500), (3, 5))]
    table = parts[0].__class__(**{**parts[0].__dict__, "files": tuple(file for part in parts for file in part.files)})
    done = fitting(table, TEN, oversize="null", folder=tmp_path / "copies", at="shelf")
    assert [str(file) == path for file, path in zip(done.files, table.paths, strict=True)] == [True, False, True]
    assert [pq.read_table(file)["id"].to_pylist() for file in done.files] == [[1], [2], [3]]


def test_a_part_of_the_key_is_never_null(fitted):
    with pytest.raises(DestinationRefused, match=r"plans\.id of row x{100} is 120 bytes"):
        fitted([{"id": "x" * 120}], TEN, oversize="null")


def test_a_row_without_a_key_is_told_as_such(fitted):
    with pytest.raises(DestinationRefused, match=r"plans\.text of row without a key is 11 bytes"):
        fitted([{"text": "x" * 11}], TEN, key=())


def test_a_column_that_an_older_file_does_not_have_is_no_trouble(tmp_path):
    table = table_of(tmp_path / "store", [{"id": 1, "text": "x" * 50}])
    pq.write_table(pa.table({"id": [1]}), table.paths[0])
    assert fitting(table, TEN, oversize="refuse", folder=tmp_path, at="shelf").files == (Path(table.paths[0]),)
