"""Sending, as a specification: how many at once, when again, when to leave a receiver alone; and what a kill may do."""

import asyncio
import gc
import json
import random
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mogul_assets.messages.ledger import Ledger
from mogul_assets.messages.message import Answer, Outcome, State
from mogul_assets.messages.sending import LEFT_ALONE, Policy, drain
from mogul_assets_tests import killing
from mogul_assets_tests.messages import ledgers
from mogul_assets_tests.messages.ledgers import FAILED, HOOK, HOUR, NOW, POLICY, TAKEN, answering, look, news

SECOND = timedelta(seconds=1)


@pytest.fixture
def ledger(tmp_path):
    with Ledger.at(tmp_path / "alone.db") as ledger:
        yield ledger


@pytest.fixture
def shared(url):
    with Ledger(url) as ledger:
        yield ledger


def told(count, **values):
    return [news(f"{n:04}", customer=f"cus_{n:04}", **values) for n in range(count)]


class Receiver:
    """Answers as it is told, and remembers what it was asked and how much of it at once."""

    def __init__(self, answer=TAKEN, seconds=0.0):
        self.answer, self.seconds = answer, seconds
        self.asked, self.flying, self.most = [], 0, 0

    @asynccontextmanager
    async def sending(self):
        async def tried(message):
            self.asked.append(json.loads(message.payload)[0])
            self.flying += 1
            self.most = max(self.most, self.flying)
            await asyncio.sleep(self.seconds)
            self.flying -= 1
            return self.answer(message) if callable(self.answer) else self.answer

        yield tried


def drained(ledger, receiver, policy=POLICY, at=NOW, **options):
    options = {"patience": 5 * SECOND, "linger": timedelta(0), "clock": lambda: at} | options
    return drain(ledger, HOOK, receiver.sending(), policy, **options)


def test_everything_that_is_due_is_sent(ledger):
    look(ledger, *told(100))
    receiver = Receiver()
    done = drained(ledger, receiver)
    assert (done.delivered, done.again, done.problem) == (100, 0, None)
    assert receiver.asked == sorted(receiver.asked)
    assert ledger.counts(HOOK) == {State.DELIVERED: 100}


def test_where_nothing_is_due_nobody_connects(ledger):
    @asynccontextmanager
    async def sending():
        raise AssertionError("connected")
        yield

    ledger.standing(HOOK, NOW)
    assert drain(ledger, HOOK, sending(), POLICY).delivered == 0


def test_no_more_are_in_flight_than_the_policy_says(ledger):
    look(ledger, *told(60))
    receiver = Receiver(seconds=0.01)
    drained(ledger, receiver)
    assert receiver.most == POLICY.concurrency


def test_a_slow_message_holds_up_only_its_customer(ledger):
    slow = [news("slow", customer="a"), news("its next", customer="a", date=NOW - HOUR / 2)]
    look(ledger, *slow, *told(40))

    @asynccontextmanager
    async def sending():
        async def tried(message):
            uuid = json.loads(message.payload)[0]
            await asyncio.sleep(0.5 if uuid == "slow" else 0)
            ended.append(uuid)
            return TAKEN

        yield tried

    ended = []
    drain(ledger, HOOK, sending(), POLICY, clock=lambda: NOW)
    assert ended[-2:] == ["slow", "its next"]
    assert len(ended) == 42


def test_a_receiver_that_takes_nothing_is_left_alone_after_as_many_tries_as_are_in_flight(ledger):
    look(ledger, *told(100))
    receiver = Receiver(FAILED)
    done = drained(ledger, receiver)
    assert len(receiver.asked) == done.again == POLICY.concurrency
    assert done.problem == "503: overloaded"
    due = ledger.next_due()[HOOK]
    assert timedelta(seconds=4) <= due - NOW <= timedelta(seconds=6)
    assert drained(ledger, receiver, at=due - SECOND).again == 0


def test_what_is_tried_tomorrow_holds_up_nobody_till_then(ledger):
    policy = Policy((timedelta(days=1),), concurrency=8)
    look(ledger, *told(100))
    drained(ledger, Receiver(FAILED), policy)
    assert ledger.next_due()[HOOK] == NOW + LEFT_ALONE
    receiver = Receiver()
    assert drained(ledger, receiver, policy, at=NOW + LEFT_ALONE).delivered == 92


def test_one_that_asks_for_time_is_asked_nothing_meanwhile(ledger):
    look(ledger, *told(100))
    slow_down = Answer(Outcome.AGAIN, "429", retry_after=timedelta(minutes=10))
    receiver = Receiver(slow_down)
    drained(ledger, receiver)
    assert len(receiver.asked) <= POLICY.concurrency
    receiver = Receiver()
    assert drained(ledger, receiver, at=NOW + timedelta(minutes=10) - SECOND).delivered == 0
    assert drained(ledger, receiver, at=NOW + timedelta(minutes=12)).delivered == 100


