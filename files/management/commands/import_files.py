"""`manage.py import_files`: rows for the objects of a bucket."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from django.core.management.base import CommandParser

from files import audit
from files.catalogue.importing import Imported, import_file, import_objects
from files.catalogue.inventory import Report, ReportFile
from files.catalogue.walk import Part
from files.keys import RESERVED
from files.management.progress import count
from files.management.walking import WalkingCommand

VERIFY = "check_files --mark finds what was deleted since"


class Command(WalkingCommand):
    """Commits a thousand rows at a time; a second run makes nothing."""

    help = (
        "Make a row for each object that has none, with size, ETag, time and storage class as S3"
        " lists them, and the type that the name suggests; complete rows that lack a size or an"
        " ETag. No object is read or changed. The exit status is 0, 1 where there are keys that no"
        " row can hold, and 2 where a part of the bucket could not be listed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--update",
            action="store_true",
            help="bring rows in step too whose object is another by now",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="only print what would be added and updated"
        )

    def run(self, **options: Any) -> int:
        before = self.counts.copy()
        try:
            return super().run(**options)
        finally:
            self.progress.close()
            written = self.counts - before
            added, updated = written["added"], written["updated"]
            if added or updated:
                audit.record("import", prefix=options["prefix"], added=added, updated=updated)

    def distribute(self, **options: Any) -> dict[str, Any]:
        chosen = {name: options[name] for name in ("update", "dry_run")}
        return super().distribute(**options) | chosen

    def work(self, **options: Any) -> Callable[[Part], Iterator[Imported]]:
        return partial(import_objects, update=options["update"], dry_run=options["dry_run"])

    def work_on(
        self, report: Report, **options: Any
    ) -> tuple[Sequence[ReportFile], Callable[[ReportFile], Iterator[Imported]]]:
        chosen = {name: options[name] for name in ("prefix", "update", "dry_run")}
        return report.files, partial(import_file, report=report, **chosen)

    def take(self, found: Imported) -> None:
        self.counts["added"] += len(found.added)
        self.counts["updated"] += len(found.updated)
        self.counts["unusable"] += len(found.unusable)
        self.counts["reserved"] += found.reserved
        self.counts["unseen"] += found.unseen
        if self.options["dry_run"] or self.options["verbosity"] > 1:
            for key in found.added:
                self.print("+", key)
            for key in found.updated:
                self.print("*", key)
        for key in found.unusable:
            self.print("!", f"{key} (no row can hold this key)")
        self.progress.advance(found.objects, found.bytes)

    def has_found(self) -> bool:
        return self.counts["unusable"] > 0

    def summary(self) -> str:
        counts = self.counts
        would = " would be" if self.options["dry_run"] else ""
        parts = [f"{self.progress}: {count(counts['added'], 'row', 'rows')}{would} added"]
        if counts["updated"]:
            parts.append(f"{counts['updated']:,}{would} updated")
        if counts["unusable"]:
            what = "key that no row can hold", "keys that no row can hold"
            parts.append(count(counts["unusable"], *what))
        if counts["reserved"]:
            parts.append(f"{counts['reserved']:,} below {RESERVED}, which check_files judges")
        if counts["unseen"]:
            parts.append(f"{counts['unseen']:,} of them not looked at ({VERIFY})")
        return ", ".join(parts) + self.as_of()
