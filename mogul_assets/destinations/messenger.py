"""What the destinations share that send messages: write down first, then send what is due, and say what came of it."""

import time
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
from pydantic import Field

from mogul_assets.destinations.base import Delivered, Destination, Leftover, Outcome
from mogul_assets.errors import ConfigurationError, DestinationDisabled, DestinationRefused, MessagesWaiting
from mogul_assets.messages import sending
from mogul_assets.messages.ledger import Enqueued, Ledger, Replayed
from mogul_assets.messages.message import Draft, News, State
from mogul_assets.messages.news import news_of
from mogul_assets.messages.periods import Period
from mogul_assets.messages.sending import Drained, Policy, Send
from mogul_assets.settings import LedgerPlace, Secret
from mogul_assets.store.table import Table

CAUGHT_UP = 7
"""Periods that went by while nothing ran, and are told all the same: of more, the newest."""


class LedgerResource(dg.ConfigurableResource[Any]):
    """Where messages are remembered: a file, or the database whose URL a variable holds.

    What is known of a destination in ``renamed`` (old name to new) goes on under its new name.
    """

    path: str | None = None
    url_variable: str | None = None
    renamed: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def of(cls, settings: LedgerPlace) -> "LedgerResource":
        if settings.url is not None:
            return cls(url_variable=settings.url.env, renamed=dict(settings.renamed))
        return cls(path=str(settings.path), renamed=dict(settings.renamed))

    def open(self) -> Ledger:
        """The ledger, made where there is none.

        Raises:
            ConfigurationError: the variable is not set, or holds no URL.
            LedgerUnavailable: the database cannot be reached now.
            LedgerUnusable: it can never be used as it is.
        """
        ledger = self._opened()
        try:
            for before, name in self.renamed.items():
                ledger.rename(before, name)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def _opened(self) -> Ledger:
        if self.url_variable is not None:
            return Ledger(Secret(env=self.url_variable).reveal())
        if self.path is None:
            raise ConfigurationError("the ledger has no place", remedy="set ledger.path or ledger.url in mogul.yaml")
        return Ledger.at(Path(self.path))


