"""Another content under a key: the old one goes to the trash, and nothing is overwritten."""

import io
import random

import pytest
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile

from files.models import File
from files.operations import ConflictError
from files.storage import ObjectChangedError, copying
from files.storage.writing import PART_SIZE
from tests.operations import MIB, Failing, kept, objects, rows, state
from tests.test_storage import open_uploads


@pytest.mark.needs("conditional puts")
@pytest.mark.parametrize("size", [0, 3, PART_SIZE - 1, PART_SIZE, 2 * PART_SIZE + 5])
def test_replace_keeps_id_and_key_and_puts_the_old_content_into_the_trash(make_file, storage, size):
    file = make_file("a.txt", b"old", ContentType="text/x-old")
    new = random.Random(0).randbytes(size)
    file.replace(ContentFile(new))
    row, old = File.objects.live().get(), kept()
    assert (row.pk, str(row), row.name, str(old)[:7]) == (file.pk, "a.txt", "a.txt", ".files/")
    assert objects(storage) == {"a.txt": new, str(old): b"old"}
    assert (row.size, row.content_type, row.etag, row.modified_at) == storage.stat("a.txt")[:4]
    assert (old.size, old.content_type, old.etag, old.modified_at) == storage.stat(str(old))[:4]
    assert (old.name, old.content_type) == ("a.txt", "text/x-old")


@pytest.mark.needs("conditional puts")
@pytest.mark.parametrize("size", [0, 1, 5 * MIB, 11 * MIB])
def test_replace_keeps_an_old_content_of_any_size(make_file, storage, monkeypatch, size):
    monkeypatch.setattr(copying, "COPY_PART_SIZE", 5 * MIB)
    old = random.Random(0).randbytes(size)
    make_file("a.txt", old).replace(ContentFile(b"new"))
    assert objects(storage) == {"a.txt": b"new", str(kept()): old}


@pytest.mark.needs("conditional puts")
def test_replace_takes_a_plain_binary_file(make_file, storage):
    make_file("a.txt", b"old").replace(io.BytesIO(b"new"))
    assert objects(storage) == {"a.txt": b"new", str(kept()): b"old"}


@pytest.mark.needs("conditional puts")
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


@pytest.mark.needs("conditional puts")
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


def test_a_content_that_breaks_replaces_nothing(make_file, storage):
    file = make_file("a.txt", b"old")
    before = state()
    with pytest.raises(RuntimeError, match="the disk is gone"):
        file.replace(Failing(bytes(2 * PART_SIZE)))
    assert (state(), objects(storage), open_uploads(storage)) == (before, {"a.txt": b"old"}, [])


@pytest.mark.needs("conditional puts")
def test_a_content_of_the_trash_is_not_replaced_below_the_reserved_prefix(make_file, storage):
    make_file("a.txt", b"old").replace(ContentFile(b"new"))
    with pytest.raises((ValidationError, ConflictError, OSError)):
        kept().replace(ContentFile(b"other"))
    assert [str(file) for file in File.objects.live()] == ["a.txt"]
