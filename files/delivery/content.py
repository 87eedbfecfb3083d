"""An object over HTTP: S3's answer to the client's own conditions, with headers that are safe.

The three ways differ in who carries the bytes: this process (`stream`), the client by a redirect
to S3 (`redirect`), or nginx in front (`accel`).
"""

import logging
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import http_date
from django.utils.translation import gettext_lazy as _

from files import audit
from files.circuit import UnavailableError
from files.delivery.conditions import (
    can_be_asked_by_client,
    is_beyond,
    is_conditional,
    judge,
    matches_if_range,
    one_range,
    s3_conditions,
)
from files.delivery.headers import content_headers
from files.delivery.streams import stream
from files.errors import RETRY_AFTER, reason, refusal
from files.models import File
from files.storage import (
    CHUNK,
    ArchivedError,
    Response,
    S3Error,
    S3UnavailableError,
    read_stat,
)

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

logger = logging.getLogger(__name__)

PRESIGNED_FOR = 60  # seconds

MISSING = _("The content is missing.")
UNREACHABLE = _("The content cannot be reached now; try again in a moment.")
REFUSED = _("The content cannot be read; tell the administrator of this site.")

# In front of what nginx is told by headers: the request that it is to send to S3, which is its URL
# and its headers, and the disposition. By its own name nginx would keep that where S3 fails, too.
ACCEL = "X-Object-"
REFUSED_BY_S3 = "X-Object-Refused"  # nginx's, of a request that it hands back


def respond(request: HttpRequest, file: File) -> HttpResponseBase:
    """Answer GET or HEAD for the file's content, by the way that `APP_DELIVERY` names."""
    response = _respond(request, file)
    if request.method == "GET":
        audit.download(file, is_handed_on="X-Accel-Redirect" in response.headers)
    return response


def _respond(request: HttpRequest, file: File) -> HttpResponseBase:
    headers = content_headers(file, attachment="download" in request.GET)
    way = {"redirect": _redirect, "accel": _accelerate}.get(settings.DELIVERY, _stream)
    try:
        return way(request, file, headers)
    except FileNotFoundError:
        file.mark_missing(True)
        return _refused(request, 404, MISSING, headers, "missing")
    except ArchivedError as error:
        return _refused(request, 409, reason(error), headers, "archived")
    except S3UnavailableError as error:
        logger.warning("%s: %s", log_name(file), error)
        response = _refused(request, 503, UNREACHABLE, headers)
        response.headers["Retry-After"] = str(RETRY_AFTER)
        return response
    except (PermissionError, S3Error) as error:
        logger.error("%s: %s", log_name(file), error)
        return _refused(request, 502, REFUSED, headers)


def log_name(file: File) -> str:
    """Return how the log names the file: by id and key, on one line whatever the key is."""
    return f"File {file.pk} ({str(file)!r})"


def _refused(
    request: HttpRequest,
    status: int,
    text: "_StrPromise | str",
    headers: dict[str, str],
    kind: str = "",
) -> HttpResponse:
    response = refusal(request, status, str(text), kind)
    for name in ("Cache-Control", "Content-Security-Policy", "X-Content-Type-Options"):
        response.headers[name] = headers[name]
    return response


# The three ways


def _stream(request: HttpRequest, file: File, headers: dict[str, str]) -> HttpResponseBase:
    """Send the client's request on to S3, without what S3 would not understand."""
    if request.method == "HEAD":
        answer = _head(file)
        return _refusal(request, file, answer, headers) or _content(request, file, answer, headers)
    conditions, wanted = s3_conditions(request.headers, file.etag), one_range(request)
    answer = _ask(file, conditions | ({"Range": wanted} if wanted else {}))
    if answer.status == 416:
        answer.close()
        return _beyond(request, file, headers)
    if answer.status == 206 and not matches_if_range(request, answer.headers):
        answer.close()
        answer = _ask(file, conditions)
    return _refusal(request, file, answer, headers) or _content(request, file, answer, headers)


