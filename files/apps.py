"""The application's configuration."""

from django.apps import AppConfig


class FilesConfig(AppConfig):
    """A catalogue of files: the keys in PostgreSQL, the bytes in S3."""

    name = "files"
