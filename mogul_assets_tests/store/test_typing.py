"""Typing: raw pages into columns, losing nothing."""

import json
from datetime import UTC, datetime

from mogul_assets.account.pages import Page
from mogul_assets.store.typing import Typist

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


def test_a_plan_becomes_a_row():
    typist = Typist("plans")
    page = Page("plans", json.dumps({"plans": [{"uuid": "pl_1", "interval_count": 1}]}).encode(), 0, NOW)
    (tables,) = typist.tables([page])
    assert tables["plans"].select(["uuid", "interval_count"]).to_pylist() == [{"uuid": "pl_1", "interval_count": 1}]
