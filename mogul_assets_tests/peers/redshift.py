"""Redshift: PostgreSQL behind a front that speaks Redshift (``redshift_front``), which copies from the S3 peer.

What it cannot prove is listed in ``docs/destinations/fidelity.md``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from secrets import token_hex
from typing import Any

import boto3
import psycopg2

from mogul_assets_tests.destinations.place import Spot, State, canonical
from mogul_assets_tests.peers import s3, servers

DATABASE = "dev"
SNAPSHOT = "snapshot"
"""A database of Redshift's other isolation level, the default of newer clusters."""
USER = "mogul"
PASSWORD = "MOGUL_TEST_REDSHIFT_PASSWORD"
"""The environment variable that holds the user's password."""
ROLE = "arn:aws:iam::123456789012:role/mogul-redshift"

_NOBODY = 65534
_OWNER = "rdsdb"  # Redshift's own superuser

_RIGHTS = f"""
REVOKE TEMPORARY ON DATABASE {{database}} FROM PUBLIC;
GRANT CREATE, TEMPORARY ON DATABASE {{database}} TO {USER};
"""
_FUNCTIONS = """
CREATE DOMAIN super AS jsonb;
CREATE FUNCTION json_parse(text) RETURNS super LANGUAGE sql IMMUTABLE AS 'SELECT $1::jsonb::super';
CREATE FUNCTION json_serialize(super) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1::jsonb::text';
CREATE FUNCTION can_json_parse(text) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT pg_input_is_valid($1, ''jsonb'')';
CREATE FUNCTION getdate() RETURNS timestamp LANGUAGE sql STABLE AS 'SELECT now() AT TIME ZONE ''utc''';
CREATE FUNCTION pg_last_copy_id() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT 1::bigint';
CREATE TABLE sys_load_error_detail (query_id bigint, column_name text, error_code int, start_time timestamp);
GRANT SELECT ON sys_load_error_detail TO PUBLIC;
INSERT INTO sys_load_error_detail VALUES (1, 'name      ', 1204, now());
CREATE FUNCTION datediff_microsecond(timestamp, timestamp) RETURNS bigint LANGUAGE sql IMMUTABLE AS
  'SELECT (extract(epoch FROM $2) * 1000000)::bigint - (extract(epoch FROM $1) * 1000000)::bigint';
"""


def start(folder: Path) -> tuple[list[int], dict[str, Any]]:
    """Start it in ``folder``, to be called through ``servers.shared``."""
    python = servers.program("redshift", "bin", "python")
    store = servers.shared(folder.parent, "s3", s3.start)
    postgres, port, passwords = servers.free_port(), servers.free_port(), {_OWNER: token_hex(12), USER: token_hex(12)}
    groups = [_postgres(folder, postgres, passwords[_OWNER])]
    owner = {"host": "127.0.0.1", "port": postgres, "user": _OWNER, "password": passwords[_OWNER]}
    _made(owner, passwords[USER])
    groups.append(
        servers.started(
            [python, Path(__file__).with_name("redshift_front.py"), port, postgres, store["url"], folder],
            log=folder / "front.log",
            ready=servers.reachable(port),
        )
    )
    address = {
        "port": port,
        "owner": {**owner, "dbname": DATABASE},
        "s3": store["url"],
        "certificates": str(folder / "ca.pem"),
        "log": str(folder / "statements.jsonl"),
        "environment": {
            "AWS_ACCESS_KEY_ID": "mogul",
            "AWS_SECRET_ACCESS_KEY": token_hex(12),
            "AWS_EC2_METADATA_DISABLED": "true",
            PASSWORD: passwords[USER],
        },
    }
    return groups, address


def options(spot: Spot) -> dict[str, Any]:
    """What a user would write for a schema and a bucket of the spot's own; the bucket is made."""
    bucket_of(spot.address).create_bucket(Bucket=spot.name)
    return {
        "host": "127.0.0.1",
        "port": spot.address["port"],
        "database": DATABASE,
        "schema": spot.name,
        "user": USER,
        "password": {"env": PASSWORD},
        "certificates": spot.address["certificates"],
        "bucket": spot.name,
        "region": "us-east-1",
        "role": ROLE,
        "s3_endpoint": spot.address["s3"],
    }


def read(spot: Spot, dataset: str) -> State | None:
    """The rows as the owner sees them, by the first column; moments are UTC there."""
    path = ".".join('"' + name.replace('"', '""') + '"' for name in (spot.name, dataset))
    with connected(spot.address) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = to_regclass(%s)"
            " AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            [path],
        )
        columns = tuple(cursor.fetchall())
        if not columns:
            return None
        names = ('"' + name.replace('"', '""') + '"' for name, _ in columns)
        values = (f"{name}{_READ.get(kind, '')}" for name, (_, kind) in zip(names, columns, strict=True))
        cursor.execute(f"SELECT {', '.join(values)} FROM {path} ORDER BY 1")
        rows = [
            {
                name: canonical(value) if kind == "super" else value
                for value, (name, kind) in zip(row, columns, strict=True)
            }
            for row in cursor.fetchall()
        ]
    return State(rows, columns)


