"""Distributed runs: how far workers are with what commands have left to them."""

from collections.abc import Generator
from itertools import islice
from typing import ClassVar

from django.http import Http404
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from files import access
from files.api.queries import NewestQuery, asked, newest
from files.api.view import View
from files.delivery.streams import stream_rows
from files.models import Run

STATES = ("waiting", "under-way", "ended", "stopped")
PIECE = 1000  # lines that are sent at a time


class RunSerializer(serializers.ModelSerializer):
    """A command whose ranges of keys are worked on by as many workers as there are."""

    state = serializers.SerializerMethodField(
        help_text="`stopped` is what has ended before its end."
    )
    status = serializers.IntegerField(
        allow_null=True,
        help_text="The exit status that the command would have: 0, 1 where something was found, 2"
        " where something was not done; null before the end.",
    )
    counts = serializers.DictField(
        child=serializers.IntegerField(), help_text="What all ranges have counted, by its name."
    )
    ranges = serializers.SerializerMethodField(help_text="How many there are.")
    ranges_done = serializers.SerializerMethodField(help_text="How many have ended.")
    done = serializers.SerializerMethodField(help_text="Keys.")
    bytes = serializers.SerializerMethodField(help_text="That were read.")
    lines = serializers.SerializerMethodField(
        help_text="The address of what it prints, of each range the first 1,000 lines."
    )

    class Meta:
        model = Run
        fields = (
            *("id", "command", "prefix", "options", "state", "status", "counts", "ranges"),
            *("ranges_done", "done", "bytes", "lines", "began_at", "ended_at"),
        )
        read_only_fields = fields

    @extend_schema_field(serializers.ChoiceField(choices=STATES))
    def get_state(self, run: Run) -> str:
        """Return one of STATES."""
        if run.ended_at:
            return "stopped" if run.status is None else "ended"
        return "under-way" if any(part.attempts for part in run.ranges.all()) else "waiting"

    def get_ranges(self, run: Run) -> int:
        """Return how many there are."""
        return len(run.ranges.all())

    def get_ranges_done(self, run: Run) -> int:
        """Return how many have ended."""
        return sum(part.ended_at is not None for part in run.ranges.all())

    def get_done(self, run: Run) -> int:
        """Return how many keys are done."""
        return sum(part.done for part in run.ranges.all())

    def get_bytes(self, run: Run) -> int:
        """Return how many bytes were read."""
        return sum(part.bytes for part in run.ranges.all())

    def get_lines(self, run: Run) -> str:
        """Return the address of the lines."""
        return str(reverse("api:run_lines", args=[run.pk], request=self.context["request"]))


class RunsSerializer(serializers.Serializer):
    """A page of runs."""

    runs = RunSerializer(many=True)
    next = serializers.URLField(allow_null=True, help_text="The address of the next page.")


class RunsView(View):
    """Distributed runs."""

    needs: ClassVar = {"GET": access.may_see_runs}

    @extend_schema(operation_id="list_runs", parameters=[NewestQuery], responses=RunsSerializer)
    def get(self, request: Request) -> Response:
        """List runs, the newest first."""
        wanted = asked(request, NewestQuery)
        found, following = newest(request, Run.objects.with_ranges(), wanted)
        told = RunSerializer(found, many=True, context={"request": request})
        return Response({"runs": told.data, "next": following})


class RunView(View):
    """One distributed run."""

    needs: ClassVar = {"GET": access.may_see_runs}
    fails: ClassVar = {"GET": (404,)}

    @extend_schema(operation_id="get_run", responses=RunSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """Tell how far it is."""
        return Response(RunSerializer(_find_run(pk), context={"request": request}).data)


class TextRenderer(BaseRenderer):
    """Lets programs ask for text: the answer itself is none of the framework's."""

    media_type = "text/plain"
    format = "txt"


class LinesView(View):
    """What a run prints."""

    needs: ClassVar = {"GET": access.may_see_runs}
    fails: ClassVar = {"GET": (404,)}
    renderer_classes = (TextRenderer,)

    @extend_schema(operation_id="get_run_lines", responses={(200, "text/plain"): OpenApiTypes.STR})
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        """Send what its command prints, as far as it was kept."""
        pieces = _pieces(_find_run(pk))
        options = {"content_type": "text/plain; charset=utf-8"}
        return stream_rows(request._request, pieces, "lines", **options)


def _find_run(pk: int) -> Run:
    run = Run.objects.with_ranges().filter(pk=pk).first()
    if run is None:
        raise Http404
    return run


def _pieces(run: Run) -> Generator[bytes]:
    lines = run.lines()
    while piece := list(islice(lines, PIECE)):
        yield "".join(f"{line}\n" for line in piece).encode()
