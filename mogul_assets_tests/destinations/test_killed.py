"""A delivery killed at any moment leaves the old or the new whole, and the next one ends as if undisturbed."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mogul_assets.catalog.window import Month, Window
from mogul_assets.store.table import Table
from mogul_assets_tests import killing
from mogul_assets_tests.destinations.place import DISK, Place, State
from mogul_assets_tests.tables import table_of

pytestmark = pytest.mark.needs(DISK)

PARTS = 4
"""The walk over all points is cut in parts, which run beside each other."""


def deliver(place: Place, folder: Path, table: Table) -> None:
    """The work that is killed."""
    place.destination(folder).deliver(table)


def state(place: Place, folder: Path) -> State | None:
    """What lies there, whatever the names of its files: those are each delivery's own."""
    found = place.state(folder)
    return found and replace(found, bytes_of=tuple(("", sha256) for _, sha256 in found.bytes_of))


class Trial:
    """One state that is there, one that is to come, and a fresh copy of the former for each attempt."""

    def __init__(self, place: Place, folder: Path, old: Table | None, new: Table) -> None:
        self.place, self.folder, self.new = place, folder, new
        self.before, self.after = folder / "before", folder / "after"
        self.before.mkdir()
        if old is not None:
            deliver(place, self.before, old)
        shutil.copytree(self.before, self.after)
        deliver(place, self.after, new)
        self.whole: dict[str, State | None] = {"old": state(place, self.before), "new": state(place, self.after)}
        self.left: set[str] = set()

    def attempts(self) -> Iterator[Path]:
        """Folders in the old state, without end. What was done to each is judged when the next is asked for."""
        while True:
            folder = self.folder / "attempt"
            shutil.copytree(self.before, folder)
            yield folder
            self.judge(folder)
            shutil.rmtree(folder)

    def judge(self, folder: Path) -> None:
        found = state(self.place, folder)
        assert found in self.whole.values(), "neither the old whole nor the new"
        self.left |= {word for word, whole in self.whole.items() if whole == found}
        deliver(self.place, folder, self.new)
        assert state(self.place, folder) == self.whole["new"]


def movements(folder: Path, months: int, rows: int, word: str, window: Window) -> Table:
    chance = random.Random(word)
    return table_of(
        folder,
        [
            {
                "id": f"{chance.getrandbits(128):032x}",
                "date": datetime(2026, 1 + number % months, 1 + number % 28, tzinfo=UTC),
                "noise": f"{chance.getrandbits(256):064x}",
                **({} if word == "old" else {"word": word}),
            }
            for number in range(rows)
        ],
        dataset="plans",
        window=window,
        window_column="date",
    )


@pytest.fixture
def trial(place: Place, tmp_path: Path) -> Trial:
    """Three months there, of which the last two, with a new column, are replaced by three."""
    store, start = tmp_path / "store", Window.months(Month(2026, 1), None)
    old = movements(store, 3, 300, "old", start)
    return Trial(place, tmp_path, old, _later(movements(store, 4, 300, "new", start)))


def _later(table: Table) -> Table:
    """The table without its first month, from the second one on."""
    files = tuple(file for file in table.files if file.month != Month(2026, 1))
    return Table(
        dataset=table.dataset,
        generation=table.generation,
        schema=table.schema,
        key=table.key,
        files=files,
        read_at=table.read_at,
        window=Window.months(Month(2026, 2), None),
        window_column=table.window_column,
    )


@pytest.mark.parametrize("part", range(PARTS))
def test_killed_before_each_call_and_each_line(part, place, trial, tmp_path):
    attempts = trial.attempts()
    points = killing.points(deliver, place, next(attempts), trial.new, within=place.traced)
    assert points > 15
    for point in range(part, points, PARTS):
        assert killing.kill_at(point, deliver, place, next(attempts), trial.new, within=place.traced)
    next(attempts)
    assert "old" in trial.left


def test_killed_before_each_call_of_a_first_delivery(place, tmp_path):
    table = table_of(tmp_path / "store", [{"id": number} for number in range(100)])
    trial = Trial(place, tmp_path, None, table)
    attempts = trial.attempts()
    for point in range(killing.points(deliver, place, next(attempts), table)):
        assert killing.kill_at(point, deliver, place, next(attempts), table)
    next(attempts)
    assert trial.left == {"old", "new"}


def test_a_first_delivery_killed_on_writing_past_a_size(place, tmp_path):
    trial = Trial(place, tmp_path, None, table_of(tmp_path / "store", [{"id": number} for number in range(100)]))
    attempts = trial.attempts()
    for size in (0, 1, 4096, 8192, 12288):  # DuckDB's file begins with three pages of 4,096 bytes
        killing.kill_at_size(size, deliver, place, next(attempts), trial.new)
    next(attempts)
    assert "old" in trial.left


def test_killed_on_writing_past_a_size(place, trial):
    attempts = trial.attempts()
    largest = max(path.stat().st_size for path in trial.after.rglob("*") if path.is_file())
    died = [killing.kill_at_size(largest * at // 16, deliver, place, next(attempts), trial.new) for at in range(20)]
    next(attempts)
    assert died[0]
    assert not died[-1]
    assert trial.left == {"old", "new"}


def test_killed_at_random_times(place, tmp_path):
    store = tmp_path / "store"
    old, new = (movements(store, 3, 10_000, word, Window.months(Month(2026, 1), None)) for word in ("old", "new"))
    trial = Trial(place, tmp_path, old, new)
    attempts, chance = trial.attempts(), random.Random(11)
    whole = killing.seconds_of(deliver, place, next(attempts), new)
    died = [killing.kill_after(chance.uniform(0, whole), deliver, place, next(attempts), new) for _ in range(12)]
    next(attempts)
    assert any(died)
