"""What is Redshift's own: staging in S3, its types and keys, its errors, and what it must be allowed to do."""

from __future__ import annotations

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from secrets import token_hex

import boto3
import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster_aws.redshift import RedshiftClientResource

from mogul_assets.catalog.window import Month, Window
from mogul_assets.destinations import redshift as module
from mogul_assets.destinations.base import Outcome
from mogul_assets.destinations.configured import settings_of
from mogul_assets.destinations.redshift import DIALECT, RedshiftDestination
from mogul_assets.destinations.redshift_errors import S3_CODES, STATES, TEXTS, database_error, s3_error
from mogul_assets.destinations.warehouse import Conflict
from mogul_assets.errors import DestinationRefused, DestinationUnavailable
from mogul_assets_tests.destinations.place import Place, Spot
from mogul_assets_tests.destinations.places import PLACES
from mogul_assets_tests.peers import redshift, servers
from mogul_assets_tests.peers import s3 as s3_peer
from mogul_assets_tests.peers.faults import Cut, FaultProxy
from mogul_assets_tests.tables import table_of

(PLACE,) = (place for place in PLACES if place.word == "redshift")
PLANS = pa.schema(
    [
        pa.field("id", pa.int64(), metadata={"description": "Number of the plan's"}),
        pa.field("name", pa.string(), metadata={"description": r"It's a name \ and no more"}),
        pa.field("share", pa.float64()),
        pa.field("flag", pa.bool_()),
        pa.field("moment", pa.timestamp("us", tz="UTC")),
        pa.field("day", pa.date32()),
        pa.field("free", pa.string(), metadata={"json": "true"}),
    ],
    metadata={"description": "Plans; one a row."},
)


@dataclass(frozen=True)
class Here:
    """A test's own schema and bucket."""

    place: Place
    folder: Path

    @property
    def address(self):
        return self.place.address

    @property
    def name(self):
        return self.place._spot(self.folder).name

    def shelf(self, **options):
        """The destination, with other settings than the place's."""
        return self.place.destination(self.folder, **options)

    def table(self, rows, **how):
        return table_of(self.folder / "store", rows, **how)

    def deliver(self, rows, *, to=None, **how):
        return (to or self.shelf()).deliver(self.table(rows, **how))

    def state(self):
        return self.place.state(self.folder)

    def rows(self):
        return self.place.rows(self.folder)

    def asked(self, sql):
        """What the owner of the database gets for an answer."""
        return redshift.asked(self.address, sql.format(schema=self.name))

    def stated(self, *words):
        """The statements about the spot's tables in which all of the words are."""
        return [said for said in redshift.stated(self.address, self.name) if all(word in said for word in words)]

    def staged(self):
        found = redshift.bucket_of(self.address).list_objects_v2(Bucket=self.name).get("Contents", [])
        return [entry["Key"] for entry in found]


@pytest.fixture
def here(peer, tmp_path, monkeypatch):
    place = PLACE.on(peer("redshift"))
    for name, value in place.address["environment"].items():
        monkeypatch.setenv(name, value)
    return Here(place, tmp_path)


@pytest.fixture
def faults(here):
    with FaultProxy(here.address["port"]) as proxy:
        yield proxy


@pytest.fixture
def s3(here):
    """A proxy before S3 that breaks connections."""
    with FaultProxy(int(here.address["s3"].rpartition(":")[2])) as proxy:
        yield proxy


def seen(faults):
    """Settings that go by way of the proxy, unencrypted: it can see the statements."""
    return {"port": faults.port, "sslmode": "disable"}


def behind(s3):
    return {"s3_endpoint": f"http://127.0.0.1:{s3.port}"}


# Settings


@pytest.mark.parametrize(
    ("without", "given", "said"),
    [
        (("role",), {}, "COPY needs role, or access_key_id and secret_access_key"),
        ((), {"access_key_id": {"env": "A"}}, "access_key_id and secret_access_key go together"),
        ((), {"sslmode": "maybe"}, "sslmode"),
        (("host",), {}, "host is missing"),
        (("password",), {}, "password is missing"),
        (("bucket",), {"bucket": None}, "bucket"),
    ],
)
def test_settings_that_cannot_work_are_refused(without, given, said):
    options = {name: value for name, value in RedshiftDestination.EXAMPLE.items() if name not in without}
    with pytest.raises(ValueError, match=said):
        RedshiftDestination(name="shelf", **{**options, **given})


# What lands


def test_types_and_comments_are_the_catalogues(here):
    here.deliver([], schema=PLANS)
    assert here.state().columns == (
        ("id", "bigint"),
        ("name", "character varying(65535)"),
        ("share", "double precision"),
        ("flag", "boolean"),
        ("moment", "timestamp without time zone"),
        ("day", "date"),
        ("free", "super"),
    )
    comments = "SELECT objsubid, description FROM pg_description WHERE objoid = '{schema}.plans'::regclass ORDER BY 1"
    assert here.asked(comments) == [
        (0, "Plans; one a row."),
        (1, "Number of the plan's"),
        (2, r"It's a name \ and no more"),
    ]


