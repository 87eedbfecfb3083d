"""Operations inside a caller's transaction: they hold as it does, or refuse at once."""

import contextlib
import threading

import pytest
from django.core.files.base import ContentFile
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.transaction import TransactionManagementError

from files.models import File, Operation
from files.operations import ConflictError
from project.postgresql.connection import Connection
from tests.operations import (
    ACTIONS,
    RollBackError,
    create,
    elsewhere,
    execute,
    locks,
    lost,
    objects,
    operate,
    rows,
    sweep,
)


@contextlib.contextmanager
def rolled_back():
    with contextlib.suppress(RollBackError), transaction.atomic():
        yield
        raise RollBackError


@pytest.mark.parametrize("action", ["rename", "replace", "restore"])
def test_what_cannot_be_rolled_back_is_refused_in_a_transaction(
    transactional_db, make_file, storage, action
):
    file = make_file("a.txt", b"old")
    with (
        pytest.raises(TransactionManagementError, match=rf"{action}\(\) .* durable"),
        transaction.atomic(),
    ):
        ACTIONS[action](file)
    assert (rows(), objects(storage)) == ([("a.txt", "a.txt", True)], {"a.txt": b"old"})
    assert (locks(), Operation.objects.count()) == (0, 0)


@pytest.mark.parametrize("commits", [False, True])
def test_trash_holds_as_the_transaction_does(transactional_db, make_file, storage, commits):
    file = make_file("a", b"text")
    with transaction.atomic() if commits else rolled_back():
        file.trash()
        assert elsewhere(File.objects.get().restore) == [ConflictError]
    assert (rows(), objects(storage)) == ([("a", "a", not commits)], {"a": b"text"})
    assert locks() == 0


# Delete


def test_a_delete_that_is_rolled_back_keeps_row_and_bytes(transactional_db, make_file, storage):
    file = make_file("a", b"text")
    with rolled_back():
        file.delete()
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"text"})
    assert (locks(), Operation.objects.count()) == (0, 0)


def test_a_delete_takes_the_bytes_when_the_transaction_commits(
    transactional_db, make_file, storage
):
    file = make_file("a", b"text")
    with transaction.atomic():
        file.delete()
        assert objects(storage) == {"a": b"text"}
    assert (rows(), objects(storage)) == ([], {})
    assert (locks(), Operation.objects.count()) == (0, 0)


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_delete_that_a_foreign_key_refuses_keeps_row_and_bytes(
    transactional_db, make_file, storage, referring, in_transaction
):
    file = make_file("a", b"text")
    referring("a")
    with pytest.raises(IntegrityError, match="referring"):
        operate("delete", file, b"", in_transaction=in_transaction)
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"text"})
    assert (locks(), Operation.objects.count()) == (0, 0)


def test_a_delete_that_a_foreign_key_refuses_keeps_the_bytes_in_a_test_case(
    make_file, storage, referring
):
    file = make_file("a", b"text")
    referring("a")
    with pytest.raises(IntegrityError, match="referring"):
        file.delete()
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"text"})


def test_a_delete_waits_for_the_rest_of_its_transaction(
    transactional_db, make_file, storage, referring
):
    file = make_file("a", b"text")
    referring("a")
    with transaction.atomic():
        file.delete()
        execute("DELETE FROM referring")
    assert (rows(), objects(storage)) == ([], {})


def test_a_delete_that_s3_refuses_after_the_commit_brings_the_row_back(
    transactional_db, make_file, storage, during, caplog
):
    file = make_file("a", b"text")
    during("DeleteObject", lost)
    with transaction.atomic():
        file.delete()
    assert (rows(), objects(storage)) == ([("a", "a", False)], {"a": b"text"})
    assert "out of reach" in caplog.text


def test_a_key_is_not_free_before_its_deletion_is_committed(transactional_db, make_file, storage):
    file = make_file("a", b"old")
    with transaction.atomic():
        file.delete()
        with pytest.raises(ConflictError):
            create("a", b"new")
    create("a", b"new")
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"new"})


