"""Deliveries into a BigQuery dataset: one Parquet load job into a staging table, and one script that is a transaction.

Every job has an id of its own choosing, so that a request whose answer was lost is asked for again and never done
twice. A transaction cannot be spread over requests without a session of its own: the statements that the other
warehouses run one by one are sent as one script here.
"""

import base64
import binascii
import concurrent.futures
import json
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, ClassVar
from unicodedata import category

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, field_validator
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from mogul_assets.catalog.columns import Kind
from mogul_assets.destinations.base import Capabilities, Outcome, Permission, Secret
from mogul_assets.destinations.columns import description
from mogul_assets.destinations.dialect import Dialect, Held, Statements, There, kind_of, utc
from mogul_assets.destinations.log import Entry
from mogul_assets.destinations.warehouse import STANDS, Conflict, Session, Warehouse
from mogul_assets.errors import (
    ConfigurationError,
    DestinationRefused,
    DestinationUnavailable,
    MogulError,
)
from mogul_assets.store.table import Table

if TYPE_CHECKING:
    from google.cloud import bigquery

CONNECT_SECONDS = 20
REQUEST_SECONDS = 60
"""For one request, and for its tries together: of an upload the time that nothing moves."""
BUSY_SECONDS = 60
"""For which a statement comes back that BigQuery put off: five changes of a table's schema in ten seconds are taken."""
STAGED_FOR = timedelta(days=1)
"""After which a staging table is gone by itself, where nobody was left to remove it."""
TEXT_BYTES = 50_000_000
"""Rows of Parquet should not be larger: https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet"""
ROWS_AT_ONCE = 262_144

_CLUSTERED = frozenset({Kind.TEXT, Kind.INT, Kind.FLAG, Kind.MOMENT, Kind.DAY})
"""Kinds of columns that BigQuery clusters by, four at most."""

_RESERVED = re.compile(
    "_(TABLE_|FILE_|PARTITION|ROW_TIMESTAMP|_ROOT__|COLIDENTIFIER|CHANGE_(SEQUENCE_NUMBER|TYPE|TIMESTAMP))",
    re.IGNORECASE,
)
"""How no column's name may begin."""

_SPELLED = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
"""The API's older words for types."""

_JSON = "PARSE_JSON({}, wide_number_mode => 'round')"

_making = threading.Lock()
"""A resource with a key puts it into a variable of the whole process for as long as it makes a client."""


def _literal(text: str) -> str:
    r"""As GoogleSQL reads it: no line ends within quotes, and a backslash begins an escape sequence."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def _takes(name: str) -> bool:
    """Whether it may name a column: https://cloud.google.com/bigquery/docs/schemas#flexible-column-names."""
    plain = all(
        category(letter)[0] in "LMN" or category(letter) in {"Pc", "Pd", "Zs"} or letter in "&%=+:'<>#|\t"
        for letter in name
    )
    return plain and 1 <= len(name) <= 300 and not _RESERVED.match(name)


def _partitioned(table: Table) -> str:
    """Windowed datasets by the month that they are replaced by; all clustered by what they are unique by."""
    found = ""
    if table.window_column is not None:
        day = kind_of(table.schema.field(table.window_column)) is Kind.DAY
        found += f" PARTITION BY {'DATE' if day else 'TIMESTAMP'}_TRUNC(`{table.window_column}`, MONTH)"
    keys = [name for name in table.key if kind_of(table.schema.field(name)) in _CLUSTERED][:4]
    return found + (f" CLUSTER BY {', '.join(f'`{name}`' for name in keys)}" if keys else "")


_TYPES = {
    Kind.TEXT: "STRING",
    Kind.INT: "INT64",
    Kind.FLOAT: "FLOAT64",
    Kind.FLAG: "BOOL",
    Kind.MOMENT: "TIMESTAMP",
    Kind.DAY: "DATE",
    Kind.JSON: "JSON",
}

