"""``source_data/…`` and ``calculated_data/…``: the thirteen datasets, settled from the reads, with their checks.

Datasets of one read are one step and move together. Blocking checks run inside the step, before the pointer
moves; all checks are reported beside the asset.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from mogul_assets import refresh
from mogul_assets.account.reader import Account, AccountInfo
from mogul_assets.assets.common import (
    AccountResource,
    StoreResource,
    failures,
    generation_of,
    months,
    rows_by_partition,
    span,
)
from mogul_assets.assets.reads import GROUP as ACCOUNT
from mogul_assets.calculated.checks import Finding, check_names
from mogul_assets.calculated.reconciliation import LEVELS
from mogul_assets.calculated.waterfall import as_markdown, waterfall
from mogul_assets.catalog.columns import Column, Dataset, Kind
from mogul_assets.catalog.datasets import CUSTOMER_RECORDS, CUSTOMERS, DATASETS, MRR_MOVEMENTS
from mogul_assets.catalog.reads import READS
from mogul_assets.catalog.window import Month
from mogul_assets.store.shape import typed_datasets
from mogul_assets.store.store import Store
from mogul_assets.store.table import Table

RECONCILIATION = "reconciliation"
QUARANTINE = ("quarantine", "No more rows are unreadable than the limit in mogul.yaml allows.", True)
_SETTLED_WITH = {CUSTOMER_RECORDS.name: "source_customers", CUSTOMERS.name: "source_customers"}
"""Internal tables, by the dataset that moves with them."""


def dataset_assets(since: Month) -> Sequence[dg.AssetsDefinition]:
    """The assets of the thirteen datasets."""
    whole = [_from_read(read) for read in READS if read != "account" and not READS[read].windowed]
    return [*whole, _windowed(DATASETS["currency_rates"], since), _windowed(MRR_MOVEMENTS, since), _customers()]


def key(dataset: Dataset) -> dg.AssetKey:
    return dg.AssetKey(list(dataset.path))


def _from_read(read: str) -> dg.AssetsDefinition:
    datasets = [dataset for dataset in typed_datasets(read) if dataset is not CUSTOMER_RECORDS]
    deps = {dg.AssetKey([ACCOUNT, read]), *_referenced(datasets)}

    @dg.multi_asset(
        name=f"settle_{read}",
        specs=[_spec(dataset, deps) for dataset in datasets],
        check_specs=[spec for dataset in datasets for spec in _check_specs(dataset)],
        pool="store",
    )
    def settled(context: dg.AssetExecutionContext, store: StoreResource) -> Iterator[Any]:
        opened = store.open()

        def step() -> refresh.Refreshed:
            return refresh.settle_read(
                opened, read, generation=generation_of(context), quarantine_limit=store.quarantine_limit
            )

        result = yield from _settled(context, opened, step)
        for dataset in datasets:
            table = result.tables[dataset.name]
            yield dg.MaterializeResult(asset_key=key(dataset), metadata=_metadata(table, result.facts))

    return settled


def _windowed(dataset: Dataset, since: Month) -> dg.AssetsDefinition:
    deps = {dg.AssetKey([ACCOUNT, dataset.read]), *_referenced([dataset])}
    if dataset is MRR_MOVEMENTS:
        deps.add(key(DATASETS["invoice_line_items"]))

    @dg.multi_asset(
        name=f"settle_{dataset.name}",
        specs=[_spec(dataset, deps, months(since))],
        check_specs=[*_check_specs(dataset), *(_reconciliation_spec() if dataset is MRR_MOVEMENTS else ())],
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool="store",
    )
    def settled(context: dg.AssetExecutionContext, account: AccountResource, store: StoreResource) -> Iterator[Any]:
        opened, now = store.open(), datetime.now(UTC)
        limit, generation = store.quarantine_limit, generation_of(context)

        def step() -> refresh.Refreshed:
            if dataset is MRR_MOVEMENTS:
                source: Account = account.open()
                info = refresh.known_account(opened)
                return refresh.settle_movements(
                    opened, source, info, generation=generation, quarantine_limit=limit, now=now
                )
            return refresh.settle_rates(opened, generation=generation, quarantine_limit=limit)

        result = yield from _settled(context, opened, step)
        table = result.tables[dataset.name]
        first, last, window = span(context, since, now)
        for month, rows in rows_by_partition(table, first, last, window).items():
            context.add_asset_metadata(
                {"dagster/partition_row_count": rows}, asset_key=key(dataset), partition_key=month.partition_key
            )
        for month in sorted(result.changed):
            # A month outside the run's own that is not what it was: told, so that deliveries take it too.
            if not window.holds(month.start) and since <= month:
                context.log_event(
                    dg.AssetMaterialization(
                        key(dataset), partition=month.partition_key, metadata={"changed by": "a later reading"}
                    )
                )
        if dataset is MRR_MOVEMENTS:
            yield _reconciliation(result)
        growth = _waterfall(table, refresh.known_account(opened).currency, now) if dataset is MRR_MOVEMENTS else {}
        yield dg.MaterializeResult(asset_key=key(dataset), metadata={**_metadata(table, result.facts), **growth})

    return settled


def _customers() -> dg.AssetsDefinition:
    names = ("source_customers", "plans", "invoices", "invoice_line_items", "transactions", "currency_rates")
    deps = {key(DATASETS[name]) for name in (*names, "mrr_movements")} | {dg.AssetKey([ACCOUNT, "customers"])}

    @dg.multi_asset(
        name="settle_calculated_customers",
        specs=[_spec(CUSTOMERS, deps)],
        check_specs=_check_specs(CUSTOMERS),
        pool="store",
    )
    def settled(context: dg.AssetExecutionContext, account: AccountResource, store: StoreResource) -> Iterator[Any]:
        opened = store.open()

        def step() -> refresh.Refreshed:
            info: AccountInfo = refresh.known_account(opened)
            return refresh.settle_customers(
                opened, account.open(), info, generation=generation_of(context), now=datetime.now(UTC)
            )

        result = yield from _settled(context, opened, step)
        with failures(), opened.writing():
            removed = opened.purge()  # the last step of a refresh
        context.log.info(f"{len(removed)} files that nothing pointed to for a day are gone")
        yield dg.MaterializeResult(
            asset_key=key(CUSTOMERS), metadata=_metadata(result.tables[CUSTOMERS.name], result.facts)
        )

    return settled


def _settled(
    context: dg.AssetExecutionContext, store: Store, step: Callable[[], refresh.Refreshed]
) -> Generator[dg.AssetCheckResult, None, refresh.Refreshed]:
    """Run a step as the store's one writer, and report its checks, whether it moved the pointer or not."""
    with failures():
        try:
            with store.writing():
                result = step()
        except refresh.ChecksFailed as failed:
            yield from _results(failed.found)
            raise
    for name in ("fields not known", "rows in quarantine", "sources without readable invoices", refresh.NOT_COMPARED):
        if name in result.facts:
            context.log.warning(f"{name}: {result.facts[name]}")
    for name in (refresh.EDITED, refresh.GONE):
        if counted := {dataset: rows for dataset, rows in result.facts.get(name, {}).items() if rows}:
            context.log.info(f"rows {name}: {counted}")
    yield from _results(result.findings)
    return result


