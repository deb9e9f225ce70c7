"""After an upgrade: Dagster's own tables are brought to its version, once, before anything reads them."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mogul_assets.errors import ConfigurationError

if TYPE_CHECKING:
    import dagster as dg


def due(home: Path) -> bool:
    """Whether another version of Dagster than this one, or none that we know, was the last to see to its tables."""
    with suppress(OSError):
        return _stamp(home).read_text() != version("dagster")
    return True


def up_to_date(instance: dg.DagsterInstance, home: Path) -> None:
    """Do what ``dagster instance migrate`` does, where it is due, and remember that.

    Raises:
        ConfigurationError: a newer Dagster wrote those tables.
    """
    if not due(home):
        return
    storages: list[Any] = [instance.run_storage, instance.event_log_storage, instance.schedule_storage]
    found = [one for storage in storages if (one := storage.alembic_version()) is not None]
    if any(here != latest for here, latest in found):
        from alembic.util import CommandError  # noqa: PLC0415 - only where something is to be done

        click.echo("mogul: Dagster's tables are brought up to date", err=True)
        try:
            with redirect_stdout(sys.stderr):  # what it prints is no result of ours
                instance.upgrade()
        except CommandError:
            raise ConfigurationError(
                f"Dagster's state in {home} was written by a newer Dagster than {version('dagster')}",
                remedy="run that version, or restore the backup from before it",
            ) from None
    stamp = _stamp(home)
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(version("dagster"))


def _stamp(home: Path) -> Path:
    return home / "history" / "dagster-version"  # beside what it tells of, and in the same backup
