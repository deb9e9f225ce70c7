"""Deliveries into a bucket of Google Cloud Storage."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from shlex import quote
from typing import Any, ClassVar

from pydantic import Field

from mogul_assets.destinations import google_keys
from mogul_assets.destinations.base import Secret
from mogul_assets.destinations.formats import proven
from mogul_assets.destinations.objects import CONNECTING, READING, Bucket, Listed, ObjectStore, Problem
from mogul_assets.errors import DestinationRefused, DestinationUnavailable

_RETRYING = 20
"""Seconds after which the client begins no further try; by itself it goes on for two minutes."""
_PART = 16 * 2**20
_SIGNER = "name the key of a service account: credentials"
_REMEDIES = {404: "make the bucket, or correct its name", 412: "it is tried again"}


class GCSDestination(ObjectStore):
    """One bucket, or what lies below a prefix of it. Credentials are the machine's own where none are named."""

    EXAMPLE: ClassVar[Mapping[str, Any]] = {
        "bucket": "acme-chartmogul",
        "prefix": "production",
        "project": "acme-data",
        "credentials": {"env": "GCS_SERVICE_ACCOUNT"},
    }

    bucket: str = Field(description="The bucket; it must be there.")
    project: str | None = Field(default=None, description="The project; that of the credentials where none is named.")
    credentials: Secret | None = Field(
        default=None,
        description="A service account's key: the JSON, or it in base64; application-default credentials otherwise.",
    )
    kms_key: str | None = Field(
        default=None, description="Key for encryption: projects/P/locations/L/keyRings/R/cryptoKeys/K."
    )
    storage_class: str | None = Field(default=None, description="Of the data files, such as NEARLINE.")

    def grants(self) -> str:
        """The role on the bucket, limited to the prefix; what lists objects cannot be."""
        member, role = "serviceAccount:NAME@PROJECT.iam.gserviceaccount.com", "roles/storage.objectUser"
        if self.credentials is not None:
            member = "serviceAccount:EMAIL-OF-THE-KEY"
        bind = f"gcloud storage buckets add-iam-policy-binding gs://{self.bucket} --member={member}"
        if not self._prefix:
            return f"{bind} --role={role} --condition=None"
        below = f"resource.name.startsWith('projects/_/buckets/{self.bucket}/objects/{self._prefix}')"
        return (
            f"{bind} --role={role} --condition={quote(f'title=mogul,expression={below}')}\n"
            f"{bind} --role=roles/storage.objectViewer --condition=None"
        )

    @contextmanager
    def _opened(self) -> Iterator[Bucket]:
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415 - only where it is needed

        try:
            client = self._client()
        except (GoogleAuthError, OSError) as error:
            what = f"{self.name}: no connection to Google can be made: {type(error).__name__}"
            if _passing(error):
                raise DestinationUnavailable(f"{what}; what lay there stands", remedy="it is tried again") from None
            raise DestinationRefused(
                what, remedy="name credentials, or:  gcloud auth application-default login"
            ) from None
        self._reach(client._connection.API_BASE_URL)  # noqa: SLF001 - nothing public says which endpoint it has
        try:
            yield GCSBucket(client, self.bucket, self._prefix, kms_key=self.kms_key, storage_class=self.storage_class)
        finally:
            client.close()

    def _client(self) -> Any:
        from dagster_gcp import GCSResource  # noqa: PLC0415 - only where it is needed
        from google.cloud.storage import Client  # noqa: PLC0415

        theirs: Any = self.connection
        if theirs is not None:
            return theirs.get_client()
        if self.credentials is None:
            return GCSResource(project=self.project).get_client()
        credentials = google_keys.account(self.credentials.reveal(), of=f"{self.name}: {self.credentials.env}")
        return Client(project=self.project or credentials.project_id, credentials=credentials)


