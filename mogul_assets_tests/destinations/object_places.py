"""Spots in object stores and folders, and their independent reader: Arrow's own file systems, one for each vendor.

The manifest alone is fetched otherwise, by one request: Arrow asks for the size first, and where the object is
replaced meanwhile it reads so much of another one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import date, datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from pyarrow import fs

from mogul_assets_tests.destinations.place import Place, Rows, Spot, State, canonical
from mogul_assets_tests.peers import azure_blob, bigquery, gcs, s3

PREFIX = "lake/production"
Systems = Callable[[Spot], fs.FileSystem]

_TYPES = {
    "json": pa.string(),
    "string": pa.string(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC"),
    "date32[day]": pa.date32(),
}


def place(
    word: str,
    system: Systems,
    options: Callable[[Spot], Mapping[str, Any]],
    fetched: Callable[[Spot, str], bytes | None],
    *,
    root: Callable[[Spot], str] = lambda spot: f"{spot.name}/{PREFIX}",
    listed: Callable[[Spot], list[str]] | None = None,
    **more: Any,
) -> Place:
    """A place of files with a manifest.

    ``root`` is where its datasets lie in the file system; ``fetched`` gives the content of one of its paths, if any.
    """

    def read(spot: Spot, dataset: str) -> State | None:
        manifest = fetched(spot, f"{root(spot)}/{dataset}/manifest.json")
        return None if manifest is None else _read(system(spot), root(spot), json.loads(manifest))

    return Place(word, options, read, listed or (lambda spot: _listed(system(spot), root(spot))), **more)


def s3_system(spot: Spot) -> fs.FileSystem:
    endpoint = urlsplit(spot.address["url"]).netloc
    keys = {"access_key": s3.KEY, "secret_key": s3.SECRET, "region": "us-east-1"}
    return fs.S3FileSystem(endpoint_override=endpoint, scheme="http", allow_bucket_creation=True, **keys)


def s3_options(spot: Spot) -> dict[str, Any]:
    s3_system(spot).create_dir(spot.name)
    return {
        "bucket": spot.name,
        "prefix": PREFIX,
        "region": "us-east-1",
        "endpoint_url": spot.address["url"],
        "access_key_id": {"env": "PEER_S3_KEY"},
        "secret_access_key": {"env": "PEER_S3_SECRET"},
    }


def gcs_system(spot: Spot) -> fs.FileSystem:
    endpoint = urlsplit(spot.address["url"]).netloc
    return fs.GcsFileSystem(anonymous=True, scheme="http", endpoint_override=endpoint, project_id="peer")


def gcs_options(spot: Spot) -> dict[str, Any]:
    bigquery._on_loopback()
    gcs_system(spot).create_dir(spot.name)
    return {"bucket": spot.name, "prefix": PREFIX, "project": "peer", "credentials": {"env": gcs.SECRET}}


def azure_system(spot: Spot) -> fs.FileSystem:
    authority = urlsplit(spot.address["url"]).netloc
    return fs.AzureFileSystem(
        account_name=azure_blob.ACCOUNT,
        account_key=azure_blob.KEY,
        blob_storage_authority=authority,
        blob_storage_scheme="http",
        dfs_storage_authority=authority,  # asked for by nothing here; never anybody outside
        dfs_storage_scheme="http",
    )


@contextmanager
def azure_container(spot: Spot) -> Iterator[Any]:
    from azure.storage.blob import ContainerClient  # noqa: PLC0415 - takes a second

    with ContainerClient(spot.address["url"], spot.name, credential=azure_blob.KEY) as container:
        yield container


def azure_listed(spot: Spot) -> list[str]:
    with azure_container(spot) as container:
        return sorted(container.list_blob_names())


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


def s3_fetched(spot: Spot, path: str) -> bytes | None:
    client = s3_client(spot.address["url"])
    bucket, _, key = path.partition("/")
    try:
        content: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    except client.exceptions.NoSuchKey:
        return None
    return content


@cache
def s3_client(url: str) -> Any:
    import boto3  # noqa: PLC0415 - takes a second

    keys = {"aws_access_key_id": s3.KEY, "aws_secret_access_key": s3.SECRET, "region_name": "us-east-1"}
    return boto3.session.Session().client("s3", endpoint_url=url, **keys)


def gcs_fetched(spot: Spot, path: str) -> bytes | None:
    bucket, _, key = path.partition("/")
    return _got(f"{spot.address['url']}/storage/v1/b/{bucket}/o/{quote(key, safe='')}?alt=media")


def azure_fetched(spot: Spot, path: str) -> bytes | None:
    from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415 - takes a second

    with azure_container(spot) as container:
        try:
            content: bytes = container.download_blob(path.partition("/")[2]).readall()
        except ResourceNotFoundError:
            return None
        return content


def file_fetched(_: Spot, path: str) -> bytes | None:
    return Path(path).read_bytes() if Path(path).exists() else None


def _got(url: str) -> bytes | None:
    try:
        with urlopen(url) as answer:
            content: bytes = answer.read()
            return content
    except HTTPError as error:
        if error.code == HTTPStatus.NOT_FOUND:
            return None
        raise


def _listed(system: fs.FileSystem, root: str) -> list[str]:
    below = fs.FileSelector(root.partition("/" + PREFIX)[0], recursive=True, allow_not_found=True)
    return sorted(found.path for found in system.get_file_info(below) if found.is_file)


def _read(system: fs.FileSystem, root: str, manifest: Mapping[str, Any]) -> State:
    columns = {column["name"]: column["type"] for column in manifest["columns"]}
    rows: Rows = []
    for file in manifest["files"]:
        read = _READ[manifest["format"]](system, f"{root}/{file['file']}", columns)
        assert len(read) == file["rows"]
        rows += [{name: row.get(name) for name in columns} for row in read]
    return State(rows, tuple(columns.items()), tuple((file["file"], file["sha256"]) for file in manifest["files"]))


def _parquet(system: fs.FileSystem, path: str, _columns: Mapping[str, str]) -> Rows:
    with system.open_input_file(path) as file:
        return pq.read_table(file).to_pylist()


def _csv(system: fs.FileSystem, path: str, columns: Mapping[str, str]) -> Rows:
    with system.open_input_stream(path, compression="detect") as stream:
        content = stream.read()
    converted = pyarrow.csv.ConvertOptions(
        column_types={name: _TYPES[kind] for name, kind in columns.items()},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    parsed = pyarrow.csv.ParseOptions(newlines_in_values=True)
    read = pyarrow.csv.ReadOptions(block_size=len(content) + 1)
    return pyarrow.csv.read_csv(pa.BufferReader(content), read, parsed, converted).to_pylist()


def _json_lines(system: fs.FileSystem, path: str, columns: Mapping[str, str]) -> Rows:
    with ExitStack() as stack:
        file = stack.enter_context(system.open_input_stream(path, compression=None))
        if path.endswith((".zst", ".gz")):
            file = stack.enter_context(pa.CompressedInputStream(file, "zstd" if path.endswith("zst") else "gzip"))
        lines = file.read().decode().split("\n")
    assert lines.pop() == ""
    return [
        {name: None if value is None else _VALUES[columns[name]](value) for name, value in json.loads(line).items()}
        for line in lines
    ]


_VALUES: dict[str, Callable[[Any], Any]] = {
    "json": lambda value: canonical(json.dumps(value, ensure_ascii=False)),
    "string": str,
    "int64": int,
    "double": float,
    "bool": bool,
    "timestamp[us, tz=UTC]": datetime.fromisoformat,
    "date32[day]": date.fromisoformat,
}
_READ: dict[str, Callable[[fs.FileSystem, str, Mapping[str, str]], Rows]] = {
    "parquet": _parquet,
    "csv": _csv,
    "jsonl": _json_lines,
}
