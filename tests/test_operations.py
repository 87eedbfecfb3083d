"""What is done with a file: every live row keeps its bytes, whatever stops in between."""

import contextlib
import functools
import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext
from urllib3 import HTTPConnectionPool

from files import operations
from files.models import File, Operation
from files.operations import ConflictError
from files.storage import ObjectChangedError, S3UnavailableError, copying
from files.storage.marks import WRITE_MARK
from files.storage.stat import COPIED
from files.storage.writing import PART_SIZE
from tests.conftest import ROOT
from tests.test_storage import KEYS, listed, open_uploads

MIB = 2**20


def objects(storage):
    """Return key and content of all objects."""
    return {entry["Key"]: storage.open(entry["Key"]).read() for entry in listed(storage)}


def rows():
    """Return key, name and whether it is live of all rows."""
    return [(str(file), file.name, file.deleted_at is None) for file in File.objects.all()]


def state():
    """Return what the rows tell, to see that nothing has changed."""
    return list(File.objects.order_by("pk").values())


def create(key, data=b"text"):
    return File.objects.create(object_key=ContentFile(data, name=key))


def locks():
    """Return how many advisory locks are held."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_database ON oid = database"
            " WHERE locktype = 'advisory' AND datname = current_database()"
        )
        return cursor.fetchone()[0]


@pytest.fixture
def during(storage):
    """Do something just before the next request of an S3 operation is sent."""
    registered = []

    def during(operation, action):
        def once(**about):
            storage.client.meta.events.unregister(event, once)
            registered.remove((event, once))
            return action()

        event = f"before-send.s3.{operation}"
        storage.client.meta.events.register(event, once)
        registered.append((event, once))

    yield during
    for event, once in registered:
        storage.client.meta.events.unregister(event, once)


def lost():
    """Fail as S3 does when it is out of reach."""
    raise S3UnavailableError("out of reach")


# The trash


def test_trash_marks_the_row_and_leaves_the_object(make_file, storage):
    file = make_file("a", b"text")
    file.trash()
    assert rows() == [("a", "a", False)]
    assert objects(storage) == {"a": b"text"}
    assert (list(File.objects.live()), list(File.objects.trashed())) == ([], [file])


def test_trashing_again_keeps_the_time(make_file):
    file = make_file("a")
    file.trash()
    first = File.objects.get().deleted_at
    file.trash()
    assert File.objects.get().deleted_at == first


def test_restore_takes_the_file_out_of_the_trash_as_s3_has_it_now(make_file, storage, put):
    file = make_file("a", b"text")
    file.trash()
    put("a", b"longer text", ContentType="text/x-other")
    file.mark_missing(True)
    file.restore()
    row = File.objects.get()
    assert (row.deleted_at, row.missing_at) == (None, None)
    assert (row.size, row.content_type, row.etag, row.modified_at) == storage.stat("a")


def test_restore_refuses_a_file_whose_object_is_gone(make_file, storage):
    file = make_file("a")
    file.trash()
    storage.delete("a")
    with pytest.raises(FileNotFoundError, match="no such object"):
        file.restore()
    assert rows() == [("a", "a", False)]


@pytest.mark.parametrize("trashed", [False, True])
def test_delete_takes_object_and_row_for_good(make_file, storage, trashed):
    file = make_file("a")
    if trashed:
        file.trash()
    file.delete()
    assert (rows(), objects(storage)) == ([], {})


def test_delete_ends_a_file_whose_object_is_gone(make_file, storage):
    file = make_file("a")
    storage.delete("a")
    file.delete()
    assert rows() == []


def test_a_delete_that_s3_refuses_leaves_the_file_in_the_trash(make_file, storage, during):
    file = make_file("a", b"text")
    during("DeleteObject", lost)
    with pytest.raises(S3UnavailableError):
        file.delete()
    assert rows() == [("a", "a", False)]
    File.objects.get().restore()
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"text"})


# Another content


def kept():
    """Return the one file that another content has replaced."""
    return File.objects.trashed().get(original_key="a.txt")


@pytest.mark.parametrize("size", [0, 3, PART_SIZE - 1, PART_SIZE, 2 * PART_SIZE + 5])
def test_replace_keeps_id_and_key_and_puts_the_old_content_into_the_trash(make_file, storage, size):
    file = make_file("a.txt", b"old", ContentType="text/x-old")
    new = random.Random(0).randbytes(size)
    file.replace(ContentFile(new))
    row, old = File.objects.live().get(), kept()
    assert (row.pk, str(row), row.name, str(old)[:7]) == (file.pk, "a.txt", "a.txt", ".files/")
    assert objects(storage) == {"a.txt": new, str(old): b"old"}
    assert (row.size, row.content_type, row.etag, row.modified_at) == storage.stat("a.txt")
    assert (old.size, old.content_type, old.etag, old.modified_at) == storage.stat(str(old))
    assert (old.name, old.content_type) == ("a.txt", "text/x-old")


@pytest.mark.parametrize("size", [0, 1, 5 * MIB, 11 * MIB])
def test_replace_keeps_an_old_content_of_any_size(make_file, storage, monkeypatch, size):
    monkeypatch.setattr(copying, "COPY_PART_SIZE", 5 * MIB)
    old = random.Random(0).randbytes(size)
    make_file("a.txt", old).replace(ContentFile(b"new"))
    assert objects(storage) == {"a.txt": b"new", str(kept()): old}


def test_replace_takes_a_plain_binary_file(make_file, storage):
    make_file("a.txt", b"old").replace(io.BytesIO(b"new"))
    assert objects(storage) == {"a.txt": b"new", str(kept()): b"old"}


def test_replacing_twice_keeps_both_contents(make_file, storage):
    file = make_file("a.txt", b"first")
    file.replace(ContentFile(b"second"))
    file.replace(ContentFile(b"third"))
    assert sorted(objects(storage).values()) == [b"first", b"second", b"third"]
    assert [file.name for file in File.objects.trashed()] == ["a.txt", "a.txt"]


def test_replace_makes_the_object_that_was_missing(make_file, storage):
    file = make_file("a.txt")
    storage.delete("a.txt")
    file.refresh_from_storage()
    file.replace(ContentFile(b"new"))
    assert (rows(), objects(storage)) == ([("a.txt", "a.txt", True)], {"a.txt": b"new"})
    assert File.objects.get().missing_at is None


def test_replace_makes_a_file_in_the_trash_live(make_file, storage):
    file = make_file("a.txt", b"old")
    file.trash()
    file.replace(ContentFile(b"new"))
    assert (str(File.objects.live().get()), kept().name) == ("a.txt", "a.txt")
    assert objects(storage) == {"a.txt": b"new", str(kept()): b"old"}


def test_replace_overwrites_nothing_that_came_meanwhile(make_file, storage, put, during):
    file = make_file("a.txt", b"old")
    before = state()
    during("PutObject", lambda: put("a.txt", b"theirs"))
    with pytest.raises(ObjectChangedError, match="changed meanwhile"):
        file.replace(ContentFile(b"ours"))
    assert (state(), objects(storage)) == (before, {"a.txt": b"theirs"})


def test_replace_overwrites_nothing_where_an_object_came_meanwhile(make_file, storage, put, during):
    file = make_file("a.txt")
    storage.delete("a.txt")
    before = state()
    during("PutObject", lambda: put("a.txt", b"theirs"))
    with pytest.raises(FileExistsError):
        file.replace(ContentFile(b"ours"))
    assert (state(), objects(storage)) == (before, {"a.txt": b"theirs"})


def test_replace_keeps_the_last_copy_of_what_was_deleted_meanwhile(make_file, storage, during):
    file = make_file("a.txt", b"old")
    during("PutObject", lambda: storage.delete("a.txt"))
    with pytest.raises(OSError, match=r"no such object|changed meanwhile"):
        file.replace(ContentFile(b"new"))
    assert objects(storage) == {str(kept()): b"old"}


class Failing(io.BytesIO):
    """Content that cannot be read to its end."""

    def read(self, size=-1):
        data = super().read(size)
        if self.tell() > PART_SIZE:
            raise RuntimeError("the disk is gone")
        return data


def test_a_content_that_breaks_replaces_nothing(make_file, storage):
    file = make_file("a.txt", b"old")
    before = state()
    with pytest.raises(RuntimeError, match="the disk is gone"):
        file.replace(Failing(bytes(2 * PART_SIZE)))
    assert (state(), objects(storage), open_uploads(storage)) == (before, {"a.txt": b"old"}, [])


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
    assert (row.size, row.content_type, row.etag, row.modified_at) == storage.stat("a.txt")


@pytest.mark.parametrize("action", ["rename", "replace", "restore"])
def test_what_cannot_be_rolled_back_is_refused_in_a_transaction(
    transactional_db, make_file, storage, action
):
    file = make_file("a.txt", b"old")
    with (
        pytest.raises(TransactionManagementError, match=rf"{action}\(\) .* durable"),
        transaction.atomic(),
    ):
        ACTIONS[action](file)
    assert (rows(), objects(storage)) == ([("a.txt", "a.txt", True)], {"a.txt": b"old"})
    assert (locks(), Operation.objects.count()) == (0, 0)


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


def test_restore_brings_a_replaced_content_back_to_its_key(make_file, storage):
    file = make_file("a.txt", b"old", ContentType="text/x-old")
    file.replace(ContentFile(b"new"))
    file.delete()
    old = kept()
    old.restore()
    assert (rows(), objects(storage)) == ([("a.txt", "a.txt", True)], {"a.txt": b"old"})
    row = File.objects.get()
    assert (row.pk, row.content_type, row.etag) == (
        old.pk,
        "text/x-old",
        storage.stat("a.txt").etag,
    )


def test_restore_brings_a_replaced_content_back_beside_its_key(make_file, storage):
    file = make_file("a.txt", b"old")
    file.replace(ContentFile(b"new"))
    kept().restore()
    (taken, beside) = File.objects.live()
    assert (taken, str(taken)) == (file, "a.txt")
    assert str(beside).startswith("a_")
    assert objects(storage) == {"a.txt": b"new", str(beside): b"old"}
    assert beside.name == str(beside)


def test_restore_goes_beside_a_row_without_an_object(make_file, storage):
    file = make_file("a.txt", b"old")
    file.replace(ContentFile(b"new"))
    storage.delete("a.txt")
    kept().restore()
    (beside,) = objects(storage)
    assert beside.startswith("a_")
    assert rows() == [("a.txt", "a.txt", True), (beside, beside, True)]


@pytest.mark.parametrize("key", ["x" * 1024, "ü" * 512])
def test_restore_brings_back_beside_the_longest_key(make_file, storage, key):
    make_file(key, b"old").replace(ContentFile(b"new"))
    File.objects.trashed().get().restore()
    assert sorted(objects(storage).values()) == [b"new", b"old"]
    assert max(len(row_key.encode()) for row_key, _, _ in rows()) == 1024


def test_restore_of_a_replaced_content_that_is_gone_changes_nothing(make_file, storage):
    make_file("a.txt", b"old").replace(ContentFile(b"new"))
    storage.delete(str(kept()))
    before = state()
    with pytest.raises(FileNotFoundError):
        kept().restore()
    assert (state(), objects(storage)) == (before, {"a.txt": b"new"})


# Another key


# XML has no control characters, and the answer to the first request of a copy has the key in it.
@pytest.mark.parametrize("key", [key for key in KEYS if "\x01" not in key])
def test_rename_takes_every_key(make_file, storage, key):
    file = make_file("source", b"text")
    file.rename(key)
    assert (rows(), objects(storage)) == ([(key, key, True)], {key: b"text"})
    file.rename("target")
    assert (rows(), objects(storage)) == ([("target", "target", True)], {"target": b"text"})


def test_rename_keeps_all_but_the_key(make_file, storage):
    file = make_file(
        "a.txt",
        b"text",
        ContentType="text/x-own; charset=utf-8",
        CacheControl="max-age=60",
        ContentDisposition='attachment; filename="x"',
        ContentEncoding="identity",
        ContentLanguage="de",
        Metadata={"author": "somebody"},
        Tagging="a+b=c%2Bd&e=%C3%BC",
    )
    tell = storage.client.head_object, storage.client.get_object_tagging
    before, tags = (ask(Bucket=storage.bucket_name, Key="a.txt") for ask in tell)
    file.rename("b.bin")
    after, copied = (ask(Bucket=storage.bucket_name, Key="b.bin") for ask in tell)
    assert after["Metadata"].pop(WRITE_MARK)
    names = {"ContentLength", *(name for name, _ in COPIED.values())}
    assert {name: after.get(name) for name in names} == {name: before.get(name) for name in names}
    assert sorted(map(str, copied["TagSet"])) == sorted(map(str, tags["TagSet"]))


def test_rename_records_the_new_object(make_file, put, storage):
    put("a.txt", b"text", ContentType="text/x-own")
    file = File.objects.create(object_key="a.txt")
    file.rename("b.bin")
    row = File.objects.get()
    assert row.pk == file.pk
    assert (row.size, row.content_type, row.etag, row.modified_at) == storage.stat("b.bin")
    assert (str(file), file.size, file.content_type, file.etag) == ("b.bin", *row_facts(row))


def row_facts(row):
    return row.size, row.content_type, row.etag


@pytest.mark.parametrize("trashed", [False, True])
def test_rename_refuses_the_key_of_another_file(make_file, storage, trashed):
    file, other = make_file("a", b"text"), make_file("b", b"other")
    if trashed:
        other.trash()
    before = state()
    with pytest.raises(FileExistsError, match="a file of this key"):
        file.rename("b")
    assert (state(), objects(storage)) == (before, {"a": b"text", "b": b"other"})


def test_rename_refuses_the_key_of_an_object_without_a_row(make_file, storage, put):
    file = make_file("a", b"text")
    put("b", b"other")
    before = state()
    with pytest.raises(FileExistsError, match="an object of this key"):
        file.rename("b")
    assert (state(), objects(storage)) == (before, {"a": b"text", "b": b"other"})


def test_rename_tells_what_is_in_its_way_though_an_upload_to_that_key_is_open(
    make_file, storage, put
):
    file = make_file("a", b"text")
    put("b", b"other")
    upload_id = storage.begin_upload("b", "text/plain", "0" * 32)
    with pytest.raises(FileExistsError, match="an object of this key"):
        file.rename("b")
    assert [upload["UploadId"] for upload in open_uploads(storage)] == [upload_id]
    assert Operation.objects.count() == 0


def test_rename_overwrites_nothing_that_came_meanwhile(make_file, storage, put, during):
    file = make_file("a", b"text")
    before = state()
    during("PutObject", lambda: put("b", b"theirs"))
    with pytest.raises(FileExistsError, match="an object of this key"):
        file.rename("b")
    assert (state(), objects(storage)) == (before, {"a": b"text", "b": b"theirs"})
    assert open_uploads(storage) == []


def test_rename_to_the_same_key_does_nothing(make_file, storage, django_assert_num_queries):
    file = make_file("a", b"text")
    before, etag = state(), storage.stat("a").etag
    with django_assert_num_queries(0):
        file.rename("a")
    assert (state(), storage.stat("a").etag) == (before, etag)


@pytest.mark.parametrize("key", ["", "x" * 1025, "ü" * 513, "a\0b", "\ud800"])
def test_rename_refuses_what_is_no_key(make_file, storage, key):
    file = make_file("a", b"text")
    before = state()
    with pytest.raises(ValidationError):
        file.rename(key)
    assert (state(), objects(storage)) == (before, {"a": b"text"})


def test_rename_of_a_missing_object_changes_nothing(make_file, storage):
    file = make_file("a")
    storage.delete("a")
    before = state()
    with pytest.raises(FileNotFoundError):
        file.rename("b")
    assert (state(), objects(storage)) == (before, {})


def test_rename_of_a_file_in_the_trash_leaves_it_there(make_file, storage):
    file = make_file("a", b"text")
    file.trash()
    file.rename("b")
    assert (rows(), objects(storage)) == ([("b", "b", False)], {"b": b"text"})


@pytest.mark.parametrize("size", [0, 1, 5 * MIB, 5 * MIB + 1, 17 * MIB])
def test_rename_copies_any_size_exactly(make_file, storage, monkeypatch, size):
    monkeypatch.setattr(copying, "COPY_PART_SIZE", 5 * MIB)
    data = random.Random(0).randbytes(size)
    make_file("a", data).rename("b")
    assert (rows(), objects(storage)) == ([("b", "b", True)], {"b": data})


def test_a_copy_that_fails_leaves_no_row_no_object_and_no_upload(
    make_file, storage, monkeypatch, during
):
    monkeypatch.setattr(copying, "COPY_PART_SIZE", 5 * MIB)
    monkeypatch.setattr(copying, "COPIES", 1)
    file = make_file("a", bytes(11 * MIB))
    before = state()
    during("UploadPartCopy", lambda: during("UploadPartCopy", lambda: storage.delete("a")))
    with pytest.raises(FileNotFoundError):
        file.rename("b")
    assert (state(), objects(storage), open_uploads(storage)) == (before, {}, [])


def test_what_cannot_be_deleted_after_a_rename_is_left_to_purge_files(make_file, storage, during):
    file = make_file("a", b"text")
    during("DeleteObject", lost)
    file.rename("b")
    assert (rows(), objects(storage)) == ([("b", "b", True)], {"a": b"text", "b": b"text"})
    operations.end(Operation.objects.get())
    assert (rows(), objects(storage)) == ([("b", "b", True)], {"b": b"text"})


# Two at once


def elsewhere(action):
    """Do it in another thread, with a connection of its own; return what it raised."""
    raised = []

    def run():
        try:
            action()
        except OSError as error:
            raised.append(type(error))
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised


ACTIONS = {
    "rename": lambda file: file.rename("b"),
    "replace": lambda file: file.replace(ContentFile(b"theirs")),
    "restore": lambda file: file.restore(),
    "trash": lambda file: file.trash(),
    "delete": lambda file: file.delete(),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_of_two_at_once_the_second_is_refused(transactional_db, make_file, storage, action):
    file = make_file("a.txt", b"old")
    other = File.objects.get()
    with operations.replacing(file) as operation:
        assert elsewhere(lambda: ACTIONS[action](other)) == [ConflictError]
        storage.replace("a.txt", ContentFile(b"ours"), operation.etag)
    assert objects(storage) == {"a.txt": b"ours", str(kept()): b"old"}
    assert locks() == 0


PAIRS = [*ACTIONS, "create"]


@pytest.mark.parametrize("second", PAIRS)
@pytest.mark.parametrize("first", PAIRS)
def test_of_each_two_at_once_neither_loses_anything(
    transactional_db, make_file, storage, on_request, first, second
):
    file = make_file("a", b"old")
    if first == "restore":
        file.trash()
    other = File.objects.get()

    def act(name, own):
        create("b", b"new") if name == "create" else ACTIONS[name](own)

    on_request(lambda: elsewhere(lambda: act(second, other)))
    with contextlib.suppress(OSError):
        act(first, file)
    on_request(None)
    sweep()
    assert b"old" in objects(storage).values() or "delete" in {first, second}
    assert {str(row) for row in File.objects.all()} == set(objects(storage))
    assert_rows_are_true(storage)
    assert (locks(), Operation.objects.count()) == (0, 0)


@pytest.fixture
def on_request(monkeypatch):
    """Return what calls an action before each of this thread's requests to S3."""
    actions, thread = [], threading.get_ident()

    def urlopen(pool, *arguments, urlopen=HTTPConnectionPool.urlopen, **options):
        if actions and threading.get_ident() == thread:
            actions[0]()
        return urlopen(pool, *arguments, **options)

    def on_request(action):
        actions[:] = [action] if action else []

    monkeypatch.setattr(HTTPConnectionPool, "urlopen", urlopen)
    return on_request