class GCSBucket(Bucket):
    """Through Google's own client. A version is a generation; 0 is that of no object."""

    def __init__(
        self, client: Any, bucket: str, prefix: str, *, kms_key: str | None, storage_class: str | None
    ) -> None:
        from google.cloud.storage.retry import DEFAULT_RETRY  # noqa: PLC0415 - only where it is needed

        self._limits = {"timeout": (CONNECTING, READING), "retry": DEFAULT_RETRY.with_timeout(_RETRYING)}
        self._client, self._prefix = client, prefix
        self._bucket, self._kms_key, self._class = client.bucket(bucket), kms_key, storage_class
        self.root = f"gs://{bucket}/{prefix}"

    def _blob(self, key: str) -> Any:
        return self._bucket.blob(self._prefix + key, chunk_size=_PART, kms_key_name=self._kms_key)

    def _found(self, key: str) -> Any | None:
        return self._bucket.get_blob(self._prefix + key, **self._limits)

    def get(self, key: str) -> tuple[bytes, str] | None:
        from google.api_core.exceptions import NotFound  # noqa: PLC0415 - only where it is needed

        while (found := self._found(key)) is not None:
            version = str(found.generation)
            try:
                # Of the generation that was found: one replaced meanwhile is gone, and looked for again.
                return found.download_as_bytes(**self._limits), version
            except NotFound:
                continue
        return None

    def put(self, key: str, content: bytes) -> None:
        self._blob(key).upload_from_string(content, **self._limits)

    def swap(self, key: str, content: bytes, version: str | None) -> bool:
        from google.api_core.exceptions import PreconditionFailed  # noqa: PLC0415 - only where it is needed

        try:
            self._blob(key).upload_from_string(content, if_generation_match=int(version or 0), **self._limits)
        except PreconditionFailed:
            return False
        return True

    def size(self, key: str) -> int | None:
        found = self._found(key)
        length: int | None = found.size if found is not None else None
        return length

    def upload(self, key: str, path: Path, sha256: str) -> None:
        proven(path, sha256)
        blob = self._blob(key)
        if self._class:
            blob.storage_class = self._class
        blob.upload_from_filename(str(path), **self._limits)

    def download(self, key: str, path: Path) -> None:
        self._blob(key).download_to_filename(str(path), **self._limits)

    def delete(self, key: str) -> None:
        from google.api_core.exceptions import NotFound  # noqa: PLC0415 - only where it is needed

        try:
            self._blob(key).delete(**self._limits)
        except NotFound:
            return

    def listing(self, folder: str) -> Iterator[Listed]:
        for found in self._client.list_blobs(self._bucket, prefix=self._prefix + folder, **self._limits):
            yield Listed(found.name.removeprefix(self._prefix), found.updated)

    def folders(self) -> Iterator[str]:
        pages = self._client.list_blobs(self._bucket, prefix=self._prefix, delimiter="/", **self._limits)
        for _ in pages:
            pass
        yield from (prefix.removeprefix(self._prefix) for prefix in pages.prefixes)

    def link(self, key: str, seconds: int) -> str:
        from google.auth.credentials import Signing  # noqa: PLC0415 - only where it is needed

        if not isinstance(self._client._credentials, Signing):  # noqa: SLF001 - nothing public says who signs
            raise DestinationRefused(f"{self.root}: the machine's credentials cannot sign links", remedy=_SIGNER)
        shown = f'attachment; filename="{key.rpartition("/")[2]}"'
        link: str = self._blob(key).generate_signed_url(
            version="v4", expiration=timedelta(seconds=seconds), response_disposition=shown
        )
        return link

    def links_end_early(self) -> Problem | None:
        # https://cloud.google.com/storage/docs/authentication/creating-signatures
        from google.oauth2.service_account import Credentials  # noqa: PLC0415 - only where it is needed

        if isinstance(self._client._credentials, Credentials):  # noqa: SLF001 - nothing public says who signs
            return None
        return Problem("links are signed by a key of Google's own, which may end after 12 hours", _SIGNER)

    def in_parts(self, key: str) -> None:
        self._blob(key).create_resumable_upload_session(size=_PART, **self._limits)

    def problem(self, error: Exception) -> Problem | None:
        from google.api_core.exceptions import GoogleAPICallError  # noqa: PLC0415 - only where it is needed
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415
        from google.cloud.storage.exceptions import InvalidResponse  # noqa: PLC0415

        again = "it is tried again"
        if isinstance(error, GoogleAPICallError | InvalidResponse):
            status = int(error.response.status_code if isinstance(error, InvalidResponse) else error.code or 500)
            if status >= 500 or status in (408, 429):
                return Problem(f"Google answered {status}", again, passing=True)
            refused = "grant it: mogul destinations grants gcs"
            return Problem(f"Google answered {status}", _REMEDIES.get(status, refused))
        if _passing(error):
            return Problem(f"the connection failed ({type(error).__name__})", again, passing=True)
        if isinstance(error, GoogleAuthError):
            return Problem(
                f"the credentials were not taken ({type(error).__name__})", "name the key of a service account that is"
            )
        return None

    def removal(self, glob: str) -> str:
        folder = glob.removesuffix("/*")
        if "*" not in folder:
            return f"gcloud storage rm --recursive {quote(f'{self.root}{folder}/')}"
        return f"gcloud storage rm {quote(self.root + glob)}"


def _passing(error: BaseException | None) -> bool:
    """Whether a connection failed rather than was refused; also that by which the machine asks for its credentials."""
    from google.api_core.exceptions import RetryError  # noqa: PLC0415 - only where it is needed
    from google.auth.exceptions import RefreshError, TransportError  # noqa: PLC0415
    from google.cloud.storage.exceptions import DataCorruption  # noqa: PLC0415
    from requests.exceptions import RequestException  # noqa: PLC0415

    if isinstance(error, RefreshError):
        return error.retryable or _passing(error.__cause__)
    return isinstance(error, RetryError | RequestException | TransportError | DataCorruption | ConnectionError)
