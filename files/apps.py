"""The application's configuration."""

import gc

from django.apps import AppConfig


class FilesConfig(AppConfig):
    """A catalogue of files: the keys in PostgreSQL, the bytes in S3."""

    name = "files"

    def ready(self) -> None:
        """Keep the garbage collector away from all that the start has made.

        None of it is garbage, but looking takes a third of a short command's time, and writes to
        memory that processes could share.
        """
        gc.freeze()
        gc.enable()
