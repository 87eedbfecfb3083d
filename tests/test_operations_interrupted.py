"""What an interruption leaves: the next operation on the file, or a sweep, ends it rightly."""

import contextlib

import pytest
from django.core.files.base import ContentFile
from django.db import DatabaseError, connection
from django.utils import timezone

from files import operations
from files.models import File, Operation
from files.storage import S3UnavailableError, writing
from files.storage.multipart import MultipartUpload
from files.storage.writing import PART_SIZE
from tests.faults import Fault, Steps
from tests.operations import (
    ACTIONS,
    Failing,
    assert_rows_are_true,
    breaking,
    create,
    interrupt,
    kept,
    lost,
    named,
    objects,
    rows,
    sweep,
)

# A rename or a restore


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


def test_an_operation_is_ended_as_it_is_by_then(make_file, storage, during):
    file = make_file("a", b"text")
    seen = []
    during("PutObject", lambda: seen.extend(Operation.objects.all()))
    during("DeleteObject", interrupt)
    with pytest.raises(KeyboardInterrupt):
        file.rename("b")
    operations.end(seen[0])
    assert (rows(), objects(storage)) == ([("b", "b", True)], {"b": b"text"})


@pytest.mark.needs("conditional puts")
def test_an_interrupted_restore_is_repeated_to_the_key_itself(make_file, storage, during):
    make_file("a.txt", b"old").replace(ContentFile(b"new"))
    File.objects.live().get().delete()
    with breaking('UPDATE "files"', KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        kept().restore()
    kept().restore()
    assert (rows(), objects(storage)) == ([("a.txt", "a.txt", True)], {"a.txt": b"old"})


# A replacement


def test_what_breaks_a_replace_is_raised_though_the_copy_cannot_be_deleted(
    make_file, storage, during
):
    file = make_file("a.txt", b"old")
    during("DeleteObject", lost)
    with pytest.raises(RuntimeError, match="the disk is gone"):
        file.replace(Failing(bytes(2 * PART_SIZE)))
    (operation,) = Operation.objects.all()
    assert objects(storage) == {"a.txt": b"old", operation.copy_key: b"old"}
    operations.end(operation)
    assert (rows(), objects(storage)) == ([("a.txt", "a.txt", True)], {"a.txt": b"old"})


@pytest.mark.needs("conditional puts")
def test_a_lost_answer_leaves_the_old_content_in_the_trash(make_file, storage, during):
    file = make_file("a.txt", b"old")

    def answer_is_lost():
        (operation,) = Operation.objects.all()
        storage.replace("a.txt", ContentFile(b"new"), operation.etag, mark=operation.mark)
        lost()

    content = ContentFile(b"")
    content.seekable = answer_is_lost
    with pytest.raises(S3UnavailableError):
        file.replace(content)
    operations.end(Operation.objects.get())
    assert objects(storage) == {"a.txt": b"new", str(kept()): b"old"}
    row = File.objects.live().get()
    assert (row.size, row.content_type, row.etag, row.modified_at) == storage.stat("a.txt")[:4]


@pytest.mark.parametrize(
    ("action", "left"), [("rename", {"b": b"old"}), ("delete", {})], ids=["rename", "delete"]
)
def test_a_replacement_that_was_interrupted_leaves_no_copy_of_what_has_gone(
    make_file, storage, action, left
):
    file, content = make_file("a.txt", b"old"), ContentFile(b"new")
    content.seekable = lost
    with pytest.raises(S3UnavailableError):
        file.replace(content)
    ACTIONS[action](file)
    operations.end(Operation.objects.get())
    assert (objects(storage), [key for key, _, _ in rows()]) == (left, list(left))


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


@pytest.fixture
def swept_in_part(transactional_db, make_file):
    """Interrupt a replacement of a.txt, and the sweep that would end it once the row is there."""
    file = make_file("a.txt", b"old")
    with breaking('INSERT INTO "files"', KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        file.replace(ContentFile(b"new"))
    gone = breaking('DELETE FROM "files_operation"', KeyboardInterrupt())
    with gone, pytest.raises(KeyboardInterrupt):
        sweep()


@pytest.mark.needs("conditional puts")
def test_a_replacement_is_noted_once_also_where_the_sweep_is_interrupted(swept_in_part, storage):
    sweep()
    assert objects(storage) == {"a.txt": b"new", str(kept()): b"old"}


@pytest.mark.needs("conditional puts")
def test_a_copy_that_a_row_names_outlives_the_sweep(swept_in_part, storage, put):
    put("a.txt", b"theirs")
    sweep()
    assert objects(storage) == {"a.txt": b"theirs", str(kept()): b"old"}


def test_the_content_that_came_for_a_missing_one_is_noted(transactional_db, make_file, storage):
    file = make_file("a.txt")
    storage.delete("a.txt")
    with breaking('UPDATE "files"', KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        file.replace(ContentFile(b"newer"))
    sweep()
    assert (rows(), objects(storage)) == ([("a.txt", "a.txt", True)], {"a.txt": b"newer"})
    assert_rows_are_true(storage)


# A deletion


def left_by_script(key):
    """Make the row that the original script's insert makes."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO files (object_key) VALUES (%s)", [key])
    return File.objects.get(object_key=key)


def test_what_came_in_place_of_a_missing_object_is_not_swept(transactional_db, storage, put):
    file = left_by_script("a")
    gone = breaking('DELETE FROM "files_operation"', KeyboardInterrupt())
    with gone, pytest.raises(KeyboardInterrupt):
        file.delete()
    put("a", b"theirs")
    sweep()
    assert (objects(storage), Operation.objects.count()) == ({"a": b"theirs"}, 0)


# An upload


@pytest.mark.usefixtures("unfinished_uploads")
def test_an_upload_outlives_another_operation_that_was_interrupted(make_file, storage, during):
    file = make_file("a", b"text")
    during("PutObject", interrupt)
    with pytest.raises(KeyboardInterrupt):
        file.rename("b")
    upload = operations.begin_upload("a", "text/plain", "somebody")
    operations.end(Operation.objects.get(kind=Operation.Kind.RENAME))
    assert list(Operation.objects.all()) == [upload]
    assert [found for found, _ in storage.open_uploads("a")] == [upload.upload_id]


def test_an_upload_over_a_file_that_is_there_can_be_ended(make_file, storage):
    make_file("a", b"text")
    operations.end(operations.begin_upload("a", "text/plain", "somebody"))
    assert (Operation.objects.count(), storage.open_uploads("a")) == (0, [])
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"text"})


# A request that S3 does late


def test_a_late_completion_loses_no_former_content(transactional_db, make_file, storage, during):
    """The completion is under way at S3 while the sweep takes the replacement for over."""
    file = make_file("a.txt", b"old")
    sent = {}

    def hang(params, **arguments):
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
    leave = MultipartUpload.__exit__
    MultipartUpload.__exit__ = lambda *arguments: None
    try:
        yield
    finally:
        MultipartUpload.__exit__ = leave


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


def test_a_content_that_arrives_late_does_not_outlive_its_file(make_file, storage, during):
    file, sent = make_file("a"), {}
    storage.delete("a")
    event = "provide-client-params.s3.PutObject"
    storage.client.meta.events.register_first(event, lambda params, **_: sent.update(params), "x")
    during("PutObject", lost)
    with pytest.raises(S3UnavailableError):
        file.replace(ContentFile(b"new"))
    storage.client.meta.events.unregister(event, unique_id="x")
    file.delete()
    storage.client.put_object(**sent)
    sweep()
    assert (rows(), objects(storage)) == ([], {})


def take_long():
    Operation.objects.update(started_at=timezone.now() - 2 * operations.LATE)


def test_a_late_object_does_not_outlive_another_file_of_its_key(
    transactional_db, make_file, storage, no_waits
):
    file = make_file("a", b"other")
    with pytest.raises(S3UnavailableError), Steps(Fault(1, "late", False)) as late:
        create("b", b"late")
    file.rename("b")
    file.delete()
    late.arrive()
    assert objects(storage) == {"b": b"late"}
    sweep()
    assert (objects(storage), named()) == ({}, set())