def test_a_comment_that_somebody_changed_is_put_right_and_else_nothing_is_changed(here):
    here.deliver([{"id": 1}], schema=PLANS)
    here.asked("COMMENT ON COLUMN {schema}.plans.id IS 'mine'")
    before = len(here.stated())
    here.deliver([{"id": 1}], schema=PLANS)
    assert [said for said in here.stated()[before:] if said.startswith("COMMENT")] == [
        f'COMMENT ON COLUMN "{here.name}"."plans"."id" IS \'Number of the plan\'\'s\''
    ]
    before = len(here.stated())
    here.deliver([{"id": 1}], schema=PLANS)
    assert not [said for said in here.stated()[before:] if said.startswith(("COMMENT", "ALTER", "CREATE TABLE"))]


def test_rows_are_spread_by_the_key_and_sorted_by_it_or_by_the_window(here):
    here.deliver([{"id": 1, "Rank": 2}], key=("id", "Rank"))
    assert here.stated("CREATE TABLE", "plans")[0].endswith(' DISTKEY ("id") SORTKEY ("id", "rank")')
    window, rows = Window.months(Month(2026, 1), None), [{"id": 1, "date": datetime(2026, 1, 1, tzinfo=UTC)}]
    here.deliver(rows, dataset="movements", window=window, window_column="date")
    assert here.stated("CREATE TABLE", "movements")[0].endswith(' DISTKEY ("id") SORTKEY ("date")')
    here.deliver(rows, dataset="keyless", key=())
    assert here.stated("CREATE TABLE", "keyless")[0].endswith("timestamp without time zone)")


def test_json_can_be_queried(here):
    here.deliver([{"id": 1, "free": '{"a": {"b": 7}}'}], schema=PLANS)
    assert here.asked("SELECT free::jsonb #>> ARRAY['a', 'b'] FROM {schema}.plans") == [("7",)]


# Columns that change


@pytest.mark.parametrize(
    ("column", "was", "value", "now"),
    [
        ("name", "varchar(20)", "'kept'", "kept"),
        ("share", "real", "1.5", 1.5),
        ("share", "integer", "3", 3.0),
        ("moment", "date", "'2026-01-02'", datetime(2026, 1, 2)),  # noqa: DTZ001 - UTC by contract
        ("moment", "timestamptz", "'2026-01-02 03:00+02'", datetime(2026, 1, 2, 1)),  # noqa: DTZ001
        ("name", "super", "'[1]'", "[1]"),
    ],
)
def test_a_type_is_widened_and_every_value_kept(column, was, value, now, here):
    here.asked("CREATE SCHEMA {schema} AUTHORIZATION mogul")
    here.asked(f"CREATE TABLE {{schema}}.plans AS SELECT 7::bigint AS id, {value}::{was} AS {column}")
    here.asked("ALTER TABLE {schema}.plans OWNER TO mogul")
    schema = pa.schema([("id", pa.int64()), ("date", pa.timestamp("us", tz="UTC")), PLANS.field(column)])
    window = Window(datetime(2026, 1, 1, tzinfo=UTC), None)
    delivered = here.deliver([], schema=schema, window=window, window_column="date")
    assert here.asked(f"SELECT id, {column} FROM {{schema}}.plans") == [(7, now)]
    in_place = was == "varchar(20)"
    assert len(here.stated("ALTER TABLE", " TYPE ")) == in_place
    assert ("rewritten" in delivered.details) != in_place


@pytest.mark.parametrize(("column", "was"), [("id", "varchar(20)"), ("name", "bigint"), ("day", "timestamp")])
def test_a_change_of_type_that_could_lose_is_refused(column, was, here):
    here.asked(f"CREATE SCHEMA {{schema}} AUTHORIZATION mogul; CREATE TABLE {{schema}}.plans ({column} {was})")
    with pytest.raises(DestinationRefused, match=rf"plans\.{column} is .* there") as refused:
        here.deliver([{"id": 1}], schema=PLANS)
    assert "ALTER TABLE" in refused.value.remedy


def test_a_key_is_freed_before_it_is_rewritten(here):
    here.deliver([{"id": 1, "day": date(2026, 1, 2)}], key=("day", "id"))
    assert here.deliver([{"id": 1, "day": datetime(2026, 1, 2, tzinfo=UTC)}], key=("day", "id")).rows == 1
    changes = [said.removeprefix(f'ALTER TABLE "{here.name}"."plans" ') for said in here.stated("ALTER TABLE")]
    assert changes == [
        "ALTER DISTSTYLE EVEN",
        "ALTER SORTKEY NONE",
        'ADD COLUMN "day__mogul_new" timestamp without time zone',
        'DROP COLUMN "day"',
        'RENAME COLUMN "day__mogul_new" TO "day"',
        'ALTER DISTKEY "day"',
        'ALTER SORTKEY ("day", "id")',
    ]


def test_a_view_in_the_way_of_a_rewriting_is_told(here):
    here.deliver([{"id": 1, "at": date(2026, 1, 2)}])
    here.asked("CREATE VIEW {schema}.latest AS SELECT max(at) FROM {schema}.plans")
    with pytest.raises(DestinationRefused, match="a view depends on") as refused:
        here.deliver([{"id": 1, "at": datetime(2026, 1, 2, tzinfo=UTC)}])
    assert "drop the view" in refused.value.remedy
    assert here.asked("SELECT * FROM {schema}.latest") == [(date(2026, 1, 2),)]


