"""A customer is forgotten: no file of the store holds a byte of it, all else stays, and the next refresh agrees."""

import shutil
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import duckdb
import pyarrow.parquet as pq
import pytest

from mogul_assets.account.client import Client
from mogul_assets.account.pages import Page
from mogul_assets.account.reader import Account
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.window import Month
from mogul_assets.destinations import load_type
from mogul_assets.refresh.news import read_news
from mogul_assets.sandbox import NO_LIMITS, Sandbox, generate, serve
from mogul_assets.sandbox.company import Deletion, calculate
from mogul_assets.store import erasure
from mogul_assets.store.store import Store, Watermark
from mogul_assets.store.table import new_generation
from mogul_assets.store.tolerant import Rejected
from mogul_assets_tests import killing
from mogul_assets_tests.account.peers import EAGER
from mogul_assets_tests.refresh import runs
from mogul_assets_tests.refresh.forgotten import forgotten

SINCE = Month(2025, 6)
SEED = 15
"""With it the two customers have some of everything."""
STRANGER = "cus_00000000-0000-4000-a000-000000000000"
PERSONAL = [name for name, dataset in DATASETS.items() if dataset.about is not None]
DELIVERED = ("customers", "mrr_movements", "subscription_events", "tags")
KILLS, MENDED = 7, 3
"""Of so many places one is killed at, and of so many killed ones one is mended."""


class Life:
    """An account that was read twice, with two customers merged in between, and who of them is to be forgotten."""

    def __init__(self, folder, serving, rates):
        self.folder, self.serving, self.rates = folder, serving, rates
        self.seconds = 0
        self.refresh(Store(folder))
        known = set(serving.sandbox.company.members)
        serving.sandbox.live(days=12, merges=1, deletions=0)
        self.refresh(Store(folder))
        members = serving.sandbox.company.members
        (self.uuid,) = (uuid for uuid, numbers in members.items() if len(numbers) > 1)
        (self.merged,) = known - set(members)
        now = runs.moment_of(serving.sandbox.company) + timedelta(minutes=1)
        with closing(Client(serving.url, "sandbox", EAGER)) as client:
            read_news(Store(folder), Account(client, since=SINCE), generation=new_generation(now), now=now)
        self.person = erasure.find(Store(folder), self.uuid).person
        _aside(Store(folder), self)

    def refresh(self, store, **how):
        self.seconds += 1
        now = runs.moment_of(self.serving.sandbox.company) + timedelta(seconds=self.seconds)
        return runs.refreshed(store, self.serving.url, now, rates=self.rates, since=SINCE, **how)

    def without(self):
        """The account once the customer is deleted there, too."""
        company = self.serving.sandbox.company
        number = company.members[self.uuid][0]
        happenings = (*company.recipe.happenings, Deletion(company.now, number))
        return calculate(replace(company.recipe, happenings=happenings), company)


def _aside(store, life):
    """What a refresh may leave beside its tables: rows in quarantine, and what an error named."""
    part = min(id_ for id_ in life.person.parts if id_.startswith("li_"))
    source, id_ = min(life.person.records)
    bodies = {
        "invoices": [f'{{"uuid": "{part}", "type": 3}}', '{"uuid": "li_other", "type": 3}'],
        "contacts": [f'{{"uuid": "con_x", "customer_uuid": "{life.uuid}"}}'],
        "subscription_events": [f'{{"data_source_uuid": "{source}", "customer_external_id": "{id_}", "id": []}}'],
        "plans": ['{"uuid": null}'],
    }
    for read, rejected in bodies.items():
        store.quarantine(read, "20260101T000000.000000Z-aaaa", [Rejected(read, "odd", body) for body in rejected])
    store.mark("lake", "tags", Watermark(error=f"lake: tags: row {life.uuid}, {id_}: too long", location="s3://tags"))


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    sandbox = Sandbox(
        generate(seed=SEED, now=datetime(2026, 3, 10, tzinfo=UTC), customers=12, years=0.8), limits=NO_LIMITS
    )
    with serve(sandbox) as serving, runs.quoting(date(2025, 5, 1), ("USD", "GBP")) as rates:
        yield Life(tmp_path_factory.mktemp("life") / "store", serving, rates)


@pytest.fixture
def store(life, tmp_path):
    """A copy of that store, to work on."""
    shutil.copytree(life.folder, tmp_path / "store")
    return Store(tmp_path / "store")


