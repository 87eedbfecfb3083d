"""Distributed runs: `--distribute`, the workers that share the ranges, and what ends in between."""

import asyncio
import contextlib
import functools
import itertools
import json
import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command, load_command_class
from django.db import connection
from django.urls import reverse
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob
from procrastinate.exceptions import AlreadyEnqueued

from files import jobs
from files.catalogue import parts, walk
from files.catalogue.walk import Part
from files.keys import OWNER
from files.management import distributing
from files.models import File, Operation, Range, Run
from files.runs import MOST_LINES, RangeStoppedError, RangeTakenError
from project.jobs import TAKEN, parameters_of_workers
from project.postgresql import asynchronous
from project.postgresql.connection import SilenceError
from tests import leaks
from tests.operations import execute, trash
from tests.processes import ROOT, heed_signals, manage, run_command
from tests.tcp_proxy import TCPProxy
from tests.test_rotation import role  # noqa: F401
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _jobs(transactional_db):
    """Forget jobs and workers, whose tables are none of Django's models'."""
    yield
    execute("TRUNCATE procrastinate_jobs, procrastinate_workers CASCADE")


@pytest.fixture
def environ():
    return {"APP_JOBS": "true", "APP_DB_NAME": connection.settings_dict["NAME"]}


@pytest.fixture
def work(environ):
    """Let a worker do what there is to do, and return what it has logged."""

    def work(**changes):
        done = manage("procrastinate", "worker", "--one-shot", environ=environ | changes)
        assert done.returncode == 0
        return done.stderr.decode()

    return work


@pytest.fixture
def start(environ):
    """Start a worker that waits for more; those that still run are ended."""
    with contextlib.ExitStack() as stack:

        def start(*arguments, **changes):
            process = subprocess.Popen(
                [sys.executable, "manage.py", "procrastinate", "worker", *arguments],
                env=os.environ | environ | changes,
                cwd=ROOT,
                preexec_fn=heed_signals,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )

            @stack.callback
            def end():
                process.terminate()
                leaks.check(process.communicate(timeout=30)[0])

            return process

        yield start


@pytest.fixture
def small(monkeypatch):
    """Let ranges and stretches be small: of two rows."""
    monkeypatch.setattr(walk, "ROWS", 2)


def distribute(command, *arguments):
    """Return what the command says, and the run."""
    lines, said, status = run_command(command, *arguments, "--distribute")
    assert (lines, status) == ([], 0)
    return said, Run.objects.first()


def begin(command, *bounds, prefix="", **options):
    """Begin a run of which the ranges end at these keys."""
    edges = ["", *bounds, None]
    cuts = [Part(prefix, after, upto) for after, upto in itertools.pairwise(edges)]
    return jobs.begin(command, prefix, options, cuts)


def ended(run):
    """Return status and summary of a run."""
    run = Run.objects.get(pk=run.pk)
    return run.status, load_command_class("files", run.command).describe(run)


def take(run):
    """Return its only range as a worker takes it that has its job."""
    part = run.ranges.get()
    return Range.take(part.pk, part.job_id)


def lose_workers():
    """Let all workers have been silent for long, and those that are left look for what they had."""
    execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '31 s'")
    with contextlib.suppress(AlreadyEnqueued):
        jobs.retry_stalled_jobs.defer(timestamp=0)


def attempts(run):
    return [part.attempts for part in run.ranges.all()]


def continue_at_once():
    """Let jobs that are tried again later be due now."""
    execute("UPDATE procrastinate_jobs SET scheduled_at = NULL")


@contextlib.contextmanager
def held(key):
    """Let whoever makes a row of the key wait for the end of this transaction."""
    own = connection.copy()
    own.set_autocommit(False)
    try:
        with own.cursor() as cursor:
            cursor.execute("INSERT INTO files (object_key) VALUES (%s)", [key])
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()

        def is_waited_for():
            with connection.cursor() as cursor:
                sql = "SELECT FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
                cursor.execute(sql, [pid])
                return cursor.rowcount

        yield is_waited_for
    finally:
        own.rollback()
        own.close()