_READ = {"super": "::text", "timestamp without time zone": " AT TIME ZONE 'UTC'"}


def listed(spot: Spot) -> list[str]:
    """The spot's schema, the tables in it, and what lies in its bucket."""
    named = f"nspname = '{spot.name}'"
    schema = asked(spot.address, f"SELECT nspname FROM pg_namespace WHERE {named}")
    tables = asked(
        spot.address,
        f"SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE {named} ORDER BY 1",
    )
    found = bucket_of(spot.address).list_objects_v2(Bucket=spot.name).get("Contents", [])
    return [*(name for (name,) in (*schema, *tables)), *(entry["Key"] for entry in found)]


def bucket_of(address: Mapping[str, Any]) -> Any:
    """A client of the S3 peer."""
    return boto3.client(
        "s3",
        endpoint_url=address["s3"],
        region_name="us-east-1",
        aws_access_key_id="reader",
        aws_secret_access_key="reader",
    )


def connected(address: Mapping[str, Any]) -> Any:
    """A connection of the owner's, past the front: a reader that knows nothing of ours. Closed by the block."""
    connection = psycopg2.connect(**address["owner"])
    connection.autocommit = True
    return closing(connection)


def asked(address: Mapping[str, Any], sql: str) -> list[tuple[Any, ...]]:
    """What the owner gets for an answer."""
    with connected(address) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def stated(address: Mapping[str, Any], about: str) -> list[str]:
    """The statements of all sessions in which ``about`` was said, oldest first, as they came to the front."""
    lines = [json.loads(line) for line in Path(address["log"]).read_text().splitlines()]
    sessions = {line["session"] for line in lines if about in line["statement"]}
    return [line["statement"] for line in lines if line["session"] in sessions]


def _postgres(folder: Path, port: int, password: str) -> int:
    """PostgreSQL of the ``pgserver`` wheel on loopback TCP; its process group."""
    (programs,) = servers.program("redshift", "lib").glob("python*/site-packages/pgserver/pginstall/bin")
    data, secret = folder / "data", folder / "secret"
    data.mkdir()
    secret.write_text(password)
    subprocess.run(
        [
            *_unprivileged(data),
            *(programs / "initdb", "-D", data, "-U", _OWNER, "-E", "UTF8", "--locale=C", "--no-sync"),
            *("-A", "scram-sha-256", f"--pwfile={secret}"),
        ],
        check=True,
        capture_output=True,
    )
    settings = [
        *("listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=50"),
        # What is kept here need not outlast a power cut.
        *("fsync=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0", "max_wal_size=4GB"),
        *("shared_buffers=256MB", "jit=off"),
    ]
    group = servers.started(
        [
            *(*_unprivileged(data), programs / "postgres", "-D", data, "-p", str(port)),
            *(word for setting in settings for word in ("-c", setting)),
        ],
        log=folder / "postgres.log",
        ready=lambda: psycopg2.connect(
            host="127.0.0.1", port=port, user=_OWNER, password=password, dbname="postgres"
        ).close(),
    )
    pid, *_, memory, _ = (data / "postmaster.pid").read_text().splitlines()
    # Killed, PostgreSQL leaves a piece of System V shared memory, of which a machine has only so many.
    subprocess.Popen(
        ["sh", "-c", f"while kill -0 {pid}; do sleep 1; done; ipcrm -m {memory.split()[1]}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return group


def _unprivileged(data: Path) -> list[str]:
    """What makes a command run as nobody where this is root, whom PostgreSQL refuses.

    Tests' folders are closed to others: the capability lets nobody in all the same.
    """
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        servers.missing("redshift", "PostgreSQL does not run as root, and there is no setpriv")
    os.chown(data, _NOBODY, _NOBODY)
    ability = [f"--{set_}-caps=+dac_override" for set_ in ("inh", "ambient")]
    return ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", *ability]


def _made(owner: Mapping[str, Any], password: str) -> None:
    both = (DATABASE, SNAPSHOT)
    made = [f"CREATE ROLE {USER} LOGIN PASSWORD '{password}'", *(f"CREATE DATABASE {database}" for database in both)]
    rights = {database: (_RIGHTS.format(database=database) + _FUNCTIONS).split(";\n") for database in both}
    for database, sql in {"postgres": made, **rights}.items():
        with closing(psycopg2.connect(**owner, dbname=database)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            for statement in filter(str.strip, sql):
                cursor.execute(statement)
