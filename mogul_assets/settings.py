"""``mogul.yaml``: the account, the store and the destinations, read and judged. No Dagster.

Two levels of error. What is wrong with the file itself, the account or the store stops everything, with line and
remedy. What is wrong with one destination's entry is kept beside that entry: its assets still load, running one
fails at once with the reason, and no other destination is harmed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.catalog.window import Month
from mogul_assets.errors import ConfigurationError
from mogul_assets.guard import SHARE, share_of
from mogul_assets.timetable import NAMED_SCHEDULES, REAL_TIME, Timetable, cron_of, is_time_zone

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

FILE = "mogul.yaml"
RESERVED = {"account", "source_data", "calculated_data", "internal", "mogul", "store", "refresh", "configuration"}
RETENTION = 90
SHORTEST_RETENTION = 7
"""Days. A movement is news for two days after its date, and a message is tried for up to two."""
NAME = re.compile(r"^[a-z][a-z0-9_]*$")
"""What a destination may be called; ``RESERVED`` words apart."""
OWNER = re.compile(r"^([A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}|team:.+)$")
"""An e-mail address or a team, as Dagster takes an asset's owner."""

ENTRY = {
    "datasets": "What is delivered; all that the type takes where it is left out.",
    "schedule": "When: daily, weekly, monthly, hourly, every 15 minutes, or a cron line; by hand where it is left out.",
    "schedules": "Datasets that have a schedule of their own, and which.",
    "hour": "The whole hour of daily, weekly and monthly.",
    "time_zone": "Of the schedule, such as Europe/Paris.",
    "on_refresh": "Whether it is delivered to after every refresh.",
    "paused": "Whether no schedule and no sensor delivers to it; by hand it still is.",
    "guard": "The share of its rows that a dataset may lose between two deliveries, such as 20%; off for any.",
    "formerly": "The name that it had before: what is remembered under that goes on under this one.",
    "owners": "Who looks after it, where that is somebody else than after everything: e-mail addresses, team:names.",
    "table_prefix": "What the names of its tables, or folders, begin with.",
    "tables": "Datasets whose table, or folder, has a name of its own, and which.",
    "columns": "Columns that are left out, or of which a salted hash is delivered, by dataset.",
    "rows": "Whose rows are delivered: of which data sources, countries, statuses and tags.",
}
"""The settings of a destination of any type, and what they mean."""


CHOICE = ("table_prefix", "tables", "columns", "rows")
"""The settings that say what of its datasets a destination gets; ``destinations.choice`` reads them."""


@dataclass(frozen=True, slots=True)
class Habits:
    """What an entry of a type means where it says nothing, as ChartMogul's own destinations have it.

    ``schedules`` are names that this type has other times for than ``NAMED_SCHEDULES``.
    """

    datasets: tuple[str, ...] = tuple(DATASETS)
    schedule: str | None = None
    schedules: Mapping[str, str] = field(default_factory=dict)
    time_zone: str = "UTC"
    together: bool = False
    """Whether its datasets go into one message."""
    messages: bool = False
    """Whether it sends messages: those cannot be sent again by a backfill, so its deliveries have no partitions."""


