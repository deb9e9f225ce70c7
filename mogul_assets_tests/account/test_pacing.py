"""Turns at the account: spaced, bounded, the most urgent first."""

import asyncio

from mogul_assets.account.pacing import Gate


def test_turns_never_come_faster_than_the_rate_even_after_a_quiet_time():
    async def scenario():
        gate, loop, turns = Gate(per_second=200, at_once=100), asyncio.get_running_loop(), []

        async def one():
            await gate.enter(0)
            turns.append(loop.time())

        for _ in range(2):
            await asyncio.gather(*(one() for _ in range(20)))
            await asyncio.sleep(0.1)
        return turns

    turns = asyncio.run(scenario())
    for burst in (turns[:20], turns[20:]):
        # From any turn on, so many later ones take at least so many intervals, but for the lateness of the first.
        assert burst[-1] - burst[0] >= (len(burst) - 2) / 200


def test_as_many_are_inside_as_may_be_and_no_more():
    async def scenario():
        gate, inside, most, full = Gate(per_second=10_000, at_once=4), [0], [0], asyncio.Event()

        async def one():
            await gate.enter(0)
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            if inside[0] == 4:
                full.set()
            await full.wait()
            inside[0] -= 1
            gate.leave()

        await asyncio.wait_for(asyncio.gather(*(one() for _ in range(50))), 10)
        return most[0]

    assert asyncio.run(scenario()) == 4


def test_whoever_has_furthest_to_go_is_first_and_equals_keep_their_order():
    async def scenario():
        gate, order = Gate(per_second=10_000, at_once=1), []
        await gate.enter(0)

        async def one(urgency, name):
            await gate.enter(urgency)
            order.append(name)
            gate.leave()

        waiting = [
            asyncio.create_task(one(urgency, name)) for urgency, name in ((1, "a"), (9, "b"), (1, "c"), (5, "d"))
        ]
        await asyncio.sleep(0.01)
        gate.leave()
        await asyncio.gather(*waiting)
        return "".join(order)

    assert asyncio.run(scenario()) == "bdac"


def test_one_who_gives_up_waiting_takes_no_turn_away():
    async def scenario():
        gate = Gate(per_second=10_000, at_once=1)
        await gate.enter(0)
        waiting = [asyncio.create_task(gate.enter(0)) for _ in range(3)]
        await asyncio.sleep(0.01)
        waiting[0].cancel()
        gate.leave()
        waiting[1].cancel()
        await asyncio.wait_for(waiting[2], 5)
        gate.leave()
        await asyncio.sleep(0.001)
        return gate.idle

    assert asyncio.run(scenario())


def test_after_a_pause_nobody_starts_before_its_end():
    async def scenario():
        gate, loop = Gate(per_second=10_000, at_once=10), asyncio.get_running_loop()
        gate.pause(0.2)
        end = loop.time() + 0.2
        assert not gate.idle
        await gate.enter(0)
        return loop.time() - end

    assert asyncio.run(scenario()) >= -0.001
