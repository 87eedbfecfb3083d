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
from files.management.running import (
    FOUND,
    UNFINISHED,
    RunningCommand,
    count,
    positive,
    sentence,
)

WORKERS = 4


class WalkingCommand(RunningCommand):
    """Walks through what has a prefix, by listings of parts at the same time, or by a report."""

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
        self._prefix, self._reached, self.failed = options["prefix"], options["after"], 0
        self.report: Report | None = None
        self._files = 0
        if options["inventory"]:
            self.report = _report(**options)
        for part, found in self._found(self.report, **options):
            if isinstance(found, OSError):
                self.failed += 1
                self.progress.print(f"! {part}: {sentence(found)}")
                continue
            if self.report:
                self._files += found.files
                total = count(len(self.report.files), "file", "files")
                self.progress.place = f"{self._files:,} of {total}"
            self.take(found)
            if not self.failed and not self.report:
                self._reached = found.upto or part.upto or self._reached
        if self.failed:
            return UNFINISHED
        return FOUND if self.has_found() else 0

    def _found(self, report: Report | None, **options: Any) -> Iterator[tuple[Any, Any]]:
        """Yield what is found, with the part or the file of the report that it is of."""
        workers = options["workers"] or WORKERS
        if report:
            files, work = self.work_on(report, **options)
            return each(files, workers, work)
        parts = cut(Part(options["prefix"], options["after"]), workers)
        return each(parts, workers, self.work(**options))

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
        command = ["manage.py", self.name, *([self._prefix] if self._prefix else [])]
        if self._reached:
            command += [f"--after={self._reached}"]
        return f"Go on by `{shlex.join(command)}`, with the same options."

    def as_of(self) -> str:
        """Return the end of a summary that says how old it is, where it is of a report."""
        return f", as of {self.report}" if self.report else ""

    @property
    def name(self) -> str:
        """The command's name."""
        return type(self).__module__.rpartition(".")[2]


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
