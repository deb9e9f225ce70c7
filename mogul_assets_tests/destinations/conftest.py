from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mogul_assets.destinations.base import Destination
from mogul_assets.store.table import Table
from mogul_assets_tests.destinations.places import PLACES, Place
from mogul_assets_tests.tables import table_of


@pytest.fixture(params=PLACES, ids=str)
def place(request: pytest.FixtureRequest) -> Place:
    return request.param


@pytest.fixture
def destination(place: Place, tmp_path: Path) -> Destination:
    return place.destination(tmp_path)


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Table]:
    return lambda rows, **how: table_of(tmp_path / "store", rows, **how)