DIALECT = Dialect(
    types=_TYPES,
    staged={**_TYPES, Kind.JSON: "STRING"},
    fold=str.lower,
    keeps_case=True,
    quote=lambda name: f"`{name}`",  # no name with a backtick is let through
    literal=_literal,
    moment=lambda at: f"TIMESTAMP '{utc(at)}+00'",
    parsed=_JSON,
    unparsed=f"SAFE.{_JSON} IS NULL",
    size="BYTE_LENGTH({})",
    fetched={
        Kind.TEXT: "{}",
        Kind.INT: "{}",
        Kind.FLOAT: "{}",
        Kind.FLAG: "{}",
        Kind.MOMENT: "UNIX_MICROS({})",
        Kind.DAY: "{}",
    },
    # INT64 to FLOAT64, which BigQuery does in place, is not one: beyond 2^53 it loses.
    widens={
        ("DATE", "TIMESTAMP"): "TIMESTAMP({}, 'UTC')",
        ("JSON", "STRING"): "IF({0} IS NULL, NULL, TO_JSON_STRING({0}))",
    },
    create="CREATE TABLE IF NOT EXISTS {table} ({columns}){clauses}{comment}",
    table_comment=" OPTIONS (description = {text})",
    column_comment=" OPTIONS (description = {text})",
    clauses=_partitioned,
    add="ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column} {type}{comment}",
    # The name of a column that was dropped is reserved while time travel reaches back.
    replaced=(
        "ALTER TABLE {table} RENAME COLUMN {column} TO {old}, RENAME COLUMN {copy} TO {column}",
        "ALTER TABLE {table} DROP COLUMN {old}",
    ),
    comment_on_table="ALTER TABLE {table} SET OPTIONS (description = {text})",
    comment_on_column="ALTER TABLE {table} ALTER COLUMN {column} SET OPTIONS (description = {text})",
)

REASONS: Mapping[str, tuple[type[MogulError], str, str]] = {
    "accessDenied": (DestinationRefused, "may not do that", "run  mogul destinations grants bigquery  and grant it"),
    "authError": (DestinationRefused, "does not accept the credentials", "make a new key for the service account"),
    "backendError": (DestinationUnavailable, "is not available just now", "it is tried again"),
    "badGateway": (DestinationUnavailable, "is not available just now", "it is tried again"),
    "billingNotEnabled": (DestinationRefused, "wants billing for the project", "enable billing, or leave the sandbox"),
    "billingTierLimitExceeded": (DestinationRefused, "finds the query too expensive", "raise the project's limit"),
    "blocked": (DestinationRefused, "blocks the operation for now", "ask Google's support"),
    "bytesBilledLimitExceeded": (
        DestinationRefused,
        "would bill more than maximum_bytes_billed",
        "raise maximum_bytes_billed, or leave it out",
    ),
    "internalError": (DestinationUnavailable, "had an error of its own", "it is tried again"),
    "invalid": (DestinationRefused, "does not take the rows or the request as they are", "look at the job there"),
    "invalidQuery": (DestinationRefused, "refused the statement", "look at the job there"),
    "jobBackendError": (DestinationUnavailable, "is not available just now", "it is tried again"),
    "jobInternalError": (DestinationUnavailable, "had an error of its own", "it is tried again"),
    "jobRateLimitExceeded": (DestinationUnavailable, "is asked too often just now", "it is tried again"),
    "notFound": (DestinationRefused, "does not have it", "check project, dataset and location, and who removed it"),
    "notImplemented": (DestinationRefused, "does not have that feature", "look at the job there"),
    "policyViolation": (DestinationRefused, "has a policy against it", "ask whoever keeps the organisation's policies"),
    "quotaExceeded": (DestinationUnavailable, "has a quota that is used up", "it is tried again; or raise the quota"),
    "rateLimitExceeded": (DestinationUnavailable, "is asked too often just now", "it is tried again"),
    "resourceInUse": (DestinationUnavailable, "is at work on it just now", "it is tried again"),
    "resourcesExceeded": (DestinationRefused, "lacks the resources for the query", "look at the job there"),
    "responseTooLarge": (DestinationRefused, "finds the answer too large", "look at the job there"),
    "stopped": (DestinationUnavailable, "stopped the job: cancelled, or out of time", "it is tried again"),
    "tableUnavailable": (DestinationUnavailable, "does not have the table at hand just now", "it is tried again"),
    "timeout": (DestinationUnavailable, "ran out of time", "it is tried again"),
}
"""What BigQuery's reasons mean: https://cloud.google.com/bigquery/docs/error-messages."""

_TELLING = frozenset(
    {
        *("accessDenied", "billingNotEnabled", "bytesBilledLimitExceeded", "jobRateLimitExceeded", "notFound"),
        *("policyViolation", "quotaExceeded", "rateLimitExceeded", "resourceInUse"),
    }
)
"""Reasons whose messages name things, permissions and limits; others may quote a value."""

