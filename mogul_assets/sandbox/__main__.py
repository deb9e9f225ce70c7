"""The sandbox as a process of its own: ``python -m mogul_assets.sandbox``. Prints its URL on the first line."""

from __future__ import annotations

import asyncio
import signal
from datetime import UTC, datetime

import click

from mogul_assets.errors import MogulError
from mogul_assets.sandbox.company import generate
from mogul_assets.sandbox.server import NO_LIMITS, Limits, Sandbox, Serving, run


@click.command()
@click.option("--seed", default=7, show_default=True, help="Decides everything else about the company.")
@click.option("--now", type=click.DateTime(), help="Until when its history goes, in UTC.  [default: this moment]")
@click.option("--size", default=200, show_default=True, help="Customers.")
@click.option("--port", default=0, show_default=True, help="0: any that is free.")
@click.option("--limits/--no-limits", default=True, show_default=True, help="40 requests a second, 20 connections.")
@click.option("--latency", default=0.0, show_default=True, help="Seconds added to each answer.")
@click.option("--key", default="sandbox", show_default=True, help="The API key that opens it.")
@click.option("--wild/--tame", default=True, show_default=True, help="With what the official client cannot read.")
@click.option("--warm", is_flag=True, help="Render every row before the first request.")
def main(
    *,
    seed: int,
    now: datetime | None,
    size: int,
    port: int,
    limits: bool,
    latency: float,
    key: str,
    wild: bool,
    warm: bool,
) -> None:
    """Serve a pretend ChartMogul account on the loopback interface until SIGTERM or SIGINT."""
    at = now.replace(tzinfo=UTC) if now else datetime.now(UTC)
    company = generate(seed=seed, now=at, customers=size, wild=wild)
    bounds = Limits() if limits else NO_LIMITS
    sandbox = Sandbox(company, key=key, limits=Limits(bounds.per_second, bounds.connections, latency))
    if warm:
        sandbox.api.warm()
    try:
        asyncio.run(_until_stopped(sandbox, port))
    except MogulError as refused:
        raise click.ClickException(str(refused)) from refused


async def _until_stopped(sandbox: Sandbox, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def ready(serving: Serving) -> None:
        click.echo(serving.url)

    await run(sandbox, port=port, ready=ready, stop=stop)


if __name__ == "__main__":
    main()
