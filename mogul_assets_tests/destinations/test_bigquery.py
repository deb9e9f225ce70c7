"""What is BigQuery's own: log-ins, jobs with ids, the shape of its tables, what its errors mean, and its rights."""

from __future__ import annotations

import base64
import json
import re
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import NotFound

from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.window import Month, Window
from mogul_assets.destinations import bigquery_session, warehouse
from mogul_assets.destinations.base import Outcome
from mogul_assets.destinations.bigquery import _PERMISSIONS, DIALECT, BigQueryDestination
from mogul_assets.destinations.bigquery_errors import REASONS, TELLING
from mogul_assets.destinations.configured import settings_of
from mogul_assets.errors import ConfigurationError, DestinationRefused, DestinationUnavailable
from mogul_assets_tests.destinations.place import Place
from mogul_assets_tests.destinations.places import PLACES
from mogul_assets_tests.destinations.test_contract import dated, movements, on
from mogul_assets_tests.peers import bigquery
from mogul_assets_tests.peers.faults import Cut, FaultProxy

SQL = "POST /bigquery/v2/projects/[^/]*/jobs"
UPLOAD = "POST /upload/"
SCRIPT = f"{SQL}.*BEGIN TRANSACTION"


@dataclass(frozen=True)
class Here:
    """A test's own dataset, from outside."""

    place: Place
    folder: Path

    @property
    def spot(self):
        return self.place._spot(self.folder)

    @property
    def client(self):
        return bigquery.connect(self.spot.address)

    def made(self, **options):
        return self.place.destination(self.folder, **options)

    def rows(self, dataset="plans"):
        return self.place.rows(self.folder, dataset)

    def everything(self):
        return self.place.everything(self.folder)

    def answering(self, match, **answer):
        """Scripts what requests of the test's own are answered with."""
        bigquery.scripted(self.spot.address, self.spot.name, match, **answer)


@pytest.fixture
def place(peer):
    return next(place for place in PLACES if place.word == "bigquery").on(peer("bigquery"))


@pytest.fixture
def here(place, tmp_path):
    return Here(place, tmp_path)


@pytest.fixture
def shelf(here):
    return here.made()


@pytest.fixture
def brief(monkeypatch):
    """Nobody waits for a minute."""
    monkeypatch.setattr(bigquery_session, "REQUEST_SECONDS", 2)
    monkeypatch.setattr(bigquery_session, "CONNECT_SECONDS", 2)
    monkeypatch.setattr(bigquery_session, "BUSY_SECONDS", 0)
    monkeypatch.setattr(warehouse, "_WAIT", 1)


def job_error(reason, message="something"):
    return {"job": {"reason": reason, "message": message}}


# What lands.


def test_a_windowed_dataset_is_partitioned_by_month_and_every_column_is_described(shelf, here, table):
    dataset = DATASETS["mrr_movements"]
    window = Window.months(Month(2026, 1), None)
    empty = table(
        [], schema=dataset.schema, dataset=dataset.name, key=dataset.key, window=window, window_column=dataset.window
    )
    shelf.deliver(empty)
    there = here.client.get_table(f"{here.spot.name}.mrr_movements")
    assert [(column.name, column.description) for column in there.schema] == [
        (column.name, column.description) for column in dataset.columns
    ]
    assert there.description == dataset.description
    assert (there.time_partitioning.type_, there.time_partitioning.field) == ("MONTH", dataset.window)
    assert there.clustering_fields == list(dataset.key)


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_has_its_types_and_keys_that_can_be_clustered_by(name):
    dataset = DATASETS[name]
    spelled = {"text": "STRING", "int": "INT64", "float": "FLOAT64", "flag": "BOOL"}
    spelled |= {"moment": "TIMESTAMP", "day": "DATE", "json": "JSON"}
    (statement, *_) = DIALECT.created("t", dataset.schema, f" CLUSTER BY {dataset.key}")
    for column in dataset.columns:
        told = DIALECT.literal(column.description)
        assert f"`{column.name}` {spelled[column.kind]} OPTIONS (description = {told})" in statement
    assert len(dataset.key) <= 4


