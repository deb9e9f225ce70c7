"""Sixty days with a retention of ten: once the first ten are over, neither the disk nor what a day takes grows."""

import statistics
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from mogul_assets_tests.lived import lived

START = datetime(2026, 1, 12, 2, tzinfo=UTC)
DAYS, RETENTION, LAST = 60, 10, 30
ALLOWED = 0.05
"""How much the last days may rise, of their mean."""


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    folder = tmp_path_factory.mktemp("years")
    days = list(lived(folder, DAYS, start=START, retention=RETENTION, brief=True))
    return SimpleNamespace(all=days, last=days[-LAST:])


def rise(values):
    """How much a straight line through the values rises over them, of their mean."""
    values = list(values)
    return statistics.linear_regression(range(len(values)), values).slope * len(values) / statistics.mean(values)


@pytest.mark.parametrize("what", ["disk", "steps", "requests"])
def test_the_last_thirty_days_are_alike(life, what):
    assert abs(rise(getattr(day, what) for day in life.last)) <= ALLOWED


def test_it_was_not_so_before_anything_was_old_enough_to_go(life):
    assert rise(day.disk for day in life.all[:RETENTION]) > ALLOWED


def test_there_was_something_to_tell_all_the_time(life):
    assert life.last[-1].messages - life.last[0].messages > LAST / 3
