"""How long twenty destinations, of all types, take to load: from a clean start, and again.

``python -m benchmarks.load [--times 5]``: each time in a process of its own, which says how long `import dagster` took,
and how long everything of ours from there to the resolved definitions. A reload is a process that begins anew: the
code server's. Prints medians, in seconds and as a share of Dagster's own import.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ruamel.yaml import YAML

from mogul_assets.destinations import TYPES, load_type

DESTINATIONS = 20
LOADED = """
import json, time
began, busy = time.perf_counter(), time.process_time()
import dagster
dagsters, dagsters_busy = time.perf_counter(), time.process_time()
from mogul_assets.definitions import build_definitions
from mogul_assets.settings import load
definitions = build_definitions(load())
definitions.get_repository_def().load_all_definitions()
done, done_busy = time.perf_counter(), time.process_time()
print(json.dumps({"dagster": dagsters - began, "ours": done - dagsters, "busy": done_busy - dagsters_busy}))
"""


def settings(folder: Path) -> Path:
    """A ``mogul.yaml`` with twenty destinations: each type in turn, as its example has it."""
    words = [list(TYPES)[at % len(TYPES)] for at in range(DESTINATIONS)]
    entries = {f"{word}_{at}": {"type": word, **load_type(word).EXAMPLE} for at, word in enumerate(words)}
    file = folder / "mogul.yaml"
    with file.open("w") as out:
        YAML(typ="safe").dump({"account": {"sandbox": True}, "destinations": entries}, out)
    return file


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--times", type=int, default=5)
    times = arguments.parse_args().times
    with tempfile.TemporaryDirectory(prefix="mogul-load-") as folder:
        environment = {"MOGUL_FILE": str(settings(Path(folder))), "PATH": ""}
        found = [once(environment) for _ in range(times + 1)][1:]  # the first one fills the disk's cache
    dagster, ours, busy, whole = (
        statistics.median(one[name] for one in found) for name in ("dagster", "ours", "busy", "whole")
    )
    print(f"import dagster      {dagster:6.2f} s")
    print(f"{DESTINATIONS} destinations     {ours:6.2f} s more, {ours / dagster:.2f} of that; {busy:.2f} s computing")
    print(f"reload, all in all  {whole:6.2f} s")


def once(environment: dict[str, str]) -> dict[str, float]:
    began = time.perf_counter()
    said = subprocess.run([sys.executable, "-c", LOADED], env=environment, capture_output=True, text=True, check=True)
    return {**json.loads(said.stdout.splitlines()[-1]), "whole": time.perf_counter() - began}


if __name__ == "__main__":
    main()
