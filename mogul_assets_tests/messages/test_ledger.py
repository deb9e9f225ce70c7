"""The ledger, as a specification: what is a message, what is none, and who may send it. In a file and on Postgres."""

import stat
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from mogul_assets.errors import ConfigurationError, DataRefused, LedgerUnavailable, LedgerUnusable
from mogul_assets.messages.ledger import LOT_BYTES, Ledger
from mogul_assets.messages.ledger_claims import CLAIMED_FOR
from mogul_assets.messages.message import Answer, Draft, Outcome, State, Tried
from mogul_assets.messages.recognition import CHUNK
from mogul_assets.messages.sending import Policy
from mogul_assets.messages.tables import METADATA
from mogul_assets_tests import killing
from mogul_assets_tests.messages import ledgers
from mogul_assets_tests.messages.ledgers import (
    BEGAN,
    FAILED,
    HOOK,
    HOUR,
    NOW,
    POLICY,
    TAKEN,
    compose,
    look,
    news,
    send,
    states,
    take,
)
from mogul_assets_tests.peers import redshift, servers


@pytest.fixture
def ledger(url):
    with Ledger(url) as ledger:
        yield ledger


# -- what is a message --------------------------------------------------------------------------------------------


def test_a_movement_is_told_once(ledger):
    assert look(ledger, news("a"), news("b")).new == 2
    assert send(ledger) == ["a", "b"]
    assert look(ledger, news("a"), news("b"), at=NOW + HOUR).new == 0
    assert send(ledger, NOW + HOUR) == []


def test_two_equal_add_ons_bought_at_once_are_two_messages(ledger):
    look(ledger, news("a", key="k0", identity="i"), news("b", key="k1", identity="i"))
    assert send(ledger) == ["a", "b"]


@pytest.mark.parametrize(
    ("again", "new"),
    [
        ([("x", "k0"), ("y", "k1")], 0),  # both got new ids
        ([("a", "k1"), ("b", "k0")], 0),  # the order among them is another
        ([("b", "k0"), ("x", "k1")], 0),  # one got a new id, and the other its place
        ([("x", "k1")], 0),  # one is gone
        ([("n", "k0"), ("a", "k1"), ("b", "k2")], 1),  # a third came, and stands before them
        ([("x", "k0"), ("y", "k1"), ("n", "k2")], 1),  # a third came, and they got new ids
    ],
)
def test_equals_are_told_as_often_as_there_are_movements(ledger, again, new):
    look(ledger, news("a", key="k0", identity="i"), news("b", key="k1", identity="i"))
    send(ledger)
    changed = [news(uuid, key=key, identity="i") for uuid, key in again]
    assert look(ledger, *changed, at=NOW + HOUR).new == new
    assert len(send(ledger, NOW + HOUR)) == new
    assert look(ledger, *changed, at=NOW + 2 * HOUR).new == 0


def test_a_movement_is_followed_through_changes_one_after_the_other(ledger):
    look(ledger, news("a", key="k"))
    look(ledger, news("x", key="k"), at=NOW + HOUR)  # a new id
    look(ledger, news("x", key="m"), at=NOW + 2 * HOUR)  # another plan's name for it
    look(ledger, news("y", key="m"), at=NOW + 3 * HOUR)  # a new id again
    assert len(states(ledger)) == 1


def test_a_corrected_amount_is_a_restatement_and_not_sent_again(ledger):
    look(ledger, news("a", amount=100))
    assert look(ledger, news("a", amount=103), at=NOW + HOUR).restated == 1
    assert look(ledger, news("a", amount=103), at=NOW + 2 * HOUR).restated == 0
    (one,) = ledger.records(HOOK)
    assert (one.movement_amount, one.restated_amount) == (100, 103)
    assert take(ledger)[0].payload == b'["a", 100]'


def test_what_was_before_the_destination_is_history(ledger):
    look(ledger, news("before", date=BEGAN - timedelta(seconds=1)), news("after", date=BEGAN, customer="cus_2"))
    assert set(states(ledger)) == {"key of after"}


def test_thousands_of_one_moment_are_told_in_lots(ledger):
    told = [news(f"{number:05}", customer=f"cus_{number // 2}") for number in range(3 * CHUNK)]
    lots = []

    def noted(lot):
        lots.append(len(lot))
        return compose(lot)

    ledger.standing(HOOK, BEGAN)
    assert ledger.enqueue_news(HOOK, told, noted, NOW, seen_at=NOW).new == 3 * CHUNK
    assert max(lots) <= CHUNK + 2


