"""``<destination>/<dataset>``: one delivery asset for each pair; its IO manager is the destination."""

import re
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

from mogul_assets.assets.chosen import Sent, as_chosen
from mogul_assets.assets.common import StoreResource, failures, months, rows_by_partition
from mogul_assets.assets.datasets import column_schema, key
from mogul_assets.catalog.columns import Dataset
from mogul_assets.catalog.datasets import DATASETS, MOVEMENT_NEWS
from mogul_assets.catalog.window import Month
from mogul_assets.destinations import TYPES
from mogul_assets.destinations.base import Delivered, Destination, Outcome
from mogul_assets.destinations.configured import Misconfigured
from mogul_assets.destinations.messenger import Messenger
from mogul_assets.errors import (
    ConfigurationError,
    DeliveryHeld,
    DestinationRefused,
    DestinationUnreachable,
    MessagesWaiting,
    MogulError,
    TerminalError,
    TransientError,
)
from mogul_assets.guard import SHARE
from mogul_assets.refresh import standing
from mogul_assets.settings import Entry
from mogul_assets.store.store import Store
from mogul_assets.store.table import Table

TABLES = "store_tables"
KINDS = {"files": "parquet", "azure_blob": "azure"}
"""What Dagster has an icon for, where that is another word than the type's."""
DESTINATION = "mogul/destination"
"""Run tag: whose a run is, as ``concerned`` reads it. The queue lets one run of each value start at a time."""

ATTEMPT = "mogul/attempt"
"""Run tag of a further try: which one it is. A first one goes without."""

AGAIN_AFTER = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15))
"""How long after its failure a delivery that may succeed by waiting is tried again; then its schedule is waited for."""

CONFIGURATION = "configuration"

NEWS_ASSET = dg.AssetKey([MOVEMENT_NEWS.group.value, MOVEMENT_NEWS.name])
"""What is told as it happens: the movements of the last weeks, each with its customer."""

_SECRET = re.compile("passw|passphrase|secret|key|token|credential")
"""What the fields are called in which the ``dagster-*`` libraries hold their secrets."""


def concerns(instance: dg.DagsterInstance, run: dg.DagsterRun, *destinations: str) -> None:
    """Let a run be found by these destinations, whoever started it, from now on."""
    run = instance.get_run_by_id(run.run_id) or run  # another step of it may have named some
    if not concerned(run).issuperset(destinations):
        names = sorted(concerned(run).union(destinations))
        instance.add_run_tags(run.run_id, {DESTINATION: ", ".join(names)})


def concerned(run: dg.DagsterRun) -> set[str]:
    """The destinations that a run says it is for, by name."""
    return set(filter(None, run.tags.get(DESTINATION, "").split(", ")))


class StoreTables(dg.ConfigurableIOManager):
    """Hands out datasets as ``Table`` handles. The pointer is resolved once, here, at the start of a delivery."""

    store: dg.ResourceDependency[StoreResource]
    since: str

    def load_input(self, context: dg.InputContext) -> Table:
        name = context.asset_key.path[-1]
        first = last = None
        if context.has_asset_partitions:
            keys = context.asset_partition_key_range
            first, last = Month.parse(keys.start), Month.parse(keys.end)
        with failures():
            return standing(self.store.open(), name, first, last, since=Month.parse(self.since))

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        name = context.asset_key.to_user_string()
        raise TypeError(f"{name}: a dataset is settled by its own step, not returned as {type(obj).__name__}")


