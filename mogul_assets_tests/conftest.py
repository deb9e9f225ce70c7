"""A small account that answers like ChartMogul's, and projects that work on it."""

from types import SimpleNamespace

import dagster as dg
import pytest

from mogul_assets.sandbox.company import generate
from mogul_assets.sandbox.server import NO_LIMITS, Sandbox, serve
from mogul_assets_tests.project import NOW, Project


@pytest.fixture(scope="session")
def company():
    return generate(seed=11, now=NOW, customers=40)


@pytest.fixture
def serving(company):
    with serve(Sandbox(company, limits=NO_LIMITS)) as serving:
        yield serving


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def project(tmp_path, instance, serving):
    return Project(tmp_path, instance, serving)


@pytest.fixture(scope="module")
def delivered(tmp_path_factory, company):
    """A project after one refresh and one delivery to each destination; look, but do not touch."""
    with serve(Sandbox(company, limits=NO_LIMITS)) as serving, dg.DagsterInstance.ephemeral() as instance:
        project = Project(tmp_path_factory.mktemp("project"), instance, serving)
        runs = SimpleNamespace(
            refresh=project.refresh(), warehouse=project.deliver("warehouse"), lake=project.deliver("lake")
        )
        yield SimpleNamespace(project=project, runs=runs)
