"""Who is told what, and when: once per incident and channel, and once that it is over."""

from collections import Counter
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mogul_assets.alerts import LONGEST, Incident, Notice, Problem, after, incidents, keep, kept, notices, quiet

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
A, B = Problem("a", "a fails", "do this"), Problem("b", "b fails", "do that", since=NOW - MINUTE)
CHANNELS = ("slack", "email")


def look(standing, problems, at=NOW, takes=CHANNELS):
    """One look: what stands after it, and (channel, key, whether it is over) of all that was taken."""
    standing, said = incidents(standing, problems, at), []
    for notice in notices(standing, CHANNELS):
        if notice.channel in takes:
            said += [(notice.channel, one.key, one.over_at is not None) for one in notice.incidents]
            standing = after(standing, notice)
    return standing, said


def test_a_problem_is_told_once_to_each_channel_and_so_is_its_end():
    standing, said = look([], [A])
    assert said == [("slack", "a", False), ("email", "a", False)]
    standing, said = look(standing, [A], NOW + MINUTE)
    assert said == []
    standing, said = look(standing, [], NOW + 2 * MINUTE)
    assert said == [("slack", "a", True), ("email", "a", True)]
    assert look(standing, [], NOW + 3 * MINUTE) == ([], [])


def test_it_is_told_since_when():
    standing, _ = look([], [A, B])
    standing, _ = look(standing, [A, B], NOW + MINUTE)
    assert {one.key: one.since for one in standing} == {"a": NOW, "b": NOW - MINUTE}


def test_what_nobody_was_told_of_ends_unsaid():
    standing, _ = look([], [A], takes=())
    assert look(standing, [], NOW + MINUTE) == ([], [])


def test_a_channel_that_took_nothing_is_told_at_the_next_look():
    standing, said = look([], [A], takes=("email",))
    assert said == [("email", "a", False)]
    assert look(standing, [A])[1] == [("slack", "a", False)]


def test_what_comes_back_before_its_end_was_told_goes_on():
    standing, _ = look([], [A])
    standing, _ = look(standing, [], NOW + MINUTE, takes=())
    standing, said = look(standing, [A], NOW + 2 * MINUTE)
    assert (said, standing[0].since, standing[0].over_at) == ([], NOW, None)


@given(st.lists(st.tuples(st.sets(st.sampled_from("abc")), st.sets(st.sampled_from(CHANNELS))), max_size=30))
def test_beginning_and_end_take_turns_for_each_channel(looks):
    standing, told = [], Counter()
    for minute, (keys, takes) in enumerate(looks):
        problems = [Problem(key, key, key) for key in sorted(keys)]
        standing, said = look(standing, problems, NOW + minute * MINUTE, takes)
        for channel, key, over in said:
            told[channel, key] += -1 if over else 1
            assert told[channel, key] == (0 if over else 1)
    _, _ = look(standing, [], NOW + timedelta(days=1))
    standing, said = look(standing, [], NOW + timedelta(days=1))
    assert standing == []
    for channel, key, _over in said:
        told[channel, key] -= 1
    assert set(told.values()) <= {0}


def test_what_is_new_at_one_look_is_one_message():
    notice = Notice("slack", incidents([], [A, B], NOW))
    assert notice.title == "2 problems"
    assert "a fails, since 2026-11-23 09:00 UTC.\ndo this" in notice.text
    assert "b fails, since 2026-11-23 08:59 UTC" in notice.text


def test_a_message_is_never_longer_than_slack_takes():
    many = [Incident(str(n), "t" * 100, "x" * 400, NOW) for n in range(50)]
    text = Notice("slack", many).text
    assert LONGEST < len(text) < 3_000
    assert text.endswith("mogul alerts")


@pytest.mark.parametrize(
    ("hours", "zone", "silent"),
    [
        (None, "UTC", False),
        ((time(8), time(10)), "UTC", True),
        ((time(9), time(10)), "UTC", True),
        ((time(8), time(9)), "UTC", False),
        ((time(22), time(7)), "UTC", False),
        ((time(22), time(10)), "UTC", True),
        ((time(22), time(7)), "America/Los_Angeles", True),
    ],
)
def test_nobody_is_told_in_quiet_hours(hours, zone, silent):
    assert quiet(hours, zone, NOW) is silent


def test_incidents_are_kept_and_a_file_that_is_none_means_that_none_are(tmp_path):
    file = tmp_path / "incidents.json"
    standing, _ = look([], [A, B])
    keep(file, standing)
    assert kept(file) == standing
    file.write_text("[{")
    assert kept(file) == kept(tmp_path / "none") == []
