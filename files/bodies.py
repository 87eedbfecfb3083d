"""How large the body of a request may be, which is decided before it is read."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.defaultfilters import filesizeformat
from django.urls import Resolver404, get_resolver, get_urlconf, resolve
from django.utils.translation import gettext as _

from files import access
from files.errors import RETRY_AFTER, problem

ANYBODY = 64 * 2**10  # bytes that are taken without a question: a login has a few hundred
FORM = 64 * 2**10  # bytes that a form has beside its file

View = TypeVar("View", bound=Callable[..., Any])


def takes_upload(permission: str) -> Callable[[View], View]:
    """Let a view have bodies as large as an upload, of users with the permission."""

    def mark(view: View) -> View:
        view.takes_upload = permission  # type: ignore[attr-defined]
        return view

    return mark


class TooLargeError(RequestDataTooBig):
    """A body that is larger than the user may send to this address."""


def check(request: HttpRequest, size: int) -> int:
    """Return how many bytes the user may send to this address. Raises TooLargeError."""
    if size <= ANYBODY:
        return ANYBODY
    limit = _limit(request)
    if size > limit:
        text = _("You can send no more than %s to this address.") % filesizeformat(limit)
        raise TooLargeError(text)
    return limit


def too_large(request: HttpRequest, error: TooLargeError) -> HttpResponse:
    """Refuse the body by the site's page, in debug too."""
    refuse: Any = get_resolver(get_urlconf()).resolve_error_handler(400)
    return cast("HttpResponse", refuse(request, exception=error))


def _limit(request: HttpRequest) -> int:
    if not request.user.is_authenticated:
        return ANYBODY
    try:
        permission = getattr(resolve(request.path_info).func, "takes_upload", None)
    except Resolver404:
        return ANYBODY
    if permission and access.has_permission(request.user, permission):
        return max(int(settings.MAX_UPLOAD) + FORM, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
    return int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


def length_of(value: str) -> int:
    """Return the bytes that a Content-Length names, 0 where it is none."""
    return int(value) if value.isascii() and value.isdigit() else 0


def too_slow() -> HttpResponse:
    """Refuse a body of which nothing comes."""
    return problem(408, _("Nothing of the request has come for too long; try again."))


def too_many() -> HttpResponse:
    """Refuse a large body while many others come."""
    response = problem(503, _("Too many send large requests now; try again in a moment."))
    response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


class BodyLimitMiddleware:
    """Refuses a body by the length that the request names, before anything reads it.

    It stands behind the middleware that knows the user. Django reads no more than that length from
    a WSGI server, and nothing where there is none.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if isinstance(request, WSGIRequest) and "Transfer-Encoding" in request.headers:
            return problem(411, _("A body must come with its length here."))
        try:
            check(request, length_of(request.META.get("CONTENT_LENGTH", "")))
        except TooLargeError as error:
            return too_large(request, error)
        return self.get_response(request)
