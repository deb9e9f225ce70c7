"""One request: how it is sent, what is asked for again, what ends it, and what an error says."""

import asyncio
import logging
import re
import socket
import threading
from base64 import b64encode
from concurrent.futures import CancelledError
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import msgspec
import pytest
from aiohttp import web

from mogul_assets.account import answers
from mogul_assets.account.client import Client
from mogul_assets.errors import AccountRefused, AccountUnavailable, ConfigurationError
from mogul_assets.settings import AccountSettings
from mogul_assets_tests.account.peers import EAGER, KEY, answering, connected

PONG = b'{"data":"pong!"}'


def get(client: Client, path: str = "/ping", **params: str) -> bytes:
    return client.run(client.fetch(path, params, msgspec.json.decode)).body


def first_then_pong(failure):
    """Answers with ``failure`` once, and well after that."""
    failed = []

    async def handler(request):
        if not failed:
            failed.append(request)
            return await failure(request)
        return web.Response(body=PONG)

    return handler


def always(status: int, body: bytes = b"", **headers: str):
    async def handler(request):
        return web.Response(status=status, body=body, headers=headers)

    return handler


def test_the_key_is_the_user_name_of_basic_authentication_without_a_password():
    with answering(always(200, PONG)) as peer, connected(peer.url) as client:
        assert get(client) == PONG
    assert peer.requests[0].headers["Authorization"] == f"Basic {b64encode(f'{KEY}:'.encode()).decode()}"


def test_a_line_break_that_was_copied_with_the_key_is_no_part_of_it():
    with answering(always(200, PONG)) as peer, connected(peer.url, f" {KEY}\n") as client:
        get(client)
    assert peer.requests[0].headers["Authorization"] == f"Basic {b64encode(f'{KEY}:'.encode()).decode()}"


def test_requests_are_http_1_1_and_take_gzip():
    async def zipped(request):
        response = web.Response(body=PONG)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    with answering(zipped) as peer, connected(peer.url) as client:
        assert get(client) == PONG
    assert peer.requests[0].version == (1, 1)
    assert peer.requests[0].headers["Accept-Encoding"] == "gzip"


def test_connections_are_kept():
    ports = set()

    async def handler(request):
        ports.add(request.transport.get_extra_info("peername"))
        return web.Response(body=PONG)

    with answering(handler) as peer, connected(peer.url) as client:
        for _ in range(25):
            get(client)
    assert len(ports) == 1


def test_a_cursor_arrives_as_it_is():
    cursor = "MjAxNi0wMS0yNVQwMDowMDowMC4wMDAwMDAwMDBaJjExNDE2NzQ1MQ+/=="
    with answering(always(200, PONG)) as peer, connected(peer.url) as client:
        get(client, "/customers", cursor=cursor)
    assert peer.requests[0].query == {"cursor": cursor}
    assert "=" not in peer.requests[0].rel_url.raw_query_string.removeprefix("cursor=")


@pytest.mark.parametrize("status", [402, 429, 500, 502, 503, 504, 520, 524])
def test_what_may_pass_is_asked_for_again(status):
    with answering(first_then_pong(always(status, b"not now"))) as peer, connected(peer.url) as client:
        assert get(client) == PONG
    assert len(peer.requests) == 2


async def reset_in_mid_body(request):
    response = web.StreamResponse(headers={"Content-Length": "4000"})
    await response.prepare(request)
    await response.write(PONG)
    request.transport.abort()
    return response


async def ended_in_mid_body(request):
    response = web.StreamResponse(headers={"Content-Length": "4000"})
    await response.prepare(request)
    await response.write(PONG)
    request.transport.close()
    return response


async def silent(request):
    await asyncio.sleep(3)
    return web.Response(body=b"too late")


async def trickling(request):
    response = web.StreamResponse(headers={"Content-Length": "4000"})
    await response.prepare(request)
    for _ in range(30):
        await response.write(b" ")
        await asyncio.sleep(0.1)
    return response


@pytest.mark.parametrize(
    "failure",
    [reset_in_mid_body, ended_in_mid_body, silent, trickling, always(200, b'{"data": "po'), always(200, b"")],
    ids=["reset", "truncated", "silent", "trickling", "cut JSON", "empty"],
)
def test_an_answer_that_does_not_arrive_whole_is_asked_for_again(failure):
    limits = replace(EAGER, request=0.5)
    with answering(first_then_pong(failure)) as peer, connected(peer.url, limits=limits) as client:
        assert get(client) == PONG
    assert len(peer.requests) == 2


