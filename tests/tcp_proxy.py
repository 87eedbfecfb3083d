"""A server that passes bytes on, until it is told to break: refuse, reset, hang, slow or 503."""

import asyncio
import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

LATE = 3  # seconds
UNAVAILABLE = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
PIECE = 2**16


class TCPProxy:
    """Passes connections to 127.0.0.1 on to `host`, in the mode that `mode` names at each moment.

    "pass"; "refuse": nothing listens; "reset": connections break, new ones at once; "hang": nothing
    goes on, connections stay; "slow": each piece of an answer is 3 s late; "503": S3's answer when
    it is overloaded. The mode counts for the connections that are open, too.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._mode = "pass"
        self._loop = asyncio.new_event_loop()
        self._goes_on = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.connections = 0

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._run(self._listen())
        self._run(self._set("pass"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def mode(self) -> str:
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        self._run(self._set(mode))

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _set(self, mode: str) -> None:
        self._mode = mode
        if mode == "hang":
            self._goes_on.clear()
        else:
            self._goes_on.set()
        if mode in {"refuse", "reset", "503"}:
            for writer in list(self._writers):
                _reset(writer)
        if mode == "refuse" and self._server:
            self._server.close()
            self._server = None
        elif mode != "refuse" and not self._server:
            await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        if self._server:
            self._server.close()
        for writer in list(self._writers):
            _reset(writer)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode == "reset":
            _reset(writer)
        elif self._mode == "503":
            await reader.readuntil(b"\r\n\r\n")
            writer.write(UNAVAILABLE)
            await writer.drain()
        else:
            await self._goes_on.wait()
            upstream_reader, upstream_writer = await asyncio.open_connection(*self._upstream)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pass(reader, upstream_writer))
                    group.create_task(self._pass(upstream_reader, writer, is_answer=True))
            except* OSError:
                pass
            finally:
                upstream_writer.close()

    async def _pass(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, is_answer: bool = False
    ) -> None:
        while data := await source.read(PIECE):
            await self._goes_on.wait()
            if is_answer and self._mode == "slow":
                await asyncio.sleep(LATE)
            target.write(data)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()
        if is_answer:
            raise ConnectionResetError  # the other direction ends too


def _reset(writer: asyncio.StreamWriter) -> None:
    """End the connection by RST."""
    found = writer.get_extra_info("socket")
    with suppress(OSError):
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
