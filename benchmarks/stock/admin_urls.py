"""The project's own admin, and the one that one writes first, on the same table."""

from django.contrib import admin
from django.urls import include, path

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


urlpatterns = [
    path("admin/", admin.site.urls),
    path("stock/", site.urls),
    path("files/", include("files.urls")),
    path("login/", admin.site.login, name="login"),
]
