"""Slack, through its own client against a peer that reads messages as Slack's clients do."""

from __future__ import annotations

import asyncio
import re
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mogul_assets.account.client import Client
from mogul_assets.account.reader import Account
from mogul_assets.catalog.datasets import MOVEMENT_NEWS
from mogul_assets.destinations import slack_session
from mogul_assets.destinations.configured import settings_of
from mogul_assets.destinations.messenger import LedgerResource
from mogul_assets.destinations.slack import Payload, SlackDestination
from mogul_assets.destinations.slack_blocks import digest, escaped, movement, plain, recap
from mogul_assets.errors import ConfigurationError, DestinationRefused, DestinationUnavailable
from mogul_assets.messages import sending
from mogul_assets.messages.message import Answer, Message, News, Outcome, State, Tried
from mogul_assets.messages.news import news_of
from mogul_assets.messages.recap import Late, Listed, Sum
from mogul_assets.refresh.news import read_news
from mogul_assets.sandbox import NO_LIMITS, Sandbox, generate, serve
from mogul_assets.store.store import Store
from mogul_assets.store.table import DataFile, Table, new_generation
from mogul_assets_tests.account.peers import EAGER
from mogul_assets_tests.messages.test_chart import RECAPS, WEEK, figures
from mogul_assets_tests.messages.test_recap import MONDAY, table
from mogul_assets_tests.peers import slack as peer
from mogul_assets_tests.peers.slack import Channel, Fault, Slack, links, pages, read
from mogul_assets_tests.refresh import runs
from mogul_assets_tests.tables import rows_of

NOW = MONDAY
PAGE = Path(__file__).parents[2] / "docs/destinations/slack.md"


@pytest.fixture
def workspace(monkeypatch):
    monkeypatch.setenv(peer.SECRET, peer.TOKEN)
    with Slack() as slack:
        yield slack


@pytest.fixture
def destination(tmp_path, workspace):
    def make(**options):
        ledger = LedgerResource(path=str(tmp_path / "ledger.db"))
        here = {"token": {"env": peer.SECRET}, "channels": ["#revenue"], "url": workspace.url, "period": "real_time"}
        return SlackDestination(name="team", ledger=ledger, **here | options)

    return make


def news(number=1, **more):
    known = {
        "uuid": f"uuid-{number}",
        "movement_key": f"key-{number}",
        "identity": f"identity-{number}",
        "date": NOW - timedelta(minutes=number),
        "movement_type": "new_biz",
        "description": "purchased the Silver Monthly plan",
        "mrr_movement": 9900,
        "mrr": 19900,
        "currency_code": "USD",
        "plan_name": "Silver",
        "customer_company": "Acme Inc.",
        "customer_url": "https://app.chartmogul.com/#/customers/1-Acme",
    }
    return News(**known | more)


def news_table(told, read_at, folder):
    """``movement_news`` as a look at the account leaves it."""
    rows = [{**msgspec.structs.asdict(one), "custom_attributes": None, "customer_external_ids": None} for one in told]
    path = folder / "news.parquet"
    pq.write_table(pa.Table.from_pylist(rows, MOVEMENT_NEWS.schema), path)
    file = DataFile(str(path), len(rows), path.stat().st_size, "0", "g")
    return Table(MOVEMENT_NEWS.name, "g", MOVEMENT_NEWS.schema, MOVEMENT_NEWS.key, [file], read_at)


def posted(destination, *drafts):
    """What became of sending these drafts, one after the other."""

    async def all_of_them():
        async with destination.sending() as send:
            return [
                await send(Message(f"msg_{n}", "team", draft.kind, draft.subject, draft.payload, 1, None, NOW))
                for n, draft in enumerate(drafts)
            ]

    return asyncio.run(all_of_them())


# -- movements as they happen ---------------------------------------------------------------------------------------


