"""BigQuery: ``local-bigquery`` (DuckDB behind BigQuery's REST API) in an environment of its own, on Python 3.13.

What it cannot prove is listed in ``docs/destinations/fidelity.md``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mogul_assets_tests.peers import servers

PROJECT = "mogul-tests"
SECRET = "MOGUL_TEST_BIGQUERY_KEY"
"""The environment variable that holds the key of the service account."""


def start(folder: Path) -> tuple[list[int], dict[str, Any]]:
    """Start it in ``folder``, to be called through ``servers.shared``: port, project and key of an account."""
    python = servers.program("bigquery", "bin", "python")
    port = servers.free_port()
    key = account(port)
    (folder / "key.json").write_text(json.dumps(key))
    home = servers.ENVIRONMENTS / "bigquery" / "home"  # where the extensions are installed, once
    home.mkdir(exist_ok=True)
    group = servers.started(
        [python, Path(__file__).with_name("bigquery_server.py"), str(port), folder / "data", folder / "key.json"],
        log=folder / "log",
        ready=servers.reachable(port),
        env={"HOME": str(home)},
    )
    return [group], {"port": port, "project": PROJECT, "key": key}


def account(port: int, project: str = PROJECT) -> dict[str, str]:
    """The key file of a new service account, whose tokens come from the peer at ``port``."""
    private = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        "type": "service_account",
        "project_id": project,
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": f"mogul@{project}.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": f"http://127.0.0.1:{port}/token",
    }


def reached(address: Mapping[str, Any], port: int | None = None) -> None:
    """Make this process's clients reach the peer, at ``port`` where a proxy stands before it, and nothing else."""
    os.environ["BIGQUERY_EMULATOR_HOST"] = f"http://127.0.0.1:{port or address['port']}"
    os.environ[SECRET] = json.dumps(address["key"])
    os.environ["NO_GCE_CHECK"] = "true"
    _on_loopback()


def requested(address: Mapping[str, Any], about: str) -> list[dict[str, Any]]:
    """The requests in which ``about`` occurs, oldest first: method, path and body."""
    answer = requests.get(f"http://127.0.0.1:{address['port']}/_peer/log", params={"about": about}, timeout=20)
    found: list[dict[str, Any]] = answer.json()
    return found


def scripted(address: Mapping[str, Any], about: str, match: str, *, times: int = 1, **answer: Any) -> None:
    """What requests with ``about`` in them that ``match`` finds are answered with; see ``bigquery_server``."""
    said = {"about": about, "match": match, "times": times, **answer}
    requests.post(f"http://127.0.0.1:{address['port']}/_peer/answers", json=said, timeout=20).raise_for_status()


def refusal(code: int, reason: str, message: str) -> dict[str, Any]:
    """An error as BigQuery's API answers it."""
    body = {"error": {"code": code, "message": message, "errors": [{"reason": reason, "message": message}]}}
    return {"status": code, "body": body}


def _on_loopback() -> None:
    """google-auth asks iamcredentials.googleapis.com in a thread about every service account; nothing turns it off."""
    from google.auth import credentials  # noqa: PLC0415 - costs what only these tests should pay

    for kind in vars(credentials).values():
        if isinstance(kind, type) and hasattr(kind, "_is_regional_access_boundary_lookup_required"):
            kind._is_regional_access_boundary_lookup_required = lambda _self: False
