"""The field: Django's contract of a FieldFile on an object's key."""

import io
import pickle
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, transaction

from files.models import File
from files.storage import S3UnavailableError
from tests.operations import lost
from tests.test_storage import listed

pytestmark = pytest.mark.django_db


def keys(storage):
    return [entry["Key"] for entry in listed(storage)]


# Reading


def test_the_key_opens_again_and_again(make_file):
    key = make_file("a.txt", b"text").object_key
    assert (key.open().read(2), key.open().read(), key.read()) == (b"te", b"text", b"")
    key.close()
    assert (key.closed, key.open().read(), key.closed) == (True, b"text", False)
    key.close()


def test_the_key_is_a_context_of_its_own(make_file):
    key = make_file("a.txt", b"one\ntwo").object_key
    for _ in range(2):
        with key.open() as file:
            assert (file is key, list(file)) == (True, [b"one\n", b"two"])
        assert key.closed
    with key.open("r") as file:
        assert list(file) == ["one\n", "two"]


def test_the_key_changes_its_mode_when_it_is_opened_again(make_file):
    key = make_file("a.txt", b"text").object_key
    assert [key.open(mode).read() for mode in ("rb", "r", "rb")] == [b"text", "text", b"text"]
    key.close()


def test_the_key_tells_size_and_url_and_yields_chunks(make_file):
    key = make_file("a.txt", b"text").object_key
    assert (key.size, len(key), "/a.txt?" in key.url) == (4, 4, True)
    assert (list(key.chunks(3)), list(key.chunks(3))) == ([b"tex", b"t"], [b"tex", b"t"])
    assert (key.multiple_chunks(), key.readable(), key.seekable()) == (False, True, True)
    key.close()


@pytest.mark.needs("conditional puts")
def test_the_key_reads_what_has_replaced_the_content(make_file):
    file = make_file("a.txt", b"old")
    assert file.object_key.open().read(1) == b"o"
    file.replace(ContentFile(b"new"))
    assert file.object_key.open().read() == b"new"
    file.object_key.close()


def test_the_key_is_not_opened_to_be_overwritten(make_file):
    with pytest.raises(ValueError, match=r"File\.replace\(\)"):
        make_file("a.txt").object_key.open("wb")


def test_a_row_without_a_key_has_no_file():
    assert not File().object_key
    for name in ("open", "size", "url"):
        with pytest.raises(ValueError, match="no file associated"):
            getattr(File().object_key, name)()


def test_a_row_with_an_open_key_is_pickled(make_file):
    file = make_file("a.txt", b"text")
    with file.object_key.open():
        again = pickle.loads(pickle.dumps(file))  # noqa: S301
    assert again.object_key.open().read() == b"text"
    again.object_key.close()


# A new row


def test_saving_the_key_of_a_new_row_writes_the_object_and_the_row(storage):
    file = File()
    file.object_key.save("b.csv", ContentFile(b"a,b"))
    row = File.objects.get()
    stat = storage.stat("b.csv")
    assert (row.pk, str(row), row.size, row.etag) == (file.pk, "b.csv", 3, stat.etag)
    assert (file.size, file.modified_at, str(file.object_key)) == (3, stat.modified_at, "b.csv")


def test_saving_the_key_without_the_row_writes_the_object(storage):
    file = File()
    file.object_key.save("b.csv", ContentFile(b"a,b"), save=False)
    assert (keys(storage), file.size, File.objects.exists()) == (["b.csv"], 3, False)
    file.save()
    assert str(File.objects.get()) == "b.csv"


@pytest.mark.parametrize(
    "content", [io.BytesIO(b"text"), io.StringIO("text"), SimpleUploadedFile("x", b"text")]
)
def test_saving_the_key_takes_any_file(storage, content):
    file = File()
    file.object_key.save("a.txt", content)
    assert File.objects.get().read_text() == "text"


def test_saving_the_key_takes_the_content_of_another_row(make_file):
    file = File()
    file.object_key.save("copy.txt", make_file("a.txt", b"text").object_key)
    assert File.objects.get(pk=file.pk).read_text() == "text"


@pytest.mark.parametrize("save", [True, False])
def test_saving_a_key_that_is_taken_is_refused(storage, put, save):
    put("a.txt", b"first")
    file = File()
    with pytest.raises(FileExistsError), transaction.atomic():
        file.object_key.save("a.txt", ContentFile(b"second"), save=save)
    assert (keys(storage), File.objects.exists()) == (["a.txt"], False)
    assert storage.open("a.txt").read() == b"first"