_BY_STATUS = {401: "authError", 403: "accessDenied", 404: "notFound", 409: "duplicate", 429: "rateLimitExceeded"}
"""Where an answer names no reason."""

_MADE = "duplicate"
"""The reason where another was faster to make what was not there."""
_CONFLICT = "due to concurrent update"
_DROPPED = "recently deleted in the table"

_PERMISSIONS = (
    "bigquery.datasets.get",
    "bigquery.tables.create",
    "bigquery.tables.delete",
    "bigquery.tables.get",
    "bigquery.tables.getData",
    "bigquery.tables.update",
    "bigquery.tables.updateData",
)
"""What is needed in the dataset, and nothing else."""


class BigQueryDestination(Warehouse):
    """One dataset of a BigQuery project."""

    project: str = Field(pattern=r"^[a-z0-9.:-]+$", description="The project's id: it holds the dataset and pays.")
    dataset: str = Field(
        default="chartmogul", pattern=r"^[A-Za-z0-9_]{1,1024}$", description="The dataset; made if it is missing."
    )
    location_: str | None = Field(
        default=None, alias="location", description="Where a dataset is made, like EU; US where none is named."
    )
    credentials: Secret | None = Field(
        default=None, description="A service account's key: the JSON itself, or it in base64."
    )
    credentials_file: str | None = Field(default=None, description="The file with a service account's key.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels of jobs, and of what is made.")
    maximum_bytes_billed: int | None = Field(
        default=None, gt=0, description="A statement that would read more bytes fails instead, and costs nothing."
    )

    EXAMPLE: ClassVar[Mapping[str, Any]] = {
        "project": "my-project",
        "dataset": "chartmogul",
        "location": "EU",
        "credentials": {"env": "BIGQUERY_CREDENTIALS"},
    }

    @field_validator("labels")
    @classmethod
    def _as_google_takes_them(cls, labels: dict[str, str]) -> dict[str, str]:
        for key, value in labels.items():
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
                raise ValueError("keys and values are of a-z, 0-9, _ and -, 63 at most; keys begin with a letter")
        return labels

    @property
    def dialect(self) -> Dialect:
        pairs = ", ".join(f"({_literal(key)}, {_literal(value)})" for key, value in self.labels.items())
        labels = f"labels = [{pairs}]"
        made = [f"location = {_literal(self.location_)}"] if self.location_ else []
        made += [labels] if pairs else []
        schema = "CREATE SCHEMA IF NOT EXISTS {schema}" + (f" OPTIONS ({', '.join(made)})" if made else "")
        if not pairs:
            return replace(DIALECT, create_schema=schema)
        create = "CREATE TABLE IF NOT EXISTS {table} ({columns}){clauses} OPTIONS (" + labels + "{comment})"
        return replace(DIALECT, create_schema=schema, create=create, table_comment=", description = {text}")

    @property
    def namespace(self) -> tuple[str, ...]:
        return (self.project, self.dataset)

    @property
    def capabilities(self) -> Capabilities:
        """Everything; a row of at most 50 MB."""
        return Capabilities(text_bytes=TEXT_BYTES, row_bytes=TEXT_BYTES)

    # Connecting.

    def session(self) -> "_Session":
        session = _Session(self._client(), self)
        session.dataset()  # the first request: who asks, and whether there is an answer
        return session

    def _client(self) -> "bigquery.Client":
        """A client, made by the user's own resource, from the key, or from what the machine is logged in as."""
        with _making:
            if self.connection is None and (self.credentials or self.credentials_file):
                return self._keyed()
            resource: Any = self.connection
            if resource is None:
                from dagster_gcp import BigQueryResource  # noqa: PLC0415 - only where it is needed

                resource = BigQueryResource(project=self.project, location=self.location_)
            with resource.get_client() as client:
                found: bigquery.Client = client
            return found

    def _keyed(self) -> "bigquery.Client":
        """From the key, in memory: the resource would write it to a file, and refuse beside another's variable."""
        from google.cloud import bigquery  # noqa: PLC0415 - only where it is needed
        from google.oauth2 import service_account  # noqa: PLC0415

        scopes = ("https://www.googleapis.com/auth/bigquery",)
        try:
            credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
                self._key(), scopes=scopes
            )
        except ValueError:  # its text may show parts of the key
            raise self._no_key("is not a service account's key") from None
        return bigquery.Client(project=self.project, credentials=credentials, location=self.location_)

    def _key(self) -> dict[str, Any]:
        if self.credentials is not None:
            text = self.credentials.reveal()
        else:
            assert self.credentials_file is not None
            try:
                text = Path(self.credentials_file).expanduser().read_text(encoding="utf-8")
            except (OSError, UnicodeError) as error:
                raise self._no_key(f"cannot be read ({type(error).__name__})") from None
        try:
            key = json.loads(text if text.lstrip().startswith("{") else base64.b64decode(text, validate=True))
        except (ValueError, binascii.Error):
            raise self._no_key("is not JSON") from None
        if not isinstance(key, dict):
            raise self._no_key("is not a service account's key")
        return key

    def _no_key(self, what: str) -> ConfigurationError:
        place = f"the variable {self.credentials.env}" if self.credentials else self.credentials_file
        return ConfigurationError(
            f"{self.name}: {place} {what}",
            remedy="give the JSON that  gcloud iam service-accounts keys create  wrote; leave it out for other log-ins",
        )

    # Looking.

    def look(self, session: Session, names: Sequence[str]) -> There:
        assert isinstance(session, _Session)
        dataset = session.dataset()
        if dataset is None:
            return There(schema=False, columns={}, comments={})
        if self.location_ and dataset.location and dataset.location.upper() != self.location_.upper():
            raise DestinationRefused(
                f"{self.name}: the dataset {self.dataset} lies in {dataset.location}, not in {self.location_}",
                remedy=f"set  location: {dataset.location}  or name another dataset",
            )
        found = {name: session.table(f"{self.project}.{self.dataset}.{name}") for name in names}
        tables = {self.dialect.fold(name): table for name, table in found.items() if table is not None}
        return There(
            schema=True,
            columns={name: tuple(map(_held, table.schema)) for name, table in tables.items()},
            comments={name: table.description for name, table in tables.items()},
        )

    def _refuse(self, table: Table) -> None:
        super()._refuse(table)
        for name in table.schema.names:
            if not _takes(name):
                raise DestinationRefused(
                    f"{self.name}: {table.dataset}: BigQuery takes no column of the name '{name}'", remedy="rename it"
                )
        if not re.fullmatch(r"[\w -]{1,250}", table.dataset):
            raise DestinationRefused(
                f"{self.name}: BigQuery takes no table of the name '{table.dataset}'", remedy="rename the dataset"
            )

    # Delivering.

    def stage(self, session: Session, table: Table, files: Sequence[Path], staging: str) -> None:
        """One load job, whatever the number of files: each would be one of 1,500 a table and day, one by one."""
        assert isinstance(session, _Session)
        reference, schema = staging.replace("`", ""), _schema(table.schema)
        session.make(reference, schema, description(table.schema))
        if len(files) == 1:
            session.load(reference, schema, files[0])
        elif files:
            with tempfile.TemporaryDirectory(prefix="mogul-") as folder:
                session.load(reference, schema, _merged(files, table.schema, Path(folder) / "rows.parquet"))

    def unstage(self, session: Session, table: Table, staging: str) -> None:  # noqa: ARG002 - others need the table
        assert isinstance(session, _Session)
        session.drop(staging.replace("`", ""))

    def transact(
        self, session: Session, table: Table, statements: Statements, entry: Callable[[Outcome], Entry]
    ) -> Entry:
        """One script, asked for by its job's id where the answer was lost."""
        assert isinstance(session, _Session)
        done = entry(Outcome.DELIVERED)
        script, job = self.script(table, statements, entry), session.new_id(done.delivery_id)
        try:
            ((newer, inserted),) = session.rows(script, job)
        except Exception as error:
            if _job(error) or not isinstance(self.told(error), DestinationUnavailable):
                raise  # a script that fails is rolled back
            found = self._settled(table, job)
            if found is None:
                raise
            ((newer, inserted),) = found
        if newer:
            return entry(Outcome.SUPERSEDED)
        self._whole(table, inserted)
        return entry(Outcome.DELIVERED)

    def script(self, table: Table, statements: Statements, entry: Callable[[Outcome], Entry]) -> str:
        """The transaction; its one row says how many newer deliveries there are, and how many rows it inserted."""
        delivered, superseded = (
            self.dialect.logged(self._log_path, entry(outcome), now="CURRENT_TIMESTAMP()")
            for outcome in (Outcome.DELIVERED, Outcome.SUPERSEDED)
        )
        return f"""\
DECLARE newer, inserted INT64 DEFAULT 0;
BEGIN TRANSACTION;
{statements.lock};
SET newer = ({statements.superseded});
IF newer > 0 THEN
  {superseded};
  {statements.prune};
  COMMIT TRANSACTION;
ELSE
  {statements.delete};
  {statements.insert};
  SET inserted = @@row_count;
  IF inserted = {table.rows} THEN
    {delivered};
    {statements.prune};
    COMMIT TRANSACTION;
  ELSE
    ROLLBACK TRANSACTION;
  END IF;
END IF;
SELECT newer, inserted;"""

    def _settled(self, table: Table, job: str) -> Sequence[tuple[Any, ...]] | None:
        """What came of a script whose answer was lost: ``None`` where it did nothing. One that still runs is cancelled.

        Raises:
            DestinationUnavailable: nobody can tell.
        """
        at = self._at(table)
        try:
            with self._connected(at) as session, self._during("asking what came of it", at):
                assert isinstance(session, _Session)
                return session.ended(job)
        except MogulError:
            raise DestinationUnavailable(
                f"{at}: the connection was lost while replacing the rows, and what came of it cannot be asked;"
                " the table is the old or the new one, whole",
                remedy="it is tried again, which settles it",
            ) from None

    # Telling.

    def told(self, error: Exception) -> MogulError | Conflict | None:
        import google.auth.exceptions  # noqa: PLC0415 - only where it is needed
        import requests  # noqa: PLC0415
        from google.api_core import exceptions  # noqa: PLC0415
        from google.resumable_media import DataCorruption  # noqa: PLC0415

        if isinstance(error, exceptions.RetryError):
            cause = error.cause
            return self.told(cause) if isinstance(cause, Exception) else _silent()
        if isinstance(error, exceptions.GoogleAPICallError):
            return _api(error)
        if isinstance(error, google.auth.exceptions.DefaultCredentialsError):
            return DestinationRefused(
                "this machine is not logged in to Google",
                remedy="set credentials, or run  gcloud auth application-default login",
            )
        if isinstance(error, google.auth.exceptions.GoogleAuthError) and not error.retryable:
            if isinstance(error, google.auth.exceptions.TransportError):
                return _silent()
            kind, what, remedy = REASONS["authError"]
            return kind(f"Google {what}{_grant(error)}", remedy=remedy)
        if isinstance(
            error,
            google.auth.exceptions.GoogleAuthError
            | requests.exceptions.RequestException
            | concurrent.futures.TimeoutError
            | ConnectionError
            | DataCorruption,
        ):
            return _silent()
        return None

    # Rights.

    def grants(self) -> str:
        """Commands and SQL: an account for this alone, which may run jobs, and write in this one dataset."""
        account = f"mogul@{self.project}.iam.gserviceaccount.com"
        made = f" OPTIONS (location = {_literal(self.location_)})" if self.location_ else ""
        return "\n".join(
            [
                "# In a shell: an account, its key, and a role with what it needs in the dataset.",
                f"gcloud iam service-accounts create mogul --project={self.project}",
                f"gcloud iam service-accounts keys create mogul-key.json --iam-account={account}",
                f"gcloud iam roles create mogulDelivery --project={self.project} --stage=GA \\",
                f"  --permissions={','.join(_PERMISSIONS)}",
                self._may_run_jobs(account),
                "",
                "-- In BigQuery Studio: the dataset, in which alone it may do that.",
                f"CREATE SCHEMA IF NOT EXISTS {self.dialect.name(*self.namespace)}{made};",
                self._may_write(account),
            ]
        )

    def _may_run_jobs(self, account: str) -> str:
        return (
            f"gcloud projects add-iam-policy-binding {self.project} --member=serviceAccount:{account}"
            " --role=roles/bigquery.jobUser --condition=None"
        )

    def _may_write(self, account: str) -> str:
        role = f"`projects/{self.project}/roles/mogulDelivery`"
        return f"GRANT {role} ON SCHEMA {self.dialect.name(*self.namespace)} TO 'serviceAccount:{account}';"

    def check(self) -> list[Permission]:
        """Tries everything that a delivery does, on a scratch table, which is removed again.

        A dataset that is not there is made for it, and removed.
        """
        found: list[Permission] = []

        def tried(name: str, work: Callable[[], object], *, remedy: str) -> bool:
            problem = None
            try:
                with self._during(name, self.name):
                    work()
            except Conflict:
                problem = f"{self.name}: {name}: another was at it"
            except MogulError as error:
                problem = error.message.removesuffix(f"; {STANDS}")
                remedy = remedy if "(accessDenied)" in problem else error.remedy
            found.append(Permission(name, problem, remedy if problem else ""))
            return problem is None

        sessions: list[_Session] = []
        write = self._may_write("YOUR_ACCOUNT")
        if not tried("reach the dataset", lambda: sessions.append(self.session()), remedy=write):
            return found
        session = sessions[0]
        account = getattr(session.client._credentials, "service_account_email", None) or "YOUR_ACCOUNT"  # noqa: SLF001 - no other way to know
        jobs, write = self._may_run_jobs(account), self._may_write(account)
        made = session.dataset() is None
        schema = self.dialect.name(*self.namespace)
        scratch = f"{self.project}.{self.dataset}.mogul_check_{token_hex(8)}"
        path = self.dialect.name(*self.namespace, scratch.rpartition(".")[2])
        columns = pa.schema([pa.field("one", pa.int64())])
        try:
            running = tried("run jobs", lambda: session.rows("SELECT 1"), remedy=jobs)
            if made and running:
                create = self.dialect.create_schema.format(schema=schema)
                made = tried("make the dataset", lambda: session.execute(create), remedy=f"{create};")
                if not made:
                    return found
            if not tried("make a table", lambda: session.make(scratch, _schema(columns), ""), remedy=write):
                return found
            tried("see a table", lambda: session.table(scratch), remedy=write)
            if running:
                self._tried_rows(session, scratch, path, columns, lambda name, work: tried(name, work, remedy=write))
            tried("remove a table", lambda: session.drop(scratch), remedy=write)
        finally:
            self._quietly(lambda: session.drop(scratch), f"remove {scratch}")
            if made:
                self._quietly(lambda: session.execute(f"DROP SCHEMA IF EXISTS {schema}"), f"remove {schema}")
            self._quietly(session.close, "close the connection")
        return found

    def _tried_rows(
        self,
        session: "_Session",
        scratch: str,
        path: str,
        columns: pa.Schema,
        tried: Callable[[str, Callable[[], object]], object],
    ) -> None:
        with tempfile.TemporaryDirectory(prefix="mogul-") as folder:
            file = Path(folder) / "one.parquet"
            pq.write_table(pa.table({"one": [1]}, schema=columns), file)
            tried("load rows", lambda: session.load(scratch, _schema(columns), file))
        tried("change a table", lambda: session.execute(f"ALTER TABLE {path} ADD COLUMN two INT64"))
        tried("read rows", lambda: session.rows(f"SELECT one FROM {path}"))
        tried(
            "replace rows in a transaction",
            lambda: session.execute(
                f"BEGIN TRANSACTION; DELETE FROM {path} WHERE true; INSERT INTO {path} (one) VALUES (2);"
                " COMMIT TRANSACTION;"
            ),
        )


