"""A small account that answers like ChartMogul's, projects that work on it, and the peers."""

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from mogul_assets.sandbox.company import generate
from mogul_assets.sandbox.server import NO_LIMITS, Sandbox, serve
from mogul_assets_tests.peers import servers
from mogul_assets_tests.project import NOW, Project

SLOW = (
    *("assets/", "automation/", "refresh/", "calculated/test_movements.py", "destinations/test_killed.py"),
    *("cli/test_bad_input.py", "cli/test_commands.py", "cli/test_metrics.py", "cli/test_sandbox.py"),
    *("sandbox/test_process.py", "test_years.py"),
    *("messages/test_sending.py", "messages/test_ledger.py", "messages/test_faults.py", "cli/test_messages.py"),
    *("destinations/test_slack.py", "destinations/test_webhook.py", "account/test_reader.py"),
    *("messages/test_chart.py", "messages/test_recap.py", "destinations/test_email.py", "destinations/test_intercom"),
    "ui/",
)
"""Whole refreshes, processes of their own, walks over every point of a work, pictures, and conversations with servers:
most of the suite's time."""


def pytest_collection_modifyitems(items):
    """Whatever asks for a peer is marked so, and what takes long."""
    for item in items:
        if "peer" in getattr(item, "fixturenames", ()):
            item.add_marker("peer")
        if item.path.relative_to(Path(__file__).parent).as_posix().startswith(SLOW):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def peer(tmp_path_factory):
    """``peer("s3")`` starts the peer of ``mogul_assets_tests/peers/s3.py``, once a session, and gives its address."""
    folder = servers.session_folder(tmp_path_factory)
    return lambda name: servers.shared(folder, name, import_module(f"mogul_assets_tests.peers.{name}").start)


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


@pytest.fixture(scope="session")
def stored(tmp_path_factory, company):
    """A store after one refresh, and what that asked the account for; look, but do not touch."""
    with serve(Sandbox(company, limits=NO_LIMITS)) as serving, dg.DagsterInstance.ephemeral() as instance:
        project = Project(tmp_path_factory.mktemp("stored"), instance, serving)
        assert project.refresh().success
        return SimpleNamespace(root=project.store.root, asked=sorted(request.path for request in serving.requests))
