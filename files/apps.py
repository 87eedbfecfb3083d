"""The application's configuration."""

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db.models.signals import pre_migrate

from files import checks
from files.catalogue import takeover


class FilesConfig(AppConfig):
    """A catalogue of files: the keys in PostgreSQL, the bytes in S3."""

    name = "files"

    def ready(self) -> None:
        """Watch over `migrate` and `check`, and over who is allowed what."""
        from files.audit import users  # which needs the models

        users.connect()
        pre_migrate.connect(takeover.check_before_migrate, sender=self)
        register(checks.bucket_keeps_promises, "files", deploy=True)
        register(checks.ids_are_left, "files", Tags.database)
        register(checks.database_is_verified, "files", deploy=True)
