"""BigQuery's client with the limits of one destination: its catalogue, and its jobs, each begun once and waited for."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from mogul_assets.catalog.columns import Kind
from mogul_assets.destinations.bigquery_errors import reason_of
from mogul_assets.destinations.columns import description
from mogul_assets.destinations.dialect import Held, kind_of
from mogul_assets.errors import DestinationRefused

if TYPE_CHECKING:
    from google.cloud import bigquery

_SPELLED = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
"""The API's older words for types."""

_log = logging.getLogger(__name__)

CONNECT_SECONDS = 20
REQUEST_SECONDS = 60
"""For one request, and for its tries together: of an upload the time that nothing moves."""
BUSY_SECONDS = 60
"""For which a statement comes back that BigQuery put off: five changes of a table's schema in ten seconds are taken."""
STAGED_FOR = timedelta(days=1)
"""After which a staging table is gone by itself, where nobody was left to remove it."""


class BigQuerySession:
    """A client of BigQuery's, with the limits of one destination. Jobs are asked for until they end."""

    def __init__(
        self,
        client: "bigquery.Client",
        *,
        name: str,
        dataset: str,
        location: str | None,
        labels: Mapping[str, str],
        maximum_bytes_billed: int | None,
        seconds: float,
    ) -> None:
        from google.cloud.bigquery import DEFAULT_RETRY  # noqa: PLC0415 - only where it is needed

        self.client = client
        self.name = name
        self.id = dataset
        self.location = location
        """Where jobs run: where the dataset lies, once that is known."""
        self.labels = dict(labels)
        self.maximum_bytes_billed = maximum_bytes_billed
        self.seconds = seconds
        self.first: dict[str, Any] = {"timeout": CONNECT_SECONDS, "retry": DEFAULT_RETRY.with_timeout(CONNECT_SECONDS)}
        self.asked: dict[str, Any] = {"timeout": REQUEST_SECONDS, "retry": DEFAULT_RETRY.with_timeout(REQUEST_SECONDS)}

    def close(self) -> None:
        self.client.close()  # type: ignore[no-untyped-call]

    # The catalogue.

    def dataset(self) -> "bigquery.Dataset | None":
        from google.api_core.exceptions import NotFound  # noqa: PLC0415 - only where it is needed

        try:
            found = self.client.get_dataset(self.id, **self.first)
        except NotFound:
            return None
        self.location = found.location or self.location
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
                f"{self.name}: {reference} is no table, but: {found.table_type.lower()}",
                remedy="rename or remove it",
            )
        return found

    def make(self, reference: str, schema: Sequence["bigquery.SchemaField"], comment: str) -> None:
        """A table that is gone after a day."""
        from google.cloud import bigquery  # noqa: PLC0415 - only where it is needed

        table = bigquery.Table(reference, schema=schema)
        table.expires = datetime.now(UTC) + STAGED_FOR
        table.labels = self.labels
        table.description = comment or None
        self.client.create_table(table, exists_ok=True, **self.asked)

    def drop(self, reference: str) -> None:
        self.client.delete_table(reference, not_found_ok=True, **self.asked)

    # Jobs.

    def new_id(self, name: str) -> str:
        """An id for a job that is begun once, to be found again in the console."""
        return f"mogul_{self.id.rpartition('.')[2][:100]}_{name}_{token_hex(8)}"

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
        """Make the file's rows those of the table, which is there."""
        from google.api_core.exceptions import Conflict as Begun  # noqa: PLC0415 - only where it is needed
        from google.cloud import bigquery  # noqa: PLC0415

        config = bigquery.LoadJobConfig(
            schema=schema,
            source_format=bigquery.SourceFormat.PARQUET,
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,  # it would make one that does not expire
            column_name_character_map="STRICT",  # names as they are, or an error: never others
            labels=self.labels,
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
                    location=self.location,
                    timeout=REQUEST_SECONDS,
                )
        except Begun:  # the answer was lost and the request repeated
            job = self.client.get_job(name, location=self.location, **self.asked)
        self._awaited(job)

    def ended(self, name: str) -> Sequence[tuple[Any, ...]] | None:
        """The rows of a script by its job's id, which is cancelled if it still runs; ``None`` if it did nothing."""
        from google.api_core.exceptions import GoogleAPICallError, NotFound  # noqa: PLC0415 - only where it is needed

        try:
            job: Any = self.client.get_job(name, location=self.location, **self.asked)
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
        try:
            job.cancel(**self.first)
        except Exception as error:  # noqa: BLE001 - whatever it is, what came before it is what counts
            _log.warning("%s: could not cancel job %s: %s", self.name, job.job_id, type(error).__name__)

    def _run(self, statement: str, name: str = "") -> "bigquery.QueryJob":
        """A statement, put off where BigQuery is asked too often; one whose job has its name is begun once."""
        if name:
            return self._begun(statement, name)
        again = Retrying(
            retry=retry_if_exception(lambda error: reason_of(error) in {"rateLimitExceeded", "jobRateLimitExceeded"}),
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
            labels=self.labels,
            use_query_cache=False,
            job_timeout_ms=int(self.seconds * 1000),
        )
        if self.maximum_bytes_billed:
            config.maximum_bytes_billed = self.maximum_bytes_billed
        try:
            job: Any = self.client.query(
                statement, job_config=config, job_id=name, location=self.location, job_retry=None, **self.asked
            )
        except Begun:  # the answer was lost and the request repeated
            job = self.client.get_job(name, location=self.location, **self.asked)
        self._awaited(job)
        found: bigquery.QueryJob = job
        return found

    def _awaited(self, job: Any) -> None:
        """Wait by asking: the call that waits at the other end hangs for two minutes on a line that is dead.

        A job that nobody waits for any more is cancelled.
        """
        until, pause = time.monotonic() + self.seconds, 0.05
        try:
            while not job.done(**self.asked):
                if time.monotonic() > until:
                    raise TimeoutError  # noqa: TRY301 - cancelled like all else
                time.sleep(pause)
                pause = min(pause * 1.5, 2)
        except BaseException:  # an interrupted run, too
            self._cancelled(job)
            raise
        failed = job.exception(timeout=0)
        if failed is not None:
            failed.job = job.job_id
            raise failed


def held(field: "bigquery.SchemaField") -> Held:
    """A column, its type as SQL spells it: with its length or precision, or as an array."""
    kind = _SPELLED.get(field.field_type, field.field_type)
    limits = [limit for limit in (field.max_length, field.precision, field.scale) if limit is not None]
    kind += f"({', '.join(map(str, limits))})" if limits else ""
    return Held(field.name, f"ARRAY<{kind}>" if field.mode == "REPEATED" else kind, field.description)


def fields(schema: pa.Schema, types: Mapping[Kind, str]) -> list["bigquery.SchemaField"]:
    """A table's columns, with their descriptions."""
    from google.cloud.bigquery import SchemaField  # noqa: PLC0415 - only where it is needed

    return [SchemaField(field.name, types[kind_of(field)], description=description(field)) for field in schema]
