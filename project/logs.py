"""The log: lines of JSON or of text, one for each request, and what must not stand in them."""

import json
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from logging.handlers import WatchedFileHandler
from typing import Any

import psycopg
from django.core.signals import request_finished
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.functional import LazyObject, empty

from files import activity
from files.activity import Activity
from project.addresses import client_address
from project.signals import request_answered

# What signs a presigned URL, which libraries may put into their messages, and tokens of programs,
# which some put into addresses.
SECRET = re.compile(
    r"(X-Amz-(?:Signature|Credential|Security-Token)=)[^&\s\"']+|(files_)[0-9a-fA-F]{40}"
)

SANE_ID = re.compile(r"[\w.:=/+-]{1,128}", re.ASCII)
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}

logger = logging.getLogger(__name__)
requests = logging.getLogger("project.requests")


class LineFormatter(logging.Formatter):
    """A line of text, with a traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        return SECRET.sub(r"\1\2...", super().format(record))


class JSONFormatter(logging.Formatter):
    """A line of JSON, in ASCII: time (UTC), level, logger, message, request, and what is known.

    Whoever logs passes the rest as `extra={"facts": {...}}`.
    """

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if now := activity.current():
            line |= {"request_id": now.id, "user": now.user(), "client": now.client}
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return SECRET.sub(r"\1\2...", json.dumps(line, default=str))


class FaultFilter(logging.Filter):
    """Leaves a traceback to faults of ours: not to what is tried again, nor to a lost database."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and (record.levelno < logging.ERROR or _is_lost(record.exc_info[1])):
            record.exc_info = None
        return True


def _is_lost(error: BaseException | None) -> bool:
    """Return whether the database is the cause of an error."""
    while error and not isinstance(error, psycopg.OperationalError):
        error = error.__cause__ or error.__context__
    return error is not None


class _AuditHandler(logging.Handler):
    """Puts a line that cannot be written into the log, where somebody sees it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # of a file that cannot be opened
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        facts = getattr(record, "facts", {})
        logger.exception("A line of the audit cannot be written.", extra={"facts": facts})


class AuditFile(_AuditHandler, WatchedFileHandler):
    """Appends to a file, and to a new one when that has been moved away."""


class AuditStream(_AuditHandler, logging.StreamHandler):
    """Writes to stdout or stderr."""


# Requests


class RequestLogMiddleware:
    """Gives each request an id, which is in all that is logged meanwhile, and a line at its end.

    That is when the response is closed: the server has taken the whole body, or given it up.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        began = time.monotonic()
        now = begin(request)
        response = self.get_response(request)
        response.headers["X-Request-ID"] = now.id
        now.status = response.status_code
        _count(request, response, now)
        now.at_end.append(partial(_log, request, now, began))
        return response


def begin(request: HttpRequest) -> Activity:
    """Let what follows in this context be part of the request."""
    now = Activity(_request_id(request), client_address(request), partial(_user, request))
    activity.become(now)
    return now


def _request_id(request: HttpRequest) -> str:
    given: str = request.headers.get("X-Request-ID", "")
    return given if SANE_ID.fullmatch(given) else uuid.uuid4().hex


def _user(request: HttpRequest) -> Any:
    """Return the user, as far as somebody has asked the database for it."""
    user = getattr(request, "user", None)
    if isinstance(user, LazyObject) and user._wrapped is empty:
        return None
    return user


def _count(request: HttpRequest, response: Any, now: Activity) -> None:
    """Count the bytes of the body, of which HEAD has none."""
    if request.method == "HEAD":
        return
    if not response.streaming:
        now.sent = len(response.content)
    elif getattr(response, "file_to_stream", None):  # by the server itself, such as sendfile
        now.sent = int(response.headers.get("Content-Length", 0))
    else:
        now.is_whole = False
        counted = _counted_async if response.is_async else _counted
        response.streaming_content = counted(response.streaming_content, now)


def _counted(pieces: Iterable[bytes], now: Activity) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        now.sent += len(piece)
    now.is_whole = True


async def _counted_async(pieces: AsyncIterator[bytes], now: Activity) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield piece
        now.sent += len(piece)
    now.is_whole = True


def end(**about: Any) -> None:
    """End the request, if there is one."""
    if now := activity.current():
        for finish in now.at_end:
            finish()
        activity.become(None)


request_finished.connect(end)


def _log(request: HttpRequest, now: Activity, began: float) -> None:
    match = request.resolver_match
    method = request.method if request.method in METHODS else "other"
    route, seconds = match.route if match else None, time.monotonic() - began
    facts = {
        "method": method,
        "route": route,
        "path": request.path,
        "status": now.status,
        "bytes": now.sent,
        "whole": now.is_whole,
        "seconds": round(seconds, 4),
        "file": now.file_id or (match.kwargs.get("pk") if match else None),
        "s3_requests": now.s3_requests,
        "s3_seconds": round(now.s3_seconds, 4),
    }
    requests.info("%s %s %s", method, request.path, now.status, extra={"facts": facts})
    request_answered.send(
        sender=None,
        method=method,
        route=route or "",
        status=now.status,
        sent=now.sent,
        seconds=seconds,
    )
