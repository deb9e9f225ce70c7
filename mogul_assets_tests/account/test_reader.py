"""Whole lists: nothing lost, nothing twice under two names, and anything unusual said."""

import itertools
import threading
from collections import Counter
from dataclasses import replace

import msgspec
import pytest

from mogul_assets.account.reader import Account
from mogul_assets.catalog.metrics import MonthlyMrr
from mogul_assets.catalog.reads import READS
from mogul_assets.catalog.window import BEGINNING, Month, Window
from mogul_assets.errors import AccountInconsistent, AccountRefused
from mogul_assets.sandbox import NO_LIMITS, Fault, Limits, Sandbox, generate, serve
from mogul_assets_tests.account.conftest import NOW, SINCE
from mogul_assets_tests.account.peers import Basket, connected

KEYS = {"customers": "uuid", "contacts": "uuid", "plans": "uuid", "invoices": "uuid", "subscription_events": "id"}
EVERYTHING = Window(BEGINNING, None)


def read(account, name, **how):
    basket = Basket()
    return basket, account.read(name, basket, **how)


@pytest.mark.parametrize(("name", "key"), KEYS.items())
def test_reading_in_parts_gives_the_same_rows_as_reading_in_one_chain(account, company, name, key):
    parts, summary = read(account, name)
    chain, serial = read(account, name, serial=True)
    assert parts.by(key) == chain.by(key)
    assert len(parts.by(key)) == len(getattr(company, name)) == summary.rows
    assert summary.rows == len(parts.rows())
    assert summary.pages == len(parts.pages)
    assert (summary.warnings, serial.warnings) == ((), ())
    assert serial.shards == 1


@pytest.mark.parametrize(("name", "parts"), [("customers", 7), ("invoices", 2), ("subscription_events", 6)])
def test_a_long_list_is_read_in_parts_and_every_page_says_which_part_it_is_of(account, name, parts):
    basket, summary = read(account, name)
    assert summary.shards == parts == len({tuple(page.shard.items()) for page in basket.pages})
    assert summary.expected == summary.rows


def test_a_customer_is_in_the_part_of_its_status(account):
    basket, _ = read(account, "customers")
    for page in basket.pages:
        statuses = {row["status"] for row in msgspec.json.decode(page.body)["entries"]}
        assert statuses == {page.shard["status"].replace("_", " ")}


def test_an_invoice_is_in_the_part_of_its_data_source(account, company):
    basket, _ = read(account, "invoices")
    sources = {entry.document.uuid: entry for entry in company.invoices}
    assert {page.shard["data_source_uuid"] for page in basket.pages} < {source.uuid for source in company.data_sources}
    assert sources.keys() == basket.by("uuid").keys()


def test_disabled_and_invalid_records_are_asked_for(account, serving):
    read(account, "invoices")
    asked = [request.query for request in serving.requests if request.path == "/invoices"]
    assert asked
    for query in asked:
        assert query["validation_type"] == "all"
        assert query["with_disabled"] == query["include_edit_histories"] == "true"


def test_every_activity_comes_although_the_cursor_skips_one_a_page(account, company):
    everything = {entry.document.uuid for entry in company.activities}
    cut, summary = read(account, "activities", window=EVERYTHING)
    chain, serial = read(account, "activities", window=EVERYTHING, serial=True)
    assert cut.by("uuid").keys() == chain.by("uuid").keys() == everything
    assert serial.rows == len(everything)
    assert summary.shards > 1 == serial.shards


def test_movements_dated_ahead_come_with_an_open_window_only(account, company):
    ahead = {movement.uuid for at, movement in company.movements if at > NOW.timestamp() + 3 * 86400}
    assert ahead
    month = Month.of(NOW)
    opened, _ = read(account, "activities", window=Window.months(month, None))
    closed, _ = read(account, "activities", window=Window.months(month.plus(-1), month.plus(-1)))
    assert ahead <= opened.by("uuid").keys()
    assert not ahead & closed.by("uuid").keys()


