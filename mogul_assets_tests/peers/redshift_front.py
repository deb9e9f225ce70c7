"""Makes PostgreSQL look like Redshift: a proxy of its wire protocol, run in the peer's own environment.

    redshift_front.py PORT POSTGRES_PORT S3_URL FOLDER

Statements are translated (``redshift_sql``) and written to ``FOLDER/statements.jsonl`` as they came. ``COPY`` from S3
is read here and fed to the client's own backend, so that it belongs to the client's transaction. TLS is offered with a
certificate of its own authority, ``FOLDER/ca.pem``.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import re
import ssl
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import trustme
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from redshift_sql import Copy, RefusedError, copy, statements, translated

_SSL, _CANCEL, _GSS = 80877103, 80877102, 80877104
_STARTUP = {"user", "database", "application_name", "client_encoding", "DateStyle", "TimeZone", "extra_float_digits"}
_AS_REDSHIFT = {
    # As in PostgreSQL 8.0, a backslash in a literal escapes.
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "search_path": "public",
}
_VARCHAR = 65_535
"""Bytes that a VARCHAR holds at most; PostgreSQL would count characters."""

_ROLES = {
    "denied": ("S3ServiceException:Access Denied,Status 403,Error AccessDenied,Rid 7F0C1B7B,CanRetry 1", ""),
    "unassociated": ("User arn:aws:redshift:us-east-1:12:dbuser:dev/mogul is not authorized to assume IAM Role", ""),
    "unreadable": ("Spectrum Scan Error", "code: 15007 context: a value of column name: secret"),
}
"""What is said to roles whose name ends so: PostgreSQL knows no IAM."""


class Front:
    def __init__(self, postgres: int, s3: str, folder: Path) -> None:
        self.postgres, self.s3, self.numbers = postgres, s3, itertools.count()
        self.log = (folder / "statements.jsonl").open("a", buffering=1)
        authority = trustme.CA()
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(self.tls)
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))

    async def serve(self, port: int) -> None:
        async with await asyncio.start_server(self._connected, "127.0.0.1", port) as server:
            await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, backend = await asyncio.open_connection("127.0.0.1", self.postgres)
        session = Session(self, reader, writer, answers, backend)
        try:
            if await session.opened():
                loops = [asyncio.create_task(session.questions()), asyncio.create_task(session.answers())]
                _, pending = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
                for task in pending:
                    task.cancel()
                await asyncio.gather(*loops, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            backend.close()


class Session:
    """One client's connection and its backend."""

    def __init__(
        self,
        front: Front,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        backend: asyncio.StreamReader,
        to_backend: asyncio.StreamWriter,
    ) -> None:
        self.front, self.number = front, next(front.numbers)
        self.client, self.to_client = client, to_client
        self.backend, self.to_backend = backend, to_backend
        self.startup: dict[str, str] = {}
        self.in_transaction = False
        self.copying: asyncio.Future[int | None] | None = None
        """The columns that PostgreSQL waits for in a ``COPY``; ``None`` where it refused."""
        self.refusal: RefusedError | None = None
        """Takes the place of PostgreSQL's next error."""

    async def opened(self) -> bool:
        """Whether the client began a session; a cancellation is passed on and ends at once."""
        while True:
            (size,) = struct.unpack("!I", await self.client.readexactly(4))
            body = await self.client.readexactly(size - 4)
            (code,) = struct.unpack("!I", body[:4])
            if code == _SSL:
                self.to_client.write(b"S")
                await self.to_client.drain()
                await self.to_client.start_tls(self.front.tls)
            elif code == _GSS:
                self.to_client.write(b"N")
            elif code == _CANCEL:
                self.to_backend.write(struct.pack("!I", size) + body)
                await self.to_backend.drain()
                return False
            else:
                words = body[4:].rstrip(b"\0").decode().split("\0")
                self.startup = dict(zip(words[::2], words[1::2], strict=True))
                level = "repeatable read" if self.startup.get("database") == "snapshot" else "serializable"
                kept = {name: value for name, value in self.startup.items() if name in _STARTUP}
                pairs = b"".join(
                    f"{name}\0{value}\0".encode()
                    for name, value in {**kept, **_AS_REDSHIFT, "default_transaction_isolation": level}.items()
                )
                self.to_backend.write(struct.pack("!I", len(pairs) + 9) + body[:4] + pairs + b"\0")
                return True

    async def questions(self) -> None:
        while True:
            kind, body = await _message(self.client)
            if kind == b"Q":
                await self._asked(body[:-1].decode())
            elif kind == b"P":
                name, sql, rest = body.split(b"\0", 2)
                self.to_backend.write(_framed(kind, name + b"\0" + self._translated(sql.decode()) + b"\0" + rest))
            else:
                self.to_backend.write(_framed(kind, body))
            await self.to_backend.drain()

    async def answers(self) -> None:
        while True:
            kind, body = await _message(self.backend)
            if kind == b"Z":
                self.in_transaction = body != b"I"
                self.refusal = None
            if kind == b"S" and body.startswith(b"server_version\0"):
                body = b"server_version\x008.0.2\0"
            if kind == b"E":
                body = self._error(body)
            if kind in b"GE" and self.copying is not None and not self.copying.done():
                self.copying.set_result(struct.unpack("!h", body[1:3])[0] if kind == b"G" else None)
                if kind == b"G":
                    continue
            self.to_client.write(_framed(kind, body))
            await self.to_client.drain()

    async def _asked(self, sql: str) -> None:
        parts = statements(sql)
        try:
            wanted = copy(parts[0]) if len(parts) == 1 else None
        except RefusedError as error:
            self._logged(sql)
            self.to_backend.write(_framed(b"Q", self._refused(error) + b"\0"))
            return
        if wanted is None:
            self.to_backend.write(_framed(b"Q", self._translated(sql) + b"\0"))
            return
        self._logged(sql)
        await self._copied(wanted)

    async def _copied(self, wanted: Copy) -> None:
        self.copying = asyncio.get_running_loop().create_future()
        self.to_backend.write(_framed(b"Q", f"COPY {wanted.target} FROM STDIN WITH (FORMAT csv)".encode() + b"\0"))
        await self.to_backend.drain()
        columns = await self.copying
        if columns is None:
            return
        pieces = rows(wanted, columns, self.front.s3)
        try:
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                self.to_backend.write(_framed(b"d", piece))
                await self.to_backend.drain()
            self.to_backend.write(_framed(b"c", b""))
        except RefusedError as error:
            self.refusal = error
            self.to_backend.write(_framed(b"f", b"refused\0"))

    def _translated(self, sql: str) -> bytes:
        in_transaction, translations = self.in_transaction, []
        for statement in statements(sql):
            self._logged(statement)
            try:
                translations.append(translated(statement, in_transaction=in_transaction))
            except RefusedError as error:
                return self._refused(error)
            in_transaction |= re.match(r"(?i)begin|start\s+transaction", statement) is not None
        return "; ".join(translations).encode()

    def _refused(self, error: RefusedError) -> bytes:
        """A statement that fails in the client's transaction, as Redshift would say it."""
        self.refusal = error
        return b"DO 'BEGIN RAISE EXCEPTION ''refused''; END'"

    def _error(self, body: bytes) -> bytes:
        fields = {field[:1].decode(): field[1:].decode() for field in body.split(b"\0") if field}
        refusal, self.refusal = self.refusal, None
        if fields["C"] == "40001":
            detail = (
                "Serializable isolation violation on table - 100123, transactions forming the cycle are: 1, 2 (pid:3)"
            )
            refusal = RefusedError("XX000", "1023", detail)
        elif fields["C"] == "22P02" and "json" in fields["M"]:
            refusal = RefusedError("XX000", "JSON parsing error", "error: JSON parsing error code: 8001")
        if refusal is None:
            return body
        said = {"S": fields["S"], "C": refusal.code, "M": refusal.message, "D": refusal.detail}
        return b"".join(f"{key}{value}\0".encode() for key, value in said.items() if value) + b"\0"

    def _logged(self, statement: str) -> None:
        said = {"session": self.number, "user": self.startup.get("user"), "statement": statement}
        self.front.log.write(json.dumps(said) + "\n")


