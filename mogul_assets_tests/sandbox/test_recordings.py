"""The sandbox beside the recorded answers of the live API: same keys, types, styles, envelopes, cursors."""

import json
import re
from base64 import b64decode
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from mogul_assets.sandbox import NO_LIMITS, Fault, Sandbox, serve
from mogul_assets_tests.sandbox.conftest import RECORDINGS, Reader

pytestmark = pytest.mark.skipif(not RECORDINGS.exists(), reason=f"recorded answers are not at {RECORDINGS}")

STYLES = {
    "offset": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d",
    "milliseconds": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
    "plain": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "day": r"\d{4}-\d\d-\d\d",
    "nanosecond key": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z",
}
PREFIXES = r"(note|cus|con|ds|inv|li|tr|pl|plg|sub|acc)_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def recording(name):
    return json.loads((RECORDINGS / name).read_text())


def kind(value):
    """A value's JSON type; of a text, its style as well."""
    if isinstance(value, str):
        if not value:
            return "empty"
        if match := re.fullmatch(PREFIXES, value):
            return f"{match[1]}_ id"
        return next((style for style, pattern in STYLES.items() if re.fullmatch(pattern, value)), "text")
    return {bool: "flag", int: "number", float: "fraction", type(None): "null", list: "list", dict: "object"}[
        type(value)
    ]


def shape(value, path="", found=None):
    """{dotted path: kinds found there}; free-form objects are one value."""
    found = {} if found is None else found
    found.setdefault(path, set()).add(kind(value))
    if isinstance(value, dict) and not path.endswith((".custom", ".stripe", ".clearbit", ".errors")):
        for name, each in value.items():
            shape(each, f"{path}.{name}", found)
    elif isinstance(value, list):
        for each in value:
            shape(each, f"{path}[]", found)
    return found


# Keys that one of the two may lack.
OPTIONAL = (
    r".*\.website_url",  # of one month's recordings, the single customer has it and the list has not
    r".*\.subscription_set_external_id",  # only where it was set
    r"\.entries\[\]\.plan-external-id",  # documented for a customer's activities, not recorded
    r"\.customer_uuid",  # beside the invoices of one customer
)
# Fields that may be null, empty or a number in words: documented, or met in other accounts, though recorded otherwise.
LOOSE = (
    r".*\.(email|company|customer_uuid|customer-since|plan_uuid|plan-external-id|plan_external_id)",
    r".*\.(subscription-set-external-id|lead_created_at|free_trial_started_at|end-date|due_date)",
    r"\.subscription_events\[\]\.currency",
    r".*\.(country|state|city|zip|address_zip|quantity|amount_in_cents|tax_amount_in_cents|title)",
    r".*\.(first_name|last_name|phone|linked_in|twitter|notes|cursor|interval)",
)


@pytest.fixture(scope="module")
def old_account(company):
    """The account in the shapes of 2023, when most was recorded."""
    with serve(Sandbox(company, limits=NO_LIMITS, shape=2023)) as serving:
        yield Reader(serving.url)


def alike(ours, *recordings):
    """Nothing of the recordings is missing, nothing is there that they lack, and the kinds agree."""
    theirs = {}
    for page in recordings:
        shape(page, found=theirs)
    optional, loose = re.compile("|".join(OPTIONAL)), re.compile("|".join(LOOSE))
    assert {path for path in theirs.keys() ^ ours.keys() if not optional.fullmatch(path)} == set()
    for path in theirs.keys() & ours.keys():
        recorded, strange = theirs[path], ours[path] - theirs[path]
        may_vary = recorded <= {"null", "empty"} or (loose.fullmatch(path) and strange <= {"null", "empty", "text"})
        assert not strange or may_vary, (path, ours[path], recorded)
        assert ours[path] != {"null"} or "null" in recorded, path
        assert "empty" not in recorded - ours[path], path


RECORDED_LISTS = {
    "customers.json": "/customers",
    "contacts.json": "/contacts",
    "plans.json": "/plans",
    "plan_groups.json": "/plan_groups",
    "invoices.json": "/invoices",
    "subscription_events.json": "/subscription_events",
    "activities.page1.json": "/activities",
    "customer_notes.json": "/customer_notes",
    "opportunities.json": "/opportunities",
    "tasks.json": "/tasks",
}