def test_one_that_asks_for_a_second_is_waited_for(ledger):
    look(ledger, *told(20))
    answers = iter([Answer(Outcome.AGAIN, "429", retry_after=timedelta(seconds=0.5))])
    at = []

    def answer(_):
        at.append(time.monotonic())
        return next(answers, TAKEN)

    done = drained(ledger, Receiver(answer), Policy((SECOND / 2,), concurrency=1), clock=lambda: datetime.now(UTC))
    assert done.delivered >= 19
    assert at[1] - at[0] >= 0.5


def test_one_that_wants_no_more_is_asked_no_more(ledger):
    look(ledger, *told(100))
    receiver = Receiver(Answer(Outcome.GONE, "410"))
    done = drained(ledger, receiver)
    assert done.disabled == "it wants no more messages (410)"
    assert len(receiver.asked) <= POLICY.concurrency
    assert ledger.counts(HOOK) == {State.WAITING: 100}


def test_a_message_that_its_type_stumbles_over_holds_up_no_other(ledger):
    look(ledger, *told(20))

    def answer(message):
        if b"0003" in message.payload:
            raise RecursionError("the value of a customer")
        return TAKEN

    done = drained(ledger, Receiver(answer))
    assert (done.delivered, done.again, done.problem) == (19, 1, "error: unexpected RecursionError")


def test_a_mail_whose_end_is_ambiguous_is_unknown(ledger):
    look(ledger, *told(1))
    done = drained(ledger, Receiver(Answer(Outcome.UNKNOWN, "timeout")), Policy(POLICY.retries, resends=False))
    assert done.unknown == 1
    assert ledger.counts(HOOK) == {State.UNKNOWN: 1}


def test_a_mail_that_was_in_flight_when_its_process_died_is_unknown(shared, url, tmp_path):
    look(shared, *told(2))
    child = killing.begin(ledgers.claim_and_hold, url, str(tmp_path / "claimed"))
    while not (tmp_path / "claimed").exists():
        assert child.is_alive()
    child.kill()
    child.join()
    assert drained(shared, Receiver(), Policy(POLICY.retries, resends=False)).delivered == 1
    assert shared.counts(HOOK) == {State.UNKNOWN: 1, State.DELIVERED: 1}


def test_a_delivery_ends_when_its_patience_does(ledger):
    look(ledger, *told(1000))
    began = time.monotonic()
    done = drained(ledger, Receiver(seconds=0.05), patience=timedelta(seconds=0.5))
    assert time.monotonic() - began < 5
    assert 0 < done.delivered < 1000
    assert ledger.counts(HOOK) == {State.DELIVERED: done.delivered, State.WAITING: 1000 - done.delivered}


def test_waiting_for_a_turn_asks_the_ledger_only_now_and_then(ledger, monkeypatch):
    look(ledger, news("first"), news("second", date=NOW - HOUR / 2))
    claims = []
    monkeypatch.setattr(Ledger, "claim", lambda *given, true=Ledger.claim: claims.append(given) or true(*given))
    receiver = Receiver(FAILED)
    policy = Policy((SECOND,), concurrency=8, ordered=True, jitter=0)
    done = drained(ledger, receiver, policy, clock=lambda: datetime.now(UTC), linger=2 * SECOND)
    assert done.again == 3
    assert len(claims) < 15


def test_one_that_nobody_looked_for_since_its_date_is_not_waited_for(ledger, monkeypatch):
    look(ledger, news("ahead", date=NOW + HOUR))
    claims = []
    monkeypatch.setattr(Ledger, "claim", lambda *given, true=Ledger.claim: claims.append(given) or true(*given))
    assert drained(ledger, Receiver(), at=NOW + 2 * HOUR, linger=2 * SECOND).delivered == 0
    assert len(claims) == 1


def test_two_deliveries_at_once_are_one(shared, url):
    look(shared, *told(50))

    def another():
        with Ledger(url) as other:
            return drained(other, Receiver()).delivered

    with ThreadPoolExecutor(1) as pool:
        receiver = Receiver(lambda _: TAKEN if pool.submit(another).result() == 0 else FAILED)
        assert drained(shared, receiver).delivered == 50


