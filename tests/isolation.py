"""Isolation: every test sees an empty bucket and no files, whichever fixtures it asks for.

What a test leaves is removed after it, where it has touched S3 or the database. An upload or a
database connection that it leaves open fails its teardown: another program would have kept it.
"""

import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError
from django.db import DatabaseError, connection
from django.test import TransactionTestCase
from pytest_django.plugin import blocking_manager_key

from project.sandbox import services
from tests import location

PATIENCE = 5  # seconds that PostgreSQL gets to see that a session is over

_REACHES_S3 = {"http.client.send", "subprocess.Popen"}  # audit events: a request, a process
_DATABASE = "_django_db_helper"  # which all of pytest-django's ways to the database stand on
_MIGRATED = {"auth_permission", "django_content_type"}  # the tables that `migrate` fills
_OWN = {"files", "files_operation", "files_work"}  # no row of `files` may be deleted by SQL

_touched: set[str] = set()


def _notice(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _REACHES_S3:
        _touched.add(event)


sys.addaudithook(_notice)


def pytest_fixture_setup(fixturedef: Any) -> None:
    if fixturedef.argname == _DATABASE:
        _touched.add(_DATABASE)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Remove what the test has left, after its fixtures; fail where it has left something open."""
    try:
        yield
    finally:
        left = [*_left_in_database(item.config), *_left_in_bucket()]
        _touched.clear()
    if left:
        pytest.fail(" ".join(left), pytrace=False)


# The bucket


@pytest.fixture(scope="session", autouse=True)
def _bucket() -> str:
    """Make a worker's own bucket, and remove what a run that was killed has left in it."""
    from django.core.files.storage import default_storage

    name = _bucket_name()
    if not default_storage.location:  # which would be in another's bucket
        services.make_bucket(location.client(), name)
    _empty(name)
    _touched.clear()  # this was no test
    return name


def _bucket_name() -> str:
    from django.core.files.storage import default_storage

    return str(default_storage.bucket_name)


@pytest.fixture
def unfinished_uploads(_bucket: str) -> Iterator[None]:
    """Let the test leave uploads open, as an interruption does: they are aborted after it."""
    yield
    _abort_uploads(_bucket)


def _empty(bucket: str) -> list[str]:
    """Abort all uploads and delete all objects; return the keys of the uploads.

    It takes two requests where there is nothing.
    """
    keys = _abort_uploads(bucket)
    for page in location.client().get_paginator("list_objects_v2").paginate(Bucket=bucket):
        _delete(bucket, {entry["Key"] for entry in page.get("Contents", ())})
    return keys


def _abort_uploads(bucket: str) -> list[str]:
    """Return the keys of the uploads that were open."""
    s3 = location.client()
    try:
        uploads = s3.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
    except ClientError as error:
        if error.response["Error"]["Code"] != "500":
            raise
        # MiniStack lists none of them where a key has a control character. Nothing else tells their
        # ids, so they stay; and the test that runs now need not be the one that left them.
        return []
    for upload in uploads:
        with suppress(s3.exceptions.NoSuchUpload):  # ended meanwhile
            s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    return [upload["Key"] for upload in uploads]


def _delete(bucket: str, keys: set[str]) -> None:
    """Delete by one request, but keys that XML or a server could change one by one."""
    plain = {key for key in keys if re.fullmatch(r"[\w./-]+", key, re.ASCII)}
    if plain:
        objects = [{"Key": key} for key in plain]
        location.client().delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
    for key in keys - plain:
        location.client().delete_object(Bucket=bucket, Key=key)


def _left_in_bucket() -> Iterable[str]:
    if _REACHES_S3.isdisjoint(_touched):
        return
    for key in _empty(_bucket_name()):
        yield f"The test leaves the multipart upload of {key!r} open: complete or abort it."


# The database


def other_sessions(at_most: int = 0) -> list[tuple[int, str]]:
    """Return process id and last query of others' sessions, when PostgreSQL has ended the rest.

    They are those of this run's PGAPPNAME. An autovacuum, which may come at any time and take its
    time, is no session of a client.
    """
    end = time.monotonic() + PATIENCE
    while True:
        with connection.cursor() as cursor:
            cursor.execute("select pg_stat_clear_snapshot()")  # which a transaction keeps
            cursor.execute(
                "select pid, query from pg_stat_activity where datname = current_database()"
                " and application_name = current_setting('application_name')"
                " and pid <> pg_backend_pid() and backend_type = 'client backend'"
            )
            found = cursor.fetchall()
        if len(found) <= at_most or time.monotonic() > end:
            return found
        time.sleep(0.05)


def _delete_rows(test_case: TransactionTestCase) -> None:
    """Delete the rows of others' tables, but those of `migrate`.

    Django truncates all tables, which gives each and its indexes new files, and then makes the rows
    of `migrate` anew: that takes 40 ms. As TRUNCATE does, this waits for transactions of others.
    """
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    tables = [connection.ops.quote_name(name) for name in {*names} - _MIGRATED - _OWN]
    deletions = [f"DELETE FROM {table}" for table in tables]  # noqa: S608
    connection.ops.execute_sql_flush([f"LOCK TABLE {', '.join(tables)}", *deletions])
    _empty_tables()


TransactionTestCase._fixture_teardown = _delete_rows  # type: ignore[attr-defined]


def _left_in_database(config: pytest.Config) -> Iterable[str]:
    if _DATABASE not in _touched:
        return
    with config.stash[blocking_manager_key].unblock():
        for pid, query in other_sessions():
            _execute(f"SELECT pg_terminate_backend({pid}, 1000)")
            yield f"The test leaves a database connection open, which last ran {query!r}: close it."
        _empty_tables()


def _empty_tables() -> None:
    """Remove what others' sessions have committed, and operations in the middle of a `db`."""
    with suppress(DatabaseError):  # as where a test has migrated back
        _execute(
            f"DO $$BEGIN IF {' OR '.join(f'EXISTS (SELECT FROM {name})' for name in _OWN)}"
            f" THEN TRUNCATE {', '.join(_OWN)}; END IF; END$$"
        )


def _execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)
