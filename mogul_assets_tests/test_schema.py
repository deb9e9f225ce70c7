"""The JSON schema of mogul.yaml: what it takes loads, and what does not load it marks."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from mogul_assets import schema
from mogul_assets.destinations import TYPES
from mogul_assets.settings import ENTRY, load
from mogul_assets_tests.cli.test_entries import COMMENTED
from mogul_assets_tests.test_definitions import with_every_type

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "docs/mogul.schema.json"


def problems(text):
    found = jsonschema.Draft7Validator(json.loads(KEPT.read_text())).iter_errors(YAML(typ="safe").load(text))
    return [error.json_path for error in found]


def test_the_one_in_the_repository_is_the_one_of_the_code():
    assert KEPT.read_text() == schema.text(), "mogul destinations schema > docs/mogul.schema.json"


def test_it_is_a_schema_and_the_file_names_it():
    jsonschema.Draft7Validator.check_schema(json.loads(KEPT.read_text()))
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", (ROOT / "mogul.yaml").read_text())
    assert ROOT / named[1] == KEPT


@pytest.mark.parametrize(
    "text",
    [
        (ROOT / "mogul.yaml").read_text(),
        COMMENTED,
        with_every_type(),
        "account: {api_key: {env: KEY}, since: 2019-04, rates: ecb}\ndestinations:\n",
        "owners: a@b.org\naccount: {sandbox: true}\ndestinations: {a: {type: files, path: b, owners: [team:c]}}",
        "account: {sandbox: {customers: 3}}\nstore: {path: a}\nledger: {url: {env: URL}}\n",
        "account: {sandbox: true}\ndestinations: {a: {type: files, path: b, datasets: [tags], guard: off}}\n",
        "account: {sandbox: true}\ndestinations: {a: {type: files, path: b, table_prefix: cm_, tables: {tags: t}}}",
        "account: {sandbox: true}\ndestinations: {a: {type: files, path: b, columns: {leave_out: {plans: [name]}}}}",
        "account: {sandbox: true}\ndestinations: {a: {type: files, path: b, columns: {salt: {env: S}}, rows: {}}}",
    ],
)
def test_it_takes_what_loads(text):
    assert problems(text) == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("destinations: {}", "$"),
        ("account: {sandbox: true}\ndestination: {}", "$"),
        ("account: {sandbox: true, sinse: 2019-12}", "$.account"),
        ("account: {api_key: sk_live_123}", "$.account.api_key"),
        ("account: {sandbox: true}\ndestinations: {account: {type: files, path: a}}", "$.destinations"),
        ("account: {sandbox: true}\ndestinations: {a: {path: b}}", "$.destinations.a"),
        ("account: {sandbox: true}\ndestinations: {a: {type: oracle}}", "$.destinations.a.type"),
        ("account: {sandbox: true}\ndestinations: {a: {type: files}}", "$.destinations.a"),
        ("account: {sandbox: true}\ndestinations: {a: {type: files, path: b, pth: c}}", "$.destinations.a"),
        ("account: {sandbox: true}\ndestinations: {a: {type: files, path: b, format: xls}}", "$.destinations.a.format"),
        ("account: {sandbox: true}\ndestinations: {a: {type: files, path: b, datasets: [x]}}", "$.destinations.a"),
        ("account: {sandbox: true}\ndestinations: {a: {type: files, path: b, hour: 24}}", "$.destinations.a.hour"),
        (
            "account: {sandbox: true}\ndestinations: {a: {type: files, path: b, columns: {hash: {tags: [x]}}}}",
            "$.destinations.a.columns.hash.tags",
        ),
        (
            "account: {sandbox: true}\ndestinations: {a: {type: files, path: b, columns: {salt: x}}}",
            "$.destinations.a.columns.salt",
        ),
        (
            "account: {sandbox: true}\ndestinations: {a: {type: intercom, token: {env: T}, rows: {}}}",
            "$.destinations.a",
        ),
        ("account: {sandbox: true}\ndestinations: {a: {type: slack, token: x, channels: ['#a']}}", "$.destinations.a"),
    ],
)
def test_it_marks_what_does_not_load_where_it_stands(text, place):
    assert any(found.startswith(place) for found in problems(text))


@pytest.mark.parametrize("word", TYPES)
def test_every_setting_that_it_shows_is_described(word):
    shown = json.loads(KEPT.read_text())["definitions"][word]["properties"]
    assert [name for name, one in shown.items() if name != "type" and not one.get("description")] == []


def test_the_settings_of_any_destination_are_those_that_the_file_may_have(tmp_path):
    entry = {"type": "files", "path": "a", **dict.fromkeys(ENTRY, "x")}
    (tmp_path / "mogul.yaml").write_text(json.dumps({"account": {"sandbox": True}, "destinations": {"a": entry}}))
    assert load(tmp_path / "mogul.yaml").entry("a").options == {"path": "a"}
