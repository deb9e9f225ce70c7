"""Runs a command until it ends, or until a process of another id does: ``watch PID COMMAND…``.

A test session that is killed cannot stop its peers; this can.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys


def main() -> None:
    watched, *command = sys.argv[1:]
    child = subprocess.Popen(command)
    while True:
        try:
            sys.exit(child.wait(timeout=1))
        except subprocess.TimeoutExpired:
            try:
                os.kill(int(watched), 0)
            except ProcessLookupError:
                os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    main()
