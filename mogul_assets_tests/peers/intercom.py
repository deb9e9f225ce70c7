"""Intercom: a workspace of our own (``intercom_server``), which keeps what its API is told."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mogul_assets_tests.peers import servers
from mogul_assets_tests.peers.intercom_server import TOKEN

SECRET = "PEER_INTERCOM_TOKEN"
"""The environment variable that holds the access token."""


def start(folder: Path) -> tuple[list[int], dict[str, Any]]:
    """Start it in ``folder``, as a process of its own. Contacts are made through its API."""
    port = servers.free_port()
    group = servers.started(
        [sys.executable, "-m", "mogul_assets_tests.peers.intercom_server", str(port)],
        log=folder / "intercom.log",
        ready=servers.reachable(port),
    )
    return [group], {"url": f"http://127.0.0.1:{port}", "environment": {SECRET: TOKEN}}
