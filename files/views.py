"""The views."""

from django.contrib.auth.decorators import login_required, permission_required
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_safe

from files import access, delivery
from files.models import File


@require_safe
@login_required
@permission_required("files.view_file", raise_exception=True)
@xframe_options_sameorigin
def content(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The content of one file, for those who may view it, also in a frame: the admin shows PDFs."""
    file = File.objects.filter(pk=pk).first()
    if file is None or not access.may_read(request.user, file):
        raise Http404
    return delivery.respond(request, file)
