"""What is Google Cloud Storage's own: the service account's key, roles, storage class and encryption."""

from __future__ import annotations

import base64
import json

import pytest
from dagster_gcp import GCSResource
from google.auth.exceptions import RefreshError, TransportError

from mogul_assets.destinations.gcs import GCSDestination
from mogul_assets.errors import ConfigurationError, DestinationRefused, DestinationUnavailable
from mogul_assets_tests.destinations.object_places import PREFIX
from mogul_assets_tests.destinations.place import Spot
from mogul_assets_tests.destinations.places import PLACES
from mogul_assets_tests.peers import gcs
from mogul_assets_tests.peers.bigquery import account


@pytest.fixture
def place(peer):
    return next(place for place in PLACES if str(place) == "gcs").on(peer("gcs"))


def test_the_role_is_bound_below_the_prefix_only():
    shelf = GCSDestination(name="lake", **GCSDestination.EXAMPLE)
    writes, lists = shelf.grants().splitlines()
    assert "gs://acme-chartmogul" in writes
    assert "roles/storage.objectUser" in writes
    assert "buckets/acme-chartmogul/objects/production/" in writes
    assert "roles/storage.objectViewer" in lists


def test_what_is_no_key_is_told_by_its_variable(place, table, tmp_path, monkeypatch):
    shelf = place.destination(tmp_path)
    for wrong in ("not JSON", "{}", "[]", '{"type": "service_account", "private_key": "s3cret"}'):
        monkeypatch.setenv(gcs.SECRET, wrong)
        with pytest.raises(ConfigurationError, match=f"{gcs.SECRET} holds no service account's key") as refused:
            shelf.deliver(table([{"id": 1}]))
        assert "s3cret" not in str(refused.value)


def test_a_key_may_be_in_base64(place, table, tmp_path, monkeypatch):
    shelf = place.destination(tmp_path)
    monkeypatch.setenv(gcs.SECRET, base64.b64encode(json.dumps(place.address["key"]).encode()).decode())
    assert shelf.deliver(table([{"id": 1}])).rows == 1


def test_a_key_that_google_does_not_know_is_refused(place, table, tmp_path, monkeypatch):
    shelf = place.destination(tmp_path)
    stranger = account(1, "peer") | {"token_uri": place.address["key"]["token_uri"]}
    monkeypatch.setenv(gcs.SECRET, json.dumps(stranger))
    with pytest.raises(DestinationRefused, match="the credentials were not taken"):
        shelf.deliver(table([{"id": 1}]))


def unanswered(error):
    """How the machine's own credentials tell that nobody answered."""
    told = RefreshError(error)
    told.__cause__ = error
    return told


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (unanswered(TransportError("timed out")), True),
        (RefreshError("internal_failure", retryable=True), True),
        (RefreshError("invalid_grant"), False),
        (unanswered(ValueError("no token")), False),
    ],
    ids=["lost", "asks to come again", "refused", "no answer of its own"],
)
def test_credentials_that_are_not_given_for_a_moment_may_pass(error, passing, place, table, tmp_path):
    shelf = place.destination(tmp_path)
    with shelf._opened() as bucket:
        assert bucket.problem(error).passing is passing

    class Unlucky(GCSResource):
        def get_client(self):
            raise error

    opened = GCSDestination(name="lake", bucket="shelf", connection=Unlucky(project="peer"))
    with pytest.raises(DestinationUnavailable if passing else DestinationRefused, match="no connection to Google"):
        opened.deliver(table([{"id": 1}]))


DENIED = {
    "get": ["list objects", "read an object"],
    "post": ["write an object", "write an object in parts"],
    "delete": ["delete an object"],
}


@pytest.mark.parametrize("denied", DENIED)
def test_the_check_names_what_the_account_may_not_do(place, denied, tmp_path, monkeypatch):
    shelf = place.destination(tmp_path)
    assert not [permission for permission in shelf.check() if permission.problem]
    who = f"without-{denied}@peer.iam.gserviceaccount.com"
    monkeypatch.setenv(gcs.SECRET, json.dumps(place.address["key"] | {"client_email": who}))
    problems = [permission for permission in shelf.check() if permission.problem]
    assert [permission.name for permission in problems] == DENIED[denied]
    assert all("answered 403" in permission.problem for permission in problems)
    assert all("add-iam-policy-binding" in permission.remedy for permission in problems)


def test_what_cannot_be_removed_is_told_and_fails_no_delivery(place, table, tmp_path, monkeypatch):
    shelf = place.destination(tmp_path, grace_seconds=0)
    shelf.deliver(table([{"id": 1}]))
    who = "without-delete@peer.iam.gserviceaccount.com"
    monkeypatch.setenv(gcs.SECRET, json.dumps(place.address["key"] | {"client_email": who}))
    delivered = shelf.deliver(table([{"id": 2}]))
    assert "answered 403" in delivered.details["unswept"]
    assert place.rows(tmp_path) == [{"id": 2}]


def test_a_resource_of_the_users_own_is_used(place, table, tmp_path):
    place.destination(tmp_path)
    bucket = Spot(tmp_path, {}).name
    shelf = GCSDestination(name="lake", bucket=bucket, prefix=PREFIX, connection=GCSResource(project="peer"))
    shelf.deliver(table([{"id": 1}]))
    assert place.rows(tmp_path) == [{"id": 1}]
