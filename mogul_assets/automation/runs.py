"""Which runs are under way, and by whom: what a sensor must not start again."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence

import dagster as dg

from mogul_assets.assets.deliveries import concerned
from mogul_assets.processes import lives

PROCESS = "mogul/process"
"""Run tag: host and process id of the command that runs it."""

UNDER_WAY = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


def process() -> str:
    """Which process this is, as ``PROCESS`` says it."""
    return f"{socket.gethostname()}:{os.getpid()}"


def abandoned(run: dg.DagsterRun) -> bool:
    """Whether the command that ran it was killed, so that it will never end by itself."""
    host, _, number = run.tags.get(PROCESS, "").partition(":")
    # Who asks runs none of them: its own number is that of a command that is gone.
    return host == socket.gethostname() and (int(number) == os.getpid() or not lives(int(number)))


def under_way(instance: dg.DagsterInstance, job: str | None = None) -> Sequence[dg.DagsterRun]:
    """The runs, of one job or of all, that are queued or running and may still end by themselves."""
    runs = instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNDER_WAY))
    return [run for run in runs if not abandoned(run)]


def served(runs: Iterable[dg.DagsterRun], destination: str) -> dg.DagsterRun | None:
    """A run among these that is the destination's, whatever started it."""
    return next((run for run in runs if destination in _destinations(run)), None)


def _destinations(run: dg.DagsterRun) -> set[str]:
    # What is materialised by hand has our tag from its first step on, and waits in the queue with its assets alone.
    return {*concerned(run), *(key.path[0] for key in run.asset_selection or ())}
