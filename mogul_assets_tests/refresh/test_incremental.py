"""Lists read as far as needed: what the API shows is there, what it hides is found by the next full reading."""

import shutil
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some
from msgspec import structs

from mogul_assets import refresh
from mogul_assets.account.lists import PAGE_ROWS
from mogul_assets.catalog.datasets import CUSTOMER_RECORDS, DATASETS, INVOICES
from mogul_assets.catalog.window import Month
from mogul_assets.refresh import EDITED, GONE, ChecksFailed, incremental
from mogul_assets.sandbox import NO_LIMITS, Fault, Sandbox, generate, live, serve
from mogul_assets.sandbox.company import NO_DATE
from mogul_assets.store import erasure
from mogul_assets.store.shape import typed_datasets
from mogul_assets.store.store import Store, group_of
from mogul_assets_tests.refresh import runs

NOW = datetime(2026, 3, 20, 9, tzinfo=UTC)
SINCE = Month(2022, 1)
QUIET = {"corrections": 0, "cancellations": 0, "merges": 0, "deletions": 0}
OF_LISTS = [dataset for read in runs.WHOLE for dataset in typed_datasets(read)]
SIZE = {"customers": 450, "years": 4.0}
"""Five pages of invoices or more: less is read whole however it is begun."""
LEADS = 1_500
"""Customers beside, who never do anything: of a list of ten pages up to five customers are read singly."""


def padded(company):
    lead = min((each for each in company.customers if each.key[0] == NO_DATE), key=lambda each: each.key)
    return replace(company, customers=[*company.customers, *(like(lead, number) for number in range(LEADS))])


def like(lead, number):
    """Another lead."""
    name, identity = f"lead_{number}", 900_000_000 + number
    document = structs.replace(
        lead.document,
        uuid=f"cus_{name}",
        id=identity,
        external_id=name,
        external_ids=[name],
        data_source_uuids=[lead.document.data_source_uuid],
    )
    return structs.replace(lead, key=(NO_DATE, identity), document=document)


def owners(company, before):
    """Customers with a movement that is new, gone or due since, or a new invoice, event or contact."""
    then, now = ({each.document.uuid for each in one.activities} for one in (before, company))
    changed = [
        each.document for one in (before, company) for each in one.activities if each.document.uuid in then ^ now
    ]
    due = [
        each.document
        for each in company.activities
        if runs.moment_of(before) < datetime.fromisoformat(each.document.date) <= runs.moment_of(company)
    ]
    found = {document.customer_uuid for document in (*changed, *due)}
    found |= {new.document.customer_uuid for name in ("invoices", "contacts") for new in added(company, before, name)}
    ids = {
        (new.document.data_source_uuid, new.document.customer_external_id)
        for new in added(company, before, "subscription_events")
    }
    return found | {
        customer.document.uuid
        for customer in company.customers
        if ids & set(zip(customer.document.data_source_uuids, customer.document.external_ids, strict=True))
    }


def added(company, before, name):
    known = {each.key for each in getattr(before, name)}
    return [each for each in getattr(company, name) if each.key not in known]


def shown(company, before):
    """The company without what no list shows: known invoices, events and contacts, and untouched customers, are old."""
    touched = owners(company, before)
    kept = {}
    for name in ("invoices", "subscription_events", "contacts", "customers"):
        old = {each.document.id if name == "customers" else each.key: each for each in getattr(before, name)}
        kept[name] = [
            each
            if name == "customers" and each.document.uuid in touched
            else old.get(each.document.id if name == "customers" else each.key, each)
            for each in getattr(company, name)
        ]
    return replace(company, **kept)


def everything(store):
    return {name: runs.contents(store, name) for name in DATASETS}


def partial(store):
    return {name for name in incremental.INCREMENTAL if store.raw_reads(name)[-1].partial}


def by_key(store, dataset):
    return {tuple(row[column] for column in dataset.key): row for row in runs.rows(store, dataset.name)}


