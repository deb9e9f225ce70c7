"""Deliveries into a Snowflake schema: ``PUT``, ``COPY INTO`` a staging table, and one transaction.

The staging table is temporary: it belongs to the delivery's session, its files lie in its own stage, and both go with
the session whatever happens to us.
"""

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from mogul_assets.catalog.columns import Kind
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.destinations import snowflake_stage
from mogul_assets.destinations.base import Capabilities, Leftover, Permission, Secret
from mogul_assets.destinations.dialect import Dialect, Held, There, ascii_lower, ascii_upper, escaped, utc
from mogul_assets.destinations.log import LOG
from mogul_assets.destinations.snowflake_errors import GRANTS, broken, meaning
from mogul_assets.destinations.snowflake_stage import Bucket, GoogleBucket, S3Bucket, Staged
from mogul_assets.destinations.trial import Trial
from mogul_assets.destinations.warehouse import Conflict, Session, Warehouse
from mogul_assets.errors import ConfigurationError, DestinationRefused, MogulError
from mogul_assets.store.sql import quoted
from mogul_assets.store.table import Table

CONNECT_SECONDS = 20
SILENT_SECONDS = 60
"""How long an answer may take to begin. Snowflake says every 45 seconds that it is still at it."""
RETRY_SECONDS = 20
"""How long a request is repeated whose connection fails, and with it how long a server that is gone is waited for."""
LOCK_SECONDS = 60
"""How long a statement waits for another transaction's table."""
NAME_LENGTH = 255
"""https://docs.snowflake.com/en/sql-reference/identifiers"""
TEXT_BYTES = 16_777_216
"""What a VARCHAR or a VARIANT holds: https://docs.snowflake.com/en/sql-reference/data-types-text"""


def _moment(at: datetime) -> str:
    return f"'{utc(at)} +00:00'::TIMESTAMP_TZ"


DIALECT = Dialect(
    types={
        Kind.TEXT: "VARCHAR",
        Kind.INT: "NUMBER(38,0)",
        Kind.FLOAT: "FLOAT",
        Kind.FLAG: "BOOLEAN",
        Kind.MOMENT: "TIMESTAMP_TZ",
        Kind.DAY: "DATE",
        Kind.JSON: "VARIANT",
    },
    fold=ascii_upper,
    quote=quoted,
    literal=escaped,  # https://docs.snowflake.com/en/sql-reference/data-types-text
    moment=_moment,
    # Of two values under one key the last is kept, as everywhere; without 'd' such an object is an error.
    parsed="PARSE_JSON({}, 'd')",
    unparsed="TRY_PARSE_JSON({}, 'd') IS NULL",
    epoch="DATE_PART(EPOCH_MICROSECOND, {})",
    widens={
        **{(f"NUMBER({digits},0)", "NUMBER(38,0)"): None for digits in range(1, 38)},
        ("DATE", "TIMESTAMP_TZ"): "{}::TIMESTAMP_TZ",
        ("VARIANT", "VARCHAR"): "TO_JSON({})",
    },
    table_comment=" COMMENT = {text}",
    column_comment=" COMMENT {text}",
    add="ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column} {type}{comment}",
    rename_table="ALTER TABLE {table} RENAME TO {path}",
)

_URL = re.compile(r"(s3|gcs|gs)://([^/]+)(/.*|)")
_COPY = (
    "COPY INTO {table} FROM {stage} FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE)"
    " MATCH_BY_COLUMN_NAME = CASE_SENSITIVE ON_ERROR = ABORT_STATEMENT"
)


def _below(staging: str) -> str:
    """The folder of a delivery's files in an external stage: named like its staging table."""
    return ascii_lower(staging.rpartition(".")[2].strip('"'))


