"""Time passes in the pretend company: customers come, pay, change and leave; the past is corrected, records
are merged and deleted. Each function takes a company and gives the company it has become; everything in that one
agrees again, because it is told from the same recipe with a few happenings more.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TypeVar

from mogul_assets.sandbox.company import (
    Cancellation,
    Company,
    Correction,
    Deletion,
    Happening,
    Merge,
    calculate,
)
from mogul_assets.sandbox.moments import DAY

T = TypeVar("T")


def live(
    company: Company,
    *,
    days: float = 1,
    corrections: int = 1,
    cancellations: int = 1,
    merges: int = 1,
    deletions: int = 1,
) -> Company:
    """The company so many days later. Which records it meets is decided by the seed and by what happened before.

    Args:
        company: as it is.
        days: how much time passes.
        corrections: movements older than two months whose price somebody corrects, with their invoice.
        cancellations: subscriptions that are cancelled for a later day: movements dated ahead.
        merges: customers merged into another one.
        deletions: customers deleted with all they have.
    """
    recipe = company.recipe
    now = recipe.now + int(days * DAY)
    random = Random(f"{recipe.seed} {now} {len(recipe.happenings)}")
    customers = sorted(numbers[0] for numbers in company.members.values())
    known = {each.record for each in recipe.happenings if isinstance(each, Correction)}
    happenings: list[Happening] = []

    old = [
        (move.record, move.ordinal)
        for number, history in sorted(company.histories.items())
        for move in history.moves
        if number not in known and move.words.startswith("purchased") and move.at < recipe.now - 60 * DAY
    ]
    for record, ordinal in _some(random, old, corrections):
        happenings.append(Correction(now, record, ordinal, percent=random.choice((5, 10, 20))))

    staying = [
        number
        for number, history in sorted(company.histories.items())
        if not history.past_due
        and history.subscriptions
        and history.subscriptions[-1].end is None
        and history.moves[-1].at <= recipe.now
        and not any(isinstance(each, Cancellation) and each.record == number for each in recipe.happenings)
    ]
    happenings += [Cancellation(recipe.now, number) for number in _some(random, staying, cancellations)]

    leaving = _some(random, customers, deletions + 2 * merges)
    happenings += [Deletion(now, number) for number in leaving[:deletions]]
    pairs = zip(leaving[deletions::2], leaving[deletions + 1 :: 2], strict=False)
    happenings += [Merge(now, max(pair), into=min(pair)) for pair in pairs]
    return calculate(replace(recipe, now=now, happenings=(*recipe.happenings, *happenings)), company)


def reissue(company: Company, *, corrected: int = 0) -> Company:
    """The same company with its activities computed anew: new uuids, and ``corrected`` amounts changed."""
    recipe = company.recipe
    again = calculate(replace(recipe, issue=recipe.issue + 1), company)
    return live(again, days=0, corrections=corrected, cancellations=0, merges=0, deletions=0) if corrected else again


def _some(random: Random, choices: list[T], count: int) -> list[T]:
    return random.sample(choices, min(count, len(choices)))
