"""The proxy that breaks connections: it must break them where it is told to, and nothing else."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from contextlib import closing, suppress

import pytest

from mogul_assets_tests.peers.faults import Cut, FaultProxy


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        with suppress(ConnectionError):
            while piece := self.request.recv(65_536):
                self.server.heard += piece
                self.request.sendall(piece)


@pytest.fixture
def echo():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads, server.heard = True, b""
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def faults(echo):
    with FaultProxy(echo.server_address[1]) as proxy:
        yield proxy


def connected(faults, seconds=5.0):
    return closing(socket.create_connection(("127.0.0.1", faults.port), timeout=seconds))


def received(client, size):
    data = b""
    while len(data) < size and (piece := client.recv(65_536)):
        data += piece
    return data


def asked(faults, data):
    """What comes back of ``data`` until it is whole or the connection ends in good order."""
    with connected(faults) as client:
        client.sendall(data)
        return received(client, len(data))


def test_undisturbed_everything_passes(faults):
    data = bytes(range(256)) * 4000
    assert asked(faults, data) == data
    until = time.monotonic() + 5
    while faults.bytes_down < len(data) and time.monotonic() < until:
        time.sleep(0.01)  # what is passed on is counted afterwards
    assert (faults.bytes_up, faults.bytes_down, faults.connections, faults.cuts) == (len(data), len(data), 1, 0)


def test_the_end_of_one_side_is_passed_on(faults):
    with connected(faults) as client:
        client.sendall(b"all")
        client.shutdown(socket.SHUT_WR)
        assert received(client, 10) == b"all"


@pytest.mark.parametrize("direction", ["up", "down"])
def test_exactly_so_many_bytes_pass_before_a_cut(direction, faults, echo):
    setattr(faults, direction, Cut(after=1000, reset=False))
    back = asked(faults, b"x" * 5000)
    assert len(back) <= 1000
    time.sleep(0.1)
    assert {"up": len(echo.heard), "down": len(back)}[direction] == 1000


def test_a_reset_and_an_end_in_good_order_are_told_apart(faults):
    faults.up = Cut(after=1)
    with pytest.raises(ConnectionResetError):
        asked(faults, b"xyz")
    faults.up = Cut(after=1, reset=False)
    assert asked(faults, b"xyz") in (b"", b"x")


def test_after_so_many_cuts_the_rest_is_left_alone(faults):
    faults.up = Cut(after=0, times=2, reset=False)
    assert [asked(faults, b"xyz") for _ in range(3)] == [b"", b"", b"xyz"]
    assert faults.cuts == 2


@pytest.mark.parametrize(("passed", "heard"), [(False, b"BEGIN;"), (True, b"BEGIN;COMMIT;")])
def test_a_cut_where_some_text_passes_lets_it_through_or_not(passed, heard, faults, echo):
    faults.up = Cut(at=b"COMMIT", passed=passed)
    with connected(faults) as client:
        client.sendall(b"BEGIN;COM")
        assert received(client, 9)
        with pytest.raises(ConnectionResetError):  # noqa: PT012 - either may meet it
            client.sendall(b"MIT;")
            received(client, 4)
    until = time.monotonic() + 2
    while echo.heard.count(b";") < heard.count(b";") and time.monotonic() < until:
        time.sleep(0.01)
    assert echo.heard == (heard if passed else b"BEGIN;COM")


def test_refused_connections_are_reset(faults):
    faults.refuse = True
    with pytest.raises(ConnectionResetError):
        asked(faults, b"x")
    faults.refuse = False
    assert asked(faults, b"x") == b"x"


def test_nothing_is_heard_from_a_black_hole_until_it_closes(faults):
    faults.black_hole = True
    with connected(faults, 0.3) as client:
        client.sendall(b"hello")
        with pytest.raises(TimeoutError):
            client.recv(1)
        faults.black_hole = False
        client.settimeout(5)
        assert received(client, 5) == b"hello"


def test_a_cut_may_be_silence(faults, echo):
    faults.up = Cut(at=b"COMMIT", silence=True, passed=True)
    with connected(faults, 0.3) as client:
        client.sendall(b"BEGIN")
        assert received(client, 5) == b"BEGIN"
        client.sendall(b"COMMIT")
        with pytest.raises(TimeoutError):
            client.recv(1)
    assert echo.heard == b"BEGINCOMMIT"
    assert asked(faults, b"x") == b"x"


def test_latency_and_rate_are_waited_for(faults):
    faults.latency = 0.1
    began = time.monotonic()
    asked(faults, b"x")
    assert 0.2 <= time.monotonic() - began < 2
    faults.latency, faults.rate = 0.0, 100_000
    began = time.monotonic()
    asked(faults, b"x" * 20_000)
    assert 0.2 <= time.monotonic() - began < 3


def test_a_server_that_is_not_there_looks_like_a_reset(echo):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with FaultProxy(free.getsockname()[1]) as proxy, pytest.raises(ConnectionResetError):
            asked(proxy, b"x")


def test_closing_ends_open_connections(echo):
    with FaultProxy(echo.server_address[1]) as proxy:
        client = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    with closing(client):
        assert client.recv(1) == b""