def test_of_large_messages_a_few_are_held_in_memory(ledger):
    drafts = (Draft("mail", f"{number}", bytes([number]) * 1_000_000, NOW) for number in range(60))
    tracemalloc.start()
    try:
        assert ledger.enqueue(HOOK, drafts, NOW) == 60
        assert tracemalloc.get_traced_memory()[1] < LOT_BYTES + 8_000_000
    finally:
        tracemalloc.stop()
    assert [record.subject for record in ledger.records(HOOK)] == [f"{number}" for number in reversed(range(60))]


def test_equals_at_the_border_of_a_lot_are_two(ledger):
    before = [news(f"{number:05}", customer=f"cus_{number:05}") for number in range(CHUNK - 1)]
    equal = [news(uuid, key=key, identity="i", customer="cus_z") for uuid, key in (("a", "k0"), ("b", "k1"))]
    look(ledger, *before, equal[0])
    assert look(ledger, *before, *equal, at=NOW + HOUR).new == 1


def test_a_newer_look_is_not_followed_by_an_older_one(ledger):
    look(ledger, news("a"), at=NOW)
    assert look(ledger, news("b"), seen_at=NOW - HOUR).new == 0


def test_a_clock_that_once_jumped_ahead_silences_nobody_when_it_is_right_again(ledger, caplog):
    look(ledger, news("a"), at=NOW)
    take(ledger, NOW, FAILED)
    jumped = NOW + 72 * HOUR
    look(ledger, news("a"), news("b"), at=jumped)
    take(ledger, jumped, FAILED)
    ledger.looked([HOOK], jumped)
    told = [news("a"), news("b"), news("c", date=NOW, customer="cus_2")]
    assert look(ledger, *told, at=NOW + HOUR).new == 1
    assert "the clock was wrong" in caplog.text
    assert set(send(ledger, NOW + HOUR)) == {"a", "b", "c"}
    caplog.clear()
    assert look(ledger, *told, news("d", date=NOW + HOUR), at=NOW + 2 * HOUR).new == 1
    assert not caplog.text


def test_a_destination_that_began_by_a_clock_ahead_begins_when_it_is_right(ledger):
    ledger.standing("early", NOW + 72 * HOUR)
    for hours, new in ((0, 0), (2, 1)):
        moment = NOW + hours * HOUR
        assert (
            ledger.enqueue_news("early", [news("a", date=NOW + HOUR)][:hours], compose, moment, seen_at=moment).new
            == new
        )


# -- late, and ahead ----------------------------------------------------------------------------------------------


def test_what_comes_more_than_twelve_hours_late_is_listed_and_not_sent(ledger):
    look(ledger, at=NOW)
    late, in_time = news("late", date=NOW - 13 * HOUR), news("in time", date=NOW - 11 * HOUR, customer="cus_2")
    done = look(ledger, late, in_time, at=NOW + timedelta(minutes=1))
    assert (done.new, done.left_out) == (1, 1)
    assert states(ledger) == {"key of late": "left out", "key of in time": "waiting"}


def test_an_outage_of_days_of_our_own_makes_nothing_late(ledger):
    look(ledger, at=NOW)
    look(ledger, news("a", date=NOW + HOUR), at=NOW + timedelta(days=4))
    assert send(ledger, NOW + timedelta(days=4)) == ["a"]


STALE = "waited longer than 12 hours: mogul messages retry sends it"


def test_what_waited_while_its_destination_was_away_is_left_out_and_sent_when_asked_for(ledger):
    failed = news("tried", customer="cus_2", date=NOW - 2 * HOUR)
    told = [news("a"), failed]
    look(ledger, *told, news("ahead", date=NOW + 13 * HOUR, customer="cus_3"))
    take(ledger, NOW, FAILED, limit=1)
    back = NOW + 14 * HOUR
    told += [news("ahead", date=NOW + 13 * HOUR, customer="cus_3"), news("b", date=NOW + 2 * HOUR)]
    look(ledger, *told, at=back)
    (left_out,) = ledger.records(HOOK, [State.LEFT_OUT])
    assert (left_out.subject, left_out.reason) == ("key of a", STALE)
    assert set(send(ledger, back)) == {"tried", "ahead", "b"}
    assert ledger.retry([left_out.id], back) == 1
    look(ledger, *told, at=back + 14 * HOUR)
    assert send(ledger, back + 14 * HOUR) == ["a"]