class Messenger(Destination):
    """A destination that sends messages. Every message is in the ledger before it is tried.

    A type says what it writes down (``drafts``, of movements as they happen; ``composed``, of whole datasets) and
    how one message is tried (``sending``). When, how often and in which order is decided for all of them here.
    """

    POLICY: ClassVar[Policy]
    CHOOSES: ClassVar[tuple[str, ...]] = ()
    folds: ClassVar[bool] = False
    """Whether movements that pile up are told together (``folded``)."""

    ledger: dg.ResourceDependency[LedgerResource] = Field(default_factory=LedgerResource)  # type: ignore[arg-type]

    @property
    def real_time(self) -> bool:
        """Whether it tells movements as they happen (its table is ``movement_news``), or datasets on a schedule."""
        return False

    def drafts(self, news: Sequence[News], now: datetime) -> Sequence[Draft]:
        """The messages that tell movements which the ledger does not know yet; each has its ``movement``.

        What is never to be sent is a draft that is ``left_out``. Movements that are late, and those dated before
        the destination was first seen, do not come here.
        """
        raise NotImplementedError

    def folded(self, waiting: Sequence[tuple[str, News]]) -> tuple[Mapping[str, str], Sequence[Draft]]:  # noqa: ARG002 - nothing folds here
        """Of messages that wait untried, by subject: those not to be sent, with the reason, and what tells them."""
        return {}, ()

    def told_of(self, tables: Sequence[Table], now: datetime) -> Period:
        """The last period that these tables can tell whole: it was over when the account was read."""
        return self.last(min(now, *(table.read_at for table in tables)))

    def last(self, moment: datetime) -> Period:
        """The last period that was over at a moment."""
        raise NotImplementedError

    def composed(self, tables: Sequence[Table], now: datetime, period: Period | None = None) -> Iterable[Draft]:
        """The messages that tell these datasets (a recap, a mail) of a period: that of ``told_of``, or an earlier one.

        One whose subject is known is not sent again.
        """
        raise NotImplementedError

    def subjects(self, period: Period) -> Sequence[str]:
        """What ``composed`` calls the messages of a period; where all are known, nothing has to be composed."""
        raise NotImplementedError

    @abstractmethod
    def sending(self) -> AbstractAsyncContextManager[Send]:
        """What tries one message; the connections that it needs live as long as the context."""

    @abstractmethod
    def notice(self, title: str, text: str) -> None:
        """Tell its receivers something that is no message of an account's: an alert. Outside the ledger, tried once.

        Raises:
            DestinationUnavailable, DestinationRefused: with the answer, where it was not taken.
        """

    def deliver(self, table: Table) -> Delivered:
        return self.tell([table])

    def tell(self, tables: Sequence[Table], *, anew: bool = False) -> Delivered:
        """Write down what these tables say, and send everything that is due.

        Args:
            tables: ``movement_news`` in real time, else the datasets that belong into one message.
            anew: also what was told before, as a message of its own ("send now").

        Raises:
            MessagesWaiting: some messages were not taken; they wait in the ledger for their next try.
            DestinationRefused: some never will be, or the destination is disabled from now on.
            DestinationDisabled: it was so before.
        """
        began, moment = time.monotonic(), sending.now()
        with self.ledger.open() as ledger:
            enqueued = self._written_down(ledger, tables, moment, anew=anew)
            standing = ledger.standing(self.name, moment)
            if standing.disabled_at is not None:
                raise DestinationDisabled(
                    f"{self.name} is disabled since {standing.disabled_at:%Y-%m-%d %H:%M} UTC: "
                    f"{standing.disabled_reason}; what is news waits in the ledger",
                    remedy=self._resume,
                )
            drained = sending.drain(ledger, self.name, self.sending(), self.POLICY)
            waiting = ledger.counts(self.name).get(State.WAITING, 0)
        self._judge(drained, waiting)
        return Delivered(
            Outcome.DELIVERED,
            rows=drained.delivered,
            bytes=drained.bytes,
            seconds=time.monotonic() - began,
            location=f"the ledger: mogul messages list {self.name}",
            details={
                "messages sent": drained.delivered,
                "messages waiting": waiting,
                **{f"movements {name.replace('_', ' ')}": count for name, count in vars(enqueued).items() if count},
            },
        )

    def replay(self, table: Table, *, only_count: bool = False) -> Replayed:
        """Let the movements of ``table`` (``movement_news``) be sent, whatever their date and whatever became of them.

        They are written down as due; sending them is the next delivery's.

        Raises:
            DestinationRefused: it tells no single movements.
        """
        if not self.real_time:
            raise DestinationRefused(
                f"{self.name} tells no single movements, so there is nothing to replay",
                remedy="start the job send_now for another recap or mail",
            )
        moment = sending.now()
        with self.ledger.open() as ledger:
            return ledger.replay(
                self.name, news_of(table), lambda news: self.drafts(news, moment), moment, only_count=only_count
            )

    def _written_down(self, ledger: Ledger, tables: Sequence[Table], moment: datetime, *, anew: bool) -> Enqueued:
        if self.real_time:
            (table,) = tables
            enqueued = ledger.enqueue_news(
                self.name, news_of(table), lambda news: self.drafts(news, moment), moment, seen_at=table.read_at
            )
            if self.folds:
                ledger.fold(self.name, news_of(table), self.folded, moment)
            return enqueued
        begun = ledger.standing(self.name, moment).started_at
        if anew:
            sent = f", sent at {moment:%Y-%m-%d %H:%M:%S}"
            drafts = (each for each in self.composed(tables, moment) if each.left_out is None)
            ledger.enqueue(self.name, (replace(each, subject=each.subject + sent) for each in drafts), moment)
        else:
            for period in self._untold(ledger, tables, moment, begun):
                ledger.enqueue(self.name, self.composed(tables, moment, period), moment)
        return Enqueued()

    def _untold(self, ledger: Ledger, tables: Sequence[Table], moment: datetime, begun: datetime) -> Sequence[Period]:
        """The last period, if nobody was told of it, and those before it that went by untold; the oldest first."""
        period = self.told_of(tables, moment)
        subjects = set(self.subjects(period))
        if ledger.known_among(self.name, list(subjects)) == subjects:
            return []
        periods = [period]
        # Of an earlier one any message will do: a channel that is new since is told from now on.
        while period.start > begun and len(periods) < CAUGHT_UP:
            period = self.told_of(tables, period.start)
            if ledger.known_among(self.name, self.subjects(period)):
                break
            periods.append(period)
        return periods[::-1]

    def _judge(self, drained: Drained, waiting: int) -> None:
        look = f"mogul messages list {self.name}"
        if drained.disabled is not None:
            raise DestinationRefused(f"{self.name} is disabled from now on: {drained.disabled}", remedy=self._resume)
        lost = drained.failed + drained.unknown
        tried = drained.delivered + drained.again + lost
        if lost:
            raise DestinationRefused(
                f"{self.name}: {lost:,} of {tried:,} messages came to no good end ({drained.problem})", remedy=look
            )
        if drained.again:
            raise MessagesWaiting(
                f"{self.name}: {drained.again:,} of {tried:,} tries were not taken ({drained.problem}); "
                f"{waiting:,} messages wait for their next one",
                remedy=look,
            )

    @property
    def _resume(self) -> str:
        return f"mend the receiver, then  mogul destinations resume {self.name}"

    def forget(self) -> list[Leftover]:
        return [Leftover("what was sent, at its receivers", "delete it there")]

    def remains(self, datasets: Sequence[str]) -> list[Leftover]:
        return [Leftover("what was sent", "its receivers have it: ask them")] if datasets else []

    def last_delivery(self, dataset: str) -> datetime | None:  # noqa: ARG002 - one ledger for all of them
        with self.ledger.open() as ledger:
            return next((one.succeeded_at for one in ledger.known() if one.name == self.name), None)
