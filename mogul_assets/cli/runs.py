"""Dagster's jobs, run in this process on the instance that the UI shows: their progress, and why they failed."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import click
import dagster as dg
from dagster import DagsterEventType
from dagster._core.errors import DagsterExecutionInterruptedError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from sqlalchemy.exc import DBAPIError

from mogul_assets.alerts import named
from mogul_assets.assets.reads import WARNINGS
from mogul_assets.automation.runs import PROCESS, abandoned, process
from mogul_assets.cli import upgrade
from mogul_assets.cli.history import unhurried
from mogul_assets.cli.project import Project
from mogul_assets.errors import StoreUnwritable

_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
"""SQLite's words for a disk that takes no more, the second where a file may not grow (its low byte tells the kind)."""


@dataclass(frozen=True)
class Ran:
    """One run. ``problems`` has a line for each thing that failed, ``warnings`` for each that does not hinder.

    ``outcome``: done, failed, or how many of its steps were: a run of which some failed is neither of the two.
    """

    job: str
    run_id: str = ""
    ok: bool = False
    seconds: float = 0.0
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    outcome: str = "failed"


@contextmanager
def instance(project: Project) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of the project.

    Runs of commands that were killed are closed first: they would hold their pools for ever. After an upgrade
    Dagster's tables are brought to its version.

    Raises:
        ConfigurationError: a newer Dagster wrote them.
        StoreUnwritable: its folder may not be written to, or is full.
    """
    home = project.home
    try:
        opened = dg.DagsterInstance.get()
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise _unkept(home, error) or StoreUnwritable(
            f"cannot keep Dagster's state in {home}: {reason}",
            remedy="name another folder: export DAGSTER_HOME=…",
        ) from error
    try:
        with unhurried(), opened:
            upgrade.up_to_date(opened, home)
            _close_abandoned(opened)
            yield opened
    except DBAPIError as error:
        raise _unkept(home, error) or error from error


def _unkept(home: Path, error: Exception) -> StoreUnwritable | None:
    """What to say where Dagster's own files no longer fit on the disk; ``None`` where it is not that."""
    if not isinstance(error, DBAPIError) or getattr(error.orig, "sqlite_errorcode", 0) & 0xFF not in _FULL:
        return None
    return StoreUnwritable(
        f"cannot keep Dagster's state in {home}: the disk is full",
        remedy="make room, then run again; what was delivered stands",
    )


def run(
    project: Project,
    on: dg.DagsterInstance,
    job: str,
    tags: Mapping[str, str],
    assets: Sequence[dg.AssetKey] | None = None,
    *,
    config: Mapping[str, Any] | None = None,
) -> Ran:
    """Run a job, or these assets of it, to its end, and show how far it is on stderr.

    ``config`` is run configuration, as the launchpad takes it.
    """
    definition = project.definitions.resolve_job_def(job)
    run_id, began = dg.DagsterRun(job_name=job).run_id, time.monotonic()
    level = "DEBUG" if project.verbose else "CRITICAL"
    with _progress(job, len(assets or definition.nodes)) as heard:
        on.add_event_listener(run_id, heard)
        done = definition.execute_in_process(
            run_config={"loggers": {"console": {"config": {"log_level": level}}}, **(config or {})},
            instance=on,
            tags={**tags, PROCESS: process()},
            asset_selection=assets,
            run_id=run_id,
            raise_on_error=False,
        )
    events = done.all_events
    if any(map(_interrupted, events)):
        raise click.Abort
    return Ran(
        job,
        run_id,
        done.success,
        round(time.monotonic() - began, 2),
        _problems(events),
        tuple(dict.fromkeys(warning for event in events for warning in _warnings(event))),
        _outcome(events, ok=done.success),
    )


def _outcome(events: Sequence[dg.DagsterEvent], *, ok: bool) -> str:
    kinds = Counter(event.event_type for event in events)
    well, ill = kinds[DagsterEventType.STEP_SUCCESS], kinds[DagsterEventType.STEP_FAILURE]
    return "done" if ok else f"{well} of {well + ill}" if well else "failed"


def _interrupted(event: dg.DagsterEvent) -> bool:
    """Dagster takes Ctrl-C for a failure of the step that it met."""
    failed = event.event_type is DagsterEventType.PIPELINE_FAILURE
    error = event.job_failure_data.error if failed else None
    return error is not None and error.cls_name == DagsterExecutionInterruptedError.__name__