def rows(wanted: Copy, columns: int, endpoint: str) -> Iterator[bytes]:
    """The rows of a ``COPY`` as CSV in pieces: null is nothing, an empty text is quoted.

    Raises:
        RefusedError: what Redshift says of S3's errors, of files that do not fit and of values too long.
    """
    if wanted.role not in (None, "default"):
        if not re.fullmatch(r"arn:aws[\w-]*:iam::\d{12}:role/[\w+=,.@/-]+", wanted.role or ""):
            raise RefusedError("XX000", f"Invalid credentials. The IAM role {wanted.role} is not valid")
        for end, (said, detail) in _ROLES.items():
            if str(wanted.role).endswith(end):
                raise RefusedError("XX000", said, detail)
    bucket, _, key = wanted.url.removeprefix("s3://").partition("/")
    store = _s3(wanted, endpoint)
    try:
        if wanted.manifest:
            listed = json.loads(store.get_object(Bucket=bucket, Key=key)["Body"].read())["entries"]
            files = [entry["url"] for entry in listed]
            if any("content_length" not in entry.get("meta", {}) for entry in listed):
                raise RefusedError("XX000", "COPY from a columnar file needs meta content_length in its manifest")
        else:
            pages = store.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
            files = [f"s3://{bucket}/{found['Key']}" for page in pages for found in page.get("Contents", [])]
        if not files:
            raise RefusedError("XX000", f"The specified S3 prefix '{key}' does not exist")
        for url in files:
            yield from _csv(store, url, columns)
    except ClientError as error:
        code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        said = error.response["Error"].get("Message", code)
        message = f"S3ServiceException:{said},Status {status},Error {code},Rid 7F0C1B7B,CanRetry 1"
        raise RefusedError("XX000", message) from None
    except BotoCoreError as error:
        raise RefusedError(
            "XX000", f"S3CurlException: {type(error).__name__}, CurlError 28, multiCurlError 0"
        ) from None


