"""Pulling an account: this project against the official Python client, from one server, in one run.

Both read customers, invoices (with line items and transactions) and activities of the same sandbox and end with
Parquet. The official client's objects become flat tables; ours are landed raw, typed, sorted, unique and checked, and
the movements have all their derived columns. Prints seconds without imports, CPU and peak memory, all processes of a
client together (what they share counts once for each), and ratios.

    python benchmarks/pull.py                     # 20,000 customers, both clients
    python benchmarks/pull.py --memory            # ours at this size and at four times it
    python benchmarks/pull.py --limits            # the API's own limits: 40 requests/s, 20 connections, 100 ms
"""

import argparse
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

NOW = datetime(2026, 10, 30, tzinfo=UTC)
LISTS = ("invoices", "customers")


@contextlib.contextmanager
def sandbox(customers, *, limits):
    """A sandbox in a process of its own; rows are rendered beforehand, so that it is not the bottleneck."""
    command = [sys.executable, "-m", "mogul_assets.sandbox", "--size", str(customers), "--tame", "--warm"]
    command += ["--now", f"{NOW:%Y-%m-%d}", *(["--latency", "0.1"] if limits else ["--no-limits"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def ours(url, folder, *, limits=False):
    from mogul_assets import refresh
    from mogul_assets.account.client import Client, Limits
    from mogul_assets.account.reader import Account
    from mogul_assets.catalog.window import BEGINNING, Month, Window
    from mogul_assets.store.store import Store
    from mogul_assets.store.table import new_generation

    pace = Limits() if limits else Limits(requests_per_second=100_000)
    account = Account(Client.shared(url, "sandbox", pace), since=Month(2020, 1))
    store, generation = Store(folder), new_generation()
    began = time.perf_counter()
    info = account.info()

    def land(name):
        window = Window(BEGINNING, None) if name == "activities" else None
        return refresh.land(store, account, name, generation=generation, window=window)

    # In the order of the assets, which are steps one after the other: lists, at once; activities; datasets.
    steps = [(*LISTS, "activities", "subscription_events")] if limits else [LISTS, ("activities",)]
    landed = []
    for names in steps:
        with ThreadPoolExecutor(len(names)) as pool:
            landed += pool.map(land, names)
    read = time.perf_counter() - began
    if not limits:
        for name in reversed(LISTS):
            refresh.settle_read(store, name, generation=generation, quarantine_limit=0)
        refresh.settle_movements(store, account, info, generation=generation, quarantine_limit=0, now=NOW)
    rows = {name: store.table(name).rows for name in ROWS} if not limits else {}
    return {
        "seconds": time.perf_counter() - began,
        "read": read,
        "rows": rows,
        "requests": sum(one.facts["requests"] for one in landed),
        "retries": sum(one.facts["retries"] for one in landed),
    }


ROWS = ("customer_records", "invoices", "invoice_line_items", "transactions", "mrr_movements")


def official(url, folder):
    import chartmogul
    import pyarrow.parquet as pq

    began = time.perf_counter()
    config = chartmogul.Config("sandbox")
    config.uri = url
    flat = {name: [] for name in ROWS}

    def plain(thing):
        return json.dumps(thing, default=lambda one: getattr(one, "__dict__", None) or str(one))

    def row(thing):
        scalar = (str, int, float, bool, datetime, type(None))
        return {name: value if isinstance(value, scalar) else plain(value) for name, value in vars(thing).items()}

    def pages(kind, root, **filters):
        cursor = {}
        while True:
            page = kind.all(config, per_page=200, **filters, **cursor).get()
            entries = getattr(page, root)
            yield from entries
            if not page.has_more:
                return
            # The activities' own cursor drops a row a page.
            cursor = {"start-after": entries[-1].uuid} if kind is chartmogul.Activity else {"cursor": page.cursor}

    for customer in pages(chartmogul.Customer, "entries"):
        flat["customer_records"].append(row(customer))
    for invoice in pages(chartmogul.Invoice, "invoices", validation_type="all", with_disabled=True):
        for name, items in (("invoice_line_items", invoice.line_items), ("transactions", invoice.transactions)):
            flat[name].extend({**row(item), "invoice_uuid": invoice.uuid} for item in items)
        del invoice.line_items, invoice.transactions
        flat["invoices"].append(row(invoice))
    for activity in pages(chartmogul.Activity, "entries"):
        flat["mrr_movements"].append(row(activity))
    folder.mkdir(parents=True)
    for name, rows in flat.items():
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet", compression="zstd")
    return {"seconds": time.perf_counter() - began, "rows": {name: len(rows) for name, rows in flat.items()}}


def child(what, url, *more):
    """Run one client in a process of its own: what it took, and the CPU and peak memory of it and its processes."""
    folder = Path(tempfile.mkdtemp(prefix="mogul-benchmark-"))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        command = [sys.executable, __file__, "--child", what, url, str(folder / "out"), *more]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            peak = 0
            while process.poll() is None:
                peak = max(peak, sum(map(resident, tree(process.pid))))
                time.sleep(0.02)
            result = json.loads(process.stdout.read().splitlines()[-1])
    finally:
        shutil.rmtree(folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**result, "cpu": cpu, "megabytes": peak / 2**20}


def tree(pid):
    """A process and all that come from it, those that are gone meanwhile left out."""
    yield pid
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for one in (thread / "children").read_text().split():
                yield from tree(int(one))


def resident(pid):
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def report(name, result):
    rows = sum(result["rows"].values())
    cost = f"{result['cpu']:6.2f} s of CPU   {result['megabytes']:5.0f} MB"
    print(f"{name:<10} {result['seconds']:7.2f} s   {cost}   {rows:>9,} rows", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--limits", action="store_true")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, url, folder = options.child[:3]
        pa.array([0])  # the first list that pyarrow sees makes it import pandas; imports are nobody's time
        result = official(url, Path(folder)) if what == "official" else ours(url, Path(folder), limits=what == "limits")
        print(json.dumps(result))
        return
    if options.limits:
        with sandbox(options.customers, limits=True) as url:
            result = child("limits", url)
        rate = result["requests"] / result["read"]
        print(f"{result['requests']} requests in {result['read']:.1f} s: {rate:.1f} a second, {rate / 40:.0%} of 40")
        print(f"answers other than 200: {result['retries']}")
        return
    with sandbox(options.customers, limits=False) as url:
        child("ours", url)  # the server's own first time
        mine = [child("ours", url) for _ in range(options.repeats)]
        for result in mine:
            report("ours", result)
        theirs = None if options.memory else child("official", url)
    best = min(mine, key=lambda result: result["seconds"])
    if theirs is not None:
        report("official", theirs)
        ratios = sorted(theirs["seconds"] / result["seconds"] for result in mine)
        print(f"official / ours: {ratios[0]:.1f} to {ratios[-1]:.1f} times")
        print("rows:", {name: (best["rows"][name], theirs["rows"][name]) for name in ROWS})
        return
    with sandbox(options.customers * 4, limits=False) as url:
        large = child("ours", url)
    report("4 x", large)
    print(f"memory at four times the size: {large['megabytes'] / best['megabytes']:.2f} times")


if __name__ == "__main__":
    main()
