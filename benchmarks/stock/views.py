"""The views that one writes first, for what `files.views.content` does."""

import os
from collections.abc import Callable
from typing import Any

import boto3
from django.contrib.auth.decorators import login_required, permission_required
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe
from storages.backends.s3 import S3Storage

from files.models import File

View = Callable[[HttpRequest, int], HttpResponseBase]

_bucket = os.environ["APP_BUCKET_NAME"]
_region = os.environ["AWS_REGION"]
_client = boto3.client("s3", region_name=_region)
_storage = S3Storage(bucket_name=_bucket, region_name=_region)


def private(view: View) -> View:
    """Ask for what our view asks for."""
    allowed = permission_required("files.view_file", raise_exception=True)(view)
    return require_safe(login_required(allowed))


def bare(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The whole object, read into memory."""
    return HttpResponse(_get(pk)["Body"].read(), content_type="text/plain")


def chunks(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The object in pieces of 1 MiB."""
    answer = _get(pk)
    return StreamingHttpResponse(
        answer["Body"].iter_chunks(2**20),
        content_type="application/octet-stream",
        headers={"Content-Length": answer["ContentLength"]},
    )


def file(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The object by django-storages as it comes."""
    return FileResponse(_storage.open(str(get_object_or_404(File, pk=pk))))


def constant(request: HttpRequest, pk: int) -> HttpResponseBase:
    """No object at all: what Django takes for itself."""
    return HttpResponse(b"text" * 256, content_type="text/plain")


def _get(pk: int) -> Any:
    key = str(get_object_or_404(File, pk=pk))
    return _client.get_object(Bucket=_bucket, Key=key)