def test_a_movement_says_who_what_how_much_and_the_mrr_after_it(destination, workspace):
    team = destination(custom_attributes=["Industry", "Sales rep", "Paid"])
    one = news(custom_attributes={"Industry": "Retail", "Paid": True, "Secret": "not asked for"})
    (draft,) = team.drafts([one], NOW)
    assert (draft.subject, draft.due_at, draft.left_out) == ("key-1 #revenue", one.date, None)
    assert draft.movement == one.movement
    (answer,) = posted(team, draft)
    assert answer.outcome is Outcome.TAKEN
    (post,) = workspace.posts
    said = read(post)
    for part in (
        "▲  +$99.00 MRR  ·  New business  ·  Acme Inc.",
        "purchased the Silver Monthly plan",
        "New MRR\n$199.00",
        "Plan\nSilver",
        "Industry\nRetail",
        "Paid\nyes",
    ):
        assert part in said
    assert "Sales rep" not in said
    assert "not asked for" not in str(post)
    assert links(post) == ["https://app.chartmogul.com/#/customers/1-Acme"]
    assert post["text"] == "Acme Inc.: new business, +$99.00 MRR, now $199.00"
    assert (post["parse"], post["link_names"], post["unfurl_links"], post["unfurl_media"]) == (
        "none",
        False,
        False,
        False,
    )


def test_what_the_account_does_not_know_is_not_shown(destination, workspace):
    bare = news(description=None, plan_name=None, customer_company=None, customer_url=None)
    posted(destination(), *destination().drafts([bare], NOW))
    assert "A customer" in read(workspace.posts[0])
    assert "Plan" not in read(workspace.posts[0])
    assert links(workspace.posts[0]) == []


def test_each_channel_has_a_message_of_its_own(destination, workspace):
    workspace.channels.append(Channel("C000000002", "finance", private=True))
    team = destination(channels=["revenue", "#revenue", "C000000002"])
    drafts = team.drafts([news()], NOW)
    assert [draft.subject for draft in drafts] == ["key-1 #revenue", "key-1 C000000002"]
    posted(team, *drafts)
    assert [post["channel"] for post in workspace.posts] == ["C000000001", "C000000002"]


def test_every_try_is_recognised_by_the_same_id(destination, workspace):
    team = destination()
    (draft,) = team.drafts([news()], NOW)
    workspace.faults.append(Fault("chat.postMessage", cut=True, done=True))
    lost, taken = posted(team, draft)[0], posted(team, draft)[0]
    assert (lost.outcome, taken.outcome) == (Outcome.AGAIN, Outcome.TAKEN)
    assert workspace.posts[0] | {"ts": ""} == workspace.posts[1] | {"ts": ""}
    assert workspace.posts[0]["metadata"] == {"event_type": "mogul_message", "event_payload": {"id": "msg_0"}}


@pytest.mark.parametrize(
    ("options", "amount", "mrr", "reason"),
    [
        ({}, 4, None, "below $0.05"),
        ({}, -4, None, "below $0.05"),
        ({}, 5, None, None),
        ({"minimum_cents": 0}, 0, None, None),
        ({"minimum_share_of_mrr": 0.005}, 499, 100_000, "below 0.5 % of MRR"),
        ({"minimum_share_of_mrr": 0.005}, 500, 100_000, None),
        ({"minimum_share_of_mrr": 0.005}, 499, None, None),
    ],
)
def test_what_is_too_small_is_listed_with_its_reason_and_not_sent(destination, options, amount, mrr, reason):
    (draft,) = destination(**options).drafts([news(mrr_movement=amount, account_mrr=mrr)], NOW)
    assert draft.left_out == reason
    assert bool(draft.payload) is (reason is None)


def test_a_burst_becomes_one_digest_a_channel_and_lists_what_it_folds(destination, workspace):
    workspace.channels.append(Channel("C000000002", "finance"))
    team = destination(burst=3, channels=["#revenue", "#finance"])
    several = [news(n, mrr_movement=100 * n, movement_type="expansion") for n in range(1, 5)]
    ahead = news(9, date=NOW + timedelta(days=3))
    tiny = news(8, mrr_movement=1)
    drafts = team.drafts([*several, ahead, tiny], NOW)
    reasons = {draft.movement.key: draft.left_out for draft in drafts if draft.movement}
    assert reasons == {
        **dict.fromkeys(["key-1", "key-2", "key-3", "key-4"], "in the digest of 4"),
        "key-9": None,
        "key-8": "below $0.05",
    }
    digests = [draft for draft in drafts if draft.kind == "digest"]
    assert len({draft.subject for draft in digests}) == 2
    posted(team, *digests)
    said = read(workspace.posts[1])
    assert "4 movements at once" in said
    assert "+$10.00 MRR  net change" in said
    assert "Expansion\n+$10.00 from 4" in said
    assert said.index("+$4.00") < said.index("+$3.00")


