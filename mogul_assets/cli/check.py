"""``mogul check``: settings, variables, permissions, and what a key can see. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from mogul_assets.account.check import Finding, Level, check_account
from mogul_assets.assets.deliveries import configuration_problem
from mogul_assets.cli import FAILED, OK, WRONG, Command, pretend, shown
from mogul_assets.cli.project import Project, pass_project
from mogul_assets.destinations import disk
from mogul_assets.destinations.base import Destination
from mogul_assets.destinations.configured import configured
from mogul_assets.errors import ConfigurationError, MogulError
from mogul_assets.settings import Entry

CONFIGURATION = "configuration"

PATIENCE = {"attempts": 3, "total": 30.0}
"""For a question that somebody waits for; a refresh tries for longer."""


@click.command(
    cls=Command,
    examples={
        "mogul check": "settings and destinations",
        "mogul check warehouse --json": "one of them, for a script",
        "mogul check --account": "what the API key can see",
    },
)
@click.argument("destinations", nargs=-1)
@click.option("--account", "look", is_flag=True, help="Ask the account what the key can see.")
@shown.json_option
@pass_project
def command(project: Project, destinations: tuple[str, ...], *, look: bool, as_json: bool) -> int:
    """Check the settings, their variables, and what DESTINATIONS (all, where none is named) let us do.

    Every destination is reached and tried, permission by permission; nothing stays there. Ends with 2 where
    something is configured wrong, with 1 where something is refused.
    """
    findings = [*_account(project)] if look else [*_key(project)]
    findings += _store(project)
    entries = project.entries(destinations)
    findings += _ledger(project, entries)
    findings += [finding for entry in entries for finding in _destination(entry.name, project.destination(entry.name))]
    channels = {} if destinations else project.settings.alerts.channels
    for type_, entry in channels.items():
        findings += _destination(f"alerts by {type_}", configured(project.settings, entry))
    if as_json:
        shown.as_json(findings)
    else:
        shown.table(
            ("", "what", "how it stands", "next step"), ((f.level, f.subject, f.text, f.remedy) for f in findings)
        )
    problems = [finding for finding in findings if finding.level is Level.PROBLEM]
    if any(finding.settings for finding in problems):
        return WRONG
    return FAILED if problems else OK


def _key(project: Project) -> Iterator[Finding]:
    """The account's part of the file, and that its variables are set."""
    settings = project.settings.account
    subject = f"account {CONFIGURATION}"
    try:
        project.reveal()
    except ConfigurationError as error:
        yield Finding(Level.PROBLEM, subject, error.message, error.remedy, settings=True)
    else:
        said = "the sandbox" if settings.sandbox else f"a key, and {settings.url}"
        yield Finding(Level.OK, subject, said, settings=True)


def _account(project: Project) -> Iterator[Finding]:
    configured = list(_key(project))
    yield from configured
    if configured[0].level is Level.OK:
        with pretend.account(project):
            yield from check_account(project.account(**PATIENCE)).findings


def _store(project: Project) -> Iterator[Finding]:
    """That reads and datasets can be kept."""
    for permission in disk.permissions(project.settings.store.path):
        if permission.problem is not None:
            yield Finding(Level.PROBLEM, f"store: {permission.name}", permission.problem, permission.remedy)
            return
    yield Finding(Level.OK, "store", "can be written to")


def _ledger(project: Project, entries: Sequence[Entry]) -> Iterator[Finding]:
    """That messages can be written down, and which of the destinations are sent none any more."""
    names = {entry.name for entry in entries if entry.habits.messages}
    if not names:
        return
    try:
        with project.ledger() as ledger:
            known = [one for one in ledger.known() if one.name in names]
            strays = ledger.next_due().keys() - project.settings.destinations.keys()
    except MogulError as error:
        wrong = isinstance(error, ConfigurationError)
        subject = f"ledger {CONFIGURATION}" if wrong else "ledger"
        yield Finding(Level.PROBLEM, subject, error.message, error.remedy, settings=wrong)
        return
    yield Finding(Level.OK, "ledger", "can be written to")
    for name in sorted(strays):
        text = f"messages wait for '{name}', which the file no longer has"
        yield Finding(
            Level.WARNING, "ledger", text, f"give the destination its name back, or: mogul messages list {name}"
        )
    for one in known:
        if one.disabled_at is not None:
            text = f"disabled since {one.disabled_at:%Y-%m-%d %H:%M} UTC: {one.disabled_reason}"
            remedy = f"mend the receiver, then  mogul destinations resume {one.name}"
            yield Finding(Level.PROBLEM, f"{one.name}: be sent to", text, remedy)


def _destination(name: str, destination: Destination) -> Iterator[Finding]:
    problem = configuration_problem(destination)
    if problem is not None:
        yield Finding(Level.PROBLEM, f"{name} {CONFIGURATION}", problem, settings=True)
        return
    yield Finding(Level.OK, f"{name} {CONFIGURATION}", "complete", settings=True)
    try:
        for permission in destination.check():
            level = Level.OK if permission.problem is None else Level.PROBLEM
            yield Finding(level, f"{name}: {permission.name}", permission.problem or "allowed", permission.remedy)
    except MogulError as error:
        yield Finding(Level.PROBLEM, name, error.message, error.remedy)
