"""Whether each destination's entry can be used: looked at daily, and whenever ``mogul.yaml`` says something else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dagster as dg

from mogul_assets.assets.deliveries import CONFIGURATION
from mogul_assets.messages import sending

MINUTE = 60


def configuration_job(checks: Iterable[dg.AssetChecksDefinition]) -> Any:
    """Evaluates the ``configuration`` check of every destination; connects to nothing."""
    return dg.define_asset_job(
        CONFIGURATION,
        selection=dg.AssetSelection.checks(*(key for check in checks for key in check.check_keys)),
        description="Say of each destination whether its entry in mogul.yaml can be used; connects to nothing.",
    )


def configuration_sensor(job: Any, digest: str, clock: sending.Clock = sending.now) -> dg.SensorDefinition:
    """Starts that job for each text of the file (its ``digest``) and each day, UTC: a variable may have gone."""

    @dg.sensor(
        name=CONFIGURATION,
        job=job,
        minimum_interval_seconds=MINUTE,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks at every destination's entry when mogul.yaml says something else, and once a day.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        seen = f"{digest} on {clock():%Y-%m-%d}"
        if context.cursor == seen:
            return dg.SkipReason("nothing has changed today")
        context.update_cursor(seen)
        return dg.RunRequest(run_key=f"{CONFIGURATION} {seen}")

    return sensor
