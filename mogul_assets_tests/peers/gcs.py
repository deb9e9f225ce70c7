"""Google Cloud Storage: gcp-storage-emulator, with what it lacks (``gcs_server``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from mogul_assets_tests.peers import servers
from mogul_assets_tests.peers.bigquery import account

SECRET = "PEER_GCS_KEY"
"""The environment variable that holds the key of the service account."""


def start(folder: Path) -> tuple[list[int], dict[str, Any]]:
    """Start it in ``folder``. Google's client finds it by ``STORAGE_EMULATOR_HOST``."""
    port = servers.free_port()
    python, server = servers.program("gcs", "bin", "python"), Path(__file__).with_name("gcs_server.py")
    key = account(port, "peer")
    private = load_pem_private_key(key["private_key"].encode(), password=None)
    public = folder / "public.pem"
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    group = servers.started(
        [python, server, "start", "--host", "127.0.0.1", "--port", str(port), "--in-memory"],
        log=folder / "server.log",
        ready=servers.reachable(port),
        env={"PEER_PUBLIC_KEY": str(public)},
    )
    url = f"http://127.0.0.1:{port}"
    environment = {"STORAGE_EMULATOR_HOST": url, "NO_GCE_CHECK": "true", SECRET: json.dumps(key)}
    return [group], {"url": url, "key": key, "environment": environment}
