"""Mails with a recap, and datasets as spreadsheets behind links or attached."""

import asyncio
import re
import tempfile
import zipfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import getaddresses, parseaddr
from itertools import zip_longest
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar, Literal

import dagster as dg
from pydantic import Field, model_validator

from mogul_assets.destinations import email_links
from mogul_assets.destinations.base import Capabilities, Destination, Leftover, Permission, Preview, Secret
from mogul_assets.destinations.formats import Part
from mogul_assets.destinations.messenger import Messenger
from mogul_assets.destinations.objects import ObjectStore
from mogul_assets.destinations.spreadsheets import spreadsheets
from mogul_assets.destinations.trial import Trial
from mogul_assets.errors import ConfigurationError, DestinationRefused, DestinationUnavailable, MogulError
from mogul_assets.messages import mail, sending, smtp
from mogul_assets.messages.chart import waterfall
from mogul_assets.messages.message import Answer, Draft, Message, Outcome
from mogul_assets.messages.periods import SUNDAY, Period, last_period
from mogul_assets.messages.recap import NEEDED, recap
from mogul_assets.messages.sending import Policy, Send
from mogul_assets.store.table import Table

MOVEMENTS = "mrr_movements"
DATASETS = {
    "mrr_movements": "MRR movements",
    "customers": "Customers",
    "custom_attributes": "Custom attributes of customers",
    "tags": "Tags of customers",
}
"""What ChartMogul mails, in the order in which a mail has them, and as it calls them."""
LASTING = {"daily": timedelta(days=2), "weekly": timedelta(days=2), "monthly": timedelta(days=7)}
"""How long links last: ChartMogul's own times. Seven days is as long as any of the stores signs one for."""
LEFT = timedelta(hours=12)
"""How long links must last still, or a mail that waited is not sent: nobody would come to fetch its files in time."""
_PORTS = {"starttls": 587, "implicit": 465, "none": 25}
_ADDRESS = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_RETRIES = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 180, 360, 720))


@dataclass(frozen=True, slots=True)
class _Written:
    """A dataset's files. ``about`` says which of its rows they hold."""

    about: str
    parts: tuple[Part, ...]


