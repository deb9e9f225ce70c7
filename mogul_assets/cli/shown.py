"""How things are shown: tables for people, JSON for scripts. Both on stdout, and nothing else there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

json_option = click.option("--json", "as_json", is_flag=True, help="For scripts: JSON on stdout, nothing else there.")


def as_json(value: Any) -> None:
    """Print dataclasses, structs and plain values; moments in ISO 8601, UTC."""
    click.echo(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> None:
    """Print rows in columns; those whose name ends in a colon are figures, and stand right."""
    shown = Table(box=None, title=title, title_justify="left", pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column.rstrip(":"), justify="right" if column.endswith(":") else "left", overflow="fold")
    for row in rows:
        shown.add_row(*("" if value is None else str(value) for value in row))
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = 1000  # a pipe has no width: lines stay whole, for grep
    console.print(shown)


def count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def age(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago, in the largest unit that fits."""
    if moment is None:
        return "never"
    passed = (now or datetime.now(UTC)) - moment
    for unit, name in ((timedelta(days=1), "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute")):
        if passed >= unit:
            return f"{passed // unit} {name}{'s' if passed >= 2 * unit else ''} ago"
    return "just now"