def test_days_are_partitioned_by_their_month_and_a_snapshot_is_not(shelf, here, table):
    rows = [{"date": on(2026, 1).date(), "rate": 1.5}]
    window = Window.months(Month(2026, 1), None)
    shelf.deliver(table(rows, key=("date",), window=window, window_column="date", dataset="rates"))
    assert any("PARTITION BY DATE_TRUNC(`date`, MONTH) CLUSTER BY `date`" in text for text in bigquery.said(here.spot))
    assert not any("PARTITION BY" in text for text in shelf.preview(table([{"id": 1}])).statements)


def test_the_dataset_is_made_where_it_is_to_lie_with_its_labels(here, table):
    shelf = here.made(location="EU", labels={"team": "finance"})
    shelf.deliver(table([{"id": 1, "name": "a"}], schema=None))
    made = "OPTIONS (location = 'EU', labels = [('team', 'finance')])"
    assert [text for text in bigquery.said(here.spot) if text.startswith("CREATE SCHEMA") and text.endswith(made)]
    assert here.client.get_dataset(here.spot.name).labels == {"team": "finance"}
    assert here.client.get_table(f"{here.spot.name}.plans").labels == {"team": "finance"}
    jobs = [*bigquery.configurations(here.spot, "query"), *bigquery.configurations(here.spot, "load")]
    assert {json.dumps(job["labels"]) for job in jobs} == {'{"team": "finance"}'}


def test_a_dataset_that_lies_elsewhere_is_refused(here, table):
    here.client.create_dataset(here.spot.name)
    shelf = here.made(location="europe-west3")
    with pytest.raises(DestinationRefused, match="lies in US, not in europe-west3") as refused:
        shelf.deliver(table([{"id": 1}]))
    assert refused.value.remedy.startswith("set  location: US")
    assert [one.name for one in shelf.check() if one.problem] == ["find the dataset in its place"]


def test_a_view_in_a_tables_place_is_refused(shelf, here, table):
    shelf.deliver(table([{"id": 1}]))
    here.client.query(f"CREATE VIEW {here.spot.name}.tags AS SELECT 1 AS id").result(timeout=60)
    with pytest.raises(DestinationRefused, match=r"tags is no table, but: view"):
        shelf.deliver(table([{"id": 1}], dataset="tags"))


@pytest.mark.parametrize("name", ["_TABLE_SUFFIX", "_partitiontime", "__root__x", "a" * 301])
def test_names_that_bigquery_keeps_for_itself_are_refused_before_anything_is_sent(name, shelf, here, table):
    with pytest.raises(DestinationRefused, match="takes no column of the name"):
        shelf.deliver(table([{"id": 1, name: 2}]))
    assert bigquery.requested(here.spot.address, here.spot.name) == []


def test_row_access_policies_stand(shelf, here, table):
    shelf.deliver(table([{"id": 1}]))
    account = here.spot.address["key"]["client_email"]
    here.client.query(
        f"CREATE ROW ACCESS POLICY everything ON `{here.spot.name}.plans`"
        f" GRANT TO ('serviceAccount:{account}') FILTER USING (TRUE)"
    ).result(timeout=60)
    shelf.deliver(table([{"id": 2}]))
    policies = here.client._connection.api_request(
        method="GET", path=f"/projects/{here.client.project}/datasets/{here.spot.name}/tables/plans/rowAccessPolicies"
    )
    assert [one["rowAccessPolicyReference"]["policyId"] for one in policies["rowAccessPolicies"]] == ["everything"]
    assert here.rows() == [{"id": 2}]


def test_wide_numbers_in_json_are_rounded_and_never_refused(shelf, here, table):
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("free", pa.string(), metadata={"json": "true"})])
    shelf.deliver(table([{"id": 1, "free": '{"a": 12345678901234567890.10, "b": 0.1}'}], schema=schema))
    ((_, free),) = [row.values() for row in here.rows()]
    assert json.loads(free) == {"a": 1.2345678901234567e19, "b": 0.1}


def test_a_column_that_is_widened_gives_its_name_to_its_copy(shelf, here, table):
    shelf.deliver(table([{"id": 1, "at": on(2026, 1, 2).date()}]))
    delivered = shelf.deliver(table([{"id": 2, "at": on(2026, 1, 3)}]))
    assert delivered.details["rewritten"] == "at: DATE to TIMESTAMP"
    assert here.rows() == [{"id": 2, "at": on(2026, 1, 3)}]
    swap = "RENAME COLUMN `at` TO `at__mogul_old`, RENAME COLUMN `at__mogul_new` TO `at`"
    renamed, dropped = [text for text in bigquery.said(here.spot) if "__mogul_old" in text]
    assert renamed.endswith(swap)
    assert dropped.endswith("DROP COLUMN `at__mogul_old`")


