"""The addresses of the project."""

from django.contrib import admin
from django.contrib.auth.views import LoginView
from django.urls import include, path
from django.views.generic import RedirectView

admin.autodiscover()
admin.site.site_header = admin.site.site_title = "Files"
admin.site.index_title = "Catalogue"

handler400 = "project.errors.bad_request"
handler403 = "project.errors.permission_denied"
handler404 = "project.errors.page_not_found"
handler500 = "project.errors.server_error"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("files/", include("files.urls")),
    # Those who may read files need not be staff, whom alone the admin's own login lets in.
    path(
        "login/",
        LoginView.as_view(
            template_name="admin/login.html",
            extra_context={"site_header": "Files", "site_title": "Files", "title": "Log in"},
        ),
        name="login",
    ),
]
