"""``mogul destinations add`` and ``edit``: what is typed, tried, and written."""

import os
import pty
import select
import subprocess
import sys
import time

import pytest
from ruamel.yaml import YAML

from mogul_assets.cli import values
from mogul_assets.destinations import TYPES, load_type
from mogul_assets.errors import ConfigurationError
from mogul_assets.settings import load
from mogul_assets_tests.cli.conftest import DESTINATIONS, SANDBOX, complaint

BEFORE = f"{SANDBOX}{DESTINATIONS}"


def text_of(place):
    return (place.folder / "mogul.yaml").read_text()


def test_what_is_added_was_tried_and_is_told_with_the_next_step(place):
    result = place.mogul("destinations", "add", "files", "disk", "--set", "path=out/disk", "--schedule", "daily")
    assert result.exit_code == 0, result.stderr
    assert text_of(place) == f"{BEFORE}  disk:\n    type: files\n    path: out/disk\n    schedule: daily\n"
    for words in ("line 5; delivered to: 0 9 * * * UTC", "disk/customers, ", "next:   mogul sync disk"):
        assert words in result.stdout
    assert place.mogul("destinations", "test", "disk").exit_code == 0


@pytest.mark.skipif(sys.platform != "linux", reason="/sys is a folder where nobody may make one")
def test_what_may_not_do_what_it_must_is_not_written_unless_that_is_meant(place):
    add = ("destinations", "add", "files", "disk", "--set", "path=/sys/mogul")
    result = place.mogul(*add)
    assert (result.exit_code, text_of(place)) == (1, BEFORE)
    assert "problem" in result.stdout
    assert "--no-check" in result.stderr
    assert place.mogul(*add, "--no-check").exit_code == 0
    assert load(place.folder / "mogul.yaml").entry("disk").options == {"path": "/sys/mogul"}


def test_what_cannot_be_reached_is_not_written(place):
    result = place.mogul(
        *("destinations", "add", "webhook", "hook", "--set", "url=http://127.0.0.1:9/", "--set", "secret=HOOK_SECRET"),
        *("--set", "allow_private=127.0.0.0/8"),
        HOOK_SECRET=None,
    )
    assert (result.exit_code != 0, text_of(place)) == (True, BEFORE)
    assert "nothing was written" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("add", "oracle", "x"), "there is no destination type 'oracle'"),
        (("add", "files", "lake"), "there is a destination 'lake' already"),
        (("add", "files", "x"), "path is missing"),
        (("add", "files", "X", "--set", "path=a"), "'X' cannot be a destination's name"),
        (("add", "files", "x", "--set", "path=a", "--set", "pth=b"), "pth: there is no such setting"),
        (("add", "files", "x", "--set", "path=a", "--schedule", "often"), "'often' is no schedule"),
        (("add", "files", "x", "--set", "path"), "a setting is given as key=value"),
        (("add", "files", "x", "--set", "path=a", "--set", "grace_seconds=[1"), "grace_seconds: what is given cannot"),
        (("edit", "lake"), "give --set or --unset"),
        (("edit", "lake", "--set", "type=s3"), "a destination keeps its type"),
        (("edit", "lake", "--unset", "keep"), "there is no 'keep' there"),
        (("edit", "lake", "--unset", "path"), "path is missing"),
    ],
)
def test_what_is_typed_wrong_is_told_in_a_line_and_nothing_is_written(place, arguments, line):
    result = place.mogul("destinations", *arguments)
    assert (result.exit_code, text_of(place)) == (2, BEFORE)
    assert line in complaint(result)