# Jobs.


def test_many_files_are_one_load_job_that_truncates_with_schema_and_descriptions(shelf, here, table):
    window = Window.months(Month(2026, 1), None)
    sent = dated(table, movements(on(2026, 1), on(2026, 2), on(2026, 3)), window)
    assert len(sent.files) == 3
    shelf.deliver(sent)
    (load,) = bigquery.configurations(here.spot, "load")
    how = load["writeDisposition"], load["createDisposition"], load["sourceFormat"]
    assert how == ("WRITE_TRUNCATE", "CREATE_NEVER", "PARQUET")
    assert [field["name"] for field in load["schema"]["fields"]] == ["id", "date", "word"]
    assert len(here.rows()) == 3


@pytest.mark.parametrize("number", [1, 2])
def test_files_of_an_older_generation_that_lack_a_column_or_order_it_otherwise_are_made_to_fit(
    number, shelf, here, table
):
    """A month that did not change keeps its file, whatever columns the catalogue has gained."""
    window = Window.months(Month(2026, 1), Month(2026, 2))
    dated_id = [("id", pa.int64()), ("date", pa.timestamp("us", tz="UTC"))]

    def month(number, columns, **more):
        row = {"id": number, "date": on(2026, number), **more}
        return table([row], schema=pa.schema(columns), dataset="movements", window=window, window_column="date")

    old = month(1, dated_id)
    new = month(2, [*dated_id, ("word", pa.string())], word="new")
    turned = month(2, [("word", pa.string()), *dated_id], word="turned")
    shelf.deliver(replace(new, files=(*old.files, *turned.files)[:number]))
    assert [(row["id"], row["word"]) for row in here.rows("movements")] == [(1, None), (2, "turned")][:number]


def test_a_staging_table_expires_by_itself_and_is_removed_also_on_failure(shelf, here, table):
    shelf.deliver(table([{"id": 1}]))
    here.answering(SCRIPT, **job_error("invalidQuery"))
    with pytest.raises(DestinationRefused):
        shelf.deliver(table([{"id": 2}]))
    assert [one.table_id for one in here.client.list_tables(here.spot.name)] == ["mogul_deliveries", "plans"]
    made = [
        json.loads(one["body"])
        for one in bigquery.requested(here.spot.address, here.spot.name)
        if "expirationTime" in one["body"]
    ]
    assert [0 < int(one["expirationTime"]) / 1000 - time.time() < 86_401 for one in made] == [True, True]


def test_a_load_whose_answer_is_lost_is_not_done_twice(shelf, here, table):
    here.answering(UPLOAD, lost=True)
    shelf.deliver(table([{"id": 1}, {"id": 2}]))
    assert here.rows() == [{"id": 1}, {"id": 2}]
    first, again = bigquery.configurations(here.spot, "load")
    assert first["id"] == again["id"]


def test_a_statement_whose_answer_is_lost_is_not_done_twice(shelf, here, table):
    here.answering(f"{SQL}.*'created'", lost=True)
    shelf.deliver(table([{"id": 1}]))
    assert [row["outcome"] for row in here.rows("mogul_deliveries")].count("created") == 1


@pytest.mark.usefixtures("brief")
def test_a_transaction_whose_answer_is_lost_is_asked_for_by_its_job(shelf, here, table):
    shelf.deliver(table([{"id": 1}]))
    here.answering(SCRIPT, lost=True)
    here.answering(f"{SQL}.*BEGIN TRANSACTION", times=9, **bigquery.refusal(503, "backendError", "try again"))
    assert shelf.deliver(table([{"id": 2}])).outcome is Outcome.DELIVERED
    assert here.rows() == [{"id": 2}]
    assert [row["outcome"] for row in here.rows("mogul_deliveries")].count("delivered") == 2


@pytest.mark.usefixtures("brief")
def test_a_transaction_that_never_arrived_leaves_the_old_rows_and_says_so(shelf, here, table):
    shelf.deliver(table([{"id": 1}]))
    here.answering(SCRIPT, times=99, **bigquery.refusal(503, "backendError", "try again"))
    with pytest.raises(
        DestinationUnavailable,
        match=r"replacing the rows: BigQuery is not available just now .*; what was delivered before stands",
    ):
        shelf.deliver(table([{"id": 2}]))
    assert here.rows() == [{"id": 1}]


