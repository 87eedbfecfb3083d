"""Two actors at once: one is refused, neither loses anything, and no lock is left."""

import contextlib
import threading

import pytest
from django.core.files.base import ContentFile
from django.db import DatabaseError, OperationalError, connection, transaction
from urllib3 import HTTPConnectionPool

from files import operations
from files.models import File, Operation
from files.operations import ConflictError, locked
from files.storage.writing import PART_SIZE
from tests.operations import (
    ACTIONS,
    Failing,
    assert_rows_are_true,
    breaking,
    create,
    elsewhere,
    execute,
    kept,
    locks,
    objects,
    rows,
    state,
    sweep,
)
from tests.waiting import eventually


@pytest.mark.needs("conditional puts")
@pytest.mark.parametrize("action", ACTIONS)
def test_of_two_at_once_the_second_is_refused(transactional_db, make_file, storage, action):
    file = make_file("a.txt", b"old")
    other = File.objects.get()

    class Content(ContentFile):
        def read(self, size=-1):
            assert elsewhere(lambda: ACTIONS[action](other)) == [ConflictError]
            return super().read(size)

    file.replace(Content(b"ours"))
    assert objects(storage) == {"a.txt": b"ours", str(kept()): b"old"}
    assert locks() == 0


PAIRS = [*ACTIONS, "create"]


@pytest.mark.parametrize("second", PAIRS)
@pytest.mark.parametrize("first", PAIRS)
def test_of_each_two_at_once_neither_loses_anything(
    transactional_db, make_file, storage, on_request, first, second
):
    file = make_file("a", b"old")
    if first == "restore":
        file.trash()
    other = File.objects.get()

    def act(name, own):
        create("b", b"new") if name == "create" else ACTIONS[name](own)

    on_request(lambda: elsewhere(lambda: act(second, other)))
    with contextlib.suppress(OSError):
        act(first, file)
    on_request(None)
    sweep()
    assert b"old" in objects(storage).values() or "delete" in {first, second}
    assert {str(row) for row in File.objects.all()} == set(objects(storage))
    assert_rows_are_true(storage)
    assert (locks(), Operation.objects.count()) == (0, 0)


@pytest.fixture
def on_request(monkeypatch):
    """Return what calls an action before each of this thread's requests to S3."""
    actions, thread = [], threading.get_ident()

    def urlopen(pool, *arguments, urlopen=HTTPConnectionPool.urlopen, **options):
        if actions and threading.get_ident() == thread:
            actions[0]()
        return urlopen(pool, *arguments, **options)

    def on_request(action):
        actions[:] = [action] if action else []

    monkeypatch.setattr(HTTPConnectionPool, "urlopen", urlopen)
    return on_request


def test_of_eight_renames_one_wins(transactional_db, make_file, storage):
    pk = make_file("a", b"text").pk
    start, outcomes = threading.Barrier(8), []

    def rename(number):
        file = File.objects.get(pk=pk)
        start.wait()
        file.rename(f"b{number}")

    def run(number):
        outcomes.append(elsewhere(lambda: rename(number)))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=len) == [[], *[[ConflictError]] * 7]
    ((key, _, live),) = rows()
    assert (objects(storage), live, locks()) == ({key: b"text"}, True, 0)


def test_a_key_is_nobody_elses_while_a_file_is_copied_to_it(
    transactional_db, make_file, storage, during
):
    other, raised = make_file("c", b"other"), []

    def interfere():
        for action in (lambda: create("b", b"theirs"), lambda: other.rename("b")):
            raised.extend(elsewhere(action))

    file = make_file("a", b"text")
    during("PutObject", interfere)
    file.rename("b")
    assert raised == [ConflictError] * 2
    assert objects(storage) == {"b": b"text", "c": b"other"}


@pytest.mark.parametrize("action", ["rename", "replace", "restore", "trash", "delete"])
def test_a_file_that_was_moved_meanwhile_is_left_alone(transactional_db, make_file, action):
    file = make_file("a", b"text")
    File.objects.get().rename("c")
    before = state()
    with pytest.raises(ConflictError, match="Another operation on the file"):
        ACTIONS[action](file)
    assert (state(), locks()) == (before, 0)


@pytest.mark.needs("conditional puts")
@pytest.mark.parametrize("action", ACTIONS)
def test_a_content_that_the_caller_has_not_seen_is_left_alone(
    transactional_db, make_file, storage, action
):
    file = make_file("a.txt", b"old")
    File.objects.get().replace(ContentFile(b"theirs"))
    before = state()
    with pytest.raises(ConflictError, match="Another operation on the file"):
        ACTIONS[action](file)
    assert (state(), locks()) == (before, 0)
    assert objects(storage) == {"a.txt": b"theirs", str(kept()): b"old"}


