"""Where deliveries go: one module per type, each a ``Destination``.

``TYPES`` names every type's class without importing it: a vendor's SDK is imported by the verb that first
needs it, never by loading the definitions. What Dagster does with a destination lies in ``assets``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mogul_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from mogul_assets.destinations.base import Destination

TYPES: dict[str, str] = {
    "azure_blob": "mogul_assets.destinations.azure_blob:AzureBlobDestination",
    "bigquery": "mogul_assets.destinations.bigquery:BigQueryDestination",
    "duckdb": "mogul_assets.destinations.duckdb:DuckDBDestination",
    "email": "mogul_assets.destinations.email:EmailDestination",
    "files": "mogul_assets.destinations.files:FilesDestination",
    "gcs": "mogul_assets.destinations.gcs:GCSDestination",
    "intercom": "mogul_assets.destinations.intercom:IntercomDestination",
    "redshift": "mogul_assets.destinations.redshift:RedshiftDestination",
    "s3": "mogul_assets.destinations.s3:S3Destination",
    "slack": "mogul_assets.destinations.slack:SlackDestination",
    "snowflake": "mogul_assets.destinations.snowflake:SnowflakeDestination",
    "webhook": "mogul_assets.destinations.webhook:WebhookDestination",
}
"""The destination types, by the word that ``mogul.yaml`` uses."""


def load_type(word: str) -> type[Destination]:
    """The class of a destination type, imported on demand.

    Raises:
        ConfigurationError: where there is no such type.
    """
    if word not in TYPES:
        raise ConfigurationError(
            f"there is no destination type '{word}'", remedy=f"choose one of: {', '.join(sorted(TYPES))}"
        )
    module, _, name = TYPES[word].partition(":")
    found: type[Destination] = getattr(import_module(module), name)
    return found
