"""What a key can see, told before anything is read."""

from collections import Counter
from dataclasses import replace
from datetime import datetime

import pytest

from mogul_assets.account.check import Level, check_account
from mogul_assets.account.reader import Account
from mogul_assets.sandbox import NO_LIMITS, Fault, Sandbox, generate, serve
from mogul_assets_tests.account.conftest import NOW, SINCE
from mogul_assets_tests.account.peers import EAGER, connected


def lines(report):
    return {finding.subject: finding for finding in report.findings}


def test_a_good_account_is_told_with_its_counts(account, company, serving):
    report = check_account(account)
    told = lines(report)
    assert report.ok
    assert company.account.currency in told["account"].text
    for name in ("customers", "plans", "invoices", "subscription_events"):
        assert told[name].text == f"{len(getattr(company, name)):,} rows"
    assert told["contacts"].text == "some rows"
    newest = max(company.movements, key=lambda movement: movement[0])[0]
    told_newest = datetime.fromisoformat(told["activities"].text.removeprefix("the newest is of "))
    assert told_newest.timestamp() == newest
    assert {request.method for request in serving.requests} == {"GET"}


def test_a_source_whose_invoices_cannot_be_read_is_named(account, company):
    told = lines(check_account(account))
    invoices = Counter(entry.source for entry in company.invoices)
    for source in company.data_sources:
        finding = told[f"source {source.name}"]
        assert finding.text.startswith(f"{source.system}, {source.status}: ")
        assert finding.text.endswith(f" {invoices[source.uuid]:,} invoices")
    silent = told["source Stripe"]
    assert (silent.level, silent.text.split(", ")[-1]) == (Level.WARNING, "0 invoices")
    assert "cannot be read by the API" in silent.remedy


@pytest.mark.parametrize(("semantics", "says"), [("skip_boundary", "skips a row at every page"), ("exact", "skips no")])
def test_whether_the_cursor_of_activities_skips_is_told(company, semantics, says):
    with (
        serve(Sandbox(company, limits=NO_LIMITS, cursor_semantics=semantics)) as serving,
        connected(serving.url, "sandbox") as client,
    ):
        told = lines(check_account(Account(client, since=SINCE)))
    assert told["activities cursor"].text.startswith(says)


def test_an_empty_account_is_no_problem_and_says_what_is_missing():
    company = generate(now=NOW, customers=50)
    lists = ("data_sources", "customers", "contacts", "plans", "invoices", "subscription_events", "activities")
    company = replace(company, **{key: [] for key in lists})
    with (
        serve(Sandbox(company, limits=NO_LIMITS)) as serving,
        connected(serving.url, "sandbox") as client,
    ):
        report = check_account(Account(client, since=SINCE))
    assert report.ok
    assert lines(report)["data sources"].level is lines(report)["activities"].level is Level.WARNING
    assert lines(report)["customers"].text == "0 rows"


def test_a_wrong_key_is_the_only_line(serving):
    with connected(serving.url, "wrong") as client:
        report = check_account(Account(client, since=SINCE))
    assert not report.ok
    assert [finding.level for finding in report.findings] == [Level.PROBLEM]
    assert "API key is wrong" in report.findings[0].remedy
    assert len(serving.requests) == 1


def test_one_list_that_cannot_be_read_does_not_hide_the_others(serving):
    serving.sandbox.faults.set([Fault(kind="server_error", path="/contacts", count=None)])
    with connected(serving.url, "sandbox", replace(EAGER, attempts=2)) as client:
        report = check_account(Account(client, since=SINCE))
    assert not report.ok
    assert [subject for subject, finding in lines(report).items() if finding.level is Level.PROBLEM] == ["contacts"]
    assert {"plans", "invoices", "activities"} <= lines(report).keys()