def test_a_view_in_the_place_of_a_table_is_told(here):
    here.asked("CREATE SCHEMA {schema} AUTHORIZATION mogul; CREATE VIEW {schema}.plans AS SELECT 1 AS id")
    with pytest.raises(DestinationRefused, match=r"plans is a view there"):
        here.deliver([{"id": 1}])


@pytest.mark.parametrize("name", ["ctid", "XMIN", "n" * 128, "a\nb", "ä" * 64])
def test_names_that_cannot_be_there_are_refused(name, here):
    with pytest.raises(DestinationRefused, match="cannot be a name"):
        here.deliver([{"id": 1, name: "x"}])
    assert here.state() is None


# Staging


def test_files_are_staged_as_they_are_under_a_manifest_and_removed(here):
    seen = {}

    class Watching(RedshiftDestination):
        def _copy(self, session, staging, there):
            store = redshift.bucket_of(here.address)
            for key in here.staged():
                seen[key.rpartition("/")[2]] = store.get_object(Bucket=here.name, Key=key)["Body"].read()
            super()._copy(session, staging, there)

    rows = [{"id": number, "date": datetime(2026, number, 1, tzinfo=UTC)} for number in (1, 2)]
    months = here.table(rows, window=Window.months(Month(2026, 1), Month(2026, 2)), window_column="date")
    options = PLACE.options(Spot(here.folder, here.address))
    Watching(name="shelf", **options, prefix="/in/here/").deliver(months)
    assert sorted(seen) == ["00000.parquet", "00001.parquet", "manifest.json"]
    assert [seen["00000.parquet"], seen["00001.parquet"]] == [Path(path).read_bytes() for path in months.paths]
    entries = json.loads(seen["manifest.json"])["entries"]
    assert [entry["meta"]["content_length"] for entry in entries] == [file.bytes for file in months.files]
    assert all(entry["mandatory"] and entry["url"].startswith(f"s3://{here.name}/in/here/mogul-") for entry in entries)
    assert here.staged() == []


def test_files_may_be_staged_in_snappy(here, tmp_path):
    plans = here.table([{"id": 1, "free": "{}"}], schema=PLANS)
    copy = module._conforming(Path(plans.paths[0]), plans.schema, tmp_path / "copy.parquet", snappy=True)
    assert pq.read_metadata(copy).row_group(0).column(0).compression == "SNAPPY"
    assert pq.read_table(copy).to_pylist() == pq.read_table(plans.paths[0]).to_pylist()
    here.shelf(snappy=True).deliver(plans)
    assert [row["id"] for row in here.rows()] == [1]


def test_an_empty_table_needs_no_bucket(here):
    here.deliver([], schema=PLANS, to=here.shelf(bucket="not-there-at-all"))
    assert here.state().rows == []


def test_files_of_other_columns_are_made_to_fit(here):
    """COPY goes by number and order of the columns, and a month that did not change keeps its file."""
    both = Window.months(Month(2026, 1), Month(2026, 2))
    dated = [("id", pa.int64()), ("date", pa.timestamp("us", tz="UTC"))]

    def month(number, columns, **more):
        row = {"id": number, "date": datetime(2026, number, 1, tzinfo=UTC), **more}
        return here.table([row], schema=pa.schema(columns), window=both, window_column="date")

    old, new = month(1, dated), month(2, [*dated, ("word", pa.string())], word="new")
    turned = month(2, [("word", pa.string()), *dated], word="turned")
    here.shelf().deliver(replace(new, files=(*old.files, *turned.files)))
    assert [(row["id"], row["word"]) for row in here.rows()] == [(1, None), (2, "turned")]


def test_keys_may_stand_for_the_role_and_are_never_told(here, monkeypatch, caplog):
    monkeypatch.setenv("STAGING_KEY", "AKIAONLYFORTESTS")
    monkeypatch.setenv("STAGING_SECRET", "a'secret\\of/its+own")
    caplog.set_level(logging.DEBUG)
    keys = {"access_key_id": {"env": "STAGING_KEY"}, "secret_access_key": {"env": "STAGING_SECRET"}, "role": None}
    shelf = here.shelf(**keys)
    here.deliver([{"id": 1}], to=shelf)
    (copied,) = [said for said in here.stated(f"s3://{here.name}/") if said.startswith("COPY")]
    assert "ACCESS_KEY_ID 'AKIAONLYFORTESTS' SECRET_ACCESS_KEY 'a''secret\\\\of/its+own'" in copied
    with pytest.raises(DestinationRefused) as refused:
        here.deliver([{"id": 1}], to=here.shelf(**keys, bucket="not-there-at-all"))
    preview = shelf.preview(here.table([{"id": 1}]))
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("boto", "urllib3"))]
    for text in (shelf.grants(), str(shelf), repr(shelf), *ours, *preview.statements, str(refused.value)):
        assert "AKIAONLYFORTESTS" not in text
        assert "secret\\" not in text


def test_a_bucket_that_is_not_there_is_told(here):
    here.deliver([{"id": 1}])
    with pytest.raises(
        DestinationRefused, match=r"staging the rows: there is no such bucket \(NoSuchBucket"
    ) as refused:
        here.deliver([{"id": 2}], to=here.shelf(bucket="not-there-at-all"))
    assert "what was delivered before stands" in refused.value.message
    assert here.rows() == [{"id": 1}]


