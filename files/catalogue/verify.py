"""Verifying: the bytes of files against their checksums, those first that were not read longest.

A file is marked as not verified before it is read, so that one whose reading was stopped, whatever
stopped it, is among the first of the next time. Nothing is deleted, and no object is written.
"""

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

from django.db.models import Count, F, Q, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from files import operations
from files.catalogue.walk import Part, within
from files.models import File, FileQuerySet, Operation
from files.storage import (
    ARCHIVED,
    ArchivedError,
    ObjectChangedError,
    ObjectStat,
    Response,
    S3Error,
    be_in_background,
    read_stat,
)
from files.storage.checksums import MODE, Comparison, of_s3

ROWS = 500  # read at a time
BATCH = 20  # files that are marked at a time
COLUMNS = ("object_key", "size", "etag", "checksum", "verified_at", "missing_at", "changed_at")


class Result(StrEnum):
    """What came of a file, as people read it."""

    INTACT = "intact"
    FIRST_READ = "first read (checksum filled in)"
    DAMAGED = "damaged"
    CHANGED = "changed"  # the object is not the one that the row knows
    MISSING = "missing"
    ARCHIVED = "archived (not read)"
    FAILED = "failed"
    MEANWHILE = "changed meanwhile"  # the row is another than it was when the reading began


READ = {Result.INTACT, Result.FIRST_READ, Result.DAMAGED}
UNKNOWN = {Result.ARCHIVED, Result.FAILED}


class Outcome(NamedTuple):
    """What came of a file, with what differs or fails, and the bytes that were read."""

    file: File
    result: Result
    detail: str = ""
    size: int = 0
    found: ObjectStat | None = None  # of an object that the row knows nothing of
    checksum: str = ""


class Survey(NamedTuple):
    """How many live files there are to be read, of how many bytes, and what is not to be."""

    files: int
    due_bytes: int
    archived: int
    all_bytes: int  # of all live files, whenever they were verified


class Due(NamedTuple):
    """The live files of a part that have not been verified since `before`.

    Of those that were never verified, `newest` is the last id.
    """

    part: Part
    before: datetime
    newest: int | None = None

    def survey(self) -> Survey:
        """Count them: PostgreSQL reads all rows with the prefix."""
        is_due = self._never() | Q(verified_at__lt=self.before)
        is_archived = Q(storage_class__in=ARCHIVED)
        found = self._live().aggregate(
            files=Count("pk", filter=is_due & ~is_archived),
            due_bytes=Coalesce(Sum("size", filter=is_due & ~is_archived), 0),
            archived=Count("pk", filter=is_due & is_archived),
            all_bytes=Coalesce(Sum("size"), 0),
        )
        return Survey(**found)

    def oldest_first(self) -> Iterator[File]:
        """Yield them, those that were never verified first, but for what is archived."""
        files = self._live().exclude(storage_class__in=ARCHIVED).only(*COLUMNS)
        yield from _pages(files.filter(self._never()), lambda last: Q(pk__gt=last.pk))
        yield from _pages(files.filter(verified_at__lt=self.before), _verified_after)

    def up_to(self, last: File) -> "Due":
        """Return those of them that come before this one in the order, and itself."""
        if last.verified_at is None:
            return self._replace(before=datetime.min.replace(tzinfo=UTC), newest=last.pk)
        return self._replace(before=last.verified_at + timedelta(microseconds=1))

    def _never(self) -> Q:
        return Q(verified_at=None) & (Q(pk__lte=self.newest) if self.newest else Q())

    def _live(self) -> FileQuerySet:
        return within(self.part, File.objects.live())


class Budget:
    """How many bytes may be read; the last file is read to its end."""

    def __init__(self, size: float = math.inf) -> None:
        self._left = size

    def take(self, files: Iterator[File], number: int) -> list[File]:
        """Return the next files, so many of them or fewer, none once the budget is spent."""
        taken: list[File] = []
        while len(taken) < number and self._left > 0 and (file := next(files, None)):
            self._left -= _expected(file)
            taken.append(file)
        return taken

    def correct(self, file: File, size: int) -> None:
        """Note that so many bytes were read of a file that was taken."""
        self._left += _expected(file) - size


def _expected(file: File) -> int:
    """Return how many bytes will be read, by what was found the last time."""
    return 0 if file.missing_at or file.changed_at else file.size or 0


def _pages(files: FileQuerySet, after: Callable[[File], Q]) -> Iterator[File]:
    files = files.order_by(F("verified_at").asc(nulls_first=True), "pk")  # as the index has them
    batch = list(files[:ROWS])
    while batch:
        yield from batch
        batch = list(files.filter(after(batch[-1]))[:ROWS])


def _verified_after(last: File) -> Q:
    at = last.verified_at
    return Q(verified_at__gte=at) & (Q(verified_at__gt=at) | Q(pk__gt=last.pk))


