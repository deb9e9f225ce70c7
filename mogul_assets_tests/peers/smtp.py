"""A mail server: aiosmtpd, with certificates of its own authority. It asks for TLS and for a log-in.

What a command is answered can be scripted, and the connection can be cut where an answer is due.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as MAIL
from pathlib import Path
from typing import Any, Literal

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from mogul_assets_tests.peers import servers

USER, PASSWORD = "mogul@example.com", "a-password-that-is-secret"
SECRET = "PEER_SMTP_PASSWORD"
"""The environment variable that holds the password."""
CUT = "cut"
"""An answer that never comes: the connection is gone instead."""


@dataclass(frozen=True)
class Received:
    """A mail that the server took, whether or not its client ever learned so."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    encrypted: bool

    @property
    def message(self) -> EmailMessage:
        parsed = message_from_bytes(self.content, policy=MAIL)
        assert isinstance(parsed, EmailMessage)
        return parsed


@dataclass
class Peer:
    """A running server. ``script`` holds the next answers by command: ``GREETING``, ``AUTH``, ``MAIL``, ``RCPT``,
    ``DATA`` (in place of its 354), ``CONTENT`` (what lies between) and ``END`` (after the final dot)."""

    port: int
    ca_file: Path
    received: list[Received] = field(default_factory=list)
    script: dict[str, list[str]] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)

    def next(self, command: str) -> str | None:
        self.commands.append(command)
        answers = self.script.get(command)
        return answers.pop(0) if answers else None


class _Server(SMTP):
    def __init__(self, peer: Peer, **how: Any) -> None:
        super().__init__(self, **how)
        self._peer, self._greeted = peer, False

    async def push(self, status: Any) -> None:
        if not self._greeted:
            self._greeted = True
            status = self._peer.next("GREETING") or status
        if status == CUT:
            self.transport.abort()
        else:
            await super().push(status)

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802 - aiosmtpd's
        scripted = self._peer.next("MAIL")
        if scripted is None:
            envelope.mail_from = address
        return scripted or "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802 - aiosmtpd's
        scripted = self._peer.next("RCPT")
        if address.endswith("@nobody.example.com"):
            scripted = "550 5.1.1 User unknown"
        if scripted is None:
            envelope.rcpt_tos.append(address)
        return scripted or "250 OK"

    async def smtp_DATA(self, argument: str) -> None:  # noqa: N802 - aiosmtpd's
        scripted = self._peer.next("DATA")
        if scripted:
            await self.push(scripted)
        elif self._peer.next("CONTENT") == CUT:
            await self.push("354 go on")
            await self._reader.readline()
            self.transport.abort()
        else:
            await super().smtp_DATA(argument)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's
        scripted = self._peer.next("END")
        if scripted in (None, CUT):
            encrypted = self.transport.get_extra_info("ssl_object") is not None
            taken = Received(envelope.mail_from, tuple(envelope.rcpt_tos), envelope.content, encrypted)
            self._peer.received.append(taken)
        return scripted or "250 2.0.0 queued"


@contextmanager
def serving(
    folder: Path,
    *,
    tls: Literal["starttls", "implicit", "none"] = "starttls",
    log_in: bool = True,
    size: int = 20 * 2**20,
    named: str = "localhost",
    not_after: datetime | None = None,
) -> Iterator[Peer]:
    """A server on loopback, on a thread, until the block ends.

    Args:
        folder: where the certificate of its authority goes.
        tls: how its connections are encrypted.
        log_in: whether it asks for ``USER`` and ``PASSWORD``.
        size: the largest mail that it takes, in bytes.
        named: the host that its certificate is for.
        not_after: when its certificate ends.
    """
    authority = trustme.CA()
    peer = Peer(servers.free_port(), folder / "authority.pem")
    authority.cert_pem.write_to_path(str(peer.ca_file))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(named, not_after=not_after).configure_cert(context)

    def authenticator(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        scripted = peer.next("AUTH")
        known = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        if known and not scripted:
            return AuthResult(success=True)
        return AuthResult(success=False, handled=False, message=scripted or "535 5.7.8 not known here")

    class Server(Controller):
        def factory(self) -> SMTP:
            return _Server(peer, **self.SMTP_kwargs)

    server = Server(
        None,
        hostname="127.0.0.1",
        port=peer.port,
        ssl_context=context if tls == "implicit" else None,
        server_hostname="mail.example.com",
        authenticator=authenticator if log_in else None,
        auth_required=log_in,
        auth_require_tls=tls == "starttls",
        data_size_limit=size,
        tls_context=context if tls == "starttls" else None,
        require_starttls=tls == "starttls",
    )
    server.start()  # it connects to itself
    peer.commands.clear()
    try:
        yield peer
    finally:
        server.stop()
