"""What the API is: its addresses and the schema for programs, and a page to try it for people."""

from typing import Any, ClassVar

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from drf_spectacular.renderers import (
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiYamlRenderer,
    OpenApiYamlRenderer2,
)
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.exceptions import NotAuthenticated
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from files.api.permissions import ANYBODY
from files.api.view import View
from files.errors import asks_for_html

ADDRESSES = {"type": "object", "additionalProperties": {"type": "string", "format": "uri"}}


class PageRenderer(BaseRenderer):
    """Lets browsers ask for the page: the answer itself is none of the framework's."""

    media_type = "text/html"
    format = "html"


class RootView(View):
    """Where all begins."""

    needs: ClassVar = {"GET": ANYBODY}
    names: tuple[str, ...] = ()  # of the addresses
    renderer_classes = (JSONRenderer, PageRenderer)

    @extend_schema(
        operation_id="get_addresses", responses={(200, "application/json"): ADDRESSES}, tags=["api"]
    )
    def get(self, request: Request) -> HttpResponse:
        """Tell the addresses of the API, by their names; a browser gets a page to try it."""
        if isinstance(request.accepted_renderer, PageRenderer):
            return _page(request._request)
        return Response({name: reverse(f"api:{name}", request=request) for name in self.names})

    def handle_exception(self, exc: Exception) -> Any:
        """Show the login page to browsers."""
        if not (isinstance(exc, NotAuthenticated) and asks_for_html(self.request)):
            return super().handle_exception(exc)
        response = redirect_to_login(self.request.get_full_path())
        patch_vary_headers(response, ["Accept"])
        return response


def _page(request: HttpRequest) -> HttpResponse:
    response: Any = render(request, "files/api.html")
    response.csp_sources = {"img-src": ["data:"]}  # as Swagger UI's own styles have pictures
    return response  # type: ignore[no-any-return]


class SchemaView(View, SpectacularAPIView):
    """The schema: OpenAPI 3.1 in JSON or YAML, by the header Accept."""

    needs: ClassVar = {"GET": ANYBODY}
    renderer_classes = [
        *(OpenApiJsonRenderer2, OpenApiJsonRenderer),
        *(OpenApiYamlRenderer2, OpenApiYamlRenderer),
    ]
