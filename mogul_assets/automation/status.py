"""``<destination>/status``: how a destination stands, on one page in the UI.

Observed, never materialised: by its button, and by a sensor whenever the page has changed. That sensor starts no
runs. Customers' data is not on it, and of a secret only the variable that holds it.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, cast

import dagster as dg
from dagster._utils.schedules import cron_string_iterator

from mogul_assets.assets.deliveries import DESTINATION, KINDS, concerns, configuration_problem
from mogul_assets.automation.freshness import overdue_since
from mogul_assets.destinations import TYPES
from mogul_assets.destinations.base import Destination
from mogul_assets.destinations.configured import Misconfigured
from mogul_assets.destinations.messenger import LedgerResource
from mogul_assets.errors import MogulError
from mogul_assets.messages import sending
from mogul_assets.messages.message import State
from mogul_assets.settings import Entry, Settings, digest_of
from mogul_assets.store.store import Store, Watermark

STATUS = "status"
INTERVAL_SECONDS = 60
LONGEST = 300
"""Characters of one setting, or one reason."""
_DATA_VERSION = "dagster/data_version"
"""Dagster's own tag of an observation."""
_CHANGED = (
    "mogul.yaml has changed since Dagster loaded it. Runs go by what it says now; schedules, new destinations and this "
    "page do after *Deployment → Reload all*."
)
LEFT = (State.WAITING, State.FAILED, State.UNKNOWN)
"""What is not over: messages that wait, were given up, or of which nobody knows whether they arrived."""


@dataclass(frozen=True)
class Standing:
    """All that the page of a destination tells, at one moment (UTC)."""

    entry: Entry
    marks: Mapping[str, Watermark]
    """By dataset."""
    problem: str | None = None
    """What keeps it from being delivered to at all."""
    messages: Mapping[State, int] = field(default_factory=dict)
    messages_due_at: datetime | None = None
    """When the next of them is tried, where it is not disabled."""
    now: datetime = field(default_factory=sending.now)
    loaded: bool = True
    """Whether the file still says what Dagster has loaded."""

    @property
    def failed(self) -> dict[str, Watermark]:
        return {name: mark for name, mark in self.marks.items() if mark.error is not None}

    @property
    def late(self) -> dict[str, datetime]:
        since = {
            name: overdue_since(self.entry, name, mark.delivered_at, self.now) for name, mark in self.marks.items()
        }
        return {name: tick for name, tick in since.items() if tick is not None}

    @property
    def word(self) -> str:
        """How it stands, in a few words; the worst that is so."""
        said = (
            ("paused", self.entry.paused),
            ("cannot run", self.problem is not None),
            ("failing", len(self.failed) == len(self.marks)),
            (f"{len(self.failed)} of {len(self.marks)} failing", bool(self.failed)),
            ("stale", bool(self.late)),
            ("never delivered", any(mark.delivered_at is None for mark in self.marks.values())),
        )
        return next((word for word, is_so in said if is_so), "delivered")

    @property
    def page(self) -> str:
        """The page in Markdown. It tells moments, not their age: it changes only when something happened."""
        name = self.entry.name
        parts = [f"## {name}: {self.word}", "" if self.loaded else _CHANGED, self._wrong(), self._deliveries()]
        if self.messages:
            parts.append("Messages: " + ", ".join(f"{self.messages.get(one, 0):,} {one.value}" for one in LEFT))
        commands = [f"mogul {what} {name}" for what in ("sync", "preview", "destinations test", "destinations edit")]
        commands.append(f"mogul destinations {'resume' if self.entry.paused else 'pause'} {name}")
        parts += [self._settings(), "### Commands", "\n".join(f"- `{command}`" for command in commands)]
        if self.entry.type in TYPES:
            parts.append(f"What each error means: `docs/destinations/{self.entry.type}.md`")
        return "\n\n".join(filter(None, parts))

    def _wrong(self) -> str:
        lines = [f"- {_short(self.problem)}"] if self.problem is not None else []
        for dataset, mark in self.failed.items():
            times = f"{mark.failures} times, the last " if mark.failures > 1 else ""
            again = self._next(dataset) if mark.due_at is None else _moment(mark.due_at)
            lines.append(
                f"- `{dataset}` failed {times}at {_moment(mark.failed_at)}: {_short(mark.error or '')}. "
                f"Next try: {again}."
            )
        lines += [f"- `{dataset}` is stale: due at {_moment(tick)}" for dataset, tick in self.late.items()]
        return "### What is wrong\n\n" + "\n".join(lines) if lines else ""

    def _deliveries(self) -> str:
        rows = [
            (dataset, _moment(mark.delivered_at), f"{mark.rows:,}", mark.generation or "-", self._next(dataset))
            for dataset, mark in self.marks.items()
        ]
        return _table(("Dataset", "Last delivery (UTC)", "Rows", "Generation", "Due next (UTC)"), rows)

    def _next(self, dataset: str) -> str:
        if self.entry.paused:
            return "paused"
        for timetable in self.entry.timetables:
            if dataset in timetable.datasets:
                ticks = cron_string_iterator(self.now.timestamp(), timetable.cron, timetable.time_zone)
                return _moment(next(ticks))
        if self.entry.real_time:
            return "as it happens"
        return "after each refresh" if self.entry.on_refresh else "by hand"

    def _settings(self) -> str:
        # What is wrong with an entry may be that a secret stands in it.
        settings = {**self.entry.options, **self.entry.choice}
        shown = {name: "…" if self.problem is not None else _value(one) for name, one in settings.items()}
        return "### Settings\n\n" + _table(("Setting", "Value"), [("type", self.entry.type), *shown.items()])


