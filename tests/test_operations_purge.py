"""Many deletions at a time: each file ends as if it had been deleted alone."""

import pytest
from django.db import transaction
from django.db.models.signals import post_delete

from files import operations
from files.models import File, Operation
from files.operations import ConflictError, purging
from files.storage import ObjectChangedError, S3UnavailableError
from tests.operations import elsewhere, interrupt, locks, lost, objects, rows, sweep

pytestmark = pytest.mark.django_db(transaction=True)

KEYS = ["a", " b ", "c\n\t\x01\x7f", "d&<e>\"'%41+", "f\\.//../g", "ünï/\u2028😀"]


@pytest.fixture
def trashed(make_file):
    """Make files with these keys that are in the trash, with the key as content; return them."""

    def trashed(*keys):
        for key in keys:
            make_file(key, key.encode()).trash()
        return list(File.objects.order_by("object_key"))

    return trashed


def purge(files):
    """Return the type of what kept each file, by its key."""
    found = {str(file): error and type(error) for file, error in operations.purge(files, 2)}
    assert locks() == 0
    return found


def left(storage):
    """Return the keys of the rows in the trash and of the objects, and how many operations."""
    assert not File.objects.live().exists()
    return [key for key, _, _ in rows()], list(objects(storage)), Operation.objects.count()


@pytest.fixture
def alone(storage):
    """Return what gets an item for each object that is deleted by a request of its own."""
    alone = []
    event, note = "before-send.s3.DeleteObject", lambda **about: alone.append(None)
    storage.client.meta.events.register(event, note)
    yield alone
    storage.client.meta.events.unregister(event, note)


@pytest.mark.needs("exact keys")
def test_all_keys_go_and_no_other_object(trashed, storage, put, alone):
    others = ["A", "b", "c", "d", "f/g", "g"]
    files = trashed(*KEYS)
    for key in others:
        put(key, b"another")
    assert purge(files) == dict.fromkeys([str(file) for file in files])
    assert left(storage) == ([], others, 0)
    assert len(alone) == len(["space", "control characters", "folders", "end of line"])


def test_more_than_a_batch_goes(trashed, storage, monkeypatch):
    monkeypatch.setattr(purging, "BATCH", 2)
    assert purge(trashed(*"abcde")) == dict.fromkeys("abcde")
    assert left(storage) == ([], [], 0)


def test_what_has_no_object_any_more_goes(trashed, storage):
    files = trashed("a", "b")
    storage.delete("a")
    assert purge(files) == {"a": None, "b": None}
    assert left(storage) == ([], [], 0)


def test_an_object_of_another_content_stays_with_its_row(trashed, storage, put):
    files = trashed("a", "b")
    put("a", b"theirs")
    assert purge(files) == {"a": ObjectChangedError, "b": None}
    assert left(storage) == (["a"], ["a"], 0)


@pytest.mark.needs("conditional deletes")
def test_an_object_that_is_written_in_the_last_moment_stays(trashed, storage, put, during):
    files = trashed("a", "b")
    during("DeleteObjects", lambda: put("a", b"theirs"))
    assert purge(files) == {"a": ObjectChangedError, "b": None}
    assert left(storage) == (["a"], ["a"], 0)


def test_a_file_that_another_table_needs_stays_alone(trashed, storage, referring):
    files = trashed("a", "b", "c")
    referring("b")
    found = purge(files)
    assert (found.pop("b").__name__, found) == ("IntegrityError", {"a": None, "c": None})
    assert left(storage) == (["b"], ["b"], 0)


def test_what_was_restored_or_renamed_meanwhile_stays(trashed, storage):
    stale = trashed("a", "b", "c")
    for file in File.objects.filter(object_key__in="ab"):
        file.restore()
    File.objects.get(object_key="b").rename("d")
    assert purge(stale) == {"a": ConflictError, "b": ConflictError, "c": None}
    assert rows() == [("a", "a", True), ("d", "d", True)]
    assert objects(storage) == {"a": b"a", "d": b"b"}


def test_what_somebody_else_works_on_is_left_to_them(trashed, storage):
    files = trashed("a", "b")
    with operations.locked("a"):
        found = []
        elsewhere(lambda: found.extend(operations.purge(files, 2)))
    assert [(str(file), type(error)) for file, error in found] == [
        ("a", ConflictError),
        ("b", type(None)),
    ]
    assert left(storage) == (["a"], ["a"], 0)


def test_what_was_interrupted_is_ended_before(trashed, storage):
    files = trashed("a", "b")
    storage.copy("a", "copy", mark="0" * 32)
    Operation.begin("rename", "a", copy_key="copy", file_id=files[0].pk, mark="0" * 32)
    assert purge(files) == {"a": None, "b": None}
    assert left(storage) == ([], [], 0)


def test_where_s3_is_out_of_reach_all_come_back(trashed, storage, during):
    files = trashed("a", "b")
    before = list(File.objects.values())
    during("DeleteObjects", lost)
    assert purge(files) == {"a": S3UnavailableError, "b": S3UnavailableError}
    assert list(File.objects.values()) == before
    assert left(storage) == (["a", "b"], ["a", "b"], 0)


def test_what_s3_refuses_comes_back_into_the_trash_also_where_it_was_not(
    make_file, storage, during
):
    def refuse():
        raise PermissionError

    files = [make_file("a"), make_file("b")]
    during("DeleteObjects", refuse)
    during("DeleteObject", refuse)
    assert purge(files) == {"a": PermissionError, "b": None}
    assert left(storage) == (["a"], ["a"], 0)


def test_a_row_that_has_come_in_place_of_one_that_should_come_back_stays(trashed, storage, during):
    files = trashed("a", "b")

    def register():
        elsewhere(lambda: File.objects.create(object_key="a"))
        lost()

    during("DeleteObjects", register)
    assert set(purge(files).values()) == {S3UnavailableError}
    assert rows() == [("a", "a", True), ("b", "b", False)]


def test_what_is_interrupted_is_ended_by_a_sweep(trashed, storage, during):
    files = trashed("a", "b")
    during("DeleteObjects", interrupt)
    with pytest.raises(KeyboardInterrupt):
        purge(files)
    assert left(storage) == ([], ["a", "b"], 2)
    sweep()
    assert left(storage) == ([], [], 0)


def test_django_tells_of_each_deletion(trashed):
    told = []

    def tell(instance, **about):
        told.append(str(instance))

    files = trashed("a", "b")
    post_delete.connect(tell, sender=File)
    purge(files)
    post_delete.disconnect(tell, sender=File)
    assert sorted(told) == ["a", "b"]


def test_the_audit_tells_of_each_file(trashed, put, caplog):
    files = trashed("a", "b", "c")
    put("b", b"theirs")
    caplog.set_level("INFO", "files.audit")
    caplog.clear()
    purge(files)
    told = [record.facts for record in caplog.records if record.name == "files.audit"]
    found = {line["key"]: (line["action"], line["outcome"], line["file"]) for line in told}
    a, b, c = (file.pk for file in files)
    assert found == {
        "a": ("delete", "done", a),
        "b": ("delete", "failed", b),
        "c": ("delete", "done", c),
    }
    assert [line["error"][:19] for line in told if "error" in line] == ["ObjectChangedError:"]
    assert len(told) == 3


def test_it_refuses_to_run_in_a_transaction(trashed):
    refused = pytest.raises(transaction.TransactionManagementError, match=r"purge\(\)")
    with refused, transaction.atomic():
        purge(trashed("a"))
