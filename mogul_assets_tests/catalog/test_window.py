"""Months and windows: half-open, UTC, from the year 1 to the year 9999."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from mogul_assets.catalog.window import BEGINNING, Month, Window

MONTHS = some.builds(Month, some.integers(3, 9996), some.integers(1, 12))
WINDOWS = some.builds(
    lambda first, length: Window.months(first, None if length is None else first.plus(length)),
    MONTHS,
    some.none() | some.integers(0, 40),
)
MOMENTS = some.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=some.just(UTC))  # noqa: DTZ001 - naive bounds are asked for


def test_a_moment_belongs_to_its_month_in_utc():
    tokyo = timezone(timedelta(hours=9))
    assert Month.of(datetime(2026, 11, 1, 8, 59, tzinfo=tokyo)) == Month(2026, 10)
    assert Month.of(datetime(2026, 11, 1, 9, 0, tzinfo=tokyo)) == Month(2026, 11)


@given(MONTHS)
def test_a_month_reads_what_it_writes(month):
    assert Month.parse(str(month)) == month
    assert Month.parse(month.partition_key) == month


@pytest.mark.parametrize(
    "text", ["", "2026", "2026-13", "2026-0", "2026-11-15", "2026-11-soon", "0000-05", "soon", "20x6-01"]
)
def test_what_is_no_month_is_refused_by_name(text):
    with pytest.raises(ValueError, match=f"'{text}' is not a month; write it like 2026-11"):
        Month.parse(text)


@given(MONTHS, some.integers(-20, 20))
def test_adding_and_taking_away_months_is_undone(month, months):
    assert month.plus(months).plus(-months) == month
    assert (month.plus(months) > month) == (months > 0)


@given(MONTHS, some.integers(0, 30))
def test_months_follow_each_other_without_a_gap(month, length):
    span = list(month.until(month.plus(length)))
    assert len(span) == length + 1
    assert all(later == earlier.plus(1) for earlier, later in pairwise(span))
    assert list(month.until(month.plus(-1))) == []


@given(MOMENTS)
def test_a_months_window_holds_what_is_of_the_month(moment):
    month = Month.of(moment)
    assert Window.months(month, month).holds(moment)
    assert not Window.months(month.plus(1), None).holds(moment)
    assert not Window.months(month.plus(-1), month.plus(-1)).holds(moment)


@given(MONTHS, MOMENTS)
def test_the_accounts_first_month_takes_everything_older(since, moment):
    window = Window.months(since, None, since=since)
    assert window == Window(BEGINNING, None)
    assert window.holds(moment)


@given(WINDOWS, WINDOWS, MOMENTS)
def test_covering_and_overlapping_are_about_the_moments_held(one, other, moment):
    if one.covers(other) and other.holds(moment):
        assert one.holds(moment)
    if one.holds(moment) and other.holds(moment):
        assert one.overlaps(other)
    assert one.overlaps(other) == other.overlaps(one)
    assert one.covers(one)


@given(WINDOWS, WINDOWS)
def test_a_window_that_covers_another_overlaps_it(one, other):
    if one.covers(other):
        assert one.overlaps(other)
    if one.covers(other) and other.covers(one):
        assert one == other


def test_the_last_month_of_the_calendar_has_no_end():
    assert Window.months(Month(9999, 11), Month(9999, 12)) == Window(Month(9999, 11).start, None)


def test_windows_side_by_side_do_not_overlap():
    october, november = (Window.months(Month(2026, at), Month(2026, at)) for at in (10, 11))
    assert not october.overlaps(november)
    assert not october.overlaps(Window.months(Month(2026, 11), None))


@pytest.mark.parametrize(
    ("window", "said"),
    [
        (Window(BEGINNING, None), "from the beginning on"),
        (Window.months(Month(2026, 10), None), "from 2026-10-01 on"),
        (Window.months(Month(2026, 10), Month(2026, 11)), "2026-10-01 to 2026-12-01"),
    ],
)
def test_a_window_says_what_it_is(window, said):
    assert str(window) == said
