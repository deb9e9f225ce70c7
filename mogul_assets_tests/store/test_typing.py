"""Typing: raw pages into columns, losing nothing; what cannot be read is set aside with its reason."""

import copy
import json
from datetime import UTC, date, datetime
from itertools import chain

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mogul_assets.account.pages import Page
from mogul_assets.catalog.columns import Kind
from mogul_assets.catalog.datasets import EVENT_TYPES, INVOICE_STATUSES
from mogul_assets.catalog.reads import READS
from mogul_assets.store import tolerant
from mogul_assets.store.shape import SEQUENCE, order, typed_columns, typed_datasets
from mogul_assets.store.tolerant import Rejected
from mogul_assets.store.typing import BATCH_PAGES, Typist, _Shape
from mogul_assets_tests.store.pages import INVENTED, NOW, RECORDED, RECORDINGS, Verbatim, encoded, page, typed

recorded_only = pytest.mark.skipif(not RECORDINGS.is_dir(), reason=f"no recordings at {RECORDINGS}")

# -- nothing is lost


def leaves(value, path=()):
    """Everything in an object that is not an object with something in it."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    else:
        yield path, value


def inside(value, path):
    for name in path:
        value = value[name]
    return value


def lands(dataset, row, path, value):
    """Whether the value at a path of the API's object stands in a column of the row made from it."""
    dotted = ".".join(path)
    for column in typed_columns(dataset):
        cell = row.get(column.name)
        if column.kind is Kind.JSON:
            for key, source in column.parts or ((None, column.source),):
                if dotted == source or dotted.startswith(f"{source}."):
                    rest = path[len(source.split(".")) :]
                    found = inside(json.loads(cell or "null"), (key, *rest) if key else rest)
                    return (found, type(found)) == (value, type(value))
        elif dotted in (column.source, column.or_source) and not column.enum:
            wanted = datetime.fromisoformat(value) if value and column.kind is Kind.MOMENT else value
            return cell == (None if wanted == "" else wanted)
    return False


def counted(report, path):
    names = {".".join(path[:depth]) for depth in range(1, len(path) + 1)}
    return bool(names & (report.drift.keys() | report.left_out.keys()))


def lost(read, entries, rows, report):
    """Where in the entries something stands that neither a column nor the report has."""
    datasets = {dataset.name: dataset for dataset in typed_datasets(read)}
    main = next(dataset for dataset in datasets.values() if dataset.each is None)
    inner = [dataset for dataset in datasets.values() if dataset.each in {"line_items", "transactions"}]
    levels = [(main, entries)] + [(d, list(chain.from_iterable(e[d.each] for e in entries))) for d in inner]
    of_their_own = {dataset.each for dataset in datasets.values()} - {None}
    for dataset, objects in levels:
        assert len(objects) == len(rows[dataset.name])
        for made, row in zip(objects, rows[dataset.name], strict=True):
            for path, value in leaves(made):
                apart = any(".".join(path).startswith(name) for name in of_their_own - {"data_source_uuids"})
                if not apart and not lands(dataset, row, path, value) and not counted(report, path):
                    yield path


@recorded_only
@pytest.mark.parametrize(("read", "file"), RECORDED, ids=[file for _, file in RECORDED])
def test_every_recorded_field_lands_in_a_column_or_in_the_report(read, file):
    body = (RECORDINGS / file).read_bytes()
    entries = json.loads(body)[READS[read].root]
    rows, report = typed(read, Page(read, body, 0, NOW))
    assert list(lost(read, entries, rows, report)) == []
    assert (report.entries, report.rejected, report.tolerant_pages) == (len(entries), [], 0)
    assert report.drift == {}


