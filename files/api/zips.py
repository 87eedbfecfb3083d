"""Several files as one zip."""

from typing import Any, ClassVar

from django.http import Http404
from django.http.response import HttpResponseBase
from django.utils.translation import gettext
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from files import access, listing
from files.api.queries import MAX_SIZE, FolderQuery, asked, files_below, folder_of
from files.api.view import View
from files.delivery import archive
from files.keys import folder_name
from files.models import File, FileQuerySet

MOST_IDS = 1000
MOST_FILES = 10_000  # of a folder, since a zip ends with an index that is kept in memory

ZIP = {(200, "application/zip"): OpenApiTypes.BINARY}


class ZipRenderer(BaseRenderer):
    """Lets programs ask for a zip: the answer itself is none of the framework's."""

    media_type = "application/zip"
    format = "zip"
    render_style = "binary"


class IdsSerializer(serializers.Serializer):
    """Which files."""

    ids = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=MAX_SIZE),
        min_length=1,
        max_length=MOST_IDS,
    )


class ZipView(View):
    """A zip of the contents of files."""

    needs: ClassVar = {"GET": "view", "POST": "view"}
    fails: ClassVar = {"GET": (404,), "POST": (404,)}
    renderer_classes = (ZipRenderer,)

    @extend_schema(operation_id="zip_folder", parameters=[FolderQuery], responses=ZIP)
    def get(self, request: Request) -> HttpResponseBase:
        """Send all below a folder as one zip, which is made while it is sent.

        What cannot be read is listed in its last entry. More than 10,000 files are refused.
        """
        wanted = asked(request, FolderQuery)
        files, folder = files_below(request.user, wanted), folder_of(request.user, wanted)
        with listing.time_limit():
            number = files[: MOST_FILES + 1].count()
        if number > MOST_FILES:
            text = gettext("A zip has at most %s files: ask for a folder below.") % MOST_FILES
            raise serializers.ValidationError({"folder": text})
        return _zip(request, files, number, folder)

    @extend_schema(operation_id="zip_files", request=IdsSerializer, responses=ZIP)
    def post(self, request: Request) -> HttpResponseBase:
        """Send these files as one zip, but for those that are not there. It changes nothing."""
        given = IdsSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        files = access.readable(request.user, File.objects.live())
        files = files.filter(pk__in=given.validated_data["ids"])
        return _zip(request, files, files.count())


def _zip(request: Any, files: FileQuerySet, number: int, folder: str = "") -> HttpResponseBase:
    if not number:
        raise Http404
    name = f"{folder_name(folder) or 'files'}.zip"
    return archive.respond(request._request, files.iterator(), base=folder, name=name)