@pytest.mark.parametrize(
    ("role", "said", "remedy"),
    [
        ("denied", "S3 does not let it read the staged files", "see  mogul destinations grants shelf"),
        ("unassociated", "may not take on the role", "associate the role with the cluster or workgroup"),
        ("unreadable", "COPY cannot read the staged files, column 'name' (error code 1204)", "sys_load_error_detail"),
    ],
)
def test_what_copy_may_not_do_is_told_and_nothing_stays_staged(role, said, remedy, here):
    here.deliver([{"id": 1}])
    with pytest.raises(DestinationRefused) as refused:
        here.deliver([{"id": 2}], to=here.shelf(role=f"{redshift.ROLE}-{role}"))
    assert said in refused.value.message
    assert remedy in refused.value.remedy
    assert "secret" not in str(refused.value)
    assert here.rows() == [{"id": 1}]
    assert here.staged() == []


def test_an_upload_that_breaks_once_is_gone_on_with(here, s3):
    s3.up = Cut(after=500, times=1)
    here.deliver([{"id": 1}], to=here.shelf(**behind(s3)))
    assert s3.cuts == 1
    assert here.rows() == [{"id": 1}]


def test_an_upload_that_breaks_each_time_leaves_the_old(here, s3):
    here.deliver([{"id": 1}])
    s3.up = Cut(after=500)
    with pytest.raises(DestinationUnavailable, match="staging the rows: S3 cannot be reached"):
        here.deliver([{"id": 2}], to=here.shelf(**behind(s3)))
    assert here.rows() == [{"id": 1}]
    assert here.staged() == []


def test_what_cannot_be_removed_is_told_in_the_log_and_harms_nothing(here, s3, caplog):
    s3.up = Cut(at=b"?delete")
    assert here.deliver([{"id": 1}], to=here.shelf(**behind(s3))).outcome is Outcome.DELIVERED
    assert "could not remove what was staged below s3://" in caplog.text


# Connections

STEPS = {  # the statement, and whether it is one of a first delivery only
    "nspname": False,
    "CREATE SCHEMA": True,
    "CREATE TABLE IF": True,
    "COMMENT": True,
    "CREATE TEMP": False,
    "COPY": False,
    "BEGIN": False,
    "UPDATE": False,
    "DELETE": False,
    "INSERT INTO": False,
    "COMMIT": False,
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("passed", [False, True], ids=["lost", "answer lost"])
def test_a_connection_lost_at_any_step_leaves_old_or_new(step, passed, here, faults):
    if not STEPS[step]:
        here.deliver([{"id": 1}], schema=PLANS)
    faults.up, committed = Cut(at=step.encode(), times=1, passed=passed), step == "COMMIT" and passed
    shelf, before = here.shelf(**seen(faults)), here.state()
    if committed:
        assert here.deliver([{"id": 2}], schema=PLANS, to=shelf).outcome is Outcome.DELIVERED
    else:
        with pytest.raises(DestinationUnavailable, match="the connection was lost; what was delivered before stands"):
            here.deliver([{"id": 2}], schema=PLANS, to=shelf)
    assert faults.cuts == 1
    state = here.state()
    if committed:
        assert [row["id"] for row in state.rows] == [2]
    else:
        assert state == before or (before is None and state.rows == [])
    assert here.staged() == []
    here.deliver([{"id": 3}], schema=PLANS, to=shelf)
    assert [row["id"] for row in here.rows()] == [3]


@pytest.mark.parametrize("reset", [False, True], ids=["ended", "reset"])
def test_an_encrypted_connection_that_is_lost_is_no_matter_of_certificates(reset, here, faults):
    class Losing(RedshiftDestination):
        def _copy(self, session, staging, there):
            faults.down = Cut(after=0, times=1, reset=reset)  # whatever comes next
            super()._copy(session, staging, there)

    here.deliver([{"id": 1}])
    losing = Losing(name="shelf", **{**PLACE.options(Spot(here.folder, here.address)), "port": faults.port})
    with pytest.raises(DestinationUnavailable, match="the connection was lost; what was delivered before stands"):
        here.deliver([{"id": 2}], to=losing)
    assert faults.cuts == 1
    assert here.rows() == [{"id": 1}]


@pytest.mark.parametrize("step", ["nspname", "COPY", "UPDATE", "COMMIT"])
def test_silence_in_a_step_is_not_waited_for_longer_than_allowed(step, here, faults):
    here.deliver([{"id": 1}])
    faults.up = Cut(at=step.encode(), times=1, silence=True)
    began = time.monotonic()
    with pytest.raises(DestinationUnavailable, match="nothing was heard from it for 1 seconds"):
        here.deliver([{"id": 2}], to=here.shelf(**seen(faults), step_seconds=1))
    assert time.monotonic() - began < 15
    assert here.rows() == [{"id": 1}]
    assert here.staged() == []


def test_a_black_hole_is_not_waited_for_longer_than_connecting_may_take(here, faults, monkeypatch):
    monkeypatch.setattr(module, "CONNECT_SECONDS", 1)
    faults.black_hole = True
    with pytest.raises(DestinationUnavailable, match="connecting: nothing was heard from it for 1 seconds"):
        here.deliver([{"id": 1}], to=here.shelf(port=faults.port))


def test_nobody_there_is_told(here):
    with pytest.raises(DestinationUnavailable, match="connecting: it cannot be reached"):
        here.deliver([{"id": 1}], to=here.shelf(port=servers.free_port()))


def test_a_wrong_password_is_refused_and_not_told(here, monkeypatch):
    monkeypatch.setenv("WRONG", "hunter2hunter2")
    with pytest.raises(DestinationRefused, match="connecting: the login was refused") as refused:
        here.deliver([{"id": 1}], to=here.shelf(password={"env": "WRONG"}))
    assert "hunter2" not in str(refused.value)


def test_a_database_that_is_not_there_is_told(here):
    with pytest.raises(DestinationRefused, match="there is no such database"):
        here.deliver([{"id": 1}], to=here.shelf(database="nowhere"))


def test_a_server_that_does_not_prove_itself_is_refused(here):
    with pytest.raises(DestinationRefused, match="no encrypted connection to a proven server"):
        here.deliver([{"id": 1}], to=here.shelf(certificates=None))
    here.deliver([{"id": 1}], to=here.shelf(certificates=None, sslmode="require"))


def test_a_resource_of_the_users_own_is_used(here):
    theirs = RedshiftClientResource(
        host="127.0.0.1",
        port=here.address["port"],
        user=redshift.USER,
        password=here.address["environment"][redshift.PASSWORD],
        database=redshift.DATABASE,
        sslmode="require",
    )
    shelf = here.shelf(connection=theirs, host=None, user=None, password=None, database=None)
    assert here.deliver([{"id": 1}], to=shelf).location == f"dev.{here.name}.plans"
    assert here.rows() == [{"id": 1}]
    assert f'ON DATABASE "{redshift.DATABASE}" TO "{redshift.USER}"' in shelf.grants()


# Others at the same tables


def test_a_serializable_conflict_is_tried_again(here):
    here.deliver([{"id": 1}])
    asked = len(here.stated("UPDATE"))
    with redshift.connected(here.address) as other, ThreadPoolExecutor(1) as beside, other.cursor() as cursor:
        other.autocommit = False
        cursor.execute(f"UPDATE {here.name}.mogul_deliveries SET rows = rows WHERE outcome = 'created'")
        delivery = beside.submit(here.deliver, [{"id": 2}])
        until = time.monotonic() + 20
        while len(here.stated("UPDATE")) == asked and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.3)
        assert not delivery.done()
        other.commit()
        assert delivery.result(30).outcome is Outcome.DELIVERED
    assert len(here.stated("UPDATE")) == asked + 2
    assert here.rows() == [{"id": 2}]


