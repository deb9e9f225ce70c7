"""Deliveries into a Snowflake schema: ``PUT``, ``COPY INTO`` a staging table, and one transaction.

The staging table is temporary: it belongs to the delivery's session, its files lie in its own stage, and both go with
the session whatever happens to us.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from mogul_assets.catalog.columns import Kind
from mogul_assets.destinations.base import Capabilities, Permission, Secret
from mogul_assets.destinations.dialect import Dialect, Held, There, ascii_upper, utc
from mogul_assets.destinations.warehouse import Conflict, Session, Warehouse
from mogul_assets.errors import DestinationRefused, MogulError
from mogul_assets.store.sql import quoted
from mogul_assets.store.table import Table

CONNECT_SECONDS = 20
TEXT_BYTES = 16_777_216
"""What a VARCHAR or a VARIANT holds: https://docs.snowflake.com/en/sql-reference/data-types-text"""


def _literal(text: str) -> str:
    r"""A backslash begins an escape sequence: https://docs.snowflake.com/en/sql-reference/data-types-text."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


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
    staged={
        Kind.TEXT: "VARCHAR",
        Kind.INT: "NUMBER(38,0)",
        Kind.FLOAT: "FLOAT",
        Kind.FLAG: "BOOLEAN",
        Kind.MOMENT: "TIMESTAMP_TZ",
        Kind.DAY: "DATE",
        Kind.JSON: "VARCHAR",
    },
    fold=ascii_upper,
    quote=quoted,
    literal=_literal,
    moment=_moment,
    # Of two values under one key the last is kept, as everywhere; without 'd' such an object is an error.
    parsed="PARSE_JSON({}, 'd')",
    unparsed="TRY_PARSE_JSON({}, 'd') IS NULL",
    fetched={
        Kind.TEXT: "{}",
        Kind.INT: "{}",
        Kind.FLOAT: "{}",
        Kind.FLAG: "{}",
        Kind.MOMENT: "DATE_PART(EPOCH_MICROSECOND, {})",
        Kind.DAY: "{}",
    },
    widens={
        **{(f"NUMBER({digits},0)", "NUMBER(38,0)"): None for digits in range(1, 38)},
        ("DATE", "TIMESTAMP_TZ"): "{}::TIMESTAMP_TZ",
        ("VARIANT", "VARCHAR"): "TO_JSON({})",
    },
    table_comment=" COMMENT = {text}",
    column_comment=" COMMENT {text}",
)


class SnowflakeDestination(Warehouse):
    """One schema of a Snowflake database."""

    account: str | None = Field(default=None, description="The account's identifier, like myorg-myaccount.")
    user: str | None = Field(default=None, description="The user to log in as; make one for this alone.")
    password: Secret | None = Field(default=None, description="The user's password, where there is no key pair.")
    private_key: Secret | None = Field(default=None, description="The private key, in PEM.")
    private_key_file: str | None = Field(default=None, description="A file with the private key, in PEM.")
    private_key_passphrase: Secret | None = Field(default=None, description="Opens the private key.")
    role: str | None = Field(default=None, description="The role to act as; the user's own where none is named.")
    warehouse: str | None = Field(default=None, description="The warehouse to run in; the user's own if none is named.")
    database: str = Field(description="The database; it must be there.")
    schema_: str = Field(default="CHARTMOGUL", alias="schema", description="The schema of the tables; made if missing.")
    query_tag: str = Field(default="mogul_assets", description="What the queries are tagged with.")
    connection_args: dict[str, Any] = Field(
        default_factory=dict, description="More arguments of the connector, such as the host of a private link."
    )

    EXAMPLE: ClassVar[Mapping[str, Any]] = {
        "account": "myorg-myaccount",
        "user": "MOGUL",
        "private_key": {"env": "SNOWFLAKE_PRIVATE_KEY"},
        "role": "MOGUL",
        "warehouse": "MOGUL",
        "database": "ANALYTICS",
        "schema": "CHARTMOGUL",
    }

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

    def session(self) -> Session:
        resource = self.connection or self._resource()
        stack = ExitStack()
        connection = stack.enter_context(resource.get_connection())
        return _Session(connection, stack, self.step_seconds)

    def _resource(self) -> Any:
        from dagster_snowflake import SnowflakeResource  # noqa: PLC0415 - only where it is needed

        given = {
            "account": self.account,
            "user": self.user,
            "role": self.role,
            "warehouse": self.warehouse,
            "database": self.database,
            "schema": self.schema_,
            "password": self.password and self.password.reveal(),
            "private_key": self.private_key and self.private_key.reveal(),
            "private_key_path": self.private_key_file,
            "private_key_password": self.private_key_passphrase and self.private_key_passphrase.reveal(),
        }
        return SnowflakeResource(
            **{name: value for name, value in given.items() if value is not None},
            autocommit=True,
            login_timeout=CONNECT_SECONDS,
            network_timeout=60,
            timezone="UTC",
            additional_snowflake_connection_args={
                "session_parameters": {"QUERY_TAG": self.query_tag, "LOCK_TIMEOUT": 60, "TIMEZONE": "UTC"},
                "platform_detection_timeout_seconds": 0,
                **self.connection_args,
            },
        )

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
            found.setdefault(table, []).append(_held(*column))
        comments = session.rows(f"SELECT table_name, comment FROM {database}.information_schema.tables WHERE {where}")
        there = bool(found) or bool(
            session.rows(f"SELECT 1 FROM {database}.information_schema.schemata WHERE schema_name = {schema}")
        )
        columns = {table: tuple(columns) for table, columns in found.items()}
        return There(schema=there, columns=columns, comments=dict(comments))

    def stage(self, session: Session, table: Table, files: Sequence[Path], staging: str) -> None:
        session.execute(
            self.dialect.staging(staging, table.schema, create="CREATE TEMPORARY TABLE {table} ({columns})")
        )
        if not files:
            return
        own = self._stage_of(staging)
        with tempfile.TemporaryDirectory(prefix="mogul-") as folder:
            for place, file in enumerate(files):
                (Path(folder) / f"{place:05}.parquet").symlink_to(file.absolute())
            session.execute(f"PUT 'file://{folder}/*.parquet' {own} AUTO_COMPRESS = FALSE PARALLEL = 8")
        session.execute(
            f"COPY INTO {staging} FROM {own} FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE)"
            " MATCH_BY_COLUMN_NAME = CASE_SENSITIVE ON_ERROR = ABORT_STATEMENT"
        )

    def _stage_of(self, staging: str) -> str:
        """The stage that every table has: ``@"DB"."SCHEMA".%TABLE``."""
        head, _, name = staging.rpartition(".")
        return "@" + head + ".%" + name.strip('"')

    def told(self, error: Exception) -> MogulError | Conflict | None:
        from snowflake.connector.errors import Error  # noqa: PLC0415 - only where it is needed

        if not isinstance(error, Error):
            return None
        if error.errno == 625:
            return Conflict()
        return DestinationRefused(f"Snowflake {error.errno}: {error}")

    def check(self) -> list[Permission]:
        return []


class _Session:
    """A Snowflake connection as the flow sees it."""

    def __init__(self, connection: Any, stack: ExitStack, seconds: float) -> None:
        self._connection, self._stack, self._seconds = connection, stack, int(seconds)

    def execute(self, statement: str) -> int:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, timeout=self._seconds)
            return cursor.rowcount or 0

    def rows(self, statement: str) -> Sequence[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            found: list[tuple[Any, ...]] = cursor.execute(statement, timeout=self._seconds).fetchall()
            return found

    def batches(self, statement: str) -> Iterable[pa.Table]:
        with self._connection.cursor() as cursor:
            yield from cursor.execute(statement, timeout=self._seconds).fetch_arrow_batches()

    def close(self) -> None:
        self._stack.close()


def _held(
    name: str, kind: str, precision: int | None, scale: int | None, length: int | None, comment: str | None
) -> Held:
    """A column, its type spelled as ``DIALECT`` spells it."""
    if kind == "NUMBER":
        kind = f"NUMBER({precision},{scale})"
    elif kind == "TEXT":
        kind = "VARCHAR" if length is None or length >= TEXT_BYTES else f"VARCHAR({length})"
    return Held(name, kind, comment)
