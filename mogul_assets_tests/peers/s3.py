"""S3: moto, which knows conditions on writes, uploads in parts and, if told to, policies; and rclone, which knows keys.

moto takes any key until policies are enforced, and they are for the whole server: the test that does so starts one
of its own. rclone refuses a wrong key, and ignores conditions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mogul_assets_tests.peers import servers

KEY, SECRET = "AKIAPEER", "a-key-of-s3-that-is-secret"
ENVIRONMENT = {"PEER_S3_KEY": KEY, "PEER_S3_SECRET": SECRET}


def start(folder: Path, *, free_requests: int | None = None) -> tuple[list[int], dict[str, Any]]:
    """Start moto in ``folder``; after ``free_requests`` it asks for signatures and policies."""
    port = servers.free_port()
    env = {"MOTO_S3_CUSTOM_ENDPOINTS": ""} | (
        {} if free_requests is None else {"INITIAL_NO_AUTH_ACTION_COUNT": str(free_requests)}
    )
    group = servers.started(
        [servers.program("s3", "bin", "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
        log=folder / "moto.log",
        ready=servers.reachable(port),
        env=env,
    )
    return [group], {"url": f"http://127.0.0.1:{port}", "environment": ENVIRONMENT}


def start_rclone(folder: Path) -> tuple[list[int], dict[str, Any]]:
    """Start rclone in ``folder``: a second S3, that knows ``KEY`` and ``SECRET`` only. Its bucket is ``shelf``."""
    port = servers.free_port()
    (folder / "data" / "shelf").mkdir(parents=True)
    rclone = servers.program("s3", "bin", "rclone")
    group = servers.started(
        [rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}", folder / "data"],
        log=folder / "rclone.log",
        ready=servers.reachable(port),
        env={"RCLONE_CONFIG": str(folder / "rclone.conf")},
    )
    return [group], {"url": f"http://127.0.0.1:{port}", "environment": ENVIRONMENT}
