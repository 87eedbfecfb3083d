"""What people and programs read of an error: its cause and S3's address stand in the log alone."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext

from files.storage import S3UnavailableError

RETRY_AFTER = 5  # seconds, for the header Retry-After of 503

# What a change of a file may end in, whoever asks for it.
EXPECTED = (OSError, IntegrityError, ValidationError)

# What an answer is about, by its status: the end of a problem's type, which never changes.
KINDS = {
    400: "bad-request",
    401: "unauthenticated",
    403: "not-allowed",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    408: "too-slow",
    409: "conflict",
    410: "over",
    411: "length-required",
    412: "changed",
    413: "too-large",
    415: "media-type",
    428: "condition-required",
    429: "too-many",
    500: "server-error",
    502: "storage-refused",
    503: "unavailable",
}


def reason(error: Exception) -> str:
    """Return one sentence for a page or an answer."""
    if isinstance(error, ValidationError):
        return str(error.messages[0])
    if isinstance(error, IntegrityError):
        return gettext("Other rows of the database need this file: delete those first.")
    if isinstance(error, S3UnavailableError):
        return gettext("S3 is out of reach; try again in a moment.")
    text = getattr(error, "strerror", None) or str(error)
    if "://" in text:
        return gettext("S3 does not do this; the log of the server says why.")
    return f"{text.removesuffix('.')}."


def asks_for_html(request: HttpRequest) -> bool:
    """Return whether a browser shows the answer: programs accept anything, and save the page."""
    try:
        kinds = request.accepted_types
    except ValueError:  # of a parameter in an encoding that Python does not know
        return False
    return "text/html" in {f"{kind.main_type}/{kind.sub_type}" for kind in kinds}


def problem(status: int, detail: str, kind: str = "", **members: Any) -> HttpResponse:
    """Answer a program with a problem document (RFC 9457).

    Its `type` is stable, `detail` is a sentence for people, and `members` are more of it.
    """
    kind = kind or KINDS[status]
    document = {
        "type": f"urn:problem-type:files:{kind}",
        "title": kind.replace("-", " ").capitalize(),
        "status": status,
        "detail": str(detail),
        **members,
    }
    response = JsonResponse(document, status=status, content_type="application/problem+json")
    response.headers["Cache-Control"] = "no-store"
    return response


def refusal(request: HttpRequest, status: int, text: str, kind: str = "") -> HttpResponse:
    """Answer why not: a browser shows the sentence, a program gets a problem document."""
    if asks_for_html(request):
        response = HttpResponse(text, status=status, content_type="text/plain; charset=utf-8")
    else:
        response = problem(status, text, kind)
    patch_vary_headers(response, ["Accept"])
    return response


def unauthenticated(text: str, error: str = "") -> HttpResponse:
    """Answer 401, and that a token is asked for (RFC 6750 section 3)."""
    response = problem(401, text)
    told = f', error="{error}"' if error else ""
    response.headers["WWW-Authenticate"] = f'Bearer realm="files"{told}'
    return response