class DestinationIOManager(dg.ConfigurableIOManager):
    """A destination as an IO manager: what an asset returns is delivered.

    Takes a ``Table``, or a pandas ``DataFrame`` of a user's own asset (the table is named like the asset; asset
    metadata ``key``, a list of columns, makes it sorted and unique). Anything else is a ``TypeError``.
    """

    destination: dg.ResourceDependency[Destination]
    store: dg.ResourceDependency[StoreResource]
    guard: float | None = Field(default=SHARE, description="The share of its rows that a dataset may lose; none: all.")
    allow_loss: bool = Field(default=False, description="Deliver this once, however many rows are gone.")
    _unreachable: tuple[DestinationUnreachable, datetime] | None = PrivateAttr(default=None)
    """What this run met already, and when: thirteen datasets need not each wait for a destination that is not there."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        concerns(context.step_context.instance, context.step_context.dagster_run, self.destination.name)
        with failures(), tempfile.TemporaryDirectory(prefix="mogul-") as folder:
            table = obj if isinstance(obj, Table) else self._staged(context, obj, Path(folder))
            delivered = self.deliver(table, again=ATTEMPT in context.step_context.run_tags)
        (sent,) = delivered.sent or (table,)
        context.add_output_metadata(metadata_of(delivered, sent))
        if delivered.outcome is Outcome.SUPERSEDED:
            context.log.warning(f"{delivered.location} already holds a newer generation: nothing was changed")
        if context.has_asset_partitions and table.window is not None:
            keys = context.asset_partition_key_range
            first, last = Month.parse(keys.start), Month.parse(keys.end)
            for month, rows in rows_by_partition(sent, first, last, table.window).items():
                context.step_context.add_asset_metadata(
                    {"dagster/partition_row_count": rows},
                    asset_key=context.asset_key,
                    partition_key=month.partition_key,
                )

    def deliver(self, table: Table, *, again: bool = False, allow_loss: bool = False) -> Delivered:
        """Deliver a table as ``deliver`` does; where this run met before that nobody is there, it is not tried."""
        if self._unreachable is not None:
            error, at = self._unreachable
            _failed(self.store.open(), self.destination, table.dataset, error, again=again, at=at)
            raise DestinationUnreachable(error.message, remedy=error.remedy)
        try:
            guard = None if allow_loss or self.allow_loss else self.guard
            return deliver(self.destination, table, self.store, guard=guard, again=again)
        except DestinationUnreachable as error:
            self._unreachable = error, datetime.now(UTC)
            raise

    def load_input(self, context: dg.InputContext) -> Any:
        raise TypeError(
            f"{context.asset_key.to_user_string()} is a delivery; depend on the dataset instead of reading it back"
        )

    def _staged(self, context: dg.OutputContext, obj: Any, folder: Path) -> Table:
        # Only who returns a DataFrame has imported pandas: everybody else is spared it.
        if type(obj).__module__.partition(".")[0] != "pandas":
            raise TypeError(f"{context.asset_key.to_user_string()}: return a Table or a pandas DataFrame")
        from mogul_assets.destinations.frames import table_of_frame  # noqa: PLC0415 - only where it is needed

        columns = (context.definition_metadata or {}).get("key", ())
        return table_of_frame(obj, dataset=context.asset_key.path[-1], key=columns, folder=folder)


def deliver(
    destination: Destination, table: Table, store: StoreResource, *, guard: float | None = None, again: bool = False
) -> Delivered:
    """Deliver what the destination chooses of the table, and remember what arrived, or why it did not and when it is
    tried again.

    ``guard`` is the share of its rows that may be gone (``None``: all). ``again`` says that this is a further try.

    Raises:
        DeliveryHeld: more is gone.
        MogulError: what the destination raises.
    """
    if isinstance(destination, Messenger):
        return tell(destination, [table], store, [table.dataset], again=again)
    opened, began = store.open(), time.monotonic()
    try:
        with discreet(destination), as_chosen(destination.chooses, [table], opened) as (sent,):
            _guarded(opened, destination, table, sent, guard)
            delivered = replace(destination.deliver(sent.table), sent=(sent.table,))
    except Exception as error:
        _failed(opened, destination, table.dataset, error, again=again)
        raise
    if delivered.outcome is Outcome.DELIVERED:
        opened.delivered(
            destination.name,
            table,
            rows=delivered.rows,
            bytes_=delivered.bytes,
            seconds=delivered.seconds or time.monotonic() - began,
            location=delivered.location,
            anew=delivered.anew,
            sent=sent.table,
            chosen=sent.mark,
        )
    else:
        opened.superseded(destination.name, table.dataset)
    return delivered


def _guarded(store: Store, destination: Destination, table: Table, sent: Sent, share: float | None) -> None:
    """Raises ``DeliveryHeld`` where more than that share of what was delivered last is gone."""
    if lost := store.lost(destination.name, table, share, sent=sent.table, chosen=sent.mark):
        raise DeliveryHeld(
            f"{destination.name}: {table.dataset} had {lost}: the old data stands",
            remedy=f"if that is meant: mogul sync {destination.name} --allow-loss",
        )


def tell(
    destination: Destination,
    tables: Sequence[Table],
    store: StoreResource,
    datasets: Sequence[str],
    *,
    anew: bool = False,
    again: bool = False,
) -> Delivered:
    """Tell what these tables say, and remember of each of the ``datasets`` how that went.

    ``anew``: also what was told before. ``again``: this is another try of what could not be written down; what was
    has its next try in the ledger, message by message.

    Raises:
        MogulError: what the destination raises.
    """
    opened = store.open()
    try:
        with discreet(destination), as_chosen(destination.chooses, tables, opened) as those:
            sent = tuple(one.table for one in those)
            if isinstance(destination, Messenger):
                delivered = destination.tell(sent, anew=anew)
            else:
                delivered = destination.deliver(sent[0])
            delivered = replace(delivered, sent=sent)
    except Exception as error:
        for name in datasets:
            _failed(opened, destination, name, error, again=again)
        raise
    for name in datasets:
        opened.told(
            destination.name,
            name,
            tables[0],
            rows=delivered.rows,
            bytes_=delivered.bytes,
            seconds=delivered.seconds,
            location=delivered.location,
        )
    return delivered


@contextmanager
def discreet(destination: Destination) -> Iterator[None]:
    """Withholds what is raised in the block where it, or what caused it, quotes a secret of the destination's.

    Dagster writes down every error with its causes, and those are the words of the vendors' clients.

    Raises:
        MogulError: the same without its cause where that alone quotes it, else one that names the kind of error.
    """
    try:
        yield
    except Exception as error:
        secrets = _revealed(destination)
        if not any(secret in text for text in traceback.format_exception(error) for secret in secrets):
            raise
        if isinstance(error, MogulError) and not any(secret in str(error) for secret in secrets):
            raise type(error)(error.message, remedy=error.remedy) from None
        kind = type(error) if isinstance(error, MogulError) else DestinationRefused
        raise kind(
            f"{destination.name}: {type(error).__name__}, whose text quotes a secret and is withheld",
            remedy=f"mogul destinations test {destination.name}",
        ) from None


def _revealed(destination: Destination) -> list[str]:
    """The secrets' values, line by line: what is long may be quoted in part, and what is short is anywhere."""
    connection = getattr(destination, "connection", None)
    own = [str(value) for name, value in dict(connection or ()).items() if value and _SECRET.search(name)]
    values = [line for value in own for line in value.splitlines()]
    for secret in destination.secrets():
        with suppress(ConfigurationError):
            values += secret.reveal().splitlines()
    return [line for value in values if len(line := value.strip()) >= 6 and not line.startswith("-----")]


