"""`--services=environment`: a place of our own in a bucket and a database that others use."""

import os
import re
import signal
import subprocess
import sys
import tempfile

import pytest
from django.db import connection

from project.sandbox import services
from tests.operations import execute, objects, state
from tests.processes import ROOT, manage

NAME = "files-tests-0123456789abcdef"
SCHEMA = NAME.replace("-", "_")


@pytest.fixture
def theirs(transactional_db, make_file, storage, monkeypatch):
    """Let the environment name a bucket and a database with a file; find that intact.

    Return what tells the names of the schemas of runs.
    """
    monkeypatch.setenv("APP_DB_NAME", connection.settings_dict["NAME"])
    make_file("a.txt", b"theirs")
    before, others = state(), schemas()
    yield lambda: schemas() - others
    assert (state(), objects(storage)) == (before, {"a.txt": b"theirs"})
    assert schemas() == others


def schemas():
    with connection.cursor() as cursor:
        cursor.execute("select nspname from pg_namespace where nspname ^@ 'files_tests_'")
        return {name for (name,) in cursor.fetchall()}


def pytest_in_environment(*arguments):
    outer = [name for name in os.environ if name.startswith("PYTEST_")]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--services=environment", *arguments],
        env={name: os.environ[name] for name in os.environ if name not in outer},
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
        text=True,
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_touches_nothing_but_its_own_place(theirs, workers):
    done = pytest_in_environment("-n", str(workers), "tests/test_guide.py", "tests/test_models.py")
    assert re.search(r"\n\d+ passed", done.stdout), done.stdout + done.stderr
    assert (done.returncode, done.stderr) == (0, "")


def test_a_place_has_objects_and_versions_and_uploads_while_it_is_used(theirs, storage):
    with services.running("environment") as environ:
        manage("load_samples", "--migrate", environ=environ)
        inside = environ["APP_BUCKET_LOCATION"].removeprefix(storage.location)
        found = [key for key, _ in storage.list(inside)]
        storage.begin_upload(f"{inside}left", "text/plain", "mark")
        assert len(found) > 1
        assert len(theirs()) == 1
    assert storage.open_uploads(f"{inside}left") == []


RUN = """
import os, signal, subprocess, sys
from project.sandbox import services
with services.running("environment") as environ:
    subprocess.run([sys.executable, "manage.py", "load_samples", "--migrate"], env=environ)
    {end}
"""


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.environ['APP_DB_PORT'] = '9'", 1),  # nothing answers
    ],
)
def test_a_place_that_its_run_did_not_remove_is_removed_by_the_next(
    theirs, storage, tmp_path, monkeypatch, end, status
):
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", RUN.format(end=end)]
    ended = subprocess.run(command, env=environ, cwd=ROOT, timeout=60, check=False)
    assert (ended.returncode, len(theirs())) == (status, 1)
    place = theirs()
    assert len(objects(storage)) > 1
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    services.stop_kept()  # which has no business there
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("APP_BUCKET_NAME", f"{storage.bucket_name}-another")
        with pytest.raises(services.ServicesError):
            services.running("environment").__enter__()
    assert theirs() == place
    with services.running("environment"):
        assert not place & theirs()
        assert list(objects(storage)) == ["a.txt"]


@pytest.fixture
def named(monkeypatch):
    """Let the next place have a name that is known."""
    monkeypatch.setattr(services.environment.secrets, "token_hex", lambda _: NAME[-16:])


def test_a_prefix_with_an_object_is_refused(theirs, named, storage, put):
    put(f"{NAME}/b.txt", b"theirs")
    told = f"something below {storage.location}{NAME}/ in"
    with pytest.raises(services.ServicesError, match=told):
        services.running("environment").__enter__()
    assert objects(storage) == {"a.txt": b"theirs", f"{NAME}/b.txt": b"theirs"}
    storage.delete(f"{NAME}/b.txt")


def test_a_schema_that_is_there_is_refused(theirs, named):
    execute(f"create schema {SCHEMA} create table theirs ()")
    with pytest.raises(services.ServicesError, match=f'schema "{SCHEMA}" already exists'):
        services.running("environment").__enter__()
    execute(f"drop table {SCHEMA}.theirs; drop schema {SCHEMA}")


def test_a_database_without_pg_trgm_is_refused(own_services, theirs, monkeypatch):
    monkeypatch.setenv("APP_DB_NAME", "postgres")
    with pytest.raises(services.ServicesError, match="`CREATE EXTENSION pg_trgm` in it makes one"):
        services.running("environment").__enter__()


def test_an_endpoint_that_is_no_url_is_told(theirs, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "example.com")
    with pytest.raises(services.ServicesError, match=r"Invalid endpoint: example\.com"):
        services.running("environment").__enter__()


@pytest.mark.parametrize(
    ("environ", "arguments", "told"),
    [
        ({}, [], "There is no database and no bucket to work on: set APP_BUCKET_NAME"),
        ({"APP_BUCKET_NAME": "files"}, [], "Set APP_DB_HOST, APP_DB_NAME, APP_DB_SECRET"),
        ({}, ["--reuse-services"], "--services=environment starts nothing to reuse"),
    ],
)
def test_an_environment_that_does_not_do_is_told_in_a_line(monkeypatch, environ, arguments, told):
    for name in [name for name in os.environ if name.startswith("APP_")]:
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    done = pytest_in_environment(*arguments)
    assert done.returncode == 4
    assert done.stderr.startswith(f"ERROR: {told}")
    assert len(done.stderr.splitlines()) <= 2
