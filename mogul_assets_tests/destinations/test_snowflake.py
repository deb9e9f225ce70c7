"""What is Snowflake's own: key pairs, sessions, stages, its types, its errors, and what it must be allowed to do."""

from __future__ import annotations

import re
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from threading import Thread, Timer

import boto3
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from dagster_snowflake import SnowflakeResource
from pydantic import ValidationError

from mogul_assets.catalog.window import Month, Window
from mogul_assets.destinations import warehouse
from mogul_assets.destinations.base import Outcome, Secret
from mogul_assets.destinations.configured import settings_of
from mogul_assets.destinations.log import LOG
from mogul_assets.destinations.snowflake import DIALECT, SnowflakeDestination
from mogul_assets.destinations.snowflake_errors import CODES, GRANTS, HTTP, meaning
from mogul_assets.destinations.snowflake_stage import GoogleBucket, Staged, told
from mogul_assets.destinations.warehouse import Conflict
from mogul_assets.errors import (
    ConfigurationError,
    DestinationRefused,
    DestinationUnavailable,
    DestinationUnreachable,
)
from mogul_assets_tests.destinations.place import Place, Spot
from mogul_assets_tests.destinations.places import PLACES
from mogul_assets_tests.peers import bigquery, gcs, snowflake
from mogul_assets_tests.peers.faults import Cut, FaultProxy
from mogul_assets_tests.tables import table_of

(PLACE,) = (place for place in PLACES if place.word == "snowflake")
ACCOUNT = {"account": "myorg-myaccount", "user": "MOGUL", "database": "ANALYTICS"}
KEY = {"private_key": {"env": "MOGUL_TEST_SNOWFLAKE_KEY"}}

pytestmark = pytest.mark.peer


@dataclass(frozen=True)
class Here:
    """A test's own database."""

    place: Place
    folder: Path

    @property
    def spot(self) -> Spot:
        return self.place._spot(self.folder)

    def shelf(self, **options):
        """The destination, with other settings than the place's."""
        return self.place.destination(self.folder, **options)

    def table(self, rows, **how):
        return table_of(self.folder / "store", rows, **how)

    def deliver(self, rows, *, to=None, **how):
        return (to or self.shelf()).deliver(self.table(rows, **how))

    def rows(self):
        return self.place.rows(self.folder)

    def path(self, table="PLANS"):
        return f'"{self.spot.name.upper()}"."{snowflake.SCHEMA}"."{table}"'

    def asked(self, sql):
        return snowflake.asked(self.spot, sql)

    def said(self, word=""):
        return [text for text in snowflake.said(self.spot) if word in text]

    def fail(self, *how, **more):
        snowflake.fail(self.spot, *how, **more)

    def by_way_of(self, proxy, **args):
        return {"connection_args": {"host": "127.0.0.1", "port": proxy.port, "protocol": "http", **args}}


@pytest.fixture
def here(peer, tmp_path):
    return Here(PLACE.on(peer("snowflake")), tmp_path)


@pytest.fixture
def proxy(here):
    with FaultProxy(here.spot.address["port"]) as proxy:
        yield proxy


# Logging in


@pytest.mark.parametrize(
    "login",
    [
        {"password": {"env": "MOGUL_TEST_SNOWFLAKE_PASSWORD"}},
        KEY,
        {
            "private_key": {"env": "MOGUL_TEST_SNOWFLAKE_ENCRYPTED_KEY"},
            "private_key_passphrase": {"env": "MOGUL_TEST_SNOWFLAKE_PASSPHRASE"},
        },
    ],
    ids=["password", "key", "encrypted key"],
)
def test_logs_in(login, here):
    assert here.deliver([{"id": 1}], to=here.shelf(**{"password": None, **login})).rows == 1


def test_logs_in_with_a_key_in_a_file(here, tmp_path):
    file = tmp_path / "key.p8"
    file.write_text(here.spot.address["environment"]["MOGUL_TEST_SNOWFLAKE_ENCRYPTED_KEY"])
    passphrase = {"env": "MOGUL_TEST_SNOWFLAKE_PASSPHRASE"}
    shelf = here.shelf(password=None, private_key_file=str(file), private_key_passphrase=passphrase)
    assert here.deliver([{"id": 1}], to=shelf).rows == 1


def test_another_key_is_not_accepted(here, monkeypatch):
    shelf = here.shelf(password=None, **KEY)
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    monkeypatch.setenv("MOGUL_TEST_SNOWFLAKE_KEY", pem)
    with pytest.raises(DestinationRefused, match="the key pair is not accepted") as refused:
        here.deliver([{"id": 1}], to=shelf)
    assert "RSA_PUBLIC_KEY" in refused.value.remedy