IMPORT = {"workers": 1, "update": False, "dry_run": False}
VERIFY = {"workers": 1, "before": "2000-01-01T00:00:00+00:00", "newest": None}
CHECK = {"workers": 1, "only": "-+*", "json": False, "mark": False}


# What is distributed


def test_an_import_is_done_by_a_worker(put, work):
    for name in "abcd":
        put(f"{name}.txt", b"text")
    run = begin("import_files", "a.txt", "c.txt", **IMPORT)
    work()
    assert ended(run) == (0, "4 objects, 16\xa0bytes: 4 rows added")
    assert [part.done for part in run.ranges.all()] == [1, 2, 1]
    assert File.objects.count() == 4
    assert Run.objects.get(pk=run.pk).ended_at


def test_a_check_keeps_its_lines_and_its_status(put, make_file, work):
    make_file("a.txt").storage.delete("a.txt")
    put("b.txt", b"text")
    put("c.txt", b"text")
    run = begin("check_files", "b.txt", **CHECK | {"mark": True})
    work()
    told = "1 row without an object, 2 objects without a row, 0 that differ"
    assert ended(run) == (1, f"2 objects, 1 row: {told}")
    assert list(run.lines()) == ["- a.txt", "+ b.txt", "+ c.txt"]
    assert File.objects.get().missing_at


def test_the_options_reach_the_ranges(put, make_file, work):
    make_file("in/a.txt").storage.delete("in/a.txt")
    for key in ("in/b.txt", "out.txt"):
        put(key, b"text")
    _, run = distribute("check_files", "in/", "--json", "--only=+")
    work()
    assert [json.loads(line)["key"] for line in run.lines()] == ["in/b.txt"]
    assert ended(run)[0] == 1


@pytest.mark.parametrize(
    ("days", "due"),
    [
        ((3, 1, 2, 4), {"1", "4"}),
        ((3, None, 2, None), {"1", "3"}),  # those that were never read come first
        ((None, None, None, 2), {"0", "1"}),
    ],
)
def test_a_budget_is_for_those_first_that_were_not_read_for_longest(make_file, work, days, due):
    for place, age in enumerate(days):
        file = make_file(str(place + (None not in days)), b"text")
        verified = age and timezone.now() - timedelta(days=age)
        File.objects.filter(pk=file.pk).update(verified_at=verified)
    began = timezone.now()
    _, run = distribute("verify_files", "--budget=8")
    work()
    read = File.objects.filter(verified_at__gt=began)
    assert {str(file) for file in read} == due
    assert ended(run) == (0, "2 files, 8\xa0bytes: 2 first read (checksum filled in)")


def test_a_purge_is_shared_by_what_is_in_the_trash(make_file, work, monkeypatch):
    monkeypatch.setattr(parts, "TRASH", 2)
    for name in "abcde":
        make_file(f"{name}.txt").trash()
    old = timezone.now() - timedelta(days=31)
    File.objects.update(deleted_at=old)
    for key in ("a", "z"):
        Operation.objects.create(kind="delete", object_key=key, started_at=old)
    _, run = distribute("purge_files")
    assert run.ranges.count() == 2
    work()
    assert ended(run) == (0, "7 deleted, 0 could not be deleted")
    assert (File.objects.count(), Operation.objects.count()) == (0, 0)


def test_orphans_are_found_by_workers(put, work, settings):
    put("a.txt", b"text")
    _, run = distribute("purge_files", "--orphans", "--older-than=0")
    work()
    assert (ended(run), File.objects.count()) == ((0, "1 found, 0 could not be deleted"), 0)
    _, run = distribute("purge_files", "--orphans", "--older-than=0", "--apply")
    work()
    assert ended(run) == (0, "1 put into the trash, 0 could not be deleted")
    assert [str(file) for file in trash()] == ["a.txt"]


@pytest.mark.parametrize(
    ("command", "argument"),
    [
        ("verify_files", "--dry-run"),
        ("purge_files", "--dry-run"),
        ("check_files", "--inventory=s3://bucket/manifest.json"),
    ],
)
def test_what_cannot_be_distributed_says_so(command, argument):
    with pytest.raises(CommandError, match="leave out --distribute"):
        run_command(command, argument, "--distribute")
    assert not Run.objects.exists()


