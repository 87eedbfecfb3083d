"""Long work in threads of its own: it goes on when its request has ended, or the client has left.

Requests wait for it for a few seconds, so that what is quick is answered as ever.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import cache
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, DatabaseError, Error, connection, connections
from django.utils import timezone
from django.utils.translation import gettext

from files import activity
from files.circuit import Bulkhead
from files.errors import EXPECTED, reason
from files.storage import be_in_background
from files.work import Work

PATIENCE = 3  # seconds that a request waits; load balancers end a silent one after a minute
BEAT = 2  # seconds between the times at which a work is written

logger = logging.getLogger(__name__)

# What is under way or waits for its turn; a replacement holds its content meanwhile.
_unfinished = Bulkhead("long work", share=2, patience=0)
_keepers: set[threading.Thread] = set()

T = TypeVar("T")


class GoesOnError(Exception):
    """The work takes longer than a request should, and has a row by now."""


def do(work: Work, change: Callable[[Work], T]) -> T:
    """Return what the change returns. A process that serves nobody does it at once.

    Raises what it raises, UnavailableError where too many are unfinished, and GoesOnError where it
    takes long, or what the database raises: then what comes of it is written into the row.
    """
    if Bulkhead.threads is None:
        return change(work)
    _unfinished.enter()
    future = _threads().submit(copy_context().run, _do, work, change)
    future.add_done_callback(lambda _: _unfinished.leave())
    if _is_done_soon(future):
        return future.result()
    # No daemon, as the threads of runserver are: the process must not end before the row is there.
    keeper = threading.Thread(target=copy_context().run, args=(_keep, work, future), daemon=False)
    try:
        work.write()
    finally:  # where that fails, the keeper tries again
        _keepers.add(keeper)
        keeper.start()
    raise GoesOnError


def let_end(seconds: float) -> None:
    """Return when all that is under way has ended, or after so many seconds."""
    end = time.monotonic() + seconds
    for keeper in list(_keepers):
        keeper.join(max(0, end - time.monotonic()))


def _share() -> int:
    return max(1, (Bulkhead.threads or 1) // 4)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_share(), "work", initializer=be_in_background)


@cache
def _patient() -> threading.Semaphore:
    """Return what lets only a share of the requests wait, so that others have threads."""
    return threading.Semaphore(_share())


def _is_done_soon(future: "Future[Any]") -> bool:
    may_wait = _patient().acquire(blocking=False)
    try:
        return bool(wait([future], PATIENCE if may_wait else 0).done)
    finally:
        if may_wait:
            _patient().release()


def _do(work: Work, change: Callable[[Work], T]) -> T:
    """Do it with a connection of its own, which is none of a pool: requests need those.

    It may say nothing for hours, while S3 copies, and must not end with the first lost packet.
    """
    own = connections[DEFAULT_DB_ALIAS] = connection.copy()
    for name in ("pool", "tcp_user_timeout"):
        own.settings_dict["OPTIONS"].pop(name, None)
    activity.watch_copies(work.note_copied)
    work.started_at = timezone.now()
    try:
        return change(work)
    finally:
        own.close()


def _keep(work: Work, future: "Future[Any]") -> None:
    """Write every other second how far it is, and at its end what came of it."""
    while not wait([future], BEAT).done:
        _write(work)
    if error := future.exception():
        work.fail(_explain(work, error))
    work.ended_at = timezone.now()
    while not _write(work):
        time.sleep(BEAT)
    _keepers.discard(threading.current_thread())


def _write(work: Work) -> bool:
    """Return whether the row could be written, by a connection for the moment."""
    try:
        if work.ended_at:
            Work.objects.old().delete()
        work.write()
    except Error as error:
        logger.warning("How far “%s” is cannot be written: %s", work, error)
        return False
    finally:
        connection.close()
    return True


def _explain(work: Work, error: BaseException) -> str:
    if isinstance(error, EXPECTED):
        return reason(error)
    logger.error("“%s” has failed.", work, exc_info=error)
    if isinstance(error, DatabaseError):
        return gettext("The database cannot be reached now; try again in a moment.")
    return gettext("Something is wrong here: try again, and tell an administrator if it stays.")
