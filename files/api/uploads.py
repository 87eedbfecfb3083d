"""Uploads by programs and by the list of files in a browser: whole, or in parts straight to S3."""

from typing import ClassVar

from django.utils.translation import gettext
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from files import uploads
from files.api import requests
from files.api.answers import do, told
from files.api.contents import ContentParser, query_fields, receive
from files.api.serializers import FileSerializer
from files.api.view import View
from files.keys import visible
from files.models import File, Work
from files.uploads import Begin, Fields, Finish, Sign, Ticket

CONTENT = {"*/*": OpenApiTypes.BINARY}
DIGEST = OpenApiParameter(
    "Content-Digest",
    str,
    OpenApiParameter.HEADER,
    description="`sha-256=:…:` (RFC 9530), with which the content is compared before it is stored.",
)
GOES_ON = OpenApiResponse(requests.GoesOnSerializer, description="It takes long, and goes on.")


class UploadView(View):
    """Files that come whole."""

    needs: ClassVar = {"POST": "add"}
    fails: ClassVar = {"POST": (409, 502)}
    parser_classes = (ContentParser,)

    @extend_schema(
        operation_id="upload_file",
        parameters=[
            OpenApiParameter("key", str, required=True, description=requests.KEY),
            OpenApiParameter("replace", bool, description="Replace the content of a file."),
            DIGEST,
        ],
        request=CONTENT,
        responses={201: FileSerializer},
    )
    def post(self, request: Request) -> Response:
        """Store the body. The same again, as where the answer was lost, changes nothing."""
        fields = query_fields(request)
        key, replace = fields.key("key"), fields.flag("replace", default=False)
        with receive(request, key) as content:
            file = uploads.whole(request.user, key, content, replace=replace)
        return told(request, file, 201)


class BeginView(View):
    """Files that come in parts."""

    needs: ClassVar = {"POST": "add"}
    fails: ClassVar = {"POST": (409, 502)}

    @extend_schema(
        operation_id="begin_upload",
        request=requests.BeginSerializer,
        responses={
            200: OpenApiResponse(requests.PlanSerializer, description="Send it whole."),
            201: OpenApiResponse(requests.PlanSerializer, description="Send it in parts."),
        },
    )
    def post(self, request: Request) -> Response:
        """Begin an upload, where the file is too large to be sent whole."""
        plan = uploads.begin(request.user, Begin.parse(Fields(request.data)))
        return Response(plan, status=201 if plan["direct"] else 200)


class PartView(View):
    """The parts of an upload."""

    needs: ClassVar = {"POST": "add"}
    fails: ClassVar = {"POST": (410,)}

    @extend_schema(
        operation_id="sign_part",
        request=requests.PartSerializer,
        responses=requests.SignedPartSerializer,
    )
    def post(self, request: Request) -> Response:
        """Tell where to send a part."""
        return Response(uploads.sign(request.user, Sign.parse(Fields(request.data))))


class StateView(View):
    """How far an upload is."""

    needs: ClassVar = {"POST": "add"}
    fails: ClassVar = {"POST": (409, 410, 502)}

    @extend_schema(
        operation_id="get_upload_state",
        request=requests.StateSerializer,
        responses=requests.SentPartsSerializer,
    )
    def post(self, request: Request) -> Response:
        """Tell which parts have been sent, so that one that was broken off goes on."""
        return Response(uploads.state(request.user, Ticket.parse(Fields(request.data))))


class FinishView(View):
    """The end of an upload."""

    needs: ClassVar = {"POST": "add"}
    fails: ClassVar = {"POST": (409, 410, 502)}

    @extend_schema(
        operation_id="finish_upload",
        request=requests.FinishSerializer,
        responses={201: FileSerializer, 202: GOES_ON},
    )
    def post(self, request: Request) -> Response:
        """Make the file of its parts. Again, as after long work, it changes nothing."""
        asked = Finish.parse(Fields(request.data))
        shown = visible(asked.ticket.key)

        def finish(work: Work) -> File:
            file = uploads.finish(request.user, asked)
            work.tell(gettext("Uploaded %s.") % shown)
            return file

        return do(request, gettext("Upload: %s") % shown, asked.ticket.key, finish, 201)


class AbortView(View):
    """Uploads that are given up."""

    needs: ClassVar = {"POST": "add"}
    fails: ClassVar = {"POST": (409, 410, 502)}

    @extend_schema(
        operation_id="abort_upload", request=requests.AbortSerializer, responses={204: None}
    )
    def post(self, request: Request) -> Response:
        """Throw the parts away."""
        uploads.abort(request.user, Ticket.parse(Fields(request.data)))
        return Response(status=204)
