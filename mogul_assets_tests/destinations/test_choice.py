"""What a destination gets of the datasets: hashes, rows and names, and what a choice may not be."""

import hashlib
from dataclasses import replace
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.window import BEGINNING, Window
from mogul_assets.destinations import TYPES, load_type
from mogul_assets.destinations.choice import (
    OF_CUSTOMERS,
    Choice,
    Rows,
    _digests,
    chosen,
    customers_of,
    rule_of,
)
from mogul_assets.destinations.configured import Misconfigured, configured, settings_of
from mogul_assets.errors import StoreDamaged
from mogul_assets.settings import CHOICE, load
from mogul_assets.store.table import new_generation
from mogul_assets_tests.docs.pages import page
from mogul_assets_tests.tables import rows_of, table_of

SALT = "pepper"
WHOLE = Window(BEGINNING, None)
USUAL = {pa.string(): "-", pa.int64(): 1, pa.bool_(): False}


def digest(text):
    return hashlib.sha256((SALT + text).encode()).hexdigest()


def stored(folder, name, *rows, **how):
    """Rows of a dataset with whatever its columns must hold, as the store would have them."""
    dataset = DATASETS[name]
    usual = {field.name: USUAL.get(field.type) for field in dataset.schema if not field.nullable}
    windowed = {"window": WHOLE, "window_column": dataset.window} if dataset.window else {}
    data = [{**usual, **row} for row in rows]
    return table_of(folder, data, dataset=name, key=dataset.key, schema=dataset.schema, **{**windowed, **how})


def choose(folder, table, *, customers=None, **said):
    to = folder / new_generation()
    to.mkdir()
    return chosen(table, Choice.of(said), to, salt=SALT, customers=customers)


# -- columns


@given(st.lists(st.none() | st.text()), st.lists(st.none() | st.text()))
def test_a_hash_is_of_salt_and_text_and_nothing_stays_nothing(ours, theirs):
    def hashed(values):
        return _digests(pa.array(values, pa.string()), SALT).to_pylist()

    assert hashed(ours) == [None if text is None else digest(text) for text in ours]
    # What was equal joins, in whatever batch and dataset it is, and nothing else does.
    joined = {
        (a, b)
        for a, x in zip(ours, hashed(ours), strict=True)
        for b, y in zip(theirs, hashed(theirs), strict=True)
        if x == y
    }
    assert joined == {(a, b) for a in ours for b in theirs if a == b}


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pa.array([7, None, -1]), ["7", None, "-1"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array([1.5]), ["1.5"]),
        (pa.array([date(2026, 1, 31)]), ["2026-01-31"]),
        (pa.array([datetime(2026, 1, 31, 9, tzinfo=UTC)], pa.timestamp("us", "UTC")), ["2026-01-31 09:00:00.000000Z"]),
    ],
)
def test_what_is_no_text_is_hashed_as_the_text_of_it(values, texts):
    assert _digests(values, SALT).to_pylist() == [text and digest(text) for text in texts]


def test_columns_are_left_out_and_hashed_and_all_others_stay(tmp_path):
    table = stored(tmp_path, "customers", {"uuid": "b", "email": "b@x.io", "mrr": 3, "name": "Ada"}, {"uuid": "a"})
    went = choose(
        tmp_path, table, columns={"leave_out": {"customers": "email"}, "hash": {"customers": ["name", "mrr"]}}
    )
    assert went.schema.names == [name for name in table.schema.names if name != "email"]
    assert [row["uuid"] for row in rows_of(went)] == ["a", "b"]
    assert [(row["name"], row["mrr"]) for row in rows_of(went)] == [(None, None), (digest("Ada"), digest("3"))]
    assert went.schema.field("mrr").type == pa.string()
    assert went.schema.field("mrr").metadata[b"description"].endswith(b"Salted SHA-256.")
    assert went.choice == {"columns left out": "email", "columns hashed": "mrr, name"}
    shape = Choice.of({"columns": {"leave_out": {"customers": "email"}, "hash": {"customers": ["name", "mrr"]}}}).shape(
        DATASETS["customers"]
    )
    assert shape.schema.equals(went.schema, check_metadata=True)


def test_what_is_hashed_is_json_no_more(tmp_path):
    table = stored(tmp_path, "customers", {"uuid": "a", "external_ids": '["1"]'})
    went = choose(tmp_path, table, columns={"hash": {"customers": "external_ids"}})
    assert b"json" not in went.schema.field("external_ids").metadata
    assert rows_of(went)[0]["external_ids"] == digest('["1"]')


