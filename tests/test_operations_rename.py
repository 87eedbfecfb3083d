"""Another key for a file: what its object keeps, what is refused, and what it costs."""

import random

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from urllib3 import HTTPConnectionPool

from files import operations
from files.models import File, Operation
from files.storage import copying
from files.storage.marks import WRITE_MARK
from files.storage.stat import COPIED
from tests.operations import MIB, lost, objects, rows, state
from tests.test_storage import KEYS, open_uploads


# XML has no control characters, and the answer to the first request of a copy has the key in it.
@pytest.mark.parametrize("key", [key for key in KEYS if "\x01" not in key])
def test_rename_takes_every_key(make_file, storage, key):
    file = make_file("source", b"text")
    file.rename(key)
    assert (rows(), objects(storage)) == ([(key, key, True)], {key: b"text"})
    file.rename("target")
    assert (rows(), objects(storage)) == ([("target", "target", True)], {"target": b"text"})


def test_rename_keeps_all_but_the_key(make_file, s3, bucket):
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
    tell = s3.head_object, s3.get_object_tagging
    before, tags = (ask(Bucket=bucket, Key="a.txt") for ask in tell)
    file.rename("b.bin")
    after, copied = (ask(Bucket=bucket, Key="b.bin") for ask in tell)
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
    assert (row.size, row.content_type, row.etag, row.modified_at) == storage.stat("b.bin")[:4]
    assert (str(file), file.size, file.content_type, file.etag) == ("b.bin", *row_facts(row))


def row_facts(row):
    return row.size, row.content_type, row.etag


def test_rename_to_the_same_key_does_nothing(make_file, storage, django_assert_num_queries):
    file = make_file("a", b"text")
    before, etag = state(), storage.stat("a").etag
    with django_assert_num_queries(0):
        file.rename("a")
    assert (state(), storage.stat("a").etag) == (before, etag)


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


# What is refused


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


@pytest.mark.usefixtures("unfinished_uploads")
def test_rename_names_the_object_in_its_way_also_where_an_upload_to_that_key_is_open(
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


# What stays at the old key


def test_what_cannot_be_deleted_after_a_rename_is_left_to_purge_files(make_file, storage, during):
    file = make_file("a", b"text")
    during("DeleteObject", lost)
    file.rename("b")
    assert (rows(), objects(storage)) == ([("b", "b", True)], {"a": b"text", "b": b"text"})
    operations.end(Operation.objects.get())
    assert (rows(), objects(storage)) == ([("b", "b", True)], {"b": b"text"})


def test_what_somebody_else_writes_during_a_rename_stays_in_the_bucket(
    make_file, storage, during, put, caplog
):
    file = make_file("a", b"old")
    during("PutObject", lambda: put("a", b"theirs"))
    file.rename("b")
    assert (rows(), objects(storage)) == ([("b", "b", True)], {"a": b"theirs", "b": b"old"})
    assert "The object 'a' stays" in caplog.text


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
