"""Who is told what, and when: once per incident and channel, and once that it is over."""

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mogul_assets.alerts import LONGEST, Incident, Notice, Problem, after, incidents, keep, kept, notices, quiet

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
A = Problem("a", "a fails", "do this", frozenset("x"))
B = Problem("b", "b fails", "do that", frozenset("y"), since=NOW - MINUTE)
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


def test_what_gets_worse_is_told_and_what_was_told_is_not_again():
    standing, _ = look([], [A])
    (notice, _) = notices(incidents(standing, [failing("xz")], NOW), CHANNELS)
    assert (notice.title, notice.text) == ("Worse: xz fail", "Since 2026-11-23 09:00 UTC.\ndo this")
    standing, said = look(standing, [failing("z", stays="xz")])
    assert said == [("slack", "a", False), ("email", "a", False)]
    for datasets in ("x", "z", "xz"):
        standing, said = look(standing, [failing(datasets)])
        assert said == []


def test_what_is_no_news_begins_nothing_and_keeps_what_stands():
    assert look([], [failing("", stays="x")]) == ([], [])
    begun, _ = look([], [failing("xy")])
    assert look(begun, [failing("", stays="y")]) == (begun, [])
    assert look(begun, [failing("", stays="z")])[1] == [("slack", "a", True), ("email", "a", True)]


def test_what_fails_when_all_that_did_is_over_began_then():
    standing, _ = look([], [failing("x")])
    (one,), said = look(standing, [failing("y", stays="y")], NOW + MINUTE)
    assert (one.since, len(said)) == (NOW + MINUTE, 2)


def failing(news, stays=""):
    """A problem whose news are these datasets, of a letter each."""
    return Problem("a", f"{news} fail", "do this", frozenset(news), frozenset(stays))


DATASETS = st.sets(st.sampled_from("xyz")).map("".join)
LOOKS = st.lists(
    st.tuples(st.dictionaries(st.sampled_from("ab"), st.tuples(DATASETS, DATASETS)), st.sets(st.sampled_from(CHANNELS)))
)


@given(LOOKS)
def test_each_dataset_is_told_once_from_beginning_to_end_and_the_end_once(looks):
    """Whatever fails, stays, or is tried again, and whichever channel is away."""
    standing, knows = [], {}
    for minute, (found, takes) in enumerate([*looks, ({}, CHANNELS), ({}, CHANNELS)]):
        problems = [
            Problem(key, key, key, frozenset(news), frozenset(stays)) for key, (news, stays) in sorted(found.items())
        ]
        standing = incidents(standing, problems, NOW + minute * MINUTE)
        for notice in notices(standing, CHANNELS):
            for one in notice.incidents if notice.channel in takes else ():
                place = notice.channel, one.key
                if one.over_at is not None:
                    del knows[place]
                else:
                    assert not one.news <= knows.get(place, frozenset())
                    knows[place] = knows.get(place, frozenset()) | one.news
            standing = after(standing, notice) if notice.channel in takes else standing
    assert (standing, knows) == ([], {})


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
