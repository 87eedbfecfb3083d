"""The key space in parts, which are worked on in parallel."""

import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from typing import Any, TypeVar

from django.db import connection

from files.catalogue.walk import Part, usable
from files.keys import prefix_end
from files.models import File
from files.storage import be_in_background

PARTS = 4  # for each worker, so that none is left with a large one
TRASH = 500  # files in the trash, the fewest that are a part
SAMPLE = 1000  # rows that tell how the keys are spread
LOOKS = 8  # at a time at beginnings of keys, where there are no rows
MOST_CHARACTERS = 100  # that follow a beginning
WAITING = 16  # results of a part that are kept until those of the parts before have been taken

END = object()

P = TypeVar("P")
T = TypeVar("T")


def cut(part: Part, workers: int) -> list[Part]:
    """Return the part as smaller ones, in the order of the keys, where it is large.

    The rows tell how the keys are spread, and where there are few, a look at the first characters.
    Raises S3's errors.
    """
    if workers == 1:
        return [part]
    page = next(File().storage.pages(part.prefix, after=part.after))
    if not page.token:
        return [part]
    number = PARTS * workers
    keys = _sample(part) or _beginnings(part, number)
    keys = sorted({key for key in keys if usable(key) == key and _is_inside(part, key)})
    cuts = _spread(keys, number - 1)
    edges = [part.after, *cuts, part.upto]
    return [Part(part.prefix, after or "", upto) for after, upto in pairwise(edges)]


def _is_inside(part: Part, key: str) -> bool:
    """Return whether there may be keys of the part on both sides of this one."""
    return part.after < key and (part.upto is None or key < part.upto)


def cut_trash(part: Part, number: int) -> list[Part]:
    """Return the part as so many or fewer, each with as many files in the trash as the others."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH trash AS (SELECT object_key FROM files WHERE deleted_at IS NOT NULL),
            number AS (SELECT greatest(1, least(%s, count(*) / %s))::int AS n FROM trash)
            SELECT max(object_key) FROM (
                SELECT object_key, ntile((SELECT n FROM number)) OVER (ORDER BY object_key) AS place
                FROM trash
            ) AS placed GROUP BY place ORDER BY 1
            """,
            [number, TRASH],
        )
        cuts = [key for (key,) in cursor][:-1]
    edges = [part.after, *cuts, part.upto]
    return [Part(part.prefix, after or "", upto) for after, upto in pairwise(edges)]


def _spread(keys: list[str], number: int) -> list[str]:
    """Return so many of the keys, as evenly as they are there."""
    if len(keys) <= number:
        return keys
    return [keys[len(keys) * place // (number + 1)] for place in range(1, number + 1)]


def _sample(part: Part) -> list[str]:
    """Return keys of rows, in order, from pages of the table taken at random."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT greatest(reltuples, 1) FROM pg_class WHERE oid = 'files'::regclass")
        percent = min(100, 100 * SAMPLE / cursor.fetchone()[0])
        cursor.execute(
            "SELECT object_key FROM files TABLESAMPLE SYSTEM (%s) WHERE object_key >= %s"
            " AND (object_key < %s OR %s IS NULL) ORDER BY object_key",
            [percent, part.prefix, end := prefix_end(part.prefix), end],
        )
        keys = [key for (key,) in cursor]
    return keys if len(keys) >= SAMPLE / 10 else []


def _beginnings(part: Part, number: int) -> list[str]:
    """Return so many beginnings of keys of the bucket or more, in order, by a few requests each."""
    found = longer = [part.prefix]
    with ThreadPoolExecutor(LOOKS, "look", initializer=be_in_background) as threads:
        while longer and len(longer) < number:
            found = longer
            longer = list(chain.from_iterable(threads.map(_one_longer, found)))
    return longer or found


def _one_longer(beginning: str) -> list[str]:
    """Return the first beginnings with one more character that keys of the bucket have."""
    found: list[str] = []
    after = beginning
    while len(found) < MOST_CHARACTERS:
        if not (entries := next(File().storage.pages(beginning, after=after, limit=1)).entries):
            break
        longer = entries[0].key[: len(beginning) + 1]
        found.append(longer)
        after = max(longer + chr(sys.maxunicode), entries[0].key)
    return found


def each(
    parts: Sequence[P], workers: int, work: Callable[[P], Iterator[T]]
) -> Iterator[tuple[P, T | OSError]]:
    """Yield what `work` yields for each part, in the order of the parts, and the error it ends in.

    As many `workers` are at it at a time, in threads with connections of their own.
    """
    if len(parts) == 1 or workers == 1:
        for part in parts:
            yield from _guarded(part, work)
        return
    is_over = threading.Event()
    with ThreadPoolExecutor(workers, "part", initializer=be_in_background) as threads:
        try:
            queues: list[queue.Queue[Any]] = [queue.Queue(WAITING) for _ in parts]
            ends = [
                threads.submit(_run, part, work, results, is_over)
                for part, results in zip(parts, queues, strict=True)
            ]
            for end, results in zip(ends, queues, strict=True):
                while (found := results.get()) is not END:
                    yield found
                end.result()
        finally:
            is_over.set()
            threads.shutdown(wait=False, cancel_futures=True)


def _run(
    part: P,
    work: Callable[[P], Iterator[T]],
    results: "queue.Queue[Any]",
    is_over: threading.Event,
) -> None:
    """Put what there is of a part into the queue, and END, unless nobody takes it any more."""
    try:
        for found in _guarded(part, work):
            _put(results, found, is_over)
            if is_over.is_set():
                return
    finally:
        connection.close()
        _put(results, END, is_over)


def _put(results: "queue.Queue[Any]", found: object, is_over: threading.Event) -> None:
    while not is_over.is_set():
        try:
            results.put(found, timeout=0.5)
        except queue.Full:
            continue
        return


def _guarded(part: P, work: Callable[[P], Iterator[T]]) -> Iterator[tuple[P, T | OSError]]:
    try:
        for found in work(part):
            yield part, found
    except OSError as error:
        yield part, error