def test_a_bucket_of_another_database_is_not_purged(s3, bucket):
    s3.put_object(Bucket=bucket, Key=OWNER, Body=b'{"database": "theirs", "since": "2026-01-01"}')
    with pytest.raises(CommandError, match="own_bucket"):
        run_command("purge_files", "--distribute")
    assert not Run.objects.exists()


# Without workers, and without jobs


def test_no_worker_is_said_until_one_runs(put, start):
    put("a.txt", b"text")
    said, run = distribute("import_files")
    waits = f"Run {run.pk} waits for workers with 1 range: the admin shows how far it is.\n"
    assert said == f"{waits}{jobs.NO_WORKER}\n"
    start()
    until(lambda: ended(run)[0] == 0)
    said, run = distribute("import_files")
    assert jobs.NO_WORKER not in said


def test_without_jobs_commands_work_and_distribute_says_what_is_missing(put, environ):
    put("a.txt", b"text")
    environ |= {"APP_JOBS": None}
    done = manage("import_files", "--distribute", environ=environ)
    assert (done.returncode, done.stderr.decode()) == (2, f"CommandError: {distributing.NO_JOBS}\n")
    assert manage("import_files", environ=environ).returncode == 0
    assert File.objects.count() == 1


@pytest.mark.parametrize("table", ["files_run", "procrastinate_workers"])
def test_what_is_not_migrated_says_so(table):
    execute(f"ALTER TABLE {table} RENAME TO other")
    try:
        with pytest.raises(CommandError, match="migrate"):
            run_command("verify_files", "--distribute")
    finally:
        execute(f"ALTER TABLE other RENAME TO {table}")


# What ends in between


def test_a_range_goes_on_where_it_was_stopped(make_file, small):
    for name in "abcde":
        make_file(f"{name}.txt")
    run = begin("check_files", **CHECK)
    part = take(run)
    call = functools.partial(call_command, "check_files", verbosity=0, **CHECK)
    with pytest.raises(RangeStoppedError):
        call(range=part, should_stop=lambda: True)
    part = take(run)
    assert (part.reached, part.done, part.counts["rows"]) == ("b.txt", 2, 2)
    call(range=part, should_stop=lambda: False)
    part.refresh_from_db()
    assert (part.done, part.counts["rows"], part.status, part.attempts) == (5, 5, 0, 2)


def test_a_large_file_is_left_in_the_middle_of_its_bytes(make_file):
    make_file("a.txt", b"text")
    part = take(begin("verify_files", **VERIFY))
    with pytest.raises(RangeStoppedError):
        call_command("verify_files", range=part, should_stop=lambda: True, **VERIFY)
    assert File.objects.get().verified_at is None


def test_whoever_goes_on_does_not_count_again_what_is_not_there(make_file, work):
    make_file("a.txt").storage.delete("a.txt")
    run = begin("verify_files", **VERIFY)
    with pytest.raises(RangeStoppedError):
        call_command("verify_files", range=take(run), should_stop=lambda: True, **VERIFY)
    assert run.ranges.get().counts["missing"] == 1
    make_file("b.txt", b"text")
    work()
    assert ended(run) == (1, "2 files, 4\xa0bytes: 1 first read (checksum filled in), 1 missing")


def test_what_is_not_there_takes_nothing_of_a_budget(make_file, work):
    make_file("a.txt", b"text").storage.delete("a.txt")
    File.objects.update(missing_at=timezone.now())
    file = make_file("b.txt", b"text")
    distribute("verify_files", "--budget=4")
    work()
    file.refresh_from_db()
    assert file.verified_at


def test_a_range_of_a_worker_that_was_killed_is_taken_up_by_another(put, start, storage):
    for name in "abcdef":
        put(f"{name}.txt", b"text")
    run = begin("import_files", "b.txt", "d.txt", **IMPORT)
    with held("d.txt") as is_waited_for:
        killed = start()
        until(is_waited_for)
        other = start()
        until(lambda: [part.status for part in run.ranges.all()] == [0, None, 0])
        killed.kill()
        killed.wait()
    lose_workers()
    until(lambda: ended(run)[0] is not None)
    assert ended(run) == (0, "6 objects, 24\xa0bytes: 6 rows added")
    assert attempts(run) == [1, 2, 1]
    assert other.poll() is None


