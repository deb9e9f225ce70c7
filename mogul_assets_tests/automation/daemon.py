"""Dagster's daemon by hand: its own loops, one turn at a time, and runs in processes of their own."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.context import IWorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs

_LOG = logging.getLogger("mogul_assets_tests.daemon")


@dataclass(frozen=True)
class Daemon:
    """On the instance of a folder with the project's own ``dagster.yaml``."""

    instance: dg.DagsterInstance
    workspace: IWorkspaceProcessContext
    queue: QueuedRunCoordinatorDaemon

    def tick(self, at: datetime) -> None:
        """The schedules whose time is this one, as if they had been on for an hour."""
        times: dict[str, object] = {}
        for moment in (at - timedelta(hours=1), at + timedelta(seconds=1)):
            list(launch_scheduled_runs(self.workspace, _LOG, moment, times))

    def sense(self) -> None:
        """Every sensor, once; Dagster keeps to the seconds between two looks of one."""
        list(execute_sensor_iteration(self.workspace, _LOG, None, None))

    def runs(self, job: str | None = None) -> list[dg.DagsterRun]:
        """The runs, oldest first."""
        return list(self.instance.get_runs(dg.RunsFilter(job_name=job), ascending=True))

    def finish(self, *jobs: str, seconds: float = 180) -> None:
        """Start what is queued, and wait until the runs of these jobs have ended, or of all."""
        until = time.monotonic() + seconds
        while True:
            list(self.queue.run_iteration(self.workspace))
            left = [run for run in self.runs() if not run.is_finished and (not jobs or run.job_name in jobs)]
            if not left:
                return
            assert time.monotonic() < until, [(run.job_name, run.status.value) for run in left]
            time.sleep(0.2)

    def took(self, job: str) -> float:
        """Seconds that the job's last run took, from being queued."""
        record = self.instance.get_run_records(dg.RunsFilter(job_name=job), limit=1)[0]
        assert record.end_time is not None
        assert record.dagster_run.status is DagsterRunStatus.SUCCESS, job
        return record.end_time - record.create_timestamp.timestamp()


@contextmanager
def daemon(folder: Path) -> Iterator[Daemon]:
    """Runs and code are of the ``mogul.yaml`` in this folder, which ``MOGUL_FILE`` names."""
    shutil.copy(Path(__file__).parents[2] / "dagster.yaml", folder)
    target = ModuleTarget("mogul_assets.definitions", attribute=None, working_directory=None, location_name="mogul")
    with (
        dg.DagsterInstance.from_config(str(folder)) as instance,
        create_test_daemon_workspace_context(target, instance) as workspace,
    ):
        yield Daemon(instance, workspace, QueuedRunCoordinatorDaemon(interval_seconds=1))