HABITS: Mapping[str, Habits] = {
    "email": Habits(datasets=("custom_attributes", "tags", "customers", "mrr_movements"), together=True, messages=True),
    "intercom": Habits(datasets=("customers",), schedule="daily", time_zone="Europe/Paris"),
    "slack": Habits(
        datasets=("mrr_movements",), schedule=REAL_TIME, schedules={"weekly": "0 {hour} * * 1"}, messages=True
    ),
    "webhook": Habits(datasets=("mrr_movements",), schedule=REAL_TIME, messages=True),
}
"""Of the types that do not take everything, at any time."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Secret(_Frozen):
    """A value that lives in an environment variable: the file names the variable and nothing else."""

    env: str = Field(min_length=1, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")

    def reveal(self) -> str:
        """The value.

        Raises:
            ConfigurationError: naming the variable, where it is not set or empty.
        """
        value = os.environ.get(self.env, "")
        if not value:
            raise ConfigurationError(
                f"the environment variable {self.env} is not set", remedy=f"export {self.env}=… and run again"
            )
        return value

    @model_validator(mode="before")
    @classmethod
    def _no_literal(cls, value: Any) -> Any:
        if isinstance(value, str | int):
            # The value itself is not repeated: it may be the secret.
            raise ValueError("a secret is written {env: NAME}, never as a literal")  # noqa: TRY004 - pydantic's own
        return value


class Sandbox(_Frozen):
    """The pretend account that stands in for a real one."""

    customers: int = Field(default=1200, ge=0, le=1_000_000)
    seed: int = 7


class Rates(_Frozen):
    """Who quotes the exchange rates: the European Central Bank, free, or Open Exchange Rates with a key."""

    provider: Literal["ecb", "ecb_offline", "open_exchange_rates"] = "ecb"
    app_id: Secret | None = None

    @model_validator(mode="after")
    def _with_key(self) -> Rates:
        if self.provider == "open_exchange_rates" and self.app_id is None:
            raise ValueError("open_exchange_rates needs app_id: {env: NAME}")
        return self


def _month(value: Any) -> Any:
    month = Month.parse(str(value)) if not isinstance(value, Month) else value
    if month > Month.of(datetime.now(UTC)):
        raise ValueError(f"{month} has not begun; write the first month that you want")
    return month


class AccountSettings(_Frozen):
    """The account to read: a key, or ``sandbox``. ``since`` is the first month; it takes everything older.

    ``full_read`` is how often lists are read whole that else are read up to what is known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    api_key: Secret | None = None
    sandbox: Sandbox | None = None
    url: str = "https://api.chartmogul.com/v1"
    since: Annotated[
        Month, BeforeValidator(_month), WithJsonSchema({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"})
    ] = Month(2010, 1)
    rates: Rates = Rates()
    full_read: Literal["weekly", "daily", "monthly", "always"] = "weekly"

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, dict):
            value = dict(value)
            if value.get("sandbox") is True:
                value["sandbox"] = {}
            if isinstance(value.get("rates"), str):
                value["rates"] = {"provider": value["rates"]}
        return value

    @model_validator(mode="after")
    def _one_account(self) -> AccountSettings:
        if (self.api_key is None) == (self.sandbox is None):
            raise ValueError("name one account: api_key: {env: NAME} for a real one, or sandbox: true")
        return self


class LedgerSettings(_Frozen):
    """Where messages are remembered: a file beside the store, or the Postgres database of a URL."""

    path: Path | None = None
    url: Secret | None = None

    @model_validator(mode="after")
    def _one_place(self) -> LedgerSettings:
        if self.path is not None and self.url is not None:
            raise ValueError("name one place: path: out/ledger.db, or url: {env: NAME}")
        return self


class LedgerPlace(LedgerSettings):
    """The ledger with an absolute path. What it knows of ``renamed`` destinations (old name to new) goes on there."""

    renamed: Mapping[str, str] = Field(default_factory=dict)


class StoreSettings(_Frozen):
    """Where reads and datasets live, and how many rows may be unreadable before a refresh is refused."""

    path: Path = Path("out/store")
    quarantine_limit: float = Field(default=0.01, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class Entry:
    """One destination of the file. ``options`` are its type's own settings; ``problem`` is what is wrong with it.

    It is delivered to after each tick of ``schedule``, a cron line in ``time_zone``, and with ``on_refresh`` after
    every refresh. ``period`` is the schedule's name where it has one: what a recap tells of. One that is ``paused``
    no schedule and no sensor delivers to; by hand it still is. ``formerly`` is the name that it had before.
    """

    name: str
    type: str
    datasets: tuple[str, ...]
    options: Mapping[str, Any]
    schedule: str | None
    line: int
    problem: str | None = None
    on_refresh: bool = False
    paused: bool = False
    period: str | None = None
    time_zone: str = "UTC"
    guard: float | None = SHARE
    """The share of a dataset's rows that may be gone at a delivery; ``None``: all of them."""
    formerly: str | None = None
    schedules: Mapping[str, str] = field(default_factory=dict)
    """The cron lines of those datasets that do not follow ``schedule``."""
    owners: tuple[str, ...] = ()
    """Who looks after it; none: those who look after everything."""
    choice: Mapping[str, Any] = field(default_factory=dict)
    """Those of the settings ``CHOICE`` that are there, as in the file."""

    @property
    def timetables(self) -> tuple[Timetable, ...]:
        """When which of its datasets are due; none where it is paused or cannot run."""
        if self.paused or self.problem is not None:
            return ()
        crons = {name: self.schedules.get(name, self.schedule) for name in self.datasets}
        return tuple(
            Timetable(cron, self.time_zone, tuple(name for name, its in crons.items() if its == cron))
            for cron in dict.fromkeys(crons.values())
            if cron is not None
        )

    @property
    def habits(self) -> Habits:
        return HABITS.get(self.type, Habits())

    @property
    def real_time(self) -> bool:
        return self.period == REAL_TIME

    @property
    def partitioned(self) -> bool:
        """Whether its deliveries of windowed datasets are by month."""
        return not self.habits.messages


ALERT_CHANNELS = {"slack": REAL_TIME, "email": "daily", "webhook": REAL_TIME}
"""The types that can tell what is wrong, and the period that an entry of theirs has to have."""
HOURS = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)$")
"""Of the day: from one time until another."""


@dataclass(frozen=True, slots=True)
class Alerts:
    """Who is told what is wrong: channels by type, each with the options of a destination of that type.

    Between ``quiet``'s two hours, in ``time_zone``, nobody is.
    """

    channels: Mapping[str, Entry] = field(default_factory=dict)
    quiet: tuple[time, time] | None = None
    time_zone: str = "UTC"


@dataclass(frozen=True)
class Settings:
    """All of ``mogul.yaml``. Paths are absolute, relative ones counted from the file."""

    file: Path
    account: AccountSettings
    store: StoreSettings
    ledger: LedgerPlace
    destinations: Mapping[str, Entry] = field(default_factory=dict)
    retention: int = RETENTION
    """Days that runs, what messages said and rows in quarantine stay."""
    digest: str = ""
    """Of the file's text: whether it says something else."""
    alerts: Alerts = field(default_factory=Alerts)
    owners: tuple[str, ...] = ()
    """Who looks after everything that no destination's own owners do."""

    def entry(self, name: str) -> Entry:
        """The destination of that name.

        Raises:
            ConfigurationError: with the names there are.
        """
        if name in self.destinations:
            return self.destinations[name]
        names = ", ".join(self.destinations) or "none"
        raise ConfigurationError(f"no destination '{name}' in {self.file.name}", remedy=f"there are: {names}")


def load(file: Path | None = None) -> Settings:
    """Read ``mogul.yaml``: the one given, ``$MOGUL_FILE``, or the one in this folder.

    Raises:
        ConfigurationError: what is wrong, on which line, and what would be right.
    """
    file = (file or Path(os.environ.get("MOGUL_FILE", FILE))).absolute()
    return parsed(file, _text(file))


def parsed(file: Path, text: str) -> Settings:
    """What a file with this text says; paths are counted from ``file``. Raises as ``load`` does."""
    root = _parse(file, text)
    known = {"account", "store", "ledger", "destinations", "retention", "alerts", "owners"}
    for key in root:
        if key not in known:
            raise _wrong(file, root, key, f"unknown key '{key}'", f"there are: {', '.join(sorted(known))}")
    if "account" not in root:
        raise ConfigurationError(f"{file.name} has no account", remedy="add  account: {sandbox: true}  to try it out")
    account = _model(file, root, "account", AccountSettings)
    store = _model(file, root, "store", StoreSettings) if "store" in root else StoreSettings()
    store = store.model_copy(update={"path": file.parent / store.path})
    ledger = _model(file, root, "ledger", LedgerSettings) if "ledger" in root else LedgerSettings()
    retention = root.get("retention", RETENTION)
    if type(retention) is not int or retention < SHORTEST_RETENTION:
        raise _wrong(
            file, root, "retention", f"retention is '{retention}'", f"write days, {SHORTEST_RETENTION} at least: 90"
        )
    try:
        owners = _owners(root.get("owners"))
    except ValueError as error:
        raise _wrong(file, root, "owners", *str(error).split("; ")) from None
    entries = root.get("destinations") or CommentedMap()
    if not isinstance(entries, CommentedMap):
        raise _wrong(file, root, "destinations", "destinations is not a mapping", "write  name: {type: duckdb, …}")
    destinations = {}
    for name in entries:
        if not isinstance(name, str) or not NAME.fullmatch(name) or name in RESERVED:
            taken = " (the word is taken)" if name in RESERVED else ""
            raise _wrong(
                file,
                entries,
                name,
                f"'{name}' cannot be a destination's name{taken}",
                "use a-z, 0-9 and _, like my_warehouse",
            )
        destinations[name] = _entry(name, entries[name], entries.lc.key(name)[0] + 1)
    renamed: dict[str, str] = {}
    for name, entry in destinations.items():
        if entry.formerly is not None and entry.formerly not in destinations:  # one that is there keeps what is its own
            renamed.setdefault(entry.formerly, name)
    path = file.parent / (ledger.path or store.path.parent / "ledger.db")
    place = LedgerPlace.model_construct(path=path, url=ledger.url, renamed=renamed)
    return Settings(file, account, store, place, destinations, retention, _digest(text), _alerts(file, root), owners)


def digest_of(file: Path) -> str:
    """What the file's ``Settings.digest`` would be now; empty where there is nothing to be read. 50 µs."""
    try:
        return _digest(_text(file))
    except ConfigurationError:
        return ""


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            f"there is no {file}", remedy="run in the project's folder, or name the file: MOGUL_FILE=…"
        ) from None
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"cannot read {file}: {type(error).__name__}", remedy="check the file") from None


