"""How large Dagster's folder grows with a run of ``news`` a minute: it is measured as the runs are removed by age.

``python -m benchmarks.instance [--runs 100 --kept 40]``: so many runs, in a folder with the project's ``dagster.yaml``;
before each, what the sensor does is done: those beyond the newest are removed. Prints the folder's size on the way,
which has to stay once so many are reached as are kept.
"""

import argparse
import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from mogul_assets.automation import news
from mogul_assets.definitions import build_definitions
from mogul_assets.sandbox.company import generate
from mogul_assets.sandbox.server import NO_LIMITS, Sandbox, serve
from mogul_assets.settings import load
from mogul_assets_tests.peers.receiver import Receiver

from benchmarks.real_time import mogul, project  # isort: skip


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--runs", type=int, default=100)
    arguments.add_argument("--kept", type=int, default=40)
    asked = arguments.parse_args()
    news.KEPT_RUNS = asked.kept
    company = generate(seed=5, now=datetime.now(UTC) - timedelta(hours=11), customers=1000)
    folder = Path(tempfile.mkdtemp(prefix="mogul-instance-"))
    try:
        with serve(Sandbox(company, limits=NO_LIMITS)) as serving, Receiver().running() as receiver:
            environment = project(folder, serving.url, receiver.url)
            mogul(environment, "sync", "warehouse")
            os.environ.update(environment)
            grow(folder, serving, asked.runs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def grow(folder: Path, serving, runs: int) -> None:
    job = build_definitions(load(folder / "mogul.yaml")).resolve_job_def(news.NEWS)
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        before = size(folder)
        for run in range(1, runs + 1):
            serving.sandbox.reissue()
            news.forget_old_runs(instance)  # what each tick of the sensor does first
            assert job.execute_in_process(instance=instance).success
            if run % 20 == 0:
                print(f"{run:4} runs: {(size(folder) - before) / 1e6:6.1f} MB more", flush=True)


def size(folder: Path) -> int:
    """Bytes of the instance's own files: runs, events, ticks and logs."""
    own = [path for name in ("history", "storage", "schedules", "logs") for path in (folder / name).rglob("*")]
    return sum(path.stat().st_size for path in own if path.is_file())


if __name__ == "__main__":
    main()