class _Session:
    """A client of BigQuery's, with the limits of one destination. Jobs are asked for until they end."""

    def __init__(self, client: "bigquery.Client", of: BigQueryDestination) -> None:
        from google.cloud.bigquery import DEFAULT_RETRY  # noqa: PLC0415 - only where it is needed

        self.client = client
        self.of = of
        self.seconds = of.step_seconds
        self.place: str | None = of.location_
        """Where jobs run: where the dataset lies."""
        self.first: dict[str, Any] = {"timeout": CONNECT_SECONDS, "retry": DEFAULT_RETRY.with_timeout(CONNECT_SECONDS)}
        self.asked: dict[str, Any] = {"timeout": REQUEST_SECONDS, "retry": DEFAULT_RETRY.with_timeout(REQUEST_SECONDS)}

    def close(self) -> None:
        self.client.close()  # type: ignore[no-untyped-call]

    # The catalogue.

    def dataset(self) -> "bigquery.Dataset | None":
        from google.api_core.exceptions import NotFound  # noqa: PLC0415 - only where it is needed

        try:
            found = self.client.get_dataset(f"{self.of.project}.{self.of.dataset}", **self.first)
        except NotFound:
            return None
        self.place = found.location or self.place
        return found

    def table(self, reference: str) -> "bigquery.Table | None":
        """A table, or ``None``.

        Raises:
            DestinationRefused: where a view or the like has its name.
        """
        from google.api_core.exceptions import NotFound  # noqa: PLC0415 - only where it is needed

        try:
            found = self.client.get_table(reference, **self.asked)
        except NotFound:
            return None
        if found.table_type != "TABLE":
            raise DestinationRefused(
                f"{self.of.name}: {reference} is no table, but: {found.table_type.lower()}",
                remedy="rename or remove it",
            )
        return found

    def make(self, reference: str, schema: Sequence["bigquery.SchemaField"], comment: str) -> None:
        """A table that is gone after a day."""
        from google.cloud import bigquery  # noqa: PLC0415 - only where it is needed

        table = bigquery.Table(reference, schema=schema)
        table.expires = datetime.now(UTC) + STAGED_FOR
        table.labels = dict(self.of.labels)
        table.description = comment or None
        self.client.create_table(table, exists_ok=True, **self.asked)

    def drop(self, reference: str) -> None:
        self.client.delete_table(reference, not_found_ok=True, **self.asked)

    # Jobs.

    def new_id(self, name: str) -> str:
        """An id for a job that is begun once, to be found again in the console."""
        return f"mogul_{self.of.dataset[:100]}_{name}_{token_hex(8)}"

    def execute(self, statement: str) -> int:
        return int(self._run(statement).num_dml_affected_rows or 0)

    def rows(self, statement: str, job: str = "") -> Sequence[tuple[Any, ...]]:
        return self._rows(self._run(statement, job))

    def _rows(self, job: "bigquery.QueryJob") -> Sequence[tuple[Any, ...]]:
        return [row.values() for row in job.result(**self.asked, job_retry=None)]

    def batches(self, statement: str) -> Iterable[pa.RecordBatch]:
        result = self._run(statement).result(page_size=20_000, **self.asked, job_retry=None)
        # The storage API is another service, at another address, with a right of its own.
        yield from result.to_arrow_iterable(bqstorage_client=None)

    def load(self, reference: str, schema: Sequence["bigquery.SchemaField"], file: Path) -> None:
        """Make the file's rows the table's."""
        from google.api_core.exceptions import Conflict as Begun  # noqa: PLC0415 - only where it is needed
        from google.cloud import bigquery  # noqa: PLC0415

        config = bigquery.LoadJobConfig(
            schema=schema,
            source_format=bigquery.SourceFormat.PARQUET,
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            column_name_character_map="STRICT",  # names as they are, or an error: never others
            labels=dict(self.of.labels),
            job_timeout_ms=int(self.seconds * 1000),
        )
        name = self.new_id(f"load_{reference.rpartition('.')[2]}")
        try:
            with file.open("rb") as content:
                job: Any = self.client.load_table_from_file(
                    content,
                    reference,
                    size=file.stat().st_size,
                    num_retries=2,
                    job_id=name,
                    job_config=config,
                    location=self.place,
                    timeout=REQUEST_SECONDS,
                )
        except Begun:  # the answer was lost and the request repeated
            job = self.client.get_job(name, location=self.place, **self.asked)
        self._awaited(job)

    def ended(self, name: str) -> Sequence[tuple[Any, ...]] | None:
        """The rows of a script by its job's id, which is cancelled if it still runs; ``None`` if it did nothing."""
        from google.api_core.exceptions import GoogleAPICallError, NotFound  # noqa: PLC0415 - only where it is needed

        try:
            job: Any = self.client.get_job(name, location=self.place, **self.asked)
        except NotFound:
            return None
        if not job.done(reload=False):
            self._cancelled(job)
        try:
            self._awaited(job)
        except GoogleAPICallError:
            if job.done(reload=False):
                return None
            raise
        return self._rows(job)

    def _cancelled(self, job: Any) -> None:
        """It may end by itself meanwhile, which is as well."""
        self.of._quietly(lambda: job.cancel(**self.asked), f"cancel job {job.job_id}")  # noqa: SLF001 - one of ours

    def _run(self, statement: str, name: str = "") -> "bigquery.QueryJob":
        """A statement, put off where BigQuery is asked too often; one whose job has its name is begun once."""
        if name:
            return self._begun(statement, name)
        again = Retrying(
            retry=retry_if_exception(lambda error: _reason(error) in {"rateLimitExceeded", "jobRateLimitExceeded"}),
            stop=stop_after_delay(BUSY_SECONDS),
            wait=wait_random_exponential(multiplier=1, max=10),
            reraise=True,
        )
        found: bigquery.QueryJob = again(lambda: self._begun(statement, self.new_id("statement")))
        return found

    def _begun(self, statement: str, name: str) -> "bigquery.QueryJob":
        from google.api_core.exceptions import Conflict as Begun  # noqa: PLC0415 - only where it is needed
        from google.cloud import bigquery  # noqa: PLC0415

        config = bigquery.QueryJobConfig(
            labels=dict(self.of.labels),
            use_query_cache=False,
            job_timeout_ms=int(self.seconds * 1000),
        )
        if self.of.maximum_bytes_billed:
            config.maximum_bytes_billed = self.of.maximum_bytes_billed
        try:
            job: Any = self.client.query(
                statement, job_config=config, job_id=name, location=self.place, job_retry=None, **self.asked
            )
        except Begun:  # the answer was lost and the request repeated
            job = self.client.get_job(name, location=self.place, **self.asked)
        self._awaited(job)
        found: bigquery.QueryJob = job
        return found

    def _awaited(self, job: Any) -> None:
        """Wait by asking: the call that waits at the other end hangs for two minutes on a line that is dead."""
        until, pause = time.monotonic() + self.seconds, 0.05
        while not job.done(**self.asked):
            if time.monotonic() > until:
                self._cancelled(job)
                raise TimeoutError
            time.sleep(pause)
            pause = min(pause * 1.5, 2)
        failed = job.exception(timeout=0)
        if failed is not None:
            failed.job = job.job_id
            raise failed


