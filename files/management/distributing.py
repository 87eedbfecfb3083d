"""Commands that any number of machines share, range by range of the keys."""

from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from files.catalogue.parts import PARTS, cut
from files.catalogue.walk import Part
from files.management.progress import Progress, RangeProgress, count
from files.management.running import RunningCommand, migrated, sentence
from files.runs import UNFINISHED, Range, RangeStoppedError, Run

RANGES = 64  # so that many workers have some, and none is left with a large one

NO_JOBS = (
    "--distribute is for workers, which this installation has not: install the extra `jobs`, set"
    " APP_JOBS=true and run `manage.py migrate`, or leave it out."
)


class DistributableCommand(RunningCommand):
    """Works on the keys of the whole prefix, or on a range of them that a worker has.

    A worker calls it with `range` and `should_stop`, and takes a CommandError as a reason to try
    again.
    """

    stealth_options: tuple[str, ...] = ("range", "should_stop")
    range: Range | None = None

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--distribute",
            action="store_true",
            help="leave the work to any number of `manage.py procrastinate worker`, and end",
        )

    def handle(self, **options: Any) -> None:
        if options["distribute"]:
            with migrated():
                self._distribute(**options)
        elif found := options.get("range"):
            self._work_on(found, **options)
        else:
            super().handle(**options)

    def part(self) -> Part:
        """Return the keys that are left to be worked on."""
        if self.range:
            after = self.range.reached or self.range.after
            return Part(self.options["prefix"], after, self.range.upto or None)
        return Part(self.options["prefix"], self.options.get("after", ""))

    def _work_on(self, part: Range, *, should_stop: Callable[[], bool], **options: Any) -> None:
        self.range, self.options = part, options
        self.counts = Counter(part.counts)
        progress = RangeProgress(part, self.unit, self.counts, should_stop)
        self.progress = progress
        try:
            status = self.run(**options)
        except RangeStoppedError:
            progress.write()
            raise
        except OSError as error:
            progress.write()
            raise CommandError(sentence(error)) from error
        progress.write()
        part.end(status)

    def _distribute(self, **options: Any) -> None:
        if not settings.JOBS:
            raise CommandError(NO_JOBS, returncode=UNFINISHED)
        from files import jobs

        self.options = options
        shared = self.distribute(**options)
        try:
            parts = self.parts()
        except OSError as error:
            raise CommandError(f"{sentence(error)}.", returncode=UNFINISHED) from error
        has_worker = jobs.has_worker()
        run = jobs.begin(self.name, options["prefix"], shared, parts)
        ranges = count(len(parts), "range", "ranges")
        self.say(f"Run {run.pk} waits for workers with {ranges}: the admin shows how far it is.")
        if not has_worker:
            self.say(jobs.NO_WORKER)

    def describe(self, run: Run) -> str:
        """Return the summary of what a run has done until now."""
        ranges = run.ranges.all()
        self.options = defaultdict(lambda: None, run.options)
        self.counts = run.counts
        self.progress = Progress(self.unit)
        self.progress.advance(sum(part.done for part in ranges), sum(part.bytes for part in ranges))
        return self.summary()

    @property
    def name(self) -> str:
        """The command's name."""
        return type(self).__module__.rpartition(".")[2]

    def parts(self) -> list[Part]:
        """Return the ranges that workers share."""
        return cut(self.part(), RANGES // PARTS)

    @abstractmethod
    def distribute(self, **options: Any) -> dict[str, Any]:
        """Return the options that each range is worked on with, as JSON has them.

        Raises CommandError where it cannot be distributed.
        """
