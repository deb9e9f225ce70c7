"""Starting a peer once a test session, whichever of the session's processes needs it first; and stopping it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / ".peers"


MAY_BE_MISSING = frozenset({"bigquery"})
"""Peers that need more than a machine is sure to have: BigQuery's a Python 3.13."""


def missing(peer: str, reason: str) -> NoReturn:
    """Skip what needs the peer, saying why; in CI that is a failure, but for those of ``MAY_BE_MISSING``."""
    if os.environ.get("CI") and peer not in MAY_BE_MISSING:
        pytest.fail(f"the {peer} peer is missing: {reason}", pytrace=False)
    pytest.skip(f"the {peer} peer is missing: {reason}")


def program(peer: str, *path: str) -> Path:
    """A file of the peer's own environment, such as ``bin/python``."""
    found = ENVIRONMENTS.joinpath(peer, *path)
    if not found.exists():
        reason = ENVIRONMENTS / peer / "missing"
        missing(peer, reason.read_text().strip() if reason.exists() else "run  make peers")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def started(
    command: Sequence[str | Path],
    *,
    log: Path,
    ready: Callable[[], object],
    seconds: float = 60,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> int:
    """Start a server under a watch that ends it with the test session; its process group.

    ``ready`` is called until it raises nothing. A server that ends, or is not ready in time, fails with the
    end of its log.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mogul_assets_tests.peers.watch", str(session_pid()), *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {}), "PYTHONPATH": str(ROOT)},
            cwd=cwd,
            start_new_session=True,
        )
    until = time.monotonic() + seconds
    while True:
        try:
            ready()
        except Exception as error:  # noqa: BLE001 - each peer says "not yet" in its own way
            if process.poll() is not None or time.monotonic() > until:
                stop(process.pid)
                said = log.read_text(errors="replace")[-2000:]
                pytest.fail(f"{command[0]} did not start: {error!r}\n{said}", pytrace=False)
            time.sleep(0.05)
        else:
            return process.pid


def reachable(port: int) -> Callable[[], object]:
    """Whether somebody listens on the port."""
    return lambda: socket.create_connection(("127.0.0.1", port), timeout=1).close()


def shared(folder: Path, peer: str, start: Callable[[Path], tuple[Sequence[int], dict[str, Any]]]) -> dict[str, Any]:
    """The peer's address, started by whichever process of the session comes first.

    Args:
        folder: the session's, the same for all its processes (``session_folder``).
        peer: its name; its files and its log go below ``folder``.
        start: starts it in a folder of its own, and returns its process groups and its address.
    """
    place = folder / peer
    place.mkdir(parents=True, exist_ok=True)
    file = place / "address.json"
    with FileLock(folder / f"{peer}.lock"):
        if not file.exists():
            groups, address = start(place)
            file.write_text(json.dumps({"groups": list(groups), "address": address}))
    address = json.loads(file.read_text())["address"]
    assert isinstance(address, dict)
    return address


def session_pid() -> int:
    """The process that a test session ends with: pytest's own, or the one that its workers are children of."""
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


def session_folder(factory: pytest.TempPathFactory) -> Path:
    base = factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "peers"


def stop(group: int) -> None:
    """End a peer and all that it started."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
