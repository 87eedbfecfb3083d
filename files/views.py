"""The content of files, at addresses that stay."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.csrf import csrf_exempt

from files import access, audit, delivery
from files.authentication import takes_token
from files.compiled import CompiledQuery
from files.errors import asks_for_html, problem, refusal, unauthenticated
from files.keys import validate_object_key
from files.models import File

MAX_ID = 2**63 - 1  # which the column can hold


def _content_view(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Let programs come by a token with GET and HEAD, and the admin show PDFs in a frame."""
    framed = xframe_options_sameorigin(view)

    @takes_token
    @csrf_exempt  # which would refuse other methods before they are called wrong
    @wraps(view)
    def safe(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method in {"GET", "HEAD"}:
            return framed(request, *args, **kwargs)
        response = refusal(request, 405, _("This address takes GET and HEAD alone."))
        response.headers["Allow"] = "GET, HEAD"
        return response

    return safe


@_content_view
def content(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send the content of one file to those who may view it."""
    return _deliver(request, {"file": pk}, _by_id, min(pk, MAX_ID))


@_content_view
def content_by_key(request: HttpRequest, key: str = "") -> HttpResponseBase:
    """Send the content of the file of a key, which stands in the path or in the query.

    Clients change some keys in a path (RFC 3986 section 5.2.4), none in a query.
    """
    if "key" in request.GET:
        key = request.GET["key"]
    if not key:
        return problem(400, _("Name the key in the path, or as “?key=”, percent-encoded."))
    try:
        validate_object_key(key)
    except ValidationError:
        key = ""  # no file has it
    return _deliver(request, {"key": key}, _by_key, key)


_by_id = CompiledQuery(lambda pk: File.objects.filter(pk=pk), -1)
_by_key = CompiledQuery(lambda key: File.objects.filter(object_key=key), "key")


def _deliver(
    request: HttpRequest, asked: dict[str, Any], find: CompiledQuery, value: Any
) -> HttpResponseBase:
    """Send the content of the file that was asked for, and record who may not have it."""
    if not request.user.is_authenticated:
        return _unauthenticated(request)
    if not access.may_read_any(request.user):
        audit.record("download", "refused", **asked)
        raise PermissionDenied
    file = find(value)
    if file is None:
        raise Http404
    if not access.may_read(request.user, file):
        audit.record("download", "refused", file=file.pk, key=str(file))
        raise Http404
    return delivery.respond(request, file)


def _unauthenticated(request: HttpRequest) -> HttpResponse:
    """Show a login page to whoever asks for HTML; 401 to programs, which would save the page."""
    if asks_for_html(request):
        response: HttpResponse = redirect_to_login(request.get_full_path())
    else:
        response = unauthenticated(_("Send a token in the header Authorization, or log in."))
    patch_vary_headers(response, ["Accept"])
    return response
