"""What must hold of a stored dataset, and what should: checks generated from the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import duckdb

from mogul_assets.catalog.columns import Dataset
from mogul_assets.catalog.datasets import CUSTOMER, ENUMS
from mogul_assets.store.sql import quoted

SAMPLES = 5

TYPED_BY_PEOPLE = frozenset({"external_id", "name", "tag"})
"""Key columns that may hold an e-mail address or a person's words, and so are no part of a sample."""


NET_PAYMENTS = {
    "net_payments_convertible": "Every payment has a type, a currency and a rate for its day that are known;"
    " net_payments is null elsewhere.",
    "net_payments_readable": "Every data source of a customer shows its invoices; net_payments is null elsewhere.",
}
"""Warnings on ``customers`` that only its calculation can give, by name."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: ``count`` offending rows of ``total``, and ids of up to five of them.

    ``samples`` are ChartMogul's ids, days, currencies or words of its enums, sorted; never customer data. A
    ``blocking`` finding keeps the pointer where it is. ``description`` is what should hold; ``said`` is what was found
    of it, where numbers of rows do not tell that.
    """

    name: str
    blocking: bool
    count: int
    total: int
    samples: tuple[str, ...]
    description: str
    said: str = ""

    @property
    def passed(self) -> bool:
        return self.count == 0


@dataclass(frozen=True, slots=True)
class _Check:
    """``offending`` is SQL that gives a row for each offence, with what to show of it as ``sample``."""

    name: str
    blocking: bool
    description: str
    offending: str


def findings(connection: duckdb.DuckDBPyConnection, dataset: Dataset, relations: Mapping[str, str]) -> list[Finding]:
    """Every check of the dataset, passed or not, blocking ones first.

    Args:
        connection: where the relations are known by name.
        dataset: what to check.
        relations: the relation of each dataset's rows, by the dataset's name; a reference to a dataset that
            is not among them is not checked.
    """
    relation = quoted(relations[dataset.name])
    ((total,),) = connection.sql(f"SELECT count(*) FROM {relation}").fetchall()
    result = []
    for check in sorted(_checks(dataset, relations), key=lambda check: not check.blocking):
        ((count, samples),) = connection.sql(f"""
            SELECT coalesce(sum(times), 0)::BIGINT, min(sample, {SAMPLES})
            FROM (SELECT sample, count(*) AS times FROM ({check.offending}) GROUP BY sample)
        """).fetchall()
        result.append(Finding(check.name, check.blocking, count, total, tuple(samples or ()), check.description))
    return result


def check_names(dataset: Dataset) -> list[tuple[str, str, bool]]:
    """(name, description, whether it blocks) of every check that may be made of the dataset, whatever is at hand."""
    everything = {dataset.name: "", **{reference.dataset: "" for reference in dataset.references}}
    names = [(check.name, check.description, check.blocking) for check in _checks(dataset, everything)]
    payments = [(name, description, False) for name, description in NET_PAYMENTS.items()]
    return [*names, *payments] if dataset.name == "customers" else names


def _checks(dataset: Dataset, relations: Mapping[str, str]) -> Iterator[_Check]:
    relation = quoted(relations[dataset.name])
    key = ", ".join(quoted(column) for column in dataset.key)
    shown = [f"{quoted(column)}::VARCHAR" for column in dataset.key if column not in TYPED_BY_PEOPLE]
    sample = f"concat_ws(' ', {', '.join(shown)}) AS sample"
    yield _Check(
        "key_unique",
        blocking=True,
        description=f"No two rows share {', '.join(dataset.key)}.",
        offending=f"SELECT {sample} FROM {relation} GROUP BY {key} HAVING count(*) > 1",
    )
    required = [column.name for column in dataset.columns if not column.nullable]
    missing = " OR ".join(f"{quoted(column)} IS NULL" for column in required)
    yield _Check(
        "values_present",
        blocking=True,
        description=f"No row lacks {', '.join(required)}.",
        offending=f"SELECT {sample} FROM {relation} WHERE {missing}",
    )
    for reference in dataset.references:
        if reference.dataset in relations:
            column, target = quoted(reference.column), quoted(relations[reference.dataset])
            yield _Check(
                f"{reference.column}_known",
                blocking=reference.within_read,
                description=f"Every {reference.column} is a {reference.target} of {reference.dataset}.",
                offending=f"SELECT {sample} FROM {relation} ANTI JOIN "
                f"(SELECT {quoted(reference.target)} AS target FROM {target}) ON {column} = target "
                f"WHERE {column} IS NOT NULL",
            )
    for (name, column), words in ENUMS.items():
        if name == dataset.name:
            known = ", ".join(f"'{word}'" for word in words)
            yield _Check(
                f"{column}_known",
                blocking=False,
                description=f"Every {column} is one of {', '.join(words)}.",
                offending=f"SELECT {quoted(column)} AS sample FROM {relation} WHERE {quoted(column)} NOT IN ({known})",
            )
    if dataset.name == "mrr_movements":
        yield _Check(
            "mrr_continuous",
            blocking=False,
            description="A customer's mrr is the one before plus the movement, within a cent; it differs where"
            " exchange rates moved it in between, or where a movement was missed.",
            offending=f"""
                SELECT {sample} FROM {relation}
                QUALIFY abs(mrr - mrr_movement - lag(mrr, 1, 0) OVER (
                    PARTITION BY {CUSTOMER} ORDER BY date, rank
                )) > 1
            """,
        )
