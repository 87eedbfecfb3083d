"""Operations where something else comes in between: locks, snapshots, stale rows, late answers."""

import contextlib
import io
import itertools
import threading
import time

import pytest
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.transaction import TransactionManagementError
from django.utils import timezone
from urllib3 import HTTPConnectionPool, HTTPResponse
from urllib3.exceptions import ProtocolError

from files import operations
from files.models import File, Operation
from files.operations import ConflictError
from files.storage import S3UnavailableError, bucket, copying, writing
from tests.test_operations import (
    MIB,
    OPERATIONS,
    OUTCOMES,
    RollBackError,
    assert_rows_are_true,
    content,
    create,
    during,
    elsewhere,
    end,
    execute,
    kept,
    locks,
    lost,
    named,
    objects,
    prepare,
    rows,
    survey,
    sweep,
)

__all__ = ["during"]


@contextlib.contextmanager
def breaking(part, error, *, after=False):
    """Raise the error before or after the first statement that has this in it."""
    done = []

    def breaking(run, sql, parameters, many, context):
        if part not in sql or done:
            return run(sql, parameters, many, context)
        done.append(sql)
        if after:
            run(sql, parameters, many, context)
        if isinstance(error, str):
            return run(error, None, many, context)
        raise error

    with connection.execute_wrapper(breaking):
        yield


def interrupt():
    raise KeyboardInterrupt