@recorded_only
@pytest.mark.parametrize("file", [file for read, file in RECORDED if read == "customers"])
def test_a_recorded_customers_collections_are_rows_of_their_own(file):
    body = (RECORDINGS / file).read_bytes()
    (customer,) = json.loads(body)["entries"]
    rows, _ = typed("customers", Page("customers", body, 0, NOW))
    assert [row["tag"] for row in rows["tags"]] == customer["attributes"]["tags"]
    assert {row["name"]: json.loads(row["value"]) for row in rows["custom_attributes"]} == customer["attributes"][
        "custom"
    ]
    pairs = [(row["data_source_uuid"], row["external_id"]) for row in rows["source_customers"]]
    assert pairs == list(zip(customer["data_source_uuids"], customer["external_ids"], strict=True))


@pytest.mark.parametrize("read", INVENTED)
def test_every_field_of_an_entry_that_has_them_all_lands_too(read):
    rows, report = typed(read, page(read, INVENTED[read]))
    assert list(lost(read, [INVENTED[read]], rows, report)) == []
    assert (report.drift, report.rejected, report.tolerant_pages) == ({}, [], 0)


# -- two paths, one result

VALUES = [
    *(None, "", " ", "x", "😀", "nul \x00", True, False, [], {}, [None], ["x", 1], {"a": None}),
    *(0, -1, 5.0, 5.5, "5", " 7 ", "+5.0", "5.5", "٣", "9" * 5_000, 2**63 - 1, 2**63, -(2**63), 10**30),
    *("2016-01-01T12:00:00+02:00", "2015-11-01T00:00:00.000Z", "2016-01-01 12:00:00 +0000", "2016-01-01"),
    *("2016-01-01T12:00:00", "2016-01-01T12Z", "2016-01-01T12:00:00+02", "2016-01-01T12:00.5Z", "2016-02-30T00:00:00Z"),
    *("2016-01-01T12:00:00.1234567Z", "2016-01-01T23:59:60Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00"),
    *("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00Z"),
    *("paid", "lost", "subscription_updated", "subscription_lost"),
    *map(Verbatim, ('"\\ud800"', '"\udcff"', "1E5", "1e400", '"\\ud83d\\ude00"', '{"a": 1, "a":  2}', "1.50")),
]
NAMES = ["news", "a.b", "", "😀", "\x00", 'x"y', "\\", "\ud800", "uuid", "name", "line_items", "f0"]