def test_of_eight_renames_one_wins(transactional_db, make_file, storage):
    pk = make_file("a", b"text").pk
    start, outcomes = threading.Barrier(8), []

    def rename(number):
        file = File.objects.get(pk=pk)
        start.wait()
        file.rename(f"b{number}")

    def run(number):
        outcomes.append(elsewhere(lambda: rename(number)))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=len) == [[], *[[ConflictError]] * 7]
    ((key, _, live),) = rows()
    assert (objects(storage), live, locks()) == ({key: b"text"}, True, 0)


def test_a_key_is_nobody_elses_while_a_file_is_copied_to_it(
    transactional_db, make_file, storage, during
):
    other, raised = make_file("c", b"other"), []

    def meddle():
        for action in (lambda: create("b", b"theirs"), lambda: other.rename("b")):
            raised.extend(elsewhere(action))

    file = make_file("a", b"text")
    during("PutObject", meddle)
    file.rename("b")
    assert raised == [ConflictError] * 2
    assert objects(storage) == {"b": b"text", "c": b"other"}


@pytest.mark.parametrize("action", ["rename", "replace", "restore", "trash", "delete"])
def test_a_file_that_was_moved_meanwhile_is_left_alone(transactional_db, make_file, action):
    file = make_file("a", b"text")
    File.objects.get().rename("c")
    before = state()
    with pytest.raises(ConflictError, match="Another operation on the file"):
        ACTIONS[action](file)
    assert (state(), locks()) == (before, 0)


