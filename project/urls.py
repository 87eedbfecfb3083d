"""The addresses of the project."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

admin.autodiscover()

handler400 = "project.errors.bad_request"
handler403 = "project.errors.permission_denied"
handler404 = "project.errors.page_not_found"
handler500 = "project.errors.server_error"

site = admin.site
favicon = RedirectView.as_view(url=f"{settings.STATIC_URL}files/favicon.svg")

urlpatterns = [
    path("favicon.ico", favicon),  # which browsers ask for where no page names one
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", site.urls),
    path("api/", include("files.api.urls")),
    path("files/", include("files.urls")),
    path("login/", site.login, name="login"),
    path("logout/", site.logout, name="logout"),
    path("password_change/", site.admin_view(site.password_change), name="password_change"),
]
