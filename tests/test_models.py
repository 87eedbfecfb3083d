"""The model: keys, uploads, and what the row knows."""

import base64
import hashlib

import pytest
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from files.models import File
from files.storage import ObjectStorage
from files.storage.writing import PART_SIZE
from tests.test_storage import KEYS

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("key", KEYS)
def test_a_row_holds_every_key_exactly(storage, key):
    file = File(object_key=key)
    file.full_clean()
    file.save(check=False)
    assert str(File.objects.get(object_key=key)) == key


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "cannot be blank"),
        ("x" * 1025, "at most 1,024 bytes in UTF-8; this one has 1,025"),
        ("ü" * 513, "at most 1,024 bytes in UTF-8; this one has 1,026"),
        ("a\0b", "NUL"),
        ("\ud800", "valid Unicode"),
    ],
)
def test_validation_refuses_what_is_no_key(key, message):
    with pytest.raises(ValidationError, match=message):
        File(object_key=key).full_clean()


@pytest.mark.parametrize("key", ["", "ü" * 513])
def test_the_database_refuses_what_is_no_key(key):
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("insert into files (object_key) values (%s)", [key])


def test_a_key_is_unique():
    File.objects.create(object_key="a", check=False)
    with pytest.raises(ValidationError, match="a file of this key already"):
        File(object_key="a").full_clean()


def test_rows_are_in_the_order_of_an_s3_listing():
    keys = ["B", "a", "a/b", "a0", "ü", "a-", "😀", "\uffee"]
    for key in keys:
        File.objects.create(object_key=key, check=False)
    found = list(File.objects.values_list("object_key", flat=True))
    assert found == sorted(keys, key=str.encode)


def test_creating_a_file_writes_the_object_and_records_it(storage):
    file = File.objects.create(object_key=ContentFile(b"text", name="/folder/../a.txt"))
    row = File.objects.get(pk=file.pk)
    stat = storage.stat("/folder/../a.txt")
    assert str(row) == "/folder/../a.txt"
    assert (row.size, row.content_type, row.etag) == (4, "text/plain", stat.etag)
    assert row.modified_at == stat.modified_at
    assert row.read_text() == "text"


def test_saving_the_field_records_the_object_too(storage):
    file = File()
    file.object_key.save("b.csv", ContentFile(b"a,b"))
    row = File.objects.get()
    assert (str(row), row.size, row.content_type) == ("b.csv", 3, "text/csv")


def test_an_object_whose_row_cannot_be_saved_is_deleted_again(storage):
    taken = File.objects.create(object_key="taken", check=False)
    with pytest.raises(IntegrityError):
        File.objects.create(pk=taken.pk, object_key=ContentFile(b"text", name="a"))
    assert not storage.exists("a")


@pytest.mark.parametrize("has_row", [False, True])
def test_a_content_under_a_taken_key_is_refused(storage, put, has_row):
    if has_row:
        File.objects.create(object_key="taken.txt", check=False)
    else:
        put("taken.txt", b"theirs")
    before = storage.listdir("")
    with pytest.raises(FileExistsError):
        File.objects.create(object_key=ContentFile(b"text", name="taken.txt"))
    assert (storage.listdir(""), File.objects.count()) == (before, has_row)


@pytest.mark.parametrize("pk", [None, 5])
@pytest.mark.parametrize("content", [".files/a", ContentFile(b"x", name=".files/a")])
def test_a_reserved_key_is_refused(storage, content, pk):
    with pytest.raises(ValidationError, match="reserved"):
        File.objects.create(pk=pk, object_key=content)
    assert (storage.listdir(".files"), File.objects.count()) == (([], []), 0)


def insert_by_hand(key):
    with connection.cursor() as cursor:
        cursor.execute("insert into files (object_key) values (%s)", [key])


@pytest.mark.parametrize(
    "insert", [insert_by_hand, lambda key: File.objects.bulk_create([File(object_key=key)])]
)
def test_the_database_refuses_a_reserved_key(db, insert):
    with pytest.raises(IntegrityError, match="files_object_key_not_reserved"), transaction.atomic():
        insert(".files/a")
    insert(".filesa")
    assert File.objects.count() == 1