@pytest.mark.parametrize("serial", [False, True])
def test_the_activities_of_a_month_are_all_there(account, company, serial):
    window = Window.months(Month(2026, 3), Month(2026, 5))
    wanted = {
        movement.uuid for at, movement in company.movements if window.start.timestamp() <= at < window.end.timestamp()
    }
    basket, _ = read(account, "activities", window=window, serial=serial)
    assert wanted
    assert wanted <= basket.by("uuid").keys()
    assert len(basket.by("uuid")) < len(company.activities)


def test_the_first_month_takes_everything_older(serving, company):
    first = Month(2025, 1)
    with connected(serving.url, "sandbox") as client:
        basket, _ = read(Account(client, since=first), "activities", window=Window(first.start, None))
    assert len(basket.by("uuid")) == len(company.activities)


def without_ids(rows):
    return Counter(msgspec.json.encode({k: v for k, v in row.items() if k != "uuid"}) for row in rows)


@pytest.mark.parametrize("serial", [False, True])
@pytest.mark.parametrize("after", [1, 2, 5, 8])
def test_activities_that_are_reissued_while_they_are_read_come_once_each(account, serving, company, serial, after):
    before, _ = read(account, "activities", window=EVERYTHING)
    serving.sandbox.faults.set([Fault(kind="reissue", path="/activities", after=after, rows=0)])
    basket, _ = read(account, "activities", window=EVERYTHING, serial=serial)
    assert without_ids(basket.by("uuid").values()) == without_ids(before.by("uuid").values())


def test_activities_that_never_hold_still_end_in_an_error(account, serving):
    serving.sandbox.faults.set([Fault(kind="reissue", path="/activities", count=None, rows=0)])
    with pytest.raises(AccountInconsistent, match=r"/activities changed while it was read, 4 times"):
        read(account, "activities", window=EVERYTHING, serial=True)


@pytest.mark.parametrize("kind", ["rate_limit", "request_failed", "too_many_connections", "unknown_error", "reset"])
def test_faults_on_the_way_cost_retries_and_no_rows(account, serving, company, kind):
    serving.sandbox.faults.set([Fault(kind=kind, count=None, probability=0.2, retry_after=0)])
    for name, key in KEYS.items():
        basket, summary = read(account, name)
        assert len(basket.by(key)) == summary.rows == len(getattr(company, name))
    basket, summary = read(account, "activities", window=EVERYTHING)
    assert len(basket.by("uuid")) == len(company.activities)
    assert summary.retries > 0
    assert summary.requests > summary.retries


def test_a_status_that_rows_have_and_the_filter_did_not_ask_for_is_read_in_one_chain(account, serving, company):
    serving.sandbox.faults.set([Fault(kind="patch", path="/customers", count=None, fields={"status": "Frozen"})])
    basket, summary = read(account, "customers")
    assert len(basket.by("uuid")) == len(company.customers)
    assert "did not keep to the filter status" in summary.warnings[0]
    assert basket.pages[-1].shard == {}


def test_new_fields_disturb_nothing(account, serving):
    serving.sandbox.faults.set([Fault(kind="patch", count=None, fields={"brand_new": {"deep": [1]}})])
    for name in KEYS:
        basket, summary = read(account, name)
        assert all(row["brand_new"] == {"deep": [1]} for row in basket.rows())
        assert summary.warnings == ()


def test_a_list_that_grows_while_it_is_read_is_said_and_loses_nothing(account, serving, company):
    uuids = {entry.document.uuid for entry in company.invoices}
    serving.sandbox.faults.set([Fault(kind="life", path="/invoices", after=5, count=3)])
    basket, summary = read(account, "invoices")
    kept = uuids & {entry.document.uuid for entry in serving.sandbox.company.invoices}
    assert kept <= basket.by("uuid").keys()
    assert any("changed while it was read" in warning for warning in summary.warnings)


@pytest.mark.parametrize("name", ["account", "data_sources"])
def test_what_is_one_request_lands_as_one_page(account, serving, company, name):
    basket, summary = read(account, name)
    assert (summary.pages, summary.requests, len(serving.requests)) == (1, 1, 1)
    assert summary.rows == (len(company.data_sources) if name == "data_sources" else 1)
    assert basket.pages[0].body == serving.sandbox.api.answer("GET", f"/{name}", serving.requests[0].query).body