def _parse(file: Path, text: str) -> CommentedMap:
    try:
        root = YAML(typ="rt").load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        name = re.search(r'found duplicate key "([^"]+)"', str(error.problem))
        raise ConfigurationError(
            f"{file.name}, line {line}: '{name[1] if name else 'a key'}' is there twice", remedy="rename or remove one"
        ) from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigurationError(f"{file.name}, line {line}: {error.problem}", remedy="mend the YAML there") from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigurationError(
            f"{file.name}, line {line}: a character that YAML does not allow",
            remedy="remove it, or write it as an escape in double quotes",
        ) from None
    if not isinstance(root, CommentedMap):
        raise ConfigurationError(
            f"{file.name} is empty or not a mapping", remedy="begin with  account: {sandbox: true}"
        )
    return root


_Model = TypeVar("_Model", bound=BaseModel)


def _model(file: Path, root: CommentedMap, key: str, model: type[_Model]) -> _Model:
    try:
        return model.model_validate(_plain(root[key]))
    except ValidationError as error:
        node, name = root, key  # the setting that is wrong, or the nearest around it that is there
        for part in map(str, _first(error)["loc"]):
            if isinstance(node[name], CommentedMap) and part in node[name]:
                node, name = node[name], part
        raise _wrong(file, node, name, describe(error, within=key), "see the README, 'Settings'") from None


