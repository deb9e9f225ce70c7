from base64 import b64encode

import pytest

from mogul_assets.sandbox import NO_LIMITS, Sandbox, serve
from mogul_assets_tests.sandbox.conftest import Reader

ROOTS = {
    "/customers": "entries",
    "/contacts": "entries",
    "/plans": "plans",
    "/plan_groups": "plan_groups",
    "/invoices": "invoices",
    "/subscription_events": "subscription_events",
}


@pytest.mark.parametrize(("path", "root"), ROOTS.items())
def test_pages_of_any_size_hold_the_same_rows_in_the_same_order(account, path, root):
    rows = account.rows(path, root)
    assert rows
    assert account.rows(path, root, per_page=7) == rows


def test_a_page_holds_200_rows_unless_fewer_are_asked_for(account):
    lengths = [len(account.json("/activities", per_page=wish)["entries"]) for wish in (3, 200, 5000, "nonsense")]
    assert lengths == [3, 200, 200, 200]


@pytest.mark.parametrize(("path", "root"), ROOTS.items())
def test_the_last_page_has_a_cursor_and_what_follows_it_is_empty_and_has_none(account, path, root):
    last = list(account.pages(path))[-1]
    assert last["cursor"]
    after = account.json(path, cursor=last["cursor"])
    assert (after[root], after["cursor"], after["has_more"]) == ([], None, False)


def test_customers_come_by_their_since_and_leads_last(account):
    customers = account.rows("/customers")
    since = [(each["customer-since"] is None, each["customer-since"] or "", each["id"]) for each in customers]
    assert since == sorted(since)


@pytest.mark.parametrize("path", ["/invoices", "/subscription_events"])
def test_the_newest_come_first(account, path):
    field = "date" if path == "/invoices" else "created_at"
    dates = [each[field] for each in account.rows(path, ROOTS[path])]
    assert dates == sorted(dates, reverse=True)


def test_a_customers_own_invoices_come_oldest_first(account):
    customer = account.rows("/invoices", "invoices")[0]["customer_uuid"]
    dates = [each["date"] for each in account.rows(f"/import/customers/{customer}/invoices", "invoices")]
    assert dates == sorted(dates)


def test_a_cursor_made_up_from_a_date_starts_there(account):
    cursor = b64encode(b"2025-01-01T00:00:00.000000000Z&").decode()
    rows = account.json("/invoices", cursor=cursor)["invoices"]
    expected = [each for each in account.rows("/invoices", "invoices") if each["date"] < "2025"]
    assert rows == expected[:200]


def test_following_the_cursor_of_activities_loses_a_row_at_each_pages_end(account):
    everything = account.activities()
    followed = account.rows("/activities", per_page=50)
    lost = [each for place, each in enumerate(everything) if place % 51 == 50]
    assert [each for each in everything if each not in followed] == lost


def test_activities_anchored_on_the_last_row_received_are_complete(account, company):
    rows = account.activities(per_page=50)
    assert len({row["uuid"] for row in rows}) == len(rows) == len(company.activities)
    assert [row["date"] for row in rows] == sorted(row["date"] for row in rows)


def test_with_exact_cursors_nothing_is_lost(company):
    with serve(Sandbox(company, limits=NO_LIMITS, cursor_semantics="exact")) as serving:
        assert len(Reader(serving.url).rows("/activities", per_page=50)) == len(company.activities)


def test_activities_are_cut_by_date_type_and_order(account):
    everything = account.activities()
    start, end = "2025-03-01T00:00:00Z", "2025-06-01T00:00:00+02:00"
    spring = [each for each in everything if "2025-03-01" <= each["date"] <= "2025-05-31T22:00:00+00:00"]
    assert account.activities(start__date=start, end__date=end, per_page=20) == spring
    churned = account.activities(start__date="2025-03-01", type="churn")
    assert churned == [each for each in everything if each["date"] >= "2025-03-01" and each["type"] == "churn"]
    assert account.activities(order="-date", per_page=60) == everything[::-1]


def test_an_end_without_a_start_is_refused(account):
    answer = account.get("/activities", end__date="2025-03-01")
    assert (answer.status_code, answer.json()["param"]) == (400, "start-date")


def test_an_anchor_that_is_gone_is_not_found(account):
    assert account.get("/activities", start__after="11111111-1111-4111-a111-111111111111").status_code == 404


def test_a_cursor_of_another_list_is_refused(account):
    assert account.get("/customers", cursor="nonsense").status_code == 400


