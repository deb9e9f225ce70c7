"""What runs log as JSON lines: what happened where, and nobody's data."""

import json
import logging
from types import SimpleNamespace

import pytest

from mogul_assets.logs import FILE, JsonLines
from mogul_assets_tests.cli.conftest import SINCE

BACKFILL = ("backfill", "--no-refresh", "--from", str(SINCE), "--to", str(SINCE))


def test_a_run_writes_a_line_for_each_thing_that_happens(synced, tmp_path):
    file = tmp_path / "log.jsonl"
    broken = synced.folder / "mogul.yaml"
    broken.write_text(broken.read_text().replace("out/files", "/proc/nowhere"))
    assert synced.mogul(*BACKFILL, **{FILE: str(file)}).exit_code == 1
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    (failed,) = [line for line in lines if line.get("event") == "STEP_FAILURE"]
    assert (failed["job"], failed["step"], failed["level"]) == ("deliver_lake", "lake__mrr_movements", "error")
    assert failed["error"].startswith("lake: ")
    arrived = {line["asset"] for line in lines if line.get("event") == "ASSET_MATERIALIZATION"}
    assert arrived == {"warehouse/mrr_movements", "warehouse/currency_rates"}
    assert len({line["run"] for line in lines}) == 2
    assert all({"time", "level", "message"} <= line.keys() for line in lines)


def test_without_the_variable_nothing_is_written(synced, monkeypatch):
    monkeypatch.delenv(FILE, raising=False)
    before = sorted(synced.folder.glob("*"))
    assert synced.mogul(*BACKFILL, "warehouse").exit_code == 0
    assert sorted(synced.folder.glob("*")) == before


@pytest.mark.parametrize("ours", [True, False])
def test_of_others_errors_only_the_kind_is_written(tmp_path, monkeypatch, ours):
    monkeypatch.setenv(FILE, str(tmp_path / "log.jsonl"))
    failure = SimpleNamespace(
        user_failure_data=SimpleNamespace(description="lake: full → make room") if ours else None,
        error=SimpleNamespace(cls_name="KeyError", message="KeyError: 'Ada Lovelace'"),
    )
    event = SimpleNamespace(
        asset_key=None, event_type_value="STEP_FAILURE", is_step_failure=True, step_failure_data=failure
    )
    record = logging.LogRecord("dagster", logging.ERROR, "", 0, "the step\nfailed: KeyError: 'Ada Lovelace'", (), None)
    record.dagster_meta = {"dagster_event": event, "orig_message": "Execution of step failed.", "run_id": "r"}
    JsonLines().emit(record)
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["error"] == ("lake: full → make room" if ours else "KeyError")
    assert "Ada" not in line


def test_a_file_that_cannot_be_written_stops_no_run(synced):
    assert synced.mogul(*BACKFILL, "warehouse", **{FILE: "/proc/nowhere/log.jsonl"}).exit_code == 0
