"""Intercom: which contact is a customer's, what is written to it, and what becomes of everybody else."""

from __future__ import annotations

import csv
import io
import json
import math
import multiprocessing
import os
import re
import socket
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from intercom import Intercom
from intercom.contacts.types.contact import Contact as TheirContact
from intercom.data_attributes.types.data_attribute import DataAttribute
from intercom.types.admin_with_app import AdminWithApp
from intercom.types.contact_list import ContactList
from pydantic import ValidationError

from mogul_assets.catalog.datasets import CUSTOMERS
from mogul_assets.destinations import intercom_client
from mogul_assets.destinations.base import Outcome
from mogul_assets.destinations.configured import settings_of
from mogul_assets.destinations.intercom import ATTRIBUTES, IntercomDestination
from mogul_assets.destinations.intercom_client import CONCURRENCY, FILTERS, PAGE, Pace
from mogul_assets.destinations.intercom_contacts import Contact, Customer, Key, Reason, index, keys
from mogul_assets.destinations.intercom_elements import ELEMENTS, TEXT, attribute, differing, wanted
from mogul_assets.destinations.messenger import LedgerResource
from mogul_assets.errors import ConfigurationError, DestinationRefused, DestinationUnavailable, DestinationUnreachable
from mogul_assets_tests.peers import intercom as peer_process
from mogul_assets_tests.peers.faults import Cut, FaultProxy
from mogul_assets_tests.peers.intercom_server import SCOPES, TOKEN, Fault, Workspace, serving
from mogul_assets_tests.project import NOW, Project, failures_of
from mogul_assets_tests.tables import rows_of, table_of

