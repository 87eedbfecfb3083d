"""The addresses of the API."""

from django.conf import settings
from django.urls import path

from files.api import changes, files, lists, root, runs, tokens, uploads, works, zips
from files.bodies import takes_upload

app_name = "api"

urlpatterns = [
    path("schema/", root.SchemaView.as_view(), name="schema"),
    path("files/", takes_upload("add")(lists.FilesView.as_view()), name="files"),
    path("files/<int:pk>/", files.FileView.as_view(), name="file"),
    path("tokens/", tokens.TokensView.as_view(), name="tokens"),
    path("tokens/<int:pk>/", tokens.TokenView.as_view(), name="token"),
    path(
        "files/<int:pk>/content/",
        takes_upload("replace")(changes.ContentView.as_view()),
        name="content",
    ),
    path("files/<int:pk>/trash/", changes.TrashView.as_view(), name="trash"),
    path("files/<int:pk>/restore/", changes.RestoreView.as_view(), name="restore"),
    path("uploads/", uploads.BeginView.as_view(), name="uploads"),
    path("uploads/parts/", uploads.PartView.as_view(), name="upload_parts"),
    path("uploads/state/", uploads.StateView.as_view(), name="upload_state"),
    path("uploads/finish/", uploads.FinishView.as_view(), name="upload_finish"),
    path("uploads/abort/", uploads.AbortView.as_view(), name="upload_abort"),
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
