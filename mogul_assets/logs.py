"""What Dagster's runs log, as one JSON object a line, for a log collector. ``dagster.yaml`` names the handler."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from typing import Any

FILE = "MOGUL_LOG_FILE"
"""The variable that names the file; where it is not set, nothing is written."""
WORTH_A_LINE = {"ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION", "RUN_START", "RUN_SUCCESS", "RUN_CANCELED"}
"""Events that Dagster logs for debugging only, with twenty others for each step, and that say what came of a run."""


class JsonLines(logging.Handler):
    """Appends to ``$MOGUL_LOG_FILE``: ``time`` (UTC), ``level``, ``message``, ``event`` (Dagster's, such as
    STEP_FAILURE), ``run``, ``job``, ``step``, ``asset`` and ``error``; those that are not known are left out.

    Every line is one write to a file that is opened for it: runs are processes of their own, and whoever rotates the
    file has nobody to tell. An error of ours is written as it reads; of others' only the kind, for their words may
    quote a customer's data.
    """

    def emit(self, record: logging.LogRecord) -> None:
        file = os.environ.get(FILE)
        if not file:
            return
        said = {name: value for name, value in described(record).items() if value}
        if record.levelno < logging.INFO and said.get("event") not in WORTH_A_LINE:
            return
        try:
            line = json.dumps(said, ensure_ascii=False)
            with open(file, "ab", buffering=0) as opened:  # noqa: PTH123 - one write, one line
                opened.write(f"{line}\n".encode())
        except OSError:
            self.handleError(record)


def described(record: logging.LogRecord) -> dict[str, Any]:
    """What a record of Dagster's says."""
    known: dict[str, Any] = getattr(record, "dagster_meta", {})
    event = known.get("dagster_event")
    key = None if event is None else event.asset_key
    return {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "message": known.get("orig_message") or record.getMessage(),
        "event": None if event is None else event.event_type_value,
        "run": known.get("run_id"),
        "job": known.get("job_name"),
        "step": known.get("step_key"),
        "asset": None if key is None else key.to_user_string(),
        "error": None if event is None else _error(event),
    }


def _error(event: Any) -> str | None:
    failure = event.step_failure_data if event.is_step_failure else None
    if failure is None:
        return None
    if failure.user_failure_data is not None and failure.user_failure_data.description:
        return str(failure.user_failure_data.description)
    return None if failure.error is None else str(failure.error.cls_name)
