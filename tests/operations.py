"""What the tests of operations share: what they do, and what rows and objects there are then."""

import contextlib
import functools
import io
import random
import threading

from django.core.files.base import ContentFile
from django.db import connection, transaction

from files import operations
from files.models import File, Operation
from files.storage import S3UnavailableError
from files.storage.writing import PART_SIZE
from tests.test_storage import listed

MIB = 2**20


# What there is


def objects(storage):
    """Return key and content of all objects."""
    return {entry["Key"]: storage.open(entry["Key"]).read() for entry in listed(storage)}


def rows():
    """Return key, name and whether it is live of all rows."""
    return [(str(file), file.name, file.deleted_at is None) for file in File.objects.all()]


def state():
    """Return all columns of all rows, to see that nothing has changed."""
    return list(File.objects.order_by("pk").values())


def kept():
    """Return the file in the trash that keeps the replaced content of `a.txt`."""
    return File.objects.trashed().get(original_key="a.txt")


def named():
    """Return the keys that the operations under way name."""
    return {key for operation in Operation.objects.all() for key in operation.keys}


def locks():
    """Return how many advisory locks are held by sessions of this run's PGAPPNAME."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE locktype = 'advisory' AND datname = current_database()"
            " AND application_name = current_setting('application_name')"
        )
        return cursor.fetchone()[0]


def assert_rows_are_true(storage):
    for row in File.objects.live():
        facts = (row.size, row.content_type, row.etag, row.modified_at, row.storage_class)
        assert facts == storage.stat(str(row))[:5]


# What is done


def create(key, data=b"text"):
    return File.objects.create(object_key=ContentFile(data, name=key))


OPERATIONS = {
    "create": lambda file, new: create("b", new),
    "trash": lambda file, new: file.trash(),
    "restore": lambda file, new: file.restore(),
    "rename": lambda file, new: file.rename("b"),
    "replace": lambda file, new: file.replace(ContentFile(new)),
    "delete": lambda file, new: file.delete(),
    "purge": lambda file, new: list(operations.purge(trash(), workers=1)),
}


def trash():
    return File.objects.trashed().order_by("object_key")


def operate(operation, file, new, *, in_transaction):
    with transaction.atomic() if in_transaction else contextlib.nullcontext():
        OPERATIONS[operation](file, new)


ACTIONS = {
    "rename": lambda file: file.rename("b"),
    "replace": lambda file: file.replace(ContentFile(b"theirs")),
    "restore": lambda file: file.restore(),
    "trash": lambda file: file.trash(),
    "delete": lambda file: file.delete(),
}


def elsewhere(action):
    """Do it in another thread, with a connection of its own; return the types of its OSErrors."""
    raised = []

    def run():
        try:
            action()
        except OSError as error:
            raised.append(type(error))
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised


def sweep():
    """End what was interrupted, however short a time ago."""
    for operation in Operation.objects.all():
        operations.end(operation)


def execute(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


@functools.cache
def content(name, size):
    """Return random bytes, the same for a name and a size."""
    return random.Random(name).randbytes(size)


# What breaks


def lost():
    """Fail as S3 does when it is out of reach."""
    raise S3UnavailableError("out of reach")


def interrupt():
    raise KeyboardInterrupt


class Failing(io.BytesIO):
    """Content that cannot be read to its end."""

    def read(self, size=-1):
        data = super().read(size)
        if self.tell() > PART_SIZE:
            raise RuntimeError("the disk is gone")
        return data


@contextlib.contextmanager
def breaking(part, error, *, after=False):
    """Raise the error, or run it as SQL, at the first statement that has this part in it."""
    done = []

    def breaking(run, sql, parameters, many, context):
        if part not in sql or done:
            return run(sql, parameters, many, context)
        done.append(sql)
        if after:
            run(sql, parameters, many, context)
        if isinstance(error, str):
            return run(error, None, many, context)
        raise error

    with connection.execute_wrapper(breaking):
        yield


class RollBackError(Exception):
    """What rolls a transaction back."""
