"""Contents that are sent piece by piece, only so many at a time."""

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

from files.circuit import Bulkhead
from files.storage import POOL

_threads = ThreadPoolExecutor(POOL, "s3")  # under ASGI; none starts before it is needed

# Under WSGI each holds a thread, and under ASGI a connection to S3.
_wsgi, _asgi = Bulkhead("a download", share=0.375), Bulkhead("a download", share=8)


def stream(
    request: HttpRequest,
    read: Callable[[], bytes],
    close: Callable[[], None],
    threads: ThreadPoolExecutor = _threads,
    **options: Any,
) -> StreamingHttpResponse:
    """Answer with what `read` returns until it is nothing; then `close` is called.

    Under ASGI `threads` read. Raises UnavailableError where too many are sent already.
    """
    if isinstance(request, ASGIRequest):
        return StreamingHttpResponse(_AsyncPieces(read, close, threads), **options)
    return StreamingHttpResponse(_Pieces(read, close), **options)


class _Pieces:
    """Iterates, and is closed at the end, or by the response, as where nobody has iterated."""

    _bulkhead = _wsgi

    def __init__(self, read: Callable[[], bytes], close: Callable[[], None]) -> None:
        self._bulkhead.enter()
        self._read, self._close = read, close
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


class _AsyncPieces(_Pieces):
    """Reads without holding up the event loop: Django would read a plain iterator to its end."""

    _bulkhead = _asgi
    __iter__ = None  # type: ignore[assignment]

    def __init__(
        self, read: Callable[[], bytes], close: Callable[[], None], threads: ThreadPoolExecutor
    ) -> None:
        def close_in_thread() -> None:  # after a read that is under way, where it is the only one
            threads.submit(copy_context().run, close)

        super().__init__(read, close_in_thread)
        self._read_in_thread = sync_to_async(read, thread_sensitive=False, executor=threads)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while data := await self._read_in_thread():
                yield data
        finally:
            self.close()
