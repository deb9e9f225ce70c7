"""Nothing that a failing delivery leaves behind holds a secret: no event, no log, no mark, nothing on the terminal."""

import shutil

import dagster as dg
import pytest

from mogul_assets_tests.project import NOW, Project
from mogul_assets_tests.shelf import Shelf

VALUE = "s3cret-4711"


def holding(folder, *said):
    """Where the secret stands: in a file below the folder, or in something that was said."""
    files = [path for path in folder.rglob("*") if path.is_file() and VALUE.encode() in path.read_bytes()]
    return [*files, *(text for text in said if VALUE in text)]


@pytest.fixture
def faulted(stored, tmp_path, monkeypatch, capfd):
    """Runs a delivery that fails so, on an instance that keeps everything; what it left, and its marks."""
    monkeypatch.setenv("SHELF_KEY", VALUE)

    def run(how):
        home = tmp_path / "home"
        home.mkdir()
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
        shelf = Shelf(name="shelf", path=str(tmp_path / "shelf"), key={"env": "SHELF_KEY"})
        shelf.fail(how)
        text = f"""
account: {{sandbox: true, since: {NOW.year}-01}}
destinations:
  shelf: {{type: anything, datasets: [tags, plans]}}
"""
        with dg.DagsterInstance.from_config(str(home)) as instance:
            project = Project(tmp_path, instance, None, text, {"shelf": shelf})
            shutil.copytree(stored.root, project.store.root)
            assert not project.deliver("shelf").success
            project.run("test_destination")
            project.run("send_now")
        return holding(tmp_path, *capfd.readouterr()), project.store.watermark("shelf", "tags")

    return run


@pytest.mark.parametrize("how", ["away", "refuses", "tells", "tells by its cause", "tells itself"])
def test_no_secret_stays_of_a_delivery_that_failed(faulted, how):
    found, mark = faulted(how)
    assert mark.error is not None
    assert found == []


def test_what_quotes_a_secret_is_withheld_and_the_kind_of_error_told(faulted):
    _, mark = faulted("tells")
    assert "shelf: RuntimeError, whose text quotes a secret and is withheld → mogul destinations test" in mark.error
    assert not mark.transient


def test_an_error_of_ours_that_quotes_none_is_told_as_it_is(faulted):
    _, mark = faulted("tells by its cause")
    assert mark.error == "shelf: no answer in 20 s → it is tried again"
    assert mark.transient
