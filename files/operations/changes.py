"""The operations: create, replace, rename, trash, restore, delete, and uploads in parts."""

import errno
import logging
import posixpath
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connection, transaction
from django.db.models import Case, Value, When
from django.db.models.functions import Coalesce, Now
from django.utils import timezone
from django.utils.translation import gettext

from files import activity, audit
from files.keys import RESERVED, validate_new_key
from files.operations.interrupted import delete_object, insert_kept, settle, settle_all
from files.operations.locking import conflict, in_callers_transaction, locked, refuse_transaction
from files.operations.operation import Operation, who
from files.operations.sides import columns, put_into_trash, rows, storage
from files.storage import ObjectChangedError, ObjectStat, S3UnavailableError

if TYPE_CHECKING:
    from files.models import File

LIVE: dict[str, Any] = {"deleted_at": None, "deleted_by": ""}

logger = logging.getLogger(__name__)


@contextmanager
def _changing(file: "File", *new_keys: str, but: Operation | None = None) -> Iterator[None]:
    """Lock the file and its new keys, check the row, and end what was interrupted on them.

    Raises ConflictError where the row is not as the caller has seen it: where it has another key or
    content by now, or was trashed or restored. Raises FileExistsError where a new key is another
    file's. Ending a replacement may record its content, which so can be replaced again at once.
    """
    keys = [str(file), *new_keys]
    with locked(*keys):
        files = rows().filter(object_key__in=keys).only("object_key", "deleted_at", "etag")
        found = {str(row): row for row in files}
        row = found.pop(str(file), None)
        if row is None or not _is_same(row, file):
            raise conflict(str(file))
        for key in found:
            raise FileExistsError(errno.EEXIST, gettext("There is a file of this key"), key)
        settle_all(keys, but)
        yield


def _is_same(row: "File", seen: "File") -> bool:
    """Return whether the row is as the caller has seen it: no ETag is that of no content."""
    is_content = seen.etag in {"", row.etag}
    return is_content and row.pk == seen.pk and (row.deleted_at is None) == (not seen.deleted_at)


@contextmanager
def _under_way(operation: Operation) -> Iterator[None]:
    """End the operation where it fails.

    Where S3 did not answer, what it was asked for may happen yet: the next attempt ends it.
    """
    pk = operation.pk
    try:
        yield
    except S3UnavailableError:
        Operation.objects.filter(pk=pk).update(started_at=Now())  # S3 may be late from now on
        raise
    except Exception:
        operation.pk = pk  # which Django takes from what was deleted, also where that is not kept
        try:
            settle(operation, is_over=True, was_killed=False)
        except (OSError, DatabaseError) as error:
            logger.warning("What the %s left stays for purge_files: %s", operation, error)
        raise


@contextmanager
def _recording(file: "File", **values: Any) -> Iterator[None]:
    """Write columns of the row, and nothing else; the file has them when that is committed."""
    with transaction.atomic():
        yield
        rows().filter(pk=file.pk).update(**values)
    for name, value in values.items():
        setattr(file, name, value)


@contextmanager
def creating(
    file: "File", make: Callable[..., ObjectStat], operation: Operation | None = None
) -> Iterator[None]:
    """Write the object of a new file by `make(mark=..., on_upload=...)`; save its row inside.

    `operation` is one that has begun already, as an upload. Raises FileExistsError where there is a
    file or an object of this key, ConflictError while somebody else writes one, and S3's errors.
    """
    with audit.change("upload", file), _creating(file, make, operation):
        yield


@contextmanager
def _creating(
    file: "File", make: Callable[..., ObjectStat], operation: Operation | None
) -> Iterator[None]:
    key = str(file)
    validate_new_key(key)
    with locked(key):
        settle_all([key], operation)
        if rows().filter(object_key=key).exists():
            raise FileExistsError(errno.EEXIST, gettext("There is a file of this key"), key)
        operation = operation or Operation.begin(Operation.Kind.CREATE, key)
        with _under_way(operation):
            stat = make(mark=operation.mark, on_upload=operation.note_upload)
            for name, value in columns(stat).items():
                setattr(file, name, value)
            with transaction.atomic():
                yield
                operation.delete()


