"""mogul.yaml: what it may say, and the one line that each mistake gets."""

import random
from pathlib import Path

import pytest
from dagster._utils.schedules import is_valid_cron_schedule

from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.window import Month
from mogul_assets.destinations.configured import Misconfigured, configured
from mogul_assets.errors import ConfigurationError
from mogul_assets.settings import Secret, load
from mogul_assets.timetable import _is_cron

SANDBOX = "account: {sandbox: true}\n"


@pytest.fixture
def written(tmp_path):
    def write(text: str) -> Path:
        file = tmp_path / "mogul.yaml"
        file.write_text(text)
        return file

    return write


def test_a_whole_file_is_read(written):
    settings = load(
        written(
            """
account:
  api_key: {env: CHARTMOGUL_API_KEY}
  since: 2019-04
  rates: ecb
store: {path: data, quarantine_limit: 0.05}
destinations:
  warehouse: {type: duckdb, path: out/m.duckdb, schedule: weekly, datasets: [plans, customers]}
"""
        )
    )
    assert settings.account.api_key == Secret(env="CHARTMOGUL_API_KEY")
    assert settings.account.since == Month(2019, 4)
    assert settings.store.path == settings.file.parent / "data"
    warehouse = settings.entry("warehouse")
    assert warehouse.datasets == ("plans", "customers")
    assert warehouse.schedule == "0 9 * * 0"
    assert warehouse.problem is None


def test_a_destination_takes_all_thirteen_datasets_unless_told_otherwise(written):
    settings = load(written(SANDBOX + "destinations: {lake: {type: files, path: out}}"))
    assert settings.entry("lake").datasets == tuple(DATASETS)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "is empty or not a mapping"),
        ("- account", "is empty or not a mapping"),
        ("destinations: {}", "has no account"),
        (SANDBOX + "destination: {}", "line 2: unknown key 'destination'"),
        ("account: {sandbox: true\n", "line 2:"),
        ("account: {}", "line 1: account: name one account"),
        ("account: {sandbox: true, api_key: {env: A}}", "line 1: account: name one account"),
        ("account:\n  api_key: sk_live_123\n", "account.api_key: a secret is written {env: NAME}"),
        ("account: {sandbox: true, since: 2019-13}", "'2019-13' is not a month"),
        ("account: {sandbox: true, sinse: 2019-12}", "account.sinse: there is no such setting"),
        ("account: {sandbox: true, rates: open_exchange_rates}", "open_exchange_rates needs app_id"),
        (SANDBOX + "destinations:\n  a: {type: files}\n  a: {type: files}\n", "line 4: 'a' is there twice"),
        (SANDBOX + "destinations:\n  Über: {type: files}\n", "line 3: 'Über' cannot be a destination's name"),
        (
            SANDBOX + "destinations:\n  account: {type: files}\n",
            "'account' cannot be a destination's name (the word is",
        ),
        (SANDBOX + "destinations: [files]\n", "line 2: destinations is not a mapping"),
        (SANDBOX + "store: {quarantine_limit: 7}\n", "line 2: store.quarantine_limit"),
        ("account:\n  sandbox: true\n  url: a\n  since: 2019-13\n", "line 4: account.since: '2019-13' is not"),
        ("account:\n  rates:\n    provider: ecb\n    key: a\n", "line 4: account.rates.key: there is no such setting"),
        ("account: {sandbox: true, since: 2999-01}", "line 1: account.since: 2999-01 has not begun"),
        ("account: {sandbox: treu}", "account.sandbox: is not a mapping of settings"),
        ("account:\n", "line 1: account: is not a mapping of settings"),
        (SANDBOX + "store:\n", "line 2: store: is not a mapping of settings"),
        (SANDBOX + "owners: a@b.cd\x07\n", "line 2: a character that YAML does not allow"),
        (SANDBOX + "owners: data\n", "line 2: owners: 'data' is no owner → write data@example.com or team:data"),
    ],
)
def test_a_mistake_in_the_file_itself_stops_everything_with_one_line(written, text, line):
    with pytest.raises(ConfigurationError) as caught:
        load(written(text))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_literal_secret_is_not_repeated(written):
    with pytest.raises(ConfigurationError) as caught:
        load(written("account: {api_key: sk_live_123}"))
    assert "sk_live_123" not in str(caught.value)