def test_a_server_that_is_not_there_is_tried_again_and_then_named():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
        with (
            connected(url, limits=replace(EAGER, attempts=3)) as client,
            pytest.raises(AccountUnavailable, match=r"/ping in 3 attempts.*connection failed"),
        ):
            get(client)


def test_patience_ends_with_the_endpoint_the_last_status_and_the_next_step():
    with (
        answering(always(503, b"503 Service Unavailable")) as peer,
        connected(peer.url, limits=replace(EAGER, attempts=4)) as client,
        pytest.raises(AccountUnavailable, match=r"/ping in 4 attempts, lastly: 503: 503 Service Unavailable → run"),
    ):
        get(client)
    assert len(peer.requests) == 4


def test_patience_ends_when_the_next_try_would_be_after_the_total():
    with (
        answering(always(503, b"", **{"Retry-After": "100"})) as peer,
        connected(peer.url, limits=replace(EAGER, longest_retry_after=100)) as client,
        pytest.raises(AccountUnavailable),
    ):
        get(client)
    assert len(peer.requests) == 1


def test_the_wait_that_the_server_asks_for_is_kept(caplog):
    caplog.set_level(logging.INFO)
    with (
        answering(first_then_pong(always(429, b"", **{"Retry-After": "0.3"}))) as peer,
        connected(peer.url) as client,
    ):
        assert get(client) == PONG
    assert "/ping: 429; again in 0.3 s" in caplog.text


def test_the_wait_that_the_server_asks_for_is_capped():
    limits = replace(EAGER, longest_retry_after=0.05)
    with (
        answering(first_then_pong(always(429, b"", **{"Retry-After": "86400"}))) as peer,
        connected(peer.url, limits=limits) as client,
    ):
        assert get(client) == PONG


def test_a_wait_is_read_as_seconds_or_as_a_date_and_is_never_negative():
    now = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
    later = format_datetime(now + timedelta(seconds=90), usegmt=True)
    earlier = format_datetime(now - timedelta(seconds=90), usegmt=True)
    asked = {"7": 7, "1.5": 1.5, "-3": 0, later: 90, earlier: 0, "soon": 0, "nan": 0, None: 0}
    assert {header: answers.retry_after(header, now) for header in asked} == asked


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, b'{"code":401,"message":"No valid API key provided","param":null}', "No valid API key provided) → the"),
        (403, b"Your trial has expired", "Your trial has expired"),
        (404, b'{"error":"Data source not found"}', "Data source not found"),
        (
            400,
            b'{"code":400,"message":"Parameter \\"name\\" is missing","param":"name"}',
            'Parameter "name" is missing',
        ),
        (422, b'{"errors":{"name":"A name is required."}}', "A name is required."),
        (
            422,
            b'{"name":["Name can\'t be blank"],"error_details":[{"param":"name","message":"Name can\'t be blank"}]}',
            "(422: Name can't be blank)",
        ),
        (418, b"", "(418)"),
        (403, b"<html><body>Blocked</body></html>", "(403: a web page)"),
        (404, b"two\r\nlines \x1b[31m and " + b"x" * 5000, "two lines [31m and xxx"),
    ],
)
def test_a_no_ends_at_once_with_the_accounts_own_words_on_one_line(status, body, says):
    with (
        answering(always(status, body)) as peer,
        connected(peer.url) as client,
        pytest.raises(AccountRefused) as refused,
    ):
        get(client)
    assert len(peer.requests) == 1
    assert says in str(refused.value)
    assert str(status) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400
    assert refused.value.remedy


def test_a_redirect_is_not_followed():
    with answering(always(200, PONG)) as elsewhere:
        with (
            answering(always(302, Location=elsewhere.url)) as peer,
            connected(peer.url) as client,
            pytest.raises(AccountRefused, match=r"302.*account\.url"),
        ):
            get(client)
        assert not elsewhere.requests


def test_a_web_page_is_not_the_api():
    with (
        answering(always(200, b"<!doctype html><title>Welcome</title>")) as peer,
        connected(peer.url) as client,
        pytest.raises(AccountRefused, match=r"web page → account\.url must be"),
    ):
        get(client)
    assert len(peer.requests) == 1


