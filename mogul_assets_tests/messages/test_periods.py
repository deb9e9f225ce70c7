from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mogul_assets.errors import ConfigurationError
from mogul_assets.messages.periods import MONDAY, SUNDAY, last_period

KINDS = st.sampled_from(["daily", "weekly", "monthly"])
MOMENTS = st.datetimes(datetime(2001, 1, 1), datetime(2037, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds it
ZONES = st.sampled_from(sorted(available_timezones()))


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "start", "end", "label", "subject"),
    [
        ("daily", "2026-11-22", "2026-11-23", "Sunday, 22 November 2026", "daily 2026-11-22"),
        ("weekly", "2026-11-16", "2026-11-23", "16–22 November 2026", "weekly 2026-11-16"),
        ("monthly", "2026-10-01", "2026-11-01", "October 2026", "monthly 2026-10"),
    ],
)
def test_it_is_the_last_one_that_is_over(kind, start, end, label, subject):
    period = last_period(kind, at("2026-11-23T09:00"))
    assert (period.start, period.end, period.label, period.subject) == (at(start), at(end), label, subject)


def test_a_week_may_begin_on_a_sunday():
    sunday = at("2026-11-22T09:00")
    assert last_period("weekly", sunday, week_begins=SUNDAY).label == "15–21 November 2026"
    assert last_period("weekly", sunday, week_begins=MONDAY).label == "9–15 November 2026"


@pytest.mark.parametrize(
    ("now", "label"),
    [("2026-11-03", "26 October – 1 November 2026"), ("2026-01-07", "29 December 2025 – 4 January 2026")],
)
def test_a_week_of_two_months_names_both(now, label):
    assert last_period("weekly", at(now)).label == label


@pytest.mark.parametrize(
    ("zone", "now", "start", "hours"),
    [
        ("Europe/Paris", "2026-03-30T07:00", "2026-03-28T23:00", 23),
        ("Europe/Paris", "2026-10-26T08:00", "2026-10-24T22:00", 25),
        ("America/New_York", "2026-11-02T14:00", "2026-11-01T04:00", 25),
        # Clocks went from 24:00 straight to 1:00: that is when the day began.
        ("Africa/Cairo", "2026-04-25T07:00", "2026-04-23T22:00", 23),
        # And here they went back to 0:00, so that the day's first hour came twice.
        ("America/Havana", "2026-11-02T14:00", "2026-11-01T04:00", 25),
        ("Australia/Lord_Howe", "2026-10-05T00:00", "2026-10-03T13:30", 23.5),
        ("Pacific/Apia", "2011-12-31T00:00", "2011-12-30T10:00", 0),
    ],
)
def test_days_on_which_clocks_change_are_whole(zone, now, start, hours):
    period = last_period("daily", at(now), zone)
    assert period.start == at(start)
    assert (period.end - period.start) / timedelta(hours=1) == hours


@given(KINDS, MOMENTS, ZONES, st.integers(0, 6))
def test_it_is_over_and_the_next_one_is_not(kind, now, zone, begins):
    period = last_period(kind, now, zone, week_begins=begins)
    assert period.start <= period.end <= now
    longest = {"daily": timedelta(days=1), "weekly": timedelta(weeks=1), "monthly": timedelta(days=31)}[kind]
    assert now < period.end + longest + timedelta(hours=26)


@given(KINDS, MOMENTS, ZONES)
def test_periods_follow_each_other_without_gap_and_without_a_name_twice(kind, now, zone):
    later = last_period(kind, now, zone)
    # The moment of the change may be in the middle of the local day before: an hour into the day is inside for sure.
    earlier = last_period(kind, later.start + timedelta(hours=1), zone)
    if later.end > later.start:
        assert earlier.end == later.start
        assert earlier.subject != later.subject


@given(KINDS, MOMENTS, ZONES, st.integers(0, 86_399))
def test_the_same_period_is_named_the_same_all_day(kind, now, zone, seconds):
    here = ZoneInfo(zone)
    midnight = datetime.combine(now.astimezone(here).date(), datetime.min.time(), here)
    same_day = midnight.astimezone(UTC) + timedelta(seconds=seconds)
    if same_day.astimezone(here).date() == now.astimezone(here).date():
        assert last_period(kind, same_day, zone) == last_period(kind, now, zone)


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "", "../etc/passwd", "/etc/localtime", "Europe"])
def test_a_time_zone_that_is_not_there_is_told(zone):
    with pytest.raises(ConfigurationError, match="no time zone") as refused:
        last_period("daily", at("2026-11-23"), zone)
    assert "Europe/Paris" in refused.value.remedy


def test_a_period_that_is_not_there_is_told():
    with pytest.raises(ConfigurationError, match="no period 'hourly'"):
        last_period("hourly", at("2026-11-23"))
