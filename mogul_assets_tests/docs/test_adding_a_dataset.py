"""The page's two blocks are put where it says, in a copy of the package, and the dataset arrives."""

import duckdb
import pytest

from mogul_assets_tests.docs.copies import Copy
from mogul_assets_tests.docs.pages import blocks

SETTINGS = """
account:
  sandbox: {customers: 40}
  since: 2026-01
  rates: ecb_offline
destinations:
  warehouse: {type: duckdb, path: out/mogul.duckdb}
"""


@pytest.mark.slow
def test_a_declared_dataset_is_refreshed_and_delivered(tmp_path):
    declaration, line = blocks("adding-a-dataset.md", "python")
    copy = Copy(tmp_path)
    copy.insert("mogul_assets/catalog/datasets.py", declaration, before="DATASETS: dict")
    copy.insert("mogul_assets/catalog/datasets.py", line, before="    )\n}\n" + '"""The thirteen')
    (tmp_path / "mogul.yaml").write_text(SETTINGS)
    copy.python("-m", "mogul_assets.cli", "sync")
    with duckdb.connect(tmp_path / "out/mogul.duckdb", read_only=True) as connection:
        rows = connection.execute(
            "SELECT count(*), count(DISTINCT customer_uuid), count(country) FROM customer_addresses"
        ).fetchall()
        assert rows == [(40, 40, pytest.approx(30, abs=10))]