@pytest.mark.usefixtures("brief")
def test_when_nobody_can_tell_what_came_of_a_transaction_it_is_said(shelf, here, table):
    shelf.deliver(table([{"id": 1}]))
    here.answering(SCRIPT, lost=True)
    here.answering(SCRIPT, times=99, **bigquery.refusal(503, "backendError", "try again"))
    here.answering("GET .*/jobs/", times=99, **bigquery.refusal(503, "backendError", "try again"))
    with pytest.raises(DestinationUnavailable, match="the table is the old or the new one, whole"):
        shelf.deliver(table([{"id": 2}]))
    assert here.rows() in ([{"id": 1}], [{"id": 2}])


@pytest.mark.usefixtures("brief")
def test_a_job_that_takes_too_long_is_cancelled(here, table):
    here.made().deliver(table([{"id": 1}]))
    hasty = here.made(step_seconds=0.001)
    reference = {"projectId": here.spot.address["project"], "jobId": f"mogul_{here.spot.name}_slow"}
    running = {"status": {"state": "RUNNING"}, "statistics": {}, "jobReference": reference}
    here.answering(UPLOAD, status=200, body={**running, "configuration": {"load": {}}})
    here.answering("GET .*_slow", times=99, status=200, body=running)
    with pytest.raises(DestinationUnavailable, match="staging the rows: BigQuery gave no answer in time"):
        hasty.deliver(table([{"id": 2}]))
    assert [one for one in bigquery.requested(here.spot.address, here.spot.name) if "_slow/cancel" in one["path"]]
    assert here.rows() == [{"id": 1}]


@pytest.mark.usefixtures("brief")
def test_a_job_that_cannot_be_asked_for_is_cancelled(shelf, here, table):
    shelf.deliver(table([{"id": 1}]))
    reference = {"projectId": here.spot.address["project"], "jobId": f"mogul_{here.spot.name}_slow"}
    running = {"status": {"state": "RUNNING"}, "statistics": {}, "jobReference": reference}
    here.answering(UPLOAD, status=200, body={**running, "configuration": {"load": {}}})
    here.answering("GET .*_slow", times=99, **bigquery.refusal(503, "backendError", "try again"))
    with pytest.raises(DestinationUnavailable, match="staging the rows: BigQuery is not available just now"):
        shelf.deliver(table([{"id": 2}]))
    assert [one for one in bigquery.requested(here.spot.address, here.spot.name) if "_slow/cancel" in one["path"]]
    assert here.rows() == [{"id": 1}]


def test_a_load_that_comes_late_does_not_make_the_staging_table_anew(shelf, here, tmp_path):
    here.client.create_dataset(here.spot.name)
    one = pa.schema([("id", pa.int64())])
    pq.write_table(pa.table({"id": [1]}, schema=one), tmp_path / "one.parquet")
    columns = bigquery_session.fields(one, DIALECT.staged)
    staging = f"{here.client.project}.{here.spot.name}.mogul_staging_gone"
    with closing(shelf.session()) as session:
        session.make(staging, columns, "")
        session.drop(staging)
        with pytest.raises(NotFound):
            session.load(staging, columns, tmp_path / "one.parquet")
    assert list(here.client.list_tables(here.spot.name)) == []


def test_a_statement_that_was_put_off_comes_back(shelf, here, table):
    here.answering(
        f"{SQL}.*CREATE TABLE IF NOT EXISTS [^ ]*plans", **job_error("rateLimitExceeded", "too many table updates")
    )
    shelf.deliver(table([{"id": 1}]))
    assert here.rows() == [{"id": 1}]


@pytest.mark.usefixtures("brief")
def test_other_deliveries_are_given_a_minute(shelf, here, table):
    shelf.deliver(table([{"id": 1}]))
    aborted = "Transaction is aborted due to concurrent update against table p:d.t. Transaction ID: 1"
    here.answering(SCRIPT, times=99, **job_error("invalidQuery", aborted))
    with pytest.raises(DestinationUnavailable, match="other deliveries were in the way"):
        shelf.deliver(table([{"id": 2}]))
    assert here.rows() == [{"id": 1}]