def test_memory_does_not_grow_with_the_messages(tmp_path):
    def peak(count):
        rows = (news(f"{n:05}", customer=f"cus_{n:05}", date=NOW - HOUR + n * SECOND / 10) for n in range(count))
        with Ledger.at(tmp_path / f"{count}.db") as ledger:
            ledger.standing(HOOK, NOW - 2 * HOUR)
            gc.collect()
            tracemalloc.start()
            ledger.enqueue_news(HOOK, rows, ledgers.compose, NOW, seen_at=NOW)
            done = drain(ledger, HOOK, answering(lambda _: TAKEN), POLICY, clock=lambda: NOW)
            assert (done.delivered, len({one.id for one in ledger.records(HOOK)})) == (count, count)
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        return most - count * 200  # the ids, which this test gathers

    peak(600)
    assert peak(4000) < 1.5 * peak(1000)


# -- nothing starves ----------------------------------------------------------------------------------------------

ANSWERS = [
    TAKEN,
    TAKEN,
    FAILED,
    Answer(Outcome.AGAIN, "429", retry_after=timedelta(minutes=3)),
    Answer(Outcome.REFUSED, "400"),
]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(seed=st.integers(), down=st.integers(0, 40), concurrency=st.sampled_from([1, 3, 8]), ordered=st.booleans())
def test_whatever_a_receiver_answers_every_message_comes_to_its_end(tmp_path_factory, seed, down, concurrency, ordered):
    chance = random.Random(seed)
    pauses = tuple(timedelta(seconds=s) for s in (5, 15, 60, 600, 3600, 86400))
    policy = Policy(pauses, concurrency=concurrency, ordered=ordered)
    tries = []

    def answer(message):
        tries.append(message)
        return FAILED if len(tries) <= down else chance.choice(ANSWERS)

    with Ledger.at(tmp_path_factory.mktemp("starving") / "ledger.db") as ledger:
        look(ledger, *(news(f"{n}", customer=f"cus_{n % 7}", date=NOW - HOUR + n * SECOND) for n in range(30)))
        at, deliveries = NOW, 0
        while HOOK in (due := ledger.next_due()):
            at = max(at, due[HOOK])
            before = len(tries)
            drain(ledger, HOOK, answering(answer), policy, clock=lambda at=at: at, linger=timedelta(0))
            assert len(tries) > before, "a delivery was begun for nothing"
            deliveries += 1
            assert deliveries < 1000
        counts = ledger.counts(HOOK)
        assert counts.get(State.DELIVERED, 0) + counts.get(State.FAILED, 0) == 30
    assert len({(one.id, one.attempt) for one in tries}) == len(tries)
    assert len({(one.id, one.payload) for one in tries}) == 30
    if ordered:
        firsts = {}
        for one in tries:
            firsts.setdefault(one.id, one)
        for customer in range(7):
            turns = [one.sequence for one in firsts.values() if int(json.loads(one.payload)[0]) % 7 == customer]
            assert turns == sorted(turns)


# -- killed -------------------------------------------------------------------------------------------------------


def judge(ledger, file, count, kills):
    """Nothing is lost, and a kill repeats no more than was in flight: the same words under the same id."""
    sent = ledgers.lines(file)
    assert ledger.counts(HOOK) == {State.DELIVERED: count}
    assert len({line[0] for line in sent}) == count
    assert len({tuple(line) for line in sent}) == count
    assert len(sent) - count <= kills * POLICY.concurrency


def test_killed_at_any_moment_nothing_is_lost_and_no_more_is_sent_again_than_was_in_flight(shared, url, tmp_path):
    look(shared, *told(800))
    file, chance, kills = tmp_path / "sent", random.Random(3), 0
    for _ in range(12):
        goal = len(ledgers.lines(file)) + chance.randint(1, 40)
        child = killing.begin(ledgers.drain_to, url, str(file))
        while child.is_alive() and len(ledgers.lines(file)) < goal:
            time.sleep(0.001)
        kills += child.is_alive()
        child.kill()
        child.join()
    killing.end(killing.begin(ledgers.drain_to, url, str(file)))
    assert kills >= 6
    judge(shared, file, 800, kills)


def test_killed_at_every_step_of_claiming_and_settling(tmp_path):
    """Just before each of its writes to the disk, in Python's sight or SQLite's own, by the lines around them."""
    within = {f"mogul_assets.messages.{name}" for name in ("ledger_database", "ledger_claims", "sending")}

    def fresh(name):
        folder = tmp_path / name
        folder.mkdir()
        with Ledger(ledgers.url_of(folder)) as ledger:
            look(ledger, *told(3))
        return folder

    whole = fresh("whole")
    points = killing.points(ledgers.drain_to, ledgers.url_of(whole), str(whole / "sent"), within=within)
    assert points > 100
    for point in range(0, points, max(1, points // 40)):
        folder = fresh(f"{point}")
        url, file = ledgers.url_of(folder), folder / "sent"
        assert killing.kill_at(point, ledgers.drain_to, url, str(file), within=within)
        ledgers.drain_to(url, str(file))
        with Ledger(url) as ledger:
            judge(ledger, file, 3, 1)
