"""Whether each destination's entry can be used: looked at daily, and whenever ``mogul.yaml`` says something else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from mogul_assets.assets.deliveries import CONFIGURATION
from mogul_assets.errors import ConfigurationError
from mogul_assets.messages import sending
from mogul_assets.settings import digest_of, load

MINUTE = 60


def configuration_job(checks: Iterable[dg.AssetChecksDefinition]) -> Any:
    """Evaluates the ``configuration`` check of every destination; connects to nothing."""
    return dg.define_asset_job(
        CONFIGURATION,
        selection=dg.AssetSelection.checks(*(key for check in checks for key in check.check_keys)),
        description="Say of each destination whether its entry in mogul.yaml can be used; connects to nothing.",
    )


def configuration_sensor(
    job: Any, checks: Sequence[dg.AssetChecksDefinition], file: Path, clock: sending.Clock = sending.now
) -> dg.SensorDefinition:
    """Starts that job for each text of the file and each day, UTC: a variable may have gone.

    The run's process loads the file anew, so that it is judged as it is, whatever Dagster has loaded. One that cannot
    be read keeps every run from starting: this sensor fails the checks itself, with the reason.
    """

    @dg.sensor(
        name=CONFIGURATION,
        job=job,
        minimum_interval_seconds=MINUTE,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks at every destination's entry when mogul.yaml says something else, and once a day. The check "
        "of a destination that is new in the file is there to be seen after Deployment → Reload all.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        seen = f"{digest_of(file)} on {clock():%Y-%m-%d}"
        if context.cursor == seen:
            return dg.SkipReason("nothing has changed today")
        try:
            load(file)
        except ConfigurationError as error:
            failed = [
                dg.AssetCheckEvaluation(key.asset_key, key.name, passed=False, description=str(error))
                for check in checks
                for key in check.check_keys
            ]
            return dg.SensorResult(cursor=seen, skip_reason=str(error), asset_events=failed)
        # Without a key: Dagster starts no run for one that it has seen, and a text may come back.
        return dg.SensorResult(cursor=seen, run_requests=[dg.RunRequest()])

    return sensor