@pytest.mark.parametrize("database", [redshift.DATABASE, redshift.SNAPSHOT])
def test_first_deliveries_at_once_do_not_add_up(database, here):
    """On either level of isolation: on snapshots nothing but the lock keeps them apart."""
    shelves = [here.shelf(database=database) for _ in range(4)]
    tables = [here.table([{"id": number}, {"id": number + 10}]) for number in range(4)]
    with ThreadPoolExecutor(4) as beside:
        outcomes = {one.outcome for one in beside.map(lambda shelf, one: shelf.deliver(one), shelves, tables)}
    assert outcomes <= {Outcome.DELIVERED, Outcome.SUPERSEDED}
    with closing(shelves[0].session()) as session:
        assert session.rows(f'SELECT id FROM "{here.name}".plans ORDER BY 1') == [(3,), (13,)]


def test_rights_that_somebody_gave_on_a_table_stand(here, somebody):
    here.deliver([{"id": 1}])
    here.asked(f"GRANT SELECT ON {{schema}}.plans TO {somebody['user']}")
    here.deliver([{"id": 2, "name": "a new column"}])
    assert here.asked(f"SELECT has_table_privilege('{somebody['user']}', '{here.name}.plans', 'SELECT')") == [(True,)]


# What it must be allowed to do


@pytest.fixture
def somebody(here, monkeypatch):
    """Settings of a user without any right."""
    name, password = f"u{token_hex(4)}", token_hex(8)
    here.asked(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    monkeypatch.setenv("SOMEBODYS_PASSWORD", password)
    return {"user": name, "password": {"env": "SOMEBODYS_PASSWORD"}}


def problems(shelf):
    return {one.name: one for one in shelf.check() if one.problem}


def test_each_permission_that_is_missing_is_told_with_what_grants_it(here, somebody):
    shelf = here.shelf(**somebody)
    here.asked("CREATE SCHEMA {schema}")
    found = problems(shelf)
    assert list(found) == ["make a table", "make a temporary table"]
    assert "permission denied for schema" in found["make a table"].problem
    here.asked("DROP SCHEMA {schema}")
    assert "permission denied for database dev" in problems(shelf)["make a table"].problem
    with pytest.raises(DestinationRefused, match="changing the schema: a permission is missing"):
        here.deliver([{"id": 1}], to=shelf)
    for one in found.values():
        here.asked(one.remedy)
    assert problems(shelf) == {}
    here.deliver([{"id": 1}], to=shelf)
    assert here.rows() == [{"id": 1}]


def test_tables_of_another_user_are_told_with_what_hands_them_over(here, somebody):
    here.deliver([{"id": 1}])
    here.asked(f"GRANT USAGE, CREATE ON SCHEMA {{schema}} TO {somebody['user']}")
    here.asked(f"GRANT TEMPORARY ON DATABASE dev TO {somebody['user']}")
    shelf = here.shelf(**somebody)
    (one,) = problems(shelf).values()
    assert one.name == "change the tables that are there"
    assert one.problem == "mogul_deliveries, plans belong to another user"
    with pytest.raises(DestinationRefused, match="a permission is missing"):
        here.deliver([{"id": 2}], to=shelf)
    here.asked(one.remedy)
    assert problems(shelf) == {}
    here.deliver([{"id": 2}], to=shelf)


@pytest.mark.parametrize(
    ("options", "name", "said"),
    [
        ({"bucket": "not-there-at-all"}, "stage a file", "there is no such bucket"),
        ({"bucket": "No Bucket"}, "stage a file", "no name of a bucket"),
        ({"role": f"{redshift.ROLE}-denied"}, "copy the file into it", "S3 does not let it read"),
        ({"role": f"{redshift.ROLE}-unassociated"}, "copy the file into it", "may not take on the role"),
        ({"database": "nowhere"}, "log in", "no such database"),
        ({"port": 1}, "log in", "cannot be reached"),
    ],
)
def test_what_else_is_missing_is_told(options, name, said, here):
    found = problems(here.shelf(**options))
    assert list(found) == [name]
    assert said in found[name].problem
    assert found[name].remedy
    assert here.staged() == []


def test_the_remedy_for_the_role_is_its_policy(here):
    (one,) = problems(here.shelf(role=f"{redshift.ROLE}-denied")).values()
    assert json.loads(one.remedy)["Statement"][0] == {
        "Effect": "Allow",
        "Action": ["s3:GetObject"],
        "Resource": f"arn:aws:s3:::{here.name}/mogul-staging/*",
    }


@pytest.fixture
def store(tmp_path):
    """An S3 of the test's own that asks for signatures and policies: its URL, and the keys of two users."""
    tmp_path.joinpath("moto").mkdir()
    groups, address = s3_peer.start(tmp_path / "moto", free_requests=6)
    login = {"region_name": "us-east-1", "aws_access_key_id": "root", "aws_secret_access_key": "root"}
    root, users = (boto3.client(kind, endpoint_url=address["url"], **login) for kind in ("s3", "iam"))
    root.create_bucket(Bucket="strict")
    example = {**RedshiftDestination.EXAMPLE, "bucket": "strict"}
    keys = {}
    for name in ("stranger", "mogul"):
        users.create_user(UserName=name)
        keys[name] = users.create_access_key(UserName=name)["AccessKey"]
    policy = RedshiftDestination(name="shelf", **example)._uploading()
    # moto asks for this right of the bucket, where S3 asks for it of each object.
    policy["Statement"].append({"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::strict"})
    users.put_user_policy(UserName="mogul", PolicyName="staging", PolicyDocument=json.dumps(policy))
    yield address["url"], keys
    for group in groups:
        servers.stop(group)


@pytest.mark.parametrize("name", ["stranger", "mogul", "nobody"])
def test_the_policy_for_staging_is_needed_and_enough(name, here, store, monkeypatch):
    url, keys = store
    key = keys.get(name, {"AccessKeyId": "AKIANOBODY", "SecretAccessKey": "wrong"})
    monkeypatch.setenv("STAGING_KEY", key["AccessKeyId"])
    monkeypatch.setenv("STAGING_SECRET", key["SecretAccessKey"])
    shelf = here.shelf(
        s3_endpoint=url,
        bucket="strict",
        access_key_id={"env": "STAGING_KEY"},
        secret_access_key={"env": "STAGING_SECRET"},
    )
    found = {one.name: one for one in shelf.check()}
    staging = found["stage a file"]
    if name == "mogul":
        assert (staging.problem, found["remove the file"].problem) == (None, None)
    elif name == "stranger":
        assert "S3 refused it (AccessDenied" in staging.problem
        assert json.loads(staging.remedy)["Statement"][0]["Action"][0] == "s3:PutObject"
    else:
        assert "S3 refused the keys (InvalidAccessKeyId" in staging.problem
        assert staging.remedy == "correct access_key_id and secret_access_key"


def test_what_is_granted_is_enough_and_can_be_run(here, monkeypatch):
    monkeypatch.setenv("SOMEBODYS_PASSWORD", "granted")
    shelf = here.shelf(user=f"u{token_hex(4)}", password={"env": "SOMEBODYS_PASSWORD"})
    here.asked(shelf.grants().partition("\n\n")[0].replace("<password>", "granted"))
    assert problems(shelf) == {}
    here.deliver([{"id": 1}], to=shelf)
    assert here.rows() == [{"id": 1}]


def test_the_policies_to_grant_are_json_with_the_destinations_own_names():
    example = RedshiftDestination.EXAMPLE
    text = RedshiftDestination(name="shelf", **example).grants()
    policies = [json.loads("{" + part.partition("\n\n")[0].partition("\n--")[0]) for part in text.split("\n{")[1:]]
    assert [policy["Statement"][0]["Action"] for policy in policies] == [
        ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
        ["s3:GetObject"],
        "sts:AssumeRole",
    ]
    assert policies[0]["Statement"][0]["Resource"] == "arn:aws:s3:::example-mogul/mogul-staging/*"
    assert 'CREATE SCHEMA IF NOT EXISTS "chartmogul" AUTHORIZATION "mogul";' in text
    china = RedshiftDestination(name="shelf", **{**example, "role": "arn:aws-cn:iam::123456789012:role/mogul"})
    assert "arn:aws-cn:s3:::example-mogul/mogul-staging/*" in china.grants()
    keys = {"access_key_id": {"env": "K"}, "secret_access_key": {"env": "S"}, "role": None}
    (both,) = RedshiftDestination(name="shelf", **{**example, **keys}).grants().split("\n{")[1:]
    assert [one["Action"][0] for one in json.loads("{" + both)["Statement"]] == [
        "s3:PutObject",
        "s3:GetObject",
        "s3:ListBucket",
    ]


# The peer


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE INDEX i ON {t} (id)", "not supported on Redshift"),
        ("INSERT INTO {t} VALUES (1, 'a') ON CONFLICT DO NOTHING", "CONFLICT"),
        ("DELETE FROM {t} RETURNING id", "RETURNING"),
        ("ALTER TABLE {t} ADD COLUMN a int, ADD COLUMN b int", "syntax error"),
        ("ALTER TABLE {t} ALTER COLUMN id TYPE bigint", "not supported"),
        ("BEGIN; ALTER TABLE {t} ALTER COLUMN name TYPE varchar(300)", "cannot run inside a transaction block"),
        ("COPY {t} FROM STDIN", "COPY FROM STDIN"),
        ("COPY {t} FROM 's3://{b}/x' FORMAT PARQUET", "IAM role or credentials"),
        ("COPY {t} FROM 's3://{b}/x' IAM_ROLE '{r}' FORMAT PARQUET REGION 'eu-west-1'", "REGION"),
        ("COPY {t} FROM 's3://{b}/x' IAM_ROLE '{r}' FORMAT PARQUET", "does not exist"),
        ("COPY {t} FROM 's3://{b}/long' IAM_ROLE '{r}' FORMAT PARQUET", "longer than the length defined"),
        ("COPY {t} (id) FROM 's3://{b}/long' IAM_ROLE '{r}' FORMAT PARQUET", "Unmatched number of columns"),
        ("COPY {t} FROM 's3://{b}/manifest' IAM_ROLE '{r}' FORMAT PARQUET MANIFEST", "content_length"),
        ("SELECT json_parse('{{oops')", "JSON parsing error"),
        ("INSERT INTO {t} VALUES (1, repeat('x', 257))", "value too long"),
    ],
)
def test_the_peer_refuses_what_redshift_refuses(statement, said, here):
    path, store = f'"{here.name}".t', redshift.bucket_of(here.address)
    here.shelf()
    with closing(here.shelf().session()) as session:
        session.execute(f'CREATE SCHEMA "{here.name}"')
        session.execute(f"CREATE TABLE {path} (id int DISTKEY, name text) SORTKEY (id)")
        file = here.folder / "long.parquet"
        pq.write_table(pa.table({"id": [1], "name": ["ü" * 40_000]}), file)
        store.put_object(Bucket=here.name, Key="long.parquet", Body=file.read_bytes())
        manifest = json.dumps({"entries": [{"url": f"s3://{here.name}/long.parquet"}]})
        store.put_object(Bucket=here.name, Key="manifest", Body=manifest)
        with pytest.raises(psycopg2.Error) as refused:
            session.execute(statement.format(t=path, b=here.name, r=redshift.ROLE))
        assert said in str(refused.value)