def test_what_piled_up_over_several_looks_is_told_together(destination, workspace, tmp_path):
    workspace.channels.append(Channel("C000000002", "finance"))
    team, now = destination(burst=3, channels=["#revenue", "#finance"]), datetime.now(UTC)
    several = [news(n, date=now - timedelta(minutes=9 - n)) for n in range(1, 6)]
    with team.ledger.open() as ledger:
        ledger.standing("team", now - timedelta(hours=1))
        for seen in (2, 4, 5):
            at = now - timedelta(minutes=9 - seen)
            ledger.enqueue_news("team", several[:seen], lambda new: team.drafts(new, now), at, seen_at=at)
        one = ledger.claim("team", 1, team.POLICY, now)
        ledger.settle([Tried(one[0], Answer(Outcome.AGAIN, "busy"), now, 0.0)], team.POLICY, now)
    table = news_table(several, now, tmp_path)
    assert team.tell([table]).rows == 3  # the one that was tried, and two digests
    assert team.tell([table]).rows == 0
    with team.ledger.open() as ledger:
        found = {(each.subject, each.reason) for each in ledger.records("team", [State.LEFT_OUT])}
    of_channel = {"#revenue": range(2, 6), "#finance": range(1, 6)}
    assert found == {
        (f"key-{n} {channel}", f"in the digest of {len(ns)}") for channel, ns in of_channel.items() for n in ns
    }
    said = [read(post) for post in workspace.posts]
    assert [sum(f"{count} movements at once" in each for each in said) for count in (4, 5)] == [1, 1]


def test_as_many_as_allowed_are_told_one_by_one(destination):
    drafts = destination(burst=3).drafts([news(n) for n in range(3)], NOW)
    assert [draft.kind for draft in drafts] == ["movement"] * 3
    assert all(draft.left_out is None for draft in drafts)


# -- whatever customers are called ------------------------------------------------------------------------------------

NASTY = ["<!channel>", "<!here|x>", "<@U000000001>", "@here", "@channel", "<#C000000001>", "&lt;!everyone&gt;", "<a|b>"]
TEXTS = st.one_of(
    st.text(max_size=80),
    st.lists(st.one_of(st.sampled_from([*NASTY, "&", "<", ">", "|", "\n", "\u202e"]), st.text(max_size=5))).map(
        "".join
    ),
)
NEWS = st.builds(
    news,
    mrr_movement=st.integers(-(10**15), 10**15),
    currency_code=st.sampled_from(["USD", "JPY", "KWD", "<!channel>"]),
    movement_type=st.one_of(st.sampled_from(["new_biz", "churn"]), TEXTS),
    description=TEXTS,
    plan_name=TEXTS,
    customer_company=TEXTS,
    customer_url=st.one_of(st.none(), TEXTS, TEXTS.map(lambda text: f"https://app.example/{text}")),
    custom_attributes=st.dictionaries(
        st.sampled_from(["one", "<!channel>"]), st.one_of(TEXTS, st.booleans(), st.floats())
    ),
)


def message(said):
    return {"text": said.text, "blocks": said.blocks}


def visible(text):
    return plain(text).replace("*", "").replace("`", "")


@given(NEWS)
def test_nobody_is_paged_whatever_a_customer_is_called(one):
    said = message(movement(one, ["one", "<!channel>"]))
    peer.checked(said["blocks"])
    assert pages(said) == []
    assert all(link.startswith(("https://", "http://")) for link in links(said))


@given(TEXTS)
def test_people_read_what_was_written_on_one_line(text):
    shown = peer.shown({"type": "mrkdwn", "text": escaped(text)})
    assert shown == visible(text)
    assert "\n" not in shown
    assert len(plain(text, 10)) <= 10


@settings(max_examples=30, deadline=None)
@given(st.lists(NEWS, min_size=1, max_size=12))
def test_nor_in_a_digest(several):
    said = message(digest(several))
    peer.checked(said["blocks"])
    assert pages(said) == []


def listed(name, words, amount):
    return Listed("key", WEEK.start, "expansion", amount, 1, name, words)


def with_largest(one, those):
    return replace(one, gains=tuple(those), losses=tuple(those))


@given(RECAPS, st.lists(st.builds(listed, TEXTS, TEXTS, st.integers(-(10**15), 10**15)), max_size=5))
def test_nor_in_a_recap(one, those):
    said = message(recap(with_largest(one, those)))
    peer.checked(said["blocks"])
    assert pages(said) == []