def objects_in(value):
    """Every object in a value, itself included."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects_in(inner)


@st.composite
def changed(draw, entry):
    """An entry with up to three changes of the kinds that APIs make."""
    entry = copy.deepcopy(entry)
    for _ in range(draw(st.integers(0, 3))):
        target = draw(st.sampled_from(list(objects_in(entry))))
        name = draw(st.sampled_from([*target, *NAMES]))
        match draw(st.sampled_from(["set", "set", "drop", "twice"])):
            case "set":
                target[name] = copy.deepcopy(draw(st.sampled_from(VALUES)))
            case "drop":
                target.pop(name, None)
            case "twice":
                first, last = (json.dumps(value) for value in draw(st.tuples(*[st.sampled_from(VALUES[:25])] * 2)))
                target[name] = Verbatim(f"{first},{json.dumps(name)}:{last}")
    return entry


def examples(read):
    of_read = [file for name, file in RECORDED if name == read and RECORDINGS.is_dir()]
    recorded = [json.loads((RECORDINGS / file).read_bytes())[READS[read].root] for file in of_read]
    return [INVENTED[read], *chain.from_iterable(recorded)]


def row_by_row(read, pages):
    known = _Shape.of(read, frozenset()).known
    return [tolerant.type_page(each, READS[read].root, typed_datasets(read), known) for each in pages]


@pytest.mark.slow
@pytest.mark.parametrize("read", INVENTED)
@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_both_paths_give_equal_rows(read, data):
    entry = st.sampled_from(examples(read)).flatmap(changed)
    entries = data.draw(st.lists(st.one_of(entry, entry, entry, st.sampled_from([None, 5, []])), max_size=3))
    pages = [page(read, *entries), page(read, INVENTED[read], sequence=1)]
    typist = Typist(read)
    parts = list(typist.tables(pages))
    alone = row_by_row(read, pages)
    for dataset in typist.datasets:
        made = pa.concat_tables(part[dataset.name] for part in parts).to_pylist()
        assert made == [row for result in alone for row in shaped(dataset, result.rows[dataset.name])]
        if dataset.each is None:
            aside = [each for each in typist.report.rejected if each.dataset == dataset.name]
            assert len(made) + len(aside) == len(entries) + 1
    assert typist.report.drift + typist.report.left_out == alone[0].unknown + alone[1].unknown
    assert typist.report.rejected == alone[0].rejected
    assert typist.report.entries == len(entries) + 1


def shaped(dataset, rows):
    names = [column.name for column in typed_columns(dataset)]
    return [{name: row[name] for name in [*names, *(n for n in row if n not in names)]} for row in rows]


def test_rows_are_numbered_by_page_and_place_on_either_path():
    for odd in (1, 1.0):
        typist = Typist("plans")
        pages = [page("plans", {"uuid": "a"}, {"uuid": "b", "interval_count": odd}, sequence=n) for n in (3, 4)]
        numbers = [n for part in typist.tables(pages) for n in part["plans"][SEQUENCE].to_pylist()]
        assert numbers == [order(page=n, entry=entry) for n in (3, 4) for entry in (0, 1)]


def test_more_pages_than_are_typed_at_once_are_all_typed():
    pages = [page("plans", {"uuid": f"pl_{n}"}, sequence=n) for n in range(2 * BATCH_PAGES + 3)]
    rows, report = typed("plans", *pages)
    assert [row["uuid"] for row in rows["plans"]] == [f"pl_{n}" for n in range(2 * BATCH_PAGES + 3)]
    assert report.tolerant_pages == 0


def test_one_odd_page_does_not_make_the_others_slow():
    pages = [page("plans", {"uuid": f"pl_{n}", "name": 1.5 if n == 2 else "x"}, sequence=n) for n in range(5)]
    rows, report = typed("plans", *pages)
    assert sorted(row["name"] for row in rows["plans"]) == ["1.5", "x", "x", "x", "x"]
    assert report.tolerant_pages == 1


def test_an_invoice_takes_the_data_source_that_it_was_asked_of():
    pages = [page("invoices", {"uuid": s, "line_items": [{"uuid": s}]}, shard={"data_source_uuid": s}) for s in "ab"]
    rows, _ = typed("invoices", *pages)
    assert {row["uuid"]: row["data_source_uuid"] for row in rows["invoices"]} == {"a": "a", "b": "b"}
    assert {row["uuid"]: row["data_source_uuid"] for row in rows["invoice_line_items"]} == {"a": "a", "b": "b"}


# -- drift


@pytest.mark.parametrize("name", ["news", "a.b", "", "😀", "\x00", 'x"y', "back\\slash"])
def test_a_field_nobody_declared_is_counted_and_harms_nothing(name):
    pages = [
        page("plans", {"uuid": "a", name: 1}, {"uuid": "b"}, {"uuid": "c", name: None}, sequence=n) for n in (0, 1)
    ]
    rows, report = typed("plans", *pages)
    assert len(rows["plans"]) == 6
    assert report.drift == {name: 4}


def test_drift_is_named_by_its_path_at_every_level():
    customer = {"uuid": "c", "new": 1, "attributes": {"fresh": {"deep": 1}}}
    _, report = typed("customers", page("customers", customer))
    assert report.drift == {"new": 1, "attributes.fresh": 1}
    items = [{"uuid": "l", "new": 1}, {"uuid": "m", "new": 2}]
    _, report = typed("invoices", page("invoices", {"uuid": "i", "line_items": items}))
    assert report.drift == {"line_items.new": 2}


def test_a_field_is_learned_once_and_pages_stay_on_the_fast_path():
    _, report = typed("plans", *(page("plans", {"uuid": f"{n}", "new": n}, sequence=n) for n in range(30)))
    assert (report.drift, report.tolerant_pages) == ({"new": 30}, 0)


def test_a_field_may_appear_in_the_middle_of_an_account():
    pages = [page("plans", {"uuid": "a"}), page("plans", {"uuid": "b", "new": 1}, sequence=1)]
    rows, report = typed("plans", *pages)
    assert [row["uuid"] for row in rows["plans"]] == ["a", "b"]
    assert (report.drift, report.tolerant_pages) == ({"new": 1}, 0)


def test_what_was_learned_stays_learned():
    pages = [page("plans", {"uuid": f"{n}", "new" if n % 2 else "newer": n}, sequence=n) for n in range(4)]
    _, report = typed("plans", *pages)
    assert (report.drift, report.tolerant_pages) == ({"new": 2, "newer": 2}, 0)


def test_a_renamed_field_is_null_and_named():
    rows, report = typed("plans", page("plans", {"uuid": "a", "interval-unit": "month"}))
    assert rows["plans"][0]["interval"] is None
    assert report.drift == {"interval-unit": 1}


def test_what_is_known_to_have_no_column_is_no_drift():
    entry = {"uuid": "c", "address": {"city": "x"}, "attributes": {"clearbit": {}}}
    for odd in ({}, {"mrr": 1.0}):
        _, report = typed("customers", page("customers", entry | odd))
        assert (report.left_out, report.drift) == ({"address": 1, "attributes.clearbit": 1}, {})


# -- quarantine


def test_a_row_that_cannot_be_read_is_kept_with_its_reason_and_the_others_are_typed():
    broken = {"uuid": "b", "interval_count": "many"}
    rows, report = typed("plans", page("plans", {"uuid": "a"}, broken, {"uuid": "c"}))
    assert [row["uuid"] for row in rows["plans"]] == ["a", "c"]
    (rejected,) = report.rejected
    assert (rejected.dataset, rejected.reason) == ("plans", "interval_count: text where a number belongs")
    assert json.loads(rejected.body) == broken


@pytest.mark.parametrize(
    ("read", "entry", "dataset", "reason"),
    [
        ("plans", {"name": "no key"}, "plans", "uuid is missing"),
        ("plans", {"uuid": ""}, "plans", "uuid is missing"),
        ("plans", None, "plans", "not an object"),
        ("activities", {"uuid": "a", "date": None}, "mrr_movements", "date is missing"),
        ("activities", {"uuid": "a", "date": "tomorrow"}, "mrr_movements", "date: not a date and time"),
        ("activities", {"uuid": "a", "date": 5}, "mrr_movements", "date: not a date and time"),
        (
            "activities",
            {"uuid": "a", "date": "0001-01-01T00:00:00+01:00"},
            "mrr_movements",
            "date: a date and time outside the calendar",
        ),
        ("plans", {"uuid": "a", "interval_count": "٣"}, "plans", "interval_count: text where a number belongs"),
        ("plans", {"uuid": "a", "interval_count": 2**63}, "plans", "interval_count: a number beyond 64 bits"),
        ("plans", {"uuid": "a", "interval_count": "9" * 5_000}, "plans", "interval_count: a number beyond 64 bits"),
        (
            "plans",
            {"uuid": "a", "interval_count": Verbatim("9" * 5_000)},
            "plans",
            "interval_count: a number beyond 64 bits",
        ),
        (
            "plans",
            {"uuid": "a", "interval_count": 1.5},
            "plans",
            "interval_count: a fraction where a whole number belongs",
        ),
        (
            "plans",
            {"uuid": "a", "interval_count": True},
            "plans",
            "interval_count: true or false where a number belongs",
        ),
        (
            "plans",
            {"uuid": "a", "interval_count": []},
            "plans",
            "interval_count: an object or a list where a number belongs",
        ),
        ("invoices", {"uuid": "a", "disabled": 1}, "invoices", "disabled: something else where true or false belongs"),
        ("plans", {"uuid": "a", "name": Verbatim('"\udcff"')}, "plans", "name: text that is not valid Unicode"),
        ("plans", {"uuid": "a", "name": Verbatim('"\\ud83d"')}, "plans", "text that is not valid Unicode"),
        ("plans", {"uuid": "a", "\ud83d": 1}, "plans", "text that is not valid Unicode"),
        (
            "invoices",
            {"uuid": "a", "line_items": [{"uuid": "l", "proration_type": Verbatim('"\udcff"')}]},
            "invoice_line_items",
            "text that is not valid Unicode",
        ),
        ("invoices", {"uuid": "a", "line_items": {}}, "invoice_line_items", "uuid is missing"),
        ("invoices", {"uuid": "a", "line_items": "none"}, "invoice_line_items", "not an object"),
        ("invoices", {"uuid": "a", "line_items": [7]}, "invoice_line_items", "not an object"),
    ],
)
def test_what_is_wrong_is_said_without_the_value(read, entry, dataset, reason):
    _, report = typed(read, page(read, entry, INVENTED[read]))
    assert [(each.dataset, each.reason) for each in report.rejected] == [(dataset, reason)]


def test_half_a_surrogate_pair_costs_its_own_row_only():
    high, low = ({"uuid": "b", "name": Verbatim(f'"cut \\u{half}"'), "x": 1} for half in ("d83d", "de00"))
    whole = {"uuid": "c", "name": Verbatim('"\\ud83d\\ude00 \\\\ud83d"')}
    rows, report = typed("plans", page("plans", {"uuid": "a"}, high, low, whole))
    assert [row["name"] for row in rows["plans"]] == [None, "😀 \\ud83d"]
    assert [each.body for each in report.rejected] == [encoded(high), encoded(low)]


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"null", b'{"plans":null}', b'{"plan":[]}', b'{"plans":[{"uuid":"a"}']
)
def test_a_page_that_is_no_page_is_kept_whole(body):
    _, report = typed("plans", Page("plans", body, 0, NOW))
    assert report.rejected == [Rejected("plans", "the page has no list 'plans'", body.decode())]


@pytest.mark.parametrize(("read", "field"), [("plans", "news"), ("contacts", "custom")])
def test_a_page_nested_beyond_all_reason_is_kept_whole(read, field):
    deep = page(read, {"uuid": "a", field: Verbatim("[" * 5_000 + "]" * 5_000)})
    rows, report = typed(read, deep, page(read, {"uuid": "b"}))
    assert [row["uuid"] for row in rows[read]] == ["b"]
    assert [each.body for each in report.rejected] == [deep.body.decode()]


@pytest.mark.parametrize("attributes", ["text", ["x"], 5, True])
def test_something_else_where_an_object_belongs_is_not_dropped(attributes):
    rows, report = typed("customers", page("customers", {"uuid": "c", "attributes": attributes}))
    assert rows["customer_records"] == []
    assert {each.reason for each in report.rejected} == {"attributes is not an object"}


@pytest.mark.parametrize("attributes", [None, [], {}, {"custom": []}, {"custom": None, "tags": None}])
def test_nothing_where_an_object_belongs_is_nothing(attributes):
    rows, report = typed("customers", page("customers", {"uuid": "c", "attributes": attributes}))
    assert (len(rows["customer_records"]), rows["tags"], report.rejected) == (1, [], [])


# -- values


def column_of(read, dataset, column, source, values):
    key = {"id": 1} if read == "subscription_events" else {"uuid": "a"}
    rows, report = typed(read, *(page(read, {**key, source: value}, sequence=n) for n, value in enumerate(values)))
    assert report.rejected == []
    return [row[column] for row in rows[dataset]]


def test_texts_keep_what_they_say_and_empty_is_null():
    given_, kept = ["x", "😀", "nul \x00", " ", "", None, 5], ["x", "😀", "nul \x00", " ", None, None, "5"]
    assert column_of("plans", "plans", "name", "name", given_) == kept
    exact = [True, Verbatim("1.50"), Verbatim('{"a":  1}'), [1]]
    assert column_of("plans", "plans", "name", "name", exact) == ["true", "1.50", '{"a":  1}', "[1]"]


def test_whole_numbers_come_in_any_dress():
    given_ = [5, -1, 2**63 - 1, -(2**63), "5", " 7 ", "+5.0", 5.0, "", None]
    kept = [5, -1, 2**63 - 1, -(2**63), 5, 7, 5, 5, None, None]
    assert column_of("plans", "plans", "interval_count", "interval_count", given_) == kept


def test_flags_are_true_false_or_nothing():
    assert column_of("invoices", "invoices", "disabled", "disabled", [True, False, None, ""]) == [
        *(True, False, None, None)
    ]


NOON = datetime(2016, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2016-01-01T12:00:00+00:00", NOON),
        ("2016-01-01T14:00:00+02:00", NOON),
        ("2016-01-01T14+02", NOON),
        ("2016-01-01T12:00:00.000Z", NOON),
        ("2016-01-01 12:00:00 +0000", NOON),
        ("2016-01-01T12:00", NOON),
        ("2016-01-01", NOON.replace(hour=0)),
        ("2016-01-01T12:00:00.1234567Z", NOON.replace(microsecond=123456)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("", None),
        (None, None),
    ],
)
def test_moments_of_every_style_are_utc(written, moment):
    assert column_of("invoices", "invoices", "due_at", "due_date", [written]) == [moment]


def rates(**fields):
    quote = {"base_currency": "EUR", "currency": "USD", "provider": "p", "quoted_on": "2026-11-20"}
    return typed("exchange_rates", page("exchange_rates", {"date": "2026-11-22", "rate": 1.25, **quote, **fields}))


@pytest.mark.parametrize("rate", ["1.25", 1.25, "0125e-2"])
def test_days_and_rates_are_typed(rate):
    made, _ = rates(rate=rate)
    (row,) = made["currency_rates"]
    assert (row["date"], row["quoted_on"], row["rate"]) == (date(2026, 11, 22), date(2026, 11, 20), 1.25)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"rate": rate} for rate in (None, "", "nan", "inf", "much", 10**400, True, {})),
        *({"date": day} for day in (None, "", "2026-02-30", "0000-01-01", "yesterday", 5)),
    ],
    ids=repr,
)
def test_a_rate_without_a_number_or_a_day_is_set_aside(wrong):
    made, report = rates(**wrong)
    assert (made["currency_rates"], len(report.rejected)) == ([], 1)


@pytest.mark.parametrize(
    ("read", "dataset", "source", "words"),
    [
        ("invoices", "invoices", "status", INVOICE_STATUSES),
        ("subscription_events", "subscription_events", "event_type", EVENT_TYPES),
    ],
)
def test_a_known_word_has_its_number_and_an_unknown_one_keeps_the_word(read, dataset, source, words):
    given_ = [*words, "unheard of", None]
    assert column_of(read, dataset, source, source, given_) == [*range(len(words)), None, None]
    assert column_of(read, dataset, f"{source}_name", source, given_) == given_


def test_free_form_fields_keep_their_exact_text():
    text = '{"b": 1.50,  "a":"\\u00e9", "b": 2}'
    assert column_of("contacts", "contacts", "custom", "custom", [Verbatim(text), None, {}]) == [text, None, "{}"]


def test_an_assembled_object_has_what_was_there_as_it_was():
    item = {"uuid": "a", "prorated": True, "proration_type": None, "balance_transfer": Verbatim("1.0")}
    rows, _ = typed("invoices", page("invoices", {"uuid": "i", "line_items": [item, {"uuid": "b"}]}))
    assert [row["type_data"] for row in rows["invoice_line_items"]] == [
        '{"prorated":true,"proration_type":null,"balance_transfer":1.0}',
        None,
    ]
    event = {"id": 1, "amount_in_cents": Verbatim("100"), "currency": "EUR"}
    rows, _ = typed("subscription_events", page("subscription_events", event))
    assert rows["subscription_events"][0]["payload"] == '{"currency":"EUR","amount_in_cents":100}'


def test_the_second_spelling_is_read_where_the_first_is_empty():
    def told(**event):
        rows, _ = typed("subscription_events", page("subscription_events", {"id": 1, **event}))
        return rows["subscription_events"][0]["data_source_customer_external_id"]

    first, second = {"customer_external_id": "first"}, {"data_source_customer_external_id": "second"}
    assert (told(**first), told(**second), told(**first, **second)) == ("first", "second", "first")
    assert told(customer_external_id="", **second) == "second"


# -- a customer's collections


def test_custom_attributes_keep_the_kind_of_their_json():
    custom = {
        "s": "x",
        "empty": "",
        "t": "2026-11-23 10:00:00 +0100",
        "i": -7,
        "d": Verbatim("1.50"),
        "e": Verbatim("1E5"),
        "b": False,
        "n": None,
        "o": {"a": [1]},
        "digits": "7",
    }
    rows, _ = typed("customers", page("customers", {"uuid": "c", "attributes": {"custom": custom}}))
    assert {row["name"]: (row["kind"], row["value"]) for row in rows["custom_attributes"]} == {
        "s": ("string", "x"),
        "empty": ("string", ""),
        "t": ("moment", "2026-11-23 10:00:00 +0100"),
        "i": ("integer", "-7"),
        "d": ("decimal", "1.50"),
        "e": ("decimal", "1E5"),
        "b": ("flag", "false"),
        "n": ("nothing", None),
        "o": ("string", '{"a":[1]}'),
        "digits": ("string", "7"),
    }


def test_only_the_primary_record_has_the_customers_details():
    rows, _ = typed("customers", page("customers", INVENTED["customers"]))
    first, second = rows["source_customers"]
    assert (first["is_primary"], first["full_name"], first["customer_id"]) == (True, "Seven 😀", 7)
    assert (second["is_primary"], second["full_name"], second["customer_id"]) == (False, None, 7)
    assert second["external_id"] == "sept"


@pytest.mark.parametrize(
    ("lists", "reason"),
    [
        ((["ds_1"], ["a", "b"]), "data_source_uuids and external_ids are of unequal length"),
        ((["ds_1"], None), "data_source_uuids and external_ids are of unequal length"),
        ((["ds_1"], [None]), "a data source or an external id is null"),
        (("ds_1", ["a"]), "data_source_uuids is not a list"),
        ((["ds_1"], {"a": 1}), "external_ids is not a list"),
    ],
)
def test_pairs_that_do_not_pair_cost_the_source_customers_only(lists, reason):
    entry = {"uuid": "c", "data_source_uuids": lists[0], "external_ids": lists[1], "attributes": {"tags": ["t"]}}
    rows, report = typed("customers", page("customers", entry))
    assert [(each.dataset, each.reason) for each in report.rejected] == [("source_customers", reason)]
    assert (len(rows["customer_records"]), len(rows["tags"]), rows["source_customers"]) == (1, 1, [])


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"tags": ["a", None]}, "a tag is null"),
        ({"tags": "a"}, "attributes.tags is not a list"),
        ({"custom": ["a"]}, "attributes.custom is not an object"),
    ],
)
def test_a_collection_of_another_form_is_set_aside(attributes, reason):
    rows, report = typed("customers", page("customers", {"uuid": "c", "attributes": attributes}))
    assert [each.reason for each in report.rejected] == [reason]
    assert len(rows["customer_records"]) == 1
