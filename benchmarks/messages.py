"""Sending messages: through faults and kills, how fast, and in how much memory.

    python -m benchmarks.messages                 # all three
    python -m benchmarks.messages faults          # 5,000 movements to three webhooks, the sender killed 30 times
    python -m benchmarks.messages speed memory

Faults: of the three webhooks one is down, one takes 200 requests a second and asks for patience beyond (429), and one
cuts one connection in five. Pauses between tries are a fiftieth of what they are. Speed: one fast receiver, in a
process of its own on this machine, that verifies every signature; each customer's movements in their order.
"""

import argparse
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from mogul_assets.destinations.webhook import WebhookDestination
from mogul_assets_tests.messages import faults

MOVEMENTS, KILLS = 5_000, 30
WANTED_A_SECOND = 500
MEMORY_MAY_GROW = 0.10


def fault_run(folder):
    run = faults.run(
        folder, count=MOVEMENTS, customers=MOVEMENTS // 10, kills=KILLS, seed=7, scripts=("down", "busy", "resetting")
    )
    print(f"{MOVEMENTS:,} movements, killed {run.kills} times, {run.seconds:.0f} s")
    for name, took in run.by_receiver.items():
        print(
            f"  {name:10} {took.requests:6,} requests, {took.movements:,} movements under {took.ids:,} ids,"
            f" {took.two_contents} ids with two contents, sent again by a kill: {sum(took.again_by_kill)}"
            f" (at most {max(took.again_by_kill)}), otherwise: {took.again_otherwise}"
        )
        assert took.movements == took.ids == MOVEMENTS, "a movement is missing, or has two ids"
        assert not took.two_contents, "an id has two contents"
        assert not took.two_ids, "a movement has two ids"
        assert not took.forged, "a signature was not valid"
        assert not took.again_otherwise, "sent again without need"
        assert max(took.again_by_kill) <= WebhookDestination.POLICY.concurrency, "more again than were in flight"
    print(f"  down       {dict(run.states['down'])}")
    assert run.kills == KILLS


def told(folder, table, url):
    """Tell the movements; seconds, and the process's greatest size in MB."""
    hook = faults.webhook("fast", url, folder / "ledger.db", WebhookDestination)
    began = time.monotonic()
    while hook.tell([table]).details["messages waiting"] != 0:
        pass
    # Not getrusage: its greatest size is also that of the process that this one was forked from.
    (size,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return time.monotonic() - began, int(size) / 1024


def speed(folder):
    for count in (5_000, 20_000):
        place = folder / str(count)
        table = faults.movements(place / "tables", count, count // 5)
        with faults.receivers(place, ["fast"]) as urls:
            seconds, _ = told(place, table, urls["fast"])
            took = faults.judged(faults.taken(urls["fast"]), [])
        print(f"{count:,} messages in {seconds:.1f} s: {count / seconds:,.0f} a second", flush=True)
        assert (took.movements, took.requests, took.out_of_turn) == (count, count, 0)
        assert count / seconds >= WANTED_A_SECOND, "slower than wanted"


def memory(folder):
    """Each in a process of its own, which finds the movements written: making them takes memory as well."""
    sizes = {}
    for count in (5_000, 50_000):
        place = folder / str(count)
        table = faults.movements(place / "tables", count, count // 5)
        with faults.receivers(place, ["fast"]) as urls, ProcessPoolExecutor(1, get_context("spawn")) as process:
            _, sizes[count] = process.submit(told, place, table, urls["fast"]).result()
        print(f"{count:,} messages in {sizes[count]:,.0f} MB", flush=True)
    few, many = sizes.values()
    print(f"  {many / few - 1:+.1%}")
    assert many <= few * (1 + MEMORY_MAY_GROW), "memory grows with the messages"


PARTS = {"faults": fault_run, "speed": speed, "memory": memory}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("parts", nargs="*", choices=PARTS)
    arguments = arguments.parse_args()
    for part in arguments.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="mogul-messages-") as folder:
            PARTS[part](Path(folder))


if __name__ == "__main__":
    main()