def test_what_waits_for_a_receiver_that_is_down_is_sent_however_long_that_takes(ledger):
    for hours in range(0, 36, 6):
        look(ledger, news("a"), at=NOW + hours * HOUR)
    assert send(ledger, NOW + 36 * HOUR) == ["a"]


def test_a_movement_dated_ahead_is_due_at_its_date(ledger):
    ahead = news("a", date=NOW + 2 * HOUR)
    look(ledger, ahead)
    look(ledger, ahead, at=NOW + HOUR)
    assert send(ledger, NOW + HOUR) == []
    assert ledger.next_due() == {HOOK: NOW + 2 * HOUR}
    assert send(ledger, NOW + 3 * HOUR) == []  # nobody has looked whether it is still there
    look(ledger, ahead, at=NOW + 3 * HOUR)
    assert send(ledger, NOW + 3 * HOUR) == ["a"]


def test_a_movement_gone_by_its_date_is_withdrawn_and_one_that_is_back_is_sent(ledger):
    ahead = news("a", date=NOW + 2 * HOUR)
    look(ledger, ahead)
    look(ledger, at=NOW + HOUR)
    assert states(ledger) == {"key of a": "waiting"}
    assert look(ledger, at=NOW + 3 * HOUR).withdrawn == 1
    assert send(ledger, NOW + 3 * HOUR) == []
    assert look(ledger, ahead, at=NOW + 4 * HOUR).new == 1
    assert send(ledger, NOW + 4 * HOUR) == ["a"]
    assert look(ledger, ahead, at=NOW + 5 * HOUR).new == 0


def test_one_that_is_back_after_what_it_said_was_forgotten_is_written_anew(ledger):
    days = 24 * HOUR
    look(ledger, news("a", date=NOW + 2 * HOUR))
    assert look(ledger, at=NOW + 3 * HOUR).withdrawn == 1
    assert ledger.purge(NOW + 11 * days) == 1
    ahead = news("a", date=NOW + 20 * days)
    assert look(ledger, ahead, at=NOW + 12 * days).new == 1
    assert send(ledger, NOW + 12 * days) == []
    assert look(ledger, ahead, at=NOW + 20 * days).new == 0
    assert send(ledger, NOW + 20 * days) == ["a"]


def test_of_two_equals_the_one_that_was_sent_is_not_taken_for_the_one_that_was_withdrawn(ledger):
    date = NOW + 2 * HOUR
    look(ledger, *(news(uuid, key=key, identity="i", date=date) for uuid, key in (("a", "k0"), ("b", "k1"))))
    look(ledger, news("b", key="k0", identity="i", date=date), at=NOW + 3 * HOUR)
    assert send(ledger, NOW + 3 * HOUR) == ["b"]
    assert look(ledger, news("x", key="k0", identity="i", date=date), at=NOW + 4 * HOUR).new == 0


def test_a_movement_gone_for_a_while_before_its_date_is_sent(ledger):
    ahead = news("a", date=NOW + 3 * HOUR)
    for hour, told in enumerate(([ahead], [], [ahead], [ahead])):
        look(ledger, *told, at=NOW + hour * HOUR)
    assert send(ledger, NOW + 3 * HOUR) == ["a"]


def test_one_dated_ahead_holds_up_nobody(ledger):
    look(ledger, news("ahead", date=NOW + HOUR), at=NOW - 2 * HOUR)
    look(ledger, news("now"))
    assert send(ledger) == ["now"]


# -- random histories ---------------------------------------------------------------------------------------------