def _alerts(file: Path, root: CommentedMap) -> Alerts:
    """Who is told what is wrong. A channel's own options are judged where it is made."""
    body = root.get("alerts")
    if body is None:
        return Alerts()
    if not isinstance(body, CommentedMap):
        raise _wrong(file, root, "alerts", "alerts is not a mapping", "write  alerts: {slack: {token: …, channels: …}}")
    known = (*ALERT_CHANNELS, "quiet", "time_zone")
    for key in body:
        if key not in known:
            raise _wrong(file, body, key, f"alerts: unknown key '{key}'", f"there are: {', '.join(known)}")
    hours = HOURS.fullmatch(str(body.get("quiet", "00:00-00:00")))
    if hours is None:
        raise _wrong(file, body, "quiet", f"quiet is '{body['quiet']}'", 'write  quiet: "22:00-07:00"')
    start, end = (time(int(hours[at]), int(hours[at + 1])) for at in (1, 3))
    time_zone = str(body.get("time_zone", "UTC"))
    if not is_time_zone(time_zone):
        raise _wrong(file, body, "time_zone", f"'{time_zone}' is no time zone", "write one such as Europe/Paris")
    channels = {
        type_: Entry(
            f"alerts_{type_}",
            type_,
            HABITS[type_].datasets,
            _plain(body[type_]) if isinstance(body[type_], CommentedMap) else {},
            None,
            body.lc.key(type_)[0] + 1,
            None if isinstance(body[type_], CommentedMap) else "it is not a mapping of settings",
            period=period,
        )
        for type_, period in ALERT_CHANNELS.items()
        if type_ in body
    }
    return Alerts(channels, None if start == end else (start, end), time_zone)


