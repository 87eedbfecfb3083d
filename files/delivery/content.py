"""An object over HTTP: S3's answer to the client's own conditions, with headers that are safe.

The three ways differ in who carries the bytes: this process (`stream`), the client by a redirect
to S3 (`redirect`), or nginx in front (`accel`).
"""

import logging
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import parse_etags, parse_http_date_safe, quote_etag
from django.utils.translation import gettext_lazy as _

from files.delivery.headers import content_headers
from files.models import File
from files.storage import CHUNK, POOL, Response, S3Error, S3UnavailableError

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

logger = logging.getLogger(__name__)

_threads = ThreadPoolExecutor(POOL, "s3")  # under ASGI; none starts before it is needed

RETRY_AFTER = 5  # seconds
PRESIGNED_FOR = 60  # seconds

MISSING = _("The content is missing.")
UNREACHABLE = _("The content cannot be reached now; try again in a moment.")
REFUSED = _("The content cannot be read; the log of the server says why.")

_ONE_RANGE = re.compile(r"bytes=(?:(\d{1,19})-(\d{0,19})|-\d{1,19})", re.ASCII | re.IGNORECASE)


def respond(request: HttpRequest, file: File) -> HttpResponseBase:
    """Answer GET or HEAD for the file's content, by the way that `APP_DELIVERY` names."""
    headers = content_headers(file, attachment="download" in request.GET)
    method = request.method or "GET"
    if settings.DELIVERY == "redirect" and not _is_rewritten_by_clients(str(file)):
        response: HttpResponseBase = HttpResponseRedirect(_presigned(file, method, headers))
        response.headers["Cache-Control"] = "no-store"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response
    if settings.DELIVERY == "accel":
        response = HttpResponse(headers=headers)
        response.headers["X-Accel-Redirect"] = "/-/object"
        response.headers["X-Object-URL"] = _presigned(file, method, headers)
        return response
    return _stream(request, file, headers)


def _is_rewritten_by_clients(key: str) -> bool:
    """Say whether clients change the key's URL: dot segments they resolve (RFC 3986 5.2.4)."""
    return not {".", ".."}.isdisjoint(key.split("/"))


def _presigned(file: File, method: str, headers: Mapping[str, str]) -> str:
    return file.storage.presign(
        method,
        str(file),
        expires=PRESIGNED_FOR,
        params={
            "response-cache-control": "private",
            "response-content-disposition": headers["Content-Disposition"],
            "response-content-type": headers["Content-Type"],
        },
    )


def _stream(request: HttpRequest, file: File, headers: dict[str, str]) -> HttpResponseBase:
    try:
        answer = _ask(request, file)
    except FileNotFoundError:
        file.mark_missing(True)
        return _plain(404, MISSING)
    except S3UnavailableError as error:
        logger.warning("%s", error)
        response = _plain(503, UNREACHABLE)
        response.headers["Retry-After"] = str(RETRY_AFTER)
        return response
    except (PermissionError, S3Error) as error:
        logger.error("File %s: %s", file.pk, error)
        return _plain(502, REFUSED)
    file.mark_missing(False)
    return _relay(request, file, answer, headers)


def _plain(status: int, text: "_StrPromise") -> HttpResponse:
    return HttpResponse(str(text), content_type="text/plain; charset=utf-8", status=status)


def _ask(request: HttpRequest, file: File) -> Response:
    """Send the client's request on to S3, without what S3 would not understand."""
    storage, key, method = file.storage, str(file), request.method or "GET"
    conditions = _conditions(request.headers, file.etag)
    wanted = request.headers.get("Range", "").strip()
    found = _ONE_RANGE.fullmatch(wanted)
    if not found or (found[2] and int(found[2]) < int(found[1])):
        return storage.request(method, key, conditions)  # RFC 9110 section 14.2: ignored
    answer = storage.request(method, key, {**conditions, "Range": wanted})
    validator = request.headers.get("If-Range")
    if answer.status not in {206, 416} or validator is None or _is_of(answer, validator):
        return answer
    answer.close()
    whole = storage.request(method, key, conditions)
    if answer.status == 416 and _is_of(whole, validator):
        whole.close()
        return answer
    return whole


def _is_of(answer: Response, validator: str) -> bool:
    """Compare strongly (RFC 9110 section 13.1.5): a weak ETag never matches, a date exactly."""
    return validator.strip() in {answer.headers.get("ETag"), answer.headers.get("Last-Modified")}


