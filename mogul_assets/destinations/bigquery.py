"""Deliveries into a BigQuery dataset: one Parquet load job into a staging table, and one script that is a transaction.

Every job has an id of its own choosing, so that a request whose answer was lost is asked for again and never done
twice. A transaction cannot be spread over requests without a session of its own: the statements that the other
warehouses run one by one are sent as one script here.
"""

import re
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, ClassVar
from unicodedata import category

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, field_validator

from mogul_assets.catalog.columns import Kind
from mogul_assets.destinations import google_keys
from mogul_assets.destinations.base import Capabilities, Leftover, Outcome, Permission, Secret
from mogul_assets.destinations.bigquery_errors import REASONS, job_of, told
from mogul_assets.destinations.bigquery_session import BigQuerySession, fields, held
from mogul_assets.destinations.columns import conformed, conforms, description
from mogul_assets.destinations.dialect import Dialect, Statements, There, kind_of, utc
from mogul_assets.destinations.log import Entry
from mogul_assets.destinations.trial import Trial
from mogul_assets.destinations.warehouse import Conflict, Session, Transacted, Warehouse
from mogul_assets.errors import (
    ConfigurationError,
    DestinationRefused,
    DestinationUnavailable,
    MogulError,
)
from mogul_assets.store.table import Table

if TYPE_CHECKING:
    from google.cloud import bigquery

TEXT_BYTES = 50_000_000
"""Rows of Parquet should not be larger: https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet"""
ROWS_AT_ONCE = 262_144

_SCOPE = "https://www.googleapis.com/auth/bigquery"

_CLUSTERED = frozenset({Kind.TEXT, Kind.INT, Kind.FLAG, Kind.MOMENT, Kind.DAY})
"""Kinds of columns that BigQuery clusters by, four at most."""

_RESERVED = re.compile(
    "_(TABLE_|FILE_|PARTITION|ROW_TIMESTAMP|_ROOT__|COLIDENTIFIER|CHANGE_(SEQUENCE_NUMBER|TYPE|TIMESTAMP))",
    re.IGNORECASE,
)
"""How no column's name may begin."""

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


