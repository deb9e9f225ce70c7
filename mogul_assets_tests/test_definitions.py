"""The definitions load whatever is configured, quickly, and without any vendor's SDK."""

import json
import subprocess
import sys

import dagster as dg
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster_shared.serdes import serialize_value

from mogul_assets.destinations import TYPES, load_type
from mogul_assets.destinations.configured import Misconfigured, configured
from mogul_assets.settings import HABITS, Habits
from mogul_assets_tests.project import Project

VENDORS = (
    "snowflake.connector",
    "snowflake.snowpark",
    "boto3",
    "botocore",
    "google.cloud",
    "azure",
    "slack_sdk",
    "pandas",
    "psycopg2",
    "aiohttp",
)
INTEGRATIONS = ("dagster_snowflake", "dagster_aws", "dagster_gcp", "dagster_azure")

LOAD = f"""
import json, os, sys
from mogul_assets.definitions import build_definitions
from mogul_assets.settings import load
definitions = build_definitions(load())
definitions.resolve_asset_graph()
print(json.dumps([name for name in {(*VENDORS, *INTEGRATIONS)!r} if name in sys.modules]))
"""


def with_every_type():
    """A file with a destination of each type, as its own example has it; JSON is YAML too."""
    schedules = {word: HABITS.get(word, Habits()).schedule or "daily" for word in TYPES}
    entries = {f"a_{word}": {"type": word, "schedule": schedules[word], **load_type(word).EXAMPLE} for word in TYPES}
    return json.dumps({"account": {"sandbox": True}, "destinations": entries}, indent=1)


def test_the_example_of_every_type_is_a_whole_entry(tmp_path, instance):
    settings = Project(tmp_path, instance, None, with_every_type()).settings
    made = [configured(settings, entry) for entry in settings.destinations.values()]
    assert [one.problem for one in made if isinstance(one, Misconfigured)] == []


def test_loading_with_every_destination_type_imports_no_vendor_sdk(tmp_path):
    (tmp_path / "mogul.yaml").write_text(with_every_type())
    done = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_the_definitions_are_loadable_as_dagster_judges(tmp_path, instance):
    dg.Definitions.validate_loadable(Project(tmp_path, instance, None).definitions)


def test_every_destination_and_dataset_is_one_asset(tmp_path, instance):
    project = Project(tmp_path, instance, None)
    keys = {key.to_user_string() for key in project.definitions.resolve_asset_graph().get_all_asset_keys()}
    for name, entry in project.settings.destinations.items():
        assert {f"{name}/{dataset}" for dataset in entry.datasets} <= keys
        assert f"{name}/status" in keys
    assert len(keys) == 9 + 13 + 2 * (13 + 1)


def test_assets_have_owners_a_destination_its_own(tmp_path, instance):
    text = """
owners: data@example.com
account: {sandbox: true}
destinations:
  lake: {type: files, path: out, owners: ["team:finance", anna@example.com]}
  tape: {type: files, path: tape}
"""
    graph = Project(tmp_path, instance, None, text).definitions.resolve_asset_graph()
    owners = {key.path[0]: set(graph.get(key).owners) for key in graph.get_all_asset_keys()}
    assert owners.pop("lake") == {"team:finance", "anna@example.com"}
    assert owners.keys() == {"account", "source_data", "calculated_data", "tape"}
    assert all(others == {"data@example.com"} for others in owners.values())


def test_exchange_rates_are_labelled_by_who_quotes_them(tmp_path, instance, monkeypatch):
    monkeypatch.setenv("RATES", "id")
    rates = "rates: {provider: open_exchange_rates, app_id: {env: RATES}}"
    for account, kinds in (("sandbox: true", {"ecb"}), (f"api_key: {{env: KEY}}, {rates}", {"open_exchange_rates"})):
        graph = Project(tmp_path, instance, None, f"account: {{{account}}}").definitions.resolve_asset_graph()
        assert graph.get(dg.AssetKey(["account", "exchange_rates"])).kinds == kinds


def test_what_cannot_run_says_so_where_it_stands(tmp_path, instance):
    text = "account: {sandbox: true}\ndestinations: {lake: {type: files}, hook: {type: webhook}}\n"
    graph = Project(tmp_path, instance, None, text).definitions.resolve_asset_graph()
    for key, missing in (("lake/plans", "path"), ("hook/mrr_movements", "url")):
        description = graph.get(dg.AssetKey(key.split("/"))).description
        assert "**Cannot run:** mogul.yaml, line 2" in description
        assert f"{missing} is missing" in description


def test_no_secret_stands_in_what_dagster_shows(tmp_path, instance, monkeypatch):
    monkeypatch.setenv("MOGUL_TEST_KEY", "s3cret-value")
    text = "account: {api_key: {env: MOGUL_TEST_KEY}}\ndestinations: {lake: {type: files, path: out}}\n"
    definitions = Project(tmp_path, instance, None, text).definitions
    repository = definitions.get_repository_def()
    shown = str(definitions.resources) + serialize_value(RepositorySnap.from_def(repository))
    assert "MOGUL_TEST_KEY" in shown
    assert "s3cret-value" not in shown