def test_a_wrong_password_is_told_and_not_repeated(here, monkeypatch):
    shelf = here.shelf()
    monkeypatch.setenv("MOGUL_TEST_SNOWFLAKE_PASSWORD", "hunter2")
    with pytest.raises(DestinationRefused, match="user or password is wrong") as refused:
        here.deliver([{"id": 1}], to=shelf)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "text", "passphrase"),
    [
        ("MOGUL_TEST_SNOWFLAKE_ENCRYPTED_KEY", None, None),
        ("MOGUL_TEST_SNOWFLAKE_ENCRYPTED_KEY", None, "wrong"),
        ("MOGUL_TEST_SNOWFLAKE_KEY", None, "not needed"),
        ("MOGUL_TEST_SNOWFLAKE_KEY", "-----BEGIN PRIVATE KEY-----\nnone\n-----END PRIVATE KEY-----", None),
    ],
    ids=["no passphrase", "wrong passphrase", "passphrase without need", "no key"],
)
def test_a_key_that_cannot_be_opened_is_told(variable, text, passphrase, here, monkeypatch):
    options = {"private_key": {"env": variable}, "password": None}
    if passphrase:
        monkeypatch.setenv("MOGUL_TEST_SNOWFLAKE_PASSPHRASE", passphrase)
        options["private_key_passphrase"] = {"env": "MOGUL_TEST_SNOWFLAKE_PASSPHRASE"}
    shelf = here.shelf(**options)
    if passphrase:
        monkeypatch.setenv("MOGUL_TEST_SNOWFLAKE_PASSPHRASE", passphrase)
    if text:
        monkeypatch.setenv(variable, text)
    with pytest.raises(ConfigurationError, match="private key cannot be opened"):
        here.deliver([{"id": 1}], to=shelf)


def test_a_key_file_that_is_not_there_is_told(here, tmp_path):
    with pytest.raises(ConfigurationError, match="private key cannot be read: No such file"):
        here.deliver([{"id": 1}], to=here.shelf(password=None, private_key_file=str(tmp_path / "none.p8")))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (ACCOUNT, "name one of private_key, private_key_file and password"),
        ({**ACCOUNT, **KEY, "password": {"env": "X"}}, "name one of private_key"),
        ({"database": "ANALYTICS", **KEY}, "account and user are missing"),
        ({**ACCOUNT, **KEY, "stage": "STAGED"}, "stage and stage_url go together"),
        ({**ACCOUNT, **KEY, "stage": "STAGED", "stage_url": "ftp://x"}, "is written like s3://"),
        ({**ACCOUNT, **KEY, "stage_access_key_id": {"env": "X"}}, "go together"),
    ],
)
def test_settings_that_do_not_fit_are_told(options, problem):
    with pytest.raises(ValidationError, match=problem):
        SnowflakeDestination(name="shelf", **options)


def test_a_resource_of_the_users_own_is_used(here):
    options = here.place.options(here.spot)
    resource = SnowflakeResource(
        account="peer",
        user=snowflake.USER,
        password=snowflake.PASSWORD,
        additional_snowflake_connection_args=options["connection_args"],
    )
    own = SnowflakeDestination(name="shelf", connection=resource, database=options["database"])
    assert own.deliver(here.table([{"id": 1}])).rows == 1
    assert here.rows() == [{"id": 1}]
    with closing(own.session()) as session:
        connection = session._connection
        assert (connection.network_timeout, connection.socket_timeout) == (20, 60)  # neither for ever


def test_a_resource_of_another_kind_is_refused(here):
    other = SnowflakeResource(account="peer", user="u", password="p", connector="sqlalchemy")
    with pytest.raises(ConfigurationError, match="no SnowflakeResource on Snowflake's own connector"):
        SnowflakeDestination(name="shelf", connection=other, database="X").deliver(here.table([{"id": 1}]))


def test_a_session_is_set_to_what_the_delivery_builds_on_whoever_opened_it(here):
    here.deliver([{"id": 1}], to=here.shelf(query_tag="it's mine", step_seconds=90))
    assert here.said()[0] == (
        "ALTER SESSION SET AUTOCOMMIT = TRUE, TIMEZONE = 'UTC', QUOTED_IDENTIFIERS_IGNORE_CASE = FALSE,"
        " QUERY_TAG = 'it''s mine', DATE_INPUT_FORMAT = 'AUTO', TIMESTAMP_INPUT_FORMAT = 'AUTO', LOCK_TIMEOUT = 60,"
        " STATEMENT_TIMEOUT_IN_SECONDS = 90, ABORT_DETACHED_QUERY = TRUE"
    )


