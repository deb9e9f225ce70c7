"""What a user gives in code for a destination: the resource it connects with, or what takes its place."""

import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mogul_assets.destinations import TYPES
from mogul_assets.destinations.base import Delivered
from mogul_assets.destinations.configured import Misconfigured, configured
from mogul_assets.store.table import Table
from mogul_assets_tests.project import NOW, Project, failures_of
from mogul_assets_tests.shelf import Shelf


class Line(dg.ConfigurableResource):
    """Stands for SnowflakeResource and its like: a library's resource, with a secret of its own."""

    number: str


class Telegraph(Shelf):
    """A type that connects with a user's resource where it is given one."""

    connection: dg.ResourceDependency[dg.ConfigurableResource[Any] | None] = None

    def deliver(self, table: Table) -> Delivered:
        Path(self.path).mkdir(exist_ok=True)
        Path(self.path, "line").write_text(self.connection.number if self.connection else "a line of its own")
        return super().deliver(table)


@pytest.fixture
def project(delivered, tmp_path, instance, monkeypatch):
    monkeypatch.setitem(TYPES, "telegraph", f"{__name__}:Telegraph")

    def make(resources, kind="telegraph", more=""):
        text = f"""
account: {{sandbox: true, since: {NOW.year}-01}}
destinations:
  office: {{type: {kind}, path: {tmp_path / "office"}, datasets: [plans, mrr_movements], {more}}}
  lake: {{type: files, path: {tmp_path / "lake"}, datasets: [plans]}}
"""
        project = Project(tmp_path, instance, None, text, resources)
        shutil.copytree(delivered.project.store.root, project.store.root)
        return project

    return make


def test_a_library_s_resource_is_what_the_destination_connects_with(project, tmp_path, monkeypatch):
    monkeypatch.setenv("LINE", "4711")
    assert project({"office": Line(number=dg.EnvVar("LINE"))}).deliver("office").success
    assert (tmp_path / "office" / "line").read_text() == "4711"


def test_without_one_it_connects_by_its_settings(project, tmp_path):
    assert project({}).deliver("office").success
    assert (tmp_path / "office" / "line").read_text() == "a line of its own"


def test_a_type_that_takes_no_connection_says_so_and_harms_no_other(project):
    project = project({"office": Line(number="1")}, kind="files")
    made = configured(project.settings, project.settings.entry("office"), Line(number="1"))
    assert isinstance(made, Misconfigured)
    assert "line 4, destination 'office': files takes no connection, and was given a Line →" in made.problem
    assert not project.deliver("office").success
    assert project.deliver("lake").success


def test_a_connection_is_no_setting_of_the_file(project):
    project = project({}, more="connection: {number: 1}")
    made = configured(project.settings, project.settings.entry("office"))
    assert "connection: there is no such setting" in made.problem


def test_a_destination_of_ones_own_takes_the_place_of_that_of_the_file(project, tmp_path):
    own = Shelf(name="office", path=str(tmp_path / "shelf"))
    assert project({"office": own}, kind="anything").deliver("office").success
    assert {dataset for dataset, *_ in own.taken} == {"plans", "mrr_movements"}


def test_an_io_manager_of_ones_own_takes_its_place_too(project, tmp_path):
    class Own(dg.ConfigurableIOManager):
        path: str

        def handle_output(self, context: dg.OutputContext, obj: Table) -> None:
            Path(self.path, context.asset_key.path[-1]).write_text(obj.generation)

        def load_input(self, context: dg.InputContext) -> None: ...

    project = project({"office": Own(path=str(tmp_path))})
    assert project.deliver("office").success
    sent = project.run("send_now", run_config={"ops": {"send": {"config": {"destination": "office"}}}})
    assert "office is an IO manager of your own → materialise its assets instead" in failures_of(sent)["send.to_office"]
    assert (tmp_path / "plans").exists()
    assert (tmp_path / "mrr_movements").exists()
