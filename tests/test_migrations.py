"""`migrate`, on an empty database and on the original script's table."""

import os
import subprocess
import sys

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from files import operations
from files.catalogue import online
from files.models import File
from files.operations import ConflictError
from project.postgresql.connection import Connection
from tests.operations import create, elsewhere, execute
from tests.processes import ROOT, manage
from tests.waiting import until

SCRIPT_TABLE = """
    create table files (id int generated always as identity primary key, object_key text not null)
"""

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def script_table():
    """Go back to before the first migration; return what makes the script's table with rows."""
    call_command("migrate", "files", "zero", verbosity=0)

    def script_table(*keys, table=SCRIPT_TABLE):
        with connection.cursor() as cursor:
            cursor.execute(table)
            for key in keys:
                cursor.execute("insert into files (object_key) values (%s)", [key])

    yield script_table
    call_command("migrate", "files", "zero", verbosity=0)
    execute("drop table if exists files")  # which was refused
    call_command("migrate", verbosity=0)


def columns():
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select column_name, data_type, is_nullable, collation_name
            from information_schema.columns where table_name = 'files' order by column_name
            """
        )
        return {name: tuple(described) for name, *described in cursor.fetchall()}


def definitions():
    """Return the table's indexes, constraints and triggers, and which of them are not valid."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select pg_get_indexdef(indexrelid), indisvalid from pg_index
            where indrelid = 'files'::regclass
            union all
            select pg_get_constraintdef(oid), convalidated from pg_constraint
            where conrelid = 'files'::regclass and contype <> 'n'
            union all
            select pg_get_triggerdef(oid), true from pg_trigger where tgrelid = 'files'::regclass
            order by 1
            """
        )
        return cursor.fetchall()


def test_the_scripts_table_keeps_its_rows_and_becomes_ours(script_table):
    script_table("/root/text.txt", "root/text.txt", "b", "a")
    with connection.cursor() as cursor:
        cursor.execute("delete from files where object_key = 'b'")
    call_command("migrate", verbosity=0)
    rows = list(File.objects.order_by("pk").values_list("pk", "object_key"))
    assert rows == [(1, "/root/text.txt"), (2, "root/text.txt"), (4, "a")]
    assert File.objects.create(object_key="new", check=False).pk > 4
    assert list(File.objects.filter(object_key__lt="b").values_list("object_key", flat=True)) == [
        "/root/text.txt",
        "a",
    ]


@pytest.mark.parametrize(
    ("table", "type_of_id"),
    [
        (SCRIPT_TABLE, "integer"),
        ("create table files (id serial primary key, object_key varchar(9) not null)", "integer"),
        ("create table files (id bigint primary key default 1, object_key text)", "bigint"),
    ],
)
def test_the_result_is_that_on_an_empty_database_but_for_ids(script_table, table, type_of_id):
    call_command("migrate", verbosity=0)
    fresh, defined = columns(), definitions()
    call_command("migrate", "files", "zero", verbosity=0)
    script_table("a", table=table)
    call_command("migrate", verbosity=0)
    assert columns() == fresh | {"id": (type_of_id, "NO", None)}
    assert definitions() == defined


def test_two_rows_of_one_key_stop_it_and_nothing_is_changed(script_table):
    script_table("twice", "once", "twice")
    before = columns()
    with pytest.raises(CommandError, match="'twice' in the rows 1, 3"):
        call_command("migrate", verbosity=0)
    assert columns() == before


@pytest.fixture
def schema_apart(transactional_db):
    """Return a name that begins as that of our schema, with which a run in an environment ends."""
    with connection.cursor() as cursor:
        cursor.execute("select current_schema()")
        return f"{cursor.fetchone()[0]}_apart"


def test_on_a_database_without_django_it_makes_no_table_before_it_stops(script_table, schema_apart):
    script_table("twice", "twice")
    with connection.cursor() as cursor:
        cursor.execute(f"create schema {schema_apart}")
        cursor.execute(f"create table {schema_apart}.files as table files")
        cursor.execute(f"set search_path to {schema_apart}")
        try:
            with pytest.raises(CommandError, match="'twice' in the rows 1, 2"):
                call_command("migrate", verbosity=0)
            tables = connection.introspection.table_names(cursor)
        finally:
            cursor.execute(f"set search_path to default; drop schema {schema_apart} cascade")
    assert tables == ["files"]


def migrate_to(name):
    """Apply the migrations up to this one, without what the command does before."""
    executor = MigrationExecutor(connection)
    executor.migrate([("files", name)])


def test_two_rows_of_one_key_that_come_meanwhile_stop_it_too(script_table):
    script_table("once")
    migrate_to("0001_initial")
    execute("insert into files (object_key, missing_at) values ('twice', now()), ('twice', now())")
    before = definitions()
    with pytest.raises(CommandError, match="'twice' in the rows 3, 4"):
        call_command("migrate", verbosity=0)
    assert definitions() == before  # without an index that is not valid
    execute("update files set object_key = 'other' where id = 4")
    call_command("migrate", verbosity=0)


def test_an_impossible_key_that_came_meanwhile_stops_it_too(script_table):
    script_table("fine", "")
    migrate_to("0001_initial")
    with pytest.raises(CommandError, match=r"in the rows 2\."):
        call_command("migrate", verbosity=0)


def test_an_impossible_key_stops_it(script_table):
    script_table("fine", "", "x" * 1025, ".files/a")
    with pytest.raises(CommandError, match=r"in the rows 2, 3, 4\."):
        call_command("migrate", verbosity=0)


class StoppedError(Exception):
    """A process that was killed."""


def migrate_until(statement):
    """Migrate, but stop before the statement of this number; return whether there was one."""
    left = iter(range(statement))

    def stop(execute, *arguments):
        if next(left, None) is None:
            raise StoppedError
        return execute(*arguments)

    try:
        with connection.execute_wrapper(stop):
            migrate_to("0002_indexes")
    except StoppedError:
        connection.close()
        return True
    return False


def test_what_was_stopped_before_any_statement_is_migrated_by_the_next_run(script_table):
    migrate_to("0002_indexes")
    defined, statement = definitions(), 0
    is_stopped = True
    while is_stopped:
        migrate_to(None)
        script_table("b", "a")
        is_stopped = migrate_until(statement)
        migrate_to("0002_indexes")
        assert (statement, definitions()) == (statement, defined)
        statement += 1
    assert statement > 50


@pytest.fixture
def session():
    """A session beside Django's, in a transaction."""
    with Connection.connect(**connection.get_connection_params() | {"cursor_factory": None}) as own:
        yield own


