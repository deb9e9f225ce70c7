"""Typing raw pages: what this project does, and what else could be done, over the same pages in one run.

The same pages of a sandbox, in memory, become Arrow columns. Of the candidates only those marked lossless keep
free-form JSON to the byte and notice fields that nobody declared; the others are here to know what that costs.

    python benchmarks/type_pages.py                  # 4,000 customers
"""

import argparse
import io
import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import orjson
import pyarrow as pa
import pyarrow.json

from mogul_assets import refresh
from mogul_assets.account.client import Client, Limits
from mogul_assets.account.reader import Account
from mogul_assets.catalog.reads import READS
from mogul_assets.catalog.window import BEGINNING, Month, Window
from mogul_assets.sandbox.company import generate
from mogul_assets.sandbox.server import NO_LIMITS, Sandbox, serve
from mogul_assets.store import tolerant
from mogul_assets.store.shape import typed_schema
from mogul_assets.store.store import Store
from mogul_assets.store.table import new_generation
from mogul_assets.store.typing import Typist

LISTS = ("customers", "invoices", "activities")

REPEATED = re.compile(rb'"subscription-set-external-id":[^,]*,(?="subscription-set-external-id")')


def pages_of(customers):
    company = generate(seed=7, now=datetime(2026, 10, 30, tzinfo=UTC), customers=customers, wild=False)
    with serve(Sandbox(company, limits=NO_LIMITS)) as serving, TemporaryDirectory() as folder:
        limits = Limits(requests_per_second=100_000)
        account = Account(Client.shared(serving.url, "sandbox", limits), since=Month(2020, 1))
        store, generation = Store(Path(folder)), new_generation()
        landed = {
            name: refresh.land(
                store,
                account,
                name,
                generation=generation,
                window=Window(BEGINNING, None) if name == "activities" else None,
            )
            for name in LISTS
        }
        return {name: list(store.raw_pages(read)) for name, read in landed.items()}


def structs(read, pages):
    for _ in Typist(read).tables(pages):
        pass


def row_by_row(read, pages):
    typist = Typist(read)
    for page in pages:
        typed = tolerant.type_page(page, typist.root, typist.datasets, {})
        for dataset in typist.datasets:
            pa.Table.from_pylist(typed.rows[dataset.name], typed_schema(dataset))


def arrow_reader(_read, pages):
    for page in pages:
        body = REPEATED.sub(b"", page.body)  # it refuses a recorded page that says a name twice
        pyarrow.json.read_json(io.BytesIO(body), pyarrow.json.ReadOptions(block_size=len(body) + 1))


def columns_of_dicts(loads):
    def typed(read, pages):
        for page in pages:
            rows = loads(page.body)[READS[read].root]
            for name in rows[0] if rows else ():
                values = [row.get(name) for row in rows]
                if any(isinstance(value, dict | list) for value in values):
                    values = [json.dumps(value) for value in values]
                pa.array(values)

    return typed


CANDIDATES = {
    "structs made from the catalogue (ours)": (structs, True),
    "row by row (ours, for what the structs refuse)": (row_by_row, True),
    "Arrow's JSON reader, nothing split": (arrow_reader, False),
    "msgspec to dicts, by columns, nothing split": (columns_of_dicts(msgspec.json.decode), False),
    "orjson to dicts, by columns, nothing split": (columns_of_dicts(orjson.loads), False),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=4_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    pages = pages_of(options.customers)
    megabytes = sum(len(page.body) for each in pages.values() for page in each) / 1e6
    print(f"{sum(map(len, pages.values()))} pages, {megabytes:.0f} MB; best of {options.repeats}, seconds of CPU")
    pa.array([0])  # imports pandas
    best = {}
    for name, (candidate, _) in CANDIDATES.items():
        taken = []
        for _repeat in range(options.repeats):
            began = time.process_time()
            for read in LISTS:
                candidate(read, pages[read])
            taken.append(time.process_time() - began)
        best[name] = min(taken)
    floor = min(best[name] for name, (_, lossless) in CANDIDATES.items() if lossless)
    for name, (_, lossless) in CANDIDATES.items():
        mark = "lossless" if lossless else "loses"
        print(f"{name:<50} {best[name]:6.2f} s  {best[name] / floor:5.2f} times the best lossless  {mark}")


if __name__ == "__main__":
    main()
