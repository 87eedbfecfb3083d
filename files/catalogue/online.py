"""Changes of a table that is in use: nobody who reads or writes it waits longer than a second."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.postgres import operations
from django.core.management.base import CommandError
from django.db import InternalError, OperationalError, migrations, transaction
from psycopg.errors import LockNotAvailable, QueryCanceled

LOCK_TIMEOUT = "500ms"  # all who come later wait as long as this one does
STATEMENT_TIMEOUT = "1s"  # of what is done while nobody else can read
PAUSES = (1, 2, 4, 8, 15, *[30] * 20)  # seconds between attempts, ten minutes in all

logger = logging.getLogger(__name__)


@contextmanager
def locked(connection: Any, table: str) -> Iterator[Any]:
    """Yield a cursor for short statements while nobody else has the table.

    It is locked until the end of the transaction. Raises CommandError where others keep it for ten
    minutes, or where a statement takes longer than a second.
    """
    try:
        with transaction.atomic(connection.alias), connection.cursor() as cursor:
            _lock(connection, cursor, table)
            cursor.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
            yield cursor
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise CommandError(
                f"The table {table} cannot be changed within {STATEMENT_TIMEOUT}, so nothing was"
                " changed: drop its indexes and constraints that this project has not made, then"
                " run migrate again."
            ) from error
        raise


def _lock(connection: Any, cursor: Any, table: str) -> None:
    """Lock the table by short attempts, since all who come later wait behind each."""
    for pause in PAUSES:
        if _try_to_lock(connection, cursor, table):
            return
        logger.warning(
            "The table %s is in use by %s: migrate tries again in %d s.",
            *(table, _users(cursor, table), pause),
        )
        time.sleep(pause)
    raise CommandError(
        f"The table {table} is in use by {_users(cursor, table)}: end that, then run migrate again."
    )


def _try_to_lock(connection: Any, cursor: Any, table: str) -> bool:
    try:
        with transaction.atomic(connection.alias):
            # Nobody who reads or writes waits for the first, and an autovacuum ends after a second.
            cursor.execute("SET LOCAL lock_timeout = '2s'")
            cursor.execute(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            return False
        raise
    return True


def _users(cursor: Any, table: str) -> str:
    """Return the sessions that have a lock on the table, as PostgreSQL's processes."""
    cursor.execute(
        """
        SELECT string_agg(DISTINCT concat_ws(' ', 'process', pid, usename, application_name), ', ')
        FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE granted AND relation = %s::regclass AND pid <> pg_backend_pid()
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        """,
        [table],
    )
    return cursor.fetchone()[0] or "nobody any more"


def is_missing(connection: Any, table: str, index: str) -> bool:
    """Return whether the index is to be built; drop one whose building was interrupted.

    PostgreSQL may go on building after the process that asked for it was killed: wait for that.
    """
    is_valid = _is_valid(connection, table, index)
    if is_valid is False:
        try:
            drop_index(connection, index)
        except InternalError:  # it was finished meanwhile: PostgreSQL lets go of the table before
            is_valid = _is_valid(connection, table, index)
    return not is_valid


def _is_valid(connection: Any, table: str, index: str) -> bool | None:
    """Return whether the index works, None where there is none, once nobody builds on the table."""
    with transaction.atomic(connection.alias), connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")
        cursor.execute(
            "SELECT indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
            " WHERE indrelid = %s::regclass AND relname = %s",
            [table, index],
        )
        (is_valid,) = cursor.fetchone() or (None,)
    return is_valid


def drop_index(connection: Any, index: str) -> None:
    """Drop an index while others use the table."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index}")


class AddField(migrations.AddField):
    """Django's, for a table that others use: it takes no longer than the lock does."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        table = to_state.apps.get_model(app_label, self.model_name)._meta.db_table
        with locked(schema_editor.connection, table):
            super().database_forwards(app_label, schema_editor, from_state, to_state)


class AddIndexConcurrently(operations.AddIndexConcurrently):
    """Django's, which may be interrupted and run again."""

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        table = to_state.apps.get_model(app_label, self.model_name)._meta.db_table
        if is_missing(schema_editor.connection, table, self.index.name):
            super().database_forwards(app_label, schema_editor, from_state, to_state)
