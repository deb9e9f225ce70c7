"""Delivering a million invoice line items, against the bare way of getting the same rows there.

Each is a process of its own, in turns, on the test suite's peers; the fastest of each counts. Bare is what the engine
or the vendor's client does without us: no checks, no transaction, no log, nothing replaced.

    python -m benchmarks.deliver                          # every destination whose peer is there
    python -m benchmarks.deliver duckdb files --rows 250000
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mogul_assets.catalog.columns import Kind
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.store.table import DataFile, Table, new_generation

LINE_ITEMS = DATASETS["invoice_line_items"]
GROUP_ROWS = 65_536
WORDS = {
    "type": ("subscription", "one_time"),
    "currency": ("USD", "EUR", "GBP"),
    "type_data": ("{}",),
    "errors": ('{"amount":["is missing"]}', None),
    "edit_history_summary": (None,),
    "description": (None, "Monthly fee"),
    "disabled_by": (None,),
}


def column(name, kind, rows):
    """Values as they come: ids of 36 characters, few words, prices, moments in a row."""
    if name in WORDS:
        return pa.array([WORDS[name][at % len(WORDS[name])] for at in rows], kind.arrow)
    if kind is Kind.TEXT:
        return pa.array([f"{name[:4]}_{at * 2654435761 % 2**64:016x}-{at:014}" for at in rows], kind.arrow)
    if kind is Kind.FLAG:
        return pa.array([at % 50 == 0 for at in rows], kind.arrow)
    if kind is Kind.MOMENT:
        return pa.array([1_600_000_000_000_000 + at * 86_400_000 for at in rows], kind.arrow)
    return pa.array([at * 37 % 100_000 for at in rows], kind.arrow)


def written(path, rows):
    """The table as the store writes it: sorted by its key, Zstandard, row groups of 65,536."""
    with pq.ParquetWriter(path, LINE_ITEMS.schema, compression="zstd", compression_level=1) as writer:
        for start in range(0, rows, GROUP_ROWS):
            span = range(start, min(start + GROUP_ROWS, rows))
            columns = [column(one.name, one.kind, span) for one in LINE_ITEMS.columns]
            columns[0] = pa.array([f"li_{at:036}" for at in span])
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=LINE_ITEMS.schema))


def ours(word, address, folder, path, rows):
    from datetime import UTC, datetime

    from mogul_assets_tests.destinations.places import PLACES

    place = next(place for place in PLACES if place.word == word and not place.label).on(address)
    destination = place.destination(folder)
    destination.check()  # connections, SDKs and log-in are not what is measured
    generation = new_generation()
    file = DataFile(str(path), rows, path.stat().st_size, checksum(path), generation)
    table = Table("invoice_line_items", generation, LINE_ITEMS.schema, ("uuid",), (file,), datetime.now(UTC))
    began = time.perf_counter()
    destination.deliver(table)
    return time.perf_counter() - began


def checksum(path):
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bare_duckdb(_address, folder, path):
    import duckdb

    began = time.perf_counter()
    with duckdb.connect(folder / "bare.duckdb", config={"memory_limit": "1GB"}) as connection:
        connection.execute(f"CREATE TABLE bare AS FROM read_parquet('{path}')")
    return time.perf_counter() - began


def bare_files(_address, folder, path):
    import duckdb

    began = time.perf_counter()
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (FROM read_parquet('{path}')) TO '{folder / 'bare.parquet'}' (FORMAT parquet, COMPRESSION zstd)"
        )
    return time.perf_counter() - began


def bare_snowflake(address, folder, path):
    from mogul_assets.destinations.snowflake import DIALECT
    from mogul_assets_tests.peers import snowflake

    with snowflake.connect(address) as connection, connection.cursor() as cursor:
        database = f"B{folder.name.upper().replace('-', '_')}"
        for statement in (f'CREATE DATABASE "{database}"', f'CREATE SCHEMA "{database}".BARE'):
            cursor.execute(statement)
        at = f'"{database}".BARE."%TABLE"'.replace("%TABLE", "ITEMS")
        began = time.perf_counter()
        cursor.execute(DIALECT.staging(at, LINE_ITEMS.schema))
        cursor.execute(f"PUT 'file://{path}' @\"{database}\".BARE.%ITEMS AUTO_COMPRESS = FALSE")
        cursor.execute(
            f'COPY INTO {at} FROM @"{database}".BARE.%ITEMS FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE)'
            " MATCH_BY_COLUMN_NAME = CASE_SENSITIVE"
        )
        return time.perf_counter() - began


def bare_bigquery(address, folder, path):
    from google.cloud import bigquery as vendor

    from mogul_assets_tests.peers import bigquery

    client = bigquery.connect(address)
    dataset = f"bare_{folder.name.replace('-', '_')}"
    client.create_dataset(dataset)
    began = time.perf_counter()
    config = vendor.LoadJobConfig(source_format=vendor.SourceFormat.PARQUET)
    with path.open("rb") as file:
        client.load_table_from_file(file, f"{client.project}.{dataset}.items", job_config=config).result()
    return time.perf_counter() - began


def bare_redshift(address, folder, path):
    from contextlib import closing

    import psycopg2

    from mogul_assets.destinations.redshift import DIALECT
    from mogul_assets_tests.peers import redshift

    bucket = folder.name.replace("_", "-")
    store = redshift.bucket_of(address)
    store.create_bucket(Bucket=bucket)
    login = {"host": "127.0.0.1", "port": address["port"], "user": redshift.USER, "dbname": redshift.DATABASE}
    with closing(psycopg2.connect(**login, password=os.environ[redshift.PASSWORD])) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f'CREATE SCHEMA "{bucket}"')
            began = time.perf_counter()
            store.upload_file(str(path), bucket, "items.parquet")
            cursor.execute(DIALECT.staging(f'"{bucket}".items', LINE_ITEMS.schema))
            cursor.execute(
                f"COPY \"{bucket}\".items FROM 's3://{bucket}/items' IAM_ROLE '{redshift.ROLE}' FORMAT AS PARQUET"
            )
            return time.perf_counter() - began


BARE = {
    "duckdb": bare_duckdb,
    "files": bare_files,
    "snowflake": bare_snowflake,
    "bigquery": bare_bigquery,
    "redshift": bare_redshift,
}


def child(way, word, address, path, rows):
    """One delivery in a process of its own: its seconds, and its peak memory in MB."""
    folder = Path(tempfile.mkdtemp(prefix="mogul-benchmark-"))
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "benchmarks.deliver",
                "--child",
                way,
                word,
                json.dumps(address),
                str(folder),
                str(path),
                str(rows),
            ],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, **address.get("environment", {})},
        )
        return json.loads(done.stdout.splitlines()[-1])
    finally:
        shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("destinations", nargs="*", choices=[*BARE, []], help=f"of {', '.join(BARE)}")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        way, word, address, folder, path, rows = options.child
        known = (json.loads(address), Path(folder), Path(path))
        seconds = ours(word, *known, int(rows)) if way == "ours" else BARE[word](*known)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "megabytes": peak}))
        return
    from mogul_assets_tests.destinations.places import PLACES
    from mogul_assets_tests.peers import servers

    folder = Path(tempfile.mkdtemp(prefix="mogul-benchmark-"))
    try:
        sizes = (options.rows // 4, options.rows)
        paths = {rows: folder / f"{rows}.parquet" for rows in sizes}
        for rows, path in paths.items():
            written(path, rows)
        print(f"{options.rows:,} line items, {paths[options.rows].stat().st_size / 1e6:.0f} MB of Parquet", flush=True)
        for word in options.destinations or BARE:
            peer = next(place for place in PLACES if place.word == word).peer
            start = peer and import_module(f"mogul_assets_tests.peers.{peer}").start
            address = servers.shared(folder / "peers", peer, start) if peer else {}
            quarter = child("ours", word, address, paths[sizes[0]], sizes[0])
            turns = [
                {way: child(way, word, address, paths[sizes[1]], sizes[1]) for way in ("bare", "ours")}
                for _ in range(options.repeats)
            ]
            bare, mine = (min(turn[way]["seconds"] for turn in turns) for way in ("bare", "ours"))
            peak = max(turn["ours"]["megabytes"] for turn in turns)
            print(
                f"{word:<10} ours {mine:6.2f} s   bare {bare:6.2f} s   {mine / bare:5.2f} times   {peak:4.0f} MB,"
                f" {peak / quarter['megabytes']:.2f} times that of a quarter of the rows",
                flush=True,
            )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
