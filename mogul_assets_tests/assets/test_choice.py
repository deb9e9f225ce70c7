"""What a destination chooses of its datasets: what arrives, what is told of it, and what counts as delivered."""

import csv
import hashlib
import io
import json
import shutil
from dataclasses import replace

import dagster as dg
import duckdb
import pytest
from click.testing import CliRunner

from mogul_assets.assets.chosen import to_be_held
from mogul_assets.assets.deliveries import delivery_key
from mogul_assets.automation.jobs import RANGE_START, deliver_range, partition_range
from mogul_assets.automation.sensors import on_refresh_sensor
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.window import Month
from mogul_assets.cli import main
from mogul_assets.definitions import build_definitions
from mogul_assets.destinations.configured import Misconfigured, configured
from mogul_assets.errors import ConfigurationError
from mogul_assets.settings import load
from mogul_assets.store.person import Person
from mogul_assets_tests.destinations.test_email import attached
from mogul_assets_tests.peers.smtp import PASSWORD, SECRET, USER, serving
from mogul_assets_tests.project import NOW, Project, failures_of
from mogul_assets_tests.shelf import Shelf

SALT = "pepper-4711-pepper"
SINCE = f"{NOW.year}-01"
CHOSEN = """
    datasets: [customers, contacts, tags, mrr_movements]
    table_prefix: cm_
    tables: {mrr_movements: movements}
    columns:
      leave_out: {contacts: [phone, notes], customers: [city]}
      hash: {customers: [email], contacts: [email], mrr_movements: [customer_name]}
      salt: {env: MOGUL_SALT}
    rows: {status: [active]}
"""
WAREHOUSE, LAKE = "type: duckdb\n    path: out/mogul.duckdb", "type: files\n    path: out/files"


@pytest.fixture
def salted(monkeypatch):
    monkeypatch.setenv("MOGUL_SALT", SALT)


@pytest.fixture
def chosen(stored, tmp_path, instance, salted):
    """Makes a project of these destinations (type and choice), on a copy of a store that was refreshed once."""

    def make(on=instance, resources=None, **entries):
        destinations = "".join(f"  {name}:\n    {text}" for name, text in entries.items())
        text = f"account: {{sandbox: true, since: {SINCE}}}\ndestinations:\n{destinations}"
        project = Project(tmp_path, on, None, text, resources)
        if not project.store.root.exists():
            shutil.copytree(stored.root, project.store.root)
        return project

    return make


def deliver(project, name):
    """Over whatever it does not hold as it is chosen."""
    return project.run(f"deliver_{name}", due(project, name))


def due(project, name):
    entry = project.settings.entry(name)
    return deliver_range(project.store, name, entry.datasets, Month.parse(SINCE), NOW, choice=entry.choice)


def told(result, *key):
    (event,) = [event for event in result.get_asset_materialization_events() if list(event.asset_key.path) == [*key]][
        :1
    ]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def source(project, sql):
    """Of the store's own tables."""
    with duckdb.connect() as connection:
        for name in ("customers", "contacts", "tags", "mrr_movements"):
            paths = project.store.table(name).paths
            connection.execute(f"CREATE VIEW {name} AS FROM read_parquet({paths})")
        return connection.execute(sql).fetchall()


ACTIVE = "(SELECT uuid FROM customers WHERE status = 'Active')"


def test_a_warehouse_gets_exactly_what_is_chosen(chosen):
    project = chosen(warehouse=WAREHOUSE + CHOSEN)
    result = deliver(project, "warehouse")
    assert result.success
    with duckdb.connect(str(project.folder / "out/mogul.duckdb"), read_only=True) as there:
        tables = [name for (name,) in there.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()]
        assert tables == ["cm_contacts", "cm_customers", "cm_movements", "cm_tags", "mogul_deliveries"]
        columns = there.execute("SELECT * FROM cm_contacts LIMIT 0").description
        assert {name for name, *_ in columns} == DATASETS["contacts"].by_name.keys() - {"phone", "notes"}
        emails = dict(there.execute("SELECT uuid, email FROM cm_customers").fetchall())
        counts = [there.execute(f"SELECT count(*) FROM {name}").fetchone() for name in ("cm_movements", "cm_tags")]
        names = there.execute("SELECT DISTINCT length(customer_name) FROM cm_movements").fetchall()
        assert {name for (name,) in there.execute("SELECT DISTINCT dataset FROM mogul_deliveries").fetchall()} == {
            *tables[:4]
        }
    active = dict(source(project, "SELECT uuid, email FROM customers WHERE status = 'Active'"))
    assert 0 < len(active) < len(source(project, "FROM customers"))
    assert emails == {
        uuid: email and hashlib.sha256((SALT + email).encode()).hexdigest() for uuid, email in active.items()
    }
    assert counts == [
        source(project, f"SELECT count(*) FROM {name} WHERE customer_uuid IN {ACTIVE}")[0]
        for name in ("mrr_movements", "tags")
    ]
    assert names == [(64,)]
    assert told(result, "warehouse", "contacts") | {
        "columns left out": "notes, phone",
        "columns hashed": "email",
        "rows of": "status active",
        "table": "cm_contacts",
    } == told(result, "warehouse", "contacts")
    assert told(result, "warehouse", "mrr_movements")["table"] == "cm_movements"


