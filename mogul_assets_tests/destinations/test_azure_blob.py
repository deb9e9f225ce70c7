"""What is Azure's own: keys, shared access signatures, access tier; and that permissions are real on Azurite."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from mogul_assets.destinations.azure_blob import AzureBlobDestination, AzureContainer
from mogul_assets.errors import ConfigurationError, DestinationRefused, DestinationUnavailable
from mogul_assets_tests.destinations.object_places import PREFIX, azure_container
from mogul_assets_tests.destinations.place import Spot
from mogul_assets_tests.destinations.places import PLACES
from mogul_assets_tests.peers import azure_blob
from mogul_assets_tests.peers.faults import Cut, FaultProxy


@pytest.fixture
def place(peer):
    return next(place for place in PLACES if str(place) == "azure_blob").on(peer("azure_blob"))


@pytest.fixture
def signed(place, tmp_path, monkeypatch):
    """The destination by a signature for some of the rights r(ead), c(reate), w(rite), d(elete) and l(ist)."""
    from azure.storage.blob import generate_container_sas  # noqa: PLC0415 - takes a second

    place.destination(tmp_path)

    def signed(rights, *, days=1):
        token = generate_container_sas(
            azure_blob.ACCOUNT,
            Spot(tmp_path, {}).name,
            account_key=azure_blob.KEY,
            permission=rights,
            expiry=datetime.now(UTC) + timedelta(days=days),
        )
        monkeypatch.setenv("PEER_AZURE_SAS", token)
        return place.destination(tmp_path, account_key=None, sas_token={"env": "PEER_AZURE_SAS"})

    return signed


def test_a_signature_for_the_rights_that_the_grants_name_is_enough(signed, place, table, tmp_path):
    shelf = signed("rcwdl")
    assert "--permissions rcwdl" in shelf.grants()
    assert not [permission for permission in shelf.check() if permission.problem]
    shelf.deliver(table([{"id": 1}]))
    assert "sig=" not in shelf.deliver(table([{"id": 2}])).location
    assert place.rows(tmp_path) == [{"id": 2}]


def test_the_grants_sign_for_longer_than_the_seven_days_of_a_users_signature():
    signature = AzureBlobDestination(name="lake", **AzureBlobDestination.EXAMPLE).grants().splitlines()[1]
    assert "--auth-mode key" in signature
    assert "--as-user" not in signature
    assert "--expiry YYYY-MM-DDT00:00Z" in signature


def test_where_every_connection_is_cut_it_is_told_within_a_minute(place, table, tmp_path, monkeypatch):
    place.destination(tmp_path).deliver(table([{"id": 1}]))
    server = urlsplit(place.address["url"])
    with FaultProxy(server.port) as faults:
        behind = place.destination(
            tmp_path, account_url=place.address["url"].replace(str(server.port), str(faults.port))
        )
        upload = AzureContainer.upload

        def cut(*given):
            faults.up, faults.refuse = Cut(after=0), True
            upload(*given)

        monkeypatch.setattr(AzureContainer, "upload", cut)
        began = time.monotonic()
        with pytest.raises(DestinationUnavailable, match="what lay there stands"):
            behind.deliver(table([{"id": 2}]))
        assert time.monotonic() - began < 45  # 84 by the client's own pauses
    assert place.rows(tmp_path) == [{"id": 1}]


def test_an_identity_that_does_not_answer_for_a_moment_may_pass(place, tmp_path):
    from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415 - takes a second

    unanswered = ClientAuthenticationError("the identity's endpoint timed out")
    url = place.address["url"].replace("http:", "https:")  # the client of an identity takes no other
    with place.destination(tmp_path, account_key=None, account_url=url)._opened() as bucket:
        assert bucket.problem(unanswered).passing
    with place.destination(tmp_path)._opened() as bucket:
        assert not bucket.problem(unanswered).passing


def test_what_is_no_key_is_refused(place, table, tmp_path, monkeypatch):
    shelf = place.destination(tmp_path)
    monkeypatch.setenv("PEER_AZURE_KEY", "n0-k3y")
    with pytest.raises(DestinationRefused, match="the credentials cannot be used") as refused:
        shelf.deliver(table([{"id": 1}]))
    assert "n0-k3y" not in str(refused.value)


DENIED = {
    "rcwd": ["list objects"],
    "cwdl": ["read an object"],
    "rdl": ["write an object", "write an object in parts"],
    "rcwl": ["delete an object"],
}


@pytest.mark.parametrize("rights", DENIED)
def test_the_check_names_what_the_signature_lacks(signed, rights):
    problems = [permission for permission in signed(rights).check() if permission.problem]
    assert [permission.name for permission in problems] == DENIED[rights]
    assert all("answered 403" in permission.problem for permission in problems)
    assert all("az role assignment create" in permission.remedy for permission in problems)


def test_a_signature_whose_time_is_over_is_told(signed, table):
    with pytest.raises(DestinationRefused, match=r"answered 403 Auth\w+; what lay there stands") as refused:
        signed("rcwdl", days=-1).deliver(table([{"id": 1}]))
    assert "sig=" not in str(refused.value)
    assert "valid today" in refused.value.remedy


def test_a_wrong_key_is_told_and_not_repeated(place, table, tmp_path, monkeypatch):
    shelf = place.destination(tmp_path)
    monkeypatch.setenv("PEER_AZURE_KEY", "d3Jvbmctc2VjcmV0LTQ3MTE=")
    with pytest.raises(DestinationRefused, match=r"answered 403 Auth") as refused:
        shelf.deliver(table([{"id": 1}]))
    assert "d3Jvbmc" not in str(refused.value)


def test_the_tier_is_that_of_the_data_files(place, table, tmp_path):
    place.destination(tmp_path, tier="Cool").deliver(table([{"id": 1}]))
    with azure_container(Spot(tmp_path, place.address)) as container:
        tiers = {blob.name.rpartition(".")[2]: blob.blob_tier for blob in container.list_blobs()}
    assert tiers == {"parquet": "Cool", "json": "Hot"}


@pytest.mark.parametrize(
    "options",
    [
        {"account_url": "https://a.blob.core.windows.net?sig=secret"},
        {"account_key": {"env": "A"}, "sas_token": {"env": "B"}},
    ],
    ids=["a secret in the address", "two credentials"],
)
def test_settings_that_contradict_each_other_are_refused(options):
    with pytest.raises(ConfigurationError) as refused:
        AzureBlobDestination(name="lake", **{"account_url": "https://a.example", "container": "shelf", **options})
    assert "secret" not in str(refused.value)


def test_a_resource_of_the_users_own_is_used(place, table, tmp_path):
    from dagster_azure.blob import AzureBlobStorageKeyCredential, AzureBlobStorageResource  # noqa: PLC0415

    place.destination(tmp_path)
    credential = AzureBlobStorageKeyCredential(key=azure_blob.KEY)
    theirs = AzureBlobStorageResource(account_url=place.address["url"], credential=credential)
    container = Spot(tmp_path, {}).name
    shelf = AzureBlobDestination(
        name="lake", account_url=place.address["url"], container=container, prefix=PREFIX, connection=theirs
    )
    shelf.deliver(table([{"id": 1}]))
    assert place.rows(tmp_path) == [{"id": 1}]
