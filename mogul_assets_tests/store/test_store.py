"""The store: pointers that move at once or not at all, one writer, and errors that say what to do."""

import errno
import json
import os
import resource
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from mogul_assets.account.pages import Page
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.window import BEGINNING, Month, Window
from mogul_assets.errors import StoreBusy, StoreDamaged, StoreTooNew, StoreUnwritable
from mogul_assets.store import durable, settle
from mogul_assets.store.store import FORMAT, Store, Watermark
from mogul_assets.store.table import Table
from mogul_assets.store.tolerant import Rejected
from mogul_assets_tests import killing

PLANS, INVOICES, ITEMS, MOVEMENTS = (
    DATASETS[name] for name in ("plans", "invoices", "invoice_line_items", "mrr_movements")
)
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
FIRST, SECOND = "20261122T000000.000000Z-aaaa", "20261123T000000.000000Z-bbbb"


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def files_of(store, dataset, rows, generation):
    """``rows`` as the store's own files; columns that they lack are null, or what a column needs."""
    filler = {name: "x" if pa.types.is_string(dataset.schema.field(name).type) else 1 for name in dataset.schema.names}
    required = [field.name for field in dataset.schema if not field.nullable]
    complete = [{**{name: filler[name] for name in required}, **row} for row in rows]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("made", pa.Table.from_pylist(complete, schema=dataset.schema))
        return settle.write(connection, "made", dataset, store.folder(dataset, generation), generation)


def publish(store, dataset, rows, generation, **how):
    written = {dataset: files_of(store, dataset, rows, generation)}
    store.publish(written, generation=generation, read_at=NOW, typed_from=[generation], **how)


def publish_movements(store, months, generation, *, open_from=None):
    rows = [{"uuid": f"m{at}", "date": datetime(*month, 15, tzinfo=UTC)} for at, month in enumerate(months)]
    return publish(store, MOVEMENTS, rows, generation, open_from=open_from)


def uuids(table):
    return [row["uuid"] for batch in table.batches() for row in batch.to_pylist()]


# -- pointers


def test_what_was_never_published_is_not_there(store):
    assert store.table("plans") is None
    assert store.pointer("source_data/plans") is None


def test_a_published_table_says_what_it_is(store):
    publish(store, PLANS, [{"uuid": "p2"}, {"uuid": "p1"}], FIRST)
    table = store.table("plans")
    assert isinstance(table, Table)
    assert uuids(table) == ["p1", "p2"]
    assert (table.generation, table.key, table.read_at, table.window) == (FIRST, ("uuid",), NOW, None)
    assert table.schema.equals(PLANS.schema, check_metadata=True)


def test_datasets_of_one_read_move_together(store):
    for generation in (FIRST, SECOND):
        written = {
            dataset: files_of(store, dataset, [{"uuid": generation}], generation) for dataset in (INVOICES, ITEMS)
        }
        store.publish(written, generation=generation, read_at=NOW, typed_from=[generation])
        assert {store.table(name).generation for name in ("invoices", "invoice_line_items")} == {generation}


def test_datasets_of_two_reads_cannot_move_at_once(store):
    written = {dataset: files_of(store, dataset, [], FIRST) for dataset in (PLANS, INVOICES)}
    with pytest.raises(ValueError, match="unpack"):
        store.publish(written, generation=FIRST, read_at=NOW, typed_from=[])


def test_an_older_generation_never_takes_the_place_of_a_newer(store):
    publish(store, PLANS, [{"uuid": "new"}], SECOND)
    publish(store, PLANS, [{"uuid": "old"}], FIRST)
    assert uuids(store.table("plans")) == ["new"]


def test_a_file_equal_to_the_one_before_is_kept(store):
    publish_movements(store, [(2026, 9), (2026, 10)], FIRST)
    before = store.table("mrr_movements").files
    publish_movements(store, [(2026, 9), (2026, 11)], SECOND)
    after = store.table("mrr_movements").files
    assert after[0] == before[0]
    assert after[0].generation == FIRST
    assert [str(file.month) for file in after] == ["2026-09", "2026-11"]
    assert not list(store.folder(MOVEMENTS, SECOND).glob("2026-09*"))


