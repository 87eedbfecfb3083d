"""Long work: how far it is, for whoever has asked for it."""

from typing import Any, ClassVar

from django.contrib.messages import DEFAULT_TAGS
from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from files.api.permissions import ANYBODY
from files.api.queries import NewestQuery, asked, newest
from files.api.view import View
from files.models import Work
from files.tokens import token_of

STATES = ("waiting", "under-way", "ended", "interrupted")


class MessageSerializer(serializers.Serializer):
    """What a work tells."""

    level = serializers.ChoiceField(choices=sorted(DEFAULT_TAGS.values()))
    text = serializers.CharField()


class WorkSerializer(serializers.ModelSerializer):
    """Long work: it goes on when the request that began it has ended."""

    state = serializers.SerializerMethodField(
        help_text="`interrupted` is what has ended before it was done, with its process."
    )
    messages = serializers.SerializerMethodField(help_text="What it tells until now.")

    class Meta:
        model = Work
        fields = (
            *("id", "title", "state", "total", "done", "failed", "messages"),
            *("started_at", "seen_at", "ended_at"),
        )
        read_only_fields = fields
        extra_kwargs = {
            "total": {"help_text": "Files."},
            "done": {"help_text": "Files, those that failed among them."},
            "failed": {"help_text": "Files."},
            "started_at": {"help_text": "Not while it waits for its turn."},
            "seen_at": {"help_text": "When its process last said that it is there."},
        }

    @extend_schema_field(serializers.ChoiceField(choices=STATES))
    def get_state(self, work: Work) -> str:
        """Return one of STATES."""
        if work.ended_at:
            return "ended"
        if work.is_interrupted:
            return "interrupted"
        return "under-way" if work.started_at else "waiting"

    @extend_schema_field(MessageSerializer(many=True))
    def get_messages(self, work: Work) -> list[dict[str, str]]:
        """Return texts with their levels."""
        return [{"level": DEFAULT_TAGS[level], "text": text} for level, text, _ in work.told()]


class WorksSerializer(serializers.Serializer):
    """A page of works."""

    works = WorkSerializer(many=True)
    next = serializers.URLField(allow_null=True, help_text="The address of the next page.")


def _works(user: Any) -> QuerySet[Work]:
    """Return those that the user may see: all for a superuser, and its own for a folder's token.

    Others of the user name keys that may be in other folders.
    """
    works = Work.objects.filter(is_told=False)
    token = token_of(user)
    if token is not None and token.prefix:
        return works.filter(token_id=token.pk)
    return works if user.is_superuser else works.filter(user_id=user.pk)


class WorksView(View):
    """Long work."""

    needs: ClassVar = {"GET": ANYBODY}

    @extend_schema(operation_id="list_works", parameters=[NewestQuery], responses=WorksSerializer)
    def get(self, request: Request) -> Response:
        """List long work of the last days, the newest first: your own, or as a superuser all."""
        found, following = newest(request, _works(request.user), asked(request, NewestQuery))
        return Response({"works": WorkSerializer(found, many=True).data, "next": following})


class WorkView(View):
    """One long work."""

    needs: ClassVar = {"GET": ANYBODY}
    fails: ClassVar = {"GET": (404,)}

    @extend_schema(operation_id="get_work", responses=WorkSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """Tell how far it is."""
        work = _works(request.user).filter(pk=pk).first()
        if work is None:
            raise Http404
        return Response(WorkSerializer(work).data)
