"""Every pair of destination and dataset that there is: delivered to its peer, through Dagster. Every other: refused.

The README's table is made of this: ``python -m mogul_assets_tests.assets.test_matrix`` prints it.
"""

import json
import os
import re
from pathlib import Path

import dagster as dg
import pytest
from ruamel.yaml import YAML

from mogul_assets.assets.deliveries import standing
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.destinations import TYPES, load_type
from mogul_assets.destinations.configured import Misconfigured, configured
from mogul_assets.destinations.intercom_elements import ELEMENTS, attribute
from mogul_assets.sandbox.server import NO_LIMITS, Sandbox, serve
from mogul_assets.settings import HABITS, load
from mogul_assets_tests.destinations.place import Spot
from mogul_assets_tests.destinations.places import PLACES
from mogul_assets_tests.peers import intercom, receiver, slack, smtp
from mogul_assets_tests.peers.intercom_server import TOKEN, Workspace, serving
from mogul_assets_tests.project import NOW, Project, failures_of

README = Path(__file__).parents[2] / "README.md"
TAKES = {word: HABITS[word].datasets if word in HABITS else tuple(DATASETS) for word in TYPES}
DATA = [place for place in PLACES if place.word not in HABITS and not place.label]


def table():
    """The table of the README."""
    head = ["| | " + " | ".join(f"`{word}`" for word in TAKES) + " |", "|---|" + ":-:|" * len(TAKES)]
    marks = {name: " | ".join("●" if name in TAKES[word] else "" for word in TAKES) for name in DATASETS}
    return "\n".join([*head, *(f"| `{name}` | {marked} |" for name, marked in marks.items())])


def test_the_readme_has_the_table():
    written = re.search(r"<!-- matrix -->\n(.*)\n<!-- /matrix -->", README.read_text(), re.DOTALL)
    assert written is not None
    assert written[1] == table()


@pytest.mark.parametrize("word", TYPES)
def test_a_type_takes_its_datasets_and_refuses_every_other(word, tmp_path):
    capabilities = load_type(word)(name="one", **load_type(word).EXAMPLE).capabilities
    assert {name for name in DATASETS if capabilities.takes(name)} == set(TAKES[word])
    for name in DATASETS.keys() - set(TAKES[word]):
        entry = {"type": word, "datasets": [name], **load_type(word).EXAMPLE}
        file = tmp_path / "mogul.yaml"
        YAML().dump({"account": {"sandbox": True}, "destinations": {"one": entry}}, file)
        settings = load(file)
        refused = configured(settings, settings.entry("one"))
        assert isinstance(refused, Misconfigured)
        assert f"{word} does not take {name}" in refused.problem


@pytest.fixture(scope="module")
def filled(tmp_path_factory, company):
    """A store after one refresh, and the sandbox that it was read from."""
    with serve(Sandbox(company, limits=NO_LIMITS)) as serving, dg.DagsterInstance.ephemeral() as instance:
        project = Project(tmp_path_factory.mktemp("matrix"), instance, serving)
        assert project.refresh().success
        yield project


def delivered(project, word, options):
    """The datasets of the type that materialised at a destination with these options."""
    file = project.folder / "mogul.yaml"
    entry = {"type": word, **options}
    YAML().dump({"account": {"sandbox": True, "since": f"{NOW.year}-01"}, "destinations": {"one": entry}}, file)
    with dg.DagsterInstance.ephemeral() as instance:
        one = Project(project.folder, instance, project.serving, file.read_text())
        entry = one.settings.entry("one")
        assert entry.problem is None
        run = (
            one.run("news") if entry.real_time else one.deliver("one") if entry.partitioned else one.run("deliver_one")
        )
        assert run.success, failures_of(run)
        return {event.asset_key.path[1] for event in run.get_asset_materialization_events()} - {"movement_news"}


@pytest.mark.parametrize("place", DATA, ids=str)
def test_a_place_for_data_gets_all_thirteen(place, filled, peer, tmp_path):
    address = peer(place.peer) if place.peer else {}
    os.environ.update(address.get("environment", {}))
    options = place.options(Spot(tmp_path, address))
    assert delivered(filled, place.word, json.loads(json.dumps(options, default=dict))) == set(DATASETS)


def test_slack_gets_a_recap_and_every_movement(filled, monkeypatch):
    monkeypatch.setenv(slack.SECRET, slack.TOKEN)
    with slack.Slack() as workspace:
        options = {"token": {"env": slack.SECRET}, "channels": ["#revenue"], "url": workspace.url}
        assert delivered(filled, "slack", {**options, "schedule": "monthly"}) == set(TAKES["slack"])
        assert len(workspace.posts) == 1
        assert delivered(filled, "slack", options) == set(TAKES["slack"])


def test_a_webhook_gets_every_movement(filled, monkeypatch):
    monkeypatch.setenv("HOOK_SECRET", receiver.SECRET)
    with receiver.Receiver().running() as hook:
        options = {"url": hook.url, "secret": {"env": "HOOK_SECRET"}, "allow_private": ["127.0.0.1"]}
        assert delivered(filled, "webhook", options) == set(TAKES["webhook"])


def test_a_mail_holds_its_four_datasets(filled, monkeypatch, tmp_path):
    monkeypatch.setenv(smtp.SECRET, smtp.PASSWORD)
    with smtp.serving(tmp_path) as server:
        options = {
            "host": "localhost",
            "port": server.port,
            "ca_file": str(server.ca_file),
            "username": smtp.USER,
            "password": {"env": smtp.SECRET},
            "sender": "reports@example.com",
            "recipients": ["anna@example.com"],
        }
        assert delivered(filled, "email", options) == set(TAKES["email"])
        (mail,) = server.received
        attached = " ".join(str(part.get_filename()) for part in mail.message.iter_attachments())
        assert all(name in attached for name in TAKES["email"]) or ".zip" in attached


def test_intercoms_contacts_get_all_fourteen_elements(filled, monkeypatch):
    monkeypatch.setenv(intercom.SECRET, TOKEN)
    rows = (row for batch in standing(filled.store, "customers").batches() for row in batch.to_pylist())
    columns = [element.column for element in ELEMENTS.values() if element.column]
    customer = next(row for row in rows if all(row[column] not in (None, "") for column in columns))
    workspace = Workspace()
    contact = workspace.contact(email=customer["email"], role="user")
    with serving(workspace) as url:
        options = {"token": {"env": intercom.SECRET}, "url": url, "match": ["email"]}
        assert delivered(filled, "intercom", options) == set(TAKES["intercom"])
    assert len(ELEMENTS) == 14
    assert set(workspace.custom(contact)) == {attribute("ChartMogul", word) for word in ELEMENTS}


if __name__ == "__main__":
    print(table())  # noqa: T201 - to be copied
