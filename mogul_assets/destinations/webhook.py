"""Movements to a URL of yours, as they happen: ChartMogul's webhook, signed and with an id to tell repeats by."""

import asyncio
import base64
import binascii
import re
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from pydantic import Field, field_validator, model_validator

from mogul_assets.destinations.addresses import Gate, NotAllowed, endpoint, networks, port
from mogul_assets.destinations.base import Capabilities, Permission, Preview, Secret
from mogul_assets.destinations.messenger import Messenger
from mogul_assets.destinations.trial import Trial
from mogul_assets.errors import ConfigurationError, DestinationRefused, DestinationUnavailable, MogulError
from mogul_assets.messages.message import Answer, Draft, Message, News, Outcome, utc
from mogul_assets.messages.news import news_of
from mogul_assets.messages.sending import Policy, Send, pause_of
from mogul_assets.store.table import Table

if TYPE_CHECKING:
    from aiohttp import ClientResponse, TCPConnector
    from standardwebhooks import Webhook

TRYING = 15
"""Seconds for one try, from its name to its answer."""
CONNECTING = 10
_SHOWN = 300
"""Characters of an answer that are kept."""
_READ = 4096
_RETRIES = (
    *(timedelta(seconds=seconds) for seconds in (5, 15)),
    *(timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 20, 30)),
    *(timedelta(hours=hours) for hours in (1, 2, 3, 4, 6, 6, 12, 12, 24)),
)
_PREVIEWED = 3
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = ("webhook-", "mogul-", "content-", "transfer-")
_TAKEN = {"host", "connection", "expect", "upgrade", "te", "trailer"}


class Customer(msgspec.Struct, frozen=True):
    name: str
    uuid: str
    email: str
    status: str
    company: str
    currency: str
    current_arr: int
    current_mrr: int
    external_id: str
    external_ids: list[str]
    currency_symbol: str
    data_source_uuid: str
    custom_attributes: dict[str, Any]


class Subscription(msgspec.Struct, frozen=True):
    external_id: str


class Payload(msgspec.Struct, frozen=True):
    """ChartMogul's own, field for field, in its order (dev.chartmogul.com/docs/destinations/webhooks).

    Its texts are never null: what the account does not say is empty. Amounts are cents; that in the invoice's
    currency is null where no rate is known.
    """

    date: str
    type: str
    customer: Customer
    description: str
    subscription: Subscription
    movement_type: str
    account_currency: str
    invoice_currency: str
    account_currency_symbol: str
    invoice_currency_symbol: str
    movement_amount_in_cent: int
    mrr_movement_in_account_currency: int
    mrr_movement_in_invoice_currency: int | None


_JSON = {
    str(str): "string",
    str(int): "integer",
    str(int | None): "integer or null",
    str(list[str]): "array of strings",
    str(dict[str, Any]): "object",
}


def _moment(date: datetime) -> str:
    return utc(date).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def payload(news: News) -> Payload:
    """A movement as ChartMogul tells it. Without an invoice of its own its amount is the account's currency's."""
    from babel.numbers import get_currency_symbol  # noqa: PLC0415 - only where it is needed

    def symbol(currency: str) -> str:
        own = news.customer_currency_sign if currency == customer_currency else None
        return own or get_currency_symbol(currency, locale="en_US")

    customer_currency = news.customer_currency or news.currency_code
    invoice_currency = news.invoice_currency or news.currency_code
    return Payload(
        date=_moment(news.date),
        type="mrr_movement",
        customer=Customer(
            name=news.customer_name or "",
            uuid=news.customer_uuid or "",
            email=news.customer_email or "",
            # Listed as "Past Due", and sent in lower case in all samples that there are.
            status=(news.customer_status or "").lower().replace(" ", "_"),
            company=news.customer_company or "",
            currency=customer_currency,
            current_arr=news.customer_arr,
            current_mrr=news.customer_mrr,
            external_id=news.customer_external_id or "",
            external_ids=list(news.customer_external_ids),
            currency_symbol=symbol(customer_currency),
            data_source_uuid=news.customer_data_source_uuid or news.billing_connector_uuid or "",
            custom_attributes=dict(news.custom_attributes),
        ),
        description=news.description or "",
        subscription=Subscription(external_id=news.subscription_external_id or ""),
        movement_type=news.movement_type,
        account_currency=news.currency_code,
        invoice_currency=invoice_currency,
        account_currency_symbol=symbol(news.currency_code),
        invoice_currency_symbol=symbol(invoice_currency),
        movement_amount_in_cent=news.mrr_movement,
        mrr_movement_in_account_currency=news.mrr_movement,
        mrr_movement_in_invoice_currency=(
            news.mrr_movement if news.invoice_currency is None else news.invoice_mrr_movement
        ),
    )


