"""One mail to one mail server, and what its answers mean. https://www.rfc-editor.org/rfc/rfc5321"""

from __future__ import annotations

import base64
import re
import smtplib
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from mogul_assets.errors import ConfigurationError
from mogul_assets.messages.message import Answer, Outcome

CONNECTING = 20
"""Seconds until a server counts as out of reach."""
STEP = 30
"""Seconds for the answer to a command."""
LONGEST = 150
"""Seconds that a try may take: its ledger holds it for three minutes, and another process must not have it then."""

_WORDS = 200
"""Characters of a server's own words that are shown."""
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: |$)")
"""What a server's words may begin with: a code that says more. https://www.rfc-editor.org/rfc/rfc2034"""


@dataclass(frozen=True, slots=True)
class Server:
    """A mail server, and who talks to it. ``hello`` is the name that it is greeted by."""

    host: str
    port: int
    hello: str
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    username: str | None = None
    password: str = field(default="", repr=False)
    trust: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False)
    """The authorities that its certificate may be of."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, in words that hold no secret, and what to do; ``passing`` where waiting may help.

    ``words`` are the server's own, which may repeat what it was sent.
    """

    status: str
    said: str
    remedy: str
    passing: bool
    words: str = ""


class Session:
    """One connection, step by step; ``doing`` is the step. Errors are smtplib's and the system's own."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.doing = "connect"
        self.over = False
        """Whether a mail's final dot was on its way: from then on it may have arrived."""
        self._until = time.monotonic() + LONGEST

    @property
    def steps(self) -> tuple[tuple[str, Callable[[], object]], ...]:
        """What makes the connection ready, by name."""
        encrypting = (("start TLS", self._encrypt),) if self._server.tls == "starttls" else ()
        knowing = (("log in", self._log_in),) if self._server.username else ()
        return (("connect", self._connect), *encrypting, *knowing)

    def proofs(self, sender: str) -> tuple[tuple[str, Callable[[], object]], ...]:
        """What shows that mails of the sender would be taken, by name; none is sent."""
        return (("give a command", self._greet), ("name the sender", lambda: self._announce(sender)))

    def do(self, name: str, step: Callable[[], object]) -> None:
        self.doing = name
        step()

    def open(self) -> None:
        for name, step in self.steps:
            self.do(name, step)

    def _connect(self) -> None:
        server = self._server
        kind: Callable[..., smtplib.SMTP] = smtplib.SMTP
        if server.tls == "implicit":
            kind = partial(smtplib.SMTP_SSL, context=server.trust)
        self._smtp = kind(server.host, server.port, server.hello, timeout=CONNECTING)
        self._wait(STEP)

    def _wait(self, seconds: float) -> None:
        """How long the next answers are waited for."""
        if self._smtp.sock is not None:
            self._smtp.sock.settimeout(max(1.0, min(seconds, self._until - time.monotonic())))

    def _encrypt(self) -> None:
        _taken(self._smtp.starttls(context=self._server.trust))

    def _log_in(self) -> None:
        assert self._server.username is not None
        self._smtp.login(self._server.username, self._server.password)

    def _greet(self) -> None:
        self._smtp.ehlo_or_helo_if_needed()
        _taken(self._smtp.noop())

    def _announce(self, sender: str) -> None:
        _taken(self._smtp.mail(sender))
        _taken(self._smtp.rset())

    def transmit(self, sender: str, recipient: str, content: bytes) -> None:
        """Send a mail: its bytes as they are, lines ending in CRLF."""
        smtp = self._smtp
        smtp.ehlo_or_helo_if_needed()
        self.doing = "name the sender"
        _taken(smtp.mail(sender, [f"SIZE={len(content)}"] if smtp.has_extn("size") else []))
        self.doing = "name the recipient"
        _taken(smtp.rcpt(recipient))
        self.doing = "send the mail"
        _taken(smtp.docmd("DATA"), 354)
        self._wait(LONGEST)
        smtp.send(re.sub(rb"(?m)^\.", b"..", content))
        self._wait(LONGEST)
        self.over = True
        smtp.send(b".\r\n")
        _taken(smtp.getreply())

    def close(self) -> None:
        with suppress(smtplib.SMTPException, OSError, AttributeError):  # it may never have been open
            self._wait(1)
            self._smtp.quit()

    def problem(self, error: Exception) -> Problem | None:
        """What the error says of the step; ``None`` where it is neither the server's nor the network's."""
        if isinstance(error, ssl.SSLCertVerificationError):
            said = f"its certificate is not trusted: {error.verify_message}"
            return Problem("certificate", said, _CERTIFICATE, False)
        if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
            return Problem("TLS", "it does not speak TLS there", _TLS, False)
        if isinstance(error, smtplib.SMTPResponseException):
            code, words = error.smtp_code, self._words(error.smtp_error)
            said = f"it answered {code}"
            if enhanced := _ENHANCED.match(words):
                said, words = f"{said} {enhanced[1]}", words[enhanced.end() :]
            if self.doing == "log in":  # they may quote what was sent
                words = ""
            passing = not 500 <= code < 600
            return Problem(str(code), said, _AGAIN if passing else self._remedy(code), passing, words)
        if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):  # smtplib wraps it
            return Problem("connection", "it did not answer in time", _AGAIN, True)
        if isinstance(error, smtplib.SMTPServerDisconnected):
            return Problem("connection", "it closed the connection", _AGAIN, True)
        if isinstance(error, smtplib.SMTPException):  # what it does not offer
            remedy = _OFFERED.get(self.doing, _REMEDIES[self.doing])
            return Problem("not offered", f"it offers no way to {self.doing}", remedy, False)
        if isinstance(error, OSError):
            said = f"the connection failed: {error.strerror or type(error).__name__}"
            return Problem("connection", said, _AGAIN, True)
        return None

    def _remedy(self, code: int) -> str:
        return _TOO_LARGE if code == 552 else _REMEDIES[self.doing]

    def _words(self, said: bytes | str) -> str:
        text = " ".join((said.decode(errors="replace") if isinstance(said, bytes) else said).split())
        for secret in _spelled(self._server):
            text = text.replace(secret, "…")
        return text if len(text) <= _WORDS else text[: _WORDS - 1] + "…"


