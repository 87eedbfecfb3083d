"""`manage.py verify_files`: read the bytes of files, and compare them with their checksums."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from fractions import Fraction
from functools import cached_property
from math import ceil, inf
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from files.catalogue.verify import BATCH, Budget, Due, Outcome, Result, Survey, verify
from files.keys import shown
from files.management.distributing import DistributableCommand
from files.management.progress import count
from files.management.running import age, amount, positive
from files.models import File
from files.runs import FOUND, UNFINISHED

SIGNS = {Result.DAMAGED: "!", Result.CHANGED: "*", Result.MISSING: "-", Result.FAILED: "!"}

READ_AGAIN = {Result.CHANGED, Result.MISSING, Result.FAILED}  # as never verified


class Command(DistributableCommand):
    """Marks each file as not verified while it is read, and so goes on where it was stopped."""

    help = (
        "Read the bytes of files and compare them with the checksums in their rows and with those"
        " that S3 has, those files first that were not read for the longest time. A line that"
        " begins with ! names a file that is damaged or could not be read, with * one whose object"
        " is not the one that the row knows, with - one without an object. A file that had no"
        " checksum gets that of what is read. It may be interrupted and run again. The exit status"
        " is 0 where all are intact, 1 where some are not, and 2 where some could not be read."
    )
    unit = "file"
    stealth_options = (*DistributableCommand.stealth_options, "before", "newest")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--budget",
            type=amount,
            metavar="BYTES",
            help="begin no other file once so much was read, such as 10GB, 1GiB, and 2.5%% or 1/30"
            " of the bytes of all; default: read all",
        )
        parser.add_argument(
            "--max-age",
            type=age,
            metavar="AGE",
            help="leave out what was verified within that time, such as 30d or 12h",
        )
        parser.add_argument(
            "--workers", type=positive, default=2, help="files that are read at a time; default: 2"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="only tell how much would be read"
        )

    def handle(self, **options: Any) -> None:
        if settings.VERIFY_DAYS and options["budget"] is None and options["max_age"] is None:
            options |= _nightly(settings.VERIFY_DAYS)
        super().handle(**options)

    @cached_property
    def _due(self) -> Due:
        if before := self.options.get("before"):
            return Due(self.part(), datetime.fromisoformat(before), self.options["newest"])
        return Due(self.part(), timezone.now() - (self.options["max_age"] or timedelta()))

    @cached_property
    def _survey(self) -> Survey:
        return self._due.survey()

    @cached_property
    def _budget(self) -> float:
        """How many bytes may be read."""
        budget = None if self.range else self.options["budget"]
        if isinstance(budget, Fraction):
            budget = max(1, ceil(budget * self._survey.all_bytes))
        return inf if budget is None else budget

    def total(self) -> int | None:
        return self._survey.files if self._budget == inf else None

    def distribute(self, **options: Any) -> dict[str, Any]:
        """Let the time up to which files are due say what the budget does."""
        if options["dry_run"]:
            text = "--dry-run reads nothing: leave out --distribute."
            raise CommandError(text, returncode=UNFINISHED)
        due = self._due
        if self._budget != inf:
            for batch in self._affordable():
                due = self._due.up_to(batch[-1])
        facts = {"before": due.before.isoformat(), "newest": due.newest}
        return facts | {"workers": options["workers"]}

    def run(self, **options: Any) -> int:
        for result in READ_AGAIN:  # by whoever goes on with a range
            self.progress.done -= self.counts.pop(result, 0)
        if Result.ARCHIVED not in self.counts:
            self.counts[Result.ARCHIVED] = self._survey.archived
        if options["dry_run"]:
            self._count()
            return 0
        if options["verbosity"]:
            self._announce()
        budget, workers = Budget(self._budget), options["workers"]
        for outcome in verify(self._due, budget, workers, self._note_bytes):
            self.counts[outcome.result] += 1
            self.progress.advance()
            if outcome.result in SIGNS:
                self.progress.print(_line(outcome))
            self.progress.settle()
        if self.counts[Result.FAILED]:
            return UNFINISHED
        return FOUND if any(self.counts[result] for result in SIGNS) else 0

    def _note_bytes(self, size: int) -> None:
        self.progress.advance(0, size)
        self.progress.heed_stop()

    def _count(self) -> None:
        """Note what would be read; without a budget that is known already."""
        if self._budget == inf:
            self.progress.advance(self._survey.files, self._survey.due_bytes)
            return
        for batch in self._affordable():
            self.progress.advance(len(batch), sum(file.size or 0 for file in batch))

    def _affordable(self) -> Iterator[list[File]]:
        """Yield what would be read of the budget, in batches."""
        files, budget = self._due.oldest_first(), Budget(self._budget)
        while batch := budget.take(files, BATCH):
            yield batch

    def _announce(self) -> None:
        number, size = self._survey.files, self._survey.due_bytes
        text = f"To be read: {count(number, 'file', 'files')}, {filesizeformat(size)}"
        if self._budget < size:
            text += f", now {filesizeformat(self._budget)} of it"
        self.progress.print(f"{text}.", to_stderr=True)

    def summary(self) -> str:
        if self.options["dry_run"]:
            files = count(self.progress.done, "file", "files")
            return f"Would read {files}, {count(self.progress.bytes, 'byte', 'bytes')}"
        counts = [f"{self.counts[each]:,} {each}" for each in Result if self.counts[each]]
        return f"{self.progress}: {', '.join(counts) or 'nothing was to be read'}"

    def how_to_go_on(self) -> str:
        return "Run it again to go on: it begins with what was not read to the end."


def _nightly(days: int) -> dict[str, Any]:
    """Return the options of a run each night, so that none of the bytes gets older than so long.

    What is younger by a day now would be too old in the next night.
    """
    return {"max_age": timedelta(days=days - 1), "budget": Fraction(1, days)}


def _line(outcome: Outcome) -> str:
    line = f"{SIGNS[outcome.result]} {shown(str(outcome.file))}"
    return f"{line}: {outcome.detail}" if outcome.detail else line
