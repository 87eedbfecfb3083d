"""Many deletions at a time, with the guarantees of a single one: see `files.operations.changes`."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from django.db import IntegrityError, connection, transaction

from files import audit
from files.operations.changes import etag_to_delete
from files.operations.interrupted import named
from files.operations.locking import locked_where_free, refuse_transaction
from files.operations.operation import Operation, who
from files.operations.sides import put_into_trash, rows, storage

if TYPE_CHECKING:
    from files.models import File

# Files at a time: PostgreSQL has room for some 6,000 locks, and S3 takes 1,000 keys in a request.
BATCH = 500


def purge(files: "Iterable[File]", workers: int) -> "Iterator[tuple[File, Exception | None]]":
    """Delete files for good, as `File.delete` does with each, but some hundreds at a time.

    Yields each file with what kept it from being deleted: ConflictError while somebody else works
    on it, IntegrityError where a row of another table needs it, or S3's errors. As many requests as
    there are `workers` ask S3 at a time whether the objects are those that the rows know.
    """
    refuse_transaction("purge")
    files = iter(files)
    with ThreadPoolExecutor(workers) as pool:
        while batch := list(islice(files, BATCH)):
            ended = _purge(batch, pool)
            for file in batch:
                yield file, ended[file.pk] if file.pk in ended else _delete_alone(file)


def _purge(files: "Sequence[File]", pool: Executor) -> dict[int, Exception | None]:
    """Delete what nothing out of the ordinary is about; return how that ended, by the row's id."""
    with locked_where_free(*map(str, files)) as keys:
        ready = _as_read(files, set(keys) - named(keys))
        found = dict(zip(ready, pool.map(_etag_or_error, ready), strict=True))
        failed = {row: error for row, error in found.items() if isinstance(error, OSError)}
        etags = {row: etag for row, etag in found.items() if isinstance(etag, str)}
        ended: dict[File, Exception | None] = {**failed}
        with suppress(IntegrityError):  # of one of them, which is found out alone
            ended |= _delete_together(etags)
    for row, error in ended.items():
        _tell(row, error)
    return {row.pk: error for row, error in ended.items()}


def _as_read(files: "Sequence[File]", keys: Collection[str]) -> "list[File]":
    """Return the rows of the keys that have not changed since they were read."""
    read = {(file.pk, str(file), file.etag, file.deleted_at) for file in files}
    found = rows().filter(object_key__in=keys)
    return [row for row in found if (row.pk, str(row), row.etag, row.deleted_at) in read]


def _etag_or_error(row: "File") -> str | OSError:
    try:
        return etag_to_delete(row)
    except OSError as error:
        return error


def _delete_together(etags: "Mapping[File, str]") -> "dict[File, Exception | None]":
    """Delete rows, then their objects of these ETags; what S3 refuses comes back into the trash."""
    deletions = _delete_rows(etags)
    refused = storage().delete_many({str(row): etag for row, etag in etags.items() if etag})
    back = [row for row in etags if str(row) in refused]
    for row in back:
        put_into_trash(row)
    with transaction.atomic():
        rows().bulk_create(back, ignore_conflicts=True)
        Operation.objects.filter(pk__in=[deletion.pk for deletion in deletions]).delete()
    return {row: refused.get(str(row)) for row in etags}


def _delete_rows(etags: "Mapping[File, str]") -> list[Operation]:
    """Delete the rows, and say in the same transaction which objects are to be deleted."""
    kind = Operation.Kind.DELETE
    deletions = [
        Operation(kind=kind, object_key=str(row), file_id=row.pk, etag=etag, who=who())
        for row, etag in etags.items()
    ]
    with transaction.atomic():
        Operation.objects.bulk_create(deletions)
        rows().filter(pk__in=[row.pk for row in etags]).delete()
        connection.check_constraints()
    return deletions


def _delete_alone(file: "File") -> Exception | None:
    try:
        file.delete()
    except (OSError, IntegrityError) as error:
        return error
    return None


def _tell(row: "File", error: Exception | None) -> None:
    outcome = "failed" if error else "done"
    reason = {"error": f"{type(error).__name__}: {error}"} if error else {}
    audit.record("delete", outcome, file=row.pk, key=str(row), **reason)
