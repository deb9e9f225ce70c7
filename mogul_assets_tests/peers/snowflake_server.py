"""The Snowflake peer: ``fakesnow``'s server (DuckDB behind Snowflake's protocol), and what a loader meets beyond it.

Runs in the peer's own environment: ``python -m mogul_assets_tests.peers.snowflake_server PORT CREDENTIALS``. Over
``fakesnow`` it adds

- log-in that checks the password, or the signature of the key pair's token;
- a database that is not there stays so, and so does a schema;
- DDL that commits the open transaction, and ``UPDATE`` and ``DELETE`` that lock their table until theirs ends;
- an answer that is given again to a request that is sent again, as after a lost connection;
- comments on columns, apostrophes in those on tables, names of columns in their own case, ``PARSE_JSON(…, 'd')``;
- sessions that end when they are closed, and their transaction with them;
- errors of DuckDB as errors of Snowflake: the client would take a fault of the server for one that passes;
- ``COPY INTO`` from an external stage over the S3 peer;
- ``/peer/statements``, every statement with its database, and ``/peer/faults``, errors that a test asks for.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.request import Request as UrlRequest
from urllib.request import urlopen

import duckdb
import fakesnow.arrow
import fakesnow.copy_into
import fakesnow.info_schema
import fakesnow.server
import jwt
import pyarrow as pa
import pyarrow.compute as pc
import sqlglot
import uvicorn
from fakesnow.conn import FakeSnowflakeConnection
from fakesnow.cursor import FakeSnowflakeCursor
from fakesnow.instance import FakeSnow
from snowflake.connector.errors import OperationalError, ProgrammingError
from sqlglot import exp
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_execute = FakeSnowflakeCursor.execute
_sent = fakesnow.arrow.timestamp_to_sf_struct
_noted = fakesnow.info_schema.insert_text_lengths_sql
_described = fakesnow.info_schema.insert_table_comment_sql

statements: list[tuple[str, str]] = []
"""(database, statement), as they came."""
faults: list[dict[str, Any]] = []
"""Each: ``database``, ``matching`` (a regular expression or ``login``), ``code``, ``state``, ``message``, ``times``."""
credentials: dict[str, str] = {}
stages: dict[str, dict[str, str]] = {}
"""External stages by their quoted paths: ``endpoint``, ``bucket`` and ``path``."""


class Locks:
    """Tables that a transaction changes: another waits for its end, or for its own limit."""

    def __init__(self) -> None:
        self._held: dict[str, FakeSnowflakeConnection] = {}
        self._freed = threading.Condition()

    def take(self, table: str, session: FakeSnowflakeConnection, seconds: float) -> None:
        with self._freed:
            if not self._freed.wait_for(lambda: self._held.get(table, session) is session, seconds):
                # https://community.snowflake.com/s/article/Statement-has-locked-table-in-transaction
                raise OperationalError(
                    msg=f"Statement '0' has locked table '{table}' in transaction 0 and this lock has not yet been"
                    " released.",
                    errno=625,
                    sqlstate="57014",
                )
            self._held[table] = session

    def free(self, session: FakeSnowflakeConnection) -> None:
        with self._freed:
            self._held = {table: holder for table, holder in self._held.items() if holder is not session}
            self._freed.notify_all()


locks = Locks()
schemas = threading.Lock()
"""Held by DDL: DuckDB refuses one of two that make the same table at once, and Snowflake has one wait."""


def execute(self: FakeSnowflakeCursor, command: str, *args: Any, **more: Any) -> FakeSnowflakeCursor:
    """A statement, as Snowflake would take it."""
    session = self._conn
    if "binding_params" not in more and not more.get("server"):
        return _execute(self, command, *args, **more)  # fakesnow's own
    statements.append((session.database or "", command))
    after = _fault(session.database or "", command)
    if set_to := re.match(r"(?i)\s*alter\s+session\s+set\s+(.*)", command):
        parameters = dict(re.findall(r"(\w+)\s*=\s*('[^']*'|\w+)", set_to[1]))
        session.lock_timeout = float(parameters.get("LOCK_TIMEOUT", session.lock_timeout))
    command = re.sub(r"(?i)\bcurrent_warehouse\(\)", "'LOADING'", command)
    if re.match(r"(?i)\s*(grant|revoke|alter\s+session)\b", command):
        return _execute(self, "SELECT 'Statement executed successfully.' AS status")
    command = _temporary(self, command)
    command = re.sub(r"(?i)\b(PURGE|FORCE)\s*=\s*FALSE\b", "", command)
    command = re.sub(r"(?i)\bOCTET_LENGTH\(", "strlen(", command)
    command = re.sub(r"(?i)(PARSE_JSON\((?:[^()']|\"[^\"]*\")*), 'd'\)", r"\1)", command)
    tree = _parsed(command)
    in_transaction = getattr(session, "in_transaction", False)
    ddl = isinstance(tree, exp.Create | exp.Drop | exp.Alter | exp.Comment)
    if ddl and in_transaction:
        _execute(self, "COMMIT")
        in_transaction = False
    if isinstance(tree, exp.Update | exp.Delete | exp.Merge):
        locks.take(str(tree.find(exp.Table)).upper(), session, session.lock_timeout)
    try:
        with schemas if ddl else nullcontext():
            done = _undisturbed(
                lambda: _copied(self, command) or _commented(self, tree) or _execute(self, command, *args, **more),
                alone=not in_transaction,
            )
    except duckdb.ConstraintException as error:
        raise ProgrammingError(
            msg=f"NULL result in a non-nullable column: {error}", errno=100072, sqlstate="22000"
        ) from None
    except duckdb.InvalidInputException as error:
        raise ProgrammingError(msg=f"Error parsing JSON: {error}", errno=100069, sqlstate="22P02") from None
    except (duckdb.Error, OSError, ValueError, AssertionError) as error:
        raise ProgrammingError(msg=f"{type(error).__name__}: {error}", errno=1003, sqlstate="42000") from None
    finally:
        if isinstance(tree, exp.Transaction):
            session.in_transaction = True
        elif isinstance(tree, exp.Commit | exp.Rollback) or not in_transaction:
            session.in_transaction = False
            locks.free(session)
    if after:
        raise after
    return done


def _undisturbed(work: Callable[[], FakeSnowflakeCursor], *, alone: bool) -> FakeSnowflakeCursor:
    """``work``, again where it stands ``alone`` and DuckDB refused it for another's: Snowflake has it wait instead."""
    for pause in (0.05, 0.1, 0.2, 0.4, 0.8) if alone else ():
        try:
            return work()
        except duckdb.TransactionException:
            time.sleep(pause)
    return work()