# Types and names


def test_types_are_as_snowflake_spells_them(here):
    schema = pa.schema(
        [
            pa.field("id", pa.int64()),
            pa.field("text", pa.string()),
            pa.field("share", pa.float64()),
            pa.field("flag", pa.bool_()),
            pa.field("moment", pa.timestamp("us", tz="UTC")),
            pa.field("day", pa.date32()),
            pa.field("free", pa.string(), metadata={"json": "true"}),
        ]
    )
    shelf = here.shelf()
    plans = here.table([{"id": 1}], schema=schema)
    shelf.deliver(plans)
    assert [kind for _, kind in shelf.preview(plans).columns] == [
        *("NUMBER(38,0)", "VARCHAR", "FLOAT", "BOOLEAN", "TIMESTAMP_TZ", "DATE", "VARIANT")
    ]
    assert here.said("ALTER TABLE") == []
    assert shelf.preview(plans).statements[0].startswith("DELETE")


def test_free_form_objects_can_be_queried_by_path(here):
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("free", pa.string(), metadata={"json": "true"})])
    here.deliver([{"id": 1, "free": '{"a": {"b": [1, "two"]}}'}], schema=schema)
    assert here.asked(f"SELECT free:a.b[1]::VARCHAR FROM {here.path()}") == [("two",)]


@pytest.mark.parametrize("name", ["", "x" * 256, "a\0b"])
def test_a_name_that_snowflake_does_not_take_is_refused(name, here):
    with pytest.raises(DestinationRefused, match="cannot name anything there"):
        here.deliver([{"id": 1, name: "a"}])


def test_many_files_are_put_at_once_and_copied_by_one_statement(here):
    window = Window.months(Month(2026, 1), None)
    schema = pa.schema([("id", pa.string()), ("date", pa.timestamp("us", tz="UTC"))])
    rows = [{"id": f"{month:02}", "date": datetime(2026, month, 1, tzinfo=UTC)} for month in range(1, 13)]
    here.deliver(rows, schema=schema, window=window, window_column="date")
    assert len(here.said("PUT 'file:///")) == len(here.said("COPY INTO")) == 1
    assert [row["id"] for row in here.rows()] == [row["id"] for row in rows]


# A stage of the user's own


@pytest.fixture
def bucket(peer, here, monkeypatch):
    """A bucket on the S3 peer, with a stage over it."""
    s3 = peer("s3")
    client = boto3.client("s3", endpoint_url=s3["url"], aws_access_key_id="a", aws_secret_access_key="a")
    client.create_bucket(Bucket=here.spot.name)
    snowflake.staged(
        here.spot, '"STAGING"."PUBLIC"."MOGUL"', endpoint=s3["url"], bucket=here.spot.name, path="below/here"
    )
    monkeypatch.setenv("MOGUL_TEST_STAGE", "a-key-of-the-stage")
    return client


def external(here, bucket, **options):
    url = f"s3://{here.spot.name}/below/here/"
    key = {"env": "MOGUL_TEST_STAGE"}
    keys = {"stage_access_key_id": key, "stage_secret_access_key": key, "stage_region": "us-east-1"}
    endpoint = bucket.meta.endpoint_url
    return here.shelf(
        **{"stage": "staging.public.mogul", "stage_url": url, "stage_endpoint": endpoint, **keys, **options}
    )


def lying(here, bucket):
    return [one["Key"] for one in bucket.list_objects_v2(Bucket=here.spot.name).get("Contents", [])]


def test_files_go_by_way_of_the_users_own_stage_and_leave_it(here, bucket):
    assert external(here, bucket).deliver(here.table([{"id": 1}, {"id": 2}])).rows == 2
    assert here.rows() == [{"id": 1}, {"id": 2}]
    assert not here.said("PUT ")
    (copy,) = here.said("COPY INTO")
    assert re.search(r'FROM @"STAGING"\."PUBLIC"\."MOGUL"/mogul_staging_[0-9a-f]{16}/ FILE_FORMAT', copy)
    assert lying(here, bucket) == []


def test_a_copy_that_fails_leaves_nothing_in_the_users_stage(here, bucket):
    here.fail("^COPY", "003001")
    with pytest.raises(DestinationRefused):
        external(here, bucket).deliver(here.table([{"id": 1}]))
    assert lying(here, bucket) == []