VARIABLE = "INTERCOM_TOKEN"
SINCE = datetime(2025, 3, 14, 9, 26, 53, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _token(monkeypatch):
    monkeypatch.setenv(VARIABLE, TOKEN)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    """What fails is tried again at once; what the limits say is waited for."""
    monkeypatch.setattr(intercom_client, "PAUSE", 0.0)


@pytest.fixture
def workspace():
    return Workspace()


@pytest.fixture
def url(workspace):
    with serving(workspace) as url:
        yield url


@pytest.fixture
def support(url, tmp_path):
    """The destination; ``options`` are a user's."""

    def made(**options):
        ledger = LedgerResource(path=str(tmp_path / "ledger.db"))
        return IntercomDestination(name="support", ledger=ledger, **{"token": {"env": VARIABLE}, "url": url} | options)

    return made


def customer(number, **changes):
    """One of whom everything is known."""
    given = {
        "uuid": f"cus_{number}",
        "id": number,
        "external_id": f"id-{number}",
        "external_ids": f'["id-{number}"]',
        "name": "Ada",
        "email": f"ada{number}@acme.example",
        "company": "Acme",
        "status": "Active",
        "mrr": 1999,
        "arr": 23988,
        "net_payments": -50,
        "currency": "EUR",
        "currency_sign": "€",
        "plan_name": "Gold|Silver",
        "plan_external_id": "gold|silver",
        "subscriber_since": SINCE,
        "chartmogul_url": f"https://app.chartmogul.com/#/customers/{number}",
    }
    return dict.fromkeys(CUSTOMERS.schema.names) | given | changes


@pytest.fixture
def customers(tmp_path):
    def made(*rows):
        data = pa.Table.from_pylist(list(rows), schema=CUSTOMERS.schema)
        return table_of(tmp_path / "store", data, dataset="customers", key=("uuid",))

    return made


def listed(support):
    """Who was not written to, and why, as the ledger has it."""
    with support.ledger.open() as ledger:
        return {record.subject: record.reason for record in ledger.records(destination="support")}


# -- what is written ------------------------------------------------------------------------------------------------


def test_a_contact_gets_the_fourteen(workspace, support, customers):
    contact = workspace.contact(external_id="id-1", name="A. Lovelace", email="other@acme.example")
    before = int(time.time())
    delivered = support().deliver(customers(customer(1)))
    assert (delivered.outcome, delivered.rows) == (Outcome.DELIVERED, 1)
    told = workspace.custom(contact)
    assert before <= told.pop("ChartMogul Last Updated") <= time.time()
    assert told == {
        "ChartMogul ARR": 239.88,
        "ChartMogul Company": "Acme",
        "ChartMogul Currency Code": "EUR",
        "ChartMogul Currency Symbol": "€",
        "ChartMogul Customer Record Link": "https://app.chartmogul.com/#/customers/1",
        "ChartMogul Customer Status": "Active",
        "ChartMogul Email": "ada1@acme.example",
        "ChartMogul External ID": "id-1",
        "ChartMogul MRR": 19.99,
        "ChartMogul Net Payments": -0.5,
        "ChartMogul Plan": "Gold|Silver",
        "ChartMogul Plan External ID": "gold|silver",
        "ChartMogul Subscriber Since": 1741944413,
    }


def test_nothing_of_the_contacts_own_is_written(workspace, support, customers):
    contact = workspace.contact(external_id="id-1", name="A. Lovelace", email="other@acme.example")
    support().deliver(customers(customer(1)))
    assert [set(body) for _, body in workspace.writes()] == [{"custom_attributes"}]
    kept = {name: workspace.contacts[contact][name] for name in ("external_id", "name", "email", "role")}
    assert kept == {"external_id": "id-1", "name": "A. Lovelace", "email": "other@acme.example", "role": "user"}


def test_only_what_changed_is_written(workspace, support, customers):
    first, second = workspace.contact(external_id="id-1"), workspace.contact(external_id="id-2")
    support().deliver(customers(customer(1), customer(2)))
    workspace.requests.clear()
    assert support().deliver(customers(customer(1), customer(2))).rows == 0
    assert workspace.writes() == []
    stamped = workspace.custom(second)["ChartMogul Last Updated"]
    support().deliver(customers(customer(1), customer(2, mrr=0, plan_name=None)))
    ((written, body),) = workspace.writes()
    assert written == second
    assert body["custom_attributes"].pop("ChartMogul Last Updated") >= stamped
    assert body["custom_attributes"] == {"ChartMogul MRR": 0.0, "ChartMogul Plan": None}
    assert "ChartMogul Plan" not in workspace.custom(second)
    assert workspace.custom(first)["ChartMogul Plan"] == "Gold|Silver"


def test_when_it_was_last_updated_is_no_change_by_itself(workspace, support, customers):
    contact = workspace.contact(external_id="id-1")
    support(elements=["mrr"]).deliver(customers(customer(1)))
    support(elements=["mrr", "last_updated"]).deliver(customers(customer(1)))
    assert workspace.custom(contact) == {"ChartMogul MRR": 19.99}
    support(elements=["last_updated"]).deliver(customers(customer(1, mrr=1)))
    assert len(workspace.writes()) == 1


def test_what_somebody_changed_in_intercom_is_set_right(workspace, support, customers):
    contact = workspace.contact(external_id="id-1")
    support().deliver(customers(customer(1)))
    workspace.contacts[contact]["custom_attributes"] |= {"ChartMogul MRR": 1, "Of their own": "stays"}
    support().deliver(customers(customer(1)))
    assert workspace.custom(contact)["ChartMogul MRR"] == 19.99
    assert workspace.custom(contact)["Of their own"] == "stays"


def test_what_intercom_keeps_otherwise_is_not_written_each_day(workspace, support, customers):
    contact = workspace.contact(external_id="id-1")
    row = customer(1, company=" Acme ", status="", plan_name="  ", mrr=1000)
    support().deliver(customers(row))
    workspace.contacts[contact]["custom_attributes"] |= {"ChartMogul MRR": 10, "ChartMogul Customer Status": ""}
    assert support().deliver(customers(row)).rows == 0
    assert workspace.custom(contact)["ChartMogul Company"] == "Acme"


def test_the_elements_and_the_prefix_are_the_users(workspace, support, customers):
    contact = workspace.contact(external_id="id-1")
    support(prefix="Billing", elements=["plan", "mrr"]).deliver(customers(customer(1)))
    assert workspace.custom(contact) == {"Billing Plan": "Gold|Silver", "Billing MRR": 19.99}
    assert {one["name"] for one in workspace.attributes.values()} == {"Billing Plan", "Billing MRR"}


def test_a_text_longer_than_intercoms_is_cut_and_listed(workspace, support, customers):
    contact = workspace.contact(external_id="id-1")
    long = "|".join(f"Plan {number}" for number in range(60))
    delivered = support().deliver(customers(customer(1, plan_name=long)))
    assert delivered.details["texts cut"] == 1
    assert workspace.custom(contact)["ChartMogul Plan"] == long[: TEXT - 1] + "…"
    assert listed(support()) == {"cus_1": "cut after 255 characters: Plan"}
    assert support().deliver(customers(customer(1, plan_name=long))).rows == 0


@given(cents=st.integers(-(10**15), 10**15))
def test_amounts_are_in_major_units_to_the_cent(cents):
    ours = wanted(customer(1, mrr=cents), ["mrr"], "ChartMogul")["ChartMogul MRR"]
    assert Decimal(repr(ours)) * 100 == cents
    assert differing({"a": ours}, {"a": json.loads(json.dumps(ours))}) == {}
    assert differing({"a": ours}, {"a": (cents + 1) / 100}) == {"a": ours}


@given(
    moment=st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_moments_are_whole_seconds(moment):
    seconds = wanted(customer(1, subscriber_since=moment), ["subscriber_since"], "P")["P Subscriber Since"]
    assert abs(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds) - moment) < timedelta(seconds=1)


@example(text="\0a\0 ")
@given(text=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=600))
def test_texts_fit_and_are_never_empty(text):
    ours = wanted(customer(1, company=text), ["company"], "P")["P Company"]
    assert ours is None or (0 < len(ours) <= TEXT and ours == ours.strip() and "\0" not in ours)
    assert ours is None or ours.endswith("…") or ours in text.replace("\0", "")


def test_there_are_fourteen_and_intercom_allows_their_names():
    assert len(ELEMENTS) == 14
    for word, element in ELEMENTS.items():
        assert re.fullmatch(r"[A-Za-z0-9 _-]+", attribute("ChartMogul", word))
        assert element.column in CUSTOMERS.schema.names or word == "last_updated"


# -- the attributes -------------------------------------------------------------------------------------------------


def test_attributes_are_made_with_type_and_description_where_missing(workspace, support, customers):
    workspace.attribute("ChartMogul MRR", "float")
    support().deliver(customers())
    assert len(workspace.attributes) == 14
    assert sum(path == "/data_attributes" and method == "POST" for method, path, _ in workspace.requests) == 13
    made = {one["name"]: one for one in workspace.attributes.values()}
    assert (made["ChartMogul ARR"]["data_type"], made["ChartMogul Plan"]["data_type"]) == ("float", "string")
    assert made["ChartMogul Last Updated"]["data_type"] == "date"
    assert all(made[attribute("ChartMogul", word)]["description"] for word in ELEMENTS if word != "mrr")


def test_one_of_another_type_is_refused_by_name(workspace, support, customers):
    workspace.attribute("ChartMogul MRR", "string")
    with pytest.raises(DestinationRefused, match="'ChartMogul MRR' is there with type string, and must be float"):
        support().deliver(customers(customer(1)))
    assert len(workspace.attributes) == 1


