"""The tables of distributed runs: a command, and the ranges of keys that workers share."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import chain, islice, starmap
from typing import Any

from django.db import models, transaction
from django.db.models import F, Prefetch, Value
from django.db.models.functions import Concat, Now
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

# Exit statuses of commands, besides 0 and those of a signal.
FOUND = 1
UNFINISHED = 2

KEPT = timedelta(days=30)
MOST_LINES = 1000  # of a range, the others are counted


_ENDS: dict[int | None, Any] = {
    0: _("done"),
    FOUND: _("done, with something found (status 1)"),
    UNFINISHED: _("not finished (status 2)"),
    None: _("stopped"),
}


class RangeTakenError(Exception):
    """Another worker has the range by now, or the run was ended."""


class RangeStoppedError(Exception):
    """The work on the range is to stop; another worker can go on with it."""


class RunQuerySet(models.QuerySet["Run"]):
    """Runs, those that have ended among them."""

    def unfinished(self) -> "RunQuerySet":
        """Return those of which a range is left to be done."""
        return self.filter(ended_at=None)

    def with_ranges(self) -> "RunQuerySet":
        """Fetch their ranges too, without what they have printed."""
        return self.prefetch_related(Prefetch("ranges", Range.objects.defer("output")))

    def old(self) -> "RunQuerySet":
        """Return what nobody asks for any more."""
        return self.filter(ended_at__lt=timezone.now() - KEPT)


class Run(models.Model):
    """A command whose ranges are worked on by as many workers as there are."""

    command = models.CharField(_("command"), max_length=64)
    prefix = models.TextField(_("prefix"), blank=True)
    options = models.JSONField(_("options"), default=dict)
    began_at = models.DateTimeField(_("began"), db_default=Now())
    ended_at = models.DateTimeField(_("ended"), null=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        db_table = "files_run"
        default_permissions = ("view", "change")
        ordering = ["-pk"]
        verbose_name = _("run")
        verbose_name_plural = _("runs")

    def __str__(self) -> str:
        return f"{self.command} {self.prefix!r}" if self.prefix else self.command

    @property
    def status(self) -> int | None:
        """The exit status that the command would have, None where it has not come to its end."""
        ranges = self.ranges.all()
        found = [part.status for part in ranges if part.status is not None]
        return max(found, default=0) if len(found) == len(ranges) else None

    @property
    def state(self) -> str:
        """How far it is, as people read it."""
        ranges = self.ranges.all()
        if self.ended_at:
            return str(_ENDS[self.status])
        if not any(part.attempts for part in ranges):
            return gettext("waits for a worker")
        ended = sum(part.ended_at is not None for part in ranges)
        return gettext("%(ended)d of %(all)d ranges done") % {"ended": ended, "all": len(ranges)}

    @property
    def counts(self) -> Counter[str]:
        """What all of its ranges have counted."""
        return sum((Counter(part.counts) for part in self.ranges.all()), Counter())

    def lines(self, most: int | None = None) -> Iterator[str]:
        """Yield what it has printed, of each range MOST_LINES at most, and what was left out."""
        ranges = self.ranges.exclude(lines=0).values_list("output", "lines").iterator(10)
        return islice(chain.from_iterable(starmap(_lines, ranges)), most)

    def end(self) -> None:
        """End it as it is: no worker writes any more of its ranges."""
        now = timezone.now()
        self.ranges.filter(ended_at=None).update(ended_at=now)
        Run.objects.filter(pk=self.pk, ended_at=None).update(ended_at=now)


def _lines(output: str, number: int) -> Iterator[str]:
    lines = output.split("\n")[:-1]  # a key may have other ends of lines
    yield from lines
    if number > len(lines):
        yield f"({number - len(lines):,} more lines of these keys were not kept)"


class Range(models.Model):
    """The keys of a run behind `after`, up to `upto`, or to the end where that is empty."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="ranges")
    after = models.TextField()
    upto = models.TextField()
    reached = models.TextField(default="", db_default="")  # the key up to which all is done
    job_id = models.BigIntegerField(null=True)  # of procrastinate, which forgets jobs in time
    attempts = models.IntegerField(default=0, db_default=0)
    done = models.BigIntegerField(default=0, db_default=0)
    bytes = models.BigIntegerField(default=0, db_default=0)
    counts = models.JSONField(default=dict)
    lines = models.IntegerField(default=0, db_default=0)
    output = models.TextField(default="", db_default="")  # the first lines
    error = models.TextField(default="", db_default="")  # of the last attempt
    failures = models.IntegerField(default=0, db_default=0)  # without progress
    status = models.IntegerField(null=True)  # the exit status
    seen_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "files_range"
        default_permissions = ()
        ordering = ["pk"]
        verbose_name = _("range")
        verbose_name_plural = _("ranges")

    def __str__(self) -> str:
        bounds = [f"behind {self.after!r}"] if self.after else []
        bounds += [f"up to {self.upto!r}"] if self.upto else []
        return " ".join(bounds) or "all keys"

    @property
    def state(self) -> str:
        """How far it is, as people read it."""
        if self.ended_at:
            return str(_ENDS[self.status])
        if self.failures:
            return gettext("is tried again")
        return gettext("under way") if self.attempts else gettext("waits for a worker")

    @classmethod
    def take(cls, pk: int, job_id: int | None) -> "Range":
        """Return the range, as this worker's alone.

        Raises RangeTakenError where nothing is left to be done, or another job is for it by now.
        """
        found = cls.objects.filter(pk=pk, job_id=job_id, ended_at=None)
        with transaction.atomic():
            part = found.select_for_update(of=("self",)).first()
            if part is None:
                raise RangeTakenError
            part.attempts += 1
            part.seen_at = timezone.now()
            part.save(update_fields=["attempts", "seen_at"])
        return part

    def note(
        self,
        done: int,
        size: int,
        counts: Mapping[str, int],
        reached: str,
        lines: Sequence[str],
    ) -> None:
        """Write how far this worker is. Raises RangeTakenError where it is another's by now."""
        shown = lines[: max(0, MOST_LINES - self.lines)]
        self.lines += len(lines)
        values: dict[str, Any] = {"done": done, "bytes": size, "counts": counts}
        if (done, reached) != (self.done, self.reached):
            values |= {"error": "", "failures": 0}
        if shown:
            values["output"] = Concat(F("output"), Value("".join(f"{line}\n" for line in shown)))
        self._update(reached=reached, lines=self.lines, **values)
        self.done, self.reached = done, reached

    def fail(self, error: str) -> int:
        """Write why the work on it has stopped; return for how many times without progress."""
        self._update(error=error, failures=F("failures") + 1)
        self.refresh_from_db(fields=["failures"])
        return self.failures

    def end(self, status: int) -> None:
        """Write that nothing is left to be done, and end the run with its last range."""
        run, now = Run.objects.filter(pk=self.run_id), timezone.now()
        with transaction.atomic():
            run.select_for_update().first()  # of two that end at once, one sees the other
            self._update(status=status, ended_at=now)
            run.exclude(ranges__ended_at=None).update(ended_at=now)

    def _update(self, **values: Any) -> None:
        mine = Range.objects.filter(pk=self.pk, attempts=self.attempts, ended_at=None)
        if not mine.update(seen_at=timezone.now(), **values):
            raise RangeTakenError
