"""``mogul forget-customer``, from the question to what is left elsewhere."""

import json

import dagster as dg
import duckdb
import pytest

from mogul_assets.cli.project import Project
from mogul_assets.messages.message import Draft
from mogul_assets.store import erasure
from mogul_assets.store.person import Person
from mogul_assets.store.store import Store
from mogul_assets_tests.cli.conftest import complaint
from mogul_assets_tests.messages.ledgers import NOW
from mogul_assets_tests.refresh import runs
from mogul_assets_tests.refresh.test_erasure import traces

HISTORY = "  past: {type: duckdb, path: out/past.duckdb, datasets: [customers, subscription_events], history: all}\n"
CHOSEN = """\
  chosen: {{type: duckdb, path: out/chosen.duckdb, datasets: [mrr_movements], rows: {{status: {0}}}, guard: 0.1%}}
  others: {{type: duckdb, path: out/others.duckdb, datasets: [mrr_movements], rows: {{status: {1}}}, guard: 0.1%}}
"""
STRANGER = "cus_00000000-0000-4000-a000-000000000000"


@pytest.fixture
def customer(synced):
    """The one with the most movements; a mail that names it waits."""
    with duckdb.connect(synced.folder / "out/mogul.duckdb", read_only=True) as connection:
        (uuid, name) = connection.execute(
            "SELECT customer_uuid, customer_name FROM mrr_movements GROUP BY ALL ORDER BY count(*) DESC LIMIT 1"
        ).fetchone()
    with Project(synced.folder / "mogul.yaml").ledger() as ledger:
        ledger.enqueue("hook", [Draft("movement", "k", b"{}", NOW, order=uuid)], NOW)
        ledger.enqueue("channel", [Draft("recap", "daily", f"Top: {name}".encode(), NOW)], NOW)
    return uuid


@pytest.mark.parametrize("uuid", ["zoe@example.com", "cus_", "8f1e1b1e-0d4b-4b6e-9a55-0c9b7d1e2f3a", "cus_'; --aaaaaa"])
def test_what_is_no_id_of_a_customer_is_told_at_once(place, uuid):
    result = place.mogul("forget-customer", uuid)
    assert result.exit_code == 2
    assert "it looks like cus_8f1e" in complaint(result)


def test_a_customer_that_nobody_knows_is_told_in_one_line(place):
    result = place.mogul("forget-customer", STRANGER, "--yes")
    assert result.exit_code == 1
    assert f"nothing here tells of a customer {STRANGER}" in complaint(result)
    assert not (place.folder / "out/ledger.db").exists()


def test_nothing_is_removed_under_a_run(place):
    with dg.DagsterInstance.from_config(str(place.folder)) as instance:
        instance.add_run(dg.DagsterRun(job_name="deliver_lake", status=dg.DagsterRunStatus.STARTED))
    result = place.mogul("forget-customer", STRANGER)
    assert result.exit_code == 1
    assert "a run is under way" in complaint(result)


@pytest.mark.slow
def test_a_customer_is_forgotten(synced, customer):
    store = Store(synced.folder / "out/store")
    person = erasure.find(store, customer).person
    before = {name: runs.contents(store, name) for name in ("customers", "plans")}

    asked = synced.mogul("forget-customer", customer, input_="n\n")
    assert asked.exit_code == 130
    assert "First delete the customer in ChartMogul" in asked.stdout
    assert {name: runs.contents(store, name) for name in before} == before

    done = synced.mogul("forget-customer", customer, "--yes", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    removed = {(one["where"], one["what"]): one["count"] for one in told["removed"]}
    assert removed["dataset", "customers"] == removed["raw read", "customers"] == 1
    assert removed["messages", "hook"] == removed["messages", "channel"] == 1
    left = {(one["destination"], one["remove"]) for one in told["left"]}
    assert {("warehouse", "mogul sync warehouse"), ("lake", "mogul sync lake")} <= left

    assert traces(store.root, person) == []
    ledger = b"".join(path.read_bytes() for path in (synced.folder / "out").glob("ledger.db*"))
    assert not [word for word in (*person.ids, *person.words) if word.encode() in ledger]
    assert synced.mogul("forget-customer", customer, "--yes").exit_code == 1

    # The account still has it: the next refresh brings it back, as was said, and deliveries go on.
    back = synced.mogul("sync")
    assert back.exit_code == 0, back.stderr
    assert {name: runs.contents(store, name) for name in before} == before


@pytest.mark.slow
def test_versions_of_one_that_the_store_knows_no_more_are_deleted(synced, customer):
    settings = synced.folder / "mogul.yaml"
    settings.write_text(settings.read_text() + HISTORY)
    assert synced.mogul("sync", "past").exit_code == 0
    erasure.forget(Store(synced.folder / "out/store"), customer)
    erasure.finished(Store(synced.folder / "out/store"))
    with Project(settings).ledger() as ledger:
        ledger.forget(Person(customer, words=frozenset({"nobody"})), NOW)

    done = synced.mogul("forget-customer", customer, "--yes", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert ("history", "past") in {(one["where"], one["what"]) for one in told["removed"] if one["count"] == 1}
    assert any("subscription_events" in one["what"] for one in told["left"] if one["destination"] == "past")
    with duckdb.connect(synced.folder / "out/past.duckdb", read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM customers WHERE uuid = ?", [customer]).fetchall() == [(0,)]


@pytest.mark.slow
def test_what_the_guard_would_hold_back_is_told_of_the_rows_that_are_sent(synced, customer):
    with duckdb.connect(synced.folder / "out/mogul.duckdb", read_only=True) as connection:
        (its, another), *_ = connection.execute(
            "SELECT its.status, other.status FROM customers AS its, customers AS other"
            " WHERE its.uuid = ? AND other.status <> its.status GROUP BY ALL ORDER BY count(*) DESC",
            [customer],
        ).fetchall()
    settings = synced.folder / "mogul.yaml"
    settings.write_text(settings.read_text() + CHOSEN.format(its, another))
    delivered = synced.mogul("sync", "chosen", "others")
    assert delivered.exit_code == 0, delivered.stderr

    done = synced.mogul("forget-customer", customer, "--yes", "--json")
    assert done.exit_code == 0, done.stderr
    remedies = {one["remove"] for one in json.loads(done.stdout)["left"]}
    assert "mogul sync chosen --allow-loss" in remedies
    assert "mogul sync others --allow-loss" not in remedies


@pytest.mark.slow
def test_a_destination_that_cannot_be_used_is_no_reason_to_say_that_all_is_done(synced, customer):
    settings = synced.folder / "mogul.yaml"
    good = settings.read_text() + HISTORY
    settings.write_text(good.replace("path: out/past", "pth: out/past"))
    result = synced.mogul("forget-customer", customer, "--yes")
    assert result.exit_code == 1
    assert "pth: there is no such setting" in result.stdout
    settings.write_text(good)
    assert synced.mogul("forget-customer", customer, "--yes").exit_code == 0


@pytest.mark.slow
def test_one_that_was_killed_goes_on_where_it_ended(synced, customer):
    store = Store(synced.folder / "out/store")
    person = erasure.forget(store, customer).person  # and here it was killed
    result = synced.mogul("forget-customer", STRANGER, "--yes")
    assert result.exit_code == 1
    assert f"first: mogul forget-customer {customer}" in complaint(result)
    result = synced.mogul("forget-customer", customer, "--yes")
    assert result.exit_code == 0, result.stderr
    assert traces(store.root, person) == []
    with Project(synced.folder / "mogul.yaml").ledger() as ledger:
        assert not ledger.about(person)
