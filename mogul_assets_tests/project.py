"""A project in a folder of its own: settings, instance, and a small account that answers like ChartMogul's."""

import json
from datetime import UTC, datetime
from functools import cached_property

from mogul_assets.assets.common import sandbox_file
from mogul_assets.automation.jobs import deliver_range, refresh_range
from mogul_assets.definitions import build_definitions
from mogul_assets.settings import load
from mogul_assets.store.store import Store

NOW = datetime.now(UTC)

SETTINGS = """
account:
  sandbox: true
  since: {since}
destinations:
  warehouse: {{type: duckdb, path: out/mogul.duckdb, schedule: daily}}
  lake: {{type: files, path: out/files, schedule: daily}}
"""


class Project:
    """One mogul.yaml with everything that belongs to it; jobs run in this process."""

    def __init__(self, folder, instance, serving, text=None, resources=None):
        file = folder / "mogul.yaml"
        since = f"{NOW.year}-01"
        file.write_text(text or SETTINGS.format(since=since))
        self.folder, self.instance, self.serving, self.resources = folder, instance, serving, resources
        self.settings = load(file)
        self.store = Store(self.settings.store.path)
        if serving is not None:
            address = sandbox_file(self.settings.store.path)
            address.parent.mkdir(parents=True, exist_ok=True)
            address.write_text(json.dumps({"url": serving.url}))

    @cached_property
    def definitions(self):
        return build_definitions(self.settings, resources=self.resources)

    def run(self, job, tags=None, **more):
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, tags=tags or {}, raise_on_error=False, **more
        )

    def refresh(self, **tags):
        range_ = refresh_range(self.store, self.settings.account.since, NOW)
        return self.run("refresh", {**range_, **tags})

    def deliver(self, name):
        entry = self.settings.entry(name)
        range_ = deliver_range(self.store, name, entry.datasets, self.settings.account.since, NOW)
        return self.run(f"deliver_{name}", range_)


def failures_of(result):
    """Step and description of what failed in a run."""
    return {
        event.step_key: event.event_specific_data.error_display_string.splitlines()[0]
        for event in result.all_events
        if event.is_step_failure
    }
