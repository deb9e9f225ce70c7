"""``mogul preview``: what a delivery would change, without delivering."""

from __future__ import annotations

from dataclasses import dataclass

import click
import pyarrow.dataset as ds

from mogul_assets.cli import OK, Command, shown
from mogul_assets.cli.project import Project, pass_project
from mogul_assets.destinations.base import Preview
from mogul_assets.errors import ConfigurationError, DataRefused
from mogul_assets.store.table import Table


@dataclass(frozen=True)
class Previewed:
    """A dataset and what its delivery would do; ``first`` are rows as they are in the store, where asked for."""

    dataset: str
    preview: Preview
    first: tuple[tuple[str, ...], ...] = ()


@click.command(
    cls=Command,
    examples={
        "mogul preview warehouse": "every dataset, in counts",
        "mogul preview warehouse mrr_movements --rows 5": "one, with columns and rows",
    },
)
@click.argument("destination")
@click.argument("dataset", required=False)
@click.option("--rows", default=0, type=click.IntRange(0, 1000), help="Show the first so many rows: customer data.")
@shown.json_option
@pass_project
def command(project: Project, destination: str, dataset: str | None, *, rows: int, as_json: bool) -> int:
    """What delivering to DESTINATION would change there: rows that are new, changed and gone. Sends nothing.

    With a DATASET also its columns, as the destination spells their types, and the statements that would run.
    """
    entry = project.settings.entry(destination)
    if dataset is not None and dataset not in entry.datasets:
        raise ConfigurationError(
            f"{destination} takes no dataset '{dataset}'", remedy=f"it takes: {', '.join(entry.datasets)}"
        )
    place = project.destination(destination)
    seen = []
    for name in (dataset,) if dataset else entry.datasets:
        table = project.store.table(name, since=project.settings.account.since)
        if table is None:
            raise DataRefused(f"the store has no {name} yet", remedy="refresh the account first: mogul sync")
        seen.append(Previewed(name, place.preview(table), _first(table, rows)))
    if as_json:
        shown.as_json(seen)
        return OK
    shown.table(
        ("dataset", "rows:", "new:", "changed:", "gone:", "at"),
        (
            (
                s.dataset,
                *map(shown.count, (s.preview.rows, s.preview.new, s.preview.changed, s.preview.gone)),
                s.preview.location,
            )
            for s in seen
        ),
    )
    for one in seen:
        if dataset:
            shown.table(("column", "type"), one.preview.columns, title="")
            for statement in one.preview.statements:
                click.echo(f"{statement};")
        if one.first:
            shown.table([name for name, _ in one.preview.columns], one.first, title=f"\n{one.dataset}")
    return OK


def _first(table: Table, rows: int) -> tuple[tuple[str, ...], ...]:
    if not rows or not table.files:
        return ()
    head = ds.dataset(list(table.paths), format="parquet").head(rows)
    return tuple(tuple("" if value is None else str(value) for value in row.values()) for row in head.to_pylist())