def test_a_worker_that_comes_back_late_does_not_end_the_job_of_another(put, start, work):
    put("a.txt", b"text")
    run = begin("import_files", **IMPORT)
    with held("a.txt") as is_waited_for:
        late = start()
        until(is_waited_for)
        late.send_signal(signal.SIGSTOP)
        lose_workers()
        second = start()
        until(lambda: is_waited_for() == 2)
        late.send_signal(signal.SIGCONT)
        second.kill()
        second.wait()
    until(lambda: TAKEN in late.stdout.readline())
    lose_workers()
    late.wait(30)  # forgotten by the others, it can take no job
    assert "Traceback" not in late.stdout.read()
    work()
    assert (ended(run)[0], attempts(run)) == (0, [3])


@pytest.mark.parametrize("status", ["failed", "cancelled", "succeeded", None])
def test_a_range_gets_another_job_whatever_has_become_of_its_last(put, work, status):
    put("a.txt", b"text")
    run = begin("import_files", **IMPORT)
    if status:
        ProcrastinateJob._default_manager.all().update(status=status)
    else:
        execute("DELETE FROM procrastinate_jobs")
    jobs.retry_stalled_jobs.defer(timestamp=0)
    work()
    assert ended(run)[0] == 0


def test_a_range_that_ends_each_worker_is_given_up():
    run = begin("import_files", **IMPORT)
    for _ in range(jobs.MOST_FAILURES):
        execute("UPDATE procrastinate_jobs SET status = 'failed'")
        jobs.retry_stalled_jobs(timestamp=0)
    assert Run.objects.get(pk=run.pk).state == "not finished (status 2)"


def test_sigterm_lets_another_go_on_at_once(put, start, work, small):
    for name in "abcd":
        put(f"{name}.txt", b"text")
    run = begin("import_files", "b.txt", "d.txt", **IMPORT)
    with held("b.txt") as is_waited_for:
        worker = start()
        until(is_waited_for)
        worker.terminate()
        until(lambda: "Stop requested" in worker.stdout.readline())
    assert worker.wait(30) == 0
    assert ended(run)[0] is None
    work()
    assert ended(run) == (0, "4 objects, 16\xa0bytes: 4 rows added")
    assert attempts(run) == [2, 1, 1]


def test_what_fails_is_tried_again_later_without_a_traceback(put, work):
    put("a.txt", b"text")
    run = begin("import_files", **IMPORT)
    log = work(AWS_ENDPOINT_URL_S3="http://127.0.0.1:9")
    part = run.ranges.get()
    assert "Traceback" not in log
    assert (part.state, part.failures, part.status) == ("is tried again", 1, None)
    assert part.error.startswith("S3 is out of reach")
    job = ProcrastinateJob.objects.get(task_name="work_on_range")
    assert job.scheduled_at > timezone.now()
    continue_at_once()
    work()
    assert ended(run)[0] == 0
    assert Range.objects.get().error == ""


def test_what_fails_again_and_again_is_given_up(put, work):
    run = begin("import_files", **IMPORT)
    run.ranges.update(failures=jobs.MOST_FAILURES - 1)
    log = work(AWS_ENDPOINT_URL_S3="http://127.0.0.1:9")
    assert "Traceback" not in log
    run = Run.objects.get()
    assert (run.status, run.state) == (2, "not finished (status 2)")


def test_a_fault_of_ours_reaches_the_log_and_ends_the_range(put, work):
    run = begin("import_files", unknown=True)
    assert "TypeError: Unknown option(s)" in work()
    assert ended(run)[0] == 2
    assert run.ranges.get().error.startswith("Something is wrong here")


def test_whoever_has_lost_a_range_writes_no_more_of_it():
    run = begin("import_files", **IMPORT)
    first = take(run)
    second = take(run)
    for write in (functools.partial(first.note, 1, 1, {}, "", []), lambda: first.end(0)):
        with pytest.raises(RangeTakenError):
            write()
    second.end(0)
    with pytest.raises(RangeTakenError):
        take(run)


