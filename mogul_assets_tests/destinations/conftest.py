from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mogul_assets.destinations.base import Destination
from mogul_assets.store.table import Table
from mogul_assets_tests.destinations.place import Place
from mogul_assets_tests.destinations.places import PLACES
from mogul_assets_tests.tables import table_of


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test is collected for the places that can prove what it needs."""
    left = [item for item in items if not _provable(item)]
    items[:] = [item for item in items if _provable(item)]
    config.hook.pytest_deselected(items=left)


def _provable(item: pytest.Item) -> bool:
    place = getattr(item, "callspec", None) and item.callspec.params.get("place")
    needs = {ability for marker in item.iter_markers("needs") for ability in marker.args}
    return not isinstance(place, Place) or needs <= place.abilities


def _marks(place: Place) -> list[pytest.MarkDecorator]:
    return [mark for mark, given in ((pytest.mark.peer, place.peer), (pytest.mark.slow, place.label)) if given]


@pytest.fixture(params=[pytest.param(place, marks=_marks(place)) for place in PLACES], ids=str)
def place(request: pytest.FixtureRequest) -> Place:
    place: Place = request.param
    return place.on(request.getfixturevalue("peer")(place.peer)) if place.peer else place


@pytest.fixture
def destination(place: Place, tmp_path: Path) -> Destination:
    return place.destination(tmp_path)


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Table]:
    return lambda rows, **how: table_of(tmp_path / "store", rows, **how)
