"""Whatever happens to an account, and however long nobody looked: store and destinations equal a full read.

Where lists were read only up to what is known, the next whole reading has to make up for all that was hidden meanwhile.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as some

from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.window import Month
from mogul_assets.destinations import load_type
from mogul_assets.refresh import incremental
from mogul_assets.sandbox import NO_LIMITS, Sandbox, generate, serve
from mogul_assets.store.store import Store
from mogul_assets_tests.refresh import runs

BEGUN = datetime(2024, 6, 10, 12, tzinfo=UTC)
SINCE = Month(2024, 1)
IN_DUCKDB = ("currency_rates", "customers", "mrr_movements")
"""Both windowed datasets and one that is replaced whole; all thirteen go to files."""
MIDNIGHT = timedelta(minutes=10)
"""How long before a month's end a run begins that ends as long after it."""


NOTHING = {"corrections": 0, "cancellations": 0, "merges": 0, "deletions": 0}


@dataclass(frozen=True)
class Chapter:
    """What happens to the account, and the run after it. ``late``: the run crosses the month's end.

    ``full_read`` is the setting of that name: what is new may do for the run.
    """

    days: int
    happenings: dict[str, int]
    late: bool
    delivered: bool
    full_read: str = "always"


CHAPTERS = some.builds(
    Chapter,
    days=some.integers(0, 3) | some.integers(4, 425),
    happenings=some.fixed_dictionaries(
        {
            "corrections": some.integers(0, 2),
            "cancellations": some.integers(0, 2),
            "merges": some.integers(0, 1),
            "deletions": some.integers(0, 1),
        }
    ),
    late=some.booleans(),
    delivered=some.booleans(),
    full_read=some.sampled_from(["always", "weekly", "monthly"]),
)


@settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # a failing history is short, and making it shorter takes minutes
    suppress_health_check=list(HealthCheck),
)
@given(seed=some.integers(0, 99), customers=some.integers(2, 20), chapters=some.lists(CHAPTERS, min_size=1, max_size=3))
def test_store_and_destinations_equal_a_full_read(seed, customers, chapters, rates, tmp_path_factory):
    folder = tmp_path_factory.mktemp("history")
    sandbox = Sandbox(generate(seed=seed, now=BEGUN, customers=customers, years=1.0), limits=NO_LIMITS)
    store = Store(folder / "store")
    shelves = {
        "files": load_type("files")(name="files", path=str(folder / "files")),
        "duckdb": load_type("duckdb")(name="duckdb", path=str(folder / "shelf.duckdb")),
    }
    with serve(sandbox) as serving:
        for number, chapter in enumerate([Chapter(0, NOTHING, late=False, delivered=True), *chapters]):
            now = runs.moment_of(sandbox.company)
            then = now + timedelta(days=chapter.days, minutes=1)
            if chapter.late:
                then = max(then, Month.of(then).plus(1).start - MIDNIGHT)
            sandbox.live(days=(then - now) / timedelta(days=1), **chapter.happenings)
            now = runs.moment_of(sandbox.company)
            done = now + 2 * MIDNIGHT if chapter.late else now
            note(f"run of {now}, settled {done}")
            last = number == len(chapters)
            how = "always" if last else chapter.full_read
            runs.refreshed(store, serving.url, now, rates=rates, since=SINCE, settled_at=done, full_read=how)
            if not any(store.raw_reads(name)[-1].partial for name in incremental.INCREMENTAL):
                fresh = Store(folder / f"fresh{number}")
                runs.refreshed(fresh, serving.url, now, rates=rates, since=SINCE)
                for name in DATASETS:
                    assert runs.contents(store, name) == runs.contents(fresh, name), name
            if chapter.delivered or last:
                runs.delivered(store, shelves["files"], done, since=SINCE)
                runs.delivered(store, shelves["duckdb"], done, since=SINCE, names=IN_DUCKDB)
                for name in DATASETS:
                    assert files_of(folder / "files" / name) == list(runs.contents(store, name).values()), name
                for name in IN_DUCKDB:
                    assert rows_of(folder / "shelf.duckdb", name) == runs.rows(store, name), name
    shutil.rmtree(folder)


def files_of(folder: Path) -> list[str]:
    """The checksums of what lies in a delivered folder, in the order of its manifest."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    return [hashlib.sha256((folder.parent / file["file"]).read_bytes()).hexdigest() for file in manifest["files"]]


def rows_of(path: Path, dataset: str) -> list[dict[str, object]]:
    with duckdb.connect(path, read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.sql(f"FROM {dataset}").to_arrow_table().to_pylist()
