"""What all three kinds of asset share: the months, the resources, and how an error becomes a failure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from mogul_assets.account.client import Client, Limits
from mogul_assets.account.rates import EcbRates, OpenExchangeRates, RateProvider
from mogul_assets.account.reader import Account
from mogul_assets.catalog.window import Month, Window
from mogul_assets.errors import AccountUnavailable, MogulError, TerminalError, kind_of
from mogul_assets.settings import AccountSettings, Secret, Settings
from mogul_assets.store.store import Store
from mogul_assets.store.table import Table, new_generation

SANDBOX_KEY = "sandbox"


def months(since: Month) -> dg.MonthlyPartitionsDefinition:
    """The partitions of windowed assets: UTC months from the account's first to the current one."""
    return dg.MonthlyPartitionsDefinition(start_date=since.partition_key, end_offset=1)


class StoreResource(dg.ConfigurableResource[Any]):
    """Where reads and datasets live."""

    path: str
    quarantine_limit: float

    def open(self) -> Store:
        return Store(Path(self.path))


class AccountResource(dg.ConfigurableResource[Any]):
    """The account that is read: secrets by the names of their variables, the sandbox by where it says it runs."""

    url: str
    since: str
    key_variable: str | None = None
    rates: str
    rates_key_variable: str | None = None
    sandbox_file: str | None = None
    full_read: str

    @classmethod
    def of(cls, settings: AccountSettings, store: Path) -> AccountResource:
        return cls(
            url=settings.url,
            since=str(settings.since),
            key_variable=settings.api_key.env if settings.api_key else None,
            rates="ecb_offline" if settings.sandbox else settings.rates.provider,
            rates_key_variable=settings.rates.app_id.env if settings.rates.app_id else None,
            sandbox_file=str(sandbox_file(store)) if settings.sandbox else None,
            full_read=settings.full_read,
        )

    def open(self, limits: Limits | None = None) -> Account:
        """The account, connected when first read.

        Raises:
            ConfigurationError: the variable with the key is not set.
            AccountUnavailable: the sandbox does not run.
        """
        since = Month.parse(self.since)
        if self.sandbox_file is not None:
            return Account(Client.shared(self._sandbox_url(Path(self.sandbox_file)), SANDBOX_KEY, limits), since=since)
        assert self.key_variable is not None  # the settings name one account or the other
        return Account(Client.shared(self.url, Secret(env=self.key_variable).reveal(), limits), since=since)

    def _sandbox_url(self, file: Path) -> str:
        try:
            return str(json.loads(file.read_text())["url"])
        except (OSError, ValueError, KeyError):
            raise AccountUnavailable(
                "the sandbox account does not run", remedy="start it: mogul sandbox, make ui or mogul sync"
            ) from None

    def rate_provider(self) -> RateProvider:
        if self.rates == "open_exchange_rates":
            assert self.rates_key_variable is not None  # the settings ask for it
            return OpenExchangeRates(Secret(env=self.rates_key_variable).reveal())
        return EcbRates("bundled") if self.rates == "ecb_offline" else EcbRates()


def sandbox_file(store: Path) -> Path:
    """Where a running sandbox says its address, for every process that works on this store."""
    return store.parent / "sandbox.json"


def resources(settings: Settings) -> dict[str, Any]:
    return {
        "account": AccountResource.of(settings.account, settings.store.path),
        "store": StoreResource(path=str(settings.store.path), quarantine_limit=settings.store.quarantine_limit),
    }


def generation_of(context: Any) -> str:
    """The one generation of everything a run writes: from when the run began, and its id."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    began = record.start_time or record.create_timestamp.timestamp()
    return new_generation(datetime.fromtimestamp(began, UTC), suffix=context.run.run_id[:4])


def span(context: Any, since: Month, now: datetime) -> tuple[Month, Month, Window]:
    """First and last partition of this run, and the window they mean.

    The current month means every later one too, and the account's first every older one.
    """
    keys = context.partition_key_range
    first, last = Month.parse(keys.start), Month.parse(keys.end)
    return first, last, Window.months(first, None if last >= Month.of(now) else last, since=since)


def raise_together(errors: Mapping[str, Exception], *, besides: str = "") -> None:
    """One failure for all that went wrong, by name, terminal only where each is; ``besides`` says what went well.

    Of others' errors, whose text may quote a customer's data, it tells the name and the kind.
    """
    if not errors:
        return
    said = dict.fromkeys(
        str(error) if isinstance(error, MogulError) else f"{name}: unexpected {type(error).__name__}"
        for name, error in errors.items()
    )  # what many met alike is said once
    terminal = all(isinstance(error, TerminalError) for error in errors.values())
    description = "; ".join(filter(None, [besides, *said]))
    raise dg.Failure(description=description, allow_retries=not terminal) from next(iter(errors.values()))


def rows_by_partition(table: Table, first: Month, last: Month, window: Window) -> dict[Month, int]:
    """Rows of each partition of a run; ``window`` is what its partitions mean, older and later months included.

    A run over a range would else have the whole range's count at each of them.
    """
    rows = dict.fromkeys(first.until(last), 0)
    for file in table.files:
        if file.month is not None and window.holds(file.month.start):
            rows[min(max(file.month, first), last)] += file.rows
    return rows


@contextmanager
def failures() -> Iterator[None]:
    """Turns our errors into Dagster's, in one line: the terminal ones are not retried."""
    try:
        yield
    except MogulError as error:
        raise dg.Failure(
            description=str(error),
            metadata={"error": kind_of(error).__name__, "next step": error.remedy or "see the message"},
            allow_retries=not isinstance(error, TerminalError),
        ) from error