def trusting(ca_file: str | None) -> ssl.SSLContext:
    """The machine's own authorities, and those of a file.

    Raises:
        ConfigurationError: where that holds none.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            raise ConfigurationError(
                f"ca_file: {ca_file} holds no certificates ({type(error).__name__})",
                remedy="name a PEM file of authorities that can be read",
            ) from None
    return context


@contextmanager
def session(server: Server) -> Iterator[Session]:
    """A connection that is yet to be opened, and is closed."""
    opened = Session(server)
    try:
        yield opened
    finally:
        opened.close()


def sent(server: Server, sender: str, recipient: str, content: bytes) -> Answer:
    """Try one mail once.

    It is unknown only where the connection was lost between the final dot and the answer to it: before, the server
    has no whole mail (RFC 5321 4.1.1.4).
    """
    with session(server) as open_:
        try:
            open_.open()
            open_.transmit(sender, recipient, content)
        except Exception as error:
            problem = open_.problem(error)
            if problem is None:
                raise
            if open_.over and problem.status == "connection":
                return Answer(Outcome.UNKNOWN, "no answer", f"{server}: {problem.said} before it answered; {_LOOK}")
            outcome = Outcome.AGAIN if problem.passing else Outcome.REFUSED
            said = f"{server}: cannot {open_.doing}: {problem.said} → {problem.remedy}"
            return Answer(outcome, problem.status, said, quoted=problem.words)
    return Answer(Outcome.TAKEN, "250")


def _taken(reply: tuple[int, bytes], code: int = 250) -> None:
    """See that the reply is as good as ``code``."""
    if reply[0] == -1:
        raise smtplib.SMTPServerDisconnected("no answer of SMTP")
    if reply[0] // 100 != code // 100:
        raise smtplib.SMTPResponseException(*reply)


def _spelled(server: Server) -> Iterator[str]:
    """The password as it may stand in an answer: as it is, and as ``AUTH LOGIN`` and ``AUTH PLAIN`` send it."""
    if server.password:
        yield server.password
        for sent_as in (server.password, f"\0{server.username}\0{server.password}"):
            yield base64.b64encode(sent_as.encode()).decode()


_AGAIN = "it is tried again"
_LOOK = "ask the recipient before you send it again: mogul messages retry"
_CERTIFICATE = "name the host as its certificate does; a private authority is named by ca_file"
_TLS = "port 587 goes with  tls: starttls, 465 with  tls: implicit"
_TOO_LARGE = "lower attachment_mb, or name an object store that holds the files: links"
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST"})
_OFFERED = {
    "start TLS": _TLS,
    "log in": "leave username and password out, or name a server that takes them",
}
_REMEDIES = {
    "give a command": "ask who runs the server whether it takes mails from here",
    "connect": "ask who runs the server whether it takes mails from here",
    "start TLS": _TLS,
    "log in": "correct username and password; some providers want an app password",
    "name the sender": "let the account send as this address, or correct  sender",
    "name the recipient": "correct the address in  recipients",
    "send the mail": "ask who runs the server why",
}