def _failed(
    store: Store,
    destination: Destination,
    dataset: str,
    error: Exception,
    *,
    again: bool = False,
    at: datetime | None = None,
) -> None:
    if not isinstance(error, MogulError):
        # The text of others' errors may quote a customer's data: their kind is enough to look for the run.
        error = TerminalError(f"unexpected {type(error).__name__}", remedy="look at its run")
    # What is told as it happens is told by the next look at the account, and what is written down by the ledger.
    elsewhere = isinstance(error, MessagesWaiting) or (isinstance(destination, Messenger) and destination.real_time)
    transient = isinstance(error, TransientError)
    store.failed(
        destination.name,
        dataset,
        str(error),
        remedy=error.remedy,
        transient=transient,
        held=isinstance(error, DeliveryHeld),
        at=at,
        again_after=AGAIN_AFTER if transient and not elsewhere else (),
        again=again,
    )


def delivery_assets(entry: Entry, destination: Destination, since: Month) -> Sequence[dg.AssetsDefinition]:
    """One asset for each dataset that the destination takes."""
    names = [name for name in entry.datasets if destination.capabilities.takes(name)]
    return [_delivery(entry, destination, DATASETS[name], since) for name in names]


def delivery_key(entry: Entry, dataset: str) -> dg.AssetKey:
    return dg.AssetKey([entry.name, dataset])