class Histories(RuleBasedStateMachine):
    """An account in which movements come, go, come back, and change; each is told once, as many as there are."""

    opened = None

    @initialize()
    def begun(self):
        self.ledger = self.opened()
        self.now, self.polled, self.uuids = NOW, BEGAN, 0
        self.present, self.gone = [], []
        self.told, self.left, self.sent = {}, {}, {}
        self.ledger.standing(HOOK, BEGAN)

    def _uuid(self):
        self.uuids += 1
        return f"uuid{self.uuids}"

    @rule(hours=st.integers(-30, 30), kind=st.integers(0, 1), amount=st.integers(-500, 500))
    def happens(self, hours, kind, amount):
        date = max(self.now.replace(minute=0) + hours * HOUR, BEGAN)
        self.present.append({"uuid": self._uuid(), "date": date, "kind": kind, "amount": amount})

    @rule(data=st.data())
    def equal_happens(self, data):
        if self.present:
            self.present.append(data.draw(st.sampled_from(self.present)) | {"uuid": self._uuid()})

    @rule(data=st.data())
    def reissued(self, data):
        for one in data.draw(st.lists(st.sampled_from(self.present), unique_by=id)) if self.present else ():
            one["uuid"] = self._uuid()

    @rule(random=st.randoms(use_true_random=False))
    def permuted(self, random):
        random.shuffle(self.present)

    @rule(data=st.data(), amount=st.integers(-500, 500))
    def corrected(self, data, amount):
        if self.present:
            data.draw(st.sampled_from(self.present))["amount"] = amount

    @rule(data=st.data())
    def goes(self, data):
        if self.present:
            one = data.draw(st.sampled_from(self.present))
            self.present = [each for each in self.present if each is not one]
            self.gone.append(one)

    @rule()
    def comes_back(self):
        if self.gone:
            self.present.append(self.gone.pop())

    @rule(minutes=st.sampled_from([1, 60, 600, 3000]))
    def looked_at(self, minutes):
        self.now += timedelta(minutes=minutes)
        late_before = self.polled - 12 * HOUR
        groups = {}
        for one in self.present:
            groups.setdefault((one["date"], one["kind"]), []).append(one)
        rows = []
        for (date, kind), equals in groups.items():
            identity = f"{date.isoformat()} {kind}"
            rows += [
                news(one["uuid"], key=f"{identity} {n}", identity=identity, date=date, amount=one["amount"])
                for n, one in enumerate(equals)
            ]
            if date <= self.now:
                more = max(0, len(equals) - self.told.get(identity, 0) - self.left.get(identity, 0))
                count = self.told if date >= late_before else self.left
                count[identity] = count.get(identity, 0) + more
        look(self.ledger, *rows, at=self.now)
        self.polled = self.now

    @rule()
    def sent_what_is_due(self):
        while claimed := take(self.ledger, self.now):
            for one in claimed:
                assert self.sent.setdefault(one.id, one.payload) is one.payload, "a message was sent twice"

    @invariant()
    def told_once(self):
        if not hasattr(self, "ledger"):
            return
        told = {}
        for one in self.ledger.records(HOOK):
            told_or_listed = one.state in (State.DELIVERED, State.WAITING) or one.reason == STALE
            if told_or_listed and one.due_at <= self.polled:
                identity = one.subject.rsplit(" ", 1)[0]
                told[identity] = told.get(identity, 0) + 1
        assert told == {identity: count for identity, count in self.told.items() if count}

    def teardown(self):
        if hasattr(self, "ledger"):
            self.ledger.close()


