"""Deliveries into a bucket of Amazon S3, or of a store that speaks its language."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from mogul_assets.destinations.base import Secret
from mogul_assets.destinations.formats import proven
from mogul_assets.destinations.objects import Bucket, Listed, ObjectStore, Problem
from mogul_assets.errors import ConfigurationError, DestinationRefused, DestinationUnavailable

_PART = 16 * 2**20
"""Bytes of a part: the 10,000 that an object may have are 160 GB, and the client takes larger ones beyond."""
_ATTEMPTS = 3
_PASSING = frozenset({"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "ConditionalRequestConflict"})
_UNMET = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
"""Another wrote the object, or is about to: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html"""
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
_ACTIONS = {
    "list objects": ["s3:ListBucket"],
    "write an object": ["s3:PutObject"],
    "read an object": ["s3:GetObject"],
    "write an object only where there is none": ["s3:PutObject", "s3:GetObject"],
    "write an object in parts": ["s3:PutObject", "s3:AbortMultipartUpload"],
    "delete an object": ["s3:DeleteObject"],
}
_OF_BUCKET = ("s3:ListBucket", "s3:ListBucketMultipartUploads")
_REMEDIES = {
    "NoSuchBucket": "make the bucket, or correct its name",
    "InvalidAccessKeyId": "name a key that there is: access_key_id",
    "SignatureDoesNotMatch": "the secret is not that of the key: secret_access_key",
    "ExpiredToken": "sign in again: the session's time is over",
    "PermanentRedirect": "name the bucket's own region: region",
    "AuthorizationHeaderMalformed": "name the bucket's own region: region",
    "IllegalLocationConstraintException": "name the bucket's own region: region",
    "NotImplemented": "the store lacks what deliveries need: conditional writes and uploads in parts",
}
_GRANT = "grant it: mogul destinations grants"
_UNGIVEN = "it is tried again; if it lasts, look at the machine's role or profile"


class S3Destination(ObjectStore):
    """One bucket, or what lies below a prefix of it. Credentials are the machine's own where none are named."""

    EXAMPLE: ClassVar[Mapping[str, Any]] = {
        "bucket": "acme-chartmogul",
        "prefix": "production",
        "region": "eu-central-1",
        "access_key_id": {"env": "S3_ACCESS_KEY_ID"},
        "secret_access_key": {"env": "S3_SECRET_ACCESS_KEY"},
    }

    bucket: str = Field(description="The bucket; it must be there.")
    region: str | None = Field(default=None, description="The bucket's region; the machine's own where none is named.")
    access_key_id: Secret | None = Field(
        default=None, description="The access key; the machine's own role or profile where none is named."
    )
    secret_access_key: Secret | None = Field(default=None, description="The access key's secret.")
    session_token: Secret | None = Field(default=None, description="The token of temporary keys.")
    profile: str | None = Field(default=None, description="A profile of the machine's AWS configuration.")
    endpoint_url: str | None = Field(default=None, description="Another store that speaks S3's language.")
    encryption: Literal["default", "AES256", "aws:kms", "aws:kms:dsse"] = Field(
        default="default", description="Server-side encryption; by default the bucket's own."
    )
    kms_key: str | None = Field(default=None, description="The KMS key's ARN, with aws:kms.")
    storage_class: str | None = Field(
        default=None, description="Of the data files, such as STANDARD_IA or INTELLIGENT_TIERING."
    )

    @model_validator(mode="after")
    def _whole(self) -> "S3Destination":
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ConfigurationError("a key is two", remedy="name both access_key_id and secret_access_key, or neither")
        if self.kms_key and self.encryption not in ("aws:kms", "aws:kms:dsse"):
            raise ConfigurationError("kms_key is of no use without aws:kms", remedy="add  encryption: aws:kms")
        return self

    def grants(self) -> str:
        """The IAM policy of the user or role that delivers."""
        statements = [
            self._statement(list(_OF_BUCKET)),
            self._statement(["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]),
        ]
        if self.kms_key:
            actions = ["kms:GenerateDataKey", "kms:Decrypt"]
            statements.append({"Effect": "Allow", "Action": actions, "Resource": self.kms_key})
        return json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2)

    def _grant(self, permission: str) -> str:
        return "add to the policy: " + json.dumps(self._statement(_ACTIONS[permission]))

    def _statement(self, actions: list[str]) -> dict[str, Any]:
        arn = f"arn:aws:s3:::{self.bucket}"
        if set(actions) & set(_OF_BUCKET):
            limits = {"Condition": {"StringLike": {"s3:prefix": [f"{self._prefix}*"]}}} if self._prefix else {}
            return {"Effect": "Allow", "Action": actions, "Resource": arn, **limits}
        return {"Effect": "Allow", "Action": actions, "Resource": f"{arn}/{self._prefix}*"}

    @contextmanager
    def _opened(self) -> Iterator[Bucket]:
        from botocore import exceptions  # noqa: PLC0415 - only where it is needed
        from dagster_aws.s3 import S3Resource  # noqa: PLC0415

        resource: Any = self.connection or S3Resource(
            region_name=self.region,
            endpoint_url=self.endpoint_url,
            profile_name=self.profile,
            max_attempts=_ATTEMPTS,
            aws_access_key_id=self.access_key_id.reveal() if self.access_key_id else None,
            aws_secret_access_key=self.secret_access_key.reveal() if self.secret_access_key else None,
            aws_session_token=self.session_token.reveal() if self.session_token else None,
        )
        try:
            client = resource.get_client()
        except (exceptions.CredentialRetrievalError, exceptions.MetadataRetrievalError) as error:
            what = f"{self.name}: the machine's credentials were not given ({type(error).__name__})"
            raise DestinationUnavailable(f"{what}; what lay there stands", remedy=_UNGIVEN) from None
        except (exceptions.BotoCoreError, ValueError) as error:
            raise DestinationRefused(
                f"{self.name}: no connection to S3 can be made: {type(error).__name__}",
                remedy="correct region, profile and endpoint_url",
            ) from None
        self._reach(client.meta.endpoint_url)
        encryption = None if self.encryption == "default" else self.encryption
        sealed = {"ServerSideEncryption": encryption, "SSEKMSKeyId": self.kms_key}
        yield S3Bucket(
            client,
            self.bucket,
            self._prefix,
            sealed={name: value for name, value in sealed.items() if value},
            stored={"StorageClass": self.storage_class} if self.storage_class else {},
        )


class S3Bucket(Bucket):
    """Through boto3's client. ``sealed`` goes with every object, ``stored`` with data files."""

    def __init__(
        self, client: Any, bucket: str, prefix: str, *, sealed: Mapping[str, str], stored: Mapping[str, str]
    ) -> None:
        self._client, self._bucket, self._prefix = client, bucket, prefix
        self._sealed, self._stored = sealed, stored
        self.root = f"s3://{bucket}/{prefix}"

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + key}

    def get(self, key: str) -> tuple[bytes, str] | None:
        try:
            found = self._client.get_object(**self._at(key))
        except self._client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        return found["Body"].read(), found["ETag"]

    def put(self, key: str, content: bytes) -> None:
        self._client.put_object(**self._at(key), Body=content, **self._sealed)

    def swap(self, key: str, content: bytes, version: str | None) -> bool:
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        try:
            self._client.put_object(**self._at(key), Body=content, **self._sealed, **condition)
        except self._client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in _UNMET | (_ABSENT if version else frozenset()):
                return False
            raise
        return True

    def size(self, key: str) -> int | None:
        try:
            length: int = self._client.head_object(**self._at(key))["ContentLength"]
        except self._client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in _ABSENT:
                return None
            raise
        return length

    def upload(self, key: str, path: Path, sha256: str) -> None:
        from boto3.s3.transfer import TransferConfig  # noqa: PLC0415 - only where it is needed

        proven(path, sha256)
        parts = TransferConfig(multipart_threshold=2 * _PART, multipart_chunksize=_PART, max_concurrency=4)
        with path.open("rb") as file:
            self._client.upload_fileobj(
                file, *self._at(key).values(), ExtraArgs={**self._sealed, **self._stored}, Config=parts
            )

    def download(self, key: str, path: Path) -> None:
        with path.open("wb") as file:
            self._client.download_fileobj(*self._at(key).values(), file)

    def delete(self, key: str) -> None:
        self._client.delete_object(**self._at(key))

    def listing(self, folder: str) -> Iterator[Listed]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + folder
        )
        for page in pages:
            for found in page.get("Contents", []):
                yield Listed(found["Key"].removeprefix(self._prefix), found["LastModified"])

    def folders(self) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix, Delimiter="/"
        )
        for page in pages:
            yield from (found["Prefix"].removeprefix(self._prefix) for found in page.get("CommonPrefixes", []))

    def link(self, key: str, seconds: int) -> str:
        # By itself boto3 signs in the second version's way, which buckets made since 2020 do not take.
        self._client.meta.events.register_first("choose-signer.s3.GetObject", _version_4, unique_id=__name__)
        shown = f'attachment; filename="{key.rpartition("/")[2]}"'
        params = {**self._at(key), "ResponseContentDisposition": shown}
        link: str = self._client.generate_presigned_url("get_object", Params=params, ExpiresIn=seconds)
        return link

    def links_end_early(self) -> Problem | None:
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html
        if "X-Amz-Security-Token=" not in self.link("", 1):
            return None
        return Problem(
            "the keys are a role's or a session's: a link ends with them, within hours",
            "name access_key_id and secret_access_key of an IAM user",
        )

    def in_parts(self, key: str) -> None:
        begun = self._client.create_multipart_upload(**self._at(key), **self._sealed)["UploadId"]
        self._client.abort_multipart_upload(**self._at(key), UploadId=begun)

    def abandoned(self, folder: str, ours: re.Pattern[str], before: datetime) -> None:
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket, Prefix=self._prefix + folder
        )
        for page in pages:
            for begun in page.get("Uploads", []):
                if begun["Initiated"] < before and ours.fullmatch(begun["Key"].removeprefix(self._prefix)):
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=begun["Key"], UploadId=begun["UploadId"]
                    )

    def problem(self, error: Exception) -> Problem | None:
        from botocore import exceptions  # noqa: PLC0415 - only where it is needed

        if isinstance(error, exceptions.ClientError):
            code = error.response["Error"]["Code"]  # its message may quote a signature
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if status >= 500 or status in (408, 429) or code in _PASSING:
                return Problem(f"S3 answered {status} {code}", "it is tried again", passing=True)
            return Problem(f"S3 answered {status} {code}", _REMEDIES.get(code, f"{_GRANT} s3"))
        if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
            return Problem("there are no credentials", "name access_key_id and secret_access_key, or a profile")
        if isinstance(error, exceptions.CredentialRetrievalError | exceptions.MetadataRetrievalError):
            return Problem(f"the machine's credentials were not given ({type(error).__name__})", _UNGIVEN, passing=True)
        if isinstance(error, exceptions.SSLError):
            return Problem("its certificate is not trusted", "look at endpoint_url and at the machine's authorities")
        if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
            return Problem(f"the connection failed ({type(error).__name__})", "it is tried again", passing=True)
        if isinstance(error, exceptions.BotoCoreError):
            return Problem(type(error).__name__, "correct the destination's settings")
        return None

    def removal(self, glob: str) -> str:
        folder = glob.removesuffix("/*")
        if "*" not in folder:
            return f"aws s3 rm --recursive {quote(f'{self.root}{folder}/')}"
        return f"aws s3 rm --recursive {quote(self.root)} --exclude '*' --include {quote(glob)}"


def _version_4(**_: Any) -> str:
    return "s3v4"
