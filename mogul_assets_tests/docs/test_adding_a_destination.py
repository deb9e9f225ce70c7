"""The page's blocks are put where it says, in a copy of the project, and the contract runs on the new type."""

import re
import shutil

import pytest

from mogul_assets_tests.docs.copies import ROOT, Copy
from mogul_assets_tests.docs.pages import blocks

CONTRACT = "mogul_assets_tests/destinations/test_contract.py"
SETTINGS = """
account: {sandbox: true}
destinations:
  shelf: {type: archive, path: out/archive.db}
"""
LOADED = """
from mogul_assets.definitions import build_definitions
from mogul_assets.settings import load
definitions = build_definitions(load())
print(sorted(key.to_user_string() for key in definitions.resolve_all_asset_keys() if key.path[0] == "shelf"))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    module, line, place, entry = blocks("adding-a-destination.md", "python")
    copy = Copy(tmp_path_factory.mktemp("copy"), ("mogul_assets", "mogul_assets_tests"))
    shutil.copy(ROOT / "pyproject.toml", copy.folder)
    (copy.folder / "mogul_assets/destinations/archive.py").write_text(module, encoding="utf-8")
    copy.insert("mogul_assets/destinations/__init__.py", line, before='    "azure_blob":')
    copy.insert("mogul_assets_tests/destinations/places.py", place + "\n", before="PLACES = (\n")
    copy.insert("mogul_assets_tests/destinations/places.py", entry, before='    Place(\n        "duckdb"')
    return copy


@pytest.mark.slow
def test_the_new_type_keeps_the_contract(copy):
    said = copy.python("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", CONTRACT, "-k", "archive")
    assert int(re.search(r"(\d+) passed", said)[1]) > 50


def test_the_definitions_load_with_it(copy):
    (copy.folder / "mogul.yaml").write_text(SETTINGS)
    assert "shelf/customers" in copy.python("-c", LOADED)
