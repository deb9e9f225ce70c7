"""How the ledger's tables came to be, step by step; Alembic walks them when a ledger is opened."""