# -- definitions ----------------------------------------------------------------------------------------------


def _spec(
    dataset: Dataset, deps: Iterable[dg.AssetKey], partitions: dg.PartitionsDefinition[Any] | None = None
) -> dg.AssetSpec:
    return dg.AssetSpec(
        key(dataset),
        deps=sorted(dep for dep in deps if dep != key(dataset)),
        group_name=dataset.group.value,
        description=f"{dataset.description}\n\nPrimary key: {', '.join(dataset.key)}.",
        partitions_def=partitions,
        kinds={"parquet"},
        metadata={
            "dagster/column_schema": column_schema(dataset),
            "dagster/column_lineage": _lineage(dataset),
            "dagster/table_name": dataset.name,
        },
    )


def column_schema(dataset: Dataset) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                _type(column),
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable, unique=dataset.key == (column.name,)),
            )
            for column in dataset.columns
        ]
    )


def _type(column: Column) -> str:
    return "json" if column.kind is Kind.JSON else str(column.kind.arrow)


def _lineage(dataset: Dataset) -> dg.TableColumnLineage:
    """Which field of which read a column comes from; derived columns name nothing here, their description does."""
    upstream = dg.AssetKey([ACCOUNT, dataset.read])
    return dg.TableColumnLineage(
        {
            column.name: [dg.TableColumnDep(upstream, source.lstrip("^"))]
            for column in dataset.columns
            if (source := column.source) is not None and not source.startswith("@")
        }
    )