def test_settling_twice_in_one_generation_leaves_the_first_files_to_their_readers(store):
    publish(store, PLANS, [{"uuid": "one"}], FIRST)
    held = store.table("plans")
    publish(store, PLANS, [{"uuid": "two"}], FIRST)
    assert uuids(held) == ["one"]
    assert uuids(store.table("plans")) == ["two"]


def test_facts_and_checks_are_kept_with_the_pointer(store):
    check = {"dataset": "plans", "check": "key_unique", "count": 0}
    publish(store, PLANS, [], FIRST, facts={"entries": 7}, checks=[check])
    pointer = store.pointer("source_data/plans")
    assert (pointer.facts, pointer.checks) == ({"entries": 7}, [check])


# -- windows


@pytest.mark.parametrize(
    ("first", "last", "held", "window"),
    [
        (None, None, ["2025-12", "2026-09", "2026-10", "2026-11", "2027-02"], Window(BEGINNING, None)),
        ((2026, 9), (2026, 9), ["2026-09"], Window.months(Month(2026, 9), Month(2026, 9))),
        ((2026, 1), (2026, 9), ["2025-12", "2026-09"], Window(BEGINNING, Month(2026, 10).start)),
        ((2026, 9), (2026, 10), ["2026-09", "2026-10", "2026-11", "2027-02"], Window(Month(2026, 9).start, None)),
        ((2026, 11), (2026, 11), ["2026-11", "2027-02"], Window(Month(2026, 11).start, None)),
        ((2026, 12), None, ["2027-02"], Window(Month(2026, 12).start, None)),
    ],
    ids=["all", "one month", "from the account's first", "to the month that was last", "the current month", "ahead"],
)
def test_a_range_of_months_is_a_window(first, last, held, window, store):
    # Read in October: October means every later month too, whatever the month of the delivery.
    months = [(2025, 12), (2026, 9), (2026, 10), (2026, 11), (2027, 2)]
    publish_movements(store, months, FIRST, open_from=Month(2026, 10))
    table = store.table("mrr_movements", first and Month(*first), last and Month(*last), since=Month(2026, 1))
    assert [str(file.month) for file in table.files] == held
    assert table.window == window
    assert table.window_column == "date"


# -- damage


def test_a_missing_file_is_named(store):
    publish(store, PLANS, [{"uuid": "p"}], FIRST)
    (file,) = store.table("plans").paths
    Path(file).unlink()
    with pytest.raises(StoreDamaged, match=rf"{file}.* is missing → restore it"):
        store.table("plans")


def test_a_file_that_was_cut_is_named(store):
    publish(store, PLANS, [{"uuid": "p"}], FIRST)
    (file,) = store.table("plans").paths
    os.truncate(file, 100)
    with pytest.raises(StoreDamaged, match=rf"{file}.* is not as long as it was"):
        store.table("plans")


def test_damage_in_another_month_is_no_concern(store):
    publish_movements(store, [(2026, 9), (2026, 10)], FIRST, open_from=Month(2026, 10))
    Path(store.table("mrr_movements").paths[0]).unlink()
    assert uuids(store.table("mrr_movements", Month(2026, 10), Month(2026, 10))) == ["m1"]


def test_a_raw_read_whose_file_is_missing_is_named(store):
    with store.landing("plans", FIRST) as landing:
        landing.put(Page("plans", b'{"plans":[]}', 0, NOW))
    (read,) = store.raw_reads("plans")
    (store.root / read.file).unlink()
    with pytest.raises(StoreDamaged, match="is missing"):
        next(store.raw_pages(read))