def _held(field: "bigquery.SchemaField") -> Held:
    """A column, its type as SQL spells it: with its length or precision, or as an array."""
    kind = _SPELLED.get(field.field_type, field.field_type)
    limits = [limit for limit in (field.max_length, field.precision, field.scale) if limit is not None]
    kind += f"({', '.join(map(str, limits))})" if limits else ""
    return Held(field.name, f"ARRAY<{kind}>" if field.mode == "REPEATED" else kind, field.description)


def _schema(schema: pa.Schema) -> list["bigquery.SchemaField"]:
    """The staging table's columns, with their descriptions."""
    from google.cloud.bigquery import SchemaField  # noqa: PLC0415 - only where it is needed

    return [SchemaField(field.name, DIALECT.staged[kind_of(field)], description=description(field)) for field in schema]


def _merged(files: Sequence[Path], schema: pa.Schema, to: Path) -> Path:
    """The rows of all files in one."""
    with pq.ParquetWriter(to, schema, compression="zstd", compression_level=1) as writer:
        for file in files:
            with pq.ParquetFile(file) as parquet:
                for batch in parquet.iter_batches(ROWS_AT_ONCE):
                    writer.write_batch(batch.cast(schema))
    return to


def _reason(error: BaseException) -> str:
    """BigQuery's own word for what is wrong, or the one that its HTTP status stands for; empty for others' errors."""
    errors = getattr(error, "errors", None) or [{}]
    said = errors[0].get("reason") if isinstance(errors[0], Mapping) else None
    code = getattr(error, "code", None)
    if said in REASONS or said == _MADE:
        return str(said)
    if not isinstance(code, int):
        return ""
    return _BY_STATUS.get(code, "backendError" if code >= 500 else "invalid")


