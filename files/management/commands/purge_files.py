"""`manage.py purge_files`: empty the trash."""

from argparse import ArgumentTypeError
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q
from django.utils import timezone

from files.keys import visible
from files.models import File

BATCH = 1000


def days(text: str) -> timedelta:
    """Read a number of days, of which there may be parts."""
    try:
        age = timedelta(days=float(text))
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"{text!r} is no number of days") from None
    if age < timedelta():
        raise ArgumentTypeError("a number of days cannot be negative")
    return age


class Command(BaseCommand):
    """Deletes each object before its row, so that it may be interrupted and run again."""

    help = (
        "Delete what has been in the trash for a while, for good, and abort uploads in parts that"
        " were begun long ago and never finished. Prints a line for each."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "prefix", nargs="?", default="", help="only keys that begin so; default: all"
        )
        parser.add_argument(
            "--older-than",
            metavar="DAYS",
            type=days,
            default="30",
            help="in the trash for longer than that; default: 30",
        )
        parser.add_argument(
            "--uploads-older-than",
            metavar="DAYS",
            type=days,
            default="7",
            help="uploads begun longer ago than that; default: 7",
        )
        parser.add_argument("--dry-run", action="store_true", help="only print what would go")

    def handle(self, *, prefix: str, dry_run: bool, **options: Any) -> None:
        now = timezone.now()
        failed = 0
        for file in _trashed(prefix, now - options["older_than"]):
            try:
                if not dry_run:
                    file.delete()
            except OSError as error:
                failed += 1
                self.stderr.write(f"! {visible(file.name)}: {error.strerror or error}")
            else:
                self.stdout.write(f"- {visible(file.name)}")
        try:
            for key, upload_id in default_storage.stale_uploads(  # type: ignore[attr-defined]
                prefix, now - options["uploads_older_than"]
            ):
                if not dry_run:
                    default_storage.abort_upload(key, upload_id)  # type: ignore[attr-defined]
                self.stdout.write(f"- {visible(key)} (an unfinished upload)")
        except OSError as error:
            raise CommandError(f"{error.strerror or error}.") from error
        if failed:
            raise CommandError(f"{failed} files could not be deleted: run it again.")


def _trashed(prefix: str, before: datetime) -> Iterator[File]:
    """Yield what is in the trash since before, in the order of its keys."""
    last = ""
    while True:
        files = File.objects.trashed().filter(object_key__gt=last, deleted_at__lt=before)
        named = Q(object_key__startswith=prefix) | Q(original_key__startswith=prefix)
        batch = list(files.filter(named).order_by("object_key")[:BATCH])
        yield from batch
        if len(batch) < BATCH:
            return
        last = str(batch[-1])
