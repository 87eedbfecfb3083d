"""Files: a list by folder or flat, and what is told of each."""

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from files.api.answers import told
from files.api.changes import FileChanges
from files.api.serializers import FileSerializer
from files.api.view import find_file


class FileView(FileChanges):
    """One file."""

    needs: ClassVar = {"GET": "view", **FileChanges.needs}
    fails: ClassVar = {"GET": (404, 412), **FileChanges.fails}

    @extend_schema(operation_id="get_file", responses=FileSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """Tell what is known of the file, without asking S3."""
        return told(request, find_file(request, pk))