@pytest.mark.parametrize(("name", "path"), RECORDED_LISTS.items())
def test_a_list_has_the_recorded_envelope_keys_types_and_styles(old_account, name, path):
    # The one recorded invoice of that list has neither a one-time item nor a transaction; another recording has.
    more = [recording("customer_invoices.json")] if path == "/invoices" else []
    alike(shape(old_account.json(path)), recording(name), *more)


@pytest.mark.parametrize("name", RECORDED_LISTS)
def test_a_first_pages_envelope_is_the_recorded_one_to_the_key(old_account, name):
    page = recording(name)
    assert set(old_account.json(RECORDED_LISTS[name], per_page=1)) == set(page)


@pytest.mark.parametrize(
    ("name", "path"), [("customers.page2.json", "/customers"), ("activities.page2.json", "/activities")]
)
def test_a_page_asked_for_with_a_cursor_has_no_extra_keys(old_account, name, path):
    first = old_account.json(path, per_page=1)
    second = old_account.json(path, per_page=1, cursor=first["cursor"])
    assert set(second) == set(recording(name))


@pytest.mark.parametrize(("name", "path"), RECORDED_LISTS.items())
def test_a_cursor_decodes_to_the_recorded_form(old_account, name, path):
    theirs, ours = recording(name)["cursor"], old_account.json(path, per_page=1)["cursor"]
    if path == "/activities":
        form = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
        assert re.fullmatch(form, theirs)
        assert re.fullmatch(form, ours)
        return
    decoded = [b64decode(cursor).decode().split("&") for cursor in (theirs, ours)]
    assert [kind(stamp) for stamp, _ in decoded] == ["nanosecond key"] * 2
    assert len({(kind(identity), identity.isdigit(), len(identity.split("-"))) for _, identity in decoded}) == 1


@pytest.mark.parametrize(
    ("first", "second", "path", "sorted_by"),
    [
        ("customers.json", "customers.page2.json", "/customers", "customer-since"),
        ("activities.page1.json", "activities.page2.json", "/activities", "date"),
    ],
)
def test_rows_come_in_the_recorded_order(old_account, first, second, path, sorted_by):
    # Of the other lists one row each is recorded: their order is that of the time in their cursors.
    recorded = [entry[sorted_by] for name in (first, second) for entry in recording(name)["entries"]]
    assert recorded == sorted(recorded)
    ours = [entry[sorted_by] for page in old_account.pages(path) for entry in page["entries"]]
    dated = [moment for moment in ours if moment is not None]
    assert ours == sorted(dated) + [None] * (len(ours) - len(dated))


def test_a_lead_in_a_cursor_has_an_empty_timestamp(old_account):
    last = list(old_account.pages("/customers"))[-1]
    assert last["entries"][-1]["customer-since"] is None
    stamp, identity = b64decode(last["cursor"]).decode().split("&")
    assert (stamp, int(identity)) == ("", last["entries"][-1]["id"])


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("customer_invoices.json", "/import/customers/{}/invoices"),
        ("customer_activities.json", "/customers/{}/activities"),
        ("customer_subscriptions.json", "/customers/{}/subscriptions"),
        ("customer.json", "/customers/{}"),
    ],
)
def test_what_is_asked_of_one_customer_has_the_recorded_keys_types_and_styles(old_account, company, name, path):
    ours = {}
    for uuid in company.members:
        shape(old_account.json(path.format(uuid)), found=ours)
    alike(ours, recording(name))


def test_a_contact_has_the_recorded_keys(old_account):
    uuid = old_account.json("/contacts", per_page=1)["entries"][0]["uuid"]
    alike(shape(old_account.json(f"/contacts/{uuid}")), recording("contact.json"))