def _temporary(cursor: FakeSnowflakeCursor, command: str) -> str:
    """DuckDB's temporary tables stand in no schema: their paths become names, and the schema the session's."""
    session = cursor._conn
    if made := re.match(r"CREATE TEMPORARY TABLE ((?:\"[^\"]+\"\.)*)(\"[^\"]+\")", command):
        session.temporary = {**getattr(session, "temporary", {}), made[1] + made[2]: made[2]}
        if made[1]:
            _execute(cursor, f"USE SCHEMA {made[1].rstrip('.')}")
    for path, name in getattr(session, "temporary", {}).items():
        stage = name.replace('"', "%", 1).rstrip('"')
        command = command.replace(path, name).replace(path.removesuffix(name) + stage, stage)
    return command


def _copied(cursor: FakeSnowflakeCursor, command: str) -> FakeSnowflakeCursor | None:
    """``COPY INTO`` from an external stage over S3, which is made known by ``/peer/stages``."""
    found = re.match(r'COPY INTO (\S+) FROM @("[^/]+")/(\S+/) ', command)
    if found is None or found[2] not in stages:
        return None
    url, bucket, below = (stages[found[2]][word] for word in ("endpoint", "bucket", "path"))
    listed = _got(f"{url}/{bucket}?list-type=2&prefix={below}/{found[3]}").decode()
    with tempfile.TemporaryDirectory() as folder:
        for place, key in enumerate(re.findall("<Key>([^<]+)</Key>", listed)):
            Path(folder, f"{place}.parquet").write_bytes(_got(f"{url}/{bucket}/{key}"))
        cursor._duck_conn.execute(f"INSERT INTO {found[1]} BY NAME SELECT * FROM read_parquet('{folder}/*.parquet')")
    return _execute(cursor, "SELECT 'LOADED' AS status")


