"""The statements of a delivery, for what there is and what is wanted. No warehouse is asked."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from mogul_assets.catalog.window import BEGINNING, Month, Window
from mogul_assets.destinations.dialect import Held, There, ascii_lower, ascii_upper, kind_of, utc
from mogul_assets.destinations.snowflake import DIALECT
from mogul_assets.errors import DestinationRefused
from mogul_assets.store.table import Table

NOW = datetime(2026, 11, 23, 5, 6, 7, tzinfo=UTC)
NAMESPACE = ("db", "schema")
LOG_HELD = (Held("DATASET", "VARCHAR"),)
MOMENT = pa.timestamp("us", tz="UTC")


def table(*fields, window=None, column=None, description=""):
    schema = pa.schema(list(fields), metadata={"description": description} if description else None)
    return Table(
        dataset="plans",
        generation="20261123T000000.000000Z-0000",
        schema=schema,
        key=(schema.names[0],),
        files=(),
        read_at=NOW,
        window=window,
        window_column=column,
    )


def planned(wanted, *held, comment=None):
    columns = {"PLANS": tuple(held), "MOGUL_DELIVERIES": LOG_HELD}
    there = There(schema=True, columns=columns, comments={"PLANS": comment}, locked=True)
    return DIALECT.statements(NAMESPACE, wanted, there, staging='"s"', now=NOW, at="shelf: plans")


def described(name, kind, text):
    return pa.field(name, kind, metadata={"description": text})


ID = pa.field("id", pa.int64())
HELD_ID = Held("ID", "NUMBER(38,0)")


def test_where_nothing_is_everything_is_made_first_and_the_row_to_lock_last():
    nothing = There(schema=False, columns={}, comments={})
    before = DIALECT.statements(NAMESPACE, table(ID), nothing, staging='"s"', now=NOW, at="").before
    assert [statement.split(" (")[0] for statement in before] == [
        'CREATE SCHEMA IF NOT EXISTS "DB"."SCHEMA"',
        'CREATE TABLE IF NOT EXISTS "DB"."SCHEMA"."MOGUL_DELIVERIES"',
        'CREATE TABLE IF NOT EXISTS "DB"."SCHEMA"."PLANS"',
        'INSERT INTO "DB"."SCHEMA"."MOGUL_DELIVERIES"',
    ]
    assert "'created'" in before[-1]


def test_where_nothing_differs_nothing_is_done_before():
    wanted = table(described("id", pa.int64(), "number"), description="plans")
    assert planned(wanted, Held("ID", "NUMBER(38,0)", "number"), comment="plans").before == ()


def test_comments_are_set_where_they_differ_and_left_where_there_are_none_to_set():
    wanted = table(described("id", pa.int64(), "it's a number"), pa.field("name", pa.string()), description="plans")
    held = (Held("ID", "NUMBER(38,0)", "old"), Held("NAME", "VARCHAR", "by hand"))
    assert planned(wanted, *held, comment="old").before == (
        """COMMENT ON TABLE "DB"."SCHEMA"."PLANS" IS 'plans'""",
        """COMMENT ON COLUMN "DB"."SCHEMA"."PLANS"."ID" IS 'it''s a number'""",
    )


def test_a_new_column_comes_with_its_comment():
    before = planned(table(ID, described("free", pa.string(), "text")), HELD_ID).before
    assert before == ("""ALTER TABLE "DB"."SCHEMA"."PLANS" ADD COLUMN IF NOT EXISTS "FREE" VARCHAR COMMENT 'text'""",)


def test_a_type_is_widened_in_place_where_it_can_be():
    assert planned(table(ID), Held("ID", "NUMBER(10,0)")).before == (
        'ALTER TABLE "DB"."SCHEMA"."PLANS" ALTER COLUMN "ID" SET DATA TYPE NUMBER(38,0)',
    )


def test_else_a_copy_takes_the_name_and_the_comment():
    wanted = planned(table(ID, described("at", MOMENT, "when")), HELD_ID, Held("AT", "DATE", "when"))
    path = '"DB"."SCHEMA"."PLANS"'
    assert wanted.before == (
        f'ALTER TABLE {path} ADD COLUMN IF NOT EXISTS "AT__MOGUL_NEW" TIMESTAMP_TZ',
        f'UPDATE {path} SET "AT__MOGUL_NEW" = "AT"::TIMESTAMP_TZ WHERE true',
        f'ALTER TABLE {path} DROP COLUMN "AT"',
        f'ALTER TABLE {path} RENAME COLUMN "AT__MOGUL_NEW" TO "AT"',
        f"COMMENT ON COLUMN {path}.\"AT\" IS 'when'",
    )
    assert wanted.rewritten == ("at: DATE to TIMESTAMP_TZ",)


def test_a_copy_that_was_broken_off_is_gone_on_with():
    copy = Held("AT__MOGUL_NEW", "TIMESTAMP_TZ")
    wanted = table(ID, pa.field("at", MOMENT))
    assert len(planned(wanted, HELD_ID, Held("AT", "DATE"), copy).before) == 3
    assert planned(wanted, HELD_ID, copy).before == (
        'ALTER TABLE "DB"."SCHEMA"."PLANS" RENAME COLUMN "AT__MOGUL_NEW" TO "AT"',
    )


def test_a_change_that_could_lose_something_is_refused_with_what_to_run():
    with pytest.raises(DestinationRefused, match=r"shelf: plans\.id is VARCHAR there and NUMBER") as refused:
        planned(table(ID), Held("ID", "VARCHAR"))
    assert 'run: ALTER TABLE "DB"."SCHEMA"."PLANS" RENAME COLUMN "ID" TO "ID_BEFORE";' in refused.value.remedy


def test_names_that_fold_alike_are_refused():
    with pytest.raises(DestinationRefused, match="'id' and 'ID' are one name there"):
        planned(table(ID, pa.field("ID", pa.int64())))


@pytest.mark.parametrize(
    ("window", "condition"),
    [
        (None, "true"),
        (Window(BEGINNING, None), "true"),
        (Window.months(Month(2026, 1), None), """"DATE" >= '2026-01-01 00:00:00.000000 +00:00'::TIMESTAMP_TZ"""),
        (
            Window.months(Month(2010, 1), Month(2010, 1), since=Month(2010, 1)),
            """"DATE" < '2010-02-01 00:00:00.000000 +00:00'::TIMESTAMP_TZ""",
        ),
    ],
    ids=["snapshot", "everything", "open", "the first month takes everything older"],
)
def test_exactly_the_window_is_deleted(window, condition):
    wanted = table(ID, pa.field("date", MOMENT), window=window, column="date")
    statements = planned(wanted, HELD_ID, Held("DATE", "TIMESTAMP_TZ"))
    assert statements.delete == f'DELETE FROM "DB"."SCHEMA"."PLANS" WHERE {condition}'


def test_a_window_of_days_is_told_in_days():
    window = Window.months(Month(2026, 1), Month(2026, 1))
    wanted = table(ID, pa.field("date", pa.date32()), window=window, column="date")
    condition = """"DATE" >= DATE '2026-01-01' AND "DATE" < DATE '2026-02-01'"""
    assert planned(wanted, HELD_ID, Held("DATE", "DATE")).delete.endswith(condition)


def test_json_is_parsed_on_its_way_and_names_keep_their_spelling_in_the_staging_table():
    free = pa.field("Free form", pa.string(), metadata={"json": "true"})
    assert planned(table(ID, free), HELD_ID, Held("FREE FORM", "VARIANT")).insert == (
        'INSERT INTO "DB"."SCHEMA"."PLANS" ("ID", "FREE FORM")'
        """ SELECT "id", PARSE_JSON("Free form", 'd') FROM "s\""""
    )
    assert DIALECT.staging('"s"', pa.schema([ID, free])) == 'CREATE TABLE "s" ("id" NUMBER(38,0), "Free form" VARCHAR)'


def test_what_is_shown_is_the_schema_the_deletion_and_the_insertion():
    statements = planned(table(ID, pa.field("name", pa.string())), HELD_ID)
    assert statements.shown == (*statements.before, statements.delete, statements.insert)
    assert len(statements.before) == 1


def test_only_the_seven_kinds_have_a_type():
    with pytest.raises(DestinationRefused, match="column 'id' has the type int32"):
        kind_of(pa.field("id", pa.int32()))


def test_ascii_alone_is_folded():
    assert (ascii_upper("straße é"), ascii_lower("STRASSE É")) == ("STRAßE é", "strasse É")


@pytest.mark.parametrize(("year", "text"), [(1, "0001-01-01 00:00:00.000000"), (9999, "9999-01-01 00:00:00.000000")])
def test_moments_have_four_digits_of_the_year(year, text):
    assert utc(datetime(year, 1, 1, tzinfo=UTC)) == text
