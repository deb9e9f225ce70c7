"""Messages in Slack: each movement as it happens, or a recap of the day, the week or the month."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec
from pydantic import Field, field_validator

from mogul_assets.destinations import slack_blocks
from mogul_assets.destinations.base import Capabilities, Leftover, Permission, Preview, Secret
from mogul_assets.destinations.messenger import Messenger
from mogul_assets.destinations.slack_blocks import Said
from mogul_assets.destinations.trial import Trial
from mogul_assets.errors import ConfigurationError, DestinationRefused, DestinationUnavailable
from mogul_assets.messages.chart import described, waterfall
from mogul_assets.messages.message import Answer, Draft, Message, News, Outcome, State
from mogul_assets.messages.news import news_of
from mogul_assets.messages.periods import Period, last_period, zone_of
from mogul_assets.messages.recap import Recap, Threshold, Told, recap
from mogul_assets.messages.sending import Policy, Send
from mogul_assets.store.sql import connect, parquet
from mogul_assets.store.table import Table

if TYPE_CHECKING:
    from slack_sdk.web.async_client import AsyncWebClient

MOVEMENTS = "mrr_movements"
_ID = re.compile(r"[CG][A-Z0-9]{8,}")
_RETRIES = (
    *(timedelta(seconds=seconds) for seconds in (5, 30)),
    *(timedelta(minutes=minutes) for minutes in (2, 10, 30)),
    *(timedelta(hours=hours) for hours in (1, 2, 4, 6, 6)),
)
_PAGE, _PAGES = 999, 20
_SCOPES = {
    "chat:write": "write messages",
    "files:write": "upload the chart",
    "channels:read": "see which public channels it is in",
    "groups:read": "see which private channels it is in",
}
"""What the bot needs, and what for."""
_RECAPS_ONLY = "files:write"


class Picture(msgspec.Struct, frozen=True):
    filename: str
    title: str
    alt: str
    """What it shows, in words."""
    png: bytes


class Payload(msgspec.Struct, frozen=True):
    """A message to one channel as it is written down. ``told`` is what the next recap compares with."""

    channel: str
    text: str
    blocks: list[dict[str, Any]]
    picture: Picture | None = None
    told: Told | None = None


class SlackDestination(Messenger):
    """One or more channels of a workspace, written to by a bot of your own."""

    EXAMPLE: ClassVar[Mapping[str, Any]] = {
        "token": {"env": "SLACK_BOT_TOKEN"},
        "channels": ["#revenue", "C0123456789"],
        "custom_attributes": ["Industry"],
        "minimum_cents": 5,
        "minimum_share_of_mrr": 0.005,
        "burst": 20,
    }
    # One at a time: Slack takes about one message a second in a channel, and they stay in their order.
    POLICY: ClassVar[Policy] = Policy(_RETRIES, concurrency=1)
    folds: ClassVar[bool] = True

    token: Secret = Field(description="The app's bot token, xoxb-….")
    channels: list[str] = Field(
        min_length=1, description="Names (#revenue) or ids (C0123456789); the bot is invited to each."
    )
    period: Literal["real_time", "daily", "weekly", "monthly"] = Field(
        default="daily", description="What a recap tells, or real_time; that of the schedule where it has a name."
    )
    time_zone: str = Field(default="UTC", description="Whose days a recap tells, such as Europe/Paris.")
    custom_attributes: list[str] = Field(
        default_factory=list, max_length=30, description="Names of custom attributes that messages in real time show."
    )
    minimum_cents: int = Field(
        default=5,
        ge=0,
        description="Smaller movements are left out, and counted in recaps; in cents of the account's currency.",
    )
    minimum_share_of_mrr: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="So are those below this part of the account's MRR: 0.005 is half a percent.",
    )
    burst: int = Field(default=20, ge=1, description="More movements than this at once become one digest.")
    url: str = Field(default="https://slack.com/api/", pattern=r"^https?://[^\s/]+", description="Slack's API.")

    @field_validator("channels")
    @classmethod
    def _channels(cls, names: list[str]) -> list[str]:
        channels = [name if _ID.fullmatch(name) else f"#{name.removeprefix('#').strip()}" for name in names]
        if "#" in channels:
            raise ValueError("a channel has no name")
        return list(dict.fromkeys(channels))

    @field_validator("time_zone")
    @classmethod
    def _time_zone(cls, name: str) -> str:
        zone_of(name)
        return name

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(datasets=frozenset({MOVEMENTS}))

    @property
    def real_time(self) -> bool:
        return self.period == "real_time"

    @property
    def _threshold(self) -> Threshold:
        return Threshold(self.minimum_cents, self.minimum_share_of_mrr)

    @property
    def _location(self) -> str:
        return f"Slack, {', '.join(self.channels)}"

    @property
    def _scopes(self) -> list[str]:
        return [scope for scope in _SCOPES if scope != _RECAPS_ONLY or not self.real_time]

    def _token(self) -> str:
        token = self.token.reveal().strip()
        if not token.isascii() or not token.isprintable() or " " in token:
            raise ConfigurationError(
                f"{self.token.env} holds no bot token", remedy="copy the app's Bot User OAuth Token, xoxb-…, into it"
            )
        return token

    def grants(self) -> str:
        """The manifest of an app that may do what is needed and nothing else; see api.slack.com/apps."""
        scopes = "".join(f"\n      - {scope}" for scope in self._scopes)
        return (
            "display_information:\n  name: mogul\n  description: MRR movements\n"
            "features:\n  bot_user:\n    display_name: mogul\n    always_online: false\n"
            f"oauth_config:\n  scopes:\n    bot:{scopes}\n"
            "settings:\n  org_deploy_enabled: false\n  socket_mode_enabled: false\n  token_rotation_enabled: false"
        )

    # -- what is said ---------------------------------------------------------------------------------------------

    def drafts(self, news: Sequence[News], now: datetime) -> Sequence[Draft]:
        """A message for each movement and channel; of more than ``burst`` that are due, one digest for each channel.

        Those folded into a digest are listed as left out, as are those that are too small.
        """
        small = {
            one.movement_key: reason
            for one in news
            if (reason := self._threshold.reason(one.mrr_movement, one.account_mrr, one.currency_code))
        }
        due = [one for one in news if one.movement_key not in small and one.date <= now]
        folded = due if len(due) > self.burst else []
        reasons = small | {one.movement_key: f"in the digest of {len(folded)}" for one in folded}
        messages = [draft for one in news for draft in self._told(one, reasons.get(one.movement_key))]
        return [*messages, *(self._digest(folded, channel) for channel in self.channels if folded)]

    def folded(self, waiting: Sequence[tuple[str, News]]) -> tuple[Mapping[str, str], Sequence[Draft]]:
        """What piled up over several looks, by the same rule: where more than ``burst`` wait for a channel."""
        reasons: dict[str, str] = {}
        digests = []
        for channel in self.channels:
            piled = [(subject, one) for subject, one in waiting if subject == f"{one.movement_key} {channel}"]
            if len(piled) > self.burst:
                reasons |= {subject: f"in the digest of {len(piled)}" for subject, _ in piled}
                digests.append(self._digest([one for _, one in piled], channel))
        return reasons, digests

    def _told(self, one: News, left_out: str | None) -> list[Draft]:
        return [
            Draft(
                kind="movement",
                subject=f"{one.movement_key} {channel}",
                payload=b"" if left_out else _payload(channel, slack_blocks.movement(one, self.custom_attributes)),
                due_at=one.date,
                left_out=left_out,
                movement=one.movement,
            )
            for channel in self.channels
        ]

    def _digest(self, folded: Sequence[News], channel: str) -> Draft:
        return Draft(
            kind="digest",
            subject=f"{folded[0].movement_key} and {len(folded) - 1} more {channel}",
            payload=_payload(channel, slack_blocks.digest(folded)),
            due_at=max(one.date for one in folded),
        )

    def composed(self, tables: Sequence[Table], now: datetime, period: Period | None = None) -> Sequence[Draft]:
        """The recap of the last period that is over, for each channel; and what it leaves out, to be listed."""
        period = period or self.told_of(tables, now)
        figures = self._figures(tables, period)
        said, picture = slack_blocks.recap(figures, self.time_zone), _picture(figures)
        recaps = [
            Draft(
                kind="recap",
                subject=subject,
                payload=_payload(channel, said, picture, figures.told),
                due_at=period.end,
            )
            for subject, channel in zip(self.subjects(period), self.channels, strict=True)
        ]
        left_out = [
            Draft(kind="movement", subject=one.key, payload=b"", due_at=one.date, left_out=group.reason)
            for group in figures.left_out
            for one in group.movements
        ]
        return [*recaps, *left_out]

    def subjects(self, period: Period) -> Sequence[str]:
        return [f"{period.subject} {channel}" for channel in self.channels]

    def last(self, moment: datetime) -> Period:
        return last_period(self.period, moment, self.time_zone)

    def _figures(self, tables: Sequence[Table], period: Period) -> Recap:
        (movements,) = (table for table in tables if table.dataset == MOVEMENTS)
        return recap(movements, period, threshold=self._threshold, earlier=self._said_before(period))

    def _said_before(self, period: Period) -> Told | None:
        """What the recap before this period's said, where it was sent."""
        wanted = self.last(period.start).subject
        with self.ledger.open() as ledger:  # type: ignore[union-attr]  # Dagster's type is that of what may come later
            for record in ledger.records(self.name, [State.DELIVERED], limit=200):
                if record.kind == "recap" and record.subject.startswith(f"{wanted} "):
                    payload = ledger.record(record.id).payload  # it goes with age, and where a customer is forgotten
                    return None if payload is None else msgspec.json.decode(payload, type=Payload).told
        return None

    # -- how it is sent -------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[Send]:
        from mogul_assets.destinations.slack_session import opened  # noqa: PLC0415 - only where it is needed

        async with opened(self._token(), self.url) as client:

            async def send(message: Message) -> Answer:
                return await _sent(client, message)

            yield send

    def prove(self) -> str:
        """Write one line to each channel.

        Raises:
            DestinationUnavailable, DestinationRefused: with the answer, where it was not taken.
        """
        self._write(f"This is a test of the destination {slack_blocks.escaped(self.name)}.")
        return f"a test message was taken by {', '.join(self.channels)}"

    def notice(self, title: str, text: str) -> None:
        self._write(f"*{slack_blocks.escaped(title)}*\n{slack_blocks.escaped(text)}")

    def _write(self, text: str) -> None:
        """One message to each channel, outside the ledger."""

        async def written() -> None:
            async with self.sending() as send:
                for channel in self.channels:
                    payload = _payload(channel, Said(text, [slack_blocks.section(text)]))
                    now = datetime.now(UTC)
                    message = Message(f"msg_test_{token_hex(12)}", self.name, "test", "test", payload, 1, None, now)
                    answer = await send(message)
                    if answer.outcome is not Outcome.TAKEN:
                        kind = DestinationUnavailable if answer.outcome is Outcome.AGAIN else DestinationRefused
                        raise kind(f"{self.name}: {channel}: Slack answered {answer.status}", remedy=answer.text)

        asyncio.run(written())

    def check(self) -> list[Permission]:
        """Logs in, compares the app's scopes, and looks whether the bot is in each channel. Writes nothing."""
        from mogul_assets.destinations.slack_session import told  # noqa: PLC0415 - only where it is needed

        trial = Trial(told, "")
        asyncio.run(self._tried(trial))
        return trial.found

    async def _tried(self, trial: Trial) -> None:
        from mogul_assets.destinations.slack_session import TRYING, opened  # noqa: PLC0415 - only where it is needed

        async with opened(self._token(), self.url) as client:
            bot, channels = "the bot", {}
            with trial.of("log in"):
                async with asyncio.timeout(TRYING):
                    identity = await client.auth_test()
                bot = f"@{identity['user']}"
            if not trial.passed("log in"):
                return
            given = {scope.strip() for scope in identity.headers.get("x-oauth-scopes", "").split(",")}
            for scope in self._scopes:
                with trial.of(_SCOPES[scope]):
                    if scope not in given:
                        raise DestinationRefused(
                            f"the app has no scope {scope}",
                            remedy=f"mogul destinations grants {self.name}, and install it again",
                        )
            with trial.of("list its channels"):
                async with asyncio.timeout(TRYING):
                    channels = await _memberships(client)
            for channel in self.channels if trial.passed("list its channels") else ():
                with trial.of(f"write to {channel}"):
                    self._may_write(channels.get(channel), channel, bot)

    def _may_write(self, found: Mapping[str, Any] | None, channel: str, bot: str) -> None:
        if found is None:
            raise DestinationRefused(
                f"{bot} is not in {channel}, or there is none", remedy=f"write there:  /invite {bot}"
            )
        if found.get("is_archived"):
            raise DestinationRefused(f"{channel} is archived", remedy="unarchive it, or name another")

    def preview(self, table: Table) -> Preview:
        """Counts only; the messages themselves are ``rendered``."""
        if self.real_time:
            rows, what = table.rows, "one message for each movement that is new"
        else:
            figures = self._figures([table], self.told_of([table], datetime.now(UTC)))
            rows = figures.net.count
            what = f"one recap, {figures.period.subject}, of {rows} movements"
        columns = tuple((field.name, str(field.type)) for field in table.schema)
        return Preview(self._location, rows, columns, table.window, statements=(what,))

    def rendered(self, tables: Sequence[Table], now: datetime) -> Mapping[str, bytes]:
        """What would be posted, by file name, with customers' data: a recap and its chart, or the newest movement.

        The JSON is what Slack's Block Kit Builder takes.
        """
        if self.real_time:
            newest = _newest(tables[0], now)
            if newest is None:
                return {}
            return {f"{self.name}-movement.json": _readable(slack_blocks.movement(newest, self.custom_attributes))}
        figures = self._figures(tables, self.told_of(tables, now))
        name = f"{self.name}-{figures.period.subject.replace(' ', '-')}"
        picture = _picture(figures)
        return {f"{name}.json": _readable(slack_blocks.recap(figures, self.time_zone))} | (
            {f"{name}.png": picture.png} if picture else {}
        )

    def forget(self) -> list[Leftover]:
        return [
            Leftover("the app in the workspace, with its token", "api.slack.com/apps: delete the app"),
            Leftover(f"what was posted to {', '.join(self.channels)}", "nothing removes it: it is the channel's"),
        ]

    def remains(self, datasets: Sequence[str]) -> list[Leftover]:
        if not datasets:
            return []
        where = ", ".join(self.channels)
        return [Leftover(f"what was posted to {where}", "delete it in Slack: search for the customer's name there")]


