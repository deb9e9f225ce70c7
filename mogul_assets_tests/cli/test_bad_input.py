"""What goes wrong is one line that says what to do, and an exit code that scripts can read."""

import json
import sys
from dataclasses import replace

import duckdb
import pytest
from msgspec import structs

from mogul_assets.sandbox import NO_LIMITS, Sandbox, generate, serve
from mogul_assets_tests.cli.conftest import DESTINATIONS, SANDBOX, SINCE, THIS, complaint
from mogul_assets_tests.project import NOW

OWN = f"account: {{api_key: {{env: MY_KEY}}, since: {SINCE}, rates: ecb_offline}}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("account: [", "line 1"),
        (f"{SANDBOX}\ncolour: red", "line 2: unknown key 'colour'"),
        ("store: {path: out/store}", "has no account"),
        ("account: {api_key: sk_live_4711}", "a secret is written {env: NAME}"),
        (f"{SANDBOX}{DESTINATIONS}  lake: {{type: files, path: x}}", "'lake' is there twice"),
        ("account: {sandbox: true, since: 2026-13}", "not a month"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_line(place, text, says):
    place.write(text)
    result = place.mogul("sync")
    assert result.exit_code == 2
    assert says in complaint(result)
    assert "→" in complaint(result)
    assert "4711" not in result.output


def test_a_file_that_is_not_there_is_named(place):
    result = place.mogul("--file", "nowhere.yaml", "sync")
    assert (result.exit_code, "nowhere.yaml" in complaint(result)) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nonsense"], "No such command 'nonsense' → mogul --help"),
        (["sync", "--nonsense"], "No such option '--nonsense' → mogul sync --help"),
        (["sync", "nowhere"], "no destination 'nowhere'"),
        (["preview", "lake", "nonsense"], "takes no dataset 'nonsense'"),
        (["preview", "lake", "tags"], "mogul sync"),
        (["backfill", "--from", "2026-13", "--to", "2026-12"], "'2026-13' is not a month"),
        (["backfill", "--from", str(THIS), "--to", str(SINCE)], "is no span of months"),
        (["backfill", "--from", str(SINCE), "--to", str(THIS.plus(1))], "is no span of months"),
        (["backfill", "--from", str(SINCE.plus(-1)), "--to", str(THIS)], "is no span of months"),
    ],
)
def test_wrong_usage_is_told_with_what_is_right(place, arguments, says):
    result = place.mogul(*arguments)
    assert result.exit_code == (1 if arguments[-1] == "tags" else 2)
    assert says in complaint(result)
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("{type: files, path: x, datasets: [nonsense]}", "unknown dataset 'nonsense'"),
        ("{type: files, path: x, colour: red}", "colour: there is no such setting"),
        ("{type: files, path: {env: FOLDER}}", "path: should be a text, written here as it is"),
        ("{type: nothing}", "there is no destination type 'nothing'"),
        ("{path: x}", "it names no type"),
        ("{type: files, path: x, schedule: sometimes}", "'sometimes' is no schedule"),
        ("{type: files, path: x, schedule: '0 24 * * *'}", "'0 24 * * *' is no schedule"),
        ("{type: files, path: x, datasets: []}", "datasets names none"),
        ("{type: files, path: x, datasets: [{customers: }]}", "unknown dataset"),
    ],
)
def test_a_wrong_destination_is_told_by_check_and_by_status_and_harms_no_other(place, entry, says):
    place.write(f"{SANDBOX}{DESTINATIONS}  wrong: {entry}")
    result = place.mogul("check", "--json")
    found = {finding["subject"]: finding for finding in json.loads(result.stdout)}
    assert result.exit_code == 2
    assert says in found["wrong configuration"]["text"]
    assert "line 5" in found["wrong configuration"]["text"]
    assert {finding["level"] for name, finding in found.items() if "wrong" not in name} == {"ok"}
    status = place.mogul("status", "wrong")
    assert (status.exit_code, says in status.stdout) == (1, True)


def test_a_wrong_destination_is_not_delivered_to_and_the_others_are(synced):
    text = (synced.folder / "mogul.yaml").read_text()
    synced.write(f"{text}  wrong: {{type: nothing}}")
    result = synced.mogul("sync", "wrong", "lake", "--json")
    assert result.exit_code == 1
    assert [(run["job"], run["ok"]) for run in json.loads(result.stdout)] == [
        ("refresh", True),
        ("deliver_wrong", False),
        ("deliver_lake", True),
    ]
    assert "there is no destination type 'nothing'" in complaint(result)


