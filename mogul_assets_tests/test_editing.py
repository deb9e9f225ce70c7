"""mogul.yaml, changed: what a change is not about stays as it was, to the letter."""

import json

import pytest

from mogul_assets import editing
from mogul_assets.errors import ConfigurationError

FILE = """\
# What is read, and where it goes.
account: {sandbox: true, since:  2025-01}   # odd spaces stay

destinations:
  # the finance team asked for this
  warehouse:
    type:   duckdb
    path: 'out/mogul.duckdb'     # beside the store
    # nights only
    schedule: daily

  team: {type: slack, token: {env: SLACK_TOKEN}, channels: ["#revenue"]} # told as it happens

  mails:
    type: email
    recipients: # who
      - a@example.com
      - b@example.com
    hour:
# the end
"""


def without(*lines):
    kept = FILE
    for line in lines:
        assert kept.count(line) == 1
        kept = kept.replace(line, "")
    return kept


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_what_is_added_comes_after_what_is_there(ends):
    text = editing.with_entry(FILE.replace("\n", ends), "lake", {"type": "files", "path": "a: b", "key": {"env": "K"}})
    entry = "\n  lake:\n    type: files\n    path: 'a: b'\n    key: {env: K}\n"
    assert text == FILE.replace("    hour:\n", "    hour:\n" + entry).replace("\n", ends)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("account: {}", "account: {}\n\ndestinations:\n  lake:\n    type: files\n"),
        ("account: {}\ndestinations:\n", "account: {}\ndestinations:\n  lake:\n    type: files\n"),
        ("destinations: {} # none\naccount: {}\n", "destinations: # none\n  lake:\n    type: files\naccount: {}\n"),
        ("destinations: {a: {type: s3}}\n", "destinations: {a: {type: s3}, lake: {type: files}}\n"),
        ("destinations:\n    a: {type: s3}", "destinations:\n    a: {type: s3}\n    lake:\n      type: files\n"),
        ('{"account": {}, "destinations": {}}', '{"account": {}, "destinations": {lake: {type: files}}}'),
    ],
)
def test_the_first_one_finds_its_place_in_any_file(before, after):
    assert editing.with_entry(before, "lake", {"type": "files"}) == after


@pytest.mark.parametrize(
    ("name", "after"),
    [
        (
            "warehouse",
            without(
                "  warehouse:\n    type:   duckdb\n    path: 'out/mogul.duckdb'     # beside the store\n"
                "    # nights only\n    schedule: daily\n\n"
            ).replace("this\n", "this\n\n"),
        ),
        (
            "team",
            without(
                '  team: {type: slack, token: {env: SLACK_TOKEN}, channels: ["#revenue"]} # told as it happens\n\n'
            ),
        ),
        (
            "mails",
            without(
                "  mails:\n    type: email\n    recipients: # who\n      - a@example.com\n"
                "      - b@example.com\n    hour:\n"
            ),
        ),
    ],
)
def test_what_is_removed_takes_its_own_lines_and_no_others(name, after):
    assert editing.without_entry(FILE, name) == after


def test_the_last_one_can_be_removed_and_another_added():
    text = "account: {}\ndestinations:\n  a: {type: s3}\n# end\n"
    empty = editing.without_entry(text, "a")
    assert empty == "account: {}\ndestinations:\n# end\n"
    assert editing.with_entry(empty, "b", {"type": "s3"}) == "account: {}\ndestinations:\n  b:\n    type: s3\n# end\n"


@pytest.mark.parametrize(
    ("name", "key", "value", "old", "new"),
    [
        ("warehouse", "path", "b.duckdb", "'out/mogul.duckdb'  ", "b.duckdb  "),
        ("warehouse", "schedule", "15 6 * * *", "schedule: daily", "schedule: 15 6 * * *"),
        ("warehouse", "paused", True, "schedule: daily\n", "schedule: daily\n    paused: true\n"),
        ("team", "paused", True, '"#revenue"]}', '"#revenue"], paused: true}'),
        ("team", "channels", ["#a", "b, c"], '["#revenue"]', "['#a', 'b, c']"),
        ("mails", "hour", 7, "hour:", "hour: 7"),
        ("mails", "recipients", ["c@e.com"], " # who\n      - a@example.com\n      - b@example.com", " [c@e.com]"),
    ],
)
def test_a_setting_changes_in_its_place(name, key, value, old, new):
    assert FILE.count(old) == 1
    assert editing.with_setting(FILE, name, key, value) == FILE.replace(old, new)


@pytest.mark.parametrize(("name", "key"), [("warehouse", "paused"), ("team", "paused"), ("mails", "paused")])
def test_a_setting_that_comes_and_goes_leaves_the_file_as_it_was(name, key):
    assert editing.without_setting(editing.with_setting(FILE, name, key, value=True), name, key) == FILE


def test_a_setting_amid_others_takes_only_itself():
    text = editing.without_setting(FILE, "warehouse", "path")
    assert text == without("    path: 'out/mogul.duckdb'     # beside the store\n")
    assert "{type: slack, channels:" in editing.without_setting(FILE, "team", "token")


@pytest.mark.parametrize("value", ["#x", "a: b", "true", "2020-01", "", "*a", "line\nline", 0.5, None, {"a": ["b"]}])
def test_whatever_a_value_is_it_is_read_as_it_was_meant(value):
    for name in ("warehouse", "team"):
        text = editing.with_setting(FILE, name, "subject", value)
        assert editing._data(text)["destinations"][name]["subject"] == value


@pytest.mark.parametrize(
    "text",
    [
        "x: &all {type: s3, paused: false}\ndestinations:\n  a: *all\n",
        "destinations:\n  a: &all {type: s3, paused: false}\n  b: *all\n",
    ],
)
def test_what_an_alias_shares_is_changed_by_hand(text):
    with pytest.raises(ConfigurationError, match="nothing was written → change it by hand"):
        editing.with_setting(text, "a", "paused", value=True)


def test_a_file_that_changed_meanwhile_is_not_written_over(tmp_path):
    file = tmp_path / "mogul.yaml"
    file.write_text("account: {}\n# by somebody else\n")
    with pytest.raises(ConfigurationError, match="changed meanwhile; nothing was written"):
        editing.save(file, "account: {}\n", "account: {sandbox: true}\n")
    assert file.read_text() == "account: {}\n# by somebody else\n"


def test_a_file_keeps_its_mode_and_a_link_stays_one(tmp_path):
    real, link = tmp_path / "real.yaml", tmp_path / "mogul.yaml"
    real.write_text("a: 1\n")
    real.chmod(0o600)
    link.symlink_to(real)
    editing.save(link, "a: 1\n", "a: 2\n")
    assert (link.is_symlink(), real.read_text(), real.stat().st_mode & 0o777) == (True, "a: 2\n", 0o600)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mogul.yaml", "real.yaml"]


def test_json_stays_json_that_yaml_reads():
    text = json.dumps({"account": {}, "destinations": {"a": {"type": "s3"}}}, indent=1)
    assert editing._data(editing.with_setting(text, "a", "paused", value=True))["destinations"]["a"] == {
        "type": "s3",
        "paused": True,
    }
