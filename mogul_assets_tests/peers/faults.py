"""A TCP proxy before one server of a test, which breaks what passes through it as the test says."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_PIECE = 65_536
_NOTICED = 0.02
"""Seconds until a change of the proxy's settings is noticed by a connection that waits."""


@dataclass
class Cut:
    """Where connections are cut in one direction: after so many bytes of it, or where some text passes.

    Of ``after`` exactly so many bytes are let through. Of ``at`` nothing is, unless ``passed``: then the piece
    with the text reaches the other side, and only the answer is lost (``COMMIT``, for one). Encrypted or
    compressed text cannot be seen.
    """

    after: int | None = None
    at: bytes | None = None
    passed: bool = False
    times: int | None = None
    """How many connections are cut before the rest is left alone; ``None``: every one."""
    reset: bool = True
    """By a reset (RST), else by an end in good order (FIN)."""
    silence: bool = False
    """By neither: the connection stays, and nothing passes any more in either direction."""

    def divided(self, before: bytes, seen: int, piece: bytes) -> bytes | None:
        """The part of ``piece`` that still passes where the cut falls into it, else ``None``.

        ``before`` are the last bytes of this direction and ``seen`` their number from its beginning.
        """
        if self.times == 0:
            return None
        if self.after is not None and seen + len(piece) >= self.after:
            return piece[: max(0, self.after - seen)]
        if self.at is not None:
            found = (before + piece).find(self.at)
            if found >= 0:
                return piece if self.passed else piece[: max(0, found - len(before))]
        return None


class FaultProxy:
    """Passes connections on to a port of this machine. Its attributes may be set at any time, from any thread.

    >>> with FaultProxy(server_port) as faults:
    ...     faults.up = Cut(after=100_000, times=1)
    ...     client(port=faults.port)
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.upstream = (host, port)
        self.port = 0
        """Where clients connect, on 127.0.0.1."""
        self.latency = 0.0
        """Seconds by which each piece is late."""
        self.rate: float | None = None
        """Bytes a second of each direction of each connection."""
        self.up: Cut | None = None
        """From client to server."""
        self.down: Cut | None = None
        """From server to client."""
        self.refuse = False
        """New connections are reset at once."""
        self.black_hole = False
        """Connections are accepted, and nothing passes until this is unset."""
        self.connections = 0
        self.bytes_up = 0
        self.bytes_down = 0
        self.cuts = 0
        """Connections that were cut so far."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        listening = asyncio.start_server(self._connected, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._closed(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _closed(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refuse:
            _ended(client, reset=True)
            return
        try:
            answers, server = await asyncio.open_connection(*self.upstream)
        except OSError:
            _ended(client, reset=True)
            return
        both = [
            asyncio.create_task(self._passed_on(reader, server, client, up=True)),
            asyncio.create_task(self._passed_on(answers, client, client, up=False)),
        ]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION)
            errors = [task.exception() for task in done]
            cut = next((error.cut for error in errors if isinstance(error, _CutError)), Cut(reset=False))
            if cut.silence:
                for task in both:
                    task.cancel()
                with suppress(OSError):
                    while await reader.read(_PIECE):
                        pass
            _ended(client, reset=cut.reset)
        finally:
            for task in both:
                task.cancel()
            client.close()
            server.close()  # in good order: what has reached the server is done there

    async def _passed_on(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, client: asyncio.StreamWriter, *, up: bool
    ) -> None:
        before, seen = b"", 0
        while piece := await source.read(_PIECE):
            while self.black_hole:
                await asyncio.sleep(_NOTICED)
                if client.is_closing():
                    return
            await asyncio.sleep(self.latency + (len(piece) / self.rate if self.rate else 0))
            cut = self.up if up else self.down
            last = cut.divided(before, seen, piece) if cut else None
            target.write(piece if last is None else last)
            await target.drain()
            self._counted(len(piece if last is None else last), up=up)
            if cut and last is not None:
                if cut.times is not None:
                    cut.times -= 1
                self.cuts += 1
                raise _CutError(cut)
            seen += len(piece)
            before = (before + piece)[-len(cut.at) + 1 :] if cut and cut.at and len(cut.at) > 1 else b""
        with suppress(OSError):
            target.write_eof()

    def _counted(self, size: int, *, up: bool) -> None:
        if up:
            self.bytes_up += size
        else:
            self.bytes_down += size


class _CutError(Exception):
    """A connection is to be cut now."""

    def __init__(self, cut: Cut) -> None:
        super().__init__()
        self.cut = cut


def _ended(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    if reset:
        # Closing a socket that lingers for no time sends RST.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()