def test_every_movement_of_a_random_history_is_told_once(tmp_path_factory):
    class OnFile(Histories):
        def opened(self):
            return Ledger.at(tmp_path_factory.mktemp("history") / "ledger.db")

    quick = settings(
        max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    run_state_machine_as_test(OnFile, settings=quick)


# -- replay and retry ---------------------------------------------------------------------------------------------


def test_a_replay_counts_first_and_changes_nothing_by_that(ledger):
    look(ledger, news("told"))
    send(ledger)
    told = [news("old", date=BEGAN - 90 * HOUR), news("told")]
    before = list(ledger.records(payloads=True))
    counted = ledger.replay(HOOK, told, compose, NOW + HOUR, only_count=True)
    assert (counted.new, counted.again, counted.left_out) == (1, 1, 0)
    assert list(ledger.records(payloads=True)) == before
    ledger.replay("another", told, compose, NOW, only_count=True)
    assert [one.name for one in ledger.known()] == [HOOK]


def test_a_replay_sends_what_was_told_as_it_was_under_its_own_id(ledger):
    look(ledger, news("told"))
    first = take(ledger)
    ledger.replay(HOOK, [news("told", amount=999), news("old", date=BEGAN - HOUR)], compose, NOW + HOUR)
    again = {one.id: one.payload for _ in range(2) for one in take(ledger, NOW + HOUR)}
    assert again.pop(first[0].id) == first[0].payload
    assert list(again.values()) == [b'["old", 100]']


def test_a_replay_tells_what_came_too_late(ledger):
    look(ledger, at=NOW)
    late = news("late", date=NOW - 13 * HOUR)
    look(ledger, late, at=NOW + HOUR)
    assert ledger.replay(HOOK, [late], compose, NOW + HOUR).new == 1
    assert send(ledger, NOW + HOUR) == ["late"]
    assert look(ledger, late, at=NOW + 2 * HOUR).new == 0


def test_what_is_too_small_stays_left_out_in_a_replay(ledger):
    def small(told):
        return [replace(draft, left_out="small") for draft in compose(told)]

    ledger.standing(HOOK, BEGAN)
    ledger.enqueue_news(HOOK, [news("a")], small, NOW, seen_at=NOW)
    done = ledger.replay(HOOK, [news("a")], small, NOW)
    assert (done.new, done.again, done.left_out) == (0, 0, 1)
    assert states(ledger) == {"key of a": "left out"}


def test_what_came_to_its_end_is_tried_again_when_asked(ledger):
    look(ledger, *(news(f"{n}", customer=f"cus_{n}") for n in range(2 * CHUNK)))
    send(ledger)
    ids = [one.id for one in ledger.records(HOOK)]
    assert ledger.retry(ids, NOW + HOUR) == 2 * CHUNK
    assert len(send(ledger, NOW + HOUR)) == 2 * CHUNK


def again_by_id(ledger, id_, at):
    assert ledger.retry([id_], at) == 1


def again_by_movement(ledger, _, at):
    assert ledger.replay(HOOK, [news("a")], compose, at).again == 1


@pytest.mark.parametrize("asked", [again_by_id, again_by_movement])
def test_what_is_asked_for_again_has_all_of_its_tries_anew_and_keeps_those_before(ledger, asked):
    look(ledger, news("a"))
    tries = len(POLICY.retries) + 1
    moments = [NOW + n * HOUR for n in range(2 * tries)]
    for moment in moments[:tries]:
        (message,) = take(ledger, moment, FAILED)
    assert states(ledger) == {"key of a": "failed"}
    asked(ledger, message.id, moments[tries])
    for moment in moments[tries:-1]:
        take(ledger, moment, FAILED)
        assert states(ledger) == {"key of a": "waiting"}
    take(ledger, moments[-1], FAILED)
    assert states(ledger) == {"key of a": "failed"}
    record = ledger.record(message.id)
    assert [(one.attempt, one.at) for one in record.tries] == list(enumerate(moments, 1))
    assert record.reason.endswith(f"tried {tries} times")


def test_one_that_still_waits_has_its_tries_anew_when_asked_for(ledger):
    look(ledger, news("a"))
    for hours in range(len(POLICY.retries)):
        (message,) = take(ledger, NOW + hours * HOUR, FAILED)
    again_by_id(ledger, message.id, NOW + hours * HOUR)
    for more in range(len(POLICY.retries)):
        take(ledger, NOW + (hours + more) * HOUR, FAILED)
        assert states(ledger) == {"key of a": "waiting"}


def test_a_subject_is_written_down_once(ledger):
    recap = Draft("recap", "daily 2026-11-22", b"recap", NOW)
    assert ledger.enqueue(HOOK, [recap], NOW) == 1
    assert ledger.enqueue(HOOK, [recap], NOW) == 0


def test_a_destination_is_removed_with_all_its_messages_and_no_other_is(ledger):
    look(ledger, news("one"))
    take(ledger, answer=FAILED)
    ledger.standing("other", NOW)
    ledger.enqueue("other", [Draft("movement", "two", b"words", NOW)], NOW)
    assert ledger.remove(HOOK) == 1
    assert [one.name for one in ledger.known()] == ["other"]
    assert [one.subject for one in ledger.records()] == ["two"]
    assert ledger.remove(HOOK) == 0


def test_of_a_message_that_is_none_says_so(ledger):
    with pytest.raises(DataRefused, match="there is no message 'msg_x'"):
        ledger.record("msg_x")


# -- claims and turns ---------------------------------------------------------------------------------------------


def test_only_one_process_sends_to_a_destination(ledger, url):
    look(ledger, *(news(f"{n}", customer=f"cus_{n}") for n in range(5)))
    with Ledger(url) as other:
        assert len(ledger.claim(HOOK, 2, POLICY, NOW)) == 2
        assert other.claim(HOOK, 2, POLICY, NOW) == []


def test_processes_that_claim_without_a_pause_never_get_one_message_twice(url, tmp_path):
    with Ledger(url) as ledger:
        look(ledger, *(news(f"{n:03}", customer=f"cus_{n % 40}") for n in range(200)))
    file = tmp_path / "claims"
    children = [killing.begin(ledgers.hammer, url, str(file)) for _ in range(3)]
    for child in children:
        killing.end(child)
    ids = [line[0] for line in ledgers.lines(file)]
    assert len(ids) == len(set(ids)) == 200


def test_a_claim_is_free_when_its_owner_died(url, tmp_path):
    file = tmp_path / "claims"
    with Ledger(url) as ledger:
        look(ledger, news("a"))
        child = killing.begin(ledgers.claim_and_hold, url, str(file))
        while not file.exists():
            assert child.is_alive()
        assert ledger.release(HOOK, datetime.now(NOW.tzinfo)) == 0, "its owner lives"
        assert ledger.next_due()[HOOK] > datetime.now(NOW.tzinfo), "and nobody is started for it"
        child.kill()
        child.join()
        assert ledger.next_due()[HOOK] <= NOW
        assert ledger.release(HOOK, datetime.now(NOW.tzinfo)) == 1
        assert [[one.id] for one in take(ledger)] == ledgers.lines(file)


def test_a_claim_is_free_after_its_time(ledger, url):
    look(ledger, news("a"))
    with Ledger(url) as other:
        (mine,) = ledger.claim(HOOK, 1, POLICY, NOW)
        assert other.release(HOOK, NOW + CLAIMED_FOR - timedelta(seconds=1)) == 0
        assert other.release(HOOK, NOW + CLAIMED_FOR) == 1
        (its,) = other.claim(HOOK, 1, POLICY, NOW)
        assert (its.id, its.payload) == (mine.id, mine.payload)
        other.settle([Tried(its, TAKEN, NOW, 0.1)], POLICY, NOW)
        ledger.settle([Tried(mine, FAILED, NOW, 0.1)], POLICY, NOW)  # awake again: the claim is another's
        assert ledger.record(mine.id).state is State.DELIVERED


def test_a_mail_that_was_in_flight_is_not_sent_again_by_itself(ledger, url):
    look(ledger, news("a"))
    ledger.claim(HOOK, 1, POLICY, NOW)
    with Ledger(url) as other:
        other.release(HOOK, NOW + CLAIMED_FOR, ambiguous=State.UNKNOWN)
        assert take(other) == []
        (one,) = other.records(HOOK)
        assert (one.state, one.reason) == (State.UNKNOWN, "the process that sent it was gone before the answer")


def test_what_was_claimed_and_not_tried_is_given_back(ledger):
    look(ledger, news("a"))
    ledger.unclaim(ledger.claim(HOOK, 1, POLICY, NOW))
    assert send(ledger) == ["a"]


def test_a_customers_movements_go_one_after_the_other(ledger):
    look(ledger, news("a"), news("b", date=NOW - HOUR / 2), news("other", customer="cus_2"))
    assert [(one.payload, one.sequence) for one in take(ledger)] == [(b'["a", 100]', 1), (b'["other", 100]', 1)]
    assert [(one.payload, one.sequence) for one in take(ledger)] == [(b'["b", 100]', 2)]


def test_one_that_failed_three_times_holds_up_nobody(ledger):
    look(ledger, news("a"), news("b", date=NOW - HOUR / 2))
    at = NOW
    for _ in range(2):
        assert [one.sequence for one in take(ledger, at, FAILED)] == [1]
        assert take(ledger, at) == []
        assert ledger.next_due()[HOOK] > at, "what waits for its turn starts no run"
        at = ledger.next_due()[HOOK]
    assert [one.sequence for one in take(ledger, at, FAILED)] == [1]
    assert [one.sequence for one in take(ledger, at)] == [2]


def test_with_thousands_delivered_and_thousands_waiting_a_claim_is_quick(ledger):
    dates = [NOW - HOUR + timedelta(microseconds=n) for n in range(8000)]
    look(ledger, *(news(f"{n}", customer=f"cus_{n % 5}", date=date) for n, date in enumerate(dates)))
    with ledger._engine.begin() as connection:
        connection.execute(sa.text("UPDATE message SET state = 'delivered' WHERE sequence <= 800"))
        connection.execute(sa.text("ANALYZE message"))
    began = time.process_time()
    for _ in range(20):
        assert len(take(ledger)) == 5
    assert time.process_time() - began < 1


# -- what a try comes to ------------------------------------------------------------------------------------------


def test_tries_follow_their_schedule_give_or_take_a_fifth(ledger):
    look(ledger, news("a"))
    at = NOW
    for attempt, pause in enumerate(POLICY.retries, 1):
        (one,) = take(ledger, at, FAILED)
        assert one.attempt == attempt
        wait = ledger.next_due()[HOOK] - at
        assert 0.8 * pause <= wait <= 1.2 * pause
        assert take(ledger, at + wait - timedelta(milliseconds=1)) == []
        at += wait
    (last,) = take(ledger, at, FAILED)
    record = ledger.record(last.id)
    assert (record.state, record.attempts, record.reason) == (State.FAILED, 4, "503: overloaded; tried 4 times")
    assert [one.status for one in record.tries] == ["503"] * 4


def test_pauses_are_spread(ledger):
    look(ledger, *(news(f"{n}", customer=f"cus_{n}") for n in range(30)))
    take(ledger, NOW, FAILED)
    assert len({one.due_at for one in ledger.records(HOOK)}) == 30


def test_a_receiver_that_asks_for_time_gets_it(ledger):
    look(ledger, news("a"))
    take(ledger, NOW, Answer(Outcome.AGAIN, "429", retry_after=timedelta(minutes=10)))
    assert ledger.next_due()[HOOK] == NOW + timedelta(minutes=10)


def test_what_is_refused_has_failed(ledger):
    look(ledger, news("a"))
    take(ledger, NOW, Answer(Outcome.REFUSED, "400", "no"))
    assert states(ledger) == {"key of a": "failed"}


def test_answers_are_kept_whatever_is_in_them(ledger):
    look(ledger, news("a"))
    (one,) = take(ledger, NOW, Answer(Outcome.AGAIN, "5\x0003", "half \ud83d, nothing \x00, " + "long " * 100))
    (tried,) = ledger.record(one.id).tries
    assert tried.status == "503"
    assert tried.answer.startswith("half ?, nothing , long")
    assert len(tried.answer) == 300


def test_one_that_wants_no_more_is_disabled_once_and_resumed_by_hand(ledger):
    look(ledger, news("a"), news("b", customer="cus_2"))
    gone = Answer(Outcome.GONE, "410")
    first, second = ledger.claim(HOOK, 2, POLICY, NOW)
    assert ledger.settle([Tried(first, gone, NOW, 0)], POLICY, NOW)[1] == "it wants no more messages (410)"
    assert ledger.settle([Tried(second, gone, NOW, 0)], POLICY, NOW)[1] is None
    soon = NOW + timedelta(seconds=1)
    assert look(ledger, news("c", customer="cus_3"), at=soon).new == 1
    assert take(ledger, soon) == []
    assert ledger.next_due() == {}
    assert ledger.resume(HOOK, soon)
    assert not ledger.resume(HOOK)
    assert len(take(ledger, soon)) == 3


def test_five_days_without_a_success_disable_once(ledger):
    policy = Policy(POLICY.retries * 20, silence=timedelta(days=5))
    look(ledger, news("a"))

    def tried(at, answer):
        ledger.retry([one.id for one in ledger.records(HOOK)], at)
        (one,) = ledger.claim(HOOK, 1, policy, at)
        return ledger.settle([Tried(one, answer, at, 0)], policy, at)[1]

    day = timedelta(days=1)
    assert tried(NOW, FAILED) is None
    assert tried(NOW + 4 * day, TAKEN) is None
    assert tried(NOW + 5 * day, FAILED) is None
    assert tried(NOW + 9 * day, FAILED) is None
    assert tried(NOW + 10 * day, FAILED) == "no message was taken since 2026-11-28 09:00 UTC"
    assert ledger.standing(HOOK, NOW).disabled_at == NOW + 10 * day


# -- where it is kept ---------------------------------------------------------------------------------------------


def test_the_file_is_its_owners_alone(tmp_path):
    path = tmp_path / "a new?folder" / "ledger #1.db"
    with Ledger.at(path) as ledger:
        look(ledger, news("a"))
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_the_migrations_make_the_tables_that_the_code_knows(ledger):
    with ledger._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "ledger_version"})
        assert compare_metadata(context, METADATA) == []


