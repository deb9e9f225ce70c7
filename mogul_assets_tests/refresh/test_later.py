"""Refreshes after the first: life goes on, the past is corrected, and what cannot be trusted changes nothing."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from mogul_assets.account.reader import AccountInfo
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.window import BEGINNING, Month
from mogul_assets.errors import DataRefused
from mogul_assets.refresh import NOT_COMPARED, ChecksFailed, account_changed
from mogul_assets.sandbox import Fault
from mogul_assets.store.shape import typed_datasets
from mogul_assets.store.store import group_of
from mogul_assets_tests.refresh import runs

QUIET = {"corrections": 0, "cancellations": 0, "merges": 0, "deletions": 0}


def everything(store):
    return {name: runs.contents(store, name) for name in DATASETS}


def asked_for_activities(serving):
    return [asked.query for asked in serving.requests if asked.path == "/activities"]


# -- what is read


def test_only_last_month_and_later_are_read_again(store, refresh_now, serving):
    refresh_now()
    serving.sandbox.live(days=1, **QUIET)
    serving.requests.clear()
    refresh_now()
    starts = {query["start-date"][:10] for query in asked_for_activities(serving) if "start-date" in query}
    assert min(starts) == "2026-01-31"  # a day before February, since nobody says which time zone counts
    assert [str(read.window) for read in store.raw_reads("activities")] == [
        "from the beginning on",
        "from 2026-02-01 on",
    ]


@pytest.mark.parametrize("months", [2, 7])
def test_missed_months_are_read_too(months, store, refresh_now, serving, full_read):
    refresh_now()
    serving.sandbox.live(days=30.5 * months, **QUIET)
    refresh_now()
    assert everything(store) == everything(full_read())


def test_a_month_that_did_not_change_keeps_its_file(store, refresh_now, serving):
    refresh_now()
    before = {file.month: file.path for file in store.table("mrr_movements").files}
    serving.sandbox.live(days=1, **QUIET)
    refresh_now()
    after = {file.month: file.path for file in store.table("mrr_movements").files}
    old = [month for month in before if month < Month(2026, 2)]
    assert old
    assert [after[month] for month in old] == [before[month] for month in old]


def test_an_undisturbed_account_gives_the_same_bytes(store, refresh_now):
    refresh_now()
    before = everything(store)
    steps = refresh_now()
    assert everything(store) == before
    assert steps["mrr_movements"].changed == frozenset()


def test_a_movement_that_was_called_off_is_gone(store, refresh_now, serving):
    serving.sandbox.live(days=1, **{**QUIET, "cancellations": 3})
    refresh_now()
    now = runs.moment_of(serving.sandbox.company)
    ahead = {row["uuid"] for row in runs.rows(store, "mrr_movements") if row["date"] > now}
    assert ahead
    company = serving.sandbox.company
    serving.sandbox.company = replace(
        company, activities=[each for each in company.activities if each.document.uuid not in ahead]
    )
    refresh_now()
    assert not ahead & {row["uuid"] for row in runs.rows(store, "mrr_movements")}


# -- the past is corrected


def test_an_edit_in_the_past_is_found_and_read_again_in_the_same_refresh(store, refresh_now, serving, full_read):
    refresh_now()
    serving.sandbox.live(days=1, **{**QUIET, "corrections": 1})
    serving.requests.clear()
    steps = refresh_now()
    movements = steps["mrr_movements"]
    restated = [Month.parse(each) for each in movements.facts["restated months"].split(", ")]
    assert restated[0] < Month(2026, 2)
    assert movements.changed & set(restated)
    assert movements.differences == []
    assert any(query.get("start-date", "")[:7] < "2026-01" for query in asked_for_activities(serving))
    assert everything(store) == everything(full_read())


def test_a_merged_customer_moves_its_whole_history(store, refresh_now, serving, full_read):
    refresh_now()
    listed = {row["uuid"] for row in runs.rows(store, "customers")}
    serving.sandbox.live(days=1, **{**QUIET, "merges": 3})
    refresh_now()
    merged = listed - {row["uuid"] for row in runs.rows(store, "customers")}
    assert len(merged) == 3
    assert not merged & {row["customer_uuid"] for row in runs.rows(store, "mrr_movements")}
    records = runs.rows(store, "source_customers")
    assert len({record["customer_id"] for record in records}) < len(records)
    assert everything(store) == everything(full_read())


def test_a_deleted_customer_leaves_nothing(store, refresh_now, serving, full_read):
    refresh_now()
    listed = {row["uuid"] for row in runs.rows(store, "customers")}
    serving.sandbox.live(days=1, **{**QUIET, "deletions": 4})
    refresh_now()
    gone = listed - {row["uuid"] for row in runs.rows(store, "customers")}
    assert len(gone) == 4
    for name in ("mrr_movements", "invoices", "source_customers", "tags", "custom_attributes"):
        column = "uuid" if name == "source_customers" else "customer_uuid"
        assert not gone & {row[column] for row in runs.rows(store, name)}
    assert everything(store) == everything(full_read())


def test_a_reissued_movement_keeps_its_key(store, refresh_now, serving):
    refresh_now()
    before = {row["movement_key"]: row for row in runs.rows(store, "mrr_movements")}
    serving.sandbox.reissue()
    refresh_now()
    after = {row["movement_key"]: row for row in runs.rows(store, "mrr_movements")}
    assert before.keys() == after.keys()
    recent = [key for key, row in before.items() if row["date"] >= datetime(2026, 2, 1, tzinfo=UTC)]
    assert recent
    assert not {before[key]["uuid"] for key in recent} & {row["uuid"] for row in after.values()}


@pytest.mark.parametrize("setting", [{"currency": "USD"}, {"time_zone": "Asia/Tokyo"}], ids=str)
def test_an_account_that_changed_is_read_from_the_beginning(setting, store, refresh_now, sandbox, full_read):
    refresh_now()
    account = structs.replace(sandbox.company.account, **setting)
    sandbox.company = replace(sandbox.company, account=account)
    info = AccountInfo(account.name, account.currency, account.time_zone)
    said = (
        r"the account's (currency|time zone) was (EUR|Europe/Berlin) and is (USD|Asia/Tokyo): everything is read again"
    )
    assert re.fullmatch(said, account_changed(store, info))
    refresh_now()
    assert account_changed(store, info) is None
    assert [read.window.start for read in store.raw_reads("activities")] == [BEGINNING]
    assert {row["base_currency"] for row in runs.rows(store, "currency_rates")} == {info.currency}
    assert everything(store) == everything(full_read())


def test_an_account_in_a_time_zone_that_nobody_here_knows_is_read_and_not_compared(store, refresh_now, sandbox):
    account = structs.replace(sandbox.company.account, time_zone="Mars/Olympus")
    sandbox.company = replace(sandbox.company, account=account)
    steps = refresh_now()
    for name in ("mrr_movements", "customers"):
        assert re.search("time zone 'Mars/Olympus' is not known .* → update", steps[name].facts[NOT_COMPARED]), name


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00"])
def test_a_movement_at_the_end_of_time_lands(moment, store, refresh_now, sandbox):
    first = structs.replace(sandbox.company.activities[0].document, date=moment, uuid="at-the-end-of-time")
    entry = structs.replace(sandbox.company.activities[0], key=(moment, first.uuid), document=first)
    sandbox.company = replace(sandbox.company, activities=[*sandbox.company.activities, entry])
    refresh_now()
    refresh_now()
    rows = {row["uuid"]: row["date"] for row in runs.rows(store, "mrr_movements")}
    assert rows[first.uuid] == datetime.fromisoformat(moment)
    assert len(rows) == len(sandbox.company.activities)


# -- what cannot be trusted


def test_rows_that_cannot_be_read_are_kept_aside_below_the_limit(store, refresh_now, serving):
    serving.sandbox.company.plans[3].document.interval_count = "some"
    try:
        steps = refresh_now(quarantine_limit=0.05)
    finally:
        serving.sandbox.company.plans[3].document.interval_count = 1
    assert len(runs.rows(store, "plans")) == len(serving.sandbox.company.plans) - 1
    assert steps["plans"].facts["rows in quarantine"] == 1
    (finding,) = (finding for finding in steps["plans"].findings["plans"] if finding.name == "quarantine")
    assert (finding.count, finding.total, finding.blocking) == (1, len(serving.sandbox.company.plans), False)


@pytest.mark.parametrize("moment", ["soon", "0001-01-01T00:00:00+01:00"])
@pytest.mark.parametrize("place", ["invoices.due_date", "customers.lead_created_at"])
def test_what_belongs_to_an_entry_that_cannot_be_read_is_kept(place, moment, store, refresh_now, sandbox):
    refresh_now()
    read, field = place.split(".")
    (group,) = {group_of(dataset) for dataset in typed_datasets(read)}
    (entries,) = (dataset.name for dataset in typed_datasets(read) if dataset.each is None)
    # A customer's records in its sources take columns from it, and cannot be read either.
    parts = [each.name for each in typed_datasets(read) if each.each and each.name != "source_customers"]
    whole = {name: runs.rows(store, name) for name in (entries, *parts)}
    having = set.intersection(*({row[owner(name)] for row in whole[name]} for name in parts))
    listed = getattr(sandbox.company, read)
    (at, *_) = (at for at, each in enumerate(listed) if each.document.uuid in having)
    one = listed[at].document
    unreadable = structs.replace(listed[at], document=structs.replace(one, **{field: moment}))
    sandbox.company = replace(sandbox.company, **{read: [*listed[:at], unreadable, *listed[at + 1 :]]})

    refresh_now(quarantine_limit=0.2)
    assert store.pointer(group).facts["rows in quarantine"] >= 1
    assert runs.rows(store, entries) == [row for row in whole[entries] if row["uuid"] != one.uuid]
    assert {name: runs.rows(store, name) for name in parts} == {name: whole[name] for name in parts}


def owner(dataset):
    """The column that names the entry which a row is a part of."""
    return next(reference.column for reference in DATASETS[dataset].references if reference.within_read)


def test_too_many_unreadable_rows_leave_the_old_data(store, refresh_now, serving):
    refresh_now()
    before = everything(store)
    serving.sandbox.live(days=1)
    serving.sandbox.faults.set([Fault(kind="patch", path="/invoices", count=None, fields={"due_date": "soon"})])
    with pytest.raises(ChecksFailed, match=r"invoices: No more than 1\.0% of the rows are unreadable") as refused:
        refresh_now()
    assert "customer" not in str(refused.value)
    assert f"{store.root}/quarantine/invoices/" in refused.value.remedy
    assert "transactions" not in refused.value.remedy
    assert {name: runs.contents(store, name) for name in ("invoices", "invoice_line_items", "transactions")} == {
        name: before[name] for name in ("invoices", "invoice_line_items", "transactions")
    }
    serving.sandbox.faults.set([])
    refresh_now()
    assert everything(store) != before


def test_rows_without_their_key_leave_the_old_data(store, refresh_now, serving):
    refresh_now()
    before = store.pointer(group_of(DATASETS["contacts"]))
    serving.sandbox.faults.set([Fault(kind="patch", path="/contacts", count=None, fields={"uuid": ""})])
    with pytest.raises(DataRefused, match="contacts"):
        refresh_now()
    assert store.pointer(group_of(DATASETS["contacts"])) == before


def test_a_reading_that_was_refused_is_read_again_whatever_the_month(store, refresh_now, serving, full_read):
    refresh_now()
    serving.sandbox.live(days=1, **QUIET)
    serving.sandbox.faults.set([Fault(kind="patch", path="/activities", count=None, fields={"activity-mrr": "much"})])
    with pytest.raises(ChecksFailed):
        refresh_now()
    serving.sandbox.faults.set([])
    serving.sandbox.live(days=31, **QUIET)
    refresh_now()
    assert everything(store) == everything(full_read())


def test_a_field_that_nobody_knows_is_drift_and_fails_nothing(store, refresh_now, serving):
    serving.sandbox.faults.set([Fault(kind="patch", path="/plans", count=None, fields={"colour": "green"})])
    steps = refresh_now()
    assert steps["plans"].facts["fields not known"] == {"colour": len(serving.sandbox.company.plans)}


def test_an_older_refresh_moves_nothing(store, refresh_now, serving, rates):
    refresh_now()
    before = everything(store)
    serving.sandbox.live(days=3)
    runs.refreshed(store, serving.url, runs.moment_of(serving.sandbox.company) - timedelta(days=30), rates=rates)
    assert everything(store) == before
