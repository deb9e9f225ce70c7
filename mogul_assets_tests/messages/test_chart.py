from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mogul_assets.catalog.datasets import MOVEMENT_TYPES
from mogul_assets.messages.chart import bars, described, waterfall
from mogul_assets.messages.periods import Period, last_period
from mogul_assets.messages.recap import LeftOut, Listed, Recap, Sum
from mogul_assets_tests.messages.test_recap import MONDAY

WEEK: Period = last_period("weekly", MONDAY)


def figures(opening, *amounts, small=0, rest=0, currency="USD"):
    """A recap with these sums of the five types."""
    types = {kind: Sum(1, amount) for kind, amount in zip(MOVEMENT_TYPES, amounts, strict=True)}
    one = Listed("key", WEEK.start, "expansion", small, None, None, None)
    net = sum(amounts) + small
    return Recap(
        period=WEEK,
        currency=currency,
        opening=opening,
        closing=opening + net + rest,
        customers=(1, 1),
        net=Sum(len(amounts), net),
        types=types,
        left_out=(LeftOut("below $0.05", (one,)),) if small else (),
        gains=(),
        losses=(),
    )


AMOUNT = st.integers(-(10**14), 10**14)
RECAPS = st.builds(
    figures,
    AMOUNT,
    *[AMOUNT] * len(MOVEMENT_TYPES),
    small=st.integers(-4, 4),
    rest=AMOUNT,
    currency=st.sampled_from(["USD", "JPY", "KWD", None]),
)


def test_gains_come_before_losses():
    assert [bar.label.replace("\n", " ") for bar in bars(figures(0, 1, 1, 1, -1, -1))] == [
        "Opening MRR", "New business", "Expansion", "Reactivation", "Contraction", "Churn", "Closing MRR",
    ]  # fmt: skip


def test_what_is_left_out_and_what_rates_did_have_steps_of_their_own_where_there_are_any():
    labels = [bar.label.replace("\n", " ") for bar in bars(figures(0, 1, 1, 1, -1, -1, small=3, rest=-7))]
    assert labels[-3:] == ["Left out", "Exchange rates", "Closing MRR"]


@given(RECAPS)
def test_each_step_begins_where_the_last_one_ended(recap):
    opening, *steps, closing = bars(recap)
    level = opening.top
    for step in steps:
        assert step.bottom == level
        level = step.top
    assert (opening.bottom, closing.bottom) == (0, 0)
    assert level == closing.top == recap.closing


@given(RECAPS)
def test_the_words_say_every_figure_of_the_picture(recap):
    words = described(recap)
    assert all(bar.said in words for bar in bars(recap))
    assert WEEK.label in words
    assert "\n" not in words


@settings(max_examples=8, deadline=None)
@given(RECAPS)
def test_whatever_the_figures_there_is_a_picture(recap):
    picture = waterfall(recap)
    assert picture.startswith(b"\x89PNG")
    assert struct.unpack(">II", picture[16:24]) == (1200, 630)


@pytest.mark.parametrize(
    ("opening", "amounts"), [(0, (0,) * 5), (100, (0, 0, 0, 0, -100)), (10**9, (1, 0, 0, 0, 0)), (-5, (0,) * 5)]
)
def test_an_account_that_begins_ends_or_stands_still_has_one_too(opening, amounts):
    assert waterfall(figures(opening, *amounts)).startswith(b"\x89PNG")


def test_the_same_figures_are_the_same_picture():
    assert waterfall(figures(100, 1, 2, 3, -4, -5)) == waterfall(figures(100, 1, 2, 3, -4, -5))
    assert waterfall(figures(100, 1, 2, 3, -4, -5)) != waterfall(figures(100, 1, 2, 3, -5, -4))
