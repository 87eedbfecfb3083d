"""Django's ASGI handler with a request in one thread, and no thread for a client that is slow."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any, TypeVar

from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.signals import request_started
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from files import health

T = TypeVar("T")


class Handler(ASGIHandler):
    """Answers each request in a thread, which is free again as soon as the headers are known.

    Django's own changes threads for each middleware that is not async, and for the database's
    signals. The middleware of this project is not async.
    """

    def __init__(self, threads: int) -> None:
        super().__init__()
        self._threads = ThreadPoolExecutor(threads, "request")

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise ValueError(f"only HTTP is served, not {scope['type']}")
        if scope["path"] == health.LIVES:  # which needs no thread, as all may be taken
            await self.send_response(health.lives(), send)
            return
        with suppress(RequestAborted):
            body = await self.read_body(receive)
            try:
                await self._answer(scope, body, receive, send)
            finally:
                body.close()

    async def _answer(self, scope: Any, body: Any, receive: Any, send: Any) -> None:
        context = copy_context()  # of all that is done for the request, in whatever thread
        request, refusal = self.create_request(scope, body)
        if request is None:
            assert refusal is not None  # noqa: S101 - for the type checker
            response: HttpResponseBase = refusal
        else:
            response = await self._in_thread(context, self._respond, scope, request)
        sending = asyncio.create_task(self.send_response(response, send), context=context)
        leaving = asyncio.create_task(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            leaving.cancel()
            (error, _) = await asyncio.gather(sending, leaving, return_exceptions=True)
            if response.streaming:
                await self._in_thread(context, response.close)
        if isinstance(error, Exception):  # what is cut short must not look like the whole
            raise error

    def _respond(self, scope: Any, request: ASGIRequest) -> HttpResponseBase:
        set_script_prefix(get_script_prefix(scope))
        request_started.send(sender=self.__class__, scope=scope)
        response = self.get_response(request)
        response._handler_class = self.__class__  # type: ignore[attr-defined]
        if not response.streaming:
            response.close()  # the content stays
        return response

    async def _in_thread(self, context: Context, function: Callable[..., T], *arguments: Any) -> T:
        """Call the function in a thread, where it sees and sets the context's variables."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, context.run, function, *arguments)
