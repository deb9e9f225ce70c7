"""Killing a process at every point of a piece of work, to see what it leaves behind.

A child process does the work and dies, without a word, in one of three ways: just before its n-th call or
line of interest (``kill_at``), when a file grows past a size (``kill_at_size``), or after a time
(``kill_after``). The work is a function that can be pickled, with its arguments. A child that fails in any
other way fails the test.

Children are forked from a server that has imported what they need and started no thread: a dozen
milliseconds each, where an interpreter that imports Dagster takes two seconds.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Collection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import pytest

Work = Callable[..., object]

CALLS = frozenset(
    {
        *("close", "copy_file_range", "fsync", "link", "mkdir", "open", "remove", "rename", "replace", "rmdir"),
        *("sendfile", "truncate", "unlink", "utime", "write", "writev"),
    }
)
"""C functions that change what lies on a disk. Libraries that bypass Python's calls (DuckDB, Arrow) are
reached by the lines of our code around them, by size and by time."""

_DEPTH = 3
"""Calls that tell a place: one alone would make all pointers one place, since one function writes them."""

_LIMIT = 300
"""Seconds after which a child counts as hung: on a busy machine seven of CPU took more than 120."""

children = multiprocessing.get_context("forkserver")
children.set_forkserver_preload(
    [
        "pandas",  # Arrow imports it where a moment becomes Python's: seconds, in every child
        *("pytest", "pyarrow.parquet", "mogul_assets.destinations.duckdb", "mogul_assets.destinations.files"),
        *("mogul_assets.refresh", "mogul_assets.automation.jobs", "mogul_assets.store.erasure"),
        *("aiohttp", "standardwebhooks", "mogul_assets.destinations.webhook"),
    ]
)


def points(work: Work, *args: object, within: Collection[str] = ()) -> int:
    """The number of points at which ``kill_at`` can kill ``work``; does it, undisturbed.

    ``within`` names modules whose every line is a point as well, each time that it is reached.
    """
    return len(places(work, *args, within=within))


def places(work: Work, *args: object, within: Collection[str] = ()) -> list[str]:
    """Where in our code each of those points is: the innermost calls, as ``module:line < module:line``."""
    receiver, sender = children.Pipe(duplex=False)
    child = _begun(_listed, sender, frozenset(within), work, args)
    sender.close()
    found: list[str] = receiver.recv() if receiver.poll(_LIMIT) else []
    assert _ended(child) == 0, "the undisturbed work failed"
    return found


def kill_at(point: int, work: Work, *args: object, within: Collection[str] = ()) -> bool:
    """Whether the child died, just before its ``point``-th point, counted from 0; else the work is done."""
    return _killed(_begun(_fatal, point, frozenset(within), work, args), signal.SIGKILL)


def kill_at_size(size: int, work: Work, *args: object) -> bool:
    """Whether the child died on writing past the first ``size`` bytes of any file, in whatever library.

    The kernel does it (RLIMIT_FSIZE), in the middle of the write: what fits below the limit is written.
    """
    return _killed(_begun(_limited, size, work, args), signal.SIGXFSZ)


def kill_after(seconds: float, work: Work, *args: object) -> bool:
    """Whether the child died, ``seconds`` after it began the work; else the work is done."""
    receiver, sender = children.Pipe(duplex=False)
    child = _begun(_announced, sender, work, args)
    sender.close()
    assert receiver.poll(_LIMIT), "the child never began"
    receiver.recv()
    child.join(seconds)
    if child.is_alive():
        child.kill()
    return _killed(child, signal.SIGKILL)


def seconds_of(work: Work, *args: object) -> float:
    """How long ``work`` takes in a child, undisturbed: what times to kill it at."""
    receiver, sender = children.Pipe(duplex=False)
    child = _begun(_announced, sender, work, args)
    sender.close()
    receiver.recv()
    began = time.monotonic()
    assert _ended(child) == 0, "the undisturbed work failed"
    return time.monotonic() - began


def begin(work: Work, *args: object) -> BaseProcess:
    """``work`` in a child, at the same time as the test."""
    return _begun(_plain, work, args)


def end(child: BaseProcess) -> None:
    """Wait for a child that ``begin`` started, and fail where it failed."""
    assert _ended(child) == 0, "the work failed in its child"


def _begun(target: Callable[..., None], *args: Any) -> BaseProcess:
    child = children.Process(target=target, args=args, daemon=True)
    with pytest.MonkeyPatch.context() as patch:
        # Measured for coverage, a child writes a file of its own: past the size at which it is to die, for one.
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        child.start()
    return child


def _ended(child: BaseProcess) -> int | None:
    child.join(_LIMIT)
    if child.is_alive():
        child.kill()
        raise AssertionError(f"the child was still at it after {_LIMIT} seconds")
    return child.exitcode


def _killed(child: BaseProcess, by: signal.Signals) -> bool:
    code = _ended(child)
    assert code in (0, -by), f"the child was to die of {by.name} and ended with {code}"
    return code == -by


def _plain(work: Work, args: tuple[object, ...]) -> None:
    work(*args)


def _announced(sender: Connection, work: Work, args: tuple[object, ...]) -> None:
    sender.send(None)
    work(*args)


def _listed(sender: Connection, within: frozenset[str], work: Work, args: tuple[object, ...]) -> None:
    found: list[str] = []
    _watched(lambda frame: found.append(_place(frame)), within, work, args)
    sender.send(found)


def _place(frame: FrameType | None) -> str:
    calls: list[str] = []
    while frame is not None and len(calls) < _DEPTH:
        if (module := frame.f_globals.get("__name__", "")).startswith("mogul_assets."):
            calls.append(f"{module}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(calls)


def _fatal(point: int, within: frozenset[str], work: Work, args: tuple[object, ...]) -> None:
    left = point

    def counting(_frame: FrameType) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    _watched(counting, within, work, args)


def _limited(size: int, work: Work, args: tuple[object, ...]) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
    work(*args)


def _watched(
    reached: Callable[[FrameType], None], within: frozenset[str], work: Work, args: tuple[object, ...]
) -> None:
    def profile(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and called.__name__ in CALLS and not isinstance(called.__self__, str):
            reached(frame)

    def trace(frame: FrameType, _event: str, _arg: object) -> Callable[..., Any] | None:
        expression = frame.f_code.co_name.startswith("<")  # a comprehension changes nothing
        return lines if frame.f_globals.get("__name__") in within and not expression else None

    def lines(frame: FrameType, event: str, _arg: object) -> Callable[..., Any]:
        if event == "line":
            reached(frame)
        return lines

    sys.setprofile(profile)
    sys.settrace(trace if within else None)
    try:
        work(*args)
    finally:
        sys.settrace(None)
        sys.setprofile(None)