def trash(file: "File") -> None:
    """Put the file into the trash, where its object stays as it is. Raises ConflictError."""
    with audit.change("trash", file), locked(str(file)):
        since = file.deleted_at or timezone.now()
        row = rows().filter(pk=file.pk, object_key=str(file))
        if file.etag:
            row = row.filter(etag=file.etag)
        by = Case(When(deleted_at=None, then=Value(activity.actor_name())), default="deleted_by")
        if not row.update(deleted_at=Coalesce("deleted_at", Value(since)), deleted_by=by):
            raise conflict(str(file))
        file.deleted_at = since


def restore(file: "File") -> None:
    """Take the file out of the trash: see `File.restore`."""
    with audit.change("restore", file):
        refuse_transaction("restore")
        _restore(file)


def _restore(file: "File") -> None:
    if file.original_key:
        with _changing(file):  # which ends what an interrupted restore has left under the key
            key = _free_key(file.original_key.removeprefix(RESERVED))
        _move(file, key, original_key="", **LIVE)
        return
    with _changing(file):
        stat = storage().stat(str(file))
        with _recording(file, **columns(stat, file), **LIVE):
            pass


def _free_key(key: str) -> str:
    """Return the key, or one with a suffix, that neither an object nor a row has."""
    free = storage().get_available_name(key)
    while rows().filter(object_key=free).exists():
        alternative = storage().get_alternative_name(*posixpath.splitext(key))
        free = storage().get_available_name(alternative)
    return free


def rename(file: "File", key: str) -> None:
    """Give the file another key: see `File.rename`."""
    with audit.change("rename", file):
        refuse_transaction("rename")
        validate_new_key(key)
        if key != str(file):
            _move(file, key)


def _move(file: "File", key: str, **changes: Any) -> None:
    """Copy the object, give the row the new key, delete the old object."""
    old = str(file)
    with _changing(file, key):
        storage().refuse_archived(old, file.storage_class)
        operation = Operation.begin(
            Operation.Kind.RENAME, old, copy_key=key, file_id=file.pk, etag=file.etag
        )
        with _under_way(operation):
            etag, stat = _copy(operation)
            stat = _same_bytes(stat, file, etag)
            with _recording(file, object_key=key, **columns(stat), **changes):
                operation.become_deletion(etag)
        operation.etag = etag
        _destroy_left(operation)


def _copy(operation: Operation) -> tuple[str, ObjectStat]:
    """Copy the object that the row knows, or the one that S3 has by now; return the source's ETag.

    Somebody else may have written the object without telling the row.
    """
    source, target = operation.object_key, operation.copy_key
    write: Any = {"mark": operation.mark, "on_upload": operation.note_upload}
    if operation.etag:
        try:
            stat = storage().copy(source, target, etag=operation.etag, **write)
        except ObjectChangedError:
            pass
        else:
            return operation.etag, stat
    etag = storage().stat(source).etag
    return etag, storage().copy(source, target, etag=etag, **write)


def _same_bytes(copy: ObjectStat, file: "File", etag: str) -> ObjectStat:
    """Return what is told of a copy of the object of this ETag, with the checksum of the file."""
    return copy._replace(checksum=file.checksum if etag == file.etag else "")


def _destroy_left(operation: Operation) -> None:
    """Delete the object that a rename has left, or leave that to purge_files where S3 does not."""
    try:
        delete_object(operation)
        operation.delete()
    except OSError as error:
        logger.warning("%r stays for purge_files: %s", operation.object_key, error)


def replace(file: "File", content: Any) -> None:
    """Put another content under the key: see `File.replace`."""

    def write(operation: Operation) -> ObjectStat:
        how: Any = {"mark": operation.mark, "on_upload": operation.note_upload}
        if operation.etag:
            return storage().replace(str(file), content, operation.etag, **how)
        return storage().create(str(file), content, **how)

    _replace(file, write)


def _replace(
    file: "File", write: Callable[[Operation], ObjectStat], upload: Operation | None = None
) -> None:
    """Keep a copy of the content in the trash while `write` puts another one over it.

    `write` gets the operation: its `etag` is that of the object to be replaced, empty where there
    is none, and its `mark`, that of the upload where there is one, must be the mark of the write.
    """
    with audit.change("replace", file):
        refuse_transaction("replace")
        validate_new_key(str(file))  # what is kept below the reserved prefix is restored instead
        with _changing(file, but=upload):
            found = storage().find(str(file))
            if found:
                storage().refuse_archived(str(file), found[0].storage_class)
            operation = Operation.begin(
                Operation.Kind.REPLACE,
                str(file),
                copy_key=f"{RESERVED}{uuid.uuid4().hex}",
                file_id=file.pk,
                etag=found[0].etag if found else "",
                **({"mark": upload.mark} if upload else {}),
            )
            with _under_way(operation):
                _write_over(file, operation, write)


