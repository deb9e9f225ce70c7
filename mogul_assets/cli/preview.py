"""``mogul preview``: what a delivery would change, without delivering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import click
import pyarrow.dataset as ds

from mogul_assets.assets.chosen import as_chosen
from mogul_assets.assets.deliveries import chosen_of
from mogul_assets.catalog.datasets import MOVEMENT_NEWS
from mogul_assets.cli import OK, Command, shown
from mogul_assets.cli.project import Project, pass_project
from mogul_assets.destinations.base import Preview
from mogul_assets.errors import ConfigurationError, DestinationRefused
from mogul_assets.refresh import standing
from mogul_assets.store.table import Table


@dataclass(frozen=True)
class Previewed:
    """A dataset and what its delivery would do; ``choice`` says what of it the destination's settings choose.

    ``first`` are rows as they would be sent, where asked for.
    """

    dataset: str
    preview: Preview
    choice: Mapping[str, str] = field(default_factory=dict)
    first: tuple[tuple[str, ...], ...] = ()


@click.command(
    cls=Command,
    examples={
        "mogul preview warehouse": "every dataset, in counts",
        "mogul preview warehouse mrr_movements --rows 5": "one, with columns and rows",
        "mogul preview mail --write look": "what would be sent, as files to look at: customer data",
    },
)
@click.argument("destination")
@click.argument("dataset", required=False)
@click.option("--rows", default=0, type=click.IntRange(0, 1000), help="Show the first so many rows: customer data.")
@click.option(
    "--write",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write what would be sent into this folder, to look at: customer data.",
)
@shown.json_option
@pass_project
def command(
    project: Project, destination: str, dataset: str | None, *, rows: int, folder: Path | None, as_json: bool
) -> int:
    """What delivering to DESTINATION would change there: rows that are new, changed and gone. Sends nothing.

    With a DATASET also its columns, as the destination spells their types, and the statements that would run.
    """
    entry = project.settings.entry(destination)
    if dataset is not None and dataset not in entry.datasets:
        raise ConfigurationError(
            f"{destination} takes no dataset '{dataset}'", remedy=f"it takes: {', '.join(entry.datasets)}"
        )
    place = project.destination(destination)
    wanted = (MOVEMENT_NEWS.name,) if entry.real_time else (dataset,) if dataset else entry.datasets
    tables = [standing(project.store, name, since=project.settings.account.since) for name in wanted]
    with as_chosen(place.chooses, tables, project.store) as sent:
        if folder is not None:
            return _written(place.rendered([one.table for one in sent], datetime.now(UTC)), folder, destination)
        seen = [
            Previewed(name, place.preview(one.table), chosen_of(one.table), _first(one.table, rows))
            for name, one in zip(wanted, sent, strict=True)
        ]
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
        for what, said in one.choice.items():
            click.echo(f"{one.dataset}: {what}: {said}")
    for one in seen:
        if dataset:
            shown.table(("column", "type"), one.preview.columns, title="")
            for statement in one.preview.statements:
                click.echo(f"{statement};")
        if one.first:
            shown.table([name for name, _ in one.preview.columns], one.first, title=f"\n{one.dataset}")
    return OK


def _written(files: Mapping[str, bytes], folder: Path, destination: str) -> int:
    if not files:
        raise DestinationRefused(
            f"{destination} has nothing to look at as files", remedy=f"mogul preview {destination} --rows 5"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
        click.echo(folder / name)
    return OK


def _first(table: Table, rows: int) -> tuple[tuple[str, ...], ...]:
    if not rows or not table.files:
        return ()
    head = ds.dataset(list(table.paths), format="parquet").head(rows)
    return tuple(tuple("" if value is None else str(value) for value in row.values()) for row in head.to_pylist())
