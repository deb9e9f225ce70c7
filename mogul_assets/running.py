"""The Dagster that ``mogul ui`` runs: where it is noted, and how it is told to read mogul.yaml again. No Dagster."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mogul_assets.settings import Settings
from mogul_assets.store import durable

HOST = "127.0.0.1"
SECONDS = 30
"""Twice what loading twenty destinations takes on two busy cores."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""No proxy of the environment's leads to this machine."""
_RELOAD = """mutation { reloadWorkspace { ... on Workspace { locationEntries {
  name loadStatus locationOrLoadError { ... on PythonError { message causes { message } } }
} } } }"""


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
            problems = list(map(_problem, json.load(answer)["data"]["reloadWorkspace"]["locationEntries"]))
    except (OSError, ValueError, KeyError, TypeError):
        return f"Dagster on port {port} did not read it: Deployment → Reload all"
    told = "; ".join(f"has not loaded {problem}" for problem in problems if problem)
    return f"Dagster on http://{HOST}:{port} {told or 'has read it'}"


def _problem(location: Mapping[str, Any]) -> str | None:
    """What keeps a code location from being loaded, in one line: the first of what it began with."""
    if location["loadStatus"] != "LOADED":
        return f"{location['name']} yet"
    error = location["locationOrLoadError"]
    if not error:
        return None
    first = (error["causes"] or [error])[-1]["message"].strip().splitlines()
    return f"{location['name']}: {first[0] if first else 'it does not say why'}"


def _note(settings: Settings) -> Path:
    return settings.store.path.parent / "ui.json"
