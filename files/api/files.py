"""Files: a list by folder or flat, and what is told of each."""

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from files.api.serializers import FileSerializer, etag_of
from files.api.view import View, find_file


class FileView(View):
    """One file."""

    needs: ClassVar = {"GET": "view"}
    fails: ClassVar = {"GET": (404, 412)}

    @extend_schema(operation_id="get_file", responses=FileSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """Tell what is known of the file, without asking S3."""
        file = find_file(request, pk)
        told = FileSerializer(file, context={"request": request})
        return Response(told.data, headers={"ETag": etag_of(file)})