def _entry(name: str, body: Any, line: int) -> Entry:
    """One destination; what is wrong with it is noted, the first of it, and not raised."""
    options = _plain(body) if isinstance(body, CommentedMap) else {}
    problem = None if isinstance(body, CommentedMap) else "it is not a mapping; write  type: duckdb  below it"
    type_ = options.pop("type", None)
    if not isinstance(type_, str):
        problem = problem or "it names no type; write  type: duckdb"
    habits = HABITS.get(str(type_), Habits())
    wanted = options.pop("datasets", "all")
    named = habits.datasets if wanted == "all" else tuple(map(str, wanted if isinstance(wanted, list) else [wanted]))
    found: dict[str, Any] = {}
    # What a setting is where it is left out; what judges it, and raises ``ValueError``; what stands for one that is
    # wrong. In the order in which problems are told.
    settings: dict[str, tuple[Any, Callable[[Any], Any], Any]] = {
        # An entry that names nothing known still has its assets, to say in Dagster what is wrong with it.
        "datasets": (named, _datasets, tuple(name for name in DATASETS if name in named) or habits.datasets),
        "hour": (None, _hour, None),
        "time_zone": (habits.time_zone, _time_zone, "UTC"),
        "schedule": (habits.schedule, lambda given: _schedule(given, found["hour"], habits), (None, None)),
        "schedules": (None, lambda given: _own_schedules(given, found["datasets"], habits), {}),
        "on_refresh": (False, lambda given: _on_refresh(given, habits), False),
        "paused": (False, lambda given: _flag("paused", given), True),  # whoever wrote something wanted it quiet
        "formerly": (None, _formerly, None),
        "owners": (None, _owners, ()),
        "guard": (f"{SHARE:.0%}", share_of, SHARE),
    }
    for setting, (default, judge, instead) in settings.items():
        try:
            found[setting] = judge(options.pop(setting, default))
        except ValueError as error:
            problem, found[setting] = problem or str(error), instead
    del found["hour"]
    found["schedule"], found["period"] = found["schedule"]
    found["choice"] = {key: options.pop(key) for key in CHOICE if key in options}
    return Entry(name, str(type_ or "unknown"), options=options, line=line, problem=problem, **found)