def _conditions(headers: Mapping[str, str], etag: str) -> dict[str, str]:
    """Return the conditions that S3 can judge, by the precedence of RFC 9110 section 13.2.2.

    S3 knows one ETag at a time. Of a list it gets the row's, or the first; `_relay` judges again.
    """
    conditions = {}
    if none_match := headers.get("If-None-Match"):
        tags = [tag.removeprefix("W/") for tag in parse_etags(none_match)]
        if tags and tags != ["*"]:
            conditions["If-None-Match"] = etag if etag in tags else tags[0]
    elif _is_date(since := headers.get("If-Modified-Since", "")):
        conditions["If-Modified-Since"] = since
    if match := headers.get("If-Match"):
        tags = parse_etags(match)
        if len(tags) == 1 and tags != ["*"]:
            conditions["If-Match"] = tags[0]
    elif _is_date(since := headers.get("If-Unmodified-Since", "")):
        conditions["If-Unmodified-Since"] = since
    return conditions


def _is_date(text: str) -> bool:
    return parse_http_date_safe(text) is not None


def _relay(
    request: HttpRequest, file: File, answer: Response, headers: dict[str, str]
) -> HttpResponseBase:
    """Turn S3's answer into ours."""
    for name in ("ETag", "Last-Modified"):
        if value := answer.headers.get(name):
            headers[name] = value
    headers["Accept-Ranges"] = "bytes"
    if answer.status == 304 and "ETag" not in headers:  # as RFC 9110 section 15.4.5 demands
        headers["ETag"] = _conditions(request.headers, file.etag).get("If-None-Match", file.etag)
    if answer.status in {200, 206}:
        judged = get_conditional_response(
            request,
            etag=quote_etag(headers["ETag"]) if "ETag" in headers else None,
            last_modified=parse_http_date_safe(headers.get("Last-Modified", "")),
            response=HttpResponse(headers=headers),
        )
        if judged is not None and judged.status_code == 304:
            answer.close()
            return _not_modified(request, headers)
        if judged is not None and judged.status_code == 412:
            answer.close()
            return judged
        return _content(request, file, answer, headers)
    if answer.status == 304:
        answer.close()
        return _not_modified(request, headers)
    size = _size_beyond(answer, file) if answer.status == 416 else None
    answer.close()
    del headers["Content-Type"], headers["Content-Disposition"]
    response = HttpResponse(status=answer.status, headers=headers)
    if size is not None:
        response.headers["Content-Range"] = f"bytes */{size}"
    return response


def _not_modified(request: HttpRequest, headers: Mapping[str, str]) -> HttpResponseBase:
    """Answer without a Content-Length: a 304 may only have that of the 200 (RFC 9110 section 8.6).

    Django's middleware would set 0 for any response that does not stream.
    """
    nothing = _no_pieces() if isinstance(request, ASGIRequest) else iter(())
    response = StreamingHttpResponse(nothing, status=304, headers=dict(headers))
    for name in ("Content-Type", "Content-Disposition"):
        del response.headers[name]
    return response


async def _no_pieces() -> AsyncIterator[bytes]:
    return
    yield b""  # which makes it a generator


def _size_beyond(answer: Response, file: File) -> int:
    """Return the size of an object whose range cannot be served (RFC 9110 section 15.5.17)."""
    told = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return int(told) if told.isdigit() else file.storage.size(str(file))


def _content(
    request: HttpRequest, file: File, answer: Response, headers: dict[str, str]
) -> HttpResponseBase:
    headers["Content-Length"] = answer.headers["Content-Length"]
    if answer.status == 206:
        headers["Content-Range"] = answer.headers["Content-Range"]
    if request.method == "HEAD":
        answer.close()
        return HttpResponse(status=answer.status, headers=headers)
    body = file.storage.body(str(file), answer)
    content: Iterable[bytes] | AsyncIterator[bytes] = body
    if isinstance(request, ASGIRequest):
        content = in_threads(partial(body.read, CHUNK), body.close)
    return StreamingHttpResponse(content, status=answer.status, headers=headers)


async def in_threads(
    read: Callable[[], bytes], close: Callable[[], None], threads: ThreadPoolExecutor = _threads
) -> AsyncIterator[bytes]:
    """Read without holding up the event loop: Django would read a plain iterator to its end."""
    read_in_thread = sync_to_async(read, thread_sensitive=False, executor=threads)
    try:
        while data := await read_in_thread():
            yield data
    finally:
        threads.submit(close)  # which waits for a read that is under way
