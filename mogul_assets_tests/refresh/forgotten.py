"""The work that is killed, in a module of its own: a child imports what it needs, and nothing of the tests."""

from __future__ import annotations

from pathlib import Path

from mogul_assets.store import erasure
from mogul_assets.store.store import Store


def forgotten(folder: Path, uuid: str) -> None:
    """Forget a customer, as far as the store goes, to the end."""
    store = Store(folder)
    erasure.forget(store, uuid)
    erasure.finished(store)
