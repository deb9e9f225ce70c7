"""Sending movements to webhooks that misbehave, by a process that is killed again and again; and what arrived.

For the tests and, at length, for ``benchmarks/messages.py``. Receivers are processes of their own: they outlive the
sender, and are asked at the end what they took.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pyarrow as pa

from mogul_assets.catalog.datasets import MOVEMENT_NEWS
from mogul_assets.destinations.messenger import LedgerResource
from mogul_assets.destinations.webhook import WebhookDestination
from mogul_assets.errors import DestinationRefused, DestinationUnavailable
from mogul_assets.messages.ledger import Ledger
from mogul_assets.messages.message import State
from mogul_assets.messages.sending import Policy
from mogul_assets.store.table import Table
from mogul_assets_tests import killing
from mogul_assets_tests.peers import servers
from mogul_assets_tests.peers.receiver import SECRET, Taken
from mogul_assets_tests.tables import table_of

VARIABLE = "FAULTS_WEBHOOK_SECRET"
HURRY = 50
"""By how much the pauses between tries are shortened."""
LAG_SECONDS = 1
"""So long after its sender was killed a receiver may still read a request from the connection."""


class HurriedWebhook(WebhookDestination):
    """Webhooks with the pauses of three days in an hour and a half."""

    POLICY: ClassVar[Policy] = replace(
        WebhookDestination.POLICY, retries=tuple(pause / HURRY for pause in WebhookDestination.POLICY.retries)
    )


def movements(folder: Path, count: int, customers: int) -> Table:
    """So many movements of the last minutes, of so many customers in turns: a customer's MRR grows by a dollar."""
    now = datetime.now(UTC)
    rows = [
        {
            "uuid": f"movement-{number:07}",
            "movement_key": f"{number:032x}",
            "identity": f"{number:032x}",
            "date": now - timedelta(minutes=10) + timedelta(milliseconds=number),
            "movement_type": "expansion" if number >= customers else "new_biz",
            "description": "switched plan from Yellow to Blue",
            "mrr_movement": 100,
            "mrr": 100 * (number // customers + 1),
            "rank": 1,
            "currency_code": "USD",
            "customer_uuid": f"cus_{number % customers:07}",
            "customer_name": f"Customer {number % customers}",
            "customer_email": f"customer{number % customers}@example.com",
            "customer_status": "Active",
            "customer_mrr": 100 * (number // customers + 1),
            "customer_arr": 1200 * (number // customers + 1),
            "customer_external_ids": json.dumps([f"ext_{number % customers}"]),
            "custom_attributes": '{"tier": "gold", "seats": 12}',
        }
        for number in range(count)
    ]
    data = pa.Table.from_pylist(rows, schema=MOVEMENT_NEWS.schema)
    return table_of(folder, data, dataset=MOVEMENT_NEWS.name, key=MOVEMENT_NEWS.key)


def webhook(name: str, url: str, ledger: Path, kind: type[WebhookDestination] = HurriedWebhook) -> WebhookDestination:
    """A destination on this machine, known to the ledger since yesterday: today's movements are news to it."""
    os.environ[VARIABLE] = SECRET
    resource = LedgerResource(path=str(ledger))
    with resource.open() as opened:
        opened.standing(name, datetime.now(UTC) - timedelta(days=1))
    return kind(name=name, url=url, secret={"env": VARIABLE}, allow_private=["127.0.0.1"], ledger=resource)  # type: ignore[arg-type]


@contextmanager
def receivers(folder: Path, scripts: Sequence[str]) -> Iterator[dict[str, str]]:
    """URLs by script, each of a receiver in a process of its own; nobody listens at that of ``down``."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        urls = {}
        for script in scripts:
            port = servers.free_port()
            urls[script] = f"http://127.0.0.1:{port}/"
            if script != "down":
                module = "mogul_assets_tests.peers.receiver"
                command = [sys.executable, "-m", module, "--port", str(port), "--script", script]
                group = servers.started(command, log=folder / f"{script}.log", ready=servers.reachable(port))
                stack.callback(servers.stop, group)
        yield urls


def taken(url: str) -> list[Taken]:
    """What a receiver took, in order."""
    with urllib.request.urlopen(f"{url}taken", timeout=60) as answer:
        return msgspec.json.decode(answer.read(), type=list[Taken])


def counted(url: str) -> int:
    with urllib.request.urlopen(f"{url}count", timeout=60) as answer:
        return int(answer.read())


def send(table: Table, urls: Mapping[str, str], ledger: Path) -> None:
    """Tell the movements to each webhook, again and again, until nothing but what is for nobody is left."""
    threads = [threading.Thread(target=tell, args=(webhook(name, url, ledger), table)) for name, url in urls.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def tell(destination: WebhookDestination, table: Table) -> None:
    """Again and again until nothing waits; once where nobody is there."""
    waiting = True
    while waiting:
        try:
            waiting = bool(destination.tell([table]).details["messages waiting"])
        except (DestinationUnavailable, DestinationRefused):
            waiting = destination.name != "down"


@dataclass
class Figures:
    """What one receiver took, against what was told it."""

    requests: int = 0
    forged: int = 0
    ids: int = 0
    movements: int = 0
    two_contents: int = 0
    two_ids: int = 0
    out_of_turn: int = 0
    again_by_kill: list[int] = field(default_factory=list)
    """Messages taken before and after each kill: what was in flight then."""
    again_otherwise: int = 0


def judged(requests: Sequence[Taken], kills: Sequence[float]) -> Figures:
    """Figures of the requests that came whole, answered with success (or cut off after they were taken)."""
    good = [one for one in requests if one.status in (0, 200)]
    contents: dict[str, set[str]] = {}
    ids: dict[str, set[str]] = {}
    last: dict[str, Taken] = {}
    turns: dict[str, int] = {}
    figures = Figures(requests=len(requests), forged=sum(not one.valid for one in requests))
    figures.again_by_kill = [0] * len(kills)
    for one in requests:
        contents.setdefault(one.id, set()).add(one.digest)
        ids.setdefault(one.key, set()).add(one.id)
    for one in good:
        before = last.get(one.id)
        if before is None:
            figures.out_of_turn += one.sequence != turns.get(one.customer, 0) + 1
            turns[one.customer] = max(one.sequence or 0, turns.get(one.customer, 0))
        elif before.status == 200:  # else its answer was cut off, and it had to come again
            between = [place for place, at in enumerate(kills) if before.at <= at <= one.at] or [
                place for place, at in enumerate(kills) if at <= before.at <= at + LAG_SECONDS
            ]
            if between:
                figures.again_by_kill[between[0]] += 1
            else:
                figures.again_otherwise += 1
        last[one.id] = one
    figures.ids, figures.movements = len({one.id for one in good}), len({one.key for one in good})
    figures.two_contents = sum(len(each) > 1 for each in contents.values())
    figures.two_ids = sum(len(each) > 1 for each in ids.values())
    return figures


@dataclass
class Run:
    seconds: float
    kills: int
    by_receiver: dict[str, Figures]
    states: dict[str, dict[State, int]]


def run(folder: Path, *, count: int, customers: int, kills: int, seed: int, scripts: Sequence[str]) -> Run:
    """Send so many movements to these receivers while the sender is killed so often; and judge what arrived."""
    chance = random.Random(seed)
    table, ledger = movements(folder / "tables", count, customers), folder / "ledger.db"
    with receivers(folder, scripts) as urls:
        live = {name: url for name, url in urls.items() if name != "down"}
        for name, url in urls.items():
            webhook(name, url, ledger)
        began, moments = time.monotonic(), []
        for left in range(kills, 0, -1):
            child = killing.begin(send, table, urls, ledger)
            arrived = sum(map(counted, live.values()))
            pace = max(1, (count * len(live) - arrived) // (left + 1))
            if not _reached(child, live, arrived + chance.randint(1, pace)):
                killing.end(child)
                break
            child.kill()
            child.join()
            moments.append(time.time())
        killing.end(killing.begin(send, table, urls, ledger))
        seconds = time.monotonic() - began
        by_receiver = {name: judged(taken(url), moments) for name, url in live.items()}
    with Ledger.at(ledger) as opened:
        states = {name: opened.counts(name) for name in urls}
    return Run(seconds, len(moments), by_receiver, states)


def _reached(child: BaseProcess, live: Mapping[str, str], goal: int) -> bool:
    """Whether so many requests came while the sender ran."""
    while child.is_alive():
        if sum(map(counted, live.values())) >= goal:
            return True
        time.sleep(0.01)
    return False


def shown(figures: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(figures).items() if not isinstance(value, list)}