def test_a_key_that_is_hashed_is_what_the_rows_are_sorted_by(tmp_path):
    rows = [{"customer_uuid": f"cus_{at:03}", "tag": "x"} for at in range(200)]
    went = choose(tmp_path, stored(tmp_path, "tags", *rows), columns={"hash": {"tags": ["customer_uuid"]}})
    assert [row["customer_uuid"] for row in rows_of(went)] == sorted(digest(row["customer_uuid"]) for row in rows)


def test_the_same_gives_the_same_bytes_and_months_stay_months(tmp_path):
    movements = [
        {"uuid": "a", "date": datetime(2026, 1, 5, tzinfo=UTC), "customer_name": "Ada"},
        {"uuid": "b", "date": datetime(2026, 2, 5, tzinfo=UTC), "customer_name": "Bob"},
    ]
    table = stored(tmp_path, "mrr_movements", *movements)
    once, again = (choose(tmp_path, table, columns={"hash": {"mrr_movements": "customer_name"}}) for _ in range(2))
    assert [file.sha256 for file in once.files] == [file.sha256 for file in again.files]
    assert [(str(file.month), file.rows, file.generation) for file in once.files] == [
        (str(file.month), file.rows, file.generation) for file in table.files
    ]
    assert (once.window, once.window_column, once.key) == (table.window, table.window_column, table.key)


def test_a_new_name_alone_copies_nothing(tmp_path):
    table = stored(tmp_path, "plans", {"uuid": "a"})
    went = choose(tmp_path, table, table_prefix="cm_", tables={"plans": "offers"})
    assert went == replace(table, dataset="cm_offers", choice={"dataset": "plans"})


def test_a_file_that_is_not_what_it_was_is_noticed_before_it_gets_a_checksum_of_its_own(tmp_path):
    table = stored(tmp_path, "plans", {"uuid": "a"})
    other = stored(tmp_path / "other", "plans", {"uuid": "b"})
    swapped = replace(table, files=(replace(table.files[0], path=other.files[0].path),))
    with pytest.raises(StoreDamaged, match="is not what its checksum says"):
        choose(tmp_path, swapped, columns={"leave_out": {"plans": "name"}})


# -- rows


@pytest.fixture
def account(tmp_path):
    """Three customers: of Germany, of two data sources, and one that is gone; and rows of every dataset of theirs."""
    tables = {
        "customers": [
            {"uuid": "cus_1", "country": "DE", "status": "Active", "data_source_uuids": '["ds_a"]'},
            {"uuid": "cus_2", "country": "at", "status": "Active", "data_source_uuid": "ds_a"},
            {"uuid": "cus_3", "country": None, "status": "Cancelled", "data_source_uuid": "ds_b"},
        ],
        "source_customers": [
            {"uuid": "cus_1", "data_source_uuid": "ds_a", "external_id": "one"},
            {"uuid": "cus_2", "data_source_uuid": "ds_a", "external_id": "two"},
            {"uuid": "cus_2", "data_source_uuid": "ds_b", "external_id": "one"},
            {"uuid": "cus_3", "data_source_uuid": "ds_b", "external_id": "three"},
        ],
        "tags": [{"customer_uuid": "cus_2", "tag": "enterprise"}, {"customer_uuid": "cus_3", "tag": "Enterprise"}],
        "contacts": [
            {"uuid": "con_1", "customer_uuid": "cus_1", "data_source_uuid": "ds_a"},
            {"uuid": "con_2", "customer_uuid": "cus_2", "data_source_uuid": "ds_b"},
            {"uuid": "con_3", "customer_uuid": None, "data_source_uuid": "ds_a"},
        ],
        "subscription_events": [
            {"id": 1, "data_source_uuid": "ds_a", "data_source_customer_external_id": "one"},
            {"id": 2, "data_source_uuid": "ds_b", "data_source_customer_external_id": "one"},
            {"id": 3, "data_source_uuid": "ds_b", "data_source_customer_external_id": None},
        ],
        "plans": [{"uuid": "pl_1", "data_source_uuid": "ds_a"}, {"uuid": "pl_2", "data_source_uuid": "ds_b"}],
        "data_sources": [{"uuid": "ds_a"}, {"uuid": "ds_b"}],
        "mrr_movements": [
            {
                "uuid": "m_1",
                "date": datetime(2026, 1, 1, tzinfo=UTC),
                "customer_uuid": "cus_1",
                "billing_connector_uuid": "ds_a",
            },
            {
                "uuid": "m_2",
                "date": datetime(2026, 2, 1, tzinfo=UTC),
                "customer_uuid": "cus_2",
                "billing_connector_uuid": "ds_b",
            },
        ],
        "currency_rates": [
            {
                "date": date(2026, 1, 1),
                "base_currency": "EUR",
                "currency": "USD",
                "rate": 1.1,
                "quoted_on": date(2026, 1, 1),
            }
        ],
    }
    return {name: stored(tmp_path / name, name, *rows) for name, rows in tables.items()}


