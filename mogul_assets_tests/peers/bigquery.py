"""BigQuery: ``local-bigquery`` (DuckDB behind BigQuery's REST API) in an environment of its own, on Python 3.13.

What it cannot prove is listed in ``docs/destinations/fidelity.md``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mogul_assets_tests.destinations.place import Spot, State, canonical
from mogul_assets_tests.peers import servers

if TYPE_CHECKING:
    from google.cloud.bigquery import Client

PROJECT = "mogul-tests"
SCOPE = "https://www.googleapis.com/auth/bigquery"
SECRET = "MOGUL_TEST_BIGQUERY_KEY"
"""The environment variable that holds the key of the service account."""


def start(folder: Path) -> tuple[list[int], dict[str, Any]]:
    """Start it in ``folder``, to be called through ``servers.shared``; its address has port, project and key."""
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
    environment = {
        "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{port}",
        "NO_GCE_CHECK": "true",
        SECRET: json.dumps(key),
    }
    return [group], {"port": port, "project": PROJECT, "key": key, "environment": environment}


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


def options(spot: Spot) -> dict[str, Any]:
    """Settings of a destination with a dataset of the spot's own, which is not there yet."""
    _on_loopback()
    return {"project": spot.address["project"], "dataset": spot.name, "credentials": {"env": SECRET}}


def read(spot: Spot, dataset: str) -> State | None:
    """A dataset's table as its users read it, rows in the order of the first column."""
    from google.api_core.exceptions import NotFound  # noqa: PLC0415 - half a second, which only its tests should take

    client = connect(spot.address)
    try:
        columns = client.get_table(f"{spot.name}.{dataset}").schema
    except NotFound:
        return None
    free = {column.name for column in columns if column.field_type == "JSON"}
    values = [f"IF(`{name}` IS NULL, NULL, TO_JSON_STRING(`{name}`)) AS `{name}`" for name in free]
    everything = f"* REPLACE ({', '.join(values)})" if free else "*"
    found = client.query(f"SELECT {everything} FROM `{spot.name}`.`{dataset}` ORDER BY 1").result(timeout=60)
    rows = found.to_arrow(create_bqstorage_client=False).to_pylist()
    return State(
        [{name: canonical(value) if name in free else value for name, value in row.items()} for row in rows],
        tuple((column.name, column.field_type) for column in columns),
    )


def listed(spot: Spot) -> list[str]:
    """The dataset and the tables of a spot."""
    from google.api_core.exceptions import NotFound  # noqa: PLC0415

    client = connect(spot.address)
    try:
        return [spot.name, *(table.table_id for table in client.list_tables(spot.name))]
    except NotFound:
        return []


def connect(address: Mapping[str, Any]) -> Client:
    """The vendor's own client, as anybody would use it."""
    from google.cloud.bigquery import Client  # noqa: PLC0415
    from google.oauth2 import service_account  # noqa: PLC0415

    _on_loopback()
    credentials = service_account.Credentials.from_service_account_info(address["key"], scopes=[SCOPE])
    return Client(
        project=address["project"],
        credentials=credentials,
        client_options={"api_endpoint": f"http://127.0.0.1:{address['port']}"},
    )


def requested(address: Mapping[str, Any], about: str) -> list[dict[str, Any]]:
    """The requests in which ``about`` occurs, oldest first: method, path and body."""
    answer = requests.get(f"http://127.0.0.1:{address['port']}/_peer/log", params={"about": about}, timeout=20)
    found: list[dict[str, Any]] = answer.json()
    return found


def said(spot: Spot) -> list[str]:
    """The SQL that was sent about the spot, oldest first."""
    return [query["query"] for query in configurations(spot, "query")]


def configurations(spot: Spot, kind: str) -> list[dict[str, Any]]:
    """Jobs about the spot as they were asked for, oldest first: of the kind ``query`` or ``load``, with the labels."""
    found = []
    for request in requested(spot.address, spot.name):
        if request["method"] == "POST" and '"configuration"' in request["body"]:
            job = json.JSONDecoder().raw_decode(request["body"][request["body"].index("{") :])[0]
            whole = job["configuration"]
            rest = {name: value for name, value in whole.items() if name not in {"query", "load"}}
            found += [{**whole[kind], **rest, "id": job["jobReference"]["jobId"]}] if kind in whole else []
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
    from google.auth import credentials  # noqa: PLC0415

    for kind in vars(credentials).values():
        if isinstance(kind, type) and hasattr(kind, "_is_regional_access_boundary_lookup_required"):
            kind._is_regional_access_boundary_lookup_required = lambda _self: False
