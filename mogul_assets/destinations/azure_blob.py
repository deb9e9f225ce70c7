"""Deliveries into a container of Azure Blob Storage."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shlex import quote
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from mogul_assets.destinations.base import Secret
from mogul_assets.destinations.formats import proven
from mogul_assets.destinations.objects import CONNECTING, READING, Bucket, Listed, ObjectStore, Problem
from mogul_assets.errors import ConfigurationError, DestinationRefused

_TIMES = {"connection_timeout": CONNECTING, "read_timeout": READING, "retry_total": 2}
_BACK_OFF = (1, 2, 1)
"""Seconds between tries: 1, then 3, one more or less. By itself the client waits 42 seconds, at each request."""
_REMEDIES = {
    "ContainerNotFound": "make the container, or correct its name",
    "AuthenticationFailed": "name a key or a SAS of the account that is valid today",
    "AuthorizationFailure": "name a key or a SAS of the account that is valid today; look at the account's firewall",
    "InvalidAuthenticationInfo": "name a key or a SAS of the account that is valid today",
}


class AzureBlobDestination(ObjectStore):
    """One container, or what lies below a prefix of it.

    Credentials are the machine's own (managed or workload identity, environment, ``az login``) where none are named.
    """

    EXAMPLE: ClassVar[Mapping[str, Any]] = {
        "account_url": "https://acmedata.blob.core.windows.net",
        "container": "chartmogul",
        "prefix": "production",
        "account_key": {"env": "AZURE_STORAGE_KEY"},
    }

    account_url: str = Field(description="The storage account: https://NAME.blob.core.windows.net.")
    container: str = Field(description="The container; it must be there.")
    account_key: Secret | None = Field(default=None, description="A key of the account.")
    sas_token: Secret | None = Field(default=None, description="A shared access signature (SAS) instead.")
    client_id: str | None = Field(
        default=None, description="The managed or workload identity to be, where the machine has several."
    )
    encryption_scope: str | None = Field(default=None, description="An encryption scope of the account.")
    tier: Literal["default", "Hot", "Cool", "Cold"] = Field(
        default="default", description="Access tier of the data files; by default the account's own."
    )

    @field_validator("account_url")
    @classmethod
    def _without_secret(cls, url: str) -> str:
        if urlsplit(url).query:
            raise ConfigurationError(
                "account_url holds a query", remedy="name the signature by  sas_token: {env: NAME}"
            )
        return url.rstrip("/")

    @model_validator(mode="after")
    def _one_credential(self) -> "AzureBlobDestination":
        if self.account_key and self.sas_token:
            raise ConfigurationError("there are two credentials", remedy="name account_key or sas_token, not both")
        return self

    def grants(self) -> str:
        """The role of the identity that delivers; a SAS needs the same, spelled its own way.

        It is signed by the account's key: by a user's (``--as-user``) it would hold for seven days at most.
        https://learn.microsoft.com/en-us/rest/api/storageservices/create-user-delegation-sas
        """
        account = str(urlsplit(self.account_url).hostname).partition(".")[0]
        scope = (
            "/subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.Storage/storageAccounts/"
            f"{account}/blobServices/default/containers/{self.container}"
        )
        return (
            f'az role assignment create --assignee IDENTITY --role "Storage Blob Data Contributor" --scope {scope}\n'
            f"az storage container generate-sas --account-name {account} --name {self.container}"
            " --permissions rcwdl --https-only --expiry YYYY-MM-DDT00:00Z --auth-mode key"
        )

    @contextmanager
    def _opened(self) -> Iterator[Bucket]:
        from dagster_azure.blob import (  # noqa: PLC0415 - only where it is needed
            AzureBlobStorageDefaultCredential,
            AzureBlobStorageKeyCredential,
            AzureBlobStorageResource,
            AzureBlobStorageSASTokenCredential,
        )

        def credential() -> Any:
            if self.account_key:
                return AzureBlobStorageKeyCredential(key=self.account_key.reveal())
            if self.sas_token:
                return AzureBlobStorageSASTokenCredential(token=self.sas_token.reveal().removeprefix("?"))
            identity = {"managed_identity_client_id": self.client_id} if self.client_id else {}
            return AzureBlobStorageDefaultCredential(kwargs=identity)

        resource: Any = self.connection or AzureBlobStorageResource(
            account_url=self.account_url, credential=credential()
        )
        self._reach(self.account_url)
        with resource.get_client() as service:
            again = service._config.retry_policy  # noqa: SLF001 - nothing public reaches it once the client is made
            again.initial_backoff, again.increment_base, again.random_jitter_range = _BACK_OFF
            yield AzureContainer(
                service,
                self.container,
                self._prefix,
                scope=self.encryption_scope,
                tier=self.tier,
                ambient=self.account_key is None and self.sas_token is None,
            )


class AzureContainer(Bucket):
    """Through Azure's own client. A version is an ETag; ``ambient`` credentials are the machine's own."""

    def __init__(
        self, service: Any, container: str, prefix: str, *, scope: str | None, tier: str, ambient: bool
    ) -> None:
        self._service, self._container = service, service.get_container_client(container)
        self._prefix, self._tier, self._ambient = prefix, tier, ambient
        self._sealed = {**_TIMES, **({"encryption_scope": scope} if scope else {})}
        self._url = self._container.url.partition("?")[0]  # behind it stands the signature of a SAS
        self.root = f"{self._url}/{prefix}"

    def _blob(self, key: str) -> Any:
        return self._container.get_blob_client(self._prefix + key)

    def get(self, key: str) -> tuple[bytes, str] | None:
        from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415 - only where it is needed

        try:
            found = self._blob(key).download_blob(**_TIMES)
            return found.readall(), found.properties.etag
        except ResourceNotFoundError as error:
            if _code(error) == "BlobNotFound":
                return None
            raise

    def put(self, key: str, content: bytes) -> None:
        self._blob(key).upload_blob(content, overwrite=True, **self._sealed)

    def swap(self, key: str, content: bytes, version: str | None) -> bool:
        from azure.core import MatchConditions  # noqa: PLC0415 - only where it is needed
        from azure.core.exceptions import ResourceExistsError, ResourceModifiedError  # noqa: PLC0415

        condition: dict[str, Any] = {"overwrite": version is not None}
        if version is not None:
            condition |= {"etag": version, "match_condition": MatchConditions.IfNotModified}
        try:
            self._blob(key).upload_blob(content, **condition, **self._sealed)
        except (ResourceExistsError, ResourceModifiedError):
            return False
        return True

    def size(self, key: str) -> int | None:
        from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415 - only where it is needed

        try:
            length: int = self._blob(key).get_blob_properties(**_TIMES).size
        except ResourceNotFoundError:
            return None
        return length

    def upload(self, key: str, path: Path, sha256: str) -> None:
        from azure.storage.blob import StandardBlobTier  # noqa: PLC0415 - only where it is needed

        proven(path, sha256)
        tier = {"standard_blob_tier": StandardBlobTier(self._tier)} if self._tier != "default" else {}
        with path.open("rb") as file:
            self._blob(key).upload_blob(file, overwrite=True, max_concurrency=4, **tier, **self._sealed)

    def download(self, key: str, path: Path) -> None:
        with path.open("wb") as file:
            self._blob(key).download_blob(**_TIMES).readinto(file)

    def delete(self, key: str) -> None:
        from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415 - only where it is needed

        try:
            self._blob(key).delete_blob(**_TIMES)
        except ResourceNotFoundError:
            return

    def listing(self, folder: str) -> Iterator[Listed]:
        for found in self._container.list_blobs(name_starts_with=self._prefix + folder, **_TIMES):
            yield Listed(found.name.removeprefix(self._prefix), found.last_modified)

    def folders(self) -> Iterator[str]:
        for found in self._container.walk_blobs(name_starts_with=self._prefix, delimiter="/", **_TIMES):
            if found.name.endswith("/"):
                yield found.name.removeprefix(self._prefix)

    def link(self, key: str, seconds: int) -> str:
        from azure.storage.blob import BlobSasPermissions, generate_blob_sas  # noqa: PLC0415 - only where it is needed

        blob, until = self._blob(key), datetime.now(UTC) + timedelta(seconds=seconds)
        signature = generate_blob_sas(
            blob.account_name,
            blob.container_name,
            blob.blob_name,
            **self._signer(until),
            permission=BlobSasPermissions(read=True),
            expiry=until,
            content_disposition=f'attachment; filename="{key.rpartition("/")[2]}"',
        )
        return f"{blob.url.partition('?')[0]}?{signature}"

    def _signer(self, until: datetime) -> dict[str, Any]:
        """The account's key, or one that the account gives an identity for seven days at most."""
        credential = self._container.credential
        if hasattr(credential, "account_key"):
            return {"account_key": credential.account_key}
        if hasattr(credential, "get_token"):
            # A minute back: clocks differ. https://learn.microsoft.com/en-us/rest/api/storageservices/get-user-delegation-key
            began = datetime.now(UTC) - timedelta(minutes=1)
            key = self._service.get_user_delegation_key(began, until, **_TIMES)
            return {"user_delegation_key": key}
        raise DestinationRefused(
            f"{self.root}: a shared access signature cannot sign links",
            remedy="name account_key, or let the machine have an identity",
        )

    def in_parts(self, key: str) -> None:
        self._blob(key).stage_block("0000", b"mogul", **_TIMES)  # gone by itself: it is never committed

    def problem(self, error: Exception) -> Problem | None:
        from azure.core import exceptions  # noqa: PLC0415 - only where it is needed

        again = "it is tried again"
        if isinstance(error, exceptions.ClientAuthenticationError) and not error.status_code:
            if not self._ambient:
                return Problem("the credentials cannot be used", "name a key or a SAS of the account")
            # One that is missing and one that did not answer look alike.
            lasting = "it is tried again; if it lasts, name account_key or sas_token, or give the machine an identity"
            return Problem("the machine's identity gave no credentials", lasting, passing=True)
        if isinstance(error, exceptions.HttpResponseError) and error.status_code:
            status, code = error.status_code, _code(error)  # its message may quote what was signed
            if status >= 500 or status in (408, 429):
                return Problem(f"Azure answered {status} {code}", again, passing=True)
            refused = "grant it: mogul destinations grants azure_blob"
            return Problem(f"Azure answered {status} {code}", _REMEDIES.get(code, refused))
        if isinstance(error, exceptions.AzureError):
            return Problem(f"the connection failed ({type(error).__name__})", again, passing=True)
        return None

    def removal(self, glob: str) -> str:
        account, _, container = self._url.rpartition("/")
        return (
            f"az storage blob delete-batch --blob-endpoint {quote(account)} --source {quote(container)}"
            f" --pattern {quote(self._prefix + glob)}"
        )


def _code(error: Any) -> str:
    code = getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code))
