"""How the schema of the API is made: OpenAPI 3.1 by drf-spectacular, with what may go wrong."""

from typing import Any

from drf_spectacular import openapi
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from files.errors import KINDS

USUAL = (400, 401, 403, 406, 429, 500, 503)  # of any request
WITH_BODY = (408, 411, 413, 415)

IF_MATCH = OpenApiParameter(
    "If-Match",
    str,
    OpenApiParameter.HEADER,
    description="The `version` of the file that you have seen: if it has changed since, 412.",
)


class ProblemSerializer(serializers.Serializer):
    """What went wrong: a problem document (RFC 9457)."""

    type = serializers.CharField(help_text="Which kind of problem it is; it never changes.")
    title = serializers.CharField(help_text="The kind, for people.")
    status = serializers.IntegerField(help_text="The status of the answer.")
    detail = serializers.CharField(help_text="What is wrong and what to do, in a sentence.")
    errors = serializers.JSONField(  # type: ignore[assignment] # a name of Serializer's own
        required=False, help_text="What is wrong with each parameter or field, by its name."
    )
    taken = serializers.BooleanField(required=False, help_text="Whether another key would do.")
    replaceable = serializers.BooleanField(
        required=False, help_text="Whether you may replace what has the key."
    )
    file = serializers.IntegerField(
        required=False, help_text="The id of the file that has the key, if you may see it."
    )


class AutoSchema(openapi.AutoSchema):
    """Tells of each status that an operation may end in: see `View.fails`."""

    def get_override_parameters(self) -> list[Any]:
        """Return the header If-Match where the operation heeds it."""
        return [IF_MATCH] if 412 in self._own_failures() else []

    def _get_response_bodies(self, *arguments: Any) -> dict[str, Any]:
        responses: dict[str, Any] = super()._get_response_bodies(*arguments)
        for status in self._failures():
            problem = OpenApiResponse(ProblemSerializer, description=_title(status))
            media_types = ["application/problem+json"]
            found = self._get_response_for_code(problem, str(status), media_types)
            responses.setdefault(str(status), found)
        return responses

    def _own_failures(self) -> tuple[int, ...]:
        return tuple(getattr(self.view, "fails", {}).get(self.method, ()))

    def _failures(self) -> list[int]:
        body = WITH_BODY if self.method in {"POST", "PUT", "PATCH"} else ()
        return sorted({*USUAL, *body, *self._own_failures()})


def _title(status: int) -> str:
    return KINDS[status].replace("-", " ").capitalize()