def test_an_answer_of_another_shape_is_not_asked_for_again():
    decode = msgspec.json.Decoder(dict[str, int]).decode
    with (
        answering(always(200, PONG)) as peer,
        connected(peer.url) as client,
        pytest.raises(AccountRefused, match="in a shape that is not the API's"),
    ):
        client.run(client.fetch("/ping", {}, decode))
    assert len(peer.requests) == 1


@pytest.mark.parametrize(
    "url",
    ["http://api.chartmogul.com/v1", "http://10.0.0.7/v1", "ftp://127.0.0.1/v1", "api.chartmogul.com", "https://", ""],
)
def test_a_key_is_sent_in_clear_to_nobody_but_this_machine(url):
    with pytest.raises(ConfigurationError):
        Client(url, KEY)


@pytest.mark.parametrize("url", ["https://api.chartmogul.com/v1/", "http://localhost:80/v1", "http://[::1]:80/v1"])
def test_https_and_loopback_are_good_addresses(url):
    assert Client(url, KEY).url == url.rstrip("/")


def test_a_secret_in_the_address_is_refused_and_not_repeated():
    with pytest.raises(ConfigurationError) as refused:
        Client(f"https://{KEY}@api.chartmogul.com/v1", KEY)
    assert KEY not in str(refused.value)


@pytest.mark.parametrize("key", ["", "  \n"])
def test_an_empty_key_is_a_fault_of_the_configuration(key):
    with pytest.raises(ConfigurationError, match="empty"):
        Client("https://api.chartmogul.com/v1", key)


@pytest.mark.parametrize("status", [401, 429, 503])
def test_no_message_holds_the_key_even_where_the_account_repeats_it(status, caplog):
    caplog.set_level(logging.DEBUG)
    said = b'{"message": "the key ' + KEY.encode() + b' is not good"}'
    with (
        answering(always(status, said)) as peer,
        connected(peer.url, limits=replace(EAGER, attempts=2)) as client,
        pytest.raises((AccountRefused, AccountUnavailable)) as failed,
    ):
        get(client)
    everything = f"{failed.value!s} {failed.value!r} {failed.value.__dict__} {client!r} {caplog.text}"
    assert "is not good" in everything
    assert KEY not in everything
    assert b64encode(f"{KEY}:".encode()).decode() not in everything
    assert failed.value.__cause__ is None


def test_all_who_read_an_account_share_one_client():
    url = "https://api.chartmogul.com/v1"
    first = Client.shared(url, KEY)
    try:
        assert Client.shared(url, KEY) is first
        assert Client.shared(url, "another key") is not first
    finally:
        first.close()
        Client.shared(url, "another key").close()
    renewed = Client.shared(url, KEY)
    assert renewed is not first
    renewed.close()


def test_threads_share_connections_up_to_the_limit():
    inside, most = [0], []

    async def handler(request):
        inside[0] += 1
        most.append(inside[0])
        await asyncio.sleep(0.02)
        inside[0] -= 1
        return web.Response(body=PONG)

    with answering(handler) as peer, connected(peer.url, limits=replace(EAGER, connections=3)) as client:
        threads = [threading.Thread(target=get, args=(client,)) for _ in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(peer.requests) == 30
    assert max(most) == 3


def test_what_one_question_may_take_in_all_ends_an_attempt_too():
    limits = replace(EAGER, request=60, total=0.3)
    with (
        answering(silent) as peer,
        connected(peer.url, limits=limits) as client,
        pytest.raises(AccountUnavailable, match=r"no good answer to /ping in 0\.3 s"),
    ):
        get(client)


def test_closing_breaks_off_what_is_under_way():
    asked = threading.Event()

    async def handler(request):
        asked.set()
        return await silent(request)

    with answering(handler) as peer, connected(peer.url) as client:
        ended = []

        def read():
            with pytest.raises(CancelledError):
                get(client)
            ended.append(True)

        reader = threading.Thread(target=read)
        reader.start()
        assert asked.wait(10)
        client.close()
        reader.join(10)
        assert ended


def test_a_closed_client_starts_anew():
    with answering(always(200, PONG)) as peer, connected(peer.url) as client:
        get(client)
        client.close()
        assert get(client) == PONG


def test_remedies_name_settings_that_there_are():
    named = set(re.findall(r"account\.(\w+)", " ".join(answers.REMEDIES.values())))
    assert {"url"} < named <= AccountSettings.model_fields.keys()
