"""Deliveries into a Redshift schema: Parquet to S3, ``COPY`` into a staging table, and one transaction.

The staging table is temporary and goes with the session; the staged files are removed as soon as they are copied, or
could not be. The connection is psycopg2's asynchronous one: only so does every step have its limit, also where
nothing is heard any more.
"""

import json
import selectors
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from mogul_assets.catalog.columns import Kind
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.destinations.base import Capabilities, Leftover, Permission, Secret
from mogul_assets.destinations.columns import conformed, conforms
from mogul_assets.destinations.dialect import Dialect, Held, There, ascii_lower, escaped, utc
from mogul_assets.destinations.log import LOG
from mogul_assets.destinations.redshift_errors import GRANTS, database_error, s3_error
from mogul_assets.destinations.trial import Trial
from mogul_assets.destinations.warehouse import Conflict, Session, Warehouse
from mogul_assets.errors import DestinationRefused, DestinationUnavailable, MogulError
from mogul_assets.store.sql import quoted
from mogul_assets.store.table import Table

CONNECT_SECONDS = 20
TEXT_BYTES = 65_535
"""What a VARCHAR holds: https://docs.aws.amazon.com/redshift/latest/dg/r_Character_types.html.

Every text is declared so: how long a name or a description may be is nowhere said by ChartMogul, and a column that is
too narrow fails the delivery. On disk it costs nothing; a query that sorts or hashes a text may take more memory.
"""
NAME_BYTES = 127
"""https://docs.aws.amazon.com/redshift/latest/dg/r_names.html"""