def test_what_may_be_billed_goes_with_every_statement_and_a_time_limit_with_every_job(here, table):
    here.made(maximum_bytes_billed=10_000_000, step_seconds=60).deliver(table([{"id": 1}]))
    queries, loads = (bigquery.configurations(here.spot, kind) for kind in ("query", "load"))
    assert {query["maximumBytesBilled"] for query in queries} == {"10000000"}
    assert {job["jobTimeoutMs"] for job in [*queries, *loads]} == {"60000"}


# Log-ins.


def test_a_key_may_stand_in_a_file_or_in_base64(here, table, tmp_path, monkeypatch):
    text = json.dumps(here.spot.address["key"])
    (tmp_path / "key.json").write_text(text)
    file = here.made(credentials=None, credentials_file=str(tmp_path / "key.json"))
    file.deliver(table([{"id": 1}]))
    monkeypatch.setenv(bigquery.SECRET, base64.b64encode(text.encode()).decode())
    BigQueryDestination(name="shelf", **bigquery.options(here.spot)).deliver(table([{"id": 2}]))
    assert here.rows() == [{"id": 2}]


def test_the_log_in_of_the_machine_is_used_where_none_is_given(here, table, tmp_path, monkeypatch):
    (tmp_path / "key.json").write_text(json.dumps(here.spot.address["key"]))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    here.made(credentials=None).deliver(table([{"id": 1}]))
    assert here.rows() == [{"id": 1}]


def test_a_machine_without_a_log_in_is_told_how_to_have_one(here, table, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(DestinationRefused, match="not logged in to Google") as refused:
        here.made(credentials=None).deliver(table([{"id": 1}]))
    assert "gcloud auth application-default login" in refused.value.remedy


def test_a_resource_of_the_users_own_is_used(here, table, monkeypatch):
    from dagster_gcp import BigQueryResource  # noqa: PLC0415 - a second, which only this test should take

    key = base64.b64encode(json.dumps(here.spot.address["key"]).encode()).decode()
    own = BigQueryResource(project=here.spot.address["project"], gcp_credentials=key)
    shelf = here.made(credentials=None, connection=own)
    shelf.deliver(table([{"id": 1}]))
    assert here.rows() == [{"id": 1}]
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "another")
    with pytest.raises(ConfigurationError, match="cannot be used if GOOGLE_APPLICATION_CREDENTIALS"):
        shelf.deliver(table([{"id": 2}]))


def test_a_key_that_google_does_not_accept_is_refused(here, table, monkeypatch):
    shelf = here.made()
    other = bigquery.account(here.spot.address["port"])
    monkeypatch.setenv(bigquery.SECRET, json.dumps(other))
    with pytest.raises(DestinationRefused, match=r"does not accept the credentials \(invalid_grant\)") as refused:
        shelf.deliver(table([{"id": 1}]))
    assert other["private_key"][40:80] not in str(refused.value)


@pytest.mark.parametrize("text", ["not a key", '{"type": "service_account"}', "[]", '{"secret": '])
def test_what_is_no_key_is_told_by_its_variable_and_never_shown(text, here, table, monkeypatch):
    shelf = here.made()
    monkeypatch.setenv(bigquery.SECRET, text)
    with pytest.raises(ConfigurationError, match=f"{bigquery.SECRET} holds no service account's key") as refused:
        shelf.deliver(table([{"id": 1}]))
    assert text not in str(refused.value)


def test_a_key_file_that_is_not_there_is_named(here, table, tmp_path):
    shelf = here.made(credentials=None, credentials_file=str(tmp_path / "none.json"))
    with pytest.raises(ConfigurationError, match=r"none\.json cannot be read"):
        shelf.deliver(table([{"id": 1}]))
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"none\.json holds no service account's key"):
        shelf.deliver(table([{"id": 1}]))


@pytest.mark.parametrize("labels", [{"Team": "a"}, {"team": "A b"}, {"": "a"}])
def test_labels_that_google_would_refuse_are_refused_at_once(labels):
    with pytest.raises(ValueError, match="keys begin with a letter"):
        BigQueryDestination(name="shelf", project="p", labels=labels)


# Errors.