def _referenced(datasets: Sequence[Dataset]) -> set[dg.AssetKey]:
    """What the checks of references look at: settled first, so that they see the same refresh."""
    names = {_SETTLED_WITH.get(r.dataset, r.dataset) for dataset in datasets for r in dataset.references}
    if any(dataset.name == "invoices" for dataset in datasets):
        names.add("source_customers")
    return {key(DATASETS[name]) for name in names if DATASETS[name] not in datasets}


# -- checks and metadata ------------------------------------------------------------------------------------------


def _check_specs(dataset: Dataset) -> list[dg.AssetCheckSpec]:
    """Every check of a dataset that its own step makes, but for the reconciliation."""
    checks = [*check_names(dataset), *(() if dataset is CUSTOMERS else (QUARANTINE,))]
    return [
        dg.AssetCheckSpec(name, asset=key(dataset), description=description, blocking=blocking)
        for name, description, blocking in checks
    ] + (_level_specs() if dataset is CUSTOMERS else [])


def _results(found: Mapping[str, Sequence[Finding]]) -> Iterator[dg.AssetCheckResult]:
    """A result for every declared check: one that could not be made says so, as a warning."""
    for dataset in (DATASETS[name] for name in found if name in DATASETS):
        made = {finding.name: finding for finding in found[dataset.name]}
        for spec in _check_specs(dataset):
            finding = made.get(spec.name)
            if finding is None:
                yield _unmade(dataset, spec.name)
                continue
            yield dg.AssetCheckResult(
                asset_key=key(dataset),
                check_name=finding.name,
                passed=finding.passed,
                severity=dg.AssetCheckSeverity.ERROR if finding.blocking else dg.AssetCheckSeverity.WARN,
                description=_said(finding),
                metadata={
                    "rows": finding.count,
                    **({"for instance": ", ".join(finding.samples)} if finding.samples else {}),
                },
            )


def _unmade(dataset: Dataset, check: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=key(dataset),
        check_name=check,
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description="not checked: what it compares with is not there",
    )


def _said(finding: Finding) -> str:
    if finding.said:
        return finding.said
    if finding.passed:
        return f"so with all {finding.total:,} rows"
    return f"not so with {finding.count:,} of {finding.total:,} rows"


def _level_specs() -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(f"{level}_level", asset=key(CUSTOMERS), description=should)
        for level, should in LEVELS.items()
    ]


def _reconciliation_spec() -> tuple[dg.AssetCheckSpec, ...]:
    description = "Month by month, the movements add up to ChartMogul's own figures, to a cent a movement."
    return (dg.AssetCheckSpec(RECONCILIATION, asset=key(MRR_MOVEMENTS), description=description),)


def _reconciliation(result: refresh.Refreshed) -> dg.AssetCheckResult:
    lines = [str(difference) for difference in result.differences]
    if refresh.NOT_COMPARED in result.facts:
        lines = [f"{refresh.NOT_COMPARED}: {result.facts[refresh.NOT_COMPARED]}"]
    return dg.AssetCheckResult(
        asset_key=key(MRR_MOVEMENTS),
        check_name=RECONCILIATION,
        passed=not lines,
        severity=dg.AssetCheckSeverity.WARN,
        description=lines[0] if lines else "every month agrees",
        metadata={"differences": len(lines), **({"figures": "\n".join(lines[:50])} if lines else {})},
    )


def _waterfall(movements: Table, currency: str, now: datetime) -> dict[str, Any]:
    steps = waterfall(movements, Month.of(now))
    return {
        f"MRR ({currency})": steps[-1].closing / 100,
        "MRR of the last twelve months": dg.MetadataValue.md(as_markdown(steps, currency)),
    }


def _metadata(table: Table, facts: Mapping[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "dagster/row_count": table.rows,
        "megabytes": round(table.bytes / 1e6, 3),
        "generation": table.generation,
        "read at": dg.MetadataValue.timestamp(table.read_at),
    }
    for name, fact in facts.items():
        metadata[name] = dg.MetadataValue.json(fact) if isinstance(fact, dict | list) else fact
    return metadata