def traces(root, person):
    """The files in which the person can still be found: their bytes, and what Parquet holds in them."""
    # The uuid of an activity says nothing of anybody, and the pages before hold it as their cursor.
    parts = {part for part in person.parts if "_" in part}
    texts = [text.encode() for text in (*person.ids, *person.words, *parts)]
    assert len(texts) > 20
    found = []
    for path in root.rglob("*"):
        if not path.is_file():
            continue
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += repr(pq.read_table(path).to_pydict()).encode()
        if any(text in content for text in texts):
            found.append(path.relative_to(root).as_posix())
    return found


def rows_of_others(store, person):
    """All rows that are not the person's, told by nothing but what the catalogue's own columns hold."""
    ids = {person.uuid, *person.parts}
    sources = {(source, id_) for source, id_ in person.records}
    return {
        name: [
            row
            for row in runs.rows(store, name)
            if ids.isdisjoint(value for value in row.values() if isinstance(value, str))
            and sources.isdisjoint(
                (row.get(source), row.get(id_))
                for source in ("data_source_uuid", "billing_connector_uuid")
                for id_ in ("external_id", "data_source_customer_external_id", "customer_external_id")
            )
        ]
        for name in DATASETS
    }


def test_nothing_of_it_is_left_and_all_else_stays(life, store):
    assert len(life.person.records) > 1  # one was merged into the other
    found = erasure.find(store, life.uuid)
    assert found.rows.keys() == {*PERSONAL, "customer_records", "movement_news"}
    assert found.entries.keys() == {"customers", "contacts", "invoices", "subscription_events", "activities"}
    assert found.quarantined == {"invoices": 1, "contacts": 1, "subscription_events": 1}
    assert found.older > 0
    assert len(traces(store.root, life.person)) > 20
    others = rows_of_others(store, life.person)

    erasure.forget(store, life.uuid)

    assert traces(store.root, life.person) == ["forgetting.json"]
    erasure.finished(store)
    assert traces(store.root, life.person) == []
    assert not erasure.find(store, life.uuid).anything
    assert {name: runs.rows(store, name) for name in DATASETS} == others
    assert all(others.values())
    assert store.watermark("lake", "tags").location == "s3://tags"
    kept = {path.parent.name: pq.read_table(path).to_pydict()["body"] for path in store.root.glob("quarantine/*/*")}
    assert kept == {"invoices": ['{"uuid": "li_other", "type": 3}'], "plans": ['{"uuid": null}']}


def test_only_files_with_rows_of_it_are_others(life, store):
    before = {name: runs.contents(store, name) for name in DATASETS}
    generations = {name: store.table(name).generation for name in DATASETS}
    erasure.forget(store, life.uuid)
    after = {name: runs.contents(store, name) for name in DATASETS}
    assert {name for name in DATASETS if after[name] != before[name]} == set(PERSONAL)
    months = {
        month
        for month in before["mrr_movements"]
        if before["mrr_movements"][month] != after["mrr_movements"].get(month)
    }
    assert 0 < len(months) < len(before["mrr_movements"])
    for name in DATASETS:
        assert (store.table(name).generation > generations[name]) is (name in PERSONAL), name


def test_the_next_refresh_agrees_with_a_first_reading_of_an_account_without_it(life, store, tmp_path):
    erasure.forget(store, life.uuid)
    erasure.finished(store)
    company = life.serving.sandbox.company
    try:
        life.serving.sandbox.company = life.without()
        life.refresh(store)
        other = Store(tmp_path / "other")
        life.refresh(other)
    finally:
        life.serving.sandbox.company = company
    for name in DATASETS:
        assert runs.contents(store, name) == runs.contents(other, name), name
    assert traces(store.root, life.person) == []


def test_what_the_account_still_has_comes_back(life, store):
    before = {name: runs.contents(store, name) for name in DATASETS}
    erasure.forget(store, life.uuid)
    life.refresh(store)
    assert {name: runs.contents(store, name) for name in DATASETS} == before


