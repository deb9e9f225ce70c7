"""What a daily run asks of a large account, against one that reads everything.

A pretend company of 20,000 customers and 60,000 invoices lives for as long as 0.5 % more invoices take. Then one store
is refreshed as every day, and another, which knows the same, reads every list whole; a third reads the whole history as
``mogul sync --full`` does. Prints the requests that the server counted, by list, and the ratios.

    python benchmarks/incremental.py
    python benchmarks/incremental.py --customers 1000
"""

import argparse
import shutil
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mogul_assets.account.rates import EcbRates
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.window import Month
from mogul_assets.refresh import EDITED, GONE
from mogul_assets.sandbox import NO_LIMITS, Sandbox, generate, live, serve
from mogul_assets.store.store import Store
from mogul_assets_tests.refresh import runs

NOW = datetime(2025, 10, 30, 6, tzinfo=UTC)
SINCE = Month(2020, 1)
NEW = 0.005
QUIET = {"corrections": 0, "cancellations": 0, "merges": 0, "deletions": 0}


def later(company, share):
    """The company when that share of invoices more is there."""
    wanted, hours = len(company.invoices) * (1 + share), 120  # so it grows, whatever its size
    while len((after := live(company, days=hours / 24, **QUIET)).invoices) < wanted:
        hours += 6
    return after, hours


def asked(serving, since):
    """Requests by list: a customer that was read singly counts with its list."""
    return Counter(request.path.split("/")[1] for request in serving.requests[since:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=20_000)
    company = generate(now=NOW, customers=parser.parse_args().customers, wild=False)
    sandbox, folder, rates = Sandbox(company, limits=NO_LIMITS), Path(tempfile.mkdtemp()), EcbRates("bundled")
    found = {}
    with serve(sandbox) as serving:
        runs.refreshed(Store(folder / "daily"), serving.url, NOW, rates=rates, since=SINCE)
        shutil.copytree(folder / "daily", folder / "whole")
        sandbox.company, hours = later(company, NEW)
        new = len(sandbox.company.invoices) - len(company.invoices)
        print(f"{len(company.invoices):,} invoices, and {new:,} ({new / len(company.invoices):.2%}) in {hours} hours")
        now = NOW + timedelta(hours=hours)
        steps = {}
        for name, full_read in (("daily", "weekly"), ("whole", "always"), ("first", "always")):
            before = len(serving.requests)
            steps[name] = runs.refreshed(
                Store(folder / name), serving.url, now, rates=rates, since=SINCE, full_read=full_read
            )
            found[name] = asked(serving, before)
    for name in sorted(found["first"]):
        print(f"{name:20}", *(f"{found[run][name]:6}" for run in found))
    totals = {run: sum(counted.values()) for run, counted in found.items()}
    print(f"{'all':20}", *(f"{total:6}" for total in totals.values()))
    print(f"daily / every list whole, last month's movements: {totals['daily'] / totals['whole']:.3f}")
    print(f"daily / everything, as sync --full:               {totals['daily'] / totals['first']:.3f}")
    differing = [
        name
        for name in DATASETS
        if runs.contents(Store(folder / "daily"), name) != runs.contents(Store(folder / "first"), name)
    ]
    print(f"datasets that differ from a full read: {', '.join(differing) or 'none'}")
    for read in ("invoices", "subscription_events", "contacts"):
        print(f"{read}: {EDITED}: {steps['whole'][read].facts[EDITED]}, {GONE}: {steps['whole'][read].facts[GONE]}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
