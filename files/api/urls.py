"""The addresses of the API."""

from django.urls import path

from files.api import files, root

app_name = "api"

urlpatterns = [
    path("schema/", root.SchemaView.as_view(), name="schema"),
    path("files/<int:pk>/", files.FileView.as_view(), name="file"),
]
