"""`manage.py purge_files --orphans`: objects that have no row get one in the trash."""

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from files.catalogue import walk
from files.management.running import age
from files.models import File, Operation
from files.storage import listing
from tests.operations import elsewhere, objects, rows

pytestmark = pytest.mark.django_db(transaction=True)

DRY = "repeat this with --apply to put them into the trash, where nothing is lost yet."
DONE = "now they are in the trash, until purge_files finds them old enough to go."


def orphans(*arguments, of="0"):
    """Return what is printed, and on stderr, of objects older than that."""
    stdout, stderr = io.StringIO(), io.StringIO()
    options = ["--orphans", *([f"--older-than={of}"] if of else []), *arguments]
    call_command("purge_files", *options, stdout=stdout, stderr=stderr)
    return stdout.getvalue().splitlines(), stderr.getvalue()


def test_they_are_told_and_nothing_is_changed(make_file, put, storage):
    make_file("a")
    make_file("b").trash()
    for key in ("c\t", "d"):
        put(key, b"text")
    before = rows(), objects(storage)
    assert orphans() == (["+ c␉", "+ d"], f"2 objects have no row: {DRY}\n")
    assert orphans("d") == (["+ d"], f"1 object has no row: {DRY}\n")
    assert orphans("a") == ([], "")
    assert (rows(), objects(storage)) == before


def test_they_come_into_the_trash_and_go_when_that_is_emptied(put, storage):
    put("a.txt", b"text")
    put(".files/left", b"x")
    began = timezone.now()
    told = f"2 objects have no row: {DONE}\n"
    assert orphans("--apply") == (["+ .files/left", "+ a.txt"], told)
    left, file = File.objects.trashed().order_by("object_key")
    assert (left.original_key, file.original_key, file.content_type) == (
        ".files/left",
        "",
        "text/plain",
    )
    stat = storage.stat("a.txt")
    assert (file.size, file.etag, file.modified_at) == (4, stat.etag, stat.modified_at)
    assert began < file.deleted_at < timezone.now()
    assert orphans("--apply") == ([], "")
    call_command("purge_files", "--older-than=12h")
    assert len(objects(storage)) == 3
    call_command("purge_files", "--older-than=0")
    assert (rows(), list(objects(storage))) == ([], [".files/owner"])


def test_what_is_young_is_left(put):
    put("a", b"text")
    assert orphans("--apply", of="") == orphans("--apply", of="1h") == ([], "")
    assert rows() == []


def test_what_an_operation_names_is_left(put):
    for key in ("a", "b", "c"):
        put(key, b"text")
    Operation.begin("create", "a")
    Operation.begin("rename", "x", copy_key="b")
    assert orphans("--apply")[0] == ["+ c"]
    assert rows() == [("c", "c", False)]


def test_what_the_console_makes_of_the_reserved_prefix_is_left(put):
    put(".files/", b"")
    assert orphans("--apply") == ([], "")


@pytest.fixture
def before():
    """Do something elsewhere just before the first statement that has this part in it."""
    done = []

    def before(part, action):
        def watch(run, sql, *arguments):
            if part in sql and not done:
                done.append(sql)
                elsewhere(action)
            return run(sql, *arguments)

        return connection.execute_wrapper(watch)

    yield before
    assert done


@pytest.mark.parametrize(
    "action",
    [lambda: File.objects.create(object_key="a"), lambda: Operation.begin("create", "a")],
    ids=["row", "operation"],
)
@pytest.mark.parametrize("at", ["UNION ALL", "INSERT INTO files"])
def test_what_has_a_row_or_an_operation_by_then_is_left(put, before, at, action):
    put("a", b"text")
    with before(at, action):
        assert orphans("--apply") == ([], "")
    assert not File.objects.trashed().exists()


def test_what_has_a_row_by_then_is_not_told(put, before):
    put("a", b"text")
    with before("UNION ALL", lambda: File.objects.create(object_key="a")):
        assert orphans() == ([], "")


@pytest.mark.needs("pages of listings")
def test_a_large_bucket_is_worked_through_in_parts(put, monkeypatch):
    monkeypatch.setattr(listing, "PAGE", 3)
    monkeypatch.setattr(walk, "ROWS", 2)
    keys = sorted(f"{folder}/{number}" for folder in "abc" for number in range(4))
    for key in keys:
        put(key, b"text")
    assert orphans("--apply", "--workers=2")[0] == [f"+ {key}" for key in keys]
    assert [key for key, *_ in sorted(rows())] == keys


@pytest.mark.needs("conditional puts")
def test_they_can_be_restored_and_what_was_reserved_by_another_key(put, storage):
    put("a", b"text")
    put(".files/left", b"x")
    orphans("--apply")
    for file in File.objects.trashed():
        file.restore()
    assert sorted(rows()) == [("a", "a", True), ("left", "left", True)]
    assert storage.open("left").read() == b"x"


def test_a_key_that_no_row_can_hold_is_told_and_stays(put_nul, put):
    put("a", b"text")
    told = ["+ a", "? a␀b (no row can hold this key, so it stays)"]
    assert orphans("--apply")[0] == told


@pytest.mark.parametrize("arguments", [["--apply"], ["--orphans", "--apply", "--dry-run"]])
def test_what_does_not_go_together_is_refused(arguments):
    with pytest.raises(CommandError, match=r"--apply is for --orphans|not allowed with"):
        call_command("purge_files", *arguments)


def test_a_listing_that_fails_is_one_sentence(unreachable, no_waits):
    unreachable()
    with pytest.raises(CommandError, match="S3 is out of reach"):
        orphans()


@pytest.mark.parametrize(
    ("text", "past"), [("7d", {"days": 7}), ("12h", {"hours": 12}), ("1.5", {"hours": 36})]
)
def test_an_age_is_in_days_or_hours(text, past):
    assert age(text) == timedelta(**past)