REFUSED, UNAVAILABLE = DestinationRefused, DestinationUnavailable


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ((403, "accessDenied"), REFUSED, "may not do that (accessDenied): what it says"),
        ((403, "billingNotEnabled"), REFUSED, "wants billing for the project"),
        ((403, "blocked"), REFUSED, "blocks the operation"),
        ((403, "quotaExceeded"), UNAVAILABLE, "has a quota that is used up (quotaExceeded): what it says"),
        ((404, "notFound"), REFUSED, "does not have it (notFound): what it says"),
        ((429, "rateLimitExceeded"), UNAVAILABLE, "is asked too often"),
        ((500, "internalError"), UNAVAILABLE, "had an error of its own"),
        ((503, "backendError"), UNAVAILABLE, "is not available just now"),
        ((401, "authError"), REFUSED, "does not accept the credentials"),
        ((502, "unheard of"), UNAVAILABLE, "is not available just now"),
    ],
)
def test_a_refused_request_is_told_and_what_lay_there_stands(answer, kind, said, here, table):
    shelf = here.made()
    shelf.deliver(table([{"id": 1}]))
    here.answering(UPLOAD, times=99, **bigquery.refusal(*answer, "what it says"))
    with pytest.raises(kind, match=re.escape(said)) as told:
        shelf.deliver(table([{"id": 2}]))
    assert told.value.message.startswith("shelf: plans: staging the rows: BigQuery ")
    assert told.value.message.endswith("; what was delivered before stands")
    assert told.value.remedy
    assert here.rows() == [{"id": 1}]


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(
    ("reason", "kind", "said"),
    [
        ("invalid", REFUSED, "does not take the rows"),
        ("resourcesExceeded", REFUSED, "lacks the resources"),
        ("stopped", UNAVAILABLE, "stopped the job"),
        ("jobBackendError", UNAVAILABLE, "is not available just now"),
        ("tableUnavailable", UNAVAILABLE, "table at hand"),
        ("bytesBilledLimitExceeded", REFUSED, "more than maximum_bytes_billed"),
    ],
)
def test_a_failed_job_is_told_without_a_value(reason, kind, said, here, table):
    shelf = here.made()
    shelf.deliver(table([{"id": 1}]))
    telling = reason == "bytesBilledLimitExceeded"
    here.answering(UPLOAD, **job_error(reason, "Could not parse 'Jane Doe' as INT64"))
    with pytest.raises(kind, match=said) as told:
        shelf.deliver(table([{"id": 2}]))
    assert ("Jane Doe" in str(told.value)) is telling
    assert re.search(r"job mogul_t[0-9a-f]+_load_mogul_staging_[0-9a-f_]+; what", told.value.message)


def test_a_name_that_was_dropped_lately_is_told(shelf, here, table):
    shelf.deliver(table([{"id": 1}]))
    said = "Column `name` was recently deleted in the table `plans`. Deleted column name is reserved for up to …"
    here.answering(f"{SQL}.*ADD COLUMN", **job_error("invalidQuery", said))
    with pytest.raises(DestinationRefused, match="keeps the name of a column that was dropped"):
        shelf.deliver(table([{"id": 1, "name": "a"}]))


def test_every_reason_has_a_next_step():
    assert all(what and remedy for _, what, remedy in REASONS.values())
    assert set(REASONS) >= TELLING


@pytest.mark.usefixtures("brief")
def test_nobody_there_is_told_in_time(shelf, here, table, monkeypatch):
    with FaultProxy(here.spot.address["port"]) as faults:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{faults.port}")
        faults.black_hole = True
        began = time.monotonic()
        with pytest.raises(DestinationUnavailable, match="connecting: BigQuery gave no answer in time"):
            shelf.deliver(table([{"id": 1}]))
        assert time.monotonic() - began < 15


STEPS = {"staging": b"mogul_staging", "loading": b"PAR1", "replacing": b"BEGIN TRANSACTION"}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("passed", [False, True], ids=["lost", "answer lost"])
def test_a_connection_that_breaks_once_is_gone_on_with(step, passed, here, table, monkeypatch):
    shelf = here.made()
    shelf.deliver(table([{"id": 1}]))
    with FaultProxy(here.spot.address["port"]) as faults:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{faults.port}")
        faults.up = Cut(at=STEPS[step], passed=passed, times=1)
        shelf.deliver(table([{"id": 2}]))
        assert faults.cuts == 1
    assert here.rows() == [{"id": 2}]
    assert [row["outcome"] for row in here.rows("mogul_deliveries")].count("delivered") == 2


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("step", STEPS)
def test_a_connection_that_goes_on_breaking_leaves_the_old_rows(step, here, table, monkeypatch):
    here.made().deliver(table([{"id": 1}]))
    with FaultProxy(here.spot.address["port"]) as faults:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{faults.port}")
        faults.up = Cut(at=STEPS[step])
        with pytest.raises(DestinationUnavailable, match="; what was delivered before stands"):
            BigQueryDestination(name="shelf", **bigquery.options(here.spot)).deliver(table([{"id": 2}]))
        assert faults.cuts >= 1
    assert here.rows() == [{"id": 1}]


