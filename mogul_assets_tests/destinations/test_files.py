"""What is the folder's own: the manifest, files that never change, and sweeping up after a grace time."""

from __future__ import annotations

import errno
import json
import os
import resource
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from mogul_assets.catalog.window import Month, Window
from mogul_assets.destinations.files import FilesDestination, Folder
from mogul_assets.errors import DestinationRefused, DestinationUnavailable, StoreDamaged
from mogul_assets_tests import killing
from mogul_assets_tests.destinations.place import delivered


@pytest.fixture
def shelf(tmp_path):
    return FilesDestination(name="shelf", path=str(tmp_path / "shelf"))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "shelf" / "plans"


def monthly(table, *months, word="old", **how):
    """A table of one row in each of the months of 2026."""
    rows = [{"id": month, "date": datetime(2026, month, 1, tzinfo=UTC), "word": word} for month in months]
    window = how.pop("window", Window.months(Month(2026, 1), None))
    return table(rows, window=window, window_column="date", **how)


def manifest(folder):
    return json.loads((folder / "manifest.json").read_bytes())


def age(path, seconds):
    os.utime(path, (time.time() - seconds,) * 2)


def test_the_files_are_the_stores_own_bytes(shelf, folder, table):
    plans = table([{"id": 1}])
    assert shelf.deliver(plans).bytes == plans.bytes
    (file,) = delivered(shelf)
    assert file.read_bytes() == Path(plans.paths[0]).read_bytes()
    assert file.stat().st_ino != Path(plans.paths[0]).stat().st_ino


def test_the_manifest_says_what_lies_there(shelf, folder, table):
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False, metadata={"description": "Number."}),
            pa.field("free", pa.string(), metadata={"json": "true"}),
        ]
    )
    plans = table([{"id": 1, "free": "{}"}, {"id": 2, "free": None}], schema=schema)
    delivered = shelf.deliver(plans)
    said = manifest(folder)
    assert said["generation"] == plans.generation
    assert said["delivery_id"] == delivered.details["delivery_id"]
    assert (said["dataset"], said["rows"], said["bytes"], said["key"]) == ("plans", 2, plans.bytes, ["id"])
    assert said["columns"] == [
        {"name": "id", "type": "int64", "nullable": False, "description": "Number."},
        {"name": "free", "type": "json", "nullable": True, "description": ""},
    ]
    (file,) = said["files"]
    content = (folder.parent / file["file"]).read_bytes()
    assert (file["rows"], file["bytes"], file["sha256"]) == (2, len(content), sha256(content).hexdigest())
    assert datetime.fromisoformat(said["delivered_at"]) == shelf.last_delivery("plans")


def test_a_windowed_dataset_has_a_file_a_month(shelf, folder, table):
    shelf.deliver(monthly(table, 1, 2, 11))
    assert [file["month"] for file in manifest(folder)["files"]] == ["2026-01", "2026-02", "2026-11"]
    assert [pq.read_table(path)["id"].to_pylist() for path in delivered(shelf)] == [[1], [2], [11]]


def test_a_month_that_is_not_delivered_keeps_its_file(shelf, folder, table):
    shelf.deliver(monthly(table, 1, 2, 3))
    before = {path.name: path.stat() for path in delivered(shelf)}
    shelf.deliver(monthly(table, 2, word="new", window=Window.months(Month(2026, 2), Month(2026, 2))))
    january, february, march = delivered(shelf)
    assert (january.stat(), march.stat()) == (before[january.name], before[march.name])
    assert february.name not in before


def test_a_month_that_did_not_change_in_the_store_is_not_copied_again(shelf, folder, table):
    old = monthly(table, 1, 2)
    shelf.deliver(old)
    before = {path: path.stat().st_ino for path in delivered(shelf)}
    shelf.deliver(old)
    assert {path: path.stat().st_ino for path in delivered(shelf)} == before


def test_a_file_that_somebody_removed_is_put_back(shelf, folder, table):
    plans = table([{"id": 1}])
    shelf.deliver(plans)
    delivered(shelf)[0].unlink()
    shelf.deliver(plans)
    assert pq.read_table(delivered(shelf)[0]).num_rows == 1


def test_a_reader_of_the_old_manifest_goes_on_reading(shelf, folder, table):
    shelf.deliver(table([{"id": 1}]))
    old = delivered(shelf)
    age(old[0], seconds=7 * 86_400)
    shelf.deliver(table([{"id": 2}]))
    shelf.deliver(table([{"id": 3}]))
    assert pq.read_table(old[0])["id"].to_pylist() == [1]


