"""Locks on keys, by PostgreSQL's advisory locks, and the transactions that they live in."""

import errno
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.db import DatabaseError, OperationalError, connection, transaction
from django.utils.translation import gettext

from files.storage import ObjectChangedError

# The seed of our advisory locks, so that they are nobody else's in this database, which may have
# another catalogue in another schema.
SEED = f"{0x66696C6573} # 'files'::regclass::oid::bigint"


class ConflictError(ObjectChangedError):
    """Another operation on the file is under way, or has changed it since it was read."""


def in_callers_transaction() -> bool:
    """Return whether a transaction is open that is not just the one around a TestCase."""
    if not connection.in_atomic_block:
        return not connection.get_autocommit()
    return not connection.atomic_blocks[-1]._from_testcase  # type: ignore[attr-defined]


def refuse_transaction(action: str) -> None:
    if in_callers_transaction():
        raise transaction.TransactionManagementError(
            f"{action}() cannot be undone by the database, so it refuses to run inside a"
            " transaction (it needs a durable one of its own): call it outside of atomic()."
        )


@contextmanager
def locked(*keys: str) -> Iterator[None]:
    """Let nobody else operate on the keys meanwhile. Raises ConflictError.

    Inside a caller's transaction they stay locked until its end. Outside, the lock ends with the
    session: where another one has taken its place, each statement raises OperationalError.
    """
    if in_callers_transaction():
        _refuse_unless_held(keys, _lock("pg_try_advisory_xact_lock", keys))
        yield
        return
    with locked_where_free(*keys) as held:
        _refuse_unless_held(keys, held)
        yield


@contextmanager
def locked_where_free(*keys: str) -> Iterator[list[str]]:
    """Lock those of the keys on which nobody else operates, by the session; yield them."""
    try:
        held = _lock("pg_try_advisory_lock", keys)
    except BaseException:  # a lock of the session outlives the statement that fails
        _end_session()
        raise
    session = connection.connection
    try:
        with connection.execute_wrapper(partial(_refuse_another, session)):
            yield held
    finally:
        _unlock(held)


def _refuse_another(session: object, execute: Callable[..., Any], *arguments: Any) -> Any:
    """Execute a statement of the session that holds the lock, and of no other."""
    if connection.connection is not session:
        raise OperationalError(
            "The connection to the database was lost, and the lock on the file with it: try again."
        )
    return execute(*arguments)


def _lock(function: str, keys: Sequence[str]) -> list[str]:
    """Return the keys that are locked now."""
    return [key for key, is_held in zip(keys, _call(function, keys), strict=True) if is_held]


def _refuse_unless_held(keys: Sequence[str], held: Collection[str]) -> None:
    for key in keys:
        if key not in held:
            raise conflict(key)


def _unlock(keys: Sequence[str]) -> None:
    """Give locks of the session back. Where that fails, end the session, and its locks with it."""
    try:
        _call("pg_advisory_unlock", keys)
    except DatabaseError:
        _end_session()
    except BaseException:
        _end_session()
        raise


def _end_session() -> None:
    """Close the connection itself: Django would give it back to a pool, and its locks with it."""
    if connection.connection is not None:
        connection.connection.close()
    connection.close()


def _call(function: str, keys: Sequence[str]) -> list[bool]:
    calls = ", ".join([f"{function}(hashtextextended(%s, {SEED}))"] * len(keys))
    if not keys:
        return []
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {calls}", keys)
        return list(cursor.fetchone())


def conflict(key: str) -> ConflictError:
    text = gettext("Another operation on the file is under way or has changed it: try again")
    return ConflictError(errno.ESTALE, text, key)