def test_a_ledger_is_opened_again(ledger, url):
    look(ledger, news("a"))
    with Ledger(url) as again:
        assert send(again) == ["a"]


def test_a_ledger_of_a_newer_version_is_left_alone(ledger, url):
    with ledger._engine.begin() as connection:
        connection.execute(sa.text("UPDATE ledger_version SET version_num = '9999'"))
    with pytest.raises(LedgerUnusable, match=r"was written by a newer version \(9999; this one knows 0001\)"):
        Ledger(url)


def test_several_processes_open_a_new_ledger_at_once(url):
    for child in [killing.begin(ledgers.open_and_close, url) for _ in range(6)]:
        killing.end(child)
    with Ledger(url) as ledger:
        assert [one.name for one in ledger.known()] == [HOOK]


def test_several_threads_open_a_new_ledger_at_once(url):
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(ledgers.open_and_close, [url] * 6))


def test_who_looks_waits_for_nobody_who_writes(ledger, url):
    look(ledger, news("a"))
    with Ledger(url) as other, other._transaction(HOOK):
        assert states(ledger) == {"key of a": "waiting"}
        assert ledger.next_due()
        Ledger(url).close()


def test_a_full_disk_is_told_and_takes_nothing_with_it(tmp_path):
    with Ledger.at(tmp_path / "ledger.db") as ledger:
        look(ledger, news("a"))
        with full_disk(ledger), pytest.raises(LedgerUnusable, match="database or disk is full") as told:
            look(ledger, *(news(f"{n}", customer="c" * 2000) for n in range(CHUNK)), at=NOW + HOUR)
        assert "\n" not in str(told.value)
        assert states(ledger) == {"key of a": "waiting"}