def test_a_file_deleted_and_adopted_again_in_a_transaction_keeps_its_bytes(
    transactional_db, make_file, storage
):
    file = make_file("a", b"text")
    with transaction.atomic():
        file.delete()
        File.objects.create(object_key="a")
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"text"})


# Create


@pytest.mark.parametrize("savepoint", [False, True])
def test_an_object_whose_row_was_rolled_back_is_taken_over(transactional_db, storage, savepoint):
    with transaction.atomic() if savepoint else contextlib.nullcontext():
        with rolled_back():
            create("a", b"first")
        assert (rows(), objects(storage)) == ([], {"a": b"first"})
        create("a", b"second")
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"second"})
    assert (locks(), Operation.objects.count()) == (0, 0)


def test_an_object_whose_row_was_rolled_back_is_taken_over_in_a_test_too(db, storage):
    with contextlib.suppress(RollBackError), transaction.atomic():
        create("a", b"first")
        raise RollBackError
    assert objects(storage) == {"a": b"first"}
    create("a", b"second")
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"second"})


def test_an_object_whose_row_was_rolled_back_is_swept(transactional_db, storage):
    with rolled_back():
        create("a")
    sweep()
    assert (objects(storage), Operation.objects.count()) == ({}, 0)


def test_an_object_whose_row_may_be_committed_yet_is_nobody_elses(transactional_db, storage):
    with transaction.atomic():
        create("a", b"ours")
        assert elsewhere(lambda: create("a", b"theirs")) == [ConflictError]
        assert elsewhere(sweep) == [ConflictError]
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"ours"})


def test_several_are_created_at_once_or_none(transactional_db, storage):
    files = [File(object_key=ContentFile(b"x", name=key)) for key in "ab"]
    File.objects.bulk_create(files)
    assert (rows(), objects(storage)) == (
        [("a", "a", True), ("b", "b", True)],
        {"a": b"x", "b": b"x"},
    )
    assert (locks(), Operation.objects.count()) == (0, 0)


def test_a_create_whose_commit_fails_raises_the_error_of_the_commit(
    transactional_db, storage, monkeypatch
):
    def fail():
        connection.rollback()
        raise DatabaseError("no commit")

    with monkeypatch.context() as patched:
        patched.setattr(connection, "_commit", fail)
        with pytest.raises(DatabaseError, match="no commit"):
            create("a")
    sweep()
    assert (rows(), objects(storage)) == ([], {})


# A transaction that is not the one that Django shows


@pytest.mark.parametrize("action", ["rename", "replace", "restore", "delete"])
def test_what_cannot_be_rolled_back_is_refused_without_autocommit(
    transactional_db, make_file, storage, action
):
    file = make_file("a", b"text")
    transaction.set_autocommit(False)
    try:
        with pytest.raises(TransactionManagementError, match=rf"^{action}\(\) cannot be undone"):
            ACTIONS[action](file)
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"text"})


def test_a_create_with_an_old_snapshot_keeps_the_object_that_came_since(
    transactional_db, storage, during
):
    def create_here():
        with transaction.atomic():
            execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            Operation.objects.count()  # which takes the snapshot
            written.set()
            ended.wait(10)
            with contextlib.suppress(DatabaseError, OSError):
                create("a", b"ours")

    written, ended = threading.Event(), threading.Event()
    thread = threading.Thread(target=elsewhere, args=(create_here,))

    def meanwhile():
        thread.start()
        written.wait(10)

    during("PutObject", meanwhile)
    create("a", b"theirs")
    ended.set()
    thread.join()
    assert (rows(), objects(storage)) == ([("a", "a", True)], {"a": b"theirs"})


@pytest.fixture
def pool_of_one(transactional_db, monkeypatch):
    """Let this thread take its connection from a pool that has no second one."""
    pool = {"connection_class": Connection, "max_size": 1, "min_size": 1, "timeout": 1}
    connection.close()
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict["OPTIONS"], "pool", pool)
        patch.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)
        yield
        connection.close()
        connection.close_pool()


def test_a_file_is_created_in_a_transaction_that_has_the_only_connection_of_a_pool(
    pool_of_one, storage
):
    with transaction.atomic():
        create("a")
    assert (objects(storage), rows()) == ({"a": b"text"}, [("a", "a", True)])