@pytest.mark.parametrize("secret", ["xoxb-1234", "AKIAIOSFODNN7EXAMPLE", "s3cret"])
def test_a_secret_itself_is_neither_written_nor_repeated(place, secret):
    result = place.mogul("destinations", "add", "slack", "team", "--set", f"token={secret}", "--set", "channels=#a")
    assert (result.exit_code, text_of(place)) == (2, BEFORE)
    assert "token is a secret" in complaint(result)
    assert secret not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("word", "key", "text", "value"),
    [
        ("slack", "token", "SLACK_TOKEN", {"env": "SLACK_TOKEN"}),
        ("slack", "token", "{env: token}", {"env": "token"}),
        ("slack", "channels", "#a, #b", ["#a", "#b"]),
        ("slack", "channels", "['#a, b']", ["#a, b"]),
        ("slack", "burst", "7", 7),
        ("bigquery", "project", "123", "123"),
        ("bigquery", "labels", "{team: finance}", {"team": "finance"}),
        ("webhook", "headers", "{x-key: {env: KEY}}", {"x-key": {"env": "KEY"}}),
        ("files", "datasets", "tags,plans", ["tags", "plans"]),
        ("files", "datasets", "all", "all"),
        ("files", "schedule", "0 6 * * *", "0 6 * * *"),
        ("files", "on_refresh", "true", True),
    ],
)
def test_what_is_typed_is_read_as_the_setting_wants_it(word, key, text, value):
    assert values.value(load_type(word), key, text) == value


def as_typed(value):
    match value:
        case {"env": name}:
            return name
        case list():
            return ",".join(value)
    return str(value)


@pytest.mark.parametrize("word", TYPES)
def test_every_types_example_can_be_typed(word):
    kind = load_type(word)
    typed = {key: as_typed(value) for key, value in kind.EXAMPLE.items()}
    assert {key: values.value(kind, key, text) for key, text in typed.items()} == dict(kind.EXAMPLE)


def test_without_equals_a_secret_is_not_repeated():
    with pytest.raises(ConfigurationError) as caught:
        values.pairs(load_type("slack"), ("xoxb-1234",))
    assert "xoxb" not in str(caught.value)


def test_settings_change_where_they_stand(place):
    lake = "  lake: {type: files, path: out/files, datasets: [tags, mrr_movements]}"
    assert lake in text_of(place)
    result = place.mogul(
        *("destinations", "edit", "lake", "--set", "path=out/there", "--set", "format=csv", "--unset", "datasets")
    )
    assert result.exit_code == 0, result.stderr
    assert text_of(place) == BEFORE.replace(lake, "  lake: {type: files, path: out/there, format: csv}")


def answered(place, arguments, answers, seconds=60):
    """A command on a terminal, its questions answered in order; what it showed, and its exit code."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "mogul_assets.cli", *arguments],
        cwd=place.folder,
        env={**os.environ, **place.environment, "NO_COLOR": "1"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        try:
            seen, answers, until = "", list(answers), time.monotonic() + seconds
            while time.monotonic() < until and select.select([ours], [], [], until - time.monotonic())[0]:
                try:
                    seen += os.read(ours, 65536).decode()
                except OSError:  # the other end is closed
                    break
                if answers and answers[0][0] in seen.rpartition("\n")[2]:
                    os.write(ours, f"{answers.pop(0)[1]}\n".encode())
            assert answers == []
            return seen, process.wait(timeout=10)
        finally:
            process.kill()
            os.close(ours)


def test_on_a_terminal_what_is_missing_is_asked_for(place):
    seen, code = answered(
        place,
        ["destinations", "add", "slack", "team", "--no-check", "--set", "burst=5"],
        [
            ("token: ", "xoxb-1234"),
            ("token: ", "SLACK_TOKEN"),
            ("channels: ", "#revenue, #sales"),
            ("custom_attributes: ", ""),
            ("minimum_cents: ", "100"),
            ("minimum_share_of_mrr: ", ""),
        ],
    )
    assert code == 0, seen
    assert "the NAME of its variable" in seen
    entry = YAML(typ="safe").load(text_of(place))["destinations"]["team"]
    assert entry == {
        "type": "slack",
        "token": {"env": "SLACK_TOKEN"},
        "channels": ["#revenue", "#sales"],
        "minimum_cents": 100,
        "burst": 5,
    }