def test_the_longest_texts_stay_within_slacks_limits():
    long = "<" * 5000
    attributes = [f"{n}{long}" for n in range(30)]
    one = news(
        description=long, plan_name=long, customer_company=long, customer_url=f"https://{long}",
        movement_type=long, custom_attributes=dict.fromkeys(attributes, long),
    )  # fmt: skip
    peer.checked(movement(one, attributes).blocks)
    peer.checked(digest([one] * 30).blocks)
    peer.checked(recap(with_largest(figures(0, 1, 1, 1, -1, -1), [listed(long, long, 1)] * 5)).blocks)


def test_the_peer_does_see_who_would_be_paged():
    assert pages({"text": "<!channel>", "blocks": []}) == ["!channel"]
    assert pages({"text": "", "parse": "full", "blocks": []}) == []
    assert pages({"text": "@here", "parse": "full", "blocks": []}) == ["here"]
    loose = {"type": "section", "text": {"type": "mrkdwn", "text": "hello @here"}}
    assert pages({"text": "", "blocks": [loose]}) == ["here"]


# -- recaps -----------------------------------------------------------------------------------------------------------

HISTORY = (
    ("base", "01-01", 1_000_000),
    ("acme", "10-27", 30_000, {"movement_type": "new_biz", "description": "purchased the Gold plan"}),
    ("base", "10-28", -12_000),
    ("core", "10-29", 3),
)


def test_a_recap_tells_the_last_week_that_is_over(destination, workspace, tmp_path):
    team = destination(period="weekly")
    recap_, small = team.composed([table(tmp_path, *HISTORY)], NOW)
    assert (recap_.kind, recap_.subject) == ("recap", "weekly 2026-10-26 #revenue")
    assert recap_.due_at == datetime(2026, 11, 2, tzinfo=UTC)
    assert (small.subject, small.left_out, small.payload) == ("key-0003", "below $0.05", b"")
    (answer,) = posted(team, recap_)
    assert (answer.outcome, answer.text) == (Outcome.TAKEN, "")
    said = read(workspace.posts[0])
    for part in (
        "Weekly MRR recap, 26 October – 1 November 2026",
        "+$180.03 MRR  net change from 3 movements",
        "$10,000.00  →  $10,180.03  (+1.8%)",
        "Paying customers\n1 → 3",
        "New business\n+$300.00 from 1",
        "Contraction\n−$120.00 from 1",
        "Largest gains\n+$300.00  Acme  ·  purchased the Gold plan",
        "Largest losses\n−$120.00  Base",
        "Left out: 1 movement below $0.05, together +$0.03",
    ):
        assert part in said
    assert "net change" in workspace.posts[0]["text"]


def test_its_chart_is_uploaded_to_the_same_channel_with_words_for_those_who_do_not_see_it(
    destination, workspace, tmp_path
):
    team = destination(period="weekly")
    posted(team, team.composed([table(tmp_path, *HISTORY)], NOW)[0])
    (chart,) = workspace.shared
    assert chart.channel == workspace.posts[0]["channel"]
    assert chart.content.startswith(b"\x89PNG")
    assert chart.filename == "mrr-weekly-2026-10-26.png"
    assert "Opening MRR $10,000.00" in chart.alt
    assert "New business +$300.00" in chart.alt


@pytest.mark.parametrize(
    "fault",
    [
        Fault("files.getUploadURLExternal", error="missing_scope"),
        Fault("upload", status=500),
        Fault("upload", cut=True),
        Fault("files.completeUploadExternal", status=503),
    ],
    ids=lambda fault: f"{fault.method} {fault.error or fault.status} {'cut' if fault.cut else ''}",
)
def test_a_chart_that_cannot_be_uploaded_does_not_send_the_text_twice(destination, workspace, tmp_path, fault):
    team = destination(period="weekly")
    workspace.faults.append(fault)
    (answer,) = posted(team, team.composed([table(tmp_path, *HISTORY)], NOW)[0])
    assert answer.outcome is Outcome.TAKEN
    assert answer.text.startswith("without its chart: ")
    assert len(workspace.posts) == 1
    assert workspace.shared == []


def test_a_period_without_movements_is_told_without_a_chart(destination, workspace, tmp_path):
    team = destination(period="daily")
    (one,) = team.composed([table(tmp_path, ("base", "01-01", 1_000))], NOW)
    posted(team, one)
    assert "0 movements" in read(workspace.posts[0])
    assert workspace.shared == []


