"""Sixty days with a retention of ten: once the first ten are over, neither the disk nor what a day takes grows."""

import statistics
from datetime import UTC, datetime

from mogul_assets_tests.lived import lived

START = datetime(2026, 1, 12, 2, tzinfo=UTC)
DAYS, RETENTION, LAST = 60, 10, 30
ALLOWED = 0.05
"""How much the last days may rise, of their mean."""


def rise(values):
    """How much a straight line through the values rises over them, of their mean."""
    values = list(values)
    return statistics.linear_regression(range(len(values)), values).slope * len(values) / statistics.mean(values)


def test_the_last_thirty_days_are_alike(tmp_path):
    """One test, since its life takes two minutes and two workers would each lead one."""
    days = list(lived(tmp_path, DAYS, start=START, retention=RETENTION, brief=True))
    last = days[-LAST:]
    rises = {what: rise(getattr(day, what) for day in last) for what in ("disk", "steps", "requests")}
    assert {what: by for what, by in rises.items() if abs(by) > ALLOWED} == {}
    # There was something to tell all the time, and before anything was old enough to go the disk did grow.
    assert last[-1].messages - last[0].messages > LAST / 3
    assert rise(day.disk for day in days[:RETENTION]) > ALLOWED
