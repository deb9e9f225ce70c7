"""Snowflake: ``fakesnow`` (DuckDB behind Snowflake's protocol) in an environment of its own, on loopback.

What it cannot prove is listed in ``docs/destinations/fidelity.md``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tenacity import Retrying, stop_after_attempt, wait_random

from mogul_assets.destinations.dialect import ascii_lower
from mogul_assets_tests.destinations.place import Spot, State, canonical
from mogul_assets_tests.peers import servers

USER = "mogul"
PASSWORD = "correct horse battery staple"
PASSPHRASE = "opens the key"
SCHEMA = "CHARTMOGUL"

ENVIRONMENT = {
    # Else the client asks the cloud's own address, at each log-in, which cloud it runs in.
    "SNOWFLAKE_DISABLE_PLATFORM_DETECTION": "true",
    "MOGUL_TEST_SNOWFLAKE_PASSWORD": PASSWORD,
    "MOGUL_TEST_SNOWFLAKE_PASSPHRASE": PASSPHRASE,
}


def start(folder: Path) -> tuple[list[int], dict[str, Any]]:
    """Start it in ``folder``, to be called through ``servers.shared``: its port, and a user's password and key."""
    python, port = servers.program("snowflake", "bin", "python"), servers.free_port()
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    credentials = folder / "credentials.json"
    credentials.write_text(json.dumps({"user": USER, "password": PASSWORD, "public_key": public.decode()}))
    group = servers.started(
        [python, "-m", "mogul_assets_tests.peers.snowflake_server", str(port), credentials],
        log=folder / "log",
        ready=servers.reachable(port),
        cwd=servers.ROOT,
    )
    environment = {
        **ENVIRONMENT,
        "MOGUL_TEST_SNOWFLAKE_KEY": _pem(key, serialization.NoEncryption()),
        "MOGUL_TEST_SNOWFLAKE_ENCRYPTED_KEY": _pem(key, serialization.BestAvailableEncryption(PASSPHRASE.encode())),
    }
    return [group], {"port": port, "environment": environment}


def _pem(key: rsa.RSAPrivateKey, encryption: serialization.KeySerializationEncryption) -> str:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption).decode()


@cache
def _administrator(port: int) -> Any:
    return connect({"port": port, "environment": ENVIRONMENT})


def options(spot: Spot) -> dict[str, Any]:
    """Settings of a destination with a database of the spot's own, which is made here."""
    made = f'CREATE DATABASE IF NOT EXISTS "{_database(spot)}"'
    # Two processes that make it at once: DuckDB refuses one of them, and finds it there the next time.
    Retrying(stop=stop_after_attempt(10), wait=wait_random(0.1, 0.5), reraise=True)(
        _administrator(spot.address["port"]).cursor().execute, made
    )
    return {
        "account": "peer",
        "user": USER,
        "password": {"env": "MOGUL_TEST_SNOWFLAKE_PASSWORD"},
        "database": _database(spot),
        "schema": SCHEMA,
        "connection_args": {"host": "127.0.0.1", "port": spot.address["port"], "protocol": "http"},
    }


def read(spot: Spot, dataset: str) -> State | None:
    """A dataset's table as its users read it, names in lower case, rows in the order of the first column."""
    columns = asked(
        spot,
        f'SELECT column_name, data_type FROM "{_database(spot)}".information_schema.columns'
        f" WHERE table_schema = '{SCHEMA}' AND table_name = '{dataset.upper()}' ORDER BY ordinal_position",
    )
    if not columns:
        return None
    names = [ascii_lower(name) for name, _ in columns]
    kinds = [kind for _, kind in columns]
    found = asked(spot, f'SELECT * FROM "{_database(spot)}"."{SCHEMA}"."{dataset.upper()}" ORDER BY 1')
    rows = [{name: _value(value, kind) for name, kind, value in zip(names, kinds, row, strict=True)} for row in found]
    return State(rows, tuple(zip(names, kinds, strict=True)))


def _value(value: Any, kind: str) -> Any:
    if kind == "VARIANT":
        return canonical(value)
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def listed(spot: Spot) -> list[str]:
    """The schema and the tables of a spot."""
    catalog = f'"{_database(spot)}".information_schema'
    schemas = asked(spot, f"SELECT schema_name FROM {catalog}.schemata WHERE schema_name = '{SCHEMA}'")
    tables = asked(spot, f"SELECT table_name FROM {catalog}.tables WHERE table_schema = '{SCHEMA}' ORDER BY 1")
    return [name for (name,) in (*schemas, *tables)]


def said(spot: Spot) -> list[str]:
    """Every statement that came in the spot's sessions, oldest first."""
    return statements(spot.address, _database(spot))


def _database(spot: Spot) -> str:
    return spot.name.upper()


def asked(spot: Spot, statement: str) -> list[tuple[Any, ...]]:
    """What the account's administrator gets for an answer."""
    with _administrator(spot.address["port"]).cursor() as cursor:
        found: list[tuple[Any, ...]] = cursor.execute(statement).fetchall()
        return found


def connect(address: Mapping[str, Any], database: str | None = None) -> Any:
    """The vendor's own client, as anybody would use it."""
    import snowflake.connector  # noqa: PLC0415 - two seconds, which only its tests should take

    os.environ.update(address["environment"])
    return snowflake.connector.connect(
        account="peer",
        user=USER,
        password=PASSWORD,
        database=database,
        host="127.0.0.1",
        port=address["port"],
        protocol="http",
        session_parameters={"TIMEZONE": "UTC"},
    )


def statements(address: Mapping[str, Any], database: str) -> list[str]:
    """Every statement that came in sessions of the database."""
    answer = requests.get(f"{_url(address)}/peer/statements", params={"database": database}, timeout=10)
    said: list[str] = answer.json()
    return said


def fail(spot: Spot, matching: str, code: str, message: str = "", *, times: int = 1, after: bool = False) -> None:
    """Have the spot's next statements that match answered with an error; ``login`` matches logging in.

    ``after`` does the statement nevertheless, as where the answer is lost.
    """
    fault = {"matching": matching, "code": code, "state": "42501", "message": message, "times": times, "after": after}
    answer = requests.post(f"{_url(spot.address)}/peer/faults", json={**fault, "database": _database(spot)}, timeout=10)
    answer.raise_for_status()


def staged(spot: Spot, stage: str, **where: str) -> None:
    """Make an external stage of the quoted path known: ``endpoint``, ``bucket`` and ``path``."""
    requests.post(f"{_url(spot.address)}/peer/stages", json={stage: where}, timeout=10).raise_for_status()


def _url(address: Mapping[str, Any]) -> str:
    return f"http://127.0.0.1:{address['port']}"
