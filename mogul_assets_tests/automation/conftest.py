"""Projects whose store was filled by a refresh, and whose one destination is a shelf that does what it is told."""

import shutil

import dagster as dg
import pytest

from mogul_assets_tests.project import NOW, Project
from mogul_assets_tests.shelf import Shelf

SHELVED = ("plans", "tags", "customers", "mrr_movements")
SETTINGS = f"""
account: {{sandbox: true, since: {NOW.year}-01}}
destinations:
  shelf: {{type: shelf, datasets: [DATASETS], OPTIONS}}
"""


@pytest.fixture
def shelved(stored, tmp_path, instance):
    """A project with that store, and a shelf as its destination ``shelf``, with these options."""

    def make(options="", datasets=SHELVED):
        shelf = Shelf(name="shelf", path=str(tmp_path / "shelf"))
        text = SETTINGS.replace("DATASETS", ", ".join(datasets)).replace("OPTIONS", options)
        project = Project(tmp_path, instance, None, text, resources={"shelf": shelf})
        shutil.copytree(stored.root, project.store.root)
        project.shelf = shelf
        return project

    return make


def tick(project, sensor, cursor=None):
    """What a sensor answers at one tick: the runs that it asks for, its cursor, and why it skips."""
    with dg.build_sensor_context(instance=project.instance, definitions=project.definitions, cursor=cursor) as context:
        return sensor.evaluate_tick(context)


def started(project, request):
    """Run what a sensor asked for, as Dagster's daemon would."""
    return project.run(request.job_name, request.tags, asset_selection=request.asset_selection)


def datasets(request):
    return {key.path[-1] for key in request.asset_selection}