def test_dagster_shows_the_table_and_the_columns_that_arrive(chosen):
    specs = {spec.key: spec for spec in chosen(warehouse=WAREHOUSE + CHOSEN).definitions.resolve_all_asset_specs()}
    metadata = specs[dg.AssetKey(["warehouse", "customers"])].metadata
    shown = {column.name: column for column in metadata["dagster/column_schema"].columns}
    assert metadata["dagster/table_name"] == "cm_customers"
    assert "city" not in shown
    assert shown["email"].description.endswith("Salted SHA-256.")


def test_files_have_it_in_their_manifest_and_their_rows_by_partition(chosen):
    project = chosen(lake=LAKE + CHOSEN)
    result = deliver(project, "lake")
    assert result.success
    folder = project.folder / "out/files"
    manifest = json.loads((folder / "cm_movements/manifest.json").read_text())
    assert manifest["choice"] == {
        "dataset": "mrr_movements",
        "columns hashed": "customer_name",
        "rows of": "status active",
    }
    files = [str(folder / file["file"]) for file in manifest["files"]]
    rows = source(project, f"SELECT count(*) FROM mrr_movements WHERE customer_uuid IN {ACTIVE}")
    assert duckdb.sql(f"SELECT count(*) FROM read_parquet({files})").fetchall() == rows == [(manifest["rows"],)]
    by_partition = [
        value.value
        for event in result.get_asset_materialization_events()
        if list(event.asset_key.path) == ["lake", "mrr_movements"]
        for name, value in event.materialization.metadata.items()
        if name == "dagster/partition_row_count"
    ]
    assert sum(by_partition) == manifest["rows"]  # the first has everything older, too
    again = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}
    assert deliver(project, "lake").success
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")} == again, "the same bytes stay"


def test_two_destinations_share_a_place_by_their_prefixes(chosen):
    one, other = (f"{LAKE}\n    datasets: [tags]\n    table_prefix: {prefix}_\n" for prefix in ("a", "b"))
    project = chosen(one=one, other=other)
    assert all(deliver(project, name).success for name in ("one", "other"))
    assert {path.name for path in (project.folder / "out/files").iterdir()} == {"_deliveries", "a_tags", "b_tags"}


def test_what_removing_one_leaves_is_its_own(chosen):
    one, other = (f"{WAREHOUSE}\n    datasets: [tags]\n    table_prefix: {prefix}_\n" for prefix in ("a", "b"))
    project = chosen(one=one, other=other)
    assert deliver(project, "one").success
    place = configured(project.settings, project.settings.entry("one"))
    assert [left.remove.partition(" ")[0] for left in place.forget()] == ["rm"], "while nobody else is there"
    assert deliver(project, "other").success
    assert [left.remove for left in place.forget()] == ['DROP TABLE "main"."a_tags";']
    plain = configured(project.settings, replace(project.settings.entry("one"), name="plain", choice={}))
    assert plain.forget() == [], "what begins with another's prefix is not one's own"


def test_a_column_that_is_left_out_later_becomes_null_where_it_is(chosen):
    plain = f"{WAREHOUSE}\n    datasets: [mrr_movements]\n"
    assert deliver(chosen(warehouse=plain), "warehouse").success
    assert deliver(
        chosen(warehouse=f"{plain}    columns: {{leave_out: {{mrr_movements: [description]}}}}\n"), "warehouse"
    ).success
    with duckdb.connect(str(chosen(warehouse=plain).folder / "out/mogul.duckdb"), read_only=True) as there:
        ((rows, described),) = there.execute("SELECT count(*), count(description) FROM mrr_movements").fetchall()
    assert rows > 0
    assert described == 0


