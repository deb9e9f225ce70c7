"""The BigQuery peer: ``local-bigquery`` behind a front with Google's log-in, a statement log and scripted answers.

Runs in the environment ``.peers/bigquery``, with nothing of ours in it::

    python bigquery_server.py PORT FOLDER KEY

``KEY`` is a service account's key file; only its bearer is let in. Below ``/_peer`` the front is told what to do:

- ``GET /_peer/log?about=NAME``: the requests in which NAME occurs, oldest first, each with method, path and body.
- ``POST /_peer/answers``: what the next request in which ``about`` occurs and which ``match`` (a regular
  expression over ``METHOD path body``) finds is answered with, ``times`` times: ``status`` and ``body``; or
  ``job`` (an error that the job, which does not run, ends with); or ``lost`` (the request is done and the
  connection breaks in the middle of the answer).
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import duckdb
import google.auth.jwt
import uvicorn
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

BODY = 100_000
"""Characters of a request that are looked at: statements are shorter, Parquet files are cut."""

RENAMED = re.compile(r"(ALTER TABLE \S+) (RENAME COLUMN [^,]+), (RENAME COLUMN [^,]+)")
"""Two columns that are renamed in one statement: here they are renamed in two."""

CONFLICT = re.compile("conflict|Failed to commit|another transaction", re.IGNORECASE)


def installed() -> None:
    """DuckDB's extensions, from the wheels beside us into this user's own folder. None is ever fetched."""
    site = Path(duckdb.__file__).parents[1]
    with duckdb.connect() as connection:
        for extension in site.glob("duckdb_extension_*/extensions/*/*.duckdb_extension"):
            connection.execute(f"INSTALL '{extension}'")


def without_icu(connect):
    """``local-bigquery`` sets the time zone as it connects, which wants an extension that is built in here."""

    def connected(*args, config=None, **options):
        config = {**(config or {}), "autoinstall_known_extensions": "false"}
        zone = config.pop("TimeZone", None)
        connection = connect(*args, config=config, **options)
        if zone is not None:
            connection.execute(f"SET GLOBAL TimeZone = '{zone}'")
        return connection

    return connected


def cancelled(message: str) -> str:
    """What BigQuery says where DuckDB speaks of a conflict."""
    if CONFLICT.search(message):
        return "Transaction is aborted due to concurrent update against table local. Transaction ID: 00000000-0000-0000"
    return message


class Front:
    """Stands before the application: lets in whom the key signed for, notes what is asked, plays what was scripted."""

    def __init__(self, app, key: dict) -> None:
        self.app = app
        private = load_pem_private_key(key["private_key"].encode(), password=None)
        self.public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.log: list[dict] = []
        self.answers: list[dict] = []
        self.lock = threading.Lock()

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
        content, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return  # half a request is none
            content += message.get("body", b"")
            more = message.get("more_body", False)
        path = scope["path"] + ("?" + scope["query_string"].decode() if scope["query_string"] else "")
        if path.startswith(("/_peer/", "/token")):
            status, answer = self.told(path, content)
            await answered(send, status, answer)
            return
        text = content[:BODY].decode(errors="replace")
        request = {"method": scope["method"], "path": path, "body": text, "at": time.time()}
        self.log.append(request)
        if not self.known(dict(scope["headers"])):
            await answered(send, 401, refusal(401, "authError", "Invalid Credentials"))
            return
        scripted = self.scripted(f"{scope['method']} {path} {text}")
        if scope["method"] == "POST" and path.startswith("/bigquery/"):
            content = RENAMED.sub(r"\1 \2; \1 \3", content.decode()).encode()
        if scripted is None:
            await self.app(scope, again(content), send)
        elif scripted.get("lost"):
            await self.app(scope, again(content), torn(send))
        elif "job" in scripted:
            await answered(send, 200, failed(text, scripted["job"]))
        else:
            await answered(send, scripted["status"], scripted["body"])

    def told(self, path: str, content: bytes) -> tuple[int, object]:
        url = urlsplit(path)
        asked = parse_qs(url.query)
        if url.path == "/token":
            return self.token(content)
        if url.path == "/_peer/answers":
            with self.lock:
                self.answers.append(json.loads(content))
            return 200, {}
        about = asked.get("about", [""])[0]
        return 200, [request for request in self.log if about in request["path"] + request["body"]]

    def token(self, content: bytes) -> tuple[int, object]:
        """A bearer for whoever signed with the account's key: the assertion itself, which says whose it is."""
        assertion = parse_qs(content.decode())["assertion"][0]
        try:
            google.auth.jwt.decode(assertion, certs=self.public, verify=True, audience=None)
        except ValueError:
            return 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        return 200, {"access_token": assertion, "expires_in": 3600, "token_type": "Bearer"}

    def known(self, headers: dict) -> bool:
        _, _, token = headers.get(b"authorization", b"").decode().partition(" ")
        try:
            google.auth.jwt.decode(token, certs=self.public, verify=True, audience=None)
        except ValueError:
            return False
        return True

    def scripted(self, request: str) -> dict | None:
        with self.lock:
            for answer in self.answers:
                if (
                    answer["times"] > 0
                    and answer["about"] in request
                    and re.search(answer["match"], request, re.DOTALL)
                ):
                    answer["times"] -= 1
                    return answer
        return None


def again(content: bytes):
    """A body that was read already, to be read by the application."""
    messages = iter([{"type": "http.request", "body": content}])

    async def receive():
        return next(messages, {"type": "http.disconnect"})

    return receive


def torn(send):
    """Sends half of each answer and then no more: the server closes the connection."""

    async def half(message):
        if message["type"] == "http.response.start":
            await send(message)
        elif message.get("body"):
            await send({"type": "http.response.body", "body": message["body"][: len(message["body"]) // 2]})

    return half


async def answered(send, status: int, content: object) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def refusal(code: int, reason: str, message: str) -> dict:
    return {"error": {"code": code, "message": message, "errors": [{"reason": reason, "message": message}]}}


def failed(request: str, error: dict) -> dict:
    """A job that ended with the error. ``request`` holds the job as it was to be, perhaps in a part of its own."""
    job = json.JSONDecoder().raw_decode(request[request.index("{") :])[0]
    status = {"state": "DONE", "errorResult": error, "errors": [error]}
    return {**job, "status": status, "statistics": {}}


def main() -> None:
    port, folder, key = int(sys.argv[1]), Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text())
    installed()
    duckdb.connect = without_icu(duckdb.connect)

    from local_bigquery.app import app  # noqa: PLC0415 - it connects as it is imported
    from local_bigquery.errors import BigQueryError  # noqa: PLC0415
    from local_bigquery.settings import settings  # noqa: PLC0415
    from local_bigquery.sql import dialect  # noqa: PLC0415

    dialect.FUNCTIONS.remove(next(file for file in dialect.FUNCTIONS if file.stem == "geography"))  # it downloads
    told = BigQueryError.proto

    def proto(error):
        sys.stderr.write(f"{error.reason}: {error.message}\n")  # for whoever reads the log
        return {**told(error), "message": cancelled(error.message)}

    BigQueryError.proto = proto
    settings.data_dir = folder
    settings.default_project_id = key["project_id"]
    settings.caller = f"serviceAccount:{key['client_email']}"
    uvicorn.run(Front(app, key), host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
