"""`migrate`, on an empty database and on the original script's table."""

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.utils import timezone

from files import operations
from files.models import File
from files.operations import ConflictError
from tests.operations import create, elsewhere, execute
from tests.processes import manage

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
            select column_name, data_type, is_nullable, collation_name, is_identity,
                   identity_generation
            from information_schema.columns where table_name = 'files' order by column_name
            """
        )
        return cursor.fetchall()


def definitions():
    """Return the indexes, constraints and triggers of the table, and whether they are valid."""
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
    assert File.objects.create(object_key="new").pk > 4
    assert list(File.objects.filter(object_key__lt="b").values_list("object_key", flat=True)) == [
        "/root/text.txt",
        "a",
    ]


@pytest.mark.parametrize(
    "table",
    [
        SCRIPT_TABLE,
        "create table files (id serial primary key, object_key varchar(200) not null)",
        "create table files (id bigint primary key default 1, object_key text)",
    ],
)
def test_the_result_is_the_same_as_on_an_empty_database(script_table, table):
    call_command("migrate", verbosity=0)
    fresh, defined = {row[0]: row for row in columns()}, definitions()
    call_command("migrate", "files", "zero", verbosity=0)
    script_table("a", table=table)
    call_command("migrate", verbosity=0)
    found = {row[0]: row for row in columns()}
    kept = {"id": ("id", "bigint" if "bigint" in table else "integer")}
    assert {name: row for name, row in found.items() if name != "id"} == {
        name: row for name, row in fresh.items() if name != "id"
    }
    assert (found["id"][:2], definitions()) == (kept["id"], defined)


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


def test_an_impossible_key_stops_it(script_table):
    script_table("fine", "", "x" * 1025, ".files/a")
    with pytest.raises(CommandError, match=r"in the rows 2, 3, 4\."):
        call_command("migrate", verbosity=0)


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
