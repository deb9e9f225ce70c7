"""Spots in object stores and folders, and their independent reader: it fetches objects and knows the manifest's fields.

Each object is fetched by one request. Arrow's file systems, which ask for the size first, read half of another
manifest where it is replaced meanwhile, and never end on a large object of the GCS peer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from mogul_assets_tests.destinations.place import Place, Rows, Spot, State, canonical
from mogul_assets_tests.peers import azure_blob, bigquery, gcs, s3

PREFIX = "lake/production"

Fetched = Callable[[Spot, str], bytes | None]
"""The content of what lies at a path below the destination's root, if anything does."""
Listed = Callable[[Spot], list[str]]


def place(
    word: str, options: Callable[[Spot], Mapping[str, Any]], fetched: Fetched, listed: Listed, **more: Any
) -> Place:
    """A place of files with a manifest."""

    def read(spot: Spot, dataset: str) -> State | None:
        manifest = fetched(spot, f"{dataset}/manifest.json")
        return None if manifest is None else _read(fetched, spot, json.loads(manifest))

    return Place(word, options, read, listed, **more)


def _read(fetched: Fetched, spot: Spot, manifest: Mapping[str, Any]) -> State:
    columns = {column["name"]: column["type"] for column in manifest["columns"]}
    rows: Rows = []
    for file in manifest["files"]:
        content = fetched(spot, file["file"])
        assert content is not None
        assert len(content) == file["bytes"]
        read = _READ[manifest["format"]](_unpacked(content, file["file"]), columns)
        assert len(read) == file["rows"]
        rows += [{name: row.get(name) for name in columns} for row in read]
    return State(rows, tuple(columns.items()), tuple((file["file"], file["sha256"]) for file in manifest["files"]))


def _unpacked(content: bytes, name: str) -> bytes:
    codec = {"gz": "gzip", "zst": "zstd"}.get(name.rpartition(".")[2])
    if codec is None:
        return content
    unpacked: bytes = pa.CompressedInputStream(pa.BufferReader(content), codec).read()
    return unpacked


def _parquet(content: bytes, _columns: Mapping[str, str]) -> Rows:
    return pq.read_table(pa.BufferReader(content)).to_pylist()


def _csv(content: bytes, columns: Mapping[str, str]) -> Rows:
    converted = pyarrow.csv.ConvertOptions(
        column_types={name: _TYPES[kind] for name, kind in columns.items()},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    parsed = pyarrow.csv.ParseOptions(newlines_in_values=True)
    read = pyarrow.csv.ReadOptions(block_size=len(content) + 1)
    return pyarrow.csv.read_csv(pa.BufferReader(content), read, parsed, converted).to_pylist()


def _json_lines(content: bytes, columns: Mapping[str, str]) -> Rows:
    lines = content.decode().split("\n")
    assert lines.pop() == ""
    return [
        {name: None if value is None else _VALUES[columns[name]](value) for name, value in json.loads(line).items()}
        for line in lines
    ]


_TYPES = {
    "json": pa.string(),
    "string": pa.string(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC"),
    "date32[day]": pa.date32(),
}
_VALUES: dict[str, Callable[[Any], Any]] = {
    "json": lambda value: canonical(json.dumps(value, ensure_ascii=False)),
    "string": str,
    "int64": int,
    "double": float,
    "bool": bool,
    "timestamp[us, tz=UTC]": datetime.fromisoformat,
    "date32[day]": date.fromisoformat,
}
_READ: dict[str, Callable[[bytes, Mapping[str, str]], Rows]] = {
    "parquet": _parquet,
    "csv": _csv,
    "jsonl": _json_lines,
}


def s3_options(spot: Spot) -> dict[str, Any]:
    s3_client(spot.address["url"]).create_bucket(Bucket=spot.name)
    return {
        "bucket": spot.name,
        "prefix": PREFIX,
        "region": "us-east-1",
        "endpoint_url": spot.address["url"],
        "access_key_id": {"env": "PEER_S3_KEY"},
        "secret_access_key": {"env": "PEER_S3_SECRET"},
    }


def s3_fetched(spot: Spot, path: str) -> bytes | None:
    client = s3_client(spot.address["url"])
    try:
        content: bytes = client.get_object(Bucket=spot.name, Key=f"{PREFIX}/{path}")["Body"].read()
    except client.exceptions.NoSuchKey:
        return None
    return content


def s3_listed(spot: Spot) -> list[str]:
    pages = s3_client(spot.address["url"]).get_paginator("list_objects_v2").paginate(Bucket=spot.name)
    return [found["Key"] for page in pages for found in page.get("Contents", [])]


@cache
def s3_client(url: str) -> Any:
    import boto3  # noqa: PLC0415 - takes a second

    keys = {"aws_access_key_id": s3.KEY, "aws_secret_access_key": s3.SECRET, "region_name": "us-east-1"}
    return boto3.session.Session().client("s3", endpoint_url=url, **keys)


def gcs_options(spot: Spot) -> dict[str, Any]:
    bigquery._on_loopback()
    buckets = f"{spot.address['url']}/storage/v1/b"
    if _got(f"{buckets}/{spot.name}") is None:
        body = json.dumps({"name": spot.name}).encode()
        urlopen(Request(f"{buckets}?project=peer", body, {"Content-Type": "application/json"})).close()
    return {"bucket": spot.name, "prefix": PREFIX, "project": "peer", "credentials": {"env": gcs.SECRET}}


def gcs_fetched(spot: Spot, path: str) -> bytes | None:
    key = quote(f"{PREFIX}/{path}", safe="")
    return _got(f"{spot.address['url']}/storage/v1/b/{spot.name}/o/{key}?alt=media")


def gcs_listed(spot: Spot) -> list[str]:
    found = json.loads(_got(f"{spot.address['url']}/storage/v1/b/{spot.name}/o") or b"{}")
    return sorted(one["name"] for one in found.get("items", []))


def _got(url: str) -> bytes | None:
    try:
        with urlopen(url) as answer:
            content: bytes = answer.read()
            return content
    except HTTPError as error:
        if error.code == HTTPStatus.NOT_FOUND:
            return None
        raise


def azure_options(spot: Spot) -> dict[str, Any]:
    with azure_container(spot) as container:
        if not container.exists():
            container.create_container()
    return {
        "account_url": spot.address["url"],
        "container": spot.name,
        "prefix": PREFIX,
        "account_key": {"env": "PEER_AZURE_KEY"},
    }


def azure_fetched(spot: Spot, path: str) -> bytes | None:
    from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415 - takes a second

    with azure_container(spot) as container:
        try:
            content: bytes = container.download_blob(f"{PREFIX}/{path}").readall()
        except ResourceNotFoundError:
            return None
        return content


def azure_listed(spot: Spot) -> list[str]:
    with azure_container(spot) as container:
        return sorted(container.list_blob_names())


@contextmanager
def azure_container(spot: Spot) -> Iterator[Any]:
    from azure.storage.blob import ContainerClient  # noqa: PLC0415 - takes a second

    with ContainerClient(spot.address["url"], spot.name, credential=azure_blob.KEY) as container:
        yield container


def fetched_below(folder: Callable[[Spot], Path]) -> Fetched:
    def fetched(spot: Spot, path: str) -> bytes | None:
        file = folder(spot) / path
        return file.read_bytes() if file.exists() else None

    return fetched
