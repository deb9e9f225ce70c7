"""Files that links in mails lead to: put there by a delivery, gone once the links have ended, without another mail."""

import json
import os
import shutil
import time
from datetime import timedelta

import pytest
from ruamel.yaml import YAML

from mogul_assets.destinations import email
from mogul_assets_tests.destinations.place import Spot
from mogul_assets_tests.destinations.places import PLACES
from mogul_assets_tests.peers import smtp
from mogul_assets_tests.project import NOW, Project, failures_of


@pytest.fixture
def mailing(stored, instance, peer, tmp_path, monkeypatch):
    """A project that mails its tags behind links to the S3 peer, and what lies in that bucket."""
    place = next(place for place in PLACES if place.word == "s3").on(peer("s3"))
    os.environ.update(place.address["environment"])
    monkeypatch.setenv(smtp.SECRET, smtp.PASSWORD)
    with smtp.serving(tmp_path) as server:
        lake = {"type": "s3", **json.loads(json.dumps(place.options(Spot(tmp_path, place.address)), default=dict))}
        mail = {
            "type": "email",
            "datasets": ["tags"],
            "links": "lake",
            "host": "localhost",
            "port": server.port,
            "ca_file": str(server.ca_file),
            "username": smtp.USER,
            "password": {"env": smtp.SECRET},
            "sender": "reports@example.com",
            "recipients": ["anna@example.com"],
        }
        file = tmp_path / "mogul.yaml"
        settings = {"account": {"sandbox": True, "since": f"{NOW.year}-01"}}
        YAML().dump({**settings, "destinations": {"lake": lake, "mail": mail}}, file)
        project = Project(tmp_path, instance, None, file.read_text())
        shutil.copytree(stored.root, project.store.root)
        yield project, lambda: [name for name in place.everything(tmp_path) if "mail" in name]


@pytest.mark.parametrize(("lasting", "gone"), [(timedelta(seconds=1), True), (timedelta(days=2), False)])
def test_they_go_once_their_links_have_ended(mailing, monkeypatch, lasting, gone):
    project, files = mailing
    monkeypatch.setattr(email, "LASTING", dict.fromkeys(email.LASTING, lasting))
    monkeypatch.setattr(email, "LEFT", timedelta(days=-1))  # else such a mail is not sent
    sent = project.run("deliver_mail")
    assert sent.success, failures_of(sent)
    assert files()
    time.sleep(1.5)
    assert project.run("expire_links").success
    assert (not files()) == gone


def test_they_are_looked_for_every_hour(mailing):
    project, _ = mailing
    assert project.definitions.resolve_schedule_def("expire_links_schedule").cron_schedule == "50 * * * *"
