"""Every movement arrives, whatever falls over: receivers, connections, and the sender itself again and again."""

from __future__ import annotations

import pytest

from mogul_assets.destinations.webhook import WebhookDestination
from mogul_assets.messages.message import State
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