_SYSTEM_COLUMNS = frozenset({"oid", "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
_FETCHED_ROWS = 1000
"""At a time: a cluster of one node takes no more (https://docs.aws.amazon.com/redshift/latest/dg/fetch.html)."""
_UPLOADS = 8
MANIFEST = "manifest.json"

_CLIENTS = threading.Lock()
"""The SDK makes clients in one thread at a time only."""

_TEXT = f"character varying({TEXT_BYTES})"
_MOMENT = "timestamp without time zone"


class _Widening(dict[tuple[str, str], str | None]):
    """Changes of type; a shorter VARCHAR, of whatever length, is one too, and the only one made in place."""

    def __contains__(self, change: object) -> bool:
        return super().__contains__(change) or _lengthens(change)

    def __missing__(self, change: tuple[str, str]) -> None:
        return None


def _lengthens(change: object) -> bool:
    return isinstance(change, tuple) and change[1] == _TEXT and str(change[0]).startswith("character varying(")


def _keys(table: Table) -> str:
    """Rows of one key lie together; they are sorted by what deliveries replace them by, or else by the key."""
    sorted_by = [table.window_column] if table.window_column else table.key
    by_hash = f" DISTKEY ({quoted(ascii_lower(table.key[0]))})" if table.key else ""
    names = ", ".join(quoted(ascii_lower(name)) for name in sorted_by)
    return by_hash + (f" SORTKEY ({names})" if names else "")


class _Redshift(Dialect):
    """A column that rows are spread or sorted by cannot be dropped: it is freed before it is rewritten."""

    def evolved(
        self, path: str, table: Table, held: tuple[Held, ...], comment: str | None, *, at: str
    ) -> tuple[list[str], list[str]]:
        statements, rewritten = super().evolved(path, table, held, comment, at=at)
        columns = {name.partition(":")[0] for name in rewritten}
        free, bind = [], []
        if table.key and table.key[0] in columns:
            free.append(f"ALTER TABLE {path} ALTER DISTSTYLE EVEN")
            bind.append(f"ALTER TABLE {path} ALTER DISTKEY {self.name(table.key[0])}")
        sorted_by = [table.window_column] if table.window_column else list(table.key)
        if columns.intersection(sorted_by):
            free.append(f"ALTER TABLE {path} ALTER SORTKEY NONE")
            bind.append(f"ALTER TABLE {path} ALTER SORTKEY ({', '.join(map(self.name, sorted_by))})")
        return [*free, *statements, *bind], rewritten


DIALECT = _Redshift(
    types={
        Kind.TEXT: _TEXT,
        Kind.INT: "bigint",
        Kind.FLOAT: "double precision",
        Kind.FLAG: "boolean",
        Kind.MOMENT: _MOMENT,  # UTC by contract: COPY from Parquet does not fill TIMESTAMPTZ
        Kind.DAY: "date",
        Kind.JSON: "super",
    },
    fold=ascii_lower,
    quote=quoted,
    literal=escaped,  # and E'' is not known: https://github.com/jOOQ/jOOQ/issues/10628
    moment=lambda at: f"TIMESTAMP '{utc(at)}'",
    parsed="JSON_PARSE({})",
    unparsed="NOT CAN_JSON_PARSE({})",
    epoch="DATEDIFF(microsecond, TIMESTAMP '1970-01-01', {})",
    widens=_Widening(
        {
            ("smallint", "bigint"): "CAST({} AS bigint)",
            ("integer", "bigint"): "CAST({} AS bigint)",
            ("real", "double precision"): "CAST({} AS double precision)",
            ("smallint", "double precision"): "CAST({} AS double precision)",
            ("integer", "double precision"): "CAST({} AS double precision)",
            ("date", _MOMENT): f"CAST({{}} AS {_MOMENT})",
            ("timestamp with time zone", _MOMENT): "{} AT TIME ZONE 'UTC'",
            ("super", _TEXT): "JSON_SERIALIZE({})",
        }
    ),
    clauses=_keys,
    retype="ALTER TABLE {table} ALTER COLUMN {column} TYPE {type}",
)


class RedshiftDestination(Warehouse):
    """One schema of a Redshift database, of a cluster or a serverless workgroup, and a bucket to load it from."""

    host: str | None = Field(default=None, description="The endpoint's host, of the cluster or the workgroup.")
    port: int = Field(default=5439, ge=1, le=65_535, description="The endpoint's port.")
    database: str | None = Field(default=None, description="The database; it must be there.")
    schema_: str = Field(default="chartmogul", alias="schema", description="The schema of the tables; made if missing.")
    user: str | None = Field(default=None, description="The user to log in as; make one for this alone.")
    password: Secret | None = Field(default=None, description="The user's password.")
    sslmode: Literal["verify-full", "verify-ca", "require", "prefer", "disable"] = Field(
        default="verify-full", description="How the connection is encrypted and the server proven, as libpq names it."
    )
    certificates: str | None = Field(
        default=None, description="A file of authorities to prove the server by, in PEM; certifi's where none is named."
    )
    bucket: str = Field(description="The S3 bucket, in Redshift's region, that files are staged in.")
    prefix: str = Field(default="mogul-staging", description="What the names of staged files begin with.")
    region: str | None = Field(
        default=None, description="The bucket's region; as the machine has it where none is named."
    )
    role: str | None = Field(
        default=None,
        description="ARN of the IAM role that COPY reads the bucket with, or default; else the keys serve.",
    )
    access_key_id: Secret | None = Field(
        default=None, description="Access key to stage files with; the machine's own credentials where there is none."
    )
    secret_access_key: Secret | None = Field(default=None, description="The access key's secret.")
    session_token: Secret | None = Field(default=None, description="The token of temporary keys.")
    snappy: bool = Field(
        default=False, description="Stage files compressed anew, by Snappy, where COPY does not read Zstandard."
    )
    s3_endpoint: str | None = Field(default=None, description="Another endpoint of S3, such as a VPC's own.")

    BACKUPS: ClassVar[Leftover] = Leftover(
        "deleted rows until they are vacuumed, and in snapshots",
        "VACUUM DELETE ONLY;  aws redshift delete-cluster-snapshot --snapshot-identifier …",
    )
    EXAMPLE: ClassVar[Mapping[str, Any]] = {
        "host": "analytics.abc123xyz789.eu-west-1.redshift.amazonaws.com",
        "database": "analytics",
        "user": "mogul",
        "password": {"env": "REDSHIFT_PASSWORD"},
        "bucket": "example-mogul",
        "region": "eu-west-1",
        "role": "arn:aws:iam::123456789012:role/mogul-redshift",
    }

    @model_validator(mode="after")
    def _complete(self) -> "RedshiftDestination":
        if self.connection is None:
            for name in ("host", "database", "user", "password"):
                if getattr(self, name) is None:
                    raise ValueError(f"{name} is missing")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key go together")
        if self.role is None and self.access_key_id is None:
            raise ValueError("COPY needs role, or access_key_id and secret_access_key")
        return self

    @property
    def dialect(self) -> Dialect:
        return DIALECT

    @property
    def namespace(self) -> tuple[str, ...]:
        return (self.schema_,)

    @property
    def capabilities(self) -> Capabilities:
        """Everything; a text, or a JSON value, of at most 65,535 bytes, without NUL."""
        return Capabilities(text_bytes=TEXT_BYTES, nul_in_text=False)

    def location(self, dataset: str) -> str:
        return ".".join((self._of("database"), *map(ascii_lower, (self.schema_, dataset))))

    def _of(self, setting: str) -> str:
        """A setting of ours, or of the user's own resource."""
        return str(getattr(self, setting) or getattr(self.connection, setting, None) or f"<{setting}>")

    def staging(self, delivery: str) -> str:
        return self.dialect.name(f"mogul_staging_{delivery}")

    def _refuse(self, table: Table) -> None:
        super()._refuse(table)
        for name in (table.dataset, *table.schema.names):
            if len(name.encode()) > NAME_BYTES or not name.isprintable() or ascii_lower(name) in _SYSTEM_COLUMNS:
                raise DestinationRefused(
                    f"{self._at(table)}: '{name}' cannot be a name there",
                    remedy=f"rename it: at most {NAME_BYTES} bytes, printable, and none of PostgreSQL's own columns",
                )

    # Connecting.

    def session(self) -> "_Session":
        import psycopg2  # noqa: PLC0415 - only where it is needed

        resource: Any = self.connection or self._resource()
        arguments = {**resource.get_client().conn_args, "application_name": "mogul_assets", "async_": 1}
        if str(arguments.get("sslmode")).startswith("verify") and "sslrootcert" not in arguments:
            arguments["sslrootcert"] = self.certificates or _authorities()
        connection = psycopg2.connect(**arguments)
        _waited(connection, CONNECT_SECONDS)
        session = _Session(connection, self.step_seconds)
        session.execute(f"SET statement_timeout TO {int(self.step_seconds * 1000)}")
        return session

    def _resource(self) -> Any:
        from dagster_aws.redshift import RedshiftClientResource  # noqa: PLC0415 - only where it is needed

        given: dict[str, Any] = {"host": self.host, "database": self.database, "user": self.user}
        given["password"] = self.password and self.password.reveal()
        return RedshiftClientResource(**given, port=self.port, connect_timeout=CONNECT_SECONDS, sslmode=self.sslmode)

    def _s3(self) -> Any:
        from botocore.config import Config  # noqa: PLC0415 - only where it is needed

        keys = {
            "aws_access_key_id": self.access_key_id,
            "aws_secret_access_key": self.secret_access_key,
            "aws_session_token": self.session_token,
        }
        with _CLIENTS:
            return _aws().client(
                "s3",
                region_name=self.region,
                endpoint_url=self.s3_endpoint,
                config=Config(
                    connect_timeout=CONNECT_SECONDS,
                    read_timeout=60,
                    retries={"mode": "standard", "total_max_attempts": 3},
                    max_pool_connections=_UPLOADS,
                ),
                **{name: secret.reveal() for name, secret in keys.items() if secret is not None},
            )

    # Looking and loading.

    def look(self, session: Session, names: Sequence[str]) -> There:
        schema = escaped(ascii_lower(self.schema_))
        tables = ", ".join(escaped(ascii_lower(name)) for name in names)
        ((schemas,),) = session.rows(f"SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = {schema}")
        described = (
            " FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace{}"
            " LEFT JOIN pg_catalog.pg_description AS d"
            " ON d.objoid = c.oid AND d.classoid = c.tableoid AND d.objsubid = {}"
            f" WHERE n.nspname = {schema} AND c.relname IN ({tables}) AND c.relkind IN ('r', 'v', 'm')"
        )
        attributes = " JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid"
        columns: dict[str, list[Held]] = {}
        for table, name, kind, comment in session.rows(
            "SELECT c.relname, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), d.description"
            + described.format(attributes, "a.attnum")
            + " AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
        ):
            columns.setdefault(table, []).append(Held(name, kind, comment))
        comments = {}
        for table, comment, kind in session.rows(
            "SELECT c.relname, d.description, c.relkind" + described.format("", "0")
        ):
            comments[table] = comment
            if kind != "r":
                raise DestinationRefused(
                    f"{self.name}: {self.location(table)} is a view there", remedy="rename it, or name another schema"
                )
        found = {table: tuple(there) for table, there in columns.items()}
        return There(schema=bool(schemas), columns=found, comments=comments)

    def stage(self, session: Session, table: Table, files: Sequence[Path], staging: str) -> None:
        create = "CREATE TEMP TABLE {table} ({columns})"
        session.execute(self.dialect.staging(staging, table.schema, create=create))
        files = [file for file in files if pq.read_metadata(file).num_rows]
        if not files:
            return
        staged = self._staged()
        with tempfile.TemporaryDirectory(prefix="mogul-") as folder:
            try:
                copies = (Path(folder) / f"{place:05}.parquet" for place in range(len(files)))
                pairs = zip(files, copies, strict=True)
                staged.put([_conforming(file, table.schema, copy, snappy=self.snappy) for file, copy in pairs])
                self._copy(session, staging, staged)
            finally:
                self._quietly(staged.remove, f"remove what was staged below {staged.url}")

    def _staged(self) -> "_Staged":
        below = "/".join(filter(None, (self.prefix.strip("/"), f"mogul-{token_hex(8)}")))
        return _Staged(self._s3(), self.bucket, below, self.name)

    def _copy(self, session: Session, staging: str, staged: "_Staged") -> None:
        """Copies what is staged; where a file is refused, the column is looked up."""
        from psycopg2 import Error  # noqa: PLC0415 - only where it is needed

        manifest = escaped(f"{staged.url}/{MANIFEST}")
        try:
            session.execute(f"COPY {staging} FROM {manifest} {self._authorised()} FORMAT AS PARQUET MANIFEST")
        except Error as error:
            if "Spectrum Scan Error" not in str(error):
                raise
            # Its error_message and line are left alone: they quote values.
            found: Sequence[tuple[Any, ...]] = ()
            with suppress(Error):
                found = session.rows(
                    "SELECT trim(column_name), error_code FROM sys_load_error_detail WHERE query_id = pg_last_copy_id()"
                    " ORDER BY start_time DESC LIMIT 1"
                )
            raise _UnreadableError(*(found[0] if found else ("", 0))) from None

    def _authorised(self) -> str:
        """What lets ``COPY`` read: the role, or the keys. Never shown: the keys are secrets."""
        if self.role == "default":
            return "IAM_ROLE default"
        if self.role is not None:
            return f"IAM_ROLE {escaped(self.role)}"
        assert self.access_key_id is not None
        assert self.secret_access_key is not None
        given = {
            "ACCESS_KEY_ID": self.access_key_id,
            "SECRET_ACCESS_KEY": self.secret_access_key,
            "SESSION_TOKEN": self.session_token,
        }
        return " ".join(f"{word} {escaped(key.reveal())}" for word, key in given.items() if key is not None)

    # What errors mean.

    def told(self, error: Exception) -> MogulError | Conflict | None:
        from boto3.exceptions import Boto3Error  # noqa: PLC0415 - only where it is needed
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - only where it is needed
        from psycopg2 import Error  # noqa: PLC0415 - only where it is needed

        if isinstance(error, _SilenceError):
            return DestinationUnavailable(str(error), remedy="it is tried again; else raise step_seconds")
        if isinstance(error, _UnreadableError):
            return DestinationRefused(
                str(error),
                remedy="SELECT column_name, error_message FROM sys_load_error_detail ORDER BY start_time DESC;",
            )
        if isinstance(error, Error):
            return database_error(self.name, error.pgcode or "", str(error), error.diag.message_primary or "")
        if isinstance(error, ClientError | BotoCoreError | Boto3Error):
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
            return s3_error(self.name, code, self.bucket)
        return None

    # What it may do.

    def check(self) -> list[Permission]:
        """Stages a file, logs in, makes a table, copies the file into a temporary one; and undoes each of it.

        What needs a permission that is missing is left out.
        """
        trial = Trial(self.told, GRANTS.format(self.name))
        scratch, remedies = f"mogul_check_{token_hex(4)}", self._remedies()
        staged: _Staged | None = None
        with tempfile.TemporaryDirectory(prefix="mogul-") as folder:
            file = Path(folder) / "one.parquet"
            pq.write_table(pa.table({"one": [1]}), file)
            with trial.of("stage a file", remedies["stage a file"]):
                staged = self._staged()
                staged.put([file])
        with trial.of("log in"), closing(self.session()) as session:
            with trial.of("make a table", remedies["make a table"]):
                there = self.look(session, (*DATASETS, LOG))
                session.execute("BEGIN")
                try:
                    if not there.schema:
                        session.execute(self.dialect.create_schema.format(schema=self.dialect.name(self.schema_)))
                    session.execute(f"CREATE TABLE {self.dialect.name(self.schema_, scratch)} (one bigint)")
                finally:
                    session.execute("ROLLBACK")
            with trial.of("change the tables that are there"):
                self._refuse_others(session)
            with trial.of("make a temporary table", remedies["make a temporary table"]):
                session.execute(f"CREATE TEMP TABLE {self.dialect.name(scratch)} (one bigint)")
                if trial.passed("stage a file"):
                    with trial.of("copy the file into it", remedies["copy the file into it"]):
                        assert staged is not None
                        self._copy(session, self.dialect.name(scratch), staged)
        if staged is not None and trial.passed("stage a file"):
            with trial.of("remove the file", remedies["stage a file"]):
                staged.remove()
        return trial.found

    def _refuse_others(self, session: Session) -> None:
        """Refuse tables of the datasets that another user owns: only the owner may change their columns."""
        names = ", ".join(escaped(name) for name in (*DATASETS, LOG))
        foreign = session.rows(
            f"SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = {escaped(ascii_lower(self.schema_))}"
            f" AND tablename IN ({names}) AND tableowner <> current_user AND NOT EXISTS"
            " (SELECT 1 FROM pg_catalog.pg_user WHERE usename = current_user AND usesuper) ORDER BY 1"
        )
        if foreign:
            tables = [name for (name,) in foreign]
            owner = quoted(self._of("user"))
            raise DestinationRefused(
                f"{', '.join(tables)} belong to another user",
                remedy=" ".join(
                    f"ALTER TABLE {self.dialect.name(self.schema_, name)} OWNER TO {owner};" for name in tables
                ),
            )

    def _remedies(self) -> dict[str, str]:
        """What grants each thing that ``check`` tries."""
        user, schema, database = quoted(self._of("user")), self.dialect.name(self.schema_), quoted(self._of("database"))
        return {
            "stage a file": json.dumps(self._uploading()),
            "make a table": f"CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {user};",
            "make a temporary table": f"GRANT TEMPORARY ON DATABASE {database} TO {user};",
            "copy the file into it": json.dumps(self._reading()),
        }

    def _uploading(self) -> dict[str, Any]:
        return _policy((["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"], self._objects))

    def _reading(self) -> dict[str, Any]:
        return _policy((["s3:GetObject"], self._objects), (["s3:ListBucket", "s3:GetBucketLocation"], self._bucket))

    @property
    def _bucket(self) -> str:
        partition = self.role.split(":")[1] if self.role and self.role.startswith("arn:") else "aws"
        return f"arn:{partition}:s3:::{self.bucket}"

    @property
    def _objects(self) -> str:
        return "/".join(filter(None, (self._bucket, self.prefix.strip("/"), "*")))

    def grants(self) -> str:
        """SQL for the database's user, and policies for who stages the files and for who copies them."""
        user, remedies = quoted(self._of("user")), self._remedies()
        sql = [
            f"-- In the database {self._of('database')}, as an administrator:",
            f"CREATE USER {user} PASSWORD '<password>';",
            remedies["make a table"],
            remedies["make a temporary table"],
        ]
        if self.role is None:
            both = _policy(*_statements(self._uploading()), *_statements(self._reading()))
            return "\n".join([*sql, "", "-- IAM policy of the access key's user:", json.dumps(both, indent=2)])
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": ["redshift.amazonaws.com", "redshift-serverless.amazonaws.com"]},
                    "Action": "sts:AssumeRole",
                }
            ],
        }
        return "\n".join(
            [
                *sql,
                *("", "-- IAM policy of the keys, or of the machine, that mogul runs with:"),
                json.dumps(self._uploading(), indent=2),
                *("", f"-- IAM policy of the role that COPY reads with ({self.role}); associate the role with the"),
                "-- cluster or the workgroup:",
                json.dumps(self._reading(), indent=2),
                *("", "-- and what it trusts:", json.dumps(trust, indent=2)),
            ]
        )


