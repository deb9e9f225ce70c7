"""Which destination plays which part."""

import pytest

from mogul_assets.automation.roles import Roles
from mogul_assets.settings import load

SETTINGS = """
account: {sandbox: true}
destinations:
  tables: {type: duckdb, schedule: daily, on_refresh: true}
  resting: {type: files, schedule: daily, on_refresh: true, paused: true}
  hook: {type: webhook}
  quiet: {type: webhook, paused: true}
  wrong: {type: webhook}
  mail: {type: email, schedule: weekly, links: tables}
  plain: {type: email, schedule: weekly}
  mine: {type: slack}
"""


@pytest.fixture
def roles(tmp_path):
    file = tmp_path / "mogul.yaml"
    file.write_text(SETTINGS)
    return Roles(load(file).destinations, replaced=["mine"], unusable=["wrong"])


@pytest.mark.parametrize(
    ("part", "players"),
    [
        ("ours", "tables resting hook quiet wrong mail plain"),
        ("told", "hook quiet wrong"),
        ("together", "mail plain"),
        ("apart", "tables resting mine"),
        ("messengers", "hook quiet mail plain"),
        ("linking", "mail"),
        ("active", "tables hook wrong mail plain mine"),
        ("scheduled", "tables mail plain"),
        ("on_refresh", "tables"),
        ("awaited", "hook mail plain"),
    ],
)
def test_each_part_has_its_players(roles, part, players):
    assert list(getattr(roles, part)) == players.split()