def test_the_next_delivery_takes_it_out_of_where_tables_are_replaced(life, store, tmp_path):
    now = datetime.now(UTC)
    lake = load_type("files")(name="lake", path=str(tmp_path / "lake"), grace_seconds=0)
    shelf = load_type("duckdb")(name="shelf", path=str(tmp_path / "shelf.duckdb"))
    for place in (lake, shelf):
        runs.delivered(store, place, now, since=SINCE, names=DELIVERED)
    erasure.forget(store, life.uuid)
    for place in (lake, shelf):
        runs.delivered(store, place, now, since=SINCE, names=DELIVERED)
    assert traces(tmp_path / "lake", life.person) == []
    with duckdb.connect(tmp_path / "shelf.duckdb", read_only=True) as connection:
        for name in DELIVERED:
            assert connection.execute(f"FROM {name}").fetchall() == [
                tuple(row.values()) for row in runs.rows(store, name)
            ]


def test_an_account_of_others_stays_as_it_is_where_there_is_nothing_to_forget(life, store):
    before = {name: runs.contents(store, name) for name in DATASETS}
    assert not erasure.find(store, STRANGER).anything
    erasure.forget(store, STRANGER)
    assert {name: runs.contents(store, name) for name in DATASETS} == before


def test_a_record_that_was_merged_into_another_customer_stays_with_it(life, store):
    before = {name: runs.contents(store, name) for name in ("source_customers", "invoices", "subscription_events")}
    found = erasure.find(store, life.merged)
    assert found.merged_into == (life.uuid,)
    assert found.person.records == frozenset()
    assert found.older > 0
    erasure.forget(store, life.merged)
    assert {name: runs.contents(store, name) for name in before} == before
    assert not erasure.find(store, life.merged).anything


WORDS = b'{"uuid": "%s", "name": "%s"}'


def page(*entries, between=b", ", around=(b'{"page": 1, "entries": [ ', b' ], "has_more": false}')):
    return Page("customers", around[0] + between.join(entries) + around[1], 0, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("between", [b",", b" ,\n\t"])
@pytest.mark.parametrize("places", [(0,), (1,), (3,), (0, 1), (2, 3), (0, 3), (0, 1, 2, 3)])
def test_a_page_loses_its_entries_and_not_a_byte_more(places, between):
    person = erasure.Person(STRANGER)
    gone = WORDS % (STRANGER.encode(), b"Z")
    others = [b'{"uuid":"cus_2","name":"\\u00e9 \\"},{\\" \\ud800"}', b"{}", b'{"uuid" : "cus_3", "n": 1.50}', b"null"]
    entries = [gone if place in places else others[place] for place in range(4)]
    body, removed = erasure.parted("customers", page(*entries, between=between), person)
    stay = [entry for place, entry in enumerate(entries) if place not in places]
    assert body == page(*stay, between=between).body
    assert removed == [gone] * len(places)


def test_a_page_that_is_none_goes_whole_where_it_names_the_person():
    person = erasure.Person(STRANGER)
    odd = page(around=(b'{"entries": "', STRANGER.encode() + b'"}'))
    assert erasure.parted("customers", odd, person)[0] == b'{"entries":[]}'
    other = page(around=(b'{"entries": "', b'cus_2"}'))
    assert erasure.parted("customers", other, person) == (other.body, [])


def test_killed_at_any_write_it_leaves_tables_that_can_be_read_and_a_repeat_finishes(life, tmp_path):
    def attempt():
        shutil.rmtree(tmp_path / "attempt", ignore_errors=True)
        shutil.copytree(life.folder, tmp_path / "attempt")
        return tmp_path / "attempt"

    def contents(folder):
        store = Store(folder)
        for read in erasure.ENTRIES:
            assert all(list(store.raw_pages(landed)) for landed in store.raw_reads(read))
        return {name: runs.contents(store, name) for name in DATASETS}

    before, folder = contents(life.folder), attempt()
    places = killing.places(forgotten, folder, life.uuid)
    after = contents(folder)
    points = sorted({place: point for point, place in enumerate(places)}.values())
    assert len(points) > 15
    for count, point in enumerate(points[::KILLS]):
        folder = attempt()
        assert killing.kill_at(point, forgotten, folder, life.uuid), places[point]
        found = contents(folder)
        assert all(found[name] in (before[name], after[name]) for name in DATASETS), places[point]
        if count % MENDED == 0:
            killing.end(killing.begin(forgotten, folder, life.uuid))
            assert contents(folder) == after
            assert traces(folder, life.person) == []
