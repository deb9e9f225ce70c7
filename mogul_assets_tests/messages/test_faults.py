"""Every movement arrives, whatever falls over: receivers, connections, and the sender itself again and again."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import pytest

from mogul_assets.destinations.webhook import WebhookDestination
from mogul_assets.messages.message import State
from mogul_assets.messages.news import news_of
from mogul_assets_tests.messages import faults

MOVEMENTS, KILLS = 300, 6


@pytest.mark.slow
def test_every_movement_arrives_once_but_for_what_was_in_flight(tmp_path):
    run = faults.run(
        tmp_path, count=MOVEMENTS, customers=30, kills=KILLS, seed=1, scripts=("down", "busy", "resetting")
    )
    assert run.kills == KILLS
    for name, took in run.by_receiver.items():
        assert (took.movements, took.ids) == (MOVEMENTS, MOVEMENTS), name
        assert (took.two_contents, took.two_ids, took.forged) == (0, 0, 0), name
        assert took.again_otherwise == 0, name
        assert max(took.again_by_kill) <= WebhookDestination.POLICY.concurrency, name
        assert run.states[name] == {State.DELIVERED: MOVEMENTS}, name
    assert run.states["down"] == {State.WAITING: MOVEMENTS}


def test_who_reads_the_news_holds_up_nobody_who_sends(tmp_path):
    hook = faults.webhook("hook", "http://127.0.0.1:1/", tmp_path / "ledger.db")
    table, now = faults.movements(tmp_path, 1_200, 30), datetime.now(UTC)

    def slowly(other):
        for number, one in enumerate(news_of(table)):
            if number == 700:
                other.disable("other", "it may be written while the news is read", now)
            yield one

    with hook.ledger.open() as ledger, hook.ledger.open() as other:
        done = ledger.enqueue_news("hook", slowly(other), lambda news: hook.drafts(news, now), now, seen_at=now)
        assert done.new == 1_200


def test_one_that_dies_while_it_reads_the_news_leaves_the_rest_to_the_next_look(tmp_path):
    hook = faults.webhook("hook", "http://127.0.0.1:1/", tmp_path / "ledger.db")
    table, now = faults.movements(tmp_path, 1_200, 30), datetime.now(UTC)

    def dying():
        yield from islice(news_of(table), 700)
        raise KeyboardInterrupt

    def look(news):
        with hook.ledger.open() as ledger:
            return ledger.enqueue_news("hook", news, lambda fresh: hook.drafts(fresh, now), now, seen_at=now)

    with pytest.raises(KeyboardInterrupt):
        look(dying())
    assert 0 < look(news_of(table)).new < 1_200
    assert look(news_of(table)).new == 0
    with hook.ledger.open() as ledger:
        assert ledger.counts("hook") == {State.WAITING: 1_200}
        turns = [record.sequence for record in ledger.records("hook") if record.movement_date is not None]
        assert sorted(turns) == sorted(turn for turn in range(1, 41) for _ in range(30))
