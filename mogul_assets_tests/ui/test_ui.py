"""What somebody does in Dagster's UI, in a browser, from finding a destination to why it failed."""

import json

import dagster as dg
from playwright.sync_api import expect


def test_a_destination_is_found_by_its_name(page):
    page.goto("/")
    page.get_by_text("Search", exact=True).first.click()
    page.keyboard.type("warehouse mrr")
    page.get_by_text("warehouse / mrr_movements").click()
    page.wait_for_url("**/assets/warehouse/mrr_movements**")


def test_a_delivery_shows_its_rows_its_columns_and_when_it_is_due(page):
    page.goto("/assets/warehouse/mrr_movements")
    expect(page.get_by_text("mrr_movements, delivered to warehouse (duckdb).")).to_be_visible()
    expect(page.get_by_text("Row count", exact=True)).to_be_visible()
    expect(page.get_by_text("Change of MRR, in cents of the account's currency.")).to_be_visible()
    expect(page.get_by_text("Fails if more than 26 hours since last materialization")).to_be_visible()


def test_a_delivery_is_materialised_by_its_button_and_its_run_found_by_the_destination(page):
    page.goto("/assets/lake/tags")
    page.get_by_role("button", name="Materialize").click()
    page.get_by_role("link", name="View", exact=True).click()
    page.wait_for_url("**/runs/**")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    run = page.url.rpartition("/")[2].partition("?")[0][:8]
    page.goto("/runs?q[0]=tag%3Amogul%2Fdestination%3Dlake")
    expect(page.get_by_text(run).first).to_be_visible()
    page.goto("/runs?q[0]=tag%3Amogul%2Fdestination%3Dbroken")
    expect(page.get_by_text("deliver_broken").first).to_be_visible()
    expect(page.get_by_text(run)).to_be_hidden()


def test_a_backfill_of_all_months_is_one_run_that_replaces_them(page, place):
    folder = place.folder / "out/files/mrr_movements"
    files = sorted(folder.rglob("*.parquet"))
    before = [file.read_bytes() for file in files]
    for file in files:
        file.write_bytes(b"not what was delivered")
    page.goto("/assets/lake/mrr_movements")
    page.get_by_role("button", name="Materialize").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Backfills all partitions in a single run.")).to_be_visible()
    dialog.get_by_role("button", name="All", exact=True).click()
    dialog.get_by_role("button", name="Launch backfill").click()
    expect(dialog).to_be_hidden()
    page.goto("/runs?view=backfills")
    expect(page.get_by_role("button", name="3 partitions")).to_be_visible()
    # The daemon takes up to half a minute to begin it.
    expect(page.get_by_text("Success", exact=True)).to_be_visible(timeout=120_000)
    with dg.DagsterInstance.from_config(str(place.folder)) as instance:
        runs = [run for run in instance.get_runs() if "dagster/backfill" in run.tags]
    assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS]
    manifest = json.loads((folder / "manifest.json").read_bytes())
    named = [folder.parent / file["file"] for file in manifest["files"]]
    assert [file.read_bytes() for file in named] == before


def test_a_failed_delivery_says_why_and_what_to_do(page):
    page.goto("/assets/broken/tags?view=events")
    expect(page.get_by_text("failed, and did not materialize this asset.")).to_be_visible()
    page.get_by_text("View logs").click()
    expect(page.get_by_text("name a path that the user running this may write to").first).to_be_visible()


def test_the_page_of_a_destination_says_how_it_stands(page):
    page.goto("/assets/broken/status")
    page.get_by_role("button", name="Observe").click()
    expect(page.get_by_role("heading", name="broken: failing")).to_be_visible()
    expect(page.get_by_text("Next try: by hand.")).to_be_visible()
    expect(page.get_by_text("mogul destinations test broken")).to_be_visible()


def test_the_movements_tell_the_mrr_of_twelve_months(page):
    page.goto("/assets/calculated_data/mrr_movements")
    for head in ("Opening", "New business", "Expansion", "Reactivation", "Contraction", "Churn", "Closing"):
        expect(
            page.get_by_role("columnheader", name=head).or_(page.get_by_text(head, exact=True)).first
        ).to_be_visible()