EVERY = {
    "customers": "123",
    "source_customers": "1223",
    "tags": "23",
    "contacts": "123",
    "subscription_events": "123",
    "plans": "12",
    "data_sources": "ab",
    "mrr_movements": "12",
    "currency_rates": "D",
}


OF_ONE = dict.fromkeys(("customers", "source_customers", "contacts", "subscription_events", "mrr_movements"), "1")
OF_ONE |= {"tags": ""}
OF_TWO = dict.fromkeys((*OF_ONE, "tags"), "2") | {"source_customers": "22"}


@pytest.mark.parametrize(
    ("rows", "left"),
    [
        ({"country": ["de"]}, OF_ONE),
        (
            {"country": ["DE", "AT"]},
            {"customers": "12", "source_customers": "122", "tags": "2", "contacts": "12", "subscription_events": "12"},
        ),
        ({"status": ["active"], "country": ["AT"]}, OF_TWO),
        # A tag is what it is, to the letter.
        ({"tag": ["enterprise"]}, OF_TWO),
        # A row's own data source decides, also where nobody knows its customer; a customer is of all of its records'.
        (
            {"data_source": ["ds_a"]},
            {**OF_ONE, "customers": "12", "source_customers": "12", "tags": "2", "contacts": "13"}
            | {"plans": "1", "data_sources": "a"},
        ),
        (
            {"data_source": ["ds_b"], "status": ["Active"]},
            {**OF_TWO, "source_customers": "2", "plans": "2", "data_sources": "b"},
        ),
    ],
)
def test_the_rows_of_those_customers_go_and_what_no_filter_applies_to_stays_whole(account, tmp_path, rows, left):
    customers = customers_of(Rows(**rows), {name: account[name] for name in OF_CUSTOMERS})
    first = {
        "tags": "customer_uuid",
        "source_customers": "uuid",
        "subscription_events": "id",
        "currency_rates": "currency",
    }
    for name, table in account.items():
        went = choose(tmp_path, table, rows=rows, customers=customers)
        assert "".join(str(row[first.get(name, "uuid")])[-1] for row in rows_of(went)) == {**EVERY, **left}[name], name
        assert went.rows == len(rows_of(went))


def test_a_month_without_rows_has_no_file_and_a_snapshot_always_has_one(account, tmp_path):
    rows = {"country": ["DE"]}
    customers = customers_of(Rows(**rows), {name: account[name] for name in OF_CUSTOMERS})
    months = choose(tmp_path, account["mrr_movements"], rows=rows, customers=customers).files
    assert [str(file.month) for file in months] == ["2026-01"]
    assert [file.rows for file in choose(tmp_path, account["tags"], rows=rows, customers=customers).files] == [0]


def test_whom_a_filter_means_has_a_digest(account):
    def digest_of(**rows):
        return customers_of(Rows(**rows), {name: account[name] for name in OF_CUSTOMERS}).digest

    assert digest_of(country="DE") == digest_of(country="de") != digest_of(country="AT")


def test_the_page_tells_the_rules():
    text = page("choice.md")
    for name, rule in {name: rule_of(name) for name in DATASETS}.items():
        customer = rule.customer or (" and ".join(f"`{one}`" for one in rule.record) if rule.record else "")
        customer = f"`{customer}`" if rule.customer else customer
        source = f"`{rule.source}`" if rule.source else "its customer's" if customer else ""
        assert f"| `{name}` | {customer} | {source} |" in text


# -- what a choice may not be


