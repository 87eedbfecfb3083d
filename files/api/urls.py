"""The addresses of the API."""

from django.urls import path

from files.api import files, schema, tokens

app_name = "api"

urlpatterns = [
    path("schema/", schema.SchemaView.as_view(), name="schema"),
    path("files/<int:pk>/", files.FileView.as_view(), name="file"),
    path("tokens/", tokens.TokensView.as_view(), name="tokens"),
    path("tokens/<int:pk>/", tokens.TokenView.as_view(), name="token"),
]