def _job(error: Exception) -> str:
    """The id of the job that failed with it; nothing where a request did."""
    return str(getattr(error, "job", ""))


def _api(error: Any) -> MogulError | Conflict:
    reason = _reason(error)
    message = next((str(one.get("message")) for one in error.errors if isinstance(one, Mapping)), str(error.message))
    if reason == _MADE or _CONFLICT in message:
        return Conflict()
    if _DROPPED in message:
        return DestinationRefused(
            "BigQuery keeps the name of a column that was dropped for as long as time travel reaches",
            remedy="wait for that, at most seven days, or rename the column in the table's place",
        )
    kind, what, remedy = REASONS[reason]
    told = f"BigQuery {what} ({reason})"
    job = _job(error)
    if reason in _TELLING or not job:  # a request names things only; what a job meets may be a value
        told += f": {message.splitlines()[0][:300]}"
    if job:
        told += f", job {job}"
    return kind(told, remedy=remedy)


def _grant(error: Exception) -> str:
    """OAuth's word for what is wrong with a key, like ``invalid_grant``."""
    said = re.match(r"[a-z_]+(?=:)", str(error.args[0])) if error.args else None
    return f" ({said[0]})" if said else ""


def _silent() -> DestinationUnavailable:
    return DestinationUnavailable(
        "BigQuery gave no answer in time, or the connection broke", remedy="it is tried again"
    )