@pytest.fixture
def judged(tmp_path):
    """What is wrong with a destination that has these settings; nothing where nothing is."""

    def judge(text, kind="type: files, path: out"):
        (tmp_path / "mogul.yaml").write_text(f"account: {{sandbox: true}}\ndestinations:\n  lake: {{{kind}, {text}}}\n")
        settings = load(tmp_path / "mogul.yaml")
        made = configured(settings, settings.entry("lake"))
        return made.problem if isinstance(made, Misconfigured) else None

    return judge


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "columns: {leave_out: {customers: [emial]}}",
            "columns.leave_out: customers has no column 'emial' → it has uuid, id",
        ),
        (
            "columns: {leave_out: {customers: [uuid]}}",
            "customers.uuid is of the key, which rows are told apart by → hash",
        ),
        (
            "columns: {leave_out: {subscription_events: id}}",
            "subscription_events.id is of the key, which rows are told apart by → let",
        ),
        (
            "columns: {hash: {subscription_events: [id]}, salt: {env: S}}",
            "columns.hash: subscription_events.id is of the key",
        ),
        ("columns: {leave_out: {mrr_movements: [date]}}", "mrr_movements.date is what its months are told by"),
        (
            "columns: {hash: {currency_rates: [date]}, salt: {env: S}}",
            "currency_rates.date is what its months are told by",
        ),
        ("columns: {hash: {customers: [name]}}", "columns.hash needs a salt → columns: {salt: {env: MOGUL_SALT}}"),
        (
            "columns: {hash: {customers: name}, leave_out: {customers: name}, salt: {env: S}}",
            "customers.name is left out and hashed",
        ),
        (
            "datasets: [tags], columns: {leave_out: {customers: [email]}}",
            "'customers' is not delivered there → it takes tags",
        ),
        ("columns: {leave_out: [email]}", "columns.leave_out: "),
        ("columns: {leave_out: {customers: []}}", "columns.leave_out.customers: write one, or a list such as [a, b]"),
        ("columns: {drop: {}}", "columns.drop: there is no such setting"),
        ("tables: {customer: c}", "tables: 'customer' is not delivered there"),
        ("tables: {plans: tags}", "would both be 'tags' there"),
        ("tables: {plans: TAGS}", "would both be "),
        ("tables: {plans: mogul_deliveries}", "plans and the log of deliveries would both be 'mogul_deliveries'"),
        (
            "datasets: tags, table_prefix: mogul_, tables: {tags: deliveries}",
            "tags and the log of deliveries would both be",
        ),
        ("tables: {plans: my plans}", "plans cannot be called 'my plans' there → use letters, digits and _"),
        ("table_prefix: a/b", "cannot be called 'a/bcontacts' there"),
        ("table_prefix: _", "cannot be called '_contacts' there"),
        ("rows: {status: [activ]}", "rows.status: there is no status 'activ' → there are New Lead, "),
        ("rows: {country: Germany}", "rows.country: 'Germany' is no country → write its two letters"),
        ("rows: {data_source: [Stripe]}", "rows.data_source: 'Stripe' is no data source → write its uuid"),
        ("rows: {tag: [2024]}", "rows.tag: all in the list are to be texts: quote numbers"),
        ("rows: {tags: [a]}", "rows.tags: there is no such setting"),
    ],
)
def test_a_choice_that_cannot_be_is_told_in_one_line_by_its_destination(judged, text, problem):
    said = judged(text)
    assert problem in said
    assert "mogul.yaml, line 3, destination 'lake'" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "text",
    [
        "table_prefix: cm_, tables: {mrr_movements: movements}",
        "columns: {leave_out: {contacts: [phone, notes]}, hash: {tags: customer_uuid, customers: id}, salt: {env: S}}",
        "rows: {data_source: ds_1, country: NO, status: [past due], tag: ['2024']}",
    ],
)
def test_a_choice_that_can_be_is_taken(judged, text):
    assert judged(text) is None


MAIL = "type: email, host: localhost, sender: a@b.c, recipients: [a@b.c]"


def test_a_salt_is_never_written_down(judged):
    said = judged("columns: {hash: {customers: [name]}, salt: pepper-4711}")
    assert "a secret is written {env: NAME}, never as a literal" in said
    assert "pepper-4711" not in said


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        (
            "type: slack, token: {env: T}, channels: ['#a']",
            "columns: {leave_out: {mrr_movements: mrr}}",
            "columns is not for slack → it takes none such",
        ),
        ("type: webhook, url: https://h.example, secret: {env: S}", "rows: {tag: a}", "rows is not for webhook"),
        ("type: intercom, token: {env: T}", "tables: {customers: c}", "tables is not for intercom"),
        (MAIL, "table_prefix: a", "table_prefix is not for email → it takes columns, rows"),
        (MAIL, "columns: {leave_out: {mrr_movements: mrr}}", "mrr_movements.mrr is what its messages are"),
    ],
)
def test_what_a_type_has_no_use_for_is_refused(judged, kind, text, problem):
    assert problem in judged(text, kind)


def test_no_type_has_a_setting_of_its_own_by_a_name_that_all_have():
    for word in TYPES:
        assert not settings_of(load_type(word)).keys() & {*CHOICE}
