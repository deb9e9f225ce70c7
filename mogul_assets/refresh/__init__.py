"""One refresh, step by step: land a read, settle the datasets it makes, compute the calculated ones.

Each step works from what stands in the store and ends by moving one pointer, or leaves everything as it was. The
steps are what the assets run; they know nothing of Dagster, so that tests and benchmarks run the same code. How pages
are typed and files written is the ``store``'s; what is computed of them, ``calculated``'s. ``incremental`` decides how
far a list is read, ``news`` reads the newest movements by themselves.
"""

from mogul_assets.refresh.checked import NOT_COMPARED, ChecksFailed, Refreshed
from mogul_assets.refresh.reads import (
    account_changed,
    coverage,
    known_account,
    land,
    land_rates,
    landed,
    read_at,
    standing,
)
from mogul_assets.refresh.relations import register, type_pages, working
from mogul_assets.refresh.settle_customers import settle_customers
from mogul_assets.refresh.settle_lists import EDITED, GONE, settle_read, settled
from mogul_assets.refresh.settle_months import settle_movements, settle_rates

__all__ = [
    "EDITED",
    "GONE",
    "NOT_COMPARED",
    "ChecksFailed",
    "Refreshed",
    "account_changed",
    "coverage",
    "known_account",
    "land",
    "land_rates",
    "landed",
    "read_at",
    "register",
    "settle_customers",
    "settle_movements",
    "settle_rates",
    "settle_read",
    "settled",
    "standing",
    "type_pages",
    "working",
]
