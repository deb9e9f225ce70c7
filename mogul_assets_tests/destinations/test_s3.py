"""What is S3's own: policies, keys, encryption, storage class, and the parts of an upload."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from urllib.request import Request, urlopen

import pyarrow as pa
import pytest
from botocore.exceptions import CredentialRetrievalError, MetadataRetrievalError

from mogul_assets.destinations import s3 as destination_s3
from mogul_assets.destinations.s3 import S3Destination
from mogul_assets.errors import ConfigurationError, DestinationRefused, DestinationUnavailable
from mogul_assets_tests.destinations.object_places import PREFIX, s3_client
from mogul_assets_tests.destinations.place import Spot
from mogul_assets_tests.destinations.places import PLACES
from mogul_assets_tests.peers import s3, servers

KEYS = {"access_key_id": {"env": "PEER_S3_KEY"}, "secret_access_key": {"env": "PEER_S3_SECRET"}}


@pytest.fixture
def place(peer):
    return next(place for place in PLACES if str(place) == "s3").on(peer("s3"))


@pytest.fixture
def bucket(place, tmp_path):
    return Spot(tmp_path, {}).name


def test_the_policy_is_the_least_and_names_bucket_and_prefix():
    shelf = S3Destination(name="lake", **S3Destination.EXAMPLE)
    policy = json.loads(shelf.grants())
    listing, objects = policy["Statement"]
    assert listing == {
        "Effect": "Allow",
        "Action": ["s3:ListBucket", "s3:ListBucketMultipartUploads"],
        "Resource": "arn:aws:s3:::acme-chartmogul",
        "Condition": {"StringLike": {"s3:prefix": ["production/*"]}},
    }
    assert objects["Resource"] == "arn:aws:s3:::acme-chartmogul/production/*"
    assert "*" not in "".join(objects["Action"] + listing["Action"])


@pytest.mark.parametrize(
    "options",
    [{"access_key_id": {"env": "A"}}, {"kms_key": "arn:aws:kms:eu-central-1:1:key/1"}, {"template": "{dataset}"}],
    ids=str,
)
def test_settings_that_contradict_each_other_are_refused(options):
    with pytest.raises(ConfigurationError):
        S3Destination(name="lake", bucket="shelf", **options)


def test_encryption_and_storage_class_go_with_the_objects(place, bucket, table, tmp_path):
    shelf = place.destination(
        tmp_path, encryption="aws:kms", kms_key="arn:aws:kms:us-east-1:1:key/1", storage_class="STANDARD_IA"
    )
    shelf.deliver(table([{"id": 1}]))
    client = s3_client(place.address["url"])
    heads = {key: client.head_object(Bucket=bucket, Key=key) for key in place.everything(tmp_path)}
    assert {head["ServerSideEncryption"] for head in heads.values()} == {"aws:kms"}
    assert {head["SSEKMSKeyId"] for head in heads.values()} == {"arn:aws:kms:us-east-1:1:key/1"}
    classes = {key.rpartition(".")[2]: head.get("StorageClass", "STANDARD") for key, head in heads.items()}
    assert classes == {"parquet": "STANDARD_IA", "json": "STANDARD"}


def test_a_large_object_is_of_parts_and_parts_that_were_left_are_removed(place, bucket, table, tmp_path, monkeypatch):
    monkeypatch.setattr(destination_s3, "_PART", 5 * 2**20)
    monkeypatch.setattr("mogul_assets.destinations.objects._ABANDONED", timedelta(0))
    shelf = place.destination(tmp_path)
    client = s3_client(place.address["url"])
    name = "plans/plans-all-20260101T000000.000000Z-abcd-0000-0123456789ab.parquet"
    theirs = [f"{PREFIX}/plans/backup.parquet", "theirs"]
    left = client.create_multipart_upload(Bucket=bucket, Key=f"{PREFIX}/{name}")
    for key in theirs:
        client.create_multipart_upload(Bucket=bucket, Key=key)
    shelf.deliver(table(pa.table({"id": [1], "noise": [os.urandom(12_000_000).hex()]})))
    (file,) = shelf.manifest("plans").files
    assert client.head_object(Bucket=bucket, Key=f"{PREFIX}/{file.file}")["ETag"].endswith('-3"')
    begun = [upload["Key"] for upload in client.list_multipart_uploads(Bucket=bucket)["Uploads"]]
    assert left["Key"] not in begun
    assert sorted(begun) == theirs


def test_a_resource_of_the_users_own_is_used(place, table, tmp_path):
    from dagster_aws.s3 import S3Resource  # noqa: PLC0415 - takes a second

    place.destination(tmp_path)
    theirs = S3Resource(
        endpoint_url=place.address["url"], region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    shelf = S3Destination(name="lake", bucket=Spot(tmp_path, {}).name, prefix=PREFIX, connection=theirs)
    shelf.deliver(table([{"id": 1}]))
    assert place.rows(tmp_path) == [{"id": 1}]


@pytest.mark.slow
def test_a_role_that_does_not_answer_for_a_moment_may_pass(table, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{servers.free_port()}/")
    shelf = S3Destination(name="lake", bucket="shelf", region="us-east-1")
    with pytest.raises(DestinationUnavailable, match=r"credentials were not given \(CredentialRetrievalError\)"):
        shelf.deliver(table([{"id": 1}]))


@pytest.mark.parametrize("lost", [CredentialRetrievalError, MetadataRetrievalError])
def test_a_role_that_cannot_be_renewed_for_a_moment_may_pass(lost, place, tmp_path):
    with place.destination(tmp_path)._opened() as bucket:
        assert bucket.problem(lost(provider="iam-role", error_msg="timed out")).passing


@pytest.fixture(scope="module")
def rclone(tmp_path_factory):
    groups, address = s3.start_rclone(tmp_path_factory.mktemp("rclone"))
    yield address
    for group in groups:
        servers.stop(group)


@pytest.mark.peer
def test_a_wrong_key_is_told_by_its_code_and_not_repeated(rclone, table, monkeypatch):
    monkeypatch.setenv("PEER_S3_KEY", s3.KEY)
    monkeypatch.setenv("PEER_S3_SECRET", "wr0ng-s3cret")
    shelf = S3Destination(name="lake", bucket="shelf", endpoint_url=rclone["url"], region="us-east-1", **KEYS)
    with pytest.raises(DestinationRefused, match=r"answered 403 \w+; what lay there stands") as refused:
        shelf.deliver(table([{"id": 1}]))
    assert "wr0ng" not in str(refused.value)
    assert {permission.problem is None for permission in shelf.check()} == {False}


@pytest.mark.peer
def test_a_store_that_ignores_conditions_is_told_by_the_check(rclone, monkeypatch):
    for name, value in s3.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    shelf = S3Destination(name="lake", bucket="shelf", endpoint_url=rclone["url"], region="us-east-1", **KEYS)
    problems = [permission for permission in shelf.check() if permission.problem]
    assert [permission.name for permission in problems] == ["write an object only where there is none"]
    assert "conditions on writes are ignored" in problems[0].problem


DENIED = {
    "s3:ListBucket": ["list objects"],
    "s3:PutObject": ["write an object", "write an object in parts"],
    "s3:GetObject": ["read an object"],
    "s3:DeleteObject": ["delete an object"],
    "s3:AbortMultipartUpload": ["write an object in parts"],
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A moto that enforces policies, and its administrator's clients."""
    import boto3  # noqa: PLC0415 - takes a second

    groups, address = s3.start(tmp_path_factory.mktemp("guarded"), free_requests=0)
    boto = boto3.session.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
    yield address, boto
    for group in groups:
        servers.stop(group)