class _Staged:
    """Files of one delivery beside each other in a bucket, with the manifest that ``COPY`` reads."""

    def __init__(self, store: Any, bucket: str, below: str, destination: str) -> None:
        self.url = f"s3://{bucket}/{below}"
        self._store, self._bucket, self._below, self._destination = store, bucket, below, destination
        self._keys: list[str] = []

    def put(self, files: Sequence[Path]) -> None:
        """The files, as they are, and the manifest last."""
        from boto3.s3.transfer import TransferConfig, create_transfer_manager  # noqa: PLC0415 - only where it is needed

        names = [f"{self._below}/{place:05}.parquet" for place in range(len(files))]
        manifest = f"{self._below}/{MANIFEST}"
        self._keys = [*names, manifest]
        # The client's own upload of a file wraps S3's errors in a text.
        with create_transfer_manager(self._store, TransferConfig(max_concurrency=_UPLOADS)) as transfers:
            begun = [transfers.upload(str(file), self._bucket, name) for file, name in zip(files, names, strict=True)]
            for one in begun:
                one.result()
        # https://docs.aws.amazon.com/redshift/latest/dg/loading-data-files-using-manifest.html: Parquet wants sizes.
        entries = [
            {
                "url": f"s3://{self._bucket}/{name}",
                "mandatory": True,
                "meta": {"content_length": file.stat().st_size},
            }
            for name, file in zip(names, files, strict=True)
        ]
        body = json.dumps({"entries": entries}).encode()
        self._store.put_object(Bucket=self._bucket, Key=manifest, Body=body)

    def remove(self) -> None:
        """All that ``put`` put there, or began to."""
        for first in range(0, len(self._keys), 1000):
            named = [{"Key": key} for key in self._keys[first : first + 1000]]
            answer = self._store.delete_objects(Bucket=self._bucket, Delete={"Objects": named, "Quiet": True})
            if answer.get("Errors"):
                raise s3_error(self._destination, answer["Errors"][0].get("Code", ""), self._bucket)


