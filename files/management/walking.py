"""What the commands share that walk through bucket and rows."""

import re
import shlex
from abc import abstractmethod
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.core.management.base import CommandError, CommandParser

from files.catalogue.inventory import InventoryError, Report
from files.catalogue.parts import cut, each
from files.catalogue.walk import Part
from files.keys import shown
from files.management.distributing import DistributableCommand
from files.management.progress import count
from files.management.running import positive, sentence
from files.runs import FOUND, UNFINISHED

WORKERS = 4


class WalkingCommand(DistributableCommand):
    """Walks through what has a prefix, by listings of parts at the same time, or by a report."""

    report: Report | None = None

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--after",
            metavar="KEY",
            default="",
            help="only keys behind this one: where an interrupted run says how to go on",
        )
        parser.add_argument(
            "--workers",
            metavar="N",
            type=positive,
            help="how many parts of a large bucket are listed at a time, or files of an inventory"
            f" imported; default: {WORKERS}",
        )
        parser.add_argument(
            "--inventory",
            metavar="URL",
            type=s3_url,
            help="read what there is from S3 Inventory and list nothing: s3://.../manifest.json",
        )

    def run(self, **options: Any) -> int:
        if options["inventory"]:
            self.report = _report(**options)
        for part, found in self._found(self.report, **options):
            if isinstance(found, OSError):
                self._fail(part, found)
                continue
            if self.report:
                self.counts["files"] += found.files
                total = count(len(self.report.files), "file", "files")
                self.progress.place = f"{self.counts['files']:,} of {total}"
            self.take(found)
            upto = not self.report and (found.upto or part.upto)
            if upto and not self.counts["failed"]:
                self.progress.settle(upto)
        if self.counts["failed"]:
            return UNFINISHED
        return FOUND if self.has_found() else 0

    def _fail(self, part: Any, error: OSError) -> None:
        """Go on with the other parts. Raises the error where there are none."""
        if self.range:
            raise error
        self.counts["failed"] += 1
        self.progress.print(f"! {part}: {sentence(error)}")

    def _found(self, report: Report | None, **options: Any) -> Iterator[tuple[Any, Any]]:
        """Yield what is found, with the part or the file of the report that it is of."""
        workers = options["workers"] or WORKERS
        if report:
            files, work = self.work_on(report, **options)
            return each(files, workers, work)
        return each(cut(self.part(), workers), workers, self.work(**options))

    def distribute(self, **options: Any) -> dict[str, Any]:
        if options["inventory"]:
            text = "An inventory is read by one machine: leave out --distribute."
            raise CommandError(text, returncode=UNFINISHED)
        return {"workers": 1}

    @abstractmethod
    def work(self, **options: Any) -> Callable[[Part], Iterator[Any]]:
        """Return what is done with a part, which yields what it finds, stretch by stretch."""

    @abstractmethod
    def work_on(
        self, report: Report, **options: Any
    ) -> tuple[Sequence[Any], Callable[[Any], Iterator[Any]]]:
        """Return the parts of a report that are worked on at a time, and what is done with each."""

    @abstractmethod
    def take(self, found: Any) -> None:
        """Count and print what was found in a stretch."""

    @abstractmethod
    def has_found(self) -> bool:
        """Return whether there is something to tell by the exit status."""

    def print(self, sign: str, key: str) -> None:
        """Print a line for a key, its control characters as pictures."""
        self.progress.print(f"{sign} {shown(key)}")

    def how_to_go_on(self) -> str:
        prefix = self.options["prefix"]
        command = ["manage.py", self.name, *([prefix] if prefix else [])]
        if reached := self.progress.reached or self.options["after"]:
            command += [f"--after={reached}"]
        return f"Go on by `{shlex.join(command)}`, with the same options."

    def as_of(self) -> str:
        """Return the end of a summary that says how old it is, where it is of a report."""
        return f", as of {self.report}" if self.report else ""


def _report(inventory: str, after: str, **options: Any) -> Report:
    """Read the manifest of a report. Raises CommandError for what cannot be used."""
    if after:
        raise CommandError("An inventory is in no order: leave out --after.", returncode=UNFINISHED)
    try:
        return Report.read(inventory)
    except InventoryError as error:
        raise CommandError(str(error), returncode=UNFINISHED) from error


def s3_url(text: str) -> str:
    """Read the address of an object in S3."""
    if not re.fullmatch("s3://[^/]+/.+", text, re.DOTALL):
        raise ArgumentTypeError(f"{text!r} is no address such as s3://bucket/path/manifest.json")
    return text