def test_a_retired_file_goes_after_the_grace_time(folder, table):
    hasty = FilesDestination(name="shelf", path=str(folder.parent), grace_seconds=0.3)
    hasty.deliver(table([{"id": 1}]))
    (first,) = delivered(hasty)
    hasty.deliver(table([{"id": 2}]))
    (second,) = delivered(hasty)
    time.sleep(0.3)
    hasty.deliver(table([{"id": 3}]))
    (third,) = delivered(hasty)
    assert sorted(folder.glob("*.parquet")) == sorted([second, third])
    assert first not in folder.iterdir()
    assert [retired["file"] for retired in manifest(folder)["retired"]][-1] == f"plans/{second.name}"


def test_what_a_killed_delivery_left_goes_after_a_day(shelf, folder, table):
    shelf.deliver(table([{"id": 1}]))
    (first,) = delivered(shelf)
    left = [
        folder / f"{first.name}.part",
        folder / "plans-all-20260101T000000.000000Z-abcd-0000-0123456789ab.parquet",
    ]
    for path in left:
        path.write_bytes(b"half")
        age(path, seconds=86_000)
    shelf.deliver(table([{"id": 2}]))
    assert all(path.exists() for path in left)
    for path in left:
        age(path, seconds=86_401)
    shelf.deliver(table([{"id": 3}]))
    assert not any(path.exists() for path in left)


