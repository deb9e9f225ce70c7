"""A dataset that lost much is held back: how much that is, and that what lies at the destination stays."""

import json
from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pytest

from mogul_assets.automation.jobs import partition_range
from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.window import Month
from mogul_assets.guard import loss, share_of
from mogul_assets.settings import load
from mogul_assets.store import settle
from mogul_assets.store.table import new_generation
from mogul_assets_tests.project import NOW, Project, failures_of

THIS = Month.of(NOW)
LAST = THIS.plus(-1)


# -- how much


@pytest.mark.parametrize(
    ("before", "now", "held"),
    [
        (100, 80, False),  # a fifth, and no more than that
        (100, 79, True),
        (100, 500, False),
        (20, 15, True),
        (19, 1, False),  # of few rows a share says nothing
        (5, 0, True),
        (4, 0, False),
        (0, 0, False),
    ],
)
def test_a_fifth_may_go_and_few_rows_may_go_as_long_as_not_all_do(before, now, held):
    assert (loss({"": before}, {"": now}, 0.2) is not None) is held


@pytest.mark.parametrize(("share", "now", "held"), [("50%", 50, False), ("50%", 49, True), ("100%", 1, False)])
def test_the_share_is_the_settings(share, now, held):
    assert (loss({"": 100}, {"": now}, share_of(share)) is not None) is held


def test_none_at_all_is_held_back_whatever_the_share():
    assert loss({"": 100}, {}, share_of("100%")) == "100 rows at the last delivery, 0 now"


def test_a_guard_that_is_off_lets_everything_through():
    assert loss({"": 100}, {}, share_of("off")) is None


def test_a_month_of_many_rows_is_not_lost_among_many_months():
    before = {f"2025-{month:02}": 30 for month in range(1, 13)}
    assert loss(before, {**before, "2025-03": 0}, 0.2) == "30 rows of 2025-03 at the last delivery, none now"
    assert loss({**before, "2025-03": 19}, {**before, "2025-03": 0}, 0.2) is None


# -- what mogul.yaml says


@pytest.mark.parametrize(
    ("text", "guard"), [("", 0.2), ("guard: 35%", 0.35), ("guard: 7.5 %", 0.075), ("guard: off", None)]
)
def test_a_destination_has_its_own_share(tmp_path, text, guard):
    assert _entry(tmp_path, text).guard == pytest.approx(guard)


@pytest.mark.parametrize("wrong", ["0.2", "120%", "-3%", "some", "true", "[]"])
def test_a_share_that_is_none_is_told_by_its_destination(tmp_path, wrong):
    assert "write a share such as 20%, or off" in _entry(tmp_path, f"guard: {wrong}").problem


def _entry(folder, text):
    file = folder / "mogul.yaml"
    file.write_text(f"account: {{sandbox: true}}\ndestinations: {{lake: {{type: files, path: out, {text}}}}}")
    return load(file).entry("lake")


# -- what is delivered

SETTINGS = f"""
account: {{sandbox: true, since: {LAST}}}
destinations:
  lake: {{type: files, path: out/files, datasets: [plans, mrr_movements], GUARD}}
"""


@pytest.fixture
def lake(tmp_path, instance):
    """A project with one destination, and this many rows of each dataset delivered to it."""

    def make(guard="", *, plans=40, last=40, this=40):
        lake = Lake(tmp_path, instance, None, SETTINGS.replace("GUARD", guard))
        lake.publish(plans=plans, last=last, this=this)
        assert lake.sent(LAST) == {}
        return lake

    return make


class Lake(Project):
    def publish(self, *, plans, last, this):
        """What a refresh would bring: so many plans, and movements of the last month and of this one."""
        moments = [datetime(month.year, month.number, 1, tzinfo=UTC) for month in (LAST, THIS)]
        dated = [{"date": moment} for moment, count in zip(moments, (last, this), strict=True) for _ in range(count)]
        for name, rows in (("plans", [{}] * plans), ("mrr_movements", dated)):
            dataset, generation = DATASETS[name], new_generation()
            with duckdb.connect() as connection:
                connection.execute("SET TimeZone = 'UTC'")
                connection.register("made", pa.Table.from_pylist(_complete(dataset, rows), schema=dataset.schema))
                files = settle.write(connection, "made", dataset, self.store.folder(dataset, generation), generation)
            self.store.publish({dataset: files}, generation=generation, read_at=NOW, typed_from=[generation])

    def sent(self, first=THIS, **config):
        """Why each dataset was not delivered, of a run over the months from ``first`` on."""
        given = {"run_config": {"resources": {"lake": {"config": config}}}} if config else {}
        return failures_of(self.run("deliver_lake", partition_range(first, THIS), **given))

    def rows(self, dataset):
        return json.loads((self.folder / "out/files" / dataset / "manifest.json").read_text())["rows"]


