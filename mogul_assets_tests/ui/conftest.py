"""One ``mogul ui`` on a small account of the sandbox, and Debian's Chromium to look at it."""

import shutil
import signal
import urllib.request
from urllib.parse import urlsplit

import pytest
from playwright import sync_api
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from mogul_assets_tests.cli.conftest import SANDBOX, Place
from mogul_assets_tests.peers import servers

DESTINATIONS = """
destinations:
  warehouse: {type: duckdb, path: out/mogul.duckdb, datasets: [tags, mrr_movements], schedule: daily}
  lake: {type: files, path: out/files, datasets: [tags, mrr_movements]}
  broken: {type: duckdb, path: mogul.yaml/broken.duckdb, datasets: [tags]}
"""
SECONDS = 30
"""That a page may take to show what it is asked for, on two busy cores."""
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
)


@pytest.fixture(scope="module")
def chromium():
    return shutil.which("chromium") or servers.missing("chromium", "apt-get install chromium")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A project that was delivered once, one destination of which is broken."""
    place = Place(tmp_path_factory.mktemp("ui"), SANDBOX + DESTINATIONS)
    place.start("sync").communicate(timeout=120)
    return place


@pytest.fixture(scope="module")
def ui(chromium, place):
    """The address of its Dagster."""
    port = servers.free_port()
    process = place.start("ui", "--port", str(port))
    try:
        for attempt in Retrying(
            retry=retry_if_exception_type(OSError), stop=stop_after_delay(60), wait=wait_fixed(0.3), reraise=True
        ):
            with attempt, urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=SECONDS):
                pass
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=90)


@pytest.fixture(scope="module")
def browser(chromium):
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, ui):
    """A page of Dagster's; what it asks of any other machine fails the test."""
    sync_api.expect.set_options(timeout=SECONDS * 1000)
    context = browser.new_context(base_url=ui, viewport={"width": 1400, "height": 900})
    context.set_default_timeout(SECONDS * 1000)
    asked = set()
    context.on("request", lambda request: asked.add(urlsplit(request.url)))
    page = context.new_page()
    yield page
    context.close()
    assert {url.hostname for url in asked if url.scheme not in {"data", "blob"}} == {"127.0.0.1"}
