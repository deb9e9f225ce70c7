"""Google Cloud Storage: gcp-storage-emulator, with the conditions on writes that it lacks (``gcs_server``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mogul_assets_tests.peers import servers


def start(folder: Path) -> tuple[list[int], dict[str, Any]]:
    """Start it in ``folder``. Google's client finds it by ``STORAGE_EMULATOR_HOST``, and asks for no credentials."""
    port = servers.free_port()
    python, server = servers.program("gcs", "bin", "python"), Path(__file__).with_name("gcs_server.py")
    group = servers.started(
        [python, server, "start", "--host", "127.0.0.1", "--port", str(port), "--in-memory"],
        log=folder / "server.log",
        ready=servers.reachable(port),
    )
    url = f"http://127.0.0.1:{port}"
    quiet = {"NO_GCE_CHECK": "true", "GCE_METADATA_HOST": "127.0.0.1:1", "GOOGLE_CLOUD_PROJECT": "peer"}
    return [group], {"url": url, "environment": {"STORAGE_EMULATOR_HOST": url, **quiet}}
