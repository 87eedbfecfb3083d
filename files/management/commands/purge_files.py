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
from files.catalogue.parts import cut, cut_trash, each
from files.catalogue.walk import Part, within
from files.keys import RESERVED, shown, visible
from files.management.distributing import RANGES, DistributableCommand
from files.management.progress import count
from files.management.running import age, positive
from files.models import File, Operation
from files.runs import FOUND

BATCH = 1000
WORKERS = 8
AGES = ("older_than", "uploads_older_than")
AGE, AGE_OF_ORPHANS = timedelta(days=30), timedelta(days=7)


class Command(DistributableCommand):
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
        self._claim()
        self.counts.clear()  # whoever goes on with a range tries again what has failed
        (self._tell_orphans if options["orphans"] else self._purge)(**options)
        if (failed := self.counts["failed"]) and not self.range:
            raise CommandError(f"{failed} could not be deleted: run it again.")
        return FOUND if failed else 0

    def distribute(self, **options: Any) -> dict[str, Any]:
        if options["dry_run"] and not options["orphans"]:
            raise CommandError("--dry-run deletes nothing: leave out --distribute.")
        self._claim()
        names = ("apply", "dry_run", "orphans", "workers")
        times = {name: self._before(name).isoformat() for name in AGES}
        return {name: options[name] for name in names} | times

    def parts(self) -> list[Part]:
        return super().parts() if self.options["orphans"] else cut_trash(self.part(), RANGES)

    @property
    def _is_dry(self) -> bool:
        return self.options["dry_run"] or (self.options["orphans"] and not self.options["apply"])

    def _claim(self) -> None:
        """Raise CommandError where nothing may be deleted, or the options do not go together."""
        if self.options["apply"] and not self.options["orphans"]:
            raise CommandError("--apply is for --orphans: all else is deleted without it.")
        try:
            (owner.check if self._is_dry else owner.claim)()
        except OSError as error:
            raise CommandError(f"{_reason(error)}.") from error

    def _before(self, name: str) -> datetime:
        """Return the time before which that has happened which an option names the age of."""
        age: str | timedelta | None = self.options[name]
        if isinstance(age, str):  # as a range has it
            return datetime.fromisoformat(age)
        if age is None:
            age = AGE_OF_ORPHANS if self.options["orphans"] else AGE
        return timezone.now() - age

    def _purge(self, *, prefix: str, workers: int, **options: Any) -> None:
        part = self.part()
        keys = part._replace(prefix="")  # which may have been that of a file in the trash
        self._empty_trash(_trashed(part, self._before("older_than")), workers)
        interrupted = operations.interrupted(prefix, timezone.now() - operations.LATE)
        self._end(within(keys, interrupted), "an interrupted {}")
        uploads = operations.open_uploads(prefix, self._before("uploads_older_than"))
        self._end(within(keys, uploads), "an unfinished upload")
        if self._is_dry:
            self._list_foreign()

    def _tell_orphans(self, *, prefix: str, workers: int, **options: Any) -> None:
        work = partial(find_orphans, before=self._before("older_than"), trash=not self._is_dry)
        before = self.progress.done
        try:
            for _part, found in each(cut(self.part(), workers), workers, work):
                if isinstance(found, OSError):
                    raise found
                self._tell_found(found)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CommandError(f"{_reason(error)}: run it again to go on.") from error
        finally:
            if self.progress.done > before and not self._is_dry:
                audit.record("orphans", prefix=prefix, trashed=self.progress.done - before)
        self._say_how_to_go_on()

    def _tell_found(self, found: Orphans) -> None:
        for key in found.keys:
            self.progress.print(f"+ {shown(key)}")
        for key in found.unusable:
            self.progress.print(f"? {shown(key)} (no row can hold this key, so it stays)")
        self.progress.advance(len(found.keys))
        if found.upto:
            self.progress.settle(found.upto)

    def _say_how_to_go_on(self) -> None:
        if not (done := self.progress.done):
            return
        orphans = count(done, "object has no row", "objects have no row")
        if self._is_dry:
            text = "repeat this with --apply to put them into the trash, where nothing is lost yet"
        else:
            text = "now they are in the trash, until purge_files finds them old enough to go"
        self.say(f"{orphans}: {text}.")

    def _empty_trash(self, files: Iterator[File], workers: int) -> None:
        ends = ((file, None) for file in files)
        for file, error in ends if self._is_dry else operations.purge(files, workers):
            self._tell(visible(file.name), error)

    def _end(self, found: "models.QuerySet[Operation]", what: str) -> None:
        for operation in found:
            error = None
            try:
                if not self._is_dry:
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
            self.counts["failed"] += 1
            self.progress.print(f"! {what}: {_reason(error)}", to_stderr=True)
        self.progress.settle()

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
        done = "put into the trash" if self.options["orphans"] else "deleted"
        if self._is_dry:
            done = "found"
        failed = self.counts["failed"]
        return f"{self.progress.done:,} {done}, {failed:,} could not be deleted"


def _reason(error: Exception) -> str:
    if isinstance(error, IntegrityError):
        return f"the database refuses ({' '.join(str(error).split())})"
    return str(getattr(error, "strerror", None) or error)


def _trashed(part: Part, before: datetime) -> Iterator[File]:
    """Yield what is in the trash since before, in the order of its keys.

    Those of the part are the keys in the trash, and the prefix is also that of former keys.
    """
    prefix, last, upto = part
    trashed = within(Part(upto=upto), File.objects.trashed()).filter(deleted_at__lt=before)
    named = Q(object_key__startswith=prefix) | Q(original_key__startswith=prefix)
    while True:
        files = trashed.filter(named, object_key__gt=last).order_by("object_key")
        batch = list(files[:BATCH])
        yield from batch
        if len(batch) < BATCH:
            return
        last = str(batch[-1])