def _complete(dataset, rows):
    """Rows with whatever a column must hold."""
    text = {field.name for field in dataset.schema if not field.nullable and pa.types.is_string(field.type)}
    number = {field.name for field in dataset.schema if not field.nullable} - text
    return [{**dict.fromkeys(number, 1), **dict.fromkeys(text, f"{at:03}"), **row} for at, row in enumerate(rows)]


def test_what_lost_much_is_held_back_and_the_rest_is_delivered(lake):
    lake = lake()
    lake.publish(plans=31, last=40, this=41)
    ((step, why),) = lake.sent().items()
    assert step == "lake__plans"
    assert why.endswith(
        "lake: plans had 40 rows at the last delivery, 31 now: the old data stands"
        " → if that is meant: mogul sync lake --allow-loss"
    )
    assert (lake.rows("plans"), lake.rows("mrr_movements")) == (40, 81)


def test_what_is_held_back_stays_so_and_is_not_tried_again_by_itself(lake):
    lake = lake()
    lake.publish(plans=0, last=40, this=40)
    assert [list(lake.sent()) for _ in range(2)] == [["lake__plans"]] * 2
    mark = lake.store.watermark("lake", "plans")
    assert (mark.due_at, mark.transient, mark.held, mark.failures, mark.rows) == (None, False, True, 2, 40)


def test_a_loss_is_allowed_once(lake):
    lake = lake()
    lake.publish(plans=10, last=40, this=40)
    assert lake.sent(allow_loss=True) == {}
    assert lake.rows("plans") == 10
    lake.publish(plans=0, last=40, this=40)
    assert list(lake.sent()) == ["lake__plans"]


def test_a_loss_is_allowed_in_the_launchpad_of_send_now(lake):
    lake = lake()
    lake.publish(plans=10, last=40, this=41)

    def send(**config):
        return failures_of(
            lake.run("send_now", run_config={"ops": {"send": {"config": {"destination": "lake", **config}}}})
        )

    assert "1 of 2 delivered (mrr_movements), not plans; lake: plans had 40 rows" in send()["send.to_lake"]
    assert (lake.rows("plans"), lake.rows("mrr_movements")) == (40, 81), "what is behind it is delivered"
    assert send(allow_loss=True) == {}
    assert lake.rows("plans") == 10


def test_only_the_months_that_are_delivered_are_compared(lake):
    lake = lake(last=400)
    lake.publish(plans=40, last=400, this=30)
    assert "mrr_movements had 40 rows at the last delivery, 30 now" in lake.sent(THIS)["lake__mrr_movements"]
    assert lake.sent(LAST) == {}, "of 440 rows 10 are few"
    assert lake.rows("mrr_movements") == 430


def test_months_that_were_not_delivered_again_are_still_known(lake):
    lake = lake()
    assert lake.sent(THIS) == {}
    lake.publish(plans=40, last=0, this=40)
    assert "80 rows at the last delivery, 40 now" in lake.sent(LAST)["lake__mrr_movements"]


@pytest.mark.parametrize(("guard", "held"), [("guard: 60%", []), ("guard: off", []), ("guard: 40%", ["lake__plans"])])
def test_the_destinations_own_share_decides(lake, guard, held):
    lake = lake(guard)
    lake.publish(plans=20, last=40, this=40)
    assert list(lake.sent()) == held


def test_a_guard_that_is_off_delivers_nothing_at_all_too(lake):
    lake = lake("guard: off")
    lake.publish(plans=0, last=40, this=40)
    assert lake.sent() == {}
    assert lake.rows("plans") == 0