def test_data_sources_have_the_recorded_keys_with_their_three_settings(account):
    settings = ("processing_status", "auto_churn_subscription_setting", "invoice_handling_setting")
    asked = {f"with_{name}": "true" for name in settings}
    alike(shape(account.json("/data_sources", **asked)), recording("data_sources.json"))
    assert not set(settings) & set(account.json("/data_sources")["data_sources"][0])


def test_the_account_has_the_recorded_keys(old_account):
    alike(shape(old_account.json("/account")), recording("account.json"))


@pytest.mark.parametrize(("name", "path"), [("metrics_mrr.json", "/metrics/mrr"), ("metrics_all.json", "/metrics/all")])
def test_metrics_have_the_recorded_keys_and_types(account, name, path):
    asked = {"start__date": "2026-04-01", "end__date": "2026-05-31", "interval": "month"}
    ours, theirs = account.json(path, **asked), recording(name)
    alike(shape(ours), theirs)
    assert [entry["date"] for entry in ours["entries"]] == ["2026-04-30", "2026-05-31"]


def test_a_key_written_twice_in_one_object_is_written_twice_here_too(account):
    assert b"plan-external-id" in (RECORDINGS / "activities.per_page2.json").read_bytes()
    doubled = rb'"subscription-set-external-id":"[^"]*","subscription-set-external-id":'
    assert re.search(doubled, (RECORDINGS / "activities.per_page2.json").read_bytes())
    assert re.search(doubled, account.get("/activities").content)


@pytest.mark.parametrize(
    ("name", "path", "key", "status"),
    [
        ("error_401_ping.json", "/ping", "wrong", 401),
        ("error_404_customers_search.json", "/customers/search?email=no%40email.com", "sandbox", 404),
        ("error_404_data_source.json", "/data_sources/1234-a-uuid-that-doesnt-exist", "sandbox", 404),
        ("ping.json", "/ping", "sandbox", 200),
    ],
)
def test_an_answer_that_depends_on_nothing_is_the_recorded_one(account, name, path, key, status):
    answer = Reader(account.url, key).get(path)
    assert (answer.status_code, answer.json()) == (status, recording(name))


def test_a_group_without_a_name_and_plans_is_refused_as_recorded(account):
    answer = account.session.post(f"{account.url}/plan_groups", json={})
    assert (answer.status_code, answer.json()) == (422, recording("error_422_plan_group.json"))


def test_a_server_error_is_the_recorded_text(company):
    with serve(Sandbox(company, limits=NO_LIMITS, faults=[Fault(kind="server_error", path="/ping")])) as serving:
        answer = Reader(serving.url).get("/ping")
    assert (answer.status_code, answer.text) == (500, (RECORDINGS / "error_500_ping.txt").read_text().strip())


def test_an_export_is_pending_then_succeeded_with_the_recorded_keys(serving, reader):
    asked = {"type": "new_biz", "start-date": "2026-01-01 00:00:00 +0000", "end-date": "2026-12-31 00:00:00 +0000"}
    created = reader.session.post(f"{reader.url}/activities_export", json=asked).json()
    assert shape(created) == shape(recording("activities_export.create.json"))
    assert reader.json(f"/activities_export/{created['id']}")["status"] == "pending"
    succeeded = reader.json(f"/activities_export/{created['id']}")
    assert set(shape(succeeded)) == set(shape(recording("activities_export.succeeded.json")))
    assert requests.get(succeeded["file_url"], timeout=20).content[:2] == b"PK"


def test_every_recorded_list_was_asked_for_as_it_is_here():
    """The paths above are those of the manifest, so that a recording is compared with its own endpoint."""
    manifest = {each["file"]: urlsplit(each["uri"]) for each in recording("MANIFEST.json")}
    for name, path in RECORDED_LISTS.items():
        assert manifest[name].path == f"/v1{path}"
        assert dict(parse_qsl(manifest[name].query))["per_page"] == "1"


def test_no_recording_is_left_out():
    """Each is named in this module, or holds the rows of another one in other pages."""
    here = Path(__file__).read_text()
    others = {"activities.per_page2.json", "invoices.page1.json", "plans.page1.json", "subscription_events.page1.json"}
    assert {file.name for file in RECORDINGS.iterdir() if file.name not in here} <= others
