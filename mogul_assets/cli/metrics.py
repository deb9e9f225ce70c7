"""``mogul metrics``: how deliveries stand, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import click

from mogul_assets.catalog.datasets import DATASETS
from mogul_assets.cli import OK, Command
from mogul_assets.cli.project import Project, pass_project
from mogul_assets.cli.status import Status, states
from mogul_assets.errors import ConfigurationError, MogulError
from mogul_assets.exposition import CONTENT_TYPE, Gauge, exposed
from mogul_assets.messages.message import State
from mogul_assets.store.store import group_of

PATH = "/metrics"
SECONDS = 10
"""How long a client may take to ask."""


@click.command(
    cls=Command,
    examples={
        "mogul metrics": "once, for the text file collector of a node exporter",
        "mogul metrics --serve 9464": "on http://127.0.0.1:9464/metrics until Ctrl-C",
    },
)
@click.option("--serve", "port", type=click.IntRange(0, 65535), help="Answer on this port (0: any free one).")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to serve on; there is no login.")
@pass_project
def command(project: Project, *, port: int | None, host: str) -> int:
    """Age, rows and failures of each delivery, and what messages wait, in Prometheus' text format.

    Connects to no destination and not to the account. No customers' data is in it.
    """
    if port is None:
        click.echo(text(project), nl=False)
        return OK
    _ = project.settings
    try:
        server = ThreadingHTTPServer((host, port), _handler(lambda: text(Project(project.file))))
    except OSError as error:
        raise ConfigurationError(
            f"cannot serve on {host}, port {port}: {error.strerror}", remedy="choose another: --serve 9465"
        ) from None
    with server:
        click.echo(f"http://{host}:{server.server_port}{PATH}  (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return OK
    return OK


def text(project: Project) -> str:
    """All of it, at this moment. Raises what reading ``mogul.yaml``, the store or the ledger does."""
    now = datetime.now(UTC)
    deliveries = states(project)
    return exposed([*_of_deliveries(deliveries, now), _of_messages(project), *_of_account(project, now)])


def _of_deliveries(deliveries: list[Status], now: datetime) -> list[Gauge]:
    labelled = [({"destination": one.destination, "dataset": one.dataset}, one) for one in deliveries]
    arrived = [(labels, one, one.delivered_at) for labels, one in labelled if one.delivered_at is not None]
    return [
        Gauge(
            "mogul_delivery_ok",
            "1 where the delivery succeeded, nothing failed since, and its schedule is kept, or it is paused; else 0.",
            [(labels, one.ok) for labels, one in labelled],
        ),
        Gauge("mogul_delivery_paused", "1 where it is paused; else 0.", [(its, one.paused) for its, one in labelled]),
        Gauge(
            "mogul_delivery_age_seconds",
            "Seconds since the delivery last succeeded; absent where it never did.",
            [(labels, (now - at).total_seconds()) for labels, _, at in arrived],
        ),
        Gauge(
            "mogul_delivery_rows",
            "Rows of the last successful delivery; of a dataset kept by month, of the months it took.",
            [(labels, one.rows) for labels, one, _ in arrived],
        ),
        Gauge(
            "mogul_delivery_failed_attempts",
            "Tries that failed since the delivery last succeeded.",
            [(labels, one.failures) for labels, one in labelled],
        ),
    ]


def _of_messages(project: Project) -> Gauge:
    told = [entry.name for entry in project.settings.destinations.values() if entry.habits.messages]
    counts = {}
    if told:
        with project.ledger() as ledger:
            counts = {name: ledger.counts(name) for name in told}
    return Gauge(
        "mogul_messages",
        "Messages to a destination by state: waiting and sending are the queue, failed and unknown were given up.",
        [
            ({"destination": name, "state": state.value}, count.get(state, 0))
            for name, count in counts.items()
            for state in (State.WAITING, State.SENDING, State.FAILED, State.UNKNOWN)
        ],
    )


def _of_account(project: Project, now: datetime) -> list[Gauge]:
    pointers = {name: project.store.pointer(group_of(dataset)) for name, dataset in DATASETS.items()}
    ages = {name: (now - one.read_at).total_seconds() for name, one in pointers.items() if one is not None}
    return [
        Gauge(
            "mogul_account_refresh_age_seconds",
            "Seconds since the account was read for the oldest dataset that stands.",
            [({}, max(ages.values()))] if ages else [],
        ),
        Gauge(
            "mogul_dataset_age_seconds",
            "Seconds since the account was read for the dataset as it stands.",
            [({"dataset": name}, age) for name, age in ages.items()],
        ),
    ]


def _handler(answer: Callable[[], str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = SECONDS

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != PATH:
                self._say(HTTPStatus.NOT_FOUND, f"look at {PATH}\n")
                return
            try:
                self._say(HTTPStatus.OK, answer())
            except MogulError as error:
                self._say(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n")

        def _say(self, status: HTTPStatus, said: str) -> None:
            body = said.encode()
            self.send_response(status)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """A line for each scrape tells nobody anything."""

    return Handler