@pytest.mark.usefixtures("unfinished_uploads")
@pytest.mark.needs("conditional puts")
def test_an_upload_is_not_aborted_by_another_operation_on_the_file(make_file, storage):
    make_file("a.txt", b"old")
    upload = operations.begin_upload("a.txt", "text/plain", "somebody")
    File.objects.get().replace(ContentFile(b"new"))
    assert list(Operation.objects.all()) == [upload]
    assert [found for found, _ in storage.open_uploads("a.txt")] == [upload.upload_id]


# No lock is left


@pytest.mark.needs("conditional puts")
def test_the_lock_is_free_after_success(transactional_db, make_file):
    file = make_file("a")
    for action in (
        lambda: file.rename("c"),
        file.trash,
        *(lambda a=a: a(file) for a in ACTIONS.values()),
    ):
        action()
        assert locks() == 0


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (lambda file: file.rename("taken"), FileExistsError),
        (lambda file: file.replace(Failing(bytes(2 * PART_SIZE))), RuntimeError),
        (lambda file: (file.storage.delete("a"), file.restore()), FileNotFoundError),
        (lambda file: (file.storage.delete("a"), file.rename("b")), FileNotFoundError),
    ],
)
def test_the_lock_is_free_after_a_failure(transactional_db, make_file, action, error):
    make_file("taken")
    with pytest.raises(error):
        action(make_file("a"))
    assert locks() == 0


def test_no_lock_outlives_a_transaction_that_is_aborted(transactional_db, make_file):
    file = make_file("a")

    def delete_after_an_error():
        with contextlib.suppress(DatabaseError):
            execute("SELECT 1 / 0")
        file.delete()

    with pytest.raises(DatabaseError), transaction.atomic():
        delete_after_an_error()
    assert (locks(), rows()) == (0, [("a", "a", True)])


def test_no_lock_outlives_a_statement_that_fails(transactional_db, make_file):
    file = make_file("a")

    def fail(execute, sql, *arguments):
        if sql.startswith("INSERT"):
            sql = "SELECT 1 / 0"
        return execute(sql, *arguments)

    for action in ("rename", "replace", "delete"):
        with connection.execute_wrapper(fail), pytest.raises(DatabaseError):
            ACTIONS[action](file)
        assert locks() == 0


@pytest.mark.parametrize("part", ["pg_try_advisory_lock", "pg_advisory_unlock"])
@pytest.mark.parametrize("after", [False, True])
def test_no_lock_outlives_an_interrupt(transactional_db, make_file, part, after):
    file = make_file("a")
    with pytest.raises(KeyboardInterrupt), breaking(part, KeyboardInterrupt(), after=after):
        file.trash()
    eventually(locks, 0)  # once PostgreSQL has seen that the session is over


@pytest.mark.parametrize("part", ["pg_try_advisory_lock", "pg_advisory_unlock"])
def test_no_lock_outlives_a_lock_statement_that_fails(transactional_db, make_file, part):
    file = make_file("a")
    failing = "SELECT pg_try_advisory_lock(1), 1 / (random() * 0)::int"
    with contextlib.suppress(DatabaseError), breaking(part, failing):
        file.trash()
    eventually(locks, 0)  # once PostgreSQL has seen that the session is over


# A session that ends takes its locks with it


def end_session():
    """End the session of this thread as the server does at a rotation or a failover."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()
    with contextlib.closing(connection.copy()) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", pid)


def test_an_operation_that_has_lost_its_lock_writes_no_row(
    transactional_db, make_file, storage, during
):
    file, other = make_file("a", b"text"), File.objects.get()

    def lose_to_another():
        end_session()
        assert elsewhere(lambda: other.rename("c")) == []

    during("PutObject", lose_to_another)
    with pytest.raises(OperationalError, match="was lost, and the lock on the file with it"):
        file.rename("b")
    sweep()
    assert (objects(storage), rows()) == ({"c": b"text"}, [("c", "c", True)])
    assert locks() == 0


def test_no_statement_follows_a_lock_that_was_lost_under_another(transactional_db):
    with locked("a"):
        end_session()
        with pytest.raises(OperationalError), locked("b"):
            pass
    eventually(locks, 0)  # once PostgreSQL has seen that the session is over
