"""Contents that are sent piece by piece, only so many at a time."""

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest, StreamingHttpResponse

from files.circuit import Bulkhead
from files.storage import POOL

_threads = ThreadPoolExecutor(POOL, "s3")  # under ASGI; none starts before it is needed

# Under WSGI each holds a thread, and under ASGI a connection to S3; one with a thread of its own
# holds a connection to the database.
_wsgi, _asgi = Bulkhead("a download", share=0.375), Bulkhead("a download", share=8)
_alone = Bulkhead("a zip", share=0.375)


def stream(
    request: HttpRequest,
    read: Callable[[], bytes],
    close: Callable[[], None],
    thread: ThreadPoolExecutor | None = None,
    **options: Any,
) -> StreamingHttpResponse:
    """Answer with what `read` returns until it is nothing; then `close` is called.

    Under ASGI `thread` reads, where one is given. Raises UnavailableError where too many are sent
    already.
    """
    if isinstance(request, ASGIRequest):
        bulkhead = _alone if thread else _asgi
        pieces: _Pieces = _AsyncPieces(bulkhead, read, close, thread or _threads)
    else:
        pieces = _Pieces(_wsgi, read, close)
    return StreamingHttpResponse(pieces, **options)


def stream_rows(
    request: HttpRequest, pieces: Generator[bytes], name: str, **options: Any
) -> StreamingHttpResponse:
    """Answer with pieces that are made of rows of the database; none of them is empty.

    A thread of its own, called `name`, makes them under ASGI, since a connection belongs to one.
    """
    if request.method == "HEAD":
        pieces.close()
    thread = ThreadPoolExecutor(1, name)

    def close() -> None:
        pieces.close()
        if isinstance(request, ASGIRequest):
            connections.close_all()
        thread.shutdown(wait=False)

    return stream(request, partial(next, pieces, b""), close, thread, **options)


class _Pieces:
    """Iterates, and is closed at the end, or by the response, as where nobody has iterated."""

    _is_open = False

    def __init__(
        self, bulkhead: Bulkhead, read: Callable[[], bytes], close: Callable[[], None]
    ) -> None:
        bulkhead.enter()
        self._bulkhead, self._read, self._close = bulkhead, read, close
        self._is_open = True

    def __iter__(self) -> Iterator[bytes]:
        try:
            while data := self._read():
                yield data
        finally:
            self.close()

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._bulkhead.leave()
            self._close()

    __del__ = close  # of a response that gave way to an error's


class _AsyncPieces(_Pieces):
    """Reads without holding up the event loop: Django would read a plain iterator to its end."""

    __iter__ = None  # type: ignore[assignment]

    def __init__(
        self,
        bulkhead: Bulkhead,
        read: Callable[[], bytes],
        close: Callable[[], None],
        threads: ThreadPoolExecutor,
    ) -> None:
        def close_in_thread() -> None:  # after a read that is under way, where it is the only one
            threads.submit(copy_context().run, close)

        super().__init__(bulkhead, read, close_in_thread)
        self._read_in_thread = sync_to_async(read, thread_sensitive=False, executor=threads)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while data := await self._read_in_thread():
                yield data
        finally:
            self.close()