def pool_of(entry: Entry) -> str:
    """The pool that lets one step at a time deliver to a destination."""
    return f"deliver_{entry.name}"


def _delivery(entry: Entry, destination: Destination, dataset: Dataset, since: Month) -> dg.AssetsDefinition:
    windowed = dataset.window is not None and entry.partitioned
    problem, name, shape = cannot_run(destination), *as_it_arrives(destination, dataset)

    @dg.asset(
        key=delivery_key(entry, dataset.name),
        ins={"table": dg.AssetIn(key=NEWS_ASSET if entry.real_time else key(dataset), input_manager_key=TABLES)},
        io_manager_key=entry.name,
        group_name=entry.name,
        description=f"{dataset.name}, delivered to {entry.name} ({entry.type}).{past(entry, dataset.name)}{problem}",
        kinds={KINDS.get(entry.type, entry.type)} if entry.type in TYPES else set(),
        partitions_def=months(since) if windowed else None,
        backfill_policy=dg.BackfillPolicy.single_run() if windowed else None,
        pool=pool_of(entry),
        tags={DESTINATION: entry.name},
        metadata={"dagster/column_schema": column_schema(shape), "dagster/table_name": name},
    )
    def delivery(table: Table) -> Table:
        return table

    return delivery


def as_it_arrives(destination: Destination, dataset: Dataset) -> tuple[str, Dataset]:
    """The name that a dataset has there, and its columns. Of one that is configured wrong nobody knows."""
    choice = destination.chooses
    return choice.name(dataset.name), choice.shape(dataset)


def cannot_run(destination: Destination) -> str:
    """What an asset's description ends with, where its destination is configured wrong."""
    return f"\n\n**Cannot run:** {destination.problem}" if isinstance(destination, Misconfigured) else ""


def configuration_check(entry: Entry, destination: Destination) -> dg.AssetChecksDefinition:
    """A check that fails where the destination's entry is wrong, with the reason."""

    @dg.asset_check(
        asset=delivery_key(entry, entry.datasets[0]),
        name=CONFIGURATION,
        description=f"The entry of {entry.name} in mogul.yaml is complete, and its variables are set.",
    )
    def configuration() -> dg.AssetCheckResult:
        problem = configuration_problem(destination)
        return dg.AssetCheckResult(passed=problem is None, description=problem or "complete")

    return configuration


def past(entry: Entry, dataset: str) -> str:
    """Where the history of a delivery lies that had another name: Dagster keeps it under that."""
    before = f"{entry.formerly}/{dataset}"
    return f"\n\nUntil it was renamed: [{before}](/assets/{before})" if entry.formerly else ""


def configuration_problem(destination: Destination) -> str | None:
    """What keeps a destination from being used, without connecting to it; ``None`` where nothing does."""
    if isinstance(destination, Misconfigured):
        return destination.problem
    for secret in destination.secrets():
        try:
            secret.reveal()
        except TerminalError as error:
            return str(error)
    return None


def metadata_of(delivered: Delivered, table: Table) -> Mapping[str, Any]:
    return {
        "dagster/row_count": delivered.rows,
        "megabytes": round(delivered.bytes / 1e6, 3),
        "seconds": round(delivered.seconds, 3),
        "outcome": delivered.outcome.value,
        "location": delivered.location,
        "generation": table.generation,
        "read at": dg.MetadataValue.timestamp(table.read_at),
        **({"window": str(table.window)} if table.window is not None else {}),
        **chosen_of(table),
        **dict(delivered.details),
    }


def chosen_of(table: Table) -> Mapping[str, str]:
    """What was chosen of a table that was sent, in words."""
    said = {what: text for what, text in table.choice.items() if what != "dataset"}
    return {**said, "table": table.dataset} if "dataset" in table.choice else said
