"""The views."""

from django.contrib.auth.decorators import login_required, permission_required
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from files import delivery
from files.models import File


@require_safe
@login_required
@permission_required("files.view_file", raise_exception=True)
def content(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The content of one file, for those who may view it."""
    return delivery.respond(request, get_object_or_404(File, pk=pk))
