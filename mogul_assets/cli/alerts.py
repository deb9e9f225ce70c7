"""``mogul alerts``: what is wrong now as the sensor last saw it, and whether the channels can be told."""

from __future__ import annotations

import click

from mogul_assets import alerts
from mogul_assets.alerts import Incident, Notice
from mogul_assets.automation.alerts import tell
from mogul_assets.catalog.window import BEGINNING
from mogul_assets.cli import FAILED, OK, Command, shown
from mogul_assets.cli.project import Project, pass_project
from mogul_assets.destinations.configured import configured
from mogul_assets.errors import ConfigurationError, MogulError


@click.command(
    cls=Command,
    examples={
        "mogul alerts": "the incidents that are open",
        "mogul alerts --test": "tell every channel that this is a test",
    },
)
@click.option("--test", is_flag=True, help="Tell every channel that this is a test; changes nothing.")
@shown.json_option
@pass_project
def command(project: Project, *, test: bool, as_json: bool) -> int:
    """Show what is wrong as the sensor 'alerts' last saw it, since when, and who was told.

    Ends with 1 where something is, or where a channel did not take the test.
    """
    if test:
        return _tested(project)
    standing = alerts.opened(project.settings.store.path)
    if as_json:
        shown.as_json(standing)
    else:
        shown.table(
            ("since", "what", "told", "what it means, and what to do"),
            ((f"{one.since:%Y-%m-%d %H:%M}", one.title, ", ".join(one.told), one.text) for one in standing),
        )
    return FAILED if standing else OK


def _tested(project: Project) -> int:
    channels = project.settings.alerts.channels
    if not channels:
        raise ConfigurationError("there are no alerts", remedy="see docs/alerts.md:  alerts: {slack: {…}}")
    proof = Incident("test", "This is a test of the alerts", "There is nothing to do.", BEGINNING)
    code = OK
    for type_, entry in channels.items():
        try:
            tell(configured(project.settings, entry), Notice(type_, [proof]))
        except MogulError as error:
            code = FAILED
            click.echo(f"mogul: {error}", err=True)
        else:
            click.echo(f"{type_}: taken")
    return code
