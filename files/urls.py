"""The addresses of the application."""

from django.urls import path, re_path

from files import views

app_name = "files"

urlpatterns = [
    path("<int:pk>/", views.content, name="content"),
    # `path` takes no line feed at the end of a key.
    re_path(r"^by-key(?:/(?P<key>(?s:.*)))?\Z", views.content_by_key, name="content_by_key"),
]
