"""The pages of the documentation: what they let a reader run reads what was delivered, and no setting is left out."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from mogul_assets.destinations import load_type
from mogul_assets.destinations.configured import settings_of
from mogul_assets.destinations.files import FilesDestination
from mogul_assets_tests.destinations.object_places import PREFIX
from mogul_assets_tests.destinations.place import Spot
from mogul_assets_tests.destinations.places import PLACES
from mogul_assets_tests.peers import azure_blob, s3

PAGES = Path(__file__).parents[2] / "docs" / "destinations"
ROWS = [{"id": 1, "name": "a"}, {"id": 2, "name": ""}, {"id": 3, "name": None}]


def written(code):
    """The lines of a snippet that are not empty."""
    return [line for line in code.splitlines() if line.strip()]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", (PAGES / "reading.md").read_text(), re.DOTALL)


PYTHON = {
    re.search(r"out/files|out/csv|boto3|google|azure", block)[0] + str(number): block
    for number, block in enumerate(blocks("python"))
}


def of(found):
    if isinstance(found, duckdb.DuckDBPyRelation):
        return found.order("id").to_arrow_table().to_pylist()
    return [{"id": row["id"], "name": row["name"]} for row in found.sort_values("id").to_dict("records")]


@pytest.mark.parametrize("block", [name for name in PYTHON if name.startswith("out/")])
def test_a_folder_is_read_as_the_page_says(block, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FilesDestination(name="shelf", path="out/files").deliver(table(ROWS))
    FilesDestination(name="shelf", path="out/csv", format="csv").deliver(table(ROWS))
    names = {}
    exec(PYTHON[block], names)  # noqa: S102 - the page's own code
    assert of(names["plans"]) == ROWS
    assert len(written(PYTHON[block])) <= 5


SAID = {"s3": "boto3", "gcs": "google", "azure_blob": "azure"}


@pytest.mark.parametrize("word", SAID)
def test_an_object_store_is_read_as_the_page_says(word, peer, table, tmp_path, monkeypatch):
    place = next(place for place in PLACES if str(place) == word).on(peer(word))
    place.destination(tmp_path).deliver(table(ROWS))
    url, bucket = place.address["url"], Spot(tmp_path, {}).name
    account = f"AccountName={azure_blob.ACCOUNT};AccountKey={azure_blob.KEY}"
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": s3.KEY,
        "AWS_SECRET_ACCESS_KEY": s3.SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "GOOGLE_CLOUD_PROJECT": "peer",
        "AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;{account};BlobEndpoint={url};",
    }.items():
        monkeypatch.setenv(name, value)
    (code,) = (block for name, block in PYTHON.items() if name.startswith(SAID[word]))
    names = {}
    exec(code.replace("acme-chartmogul", bucket).replace("production/", f"{PREFIX}/"), names)  # noqa: S102
    assert of(names["plans"]) == ROWS
    assert len(written(code)) <= 6  # the fifth and sixth are imports


def test_plain_sql_reads_it(table, tmp_path):
    FilesDestination(name="shelf", path=str(tmp_path)).deliver(table(ROWS))
    (code,) = blocks("sql")
    with duckdb.connect() as connection:
        connection.execute(code.replace("s3://acme-chartmogul/production", str(tmp_path)))
        assert of(connection.sql("FROM plans")) == ROWS


@pytest.mark.parametrize("word", ["s3", "gcs", "azure_blob", "files", "duckdb"])
def test_the_page_has_every_setting(word):
    told = set((PAGES / f"{word}.md").read_text().splitlines())
    for name, field in settings_of(load_type(word)).items():
        default = "–" if field.default in (None, "") or field.default_factory else f"`{field.default}`"
        left_out = "must be set" if field.is_required() else default
        assert f"| `{name}` | {left_out} | {field.description} |" in told
