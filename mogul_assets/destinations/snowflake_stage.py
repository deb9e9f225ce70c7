"""A stage of the user's own, over S3 or Google Cloud Storage: what ``PUT`` does not reach is uploaded to the bucket."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mogul_assets.destinations import google_keys
from mogul_assets.destinations.base import Secret
from mogul_assets.destinations.snowflake_errors import GRANTS
from mogul_assets.errors import DestinationRefused, DestinationUnavailable, MogulError

_UPLOADS = 8
_SECONDS = 20
_PASSING = (408, 429)
"""Of the statuses that say no, those that may say yes later."""


class Bucket(Protocol):
    """The two things that are done to a bucket."""

    def put(self, key: str, file: Path) -> None: ...

    def remove(self, key: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Staged:
    """Files of one delivery beside each other in a bucket."""

    bucket: Bucket
    keys: tuple[str, ...]

    def put(self, files: Sequence[Path]) -> None:
        with ThreadPoolExecutor(_UPLOADS) as beside:
            list(beside.map(self.bucket.put, self.keys, files))

    def remove(self) -> None:
        """All that ``put`` put there, or began to."""
        with ThreadPoolExecutor(_UPLOADS) as beside:
            list(beside.map(self.bucket.remove, self.keys))


class S3Bucket:
    def __init__(self, name: str, **given: Any) -> None:
        from dagster_aws.s3 import S3Resource  # noqa: PLC0415 - only where it is needed

        self._name = name
        self._client = S3Resource(
            **{name: value for name, value in given.items() if value is not None}, max_attempts=3
        ).get_client()

    def put(self, key: str, file: Path) -> None:
        with file.open("rb") as content:  # upload_file would hide why it failed
            self._client.upload_fileobj(content, self._name, key)

    def remove(self, key: str) -> None:
        self._client.delete_object(Bucket=self._name, Key=key)


class GoogleBucket:
    def __init__(self, name: str, key: Secret | None, *, of: str) -> None:
        from dagster_gcp import GCSResource  # noqa: PLC0415 - only where it is needed
        from google.cloud.storage import Client  # noqa: PLC0415 - as above

        if key is None:
            client = GCSResource().get_client()
        else:
            credentials = google_keys.account(key.reveal(), of=f"{of}: {key.env}")
            client = Client(project=credentials.project_id, credentials=credentials)
        self._bucket = client.bucket(name)

    def put(self, key: str, file: Path) -> None:
        self._bucket.blob(key).upload_from_filename(str(file), timeout=_SECONDS * 3)

    def remove(self, key: str) -> None:
        from google.api_core.exceptions import NotFound  # noqa: PLC0415 - only where it is needed

        with suppress(NotFound):
            self._bucket.blob(key).delete(timeout=_SECONDS)


def told(error: Exception, *, url: str) -> MogulError | None:
    """What the error of a bucket's client means; ``None`` where it is none of theirs. Its text is not passed on."""
    package = type(error).__module__.partition(".")[0]
    if package not in {"botocore", "boto3", "google", "requests", "urllib3"}:
        return None
    answer = getattr(error, "response", None)
    answer = answer if isinstance(answer, dict) else {}
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode") or getattr(error, "code", None)
    code = answer.get("Error", {}).get("Code") or status or type(error).__name__
    if isinstance(status, int) and 400 <= status < 500 and status not in _PASSING:
        return DestinationRefused(f"the stage's bucket refused ({code}, {url})", remedy=GRANTS)
    return DestinationUnavailable(f"the stage's bucket cannot be reached ({code}, {url})", remedy="it is tried again")