class WebhookDestination(Messenger):
    """One URL that every movement is posted to, as it happens, in the order of its customer."""

    EXAMPLE: ClassVar[Mapping[str, Any]] = {
        "url": "https://api.acme.example/chartmogul",
        "secret": {"env": "WEBHOOK_SECRET"},
        "previous_secret": {"env": "WEBHOOK_SECRET_BEFORE"},
        "bearer": {"env": "WEBHOOK_TOKEN"},
        "headers": {"x-api-key": {"env": "WEBHOOK_API_KEY"}},
        "allow_private": ["10.20.0.0/16"],
    }
    POLICY: ClassVar[Policy] = Policy(_RETRIES, jitter=0.2, concurrency=8, ordered=True, silence=timedelta(days=5))

    url: str = Field(description="Where it is posted to: https://…, or http://… within a network of yours.")
    secret: Secret = Field(description="What signs every message: whsec_ and 24 to 64 bytes in Base64.")
    previous_secret: Secret | None = Field(
        default=None, description="While the secret is changed: the one before signs as well."
    )
    bearer: Secret | None = Field(default=None, description="A token, sent as Authorization: Bearer ….")
    headers: dict[str, Secret] = Field(default_factory=dict, description="Further headers, by name.")
    allow_private: list[str] = Field(
        default_factory=list,
        description="Private addresses that it may be at: such as 10.20.0.0/16, or 127.0.0.1 for this machine.",
    )

    @field_validator("url")
    @classmethod
    def _whole_url(cls, url: str) -> str:
        endpoint(url)
        return url

    @field_validator("allow_private")
    @classmethod
    def _ranges(cls, texts: list[str]) -> list[str]:
        networks(texts)
        return texts

    @model_validator(mode="after")
    def _headers_of_the_users_own(self) -> "WebhookDestination":
        for name in self.headers:
            if not _HEADER.fullmatch(name):
                raise ValueError(f"headers: '{name}' is no header's name")
            if name.lower().startswith(_OURS) or name.lower() in _TAKEN:
                raise ValueError(f"headers: {name} is set by the message itself")
            if name.lower() == "authorization" and self.bearer is not None:
                raise ValueError("headers: Authorization is set by bearer already; leave one of them out")
        return self

    def secrets(self) -> list[Secret]:
        return [*super().secrets(), *self.headers.values()]

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(datasets=frozenset({"mrr_movements"}))

    @property
    def real_time(self) -> bool:
        return True

    @property
    def _place(self) -> str:
        """The URL as far as it may be shown: what follows the host may be a key."""
        parts = endpoint(self.url)
        return f"{parts.scheme}://{parts.netloc}/"

    def grants(self) -> str:
        """A secret to be shared with the receiver."""
        return f'export {self.secret.env}="whsec_$(openssl rand -base64 32)"   # and the same at {self._place}'

    def drafts(self, news: Sequence[News], now: datetime) -> Sequence[Draft]:  # noqa: ARG002 - nothing folds here
        """One message a movement; one that leaves the MRR as it was is left out, as ChartMogul does."""
        return [
            Draft(
                kind="movement",
                subject=one.movement_key,
                payload=msgspec.json.encode(payload(one)),
                due_at=one.date,
                order=one.customer_uuid or one.customer_external_id,
                left_out=None if one.mrr_movement else "it leaves the MRR as it was",
                movement=one.movement,
            )
            for one in news
        ]

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[Send]:
        import aiohttp  # noqa: PLC0415 - only where it is needed

        signers, own = self._signers(), self._own_headers()
        timeout = aiohttp.ClientTimeout(total=TRYING, sock_connect=CONNECTING)
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(connector=self._connector(), timeout=timeout, cookie_jar=jar) as session:

            async def send(message: Message) -> Answer:
                headers = own | _headers(message, signers)
                try:
                    async with session.post(
                        self.url, data=message.payload, headers=headers, allow_redirects=False
                    ) as response:
                        return await _answer(response)
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    return _lost(error)

            yield send

    def _connector(self) -> "TCPConnector":
        from aiohttp import TCPConnector  # noqa: PLC0415 - only where it is needed

        gate = Gate(networks(self.allow_private))
        # aiohttp's own context is made when it is imported, and would not see an SSL_CERT_FILE that is set later.
        secure = ssl.create_default_context() if self.url.startswith("https") else True
        return TCPConnector(limit=self.POLICY.concurrency, ssl=secure, socket_factory=gate.socket)

    def _signers(self) -> "list[Webhook]":
        return [_signer(secret) for secret in (self.secret, self.previous_secret) if secret is not None]

    def _own_headers(self) -> dict[str, str]:
        own = {name.lower(): _printable(secret) for name, secret in self.headers.items()}
        if self.bearer is not None:
            own["authorization"] = f"Bearer {_printable(self.bearer)}"
        return own | {"content-type": "application/json", "user-agent": "mogul-assets", "accept-encoding": "identity"}

    def check(self) -> list[Permission]:
        """Reads the secrets, looks the name up and connects, TLS included. Sends nothing."""
        trial = Trial(lambda _error: None, "")
        with trial.of("secrets"):
            self._signers()
            self._own_headers()
        with trial.of("connect"):
            asyncio.run(self._connected())
        return trial.found

    async def _connected(self) -> None:
        parts = endpoint(self.url)
        secure = ssl.create_default_context() if parts.scheme == "https" else None
        try:
            async with asyncio.timeout(TRYING):
                opened = await self._opened(str(parts.hostname), port(parts))
                name = parts.hostname if secure else None
                _, writer = await asyncio.open_connection(sock=opened, ssl=secure, server_hostname=name)
                writer.transport.abort()
        except OSError as error:
            raise self._failed(_lost(error)) from None

    async def _opened(self, host: str, number: int) -> socket.socket:
        """A connection to the first of the host's addresses that may be, and can be, connected to."""
        gate, loop = Gate(networks(self.allow_private)), asyncio.get_running_loop()
        failed: OSError = NotAllowed()
        for info in await loop.getaddrinfo(host, number, type=socket.SOCK_STREAM):
            try:
                with ExitStack() as kept:
                    opened = kept.enter_context(gate.socket(info))
                    opened.setblocking(False)
                    await loop.sock_connect(opened, info[4])
                    kept.pop_all()
            except OSError as error:
                failed = error
            else:
                return opened
        raise failed

    def _failed(self, answer: Answer) -> MogulError:
        kind = DestinationRefused if answer.outcome is Outcome.REFUSED else DestinationUnavailable
        remedy = _REMEDIES.get(answer.status, "look what the receiver says of it")
        return kind(f"{self.name}: {self._place}: {answer.said}", remedy=remedy)

    def prove(self) -> str:
        """Post one message of type ``mogul_test``, signed as all are.

        Returns:
            What was taken, and by whom.

        Raises:
            DestinationUnavailable, DestinationRefused: with the answer's status, where it was not.
        """
        id_, status = self._post("mogul_test", {})
        return f"{id_}, of type mogul_test, was taken by {self._place} ({status})"

    def notice(self, title: str, text: str) -> None:
        self._post("mogul_alert", {"title": title, "text": text})

    def _post(self, type_: str, more: Mapping[str, str]) -> tuple[str, str]:
        """One message outside the ledger, signed as all are; its id, and the answer's status."""
        now = datetime.now(UTC)
        said = {"date": _moment(now), "type": type_, "destination": self.name, **more}
        message = Message(
            id=f"msg_test_{token_hex(12)}",
            destination=self.name,
            kind="test",
            subject="test",
            payload=msgspec.json.encode(said),
            attempt=1,
            sequence=None,
            enqueued_at=now,
        )
        answer = asyncio.run(self._once(message))
        if answer.outcome is not Outcome.TAKEN:
            raise self._failed(answer)
        return message.id, answer.status

    async def _once(self, message: Message) -> Answer:
        async with self.sending() as send:
            return await send(message)

    def preview(self, table: Table) -> Preview:
        """The payload's shape, without anybody's data."""
        return Preview(
            location=self._place,
            rows=table.rows,
            columns=tuple(_shape(Payload)),
            window=table.window,
            statements=(f"POST {self._place}",),
        )

    def rendered(self, tables: Sequence[Table], now: datetime) -> Mapping[str, bytes]:  # noqa: ARG002 - as declared
        """The payloads of the newest movements, as they would be posted."""
        newest = deque(news_of(tables[0]), _PREVIEWED)
        return {f"{one.movement_key}.json": msgspec.json.format(msgspec.json.encode(payload(one))) for one in newest}


