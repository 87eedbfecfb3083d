"""Django's ASGI handler with a request in one thread, and no thread for a client that is slow."""

import asyncio
import io
import logging
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import BadRequest, RequestAborted
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.handlers.exception import response_for_exception
from django.core.signals import request_started
from django.db import close_old_connections
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix
from django.utils.translation import gettext as _

from files import authentication, background, bodies, health
from files.errors import problem
from project.logs import RequestLogMiddleware, begin

BODY_TIMEOUT = 30  # seconds without a byte of a body
SEND_TIMEOUT = 300  # seconds for a piece of a body, which has 1 MiB at most
LATE = 5  # seconds in which the event loop should have turned
LINGER = 5  # seconds for which a client that was refused may still send

logger = logging.getLogger(__name__)

T = TypeVar("T")


class RefusedError(Exception):
    """A body that is not read; `response` says why."""

    def __init__(self, response: HttpResponseBase) -> None:
        self.response = response


class Handler(ASGIHandler):
    """Answers each request in a thread, which is free again as soon as the headers are known.

    Django's own changes threads for each middleware that is not async, and for the database's
    signals, and reads a body of any size before any of it. The middleware of this project is not
    async.
    """

    def __init__(self, threads: int) -> None:
        super().__init__()
        self._threads = ThreadPoolExecutor(threads, "request")
        self._bodies = asyncio.Semaphore(2 * threads)  # that are larger than anybody's

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    def create_request(self, scope: Any, body_file: Any) -> Any:
        """Return the request and None, or None and the answer that says why there is no request."""
        try:
            return super().create_request(scope, body_file)
        except (BadRequest, ValueError):  # of a parameter in an encoding that Python does not know
            return None, problem(400, _("The header Content-Type cannot be understood."))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"only HTTP is served, not {scope['type']}")
        if scope["path"] == health.LIVES:  # which needs no thread, as all may be taken
            await self.send_response(health.lives(), send)
            return
        with suppress(RequestAborted), tempfile.SpooledTemporaryFile(bodies.ANYBODY) as body:
            async with AsyncExitStack() as large:
                try:
                    await self._read(scope, receive, body, large)
                except RefusedError as error:
                    await self._refuse(error.response, scope, receive, send)
                else:
                    await self._answer(scope, body, receive, send)

    async def _live(self, receive: Any, send: Any) -> None:
        """Let long work end when the server is to end; it has waited for requests before."""
        await receive()
        loop = asyncio.get_running_loop()
        threading.Thread(target=_watch, args=(loop,), daemon=True).start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(background.let_end, settings.GRACE)
        await send({"type": "lifespan.shutdown.complete"})

    # The body

    async def _read(self, scope: Any, receive: Any, body: Any, large: AsyncExitStack) -> None:
        """Read the body to its end; `large` counts it. Raises RefusedError, RequestAborted."""
        limit = bodies.ANYBODY
        size = bodies.length_of(dict(scope["headers"]).get(b"content-length", b"").decode("latin1"))
        more = True
        while more:
            if size > limit:
                limit = await self._in_thread(copy_context(), self._check, scope, size)
                if self._bodies.locked():
                    raise RefusedError(bodies.too_many())
                await large.enter_async_context(self._bodies)
            try:
                async with asyncio.timeout(BODY_TIMEOUT):
                    message = await receive()
            except TimeoutError:
                raise RefusedError(bodies.too_slow()) from None
            if message["type"] == "http.disconnect":
                raise RequestAborted
            body.write(message.get("body", b""))
            size = max(size, body.tell())
            more = message.get("more_body", False)
        if body.tell() and b"content-length" not in dict(scope["headers"]):
            # Django and its packages take what comes in chunks, without a length, for nothing.
            length = b"content-length", str(body.tell()).encode()
            scope["headers"] = [*scope["headers"], length]
        body.seek(0)

    def _check(self, scope: Any, size: int) -> int:
        """Return how many bytes the user may send, `size` at least. Raises RefusedError."""
        request, refusal = self.create_request(scope, io.BytesIO())
        if request is None:
            raise RefusedError(refusal or HttpResponse(status=400))
        begin(request)  # so that the audit of a token that fails names the client
        set_script_prefix(get_script_prefix(scope))
        close_old_connections()
        try:
            if not authentication.authenticate(request):
                SessionMiddleware(_nothing).process_request(request)
                AuthenticationMiddleware(_nothing).process_request(request)
            return bodies.check(request, size)
        except authentication.RefusedError as error:
            raise RefusedError(error.response) from error
        except bodies.TooLargeError as error:
            raise RefusedError(bodies.too_large(request, error)) from error
        except Exception as error:
            raise RefusedError(response_for_exception(request, error)) from error
        finally:
            close_old_connections()

    async def _refuse(self, response: Any, scope: Any, receive: Any, send: Any) -> None:
        """Answer, and read on for a while: who is still sending would not see the answer."""
        context = copy_context()
        request = self.create_request(scope, io.BytesIO())[0]
        if request is not None:  # it has an id and a line in the log as any other
            context.run(RequestLogMiddleware(lambda request: response), request)
        response.headers["Connection"] = "close"
        response.headers["Content-Length"] = str(len(response.content))
        headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
        status = {"type": "http.response.start", "status": response.status_code}
        await send({**status, "headers": headers})
        body = {"type": "http.response.body", "body": response.content}
        await send({**body, "more_body": True})
        context.run(response.close)
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while (await receive()).get("more_body"):
                    pass
        await send({"type": "http.response.body"})

    # The answer

    async def _answer(self, scope: Any, body: Any, receive: Any, send: Any) -> None:
        context = copy_context()  # of all that is done for the request, in whatever thread
        request, refusal = self.create_request(scope, body)
        if request is None:
            assert refusal is not None  # noqa: S101 - for the type checker
            response: HttpResponseBase = refusal
        else:
            response = await self._in_thread(context, self._respond, scope, request)
        sending = asyncio.create_task(
            self.send_response(response, partial(_send_in_time, send)), context=context
        )
        leaving = asyncio.create_task(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            leaving.cancel()
            try:
                (error, _) = await asyncio.gather(sending, leaving, return_exceptions=True)
            finally:  # also where the server ends, which cancels this once more
                if response.streaming:
                    closed = self._threads.submit(context.run, response.close)
            if response.streaming:
                await asyncio.wrap_future(closed)
        if isinstance(error, Exception):  # what is cut short must not look like the whole
            raise error

    def _respond(self, scope: Any, request: ASGIRequest) -> HttpResponseBase:
        set_script_prefix(get_script_prefix(scope))
        request_started.send(sender=self.__class__, scope=scope)
        response = self.get_response(request)
        response._handler_class = self.__class__  # type: ignore[attr-defined]
        if response.streaming:
            close_old_connections()  # another thread may close the response
        else:
            response.close()  # the content stays
        return response

    async def _in_thread(self, context: Context, function: Callable[..., T], *arguments: Any) -> T:
        """Call the function in a thread, where it sees and sets the context's variables."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, context.run, function, *arguments)


async def _send_in_time(send: Any, message: Any) -> None:
    """Send a piece. Raises TimeoutError for a client that does not take it."""
    async with asyncio.timeout(SEND_TIMEOUT):  # Python 3.11 may miss an end of wait_for
        await send(message)


def _nothing(request: Any) -> Any:
    raise AssertionError("only what these do before the view is called")


def _watch(loop: asyncio.AbstractEventLoop) -> None:
    """End a process whose event loop hangs, so that its server replaces it."""
    while not loop.is_closed():
        turned = threading.Event()
        loop.call_soon_threadsafe(turned.set)
        # Twice, as the first may have ended while the whole machine stood still.
        if not turned.wait(LATE) and not turned.wait(LATE):
            frame = sys._current_frames()[threading.main_thread().ident or 0]
            stack = "".join(traceback.format_stack(frame))
            logger.critical("The event loop hangs, so this process ends:\n%s", stack)
            os._exit(1)
        time.sleep(LATE)
