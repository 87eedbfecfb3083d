"""Whose the bucket is: `manage.py own_bucket`, and who may delete objects in it."""

import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from files.catalogue import owner
from files.models import File
from tests.operations import execute, objects, rows, state
from tests.processes import manage

MARKER = ".files/owner"
LONG = json.dumps(dict.fromkeys(owner.Owner._fields, "x") | {"since": "x" * 5000}).encode()
TABLES = ("files", "files_operation", "files_work")


@pytest.fixture
def copy(transactional_db):
    """Return the environment of a process on a copy of the database, with the same bucket."""
    with connection.cursor() as cursor:
        cursor.execute("select current_schema()")
        (own,) = cursor.fetchone()
    schema = f"{own}_copy"
    execute(f"create schema {schema}")
    for table in TABLES:
        execute(f"create table {schema}.{table} (like {own}.{table} including all)")
    name = connection.settings_dict["NAME"]
    yield {"APP_DB_NAME": name, "PGOPTIONS": f"-c search_path={schema}"}
    execute(f"drop schema {schema} cascade")


@pytest.fixture
def trashed(make_file, copy):
    """Make a file that is in the trash, here and in the copy."""
    make_file("a").trash()
    schema = copy["PGOPTIONS"].partition("=")[2]
    execute(f"insert into {schema}.files overriding system value select * from files")  # noqa: S608


def told(*arguments):
    """Run the command here; return what it prints, and its status."""
    stdout, status = io.StringIO(), 0
    try:
        call_command("own_bucket", *arguments, stdout=stdout)
    except SystemExit as end:
        status = end.code
    return stdout.getvalue(), status


def told_by(copy, *arguments):
    """Run a command on the copy; return the last line of each output, and the status."""
    done = manage(*arguments, environ=copy)
    last = [(output.decode().splitlines() or [""])[-1] for output in (done.stdout, done.stderr)]
    return *last, done.returncode


def test_a_bucket_is_nobodys_until_something_is_deleted(db, storage):
    assert told() == (f"The bucket {owner.place()} is nobody's yet.\n", 1)
    call_command("purge_files", "--dry-run")
    assert objects(storage) == {}
    call_command("purge_files")
    found = owner.owner()
    assert found.is_same(owner.this())
    text = f"The bucket {owner.place()} is that of this database, {found}, since {found.since}.\n"
    assert told() == (text, 0)


def test_the_object_names_the_database_for_people(db, storage):
    owner.claim()
    data = json.loads(storage.open(MARKER).read())
    assert owner.Owner(**data) == owner.this()._replace(since=data["since"])
    known = connection.settings_dict
    assert (data["host"], data["name"]) == (known["HOST"], known["NAME"])
    assert data["system_identifier"].isdecimal()


@pytest.mark.parametrize(
    "options", [[], ["--dry-run"], ["--orphans"], ["--orphans", "--apply"]], ids=" ".join
)
def test_a_copy_of_the_database_deletes_nothing(trashed, copy, storage, put, options):
    put("orphan", b"text")
    owner.claim()
    before = state(), objects(storage)
    stdout, stderr, status = told_by(copy, "purge_files", "--older-than=0", *options)
    text = f"is that of another database, {owner.owner()}, since {owner.owner().since}"
    how = "to hand it over to this database, run `manage.py own_bucket --take`."
    assert (stdout, status) == ("", 1)
    assert stderr.endswith(f"The bucket {owner.place()} {text}: {how}")
    assert (state(), objects(storage)) == before
    assert told_by(copy, "own_bucket") == (f"The bucket {owner.place()} {text}.", "", 1)


@pytest.mark.needs("conditional puts")
def test_a_copy_that_takes_the_bucket_is_its_owner(trashed, copy, storage):
    owner.claim()
    before = owner.owner()
    stdout, stderr, status = told_by(copy, "own_bucket", "--take")
    assert stdout.endswith(f"; before it was that of {before}.")
    assert (stderr, status) == ("", 0)
    with pytest.raises(CommandError, match=f"is that of another database, .*{copy['APP_DB_NAME']}"):
        call_command("purge_files", "--older-than=0")
    assert rows() == [("a", "a", False)]
    assert told_by(copy, "purge_files", "--older-than=0") == ("- a", "", 0)
    assert list(objects(storage)) == [MARKER]


@pytest.mark.needs("conditional puts")
def test_of_two_that_claim_at_once_one_is_the_owner(trashed, copy, storage, during):
    won = []
    during("PutObject", lambda: won.append(told_by(copy, "purge_files", "--older-than=0")))
    with pytest.raises(owner.NotOwnerError, match="is that of another database"):
        owner.claim()
    assert [(stdout, status) for stdout, _, status in won] == [("- a", 0)]
    assert list(objects(storage)) == [MARKER]


@pytest.mark.needs("conditional puts")
def test_a_bucket_that_is_taken_twice_at_once_is_told(copy, db, during):
    owner.claim()
    taken = []
    during("PutObject", lambda: taken.append(told_by(copy, "own_bucket", "--take")))
    with pytest.raises(CommandError, match=r"The object has changed meanwhile: '\.files/owner'"):
        call_command("own_bucket", "--take")
    assert (taken[0][2], told()[1]) == (0, 1)


OTHERS = [b"", b"theirs", b"[]", b'{"host": "x"}', LONG]


@pytest.mark.parametrize("data", OTHERS)
@pytest.mark.parametrize("command", ["own_bucket", "purge_files"])
def test_an_object_that_names_nobody_is_told(db, put, command, data):
    put(MARKER, data)
    text = rf"The object {MARKER} in the bucket \S+ does not say whose the bucket is: to hand it"
    with pytest.raises(CommandError, match=text):
        call_command(command)


@pytest.mark.needs("conditional puts")
def test_an_object_that_names_nobody_can_be_replaced(db, put):
    put(MARKER, b"theirs")
    stdout, status = told("--take")
    assert (stdout.endswith("; before it was that of nobody who is known.\n"), status) == (True, 0)
    assert told()[1] == 0


def test_another_host_or_system_is_another_database(db):
    this = owner.this()
    others = {"host": "x", "port": "1", "name": "x", "schema": "x", "system_identifier": "1"}
    assert not any(this.is_same(this._replace(**{name: x})) for name, x in others.items())
    assert this.is_same(this._replace(since="", system_identifier=""))


def test_the_object_is_not_told_as_foreign(db, storage, capsys):
    owner.claim()
    call_command("purge_files", "--dry-run")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("command", ["own_bucket", "purge_files"])
def test_s3_out_of_reach_is_one_sentence(db, unreachable, no_waits, command):
    unreachable()
    with pytest.raises(CommandError, match="S3 is out of reach"):
        call_command(command)


def test_a_file_may_have_no_such_key(db):
    from django.core.exceptions import ValidationError

    with pytest.raises(ValidationError, match="reserved"):
        File.objects.create(object_key=MARKER)
