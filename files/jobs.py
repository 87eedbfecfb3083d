"""Distributed runs as jobs of procrastinate, whose broker is the PostgreSQL that is there already.

`manage.py procrastinate worker` does them, on any number of machines. A range is begun where the
last worker has written that it was, and what it did since is done again without harm.
"""

import io
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q
from django.utils import timezone
from procrastinate import BaseRetryStrategy, JobContext, RetryDecision
from procrastinate.contrib.django import app
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.contrib.django.models import ProcrastinateJob, ProcrastinateWorker
from procrastinate.exceptions import JobAborted
from procrastinate.jobs import Job
from procrastinate.manager import JobManager

from files.catalogue.walk import Part
from files.runs import UNFINISHED, Range, RangeStoppedError, RangeTakenError, Run

STALLED = 30  # seconds without a heartbeat, of which a worker has one each 10 s
KEPT_JOBS = 72  # hours
MOST_FAILURES = 10  # without progress
PAUSE = 30  # seconds after the first failure, and so much longer after each of the next

LOST = "Its worker has given no sign of life any more, or its job has ended without it."

NO_WORKER = (
    "No worker is running: start `manage.py procrastinate worker` on one machine or more, with the"
    " environment of this one."
)

logger = logging.getLogger(__name__)


class RangeFailedError(Exception):
    """Work on a range has failed, for so many times without progress."""

    def __init__(self, failures: int) -> None:
        super().__init__(failures)
        self.failures = failures


def begin(command: str, prefix: str, options: dict[str, Any], parts: Sequence[Part]) -> Run:
    """Write the run and its ranges, and a job for each of them."""
    Run.objects.old().delete()
    with transaction.atomic():
        run = Run.objects.create(command=command, prefix=prefix, options=options)
        ranges = [Range(run=run, after=part.after, upto=part.upto or "") for part in parts]
        _defer(Range.objects.bulk_create(ranges))
    return run


def _defer(ranges: Sequence[Range]) -> None:
    """Write a job for each of the ranges, which alone may take it from then on.

    That is of the transaction that is open, in a worker too, whose own connector knows none.
    """
    waiting = [work_on.configure(task_kwargs={"pk": part.pk}).job for part in ranges]
    found = JobManager(DjangoConnector()).batch_defer_jobs(waiting) if waiting else []
    for part, job in zip(ranges, found, strict=True):
        part.job_id = job.id
    Range.objects.bulk_update(ranges, ["job_id"])


def stop(run: Run) -> None:
    """End a run as it is, and let go of the jobs of which none is begun."""
    waiting = run.ranges.filter(ended_at=None).exclude(job_id=None)
    jobs = [part.job_id for part in waiting if part.job_id]
    run.end()
    for job_id in jobs:
        app.job_manager.cancel_job_by_id(job_id, abort=True)


def has_worker() -> bool:
    """Return whether a worker has given a sign of life of late."""
    return ProcrastinateWorker._default_manager.filter(last_heartbeat__gt=_stalled()).exists()


def _stalled() -> datetime:
    return timezone.now() - timedelta(seconds=STALLED)