def _got(url: str) -> bytes:
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, Signature=unchecked"}
    with urlopen(UrlRequest(url, headers=signed), timeout=20) as answer:
        content: bytes = answer.read()
        return content


def _parsed(command: str) -> exp.Expression | None:
    try:
        return sqlglot.parse_one(command, read="snowflake")
    except sqlglot.errors.SqlglotError:
        return None


def _commented(cursor: FakeSnowflakeCursor, tree: exp.Expression | None) -> FakeSnowflakeCursor | None:
    """Comments on columns, which DuckDB has and fakesnow leaves out; ``None`` where the rest is still to be done."""
    if isinstance(tree, exp.Comment) and tree.args.get("kind") == "COLUMN":
        cursor._duck_conn.execute(f"COMMENT ON COLUMN {tree.this.sql('duckdb')} IS {tree.expression.sql('duckdb')}")
        return _execute(cursor, "SELECT 'Statement executed successfully.' AS status")
    definitions = list(tree.find_all(exp.ColumnDef)) if isinstance(tree, exp.Create | exp.Alter) else []
    comments = {
        column.this.sql("duckdb"): comment.this.sql("duckdb")
        for column in definitions
        for comment in column.find_all(exp.CommentColumnConstraint)
    }
    if not comments:
        return None
    for comment in list(tree.find_all(exp.CommentColumnConstraint)):
        comment.parent.pop()
    done = _execute(cursor, tree.sql("snowflake"), server=True)
    table = tree.find(exp.Table).sql("duckdb")
    with cursor._duck_conn.cursor() as apart:
        for column, text in comments.items():
            apart.execute(f"COMMENT ON COLUMN {table}.{column} IS {text}")
    return done


def _fault(database: str, said: str) -> ProgrammingError | None:
    """Raises what a test asked for; returns it where it is to come after the work."""
    for fault in faults:
        if fault["times"] and fault["database"] == database and re.search(fault["matching"], said):
            fault["times"] -= 1
            error = ProgrammingError(msg=fault["message"], errno=int(fault["code"]), sqlstate=fault["state"])
            if fault["after"]:
                return error
            raise error
    return None


def _columns_as_they_are(table: exp.Table, connection: Any, database: str | None, schema: str | None) -> list[str]:
    return [name for name, *_ in connection.execute(f"DESCRIBE {table.sql('duckdb')}").fetchall()]


def _moments(moments: pa.ChunkedArray) -> pa.Array:
    """Moments as Snowflake sends them, null where they are null."""
    moments = moments.combine_chunks() if isinstance(moments, pa.ChunkedArray) else moments
    sent = _sent(pc.fill_null(moments, pa.scalar(0, moments.type)))
    return pa.StructArray.from_arrays(sent.flatten(), fields=list(sent.type), mask=moments.is_null())


def _lengths(catalog: str, schema: str, table: str, lengths: list[tuple[str, int]]) -> str:
    return _noted(catalog, schema, table, [(name.replace("'", "''"), length) for name, length in lengths])


def _description(catalog: str, schema: str, table: str, comment: str) -> str:
    return _described(catalog, schema, table, str(comment).replace("'", "''"))


