"""How pytest starts and ends, as people, editors and CI start it: each time a process."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from project.sandbox.services import lifetime
from tests.processes import ROOT, heed_signals

pytestmark = pytest.mark.alike

ONE = "tests/test_models.py::test_a_missing_object_is_marked_until_it_is_back"
LONG = "tests/test_startup.py::test_secretsmanager_that_never_answers_is_given_up_within_10_s"


@pytest.fixture(scope="module")
def kept():
    """Return a folder for temporary files, and end what is kept there."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # root's PostgreSQL runs as nobody
        yield folder
        run("manage.py", "sandbox", "--stop", TMPDIR=folder)


@pytest.fixture
def temporary():
    """Return a folder for temporary files, in which nothing and nobody may stay."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield folder
        assert [name for name in os.listdir(folder) if not name.startswith("pytest-of-")] == []
        assert in_folder(folder) == []


def environment(**environ):
    """Return the environment of somebody who has not started pytest yet."""
    outer = ("APP_", "AWS_", "PYTEST_", "NO_PROXY")
    inherited = {name: os.environ[name] for name in os.environ if not name.startswith(outer)}
    return inherited | environ


def run(*command, cwd=ROOT, **environ):
    return subprocess.run(
        [sys.executable, *command],
        env=environment(**environ),
        cwd=cwd,
        capture_output=True,
        timeout=60,
        check=False,
        text=True,
    )


def in_folder(folder):
    """Return the commands that have the folder in their environment or work there."""
    found = []
    for process in psutil.process_iter():
        try:
            place = process.environ().get("TMPDIR", ""), process.cwd()
        except psutil.Error:
            continue
        if any(path.startswith(folder) for path in place):
            found.append(process.cmdline())
    return found


@pytest.mark.parametrize(
    "arguments", [["--collect-only", "-q", ONE], ["--fixtures", ONE], ["--markers"], ["--help"]]
)
def test_nothing_starts_where_no_test_runs(temporary, arguments):
    done = run("-m", "pytest", *arguments, TMPDIR=temporary, PATH="/nowhere")
    assert (done.returncode, done.stderr) == (0, "")
    assert os.listdir(temporary) == []


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        ([], {"DJANGO_SETTINGS_MODULE": "project.settings"}),
        (["--ds=project.settings"], {}),
        (["-n", "1", "--ds=project.settings"], {}),
        (["-p", "xdist", "-n", "1"], {}),
        (["-p", "no:xdist", "-p", "no:cacheprovider"], {}),
        (["-c", "{folder}/pytest.ini", "--rootdir", str(ROOT)], {}),
    ],
)
def test_it_runs_however_the_settings_are_named(kept, tmp_path, arguments, environ):
    (tmp_path / "pytest.ini").write_text("[pytest]\nDJANGO_SETTINGS_MODULE = project.settings\n")
    options = [argument.format(folder=tmp_path) for argument in arguments]
    assert_passes(run("-m", "pytest", *options, *REUSE, ONE, TMPDIR=kept, **environ))


def test_it_runs_from_another_folder(kept, tmp_path):
    done = run("-m", "pytest", *REUSE, f"{ROOT}/{ONE}", cwd=tmp_path, TMPDIR=kept)
    assert_passes(done)


REUSE = ("--services=embedded", "--reuse-services")


def assert_passes(done):
    assert re.search(r"\n=+ 1 passed in ", done.stdout), done.stdout + done.stderr
    assert (done.returncode, done.stderr) == (0, "")


def test_services_are_kept_and_taken_again(temporary):
    headers = [header(run("-m", "pytest", *REUSE, ONE, TMPDIR=temporary)) for _ in range(2)]
    assert re.fullmatch(r"embedded: asked for \(.*; kept until `manage.py .*`\)", headers[0])
    assert re.fullmatch(r"embedded: from 20.* \(.*; kept until `manage.py .*`\)", headers[1])
    ended = [run("manage.py", "sandbox", "--stop", TMPDIR=temporary).stderr for _ in range(2)]
    assert ended == [
        "sandbox: the kept services have ended\n",
        "sandbox: no services are kept\n",
    ]


def header(done):
    assert_passes(done)
    return re.search(r"^services: (.*)$", done.stdout, re.MULTILINE)[1]


def test_kept_services_are_of_one_run_at_a_time(kept):
    assert_passes(run("-m", "pytest", *REUSE, ONE, TMPDIR=kept))
    (folder,) = Path(kept).glob("files-services-*")
    with lifetime.lock(folder):  # as a run has it
        other = run("-m", "pytest", *REUSE, ONE, TMPDIR=kept)
        stop = run("manage.py", "sandbox", "--stop", TMPDIR=kept)
    assert header(other).startswith("embedded: asked for (PostgreSQL")
    assert "kept" not in header(other)
    assert (stop.returncode, stop.stderr) == (
        1,
        "CommandError: The kept services are in use: end what runs on them first.\n",
    )


MIGRATION = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("files", "{last}")]
    operations = [migrations.RunSQL("CREATE TABLE {table} ()")]
"""
MIGRATED = """
from django.db import connection

def test_tables(db):
    assert {{"one", "two"}} & set(connection.introspection.table_names()) == {{"{table}"}}
"""


def test_a_kept_database_is_made_anew_when_a_migration_changes(kept, tmp_path):
    copy = tmp_path / "project"
    hidden = shutil.ignore_patterns(".*", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=hidden)
    last = max((ROOT / "files" / "migrations").glob("0*.py")).stem
    for table in ("one", "two"):
        for path, text in (
            ("files/migrations/9999_added.py", MIGRATION),
            ("tests/test_migrated.py", MIGRATED),
        ):
            (copy / path).write_text(text.format(table=table, last=last))
        command = ("-m", "pytest", *REUSE, "tests/test_migrated.py")
        assert_passes(run(*command, cwd=copy, TMPDIR=kept))
    run("manage.py", "sandbox", "--stop", cwd=copy, TMPDIR=kept)


@pytest.mark.parametrize(
    ("end", "workers"),
    [
        (signal.SIGINT, 0),
        (signal.SIGTERM, 0),
        (signal.SIGHUP, 0),
        (signal.SIGINT, 1),
        (signal.SIGTERM, 1),
    ],
)
def test_a_signal_ends_the_run_and_all_that_it_started(temporary, end, workers):
    command = ("-m", "pytest", "-v", "-n", str(workers), "--services=embedded", LONG)
    with started(*command, TMPDIR=temporary) as process:
        wait_for_words(process, LONG)
        process.send_signal(end)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == (2 if end == signal.SIGINT else 128 + end), output


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_killed_run_leaves_is_ended_by_the_next(temporary, workers):
    command = ("-m", "pytest", "-v", "-n", str(workers), "--services=embedded", LONG)
    with started(*command, TMPDIR=temporary) as process:
        wait_for_words(process, LONG)
        process.kill()
        process.communicate(timeout=30)
    assert in_folder(temporary) != []
    assert run("manage.py", "sandbox", "--stop", TMPDIR=temporary).returncode == 0


def started(*command, **environ):
    return subprocess.Popen(
        [sys.executable, *command],
        env=environment(**environ),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=heed_signals,
    )


def wait_for_words(process, words):
    """Return when the process has written the words."""
    written = b""
    while words.encode() not in written:
        found = os.read(process.stdout.fileno(), 2**16)
        assert found, written.decode()
        written += found