class Retry(BaseRetryStrategy):
    """Goes on at once where a worker had to end, and tries again later where something failed."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if isinstance(exception, JobAborted):
            return RetryDecision(retry_at=timezone.now())
        if isinstance(exception, RangeFailedError):
            return RetryDecision(retry_in={"seconds": PAUSE * exception.failures})
        return None


@app.task(name="work_on_range", pass_context=True, retry=Retry())
def work_on(context: JobContext, pk: int) -> None:
    """Run the command on a range. Raises RangeFailedError to try again later."""
    with suppress(RangeTakenError):
        _work_on(Range.take(pk, context.job.id), context.should_abort)


def _work_on(part: Range, should_stop: Callable[[], bool]) -> None:
    try:
        _run(part, should_stop)
    except RangeTakenError:
        raise
    except RangeStoppedError:
        raise JobAborted from None
    except (CommandError, OperationalError, InterfaceError) as error:
        _fail(part, error)
    except Exception:
        part.fail("Something is wrong here: the log of the worker says what.")
        part.end(UNFINISHED)
        raise


def _run(part: Range, should_stop: Callable[[], bool]) -> None:
    run, silence = part.run, io.StringIO()
    call_command(
        run.command,
        prefix=run.prefix,
        range=part,
        should_stop=should_stop,
        verbosity=0,
        stdout=silence,
        stderr=silence,
        **run.options,
    )


def _fail(part: Range, error: Exception) -> None:
    """Note why it fails. Raises RangeFailedError, but at the last attempt that makes sense."""
    if failures := _failures(part, " ".join(str(error).split())):
        raise RangeFailedError(failures) from error


def _failures(part: Range, reason: str) -> int:
    """Return for how many times it has failed without progress, 0 where it is given up."""
    failures = part.fail(reason)
    logger.warning("Range %d of run %d has failed: %s", part.pk, part.run_id, reason)
    if failures < MOST_FAILURES:
        return failures
    logger.error("Range %d of run %d is given up.", part.pk, part.run_id)
    part.end(UNFINISHED)
    return 0


# What a worker does by itself, by the clock (UTC), before all ranges that wait.


def _every(cron: str, lock: str | None = None) -> Callable[[Callable[..., Any]], Any]:
    """Return what makes a function a task that is done at such times, and waits but once.

    Where there are none, the task is for what another worker has asked for. Jobs of one lock are
    done one after another.
    """

    def schedule(function: Callable[..., Any]) -> Any:
        name = function.__name__
        task = app.task(name=name, queueing_lock=name, lock=lock, priority=1)(function)
        return app.periodic(cron=cron)(task) if cron else task

    return schedule


@_every("* * * * *")
def retry_stalled_jobs(timestamp: int) -> None:
    """Let others take up what a worker had that gives no sign of life any more.

    Whatever has become of the job of a range that has not ended, the range gets another one. What
    is scheduled comes again by itself.
    """
    found = ProcrastinateJob._default_manager.all()
    is_stalled = Q(worker=None) | Q(worker__last_heartbeat__lt=_stalled())
    found.filter(is_stalled, status="doing").update(status="failed")
    alive = found.filter(status__in=["todo", "doing"]).values("pk")
    with transaction.atomic():
        left = Range.objects.filter(ended_at=None).exclude(job_id__in=alive)
        _defer([part for part in left.select_for_update(skip_locked=True) if _failures(part, LOST)])


@_every("30 4 * * *")
async def remove_old_jobs(timestamp: int) -> None:
    """Forget jobs that have ended; runs are kept longer."""
    await app.job_manager.delete_old_jobs(
        nb_hours=KEPT_JOBS, include_failed=True, include_cancelled=True, include_aborted=True
    )


@_every("0 4 * * *")
def clear_sessions(timestamp: int) -> None:
    """Delete the sessions that have expired."""
    call_command("clearsessions")


@_every("15 3 * * *" if settings.SCHEDULES else "", lock="purge_files")
def purge_files(timestamp: int) -> None:
    """Empty the trash, and end what was interrupted."""
    _begin_unless_under_way("purge_files")


@_every("0 * * * *" if settings.SCHEDULES and settings.VERIFY_DAYS else "", lock="verify_files")
def verify_files(timestamp: int) -> None:
    """Read a part of the bytes each hour, so that all are read once in so many days."""
    if days := settings.VERIFY_DAYS:
        budget, age = Fraction(1, 24 * days), timedelta(days=days) - timedelta(hours=1)
        _begin_unless_under_way("verify_files", budget=budget, max_age=age)


def _begin_unless_under_way(command: str, **options: Any) -> None:
    since = timezone.now() - timedelta(days=1)
    if Run.objects.unfinished().filter(command=command, began_at__gt=since).exists():
        logger.info("%s is under way, and is not begun again.", command)
        return
    try:
        call_command(command, distribute=True, stderr=io.StringIO(), **options)
    except CommandError as error:
        logger.warning("%s is not begun: %s", command, error)
