"""A whole run killed at any moment leaves every table as it was or as it will be, and the next one mends all."""

import hashlib
import itertools
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from mogul_assets.account.rates import EcbRates
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.reads import READS
from mogul_assets.catalog.window import Month
from mogul_assets.destinations import load_type
from mogul_assets.sandbox import NO_LIMITS, Sandbox, generate, serve
from mogul_assets.store.store import Store
from mogul_assets_tests import killing
from mogul_assets_tests.account.peers import EAGER
from mogul_assets_tests.refresh import runs

PARTS = 4
"""The kills are cut in parts, which run beside each other."""
MENDED = 5
"""Of so many runs killed before a write, one is mended; those killed at random times all are."""
TIMES, IN_A_ROW = 100, 5
"""Kills at random times, and how many before a run may end: the second then finds what the first one left."""
SINCE = Month(2026, 1)
IN_DUCKDB = ("currency_rates", "customers", "mrr_movements", "plans")
"""Each delivery to DuckDB is the same work: both windowed datasets, and two that are replaced whole."""


def run(folder: Path, url: str, rates: str, now: datetime) -> None:
    """The work that is killed: a refresh, and what it brought to both destinations."""
    store = Store(folder / "store")
    runs.refreshed(store, url, now, rates=EcbRates(rates, EAGER), since=SINCE)
    runs.delivered(store, load_type("files")(name="files", path=str(folder / "files")), now, since=SINCE)
    shelf = load_type("duckdb")(name="shelf", path=str(folder / "shelf.duckdb"))
    runs.delivered(store, shelf, now, since=SINCE, names=IN_DUCKDB)


def tables(folder: Path) -> dict[str, object]:
    """Every table as a reader finds it, wherever it lies; ``None`` where it does not."""
    store = Store(folder / "store")
    found: dict[str, object] = {}
    for read in READS:
        assert all(list(store.raw_pages(landed)) for landed in store.raw_reads(read))
    for name in DATASETS:
        assert store.watermark("files", name).rows >= 0
        table = store.table(name)
        found[f"store {name}"] = None if table is None else [_sha256(file.path) for file in table.files]
        manifest = folder / "files" / name / "manifest.json"
        files = json.loads(manifest.read_bytes())["files"] if manifest.exists() else None
        found[f"files {name}"] = None if files is None else [_sha256(folder / "files" / file["file"]) for file in files]
    with duckdb.connect(folder / "shelf.duckdb", read_only=True) as connection:
        for name in IN_DUCKDB:
            rows = connection.execute(f"FROM {name}")
            found[f"duckdb {name}"] = ([column[:2] for column in rows.description], rows.fetchall())
    return found


def _sha256(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@dataclass
class Trial:
    """An account a few days after the run that made ``before``, and what an undisturbed run makes of that."""

    folder: Path
    url: str
    rates: str
    clock: Iterator[datetime]
    before: Path

    def __post_init__(self) -> None:
        self.old = tables(self.before)
        self.new = tables(self.attempt(mended=True))
        assert {name for name in self.old if self.old[name] != self.new[name]} > {"store invoices", "duckdb customers"}

    def attempt(self, *, mended: bool = False) -> Path:
        """A folder in the old state."""
        folder = self.folder / "attempt"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.before, folder)
        if mended:
            run(*self.work(folder))
        return folder

    def work(self, folder: Path) -> tuple[Path, str, str, datetime]:
        return folder, self.url, self.rates, next(self.clock)

    def judge(self, folder: Path) -> None:
        for name, found in tables(folder).items():
            assert found in (self.old[name], self.new[name]), f"{name} is neither as it was nor as it will be"

    def mend(self, folder: Path) -> None:
        killing.end(killing.begin(run, *self.work(folder)))
        assert tables(folder) == self.new


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    sandbox = Sandbox(generate(now=datetime(2026, 3, 10, tzinfo=UTC), customers=6, years=0.2), limits=NO_LIMITS)
    with serve(sandbox) as serving, runs.quoting(date(2026, 2, 1), ("USD", "GBP")) as rates:
        now = runs.moment_of(sandbox.company)
        run(folder / "before", serving.url, rates.source, now)
        sandbox.live(days=12)
        clock = (now + timedelta(days=12, seconds=second) for second in itertools.count())
        yield Trial(folder, serving.url, rates.source, clock, folder / "before")


@pytest.mark.parametrize("part", range(PARTS))
def test_killed_before_each_write(part, trial):
    # Some twelve hundred points in a hundred places: each place is visited once.
    places = killing.places(run, *trial.work(trial.attempt()))
    points = sorted({place: point for point, place in enumerate(places)}.values())
    assert len(points) > 60
    for count, point in enumerate(points[part::PARTS]):
        folder = trial.attempt()
        assert killing.kill_at(point, run, *trial.work(folder)), places[point]
        trial.judge(folder)
        if count % MENDED == part:
            trial.mend(folder)


@pytest.mark.parametrize("part", range(PARTS))
def test_killed_at_random_times(part, trial):
    chance = random.Random(part)
    whole = killing.seconds_of(run, *trial.work(trial.attempt()))
    died = 0
    for _ in range(TIMES // PARTS // IN_A_ROW):
        folder = trial.attempt()
        for _ in range(IN_A_ROW):
            died += killing.kill_after(chance.uniform(0, whole), run, *trial.work(folder))
            trial.judge(folder)
        trial.mend(folder)
    assert died > TIMES // PARTS // 2