def deliver_to_a_full_disk(folder, table, grace_seconds=3600):
    """The work of a child that may write files of at most 100 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    with pytest.raises(DestinationRefused, match="free some space"):
        FilesDestination(name="shelf", path=str(folder.parent), grace_seconds=grace_seconds).deliver(table)


def growing(table):
    """A table whose first month fits on the disk of ``deliver_to_a_full_disk``, and whose second does not."""
    rows = [{"date": datetime(2026, 1, 1, tzinfo=UTC), "noise": "little"}]
    rows += [{"date": datetime(2026, 2, 1, tzinfo=UTC), "noise": os.urandom(32).hex()} for _ in range(10_000)]
    numbered = [{"id": number, **row} for number, row in enumerate(rows)]
    return table(numbered, window=Window.months(Month(2026, 1), None), window_column="date")


def test_a_delivery_for_which_there_is_no_room_takes_none(shelf, folder, table):
    killing.end(killing.begin(deliver_to_a_full_disk, folder, growing(table)))
    assert [path.name for path in folder.iterdir()] == [".lock"]
    shelf.deliver(monthly(table, 1, 2))
    before = sorted(folder.parent.rglob("*"))
    killing.end(killing.begin(deliver_to_a_full_disk, folder, growing(table)))
    assert sorted(folder.parent.rglob("*")) == before
    assert all(path.exists() for path in delivered(shelf))


def put_on_a_full_disk(folder):
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
    with pytest.raises(OSError, match="too large"):
        Folder(folder, destination="shelf", wait_seconds=0).put("manifest.json", b"a" * 100)


def test_a_manifest_for_which_there_is_no_room_leaves_nothing_behind(tmp_path):
    killing.end(killing.begin(put_on_a_full_disk, tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def full(monkeypatch):
    """No manifest can be written; ``full(written=True)``: each is, and only then is that told."""
    put = Folder.put

    def full(*, written=False):
        def failing(self, *args):
            if written:
                put(self, *args)
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Folder, "put", failing)

    return full


def test_files_that_were_there_before_outlast_a_delivery_that_fails(shelf, folder, table, full):
    plans = table([{"id": 1}])
    for written in ("parquet", "csv"):
        FilesDestination(name="shelf", path=str(folder.parent), format=written).deliver(plans)
    before = sorted(folder.iterdir())
    full()
    with pytest.raises(DestinationRefused, match="free some space"):
        shelf.deliver(plans)  # as Parquet again, under the name of the file that was retired
    assert sorted(folder.iterdir()) == before
    with pytest.raises(DestinationRefused, match="free some space"):
        shelf.deliver(table([{"id": 2}]))
    assert sorted(folder.iterdir()) == before


def test_files_that_a_manifest_names_outlast_a_delivery_that_fails(shelf, folder, table, full):
    shelf.deliver(table([{"id": 1}]))
    full(written=True)
    with pytest.raises(DestinationRefused, match="free some space"):
        shelf.deliver(table([{"id": 2}]))
    assert [pq.read_table(path)["id"].to_pylist() for path in delivered(shelf)] == [[2]]


def test_retired_files_whose_time_is_over_make_room_first(shelf, folder, table):
    shelf.deliver(monthly(table, 1))
    (first,) = delivered(shelf)
    shelf.deliver(monthly(table, 1, word="new"))
    (second,) = delivered(shelf)
    killing.end(killing.begin(deliver_to_a_full_disk, folder, growing(table)))
    assert first.exists()
    killing.end(killing.begin(deliver_to_a_full_disk, folder, growing(table), 0))
    assert list(folder.glob("*.parquet*")) == [second]


def test_files_of_others_are_never_removed(shelf, folder, table):
    folder.mkdir(parents=True)
    theirs = [folder / name for name in ("mine.parquet", "plans-2026.parquet", "notes.txt", "x.parquet.part")]
    for path in theirs:
        path.write_text("theirs")
        age(path, seconds=10**6)
    shelf.deliver(table([{"id": 1}]))
    assert all(path.read_text() == "theirs" for path in theirs)


def test_a_window_that_is_not_whole_months_is_refused(shelf, folder, table):
    half = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 15, tzinfo=UTC))
    with pytest.raises(DestinationRefused, match="whole months"):
        shelf.deliver(monthly(table, 1, window=half))
    assert not folder.exists()


def test_a_month_cannot_be_put_into_a_dataset_that_lies_there_whole(shelf, folder, table):
    shelf.deliver(table([{"id": 1}]))
    with pytest.raises(DestinationRefused, match="not by month"):
        shelf.deliver(monthly(table, 1))
    assert manifest(folder)["rows"] == 1


def test_a_manifest_of_somebody_else_is_left_as_it_is(shelf, folder, table):
    folder.mkdir(parents=True)
    for theirs in ("{}", "not JSON"):
        (folder / "manifest.json").write_text(theirs)
        with pytest.raises(DestinationRefused, match="not a manifest of ours"):
            shelf.deliver(table([{"id": 1}]))
        assert (folder / "manifest.json").read_text() == theirs


def test_a_damaged_file_of_the_store_is_not_delivered(shelf, folder, table):
    shelf.deliver(table([{"id": 1}]))
    damaged = table([{"id": 2}])
    path = Path(damaged.paths[0])
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(StoreDamaged, match="checksum"):
        shelf.deliver(damaged)
    assert [pq.read_table(file)["id"].to_pylist() for file in delivered(shelf)] == [[1]]


def test_every_delivery_is_logged_and_the_log_kept_for_400_days(shelf, folder, table):
    log = folder.parent / "_deliveries" / "plans"
    log.mkdir(parents=True)
    long_ago = f"{datetime.now(UTC) - timedelta(days=401):%Y%m%dT%H%M%S}"
    (log / f"{long_ago}-0123456789abcdef.json").write_text("{}")
    plans = table([{"id": 1}])
    delivered = shelf.deliver(plans)
    (entry,) = [json.loads(path.read_bytes()) for path in log.iterdir()]
    assert entry["delivery_id"] == delivered.details["delivery_id"]
    assert (entry["outcome"], entry["rows"], entry["generation"]) == ("delivered", 1, plans.generation)


def test_forgetting_names_the_folders_and_removes_none(shelf, folder, table):
    shelf.deliver(table([{"id": 1}]))
    assert [leftover.remove for leftover in shelf.forget()] == [
        f"rm -r {folder}",
        f"rm -r {folder.parent / '_deliveries'}",
    ]
    assert folder.exists()


def test_a_home_folder_may_be_named_by_its_tilde(table, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    FilesDestination(name="shelf", path="~/shelf").deliver(table([{"id": 1}]))
    assert (tmp_path / "shelf" / "plans" / "manifest.json").exists()


def hold(path, held, release):
    """The work of a child: a delivery that does not end."""
    with FileLock(path):
        held.set()
        release.wait(60)


def test_a_delivery_that_does_not_end_is_not_waited_for_forever(folder, table):
    folder.mkdir(parents=True)
    held, release = killing.children.Event(), killing.children.Event()
    child = killing.begin(hold, str(folder / ".lock"), held, release)
    assert held.wait(60)
    impatient = FilesDestination(name="shelf", path=str(folder.parent), wait_seconds=0.1)
    with pytest.raises(DestinationUnavailable, match="another delivery holds"):
        impatient.deliver(table([{"id": 1}]))
    release.set()
    killing.end(child)