# Errors


@pytest.mark.parametrize(
    ("state", "text", "kind", "said"),
    [
        ("28P01", "", DestinationRefused, "the login was refused (28P01)"),
        ("42501", "permission denied for schema x", DestinationRefused, "permission denied for schema x"),
        ("3D000", "", DestinationRefused, "no such database"),
        ("53100", "", DestinationRefused, "its disk is full"),
        ("53300", "", DestinationUnavailable, "out of memory or connections"),
        ("57014", "", DestinationUnavailable, "took too long"),
        ("57P01", "", DestinationUnavailable, "being restarted"),
        ("08006", "", DestinationUnavailable, "the connection was lost"),
        ("22001", "value 'secret' too long", DestinationRefused, "a value does not fit"),
        ("99999", "secret", DestinationRefused, "it refused a statement (99999)"),
        ("40001", "", Conflict, ""),
        ("XX000", "1023\nDETAIL: Serializable isolation violation on table - 1", Conflict, ""),
        ("XX000", "1023\n", Conflict, ""),
        ("XX000", "ERROR:  1018\nDETAIL:  Relation does not exist.", Conflict, ""),
        ("XX000", "Assert\nDETAIL:\n  error:  Assert\n  code:      1023\n  query:     7", Conflict, ""),
        ("XX000", "could not complete because of conflict with concurrent transaction", Conflict, ""),
        ("XX000", "Assert\nDETAIL:\n  code:      1000\n  query:     1023 [pid:1018]", DestinationUnavailable, "own"),
        ("XX000", "Disk Full\nDETAIL: node 1023", DestinationRefused, "its disk is full"),
        ("", "connection to server at x, port 1023 failed", DestinationUnavailable, "it cannot be reached"),
        ("23505", "secret", Conflict, ""),
        ("42710", 'type "plans" already exists', Conflict, ""),
        ("XX000", "S3ServiceException:x,Status 403,Error AccessDenied", DestinationRefused, "S3 does not let"),
        ("XX000", "S3ServiceException:x,Status 503,Error SlowDown", DestinationUnavailable, "cannot reach S3"),
        ("XX000", "S3CurlException: Connection timed out", DestinationUnavailable, "cannot reach S3"),
        ("XX000", "S3ServiceException:x,Status 301,Error PermanentRedirect", DestinationRefused, "not find the bucket"),
        ("XX000", "Disk Full\nDETAIL: node 3", DestinationRefused, "its disk is full"),
        ("XX000", "JSON parsing error secret", DestinationRefused, "a JSON value is not taken"),
        ("XX000", "Assert secret", DestinationUnavailable, "a fault of its own"),
        ("", "FATAL: password authentication failed for user secret", DestinationRefused, "the login was refused"),
        ("", 'could not translate host name "x"', DestinationUnavailable, "leads nowhere"),
        ("", "SSL error: certificate verify failed", DestinationRefused, "no encrypted connection"),
        ("", "server closed the connection unexpectedly", DestinationUnavailable, "the connection was lost"),
        ("", "SSL SYSCALL error: EOF detected", DestinationUnavailable, "the connection was lost"),
        ("", "SSL SYSCALL error: Connection reset by peer", DestinationUnavailable, "the connection was lost"),
        ("", "SSL connection has been closed unexpectedly", DestinationUnavailable, "the connection was lost"),
        ("", "SSL error: unexpected eof while reading", DestinationUnavailable, "the connection was lost"),
        ("", "SSL_read failed but did not provide error information", DestinationUnavailable, "was lost"),
        ("", "SSL error: wrong version number", DestinationRefused, "no encrypted connection"),
        ("", 'root certificate file "x" does not exist', DestinationRefused, "no encrypted connection"),
        ("", "server does not support SSL, but SSL was required", DestinationRefused, "no encrypted connection"),
        ("", "no pg_hba.conf entry for host secret, SSL off", DestinationRefused, "no encrypted connection"),
        ("", "no pg_hba.conf entry for host secret, SSL on", DestinationRefused, "takes no connection of this user"),
    ],
)  # fmt: skip
def test_an_error_of_the_database_is_told_by_its_state_or_text(state, text, kind, said):
    error = database_error("shelf", state, text, text)
    assert type(error) is kind
    if kind is not Conflict:
        assert said in error.message
        assert error.remedy
        assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("AccessDenied", DestinationRefused, "S3 refused it (AccessDenied, s3://b)"),
        ("SignatureDoesNotMatch", DestinationRefused, "S3 refused the keys"),
        ("NoSuchBucket", DestinationRefused, "there is no such bucket"),
        ("NoCredentialsError", DestinationRefused, "no credentials"),
        ("PermanentRedirect", DestinationRefused, "another region"),
        ("SlowDown", DestinationUnavailable, "S3 cannot be reached"),
        ("EndpointConnectionError", DestinationUnavailable, "S3 cannot be reached"),
    ],
)
def test_an_error_of_s3_is_told_by_its_code(code, kind, said):
    error = s3_error("shelf", code, "b")
    assert type(error) is kind
    assert said in error.message


