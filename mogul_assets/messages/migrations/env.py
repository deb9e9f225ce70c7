"""What Alembic runs: on the connection that it is given, in the transaction that this already has."""

from __future__ import annotations

from alembic import context

from mogul_assets.messages.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table="ledger_version",
    render_as_batch=True,  # SQLite alters no column in place
)
context.run_migrations()
