"""The project's own admin and API, and those that one writes first, on the same table."""

from typing import Any

from django.contrib import admin
from django.urls import include, path
from rest_framework import filters, generics, pagination, permissions, serializers

from files.models import File

admin.autodiscover()
site = admin.AdminSite("stock")


class StockFile(File):
    """The same rows as another application's, so that the project's templates are not taken."""

    class Meta:
        proxy = True
        app_label = "sessions"  # any that is installed


@admin.register(StockFile, site=site)
class FileAdmin(admin.ModelAdmin):
    """A list as Django makes it."""

    list_display = ["object_key", "size", "modified_at"]
    search_fields = ["object_key"]


class FileSerializer(serializers.ModelSerializer):
    """What a row has."""

    class Meta:
        model = File
        fields = "__all__"


class Pages(pagination.LimitOffsetPagination):
    """Pages as the framework makes them."""

    default_limit = 100


class FilesView(generics.ListAPIView):
    """A list as the framework makes it."""

    permission_classes = [permissions.IsAuthenticated]
    queryset = File.objects.all()
    serializer_class = FileSerializer
    pagination_class = Pages
    filter_backends = [filters.SearchFilter, filters.OrderingFilter]
    search_fields = ["object_key"]
    ordering_fields = ["object_key", "size", "id"]

    def get_queryset(self) -> Any:
        """Return those that begin with a prefix, where one is named."""
        prefix = self.request.query_params.get("object_key__startswith", "")
        return super().get_queryset().filter(object_key__startswith=prefix)


urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/", include("files.api.urls")),
    path("stock-api/files/", FilesView.as_view()),
    path("stock/", site.urls),
    path("files/", include("files.urls")),
    path("login/", admin.site.login, name="login"),
]