def cut(body):
    return body[: len(body) // 2]


def emptied(_body):
    return b""


def flipped(body):
    return body[:2_000] + bytes([body[2_000] ^ 1]) + body[2_001:]


@pytest.mark.parametrize("damage", [cut, emptied, flipped])
def test_a_raw_read_that_is_not_what_was_written_is_named(damage, store):
    with store.landing("plans", FIRST) as landing:
        landing.put(Page("plans", os.urandom(100_000), 0, NOW))
    (read,) = store.raw_reads("plans")
    file = store.root / read.file
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(StoreDamaged, match=rf"{file}.* cannot be read → restore it"):
        list(store.raw_pages(read))


@pytest.mark.parametrize("body", [b"", b"[{", b'{"generation": 5, "format": %d}' % FORMAT, b"\xff"])
def test_a_pointer_that_was_cut_or_edited_is_named(body, store):
    publish(store, PLANS, [], FIRST)
    land(store, 1)
    for file in store.root.rglob("*.json"):
        file.write_bytes(body)
    for read in (lambda: store.table("plans"), lambda: store.raw_reads("plans")):
        with pytest.raises(StoreDamaged, match=r"plans.json.* is not as the store wrote it → restore it"):
            read()


# -- one writer


def hold(folder, ready, seconds):
    with Store(folder).writing():
        ready.touch()
        time.sleep(seconds)


def test_a_second_writer_waits_and_then_names_the_first(store, tmp_path):
    ready = tmp_path / "ready"
    child = killing.begin(hold, store.root, ready, 1.5)
    while not ready.exists():
        time.sleep(0.01)
    busy = pytest.raises(StoreBusy, match=rf"process {child.pid} writes to the store")
    with busy, store.writing(wait=0.1):
        pass
    with store.writing(wait=60):
        pass
    killing.end(child)


def test_a_killed_writer_holds_nobody_up(store, tmp_path):
    ready = tmp_path / "ready"
    child = killing.begin(hold, store.root, ready, 60)
    while not ready.exists():
        time.sleep(0.01)
    child.kill()
    child.join()
    with store.writing(wait=5):
        pass


# -- places that cannot be written to


def publish_within(folder, size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with pytest.raises(StoreUnwritable, match=r"a file would exceed the size allowed → raise the limit"):
        land(Store(folder), 4_000)


def land(store, pages):
    with store.landing("plans", SECOND) as landing:
        for at in range(pages):
            landing.put(Page("plans", os.urandom(1_000), at, NOW))


def test_a_file_beyond_the_limit_is_one_line_and_what_stood_stands(store):
    land(store, 1)
    before = store.raw_reads("plans")
    killing.end(killing.begin(publish_within, store.root, 1_000_000))
    assert store.raw_reads("plans") == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
def test_what_the_system_says_becomes_a_line_with_the_next_step(code, tmp_path):
    with pytest.raises(StoreUnwritable) as failed, durable.writing_to(tmp_path):
        raise OSError(code, "as the kernel puts it", "/somewhere/a-customer@example.com")
    assert str(failed.value).startswith(f"cannot write to {tmp_path}: ")
    assert failed.value.remedy
    assert "customer" not in str(failed.value)


def test_other_errors_pass_as_they_are(tmp_path):
    with pytest.raises(ConnectionResetError), durable.writing_to(tmp_path):
        raise ConnectionResetError


def test_a_full_disk_is_one_line():
    with (
        pytest.raises(StoreUnwritable, match="the disk is full"),
        durable.writing_to("/dev"),
        Path("/dev/full").open("wb") as full,
    ):
        full.write(b"x" * 10_000_000)


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_the_place_of_a_folder_is_one_line(below, tmp_path):
    (tmp_path / "store").write_text("not a folder")
    store = Store(tmp_path / "store" / below)
    with pytest.raises(StoreUnwritable, match="folder"), store.writing():
        pass


# -- housekeeping


def age(path, seconds):
    at = time.time() - seconds
    os.utime(path, (at, at))


def files_under(store):
    return set(store.root.rglob("*.parquet"))


def test_purging_keeps_what_is_pointed_to_however_old(store):
    publish(store, PLANS, [{"uuid": "p"}], FIRST)
    land(store, 1)
    for path in files_under(store):
        age(path, 10 * 86_400)
    assert store.purge() == []
    assert len(files_under(store)) == 2


def test_a_file_out_of_use_goes_after_the_grace_time(store):
    publish(store, PLANS, [{"uuid": "old"}], FIRST)
    (old,) = map(str, store.table("plans").paths)
    publish(store, PLANS, [{"uuid": "new"}], SECOND)
    assert store.purge() == []
    age(old, 86_401)
    assert [str(path) for path in store.purge()] == [old]
    assert uuids(store.table("plans")) == ["new"]


def test_the_grace_time_begins_when_a_file_goes_out_of_use(store):
    publish(store, PLANS, [{"uuid": "old"}], FIRST)
    held = store.table("plans")
    age(held.paths[0], 30 * 86_400)
    publish(store, PLANS, [{"uuid": "new"}], SECOND)
    store.purge()
    assert uuids(held) == ["old"]


def test_what_a_killed_run_left_goes_after_the_grace_time(store):
    left = [store.root / "raw" / "plans" / "x.part", store.scratch(FIRST, "plans") / "plans.parquet"]
    for path in left:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half")
        age(path, 90_000)
    assert set(store.purge()) == set(left)


def test_rows_in_quarantine_stay_until_they_are_as_old_as_is_asked(store):
    file = store.quarantine("plans", FIRST, [Rejected("plans", "uuid is missing", "{}")])
    age(file, 10 * 86_400)
    now = datetime.now(UTC)
    assert store.purge() == []
    assert store.purge_quarantine(now - timedelta(days=11)) == []
    assert pa.parquet.read_table(file).to_pylist() == [{"dataset": "plans", "reason": "uuid is missing", "body": "{}"}]
    assert store.purge_quarantine(now - timedelta(days=9)) == [file]
    assert not file.exists()


# -- other versions


def rewritten(store, name, change):
    """Let the pointer be as another version would have written it."""
    file = store.root / "pointers" / f"{name}.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def set_format(number):
    def change(content):
        for one in content if isinstance(content, list) else [content]:
            one["format"] = number
            one["of another version"] = [1, 2]

    return change


@pytest.mark.parametrize("name", ["source_data/plans", "raw/plans"])
def test_what_a_newer_version_wrote_is_refused_in_one_line(store, name):
    publish(store, PLANS, [{"uuid": "p"}], FIRST)
    land(store, 1)
    rewritten(store, name, set_format(FORMAT + 1))
    with pytest.raises(
        StoreTooNew, match=rf"{name}.json of the store was written by a newer version \({FORMAT + 1}; this one"
    ):
        _ = store.pointer(name) if name.startswith("source") else store.raw_reads("plans")


@pytest.mark.parametrize("name", ["source_data/plans", "raw/plans"])
def test_what_an_older_version_wrote_is_as_if_it_were_not_there(store, name):
    publish(store, PLANS, [{"uuid": "p"}], FIRST)
    land(store, 1)
    rewritten(store, name, set_format(FORMAT - 1))
    assert (store.table("plans") is None) == name.startswith("source")
    assert (store.raw_reads("plans") == []) == name.startswith("raw")


def test_a_dataset_whose_columns_were_others_is_made_again(store):
    publish(store, PLANS, [{"uuid": "p"}], FIRST)
    rewritten(store, "source_data/plans", lambda pointer: pointer["datasets"]["plans"]["columns"].pop())
    assert store.table("plans") is None
    publish(store, PLANS, [{"uuid": "p"}], SECOND)
    assert uuids(store.table("plans")) == ["p"]


# -- deliveries


def delivered(store, table):
    store.delivered("shelf", table, rows=table.rows, bytes_=1, seconds=0.5)


def test_a_destination_that_got_nothing_is_stale_from_the_first_month(store):
    publish_movements(store, [(2026, 9), (2026, 10)], FIRST)
    assert store.stale_from("shelf", "mrr_movements") == Month(2026, 9)


def test_a_destination_that_got_everything_is_not_stale(store):
    publish_movements(store, [(2026, 9), (2026, 10)], FIRST)
    delivered(store, store.table("mrr_movements"))
    assert store.stale_from("shelf", "mrr_movements") is None


def test_a_destination_is_stale_from_the_first_month_that_changed(store):
    publish_movements(store, [(2026, 8), (2026, 9), (2026, 10)], FIRST)
    delivered(store, store.table("mrr_movements"))
    rows = [{"uuid": f"m{at}", "date": datetime(2026, 8 + at, 15, tzinfo=UTC), "mrr": at} for at in (1, 2)]
    publish(store, MOVEMENTS, [{"uuid": "m0", "date": datetime(2026, 8, 15, tzinfo=UTC)}, *rows], SECOND)
    assert store.stale_from("shelf", "mrr_movements") == Month(2026, 9)
    delivered(store, store.table("mrr_movements", Month(2026, 9), Month(2026, 9)))
    assert store.stale_from("shelf", "mrr_movements") == Month(2026, 10)


def test_a_month_that_emptied_is_stale_too(store):
    publish_movements(store, [(2026, 9), (2026, 10)], FIRST)
    delivered(store, store.table("mrr_movements"))
    publish_movements(store, [(2026, 9)], SECOND)
    assert store.stale_from("shelf", "mrr_movements") == Month(2026, 10)


def test_a_snapshot_is_never_stale_by_month(store):
    publish(store, PLANS, [{"uuid": "p"}], FIRST)
    assert store.stale_from("shelf", "plans") is None


def test_a_failure_is_remembered_beside_the_last_success_until_the_next(store):
    publish(store, PLANS, [{"uuid": "p"}], FIRST)
    delivered(store, store.table("plans"))
    store.failed("shelf", "plans", "it is held by somebody else")
    mark = store.watermark("shelf", "plans")
    assert (mark.generation, mark.rows, mark.error) == (FIRST, 1, "it is held by somebody else")
    assert datetime.now(UTC) - mark.failed_at < timedelta(minutes=1)
    delivered(store, store.table("plans"))
    assert store.watermark("shelf", "plans").error is None
    assert store.watermark("another", "plans") == Watermark()


def test_what_fails_since_the_last_success_is_counted_and_each_series_of_tries_too(store):
    publish(store, PLANS, [{"uuid": "p"}], FIRST)
    began = datetime(2026, 11, 1, 9, tzinfo=UTC)
    for day in range(30):
        for at, again in ((0, False), (1, True)):
            failed_at = began + timedelta(days=day, minutes=at)
            store.failed("shelf", "plans", "no answer", at=failed_at, again_after=[timedelta(minutes=1)], again=again)
    mark = store.watermark("shelf", "plans")
    assert (mark.failures, mark.failing_since, mark.attempts) == (60, began, 2)
    delivered(store, store.table("plans"))
    assert store.watermark("shelf", "plans").failures == 0
    store.failed("shelf", "plans", "no answer", at=began)
    store.superseded("shelf", "plans")
    mark = store.watermark("shelf", "plans")
    assert (mark.failures, mark.failing_since, mark.attempts, mark.generation) == (0, None, 0, FIRST)


def test_a_failure_that_an_earlier_version_wrote_goes_on_being_counted(store):
    file = store.root / "watermarks/shelf/plans.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"generation": "g", "error": "no", "failed_at": "2026-11-01T09:00:00Z", "attempts": 4}')
    began = datetime(2026, 11, 1, 9, tzinfo=UTC)
    mark = store.watermark("shelf", "plans")
    assert (mark.failures, mark.failing_since) == (4, began)
    store.failed("shelf", "plans", "no")
    mark = store.watermark("shelf", "plans")
    assert (mark.failures, mark.failing_since) == (5, began)


def test_a_delivery_whose_mark_is_damaged_is_made_again(store):
    publish(store, PLANS, [{"uuid": "p"}], FIRST)
    delivered(store, store.table("plans"))
    (store.root / "watermarks/shelf/plans.json").write_text("{")
    mark = store.watermark("shelf", "plans")
    assert mark.delivered_at is None
    assert "is not as the store wrote it" in mark.error


def test_one_month_by_hand_is_not_the_whole(store):
    publish_movements(store, [(2026, 9), (2026, 10)], FIRST)
    store.failed("shelf", "mrr_movements", "it is not there", again_after=[timedelta(minutes=1)])
    delivered(store, store.table("mrr_movements", Month(2026, 10), Month(2026, 10)))
    mark = store.watermark("shelf", "mrr_movements")
    assert mark.delivered_at is not None
    assert (mark.generation, mark.error, mark.due_at is None) == ("", "it is not there", False)
    delivered(store, store.table("mrr_movements"))
    mark = store.watermark("shelf", "mrr_movements")
    assert (mark.generation, mark.error, mark.due_at) == (FIRST, None, None)


@pytest.mark.parametrize("change", [{"anew": True}, {"location": "another schema"}])
def test_a_table_that_was_made_anew_or_lies_elsewhere_lacks_all_other_months(change, store):
    publish_movements(store, [(2026, 8), (2026, 9), (2026, 10)], FIRST)
    known = {"rows": 1, "bytes_": 1, "seconds": 1.0, "location": "a schema"}
    store.delivered("shelf", store.table("mrr_movements"), **known)
    store.delivered("shelf", store.table("mrr_movements", Month(2026, 10), None), **known)
    assert store.stale_from("shelf", "mrr_movements") is None
    store.delivered("shelf", store.table("mrr_movements", Month(2026, 10), None), **{**known, **change})
    assert store.stale_from("shelf", "mrr_movements") == Month(2026, 8)