def test_a_check_tries_the_users_stage(here, bucket):
    shelf = external(here, bucket)
    assert not [one for one in shelf.check() if one.problem]
    here.fail("^COPY", "003001", "Insufficient privileges to operate on stage 'MOGUL'")
    (problem,) = [one for one in shelf.check() if one.problem]
    assert problem.name == "load a file"
    assert 'GRANT USAGE ON STAGE "STAGING"."PUBLIC"."MOGUL" TO ROLE "MOGUL";' in problem.remedy
    assert lying(here, bucket) == []


def test_a_bucket_that_is_not_there_is_told(here, bucket):
    with pytest.raises(DestinationRefused, match=r"the stage's bucket refused \(NoSuchBucket, s3://not-there/x\)"):
        external(here, bucket, stage_url="s3://not-there/x").deliver(here.table([{"id": 1}]))


def test_a_bucket_that_cannot_be_reached_is_told(here, bucket):
    with pytest.raises(DestinationUnavailable, match="the stage's bucket cannot be reached"):
        external(here, bucket, stage_endpoint="http://127.0.0.1:1").deliver(here.table([{"id": 1}]))


@pytest.mark.parametrize("text", ["s3cret", "[]", '{"private_key": "s3cret"}'])
def test_what_is_no_key_to_a_google_bucket_is_told_by_its_variable(here, monkeypatch, text):
    monkeypatch.setenv("MOGUL_TEST_STAGE", text)
    url, key = "gcs://ours/below", {"env": "MOGUL_TEST_STAGE"}
    shelf = here.shelf(stage="staging.public.mogul", stage_url=url, stage_key=key)
    with pytest.raises(ConfigurationError, match="MOGUL_TEST_STAGE holds no service account's key") as refused:
        shelf.deliver(here.table([{"id": 1}]))
    assert "s3cret" not in str(refused.value)


def test_a_google_bucket_is_filled_and_emptied(peer, tmp_path, monkeypatch):
    for name, value in peer("gcs")["environment"].items():
        monkeypatch.setenv(name, value)
    bigquery._on_loopback()
    key = Secret(env=gcs.SECRET)
    bucket = GoogleBucket("staged", key, of="shelf")
    bucket._bucket.create()
    file = tmp_path / "one.parquet"
    file.write_bytes(b"content")
    staged = Staged(bucket, ("below/00000.parquet", "below/00001.parquet"))
    staged.put([file, file])
    assert [blob.download_as_bytes() for blob in bucket._bucket.list_blobs()] == [b"content"] * 2
    staged.remove()
    staged.remove()
    assert list(bucket._bucket.list_blobs()) == []
    with pytest.raises(Exception, match="404") as error:
        GoogleBucket("none", key, of="shelf").put("x", file)
    assert isinstance(told(error.value, url="gcs://none"), DestinationRefused)


# Columns that change


def dated(here, month, value):
    kind = pa.date32() if type(value) is date else pa.timestamp("us", tz="UTC")
    window = Window.months(Month(2026, month), Month(2026, month))
    schema = pa.schema([("id", pa.int64()), ("date", pa.timestamp("us", tz="UTC")), ("seen", kind)])
    row = {"id": month, "date": datetime(2026, month, 1, tzinfo=UTC), "seen": value}
    return here.deliver([row], schema=schema, window=window, window_column="date")


def test_a_type_that_cannot_be_altered_in_place_gets_a_new_column_with_the_old_values(here, caplog):
    dated(here, 1, date(2026, 1, 5))
    later = datetime(2026, 2, 5, 12, 30, tzinfo=UTC)
    delivered = dated(here, 2, later)
    assert {row["id"]: row["seen"] for row in here.rows()} == {1: datetime(2026, 1, 5, tzinfo=UTC), 2: later}
    assert delivered.details["rewritten"] == "seen: DATE to TIMESTAMP_TZ"
    assert "columns were rewritten" in caplog.text


