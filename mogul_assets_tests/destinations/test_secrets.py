"""Nothing that a failing delivery to a real peer leaves behind holds what it logs in with."""

import json
import re
import shutil
from contextlib import ExitStack

import dagster as dg
import pytest

from mogul_assets_tests.destinations.place import Spot
from mogul_assets_tests.destinations.places import PLACES
from mogul_assets_tests.peers.faults import Cut, FaultProxy
from mogul_assets_tests.project import NOW, Project

WRONG = "wr0ng-s3cret-4711"
CUT_AFTER_BYTES = 300
"""In the middle of logging in."""


def cut(stack, *given):
    """What was given, with each port of this machine behind a proxy that cuts every connection."""
    text = json.dumps(given)
    for port in {"".join(found) for found in re.findall(r'127\.0\.0\.1:(\d+)|"port": (\d+)', text)}:
        proxy = stack.enter_context(FaultProxy(int(port)))
        proxy.up = Cut(after=CUT_AFTER_BYTES)
        text = re.sub(rf"\b{port}\b", str(proxy.port), text)
    return json.loads(text)


def values(names, environment):
    """What may stand nowhere: the secrets, line by line, but for what frames a key."""
    lines = [line.strip() for name in names for line in environment[name].splitlines()]
    return [line for line in lines if len(line) >= 6 and not line.startswith("-----")]


def left(folder, secrets):
    """The files below the folder in which a secret stands."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if any(secret.encode() in path.read_bytes() for secret in secrets)]


REMOTE = {place.word: place for place in PLACES if place.peer}


@pytest.fixture(params=[pytest.param(place, marks=pytest.mark.peer) for place in REMOTE.values()], ids=str)
def remote(request):
    return request.param.on(request.getfixturevalue("peer")(request.param.peer))


@pytest.mark.parametrize("fault", ["cut", "wrong"])
def test_no_secret_stays_of_a_delivery_that_failed(remote, fault, stored, tmp_path, capfd):
    options = remote.options(Spot(tmp_path, remote.address))
    environment = dict(remote.address.get("environment", {}))
    names = set(re.findall(r'\{"env": "(\w+)"\}', json.dumps(options)))
    if not names:
        pytest.skip("its peer asks for nothing to log in with")
    work = tmp_path / "work"
    (work / "home").mkdir(parents=True)
    (work / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}")
    with ExitStack() as stack:
        if fault == "wrong":
            environment |= dict.fromkeys(names, WRONG)
        else:
            options, environment = cut(stack, options, environment)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in environment.items():
            patch.setenv(name, value)
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(work / "home")))
        entry = {"type": remote.word, "datasets": ["tags"], **options}
        settings = {"account": {"sandbox": True, "since": f"{NOW.year}-01"}, "destinations": {"shelf": entry}}
        project = Project(work, instance, None, json.dumps(settings, indent=1))
        shutil.copytree(stored.root, project.store.root)
        delivered = project.deliver("shelf")
        if fault == "wrong":
            project.run("test_destination")
    (work / "said").write_text("".join(capfd.readouterr()))
    assert fault == "wrong" or not delivered.success
    assert left(work, values(names, environment)) == []