def _shape(kind: type[msgspec.Struct], above: str = "") -> Iterator[tuple[str, str]]:
    """The paths of a payload's fields, each with the word for what JSON holds there."""
    for field in msgspec.structs.fields(kind):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _shape(field.type, f"{above}{field.name}.")
        else:
            yield f"{above}{field.name}", _JSON[str(field.type)]


def _signer(secret: Secret) -> "Webhook":
    from standardwebhooks import Webhook  # noqa: PLC0415 - only where it is needed

    text = secret.reveal().strip()
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if not text.startswith("whsec_") or not 24 <= len(key) <= 64:
        raise ConfigurationError(
            f"{secret.env} holds no secret of a webhook",
            remedy=f'export {secret.env}="whsec_$(openssl rand -base64 32)"',
        )
    return Webhook(text)


def _printable(secret: Secret) -> str:
    text = secret.reveal().strip()
    if not (text.isascii() and text.isprintable()):
        raise ConfigurationError(
            f"{secret.env} holds what no header can: a line's end, or letters beyond ASCII",
            remedy="put the value alone into it",
        )
    return text


def _headers(message: Message, signers: "Sequence[Webhook]") -> dict[str, str]:
    """Those of the Standard Webhooks specification, signed anew at every try; and what sorts a customer's messages."""
    now, body = datetime.now(UTC), message.payload.decode()
    headers = {
        "webhook-id": message.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signer.sign(message.id, now, body) for signer in signers),
        "mogul-movement-key": message.subject,
    }
    return headers if message.sequence is None else headers | {"mogul-sequence": str(message.sequence)}


