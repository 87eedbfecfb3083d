"""The addresses of the API."""

from django.conf import settings
from django.urls import path

from files.api import files, lists, root, runs, works, zips

app_name = "api"

urlpatterns = [
    path("schema/", root.SchemaView.as_view(), name="schema"),
    path("files/", lists.FilesView.as_view(), name="files"),
    path("files/<int:pk>/", files.FileView.as_view(), name="file"),
    path("usage/", lists.UsageView.as_view(), name="usage"),
    path("zip/", zips.ZipView.as_view(), name="zip"),
    path("works/", works.WorksView.as_view(), name="works"),
    path("works/<int:pk>/", works.WorkView.as_view(), name="work"),
]

if settings.JOBS:
    urlpatterns += [
        path("runs/", runs.RunsView.as_view(), name="runs"),
        path("runs/<int:pk>/", runs.RunView.as_view(), name="run"),
        path("runs/<int:pk>/lines/", runs.LinesView.as_view(), name="run_lines"),
    ]

# What is told at the root is all that needs no id.
_names = [url.name for url in urlpatterns if not url.pattern.converters]
urlpatterns += [path("", root.RootView.as_view(names=_names), name="root")]