@contextmanager
def full_disk(ledger):
    def limited(connection):
        (pages,) = connection.exec_driver_sql("PRAGMA page_count").one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    sa.event.listen(ledger._engine, "begin", limited)
    yield
    sa.event.remove(ledger._engine, "begin", limited)
    with ledger._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")


def test_a_file_that_is_no_ledger_is_told(tmp_path):
    (tmp_path / "ledger.db").write_text("a letter to the bank" * 100)
    with pytest.raises(LedgerUnusable, match="file is not a database"):
        Ledger.at(tmp_path / "ledger.db")
    with pytest.raises(LedgerUnusable, match="cannot be made"):
        Ledger.at(tmp_path / "ledger.db" / "below")


@pytest.mark.parametrize(
    "url", ["nothing", "mysql://u:hush@h/d", "postgresql+asyncpg://u:hush@h/d", "postgresql://u:hu:sh@h:x/d"]
)
def test_a_url_that_is_none_is_told_without_its_password(url):
    with pytest.raises(ConfigurationError) as told:
        Ledger(url)
    assert "hu" not in str(told.value).replace("host", "")


def test_a_database_that_is_not_there_is_told_without_its_password():
    with pytest.raises(LedgerUnavailable) as told:
        Ledger(f"postgresql://mogul:hush@127.0.0.1:{servers.free_port()}/ledger")
    assert "hush" not in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.peer