def left_by_script(key="a", etag=""):
    """Make the row that the original script's insert makes."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO files (object_key) VALUES (%s)", [key])
    return File.objects.get(object_key=key)


# A transaction that is not the one that Django shows


def test_a_delete_without_autocommit_keeps_the_bytes_of_what_is_rolled_back(
    transactional_db, make_file, storage
):
    file = make_file("a", b"text")
    transaction.set_autocommit(False)
    try:
        with contextlib.suppress(TransactionManagementError):
            file.delete()
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"text"})


@pytest.mark.parametrize("action", ["rename", "replace"])
def test_what_cannot_be_rolled_back_is_refused_without_autocommit(
    transactional_db, make_file, storage, action
):
    file = make_file("a", b"text")
    transaction.set_autocommit(False)
    try:
        with pytest.raises(TransactionManagementError):
            file.rename("b") if action == "rename" else file.replace(ContentFile(b"new"))
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"text"})


def test_a_create_with_an_old_snapshot_keeps_the_object_that_came_since(
    transactional_db, storage, during
):
    def create_here():
        with transaction.atomic():
            execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            Operation.objects.count()  # which takes the snapshot
            written.set()
            ended.wait(10)
            with contextlib.suppress(DatabaseError, OSError):
                create("a", b"ours")

    written, ended = threading.Event(), threading.Event()
    thread = threading.Thread(target=elsewhere, args=(create_here,))

    def meanwhile():
        thread.start()
        written.wait(10)

    during("PutObject", meanwhile)
    create("a", b"theirs")
    ended.set()
    thread.join()
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"theirs"})


def test_a_file_deleted_and_adopted_again_in_a_transaction_keeps_its_bytes(
    transactional_db, make_file, storage
):
    file = make_file("a", b"text")
    with transaction.atomic():
        file.delete()
        File.objects.create(object_key="a")
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"text"})


# Locks


def locks_in_the_end():
    """Return how many locks are held when PostgreSQL has seen which sessions are over."""
    limit = time.monotonic() + 10
    while (held := locks()) and time.monotonic() < limit:
        time.sleep(0.01)
    return held


@pytest.mark.parametrize("part", ["pg_try_advisory_lock", "pg_advisory_unlock"])
@pytest.mark.parametrize("after", [False, True])
def test_no_lock_outlives_an_interrupt(transactional_db, make_file, part, after):
    file = make_file("a")
    with pytest.raises(KeyboardInterrupt), breaking(part, KeyboardInterrupt(), after=after):
        file.trash()
    assert locks_in_the_end() == 0


@pytest.mark.parametrize("part", ["pg_try_advisory_lock", "pg_advisory_unlock"])
def test_no_lock_outlives_a_lock_statement_that_fails(transactional_db, make_file, part):
    file = make_file("a")
    failing = "SELECT pg_try_advisory_lock(1), 1 / (random() * 0)::int"
    with contextlib.suppress(DatabaseError), breaking(part, failing):
        file.trash()
    assert locks_in_the_end() == 0


# A rename that breaks


def test_a_rename_that_the_database_refuses_can_be_repeated(transactional_db, make_file, storage):
    file = make_file("a", b"text")
    with breaking('UPDATE "files"', "SELECT 1 / 0"), pytest.raises(DatabaseError):
        file.rename("b")
    assert str(file) == "a"
    file.rename("b")
    assert (rows(), objects(storage)) == ([("b", "b", True)], {"b": b"text"})


def test_a_rename_whose_note_fails_leaves_no_copy(transactional_db, make_file, storage):
    file = make_file("a", b"text")
    with breaking('UPDATE "files_operation"', "SELECT 1 / 0"), pytest.raises(DatabaseError):
        file.rename("b")
    sweep()
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"text"})


def test_a_create_whose_commit_fails_is_told_by_its_own_error(
    transactional_db, storage, monkeypatch
):
    def fail():
        connection.rollback()
        raise DatabaseError("no commit")

    with monkeypatch.context() as patched:
        patched.setattr(connection, "_commit", fail)
        with pytest.raises(DatabaseError, match="no commit"):
            create("a")
    sweep()
    assert (rows(), objects(storage)) == ([], {})


def test_an_interrupted_restore_is_repeated_to_the_key_itself(make_file, storage, during):
    make_file("a.txt", b"old").replace(ContentFile(b"new"))
    File.objects.live().get().delete()
    with breaking('UPDATE "files"', KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        kept().restore()
    kept().restore()
    assert (rows(), objects(storage)) == ([("a.txt", "a.txt", True)], {"a.txt": b"old"})


def test_an_operation_is_ended_as_it_is_by_then(make_file, storage, during):
    file = make_file("a", b"text")
    seen = []
    during("PutObject", lambda: seen.extend(Operation.objects.all()))
    during("DeleteObject", interrupt)
    with pytest.raises(KeyboardInterrupt):
        file.rename("b")
    operations.end(seen[0])
    assert (rows(), objects(storage)) == ([("b", "b", True)], {"b": b"text"})


# Deletions


def test_what_came_in_place_of_a_missing_object_is_not_swept(transactional_db, storage, put):
    file = left_by_script("a")
    gone = breaking('DELETE FROM "files_operation"', KeyboardInterrupt())
    with gone, pytest.raises(KeyboardInterrupt):
        file.delete()
    put("a", b"theirs")
    sweep()
    assert (objects(storage), Operation.objects.count()) == ({"a": b"theirs"}, 0)


def test_a_delete_of_what_was_replaced_since_changes_nothing(make_file, storage):
    file = make_file("a.txt", b"old")
    File.objects.get().replace(ContentFile(b"new"))
    with pytest.raises(ConflictError):
        file.delete()
    row = File.objects.live().get()
    assert (row.size, row.content_type, row.etag, row.modified_at) == storage.stat("a.txt")


def test_a_deleted_content_does_not_come_back_by_an_interrupted_replacement(
    make_file, storage, during
):
    file = make_file("a.txt", b"old")
    during("PutObject", lambda: during("PutObject", lost))
    with pytest.raises(S3UnavailableError):
        file.replace(ContentFile(b"new"))
    File.objects.get().delete()
    sweep()
    assert (rows(), objects(storage)) == ([], {})


def test_a_renamed_content_is_not_kept_twice_by_an_interrupted_replacement(
    make_file, storage, during
):
    file = make_file("a.txt", b"old")
    during("PutObject", lambda: during("PutObject", lost))
    with pytest.raises(S3UnavailableError):
        file.replace(ContentFile(b"new"))
    file.rename("b")
    sweep()
    assert (rows(), objects(storage)) == ([("b", "b", True)], {"b": b"old"})


def test_a_copy_that_a_row_names_outlives_the_sweep(transactional_db, make_file, storage, put):
    file = make_file("a.txt", b"old")
    with breaking('INSERT INTO "files"', KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        file.replace(ContentFile(b"new"))
    gone = breaking('DELETE FROM "files_operation"', KeyboardInterrupt())
    with gone, pytest.raises(KeyboardInterrupt):
        sweep()
    put("a.txt", b"theirs")
    sweep()
    assert objects(storage) == {"a.txt": b"theirs", str(kept()): b"old"}


# Uploads and replacements


def test_a_late_completion_loses_no_former_content(transactional_db, make_file, storage, during):
    """The completion is under way at S3 while the sweep takes the replacement for over."""
    file = make_file("a.txt", b"old")
    sent = {}

    def hang(params, **about):
        sent.update(params)

    size = writing.PART_SIZE + 1
    storage.client.meta.events.register("provide-client-params.s3.CompleteMultipartUpload", hang)
    try:
        during("CompleteMultipartUpload", interrupt)
        with pytest.raises(KeyboardInterrupt), ignoring_aborts():
            file.replace(ContentFile(bytes(size)))
    finally:
        storage.client.meta.events.unregister(
            "provide-client-params.s3.CompleteMultipartUpload", hang
        )

    def arrive():
        with contextlib.suppress(storage.client.exceptions.ClientError):
            storage.client.complete_multipart_upload(**sent)

    during("DeleteObject", arrive)
    sweep()
    assert b"old" in objects(storage).values()


@contextlib.contextmanager
def ignoring_aborts():
    """Let a process die before it can abort its upload."""
    from files.storage.multipart import MultipartUpload

    leave = MultipartUpload.__exit__
    MultipartUpload.__exit__ = lambda *about: None
    try:
        yield
    finally:
        MultipartUpload.__exit__ = leave


def test_an_upload_is_not_aborted_by_another_operation_on_the_file(make_file, storage):
    make_file("a.txt", b"old")
    upload = operations.begin_upload("a.txt", "text/plain", "somebody")
    File.objects.get().replace(ContentFile(b"new"))
    assert list(Operation.objects.all()) == [upload]
    assert [found for found, _ in storage.open_uploads("a.txt")] == [upload.upload_id]


def test_a_content_of_the_trash_is_not_replaced_below_the_reserved_prefix(make_file, storage):
    make_file("a.txt", b"old").replace(ContentFile(b"new"))
    with pytest.raises((ValidationError, ConflictError, OSError)):
        kept().replace(ContentFile(b"other"))
    assert [str(file) for file in File.objects.live()] == ["a.txt"]


# The guard


def test_what_was_interrupted_opens_no_guard(transactional_db, make_file, storage, during):
    file = make_file("a", b"text")
    during("PutObject", interrupt)
    with pytest.raises(KeyboardInterrupt):
        file.rename("b")
    assert Operation.objects.count() == 1
    with pytest.raises(IntegrityError):
        execute("DELETE FROM files")
    assert rows() == [("a", "a", True)]


def test_the_guard_has_the_sqlstate_of_a_restriction(make_file):
    make_file("a")
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        execute("DELETE FROM files")
    assert caught.value.__cause__.sqlstate == "23001"


def test_a_stale_row_is_not_saved_over_another_key(make_file, storage):
    stale = make_file("a", b"text")
    File.objects.get().rename("b")
    with pytest.raises(IntegrityError, match=r"File\.rename"), transaction.atomic():
        stale.save()
    assert rows() == [("b", "b", True)]


# A TestCase


def test_an_object_whose_row_was_rolled_back_is_taken_over_in_a_test_too(db, storage):
    with contextlib.suppress(RollBackError), transaction.atomic():
        create("a", b"first")
        raise RollBackError
    assert objects(storage) == {"a": b"first"}
    create("a", b"second")
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"second"})


# S3 fails from a request on


@pytest.fixture
def failing(monkeypatch):
    """Let S3 fail from the nth request on; return how many requests have been made."""
    urlopen = HTTPConnectionPool.urlopen
    monkeypatch.setattr(bucket, "FIRST_WAIT", 0)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)

    @contextlib.contextmanager
    def failing(kind, number):
        made = []

        def fail(pool, method, url, *arguments, **options):
            made.append((method, url))
            if len(made) < number:
                return urlopen(pool, method, url, *arguments, **options)
            if kind == "lost" and len(made) == number:
                urlopen(pool, method, url, *arguments, **options).close()
            if kind == "lost":
                raise ProtocolError("the answer is lost")
            return HTTPResponse(io.BytesIO(b""), {}, int(kind), preload_content=False)

        with monkeypatch.context() as patched:
            patched.setattr(HTTPConnectionPool, "urlopen", fail)
            yield made

    return failing


@pytest.mark.parametrize("kind", ["403", "503", "lost"])
@pytest.mark.parametrize(
    ("operation", "size", "outcome"),
    [case[:3] for case in OUTCOMES if not case[3] and case[0] != "trash" and case[1] == 3],
)
def test_what_s3_breaks_off_can_be_repeated_at_once(
    transactional_db, storage, monkeypatch, failing, operation, size, outcome, kind
):
    monkeypatch.setattr(writing, "PART_SIZE", 5 * MIB)
    monkeypatch.setattr(copying, "COPY_PART_SIZE", 5 * MIB)
    for number in itertools.count(1):
        pk = prepare(operation, size, storage)
        file = File.objects.get(pk=pk)
        with failing(kind, number) as made, contextlib.suppress(OSError):
            OPERATIONS[operation](file, content("new", size))
        found = survey(storage, size)
        assert {key for key, (live, _) in found.items() if live is None} <= named(), number
        assert {held for live, held in found.values() if live} <= {"old", "new"}, number
        assert locks() == 0
        end(operation, pk)
        assert sorted(survey(storage, size).values()) == [(True, held) for held in outcome]
        assert_rows_are_true(storage)
        assert Operation.objects.count() == 0
        if len(made) < number:
            break


# A request that S3 does late


def test_a_copy_that_arrives_late_is_known_also_of_a_long_rename(make_file, storage, during):
    file, sent = make_file("a", b"text"), {}
    event = "provide-client-params.s3.PutObject"
    storage.client.meta.events.register_first(event, lambda params, **_: sent.update(params), "x")
    during("PutObject", lambda: take_long() or lost())
    with pytest.raises(S3UnavailableError):
        file.rename("b")
    storage.client.meta.events.unregister(event, unique_id="x")
    late = dict(sent)
    file.rename("c")
    storage.client.put_object(**late)
    sweep()
    assert objects(storage) == {"c": b"text"}


def take_long():
    Operation.objects.update(started_at=timezone.now() - 2 * operations.LATE)