def test_creating_a_row_with_a_key_that_is_taken_is_refused(storage, put):
    put("a.txt", b"first")
    with pytest.raises(FileExistsError), transaction.atomic():
        File.objects.create(object_key=ContentFile(b"second", name="a.txt"))
    assert (keys(storage), File.objects.exists()) == (["a.txt"], False)


def test_a_path_is_a_key(storage, put):
    put("folder/there.txt", b"text")
    File.objects.create(object_key=ContentFile(b"text", name=Path("folder/new.txt")))
    assert File(object_key=Path("folder/there.txt")).size is None
    File.objects.create(object_key=Path("folder/there.txt"))
    found = File.objects.values_list("object_key", flat=True)
    assert list(found) == ["folder/new.txt", "folder/there.txt"]


# A saved row


@pytest.mark.needs("conditional puts")
def test_saving_its_own_key_replaces_the_content(make_file, storage):
    file = make_file("a.txt", b"old")
    before = file.object_key.open()
    file.object_key.save("a.txt", ContentFile(b"newer"))
    row = File.objects.live().get()
    assert before.closed
    assert (row.pk, str(row), row.size, row.read_text()) == (file.pk, "a.txt", 5, "newer")
    assert (file.size, file.etag, file.object_key.open().read()) == (5, row.etag, b"newer")
    file.object_key.close()
    assert File.objects.trashed().get().read_text() == "old"


def test_saving_another_key_is_refused(make_file, storage):
    file = make_file("a.txt", b"old")
    with pytest.raises(ValueError, match=r"rename\('b.txt'\)"):
        file.object_key.save("b.txt", ContentFile(b"new"))
    assert (keys(storage), str(file), file.read_text()) == (["a.txt"], "a.txt", "old")


@pytest.mark.needs("conditional puts")
def test_content_that_is_assigned_to_a_saved_row_replaces_its_own(make_file):
    file = make_file("a.txt", b"old")
    file.object_key = ContentFile(b"newer", name="a.txt")
    file.save()
    row = File.objects.live().get()
    assert (row.pk, row.size, row.read_text(), file.size) == (file.pk, 5, "newer", 5)
    assert File.objects.trashed().get().read_text() == "old"


@pytest.mark.needs("conditional puts")
def test_content_that_could_not_be_stored_is_stored_by_the_next_save(
    transactional_db, make_file, during
):
    file = make_file("a.txt", b"old")
    file.object_key = ContentFile(b"newer", name="a.txt")
    during("PutObject", lost)
    with pytest.raises(S3UnavailableError):
        file.save()
    file.save()
    assert File.objects.live().get().read_text() == "newer"


def test_content_of_another_key_that_is_assigned_to_a_saved_row_is_refused(make_file, storage):
    file = make_file("a.txt", b"old")
    file.object_key = ContentFile(b"new", name="b.txt")
    with pytest.raises(ValueError, match=r"rename\('b.txt'\)"), transaction.atomic():
        file.save()
    assert (keys(storage), File.objects.get().read_text()) == (["a.txt"], "old")


@pytest.mark.needs("conditional puts")
@pytest.mark.django_db(transaction=True)
def test_content_that_replaced_another_outlives_a_row_that_cannot_be_saved(make_file):
    file = make_file("a.txt", b"old")
    file.object_key = ContentFile(b"new", name="a.txt")
    file.original_key = None
    with pytest.raises(IntegrityError):
        file.save()
    assert File.objects.live().get().read_text() == "new"


def test_deleting_the_key_puts_the_row_into_the_trash(make_file, storage):
    file = make_file("a.txt")
    with file.object_key.open():
        file.object_key.delete()
    assert (str(File.objects.trashed().get()), keys(storage)) == ("a.txt", ["a.txt"])
    assert (file.object_key.closed, file.deleted_at is not None) == (True, True)


def test_deleting_the_key_of_a_new_row_is_refused(storage, put):
    put("a.txt", b"text")
    with pytest.raises(ValueError, match="not saved"):
        File(object_key="a.txt").object_key.delete()
    File().object_key.delete()
    assert keys(storage) == ["a.txt"]