def _datasets(named: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := [name for name in named if name not in DATASETS]:
        raise ValueError(f"unknown dataset '{unknown[0]}'; there are: {', '.join(DATASETS)}")
    if not named:
        raise ValueError("datasets names none; leave it out for all of them")
    return tuple(name for name in DATASETS if name in named)


def _hour(given: Any) -> int | None:
    if given is not None and (not isinstance(given, int) or not 0 <= given <= 23):
        raise ValueError(f"hour is '{given}'; write a whole hour, 0 to 23")
    return given


def _time_zone(given: Any) -> str:
    if not is_time_zone(str(given)):
        raise ValueError(f"'{given}' is no time zone; write one such as Europe/Paris")
    return str(given)


def _schedule(given: Any, hour: int | None, habits: Habits) -> tuple[str | None, str | None]:
    """The cron line, and the schedule's name where it has one."""
    period = str(given) if given in (*NAMED_SCHEDULES, REAL_TIME) else None
    told = given == REAL_TIME == habits.schedule
    if hour is None and (given is None or told):
        return None, period
    return cron_of(str(given), hour, {**NAMED_SCHEDULES, **habits.schedules}), period


def _flag(setting: str, given: Any) -> bool:
    if not isinstance(given, bool):
        raise ValueError(f"{setting} is '{given}'; write true or false")  # noqa: TRY004 - as all of them
    return given


def _on_refresh(given: Any, habits: Habits) -> bool:
    if _flag("on_refresh", given) and habits.messages:
        raise ValueError("on_refresh is not for messages; they have their schedule")
    return bool(given)


def _formerly(given: Any) -> str | None:
    if given is not None and (not isinstance(given, str) or not NAME.fullmatch(given)):
        raise ValueError(f"formerly is '{given}'; write the name that it had")
    return given


def _owners(given: Any) -> tuple[str, ...]:
    """Raises ``ValueError``: what is wrong; what would be right."""
    owners = [given] if isinstance(given, str) else given or []
    for owner in owners if isinstance(owners, list) else [owners]:
        if not isinstance(owner, str) or not OWNER.fullmatch(owner):
            raise ValueError(f"owners: '{owner}' is no owner; write data@example.com or team:data")
    return tuple(owners)


def _own_schedules(given: Any, datasets: tuple[str, ...], habits: Habits) -> dict[str, str]:
    """The cron lines of the datasets that have a schedule of their own. Raises ``ValueError``."""
    if given is None:
        return {}
    if habits.messages:
        raise ValueError("schedules is not for messages; their datasets go together")
    if not isinstance(given, dict):
        raise ValueError("schedules is not a mapping; write  schedules: {mrr_movements: hourly}")  # noqa: TRY004 - as below
    for name in given:
        if name not in datasets:
            raise ValueError(f"schedules: '{name}' is not delivered there; it takes {', '.join(datasets)}")
    return {str(name): cron_of(str(schedule)) for name, schedule in given.items()}


def _plain(node: Any) -> Any:
    """The node without the line numbers that ruamel keeps in it."""
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    return [_plain(item) for item in node] if isinstance(node, list) else node


def describe(error: ValidationError, *, within: str = "") -> str:
    """What pydantic found, in one line: the field and what is wrong with it, never the value."""
    first = _first(error)
    place = ".".join(str(part) for part in (*([within] if within else []), *first["loc"]))
    message = {
        "extra_forbidden": "there is no such setting",
        "missing": "is missing",
        "model_type": "is not a mapping of settings",
        "string_type": "should be a text, written here as it is: {env: NAME} is for secrets",
    }.get(first["type"], first["msg"].removeprefix("Value error, "))
    return f"{place}: {message}" if place else message


def _first(error: ValidationError) -> ErrorDetails:
    return error.errors(include_input=False, include_url=False)[0]


def _wrong(file: Path, node: CommentedMap, key: Any, message: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"{file.name}, line {node.lc.key(key)[0] + 1}: {message}", remedy=remedy)