@pytest.mark.parametrize("step", ["ADD COLUMN", "UPDATE .*__MOGUL_NEW", "DROP COLUMN", "RENAME COLUMN"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_new_column_that_was_broken_off_is_gone_on_with(step, after, here):
    dated(here, 1, date(2026, 1, 5))
    here.fail(step, "003001", after=after)
    with pytest.raises(DestinationRefused):
        dated(here, 2, datetime(2026, 2, 5, tzinfo=UTC))
    dated(here, 2, datetime(2026, 2, 6, tzinfo=UTC))
    assert [tuple(row) for row in here.rows()] == [("id", "date", "seen")] * 2
    assert [row["seen"] for row in here.rows()] == [datetime(2026, month, 4 + month, tzinfo=UTC) for month in (1, 2)]


def test_an_integer_made_narrower_by_hand_is_widened_in_place(here):
    here.deliver([{"id": 1}])
    here.asked(f"DROP TABLE {here.path()}")
    here.asked(f'CREATE TABLE {here.path()} ("ID" NUMBER(10, 0))')
    delivered = here.deliver([{"id": 2**63 - 1}])
    assert here.rows() == [{"id": 2**63 - 1}]
    assert "rewritten" not in delivered.details
    assert here.said('ALTER COLUMN "ID" SET DATA TYPE NUMBER(38,0)')


def test_a_text_made_narrower_by_hand_is_refused(here):
    here.deliver([{"id": 1, "name": "a"}])
    here.asked(f"DROP TABLE {here.path()}")
    here.asked(f'CREATE TABLE {here.path()} ("ID" NUMBER(38, 0), "NAME" VARCHAR(5))')
    with pytest.raises(DestinationRefused, match=r"plans\.name is VARCHAR\(5\) there and VARCHAR now"):
        here.deliver([{"id": 1, "name": "longer than five"}])


# Errors


STEPS = {
    "connecting": "ALTER SESSION",
    "looking at what is there": "information_schema",
    "changing the schema": "ADD COLUMN",
    "staging the rows": "CREATE TEMPORARY TABLE|^PUT|^COPY",
    "replacing the rows": "^BEGIN|^UPDATE|AND .GENERATION. >|^DELETE FROM .*PLANS|^INSERT INTO .*PLANS|'delivered'",
}


@pytest.mark.parametrize(
    ("step", "matching"), [(step, one) for step, several in STEPS.items() for one in several.split("|")]
)
def test_whatever_is_not_allowed_is_told_with_the_step_and_the_old_rows_stand(step, matching, here):
    here.deliver([{"id": 1}])
    before = here.place.everything(here.folder)
    said = "SQL access control error:\nInsufficient privileges to operate on table 'PLANS'"
    here.fail(matching, "003001", said)
    with pytest.raises(DestinationRefused) as refused:
        here.deliver([{"id": 2, "name": "b"}])
    assert refused.value.message == (
        f"shelf: plans: {step}: a permission is missing (Snowflake 003001, SQL access control error: Insufficient"
        " privileges to operate on table 'PLANS'); what was delivered before stands"
    )
    assert refused.value.remedy == GRANTS
    assert [row["id"] for row in here.rows()] == [1]
    assert here.place.everything(here.folder) == before
    here.deliver([{"id": 2, "name": "b"}])
    assert here.rows() == [{"id": 2, "name": "b"}]


@pytest.mark.parametrize(
    ("code", "message", "kind", "told"),
    [
        (
            "000606",
            "No active warehouse selected in the current session.",
            DestinationRefused,
            "no warehouse to run in",
        ),
        (
            "090073",
            "Warehouse 'LOADING' cannot be resumed",
            DestinationRefused,
            "Warehouse 'LOADING' cannot be resumed",
        ),
        ("000630", "Statement reached its statement timeout", DestinationUnavailable, "took longer than allowed"),
        (
            "002003",
            "Object 'PLANS' does not exist or not authorized",
            DestinationRefused,
            "Object 'PLANS' does not exist",
        ),
        ("100078", "String 'a customer' is too long", DestinationRefused, "a text is too long for its column"),
        ("100038", "Numeric value 'a customer' is not recognized", DestinationRefused, "it refused (Snowflake 100038)"),
    ],
)
def test_an_error_says_what_it_means_and_no_value(code, message, kind, told, here):
    here.deliver([{"id": 1}])
    here.fail("^INSERT INTO .*PLANS", code, message)
    with pytest.raises(kind) as refused:
        here.deliver([{"id": 2}])
    assert told in str(refused.value)
    assert "customer" not in str(refused.value)
    assert here.rows() == [{"id": 1}]


@pytest.mark.parametrize(
    ("code", "message", "told"),
    [
        ("390189", "Role 'NONE' specified in the connect string is not granted", "the role is not granted"),
        ("390422", "Incoming request with IP 192.0.2.1 is not allowed to access Snowflake", "192.0.2.1 is not allowed"),
        (
            "390186",
            "Role 'NONE' specified in the connect string is not granted to this user",
            "the role is not granted",
        ),
        ("390201", "The requested warehouse does not exist or not authorized.", "is not there, or not granted"),
    ],
)
def test_what_keeps_one_from_logging_in_is_told(code, message, told, here):
    shelf = here.shelf()
    here.fail("login", code, message)
    with pytest.raises(DestinationRefused, match=told):
        here.deliver([{"id": 1}], to=shelf)


def test_no_text_of_data_errors_is_ever_passed_on():
    assert not [code for code, one in CODES.items() if one.said and 100_000 <= code < 200_000]
    assert "value" not in str(meaning(100_200, "some value", passing=False))
    assert isinstance(meaning(625, "", passing=False), Conflict)
    assert isinstance(meaning(250_099, "", passing=True), DestinationUnavailable)


def test_another_deliverys_lock_is_waited_for(here):
    here.deliver([{"id": 1}])
    here.fail("^UPDATE", "000625", times=2)
    assert here.deliver([{"id": 2}]).outcome is Outcome.DELIVERED
    assert len(here.said("ROLLBACK")) == 2


def test_a_lock_that_is_never_freed_is_told(here, monkeypatch):
    monkeypatch.setattr(warehouse, "_WAIT", 1)
    here.deliver([{"id": 1}])
    here.fail("^UPDATE", "000625", times=1000)
    with pytest.raises(DestinationUnavailable, match="other deliveries were in the way for 1 seconds"):
        here.deliver([{"id": 2}])
    assert here.rows() == [{"id": 1}]


@pytest.mark.parametrize(
    ("verb", "matching"),
    [
        (lambda shelf, plans: shelf.deliver(plans), "^COPY"),
        (lambda shelf, plans: shelf.preview(plans), "information_schema"),
        (lambda shelf, _: shelf.forget(), "information_schema"),
        (lambda shelf, _: shelf.last_delivery("plans"), "information_schema"),
    ],
    ids=["deliver", "preview", "forget", "last_delivery"],
)
def test_another_delivery_where_nothing_is_begun_again_is_told(verb, matching, here):
    here.deliver([{"id": 1}])
    here.fail(matching, "000625")
    with pytest.raises(DestinationUnavailable, match=r"^shelf.*: another delivery was in the way; what was delivered"):
        verb(here.shelf(), here.table([{"id": 2}]))
    assert here.rows() == [{"id": 1}]


def test_what_a_delivery_made_before_it_met_another_is_told_as_made_anew(here):
    here.fail("^INSERT INTO .*'created'", "000625")
    assert here.deliver([{"id": 1}]).anew


def test_a_transaction_that_cannot_be_rolled_back_ends_with_its_session(here):
    here.deliver([{"id": 1}])
    here.fail("^INSERT INTO .*PLANS", "003001")
    here.fail("^ROLLBACK", "003001")
    with pytest.raises(DestinationRefused, match="a permission is missing"):
        here.deliver([{"id": 2}])
    assert here.said()[-1] == "ROLLBACK"  # and no DROP, which would commit the DELETE
    assert here.rows() == [{"id": 1}]


# Connections that are lost


@pytest.mark.parametrize("code", ["000604", "003001", "000001"])
def test_a_commit_whose_answer_is_lost_is_found_in_the_log(code, here):
    here.deliver([{"id": 1}])
    here.fail("^COMMIT", code, after=True)
    delivered = here.deliver([{"id": 2}])
    assert delivered.outcome is Outcome.DELIVERED
    assert here.rows() == [{"id": 2}]
    assert [row["outcome"] for row in here.place.rows(here.folder, LOG)].count("delivered") == 2


def test_a_commit_that_did_not_arrive_is_told_and_the_old_rows_stand(here):
    here.deliver([{"id": 1}])
    here.fail("^COMMIT", "000604")
    with pytest.raises(DestinationUnavailable, match=r"committing: .*; what was delivered before stands"):
        here.deliver([{"id": 2}])
    assert here.rows() == [{"id": 1}]
    here.deliver([{"id": 3}])
    assert here.rows() == [{"id": 3}]


def test_a_commit_of_which_nothing_can_be_learned_says_so(here, monkeypatch):
    monkeypatch.setattr(warehouse, "_WAIT", 1)
    here.deliver([{"id": 1}])
    here.fail("^COMMIT", "000604", after=True)
    here.fail('SET "OUTCOME"', "000625", times=1000)
    with pytest.raises(DestinationUnavailable, match="cannot be asked; the table is the old or the new one, whole"):
        here.deliver([{"id": 2}])
    assert here.rows() == [{"id": 2}]


@pytest.mark.parametrize("how", ["refuse", "black_hole"])
def test_a_warehouse_that_cannot_be_reached_is_told_in_time(how, here, proxy):
    setattr(proxy, how, True)
    shelf = here.shelf(**here.by_way_of(proxy, login_timeout=2, socket_timeout=2))
    began = time.monotonic()
    with pytest.raises(DestinationUnreachable, match="plans: connecting: it cannot be reached"):
        here.deliver([{"id": 1}], to=shelf)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("step", ["PUT", "COPY", "BEGIN", "DELETE FROM"])
def test_a_connection_that_goes_silent_is_given_up_and_the_old_rows_stand(step, here, proxy):
    here.deliver([{"id": number} for number in range(1000)])
    shelf = here.shelf(**here.by_way_of(proxy, network_timeout=2, socket_timeout=2))
    before = len(here.said())

    def silenced():
        while not [text for text in here.said()[before:] if text.startswith(step)]:
            time.sleep(0.002)
        proxy.black_hole = True

    watcher = Thread(target=silenced)
    watcher.start()
    with pytest.raises(DestinationUnavailable, match="what was delivered before stands") as gone:
        here.deliver([{"id": 7}], to=shelf)
    assert not isinstance(gone.value, DestinationUnreachable)
    watcher.join()
    assert [row["id"] for row in here.rows()] == list(range(1000))


def test_where_every_connection_is_cut_it_is_told_within_a_minute(here, proxy):
    here.deliver([{"id": 1}])
    shelf = here.shelf(**here.by_way_of(proxy))
    before = len(here.said())

    def cut():
        while not [text for text in here.said()[before:] if text.startswith("ALTER SESSION")]:
            time.sleep(0.002)
        proxy.up, proxy.refuse = Cut(after=0), True

    watcher = Thread(target=cut)
    watcher.start()
    began = time.monotonic()
    with pytest.raises(DestinationUnavailable, match="the connection was lost"):
        here.deliver([{"id": 2}], to=shelf)
    watcher.join()
    assert time.monotonic() - began < 45  # 20 for trying, a last pause of 16
    assert here.rows() == [{"id": 1}]


def test_a_statement_may_take_longer_than_silence(here):
    here.deliver([{"id": 1}])
    other = here.shelf().session()
    other.execute("BEGIN")
    other.execute(f'UPDATE {here.path("MOGUL_DELIVERIES")} SET "OUTCOME" = "OUTCOME"')
    shelf = here.shelf(connection_args={**here.shelf().connection_args, "network_timeout": 1})
    freeing = Timer(3, other.close)
    freeing.start()
    began = time.monotonic()
    assert here.deliver([{"id": 2}], to=shelf).outcome is Outcome.DELIVERED
    assert time.monotonic() - began > 2
    assert "ABORT" not in here.said()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_a_server_that_is_not_available_is_told_and_asked_no_further(status, here):
    shelf = here.shelf(connection_args={**here.shelf().connection_args, "network_timeout": 1})
    here.deliver([{"id": 1}])
    before = len(here.said("DROP TABLE"))
    here.fail("^INSERT INTO .*PLANS", str(HTTP + status), times=1000)
    with pytest.raises(DestinationUnavailable, match=rf"not available just now \(Snowflake (29|58)0{status}"):
        here.deliver([{"id": 2}], to=shelf)
    assert not here.said("ROLLBACK")
    assert len(here.said("DROP TABLE")) == before
    assert here.rows() == [{"id": 1}]


def test_an_error_of_snowflakes_own_passes_and_ends_the_session(here):
    here.deliver([{"id": 1}])
    before = len(here.said("DROP TABLE"))
    here.fail("^INSERT INTO .*PLANS", "000603", "SQL execution internal error: Processing aborted by error 300005")
    with pytest.raises(DestinationUnavailable, match=r"Snowflake had an error of its own \(Snowflake 000603\);"):
        here.deliver([{"id": 2}])
    assert not here.said("ROLLBACK")
    assert len(here.said("DROP TABLE")) == before
    assert here.rows() == [{"id": 1}]


# Permissions


def test_what_a_check_tries(here):
    tried = ["log in", "use the database", "use the warehouse", "make a table", "load a file", "replace rows"]
    assert [(one.name, one.problem) for one in here.shelf().check()] == [
        (name, None) for name in (*tried, "change a table")
    ]
    here.deliver([{"id": 1}])
    assert [one.name for one in here.shelf().check()][-2:] == [
        *("replace rows of MOGUL_DELIVERIES", "replace rows of PLANS")
    ]


@pytest.mark.parametrize(
    ("matching", "name", "remedy"),
    [
        ("information_schema", "use the database", 'GRANT USAGE ON DATABASE "{db}" TO ROLE "MOGUL";'),
        ("CREATE TABLE", "make a table", 'GRANT USAGE, CREATE TABLE ON SCHEMA "{db}"."CHARTMOGUL" TO ROLE "MOGUL";'),
        ("^DELETE FROM .*PLANS", "replace rows of PLANS", 'GRANT OWNERSHIP ON TABLE "{db}"."CHARTMOGUL"."PLANS"'),
    ],
)
def test_a_check_names_what_is_missing_with_the_grant(matching, name, remedy, here):
    here.deliver([{"id": 1}])
    before = here.place.everything(here.folder)
    here.fail(matching, "003001", "Insufficient privileges")
    (problem,) = [one for one in here.shelf().check() if one.problem]
    assert problem.name == name
    assert remedy.format(db=here.spot.name.upper()) in problem.remedy
    assert here.place.everything(here.folder) == before


def test_a_check_of_a_wrong_password_names_the_login(here, monkeypatch):
    shelf = here.shelf()
    monkeypatch.setenv("MOGUL_TEST_SNOWFLAKE_PASSWORD", "wrong")
    (login,) = shelf.check()
    assert (login.name, login.remedy) == ("log in", "correct user and password")


def test_grants_are_the_least_that_is_needed():
    shelf = SnowflakeDestination(
        name="shelf",
        **SnowflakeDestination.EXAMPLE,
        stage="STAGING.PUBLIC.MOGUL",
        stage_url="s3://example/mogul",
    )
    assert shelf.grants().splitlines() == [
        "-- As ACCOUNTADMIN, or as the owners of each.",
        'CREATE ROLE IF NOT EXISTS "MOGUL";',
        'GRANT USAGE ON WAREHOUSE "LOADING" TO ROLE "MOGUL";',
        'GRANT USAGE ON DATABASE "ANALYTICS" TO ROLE "MOGUL";',
        'CREATE SCHEMA IF NOT EXISTS "ANALYTICS"."CHARTMOGUL";',
        'GRANT USAGE, CREATE TABLE ON SCHEMA "ANALYTICS"."CHARTMOGUL" TO ROLE "MOGUL";',
        'GRANT USAGE ON DATABASE "STAGING" TO ROLE "MOGUL";',
        'GRANT USAGE ON SCHEMA "STAGING"."PUBLIC" TO ROLE "MOGUL";',
        'GRANT USAGE ON STAGE "STAGING"."PUBLIC"."MOGUL" TO ROLE "MOGUL";',
        'CREATE USER IF NOT EXISTS "MOGUL" TYPE = SERVICE DEFAULT_ROLE = "MOGUL" DEFAULT_WAREHOUSE = "LOADING";',
        """ALTER USER "MOGUL" SET RSA_PUBLIC_KEY = '<the public key, without its first and last line>';""",
        'GRANT ROLE "MOGUL" TO USER "MOGUL";',
        "-- And for who uploads: to write and delete objects below s3://example/mogul, and nothing else.",
    ]


def test_grants_of_a_user_with_a_password_name_it():
    shelf = SnowflakeDestination(name="shelf", **ACCOUNT, password={"env": "X"})
    assert """ALTER USER "MOGUL" SET PASSWORD = '<the password>';""" in shelf.grants()


def test_a_text_is_written_so_that_snowflake_reads_it_as_it_is(here):
    text = "it's \\ and \n 'n\\' 日本"
    assert here.asked(f"SELECT {DIALECT.literal('plain')}") == [("plain",)]
    assert DIALECT.literal(text) == "'it''s \\\\ and \n ''n\\\\'' 日本'"


# The page about it

PAGE = (Path(__file__).parents[2] / "docs" / "destinations" / "snowflake.md").read_text()


def test_the_page_tells_every_setting_with_its_default():
    always = {"account", "user"}  # where no resource of the user's own stands in
    for name, field in settings_of(SnowflakeDestination).items():
        required = field.is_required() or name in always
        default = "must be set" if required else f"`{field.default}`" if field.default else "–"
        default = "–" if field.default_factory else default
        assert f"| `{name}` | {default} | {field.description} |\n" in PAGE


def test_the_page_tells_every_error():
    errors = PAGE.partition("## What each error means")[2]
    for one in CODES.values():
        assert one.what.removeprefix("the key pair's token ") in errors
