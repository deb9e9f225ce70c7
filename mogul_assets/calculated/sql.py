"""Conditions that several calculations share, as SQL."""

from __future__ import annotations

COUNTS = "(NOT coalesce(disabled, false) AND coalesce(errors, '{}') = '{}')"
"""True of an invoice, line item or transaction that is neither switched off nor invalid in ChartMogul's eyes."""


def quoted(name: str) -> str:
    """A relation's or column's name, safe in SQL."""
    return '"' + name.replace('"', '""') + '"'
