"""A network path that takes time: what is sent through it arrives later, in both directions."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

BLOCK_BYTES = 1 << 18


class DelayedPath:
    """A port of 127.0.0.1 that leads to another one; ``round_trip_seconds`` may be changed at any time.

    Half of it is added in each direction. Opening a connection costs one more, as TCP's own handshake does. There is no
    limit to what may be under way.
    """

    def __init__(self, port: int) -> None:
        self.round_trip_seconds = 0.0
        self.port = 0
        self._target = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, at `port`."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Take no more connections, and cut those that there are."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        if connection is not None:
            self._connections.add(connection)
            connection.add_done_callback(self._connections.discard)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(_close, writer)
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            except OSError:
                return
            stack.push_async_callback(_close, far_writer)
            opened = asyncio.get_running_loop().time() + self.round_trip_seconds
            await asyncio.gather(self._carry(reader, far_writer, opened), self._carry(far_reader, writer, opened))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, opened: float) -> None:
        """One direction, to its end."""
        clock = asyncio.get_running_loop().time
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arrivals = asyncio.create_task(_arrive(under_way, writer))
        try:
            with suppress(ConnectionError):
                while block := await reader.read(BLOCK_BYTES):
                    under_way.put_nowait((max(clock(), opened) + self.round_trip_seconds / 2, block))
            under_way.put_nowait((clock() + self.round_trip_seconds / 2, b""))
            await arrivals
        finally:
            arrivals.cancel()


async def _arrive(under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    clock = asyncio.get_running_loop().time
    with suppress(ConnectionError, RuntimeError):  # the other side has closed it meanwhile
        while True:
            due, block = await under_way.get()
            await asyncio.sleep(max(0.0, due - clock()))
            if not block:
                writer.write_eof()
                return
            writer.write(block)
            await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