MAIL = """type: email
    schedule: monthly
    host: localhost
    port: {port}
    ca_file: {ca_file}
    username: {user}
    password: {{env: {secret}}}
    sender: reports@example.com
    recipients: [anna@example.com]
    everything: true
    datasets: [customers, mrr_movements]
    columns:
      leave_out: {{customers: [city], mrr_movements: [customer_name, description, customer_external_id]}}
      hash: {{customers: [email]}}
      salt: {{env: MOGUL_SALT}}
    rows: {{status: [Active]}}
"""


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # which is there already
def test_a_mails_files_and_recap_are_of_what_is_chosen(chosen, tmp_path, monkeypatch):
    monkeypatch.setenv(SECRET, PASSWORD)
    (tmp_path / "smtp").mkdir()
    with serving(tmp_path / "smtp") as server:
        text = MAIL.format(port=server.port, ca_file=server.ca_file, user=USER, secret=SECRET)
        project = chosen(mail=text)
        result = project.run("deliver_mail")
        assert failures_of(result) == {}
        (received,) = server.received
    files = {
        name.partition("-")[0]: list(csv.DictReader(io.StringIO(file)))
        for name, file in attached(received.message).items()
    }
    active = dict(source(project, "SELECT uuid, email FROM customers WHERE status = 'Active'"))
    assert {row["uuid"]: row["email"] for row in files["customers"]} == {
        uuid: hashlib.sha256((SALT + email).encode()).hexdigest() if email else "" for uuid, email in active.items()
    }
    assert "city" not in files["customers"][0]
    assert {row["customer_uuid"] for row in files["mrr_movements"]} <= active.keys()
    names = {name for (name,) in source(project, "SELECT DISTINCT customer_name FROM mrr_movements")}
    assert not any(name in received.message.as_string() for name in names)
    assert told(result, "mail", "customers")["dagster/row_count"] == len(active)
    assert told(result, "mail", "customers")["rows of"] == "status Active"


# -- what counts as delivered


MOVEMENTS = f"{LAKE}\n    datasets: [mrr_movements]\n"


@pytest.mark.parametrize(
    "change",
    [
        "    table_prefix: cm_\n",
        "    columns: {leave_out: {mrr_movements: [description]}}\n",
        "    rows: {status: [Active]}\n",
    ],
)
def test_a_choice_that_changed_makes_everything_stale_once(chosen, change):
    project = chosen(lake=MOVEMENTS)
    assert deliver(project, "lake").success
    this = Month.of(NOW).partition_key
    assert due(project, "lake")[RANGE_START] == this
    changed = chosen(lake=MOVEMENTS + change)
    first = min(month for month in map(Month.parse, changed.store.watermark("lake", "mrr_movements").files))
    assert due(changed, "lake")[RANGE_START] == max(first, Month.parse(SINCE)).partition_key
    assert deliver(changed, "lake").success
    assert due(changed, "lake")[RANGE_START] == this
    assert due(project, "lake")[RANGE_START] == max(first, Month.parse(SINCE)).partition_key, "and back"


def test_another_salt_makes_everything_stale_and_stands_nowhere(chosen, monkeypatch):
    project = chosen(lake=LAKE + CHOSEN)
    assert deliver(project, "lake").success
    entry = project.settings.entry("lake")
    mark = project.store.watermark("lake", "mrr_movements")
    assert mark.chosen == to_be_held(entry.choice, "mrr_movements", project.store)
    monkeypatch.setenv("MOGUL_SALT", "another")
    assert mark.chosen.settings != to_be_held(entry.choice, "mrr_movements", project.store).settings
    monkeypatch.delenv("MOGUL_SALT")
    assert mark.chosen.settings != to_be_held(entry.choice, "mrr_movements", project.store).settings
    # Of tags nothing is hashed: they stay as they are.
    assert project.store.watermark("lake", "tags").chosen == to_be_held(entry.choice, "tags", project.store)


def test_other_customers_make_every_month_of_theirs_stale(chosen, monkeypatch):
    project = chosen(lake=LAKE + CHOSEN)
    assert deliver(project, "lake").success
    mark = project.store.watermark("lake", "mrr_movements")
    other = type(mark.chosen)(mark.chosen.settings, "other customers")
    assert project.store.stale_from("lake", "mrr_movements", mark.chosen) is None
    assert project.store.stale_from("lake", "mrr_movements", other) == min(map(Month.parse, mark.files))
    assert mark.chosen.customers != ""
    assert project.store.watermark("lake", "contacts").chosen.customers == mark.chosen.customers