def test_customers_of_each_status_are_all_customers_once(account):
    statuses = ("Active", "Past_Due", "Cancelled", "New_Lead", "Working_Lead", "Qualified_Lead", "Unqualified_Lead")
    shards = [each["uuid"] for status in statuses for each in account.rows("/customers", status=status)]
    assert sorted(shards) == sorted(each["uuid"] for each in account.rows("/customers"))
    assert account.rows("/customers", status="Past Due") == []


def test_an_external_id_is_found_in_all_sources_and_merged_records(account):
    merged = next(each for each in account.rows("/customers") if len(each["external_ids"]) > 1)
    assert account.rows("/customers", external_id=merged["external_ids"][-1]) == [merged]


def test_invoices_of_each_source_are_all_invoices_once(account):
    sources = [each["uuid"] for each in account.json("/data_sources")["data_sources"]]
    shards = [each["uuid"] for uuid in sources for each in account.rows("/invoices", "invoices", data_source_uuid=uuid)]
    assert sorted(shards) == sorted(each["uuid"] for each in account.rows("/invoices", "invoices"))


def test_disabled_and_invalid_invoices_come_only_when_asked_for(account):
    usual = account.rows("/invoices", "invoices")
    assert not any(each["disabled"] or each["errors"] for each in usual)
    invalid = account.rows("/invoices", "invoices", validation_type="invalid")
    assert invalid
    assert all(each["errors"] for each in invalid)
    everything = account.rows("/invoices", "invoices", validation_type="all", with_disabled="true")
    disabled = [each for each in everything if each["disabled"]]
    assert disabled
    assert len(everything) == len(usual) + len(invalid) + len(disabled)


def test_edit_histories_come_only_when_asked_for(account):
    usual = account.json("/invoices")["invoices"][0]
    asked = account.json("/invoices", include_edit_histories="true")["invoices"][0]
    for with_history, without in [(asked, usual), (asked["line_items"][0], usual["line_items"][0])]:
        assert set(with_history) - set(without) == {"edit_history_summary"}


def test_a_filter_that_the_list_does_not_know_is_ignored_without_a_word(account):
    unfiltered = account.json("/subscription_events")
    assert account.json("/subscription_events", customer_uuid="cus_nobody", nonsense="1") == unfiltered


def test_events_of_each_type_are_all_events_once(account):
    everything = account.rows("/subscription_events", "subscription_events", with_disabled="true")
    kinds = {each["event_type"] for each in everything}
    shards = [
        each["id"]
        for name in kinds
        for each in account.rows("/subscription_events", "subscription_events", event_type=name, with_disabled="true")
    ]
    assert sorted(shards) == sorted(each["id"] for each in everything)
    assert len(account.rows("/subscription_events", "subscription_events")) < len(everything)


def test_the_cursor_of_a_customers_subscriptions_never_ends(account, company):
    uuid = next(uuid for uuid, numbers in company.members.items() if company.subscriptions(uuid))
    first = account.json(f"/customers/{uuid}/subscriptions", per_page=1)
    assert len(first["entries"]) == 1
    page, seen = first, 1
    while page["entries"]:
        page = account.json(f"/customers/{uuid}/subscriptions", per_page=1, cursor=page["cursor"])
        seen += len(page["entries"])
    assert seen == len(company.subscriptions(uuid))
    assert page["cursor"]


def test_a_search_finds_by_email_and_a_miss_is_a_404(account):
    customer = next(each for each in account.rows("/customers") if each["email"])
    found = account.json("/customers/search", email=customer["email"])
    assert found["entries"] == [customer]
    assert found["total_pages"] is None
    assert account.get("/customers/search", email="nobody@example.com").status_code == 404


def test_a_first_page_says_how_many_pages_there_are(account):
    assert account.json("/customers", per_page=1)["total_pages"] == len(account.rows("/customers"))


@pytest.mark.parametrize(
    ("shape", "there", "absent"),
    [
        (2023, {"owner"}, {"website_url", "lead_status", "last_seen"}),
        (2025, {"owner", "website_url"}, {"lead_status", "last_seen"}),
        (2026, {"owner", "website_url", "lead_status", "last_seen"}, set()),
    ],
)
def test_customers_look_as_they_did_in_the_year_that_is_switched_to(company, shape, there, absent):
    with serve(Sandbox(company, limits=NO_LIMITS, shape=shape)) as serving:
        customer = Reader(serving.url).json("/customers", per_page=1)["entries"][0]
    assert there <= set(customer)
    assert not absent & set(customer)
    assert ("clearbit" in customer["attributes"]) == (shape == 2023)
