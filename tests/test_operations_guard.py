"""The trigger in the database: no statement leaves an object without its row."""

import pytest
from django.db import IntegrityError, transaction

from files.models import File, Operation
from tests.operations import execute, interrupt, rows


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


def test_what_was_interrupted_opens_no_guard(transactional_db, make_file, storage, during):
    file = make_file("a", b"text")
    during("PutObject", interrupt)
    with pytest.raises(KeyboardInterrupt):
        file.rename("b")
    assert Operation.objects.count() == 1
    with pytest.raises(IntegrityError):
        execute("DELETE FROM files")
    assert rows() == [("a", "a", True)]