def _redirect(request: HttpRequest, file: File, headers: dict[str, str]) -> HttpResponseBase:
    """Send the client to S3, or stream where S3 would answer in another way than this process."""
    if _is_rewritten_by_clients(str(file)) or not can_be_asked_by_client(request, file.size):
        return _stream(request, file, headers)
    file.storage.refuse_archived(str(file), file.storage_class)
    response = HttpResponseRedirect(_presigned(file, headers))
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _accelerate(request: HttpRequest, file: File, headers: dict[str, str]) -> HttpResponseBase:
    """Tell nginx what to fetch; conditions are judged here first, by a HEAD request to S3.

    What was judged is fetched if it still has the same ETag, so that no two versions are mixed.
    nginx hands back what S3 refuses or has otherwise than the row says: that is streamed and noted.
    """
    wanted, etag = one_range(request), ""
    is_handed_back = REFUSED_BY_S3 in request.headers
    if request.method == "HEAD" or is_handed_back or is_beyond(wanted, file.size):
        return _stream(request, file, headers)
    if is_conditional(request):
        head = _head(file)
        if refusal := _refusal(request, file, head, headers):
            return refusal
        etag = head.headers.get("ETag", "")
        wanted = wanted if matches_if_range(request, head.headers) else ""
    response = HttpResponse(headers=headers)
    response.headers["X-Accel-Redirect"] = "/-/object"
    del response.headers["Content-Disposition"]
    url, signed = file.storage.sign(
        "GET", str(file), {"response-content-type": headers["Content-Type"]}
    )
    told = {"URL": url, "Range": wanted, "If-Match": etag, **signed}
    told["Disposition"] = headers["Content-Disposition"]
    for name, value in told.items():
        response.headers[ACCEL + name] = value
    return response


def _is_rewritten_by_clients(key: str) -> bool:
    """Return whether clients change the key's URL by resolving dot segments (RFC 3986 5.2.4)."""
    return not {".", ".."}.isdisjoint(key.split("/"))


def _presigned(file: File, headers: Mapping[str, str]) -> str:
    return file.storage.presign(
        "GET",
        str(file),
        expires=PRESIGNED_FOR,
        params={
            "response-cache-control": headers["Cache-Control"],
            "response-content-disposition": headers["Content-Disposition"],
            "response-content-type": headers["Content-Type"],
        },
    )


def _ask(file: File, headers: Mapping[str, str]) -> Response:
    """Return S3's answer to a GET; the object is there, unless FileNotFoundError is raised."""
    answer = file.storage.request("GET", str(file), headers)
    file.mark_missing(False)
    return answer


def _head(file: File) -> Response:
    """Return S3's answer to a HEAD, without a condition. Raises ArchivedError as GET does.

    Conditions count only where the answer would be the content (RFC 9110 section 13.2.1).
    """
    answer = file.storage.request("HEAD", str(file))
    answer.close()
    file.mark_missing(False)
    file.storage.refuse_unreadable(str(file), answer.headers)
    return answer


# Answers


def _refusal(
    request: HttpRequest, file: File, answer: Response, headers: dict[str, str]
) -> HttpResponseBase | None:
    """Return the answer where the client's conditions forbid the content, and otherwise None."""
    status = answer.status
    if status in {200, 206}:
        status = judge(request, answer.headers)
    if status == 200:
        return None
    answer.close()
    if status != 304:
        return _without_content(status, headers)
    validators = _validators(answer)
    if "ETag" not in validators:  # it is not optional: RFC 9110 section 15.4.5
        conditions = s3_conditions(request.headers, file.etag)
        validators["ETag"] = conditions.get("If-None-Match", file.etag)
    if file.modified_at and validators["ETag"] == file.etag:  # as HEAD tells it
        validators.setdefault("Last-Modified", http_date(file.modified_at.timestamp()))
    return _not_modified(request, headers | validators)


def _beyond(request: HttpRequest, file: File, headers: dict[str, str]) -> HttpResponseBase:
    """Answer a range that has no byte of the object; conditions and If-Range count first."""
    head = _head(file)
    if refusal := _refusal(request, file, head, headers):
        return refusal
    if not matches_if_range(request, head.headers):
        answer = _ask(file, s3_conditions(request.headers, file.etag))
        return _refusal(request, file, answer, headers) or _content(request, file, answer, headers)
    response = _without_content(416, headers)
    response.headers["Content-Range"] = f"bytes */{read_stat(str(file), head.headers).size}"
    return response


def _validators(answer: Response) -> dict[str, str]:
    names = ("ETag", "Last-Modified")
    found = {name: answer.headers[name] for name in names if answer.headers.get(name)}
    return found | {"Accept-Ranges": "bytes"}


def _without_content(status: int, headers: dict[str, str]) -> HttpResponse:
    response = HttpResponse(status=status, headers=headers)
    del response.headers["Content-Type"], response.headers["Content-Disposition"]
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


def _content(
    request: HttpRequest, file: File, answer: Response, headers: dict[str, str]
) -> HttpResponseBase:
    names = ("Content-Length", "Content-Encoding", "Content-Range")
    of_body = {name: answer.headers[name] for name in names if name in answer.headers}
    headers = headers | _validators(answer) | of_body
    if request.method == "HEAD":
        answer.close()
        return HttpResponse(status=answer.status, headers=headers)
    body = file.storage.body(str(file), answer)
    try:
        read = partial(body.read, CHUNK)
        return stream(request, read, body.close, status=answer.status, headers=headers)
    except UnavailableError:
        body.close()
        raise