def test_a_missing_file_says_how_to_name_it(tmp_path):
    with pytest.raises(ConfigurationError, match="MOGUL_FILE"):
        load(tmp_path / "mogul.yaml")


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{type: oracle}", "there is no destination type 'oracle'"),
        ("{path: out}", "it names no type"),
        ("duckdb", "it is not a mapping"),
        ("{type: duckdb}", "path is missing"),
        ("{type: duckdb, path: o.duckdb, pth: x}", "pth: there is no such setting"),
        ("{type: files, path: out, datasets: [plan]}", "unknown dataset 'plan'"),
        ("{type: files, path: out, schedule: sometimes}", "'sometimes' is no schedule"),
        ("{type: files, path: out, guard: a lot, hour: 99, paused: maybe}", "destination 'bad': hour is '99'"),
        ("{type: files, path: out, owners: {a: b}}", "owners: '{'a': 'b'}' is no owner; write"),
        ("{type: files, path: out, owners: [finance]}", "owners: 'finance' is no owner; write"),
    ],
)
def test_a_mistake_in_one_destination_is_kept_beside_it(written, entry, problem):
    settings = load(written(SANDBOX + f"destinations:\n  good: {{type: files, path: out}}\n  bad: {entry}\n"))
    bad = configured(settings, settings.entry("bad"))
    assert isinstance(bad, Misconfigured)
    assert "mogul.yaml, line 4, destination 'bad'" in bad.problem
    assert problem in bad.problem
    assert settings.entry("bad").datasets, "its assets load, to say in Dagster what is wrong"
    assert not isinstance(configured(settings, settings.entry("good")), Misconfigured)


def test_a_relative_path_is_counted_from_the_file(written):
    settings = load(written(SANDBOX + "destinations: {lake: {type: files, path: out/lake}}"))
    assert configured(settings, settings.entry("lake")).path == str(settings.file.parent / "out/lake")


def test_an_unknown_destination_is_answered_with_those_there_are(written):
    settings = load(written(SANDBOX + "destinations: {lake: {type: files, path: out}}"))
    with pytest.raises(ConfigurationError, match=r"no destination 'like'.*there are: lake"):
        settings.entry("like")


