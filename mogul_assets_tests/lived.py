"""A project that is lived with for as many days as one likes: its clock, and all that it stands on, is put forward."""

import importlib
import os
import pkgutil
import sqlite3
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from unittest import mock

import dagster as dg
import msgspec
import sqlalchemy as sa
from dagster._core.test_utils import freeze_time

import mogul_assets
from mogul_assets.automation.jobs import NEWS, deliver_range, refresh_range
from mogul_assets.automation.retention import PURGE
from mogul_assets.sandbox.company import generate
from mogul_assets.sandbox.server import NO_LIMITS, Sandbox, serve
from mogul_assets_tests.peers.receiver import SECRET, Receiver
from mogul_assets_tests.project import Project, failures_of

HOOK = {"HOOK_SECRET": SECRET}
DAY = timedelta(days=1)
STEPS = 50
"""Instructions of SQLite's machine between two counts."""
BRIEF = ("account/account", "account/customers", "account/plans", "source_data/plans")
"""What a refresh settles where the days are many: most of its time is Dagster's, the same for each asset."""
SETTINGS = """
account: {{sandbox: true, since: {since}}}
retention: {retention}
destinations:
  warehouse: {{type: duckdb, path: out/mogul.duckdb, datasets: [{datasets}]}}
  lake: {{type: files, path: out/files, datasets: [{datasets}]}}
  hook: {{type: webhook, url: '{url}', allow_private: [127.0.0.1], secret: {{env: HOOK_SECRET}}}}
"""


@dataclass(frozen=True)
class Day:
    """What a day left, and what it took.

    ``disk``: bytes of the whole folder. ``steps``: what SQLite's machine did, which grows with what is looked
    through. ``requests``: of the account, by the refresh. ``messages``: told so far.
    """

    disk: int
    steps: int
    requests: int
    messages: int


def _real():
    return datetime.now(UTC)


class _Put(type):
    """``datetime`` in all but what time it is."""

    def __instancecheck__(cls, instance):
        return isinstance(instance, datetime)

    def __call__(cls, *given, **named):
        return datetime(*given, **named)  # noqa: DTZ001 - as it was asked for

    def __getattr__(cls, name):
        return getattr(datetime, name)


class Clock:
    """What the modules of ours call ``datetime``, and Dagster its clock, while it is held."""

    def __init__(self, now):
        self.to(now)

        class Put(metaclass=_Put):
            @staticmethod
            def now(tz=None):
                # Time goes on within a day, or two runs would be of one moment.
                return (self.now + (_real() - self.put)).astimezone(tz)

        self._datetime = Put

    def to(self, now):
        self.now, self.put = now, _real()

    @contextmanager
    def held(self):
        names = [one.name for one in pkgutil.walk_packages(mogul_assets.__path__, "mogul_assets.")]
        ours = [
            importlib.import_module(n)
            for n in names
            if ".sandbox" not in n and "migrations" not in n and "__main__" not in n
        ]
        with ExitStack() as until:
            for struct in msgspec.Struct.__subclasses__():
                msgspec.json.Decoder(struct)  # it looks its types up when first used
            for module in ours:
                if getattr(module, "datetime", None) is datetime:
                    until.enter_context(mock.patch.object(module, "datetime", self._datetime))
            yield


@contextmanager
def counted():
    """Counts what SQLite does, in ``STEPS``, on every connection made meanwhile."""
    count = [0]

    def stepped():
        count[0] += 1

    def connected(connection, _record):
        if isinstance(connection, sqlite3.Connection):
            connection.set_progress_handler(stepped, STEPS)

    sa.event.listen(sa.pool.Pool, "connect", connected)
    try:
        yield count
    finally:
        sa.event.remove(sa.pool.Pool, "connect", connected)


def lived(folder, days, *, start, retention, customers=150, brief=False):
    """Yields a ``Day`` for each: the account lives on, and is read; all is delivered and told; what is old is purged.

    ``start`` is the moment of the first day; the last has to be past, by the clock of the disk. ``brief``: of the
    datasets only one.
    """
    company = generate(seed=11, now=start, customers=customers)
    clock = Clock(start)
    with (
        serve(Sandbox(company, limits=NO_LIMITS)) as serving,
        Receiver().running() as receiver,
        dg.DagsterInstance.local_temp(str(folder)) as instance,
        mock.patch.dict(os.environ, HOOK),
        clock.held(),
        counted() as steps,
    ):
        taken = ("plans",) if brief else ("plans", "mrr_movements")
        selected = [dg.AssetKey(one.split("/")) for one in BRIEF] if brief else None
        text = SETTINGS.format(
            datasets=", ".join(taken), since=f"{start - 40 * DAY:%Y-%m}", retention=retention, url=receiver.url
        )
        project = Project(folder, instance, serving, text)
        since = project.settings.account.since
        for day in range(days):
            now = start + day * DAY
            clock.to(now)
            before, asked = steps[0], len(serving.requests)
            with freeze_time(now):
                ran = [
                    project.run("refresh", refresh_range(project.store, since, now), asset_selection=selected),
                    *(
                        project.run(f"deliver_{name}", deliver_range(project.store, name, taken, since, now))
                        for name in ("warehouse", "lake")
                    ),
                ]
                requests = len(serving.requests) - asked
                ran.append(project.run(NEWS))
                _age(folder, now)
                ran.append(project.run(PURGE))
            _age(folder, now)
            assert all(one.success for one in ran), [failures_of(one) for one in ran]
            yield Day(size(folder), steps[0] - before, requests, len(receiver.taken))
            serving.sandbox.live(days=1, corrections=0, cancellations=0, merges=0, deletions=0)


def _age(folder, now):
    """Let what was made since be of the simulated moment: SQLite and the file system have clocks of their own."""
    for name, table in (("history/runs.db", "runs"), ("history/runs/index.db", "asset_check_executions")):
        with sqlite3.connect(folder / name) as connection:
            moment = f"{now:%Y-%m-%d %H:%M:%S.%f}"
            connection.execute(f"UPDATE {table} SET create_timestamp = ? WHERE create_timestamp > ?", (moment, moment))
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_mtime > now.timestamp():
            os.utime(path, (now.timestamp(), now.timestamp()))


def size(folder):
    """Bytes of all files but SQLite's logs of what is not yet in its files.

    One stays as long as some connection is open, and then has up to 4 MB (in one life of 60 days: on 4 of them).
    """
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("-wal", "-shm"))]
    return sum(path.stat().st_size for path in files)
