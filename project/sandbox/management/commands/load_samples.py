"""`manage.py load_samples`: files to try the project with."""

from typing import Any

from django.core.files.base import ContentFile
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from files.models import File
from project.sandbox.samples import samples


class Command(BaseCommand):
    """Stores each sample that is not there."""

    help = "Store the sample files: texts, a table, an image, a page, a sound, bytes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--migrate", action="store_true", help="run `migrate` first")

    def handle(self, *, migrate: bool, verbosity: int, **options: Any) -> None:
        if migrate:
            call_command("migrate", verbosity=max(0, verbosity - 1))
        for key, data in samples():
            if not File.objects.filter(object_key=key).exists():
                self.stdout.write(_store(key, data))


def _store(key: str, data: bytes) -> str:
    """Store the sample; return its line."""
    try:
        file = File.objects.create(object_key=ContentFile(data, name=key))
    except OSError as error:
        raise CommandError(f"{key}: {error.strerror or error}.") from error
    return f"{file.pk}  {file}"