class EmailDestination(Messenger):
    """One mail to each recipient after each period."""

    POLICY: ClassVar[Policy] = Policy(retries=_RETRIES, concurrency=1, resends=False)
    CHOOSES: ClassVar[tuple[str, ...]] = ("columns", "rows")
    NEEDS: ClassVar[Mapping[str, frozenset[str]]] = {MOVEMENTS: NEEDED}
    EXAMPLE: ClassVar[Mapping[str, Any]] = {
        "host": "smtp.example.com",
        "username": "reports@example.com",
        "password": {"env": "SMTP_PASSWORD"},
        "sender": "ChartMogul <reports@example.com>",
        "recipients": ["finance@example.com"],
    }

    host: str = Field(description="The mail server, by the name that is on its certificate.")
    port: int | None = Field(default=None, ge=1, le=65535, description="587; 465 with tls: implicit.")
    tls: Literal["starttls", "implicit", "none"] = Field(
        default="starttls", description="How the connection is encrypted; none is for a server on this machine."
    )
    ca_file: str | None = Field(
        default=None,
        description="Authorities (a PEM file, by its whole path) that are trusted beside the machine's own.",
    )
    username: str | None = Field(default=None, description="Who logs in, where the server asks for it.")
    password: Secret | None = Field(default=None, description="That account's password.")
    sender: str = Field(description="Whom mails are from: an address, with a name before it if you like.")
    recipients: list[str] = Field(min_length=1, description="Their addresses; each gets a mail of their own.")
    subject: str = Field(default="ChartMogul", description="What subjects begin with.")
    period: Literal["daily", "weekly", "monthly"] = Field(
        default="daily", description="What a mail tells of: the last day, week (from Sunday) or month. As the schedule."
    )
    time_zone: str = Field(default="UTC", description="Whose days these are.")
    everything: bool = Field(default=False, description="Send all MRR movements rather than the period's.")
    links: str | None = Field(
        default=None, description="An S3, GCS or Azure Blob destination that holds the files; attached otherwise."
    )
    attachment_mb: float = Field(default=10, gt=0, description="How large an attached archive may be.")
    links_store: dg.ResourceDependency[Destination | None] = None  # type: ignore[assignment]

    @model_validator(mode="after")
    def _whole(self) -> "EmailDestination":
        if self.tls == "none" and self.host not in _LOOPBACK:
            raise ConfigurationError("tls: none would send mails and password in the open", remedy="tls: starttls")
        if (self.username is None) != (self.password is None):
            raise ConfigurationError("a log-in is two", remedy="name both username and password, or neither")
        _address("sender", self.sender)
        for recipient in self.recipients:
            if (address := _address("recipients", recipient)) != recipient:
                raise ConfigurationError(
                    f"recipients: '{recipient}' is more than an address", remedy=f"write  {address}"
                )
        if len(set(self.recipients)) < len(self.recipients):
            raise ConfigurationError("recipients names one of them twice", remedy="name each once")
        if self.links_store is not None:
            self._store()
        if not self.subject.isprintable():
            raise ConfigurationError("subject is more than one line", remedy="write it in one")
        return self

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(datasets=frozenset(DATASETS))

    def grants(self) -> str:
        """What the mail account needs, and the object store that holds the files."""
        sender = parseaddr(self.sender)[1]
        who = self.username or "whoever connects from here"
        said = (
            f"The server {self.host} must let {who} send as {sender}: nothing else, and no mailbox to read.\n"
            f"SPF and DKIM of {sender.rpartition('@')[2]} must cover {self.host}, or mails end up as spam."
        )
        if self.links is None:
            return said
        return f"{said}\n'{self.links}' needs what its own deliveries do: mogul destinations grants {self.links}"

    def check(self) -> list[Permission]:
        """Connect, encrypt, log in, ask for nothing, and name the sender; then what links need."""
        try:
            server = self._server()
        except ConfigurationError as error:
            return [Permission("be configured", error.message, error.remedy)]
        with smtp.session(server) as session:
            trial = Trial(lambda error: self._told(server, session, error), "")
            for name, step in (*session.steps, *session.proofs(parseaddr(self.sender)[1])):
                with trial.of(name):
                    session.do(name, step)
                if not trial.passed(name):
                    break
        if self.links is not None:
            with trial.of("hold files for links"):
                email_links.tried(self._store(), self.name, trial, lasting=self._lasting)
        return trial.found

    def preview(self, table: Table) -> Preview:
        """The mails that would be sent now, and how many of the table's rows they would come with."""
        period = self.told_of([table], datetime.now(UTC))
        with tempfile.TemporaryDirectory(prefix="mogul-") as scratch:
            written = self._written(table, period, Path(scratch))
        return Preview(
            location=f"{self.host}: mails from {self.sender}",
            rows=sum(part.rows for part in written.parts),
            columns=tuple((field.name, str(field.type)) for field in table.schema),
            window=table.window,
            statements=tuple(f"MAIL {period.subject} {recipient}" for recipient in self.recipients),
        )

    def rendered(self, tables: Sequence[Table], now: datetime) -> Mapping[str, bytes]:
        """The mail as an HTML file, by its name. Nothing is put anywhere: links lead nowhere."""
        letter, _ = self._letter(tables, now, self.told_of(tables, now), putting=False)
        return {f"{self.name}-{_hyphened(letter.period)}.html": mail.page(letter).encode()}

    def prove(self) -> str:
        """Send each recipient a mail that says that it is a test.

        Raises:
            DestinationUnavailable, DestinationRefused: naming those who did not get theirs; the others did.
        """
        text = f"This is a test of {self._origin}. There is nothing to do."
        self._write("[test] ChartMogul mails reach you", text)
        return f"a test mail was taken for {', '.join(self.recipients)}"

    def notice(self, title: str, text: str) -> None:
        self._write(title, text)

    def _write(self, subject: str, text: str) -> None:
        """A mail of plain text to each recipient, outside the ledger."""
        server, now = self._server(), datetime.now(UTC)
        failed: dict[str, Answer] = {}
        for recipient in self.recipients:
            plain = mail.plain(subject, text, sender=self.sender, recipient=recipient, at=now)
            answer = smtp.sent(server, *mail.envelope(plain), mail.identified(plain, f"test_{token_hex(16)}"))
            if answer.outcome is not Outcome.TAKEN:
                failed[recipient] = answer
        if failed:
            passing = all(answer.outcome is Outcome.AGAIN for answer in failed.values())
            kind = DestinationUnavailable if passing else DestinationRefused
            raise kind("; ".join(f"{self.name}: no mail to {one}: {answer.text}" for one, answer in failed.items()))

    def forget(self) -> list[Leftover]:
        return [*super().forget(), *(self._linked() if self.links is not None else ())]

    def remains(self, datasets: Sequence[str]) -> list[Leftover]:
        if not datasets:
            return []
        sent = Leftover(f"mails in the mailboxes of {', '.join(self.recipients)}", "ask them to delete the mails")
        return [sent, *(self._linked() if self.links is not None else ())]

    def _linked(self) -> list[Leftover]:
        with self._store().holding("find the files of mails") as bucket:
            place = email_links.folder(self.name)
            return [Leftover(f"files that links lead to, {bucket.root}{place}", bucket.removal(f"{place}*"))]

    def subjects(self, period: Period) -> Sequence[str]:
        return [f"{period.subject} {recipient}" for recipient in self.recipients]

    def composed(self, tables: Sequence[Table], now: datetime, period: Period | None = None) -> Iterator[Draft]:
        """A mail to each recipient, with the files put where its links lead to. The next is made when it is asked for:
        each carries the whole archive.

        Raises:
            DestinationRefused: the archive is larger than may be attached, or the object store refuses the files.
        """
        period = period or self.told_of(tables, now)
        letter, attachments = self._letter(tables, now, period, putting=True)
        return (
            Draft(
                "mail",
                subject,
                mail.mail(letter, sender=self.sender, recipient=recipient, at=now, attachments=attachments),
                due_at=now,
            )
            for subject, recipient in zip(self.subjects(period), self.recipients, strict=True)
        )

    def expire(self, now: datetime) -> int:
        """Delete the files whose links have ended; how many."""
        return 0 if self.links is None else email_links.expired(self._store(), self.name, now)

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[Send]:
        """A connection for each mail: there are few, and each try stands alone."""
        server = self._server()

        async def send(message: Message) -> Answer:
            ends = mail.links_until(message.payload)
            if ends is not None and ends - sending.now() < LEFT:
                said = f"its links end {ends:%Y-%m-%d %H:%M} UTC: start the job send_now for another mail"
                return Answer(Outcome.REFUSED, "too late", said)
            content = mail.identified(message.payload, message.id)
            return await asyncio.to_thread(smtp.sent, server, *mail.envelope(message.payload), content)

        yield send

    @property
    def _origin(self) -> str:
        return f"'{self.name}', a destination of mogul_assets"

    @property
    def _lasting(self) -> timedelta:
        return LASTING[self.period]

    def last(self, moment: datetime) -> Period:
        return last_period(self.period, moment, self.time_zone, week_begins=SUNDAY)

    def _server(self) -> smtp.Server:
        return smtp.Server(
            host=self.host,
            port=self.port or _PORTS[self.tls],
            hello=parseaddr(self.sender)[1].rpartition("@")[2],
            tls=self.tls,
            username=self.username,
            password=self.password.reveal() if self.password else "",
            trust=smtp.trusting(self.ca_file),
        )

    def _told(self, server: smtp.Server, session: smtp.Session, error: Exception) -> MogulError | None:
        problem = session.problem(error)
        if problem is None:
            return None
        kind = DestinationUnavailable if problem.passing else DestinationRefused
        said = f"{problem.said} {problem.words}".rstrip()  # no mail was sent that they could repeat
        return kind(f"{self.name}: {server}: cannot {session.doing}: {said}", remedy=problem.remedy)

    def _store(self) -> ObjectStore:
        if not isinstance(self.links_store, ObjectStore):
            raise ConfigurationError(
                f"links: '{self.links}' cannot hold files that links lead to",
                remedy="name a destination of mogul.yaml that is an S3, GCS or Azure Blob one",
            )
        return self.links_store

    def _letter(
        self, tables: Sequence[Table], now: datetime, period: Period, *, putting: bool
    ) -> tuple[mail.Letter, Sequence[mail.Attachment]]:
        """What the mails say, with what they carry themselves; files that links lead to are put there or not."""
        found = {table.dataset: table for table in tables}
        links: Sequence[str | None] = []
        attachments = []
        with tempfile.TemporaryDirectory(prefix="mogul-") as scratch:
            written = [self._written(found[name], period, Path(scratch)) for name in DATASETS if name in found]
            parts = [part for one in written for part in one.parts]
            if self.links is None:
                attachments = [self._archive(parts, period, Path(scratch))]
            elif putting:
                links = email_links.linked(self._store(), self.name, parts, now=now, lasting=self._lasting)
                self._sweep(now)
        movements = found.get(MOVEMENTS)
        figures = None if movements is None else recap(movements, period)
        abouts = [one.about for one in written for _ in one.parts]
        letter = mail.Letter(
            period=period,
            subject=self.subject,
            origin=f"Sent by {self._origin}",
            read_at=min(table.read_at for table in tables),
            files=[
                mail.File(part.path.name, about, part.rows, part.bytes, link)
                for part, about, link in zip_longest(parts, abouts, links)
            ],
            recap=figures,
            chart=None if figures is None else waterfall(figures),
            links_until=None if self.links is None else now + self._lasting,
        )
        return letter, attachments

    def _written(self, table: Table, period: Period, folder: Path) -> _Written:
        whole = self.everything or table.dataset != MOVEMENTS
        about = "all of them" if whole else f"those of {period.label}"
        stem = f"{table.dataset}-{table.read_at:%Y-%m-%d}" if whole else f"{table.dataset}-{_hyphened(period)}"
        parts = spreadsheets(table, folder, stem, period=None if whole else period)
        return _Written(f"{DATASETS[table.dataset]}, {about}", tuple(parts))

    def _archive(self, parts: Sequence[Part], period: Period, folder: Path) -> mail.Attachment:
        path = folder / f"{self.name}-{_hyphened(period)}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for part in parts:
                archive.write(part.path, part.path.name)
        size = path.stat().st_size / 1_000_000
        if size > self.attachment_mb:
            raise DestinationRefused(
                f"{self.name}: the archive of {period.subject} has {size:,.1f} MB, more than attachment_mb:"
                f" {self.attachment_mb:g}",
                remedy="name an object store that holds the files (links), leave datasets out, or raise attachment_mb",
            )
        return mail.Attachment(path.name, path.read_bytes())

    def _sweep(self, now: datetime) -> None:
        """The mail goes out all the same: a link that has ended leads nowhere even while its file is there."""
        try:
            self.expire(now)
        except MogulError as error:
            dg.get_dagster_logger().warning(f"{error}")


def _address(setting: str, written: str) -> str:
    """The one address of what is written, in letters that every mail server takes."""
    found = [address for _, address in getaddresses([written])]
    if len(found) != 1 or not (_ADDRESS.fullmatch(found[0]) and found[0].isascii() and written.isprintable()):
        raise ConfigurationError(
            f"{setting}: '{written}' is no address that mails can go to", remedy="write it like name@example.com"
        )
    return found[0]


def _hyphened(period: Period) -> str:
    return period.subject.replace(" ", "-")
