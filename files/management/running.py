"""What commands share that work through a whole catalogue: how they begin, and how they end."""

import re
import signal
import sys
from abc import ABC, abstractmethod
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from fractions import Fraction
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import ProgrammingError
from django.utils import timezone
from psycopg.errors import UndefinedColumn, UndefinedTable

from files.management import output
from files.management.progress import Progress, ShownProgress
from files.runs import UNFINISHED

PREFIXES = "KMGTP"  # of KB, which is 1,000 bytes, and of KiB, which is 1,024


def positive(text: str) -> int:
    """Read a number of workers and the like."""
    if not text.isdecimal() or not int(text):
        raise ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def age(text: str) -> timedelta:
    """Read how long something may have been: `30d`, `12h`, or a number of days."""
    found = re.fullmatch(r"([0-9]+(?:[.][0-9]+)?)([dh]?)", text)
    try:
        if not found:
            raise ValueError
        number = float(found[1])
        past = timedelta(hours=number) if found[2] == "h" else timedelta(days=number)
        timezone.now() - past  # which has no year before the first
    except (ValueError, OverflowError):
        raise ArgumentTypeError(
            f"{text!r} is no number of days up to now: write it as 30d or as 12h"
        ) from None
    return past


def amount(text: str) -> int | Fraction:
    """Read a number of bytes such as `10GB` or `1GiB`, or a share of all: `2.5%` or `1/30`."""
    number = r"([0-9]+(?:[.][0-9]+)?)"
    found: int | Fraction = 0
    if size := re.fullmatch(rf"{number} ?(?:([{PREFIXES}])(i?))?B?", text):
        power = PREFIXES.find(size[2]) + 1 if size[2] else 0
        found = int(Fraction(size[1]) * (1024 if size[3] else 1000) ** power)
    elif share := re.fullmatch(rf"{number}%", text):
        found = Fraction(share[1]) / 100
    elif re.fullmatch(r"[0-9]+/0*[1-9][0-9]*", text):
        found = Fraction(text)
    if found <= 0 or (isinstance(found, Fraction) and found > 1):
        raise ArgumentTypeError(
            f"{text!r} is no amount of bytes: write it as 10GB, as 1GiB, or as 2.5% or 1/30 of all"
        )
    return found


class RunningCommand(BaseCommand, ABC):
    """Works through what has a prefix. It may be interrupted at any point and run again.

    The exit status is 0 where there was nothing to find, FOUND where there was, UNFINISHED where a
    part failed, and 130 after Ctrl-C; a summary on stderr comes with each, but where `tells_end` is
    false with the last alone.
    """

    requires_system_checks = []
    unit = "object"
    tells_end = True
    progress: Progress
    counts: Counter[str]  # of what the summary tells
    options: Mapping[str, Any]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "prefix", nargs="?", default="", help="only keys that begin so; default: all"
        )

    def handle(self, **options: Any) -> None:
        self.counts, self.options = Counter(), options
        with migrated(), self._progress(options["verbosity"]) as self.progress:
            try:
                status = self.run(**options)
                self.stdout.flush()
            except BrokenPipeError:  # `| head` has seen enough
                output.discard(self.stdout._out)
                sys.exit(128 + signal.SIGPIPE)
            except (KeyboardInterrupt, SystemExit):
                self.progress.close()
                self.say(f"Interrupted: {self.summary()}. {self.how_to_go_on()}")
                raise
            except OSError as error:
                self.progress.close()
                text = f"{sentence(error)}; {self.summary()}. {self.how_to_go_on()}"
                raise CommandError(text, returncode=UNFINISHED) from error
        if status == UNFINISHED:
            self.say(f"Not finished: {self.summary()}. {self.how_to_go_on()}")
        elif options["verbosity"] and self.tells_end:
            self.say(f"{self.summary()}.")
        if status:
            sys.exit(status)

    @contextmanager
    def _progress(self, verbosity: int) -> Iterator[Progress]:
        progress = ShownProgress(self, self.unit, self.total(), verbosity > 0)
        try:
            yield progress
        finally:
            progress.close()

    def say(self, text: str) -> None:
        """Write a line to stderr that tells of no error, as its colour would."""
        self.stderr.write(text, str)

    def total(self) -> int | None:
        """Return how many there are in all, where that is known."""
        return None

    @abstractmethod
    def run(self, **options: Any) -> int:
        """Do the work; return the exit status."""

    @abstractmethod
    def summary(self) -> str:
        """Return what was done, as a sentence without its full stop."""

    def how_to_go_on(self) -> str:
        """Return what to do after an interruption, as a sentence."""
        return "Run it again to go on."


@contextmanager
def migrated() -> Iterator[None]:
    """Raise CommandError where a table is not there, or not as it should be."""
    try:
        yield
    except ProgrammingError as error:
        if not isinstance(error.__cause__, UndefinedTable | UndefinedColumn):
            raise
        text = "The table is not ours yet: run `manage.py migrate`."
        raise CommandError(text, returncode=UNFINISHED) from error


def sentence(error: OSError) -> str:
    """Return what S3 or the machine says, with the key that it is about."""
    text = error.strerror or str(error)
    return f"{text}: {error.filename!r}" if error.filename else text
