import signal
import subprocess
import sys

import pytest

from mogul_assets_tests.sandbox.conftest import Reader


@pytest.fixture
def start():
    processes = []

    def start(*options):
        command = [sys.executable, "-m", "mogul_assets.sandbox", "--now", "2026-10-20", "--size", "20", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_url_serves_and_stops_when_told(start, number):
    process = start("--no-limits", "--tame", "--warm")
    url = process.stdout.readline().strip()
    assert len(Reader(url).rows("/customers")) == 20
    process.send_signal(number)
    assert process.wait(timeout=20) == 0


def test_a_port_that_is_taken_is_said_in_one_line(start):
    port = start().stdout.readline().strip().rsplit(":", 1)[1].removesuffix("/v1")
    second = start("--port", port)
    assert second.wait(timeout=30) == 1
    assert f"port {port} is taken" in second.stderr.read()
