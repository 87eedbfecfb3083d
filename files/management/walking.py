"""What the commands share that walk through bucket and rows."""

import shlex
from collections.abc import Callable, Iterator
from typing import Any

from django.core.management.base import CommandParser

from files.catalogue.parts import cut, each
from files.catalogue.walk import Part
from files.keys import shown
from files.management.running import FOUND, UNFINISHED, RunningCommand, positive, sentence

WORKERS = 4


class WalkingCommand(RunningCommand):
    """Walks through what has a prefix, in parts that are listed at the same time."""

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
            default=WORKERS,
            help=f"how many parts of a large bucket are listed at a time; default: {WORKERS}",
        )

    def run(self, **options: Any) -> int:
        whole, workers = Part(options["prefix"], options["after"]), options["workers"]
        self._prefix, self._reached, self.failed = whole.prefix, whole.after, 0
        for part, found in each(cut(whole, workers), workers, self.work(**options)):
            if isinstance(found, OSError):
                self.failed += 1
                self.progress.print(f"! {part}: {sentence(found)}")
                continue
            self.take(found)
            if not self.failed:
                self._reached = found.upto or part.upto or self._reached
        if self.failed:
            return UNFINISHED
        return FOUND if self.has_found() else 0

    def work(self, **options: Any) -> Callable[[Part], Iterator[Any]]:
        """Return what is done with a part, which yields what it finds, stretch by stretch."""
        raise NotImplementedError

    def take(self, found: Any) -> None:
        """Count and print what was found in a stretch."""
        raise NotImplementedError

    def has_found(self) -> bool:
        """Return whether there is something to tell by the exit status."""
        raise NotImplementedError

    def print(self, sign: str, key: str) -> None:
        """Print a line for a key, its control characters as pictures."""
        self.progress.print(f"{sign} {shown(key)}")

    def how_to_go_on(self) -> str:
        command = ["manage.py", self.name, *([self._prefix] if self._prefix else [])]
        if self._reached:
            command += [f"--after={self._reached}"]
        return f"Go on by `{shlex.join(command)}`, with the same options."

    @property
    def name(self) -> str:
        """The command's name."""
        return type(self).__module__.rpartition(".")[2]