DIALECT = Dialect(
    types={
        Kind.TEXT: "STRING",
        Kind.INT: "INT64",
        Kind.FLOAT: "FLOAT64",
        Kind.FLAG: "BOOL",
        Kind.MOMENT: "TIMESTAMP",
        Kind.DAY: "DATE",
        Kind.JSON: "JSON",
    },
    fold=str.lower,
    keeps_case=True,
    quote=lambda name: f"`{name}`",  # no name with a backtick is let through
    literal=_literal,
    moment=lambda at: f"TIMESTAMP '{utc(at)}+00'",
    parsed=_JSON,
    unparsed=f"SAFE.{_JSON} IS NULL",
    size="BYTE_LENGTH({})",
    epoch="UNIX_MICROS({})",
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

_ONE = pa.schema([pa.field("one", pa.int64())])
"""Of the table that a check makes."""


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

    BACKUPS: ClassVar[Leftover] = Leftover(
        "deleted rows in time travel and fail-safe storage",
        "nothing earlier: after max_time_travel_hours of the dataset, and 7 days more",
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

    def session(self) -> BigQuerySession:
        session = BigQuerySession(
            self._client(),
            name=self.name,
            dataset=f"{self.project}.{self.dataset}",
            location=self.location_,
            labels=self.labels,
            maximum_bytes_billed=self.maximum_bytes_billed,
            seconds=self.step_seconds,
        )
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
            try:
                with resource.get_client() as client:
                    found: bigquery.Client = client
            except dg.DagsterInvalidDefinitionError as error:
                raise ConfigurationError(f"{self.name}: {error}", remedy="mend the resource") from None
            return found

    def _keyed(self) -> "bigquery.Client":
        """From the key, in memory: the resource would write it to a file, and refuse beside another's variable."""
        from google.cloud import bigquery  # noqa: PLC0415 - only where it is needed

        if self.credentials is not None:
            text, place = self.credentials.reveal(), self.credentials.env
        else:
            assert self.credentials_file is not None
            place = self.credentials_file
            try:
                text = Path(place).expanduser().read_text(encoding="utf-8")
            except (OSError, UnicodeError) as error:
                raise ConfigurationError(
                    f"{self.name}: {place} cannot be read ({type(error).__name__})", remedy=google_keys.REMEDY
                ) from None
        credentials = google_keys.account(text, of=f"{self.name}: {place}").with_scopes([_SCOPE])
        return bigquery.Client(project=self.project, credentials=credentials, location=self.location_)

    # Looking.

    def look(self, session: Session, names: Sequence[str]) -> There:
        assert isinstance(session, BigQuerySession)
        if not self._made(session):
            return There(schema=False, columns={}, comments={})
        found = {name: session.table(f"{self.project}.{self.dataset}.{name}") for name in names}
        tables = {self.dialect.fold(name): table for name, table in found.items() if table is not None}
        return There(
            schema=True,
            columns={name: tuple(map(held, table.schema)) for name, table in tables.items()},
            comments={name: table.description for name, table in tables.items()},
        )

    def _made(self, session: BigQuerySession) -> bool:
        """Whether the dataset is there.

        Raises:
            DestinationRefused: where it lies elsewhere.
        """
        dataset = session.dataset()
        place = dataset.location if dataset else None
        if self.location_ and place and place.upper() != self.location_.upper():
            raise DestinationRefused(
                f"{self.name}: the dataset {self.dataset} lies in {place}, not in {self.location_}",
                remedy=f"set  location: {place}  or name another dataset",
            )
        return dataset is not None

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
        assert isinstance(session, BigQuerySession)
        reference, schema = staging.replace("`", ""), fields(table.schema, DIALECT.staged)
        session.make(reference, schema, description(table.schema))
        if len(files) == 1 and conforms(pq.read_schema(files[0]), table.schema):
            session.load(reference, schema, files[0])
        elif files:
            with tempfile.TemporaryDirectory(prefix="mogul-") as folder:
                rows = conformed(files, table.schema, Path(folder) / "rows.parquet", rows=ROWS_AT_ONCE)
                session.load(reference, schema, rows)

    def unstage(self, session: Session, table: Table, staging: str) -> None:  # noqa: ARG002 - others need the table
        assert isinstance(session, BigQuerySession)
        session.drop(staging.replace("`", ""))

    def transact(
        self, session: Session, table: Table, statements: Statements, entry: Callable[[Outcome], Entry]
    ) -> Transacted:
        """One script, asked for by its job's id where the answer was lost."""
        assert isinstance(session, BigQuerySession)
        done = entry(Outcome.DELIVERED)
        script, job = self.script(table, statements, entry), session.new_id(done.delivery_id)
        try:
            ((newer, deleted, inserted, standing),) = session.rows(script, job)
        except Exception as error:
            if job_of(error) or not isinstance(told(error), DestinationUnavailable):
                raise  # a script that fails is rolled back
            found = self._settled(table, job)
            if found is None:
                raise
            ((newer, deleted, inserted, standing),) = found
        if newer:
            return Transacted(entry(Outcome.SUPERSEDED))
        self._whole(table, standing)
        return Transacted(entry(Outcome.DELIVERED), deleted, inserted)

    def script(self, table: Table, statements: Statements, entry: Callable[[Outcome], Entry]) -> str:
        """The transaction; its one row says how many newer deliveries there are, and how many rows it deleted and
        inserted, and how many there are then that must be as many as the table has.
        """
        delivered, superseded = (
            self.dialect.logged(self._log_path, entry(outcome), now="CURRENT_TIMESTAMP()")
            for outcome in (Outcome.DELIVERED, Outcome.SUPERSEDED)
        )
        renew = f"\n  {statements.renew};" if statements.renew else ""
        return f"""\
DECLARE newer, deleted, inserted, standing INT64 DEFAULT 0;
BEGIN TRANSACTION;
{statements.lock};
SET newer = ({statements.superseded});
IF newer > 0 THEN
  {superseded};
  {statements.prune};
  COMMIT TRANSACTION;
ELSE
  {statements.delete};
  SET deleted = @@row_count;{renew}
  {statements.insert};
  SET inserted = @@row_count;
  SET standing = {f"({statements.standing})" if statements.standing else "inserted"};
  IF standing = {table.rows} THEN
    {delivered};
    {statements.prune};
    COMMIT TRANSACTION;
  ELSE
    ROLLBACK TRANSACTION;
  END IF;
END IF;
SELECT newer, deleted, inserted, standing;"""

    def _settled(self, table: Table, job: str) -> Sequence[tuple[Any, ...]] | None:
        """What came of a script whose answer was lost: ``None`` where it did nothing. One that still runs is cancelled.

        Raises:
            DestinationUnavailable: nobody can tell.
        """
        at = self._at(table)
        try:
            with self._connected(at) as session, self._during("asking what came of it", at):
                assert isinstance(session, BigQuerySession)
                return session.ended(job)
        except MogulError:
            raise DestinationUnavailable(
                f"{at}: the connection was lost while replacing the rows, and what came of it cannot be asked;"
                " the table is the old or the new one, whole",
                remedy="it is tried again, which settles it",
            ) from None

    # Telling.

    def told(self, error: Exception) -> MogulError | Conflict | None:
        return told(error)

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
        trial, write = Trial(self.told, REASONS["accessDenied"][2]), self._may_write("YOUR_ACCOUNT")
        with trial.of("reach the dataset", write):
            session = self.session()
        if not trial.passed("reach the dataset"):
            return trial.found
        account = getattr(session.client._credentials, "service_account_email", None) or "YOUR_ACCOUNT"  # noqa: SLF001 - no other way to know
        write, made = self._may_write(account), False
        schema = self.dialect.name(*self.namespace)
        scratch = f"{self.project}.{self.dataset}.mogul_check_{token_hex(8)}"
        try:
            with trial.of("find the dataset in its place", write):
                self._made(session)
            if not trial.passed("find the dataset in its place"):
                return trial.found
            with trial.of("run jobs", self._may_run_jobs(account)):
                session.rows("SELECT 1")
            running = trial.passed("run jobs")
            if running and not self._made(session):
                create = self.dialect.create_schema.format(schema=schema)
                with trial.of("make the dataset", f"{create};"):
                    session.execute(create)
                made = trial.passed("make the dataset")
                if not made:
                    return trial.found
            with trial.of("make a table", write):
                session.make(scratch, fields(_ONE, DIALECT.staged), "")
            if not trial.passed("make a table"):
                return trial.found
            with trial.of("see a table", write):
                session.table(scratch)
            if running:
                self._tried_rows(session, scratch, trial, write)
            with trial.of("remove a table", write):
                session.drop(scratch)
        finally:
            self._quietly(lambda: session.drop(scratch), f"remove {scratch}")
            if made:
                self._quietly(lambda: session.execute(f"DROP SCHEMA IF EXISTS {schema}"), f"remove {schema}")
            self._quietly(session.close, "close the connection")
        return trial.found

    def _tried_rows(self, session: BigQuerySession, scratch: str, trial: Trial, write: str) -> None:
        path = self.dialect.name(*self.namespace, scratch.rpartition(".")[2])
        with trial.of("load rows", write), tempfile.TemporaryDirectory(prefix="mogul-") as folder:
            file = Path(folder) / "one.parquet"
            pq.write_table(pa.table({"one": [1]}, schema=_ONE), file)
            session.load(scratch, fields(_ONE, DIALECT.staged), file)
        with trial.of("change a table", write):
            session.execute(f"ALTER TABLE {path} ADD COLUMN two INT64")
        with trial.of("read rows", write):
            session.rows(f"SELECT one FROM {path}")
        with trial.of("replace rows in a transaction", write):
            session.execute(
                f"BEGIN TRANSACTION; DELETE FROM {path} WHERE true; INSERT INTO {path} (one) VALUES (2);"
                " COMMIT TRANSACTION;"
            )
