"""What the API is: the schema for programs, and a page to try it for people."""

from typing import ClassVar

from drf_spectacular.renderers import OpenApiJsonRenderer2, OpenApiYamlRenderer
from drf_spectacular.views import SpectacularAPIView

from files.api.permissions import ANYBODY
from files.api.view import View


class SchemaView(View, SpectacularAPIView):
    """The schema: OpenAPI 3.1 in JSON or YAML, by the header Accept."""

    needs: ClassVar = {"GET": ANYBODY}
    renderer_classes = [OpenApiJsonRenderer2, OpenApiYamlRenderer]
