"""Every movement arrives, whatever falls over: receivers, connections, and the sender itself again and again."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import islice

import pyarrow as pa
import pytest

from mogul_assets.destinations.webhook import WebhookDestination
from mogul_assets.errors import DestinationRefused
from mogul_assets.messages import news as reading
from mogul_assets.messages.message import State
from mogul_assets.messages.news import news_of
from mogul_assets_tests.messages import faults
from mogul_assets_tests.peers.receiver import Receiver, Reply
from mogul_assets_tests.tables import rows_of, table_of

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


@pytest.mark.parametrize("rows", [1, 7, 64, 1_000])
def test_news_comes_in_the_order_in_which_it_happened_however_little_is_sorted_at_once(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "SORTED_ROWS", rows)
    chance, first = random.Random(rows), datetime(2026, 11, 1, tzinfo=UTC)
    table = faults.movements(tmp_path, 300, 30)
    told = [
        row | {"date": first + timedelta(seconds=chance.choice((0.5, 1, chance.randint(0, 40)))), "rank": number % 3}
        for number, row in enumerate(rows_of(table))
    ]
    data = pa.Table.from_pylist(told, schema=table.schema)
    news = list(news_of(table_of(tmp_path, data, dataset=table.dataset, key=table.key)))
    ordered = [(one.date, one.customer_uuid, one.rank, one.uuid) for one in news]
    assert ordered == sorted((row["date"], row["customer_uuid"], row["rank"], row["uuid"]) for row in told)


def test_who_reads_the_news_holds_up_nobody_who_sends(tmp_path):
    hook = faults.webhook("hook", "http://127.0.0.1:1/", tmp_path / "ledger.db")
    table, now = faults.movements(tmp_path, 1_200, 30), datetime.now(UTC)

    def slowly(other):
        for number, one in enumerate(news_of(table)):
            if number == 700:
                other.standing("other", now)  # is written down while the news is read
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


@pytest.mark.parametrize(("failures", "turns"), [(0, "12"), (2, "1112"), (3, "11121"), (5, "1112111")])
def test_a_movement_waits_for_an_earlier_one_of_its_customer_which_gives_way_after_three_tries(
    failures, turns, tmp_path
):
    def script(number):
        refused = number < 3 if failures >= 3 else number < failures
        return Reply(503 if refused or 3 < number <= failures else 200)

    table = faults.movements(tmp_path, 2, 1)
    with Receiver(script).running() as receiver:
        faults.tell(faults.webhook("hook", receiver.url, tmp_path / "ledger.db"), table)
    assert "".join(str(one.sequence) for one in receiver.taken) == turns


def test_other_customers_do_not_wait(tmp_path):
    table = faults.movements(tmp_path, 20, 10)
    with Receiver(lambda number: Reply(503 if number == 0 else 200)).running() as receiver:
        faults.tell(faults.webhook("hook", receiver.url, tmp_path / "ledger.db"), table)
    first, *others = receiver.taken
    assert {one.customer for one in others[:9]} == {f"cus_{number:07}" for number in range(10)} - {first.customer}


def test_410_ends_it_until_somebody_resumes(tmp_path):
    table = faults.movements(tmp_path, 40, 40)
    with Receiver(lambda number: Reply(410 if number == 0 else 200)).running() as receiver:
        hook = faults.webhook("hook", receiver.url, tmp_path / "ledger.db")
        with pytest.raises(DestinationRefused, match="disabled from now on: it wants no more messages"):
            hook.tell([table])
        assert receiver.requests <= hook.POLICY.concurrency
        with pytest.raises(DestinationRefused, match="is disabled since"):
            hook.tell([table])
        with hook.ledger.open() as ledger:
            ledger.resume("hook")
        faults.tell(hook, table)
    assert {one.key for one in receiver.messages} == {f"{number:032x}" for number in range(40)}


def test_a_receiver_that_asks_for_time_gets_it(tmp_path):
    script = iter([Reply(429, headers={"Retry-After": "2"})])
    table = faults.movements(tmp_path, 30, 1)
    with Receiver(lambda _: next(script, Reply())).running() as receiver:
        faults.tell(faults.webhook("hook", receiver.url, tmp_path / "ledger.db"), table)
    first, second, *_ = receiver.taken
    assert second.at - first.at >= 2
    assert len(receiver.messages) == 30