class SnowflakeDestination(Warehouse):
    """One schema of a Snowflake database."""

    account: str | None = Field(default=None, description="The account's identifier, like myorg-myaccount.")
    user: str | None = Field(default=None, description="The user to log in as; make one for this alone.")
    private_key: Secret | None = Field(default=None, description="The user's private key, in PEM (PKCS #8).")
    private_key_file: str | None = Field(default=None, description="A file with the private key instead.")
    private_key_passphrase: Secret | None = Field(
        default=None, description="What the private key is encrypted with, where it is."
    )
    password: Secret | None = Field(default=None, description="The user's password, where there is no key pair.")
    role: str | None = Field(default=None, description="The role to act as; the user's own where none is named.")
    warehouse: str | None = Field(
        default=None, description="The virtual warehouse to run in; the user's own where none is named."
    )
    database: str = Field(description="The database; it must be there.")
    schema_: str = Field(default="CHARTMOGUL", alias="schema", description="The schema of the tables; made if missing.")
    query_tag: str = Field(default="mogul_assets", description="The tag of its queries in the query history.")
    stage_: str | None = Field(
        default=None,
        alias="stage",
        description="An external stage of yours, like STAGING.PUBLIC.MOGUL; files go to Snowflake's own otherwise.",
    )
    stage_url: str | None = Field(
        default=None, description="What that stage points to: s3://bucket/path or gcs://bucket/path."
    )
    stage_region: str | None = Field(default=None, description="The region of the stage's S3 bucket.")
    stage_access_key_id: Secret | None = Field(
        default=None, description="Access key to upload to the S3 bucket with; the machine's own credentials otherwise."
    )
    stage_secret_access_key: Secret | None = Field(default=None, description="The access key's secret.")
    stage_key: Secret | None = Field(
        default=None,
        description="A service account's key (JSON, or in base64) to upload to Google; the machine's own otherwise.",
    )
    stage_endpoint: str | None = Field(default=None, description="Another endpoint of S3, such as a VPC's own.")
    connection_args: dict[str, Any] = Field(
        default_factory=dict, description="More arguments of Snowflake's connector, such as a private link's host."
    )

    BACKUPS: ClassVar[Leftover] = Leftover(
        "deleted rows in Time Travel and Fail-safe",
        "nothing earlier: after DATA_RETENTION_TIME_IN_DAYS, and 7 days more",
    )
    EXAMPLE: ClassVar[Mapping[str, Any]] = {
        "account": "myorg-myaccount",
        "user": "MOGUL",
        "private_key": {"env": "SNOWFLAKE_PRIVATE_KEY"},
        "role": "MOGUL",
        "warehouse": "LOADING",
        "database": "ANALYTICS",
        "schema": "CHARTMOGUL",
    }

    @model_validator(mode="after")
    def _complete(self) -> "SnowflakeDestination":
        if self.connection is None:
            given = [one for one in (self.private_key, self.private_key_file, self.password) if one is not None]
            if len(given) != 1:
                raise ValueError("name one of private_key, private_key_file and password")
            if self.account is None or self.user is None:
                raise ValueError("account and user are missing")
        if (self.stage_ is None) != (self.stage_url is None):
            raise ValueError("stage and stage_url go together")
        if self.stage_url is not None and not _URL.fullmatch(self.stage_url):
            raise ValueError("stage_url is written like s3://bucket/path or gcs://bucket/path")
        if (self.stage_access_key_id is None) != (self.stage_secret_access_key is None):
            raise ValueError("stage_access_key_id and stage_secret_access_key go together")
        return self

    @property
    def dialect(self) -> Dialect:
        return DIALECT

    @property
    def namespace(self) -> tuple[str, ...]:
        return (self.database, self.schema_)

    @property
    def capabilities(self) -> Capabilities:
        """Everything; a text, or a JSON value, of at most 16 MB."""
        return Capabilities(text_bytes=TEXT_BYTES)

    # Connecting.

    def session(self) -> Session:
        from dagster_snowflake import SnowflakeResource  # noqa: PLC0415 - only where it is needed

        resource = self._resource() if self.connection is None else self.connection
        if not isinstance(resource, SnowflakeResource) or resource.connector is not None:
            raise ConfigurationError(
                f"{self.name}: its connection is no SnowflakeResource on Snowflake's own connector",
                remedy="hand over a dagster_snowflake.SnowflakeResource, and leave its connector unset",
            )
        try:
            # The resource's own way out would commit, also what failed and could not be rolled back.
            opened: Any = resource.get_connection().__enter__()
        except OSError as error:
            raise ConfigurationError(
                f"{self.name}: the private key cannot be read: {error.strerror}",
                remedy="name a file that the user running this may read",
            ) from None
        except (TypeError, ValueError):  # cryptography's, whose text may hold parts of the key
            raise ConfigurationError(
                f"{self.name}: the private key cannot be opened",
                remedy="give it in PEM (PKCS #8), and private_key_passphrase where it is encrypted, and only there",
            ) from None
        if self.connection is None and "socket_timeout" not in self.connection_args:
            # Logging in must be quicker than any statement, and the connector has one limit for both.
            opened._socket_timeout = SILENT_SECONDS  # noqa: SLF001
        if opened.network_timeout is None:  # a resource of the user's own; for ever otherwise
            opened._network_timeout = RETRY_SECONDS  # noqa: SLF001
        if opened.socket_timeout is None:
            opened._socket_timeout = SILENT_SECONDS  # noqa: SLF001
        session = _Session(opened, self.step_seconds)
        session.execute("ALTER SESSION SET " + ", ".join(f"{name} = {value}" for name, value in self._session.items()))
        return session

    @property
    def _session(self) -> dict[str, str]:
        """What a session must be set to, whoever's account and connection it is."""
        return {
            "AUTOCOMMIT": "TRUE",
            "TIMEZONE": "'UTC'",  # a day becomes a moment of UTC
            "QUOTED_IDENTIFIERS_IGNORE_CASE": "FALSE",  # the staging table's columns are named as the files' are
            "QUERY_TAG": escaped(self.query_tag),
            "DATE_INPUT_FORMAT": "'AUTO'",  # an account may have one of its own, and read our literals by it
            "TIMESTAMP_INPUT_FORMAT": "'AUTO'",
            "LOCK_TIMEOUT": str(LOCK_SECONDS),  # half a day otherwise
            "STATEMENT_TIMEOUT_IN_SECONDS": str(int(self.step_seconds)),
            "ABORT_DETACHED_QUERY": "TRUE",
        }

    def _resource(self) -> Any:
        from dagster_snowflake import SnowflakeResource  # noqa: PLC0415 - only where it is needed

        given: dict[str, Any] = {
            "account": self.account,
            "user": self.user,
            "role": self.role,
            "warehouse": self.warehouse,
            "database": self.database,
            "schema": self.schema_,
            "password": _revealed(self.password),
            "private_key": _revealed(self.private_key),
            "private_key_path": self.private_key_file and str(Path(self.private_key_file).expanduser()),
            "private_key_password": _revealed(self.private_key_passphrase),
        }
        return SnowflakeResource(
            **{name: value for name, value in given.items() if value is not None},
            autocommit=True,
            login_timeout=CONNECT_SECONDS,
            network_timeout=RETRY_SECONDS,
            additional_snowflake_connection_args={
                "socket_timeout": CONNECT_SECONDS,
                "platform_detection_timeout_seconds": 0,  # no question to the cloud's metadata address
                **self.connection_args,
            },
        )

    # Looking and loading.

    def look(self, session: Session, names: Sequence[str]) -> There:
        database = self.dialect.name(self.database)
        schema = self.dialect.literal(self.dialect.fold(self.schema_))
        tables = ", ".join(self.dialect.literal(self.dialect.fold(name)) for name in names)
        where = f"table_schema = {schema} AND table_name IN ({tables})"
        found: dict[str, list[Held]] = {}
        for table, *column in session.rows(
            "SELECT table_name, column_name, data_type, numeric_precision, numeric_scale, character_maximum_length,"
            f" comment FROM {database}.information_schema.columns WHERE {where} ORDER BY ordinal_position"
        ):
            found.setdefault(table, []).append(_held(column))
        comments = session.rows(f"SELECT table_name, comment FROM {database}.information_schema.tables WHERE {where}")
        there = bool(found) or bool(
            session.rows(f"SELECT 1 FROM {database}.information_schema.schemata WHERE schema_name = {schema}")
        )
        columns = {table: tuple(columns) for table, columns in found.items()}
        return There(schema=there, columns=columns, comments=dict(comments))

    def _uploaded(self, session: Session, files: Sequence[Path], staging: str) -> str:
        """Uploads the files; where they lie then, as ``COPY`` names it."""
        if self.stage_ is not None:
            staged = self._staged(staging, len(files))
            staged.put(files)
            return f"@{self.dialect.name(*self.stage_.split('.'))}/{_below(staging)}/"
        # The table's own stage, which goes with the table. The files' names there are plain whatever they are here.
        head, _, name = staging.rpartition(".")
        stage = "@" + head + ".%" + name.strip('"')
        with tempfile.TemporaryDirectory(prefix="mogul-") as folder:
            for place, file in enumerate(files):
                (Path(folder) / f"{place:05}.parquet").symlink_to(file.absolute())
            session.execute(f"PUT 'file://{folder}/*.parquet' {stage} AUTO_COMPRESS = FALSE PARALLEL = 8")
        return stage

    def stage(self, session: Session, table: Table, files: Sequence[Path], staging: str) -> None:
        create = "CREATE TEMPORARY TABLE {table} ({columns})"
        session.execute(self.dialect.staging(staging, table.schema, create=create))
        if not files:
            return
        session.execute(_COPY.format(table=staging, stage=self._uploaded(session, files, staging)))

    def unstage(self, session: Session, table: Table, staging: str) -> None:
        if self.stage_ is not None:
            self._staged(staging, len(table.files)).remove()
        super().unstage(session, table, staging)

    def _refuse(self, table: Table) -> None:
        super()._refuse(table)
        for name in (table.dataset, *table.schema.names):
            if not 1 <= len(name) <= NAME_LENGTH or "\0" in name:
                raise DestinationRefused(
                    f"{self._at(table)}: '{name[:40]}' cannot name anything there",
                    remedy=f"give it a name of 1 to {NAME_LENGTH} characters",
                )

    def _staged(self, staging: str, files: int) -> Staged:
        assert self.stage_url is not None
        parts = _URL.fullmatch(self.stage_url)
        assert parts is not None
        scheme, name, path = parts[1], parts[2], parts[3].strip("/")
        bucket: Bucket
        if scheme == "s3":
            bucket = S3Bucket(
                name,
                region_name=self.stage_region,
                endpoint_url=self.stage_endpoint,
                aws_access_key_id=_revealed(self.stage_access_key_id),
                aws_secret_access_key=_revealed(self.stage_secret_access_key),
            )
        else:
            bucket = GoogleBucket(name, self.stage_key, of=self.name)
        below = "/".join(filter(None, (path, _below(staging))))
        return Staged(bucket, tuple(f"{below}/{place:05}.parquet" for place in range(files)))

    # What errors mean.

    def told(self, error: Exception) -> MogulError | Conflict | None:
        from snowflake.connector.errors import Error, InterfaceError, OperationalError  # noqa: PLC0415 - as above

        if isinstance(error, Error):
            code = int(error.errno or 0)
            return meaning(code, error.raw_msg or "", passing=isinstance(error, OperationalError | InterfaceError))
        return snowflake_stage.told(error, url=self.stage_url or "")

    # Permissions.

    @property
    def _role(self) -> str:
        return self.role or "MOGUL"

    def _remedies(self) -> dict[str, str]:
        """What grants each thing that ``check`` tries."""
        role, schema = self.dialect.name(self._role), self.dialect.name(self.database, self.schema_)
        warehouse = self.dialect.name(self.warehouse) if self.warehouse else "<the warehouse>"
        found = {
            "use the warehouse": f"GRANT USAGE ON WAREHOUSE {warehouse} TO ROLE {role};",
            "use the database": f"GRANT USAGE ON DATABASE {self.dialect.name(self.database)} TO ROLE {role};",
            "make a table": (
                f"CREATE SCHEMA IF NOT EXISTS {schema}; GRANT USAGE, CREATE TABLE ON SCHEMA {schema} TO ROLE {role};"
            ),
        }
        if self.stage_ is not None:
            path = self.stage_.split(".")
            found["load a file"] = " ".join(
                f"GRANT USAGE ON {kind} {self.dialect.name(*path[:count])} TO ROLE {role};"
                for count, kind in enumerate(("DATABASE", "SCHEMA", "STAGE")[-len(path) :], start=1)
            )
        return found

    def grants(self) -> str:
        """SQL that makes role, schema and user, and grants what a delivery needs and nothing else."""
        role, user, remedies = self.dialect.name(self._role), self.dialect.name(self.user or "MOGUL"), self._remedies()
        warehouse = f" DEFAULT_WAREHOUSE = {self.dialect.name(self.warehouse)}" if self.warehouse else ""
        kind, proof = ("SERVICE", "RSA_PUBLIC_KEY = '<the public key, without its first and last line>'")
        if self.password is not None:
            kind, proof = ("LEGACY_SERVICE", "PASSWORD = '<the password>'")
        lines = [
            "-- As ACCOUNTADMIN, or as the owners of each.",
            f"CREATE ROLE IF NOT EXISTS {role};",
            *(f"{one.rstrip(';')};" for remedy in remedies.values() for one in remedy.split("; ")),
            f"CREATE USER IF NOT EXISTS {user} TYPE = {kind} DEFAULT_ROLE = {role}{warehouse};",
            f"ALTER USER {user} SET {proof};",
            f"GRANT ROLE {role} TO USER {user};",
        ]
        if self.stage_url is not None:
            lines.append(
                f"-- And for who uploads: to write and delete objects below {self.stage_url}, and nothing else."
            )
        return "\n".join(lines)

    def check(self) -> list[Permission]:
        """Logs in, makes a schema and a table, loads a file, replaces rows, alters; and undoes each of it.

        What needs a permission that is missing is left out. Tables that are there are tried without a change.
        """
        trial, remedies = Trial(self.told, GRANTS), self._remedies()
        schema, scratch = self.schema_, f"mogul_check_{token_hex(4)}"
        with trial.of("log in"), closing(self.session()) as session, tempfile.TemporaryDirectory() as folder:
            with trial.of("use the database", remedies["use the database"]):
                there = self.look(session, (*DATASETS, LOG))
                schema = schema if there.schema else scratch
            if not trial.passed("use the database"):
                return trial.found
            path = self.dialect.name(self.database, schema, scratch)
            try:
                with trial.of("use the warehouse", remedies.get("use the warehouse", "")):
                    if not session.rows("SELECT CURRENT_WAREHOUSE()")[0][0]:
                        raise DestinationRefused("there is no warehouse to run in", remedy=GRANTS)
                with trial.of("make a table", remedies["make a table"]):
                    if schema == scratch:
                        session.execute(
                            self.dialect.create_schema.format(schema=self.dialect.name(self.database, schema))
                        )
                    session.execute(f"CREATE TABLE {path} (one NUMBER)")
                if trial.passed("make a table"):
                    with trial.of("load a file", remedies.get("load a file", "")):
                        self._tried(session, Path(folder), path)
                    with trial.of("replace rows"):
                        for statement in ("BEGIN", f"DELETE FROM {path} WHERE true", "COMMIT"):
                            session.execute(statement)
                    with trial.of("change a table"):
                        session.execute(f"ALTER TABLE {path} ADD COLUMN two VARCHAR")
                for name in there.columns:
                    table = self.dialect.name(self.database, self.schema_, name)
                    owner = (
                        f"GRANT OWNERSHIP ON TABLE {table} TO ROLE {self.dialect.name(self._role)} COPY CURRENT GRANTS;"
                    )
                    with trial.of(f"replace rows of {name}", owner):
                        session.execute(f"DELETE FROM {table} WHERE false")
                        session.execute(f"INSERT INTO {table} SELECT * FROM {table} WHERE false")
                        column = self.dialect.quote(there.columns[name][0].name)
                        session.execute(f"UPDATE {table} SET {column} = {column} WHERE false")
            finally:
                self._quietly(lambda: session.execute(f"DROP TABLE IF EXISTS {path}"), f"remove {path}")
                if schema == scratch:
                    made = self.dialect.name(self.database, scratch)
                    self._quietly(lambda: session.execute(f"DROP SCHEMA IF EXISTS {made}"), f"remove {made}")
        return trial.found

    def _tried(self, session: Session, folder: Path, path: str) -> None:
        """Loads a row into the table at ``path``, and removes what was uploaded for it."""
        file = folder / "one.parquet"
        pq.write_table(pa.table({"ONE": [1]}), file)
        try:
            session.execute(_COPY.format(table=path, stage=self._uploaded(session, [file], path)))
        finally:
            if self.stage_ is not None:
                self._quietly(self._staged(path, 1).remove, f"remove what was uploaded to {self.stage_url}")