def test_one_of_companies_is_none_of_peoples(workspace, support, customers):
    workspace.attribute("ChartMogul MRR", "string", model="company")
    support(elements=["mrr"]).deliver(customers())
    assert Counter(one["model"] for one in workspace.attributes.values()) == {"contact": 1, "company": 1}


def test_an_archived_one_is_taken_out_of_the_archive(workspace, support, customers):
    contact = workspace.contact(external_id="id-1")
    workspace.attributes[workspace.attribute("ChartMogul MRR", "float")]["archived"] = True
    support(elements=["mrr"]).deliver(customers(customer(1)))
    assert workspace.custom(contact) == {"ChartMogul MRR": 19.99}


@pytest.mark.parametrize(("there", "taken"), [(ATTRIBUTES - 14, True), (ATTRIBUTES - 13, False)])
def test_the_limit_is_looked_at_before_any_is_made(there, taken, workspace, support, customers):
    for number in range(there):
        workspace.attribute(f"theirs {number}", model="company" if number % 2 else "contact")
    workspace.attributes[workspace.attribute("not counted")]["archived"] = True
    if taken:
        support().deliver(customers())
        return
    with pytest.raises(DestinationRefused, match="14 attributes are needed, and the workspace has 237 of the 250"):
        support().deliver(customers())
    assert not any(one["name"].startswith("ChartMogul") for one in workspace.attributes.values())


def test_a_workspace_that_is_full_takes_what_it_has_attributes_for(workspace, support, customers):
    contact = workspace.contact(external_id="id-1")
    workspace.attribute("ChartMogul MRR", "float")
    for number in range(ATTRIBUTES - 1):
        workspace.attribute(f"theirs {number}")
    workspace.attributes[ATTRIBUTES + 1] = workspace.attributes[2] | {"id": ATTRIBUTES + 1, "name": "one more"}
    support(elements=["mrr"]).deliver(customers(customer(1)))
    assert workspace.custom(contact) == {"ChartMogul MRR": 19.99}


# -- whose contact --------------------------------------------------------------------------------------------------


def matched(tmp_path, customers, contacts, by=(Key.EXTERNAL_ID, Key.EMAIL)):
    """Each customer's contact, or why there is none."""
    with index(tmp_path) as found:
        found.add_customers(
            Customer(row["uuid"], {"P": row["uuid"]}, keys(row, [Key(word) for word in by])) for row in customers
        )
        found.add_contacts(contacts)
        found.match()
        return {change.customer: change.contact for change in found.changes()} | dict(found.left_out())


def contact(id_, external_id=None, email=None, *, lead=False, archived=False):
    return Contact(id_, external_id, email, lead, archived, {})


MATCHES = {
    "by external id": ([contact("a", "id-1"), contact("b", "id-2", "x@acme.example")], "a"),
    "by e-mail": ([contact("a", None, "ada1@acme.example")], "a"),
    "by e-mail, whatever its case": ([contact("a", "else", " ADA1@Acme.Example ")], "a"),
    "external ids differ by case": ([contact("a", "ID-1")], Reason.NONE),
    "the external id first": ([contact("a", None, "ada1@acme.example"), contact("b", "id-1")], "b"),
    "a lead by external id before a user by e-mail": (
        [contact("a", None, "ada1@acme.example"), contact("b", "id-1", lead=True)],
        "b",
    ),
    "a user before a lead": (
        [contact("a", None, "ada1@acme.example", lead=True), contact("b", None, "ada1@acme.example")],
        "b",
    ),
    "a lead where there is no user": ([contact("a", None, "ada1@acme.example", lead=True)], "a"),
    "two users": ([contact("a", "x", "ada1@acme.example"), contact("b", "y", "ada1@acme.example")], Reason.SEVERAL),
    "two leads": (
        [contact("a", None, "ada1@acme.example", lead=True), contact("b", None, "ada1@acme.example", lead=True)],
        Reason.SEVERAL,
    ),
    "both keys find the same": ([contact("a", "id-1", "ada1@acme.example")], "a"),
    "an archived one": ([contact("a", "id-1", archived=True)], Reason.ARCHIVED),
    "a live one by e-mail rather than an archived one": (
        [contact("a", "id-1", archived=True), contact("b", None, "ada1@acme.example")],
        "b",
    ),
    "none": ([contact("a", "id-2", "bob@acme.example")], Reason.NONE),
}


@pytest.mark.parametrize("case", MATCHES)
def test_a_customer_is(case, tmp_path):
    contacts, expected = MATCHES[case]
    assert matched(tmp_path, [customer(1)], contacts) == {"cus_1": expected}