def _problems(events: Sequence[dg.DagsterEvent]) -> tuple[str, ...]:
    """Why steps failed, each reason once, or the run where it came to none."""
    steps: dict[str, list[str]] = {}
    for event in events:
        if event.event_type is DagsterEventType.STEP_FAILURE:
            steps.setdefault(_reason(event), []).append((event.step_key or "").replace("__", "/"))
    failed = [event for event in events if event.event_type is DagsterEventType.PIPELINE_FAILURE]
    if not steps:
        return tuple(dict.fromkeys(f"{event.job_name}: {event.message}" for event in failed))
    return tuple(f"{named(names, shown=1)}: {reason}" for reason, names in steps.items())


def _reason(event: dg.DagsterEvent) -> str:
    """In one line: our own words; of others' errors, whose text may quote data, the kind."""
    failure = event.step_failure_data
    if failure.user_failure_data is not None:
        return str(failure.user_failure_data.description)
    error = failure.error
    while error is not None and error.cause is not None:
        error = error.cause
    kind = error.cls_name if error is not None else "an error"
    return f"unexpected {kind} → look at the run in Dagster: mogul ui"


def _warnings(event: dg.DagsterEvent) -> Iterator[str]:
    """What reading met, and checks that only warn; one that blocks failed its step, which says so."""
    if event.event_type is DagsterEventType.ASSET_MATERIALIZATION:
        told = event.step_materialization_data.materialization.metadata.get(WARNINGS)
        yield from str(told.value).splitlines() if told is not None else ()
    elif event.event_type is DagsterEventType.ASSET_CHECK_EVALUATION:
        check = event.asset_check_evaluation_data
        if not check.passed and check.severity is dg.AssetCheckSeverity.WARN:
            yield f"{check.asset_key.path[-1]}: {check.check_name}: {check.description}"


# -- progress -------------------------------------------------------------------------------------------------


@contextmanager
def _progress(job: str, steps: int) -> Iterator[Any]:
    """What to tell of each event: a bar on a terminal, elsewhere a line for each step that ends."""
    with _stderr() as stream:
        console = Console(file=stream)
        columns = (SpinnerColumn(), TextColumn("{task.fields[job]}"), BarColumn(), MofNCompleteColumn())
        last = (TimeElapsedColumn(), TextColumn("{task.description}"))
        with Progress(*columns, *last, console=console, transient=True, disable=not console.is_terminal) as bar:
            task, began, ended = bar.add_task("starts", total=steps, job=job), {}, 0

            def heard(entry: dg.EventLogEntry) -> None:
                nonlocal ended
                step = (entry.step_key or "").replace("__", "/")
                kind = entry.dagster_event.event_type if entry.dagster_event else None
                if kind is DagsterEventType.STEP_START:
                    began[step] = entry.timestamp
                    bar.update(task, description=step)
                elif kind in {DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE}:
                    ended += 1
                    bar.update(task, completed=ended)
                    if not console.is_terminal:
                        took = entry.timestamp - began.get(step, entry.timestamp)
                        how = "" if kind is DagsterEventType.STEP_SUCCESS else " failed"
                        click.echo(f"{job} {ended}/{steps}: {step}{how}, {took:.1f} s", file=stream)
                elif step and (kind is None or kind is DagsterEventType.ENGINE_EVENT):
                    bar.update(task, description=f"{step}: {entry.user_message or entry.message}")

            yield heard


@contextmanager
def _stderr() -> Iterator[TextIO]:
    """Standard error itself: Dagster turns the file descriptor away into the run's log while a step runs."""
    try:
        copy = os.dup(sys.stderr.fileno())
    except (OSError, ValueError):
        yield sys.stderr
        return
    with os.fdopen(copy, "w", buffering=1) as stream:
        yield stream


# -- runs that were killed ------------------------------------------------------------------------------------


def _close_abandoned(on: dg.DagsterInstance) -> None:
    unfinished = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    for run_ in on.get_runs(dg.RunsFilter(statuses=unfinished)):
        if abandoned(run_):
            on.report_run_failed(run_, "the command that ran it was killed")
            on.event_log_storage.free_concurrency_slots_for_run(run_.run_id)