class _UnreadableError(Exception):
    """``COPY`` refused a file: the column, where it is known, and Redshift's code."""

    def __init__(self, column: str, code: int) -> None:
        where = f", column '{column}' (error code {code})" if column else ""
        super().__init__(f"COPY cannot read the staged files{where}")


class _SilenceError(Exception):
    """Nothing was heard in the time allowed; the connection is closed."""


class _Session:
    """A connection to Redshift as the flow sees it. Each statement is its own transaction, or within ``BEGIN``."""

    def __init__(self, connection: Any, seconds: float) -> None:
        self._connection, self._seconds = connection, seconds

    def execute(self, statement: str) -> int:
        changed: int = self._ran(statement).rowcount
        return max(changed, 0)

    def rows(self, statement: str) -> Sequence[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._ran(statement).fetchall()
        return found

    def batches(self, statement: str) -> Iterable[pa.Table]:
        self.execute("BEGIN")
        self.execute(f"DECLARE mogul_read CURSOR FOR {statement}")
        while rows := self.rows(f"FETCH FORWARD {_FETCHED_ROWS} FROM mogul_read"):
            arrays = [pa.array(column) for column in zip(*rows, strict=True)]
            yield pa.Table.from_arrays(arrays, names=[str(place) for place in range(len(arrays))])
        self.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()

    def _ran(self, statement: str) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(statement)
        _waited(self._connection, self._seconds)
        return cursor


@cache
def _aws() -> Any:
    """One for the process: reading the SDK's own tables takes longer than a small delivery."""
    import boto3  # noqa: PLC0415 - only where it is needed

    return boto3.session.Session()


def _waited(connection: Any, seconds: float) -> None:
    """Wait until the connection has done what it was asked.

    Raises:
        _SilenceError: where it has not in so many seconds; it is closed then.
    """
    from psycopg2.extensions import POLL_OK, POLL_WRITE  # noqa: PLC0415 - only where it is needed

    until = time.monotonic() + seconds
    while (state := connection.poll()) != POLL_OK:
        wanted = selectors.EVENT_WRITE if state == POLL_WRITE else selectors.EVENT_READ
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), wanted)
            if not selector.select(max(0.0, until - time.monotonic())):
                connection.close()
                raise _SilenceError(f"nothing was heard from it for {seconds:g} seconds")


def _conforming(file: Path, schema: pa.Schema, copy: Path, *, snappy: bool) -> Path:
    """The file, or a copy with exactly the columns of ``schema``: ``COPY`` goes by their number and order."""
    if conforms(pq.read_schema(file), schema) and not snappy:
        return file
    return conformed([file], schema, copy, codec="snappy" if snappy else "zstd")


def _authorities() -> str:
    """Redshift's certificates are Amazon's public ones, which certifi has.

    https://docs.aws.amazon.com/redshift/latest/mgmt/connecting-ssl-support.html
    """
    import certifi  # noqa: PLC0415 - only where it is needed

    return certifi.where()


def _policy(*allowed: tuple[list[str], str]) -> dict[str, Any]:
    """An IAM policy of (actions, resource) pairs."""
    statements = [{"Effect": "Allow", "Action": actions, "Resource": resource} for actions, resource in allowed]
    return {"Version": "2012-10-17", "Statement": statements}


def _statements(policy: Mapping[str, Any]) -> list[tuple[list[str], str]]:
    return [(statement["Action"], statement["Resource"]) for statement in policy["Statement"]]
