"""The command that one writes first."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from benchmarks.stock.models import File


class Command(BaseCommand):
    """Prints the text of a file."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        with File.objects.get(pk=options["id"]).object_key.open() as content:
            self.stdout.write(content.read().decode("utf-8"), ending="")
