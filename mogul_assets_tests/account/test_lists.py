"""Lists that do not behave as the sandbox's do: each is read to the end by a safer way, or the read says why not."""

import time
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
import pytest
from aiohttp import web

from mogul_assets.account.chains import NeedsWhole
from mogul_assets.account.landing import PAGES_AHEAD
from mogul_assets.account.lists import LISTS, PAGE_ROWS, digest
from mogul_assets.account.reader import Account
from mogul_assets.catalog.window import BEGINNING, Month, Window
from mogul_assets.errors import AccountInconsistent, AccountRefused, AccountUnavailable
from mogul_assets_tests.account.peers import EAGER, Basket, answering, connected

SINCE = Month(2010, 1)
SOURCES = ("ds_a", "ds_b", "ds_c")


class Shelf:
    """A list as ChartMogul serves one: 200 rows a page, filters, and a cursor that says where to go on."""

    root = "entries"
    key = "uuid"

    def __init__(self, rows):
        self.rows = rows

    async def __call__(self, request):
        if request.path == "/v1/data_sources":
            return web.json_response({"data_sources": [{"uuid": source} for source in SOURCES]})
        return web.json_response(self.page(self.filtered(request.query), request.query))

    def filtered(self, query):
        wanted = {name: query[name].replace("_", " ") for name in ("status", "source") if name in query}
        wanted |= {"source": query["data_source_uuid"]} if "data_source_uuid" in query else {}
        return [row for row in self.rows if all(row.get(name) == value for name, value in wanted.items())]

    def page(self, rows, query):
        at, count = int(query.get("cursor", 0)), int(query["per_page"])
        page = {self.root: rows[at : at + count], "has_more": at + count < len(rows), "cursor": str(at + count)}
        return page if "cursor" in query else page | {"total_pages": -(-len(rows) // count)}


def customers(count, status="Active"):
    return [{"uuid": f"cus_{status}_{n}", "status": status} for n in range(count)]


class InvoiceShelf(Shelf):
    root = "invoices"


def invoices(count, source):
    """Recorded invoices do not say which source they are of."""
    return [{"uuid": f"inv_{source}_{n}", "source": source} for n in range(count)]


def read(shelf, name, **how):
    basket = Basket()
    with answering(shelf) as peer, connected(peer.url) as client:
        summary = Account(client, since=SINCE).read(name, basket, **how)
    return basket, summary


def test_rows_of_a_status_that_nobody_knows_are_read_too():
    shelf = Shelf(customers(300) + customers(30, "Frozen"))
    basket, summary = read(shelf, "customers")
    assert len(basket.by("uuid")) == 330
    assert "its parts by status have 300 of its 330 rows" in summary.warnings[0]


def test_a_filter_that_is_ignored_is_noticed_before_anything_is_labelled_by_it():
    class Ignoring(InvoiceShelf):
        def filtered(self, query):
            return self.rows

    basket, summary = read(Ignoring(invoices(150, "ds_a") + invoices(150, "ds_b")), "invoices")
    assert len(basket.by("uuid")) == 300
    assert {tuple(page.shard) for page in basket.pages} == {()}
    assert "have 900 rows where the list has 300" in summary.warnings[0]


def test_invoices_of_a_source_that_is_gone_are_read_and_the_others_keep_theirs():
    basket, summary = read(InvoiceShelf(invoices(250, "ds_a") + invoices(40, "ds_gone")), "invoices")
    assert len(basket.by("uuid")) == 290
    assert "have 250 of its 290 rows" in summary.warnings[0]
    last = {row["uuid"]: page.shard for page in basket.pages for row in msgspec.json.decode(page.body)["invoices"]}
    assert last["inv_ds_a_7"] == {"data_source_uuid": "ds_a"}
    assert last["inv_ds_gone_7"] == {}


def test_a_list_that_no_longer_says_how_long_it_is_is_read_in_one_chain():
    class Uncounted(Shelf):
        def page(self, rows, query):
            return {name: value for name, value in super().page(rows, query).items() if name != "total_pages"}

    basket, summary = read(Uncounted(customers(450)), "customers")
    assert len(basket.by("uuid")) == 450
    assert summary.shards == 1
    assert "no longer says how long the list is" in summary.warnings[0]


def test_a_customer_who_changes_its_part_while_it_is_read_is_not_lost():
    class Moving(Shelf):
        moved = False

        def filtered(self, query):
            rows = super().filtered(query)
            if query["per_page"] == "200" and query.get("status") == "Active" and not self.moved:
                # Gone from this part before it is read, and from the other because that was read already.
                self.moved = True
                return rows[1:]
            return rows

    basket, summary = read(Moving(customers(250) + customers(30, "Cancelled")), "customers")
    assert len(basket.by("uuid")) == 280
    assert "279 of 280 rows came in parallel, so the list was read again" in summary.warnings[0]


def test_rows_that_come_in_no_way_are_said():
    class Short(Shelf):
        def page(self, rows, query):
            return super().page(rows, query) if query["per_page"] == "1" else super().page(rows[:-1], query)

    _, summary = read(Short(customers(250)), "customers")
    assert summary.warnings[-1] == "customers: only 249 rows came of the 250 that the account counts"


@pytest.mark.parametrize("trap", [{"cursor": None}, {"cursor": "200"}, {"entries": []}])
def test_a_page_that_leads_nowhere_is_not_followed_for_ever(trap):
    class Trapped(Shelf):
        def page(self, rows, query):
            page = super().page(rows, query)
            return page | {"has_more": True} | trap if query.get("cursor") else page

    with pytest.raises(AccountInconsistent, match=r"/contacts lost its place 4 times"):
        read(Trapped(customers(450)), "contacts")


def test_a_cursor_that_is_refused_begins_the_list_again():
    class Forgetful(Shelf):
        forgot = 0

        async def __call__(self, request):
            if "cursor" in request.query and self.forgot < 2:
                self.forgot += 1
                return web.json_response({"message": "Invalid cursor"}, status=422)
            return await super().__call__(request)

    basket, _ = read(Forgetful(customers(450)), "contacts")
    assert len(basket.by("uuid")) == 450


@pytest.mark.slow
def test_a_slow_sink_is_not_run_ahead_of():
    class Blocked(Basket):
        def put(self, page):
            # Long enough for all 100 pages to be asked for, were there nothing to stop that.
            if not self.pages:
                time.sleep(1)
                asked.append(len(peer.requests))
            super().put(page)

    asked, basket = [], Blocked()
    with answering(Shelf(customers(20_000))) as peer, connected(peer.url) as client:
        Account(client, since=SINCE).read("contacts", basket)
    assert len(basket.by("uuid")) == 20_000
    assert asked[0] <= PAGES_AHEAD + 2


def test_a_key_that_is_withdrawn_in_mid_list_ends_the_read():
    class Withdrawn(Shelf):
        async def __call__(self, request):
            if "cursor" in request.query:
                return web.json_response({"message": "No valid API key provided"}, status=401)
            return await super().__call__(request)

    with pytest.raises(AccountRefused, match="API key is wrong"):
        read(Withdrawn(customers(450)), "contacts")


def test_a_page_without_has_more_is_not_taken_for_the_last():
    class Changed(Shelf):
        def page(self, rows, query):
            return {"entries": rows, "more": False}

    with pytest.raises(AccountRefused, match=r"`has_more`.*newer mogul_assets"):
        read(Changed(customers(3)), "contacts")


def test_json_that_is_always_cut_is_no_short_list():
    async def cut(request):
        return web.Response(body=b'{"entries":[{"uuid":"con_1"}],"has_more":fal')

    with pytest.raises(AccountUnavailable, match="cut short"):
        read(cut, "contacts")


# -- only what is new


def events(first, last):
    """Newest first, as the API has them; none says which part it is of until it is asked for by that."""
    return [{"id": n, "event_type": "subscription_start"} for n in range(last, first - 1, -1)]


class EventShelf(Shelf):
    root = "subscription_events"

    def page(self, rows, query):
        page = super().page(rows, query)
        return page if "cursor" in query else {**page, "meta": {"total_pages": page.pop("total_pages")}}


def read_new(shelf, name, known):
    basket = Basket()
    with answering(shelf) as peer, connected(peer.url) as client:
        known = {digest(row[LISTS[name].key]) for row in known}
        summary = Account(client, since=SINCE).read_new(name, basket, known=known)
        pages = [request for request in peer.requests if request.query.get("per_page") == str(PAGE_ROWS)]
    return basket, summary, len(pages)


@pytest.mark.parametrize(("new", "pages"), [(0, 1), (1, 2), (199, 2), (200, 2), (201, 3), (650, 5)])
def test_new_rows_are_read_up_to_a_page_that_is_known(new, pages):
    basket, summary, asked = read_new(EventShelf(events(1, 2_000 + new)), "subscription_events", events(1, 2_000))
    assert set(range(2_001, 2_001 + new)) <= basket.by("id").keys()
    assert (asked, summary.whole, summary.new) == (pages, False, new)


def test_a_row_that_appeared_late_is_found_behind_known_ones():
    known = events(1, 2_000)
    late = known.pop(300)
    basket, summary, _ = read_new(EventShelf(events(1, 2_001)), "subscription_events", known)
    assert late["id"] in basket.by("id")
    assert summary.new == 2


def test_a_list_that_comes_to_its_end_was_read_whole():
    basket, summary, _ = read_new(EventShelf(events(1, 350)), "subscription_events", events(1, 100))
    assert (len(basket.by("id")), summary.whole) == (350, True)


def test_a_row_that_did_not_come_is_missed_by_the_count():
    known = events(1, 2_000)
    known.pop(1_500)
    with pytest.raises(NeedsWhole, match="the account counts 2,001 rows where 2,000 are known"):
        read_new(EventShelf(events(1, 2_001)), "subscription_events", known)


def test_a_few_rows_that_are_gone_wait_for_the_full_read_and_many_do_not():
    assert not read_new(EventShelf(events(21, 2_000)), "subscription_events", events(1, 2_000))[1].whole
    with pytest.raises(NeedsWhole, match="the account counts 1,979 rows where 2,000 are known"):
        read_new(EventShelf(events(22, 2_000)), "subscription_events", events(1, 2_000))


def test_new_invoices_are_of_the_source_they_were_asked_for():
    known = [row for source in SOURCES for row in invoices(500, source)]
    new = [{"uuid": f"new_{source}", "source": source} for source in SOURCES[:2]]
    basket, summary, asked = read_new(InvoiceShelf(new + known), "invoices", known)
    sources = {row["uuid"]: page.shard for page in basket.pages for row in msgspec.json.decode(page.body)["invoices"]}
    assert sources["new_ds_b"] == {"data_source_uuid": "ds_b"}
    assert (summary.new, summary.whole, asked) == (2, False, 5)


def test_a_filter_that_is_ignored_labels_nothing_that_is_new():
    class Ignoring(InvoiceShelf):
        def filtered(self, query):
            return self.rows

    known = invoices(900, "ds_a")
    with pytest.raises(NeedsWhole, match="did not keep to the filter data_source_uuid"):
        read_new(Ignoring([{"uuid": "new"}, *known]), "invoices", known)


def test_a_new_invoice_of_no_source_is_missed_by_the_count():
    known = invoices(900, "ds_a")
    with pytest.raises(NeedsWhole, match="the account counts 901 rows where 900 are known"):
        read_new(InvoiceShelf([{"uuid": "new", "source": "ds_gone"}, *known]), "invoices", known)


class Activities(Shelf):
    """``/activities``, by ``start-after``."""

    def filtered(self, query):
        return [
            row
            for row in self.rows
            if query.get("start-date", "") <= row["date"] and row["date"] <= query.get("end-date", "9999")
        ]

    def page(self, rows, query):
        rows = rows[::-1] if query["order"] == "-date" else rows
        ids = [row["uuid"] for row in rows]
        at = ids.index(query["start-after"]) + 1 if "start-after" in query else 0
        count = int(query["per_page"])
        return {"entries": rows[at : at + count], "has_more": at + count < len(rows), "cursor": None}


def activities(count, day="2026-03-01T00:00:00+00:00"):
    return [{"uuid": f"{n:06}", "date": day} for n in range(count)]


def spread(count):
    return [
        {"uuid": f"{n:06}", "date": f"2026-{n * 12 // count + 1:02}-{n % 28 + 1:02}T{n % 24:02}:00:00+00:00"}
        for n in range(count)
    ]


EVERYTHING = Window(BEGINNING, None)


@pytest.mark.parametrize("count", [1, 199, 200, 201, 9000])
def test_any_number_of_activities_may_be_of_one_moment(count):
    basket, _ = read(Activities(activities(count)), "activities", window=EVERYTHING)
    assert len(basket.rows()) == len(basket.by("uuid")) == count


def test_an_end_that_was_promised_more_after_is_found_once_more_and_believed():
    class Promising(Activities):
        def page(self, rows, query):
            page = super().page(rows, query)
            return page | {"has_more": bool(page["entries"])}

    basket, _ = read(Promising(sorted(spread(600), key=lambda row: row["date"])), "activities", window=EVERYTHING)
    assert len(basket.by("uuid")) == 600


def test_an_empty_page_that_says_there_is_more_is_not_the_end():
    class Hollow(Activities):
        def page(self, rows, query):
            page = super().page(rows, query)
            return page | {"entries": []} if "start-after" in query else page

    with pytest.raises(AccountInconsistent, match="followed by an empty one"):
        read(Hollow(activities(600)), "activities", window=EVERYTHING)


@pytest.mark.parametrize("hours", [-12, 14])
def test_dates_that_are_taken_for_local_ones_lose_nothing_of_the_window(hours):
    class Elsewhere(Activities):
        def filtered(self, query):
            bounds = {
                name: (datetime.fromisoformat(query[name]) + timedelta(hours=hours)).isoformat()
                for name in ("start-date", "end-date")
                if name in query
            }
            return super().filtered(bounds)

    window = Window.months(Month(2026, 6), Month(2026, 6))
    rows = [
        {"uuid": f"{n}", "date": (window.start + timedelta(hours=n)).isoformat()} for n in range(-100, 30 * 24 + 100)
    ]
    basket, _ = read(Elsewhere(rows), "activities", window=window)
    assert {row["uuid"] for row in rows[100:-100]} <= basket.by("uuid").keys()
    assert len(basket.by("uuid")) < len(rows)


def test_a_long_chain_that_loses_its_place_is_read_again_from_the_last_safe_moment():
    class Stumbling(Activities):
        asked = 0

        async def __call__(self, request):
            self.asked += 1
            if self.asked == 38:
                return web.json_response({"message": "Activity not found"}, status=404)
            return await super().__call__(request)

    rows = sorted(spread(8000), key=lambda row: row["date"])
    basket, summary = read(Stumbling(rows), "activities", window=EVERYTHING, serial=True)
    assert [row["uuid"] for row in basket.rows()] == [row["uuid"] for row in rows]
    assert summary.requests < 40 + 20


def test_a_page_that_begins_before_its_anchor_is_read_again():
    class Rewinding(Activities):
        rewound = False

        def page(self, rows, query):
            if "start-after" in query and not self.rewound:
                self.rewound = True
                return {"entries": rows[:200], "has_more": True, "cursor": None}
            return super().page(rows, query)

    rows = sorted(spread(900), key=lambda row: row["date"])
    basket, _ = read(Rewinding(rows), "activities", window=EVERYTHING, serial=True)
    assert [row["uuid"] for row in basket.rows()] == [row["uuid"] for row in rows]


def test_activities_that_come_in_another_order_are_not_cut_by_it():
    class Backwards(Activities):
        def page(self, rows, query):
            return super().page(rows[::-1], query)

    with pytest.raises(AccountInconsistent, match="not in the order of its dates"):
        read(Backwards(sorted(spread(900), key=lambda row: row["date"])), "activities", window=EVERYTHING)


@pytest.mark.parametrize("rows", [activities(600), sorted(spread(600), key=lambda row: row["date"])])
def test_an_anchor_that_is_ignored_is_not_asked_for_for_ever(rows):
    class Anchorless(Activities):
        def page(self, rows, query):
            return super().page(rows, {name: query[name] for name in ("order", "per_page")})

    with pytest.raises(AccountInconsistent, match=r"a page (ends where|begins before)"):
        read(Anchorless(rows), "activities", window=EVERYTHING)


@pytest.mark.parametrize("serial", [False, True])
def test_dates_that_are_ignored_are_noticed_and_all_activities_read(serial):
    class Timeless(Activities):
        def filtered(self, query):
            return self.rows

    rows = sorted(spread(900), key=lambda row: row["date"])
    window = Window.months(Month(2026, 6), Month(2026, 7))
    basket, summary = read(Timeless(rows), "activities", window=window, serial=serial)
    assert len(basket.by("uuid")) == 900
    assert "did not keep to the dates" in summary.warnings[0]


def test_a_date_that_is_none_stops_nothing():
    rows = sorted(spread(500), key=lambda row: row["date"])
    rows[250]["date"] = "2026-07-01 soon"
    basket, _ = read(Activities(rows), "activities", window=EVERYTHING, serial=True)
    assert len(basket.by("uuid")) == 500


def test_of_customers_read_singly_none_is_asked_for_once_one_was_refused():
    async def refusing_the_first(request):
        return web.json_response({}, status=403 if request.path.endswith("/cus_0") else 200)

    with answering(refusing_the_first) as peer, connected(peer.url, limits=replace(EAGER, connections=1)) as client:
        account = Account(client, since=SINCE)
        with pytest.raises(AccountRefused):
            account.singly([f"cus_{number}" for number in range(100)])
        account.singly(["after"])
    assert len(peer.requests) <= 3  # one may have been on its way