def status_assets(
    entries: Sequence[Entry], destinations: Mapping[str, Destination], settings: Settings
) -> dg.AssetsDefinition:
    """``<destination>/status`` of all of them; one step, whichever are observed."""

    @dg.multi_observable_source_asset(  # type: ignore[untyped-decorator]
        name="observe_status",
        specs=[
            dg.AssetSpec(
                [entry.name, STATUS],
                group_name=entry.name,
                description=f"How {entry.name} ({entry.type}) stands: what arrived, what is due, what failed and why. "
                "*Observe* looks at once; a sensor does whenever something changed.",
                kinds={KINDS.get(entry.type, entry.type)} if entry.type in TYPES else set(),
                tags={DESTINATION: entry.name},
            )
            for entry in entries
        ],
        can_subset=True,
    )
    def observe_status(context: dg.AssetExecutionContext) -> Iterator[dg.ObserveResult]:
        wanted = [one for one in entries if dg.AssetKey([one.name, STATUS]) in context.selected_asset_keys]
        concerns(context.instance, context.run, *(one.name for one in wanted))
        for standing in standings(wanted, destinations, settings, Store(settings.store.path)):
            yield dg.ObserveResult(
                asset_key=[standing.entry.name, STATUS],
                metadata=_metadata(standing),
                data_version=dg.DataVersion(_version(standing)),
            )

    return cast("dg.AssetsDefinition", observe_status)


def status_sensor(
    entries: Sequence[Entry], destinations: Mapping[str, Destination], settings: Settings
) -> dg.SensorDefinition:
    """Observes the pages that are not what they were. Its cursor is their versions, by destination."""

    @dg.sensor(
        name=STATUS,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Keeps the pages <destination>/status fresh; starts no runs.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        before: dict[str, str] = json.loads(context.cursor or "{}")
        found = standings(entries, destinations, settings, Store(settings.store.path))
        now = {standing.entry.name: _version(standing) for standing in found}
        changed = [one for one in found if before.get(one.entry.name) != now[one.entry.name]]
        return dg.SensorResult(
            cursor=json.dumps(now),
            skip_reason=None if changed else "nothing has changed",
            asset_events=[
                dg.AssetObservation(
                    [one.entry.name, STATUS], metadata=_metadata(one), tags={_DATA_VERSION: now[one.entry.name]}
                )
                for one in changed
            ],
        )

    return sensor


def standings(
    entries: Sequence[Entry], destinations: Mapping[str, Destination], settings: Settings, store: Store
) -> list[Standing]:
    """How each of them stands, by what store and ledger know; connects to none."""
    now, loaded = datetime.now(UTC), digest_of(settings.file) == settings.digest
    problems = {entry.name: configuration_problem(destinations[entry.name]) for entry in entries}
    messengers = [
        entry.name
        for entry in entries
        if entry.habits.messages and not isinstance(destinations[entry.name], Misconfigured)
    ]
    messages: dict[str, dict[State, int]] = {}
    due: dict[str, datetime] = {}
    if messengers:
        try:
            with LedgerResource.of(settings.ledger).open() as ledger:
                messages = {name: ledger.counts(name) for name in messengers}
                due, known = ledger.next_due(), ledger.known()
        except MogulError as error:
            problems |= {name: problems[name] or str(error) for name in messengers}
        else:
            problems |= {
                one.name: f"disabled: {one.disabled_reason} → mogul destinations resume {one.name}"
                for one in known
                if one.name in messengers and one.disabled_at is not None
            }
    return [
        Standing(
            entry,
            {name: store.watermark(entry.name, name) for name in entry.datasets},
            problems[entry.name],
            messages.get(entry.name, {}),
            due.get(entry.name) if entry.name in messages else None,
            now,
            loaded,
        )
        for entry in entries
    ]


def _metadata(standing: Standing) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        STATUS: dg.MetadataValue.md(standing.page),
        "state": standing.word,
        "datasets that failed": len(standing.failed),
    }
    if standing.entry.habits.messages:
        metadata["messages waiting"] = standing.messages.get(State.WAITING, 0)
    return metadata


def _version(standing: Standing) -> str:
    return sha256(standing.page.encode()).hexdigest()[:12]


def _moment(at: datetime | None) -> str:
    return "never" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def _value(value: Any) -> str:
    if isinstance(value, Mapping) and set(value) == {"env"}:
        return f"set from ${value['env']}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_value(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    text = json.dumps(value) if isinstance(value, bool) else str(value)
    return re.sub(r"//[^/@\s]*@", "//…@", text)  # who logs on, in an address


def _short(text: str) -> str:
    """On one line, and never so long that Dagster would refuse the page."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_short(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
