"""``formerly``: a destination that has another name now goes on where it was."""

from datetime import UTC, datetime

import pytest

from mogul_assets.definitions import build_definitions
from mogul_assets.destinations.messenger import LedgerResource
from mogul_assets.messages.message import Draft
from mogul_assets.settings import load
from mogul_assets.store.store import Store, Watermark
from mogul_assets_tests.cli.conftest import SANDBOX

NOW = datetime(2026, 5, 1, tzinfo=UTC)
HOOK = "type: webhook, url: https://h.example, secret: {env: S}"


class Place:
    def __init__(self, folder):
        self.file = folder / "mogul.yaml"

    def write(self, *entries):
        self.file.write_text("\n".join([SANDBOX, "destinations:", *(f"  {entry}" for entry in entries)]))
        self.settings = load(self.file)
        self.store = Store(self.settings.store.path)

    def ledger(self):
        return LedgerResource.of(self.settings.ledger).open()

    def names(self):
        with self.ledger() as ledger:
            return {one.name: len(list(ledger.records(one.name))) for one in ledger.known()}


@pytest.fixture
def place(tmp_path):
    """Two destinations that were delivered to, one of them with a message in the ledger."""
    place = Place(tmp_path)
    place.write(f"hook: {{{HOOK}}}", "lake: {type: files, path: out}")
    for name, dataset in (("hook", "mrr_movements"), ("lake", "tags")):
        place.store.mark(name, dataset, Watermark(delivered_at=NOW, rows=7))
    with place.ledger() as ledger:
        ledger.enqueue("hook", [Draft("recap", "May", b"{}", NOW)], NOW)
    return place


def test_what_was_delivered_and_what_was_told_goes_on_under_the_new_name(place):
    place.write(f"receiver: {{{HOOK}, formerly: hook}}", "disk: {type: files, path: out, formerly: lake}")
    build_definitions(place.settings)
    assert place.store.watermark("disk", "tags").rows == 7
    assert place.store.watermark("receiver", "mrr_movements").delivered_at == NOW
    with place.ledger() as ledger:
        assert ledger.known_among("receiver", ["May"]) == {"May"}
        assert [one.started_at for one in ledger.known()] == [NOW]
    assert place.names() == {"receiver": 1}


def test_the_asset_says_where_its_history_lies(place):
    place.write("disk: {type: files, path: out, formerly: lake, datasets: [tags]}", f"told: {{{HOOK}, formerly: hook}}")
    specs = build_definitions(place.settings).resolve_all_asset_specs()
    descriptions = {one.key.to_user_string(): one.description or "" for one in specs}
    assert "[lake/tags](/assets/lake/tags)" in descriptions["disk/tags"]
    assert "[hook/mrr_movements](/assets/hook/mrr_movements)" in descriptions["told/mrr_movements"]
    assert "renamed" not in descriptions["source_data/tags"]


def test_a_name_that_is_still_there_keeps_what_is_its_own(place):
    place.write(f"hook: {{{HOOK}}}", f"other: {{{HOOK}, formerly: hook}}", "lake: {type: files, path: out}")
    build_definitions(place.settings)
    assert place.store.watermark("other", "mrr_movements") == Watermark()
    assert place.names() == {"hook": 1}


def test_a_new_name_that_has_a_history_of_its_own_keeps_that(place):
    place.store.mark("receiver", "mrr_movements", Watermark(rows=1))
    with place.ledger() as ledger:
        ledger.standing("receiver", NOW)
    place.write(f"receiver: {{{HOOK}, formerly: hook}}")
    build_definitions(place.settings)
    assert place.store.watermark("receiver", "mrr_movements").rows == 1
    assert place.names() == {"hook": 1, "receiver": 0}


def test_of_two_that_claim_a_name_the_first_has_it(place):
    place.write(f"a: {{{HOOK}, formerly: hook}}", f"b: {{{HOOK}, formerly: hook}}")
    assert place.settings.ledger.renamed == {"hook": "a"}


@pytest.mark.parametrize("name", ["Lake", "1", "[a]", "../lake"])
def test_formerly_is_a_name(place, name):
    place.write(f"disk: {{type: files, path: out, formerly: {name}}}")
    assert "write the name that it had" in place.settings.entry("disk").problem
    assert place.settings.ledger.renamed == {}
