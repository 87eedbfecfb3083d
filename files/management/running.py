"""What commands share that work through a whole catalogue: progress, and how they end."""

import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.defaultfilters import filesizeformat

# Exit statuses, besides 0 and those of a signal.
FOUND = 1
UNFINISHED = 2

INTERVAL = 10  # seconds between two lines of progress where there is no terminal


def positive(text: str) -> int:
    """Read a number of workers and the like."""
    if not text.isdecimal() or not int(text):
        raise ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


class Progress:
    """How far a command is: a bar on a terminal, a line on stderr now and then elsewhere."""

    def __init__(self, command: BaseCommand, unit: str, total: int | None, is_shown: bool) -> None:
        from tqdm import tqdm

        self.done = self.bytes = 0
        self.place = ""  # where in a known whole
        self._command, self._unit, self._is_shown = command, unit, is_shown
        self._began = self._told = time.monotonic()
        out: Any = command.stderr._out
        self._bar = tqdm(
            file=out,
            total=total,
            unit=f" {unit}s",
            unit_scale=True,
            leave=False,
            disable=not (is_shown and command.stderr.isatty()),
        )

    def advance(self, number: int = 1, size: int = 0) -> None:
        """Note that so many more are done, of so many bytes in all."""
        self.done += number
        self.bytes += size
        if not self._bar.disable:
            self._bar.set_postfix_str(self._more(), refresh=False)
        self._bar.update(number)
        now = time.monotonic()
        if self._bar.disable and self._is_shown and now - self._told >= INTERVAL:
            self._told = now
            self._command.stderr.write(f"{self}, {self.done / self.seconds:,.0f}/s")

    @property
    def seconds(self) -> float:
        """For how long it has been going on."""
        return time.monotonic() - self._began

    def print(self, text: str, *, to_stderr: bool = False) -> None:
        """Print a line, not in the middle of the bar."""
        self._bar.clear()
        (self._command.stderr if to_stderr else self._command.stdout).write(text)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()

    def __str__(self) -> str:
        parts = [count(self.done, self._unit, f"{self._unit}s"), self._more()]
        return ", ".join(part for part in parts if part)

    def _more(self) -> str:
        parts = [filesizeformat(self.bytes) if self.bytes else "", self.place]
        return ", ".join(part for part in parts if part)


class RunningCommand(BaseCommand):
    """Works through what has a prefix. It may be interrupted at any point and run again.

    The exit status is 0 where there was nothing to find, FOUND where there was, UNFINISHED where a
    part failed, and 130 after Ctrl-C; a summary on stderr comes with each.
    """

    requires_system_checks = []
    unit = "object"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "prefix", nargs="?", default="", help="only keys that begin so; default: all"
        )

    def handle(self, **options: Any) -> None:
        with self._progress(options["verbosity"]) as self.progress:
            try:
                status = self.run(**options)
            except (KeyboardInterrupt, SystemExit):
                self.progress.close()
                self.stderr.write(f"Interrupted: {self.summary()}. {self.how_to_go_on()}")
                raise
            except OSError as error:
                self.progress.close()
                text = f"{sentence(error)}; {self.summary()}. {self.how_to_go_on()}"
                raise CommandError(text, returncode=UNFINISHED) from error
        if status == UNFINISHED:
            self.stderr.write(f"Not finished: {self.summary()}. {self.how_to_go_on()}")
        elif options["verbosity"]:
            self.stderr.write(f"{self.summary()}.")
        if status:
            sys.exit(status)

    @contextmanager
    def _progress(self, verbosity: int) -> Iterator[Progress]:
        progress = Progress(self, self.unit, self.total(), verbosity > 0)
        try:
            yield progress
        finally:
            progress.close()

    def total(self) -> int | None:
        """Return how many there are in all, where that is known."""
        return None

    def run(self, **options: Any) -> int:
        """Do the work; return the exit status."""
        raise NotImplementedError

    def summary(self) -> str:
        """Return what was done, as a sentence without its full stop."""
        raise NotImplementedError

    def how_to_go_on(self) -> str:
        """Return what to do after an interruption, as a sentence."""
        return "Run it again to go on."


def count(number: int, one: str, many: str) -> str:
    """Return "1 row", "2,000 rows" and the like."""
    return f"{number:,} {one if number == 1 else many}"


def sentence(error: OSError) -> str:
    """Return what S3 or the machine says, with the key that it is about."""
    text = error.strerror or str(error)
    return f"{text}: {error.filename!r}" if error.filename else text