def test_one_month_by_hand_after_a_change_is_not_the_whole(chosen):
    assert deliver(chosen(lake=MOVEMENTS), "lake").success
    changed = chosen(lake=MOVEMENTS + "    rows: {status: [Active]}\n")
    this = Month.of(NOW)
    assert changed.run("deliver_lake", partition_range(this, this)).success
    assert due(changed, "lake")[RANGE_START] != this.partition_key


def test_the_guard_lets_a_changed_choice_through_and_then_compares_like_with_like(chosen):
    plain = f"{LAKE}\n    datasets: [contacts]\n    guard: 1%\n"
    assert deliver(chosen(lake=plain), "lake").success
    active = chosen(lake=plain + "    rows: {status: [Active]}\n")
    assert failures_of(deliver(active, "lake")) == {}
    mark = active.store.watermark("lake", "contacts")
    assert mark.rows_by_month == {"": mark.rows}
    table = active.store.table("contacts")
    assert mark.rows < table.rows
    empty = table.__class__(**{**vars(table), "files": ()})
    assert active.store.lost("lake", table, 0.01, sent=table, chosen=mark.chosen) is None
    assert active.store.lost("lake", table, 0.01, sent=empty, chosen=mark.chosen) is not None
    # Whom the filter means is data: that it means nobody any more is a loss like any other.
    nobody = type(mark.chosen)(mark.chosen.settings, "nobody")
    assert active.store.lost("lake", table, 0.01, sent=empty, chosen=nobody) is not None


def test_a_changed_choice_is_delivered_without_waiting_for_a_refresh(chosen, instance):
    def asked(project, cursor=None):
        sensor = on_refresh_sensor(
            project.settings.entry("lake"),
            project.store.root,
            Month.parse(SINCE),
            project.definitions.resolve_job_def("deliver_lake"),
        )
        with dg.build_sensor_context(instance, cursor=cursor, definitions=project.definitions) as context:
            result = sensor.evaluate_tick(context)
        return [request.asset_selection for request in result.run_requests], result.cursor

    text = f"{LAKE}\n    datasets: [tags, plans]\n    on_refresh: true\n"
    project = chosen(lake=text)
    assert deliver(project, "lake").success
    none, cursor = asked(project)
    assert none == []
    changed = chosen(lake=text + "    columns: {leave_out: {plans: [name]}}\n")
    (selected,), cursor = asked(changed, cursor)
    assert selected == [delivery_key(changed.settings.entry("lake"), "plans")]
    assert asked(changed, cursor)[0] == []


# -- what is shown, and what is not


@pytest.fixture
def mogul(tmp_path):
    """Runs a command on the project, and gives what it prints."""

    def run(*arguments):
        environment = {"MOGUL_FILE": str(tmp_path / "mogul.yaml"), "DAGSTER_HOME": str(tmp_path), "COLUMNS": "200"}
        result = CliRunner().invoke(main, list(arguments), env=environment)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_a_preview_is_of_what_is_chosen(chosen, mogul):
    project = chosen(lake=LAKE + CHOSEN)
    seen = {one["dataset"]: one for one in json.loads(mogul("preview", "lake", "--json"))}
    shown = mogul("preview", "lake", "contacts", "--rows", "3")
    assert deliver(project, "lake").success
    after = {one["dataset"]: one["preview"] for one in json.loads(mogul("preview", "lake", "--json"))}
    assert list(seen) == ["contacts", "tags", "customers", "mrr_movements"]
    sent = {name: project.store.watermark("lake", name).rows for name in seen}
    assert {name: one["preview"]["rows"] for name, one in seen.items()} == sent
    assert [(one["new"], one["changed"], one["gone"]) for one in after.values()] == [(0, 0, 0)] * 4
    assert seen["contacts"]["choice"]["columns left out"] == "notes, phone"
    assert "contacts: columns left out: notes, phone" in shown
    assert "contacts: columns hashed: email" in shown
    assert "cm_contacts" in shown
    emails = {email for (email,) in source(project, "SELECT email FROM contacts WHERE email IS NOT NULL")}
    assert not any(email in shown for email in emails)


def test_what_is_chosen_is_among_what_is_shown_of_a_destination(chosen, mogul):
    chosen(lake=LAKE + CHOSEN)
    lines = [" ".join(line.split()) for line in mogul("destinations", "show", "lake").splitlines()]
    assert "mrr_movements: table cm_movements" in lines
    assert "contacts: columns left out notes, phone" in lines
    assert "tags: rows of status active" in lines
    settings = json.loads(mogul("destinations", "show", "lake", "--json"))["settings"]
    assert settings["columns"]["salt"] == {"env": "MOGUL_SALT"}


