"""The Dagster that ``mogul ui`` runs: where it is noted, and how it is told to read mogul.yaml again. No Dagster."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mogul_assets.settings import Settings
from mogul_assets.store import durable

HOST = "127.0.0.1"
SECONDS = 30
"""Twice what loading twenty destinations takes on two busy cores."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""No proxy of the environment's leads to this machine."""
_RELOAD = "mutation { reloadWorkspace { __typename ... on Workspace { locationEntries { loadStatus } } } }"


@contextmanager
def noted(settings: Settings, port: int) -> Iterator[None]:
    """Write down where Dagster listens, while it does."""
    note = _note(settings)
    with durable.writing_to(note.parent):
        durable.replace(note, json.dumps({"port": port}).encode())
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def read_again(settings: Settings) -> str:
    """Let the Dagster that runs read mogul.yaml again; what came of that, in one line."""
    try:
        port = json.loads(_note(settings).read_bytes())["port"]
    except (OSError, ValueError, KeyError):
        return "Dagster reads it at its next start; one that runs elsewhere: Deployment → Reload all"
    body = json.dumps({"query": _RELOAD}).encode()
    request = urllib.request.Request(f"http://{HOST}:{port}/graphql", body, {"Content-Type": "application/json"})
    try:
        with _DIRECT.open(request, timeout=SECONDS) as answer:
            reloaded = json.load(answer)["data"]["reloadWorkspace"]["__typename"] == "Workspace"
    except (OSError, ValueError, KeyError, TypeError):
        reloaded = False
    if not reloaded:
        return f"Dagster on port {port} did not read it: Deployment → Reload all"
    return f"Dagster on http://{HOST}:{port} has read it"


def _note(settings: Settings) -> Path:
    return settings.store.path.parent / "ui.json"
