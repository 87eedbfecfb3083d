"""`manage.py purge_files`."""

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from files.management.commands import purge_files
from files.models import File
from tests.conftest import manage

pytestmark = pytest.mark.django_db


def purge(*arguments):
    stdout, stderr = io.StringIO(), io.StringIO()
    call_command("purge_files", *arguments, stdout=stdout, stderr=stderr)
    return stdout.getvalue().splitlines(), stderr.getvalue().splitlines()


@pytest.fixture
def trash(make_file):
    """Make files that have been in the trash for some days."""

    def trash(days, *keys):
        for key in keys:
            make_file(key).trash()
            since = timezone.now() - timedelta(days=days)
            File.objects.filter(object_key=key).update(deleted_at=since)

    return trash


def left(storage):
    return [str(file) for file in File.objects.all()], storage.listdir("")[1]


def test_what_is_old_goes_for_good(trash, make_file, storage):
    make_file("live")
    trash(29, "new")
    trash(31, "b", "a\t")
    assert purge() == (["- a␉", "- b"], [])
    assert left(storage) == (["live", "new"],) * 2


def test_the_age_and_the_prefix_are_told(trash, storage):
    trash(1, "a/x", "b")
    trash(3, "a/y")
    assert purge("a/", "--older-than=2")[0] == ["- a/y"]
    assert purge("a/", "--older-than=0.5")[0] == ["- a/x"]
    assert left(storage) == (["b"],) * 2


def test_a_replaced_content_goes_by_the_key_it_had(make_file, storage):
    from django.core.files.base import ContentFile

    make_file("a").replace(ContentFile(b"new"))
    assert purge("a", "--older-than=0")[0] == ["- a"]
    assert File.objects.get().read_text() == "new"
    assert storage.listdir(".trash") == ([], [])


def test_a_dry_run_only_tells(trash, storage):
    trash(31, "a")
    assert purge("--dry-run")[0] == ["- a"]
    assert left(storage) == (["a"],) * 2


def test_more_than_one_batch_goes(trash, storage, monkeypatch):
    monkeypatch.setattr(purge_files, "BATCH", 2)
    trash(31, *"abcde")
    assert purge()[0] == [f"- {key}" for key in "abcde"]
    assert left(storage) == ([], [])


def test_what_s3_refuses_stays_and_is_told(trash, storage, monkeypatch):
    trash(31, "a", "b")
    delete = storage._wrapped.delete

    def refuse(name):
        if name == "a":
            raise PermissionError(13, "S3 refuses DeleteObject")
        delete(name)

    monkeypatch.setattr(storage._wrapped, "delete", refuse)
    stderr = io.StringIO()
    with pytest.raises(CommandError, match="1 files could not be deleted: run it again"):
        call_command("purge_files", stdout=io.StringIO(), stderr=stderr)
    assert stderr.getvalue() == "! a: S3 refuses DeleteObject\n"
    assert left(storage) == (["a"],) * 2


def test_unfinished_uploads_are_aborted(storage):
    upload_id = storage.begin_upload("big.bin", "", "mark")
    assert purge("other", "--uploads-older-than=0") == ([], [])
    assert purge("big", "--uploads-older-than=0")[0] == ["- big.bin (an unfinished upload)"]
    with pytest.raises(OSError, match="NoSuchUpload"):
        storage.finish_upload("big.bin", upload_id, digests=[], size=0, mark="mark")


@pytest.mark.parametrize("days", ["-1", "x", "1e30"])
def test_what_is_no_number_of_days_is_one_sentence(days):
    done = manage("purge_files", f"--older-than={days}")
    assert done.returncode == 2
    assert b"days" in done.stderr.splitlines()[-1]
