"""The recorded answers of the live API, and the ECB's real history, through the whole pipeline."""

import json
from datetime import date
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from aiohttp import web

from mogul_assets.catalog.datasets import DATASETS
from mogul_assets_tests.account.peers import answering
from mogul_assets_tests.project import Project, failures_of

FIXTURES = Path(__file__).parents[2] / "../shared/fixtures"

pytestmark = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the recordings (../shared/fixtures) are not here")

FIRST = {
    "account": "account",
    "data_sources": "data_sources",
    "customers": "customers",
    "contacts": "contacts",
    "plans": "plans",
    "invoices": "invoices",
    "subscription_events": "subscription_events",
    "metrics/mrr": "metrics_mrr",
}
ROOTS = {name: name for name in ("data_sources", "plans", "invoices", "subscription_events")}

SETTINGS = """
account: {{api_key: {{env: MOGUL_TEST_KEY}}, url: "{url}", since: 2026-01, rates: ecb_offline}}
destinations:
  warehouse: {{type: duckdb, path: out/mogul.duckdb}}
"""


def recorded(name):
    return json.loads((FIXTURES / f"{name}.json").read_text())


async def answer(request):
    """What was recorded of each list; after it, a list ends as ChartMogul ends one."""
    path, query = request.path.removeprefix("/v1/"), request.query
    if path == "activities":
        entries = [*recorded("activities.per_page2")["entries"], *recorded("activities.page2")["entries"]]
        after = [entry["uuid"] for entry in entries].index(query["start-after"]) + 1 if "start-after" in query else 0
        return web.json_response({"entries": entries[after:], "has_more": False, "cursor": None})
    if path == "customers" and query.get("cursor") == recorded("customers")["cursor"]:
        return web.json_response(recorded("customers.page2"))
    if "cursor" in query:
        return web.json_response({ROOTS.get(path, "entries"): [], "has_more": False, "cursor": None})
    if path in FIRST:
        return web.Response(body=(FIXTURES / f"{FIRST[path]}.json").read_bytes(), content_type="application/json")
    if path == "metrics/customer-count":
        return web.json_response({"entries": [{"date": "2026-01-31", "customers": 1, "percentage-change": 0.0}]})
    return web.json_response(recorded("error_404_data_source"), status=404)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, answering(answer) as peer, dg.DagsterInstance.ephemeral() as instance:
        patch.setenv("MOGUL_TEST_KEY", "a-key")
        project = Project(tmp_path_factory.mktemp("recorded"), instance, None, SETTINGS.format(url=peer.url))
        assert failures_of(project.refresh()) == {}
        assert failures_of(project.deliver("warehouse")) == {}
        with duckdb.connect(str(project.folder / "out/mogul.duckdb"), read_only=True) as connection:
            yield connection


def test_every_recorded_row_arrives(warehouse):
    rows = {name: warehouse.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in DATASETS}
    assert rows.pop("currency_rates") > 300_000
    assert rows == {
        "contacts": 1,
        "custom_attributes": 1,
        "source_customers": 4,
        "invoice_line_items": 1,
        "invoices": 1,
        "plans": 1,
        "subscription_events": 1,
        "tags": 4,
        "transactions": 0,
        "data_sources": 1,
        "customers": 2,
        "mrr_movements": 3,
    }


def test_a_merged_customer_has_a_record_in_each_of_its_sources(warehouse):
    rows = warehouse.execute(
        "SELECT external_id, is_primary, full_name FROM source_customers WHERE customer_id = 114167450 ORDER BY 1"
    ).fetchall()
    assert rows == [("cus_002", True, "John Smith"), ("cus_009", False, None), ("test_cus_ext_id", False, None)]


def test_movements_of_one_moment_are_ranked_as_they_add_up(warehouse):
    rows = warehouse.execute(
        "SELECT mrr_movement, mrr, rank FROM mrr_movements WHERE customer_name = 'Test Customer' ORDER BY rank"
    ).fetchall()
    assert rows == [(4004, 4004, 1), (4004, 8009, 2)]


def test_an_event_s_payload_is_its_own_json_and_its_type_chartmogul_s_number(warehouse):
    (row,) = warehouse.execute(
        "SELECT event_type, event_type_name, payload::VARCHAR FROM subscription_events"
    ).fetchall()
    assert row == (
        1,
        "subscription_start",
        '{"currency":"EUR","quantity":1,"amount_in_cents":100,"tax_amount_in_cents":0}',
    )


def test_the_rates_are_the_european_central_bank_s(warehouse):
    rate = "SELECT rate, quoted_on FROM currency_rates WHERE currency = 'USD' AND date = ?"
    assert warehouse.execute(rate, [date(2016, 1, 4)]).fetchall() == [(1.0898, date(2016, 1, 4))]
    assert warehouse.execute(rate, [date(2016, 1, 3)]).fetchall() == [(1.0887, date(2015, 12, 31))]


async def without_metrics(request):
    if request.path.startswith("/v1/metrics"):
        return web.json_response({"code": 403, "message": "Not allowed", "param": None}, status=403)
    return await answer(request)


def test_a_key_that_may_not_see_the_metrics_still_gets_its_movements(tmp_path, instance, monkeypatch):
    monkeypatch.setenv("MOGUL_TEST_KEY", "a-key")
    with answering(without_metrics) as peer:
        project = Project(tmp_path, instance, None, SETTINGS.format(url=peer.url))
        result = project.refresh()
    assert failures_of(result) == {}
    assert project.store.table("mrr_movements").rows == 3
    (check,) = [check for check in result.get_asset_check_evaluations() if check.check_name == "reconciliation"]
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert "not compared with ChartMogul's figures" in check.description
