"""The addresses of the API."""

from django.urls import path

from files.api import files, lists, root

app_name = "api"

urlpatterns = [
    path("schema/", root.SchemaView.as_view(), name="schema"),
    path("files/", lists.FilesView.as_view(), name="files"),
    path("files/<int:pk>/", files.FileView.as_view(), name="file"),
    path("usage/", lists.UsageView.as_view(), name="usage"),
]
