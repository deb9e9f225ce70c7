"""Azure Blob Storage: Microsoft's own Azurite, which checks keys, signatures (SAS) and conditions."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from mogul_assets_tests.peers import servers

ACCOUNT = "peeraccount"
KEY = base64.b64encode(b"a-key-of-azure-that-is-secret---").decode()


def start(folder: Path) -> tuple[list[int], dict[str, Any]]:
    """Start it in ``folder``."""
    port = servers.free_port()
    group = servers.started(
        [
            servers.program("azure", "node_modules", ".bin", "azurite-blob"),
            *("--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"),
            *("--disableTelemetry", "--skipApiVersionCheck", "--silent"),
        ],
        log=folder / "azurite.log",
        ready=servers.reachable(port),
        env={"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"},
        cwd=folder,
    )
    url = f"http://127.0.0.1:{port}/{ACCOUNT}"
    return [group], {"url": url, "environment": {"PEER_AZURE_KEY": KEY}}