@pytest.mark.parametrize("name", [*KEYS, "activities", "data_sources"])
def test_an_empty_list_lands_as_one_empty_page(name):
    company = replace(generate(now=NOW, customers=50), **{name: []})
    with serve(Sandbox(company, limits=NO_LIMITS)) as serving, connected(serving.url, "sandbox") as client:
        window = EVERYTHING if name == "activities" else None
        basket, summary = read(Account(client, since=SINCE), name, window=window)
    assert (summary.pages, summary.rows, summary.warnings) == (1, 0, ())
    assert msgspec.json.decode(basket.pages[0].body)[READS[name].root] == []


def test_an_account_with_one_customer_and_nothing_else_is_read():
    company = generate(now=NOW, customers=50)
    nothing = ("contacts", "plans", "invoices", "subscription_events", "activities", "data_sources")
    company = replace(company, customers=company.customers[:1], **{key: [] for key in nothing})
    with serve(Sandbox(company, limits=NO_LIMITS)) as serving, connected(serving.url, "sandbox") as client:
        account = Account(client, since=SINCE)
        rows = [read(account, name)[1].rows for name in KEYS]
    assert rows == [1, 0, 0, 0, 0]


def test_pages_come_in_their_order_from_the_calling_thread_and_progress_is_told(account):
    told = []
    basket, summary = read(account, "customers", progress=lambda done, of: told.append((done, of)))
    assert [page.sequence for page in basket.pages] == list(range(summary.pages))
    assert basket.threads == {threading.get_ident()}
    assert told[-1] == (400, 400)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_sink_that_fails_ends_the_read(account, serving):
    class Full:
        def put(self, page):
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        account.read("invoices", Full())
    assert len(serving.requests) < 20
    assert read(account, "plans")[1].rows > 0


def test_several_lists_at_once_keep_the_accounts_limits_together(company):
    """The sandbox counts like ChartMogul: 40 requests a second, 20 connections."""
    with serve(Sandbox(company, limits=Limits())) as serving:
        with connected(serving.url, "sandbox", limits=None) as client:
            account = Account(client, since=SINCE)
            threads = [threading.Thread(target=read, args=(account, name)) for name in KEYS]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert {request.status for request in serving.requests} == {200}
        assert len(serving.requests) > 40


@pytest.mark.parametrize("name", [*KEYS, "account", "data_sources"])
def test_a_wrong_key_ends_a_read_at_once(serving, name):
    with (
        connected(serving.url, "wrong") as client,
        pytest.raises(AccountRefused, match="API key is wrong"),
    ):
        read(Account(client, since=SINCE), name)
    assert len(serving.requests) == 1


def test_what_is_no_read_is_said(account):
    with pytest.raises(ValueError, match="there is no read 'movements'; there are account, data_sources, customers"):
        read(account, "movements")
    with pytest.raises(ValueError, match="'activities' is read by a window"):
        read(account, "activities")
    with pytest.raises(ValueError, match="'plans' is read whole"):
        read(account, "plans", window=EVERYTHING)


def test_the_account_tells_its_name_currency_and_time_zone(account, company):
    info = account.info()
    assert (info.name, info.currency, info.time_zone) == (
        company.account.name,
        company.account.currency,
        company.account.time_zone,
    )


def test_the_monthly_figures_are_the_accounts_own_and_one_request(account, serving):
    first, last = Month(2025, 1), Month(2026, 9)
    figures = account.monthly_mrr(first, last)
    assert [(figure.month.year, figure.month.month) for figure in figures] == [
        (month.year, month.number) for month in first.until(last)
    ]
    assert len(serving.requests) == 1
    for before, after in itertools.pairwise(figures):
        moved = after.new_business + after.expansion + after.contraction + after.churn + after.reactivation
        assert abs(after.mrr - before.mrr - moved) <= 1
    assert isinstance(figures[0], MonthlyMrr)
    assert any(figure.churn < 0 for figure in figures)


def test_neither_account_nor_client_show_the_key(serving):
    with connected(serving.url, "sandbox") as client:
        account = Account(client, since=SINCE)
        assert "'sandbox'" not in f"{account!r}{client!r}{vars(account)}"
