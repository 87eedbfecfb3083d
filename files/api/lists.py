"""Lists of files: by folder or flat, in pages by cursor; how much there is; several as one zip."""

from functools import partial
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from files import listing
from files.api.queries import (
    FILTERS,
    ORDERS,
    Cursor,
    FilesQuery,
    FilterQuery,
    address,
    asked,
    files_below,
    folder_of,
)
from files.api.serializers import FileSerializer
from files.api.uploads import UploadView
from files.api.view import View


class FolderSerializer(serializers.Serializer):
    """A folder: there are no rows of folders, only keys that begin alike."""

    prefix = serializers.CharField(help_text="How the keys in it begin, with its slash.")


class PageSerializer(serializers.Serializer):
    """A page of a list: folders first, then files."""

    folders = FolderSerializer(many=True)
    files = FileSerializer(many=True)
    next = serializers.URLField(allow_null=True, help_text="The address of the next page.")
    previous = serializers.URLField(allow_null=True, help_text="The address of the page before.")


class UsageSerializer(serializers.Serializer):
    """How much there is; at least, where it is not `complete`, since counting took too long."""

    files = serializers.IntegerField()
    bytes = serializers.IntegerField()
    complete = serializers.BooleanField()


class FilesView(UploadView):
    """Files, by folder or flat."""

    needs: ClassVar = {"GET": "view", **UploadView.needs}

    @extend_schema(operation_id="list_files", parameters=[FilesQuery], responses=PageSerializer)
    def get(self, request: Request) -> Response:
        """List a folder with its folders and files, or all below it.

        Each filter makes it a list of all below. A page costs the same at any depth: follow `next`.
        """
        wanted = asked(request, FilesQuery)
        files: Any = files_below(request.user, wanted)
        folder = None
        if not (wanted["below"] or wanted.keys() & {*FILTERS, "state", "q"}):
            folder = folder_of(request.user, wanted)
            files = listing.inside(files, folder)
        if files.query.is_empty():  # so that no folders are told, either
            return Response({"folders": [], "files": [], "next": None, "previous": None})
        find = partial(_find_page, files, folder, wanted)
        # Matches may be anywhere in the order, but for those of a folder in that of the keys.
        is_filtered = folder is None or "key" not in wanted["order"]
        return Response(_tell(request, listing.in_time(find, is_filtered=is_filtered)))


def _find_page(files: Any, folder: str | None, wanted: dict[str, Any]) -> listing.Page:
    order, cursor = wanted["order"], wanted.get("cursor")
    at = {} if cursor is None else {"before" if cursor.is_backward else "after": cursor.entry}
    return listing.page(
        files,
        folder=folder,
        order=ORDERS[order.removeprefix("-")],
        descending=order.startswith("-"),
        limit=wanted["limit"],
        **at,
    )


def _tell(request: Request, page: listing.Page) -> dict[str, Any]:
    tell = FileSerializer(context={"request": request}).to_representation
    return {
        "folders": [{"prefix": folder} for folder in page.folders],
        "files": [tell(file) for file in page.files],
        "next": page.next and address(request, cursor=Cursor(page.next).encode()),
        "previous": page.previous
        and address(request, cursor=Cursor(page.previous, is_backward=True).encode()),
    }


class UsageView(View):
    """How much there is."""

    needs: ClassVar = {"GET": "view"}

    @extend_schema(operation_id="get_usage", parameters=[FilterQuery], responses=UsageSerializer)
    def get(self, request: Request) -> Response:
        """Count files and bytes of all below a folder, for as long as that takes little time."""
        files = files_below(request.user, asked(request, FilterQuery))
        with listing.time_limit():
            return Response(listing.usage(files)._asdict())