def verify(
    due: Due, budget: Budget, workers: int, on_read: Callable[[int], object]
) -> Iterator[Outcome]:
    """Read the files that are due, and note in their rows what is found; yield it as it comes.

    Threads read `workers` files at a time, and tell `on_read` how many bytes they have read. Raises
    S3's errors where S3 does not even list the bucket.
    """
    is_over = threading.Event()
    read = partial(_read, on_read=on_read, is_over=is_over)
    batches = partial(_marked, due.oldest_first(), budget)
    threads = ThreadPoolExecutor(workers, "verify", initializer=be_in_background)
    try:
        for outcome in _side_by_side(threads, read, batches, workers):
            budget.correct(outcome.file, outcome.size)
            if outcome.result is Result.FAILED:
                next(outcome.file.storage.pages(due.part.prefix, limit=1))
            yield _record(outcome)
    finally:
        is_over.set()
        threads.shutdown(wait=False, cancel_futures=True)


def _marked(files: Iterator[File], budget: Budget) -> list[File]:
    """Return the next files, marked as not verified, none once the budget is spent."""
    batch = budget.take(files, BATCH)
    verified = [file.pk for file in batch if file.verified_at]
    if verified:
        File.objects.filter(pk__in=verified).update(verified_at=None)
    return batch


def _side_by_side(
    threads: ThreadPoolExecutor,
    read: Callable[[File], Outcome],
    next_batch: Callable[[], list[File]],
    workers: int,
) -> Iterator[Outcome]:
    """Yield what `read` returns of each file, in the order in which they end.

    Files wait for each worker. Where there are none, there may be some once others have ended.
    """
    pending: set[Future[Outcome]] = set()
    while True:
        while len(pending) <= workers and (batch := next_batch()):
            pending |= {threads.submit(read, file) for file in batch}
        if not pending:
            return
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        yield from [future.result() for future in done]


# In the threads, which know no database


def _read(file: File, on_read: Callable[[int], object], is_over: threading.Event) -> Outcome:
    headers = MODE | ({"If-Match": file.etag} if file.etag else {})
    try:
        with closing(file.storage.request("GET", str(file), headers)) as response:
            if response.status == 412:
                return Outcome(file, Result.CHANGED)
            return _compare(file, response, on_read, is_over)
    except FileNotFoundError:
        return Outcome(file, Result.MISSING)
    except ObjectChangedError:
        return Outcome(file, Result.CHANGED)
    except ArchivedError:
        return Outcome(file, Result.ARCHIVED)
    except OSError as error:
        return Outcome(file, Result.FAILED, error.strerror or str(error))


def _compare(
    file: File, response: Response, on_read: Callable[[int], object], is_over: threading.Event
) -> Outcome:
    """Read the body to its end, and compare it with what the row and S3 know of it."""
    stat = read_stat(str(file), response.headers)
    try:
        comparison = Comparison(file.checksum, of_s3(response.headers))
    except ValueError as error:
        return Outcome(file, Result.FAILED, str(error))
    with closing(file.storage.body(str(file), response)) as body:
        for data in body:
            if is_over.is_set():
                raise S3Error("The reading was ended")
            comparison.update(data)
            on_read(len(data))
    size, differences = body.position, comparison.differences()
    if file.size not in {None, size}:
        differences.insert(0, f"it has {size:,} bytes in place of {file.size:,}")
    if differences:
        return Outcome(file, Result.DAMAGED, " and ".join(differences), size)
    result = Result.INTACT if file.checksum else Result.FIRST_READ
    found = None if file.etag else stat
    return Outcome(file, result, size=size, found=found, checksum=comparison.checksum())


# In the rows


def _record(outcome: Outcome) -> Outcome:
    """Note in the row what was found, or return that the row is another one by now."""
    if outcome.result in UNKNOWN:
        return outcome
    file = outcome.file
    is_read = outcome.result in READ
    same = File.objects.filter(pk=file.pk, object_key=str(file), etag=file.etag)
    if (not is_read and _is_under_way(file)) or not same.update(**_values(outcome)):
        return outcome._replace(result=Result.MEANWHILE)
    return outcome


def _is_under_way(file: File) -> bool:
    """Return whether somebody is changing the object, so that the row will tell it in a moment."""
    under_way = Operation.objects.filter(object_key=str(file))
    return under_way.exclude(kind=Operation.Kind.UPLOAD).exists()


def _values(outcome: Outcome) -> dict[str, Any]:
    now = timezone.now()
    if outcome.result is Result.MISSING:
        return {"missing_at": Coalesce("missing_at", now)}
    if outcome.result is Result.CHANGED:
        return {"changed_at": Coalesce("changed_at", now), "missing_at": None}
    damaged_at = Coalesce("damaged_at", now) if outcome.result is Result.DAMAGED else None
    values = {"damaged_at": damaged_at, "verified_at": now, "missing_at": None, "changed_at": None}
    if outcome.found:
        values = operations.columns(outcome.found) | values
    return values | ({"checksum": outcome.checksum} if outcome.checksum else {})
