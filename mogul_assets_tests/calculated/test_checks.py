"""Checks of stored datasets, generated from the catalogue."""

import pytest

from mogul_assets.calculated.checks import SAMPLES, check_names, findings
from mogul_assets.catalog.columns import Kind
from mogul_assets.catalog.datasets import DATASETS, ENUMS
from mogul_assets_tests.calculated.relations import moment, relate

SOUND = {Kind.TEXT: "x", Kind.INT: 1, Kind.FLOAT: 1.0, Kind.FLAG: True, Kind.JSON: "{}"}
SOUND |= {Kind.MOMENT: moment("2026-01-01"), Kind.DAY: moment("2026-01-01").date()}


def row(name, /, **more):
    """A row in which every value that a check looks at is sound."""
    dataset = DATASETS[name]
    values = {column.name: SOUND[column.kind] for column in dataset.columns}
    values |= {column: words[0] for (owner, column), words in ENUMS.items() if owner == name}
    if name == "mrr_movements":
        values |= {"mrr": 1, "mrr_movement": 1}
    return values | more


def found(connection, name, rows, **others):
    """What did not pass, by name of the check: (blocking, count, samples)."""
    relations = {}
    for dataset, contents in {name: rows, **others}.items():
        relations[dataset] = f"stored {dataset}"
        relate(connection, relations[dataset], DATASETS[dataset].schema, contents)
    return {
        finding.name: (finding.blocking, finding.count, finding.samples)
        for finding in findings(connection, DATASETS[name], relations)
        if not finding.passed
    }


@pytest.mark.parametrize("name", DATASETS)
class TestEveryDataset:
    def test_passes_when_sound_with_everything_it_refers_to(self, connection, name):
        others = {reference.dataset: [row(reference.dataset)] for reference in DATASETS[name].references}
        assert found(connection, name, [row(name)], **others) == {}

    def test_passes_when_empty(self, connection, name):
        assert found(connection, name, []) == {}

    def test_is_blocked_by_two_rows_of_one_key(self, connection, name):
        blocking, count, _ = found(connection, name, [row(name), row(name)])["key_unique"]
        assert (blocking, count) == (True, 1)

    @pytest.mark.slow
    def test_is_blocked_by_a_missing_value_of_any_column_that_must_have_one(self, connection, name):
        dataset = DATASETS[name]
        assert not any(dataset.by_name[column].nullable for column in dataset.key)
        for column in dataset.columns:
            result = found(connection, name, [row(name, **{column.name: None})])
            assert result.get("values_present", (None, 0))[:2] == ((None, 0) if column.nullable else (True, 1)), (
                column.name
            )

    def test_names_references_that_lead_nowhere_and_is_blocked_within_one_read(self, connection, name):
        for reference in DATASETS[name].references:
            rows = [row(name, **{reference.column: value}) for value in ("nowhere", None)]
            result = found(connection, name, rows, **{reference.dataset: [row(reference.dataset)]})
            assert result[f"{reference.column}_known"][:2] == (reference.within_read, 1)

    def test_names_words_that_are_not_known_yet_and_is_not_blocked(self, connection, name):
        for owner, column in ENUMS:
            if owner == name:
                result = found(connection, name, [row(name, **{column: value}) for value in ("brand_new", None)])
                assert result[f"{column}_known"] == (False, 1, ("brand_new",))


def test_every_check_says_of_how_many_rows_it_speaks_blocking_ones_first(connection):
    relate(connection, "plans", DATASETS["plans"].schema, [row("plans", uuid=uuid) for uuid in "ab"])
    result = findings(connection, DATASETS["plans"], {"plans": "plans"})
    assert [(finding.name, finding.blocking, finding.total) for finding in result] == [
        ("key_unique", True, 2),
        ("values_present", True, 2),
        ("interval_known", False, 2),
    ]


def test_the_names_of_all_checks_are_known_without_any_rows(connection):
    for name, dataset in DATASETS.items():
        others = {reference.dataset: () for reference in dataset.references}
        relations = {other: other for other in {name, *others}}
        for other in relations:
            relate(connection, other, DATASETS[other].schema, ())
        declared = {check for check, _, _ in check_names(dataset)}
        assert {finding.name for finding in findings(connection, dataset, relations)} <= declared
    assert "net_payments_convertible" in {check for check, _, _ in check_names(DATASETS["customers"])}


def test_samples_are_the_first_five_ids(connection):
    rows = [row("plans", uuid=f"pl_{number}", interval="week") for number in range(9)] * 2
    assert len(rows) > SAMPLES
    assert found(connection, "plans", rows)["key_unique"][1:] == (9, ("pl_0", "pl_1", "pl_2", "pl_3", "pl_4"))


def test_samples_show_nothing_that_a_person_typed(connection):
    rows = [row("source_customers", data_source_uuid="ds_1", external_id="ann@example.com")] * 2
    assert found(connection, "source_customers", rows)["key_unique"][2] == ("ds_1",)


class TestContinuity:
    def broken(self, connection, *steps):
        columns = ("uuid", "customer_uuid", "date", "rank", "mrr_movement", "mrr")
        rows = [row("mrr_movements", **dict(zip(columns, step, strict=True))) for step in steps]
        return found(connection, "mrr_movements", rows).get("mrr_continuous", (False, 0, ()))

    def test_holds_where_each_customers_movements_add_up_within_a_cent(self, connection):
        steps = [
            ("c", "one", moment("2026-02-01"), 1, -8009, 0),
            ("b", "one", moment("2026-01-01"), 2, 4004, 8009),
            ("a", "one", moment("2026-01-01"), 1, 4004, 4004),
            ("d", "two", moment("2026-01-15"), 1, 5, 5),
        ]
        assert self.broken(connection, *steps) == (False, 0, ())

    def test_is_broken_where_a_movement_is_missing(self, connection):
        steps = [("a", "one", moment("2026-01-01"), 1, 100, 100), ("b", "one", moment("2026-03-01"), 1, 100, 300)]
        assert self.broken(connection, *steps) == (False, 1, ("b",))

    def test_is_told_by_name_where_customers_have_no_id(self, connection):
        ids = {"customer_uuid": None, "customer_external_id": None}
        rows = [
            row("mrr_movements", uuid=name, customer_name=name, date=moment("2026-01-01"), mrr_movement=1, mrr=1, **ids)
            for name in ("ann", "ben", "joe")
        ]
        rows[1] |= {"mrr_movement": 500, "mrr": 500}
        assert "mrr_continuous" not in found(connection, "mrr_movements", rows)

    def test_begins_at_nothing(self, connection):
        assert self.broken(connection, ("a", "one", moment("2026-01-01"), 1, 100, 300)) == (False, 1, ("a",))
