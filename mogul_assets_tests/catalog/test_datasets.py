"""The catalogue: thirteen declarations that everything else takes at their word."""

import re

import pytest

from mogul_assets.catalog.columns import Kind
from mogul_assets.catalog.datasets import CUSTOMER_RECORDS, CUSTOMERS, DATASETS, ENUMS, LEFT_OUT, dataset
from mogul_assets.catalog.reads import READS

EACH = pytest.mark.parametrize("declared", [*DATASETS.values(), CUSTOMER_RECORDS], ids=str)


def test_there_are_thirteen_under_chartmoguls_names():
    assert len(DATASETS) == 13
    assert all(name == declared.name for name, declared in DATASETS.items())


def test_an_unknown_dataset_is_named_with_those_there_are():
    with pytest.raises(KeyError, match="unknown dataset 'customer'; there are: contacts, currency_rates"):
        dataset("customer")


@EACH
def test_names_are_plain_and_said_once(declared):
    names = [column.name for column in declared.columns]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in [declared.name, *names])


@EACH
def test_each_column_says_what_it_is_in_one_line(declared):
    for column in declared.columns:
        assert re.fullmatch(r"[^\n]+[.…]", column.description), column.name


@EACH
def test_key_window_and_references_are_columns(declared):
    named = {*declared.key, *([declared.window] if declared.window else []), *(r.column for r in declared.references)}
    assert named <= declared.by_name.keys()
    assert declared.read in READS
    assert READS[declared.read].windowed == (declared.window is not None)


@EACH
def test_what_a_key_is_made_of_is_never_null(declared):
    assert [name for name in declared.key if declared.by_name[name].nullable] == []


@EACH
def test_references_point_to_columns_that_are_there(declared):
    for reference in declared.references:
        assert reference.target in DATASETS[reference.dataset].by_name
        if reference.within_read:
            assert DATASETS[reference.dataset].read == declared.read


@EACH
def test_a_column_has_one_origin(declared):
    for column in declared.columns:
        assert not (column.parts and column.source), column.name
        assert column.or_source is None or column.source is not None, column.name


@EACH
def test_the_arrow_schema_is_the_declaration(declared):
    for column, field in zip(declared.columns, declared.schema, strict=True):
        assert (field.name, field.type, field.nullable) == (column.name, column.kind.arrow, column.nullable)
        assert field.metadata[b"description"].decode() == column.description
        assert (b"json" in field.metadata) == (column.kind is Kind.JSON)


@EACH
def test_money_is_whole_cents(declared):
    for column in declared.columns:
        if column.name.endswith("_in_cents") or column.name in {"mrr", "arr", "mrr_movement", "net_payments"}:
            assert column.kind is Kind.INT, column.name


def test_the_internal_customers_are_what_the_api_itself_says():
    assert [column.name for column in CUSTOMER_RECORDS.columns] == [
        column.name for column in CUSTOMERS.columns if column.source is not None
    ]


def test_enums_and_fields_left_out_are_of_things_that_exist():
    for name, column in ENUMS:
        assert column in DATASETS[name].by_name
    assert LEFT_OUT.keys() <= READS.keys()
