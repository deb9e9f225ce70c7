"""Raw reads: pages come back exactly as they came, in the order they were taken."""

from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from mogul_assets.account.pages import Page
from mogul_assets.catalog.window import BEGINNING, Month, Window
from mogul_assets.store.raw import pages, taken_at
from mogul_assets.store.store import Store

NOW = datetime(2026, 11, 23, 9, 0, 0, 123456, tzinfo=UTC)
BODIES = (b'{"plans":[]}', b"", '{"na\u00efve": "\U0001f389"}'.encode(), b"\x00\xff not even text", b"x" * 3_000_000)


def page(at, body=b"{}", shard=None):
    return Page("plans", body, at, NOW, shard or {})


def generation(at):
    return f"202611{at:02}T000000.000000Z-aaaa"


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def land(store, at, window=None, read="activities", *, partial=False):
    with store.landing(read, generation(at), window) as landing:
        landing.partial = partial
        landing.put(page(0))


def break_off(store, generation):
    """A read whose connection is lost after the first page."""

    def reading():
        with store.landing("plans", generation) as landing:
            landing.put(page(0, b"half"))
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        reading()


def standing(store, read="activities"):
    return [landed.generation[6:8] for landed in store.raw_reads(read)]


def test_pages_come_back_to_the_byte(store):
    given = [page(at, body, {"status": "Active"} if at % 2 else {}) for at, body in enumerate(BODIES * 2)]
    with store.landing("plans", generation(1)) as landing:
        for each in given:
            landing.put(each)
    (read,) = store.raw_reads("plans")
    assert list(store.raw_pages(read)) == given
    assert (read.pages, read.bytes) == (len(given), sum(len(each.body) for each in given))


def test_a_landed_file_is_parquet_for_any_tool(store):
    land(store, 1)
    (read,) = store.raw_reads("activities")
    assert pq.read_table(store.root / read.file).column_names == ["sequence", "taken_at", "shard", "body"]
    assert taken_at(store.root / read.file) == NOW


def test_a_read_without_pages_lands_too(store):
    with store.landing("plans", generation(1)):
        pass
    (read,) = store.raw_reads("plans")
    assert (read.pages, list(store.raw_pages(read))) == (0, [])
    assert taken_at(store.root / read.file) is None


def test_what_the_reader_said_stays_with_it(store):
    with store.landing("plans", generation(1)) as landing:
        landing.facts, landing.read_at = {"rows": 7}, NOW
    (read,) = store.raw_reads("plans")
    assert (read.facts, read.read_at, read.window) == ({"rows": 7}, NOW, None)


def test_a_read_that_fails_leaves_the_one_before(store):
    land(store, 1, read="plans")
    break_off(store, generation(2))
    assert standing(store, "plans") == ["01"]


def test_a_failing_second_try_in_one_run_leaves_the_first(store):
    land(store, 1, read="plans")
    break_off(store, generation(1))
    (read,) = store.raw_reads("plans")
    assert [each.body for each in store.raw_pages(read)] == [b"{}"]


def test_a_whole_read_takes_the_place_of_the_one_before(store):
    land(store, 1, read="plans")
    land(store, 2, read="plans")
    assert standing(store, "plans") == ["02"]


def test_a_partial_read_stands_beside_those_before_until_a_whole_one_comes(store):
    land(store, 1, read="plans")
    land(store, 2, read="plans", partial=True)
    land(store, 3, read="plans", partial=True)
    assert [(read.generation[6:8], read.partial) for read in store.raw_reads("plans")] == [
        ("01", False),
        ("02", True),
        ("03", True),
    ]
    assert store.purge(grace_seconds=0) == []
    land(store, 4, read="plans")
    assert standing(store, "plans") == ["04"]


def test_a_partial_read_that_fails_leaves_those_before(store):
    land(store, 1, read="plans")
    land(store, 2, read="plans", partial=True)
    break_off(store, generation(3))
    assert standing(store, "plans") == ["01", "02"]


def test_a_windowed_read_takes_the_place_of_what_it_covers(store):
    october, november = Month(2026, 10), Month(2026, 11)
    land(store, 1, Window(BEGINNING, None))
    land(store, 2, Window.months(october, None))
    land(store, 3, Window.months(november, november))
    assert standing(store) == ["01", "02", "03"]
    land(store, 4, Window.months(october, None))
    assert standing(store) == ["01", "04"]
    land(store, 5, Window(BEGINNING, None))
    assert standing(store) == ["05"]


def test_files_are_read_one_after_the_other(store):
    for at in (1, 2):
        with store.landing("activities", generation(at), Window.months(Month(2026, at), Month(2026, at))) as landing:
            landing.put(page(at))
    files = [store.root / read.file for read in store.raw_reads("activities")]
    assert [each.sequence for each in pages("activities", files)] == [1, 2]