def test_its_days_are_those_of_its_time_zone(destination, tmp_path):
    movements = table(tmp_path, ("acme", "10-31T23:30", 100), ("acme", "11-01T00:30", 1000))
    here = [
        msgspec.json.decode(
            destination(period="monthly", time_zone=zone).composed([movements], NOW)[0].payload, type=Payload
        )
        for zone in ("UTC", "Europe/Paris", "America/New_York")
    ]
    assert [one.told.sum for one in here] == [Sum(1, 100), Sum(0, 0), Sum(2, 1100)]
    assert "Days are those of Europe/Paris" in str(here[1].blocks)


def test_what_came_after_the_recap_before_is_told(destination, workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(sending, "now", lambda: NOW)
    monkeypatch.setitem(sending.drain.__kwdefaults__, "clock", lambda: NOW)
    team = destination(period="weekly")
    before = NOW - timedelta(weeks=1)
    with team.ledger.open() as ledger:
        ledger.standing("team", before)
        ledger.enqueue("team", team.composed([table(tmp_path, ("acme", "10-20", 500))], before), before)
    assert team.tell([table(tmp_path)]).rows == 2
    week_later = table(tmp_path, ("acme", "10-20", 500), ("bolt", "10-21", 700))
    (one, *_) = team.composed([week_later], NOW)
    assert "Since the recap of 19–25 October 2026 its figures have changed: +1 movement, +$7.00" in one.payload.decode()


def test_a_recap_notes_what_rates_did_and_what_was_late():
    late = Late("19–25 October 2026", Sum(-2, -700))
    said = read(message(recap(replace(figures(1000, 1, 1, 1, -1, -1, rest=-50), late=late))))
    assert "Exchange rates and rounding: −$0.50" in said
    assert "−2 movements, −$7.00" in said


# -- what can go wrong ------------------------------------------------------------------------------------------------


def once(destination, workspace, *faults):
    team = destination()
    workspace.faults.extend(faults)
    return posted(team, *team.drafts([news()], NOW))[0]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault("chat.postMessage", status=500), "internal_error"),
        (Fault("chat.postMessage", status=503, page="<html>maintenance</html>"), "503"),
        (Fault("chat.postMessage", page="<html>the hotel's Wi-Fi</html>"), "200"),
        (Fault("chat.postMessage", cut=True), "connection lost"),
        (Fault("chat.postMessage", error="service_unavailable"), "service_unavailable"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_may_pass_is_tried_again(destination, workspace, fault, status):
    answer = once(destination, workspace, fault)
    assert (answer.outcome, answer.status) == (Outcome.AGAIN, status)
    assert workspace.posts == []


def test_a_short_pause_that_slack_asks_for_is_waited_for(destination, workspace):
    answer = once(destination, workspace, Fault("chat.postMessage", "ratelimited", status=429, retry_after=1))
    assert answer.outcome is Outcome.TAKEN
    assert workspace.calls == ["chat.postMessage"] * 2


@pytest.mark.parametrize(("asked", "seconds"), [(90, 90), (10**9, 86400), (10**30, 86400)])
def test_a_long_one_is_left_to_the_ledger_and_none_is_longer_than_a_day(destination, workspace, asked, seconds):
    answer = once(destination, workspace, Fault("chat.postMessage", "ratelimited", status=429, retry_after=asked))
    assert (answer.outcome, answer.status) == (Outcome.AGAIN, "ratelimited")
    assert answer.retry_after == timedelta(seconds=seconds)


def test_where_nobody_listens_it_is_tried_again(destination):
    team = destination(url="http://127.0.0.1:1/api/")
    (answer,) = posted(team, *team.drafts([news()], NOW))
    assert (answer.outcome, answer.status) == (Outcome.AGAIN, "unreachable")


def test_who_does_not_answer_is_not_waited_for_longer_than_said(destination, workspace, monkeypatch):
    monkeypatch.setattr(slack_session, "TRYING", 0.2)
    answer = once(destination, workspace, *[Fault("chat.postMessage", "ratelimited", status=429, retry_after=1)] * 2)
    assert (answer.outcome, answer.status) == (Outcome.AGAIN, "timeout")


@pytest.mark.parametrize("word", ["token_revoked", "account_inactive"])
def test_a_workspace_that_wants_no_more_disables_the_destination(destination, workspace, word):
    answer = once(destination, workspace, Fault("chat.postMessage", error=word))
    assert (answer.outcome, answer.status) == (Outcome.GONE, word)
    assert "install the app again" in answer.text


@pytest.mark.parametrize(
    ("channel", "status", "remedy"),
    [
        (None, "channel_not_found", "correct the channel's name"),
        (Channel("C000000001", "revenue", member=False), "not_in_channel", "/invite"),
        (Channel("C000000001", "revenue", archived=True), "is_archived", "unarchive"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_stays_is_refused_with_what_to_do(destination, workspace, channel, status, remedy):
    workspace.channels[:] = [channel] if channel else []
    answer = once(destination, workspace)
    assert (answer.outcome, answer.status) == (Outcome.REFUSED, status)
    assert remedy in answer.text


def test_a_wrong_token_is_refused_and_not_repeated(destination, workspace, monkeypatch):
    monkeypatch.setenv(peer.SECRET, "xoxb-s3cret")
    answer = once(destination, workspace)
    assert (answer.outcome, answer.status) == (Outcome.REFUSED, "invalid_auth")
    assert "s3cret" not in str(answer)


def test_a_token_that_is_not_set_is_told_before_anything_is_tried(destination, workspace, monkeypatch):
    monkeypatch.delenv(peer.SECRET)
    with pytest.raises(ConfigurationError, match=peer.SECRET):
        posted(destination(), *destination().drafts([news()], NOW))
    assert workspace.calls == []


def test_what_is_no_token_is_told_by_its_variable(destination, monkeypatch):
    for wrong in ("xoxb-s3cret\nxoxb-2", "xoxb-s3cret …"):
        monkeypatch.setenv(peer.SECRET, wrong)
        with pytest.raises(ConfigurationError, match=f"{peer.SECRET} holds no bot token") as refused:
            destination().check()
        assert "s3cret" not in str(refused.value)


def test_no_customer_and_no_token_is_logged(destination, workspace, caplog):
    caplog.set_level("DEBUG")
    once(destination, workspace, Fault("chat.postMessage", "ratelimited", status=429, retry_after=1))
    assert "Acme" not in caplog.text
    assert peer.TOKEN not in caplog.text


def test_an_error_that_nobody_knows_is_refused_by_its_own_word(destination, workspace):
    answer = once(destination, workspace, Fault("chat.postMessage", error="as_user_not_supported"))
    assert (answer.outcome, answer.status) == (Outcome.REFUSED, "as_user_not_supported")


# -- setting it up ----------------------------------------------------------------------------------------------------


def problems(team):
    return {one.name: one.problem for one in team.check() if one.problem}


def test_the_check_logs_in_and_looks_for_each_channel_and_writes_nothing(destination, workspace):
    team = destination(period="daily")
    assert [one.name for one in team.check()] == [
        "log in",
        "write messages",
        "upload the chart",
        "see which public channels it is in",
        "see which private channels it is in",
        "list its channels",
        "write to #revenue",
    ]
    assert problems(team) == {}
    assert set(workspace.calls) == {"auth.test", "users.conversations"}


def test_it_finds_channels_by_name_and_id_over_several_pages(destination, workspace):
    workspace.page = 2
    workspace.channels += [Channel(f"C00000010{n}", f"team-{n}") for n in range(6)]
    assert problems(destination(channels=["#team-5", "C000000101"])) == {}


def test_it_names_the_channels_that_the_bot_cannot_write_to(destination, workspace):
    workspace.channels += [Channel("C000000002", "board", member=False), Channel("C000000003", "old", archived=True)]
    assert problems(destination(channels=["#revenue", "#board", "#old", "#nowhere"])) == {
        "write to #board": "@mogul is not in #board, or there is none",
        "write to #old": "#old is archived",
        "write to #nowhere": "@mogul is not in #nowhere, or there is none",
    }


@pytest.mark.parametrize("scope", peer.SCOPES)
def test_it_names_each_scope_that_the_app_lacks(destination, workspace, scope):
    workspace.scopes = tuple(one for one in peer.SCOPES if one != scope)
    found = problems(destination(period="weekly"))
    assert f"the app has no scope {scope}" in found.values()


def test_messages_in_real_time_need_no_right_to_upload(destination, workspace):
    workspace.scopes = ("chat:write", "channels:read", "groups:read")
    assert problems(destination()) == {}
    assert "files:write" not in destination().grants()
    assert "files:write" in destination(period="daily").grants()


def test_a_wrong_token_is_told_by_the_check(destination, monkeypatch):
    monkeypatch.setenv(peer.SECRET, "xoxb-s3cret")
    (only,) = destination().check()
    assert (only.name, only.problem) == ("log in", "Slack answered invalid_auth")
    assert "xoxb-" in only.remedy


def test_where_nobody_listens_the_check_says_so(destination):
    (only,) = destination(url="http://127.0.0.1:1/api/").check()
    assert "out of reach" in only.problem


def test_a_test_message_is_written_to_each_channel(destination, workspace):
    workspace.channels.append(Channel("C000000002", "finance"))
    assert destination(channels=["#revenue", "#finance"]).prove() == "a test message was taken by #revenue, #finance"
    assert [read(post) for post in workspace.posts] == ["This is a test of the destination team."] * 2


def test_a_test_message_that_is_not_taken_says_why(destination, workspace):
    with pytest.raises(DestinationRefused, match="team: #nowhere: Slack answered channel_not_found"):
        destination(channels=["#nowhere"]).prove()
    workspace.faults.append(Fault("chat.postMessage", status=500))
    with pytest.raises(DestinationUnavailable, match="internal_error"):
        destination().prove()


def test_a_preview_counts_and_shows_no_customer(destination, workspace, tmp_path):
    preview = destination(period="weekly").preview(table(tmp_path, *HISTORY))
    assert "Acme" not in str(preview)
    assert workspace.calls == []


def test_what_is_rendered_is_what_would_be_posted(destination, workspace, tmp_path):
    team = destination(period="weekly")
    files = team.rendered([table(tmp_path, *HISTORY)], NOW)
    assert set(files) == {"team-weekly-2026-10-26.json", "team-weekly-2026-10-26.png"}
    payload = msgspec.json.decode(team.composed([table(tmp_path, *HISTORY)], NOW)[0].payload, type=Payload)
    assert msgspec.json.decode(files["team-weekly-2026-10-26.json"])["blocks"] == payload.blocks
    assert files["team-weekly-2026-10-26.png"] == payload.picture.png
    shown = msgspec.json.decode(destination().rendered([table(tmp_path, *HISTORY)], NOW)["team-movement.json"])
    assert "Core" in read(shown)
    assert workspace.calls == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"channels": []}, "channels"),
        ({"channels": ["#"]}, "a channel has no name"),
        ({"period": "hourly"}, "period"),
        ({"minimum_share_of_mrr": 50}, "minimum_share_of_mrr"),
        ({"burst": 0}, "burst"),
        ({"url": "slack.com"}, "url"),
        ({"token": "xoxb-literal"}, "a secret is written"),
    ],
)
def test_settings_that_make_no_sense_are_refused(destination, options, problem):
    with pytest.raises(ValidationError, match=problem):
        destination(**options)