def test_a_salt_stays_in_its_variable(chosen, tmp_path, capfd, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        project = chosen(on=instance, lake=LAKE + CHOSEN)
        assert deliver(project, "lake").success
        assert "MOGUL_SALT" in repr(project.settings.entry("lake"))
        monkeypatch.delenv("MOGUL_SALT")
        failed = failures_of(deliver(project, "lake"))
    assert "the environment variable MOGUL_SALT is not set" in failed["lake__customers"]
    assert "lake__tags" not in failed
    left = [path for path in tmp_path.rglob("*") if path.is_file() and SALT.encode() in path.read_bytes()]
    assert left == []
    assert not any(SALT in text for text in capfd.readouterr())


def test_a_missing_salt_fails_the_configuration_check(chosen, monkeypatch):
    project = chosen(lake=LAKE + CHOSEN)
    monkeypatch.delenv("MOGUL_SALT")
    (checked,) = project.run("configuration").get_asset_check_evaluations()
    assert not checked.passed
    assert "MOGUL_SALT is not set" in checked.description


# -- what takes a destination's place


def test_a_destination_of_ones_own_is_made_with_its_choice(chosen, tmp_path):
    text = "type: shelf\n    datasets: [tags]\n    table_prefix: cm_\n"
    choice = {"table_prefix": "cm_"}
    shelf = Shelf(name="shelf", path=str(tmp_path / "shelf"), choice=choice)
    assert deliver(chosen(resources={"shelf": shelf}, shelf=text), "shelf").success
    assert [dataset for dataset, *_ in shelf.taken] == ["cm_tags"]
    settings = load(tmp_path / "mogul.yaml")
    without = configured(settings, settings.entry("shelf"), Shelf(name="shelf", path="x"))
    assert isinstance(without, Misconfigured)
    plain = replace(settings.entry("shelf"), choice={})
    assert isinstance(configured(settings, plain, shelf), Misconfigured), "each delivery would count as the first"
    assert "a Shelf of your own takes its place, and was made without, or with others → make it with" in without.problem


def test_an_io_manager_of_ones_own_is_not_believed_to_leave_anything_out(tmp_path):
    (tmp_path / "mogul.yaml").write_text(
        "account: {sandbox: true}\ndestinations: {lake: {type: files, path: out, rows: {tag: a}}}"
    )
    with pytest.raises(ConfigurationError, match="rows: an IO manager of your own takes the place of 'lake'"):
        build_definitions(load(tmp_path / "mogul.yaml"), resources={"lake": dg.mem_io_manager})


def test_history_is_kept_and_a_customer_erased_under_the_names_and_hashes_that_were_chosen(chosen):
    text = f"""{WAREHOUSE}
    datasets: [customers]
    history: [customers]
    table_prefix: cm_
    columns: {{hash: {{customers: [uuid]}}, salt: {{env: MOGUL_SALT}}}}
"""
    project = chosen(warehouse=text)
    result = deliver(project, "warehouse")
    assert result.success, failures_of(result)
    uuids = [uuid for (uuid,) in source(project, "SELECT uuid FROM customers ORDER BY uuid")]
    hashes = {hashlib.sha256((SALT + uuid).encode()).hexdigest() for uuid in uuids}

    def current():
        with duckdb.connect(project.folder / "out/mogul.duckdb", read_only=True) as connection:
            rows = connection.execute("SELECT uuid FROM cm_customers WHERE is_current").fetchall()
        return {uuid for (uuid,) in rows}

    assert current() == hashes
    destination = configured(project.settings, project.settings.entry("warehouse"))
    assert destination.versions() == ["customers"]
    assert destination.last_delivery("customers") is not None
    assert destination.erase(Person(uuids[0]), ["customers"]) == 1
    assert hashes - current() == {hashlib.sha256((SALT + uuids[0]).encode()).hexdigest()}
    with duckdb.connect(project.folder / "out/mogul.duckdb") as connection:
        connection.execute(
            "UPDATE cm_customers SET uuid = ? WHERE uuid = (SELECT min(uuid) FROM cm_customers)", uuids[1:2]
        )
    assert destination.erase(Person(uuids[1]), ["customers"]) >= 1, "a version of before it was hashed"