def test_a_password_that_rotates_reaches_a_worker(role, put, start):  # noqa: F811
    put("a.txt", b"text")
    start(APP_DB_SECRET=role.secret_id, APP_DB_USER=role.name)
    first = begin("import_files", **IMPORT)
    until(lambda: ended(first)[0] == 0)
    role.set_in_secret("next")
    role.set_in_database("next")
    second = begin("check_files", **CHECK)
    until(lambda: ended(second)[0] == 0)


def test_a_database_that_says_nothing_is_given_up(own_services, monkeypatch):
    monkeypatch.setattr(asynchronous, "PATIENCE", 0.5)
    own = connection.settings_dict

    async def ask(proxy):
        parameters = parameters_of_workers() | {"host": "127.0.0.1", "port": proxy.port}
        async with await asynchronous.AsyncConnection.connect(**parameters) as session:
            proxy.mode = "hang"
            await session.execute("SELECT 1")

    with (
        TCPProxy(own["HOST"], int(own["PORT"])) as proxy,
        pytest.raises(SilenceError, match=r"the database has not answered for 0\.5 s"),
    ):
        asyncio.run(ask(proxy))


# Schedules


def scheduled(environ, **variables):
    code = (
        "from files.jobs import app; print(*(n for n, _ in app.periodic_registry.periodic_tasks))"
    )
    done = manage("shell", "-v0", "-c", code, environ=environ | variables)
    return set(done.stdout.decode().split())


def test_schedules_are_for_those_who_ask_for_them(environ):
    always = {"retry_stalled_jobs", "remove_old_jobs", "clear_sessions"}
    assert scheduled(environ) == always
    assert scheduled(environ, APP_SCHEDULES="true") == always | {"purge_files"}
    found = scheduled(environ, APP_SCHEDULES="true", APP_VERIFY_DAYS="30")
    assert found == always | {"purge_files", "verify_files"}


def test_a_schedule_begins_a_run_that_workers_share(make_file, work):
    make_file("a.txt").trash()
    File.objects.update(deleted_at=timezone.now() - timedelta(days=31))
    jobs.app.configure_task("purge_files", queueing_lock="purge_files").defer(timestamp=0)
    work(APP_SCHEDULES="true")
    assert ended(Run.objects.earliest("pk")) == (0, "1 deleted, 0 could not be deleted")
    assert not File.objects.exists()


@pytest.fixture
def slow():
    """Let it take a while until a range has its job."""
    execute(
        "CREATE FUNCTION wait() RETURNS trigger AS 'BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END'"
        " LANGUAGE plpgsql"
    )
    execute("CREATE TRIGGER slow AFTER UPDATE OF job_id ON files_range EXECUTE FUNCTION wait()")
    yield
    execute("DROP FUNCTION wait CASCADE")


def test_what_a_schedule_begins_is_seen_as_a_whole_by_workers(slow, start):
    jobs.app.configure_task("purge_files").defer(timestamp=0)
    start("--concurrency=3", APP_SCHEDULES="true")
    until(lambda: Run.objects.exists())
    run = Run.objects.earliest("pk")  # a worker makes up for what was due in the last 10 minutes
    until(lambda: ended(run)[0] == 0)
    assert attempts(run) == [1]


def test_two_workers_do_not_begin_the_same_at_once(slow, start):
    for number in range(2):
        jobs.app.configure_task("purge_files", queueing_lock=f"{number}").defer(timestamp=0)
    start("--concurrency=3", APP_SCHEDULES="true")
    jobs_left = ProcrastinateJob.objects.filter(task_name="purge_files").exclude(status="succeeded")
    until(lambda: not jobs_left.exists())
    until(lambda: not Run.objects.unfinished().exists())
    first, *others = Run.objects.order_by("pk")
    assert all(first.ended_at < other.began_at for other in others)


def test_verifying_goes_on_hour_by_hour(make_file, work):
    file = make_file("a.txt")
    jobs.app.configure_task("verify_files").defer(timestamp=0)
    work(APP_SCHEDULES="true", APP_VERIFY_DAYS="30")
    file.refresh_from_db()
    assert file.verified_at