@pytest.mark.parametrize("command", [["sync"], ["check", "--account"], ["check"]])
def test_a_key_that_is_not_set_is_named_by_its_variable(place, command):
    place.write(OWN + DESTINATIONS)
    result = place.mogul(*command, MY_KEY=None)
    told = result.stdout if "check" in command else complaint(result)
    assert result.exit_code == 2
    assert "MY_KEY is not set" in told
    assert "export MY_KEY=" in told


def test_a_wrong_key_is_one_line_and_never_shown(place):
    with serve(Sandbox(generate(now=NOW, customers=1), key="right", limits=NO_LIMITS)) as serving:
        place.write(OWN.replace("since", f'url: "{serving.url}", since') + DESTINATIONS)
        result = place.mogul("sync", MY_KEY="wr0ng-4711")
        checked = place.mogul("check", "--account", MY_KEY="wr0ng-4711")
    assert (result.exit_code, checked.exit_code) == (1, 1)
    assert "API key" in complaint(result)
    assert "API key" in checked.stdout
    assert "4711" not in result.output + result.stderr + checked.output


@pytest.mark.parametrize("customers", [0, 1])
def test_an_account_with_nobody_or_one_customer_lands_as_that(place, customers):
    place.write(SANDBOX.replace("customers: 12", f"customers: {customers}") + DESTINATIONS)
    result = place.mogul("sync", "warehouse")
    assert result.exit_code == 0, result.stderr
    with duckdb.connect(str(place.folder / "out/mogul.duckdb")) as warehouse:
        assert warehouse.execute("SELECT count(*) FROM customers").fetchone() == (customers,)
        ((movements, movers),) = warehouse.execute(
            "SELECT count(*), count(DISTINCT customer_uuid) FROM mrr_movements"
        ).fetchall()
    assert movers == customers
    assert movements >= customers


def test_a_currency_that_nobody_quotes_is_named(place):
    company = generate(now=NOW, customers=1)
    company = replace(company, account=structs.replace(company.account, currency="AED"))
    with serve(Sandbox(company, key="mine", limits=NO_LIMITS)) as serving:
        place.write(OWN.replace("since", f'url: "{serving.url}", since') + DESTINATIONS)
        result = place.mogul("sync", "lake", MY_KEY="mine")
    assert result.exit_code == 0, result.stderr
    assert "exchange_rates: European Central Bank does not quote AED" in result.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="/sys is a folder where nobody may make one")
@pytest.mark.parametrize("path", ["/sys/mogul/store", "mogul.yaml/out/store", "mogul.yaml/store"])
def test_a_store_that_cannot_be_written_to_is_one_line(place, path):
    place.write(f"{SANDBOX}\nstore: {{path: {path}}}{DESTINATIONS}")
    result = place.mogul("sync")
    assert result.exit_code == 1
    assert "cannot write to" in complaint(result)
    checked = place.mogul("check", "--json")
    assert checked.exit_code == 1
    assert "store: have the folder" in [each["subject"] for each in json.loads(checked.stdout)]


def test_a_disk_that_is_full_is_one_line(place):
    """EFBIG stands for ENOSPC: what root can provoke anywhere. Dagster's own files are the first that do not fit."""
    _, stderr = (process := place.start("sync", file_bytes=600_000)).communicate(timeout=120)
    (line,) = [line for line in stderr.splitlines() if line.startswith("mogul: ")]
    assert process.returncode == 1
    assert "the disk is full → make room" in line
    assert "Traceback" not in stderr
    again = place.mogul("sync")
    assert again.exit_code == 0, again.stderr


def test_a_key_that_may_only_read_suffices(place):
    sandbox = Sandbox(generate(now=NOW, customers=3), key="reads", limits=NO_LIMITS)
    with serve(sandbox) as serving:
        place.write(OWN.replace("since", f'url: "{serving.url}", since') + DESTINATIONS)
        result = place.mogul("sync", MY_KEY="reads")
        checked = place.mogul("check", "--account", MY_KEY="reads")
    assert (result.exit_code, checked.exit_code) == (0, 0), result.stderr
    assert {asked.method for asked in sandbox.requests} == {"GET"}


def test_a_home_that_is_no_folder_is_named(place):
    result = place.mogul("sync", DAGSTER_HOME="/nowhere/at/all")
    assert (result.exit_code, "DAGSTER_HOME=/nowhere/at/all" in complaint(result)) == (2, True)


def test_a_port_that_is_taken_is_told(place):
    with serve(Sandbox(generate(now=NOW, customers=1))) as serving:
        port = serving.url.removesuffix("/v1").rpartition(":")[2]
        results = place.mogul("ui", "--port", port), place.mogul("sandbox", "--port", port)
    for result in results:
        assert (result.exit_code, f"port {port} is taken" in complaint(result)) == (2, True)