def copied(folder, into):
    shutil.copytree(folder, into / "store")
    return Store(into / "store")


def how(store, name):
    return incremental.told(store.raw_reads(name)[-1])


@pytest.fixture(scope="module")
def grown():
    """An account, and the store of its first reading."""
    return padded(generate(now=NOW, **SIZE))


@pytest.fixture(scope="module")
def anew(grown):
    """Makes an account of one's own of it. What a failing property shows of this is short."""
    return lambda: Sandbox(grown, limits=NO_LIMITS)


@pytest.fixture(scope="module")
def read_once(grown, rates, tmp_path_factory):
    folder = tmp_path_factory.mktemp("once")
    with serve(Sandbox(grown, limits=NO_LIMITS)) as serving:
        runs.refreshed(Store(folder), serving.url, NOW, rates=rates, since=SINCE)
    return folder


PROPERTY = settings(
    max_examples=3,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # a failing history is short, and making it shorter takes minutes
    suppress_health_check=list(HealthCheck),
)
HOURS = some.integers(1, 8) | some.integers(9, 60)


@PROPERTY
@given(chapters=some.lists(some.tuples(HOURS, some.integers(0, 2)), min_size=1, max_size=2))
def test_where_nothing_is_hidden_it_equals_a_full_read(chapters, anew, read_once, rates, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown")
    sandbox, store = anew(), copied(read_once, folder)
    with serve(sandbox) as serving:
        for hours, cancellations in chapters:
            before = sandbox.company
            lived = live(before, days=hours / 24, **{**QUIET, "cancellations": cancellations})
            sandbox.company = shown(padded(lived), before)
            now = runs.moment_of(lived)
            runs.refreshed(store, serving.url, now, rates=rates, since=SINCE, full_read="weekly")
            assert {"invoices", "subscription_events"} <= partial(store)
        fresh = Store(folder / "fresh")
        runs.refreshed(fresh, serving.url, now, rates=rates, since=SINCE)
        assert everything(store) == everything(fresh)
    shutil.rmtree(folder)


HAPPENINGS = some.fixed_dictionaries(
    {name: some.integers(0, most) for name, most in {**QUIET, "corrections": 4, "merges": 1, "deletions": 1}.items()}
)


@PROPERTY
@given(chapters=some.lists(some.tuples(HOURS, HAPPENINGS), min_size=1, max_size=2))
def test_whatever_was_hidden_the_next_full_read_finds_and_counts(chapters, anew, read_once, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hidden")
    sandbox, store = anew(), copied(read_once, folder)
    with serve(sandbox) as serving:
        for hours, happenings in chapters:
            sandbox.company = padded(live(sandbox.company, days=hours / 24, **happenings))
            now = runs.moment_of(sandbox.company)
            runs.listed(store, serving.url, now, full_read="weekly")
        before = {dataset.name: by_key(store, dataset) for dataset in OF_LISTS}
        runs.listed(store, serving.url, now + timedelta(seconds=1), full_read="always")
        after = {dataset.name: by_key(store, dataset) for dataset in OF_LISTS}
        fresh = Store(folder / "fresh")
        runs.listed(fresh, serving.url, now, full_read="always")
    for dataset in OF_LISTS:
        assert runs.contents(store, dataset.name) == runs.contents(fresh, dataset.name)
        old, new = before[dataset.name], after[dataset.name]
        facts = store.pointer(group_of(dataset)).facts
        assert facts[GONE][dataset.name] == len(old.keys() - new.keys())
        assert facts[EDITED][dataset.name] == sum(new[key] != row for key, row in old.items() if key in new)
    shutil.rmtree(folder)


# -- one account, and what may happen to it


@pytest.fixture
def sandbox(anew):
    return anew()


@pytest.fixture
def store(read_once, tmp_path):
    return copied(read_once, tmp_path)


@pytest.fixture
def again(store, serving):
    """The lists of the next run: some hours later by its own clock, of the account as it is."""

    def run(hours=24.0, full_read="weekly"):
        return runs.listed(store, serving.url, NOW + timedelta(hours=hours), full_read=full_read)

    return run


def test_a_day_later_a_few_pages_are_read_and_it_says_so(store, again, serving):
    serving.sandbox.live(days=1, **QUIET)
    serving.requests.clear()
    again()
    assert partial(store) >= {"invoices", "subscription_events"}
    assert how(store, "invoices") == f"{store.raw_reads('invoices')[-1].pages} pages: up to what is known"
    asked = Counter(asked.path for asked in serving.requests)
    assert asked["/invoices"] <= 1 + 2 * 2 + 2  # the count; two pages of the sources that bill, one of the others
    assert asked["/subscription_events"] <= 3
    assert how(store, "plans").startswith("whole")


@pytest.mark.parametrize(
    ("full_read", "hours", "whole"),
    [
        ("weekly", 6 * 24, False),
        ("weekly", 7 * 24 - 1, True),
        ("daily", 20, False),
        ("daily", 23.9, True),
        ("monthly", 20 * 24, False),
        ("always", 0.1, True),
    ],
)
def test_the_whole_is_read_when_it_is_due(full_read, hours, whole, store):
    why = incremental.whole_because(store, "invoices", full_read=full_read, now=NOW + timedelta(hours=hours))
    assert why == (incremental.FULL_READ[full_read][1] if whole else None)


def test_an_edit_of_an_old_invoice_is_seen_by_the_full_read_and_counted(store, again, sandbox):
    old = min(sandbox.company.invoices, key=lambda each: each.key)
    edited = structs.replace(old, document=structs.replace(old.document, external_id="edited"))
    sandbox.company = replace(
        sandbox.company, invoices=[edited if each is old else each for each in sandbox.company.invoices]
    )
    again(1)
    assert by_key(store, INVOICES)[(old.document.uuid,)]["external_id"] == old.document.external_id
    steps = again(2, full_read="always")
    assert by_key(store, INVOICES)[(old.document.uuid,)]["external_id"] == "edited"
    assert steps["invoices"].facts[EDITED]["invoices"] == 1
    assert set(steps["invoices"].facts[GONE].values()) == {0}


def test_what_an_invoice_lost_when_it_came_again_is_lost(store, again, sandbox):
    company = sandbox.company
    paid = max((each for each in company.invoices if each.document.transactions), key=lambda each: each.key)
    bare = structs.replace(paid, document=structs.replace(paid.document, transactions=[]))
    sandbox.company = replace(company, invoices=[bare if each is paid else each for each in company.invoices])
    again()
    assert "invoices" in partial(store)
    assert paid.document.uuid not in {row["invoice_uuid"] for row in runs.rows(store, "transactions")}
    assert len(runs.rows(store, "invoices")) == len(company.invoices)
    sandbox.company = company
    again(25)
    assert paid.document.uuid in {row["invoice_uuid"] for row in runs.rows(store, "transactions")}


def recent(company):
    """The customer of the newest movement that has happened."""
    past = [each.document for each in company.activities if datetime.fromisoformat(each.document.date) <= NOW]
    return max(past, key=lambda document: datetime.fromisoformat(document.date)).customer_uuid


def without(company, name, uuid):
    key = "uuid" if name == "customers" else "customer_uuid"
    return [each for each in getattr(company, name) if getattr(each.document, key) != uuid]


def moved(company, uuid, after=timedelta(hours=1)):
    """The company with one movement more, of that customer, an hour after."""
    last = next(each for each in company.activities if each.document.customer_uuid == uuid)
    at = (NOW + after).isoformat()
    document = structs.replace(last.document, uuid="a-new-one", date=at)
    return [*company.activities, structs.replace(last, key=(at, "a-new-one"), document=document)]


def renamed(company, uuid):
    """Its customers, that one under another name."""
    return [
        structs.replace(each, document=structs.replace(each.document, company="Renamed"))
        if each.document.uuid == uuid
        else each
        for each in company.customers
    ]


def lately(company):
    """Who had a movement in the hours before the first reading."""
    documents = [each.document for each in company.activities]
    return {one.customer_uuid for one in documents if NOW - incremental.LAG <= datetime.fromisoformat(one.date) <= NOW}


def quiet(company):
    """A customer whose last movement is older than that."""
    return next(
        each.document.customer_uuid for each in company.activities if each.document.customer_uuid not in lately(company)
    )


@pytest.mark.parametrize("after", [timedelta(hours=1), timedelta(days=-10)], ids=["today", "dated back"])
def test_a_customer_with_a_new_movement_is_read_singly(store, again, sandbox, serving, after):
    uuid = quiet(sandbox.company)
    touched = {uuid} | lately(sandbox.company)
    customers = renamed(sandbox.company, uuid)
    sandbox.company = replace(sandbox.company, customers=customers, activities=moved(sandbox.company, uuid, after))
    serving.requests.clear()
    again()
    assert how(store, "customers") == f"{len(touched)} singly"
    asked = sorted(asked.path for asked in serving.requests if "/customers/" in asked.path)
    assert asked == sorted(f"/customers/{one}" for one in touched)
    assert by_key(store, CUSTOMER_RECORDS)[(uuid,)]["company"] == "Renamed"
    assert len(runs.rows(store, CUSTOMER_RECORDS.name)) == len(customers)


def test_a_customer_who_changes_after_its_movement_was_read_is_read_again(store, serving, sandbox, rates):
    """A run reads movements after the customers: the next one finds the movement known, and the customer not."""
    uuid = quiet(sandbox.company)
    sandbox.company = replace(sandbox.company, activities=moved(sandbox.company, uuid, timedelta(hours=23)))
    runs.refreshed(store, serving.url, NOW + timedelta(hours=24), rates=rates, since=SINCE, full_read="weekly")
    sandbox.company = replace(sandbox.company, customers=renamed(sandbox.company, uuid))
    runs.listed(store, serving.url, NOW + timedelta(hours=25), full_read="weekly")
    assert "customers" in partial(store)
    assert by_key(store, CUSTOMER_RECORDS)[(uuid,)]["company"] == "Renamed"


def test_an_unreadable_row_that_comes_again_is_one_row(store, serving):
    serving.sandbox.faults.set(
        [Fault(kind="patch", path="/subscription_events", count=None, fields={"event_date": "soon"})]
    )
    for hours in (1, 2):
        steps = runs.listed(store, serving.url, NOW + timedelta(hours=hours), full_read="weekly", quarantine_limit=1)
    assert "subscription_events" in partial(store)
    rejected = steps["subscription_events"].facts["rows in quarantine"]
    serving.sandbox.faults.set([])
    assert rejected <= 2 * PAGE_ROWS


@pytest.mark.parametrize("lost", ["data/plans", "data/invoices", "raw/invoices"])
def test_a_file_that_was_lost_is_made_again_by_the_next_full_reading(store, again, lost):
    for file in (store.root / lost).rglob("*.parquet"):
        file.unlink()
    again(1, full_read="always")
    assert runs.contents(store, "plans")
    assert len(runs.rows(store, "invoices"))
    again(2)
    assert "invoices" in partial(store)


def test_many_additions_are_read_whole_at_last(store, again, monkeypatch):
    monkeypatch.setattr(incremental, "MANY", 2)
    again(1)
    again(2)
    assert partial(store) >= {"invoices"}
    again(3)
    assert how(store, "invoices") == "whole: what was new since is longer than the list was"


def test_a_touched_customer_that_is_gone_leaves_nothing(store, again, sandbox):
    uuid = recent(sandbox.company)
    company = sandbox.company
    sandbox.company = replace(company, customers=without(company, "customers", uuid), activities=moved(company, uuid))
    again()
    assert how(store, "customers") == "0 singly"
    assert store.raw_reads("customers")[-1].facts["gone"] == [uuid]
    for name, column in {CUSTOMER_RECORDS.name: "uuid", "source_customers": "uuid", "tags": "customer_uuid"}.items():
        assert uuid not in {row[column] for row in runs.rows(store, name)}
    sandbox.company = replace(company, activities=[*sandbox.company.activities])  # somebody restored it
    again(25)
    assert len(runs.rows(store, CUSTOMER_RECORDS.name)) == len(company.customers)


def test_one_that_is_gone_is_named_no_more_once_it_is_forgotten(store, again, sandbox):
    uuid = recent(sandbox.company)
    company = sandbox.company
    sandbox.company = replace(company, customers=without(company, "customers", uuid), activities=moved(company, uuid))
    again()
    assert any(uuid.encode() in file.read_bytes() for file in store.root.rglob("*.json"))
    erasure.forget(store, uuid)
    erasure.finished(store)
    assert not any(uuid.encode() in file.read_bytes() for file in store.root.rglob("*.json"))


def test_a_new_lead_is_missed_by_its_count(store, again, sandbox):
    company = sandbox.company
    sandbox.company = replace(company, customers=[*company.customers, like(company.customers[-1], LEADS)])
    again()
    known = len(company.customers)
    assert how(store, "customers") == f"whole: the account counts {known + 1:,} rows where {known:,} are known"
    assert (f"cus_lead_{LEADS}",) in by_key(store, CUSTOMER_RECORDS)


def test_many_touched_customers_are_read_in_their_list(store, again, serving):
    serving.sandbox.live(days=20, **QUIET)
    again(6 * 24)
    assert "customers were touched, and the list has" in how(store, "customers")


def test_many_rows_that_are_gone_are_noticed_before_the_week_is_over(store, again, sandbox):
    gone = sorted(sandbox.company.invoices, key=lambda each: each.key)[:100]
    kept = [each for each in sandbox.company.invoices if each not in gone]
    sandbox.company = replace(sandbox.company, invoices=kept)
    steps = again()
    assert how(store, "invoices").startswith("whole: the account counts")
    assert steps["invoices"].facts[GONE]["invoices"] == 100


def test_an_account_whose_currency_changed_is_read_whole_and_it_says_so(store, again, sandbox):
    sandbox.company = replace(sandbox.company, account=structs.replace(sandbox.company.account, currency="USD"))
    again()
    assert how(store, "invoices") == "whole: the account's currency was EUR and is USD: everything is read again"
    assert not partial(store)


def test_after_a_reading_that_was_refused_the_list_is_read_whole(store, again, serving, sandbox):
    serving.sandbox.faults.set([Fault(kind="patch", path="/invoices", count=None, fields={"due_date": "soon"})])
    with pytest.raises(ChecksFailed):
        again(1)
    serving.sandbox.faults.set([])
    again(2)
    assert how(store, "invoices") == "whole: what was read last did not become the data"
    assert refresh.settled(store, "invoices")


def test_lists_read_without_the_customers_are_not_taken_for_all_that_is_new(store, again, serving):
    again(1)
    (earlier,) = {store.raw_reads("invoices")[-1].generation}
    serving.requests.clear()
    # As after materialising the invoices alone: their reading is a later one than the customers'.
    pointer = store.root / "pointers/raw/customers.json"
    pointer.write_bytes(pointer.read_bytes().replace(earlier.encode(), b"20200101T000000.000000Z-aaaa"))
    settled = store.root / "pointers/source_data/customers.json"
    settled.write_bytes(settled.read_bytes().replace(earlier.encode(), b"20200101T000000.000000Z-aaaa"))
    again(2)
    assert how(store, "customers") == "whole: contacts were read since without them"