def _write_over(
    file: "File", operation: Operation, write: Callable[[Operation], ObjectStat]
) -> None:
    kept = operation.etag and storage().copy(
        str(file), operation.copy_key, etag=operation.etag, on_upload=operation.note_upload
    )
    kept = kept and _same_bytes(kept, file, operation.etag)
    stat = write(operation)
    with _recording(file, **columns(stat), **LIVE):
        if kept:
            insert_kept(operation, kept, file.name)
        operation.delete()


def begin_upload(key: str, content_type: str, who: str) -> Operation:
    """Begin an upload in parts by a client. Raises ValidationError, and S3's errors."""
    validate_new_key(key)
    operation = Operation.begin(Operation.Kind.UPLOAD, key, who=who)
    with _under_way(operation):
        operation.note_upload(storage().begin_upload(key, content_type, operation.mark))
    return operation


def finish_upload(
    operation: Operation, file: "File", *, digests: Sequence[str], size: int, part_size: int
) -> None:
    """Make the object of the parts: that of a new file, or another content of one that is there.

    The parts must have these SHA-256, in Base64, and `size` bytes in all, `part_size` each but the
    last. Raises what `create` and `File.replace` raise, and S3Error where S3 has other parts. What
    was interrupted on its way can be finished again.
    """
    finish = partial(
        storage().finish_upload,
        operation.object_key,
        operation.upload_id,
        digests=digests,
        size=size,
        part_size=part_size,
        mark=operation.mark,
    )
    if file._state.adding:
        with creating(file, lambda **_: finish(), operation):
            file.save(check=False)
        return
    with _changing(file, but=operation):  # which records a replacement that has happened already
        is_done = storage().is_marked(operation.object_key, operation.mark)
        file.refresh_from_db()
    if not is_done:
        _replace(file, lambda replacement: finish(etag=replacement.etag or None), operation)
    operation.delete()


def delete(file: "File", delete_row: Callable[[], Any]) -> Any:
    """Delete the row, and its object when the database has agreed: see `File.delete`."""
    waits = in_callers_transaction()
    with audit.change("delete", file, is_done=not waits):
        return _delete(file, delete_row, waits)


def _delete(file: "File", delete_row: Callable[[], Any], waits: bool) -> Any:
    if waits and not connection.in_atomic_block:  # without autocommit nothing tells of the commit
        refuse_transaction("delete")
    with _changing(file):
        row, result = _copy_of_row(file), None
        operation = Operation(kind=Operation.Kind.DELETE, object_key=str(file), file_id=file.pk)
        operation.etag, operation.who = etag_to_delete(file), who()
        with transaction.atomic():
            operation.save()
            result = delete_row()
            if not waits:
                connection.check_constraints()
        if waits:
            destroy = partial(_destroy_after_commit, operation, row)
            transaction.on_commit(update_wrapper(destroy, _destroy_after_commit), robust=True)
        else:
            _destroy(operation, row)
    return result


def _copy_of_row(file: "File") -> "File":
    names = [field.attname for field in file._meta.concrete_fields if not field.generated]
    return type(file)(**{name: getattr(file, name) for name in names})


def etag_to_delete(file: "File") -> str:
    """Return the ETag of the object, empty where there is none: S3 is asked before the row goes.

    Raises ObjectChangedError where the object is another one than the row knows.
    """
    found = storage().find(str(file))
    if found is None:
        return ""
    if file.etag and file.etag != found[0].etag:
        text = "The object is not the one that the catalogue knows, so it stays"
        raise ObjectChangedError(errno.ESTALE, text, str(file))
    return found[0].etag


def _destroy_after_commit(operation: Operation, row: "File") -> None:
    with audit.change("delete", row), locked(operation.object_key):
        if not Operation.objects.filter(pk=operation.pk).exists():
            return  # somebody has ended it meanwhile
        if rows().filter(object_key=operation.object_key).exists():
            operation.delete()  # the object is that row's now
        else:
            _destroy(operation, row)


def _destroy(operation: Operation, row: "File") -> None:
    """Delete the object. Where S3 refuses, the row comes back, into the trash."""
    try:
        if operation.etag:
            storage().delete(operation.object_key, operation.etag)
    except OSError:
        with transaction.atomic():
            put_into_trash(row)
            rows().bulk_create([row])
            operation.delete()
        raise
    operation.delete()
