"""`manage.py purge_files`: empty the trash, and end what was interrupted."""

from argparse import ArgumentTypeError
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import IntegrityError, models
from django.db.models import Q
from django.utils import timezone

from files import operations
from files.catalogue import owner
from files.keys import visible
from files.management.running import RunningCommand, positive
from files.models import File, Operation

BATCH = 1000
WORKERS = 8


def days(text: str) -> timedelta:
    """Read a number of days, of which there may be parts."""
    try:
        age = timedelta(days=float(text))
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"{text!r} is no number of days") from None
    if age < timedelta():
        raise ArgumentTypeError("a number of days cannot be negative")
    return age


class Command(RunningCommand):
    """Ends each thing by itself: it may be interrupted, run again, and run twice at once."""

    help = (
        "Delete what has been in the trash for a while, for good; end what was interrupted, such as"
        " a rename; and abort uploads in parts that were begun long ago and never finished. Print a"
        " line for each. Uploads of others who share the bucket are left alone."
    )
    unit = "thing"
    tells_end = False

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
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
        parser.add_argument(
            "--workers",
            type=positive,
            default=WORKERS,
            help=f"requests at a time by which S3 is asked for objects; default: {WORKERS}",
        )
        parser.add_argument("--dry-run", action="store_true", help="only print what would go")

    def run(self, **options: Any) -> int:
        prefix, now = options["prefix"], timezone.now()
        self._dry_run, self._failed = options["dry_run"], 0
        try:
            (owner.check if self._dry_run else owner.claim)()
        except OSError as error:
            raise CommandError(f"{_reason(error)}.") from error
        self._empty_trash(_trashed(prefix, now - options["older_than"]), options["workers"])
        interrupted = operations.interrupted(prefix, now - operations.LATE)
        self._end(interrupted, "an interrupted {}")
        uploads = operations.open_uploads(prefix, now - options["uploads_older_than"])
        self._end(uploads, "an unfinished upload")
        if self._dry_run:
            self._list_foreign()
        if self._failed:
            raise CommandError(f"{self._failed} could not be deleted: run it again.")
        return 0

    def _empty_trash(self, files: Iterator[File], workers: int) -> None:
        ends = ((file, None) for file in files)
        for file, error in ends if self._dry_run else operations.purge(files, workers):
            self._tell(visible(file.name), error)

    def _end(self, found: "models.QuerySet[Operation]", what: str) -> None:
        for operation in found:
            error = None
            try:
                if not self._dry_run:
                    operations.end(operation)
            except (OSError, IntegrityError) as reason:
                error = reason
            kind = what.format(operation.get_kind_display())
            self._tell(f"{visible(operation.object_key)} ({kind})", error)

    def _tell(self, what: str, error: Exception | None) -> None:
        """Print the line; say nothing of what somebody else is working on."""
        if isinstance(error, operations.ConflictError):
            return
        if error is None:
            self.progress.print(f"- {what}")
            self.progress.advance()
        else:
            self._failed += 1
            self.progress.print(f"! {what}: {_reason(error)}", to_stderr=True)

    def _list_foreign(self) -> None:
        """Print what others have put where the project keeps its own objects: it stays."""
        try:
            for key in operations.foreign_keys():
                self.progress.print(f"? {visible(key)} (not of this catalogue, so it stays)")
        except OSError as error:
            raise CommandError(f"{_reason(error)}.") from error

    def summary(self) -> str:
        done = "found" if self._dry_run else "deleted"
        return f"{self.progress.done:,} {done}, {self._failed:,} could not be deleted"


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
