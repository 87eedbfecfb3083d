"""`manage.py purge_files`: empty the trash, and end what was interrupted."""

from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError
from django.db.models import Q
from django.utils import timezone

from files import operations
from files.catalogue import owner
from files.keys import visible
from files.models import File, Operation

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
    """Ends each thing by itself: it may be interrupted, run again, and run twice at once."""

    help = (
        "Delete what has been in the trash for a while, for good; end what was interrupted, such as"
        " a rename; and abort uploads in parts that were begun long ago and never finished. Print a"
        " line for each. Uploads of others who share the bucket are left alone."
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
        self._dry_run, self._failed = dry_run, 0
        try:
            (owner.check if dry_run else owner.claim)()
        except OSError as error:
            raise CommandError(f"{_reason(error)}.") from error
        for file in _trashed(prefix, now - options["older_than"]):
            self._end(visible(file.name), file.delete)
        for operation in operations.interrupted(prefix, now - operations.LATE):
            what = f"an interrupted {operation.get_kind_display()}"
            self._end_operation(operation, what)
        for operation in operations.open_uploads(prefix, now - options["uploads_older_than"]):
            self._end_operation(operation, "an unfinished upload")
        if dry_run:
            self._list_foreign()
        if self._failed:
            raise CommandError(f"{self._failed} could not be deleted: run it again.")

    def _end_operation(self, operation: Operation, what: str) -> None:
        self._end(f"{visible(operation.object_key)} ({what})", partial(operations.end, operation))

    def _end(self, what: str, end: Callable[[], object]) -> None:
        """Do it and print the line; skip what somebody else is working on."""
        try:
            if not self._dry_run:
                end()
        except operations.ConflictError:
            return
        except (OSError, IntegrityError) as error:
            self._failed += 1
            self.stderr.write(f"! {what}: {_reason(error)}")
        else:
            self.stdout.write(f"- {what}")

    def _list_foreign(self) -> None:
        """Print what others have put where the project keeps its own objects: it stays."""
        try:
            for key in operations.foreign_keys():
                self.stdout.write(f"? {visible(key)} (not of this catalogue, so it stays)")
        except OSError as error:
            raise CommandError(f"{_reason(error)}.") from error


def _reason(error: Exception) -> str:
    if isinstance(error, IntegrityError):
        return f"the database refuses ({' '.join(str(error).split())})"
    return str(getattr(error, "strerror", None) or error)


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
