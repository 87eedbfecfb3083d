"""`manage.py purge_files`: empty the trash, and end what was interrupted."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import IntegrityError, models
from django.db.models import Q
from django.utils import timezone

from files import audit, operations
from files.catalogue import owner
from files.catalogue.orphans import Orphans, find_orphans
from files.catalogue.parts import cut, each
from files.catalogue.walk import Part
from files.keys import RESERVED, shown, visible
from files.management.running import RunningCommand, age, count, positive
from files.models import File, Operation

BATCH = 1000
WORKERS = 8
AGE, AGE_OF_ORPHANS = timedelta(days=30), timedelta(days=7)


class Command(RunningCommand):
    """Ends each thing by itself: it may be interrupted, run again, and run twice at once."""

    help = (
        "Delete what has been in the trash for a while, for good; end what was interrupted, such as"
        " a rename; and abort uploads in parts that were begun long ago and never finished. Print a"
        " line for each. Uploads of others who share the bucket are left alone. With --orphans, put"
        " objects that have no row into the trash, so that they can be restored until they go."
    )
    unit = "thing"
    tells_end = False

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--older-than",
            metavar="AGE",
            type=age,
            help="in the trash for longer than that, such as 12h; default: 30d, and of orphans 7d",
        )
        parser.add_argument(
            "--uploads-older-than",
            metavar="AGE",
            type=age,
            default="7d",
            help="uploads begun longer ago than that; default: 7d",
        )
        parser.add_argument(
            "--workers",
            type=positive,
            default=WORKERS,
            help=f"requests at a time by which S3 is asked for objects; default: {WORKERS}",
        )
        parser.add_argument(
            "--orphans",
            action="store_true",
            help="in place of all that, print the objects that have no row",
        )
        doing = parser.add_mutually_exclusive_group()
        doing.add_argument("--dry-run", action="store_true", help="only print what would go")
        doing.add_argument(
            "--apply",
            action="store_true",
            help="make rows in the trash for orphans, which a later run deletes",
        )

    def run(self, **options: Any) -> int:
        self._failed = 0
        self._done = "put into the trash" if options["orphans"] else "deleted"
        self._dry_run = options["dry_run"] or (options["orphans"] and not options["apply"])
        if options["apply"] and not options["orphans"]:
            raise CommandError("--apply is for --orphans: all else is deleted without it.")
        if options["older_than"] is None:
            options["older_than"] = AGE_OF_ORPHANS if options["orphans"] else AGE
        try:
            (owner.check if self._dry_run else owner.claim)()
        except OSError as error:
            raise CommandError(f"{_reason(error)}.") from error
        (self._tell_orphans if options["orphans"] else self._purge)(**options)
        if self._failed:
            raise CommandError(f"{self._failed} could not be deleted: run it again.")
        return 0

    def _purge(self, *, prefix: str, workers: int, **options: Any) -> None:
        now = timezone.now()
        self._empty_trash(_trashed(prefix, now - options["older_than"]), workers)
        interrupted = operations.interrupted(prefix, now - operations.LATE)
        self._end(interrupted, "an interrupted {}")
        uploads = operations.open_uploads(prefix, now - options["uploads_older_than"])
        self._end(uploads, "an unfinished upload")
        if self._dry_run:
            self._list_foreign()

    def _tell_orphans(self, *, prefix: str, workers: int, **options: Any) -> None:
        before = timezone.now() - options["older_than"]
        work = partial(find_orphans, before=before, trash=not self._dry_run)
        try:
            for _part, found in each(cut(Part(prefix), workers), workers, work):
                if isinstance(found, OSError):
                    raise found
                self._tell_found(found)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CommandError(f"{_reason(error)}: run it again to go on.") from error
        finally:
            if self.progress.done and not self._dry_run:
                audit.record("orphans", prefix=prefix, trashed=self.progress.done)
        self._say_how_to_go_on()

    def _tell_found(self, found: Orphans) -> None:
        for key in found.keys:
            self.progress.print(f"+ {shown(key)}")
        for key in found.unusable:
            self.progress.print(f"? {shown(key)} (no row can hold this key, so it stays)")
        self.progress.advance(len(found.keys))

    def _say_how_to_go_on(self) -> None:
        if not (done := self.progress.done):
            return
        orphans = count(done, "object has no row", "objects have no row")
        if self._dry_run:
            text = "repeat this with --apply to put them into the trash, where nothing is lost yet"
        else:
            text = "now they are in the trash, until purge_files finds them old enough to go"
        self.say(f"{orphans}: {text}.")

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
            for found in find_orphans(Part(RESERVED)):
                for key in found.keys:
                    self.progress.print(f"? {visible(key)} (not of this catalogue, so it stays)")
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CommandError(f"{_reason(error)}.") from error

    def summary(self) -> str:
        done = "found" if self._dry_run else self._done
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