def _payload(channel: str, said: Said, picture: Picture | None = None, told: Told | None = None) -> bytes:
    return msgspec.json.encode(Payload(channel, said.text, said.blocks, picture, told))


def _picture(figures: Recap) -> Picture | None:
    """The waterfall; none of a period in which nothing moved."""
    if not figures.net.count:
        return None
    name = f"mrr-{figures.period.subject.replace(' ', '-')}.png"
    return Picture(name, f"MRR, {figures.period.label}", described(figures), waterfall(figures))


def _readable(said: Said) -> bytes:
    return msgspec.json.format(msgspec.json.encode({"text": said.text, "blocks": said.blocks}), indent=2)


def _newest(table: Table, now: datetime) -> News | None:
    """The last movement until now, of ``movement_news``, or with what ``mrr_movements`` knows of it."""
    if table.dataset != MOVEMENTS:
        return max((one for one in news_of(table) if one.date <= now), key=lambda one: one.date, default=None)
    if not table.files:
        return None
    with connect() as connection:
        last = f"SELECT * FROM {parquet(table.paths)} WHERE date <= $1 ORDER BY date DESC, movement_key LIMIT 1"
        rows = connection.sql(last, params=[now]).to_arrow_table().to_pylist()
    if not rows:
        return None
    known = {name: value for name, value in rows[0].items() if value is not None}
    return msgspec.convert({"identity": "", "movement_type": "", "currency_code": ""} | known, News)


