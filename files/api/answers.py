"""Answers that tell of a file, at once or where a change of it takes long."""

import logging
from collections.abc import Callable
from typing import Any

from django.urls import reverse as address_of
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from files import background
from files.api.serializers import FileSerializer, etag_of
from files.keys import folder_of
from files.models import File, Work
from files.tokens import token_of

logger = logging.getLogger(__name__)


def told(request: Request, file: File, status: int = 200) -> Response:
    """Tell what is known of the file, and where it is if it has just been made."""
    headers = {"ETag": etag_of(file)}
    if status == 201:
        headers["Location"] = reverse("api:file", args=[file.pk], request=request)
    data = FileSerializer(file, context={"request": request}).data
    return Response(data, status=status, headers=headers)


def do(
    request: Request, title: str, key: str, change: Callable[[Work], File], status: int = 200
) -> Response:
    """Make the change, and tell of the file that it returns, or of the work if it takes long."""

    def logged(work: Work) -> File:
        try:
            return change(work)
        except OSError as error:
            if work.pk:  # the request has been answered
                logger.error("%s: %s", title, error)
            raise

    folder = folder_of(key)
    query = {"folder": folder} if folder else None
    url = address_of("admin:files_file_changelist", query=query)
    user: Any = request.user
    token = token_of(user)
    work = Work(user_id=user.pk, token_id=token.pk if token else None, title=title, url=url)
    try:
        return told(request, background.do(work, logged), status)
    except background.GoesOnError:
        url = reverse("api:work", args=[work.pk], request=request)
        return Response({"work": url}, status=202, headers={"Location": url})