class _Session:
    """A Snowflake connection as the flow sees it. Once nothing is heard any more, it asks no further."""

    def __init__(self, connection: Any, seconds: float) -> None:
        self._connection, self._seconds = connection, max(1, int(seconds))
        # The connector has one limit for a request and for a statement, and cancels what runs longer than it may
        # be silent. A statement is given its own, and its requests keep the connection's.
        asked = connection.cmd_query
        connection.cmd_query = lambda *given, **how: asked(*given, **{**how, "timeout": connection.network_timeout})
        self._lost: Exception | None = None

    def execute(self, statement: str) -> int:
        with self._ran(statement) as cursor:
            return cursor.rowcount or 0

    def rows(self, statement: str) -> Sequence[tuple[Any, ...]]:
        with self._ran(statement) as cursor:
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

    def batches(self, statement: str) -> Iterable[pa.Table]:
        with self._ran(statement) as cursor:
            yield from cursor.fetch_arrow_batches()

    def close(self) -> None:
        self._connection.close(retry=False)

    def _ran(self, statement: str) -> Any:
        from snowflake.connector.errors import Error, InterfaceError, OperationalError  # noqa: PLC0415 - as above

        if self._lost is not None:
            raise self._lost
        try:
            return self._connection.cursor().execute(statement, timeout=self._seconds)
        except Error as error:
            if isinstance(error, OperationalError | InterfaceError) or broken(error.errno):
                self._lost = error
            raise


def _revealed(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()


def _held(column: Sequence[Any]) -> Held:
    """A column, its type spelled as ``DIALECT`` spells it."""
    name, kind, precision, scale, length, comment = column
    if kind == "NUMBER":
        kind = f"NUMBER({precision},{scale})"
    elif kind == "TEXT":
        kind = "VARCHAR" if length is None or length >= TEXT_BYTES else f"VARCHAR({length})"
    return Held(name, kind, comment)