def test_what_is_under_way_is_not_begun_again():
    jobs._begin_unless_under_way("purge_files")
    jobs._begin_unless_under_way("purge_files")
    assert Run.objects.count() == 1
    Run.objects.update(began_at=timezone.now() - timedelta(days=2))
    jobs._begin_unless_under_way("purge_files")
    assert Run.objects.count() == 2


# The admin

LIST = "/admin/files/run/"


def test_the_admin_shows_how_far_a_run_is_and_what_it_has_found(admin_client, put, work):
    put("a<b>.txt", b"text")
    run = begin("check_files", "m", prefix="", **CHECK)
    page = admin_client.get(LIST).content.decode()
    assert "waits for a worker" in page
    assert jobs.NO_WORKER in page.replace("&#x27;", "'")
    work()
    page = admin_client.get(LIST).content.decode()
    assert "done, with something found (status 1)" in page
    assert "1 object, 0 rows: 0 rows without an object, 1 object without a row" in page
    page = admin_client.get(f"{LIST}{run.pk}/change/").content.decode()
    assert "+ a&lt;b&gt;.txt" in page
    assert "up to &#x27;m&#x27;" in page


def test_lines_beyond_those_that_are_kept_are_counted(admin_client):
    run = begin("check_files", **CHECK)
    part = take(run)
    part.note(0, 0, {}, "", [f"+ {number}" for number in range(MOST_LINES - 1)])
    part.note(0, 0, {}, "", ["+ last", "+ more", "+ more"])
    lines = admin_client.get(f"{LIST}{run.pk}/lines/").content.decode().splitlines()
    assert (len(lines), lines[-2]) == (MOST_LINES + 1, "+ last")
    assert lines[-1] == "(2 more lines of these keys were not kept)"
    page = admin_client.get(f"{LIST}{run.pk}/change/").content.decode()
    assert "All lines that were kept" in page


def test_a_run_is_stopped(admin_client, put, work):
    put("a.txt", b"text")
    run = begin("import_files", "m", **IMPORT)
    form = {"action": "stop", "_selected_action": [run.pk]}
    assert "1 run was stopped" in admin_client.post(LIST, form, follow=True).content.decode()
    work()
    run = Run.objects.get()
    assert (run.status, run.state, File.objects.count()) == (None, "stopped", 0)
    found = ProcrastinateJob.objects.filter(task_name="work_on_range")
    assert set(found.values_list("status", flat=True)) == {"cancelled"}


def test_a_run_that_is_stopped_is_left_by_its_worker(put, start, small):
    for name in "abc":
        put(f"{name}.txt", b"text")
    run = begin("import_files", "b.txt", **IMPORT)
    with held("b.txt") as is_waited_for:
        worker = start()
        until(is_waited_for)
        jobs.stop(run)
    until(lambda: not ProcrastinateJob.objects.filter(status="doing").exists())
    assert Run.objects.get().state == "stopped"
    assert worker.poll() is None


def test_runs_are_for_those_who_may_view_them(client):
    user = User.objects.create_user("somebody", is_staff=True)
    client.force_login(user)
    run = begin("check_files", **CHECK)
    pages = [LIST, f"{LIST}{run.pk}/change/", f"{LIST}{run.pk}/lines/"]
    assert [client.get(page).status_code for page in pages] == [403, 403, 403]
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    assert [client.get(page).status_code for page in pages] == [200, 200, 200]
    assert client.post(LIST, {"action": "stop", "_selected_action": [run.pk]}).status_code == 200
    assert Run.objects.get().ended_at is None


def test_the_list_of_jobs_says_too_that_no_worker_is_running(admin_client):
    begin("check_files", **CHECK)
    page = admin_client.get(reverse("admin:procrastinate_procrastinatejob_changelist"))
    assert jobs.NO_WORKER in page.content.decode()
    assert "work_on_range" in page.content.decode()


def test_jobs_are_changed_by_none_who_may_view_them(client):
    user = User.objects.create_user("somebody", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_procrastinatejob"))
    client.force_login(user)
    begin("check_files", **CHECK)
    (job,) = ProcrastinateJob.objects.all()
    page = reverse("admin:procrastinate_procrastinatejob_changelist")
    client.post(page, {"action": "abort", "_selected_action": [job.pk]})
    assert ProcrastinateJob.objects.get().status == "todo"
