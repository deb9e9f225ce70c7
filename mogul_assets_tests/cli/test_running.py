"""A Dagster that runs reads mogul.yaml again when a command has changed it."""

import json
import signal
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.request import Request, urlopen

import pytest
from tenacity import Retrying, retry_if_exception_type, retry_if_not_result, stop_after_delay, wait_fixed

OWN = """
from mogul_assets.definitions import build_definitions
from mogul_assets.settings import load

settings = load()
if "cursed" in settings.destinations:
    raise ValueError("nobody made\\ncursed")
own = build_definitions(settings)
"""
"""Definitions of one's own, which do not take any file that mogul takes."""

ADD = ("destinations", "add", "files", "disk", "--set", "path=out/disk", "--schedule", "daily")


def asked(port, query):
    body = json.dumps({"query": query}).encode()
    request = Request(f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)["data"]


def assets(port):
    nodes = asked(port, "{ assetNodes { assetKey { path } } }")["assetNodes"]
    return {"/".join(node["assetKey"]["path"]) for node in nodes}


@pytest.mark.slow
def test_a_dagster_that_runs_has_what_was_added_or_says_what_keeps_it(place):
    (place.folder / "own.py").write_text(OWN)
    (place.folder / "workspace.yaml").write_text("load_from: [{python_file: {relative_path: own.py}}]")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = place.start("ui", "--port", str(port))
    try:
        until = {"stop": stop_after_delay(120), "wait": wait_fixed(0.5)}
        Retrying(retry=retry_if_exception_type(OSError) | retry_if_not_result(bool), **until)(assets, port)
        assert "disk/tags" not in assets(port)
        result = place.mogul(*ADD)
        assert f"Dagster on http://127.0.0.1:{port} has read it" in result.stdout
        assert "disk/tags" in assets(port)
        result = place.mogul("destinations", "add", "files", "cursed", "--set", "path=out/cursed")
        (line,) = [line for line in result.stdout.splitlines() if "Dagster" in line]
        assert line == f"Dagster on http://127.0.0.1:{port} has not loaded own.py: ValueError: nobody made"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=90)
    assert not (place.folder / "out/ui.json").exists()


def test_where_none_runs_it_is_read_at_the_next_start(place):
    assert "at its next start" in place.mogul(*ADD).stdout


@pytest.mark.parametrize("there", [False, True])
def test_one_that_is_gone_or_something_else_now_is_not_believed(place, there):
    class Other(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        if not there:
            server.shutdown()
            server.server_close()
        (place.folder / "out").mkdir()
        (place.folder / "out/ui.json").write_text(json.dumps({"port": server.server_address[1]}))
        result = place.mogul(*ADD)
        if there:
            server.shutdown()
    assert (result.exit_code, "did not read it" in result.stdout) == (0, True)
