"""Conditions that several calculations share, as SQL."""

from __future__ import annotations

COUNTS = "(NOT coalesce(disabled, false) AND coalesce(errors, '{}') = '{}')"
"""True of an invoice, line item or transaction that is neither switched off nor invalid in ChartMogul's eyes."""
