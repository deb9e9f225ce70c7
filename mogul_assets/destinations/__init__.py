"""Where deliveries go: one module per type, each a ``Destination`` with four verbs.

``TYPES`` names every type's class without importing it: a vendor's SDK is imported by the verb that first
needs it, never by loading the definitions. What Dagster does with a destination lies in ``assets``.
"""

from __future__ import annotations

TYPES: dict[str, str] = {
    "duckdb": "mogul_assets.destinations.duckdb:DuckDBDestination",
    "files": "mogul_assets.destinations.files:FilesDestination",
}
"""The destination types, by the word that ``mogul.yaml`` uses."""