async def login(request: Request) -> Response:
    body = await request.body()
    data = json.loads(gzip.decompress(body) if request.headers.get("Content-Encoding") == "gzip" else body)["data"]
    try:
        _fault(request.query_params.get("databaseName", ""), "login")
        _admitted(data)
    except ProgrammingError as error:
        return JSONResponse({"data": {}, "code": f"{error.errno:06}", "message": error.raw_msg, "success": False})
    answer = json.loads((await fakesnow.server.login_request(request)).body)
    answer["data"] |= {"masterToken": "master", "masterValidityInSeconds": 14_400, "validityInSeconds": 3_600}
    return JSONResponse(answer)  # without a master token the client never ends its session


def _admitted(data: dict[str, Any]) -> None:
    """https://docs.snowflake.com/en/user-guide/key-pair-auth-troubleshooting has the error of a token."""
    if data.get("AUTHENTICATOR") == "SNOWFLAKE_JWT":
        try:
            jwt.decode(data["TOKEN"], credentials["public_key"], algorithms=["RS256"])
        except jwt.PyJWTError:
            raise ProgrammingError(msg="JWT token is invalid.", errno=390144, sqlstate="08001") from None
    elif (data["LOGIN_NAME"].lower(), data.get("PASSWORD")) != (credentials["user"], credentials["password"]):
        raise ProgrammingError(msg="Incorrect username or password was specified.", errno=390100, sqlstate="08001")


_answers: dict[str, asyncio.Future[tuple[int, bytes]]] = {}


async def query(request: Request) -> Response:
    """The same request again, as a client sends it that lost its connection, has the same answer."""
    name = request.query_params.get("requestId", "")
    if name not in _answers:
        _answers[name] = asyncio.get_running_loop().create_future()
        answer = await fakesnow.server.query_request(request)
        if (code := json.loads(answer.body).get("code") or "").startswith("290"):  # a status, as the client tells it
            del _answers[name]
            return Response(status_code=int(code[3:]))
        _answers[name].set_result((answer.status_code, bytes(answer.body)))
    status, body = await asyncio.shield(_answers[name])
    return Response(body, status_code=status, media_type="application/json")


async def session(request: Request) -> Response:
    """The end of a session is the end of its transaction."""
    token = fakesnow.server.to_token(request)
    if (ended := fakesnow.server.sessions.get(token)) and request.query_params.get("delete"):
        await run_in_threadpool(ended.close)
        locks.free(ended)
    return await fakesnow.server.session(request)


async def aborted(request: Request) -> Response:
    statements.append((fakesnow.server.to_conn(fakesnow.server.to_token(request)).database or "", "ABORT"))
    return JSONResponse({"success": True})


async def listed(request: Request) -> Response:
    database = request.query_params["database"]
    return JSONResponse([said for place, said in statements if place == database])


async def asked_for(request: Request) -> Response:
    faults.append(await request.json())
    return JSONResponse({})


async def staged(request: Request) -> Response:
    stages.update(await request.json())
    return JSONResponse({})


def serve(port: int, file: Path) -> None:
    credentials.update(json.loads(file.read_text()))
    FakeSnowflakeCursor.execute = execute
    FakeSnowflakeConnection.lock_timeout = 43_200.0
    fakesnow.copy_into._get_table_columns = _columns_as_they_are
    fakesnow.arrow.timestamp_to_sf_struct = _moments
    fakesnow.info_schema.insert_text_lengths_sql = _lengths
    fakesnow.info_schema.insert_table_comment_sql = _description
    fakesnow.server.shared_fs = FakeSnow(create_database_on_connect=False, create_schema_on_connect=False)
    routes: list[tuple[str, str, Callable[[Request], Any]]] = [
        ("POST", "/session/v1/login-request", login),
        ("POST", "/queries/v1/query-request", query),
        ("POST", "/queries/v1/abort-request", aborted),
        ("POST", "/session", session),
        ("POST", "/telemetry/send", lambda _: JSONResponse({"success": True})),
        ("GET", "/peer/statements", listed),
        ("POST", "/peer/faults", asked_for),
        ("POST", "/peer/stages", staged),
    ]
    fakesnow.server.app.router.routes[:0] = [Route(path, work, methods=[method]) for method, path, work in routes]
    uvicorn.run(fakesnow.server.app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
