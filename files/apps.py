"""The application's configuration."""

import gc

from django.apps import AppConfig
from django.db.models.signals import pre_migrate

from files import takeover


class FilesConfig(AppConfig):
    """A catalogue of files: the keys in PostgreSQL, the bytes in S3."""

    name = "files"

    def ready(self) -> None:
        """Watch over `migrate`, and keep the garbage collector from all that the start has made.

        None of it is garbage, but looking takes a third of a short command's time, and writes to
        memory that processes could share.
        """
        pre_migrate.connect(takeover.check_before_migrate, sender=self)
        gc.freeze()
        gc.enable()
