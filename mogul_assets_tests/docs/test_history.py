"""The page about history: its SQL runs, and what erases a person names every dataset with people in it."""

from __future__ import annotations

import re

import duckdb
import pytest

from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.window import Month, Window
from mogul_assets.destinations.duckdb import DuckDBDestination
from mogul_assets_tests.docs.pages import blocks, page
from mogul_assets_tests.tables import table_of

ASKING, ERASING = blocks("history.md", "sql")


def statements(block):
    return [one.strip() for one in re.sub("--.*", "", block).split(";") if one.strip()]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("history")
    shelf = DuckDBDestination(name="shelf", path=str(folder / "shelf.duckdb"), history="all")
    for dataset in DATASETS.values():
        window = Window.months(Month(2026, 1), None) if dataset.window else None
        how = {"dataset": dataset.name, "key": dataset.key, "schema": dataset.schema}
        shelf.deliver(table_of(folder, [], window=window, window_column=dataset.window, **how))
    return folder / "shelf.duckdb"


@pytest.mark.parametrize("statement", [*statements(ASKING), *statements(ERASING)])
def test_every_statement_runs(statement, file):
    with duckdb.connect(file) as connection:
        connection.execute(statement)


def test_every_dataset_that_tells_of_a_customer_is_erased():
    erased = {re.match(r"DELETE FROM (\w+)", one)[1] for one in statements(ERASING)}
    personal = {
        name for name, dataset in DATASETS.items() if any("customer" in column for column in dataset.schema.names)
    }
    assert erased == personal | {"customers"}


@pytest.mark.parametrize("word", ["snowflake", "bigquery", "redshift", "duckdb"])
def test_the_destinations_that_keep_it_say_so(word):
    assert "| `history` | – |" in page(f"destinations/{word}.md")
    assert f"`{word}`" in page("history.md")
