"""Raw reads at rest: pages come back exactly as they went in."""

from datetime import UTC, datetime

from mogul_assets.account.pages import Page
from mogul_assets.store import raw

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


def test_a_page_comes_back_to_the_byte(tmp_path):
    page = Page("plans", b'{"plans":[\xff\x00]}', 0, NOW, {"status": "Active"})
    with raw.RawWriter(tmp_path / "plans.parquet", "plans") as writer:
        writer.put(page)
    assert list(raw.pages("plans", [tmp_path / "plans.parquet"])) == [page]
