"""The catalogue: thirteen declarations that everything else takes at their word."""

import re

import pyarrow as pa
import pytest

from mogul_assets.catalog.columns import Kind
from mogul_assets.catalog.datasets import CUSTOMER_RECORDS, CUSTOMERS, DATASETS, ENUMS, KNOWN, LEFT_OUT
from mogul_assets.catalog.reads import READS
from mogul_assets.destinations import history

EACH = pytest.mark.parametrize("declared", [*DATASETS.values(), CUSTOMER_RECORDS], ids=str)


EDITING = "disabled disabled_at disabled_by user_created errors edit_history_summary"
COLUMNS = {
    "contacts": "uuid customer_uuid customer_external_id data_source_uuid external_id position first_name last_name"
    " title email phone linked_in twitter notes last_seen custom",
    "currency_rates": "date base_currency currency rate quoted_on provider",
    "custom_attributes": "customer_uuid name type value",
    "source_customers": "customer_id uuid data_source_uuid external_id is_primary full_name description email country"
    " state city address_zip lead_created_at free_trial_started_at billing_system_type",
    "invoice_line_items": "uuid external_id invoice_uuid invoice_external_id data_source_uuid customer_uuid type"
    " type_data amount_in_cents currency quantity discount_code discount_description discount_amount_in_cents"
    " tax_amount_in_cents transaction_fees_in_cents transaction_fees_currency service_period_start service_period_end"
    " plan_uuid plan_external_id subscription_uuid subscription_external_id subscription_set_external_id account_code"
    f" description event_order {EDITING}",
    "invoices": "uuid external_id invoiced_at due_at currency data_source_customer_external_id customer_uuid"
    f" data_source_uuid status status_name collection_method {EDITING}",
    "plans": "uuid external_id name interval interval_count data_source_uuid",
    "subscription_events": "id data_source_uuid data_source_customer_external_id subscription_external_id"
    " subscription_set_external_id plan_external_id external_id event_date effective_date event_type event_type_name"
    " payload retracted_event_id event_order errors disabled disabled_at disabled_by created_at updated_at",
    "tags": "customer_uuid tag",
    "transactions": "uuid external_id invoice_uuid invoice_external_id data_source_uuid customer_uuid transacted_at"
    f" type result amount_in_cents currency transaction_fees_in_cents transaction_fees_currency {EDITING}",
    "data_sources": "uuid name system created_at status processing_status auto_churn_subscription_setting"
    " invoice_handling_setting",
    "customers": "uuid id external_id external_ids data_source_uuid data_source_uuids name email company status mrr arr"
    " currency currency_sign net_payments plan_name plan_external_id billing_cycle subscriber_since country state city"
    " address_zip owner website_url lead_created_at free_trial_started_at billing_system_type billing_system_url"
    " chartmogul_url last_seen attributes_stripe lead_status free_subscriber_status trial_subscriber_status"
    " paid_subscriber_status",
    "mrr_movements": "date customer_name mrr_movement mrr description movement_type currency_code"
    " billing_connector_uuid customer_external_id customer_uuid subscription_external_id subscription_set_external_id"
    " plan_external_id previous_plan_external_id active_subscription_quantity uuid rank movement_key",
}
KEYS = {
    "currency_rates": "date base_currency currency",
    "custom_attributes": "customer_uuid name",
    "source_customers": "data_source_uuid external_id",
    "subscription_events": "id",
    "tags": "customer_uuid tag",
}
WINDOWS = {"currency_rates": "date", "mrr_movements": "date"}
JSON = {
    "contacts": "custom",
    "invoice_line_items": "type_data errors edit_history_summary",
    "invoices": "errors edit_history_summary",
    "subscription_events": "payload errors",
    "transactions": "errors edit_history_summary",
    "data_sources": "processing_status auto_churn_subscription_setting invoice_handling_setting",
    "customers": "external_ids data_source_uuids attributes_stripe",
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_query_written_against_chartmoguls_tables_finds_its_columns(name):
    declared = DATASETS[name]
    assert [column.name for column in declared.columns] == COLUMNS[name].split()
    assert list(declared.key) == KEYS.get(name, "uuid").split()
    assert declared.window == WINDOWS.get(name)
    assert [column.name for column in declared.columns if column.kind is Kind.JSON] == JSON.get(name, "").split()
    calculated = name in {"customers", "mrr_movements"}
    assert declared.path == (("calculated_data" if calculated else "source_data"), name)


def test_there_are_thirteen_under_chartmoguls_names():
    assert DATASETS.keys() == COLUMNS.keys()
    assert len(DATASETS) == 13
    assert all(name == declared.name for name, declared in DATASETS.items())


def test_what_names_a_data_source_is_filtered_by_it():
    named = {name for name, declared in DATASETS.items() if "data_source_uuid" in declared.by_name}
    assert named - {name for name, declared in DATASETS.items() if declared.data_source} == {"customers"}  # of several


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
def test_key_window_data_source_and_references_are_columns(declared):
    named = {*declared.key, declared.window, declared.data_source, *(r.column for r in declared.references)} - {None}
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


@pytest.mark.parametrize(
    ("kind", "arrow"),
    [
        (Kind.TEXT, pa.string()),
        (Kind.INT, pa.int64()),
        (Kind.FLOAT, pa.float64()),
        (Kind.FLAG, pa.bool_()),
        (Kind.MOMENT, pa.timestamp("us", tz="UTC")),
        (Kind.DAY, pa.date32()),
        (Kind.JSON, pa.string()),
    ],
)
def test_a_kind_has_its_arrow_type(kind, arrow):
    assert kind.arrow == arrow


@EACH
def test_numbers_for_words_stand_beside_the_words(declared):
    for column in declared.columns:
        if column.enum:
            assert column.kind is Kind.INT
            assert declared.by_name[f"{column.name}_name"].source == column.source
            assert len(set(column.enum)) == len(column.enum)


@EACH
def test_only_json_is_put_together_and_no_key_twice(declared):
    for column in declared.columns:
        if column.parts:
            keys = [key for key, _ in column.parts]
            assert column.kind is Kind.JSON, column.name
            assert len(set(keys)) == len(keys), column.name


@EACH
def test_an_outer_field_is_asked_for_only_where_there_is_something_around(declared):
    for column in declared.columns:
        if declared.each is None:
            assert not (column.source or "").startswith("^"), column.name


def test_the_internal_customers_are_what_the_api_itself_says():
    assert [column.name for column in CUSTOMER_RECORDS.columns] == [
        column.name for column in CUSTOMERS.columns if column.source is not None
    ]


def test_enums_and_fields_left_out_are_of_things_that_exist():
    for name, column in ENUMS:
        assert column in DATASETS[name].by_name
    assert LEFT_OUT.keys() <= READS.keys()


@EACH
def test_what_identifies_a_row_through_time_and_what_is_fleeting_is_never_null(declared):
    """Those columns are compared by ``=`` and ``<>`` at destinations that keep history."""
    for name in (*declared.identity, *declared.fleeting):
        assert not declared.by_name[name].nullable
    assert not set(declared.identity) & set(declared.fleeting)
    assert not set(declared.by_name) & set(history.COLUMNS)


def test_a_movement_is_known_by_its_own_key_and_not_by_an_id_that_is_issued_again():
    movements = DATASETS["mrr_movements"]
    assert (movements.identity, movements.fleeting) == (("movement_key",), ("uuid", "rank"))


@pytest.mark.parametrize("declared", KNOWN.values(), ids=str)
def test_rows_that_name_a_customer_say_whose_they_are(declared):
    """What a new dataset has of customers is removed when one of them is forgotten."""
    names = {name for name in declared.by_name if re.search(r"customer_(uuid|external_id)$", name)}
    about = declared.about
    if about is None:
        assert not names
        assert declared.read not in {"customers", "contacts", "invoices", "activities"}
        return
    said = {about.uuid, *(about.record or ()), *about.words} - {None}
    assert said <= set(declared.by_name)
    assert names <= said
