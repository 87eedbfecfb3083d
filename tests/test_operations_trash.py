"""Trash, restore and delete: what they leave of row and object."""

import pytest
from django.core.files.base import ContentFile
from django.db import connection

from files import activity
from files.models import File
from files.operations import ConflictError
from files.storage import ObjectChangedError, S3UnavailableError
from tests import location
from tests.operations import kept, lost, objects, rows, state


def test_trash_marks_the_row_and_leaves_the_object(make_file, storage):
    file = make_file("a", b"text")
    file.trash()
    assert rows() == [("a", "a", False)]
    assert objects(storage) == {"a": b"text"}
    assert (list(File.objects.live()), list(File.objects.trashed())) == ([], [file])


def test_trashing_again_keeps_who_it_was_and_when(make_file, monkeypatch):
    file = make_file("a")
    monkeypatch.setattr(activity, "actor", lambda: {"id": 1, "name": "ann"})
    file.trash()
    first = File.objects.get()
    assert first.deleted_by == "ann"
    monkeypatch.setattr(activity, "actor", lambda: None)
    file.trash()
    again = File.objects.get()
    assert (again.deleted_at, again.deleted_by) == (first.deleted_at, "ann")
    file.restore()
    assert File.objects.get().deleted_by == ""


@pytest.mark.needs("conditional puts")
def test_who_replaces_a_content_puts_the_old_one_into_the_trash(make_file, monkeypatch):
    monkeypatch.setattr(activity, "actor", lambda: {"id": 1, "name": "n" * 300})
    make_file("a.txt").replace(ContentFile(b"new"))
    assert kept().deleted_by == "n" * 255


# Restore


def test_restore_takes_the_file_out_of_the_trash_as_s3_has_it_now(make_file, storage, put):
    file = make_file("a", b"text")
    file.trash()
    put("a", b"longer text", ContentType="text/x-other")
    file.mark_missing(True)
    file.restore()
    row = File.objects.get()
    assert (row.deleted_at, row.missing_at) == (None, None)
    assert (row.size, row.content_type, row.etag, row.modified_at) == storage.stat("a")[:4]


def test_restore_refuses_a_file_whose_object_is_gone(make_file, storage):
    file = make_file("a")
    file.trash()
    storage.delete("a")
    with pytest.raises(FileNotFoundError, match="no such object"):
        file.restore()
    assert rows() == [("a", "a", False)]


@pytest.mark.needs("conditional puts")
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


@pytest.mark.needs("conditional puts")
def test_restore_takes_another_key_where_that_of_a_replaced_content_is_taken(make_file, storage):
    file = make_file("a.txt", b"old")
    file.replace(ContentFile(b"new"))
    kept().restore()
    (taken, restored) = File.objects.live()
    assert (taken, str(taken)) == (file, "a.txt")
    assert str(restored).startswith("a_")
    assert objects(storage) == {"a.txt": b"new", str(restored): b"old"}
    assert restored.name == str(restored)


@pytest.mark.needs("conditional puts")
def test_restore_takes_another_key_where_a_row_without_an_object_has_it(make_file, storage):
    file = make_file("a.txt", b"old")
    file.replace(ContentFile(b"new"))
    storage.delete("a.txt")
    kept().restore()
    (restored,) = objects(storage)
    assert restored.startswith("a_")
    assert rows() == [("a.txt", "a.txt", True), (restored, restored, True)]


@pytest.mark.needs("conditional puts")
@pytest.mark.parametrize("key", ["x" * location.limit(), "ü" * (location.limit() // 2)])
def test_restore_takes_another_key_where_the_longest_is_taken(make_file, storage, key):
    make_file(key, b"old").replace(ContentFile(b"new"))
    File.objects.trashed().get().restore()
    assert sorted(objects(storage).values()) == [b"new", b"old"]
    assert max(len(row_key.encode()) for row_key, _, _ in rows()) == len(key.encode())


@pytest.mark.needs("conditional puts")
def test_restore_of_a_replaced_content_that_is_gone_changes_nothing(make_file, storage):
    make_file("a.txt", b"old").replace(ContentFile(b"new"))
    storage.delete(str(kept()))
    before = state()
    with pytest.raises(FileNotFoundError):
        kept().restore()
    assert (state(), objects(storage)) == (before, {"a.txt": b"new"})


# Delete


@pytest.mark.parametrize("trashed", [False, True])
def test_delete_takes_object_and_row_for_good(make_file, storage, trashed):
    file = make_file("a")
    if trashed:
        file.trash()
    assert file.delete() == (1, {"files.File": 1})
    assert (rows(), objects(storage)) == ([], {})


def test_delete_ends_a_file_whose_object_is_gone(make_file, storage):
    file = make_file("a")
    storage.delete("a")
    file.delete()
    assert rows() == []


def test_delete_leaves_what_came_in_place_of_a_missing_object(make_file, storage, put):
    file = make_file("a")
    storage.delete("a")

    def come(execute, sql, *arguments):
        if sql.startswith('DELETE FROM "files"'):
            put("a", b"theirs")
        return execute(sql, *arguments)

    with connection.execute_wrapper(come):
        file.delete()
    assert (rows(), objects(storage)) == ([], {"a": b"theirs"})


def test_delete_takes_a_file_of_which_the_caller_has_seen_no_content(storage, put, db):
    put("a", b"text")
    file = File.objects.create(object_key="a", check=False)
    File.objects.get().refresh_from_storage()
    file.delete()
    assert (rows(), objects(storage)) == ([], {})


def test_a_delete_that_s3_refuses_leaves_the_file_in_the_trash(make_file, storage, during):
    file = make_file("a", b"text")
    during("DeleteObject", lost)
    with pytest.raises(S3UnavailableError):
        file.delete()
    assert rows() == [("a", "a", False)]
    File.objects.get().restore()
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"text"})


def test_a_file_restored_meanwhile_is_not_deleted(make_file, storage):
    file = make_file("a")
    file.trash()
    stale = File.objects.get()
    file.restore()
    with pytest.raises(ObjectChangedError):
        stale.delete()
    assert File.objects.live().get().read_text() == "text"


@pytest.mark.needs("conditional puts")
def test_a_content_that_the_caller_has_not_seen_is_not_deleted(make_file, storage):
    file = make_file("a.txt", b"old")
    File.objects.get().replace(ContentFile(b"new"))
    before = state()
    with pytest.raises(ConflictError):
        file.delete()
    assert (state(), objects(storage)) == (before, {"a.txt": b"new", str(kept()): b"old"})


@pytest.mark.needs("conditional puts")
def test_a_delete_of_what_was_replaced_since_changes_nothing(make_file, storage):
    file = make_file("a.txt", b"old")
    File.objects.get().replace(ContentFile(b"new"))
    with pytest.raises(ConflictError):
        file.delete()
    row = File.objects.live().get()
    assert (row.size, row.content_type, row.etag, row.modified_at) == storage.stat("a.txt")[:4]
