"""The sandbox account of a project: one company for each seed and size, which lives on between two commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from mogul_assets import sandbox
from mogul_assets.assets.common import SANDBOX_KEY, sandbox_file
from mogul_assets.cli.project import Project
from mogul_assets.settings import Sandbox
from mogul_assets.store import durable

STATE = "sandbox-state.json"


@contextmanager
def account(project: Project) -> Iterator[None]:
    """Where the account is the sandbox and none runs, one runs for the time of the block.

    Raises:
        ConfigurationError: a variable that the account needs is not set.
    """
    project.reveal()
    settings = project.settings.account.sandbox
    if settings is None or running(project) is not None:
        yield
        return
    with serving(project, settings):
        yield


@contextmanager
def serving(
    project: Project, settings: Sandbox, *, port: int = 0, limits: sandbox.Limits | None = None
) -> Iterator[sandbox.Serving]:
    """Run the account on the loopback interface, and say where in the store's sandbox file until the block ends.

    Raises:
        ConfigurationError: the port is taken.
        StoreUnwritable: the address cannot be written down.
    """
    address = sandbox_file(project.settings.store.path)
    company = grown(address.with_name(STATE), settings, datetime.now(UTC))
    served = sandbox.Sandbox(company, key=SANDBOX_KEY, limits=limits or sandbox.Limits())
    with sandbox.serve(served, port=port) as running_:
        with durable.writing_to(address.parent):
            durable.replace(address, json.dumps({"url": running_.url}).encode())
        try:
            yield running_
        finally:
            if _told(address) == running_.url:
                address.unlink()


def running(project: Project) -> str | None:
    """The address of a sandbox that runs and answers for this store."""
    url = _told(sandbox_file(project.settings.store.path))
    if url is None:
        return None
    # A killed sandbox leaves its address behind: only an answer counts.
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request("GET", "/_control/requests")
        return url if connection.getresponse().status == 200 else None
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def grown(state: Path, settings: Sandbox, now: datetime) -> sandbox.Company:
    """The company as it is by now.

    It is made for the moment of its first start, which ``state`` keeps for each seed and size, and grows from
    there: customers come and pay, and what was read before stays as it was.
    """
    first = json.loads(state.read_text()) if state.exists() else {}
    name = f"seed {settings.seed}, {settings.customers} customers"
    if name not in first:
        first[name] = now.isoformat()
        with durable.writing_to(state.parent):
            durable.replace(state, json.dumps(first, indent=1).encode())
    born = datetime.fromisoformat(first[name])
    company = sandbox.generate(seed=settings.seed, now=born, customers=settings.customers)
    days = (now - born).total_seconds() / 86400
    return sandbox.live(company, days=days, corrections=0, cancellations=0, merges=0, deletions=0)


def _told(address: Path) -> str | None:
    try:
        return str(json.loads(address.read_text())["url"])
    except (OSError, ValueError, KeyError):
        return None
