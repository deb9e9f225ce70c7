"""What the destinations share that send messages: write down first, then send what is due, and say what came of it."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, ClassVar

import dagster as dg

from mogul_assets.destinations.base import Delivered, Destination
from mogul_assets.messages.ledger import Ledger
from mogul_assets.messages.message import Draft, News
from mogul_assets.messages.sending import Policy, Send
from mogul_assets.store.table import Table


class LedgerResource(dg.ConfigurableResource[Any]):
    """Where messages are remembered: a file, or a database by the variable that holds its URL."""

    path: str
    url_variable: str | None = None

    def open(self) -> Ledger:
        raise NotImplementedError


class Messenger(Destination):
    """A destination that sends messages. Every message is in the ledger before it is tried.

    A type says what it writes down (``drafts``, of movements as they happen; ``composed``, of a whole dataset) and
    how one message is tried (``sending``). When, how often and in which order is decided for all of them here.
    """

    POLICY: ClassVar[Policy]

    ledger: dg.ResourceDependency[LedgerResource]

    @property
    def real_time(self) -> bool:
        """Whether it tells movements as they happen (its table is ``movement_news``), or the dataset on a schedule."""
        return False

    def drafts(self, news: Sequence[News], now: datetime) -> Sequence[Draft]:
        """The messages that tell movements which the ledger does not know yet; each has its ``movement``.

        What is never to be sent is a draft that is ``left_out``. Movements that are late, and those dated before
        the destination was first seen, are left out before they come here.
        """
        raise NotImplementedError

    def composed(self, tables: Sequence[Table], now: datetime) -> Sequence[Draft]:
        """The messages that tell these datasets (a recap, a mail). A subject that the ledger knows is not sent again."""
        raise NotImplementedError

    @abstractmethod
    def sending(self) -> AbstractAsyncContextManager[Send]:
        """What tries one message; the connections that it needs live as long as the context."""

    def deliver(self, table: Table) -> Delivered:
        raise NotImplementedError