def test_the_lock_is_free_after_success(transactional_db, make_file):
    file = make_file("a")
    for action in (
        lambda: file.rename("c"),
        file.trash,
        *(lambda a=a: a(file) for a in ACTIONS.values()),
    ):
        action()
        assert locks() == 0


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (lambda file: file.rename("taken"), FileExistsError),
        (lambda file: file.replace(Failing(bytes(2 * PART_SIZE))), RuntimeError),
        (lambda file: (file.storage.delete("a"), file.restore()), FileNotFoundError),
        (lambda file: (file.storage.delete("a"), file.rename("b")), FileNotFoundError),
    ],
)
def test_the_lock_is_free_after_a_failure(transactional_db, make_file, action, error):
    make_file("taken")
    with pytest.raises(error):
        action(make_file("a"))
    assert locks() == 0


# A crash

OPERATIONS = {
    "create": lambda file, new: create("b", new),
    "trash": lambda file, new: file.trash(),
    "restore": lambda file, new: file.restore(),
    "rename": lambda file, new: file.rename("b"),
    "replace": lambda file, new: file.replace(ContentFile(new)),
    "delete": lambda file, new: file.delete(),
}


def operate(operation, file, new, *, in_transaction):
    with transaction.atomic() if in_transaction else contextlib.nullcontext():
        OPERATIONS[operation](file, new)