@pytest.fixture
def migrate():
    """Return what starts `manage.py migrate` on the test database."""
    started = []

    def migrate():
        command = [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity=0"]
        environ = os.environ | {"APP_DB_NAME": connection.settings_dict["NAME"]}
        started.append(subprocess.Popen(command, env=environ, cwd=ROOT, stderr=subprocess.PIPE))
        return started[-1]

    yield migrate
    for process in started:
        process.kill()
        process.communicate()


def first_row(sql):
    """Return the first row of the query, as soon as it has one."""
    with connection.cursor() as cursor:
        return until(lambda: cursor.execute(sql).fetchone())


IN_PROGRESS = "select pid from pg_stat_progress_create_index where datname = current_database()"
WAITING = "select pid from pg_locks where relation = 'files'::regclass and not granted"


@pytest.mark.parametrize("ending", ["kill", "terminate"])
def test_an_index_that_was_interrupted_is_built_by_the_next_run(
    script_table, session, migrate, ending
):
    """PostgreSQL goes on building for a client that was killed, and the next run waits for it."""
    script_table("a")
    session.execute("set transaction isolation level repeatable read")
    session.execute("select 1")  # from now on no index can be finished
    first = migrate()
    first_row("select 1 from pg_index where not indisvalid")
    (builder,) = first_row(IN_PROGRESS)
    first.kill()
    if ending == "terminate":
        execute(f"select pg_terminate_backend({builder}, 5000)")
        second = migrate()
        first_row(f"{IN_PROGRESS} and pid <> {builder}")
    else:
        second = migrate()
        first_row(WAITING)
    session.rollback()
    assert (second.wait(30), second.stderr.read()) == (0, b"")
    migrated = definitions()
    call_command("migrate", "files", "zero", verbosity=0)
    call_command("migrate", verbosity=0)
    assert migrated == definitions()


def test_it_waits_for_a_reader_and_lets_others_read(script_table, session, monkeypatch, caplog):
    script_table("a")
    session.execute("select from files")  # and keeps a lock until its transaction ends
    read = []

    def other_reads(seconds):
        with Connection.connect(**connection.get_connection_params()) as other:
            read.extend(other.execute("select object_key from files").fetchall())
        session.rollback()

    monkeypatch.setattr(online.time, "sleep", other_reads)
    call_command("migrate", verbosity=0)
    info = session.info
    name = f"process {info.backend_pid} {info.user} {os.environ['PGAPPNAME']}"
    assert caplog.messages == [f"The table files is in use by {name}: migrate tries again in 1 s."]
    assert read == [("a",)]


def test_a_reader_behind_it_waits_for_less_than_a_second(script_table, session, migrate):
    script_table("a")
    session.execute("select from files")
    process = migrate()
    first_row(f"{WAITING} and mode = 'AccessExclusiveLock'")
    with transaction.atomic():
        execute("set local statement_timeout = '1s'")
        execute("select from files")
    session.rollback()
    assert process.wait(30) == 0
    assert b" WARNING files.catalogue.online: The table files is in use" in process.stderr.read()


def test_it_ends_where_a_reader_does_not_and_nothing_is_changed(script_table, session, monkeypatch):
    script_table("a")
    before = columns()
    session.execute("select from files")
    monkeypatch.setattr(online, "PAUSES", (0, 0))
    with pytest.raises(CommandError, match=f"process {session.info.backend_pid} .*: end that"):
        call_command("migrate", verbosity=0)
    assert columns() == before


def test_it_ends_rather_than_lock_for_long_and_nothing_is_changed(script_table, monkeypatch):
    script_table("a")
    execute("insert into files (object_key) select 'key ' || n from generate_series(1, 50000) as n")
    execute("create index own on files (object_key)")  # which another collation builds anew
    before = columns()
    monkeypatch.setattr(online, "STATEMENT_TIMEOUT", "5ms")
    with pytest.raises(CommandError, match="cannot be changed within 5ms"):
        call_command("migrate", verbosity=0)
    assert columns() == before


def test_no_limit_of_the_web_ends_a_migration(script_table):
    script_table("a")
    execute("set statement_timeout = '7s'; set lock_timeout = '3s'")
    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(
            "select current_setting('statement_timeout'), current_setting('lock_timeout')"
        )
        assert cursor.fetchone() == ("0", "0")


@pytest.mark.parametrize(
    ("type_of_id", "last", "warns"),
    [("int", 1_500_000_000, False), ("int", 1_500_000_001, True), ("bigint", 2**31, False)],
)
def test_a_check_warns_of_ids_that_end(script_table, capsys, type_of_id, last, warns):
    script_table(table=SCRIPT_TABLE.replace("id int", f"id {type_of_id}"))
    call_command("migrate", verbosity=0)
    File.objects.bulk_create([File(id=last, object_key="a")])
    call_command("check", databases=["default"])
    assert ("(files.W008) The ids of the table files" in capsys.readouterr().err) == warns


def test_migrating_again_takes_the_key_of_a_replaced_content():
    kept = File(object_key=".files/a", original_key="a", deleted_at=timezone.now())
    File.objects.bulk_create([kept])
    call_command("migrate", verbosity=0)
    assert File.objects.get() == kept


def test_the_script_can_go_on_inserting(storage):
    with connection.cursor() as cursor:
        cursor.execute("insert into files (object_key) values ('by hand') returning id")
        (pk,) = cursor.fetchone()
    file = File.objects.get(pk=pk)
    assert (file.size, file.content_type, file.etag) == (None, "", "")
    storage.save("by hand", ContentFile(b"text"))
    file.refresh_from_storage()
    assert File.objects.get(pk=pk).size == 4


@pytest.fixture
def apart(schema_apart):
    """Make another schema; return the environment of a process that works there."""
    execute(f"create schema {schema_apart}")
    yield {
        "APP_DB_NAME": connection.settings_dict["NAME"],
        "PGOPTIONS": f"-c search_path={schema_apart}",
        "APP_BUCKET_LOCATION": f"{settings.STORAGES['default']['OPTIONS']['location']}apart/",
    }
    execute(f"drop schema {schema_apart} cascade")


def test_catalogues_of_two_schemas_share_a_database(apart, storage):
    migrate = manage("migrate", environ=apart)
    assert (migrate.returncode, migrate.stderr) == (0, b"")
    with operations.locked("a.txt"):
        assert elsewhere(lambda: create("a.txt")) == [ConflictError]
        created = manage(
            "shell",
            "-v0",
            "-c",
            "from tests.operations import create; print(create('a.txt'))",
            environ=apart,
        )
    assert (created.stderr, created.stdout) == (b"", b"a.txt\n")
    assert [key for key, _ in storage.list()] == ["apart/a.txt"]
    assert not File.objects.exists()