@pytest.mark.parametrize(("wrong", "words"), [("password", "authentication failed"), ("database", "does not exist")])
def test_a_database_that_lets_nobody_in_is_told_without_its_password(peer, wrong, words):
    owner = {**peer("redshift")["owner"], "database": "postgres", wrong: "hush"}
    with pytest.raises(LedgerUnusable, match=words) as told:
        Ledger(f"postgresql://{owner['user']}:{owner['password']}@127.0.0.1:{owner['port']}/{owner['database']}")
    assert owner["password"] not in str(told.value) or wrong == "database"
    assert "\n" not in str(told.value)


@pytest.mark.peer
def test_a_connection_that_is_lost_is_told_and_made_again(peer):
    with ledgers.database(peer("redshift")) as url, Ledger(url) as ledger:
        look(ledger, news("a"))
        name = url.rsplit("/", 1)[1]
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"

        def lost(told):
            redshift.asked(peer("redshift"), end)
            return compose(told)

        with pytest.raises(LedgerUnavailable):
            ledger.enqueue_news(HOOK, [news("b")], lost, NOW, seen_at=NOW)
        assert send(ledger) == ["a"]


def test_what_messages_said_is_forgotten_and_that_they_were_sent_is_not(tmp_path):
    with Ledger(ledgers.url_of(tmp_path)) as ledger:
        ledger.standing("hook", NOW)
        ledger.enqueue("hook", [Draft("mail", "sent", b"words", NOW), Draft("mail", "waits", b"words", NOW)], NOW)
        policy = Policy(())
        (first,) = ledger.claim("hook", 1, policy, NOW)
        ledger.settle([Tried(first, Answer(Outcome.TAKEN, "250"), NOW, 0.1)], policy, NOW)
        assert ledger.purge(NOW - timedelta(minutes=1)) == 0
        assert ledger.purge(NOW + timedelta(minutes=1)) == 1
        kept = {one.subject: one.payload for one in ledger.records("hook", payloads=True)}
        assert kept == {"sent": None, "waits": b"words"}
        assert ledger.known_among("hook", ["sent", "never"]) == {"sent"}
