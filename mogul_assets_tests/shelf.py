"""A destination of a user's own, which takes what it is told to take: a line for each delivery."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from mogul_assets.destinations.base import (
    Capabilities,
    Delivered,
    Destination,
    Leftover,
    Outcome,
    Permission,
    Preview,
    Secret,
)
from mogul_assets.errors import DestinationRefused, DestinationUnavailable, DestinationUnreachable
from mogul_assets.store.table import Table

FAULTS: Mapping[str, Exception] = {
    "away": DestinationUnreachable("shelf: no answer in 20 s", remedy="it is tried again"),
    "refuses": DestinationRefused("shelf: it takes no such thing", remedy="change it"),
    "breaks": KeyError("Ada Lovelace"),
}


class Shelf(Destination):
    """Below ``path``: ``taken`` with (dataset, generation, window) for each delivery, ``faults`` by dataset, and
    ``asked`` with a byte for each try."""

    EXAMPLE: ClassVar[Mapping[str, Any]] = {"path": "out/shelf", "key": {"env": "SHELF_KEY"}}

    path: str
    key: Secret | None = None

    def fail(self, how: str | None, *datasets: str) -> None:
        """From now on these datasets, or all, meet this fault; ``None``: no dataset meets any."""
        self._faults.parent.mkdir(parents=True, exist_ok=True)
        self._faults.write_text(json.dumps(dict.fromkeys(datasets or ["*"], how) if how else {}))

    @property
    def taken(self) -> list[tuple[str, str, str]]:
        file = Path(self.path, "taken")
        return [tuple(json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def asked(self) -> int:
        return Path(self.path, "asked").stat().st_size

    @property
    def _faults(self) -> Path:
        return Path(self.path, "faults")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    def deliver(self, table: Table) -> Delivered:
        Path(self.path).mkdir(parents=True, exist_ok=True)
        with Path(self.path, "asked").open("a") as file:
            file.write(".")
        faults = json.loads(self._faults.read_text()) if self._faults.exists() else {}
        how = faults.get(table.dataset) or faults.get("*")
        if how == "newer":
            return Delivered(Outcome.SUPERSEDED, 0, 0, 0, self.path)
        if how is not None and how.startswith("tells"):
            self._tell(how)
        if how is not None:
            raise FAULTS[how]
        with Path(self.path, "taken").open("a") as file:
            file.write(json.dumps([table.dataset, table.generation, str(table.window)]) + "\n")
        return Delivered(Outcome.DELIVERED, table.rows, table.bytes, 0.01, self.path)

    def _tell(self, how: str) -> None:
        """Fail like a vendor's client that quotes what it logs in with."""
        secret = self.key.reveal() if self.key else ""
        vendor = RuntimeError(f"cannot log in with user=mogul password={secret}")
        if how == "tells":
            raise vendor
        if how == "tells by its cause":
            raise DestinationUnreachable("shelf: no answer in 20 s", remedy="it is tried again") from vendor
        raise DestinationUnavailable(f"shelf: {vendor}")

    def check(self) -> list[Permission]:
        return [Permission("put something on it"), Permission("take it off again", "it is too high", "fetch a ladder")]

    def grants(self) -> str:
        return f"chmod u+rwx {self.path}"

    def preview(self, table: Table) -> Preview:
        return Preview(self.path, table.rows, ())

    def forget(self) -> list[Leftover]:
        return []

    def last_delivery(self, dataset: str) -> datetime | None:
        return None