def _s3(wanted: Copy, endpoint: str) -> Any:
    key, secret, token = wanted.keys or ("peer", "peer", None)
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )


def _csv(store: Any, url: str, columns: int) -> Iterator[bytes]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    try:
        file = pq.ParquetFile(io.BytesIO(store.get_object(Bucket=bucket, Key=key)["Body"].read()))
    except pa.ArrowInvalid:
        raise RefusedError(
            "XX000", "Spectrum Scan Error", f"code: 15007 context: File '{url}' has an invalid version number"
        ) from None
    if len(file.schema_arrow) != columns:
        detail = (
            "code: 15007 context: Unmatched number of columns between table and file."
            f" Table columns: {columns}, Data columns: {len(file.schema_arrow)}, File name: {url}"
        )
        raise RefusedError("XX000", "Spectrum Scan Error", detail)
    for batch in file.iter_batches(65_536):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if pa.types.is_string(column.type) and (pc.max(pc.binary_length(column)).as_py() or 0) > _VARCHAR:
                detail = (
                    f"code: 15001 context: The length of the data column {name} is longer than the length defined in"
                    f" the table. Table: {_VARCHAR}, Data: {pc.max(pc.binary_length(column)).as_py()}, File name: {url}"
                )
                raise RefusedError("XX000", "Spectrum Scan Error", detail)
        sink = io.BytesIO()
        pyarrow.csv.write_csv(batch, sink, pyarrow.csv.WriteOptions(include_header=False))
        yield sink.getvalue()


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    kind, size = struct.unpack("!cI", await reader.readexactly(5))
    return kind, await reader.readexactly(size - 4)


def _framed(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


if __name__ == "__main__":
    listen, postgres, s3, folder = sys.argv[1:]
    asyncio.run(Front(int(postgres), s3, Path(folder)).serve(int(listen)))
