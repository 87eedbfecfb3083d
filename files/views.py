"""The views."""

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from files import access, audit, delivery
from files.models import File


@csrf_exempt  # which would refuse other methods before they are called wrong; GET changes nothing
@require_safe
@xframe_options_sameorigin
def content(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send the content of one file to those who may view it; the admin shows PDFs in a frame."""
    if not request.user.is_authenticated:
        return _unauthenticated(request)
    if not access.may_read_any(request.user):
        audit.record("download", "refused", file=pk)
        raise PermissionDenied
    file = get_object_or_404(File, pk=pk)
    if not access.may_read(request.user, file):
        audit.record("download", "refused", file=pk, key=str(file))
        raise Http404
    return delivery.respond(request, file)


def _unauthenticated(request: HttpRequest) -> HttpResponse:
    """Show a login page to whoever asks for HTML; 401 to programs, which would save the page."""
    if asks_for_html(request):
        response: HttpResponse = redirect_to_login(request.get_full_path())
    else:
        text = _("Log in first: this file is for users with a session alone.")
        response = HttpResponse(text, content_type="text/plain; charset=utf-8", status=401)
        response.headers["WWW-Authenticate"] = 'Bearer realm="files"'  # RFC 6750 section 3
    patch_vary_headers(response, ["Accept"])
    return response


def asks_for_html(request: HttpRequest) -> bool:
    """Return whether a browser shows the answer: programs accept anything, and save the page."""
    return "text/html" in {f"{kind.main_type}/{kind.sub_type}" for kind in request.accepted_types}