# Reading back


def test_a_preview_compares_more_rows_than_are_fetched_at_a_time(here):
    rows = [{"id": number, "name": str(number), "at": datetime(2026, 1, 1, tzinfo=UTC)} for number in range(2500)]
    here.deliver(rows)
    rows[2400]["name"], rows[7]["at"] = "other", None
    preview = here.shelf().preview(here.table([*rows[1:], {"id": 9999, "name": "new", "at": None}]))
    assert (preview.new, preview.changed, preview.gone) == (1, 2, 1)
    assert not any("COPY" in statement or "TEMP" in statement for statement in preview.statements)


def test_literals_mean_what_they_say(here):
    text = "it's \\ \\\\ '' \\' ü😀"
    with closing(here.shelf().session()) as session:
        assert session.rows(f"SELECT {DIALECT.literal(text)}") == [(text,)]


# The page about it

PAGE = (Path(__file__).parents[2] / "docs" / "destinations" / "redshift.md").read_text()


def test_the_page_tells_every_setting_with_its_default():
    always = {"host", "database", "user", "password"}  # where no resource of the user's own stands in
    for name, field in settings_of(RedshiftDestination).items():
        required = field.is_required() or name in always
        absent = field.default is None or field.default_factory
        default = "must be set" if required else "–" if absent else f"`{field.default}`"
        assert f"| `{name}` | {default} | {field.description} |\n" in PAGE


def test_the_page_tells_every_error():
    for meaning in (*STATES, *TEXTS, *S3_CODES):
        assert meaning.what in PAGE