# Rights.


@pytest.mark.usefixtures("brief")
def test_a_check_tells_each_right_that_is_missing_with_what_grants_it(shelf, here, table):
    shelf.deliver(table([{"id": 1}]))
    before = here.everything()
    denied = bigquery.refusal(403, "accessDenied", "Access Denied: Permission bigquery.tables.updateData denied")
    here.answering(UPLOAD, **denied)
    here.answering(f"{SQL}.*BEGIN TRANSACTION", **denied)
    found = {permission.name: permission for permission in shelf.check()}
    assert [name for name, one in found.items() if one.problem] == ["load rows", "replace rows in a transaction"]
    assert "bigquery.tables.updateData denied" in found["load rows"].problem
    assert found["load rows"].remedy == (
        f"GRANT `projects/{bigquery.PROJECT}/roles/mogulDelivery` ON SCHEMA `{bigquery.PROJECT}`.`{shelf.dataset}`"
        f" TO 'serviceAccount:mogul@{bigquery.PROJECT}.iam.gserviceaccount.com';"
    )
    assert here.everything() == before


@pytest.mark.usefixtures("brief")
def test_a_check_without_the_right_to_run_jobs_says_what_gives_it(shelf, here):
    here.client.create_dataset(here.spot.name)
    here.answering(SQL, times=99, **bigquery.refusal(403, "accessDenied", "Permission bigquery.jobs.create denied"))
    problems = {one.name: one.remedy for one in shelf.check() if one.problem}
    assert list(problems) == ["run jobs"]
    assert "--role=roles/bigquery.jobUser" in problems["run jobs"]
    assert here.everything() == [here.spot.name]


def test_a_check_that_cannot_log_in_says_so_and_nothing_else(here, monkeypatch):
    shelf = here.made()
    monkeypatch.setenv(bigquery.SECRET, "not a key")
    (only,) = shelf.check()
    assert only.name == "reach the dataset"
    assert bigquery.SECRET in only.problem


def test_grants_name_the_project_the_dataset_and_each_permission():
    shelf = BigQueryDestination(name="shelf", **BigQueryDestination.EXAMPLE)
    text = shelf.grants()
    assert "--role=roles/bigquery.jobUser" in text
    assert "CREATE SCHEMA IF NOT EXISTS `my-project`.`chartmogul` OPTIONS (location = 'EU');" in text
    assert all(permission in text for permission in _PERMISSIONS)
    assert "roles/bigquery.admin" not in text
    assert "owner" not in text.lower()


# The page.


PAGE = (Path(__file__).parents[2] / "docs" / "destinations" / "bigquery.md").read_text()


def test_the_page_has_every_setting_with_its_default_and_description():
    told = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE.partition("## Settings")[2], re.MULTILINE))
    for name, field in settings_of(BigQueryDestination).items():
        default = "must be set" if field.is_required() else f"`{field.default}`" if field.default else "–"
        default = "–" if field.default_factory else default
        assert told.pop(name) == f"{default} | {field.description}"
    assert set(told) <= set(REASONS)


def test_the_page_has_every_reason_and_whether_it_is_tried_again():
    rows = re.findall(
        r"^\| ((?:`\w+`(?:, )?)+) \| ([^|]*) \| (yes)? ?\|", PAGE.partition("## What each error")[2], re.MULTILINE
    )
    told = {reason.strip("`"): (says, again) for reasons, says, again in rows for reason in reasons.split(", ")}
    assert set(told) == set(REASONS)
    for reason, (kind, what, _) in REASONS.items():
        says, again = told[reason]
        assert (again == "yes") is issubclass(kind, DestinationUnavailable)
        assert says.replace("`", "").startswith(what)
