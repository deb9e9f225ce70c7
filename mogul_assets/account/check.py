"""What a key can see of its account: read-only questions, each answered on a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from mogul_assets.account.client import Answer, Tally
from mogul_assets.account.lists import LISTS, Envelope
from mogul_assets.account.reader import Account, DataSource
from mogul_assets.errors import MogulError


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: what was looked at, how it stands, and the next step where there is one.

    ``settings``: it is of ``mogul.yaml``, or of a variable that it names.
    """

    level: Level
    subject: str
    text: str
    remedy: str = ""
    settings: bool = False


@dataclass(frozen=True, slots=True)
class AccountReport:
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True where nothing stands in the way of a refresh; warnings do not."""
        return all(finding.level is not Level.PROBLEM for finding in self.findings)


def check_account(account: Account) -> AccountReport:
    """Look at everything that a refresh will read, one row at a time; changes nothing, raises nothing.

    An account that refuses the first question is not asked the others.
    """
    findings = list(_findings(account, _account))
    if findings[-1].level is not Level.PROBLEM:
        for look in (_sources, _lists, _activities):
            findings.extend(_findings(account, look))
    return AccountReport(tuple(findings))


def _findings(account: Account, look: Callable[[Account], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look(account)
    except MogulError as error:
        yield Finding(Level.PROBLEM, look.__name__.strip("_"), error.message, error.remedy)


def _account(account: Account) -> Iterator[Finding]:
    info = account.info()
    yield Finding(Level.OK, "account", f"{info.name}, in {info.currency}, days in {info.time_zone}")


def _sources(account: Account) -> Iterator[Finding]:
    sources = account.data_sources()
    if not sources:
        yield Finding(Level.WARNING, "data sources", "none", "connect one in ChartMogul, or send data to its API")
    for source in sources:
        yield _source(account, source)


def _source(account: Account, source: DataSource) -> Finding:
    """A source with customers but without readable invoices has no invoices, line items and payments here.

    ChartMogul writes of ``/invoices`` that it has what was created by its API.
    """
    customers, invoices = (account.count(name, data_source_uuid=source.uuid) for name in ("customers", "invoices"))
    name = f"source {source.name or source.uuid}"
    text = f"{source.system}, {source.status}: {_some(customers)} customers, {_some(invoices)} invoices"
    if customers and not invoices:
        return Finding(
            Level.WARNING, name, text, "its invoices cannot be read by the API: net payments stay empty for it"
        )
    return Finding(Level.OK, name, text)


def _lists(account: Account) -> Iterator[Finding]:
    for name in ("customers", "contacts", "plans", "invoices", "subscription_events"):
        try:
            count = account.count(name)
        except MogulError as error:
            yield Finding(Level.PROBLEM, name, error.message, error.remedy)
        else:
            yield Finding(Level.OK, name, f"{_some(count)} rows")


def _activities(account: Account) -> Iterator[Finding]:
    newest = _page(account, {"order": "-date"})
    if not newest.rows:
        yield Finding(Level.WARNING, "activities", "none", "there are no subscriptions yet, or they are processed")
        return
    yield Finding(Level.OK, "activities", f"the newest is of {newest.rows[0].value}")
    first = _page(account, {"order": "date"})
    if not (first.has_more and first.cursor):
        return
    by_cursor = _page(account, {"order": "date", "cursor": first.cursor})
    by_anchor = _page(account, {"order": "date", "start-after": str(first.rows[0].key)})
    skips = [row.key for row in by_cursor.rows] != [row.key for row in by_anchor.rows]
    said = "skips a row at every page, so they are read by start-after" if skips else "skips no row"
    yield Finding(Level.OK, "activities cursor", said)


def _page(account: Account, params: dict[str, str]) -> Envelope:
    listing = LISTS["activities"]
    answer: Answer[Envelope] = account.client.run(
        account.client.fetch(listing.path, {**params, "per_page": "1"}, listing.decode, tally=Tally())
    )
    return answer.value


def _some(count: int | None) -> str:
    return "some" if count is None else f"{count:,}"