async def _sent(client: "AsyncWebClient", message: Message) -> Answer:
    """One try: the text, then its picture. A text that was taken is not sent again for its picture's sake."""
    from mogul_assets.destinations.slack_session import TRYING, UPLOADING, tried  # noqa: PLC0415 - only where it is needed

    payload = msgspec.json.decode(message.payload, type=Payload)
    posted = await tried(
        client.chat_postMessage(
            channel=payload.channel,
            text=payload.text,
            blocks=payload.blocks,
            # What tells two posts of one message apart from two messages: the same at every try.
            metadata={"event_type": "mogul_message", "event_payload": {"id": message.id}},
            parse="none",
            link_names=False,
            unfurl_links=False,
            unfurl_media=False,
        ),
        TRYING,
    )
    if isinstance(posted, Answer) or payload.picture is None:
        return posted if isinstance(posted, Answer) else Answer(Outcome.TAKEN, "ok")
    picture = payload.picture
    shown = await tried(
        client.files_upload_v2(
            filename=picture.filename,
            content=picture.png,
            title=picture.title,
            alt_txt=picture.alt,
            channel=posted["channel"],
        ),
        UPLOADING,
    )
    if isinstance(shown, Answer):
        return Answer(Outcome.TAKEN, "ok", f"without its chart: {shown.status}: {shown.text}")
    return Answer(Outcome.TAKEN, "ok")


async def _memberships(client: "AsyncWebClient") -> dict[str, dict[str, Any]]:
    """The channels that the bot is in, by id and by name."""
    found: dict[str, dict[str, Any]] = {}
    cursor = None
    for _ in range(_PAGES):
        page = await client.users_conversations(types="public_channel,private_channel", limit=_PAGE, cursor=cursor)
        for channel in page["channels"]:
            found |= {channel["id"]: channel, f"#{channel['name']}": channel}
        cursor = (page.get("response_metadata") or {}).get("next_cursor")
        if not cursor:
            break
    return found
