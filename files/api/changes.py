"""What is done with one file: rename, replace, trash, restore, delete."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from files import access, changes
from files.api import requests
from files.api.answers import do, told
from files.api.contents import ContentParser, receive
from files.api.serializers import FileSerializer
from files.api.uploads import CONTENT, DIGEST, GOES_ON
from files.api.view import View, find_file
from files.keys import visible
from files.models import File, Work
from files.uploads import Fields

CHANGED: Any = {200: FileSerializer, 202: GOES_ON}


class FileChanges(View):
    """A file whose key changes, or that is deleted."""

    needs: ClassVar = {"PATCH": "change", "DELETE": "purge"}
    fails: ClassVar = {"PATCH": (404, 409, 412, 502), "DELETE": (404, 409, 412, 502)}

    @extend_schema(operation_id="rename_file", request=requests.RenameSerializer, responses=CHANGED)
    def patch(self, request: Request, pk: int) -> Response:
        """Give the file another key, by a copy on S3's side."""
        file = find_file(request, pk)
        key = Fields(request.data).key("key")
        access.require(request.user, "change", key)
        _require_live(file)
        if key == str(file):
            return told(request, file)
        rename = lambda: changes.rename(request.user, file, key)  # noqa: E731
        return _do(request, file, _("Rename or move"), rename)

    @extend_schema(operation_id="delete_file", responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Delete a file in the trash for good, and its object with it."""
        file = find_file(request, pk)
        if file.deleted_at is None:
            raise ValidationError(_("The file is not in the trash: move it there first."), "live")
        changes.delete(request.user, file)
        return Response(status=204)


class ContentView(View):
    """The content of a file."""

    needs: ClassVar = {"PUT": "replace"}
    fails: ClassVar = {"PUT": (404, 409, 412, 502)}
    parser_classes = (ContentParser,)

    @extend_schema(
        operation_id="replace_content", parameters=[DIGEST], request=CONTENT, responses=CHANGED
    )
    def put(self, request: Request, pk: int) -> Response:
        """Put the body in place of the content, which goes to the trash."""
        file = find_file(request, pk)
        _require_live(file)
        content = receive(request, str(file))
        replace = lambda: changes.replace(request.user, file, content)  # noqa: E731
        return _do(request, file, _("Replace content"), replace)


class TrashView(View):
    """A file that is to be in the trash."""

    needs: ClassVar = {"POST": "delete"}
    fails: ClassVar = {"POST": (404, 409, 412)}

    @extend_schema(operation_id="trash_file", request=None, responses=FileSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Put the file into the trash, if it is not there already."""
        file = find_file(request, pk)
        if file.deleted_at is None:
            changes.trash(request.user, file)
        return told(request, file)


class RestoreView(View):
    """A file that is to be out of the trash."""

    needs: ClassVar = {"POST": "restore"}
    fails: ClassVar = {"POST": (404, 409, 412, 502)}

    @extend_schema(operation_id="restore_file", request=None, responses=CHANGED)
    def post(self, request: Request, pk: int) -> Response:
        """Take the file out of the trash, if it is there."""
        file = find_file(request, pk)
        if file.deleted_at is None:
            return told(request, file)
        return _do(request, file, _("Restore"), lambda: changes.restore(request.user, file))


def _require_live(file: File) -> None:
    if file.deleted_at is not None:
        raise ValidationError(_("The file is in the trash: restore it first."), "trashed")


def _do(request: Request, file: File, title: str, change: Callable[[], str]) -> Response:
    """Make the change of the file, which may take long."""

    def work_on(work: Work) -> File:
        work.tell(changes.about(file, change()))
        return file

    return do(request, f"{title}: {visible(file.name)}", file.name, work_on)
