"""A process killed, and S3 failing, at each step: every live row keeps its bytes."""

import contextlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from django.db import connection
from urllib3 import HTTPConnectionPool, HTTPResponse
from urllib3.exceptions import ProtocolError

from files.models import File, Operation
from files.storage import copying, writing
from tests import location
from tests.operations import (
    MIB,
    OPERATIONS,
    assert_rows_are_true,
    content,
    create,
    locks,
    named,
    objects,
    sweep,
)
from tests.processes import ROOT
from tests.test_storage import listed, open_uploads

PROGRAM = "import django; django.setup(); from tests.crash_program import main; main()"

# Each operation with what is live when it has been done and the trash has been emptied.
OUTCOMES = [
    ("create", 3, ["new", "old"], False),
    ("create", 3, ["new", "old"], True),
    ("create", 5 * MIB + 1, ["new", "old"], False),
    ("trash", 3, [], False),
    ("trash", 3, [], True),
    ("restore", 3, ["old"], False),
    ("rename", 3, ["old"], False),
    ("rename", 8 * MIB + 1, ["old"], False),
    ("replace", 3, ["new"], False),
    ("replace", 5 * MIB + 1, ["new"], False),
    ("delete", 3, [], False),
    ("delete", 3, [], True),
    ("purge", 3, [], False),
]


def cases(outcomes):
    """Return the parameters of tests, with what a replacement asks of S3."""
    needs = {"replace": pytest.mark.needs("conditional puts")}
    return [pytest.param(*outcome, marks=needs.get(outcome[0], ())) for outcome in outcomes]


def prepare(operation, size, storage):
    """Make the file for an operation, alone in the bucket; for a purge one more."""
    key, original_key = (".files/0", "a") if operation == "restore" else ("a", "")
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE files, files_operation")
    for entry in listed(storage):
        storage.delete(entry["Key"])
    location.client().put_object(Bucket=storage.bucket_name, Key=key, Body=content("old", size))
    (file,) = File.objects.bulk_create([File(object_key=key, original_key=original_key)])
    file.refresh_from_storage()
    if operation == "purge":
        create("b", content("old", size))
    if operation in {"restore", "purge"}:
        File.objects.update(deleted_at=file.created_at)
    return file.pk


def survey(storage, size):
    """Return of each key whether it is live, in the trash or without a row, and what it holds."""
    known = {content(name, length): name for name in ("old", "new") for length in (3, size)}
    found = {key: known.get(data, "other") for key, data in objects(storage).items()}
    live = {str(file): file.deleted_at is None for file in File.objects.all()}
    return {key: (live.get(key), found.get(key)) for key in {*found, *live}}


def end(operation, pk):
    """Do what was stopped once more, at once; then sweep and empty the trash."""
    if operation != "create":
        for file in File.objects.filter(pk=pk):
            OPERATIONS[operation](file, content("new", 3))
    elif not File.objects.filter(object_key="b").exists():
        create("b", content("new", 3))
    empty_trash()


def empty_trash():
    sweep()
    for file in File.objects.trashed():
        file.delete()


# A process that is killed


@pytest.fixture(scope="module")
def crashing(django_db_setup, _bucket):
    """Start the process that forks."""
    variables = {
        "APP_DB_NAME": connection.settings_dict["NAME"],
        "DJANGO_SETTINGS_MODULE": "project.settings",
    }
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | variables,
    ) as process:
        assert process.stdout.readline() == "warm\n"
        yield process


@pytest.fixture
def crash(crashing, transactional_db):
    """Do an operation that kills itself at a step; return the status it ended with."""

    def crash(*arguments):
        crashing.stdin.write(json.dumps(arguments) + "\n")
        crashing.stdin.flush()
        status = int(crashing.stdout.readline())
        limit = time.monotonic() + 10
        while locks():  # until PostgreSQL has seen that the session is over
            assert time.monotonic() < limit
            time.sleep(0.002)
        return status

    return crash


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("operation", "size", "outcome", "in_transaction"), cases(OUTCOMES))
def test_a_crash_leaves_every_live_row_its_bytes(
    crash, storage, operation, size, outcome, in_transaction, moment
):
    for number in itertools.count(1):
        pk = prepare(operation, size, storage)
        status = crash(operation, pk, size, in_transaction, moment, number)
        found = survey(storage, size)
        assert {key for key, (live, _) in found.items() if live is None} <= named(), number
        assert {held for live, held in found.values() if live} <= {"old", "new"}, number
        assert None not in {held for _, held in found.values()}, number
        is_destroyed = operation in {"delete", "purge"}
        assert "old" in {held for _, held in found.values()} or is_destroyed, number
        end(operation, pk)
        assert sorted(survey(storage, size).values()) == [(True, held) for held in outcome]
        assert_rows_are_true(storage)
        assert (Operation.objects.count(), open_uploads(storage)) == (0, []), number
        if status != -signal.SIGKILL:
            break
    assert (status, number > 1) == (0, (operation, moment) != ("trash", "after"))


# S3 fails from a request on


@pytest.fixture
def failing(monkeypatch, no_waits):
    """Let S3 fail from the nth request on; return how many requests have been made."""
    urlopen = HTTPConnectionPool.urlopen

    @contextlib.contextmanager
    def failing(kind, number):
        made = []

        def fail(pool, method, url, *arguments, **options):
            made.append((method, url))
            if len(made) < number:
                return urlopen(pool, method, url, *arguments, **options)
            if kind == "lost" and len(made) == number:
                urlopen(pool, method, url, *arguments, **options).close()
            if kind == "lost":
                raise ProtocolError("the answer is lost")
            return HTTPResponse(io.BytesIO(b""), {}, int(kind), preload_content=False)

        with monkeypatch.context() as patched:
            patched.setattr(HTTPConnectionPool, "urlopen", fail)
            yield made

    return failing


@pytest.mark.parametrize("kind", ["403", "503", "lost"])
@pytest.mark.parametrize(
    ("operation", "size", "outcome"),
    cases(case[:3] for case in OUTCOMES if not case[3] and case[0] != "trash" and case[1] == 3),
)
def test_what_s3_breaks_off_can_be_repeated_at_once(
    transactional_db, storage, monkeypatch, failing, operation, size, outcome, kind
):
    monkeypatch.setattr(writing, "PART_SIZE", 5 * MIB)
    monkeypatch.setattr(copying, "COPY_PART_SIZE", 5 * MIB)
    for number in itertools.count(1):
        pk = prepare(operation, size, storage)
        file = File.objects.get(pk=pk)
        with failing(kind, number) as made, contextlib.suppress(OSError):
            OPERATIONS[operation](file, content("new", size))
        found = survey(storage, size)
        assert {key for key, (live, _) in found.items() if live is None} <= named(), number
        assert {held for live, held in found.values() if live} <= {"old", "new"}, number
        assert locks() == 0
        end(operation, pk)
        assert sorted(survey(storage, size).values()) == [(True, held) for held in outcome]
        assert_rows_are_true(storage)
        assert Operation.objects.count() == 0
        if len(made) < number:
            break
