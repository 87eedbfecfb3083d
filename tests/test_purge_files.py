"""`manage.py purge_files`."""

import io
import threading
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from files import operations
from files.management.commands import purge_files
from files.models import File, Operation
from files.operations import purging
from tests.operations import interrupt
from tests.processes import manage

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


@pytest.mark.needs("conditional puts")
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


def test_what_s3_refuses_stays_and_is_told(trash, storage, during):
    trash(31, "a", "b")

    def refuse():
        raise PermissionError(13, "S3 refuses DeleteObject")

    during("DeleteObjects", refuse)
    during("DeleteObject", refuse)  # of `a`, which is the first one
    stderr = io.StringIO()
    with pytest.raises(CommandError, match="1 could not be deleted: run it again"):
        call_command("purge_files", stdout=io.StringIO(), stderr=stderr)
    assert stderr.getvalue() == "! a: S3 refuses DeleteObject\n"
    assert left(storage) == (["a"],) * 2


def test_ctrl_c_tells_how_far_it_is(transactional_db, trash, storage, during, monkeypatch):
    monkeypatch.setattr(purging, "BATCH", 1)
    trash(31, "a", "b", "c")
    during("DeleteObjects", lambda: during("DeleteObjects", interrupt))
    stdout, stderr = io.StringIO(), io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        call_command("purge_files", "--workers=1", stdout=stdout, stderr=stderr)
    told = "Interrupted: 1 deleted, 0 could not be deleted. Run it again to go on.\n"
    assert (stdout.getvalue(), stderr.getvalue()) == ("- a\n", told)
    assert left(storage) == (["c"], ["b", "c"])
    Operation.objects.update(started_at=timezone.now() - operations.LATE)
    assert purge()[0] == ["- c", "- b (an interrupted deletion)"]


def test_what_others_have_written_meanwhile_stays_and_is_told(trash, storage, put):
    trash(31, "a")
    put("a", b"theirs")
    stderr = io.StringIO()
    with pytest.raises(CommandError, match="1 could not be deleted"):
        call_command("purge_files", stdout=io.StringIO(), stderr=stderr)
    assert stderr.getvalue().startswith("! a: ")
    assert (storage.open("a").read(), left(storage)) == (b"theirs", (["a"], ["a"]))


def test_what_somebody_else_is_deleting_is_skipped(transactional_db, trash, storage):
    trash(31, "a", "b")
    with operations.locked("a"):
        found = []
        thread = threading.Thread(target=lambda: found.append(purge()) or connection.close())
        thread.start()
        thread.join()
    assert found == [(["- b"], [])]
    assert left(storage) == (["a"],) * 2


@pytest.mark.usefixtures("unfinished_uploads")
def test_unfinished_uploads_of_ours_are_aborted(storage):
    upload_id = storage.begin_upload("big.bin", "", "mark")
    Operation.begin("upload", "big.bin").note_upload(upload_id)
    theirs = storage.begin_upload("big.bin", "", "mark")
    assert purge("other", "--uploads-older-than=0") == ([], [])
    assert purge("big", "--uploads-older-than=0")[0] == ["- big.bin (an unfinished upload)"]
    assert [found for found, _ in storage.open_uploads("big.bin")] == [theirs]
    assert not Operation.objects.exists()


def test_what_was_interrupted_is_ended_when_it_must_be_over(make_file, storage):
    file = make_file("a")
    storage.copy("a", "b", mark="0" * 32)
    operation = Operation.begin("rename", "a", copy_key="b", file_id=file.pk, mark="0" * 32)
    assert purge() == ([], [])
    started_at = timezone.now() - operations.LATE
    Operation.objects.filter(pk=operation.pk).update(started_at=started_at)
    for prefix in ("", "a", "b"):
        assert purge("--dry-run", prefix)[0] == ["- a (an interrupted rename)"]
    assert purge() == (["- a (an interrupted rename)"], [])
    assert left(storage) == (["a"],) * 2


@pytest.mark.needs("conditional puts")
def test_what_others_keep_below_the_reserved_prefix_is_told_and_stays(make_file, storage, put):
    from django.core.files.base import ContentFile

    make_file("a").replace(ContentFile(b"new"))
    put(".files/theirs", b"x")
    assert purge("--dry-run")[0] == ["? .files/theirs (not of this catalogue, so it stays)"]
    assert purge("--older-than=0")[0] == ["- a"]
    assert [key for key, _ in storage.list(".files/")] == [".files/owner", ".files/theirs"]


def test_a_file_that_another_table_needs_stays_and_is_told(trash, storage, referring):
    trash(31, "a", "b")
    referring("a")
    stderr = io.StringIO()
    with pytest.raises(CommandError, match="1 could not be deleted"):
        call_command("purge_files", stdout=io.StringIO(), stderr=stderr)
    assert stderr.getvalue().startswith("! a: the database refuses (")
    assert left(storage) == (["a"],) * 2


@pytest.mark.parametrize("days", ["-1", "x", "1e30"])
def test_what_is_no_number_of_days_is_one_sentence(days):
    done = manage("purge_files", f"--older-than={days}")
    assert done.returncode == 2
    assert b"days" in done.stderr.splitlines()[-1]


def test_a_listing_that_s3_does_not_give_ends_with_status_1(storage, no_waits, monkeypatch):
    assert storage.endpoint_url != "http://127.0.0.1:9"  # which makes what is wrapped
    monkeypatch.setattr(storage._wrapped, "endpoint_url", "http://127.0.0.1:9")
    with pytest.raises(CommandError, match="S3 is out of reach"):
        purge("--dry-run")