def test_a_secret_that_is_not_set_is_named_by_its_variable(monkeypatch):
    monkeypatch.delenv("MOGUL_TEST_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="MOGUL_TEST_KEY is not set"):
        Secret(env="MOGUL_TEST_KEY").reveal()
    monkeypatch.setenv("MOGUL_TEST_KEY", "s3cret")
    assert Secret(env="MOGUL_TEST_KEY").reveal() == "s3cret"
    assert "s3cret" not in repr(Secret(env="MOGUL_TEST_KEY"))


def test_dagster_takes_every_schedule_that_is_let_through():
    """One that it does not would keep all destinations from loading."""
    parts = [
        "*",
        "0",
        "5",
        "23",
        "24",
        "59",
        "60",
        "31",
        "32",
        "12",
        "13",
        "7",
        "8",
        "L",
        "mon",
        "jan",
        "1-5",
        "5-1",
        "*/5",
        "*/0",
        "1,2",
        "1-3/2",
        "0/15",
        "sat-sun",
        "fri,mon",
        "2#1",
        "?",
    ]
    chance = random.Random(3)
    lines = {" ".join(chance.choices(parts, k=5)) for _ in range(5000)}
    taken = {line for line in lines if _is_cron(line)}
    assert len(taken) > 50
    assert [line for line in taken if not is_valid_cron_schedule(line)] == []


@pytest.mark.parametrize(
    ("entry", "cron", "zone", "period"),
    [
        ("type: slack", None, "UTC", "real_time"),
        ("type: slack, schedule: weekly", "0 9 * * 1", "UTC", "weekly"),
        ("type: slack, schedule: daily, hour: 7, time_zone: Asia/Tokyo", "0 7 * * *", "Asia/Tokyo", "daily"),
        ("type: email, schedule: weekly", "0 9 * * 0", "UTC", "weekly"),
        ("type: email, schedule: monthly", "0 9 1 * *", "UTC", "monthly"),
        ("type: intercom", "0 9 * * *", "Europe/Paris", "daily"),
        ("type: webhook", None, "UTC", "real_time"),
        ("type: files, schedule: 15 6 * * *, time_zone: Asia/Tokyo", "15 6 * * *", "Asia/Tokyo", None),
        ("type: files, schedule: every 15 minutes", "*/15 * * * *", "UTC", None),
        ("type: files, schedule: every 6 hours", "0 */6 * * *", "UTC", None),
    ],
)
def test_each_type_keeps_chartmoguls_own_times_unless_told_otherwise(written, entry, cron, zone, period):
    one = load(written(f"{SANDBOX}destinations:\n  a: {{{entry}}}\n")).entry("a")
    assert (one.schedule, one.time_zone, one.period, one.problem) == (cron, zone, period, None)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("schedule: real_time", "'real_time' is no schedule"),
        ("schedule: daily, hour: 24", "hour is '24'"),
        ("schedule: hourly, hour: 7", "hour goes with daily, weekly or monthly"),
        ("schedule: daily, hour: seven", "hour is 'seven'"),
        ("schedule: daily, time_zone: Paris", "'Paris' is no time zone"),
        ("schedule: '{nine} * * * *'", "is no schedule"),
        ("schedule: every 25 minutes", "every … minutes takes 2, 3, 4, 5, 6, 10, 12, 15, 20, 30"),
        ("schedule: every 24 hours", "'every 24 hours' does not come at even times"),
        ("schedules: hourly", "write  schedules: {mrr_movements: hourly}"),
        ("schedules: {plan: hourly}", "'plan' is not delivered there"),
        ("schedules: {plans: sometimes}", "'sometimes' is no schedule"),
    ],
)
def test_a_schedule_that_cannot_be_is_a_problem_of_its_own_entry(written, entry, problem):
    one = load(written(f"{SANDBOX}destinations:\n  a: {{type: files, {entry}}}\n")).entry("a")
    assert one.problem is not None
    assert problem in one.problem


def test_messages_are_remembered_beside_the_store_or_where_the_file_says(written):
    assert load(written(SANDBOX + "store: {path: data/store}")).ledger.path.parts[-2:] == ("data", "ledger.db")
    assert load(written(SANDBOX + "ledger: {url: {env: LEDGER_URL}}")).ledger.url == Secret(env="LEDGER_URL")
    with pytest.raises(ConfigurationError, match="line 2: ledger: name one place"):
        load(written(SANDBOX + "ledger: {url: {env: LEDGER_URL}, path: l.db}"))


def test_a_dataset_may_have_a_schedule_of_its_own(written):
    text = (
        "{type: files, path: out, datasets: [plans, tags, mrr_movements], schedule: daily,"
        " schedules: {mrr_movements: every 15 minutes, tags: '0 9 * * *'}}"
    )
    one = load(written(f"{SANDBOX}destinations: {{lake: {text}}}")).entry("lake")
    assert {its.cron: set(its.datasets) for its in one.timetables} == {
        "0 9 * * *": {"plans", "tags"},
        "*/15 * * * *": {"mrr_movements"},
    }


@pytest.mark.parametrize("quiet", ["paused: true", "guard: a lot"])
def test_what_is_paused_or_wrong_is_never_due(written, quiet):
    entry = f"{{type: files, path: out, schedule: daily, {quiet}}}"
    assert load(written(f"{SANDBOX}destinations: {{lake: {entry}}}")).entry("lake").timetables == ()


def test_messages_go_together_and_so_at_one_time(written):
    entry = "{type: email, schedule: weekly, schedules: {tags: daily}}"
    problem = load(written(f"{SANDBOX}destinations: {{mail: {entry}}}")).entry("mail").problem
    assert "schedules is not for messages" in problem
