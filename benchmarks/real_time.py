"""How long a movement takes from the account to a receiver, through Dagster's own daemon; idle, and beside refreshes.

``python -m benchmarks.real_time [--movements 20] [--refresh]``: a sandbox account whose time is let pass, a project
in a folder of its own, the daemon as a process of its own, and a receiver here. With ``--refresh`` full refreshes run
one after the other meanwhile. Ends with 1 where the 95th percentile is over 60 s, or 90 s beside refreshes.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mogul_assets.messages.ledger import Ledger
from mogul_assets.sandbox.company import generate
from mogul_assets.sandbox.server import Limits, Sandbox, serve
from mogul_assets_tests.peers.receiver import SECRET, Receiver

ROOT = Path(__file__).parents[1]
BEHIND = timedelta(hours=11)
"""The account's clock is behind ours: what happens as it catches up is news, and not yet late."""
STEP = timedelta(minutes=20)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--movements", type=int, default=20)
    arguments.add_argument("--customers", type=int, default=20_000)
    arguments.add_argument("--refresh", action="store_true", help="Full refreshes run meanwhile.")
    asked = arguments.parse_args()
    born = datetime.now(UTC) - BEHIND
    company = generate(seed=5, now=born, customers=asked.customers)
    folder = Path(tempfile.mkdtemp(prefix="mogul-real-time-"))
    try:
        with serve(Sandbox(company, limits=Limits())) as serving, Receiver().running() as receiver:
            environment = project(folder, serving.url, receiver.url)
            mogul(environment, "sync", "warehouse")
            with Ledger.at(folder / "out/ledger.db") as ledger:
                ledger.standing("hook", born)
            waits = measured(serving, receiver, environment, asked, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    waits.sort()
    p95 = statistics.quantiles(waits, n=20)[-1]
    bound = 90 if asked.refresh else 60
    where = ", beside full refreshes" if asked.refresh else ""
    print(f"{len(waits)} movements{where}: median {statistics.median(waits):.1f} s, longest {waits[-1]:.1f} s,")
    print(f"95th percentile {p95:.1f} s (bound {bound})")
    sys.exit(p95 > bound)


def project(folder: Path, url: str, hook: str) -> dict[str, str]:
    """A folder with settings and instance, and the environment of processes that work on it."""
    shutil.copy(ROOT / "dagster.yaml", folder)
    (folder / "out").mkdir()
    (folder / "out/sandbox.json").write_text(json.dumps({"url": url}))
    (folder / "mogul.yaml").write_text(
        "account: {sandbox: true, since: 2025-01}\nstore: {path: out/store}\ndestinations:\n"
        "  warehouse: {type: duckdb, path: out/mogul.duckdb}\n"
        f"  hook: {{type: webhook, url: '{hook}', allow_private: [127.0.0.1], secret: {{env: HOOK_SECRET}}}}\n"
    )
    own = {"DAGSTER_HOME": str(folder), "MOGUL_FILE": str(folder / "mogul.yaml"), "HOOK_SECRET": SECRET}
    return {**os.environ, **own, "DAGSTER_DISABLE_TELEMETRY": "1"}


def mogul(environment: dict[str, str], *command: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "mogul_assets.cli", *command], env=environment, check=True, capture_output=True
    )


def measured(serving, receiver, environment, asked, folder) -> list[float]:
    """Seconds from when the account shows a movement to when the receiver has it."""
    over = threading.Event()
    daemon = subprocess.Popen(
        [Path(sys.executable).with_name("dagster-daemon"), "run", "-m", "mogul_assets.definitions"],
        env=environment,
        cwd=folder,
        start_new_session=True,
        stdout=(folder / "daemon.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    refreshing = threading.Thread(target=refreshes, args=(environment, over), daemon=True)
    try:
        settled(folder)
        if asked.refresh:
            refreshing.start()
        shown: dict[tuple[str, str], float] = {}
        known = {key(each) for each in serving.sandbox.company.activities}
        while len(shown) < asked.movements:
            time.sleep(3)
            now = datetime.now(UTC)
            if datetime.fromtimestamp(serving.sandbox.company.now, UTC) + STEP > now - timedelta(minutes=2):
                break  # the account has caught up with us
            serving.sandbox.live(days=STEP / timedelta(days=1), corrections=0, cancellations=0, merges=0, deletions=0)
            fresh = {key(each) for each in serving.sandbox.company.activities} - known
            at = time.time()
            shown.update(dict.fromkeys((one for one in fresh if one[1] <= f"{now:%Y-%m-%dT%H:%M:%S}"), at))
            known |= fresh
        until = time.monotonic() + 180
        while time.monotonic() < until and len(arrived(receiver) & shown.keys()) < len(shown):
            time.sleep(1)
        took = arrivals(receiver)
        lost = shown.keys() - took.keys()
        if lost:
            sys.exit(f"{len(lost)} of {len(shown)} movements did not arrive")
        return [took[one] - at for one, at in shown.items()]
    finally:
        over.set()
        os.killpg(daemon.pid, signal.SIGTERM)
        daemon.wait(30)


def key(activity) -> tuple[str, str]:
    """What a movement is told by here: its customer, and its moment to the second."""
    moment = datetime.fromisoformat(activity.document.date).astimezone(UTC)
    return activity.document.customer_uuid, f"{moment:%Y-%m-%dT%H:%M:%S}"


def arrivals(receiver) -> dict[tuple[str, str], float]:
    bodies = ((json.loads(one.body), one.at) for one in list(receiver.messages))
    return {(body["customer"]["uuid"], body["date"][:19]): at for body, at in bodies}


def arrived(receiver) -> set[tuple[str, str]]:
    return set(arrivals(receiver))


def settled(folder: Path) -> None:
    """Until the daemon's first run has read the news."""
    pointer = folder / "out/store/pointers/internal/movement_news.json"
    until = time.monotonic() + 180
    while not pointer.exists():
        if time.monotonic() > until:
            sys.exit((folder / "daemon.log").read_text()[-3000:])
        time.sleep(1)


def refreshes(environment: dict[str, str], over: threading.Event) -> None:
    while not over.is_set():
        mogul(environment, "sync", "warehouse", "--full")


if __name__ == "__main__":
    main()