@pytest.mark.needs("conditional puts")
def test_a_new_content_for_a_saved_row_replaces_the_one_that_it_has(make_file, storage):
    file = make_file("a", b"old")
    file.object_key = ContentFile(b"new", name="a")
    file.save()
    assert [row.read_text() for row in File.objects.order_by("pk")] == ["new", "old"]
    file.object_key = ContentFile(b"new", name="b")
    with pytest.raises(ValueError, match=r"has another key: rename\('b'\)"):
        file.save()


def test_a_stale_row_marks_nobody_as_missing(make_file, storage):
    make_file("a")
    stale = File.objects.get()
    File.objects.get().rename("b")
    stale.refresh_from_storage()
    stale.mark_missing(True)
    assert File.objects.get().missing_at is None


def test_delete_deletes_the_object_and_the_row(make_file, storage):
    make_file("a").delete()
    assert not storage.exists("a")
    assert not File.objects.exists()


@pytest.mark.parametrize("key", ["//[x/a.txt", "//a]b/c.pdf", "//\u2100/a.txt", "ab:c#d.pdf"])
def test_a_type_is_guessed_from_a_key_that_is_no_url(storage, key):
    file = File.objects.create(object_key=ContentFile(b"x", name=key))
    assert file.content_type in {"text/plain", "application/pdf"}


def test_a_type_that_is_too_long_is_cut(make_file):
    assert len(make_file("a", ContentType="a/" + "b" * 300).content_type) == 255


def test_an_object_that_was_there_outlives_a_row_that_cannot_be_saved(make_file, storage):
    make_file("taken")
    with pytest.raises(IntegrityError), transaction.atomic():
        File.objects.create(object_key="taken")
    assert storage.exists("taken")


def test_a_deletion_that_s3_refuses_keeps_the_row(make_file, monkeypatch):
    def refuse(self, name, etag=None):
        raise PermissionError(13, "S3 refuses DeleteObject")

    monkeypatch.setattr(ObjectStorage, "delete", refuse)
    with pytest.raises(PermissionError):
        make_file("a").delete()
    assert File.objects.trashed().exists()


def test_a_missing_object_is_marked_until_it_is_back(make_file, storage, put):
    file = make_file("a")
    storage.delete("a")
    file.refresh_from_storage()
    assert File.objects.get().missing_at is not None
    put("a", b"it is back")
    file.refresh_from_storage()
    row = File.objects.get()
    assert (row.missing_at, row.size) == (None, 10)


# An object that is there


def test_a_row_of_an_object_that_is_there_is_filled(storage, put):
    put("a.txt", b"text", ContentType="text/x-own", StorageClass="STANDARD_IA")
    File.objects.create(object_key="a.txt")
    row = File.objects.get()
    found = (row.size, row.content_type, row.etag, row.modified_at, row.storage_class, row.checksum)
    assert found == storage.stat("a.txt")
    assert row.storage_class == "STANDARD_IA"


def test_a_row_of_no_object_is_refused_unless_told(storage):
    with pytest.raises(FileNotFoundError, match="no such object"):
        File.objects.create(object_key="a.txt")
    file = File.objects.create(object_key="a.txt", check=False)
    assert list(File.objects.values_list("pk", "size", "etag")) == [(file.pk, None, "")]


# Checksums


def sha256(data):
    return f"SHA256:{base64.b64encode(hashlib.sha256(data).digest()).decode()}"


@pytest.mark.needs("conditional puts")
@pytest.mark.parametrize("size", [4, PART_SIZE + 1])
def test_a_row_has_the_checksum_of_what_was_written_and_keeps_it_when_renamed(db, size):
    first, second = bytes(size), b"x" * size
    file = File.objects.create(object_key=ContentFile(first, name="a"))
    file.rename("b")
    assert File.objects.get().checksum == sha256(first)
    file.replace(ContentFile(second))
    found = File.objects.live().get(), File.objects.trashed().get()
    assert [row.checksum for row in found] == [sha256(second), sha256(first)]


def test_a_checksum_goes_when_somebody_else_has_written_the_object(db, put):
    file = File.objects.create(object_key=ContentFile(b"ours", name="a"))
    File.objects.update(verified_at=timezone.now(), damaged_at=timezone.now())
    file.refresh_from_storage()
    assert File.objects.get().checksum == sha256(b"ours")
    put("a", b"theirs")
    file.refresh_from_storage()
    found = File.objects.values_list("size", "checksum", "verified_at", "damaged_at")
    assert list(found) == [(6, "", None, None)]
