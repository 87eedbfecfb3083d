"""`manage.py import_files`, also killed and run again."""

import functools

import pytest

from files.models import File, Operation
from tests.processes import run_command
from tests.test_storage import KEYS

pytestmark = pytest.mark.django_db


run = functools.partial(run_command, "import_files")


def rows():
    names = ("object_key", "size", "etag", "modified_at", "storage_class", "content_type")
    return {row[0]: row[1:] for row in File.objects.values_list(*names)}


def expected(storage, types):
    """Return the rows of the keys, as S3 tells of the objects."""
    found = {}
    for key, kind in types.items():
        stat = storage.stat(key)
        found[key] = (stat.size, stat.etag, stat.modified_at, stat.storage_class, kind)
    return found


def test_each_object_gets_a_row_once(put, storage):
    put("a.txt", b"text", StorageClass="STANDARD_IA")
    put("b//c.pdf", b"")
    put("d.tar.gz", b"d")
    put("e", b"e")
    types = {"a.txt": "text/plain", "b//c.pdf": "application/pdf", "d.tar.gz": "application/gzip"}
    types["e"] = "application/octet-stream"
    assert run()[::2] == ([], 0)
    assert rows() == expected(storage, types)
    lines, summary, status = run()
    assert (lines, summary, status) == ([], "4 objects, 6\xa0bytes: 0 rows added.\n", 0)


@pytest.mark.needs("exact keys")
def test_keys_are_kept_exactly(put):
    for key in KEYS:
        put(key, key.encode())
    run()
    assert {str(file): file.read_text() for file in File.objects.all()} == {
        key: key for key in KEYS
    }


def test_a_prefix_and_a_key_to_begin_after_are_heeded(put):
    for key in ("a/1", "a/2", "a/3", "b"):
        put(key, b"text")
    run("a/", "--after=a/1")
    assert list(rows()) == ["a/2", "a/3"]


def test_a_dry_run_only_tells(put):
    put("a\tb", b"text")
    lines, summary, status = run("--dry-run")
    assert (lines, status, rows()) == (["+ a␉b"], 0, {})
    assert "1 row would be added" in summary


def test_rows_that_lack_something_are_completed(put, storage):
    put("a.txt", b"text")
    File.objects.bulk_create([File(object_key="a.txt", content_type="text/x-own")])
    assert "0 rows added, 1 updated" in run()[1]
    assert rows() == expected(storage, {"a.txt": "text/x-own"})


def test_rows_of_another_content_are_updated_when_asked_for(make_file, put, storage):
    file = make_file("a.txt")
    File.objects.update(checksum="SHA256:x", changed_at=file.created_at)
    put("a.txt", b"theirs")
    before = rows()
    run()
    assert rows() == before
    assert run("--update", "--dry-run")[0] == ["* a.txt"]
    run("--update")
    assert rows() == expected(storage, {"a.txt": before["a.txt"][-1]})
    assert list(File.objects.values_list("checksum", "changed_at")) == [("", None)]


def test_a_file_that_is_back_is_no_longer_marked(make_file, put, storage):
    make_file("a").mark_missing(True)
    File.objects.update(checksum="SHA256:x")
    run()
    assert list(File.objects.values_list("missing_at", "checksum")) == [(None, "SHA256:x")]


def test_the_trash_stays_as_it_is(make_file, put):
    make_file("a").trash()
    put("a", b"theirs")
    before = rows()
    run("--update")
    assert (rows(), File.objects.live().count()) == (before, 0)


def test_what_no_row_can_be_made_of_is_told(put):
    put(".files/theirs", b"text")
    put("under way", b"text")
    Operation.begin("create", "under way")
    lines, summary, status = run()
    assert (lines, rows(), status) == ([], {}, 0)
    assert "1 below .files/, which check_files judges" in summary


def test_keys_that_no_row_can_hold_are_told_and_are_status_1(put, put_nul):
    put("c", b"text")
    lines, summary, status = run()
    assert (lines, list(rows()), status) == (["! a␀b (no row can hold this key)"], ["c"], 1)
    assert "1 row added, 1 key that no row can hold" in summary