# Does operations, each in a fork of its own that kills itself at a given step. It is warm, so that
# a fork starts fast, and has neither threads nor connections when it forks.
CRASHING = """
import json, os, signal, sys, threading, traceback

import django

django.setup()

from django.core.files.base import ContentFile
from django.db import connection
from urllib3 import HTTPConnectionPool

from files.storage import bucket, client, copying, writing
from files import operations
from files.models import File, Operation
from files.operations import ConflictError
from tests.test_operations import content, create, operate

writing.PART_SIZE = copying.COPY_PART_SIZE = 5 * 2**20


def run(operation, pk, size, in_transaction, moment, number):
    lock = threading.Lock()
    steps = {"before": 0, "after": 0}

    def step(kind):
        with lock:
            steps[kind] += 1
            if (kind, steps[kind]) == (moment, number):
                os.kill(os.getpid(), signal.SIGKILL)

    def query(execute, *arguments):
        step("before")
        return execute(*arguments)

    def commit(commit=connection._commit):
        step("before")
        commit()

    def request(pool, method, *arguments, urlopen=HTTPConnectionPool.urlopen, **options):
        step("before")
        response = urlopen(pool, method, *arguments, **options)
        if method != "HEAD":
            step("after")
        return response

    file = File.objects.get(pk=pk)
    connection._commit = commit
    HTTPConnectionPool.urlopen = request
    with connection.execute_wrapper(query):
        operate(operation, file, content("new", size), in_transaction=in_transaction)


file = File.objects.create(object_key=ContentFile(b"warm", name="warm"))
file.rename("warmer")
file.delete()
connection.close()
client.client().close()
bucket.bucket(file.storage.bucket_name)._http.close()
bucket._bucket.cache_clear()
print("warm", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            run(*json.loads(line))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def crashing(django_db_setup, _bucket):
    """Start the process that forks."""
    variables = {
        "APP_DB_NAME": connection.settings_dict["NAME"],
        "DJANGO_SETTINGS_MODULE": "project.settings",
    }
    with subprocess.Popen(
        [sys.executable, "-c", CRASHING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | variables,
    ) as process:
        assert process.stdout.readline() == "warm\n"
        yield process


@pytest.fixture
def crash(crashing, transactional_db):
    """Do an operation that kills itself at a step; return the status it ended with."""

    def crash(*about):
        crashing.stdin.write(json.dumps(about) + "\n")
        crashing.stdin.flush()
        status = int(crashing.stdout.readline())
        limit = time.monotonic() + 10
        while locks():  # until PostgreSQL has seen that the session is over
            assert time.monotonic() < limit
            time.sleep(0.002)
        return status

    return crash


@functools.cache
def content(name, size):
    return random.Random(name).randbytes(size)


def prepare(operation, size, storage):
    """Make the file for an operation, alone in the bucket."""
    key = ".files/0" if operation == "restore" else "a"
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE files, files_operation")
    for entry in listed(storage):
        storage.delete(entry["Key"])
    storage.client.put_object(Bucket=storage.bucket_name, Key=key, Body=content("old", size))
    (file,) = File.objects.bulk_create([File(object_key=key)])
    file.refresh_from_storage()
    if operation == "restore":
        File.objects.update(original_key="a", deleted_at=file.created_at)
    return file.pk


def survey(storage, size):
    """Return of each key whether it is live, in the trash or without a row, and what it holds."""
    known = {content(name, length): name for name in ("old", "new") for length in (3, size)}
    found = {key: known.get(data, "other") for key, data in objects(storage).items()}
    live = {str(file): file.deleted_at is None for file in File.objects.all()}
    return {key: (live.get(key), found.get(key)) for key in {*found, *live}}


def end(operation, pk):
    """Do what was stopped once more, at once; then sweep and empty the trash."""
    if operation != "create":
        for file in File.objects.filter(pk=pk):
            OPERATIONS[operation](file, content("new", 3))
    elif not File.objects.filter(object_key="b").exists():
        create("b", content("new", 3))
    empty_trash()


def empty_trash():
    sweep()
    for file in File.objects.trashed():
        file.delete()


def sweep():
    """End what was interrupted, however short a time ago."""
    for operation in Operation.objects.all():
        operations.end(operation)


# Each operation with what is live when it has been done and the trash has been emptied.
OUTCOMES = [
    ("create", 3, ["new", "old"], False),
    ("create", 3, ["new", "old"], True),
    ("create", 5 * MIB + 1, ["new", "old"], False),
    ("trash", 3, [], False),
    ("trash", 3, [], True),
    ("restore", 3, ["old"], False),
    ("rename", 3, ["old"], False),
    ("rename", 8 * MIB + 1, ["old"], False),
    ("replace", 3, ["new"], False),
    ("replace", 5 * MIB + 1, ["new"], False),
    ("delete", 3, [], False),
    ("delete", 3, [], True),
]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("operation", "size", "outcome", "in_transaction"), OUTCOMES)
def test_a_crash_leaves_every_live_row_its_bytes(
    crash, storage, operation, size, outcome, in_transaction, moment
):
    for number in itertools.count(1):
        pk = prepare(operation, size, storage)
        status = crash(operation, pk, size, in_transaction, moment, number)
        found = survey(storage, size)
        assert {key for key, (live, _) in found.items() if live is None} <= named(), number
        assert {held for live, held in found.values() if live} <= {"old", "new"}, number
        assert "old" in {held for _, held in found.values()} or operation == "delete", number
        end(operation, pk)
        assert sorted(survey(storage, size).values()) == [(True, held) for held in outcome]
        assert_rows_are_true(storage)
        assert (Operation.objects.count(), known_uploads(storage)) == (0, []), number
        if status != -signal.SIGKILL:
            break
    assert (status, number > 1) == (0, (operation, moment) != ("trash", "after"))


def known_uploads(storage):
    """Return the open uploads that can be known by their time, which moto does not keep."""
    return [found for found in open_uploads(storage) if found["Initiated"].year > 2010]


def named():
    """Return the keys that the operations under way name."""
    return {key for operation in Operation.objects.all() for key in operation.keys}


def assert_rows_are_true(storage):
    for row in File.objects.live():
        assert (row.size, row.content_type, row.etag, row.modified_at) == storage.stat(str(row))


def test_a_file_restored_meanwhile_is_not_deleted(make_file, storage):
    file = make_file("a")
    file.trash()
    stale = File.objects.get()
    file.restore()
    with pytest.raises(ObjectChangedError):
        stale.delete()
    assert File.objects.live().get().read_text() == "text"


def test_a_content_that_the_caller_has_not_seen_is_not_deleted(make_file, storage):
    file = make_file("a.txt", b"old")
    File.objects.get().replace(ContentFile(b"new"))
    before = state()
    with pytest.raises(ConflictError):
        file.delete()
    assert (state(), objects(storage)) == (before, {"a.txt": b"new", str(kept()): b"old"})


def test_what_somebody_else_writes_during_a_rename_stays_in_the_bucket(
    make_file, storage, during, put, caplog
):
    file = make_file("a", b"old")
    during("PutObject", lambda: put("a", b"theirs"))
    file.rename("b")
    assert (rows(), objects(storage)) == ([("b", "b", True)], {"a": b"theirs", "b": b"old"})
    assert "The object 'a' stays" in caplog.text


# Inside a caller's transaction


class RollBackError(Exception):
    """What rolls a transaction back."""


@contextlib.contextmanager
def rolled_back():
    with contextlib.suppress(RollBackError), transaction.atomic():
        yield
        raise RollBackError


def test_a_delete_that_is_rolled_back_keeps_row_and_bytes(transactional_db, make_file, storage):
    file = make_file("a", b"text")
    with rolled_back():
        file.delete()
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"text"})
    assert (locks(), Operation.objects.count()) == (0, 0)


def test_a_delete_takes_the_bytes_when_the_transaction_commits(
    transactional_db, make_file, storage
):
    file = make_file("a", b"text")
    with transaction.atomic():
        file.delete()
        assert objects(storage) == {"a": b"text"}
    assert (rows(), objects(storage)) == ([], {})
    assert (locks(), Operation.objects.count()) == (0, 0)


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_delete_that_a_foreign_key_refuses_keeps_row_and_bytes(
    transactional_db, make_file, storage, referring, in_transaction
):
    file = make_file("a", b"text")
    referring("a")
    with pytest.raises(IntegrityError, match="referring"):
        operate("delete", file, b"", in_transaction=in_transaction)
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"text"})
    assert (locks(), Operation.objects.count()) == (0, 0)


def test_a_delete_that_a_foreign_key_refuses_keeps_the_bytes_in_a_test_case(
    make_file, storage, referring
):
    file = make_file("a", b"text")
    referring("a")
    with pytest.raises(IntegrityError, match="referring"):
        file.delete()
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"text"})


def test_a_delete_that_s3_refuses_after_the_commit_brings_the_row_back(
    transactional_db, make_file, storage, during, caplog
):
    file = make_file("a", b"text")
    during("DeleteObject", lost)
    with transaction.atomic():
        file.delete()
    assert (rows(), objects(storage)) == ([("a", "a", False)], {"a": b"text"})
    assert "out of reach" in caplog.text


@pytest.mark.parametrize("savepoint", [False, True])
def test_an_object_whose_row_was_rolled_back_is_taken_over(transactional_db, storage, savepoint):
    with transaction.atomic() if savepoint else contextlib.nullcontext():
        with rolled_back():
            create("a", b"first")
        assert (rows(), objects(storage)) == ([], {"a": b"first"})
        create("a", b"second")
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"second"})
    assert (locks(), Operation.objects.count()) == (0, 0)


def test_an_object_whose_row_was_rolled_back_is_swept(transactional_db, storage):
    with rolled_back():
        create("a")
    sweep()
    assert (objects(storage), Operation.objects.count()) == ({}, 0)


def test_an_object_whose_row_may_be_committed_yet_is_nobody_elses(transactional_db, storage):
    with transaction.atomic():
        create("a", b"ours")
        assert elsewhere(lambda: create("a", b"theirs")) == [ConflictError]
        assert elsewhere(sweep) == [ConflictError]
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"ours"})


def test_a_key_is_not_free_before_its_deletion_is_committed(transactional_db, make_file, storage):
    file = make_file("a", b"old")
    with transaction.atomic():
        file.delete()
        with pytest.raises(ConflictError):
            create("a", b"new")
    create("a", b"new")
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"new"})


@pytest.mark.parametrize("commits", [False, True])
def test_trash_holds_as_the_transaction_does(transactional_db, make_file, storage, commits):
    file = make_file("a", b"text")
    with transaction.atomic() if commits else rolled_back():
        file.trash()
        assert elsewhere(File.objects.get().restore) == [ConflictError]
    assert (rows(), objects(storage)) == ([("a", "a", not commits)], {"a": b"text"})
    assert locks() == 0


def test_no_lock_outlives_a_transaction_that_is_aborted(transactional_db, make_file):
    file = make_file("a")

    def delete_after_an_error():
        with contextlib.suppress(DatabaseError):
            execute("SELECT 1 / 0")
        file.delete()

    with pytest.raises(DatabaseError), transaction.atomic():
        delete_after_an_error()
    assert (locks(), rows()) == (0, [("a", "a", True)])


def test_no_lock_outlives_a_statement_that_fails(transactional_db, make_file):
    file = make_file("a")

    def fail(execute, sql, *arguments):
        if sql.startswith("INSERT"):
            sql = "SELECT 1 / 0"
        return execute(sql, *arguments)

    for action in ("rename", "replace", "delete"):
        with connection.execute_wrapper(fail), pytest.raises(DatabaseError):
            ACTIONS[action](file)
        assert locks() == 0


def test_several_are_created_at_once_or_none(transactional_db, storage):
    files = [File(object_key=ContentFile(b"x", name=key)) for key in "ab"]
    File.objects.bulk_create(files)
    assert (rows(), objects(storage)) == (
        [("a", "a", True), ("b", "b", True)],
        {"a": b"x", "b": b"x"},
    )
    assert (locks(), Operation.objects.count()) == (0, 0)


# The guard


@pytest.mark.parametrize(
    "action",
    [
        lambda: File.objects.all().delete(),
        lambda: File.objects.update(object_key="b"),
        lambda: execute("DELETE FROM files"),
        lambda: execute("UPDATE files SET object_key = 'b'"),
    ],
)
def test_rows_that_would_leave_their_objects_are_kept(make_file, action):
    file = make_file("a")
    sentence = rf"The object of file {file.pk} .*File.delete\(\)"
    with pytest.raises(IntegrityError, match=sentence), transaction.atomic():
        action()
    assert rows() == [("a", "a", True)]


def test_rows_without_an_object_are_free(make_file, storage):
    file = make_file("a")
    storage.delete("a")
    file.refresh_from_storage()
    File.objects.update(object_key="b")
    File.objects.all().delete()
    assert rows() == []


def test_truncate_and_all_other_columns_are_free(make_file):
    file = make_file("a")
    File.objects.update(content_type="text/x-other")
    file.save()
    execute("UPDATE files SET object_key = object_key, size = 1")
    execute("TRUNCATE files")
    assert rows() == []


def execute(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


# What it costs


def test_renaming_a_small_file_takes_few_statements_and_requests(
    transactional_db, make_file, storage, requests_to_s3
):
    file = make_file("a", b"text")
    del requests_to_s3[:]
    with CaptureQueriesContext(connection) as queries:
        file.rename("b")
    statements = [query["sql"] for query in queries]
    assert len([sql for sql in statements if sql not in {"BEGIN", "COMMIT"}]) <= 8, statements
    assert len(requests_to_s3) <= 6, requests_to_s3


@pytest.fixture
def requests_to_s3(monkeypatch):
    """Collect method and URL of each request to S3."""
    made = []

    def urlopen(pool, method, url, *arguments, urlopen=HTTPConnectionPool.urlopen, **options):
        made.append((method, url))
        return urlopen(pool, method, url, *arguments, **options)

    monkeypatch.setattr(HTTPConnectionPool, "urlopen", urlopen)
    return made