def test_the_user_says_which_key_comes_first(tmp_path):
    contacts = [contact("a", None, "ada1@acme.example"), contact("b", "id-1")]
    for number, (by, expected) in enumerate(
        ((["email", "external_id"], "a"), (["external_id"], "b"), (["email"], "a"))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert matched(folder, [customer(1)], contacts, by) == {"cus_1": expected}


def test_any_of_a_merged_customers_external_ids_is_one(tmp_path):
    merged = customer(1, external_ids='["id-1", "old-1", "old-1", null]')
    assert matched(tmp_path, [merged], [contact("a", "old-1")]) == {"cus_1": "a"}


def test_two_contacts_of_a_merged_customer_are_not_guessed_among(tmp_path):
    merged = customer(1, external_ids='["id-1", "old-1"]')
    assert matched(tmp_path, [merged], [contact("a", "old-1"), contact("b", "id-1")]) == {"cus_1": Reason.SEVERAL}


def test_a_contact_of_two_customers_is_written_for_none(tmp_path):
    rows = [customer(1, email="both@acme.example"), customer(2, email="both@acme.example"), customer(3)]
    contacts = [contact("a", None, "both@acme.example"), contact("b", "id-3")]
    assert matched(tmp_path, rows, contacts) == {"cus_1": Reason.SHARED, "cus_2": Reason.SHARED, "cus_3": "b"}


def test_a_customer_without_keys_has_no_contact(tmp_path):
    bare = customer(1, external_id=None, external_ids=None, email="")
    assert matched(tmp_path, [bare], [contact("a", "", "")]) == {"cus_1": Reason.NONE}


def by_the_rules(row, contacts, by):
    """Whose contact, said once more in the plainest way."""
    for archived in (False, True):
        for key in by:
            wanted_keys = {value.strip().casefold() if key == "email" else value for kind, value in keys(row, [key])}
            for lead in (False, True):
                found = {
                    one.id
                    for one in contacts
                    if (one.lead, one.archived) == (lead, archived)
                    and (one.email.casefold() if key == "email" and one.email else one.external_id) in wanted_keys
                    and (one.email if key == "email" else one.external_id)
                }
                if found:
                    return Reason.ARCHIVED if archived else Reason.SEVERAL if len(found) > 1 else found.pop()
    return Reason.NONE


IDS = st.sampled_from([None, "a", "b", "c", "A"])
EMAILS = st.sampled_from([None, "x@e", "X@e", "y@e", "ß@e", "SS@e"])
CONTACTS = st.builds(contact, st.uuids().map(str), IDS, EMAILS, lead=st.booleans(), archived=st.booleans())


@given(
    rows=st.lists(st.tuples(IDS, st.lists(IDS, max_size=3), EMAILS), max_size=5),
    contacts=st.lists(CONTACTS, max_size=6),
    by=st.sampled_from([[Key.EXTERNAL_ID, Key.EMAIL], [Key.EMAIL, Key.EXTERNAL_ID], [Key.EMAIL], [Key.EXTERNAL_ID]]),
)
def test_matching_is_what_the_rules_say(rows, contacts, by, tmp_path_factory):
    people = [
        customer(number, external_id=first, external_ids=json.dumps(others), email=email)
        for number, (first, others, email) in enumerate(rows)
    ]
    expected = {row["uuid"]: by_the_rules(row, contacts, by) for row in people}
    claims = Counter(found for found in expected.values() if not isinstance(found, Reason))
    expected = {uuid: Reason.SHARED if claims.get(found, 0) > 1 else found for uuid, found in expected.items()}
    assert matched(tmp_path_factory.mktemp("index"), people, contacts, by) == expected


def test_who_has_no_contact_is_listed_anew_by_each_delivery(workspace, support, customers):
    workspace.contact(external_id="id-1")
    for _ in range(2):
        workspace.contact(email="ada2@acme.example", role="lead")
    gone = workspace.contact(external_id="id-3")
    workspace.contacts[gone]["archived"] = True
    delivered = support().deliver(customers(*map(customer, (1, 2, 3))))
    assert (delivered.rows, delivered.details["customers listed"]) == (1, 2)
    assert listed(support()) == {"cus_2": Reason.SEVERAL, "cus_3": Reason.NONE}
    workspace.contacts[gone]["archived"] = False
    support().deliver(customers(*map(customer, (1, 2, 3))))
    assert listed(support()) == {"cus_2": Reason.SEVERAL}


def test_a_contact_archived_after_it_was_found_is_listed(workspace, support, customers):
    contacts = [workspace.contact(external_id=f"id-{number}") for number in (1, 2)]
    workspace.faults.append(Fault(f"/contacts/{contacts[0]}", 404))
    assert support().deliver(customers(customer(1), customer(2))).rows == 1
    assert listed(support()) == {"cus_1": Reason.GONE}


# -- finding many contacts ------------------------------------------------------------------------------------------


def asked(workspace):
    """How often each list was asked for."""
    return Counter(path for method, path, _ in workspace.requests if "contacts" in path and method != "PUT")


def test_few_customers_are_searched_in_many_contacts(workspace, support, customers):
    for number in range(8 * PAGE):
        workspace.contact(external_id=f"id-{number}")
    rows = [customer(number) for number in range(40)]
    assert support().deliver(customers(*rows)).rows == 40
    assert asked(workspace) == {"/contacts": 1, "/contacts/search": math.ceil(80 / FILTERS)}


def test_many_customers_are_found_by_one_paged_listing(workspace, support, customers):
    for number in range(2 * PAGE + 1):
        workspace.contact(external_id=f"id-{number}")
    rows = [customer(number) for number in range(2 * PAGE + 1)]
    assert support().deliver(customers(*rows)).rows == len(rows)
    assert asked(workspace) == {"/contacts": 1 + 3}


@pytest.mark.parametrize("pages", [0, 3], ids=["listed", "searched"])
def test_both_ways_find_the_same(pages, workspace, support, customers):
    names = ("one", "two", "three", "four")
    for number, name in enumerate(names):
        workspace.contact(external_id=f"id-{number}" if number % 2 else None, email=f"{name.upper()}@ACME.example")
    workspace.contact(email="two@acme.example", role="lead")
    for number in range(pages * PAGE):
        workspace.contact(external_id=f"stranger-{number}")
    rows = [customer(number, email=f"{name}@acme.example") for number, name in enumerate(names)]
    assert support().deliver(customers(*rows)).rows == 4
    assert ("/contacts/search" in asked(workspace)) is bool(pages)


def test_a_search_that_finds_more_than_a_page_is_read_on(workspace, support, customers):
    for number in range(PAGE + 10):
        workspace.contact(email="ada1@acme.example", external_id=f"of-{number}")
    workspace.contact(external_id="id-2")
    for number in range(5 * PAGE):
        workspace.contact(external_id=f"stranger-{number}")
    support().deliver(customers(customer(1, external_id=None, external_ids=None), customer(2)))
    assert listed(support()) == {"cus_1": Reason.SEVERAL}
    assert asked(workspace)["/contacts/search"] == 2


# -- limits and faults ----------------------------------------------------------------------------------------------


def test_the_workspaces_limit_is_kept(tmp_path, customers, support):
    strict = Workspace(limit=40, window=1)
    for number in range(60):
        strict.contact(external_id=f"id-{number}")
    rows = [customer(number) for number in range(60)]
    with serving(strict) as url:
        assert support(url=url).deliver(customers(*rows)).rows == 60
    refused = [status for status in strict.answered if status == 429]
    assert not refused


def test_too_many_requests_are_waited_for(workspace, support, customers):
    contact = workspace.contact(external_id="id-1")
    workspace.faults.append(Fault(r"/contacts/\w+", 429, times=2, headers={"Retry-After": "1"}))
    began = time.monotonic()
    assert support().deliver(customers(customer(1))).rows == 1
    assert time.monotonic() - began >= 2
    assert len(workspace.writes()) == 3
    assert workspace.custom(contact)["ChartMogul MRR"] == 19.99


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (200, {"X-RateLimit-Remaining": str(CONCURRENCY), "X-RateLimit-Reset": "1007"}, 0),
        (200, {"X-RateLimit-Remaining": str(CONCURRENCY - 1), "X-RateLimit-Reset": "1007"}, 7),
        (200, {"X-RateLimit-Remaining": "0"}, 10),
        (200, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "900"}, 0),
        (200, {"X-RateLimit-Remaining": "many"}, 0),
        (200, {}, 0),
        (429, {}, 10),
        (429, {"Retry-After": "3", "X-RateLimit-Reset": "1007"}, 3),
        (429, {"X-RateLimit-Reset": "900"}, 1),
        (429, {"X-RateLimit-Reset": "99999"}, 60),
    ],
)
def test_the_headers_say_how_long_to_wait(status, headers, seconds):
    now = [1000.0]
    pace = Pace(clock=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    pace.heard(status, httpx.Headers(headers))
    pace.wait()
    assert now[0] - 1000 == seconds


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_what_passes_is_tried_again(status, workspace, support, customers):
    workspace.contact(external_id="id-1")
    workspace.faults += [Fault(path, status, times=2) for path in ("/data_attributes", "/contacts", r"/contacts/\w+")]
    for one in workspace.faults[:1]:
        one.times = 0  # an attribute is never made twice
    assert support().deliver(customers(customer(1))).rows == 1


def test_making_an_attribute_is_not_tried_again_blindly(workspace, support, customers):
    workspace.faults.append(Fault("/data_attributes", 200, times=1, body=b'{"type": "list", "data": []}'))
    workspace.faults.append(Fault("/data_attributes", 503, done=True))
    with pytest.raises(DestinationUnavailable, match="answered 503"):
        support(elements=["mrr"]).deliver(customers())
    assert len(workspace.attributes) == 1
    support(elements=["mrr"]).deliver(customers())
    assert len(workspace.attributes) == 1


def test_a_delivery_that_ends_early_says_how_far_it_came_and_the_next_writes_the_rest(workspace, support, customers):
    for number in range(60):
        workspace.contact(external_id=f"id-{number}")
    rows = [customer(number) for number in range(60)]
    last = max(workspace.contacts)
    stuck = sorted(workspace.contacts)[30]
    workspace.faults.append(Fault(f"/contacts/{stuck}", 503, times=3))
    with pytest.raises(DestinationUnavailable, match=r"answered 503 server_error; \d+ contacts were written") as told:
        support().deliver(customers(*rows))
    done = sum(bool(workspace.custom(contact)) for contact in workspace.contacts)
    assert int(re.search(r"(\d+) contacts", str(told.value))[1]) == done
    assert 0 < done < 60
    assert not workspace.custom(stuck) or not workspace.custom(last)
    assert support().deliver(customers(*rows)).rows == 60 - done
    assert all(workspace.custom(contact) for contact in workspace.contacts)


def test_contacts_that_intercom_refuses_are_told_and_the_others_written(workspace, support, customers):
    contacts = [workspace.contact(external_id=f"id-{number}") for number in range(4)]
    workspace.faults.append(Fault(f"/contacts/{contacts[1]}", 400))
    with pytest.raises(DestinationRefused, match=r"refused 1 contacts \(400\), 3 were written") as told:
        support().deliver(customers(*map(customer, range(4))))
    assert "mogul messages list support" in told.value.remedy
    assert listed(support()) == {"cus_1": Reason.REFUSED}


def test_a_workspace_that_refuses_all_is_not_asked_for_all(workspace, support, customers):
    for number in range(100):
        workspace.contact(external_id=f"id-{number}")
    workspace.faults.append(Fault(r"/contacts/\w+", 422, times=1000))
    with pytest.raises(DestinationRefused, match="answered 422 server_error; 0 contacts were written"):
        support().deliver(customers(*map(customer, range(100))))
    assert len(workspace.writes()) < 40


@pytest.mark.parametrize("cut", ["up", "down"])
def test_cut_connections_are_made_anew(cut, workspace, url, support, customers):
    for number in range(20):
        workspace.contact(external_id=f"id-{number}")
    with FaultProxy(int(url.rpartition(":")[2])) as faults:
        there = support(url=f"http://127.0.0.1:{faults.port}", elements=["mrr", "plan"])
        there.deliver(customers())
        setattr(faults, cut, Cut(after=2000, times=2))
        written = there.deliver(customers(*map(customer, range(20)))).rows
        assert faults.cuts
    assert written == 20
    assert all(workspace.custom(contact)["ChartMogul MRR"] == 19.99 for contact in workspace.contacts)


@pytest.mark.parametrize("fault", ["refuse", "black_hole", "nobody"])
def test_a_workspace_that_is_not_there_is_told_in_time(fault, url, support, customers, monkeypatch):
    monkeypatch.setattr(intercom_client, "STEP_SECONDS", 0.3)
    with FaultProxy(int(url.rpartition(":")[2])) as faults, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        if fault == "nobody":
            faults.port = nobody.getsockname()[1]
        else:
            setattr(faults, fault, True)
        began = time.monotonic()
        with pytest.raises(DestinationUnreachable, match="support: the connection to Intercom failed"):
            support(url=f"http://127.0.0.1:{faults.port}").deliver(customers(customer(1)))
        assert time.monotonic() - began < 5


def delivering(options, rows, folder):
    table = table_of(
        folder / "theirs", pa.Table.from_pylist(rows, schema=CUSTOMERS.schema), dataset="customers", key=("uuid",)
    )
    ledger = LedgerResource(path=str(folder / "ledger.db"))
    IntercomDestination(name="support", ledger=ledger, **options).deliver(table)


@pytest.mark.slow
def test_a_delivery_that_is_killed_is_finished_by_the_next(workspace, url, support, customers, tmp_path):
    for number in range(300):
        workspace.contact(external_id=f"id-{number}")
    rows = [customer(number) for number in range(300)]
    options = {"token": {"env": VARIABLE}, "url": url}
    for enough in (1, 60, 150):
        process = multiprocessing.get_context("spawn").Process(target=delivering, args=(options, rows, tmp_path))
        process.start()
        until = time.monotonic() + 60
        while len(workspace.writes()) < enough and process.is_alive() and time.monotonic() < until:
            time.sleep(0.002)
        process.kill()
        process.join()
    # A kill may leave what was in flight to be written again: such a contact is among the writes twice.
    assert 150 - 2 * CONCURRENCY <= sum(bool(workspace.custom(contact)) for contact in workspace.contacts) < 300
    support().deliver(customers(*rows))
    assert all(workspace.custom(contact)["ChartMogul MRR"] == 19.99 for contact in workspace.contacts)
    assert len(workspace.attributes) == 14
    assert len({contact for contact, _ in workspace.writes()}) == 300
    assert len(workspace.writes()) <= 300 + 3 * CONCURRENCY


# -- what is told ---------------------------------------------------------------------------------------------------


def test_a_token_that_is_wrong_is_told_and_not_repeated(support, customers, monkeypatch):
    monkeypatch.setenv(VARIABLE, "wr0ng-s3cret")
    with pytest.raises(DestinationRefused, match="support: Intercom answered 401 unauthorized") as told:
        support().deliver(customers(customer(1)))
    assert "wr0ng-s3cret" not in str(told.value)
    assert told.value.__cause__ is None
    assert "access token" in told.value.remedy
    monkeypatch.setenv(VARIABLE, "wr0ng-s3cret\n")
    with pytest.raises(ConfigurationError, match=f"{VARIABLE} holds no token") as told:
        support().deliver(customers(customer(1)))
    assert "wr0ng" not in str(told.value)
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(ConfigurationError, match=VARIABLE):
        support().deliver(customers(customer(1)))


def test_what_is_not_intercom_is_told(workspace, support, customers):
    for body in (b"<html>log in to the wi-fi</html>", b"{}", b"[]", b'{"type": "list"}'):
        workspace.faults = [Fault(".*", 200, body=body)]
        with pytest.raises(DestinationRefused, match="what answers is not Intercom's API"):
            support().deliver(customers(customer(1)))


def test_a_redirect_takes_the_token_nowhere(workspace, support, customers):
    workspace.faults = [Fault(".*", 302, headers={"Location": "http://127.0.0.1:9/"}, body=b"{}")]
    with pytest.raises(DestinationRefused, match="what answers is not Intercom's API"):
        support().deliver(customers(customer(1)))


def test_no_customers_values_are_told(workspace, support, customers):
    contacts = [workspace.contact(external_id=f"id-{number}") for number in range(30)]
    said = b'{"type": "error.list", "errors": [{"code": "ada1@acme.example is bad", "message": "ada1@acme.example"}]}'
    workspace.faults = [Fault(r"/contacts/\w+", 422, times=len(contacts), body=said)]
    with pytest.raises(DestinationRefused) as told:
        support().deliver(customers(*map(customer, range(30))))
    assert "answered 422;" in str(told.value)
    assert "acme" not in str(told.value)


def test_only_customers_are_taken(workspace, support, table_of_plans):
    with pytest.raises(DestinationRefused, match="takes customers, not plans"):
        support().deliver(table_of_plans)
    assert workspace.attributes == {}
    assert support().capabilities.takes("customers")
    assert not support().capabilities.takes("mrr_movements")


@pytest.fixture
def table_of_plans(tmp_path):
    return table_of(tmp_path / "store", [{"id": 1}])


# -- check, preview, forget -----------------------------------------------------------------------------------------


def test_the_check_names_workspace_region_and_missing_attributes(workspace, support):
    workspace.attribute("ChartMogul MRR", "float")
    found = support().check()
    assert not [permission for permission in found if permission.problem]
    assert [permission.name for permission in found] == [
        "reach the workspace 'Peer' in US",
        "find contacts",
        "write to contacts",
        "make attributes (13 of 14 are missing)",
    ]
    assert len(workspace.attributes) == 1


def test_the_check_tells_another_region(workspace, support):
    workspace.region = "EU"
    (problem,) = [permission for permission in support().check() if permission.problem]
    assert (problem.problem, problem.remedy) == ("it lies in EU", "set region: eu")


WITHOUT = {
    "Read one admin": ["say which workspace it is"],
    "Read and list users and companies": ["find contacts", "make attributes"],
    "Write users and companies": ["write to contacts"],
    "Write data attributes": ["make attributes"],
}


@pytest.mark.parametrize("scope", WITHOUT)
def test_the_check_names_what_the_token_may_not_do(scope, workspace, support):
    workspace.scopes.remove(scope)
    problems = [permission for permission in support().check() if permission.problem]
    assert [problem.name for problem in problems] == WITHOUT[scope]
    assert all("answered 403" in problem.problem for problem in problems)
    assert scope in problems[0].remedy
    assert scope in support().grants()


def test_the_grants_name_every_permission_that_is_used(support):
    assert {scope for *_, scope in SCOPES} == set(re.findall(r"^  (\w.*?)  ", support().grants(), re.MULTILINE))


def test_the_check_tells_that_there_is_no_room(workspace, support):
    for number in range(ATTRIBUTES):
        workspace.attribute(f"theirs {number}")
    (problem,) = [permission for permission in support().check() if permission.problem]
    assert "14 attributes are needed" in problem.problem


def test_the_preview_counts_and_writes_nothing(workspace, support, customers):
    for number in range(3):
        workspace.contact(external_id=f"id-{number}")
    support().deliver(customers(customer(0), customer(1)))
    workspace.requests.clear()
    workspace.attributes.pop(max(workspace.attributes))
    preview = support().preview(customers(customer(0), *(customer(number, mrr=5) for number in (1, 2, 3, 4))))
    assert (preview.rows, preview.new, preview.changed, preview.gone) == (5, 1, 1, None)
    assert ("ChartMogul MRR", "float") in preview.columns
    assert preview.statements == (
        "make the attribute 'ChartMogul Subscriber Since'",
        f"leave out 2 customers: {Reason.NONE}",
    )
    assert {method for method, path, _ in workspace.requests if path != "/contacts/search"} == {"GET"}


def test_a_first_sync_is_shown_contact_by_contact(workspace, support, customers):
    one = workspace.contact(external_id="id-1")
    row = customer(1, company="=HYPERLINK(1)")
    chosen = support(elements=["company", "mrr", "subscriber_since"])
    (name, content), *more = chosen.rendered([customers(row, customer(2))], datetime.now(UTC)).items()
    assert (name, more) == ("contacts.csv", [])
    lines = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert [line["after"] for line in lines] == ["'=HYPERLINK(1)", "19.99", "2025-03-14", ""]
    assert {line["contact"] for line in lines} == {one, ""}
    assert lines[-1]["left_out"] == Reason.NONE
    assert workspace.writes() == []
    chosen.deliver(customers(row, customer(2)))
    (content,) = chosen.rendered([customers(row | {"mrr": 5}, customer(2))], datetime.now(UTC)).values()
    (line, _) = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    assert (line["attribute"], line["before"], line["after"]) == ("ChartMogul MRR", "19.99", "0.05")


def test_what_is_left_is_told_with_how_to_archive_it(workspace, support, customers, url):
    workspace.attribute("ChartMogul of their own")
    support(elements=["mrr", "plan"]).deliver(customers())
    first, second = support().forget()
    assert "'ChartMogul MRR'" in first.what
    assert "'ChartMogul Plan'" in second.what
    (id_,) = [id_ for id_, one in workspace.attributes.items() if one["name"] == "ChartMogul MRR"]
    assert f"curl -X PUT {url}/data_attributes/{id_} " in first.remove
    assert TOKEN not in first.remove
    archived = os.popen(f"{first.remove} -s").read()  # noqa: S605 - the command that a person would copy
    assert json.loads(archived)["archived"] is True
    assert len(support().forget()) == 1


def test_nobody_else_knows_when_it_was_delivered(support):
    assert support().last_delivery("customers") is None


# -- settings -------------------------------------------------------------------------------------------------------

WRONG = [
    ({"prefix": "A.B"}, "letters, digits, blanks"),
    ({"prefix": ""}, "letters, digits, blanks"),
    ({"elements": ["mr"]}, "no element 'mr'; there are: arr, "),
    ({"elements": []}, "names no element"),
    ({"elements": ["mrr", "mrr"]}, "'mrr' is there twice"),
    ({"match": ["name"]}, "no way to match 'name'; there are: external_id, email"),
    ({"url": "http://api.intercom.io"}, "begin with https://"),
    ({"url": "http://127.0.0.1.evil.example"}, "begin with https://"),
    ({"region": "xx"}, "'us', 'eu' or 'au'"),
    ({"token": "a-literal"}, "never as a literal"),
]


@pytest.mark.parametrize(("option", "said"), WRONG, ids=[json.dumps(option) for option, _ in WRONG])
def test_a_wrong_setting_is_told(option, said, support):
    with pytest.raises(ValidationError, match=said):
        support(**option)


@pytest.mark.parametrize(("region", "host"), [("us", "api"), ("eu", "api.eu"), ("au", "api.au")])
def test_each_region_has_its_host(region, host, support):
    assert support(url=None, region=region)._url == f"https://{host}.intercom.io"


@pytest.mark.slow
def test_from_the_account_to_the_contact(workspace, url, tmp_path, instance, serving):
    entry = f"{{type: intercom, token: {{env: {VARIABLE}}}, url: '{url}', schedule: daily}}"
    text = f"account: {{sandbox: true, since: {NOW.year}-01}}\ndestinations: {{support: {entry}}}\n"
    project = Project(tmp_path, instance, serving, text)
    assert project.refresh().success
    people = {row["uuid"]: row for row in rows_of(project.store.table("customers"))}
    known = {row["external_id"]: workspace.contact(external_id=row["external_id"]) for row in people.values()}
    gone = next(iter(known))
    workspace.contacts[known.pop(gone)]["archived"] = True
    result = project.deliver("support")
    assert failures_of(result) == {}
    for row in people.values():
        if row["external_id"] != gone:
            assert workspace.custom(known[row["external_id"]])["ChartMogul MRR"] == row["mrr"] / 100
    with LedgerResource.of(project.settings.ledger).open() as ledger:
        (record,) = ledger.records(destination="support")
    assert people[record.subject]["external_id"] == gone
    assert (project.settings.entry("support").schedule, project.settings.entry("support").time_zone) == (
        "0 9 * * *",
        "Europe/Paris",
    )


# -- the peer -------------------------------------------------------------------------------------------------------


def checked(model, body):
    """That an answer is what Intercom's own description says: the client's classes are made from it."""
    model.model_validate(body, strict=True)
    assert set(body) - set(model.model_fields) <= {"type"}, "the peer answers what Intercom does not"


def test_the_peer_answers_as_intercom_describes(workspace, url):
    workspace.attribute("Custom", "float")
    workspace.contact(external_id="id-1", email="a@b.example", custom_attributes={"Custom": 1.5})
    workspace.contact(email="c@b.example", role="lead")
    headers = {"Authorization": f"Bearer {TOKEN}", "Intercom-Version": intercom_client.VERSION}
    with httpx.Client(base_url=url, headers=headers) as http:
        checked(AdminWithApp, http.get("/me").json())
        page = http.get("/contacts", params={"per_page": 1}).json()
        checked(ContactList, page)
        checked(TheirContact, page["data"][0])
        query = {"query": {"field": "email", "operator": "=", "value": "C@b.example"}}
        found = http.post("/contacts/search", json=query).json()
        checked(ContactList, found)
        assert [one["role"] for one in found["data"]] == ["lead"]
        for one in http.get("/data_attributes").json()["data"]:
            checked(DataAttribute, one)


def test_the_official_client_reads_the_peer(workspace, url):
    for number in range(7):
        workspace.contact(external_id=f"id-{number}")
    client = Intercom(token=TOKEN, base_url=url, headers={"Intercom-Version": intercom_client.VERSION})
    assert [one.external_id for one in client.contacts.list(per_page=3)] == [f"id-{number}" for number in range(7)]


STRICT = [
    ("PUT", "/contacts/{id}", {"nickname": "A"}, 422),
    ("PUT", "/contacts/{id}", {"custom_attributes": {"Unknown": 1}}, 400),
    ("PUT", "/contacts/{id}", {"custom_attributes": {"Number": "1"}}, 400),
    ("PUT", "/contacts/{id}", {"custom_attributes": {"Text": "x" * 256}}, 400),
    ("PUT", "/contacts/{id}", {"custom_attributes": {"Day": 1.5}}, 400),
    ("PUT", "/contacts/none", {"custom_attributes": {}}, 404),
    ("POST", "/contacts", {"external_id": "id-1"}, 409),
    ("POST", "/contacts/search", {"query": {"field": "nose", "operator": "=", "value": "x"}}, 400),
    ("POST", "/contacts/search", {"query": {"operator": "OR", "value": [{}] * 16}}, 400),
    ("POST", "/data_attributes", {"name": "A.B", "model": "contact", "data_type": "string"}, 400),
    ("POST", "/data_attributes", {"name": "MRR (monthly)", "model": "contact", "data_type": "float"}, 400),
    ("POST", "/data_attributes", {"name": "Text", "model": "contact", "data_type": "string"}, 400),
    ("GET", "/contacts?per_page=151", None, 400),
]


@pytest.mark.parametrize("case", STRICT, ids=str)
def test_the_peer_refuses_what_intercom_does(case, workspace, url):
    method, path, body, status = case
    for name, kind in (("Number", "float"), ("Text", "string"), ("Day", "date")):
        workspace.attribute(name, kind)
    path = path.format(id=workspace.contact(external_id="id-1"))
    headers = {"Authorization": f"Bearer {TOKEN}", "Intercom-Version": intercom_client.VERSION}
    assert httpx.request(method, url + path, json=body, headers=headers).status_code == status


@pytest.mark.peer
def test_the_peer_as_a_process_of_its_own(peer, monkeypatch, support, customers):
    address = peer("intercom")
    monkeypatch.setenv(peer_process.SECRET, address["environment"][peer_process.SECRET])
    client = Intercom(token=TOKEN, base_url=address["url"], headers={"Intercom-Version": intercom_client.VERSION})
    client.contacts.create(request={"external_id": "id-1"})
    there = support(url=address["url"], token={"env": peer_process.SECRET})
    there.deliver(customers(customer(1)))
    (contact,) = client.contacts.list()
    assert contact.custom_attributes["ChartMogul MRR"] == 19.99


# -- the page about it ----------------------------------------------------------------------------------------------

PAGE_TEXT = (Path(__file__).parents[2] / "docs" / "destinations" / "intercom.md").read_text()


def test_the_page_has_every_setting_with_its_default_and_description():
    for name, field in settings_of(IntercomDestination).items():
        default = "must be set" if field.is_required() else "–" if field.default is None else f"`{field.default}`"
        default = {"elements": "all", "match": "`[external_id, email]`"}.get(name, default)
        assert f"| `{name}` | {default} | {field.description} |\n" in PAGE_TEXT


def test_the_page_has_every_element_and_every_reason():
    for word, element in ELEMENTS.items():
        assert f"| `{word}` | ChartMogul {element.label} | {element.type} | {element.description} |\n" in PAGE_TEXT
    for reason in Reason:
        assert f"| {reason} |" in PAGE_TEXT