async def _answer(response: "ClientResponse") -> Answer:
    status, pause = response.status, pause_of(response.headers.get("Retry-After"))
    outcome = Outcome.TAKEN if 200 <= status < 300 else Outcome.GONE if status == 410 else Outcome.AGAIN
    if 300 <= status < 400:
        return Answer(outcome, str(status), "it redirects, which is not followed", pause)
    return Answer(outcome, str(status), retry_after=pause, quoted=await _said(response))


async def _said(response: "ClientResponse") -> str:
    """The beginning of what was answered. What becomes of it changes nothing: the status has come already."""
    from aiohttp import ClientError  # noqa: PLC0415 - only where it is needed

    said = b""
    try:
        while len(said) < _READ and (part := await response.content.read(_READ - len(said))):
            said += part
    except (ClientError, OSError, TimeoutError):
        pass
    words = " ".join(said.decode(errors="replace").split())
    return "".join(letter for letter in words if letter.isprintable())[:_SHOWN]


_REMEDIES = {
    "address": "correct the url; is it in a network of yours, name that in allow_private",
    "url": "correct the url",
    "name": "look at the host's name, and at DNS",
    "certificate": "renew the receiver's certificate; for an authority of your own set SSL_CERT_FILE",
    "tls": "look at what the receiver speaks; is it http://?",
    "timeout": "answer within 15 s, and work on it afterwards",
    "connection": "look whether the receiver runs, and at the network between",
    "http": "it is no web server that answers there",
}
"""What to do, by the word that stands for a status where there was none."""


def _lost(error: Exception) -> Answer:
    """What a try without an answer came to. None of it repeats the URL, which may hold a key."""
    import aiohttp  # noqa: PLC0415 - only where it is needed

    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    known: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str, str], ...] = (
        (TimeoutError, "timeout", f"no answer within {TRYING} s"),
        ((aiohttp.ClientConnectorDNSError, socket.gaierror), "name", "the host's name could not be looked up"),
        (
            (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError),
            "certificate",
            "its certificate is not to be trusted",
        ),
        ((aiohttp.ClientSSLError, ssl.SSLError), "tls", "it does not speak TLS as we do"),
        (OSError, "connection", "the connection was refused, or lost before an answer"),
        (aiohttp.ServerDisconnectedError, "connection", "the connection was lost before an answer"),
    )
    if isinstance(inner, NotAllowed):
        return Answer(Outcome.REFUSED, "address", "it is at a private address, and allow_private does not name it")
    if isinstance(error, aiohttp.InvalidURL):
        return Answer(Outcome.REFUSED, "url", "its url cannot be used")
    for kind, word, text in known:
        if isinstance(error, kind):
            return Answer(Outcome.AGAIN, word, text)
    return Answer(Outcome.AGAIN, "http", "what it answered is not HTTP")
