"""What a command works on: one ``mogul.yaml``, and what hangs on it, each made when first asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mogul_assets.catalog.window import Month
from mogul_assets.errors import ConfigurationError
from mogul_assets.settings import Entry, Settings, load
from mogul_assets.store import durable

if TYPE_CHECKING:
    import dagster as dg

    from mogul_assets.account.reader import Account
    from mogul_assets.destinations.base import Destination
    from mogul_assets.messages.ledger import Ledger
    from mogul_assets.store.store import Store

INSTANCE = """\
telemetry: {enabled: false}
nux: {enabled: false}
concurrency: {pools: {granularity: op, default_limit: 1}}
"""
"""A ``dagster.yaml`` for a folder that has none: what cannot be left to the defaults."""


@dataclass(frozen=True)
class Project:
    """One ``mogul.yaml``. Every property may raise ``ConfigurationError``."""

    file: Path | None = None
    verbose: bool = False

    @cached_property
    def settings(self) -> Settings:
        return load(self.file)

    @cached_property
    def store(self) -> Store:
        from mogul_assets.store.store import Store  # noqa: PLC0415 - brings Arrow

        store = Store(self.settings.store.path)
        store.rename(self.settings.ledger.renamed)
        return store

    @cached_property
    def home(self) -> Path:
        """The folder of the Dagster instance: ``$DAGSTER_HOME``, or that of ``mogul.yaml``.

        Sets the variables that Dagster reads, for this process and those that it starts.

        A folder without a ``dagster.yaml`` gets one: Dagster's own defaults send statistics to its makers, and let
        two runs read the account at once.

        Raises:
            StoreUnwritable: that file cannot be written.
        """
        home = Path(os.environ.get("DAGSTER_HOME") or self.settings.file.parent)
        if not home.is_dir() or not home.is_absolute():
            raise ConfigurationError(
                f"DAGSTER_HOME={home} is no absolute path of a folder", remedy="make the folder, or unset it"
            )
        if not (home / "dagster.yaml").exists():
            with durable.writing_to(home):
                (home / "dagster.yaml").write_text(INSTANCE)
        os.environ.update(DAGSTER_HOME=str(home), MOGUL_FILE=str(self.settings.file), DAGSTER_DISABLE_TELEMETRY="1")
        return home

    @cached_property
    def definitions(self) -> dg.Definitions:
        _ = self.home
        from mogul_assets.definitions import build_definitions  # noqa: PLC0415 - brings Dagster

        return build_definitions(self.settings)

    def reveal(self) -> None:
        """Raises ``ConfigurationError`` where a variable with a secret of the account is not set."""
        account = self.settings.account
        for secret in (account.api_key, account.rates.app_id):
            if secret is not None:
                secret.reveal()

    def destination(self, name: str) -> Destination:
        from mogul_assets.destinations.configured import configured  # noqa: PLC0415 - brings Dagster

        return configured(self.settings, self.settings.entry(name))

    def account(self, **limits: Any) -> Account:
        """The account, with other limits than the client's own where they are given."""
        from mogul_assets.account.client import Limits  # noqa: PLC0415 - only where an account is read
        from mogul_assets.assets.common import AccountResource  # noqa: PLC0415 - brings Dagster

        return AccountResource.of(self.settings.account, self.settings.store.path).open(Limits(**limits))

    def ledger(self) -> Ledger:
        """The ledger, opened; to be used in a ``with``. Raises what ``LedgerResource.open`` does."""
        from mogul_assets.destinations.messenger import LedgerResource  # noqa: PLC0415 - brings SQLAlchemy

        return LedgerResource.of(self.settings.ledger).open()

    def entries(self, names: tuple[str, ...]) -> list[Entry]:
        """The destinations of these names; all of them where none is named."""
        return [self.settings.entry(name) for name in names or self.settings.destinations]


class _Month(click.ParamType[Month]):
    name = "month"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Month:
        if isinstance(value, Month):
            return value
        try:
            return Month.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


MONTH = _Month()
pass_project = click.make_pass_decorator(Project)