def test_a_time_zone_that_is_not_there_is_refused(destination):
    with pytest.raises((ValidationError, ConfigurationError), match="no time zone"):
        destination(time_zone="Europe/Atlantis")


def test_the_page_says_every_setting():
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (.+?) \|$", PAGE.read_text(), re.MULTILINE))
    assert rows == {name: field.description for name, field in settings_of(SlackDestination).items()}


# -- from the account to the channel ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_happens_in_the_account_is_read_in_the_channel_once(destination, workspace, tmp_path):
    began = datetime(2026, 3, 20, 9, tzinfo=UTC)
    sandbox = Sandbox(generate(now=began, customers=150, years=0.5), limits=NO_LIMITS)
    store = Store(tmp_path / "store")
    with serve(sandbox) as served, runs.quoting() as rates, closing(Client(served.url, "sandbox", EAGER)) as client:
        runs.refreshed(store, served.url, began, rates=rates)
        look = partial(read_news, store, Account(client, since=runs.SINCE))
        first = look(generation=new_generation(began), now=began)
        (mrr,) = {one.account_mrr for one in news_of(first)}
    customers = rows_of(store.table("customers"))
    assert mrr == sum(customer["mrr"] for customer in customers) > 0
    newest = max(one.date for one in news_of(first))
    team = destination(minimum_cents=0, burst=1000)
    with team.ledger.open() as ledger:
        ledger.standing("team", newest - timedelta(hours=1))
    expected = [one for one in news_of(first) if newest - timedelta(hours=1) <= one.date]
    assert team.tell([first]).rows == len(expected) > 0
    assert team.tell([first]).rows == 0
    assert len(workspace.posts) == len(expected)
    assert pages(workspace.posts[0]) == []