def administered(url, free):
    """So many requests are free, and whoever comes then needs a policy."""
    asked = Request(f"{url}/moto-api/reset-auth", str(free).encode(), {"Content-Type": "text/plain"}, method="POST")
    urlopen(asked).close()


@pytest.mark.peer
@pytest.mark.parametrize("denied", DENIED)
def test_the_check_names_what_the_policy_lacks_and_the_statement_that_grants_it(guarded, denied, monkeypatch):
    address, boto = guarded
    administered(address["url"], 1_000)
    client, iam = (boto.client(name, endpoint_url=address["url"]) for name in ("s3", "iam"))
    user, bucket = f"user-{denied[3:]}", f"b-{denied[3:].lower()}"
    client.create_bucket(Bucket=bucket)
    iam.create_user(UserName=user)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    monkeypatch.setenv("PEER_S3_KEY", key["AccessKeyId"])
    monkeypatch.setenv("PEER_S3_SECRET", key["SecretAccessKey"])
    shelf = S3Destination(name="lake", bucket=bucket, endpoint_url=address["url"], region="us-east-1", **KEYS)
    policy = json.loads(shelf.grants())
    iam.put_user_policy(UserName=user, PolicyName="mogul", PolicyDocument=json.dumps(policy))
    administered(address["url"], 0)
    assert [permission for permission in shelf.check() if permission.problem] == []
    for statement in policy["Statement"]:
        statement["Action"] = [action for action in statement["Action"] if action != denied]
    administered(address["url"], 1_000)
    iam.put_user_policy(UserName=user, PolicyName="mogul", PolicyDocument=json.dumps(policy))
    administered(address["url"], 0)
    problems = [permission for permission in shelf.check() if permission.problem]
    assert [permission.name for permission in problems] == DENIED[denied]
    assert all("AccessDenied" in permission.problem and denied in permission.remedy for permission in problems)
