"""What changes a row and its object together.

One rule holds for all of it: first a committed row that says what is about to happen, then the
bytes, then the row that says that it happened. Bytes are destroyed last, only after the database
has agreed, and only those that the row names by their ETag. What is under way is an `Operation`.
What stops in between leaves it, and the next attempt on that key or the next sweep ends it.

A key is locked for the time by an advisory lock of PostgreSQL: of the session, or inside the
caller's transaction of that. The transaction around a TestCase is no caller's.
"""

import errno
import logging
import os
import posixpath
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, cast

from django.apps import apps
from django.db import DatabaseError, connection, models, transaction
from django.db.models import Q, Value
from django.db.models.functions import Coalesce, Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from files.keys import RESERVED, validate_new_key
from files.storage import ObjectChangedError, ObjectStat, ObjectStorage, S3UnavailableError

if TYPE_CHECKING:
    from files.models import File

# A request that S3 may still be working on, after its answer was given up, is over by then.
LATE = timedelta(minutes=1)
CLOCKS = timedelta(seconds=2)  # that the clocks of PostgreSQL and S3 may differ
LOCKS = 0x66696C6573  # the seed of our advisory locks, so that they are nobody else's

logger = logging.getLogger(__name__)


class ConflictError(ObjectChangedError):
    """Another operation on the file is under way, or has changed it since it was read."""


class Operation(models.Model):
    """An operation under way, or one that was interrupted. It blocks no key."""

    class Kind(models.TextChoices):
        """What is done: each says which objects it may leave behind."""

        CREATE = "create", _("creation")  # the object of its key, with its mark
        REPLACE = "replace", _("replacement")  # the copy of the former content
        RENAME = "rename", _("rename")  # the copy under the new key, with its mark
        DELETE = "delete", _("deletion")  # the object of its key, with its ETag
        UPLOAD = "upload", _("upload")  # the parts, or the object with its mark

    kind = models.CharField(max_length=16, choices=Kind)
    # No foreign key: the row may be gone, and may come again.
    file_id = models.BigIntegerField(null=True)
    object_key = models.TextField(db_collation="C")
    copy_key = models.TextField(db_collation="C", default="", db_default="")
    etag = models.CharField(max_length=255, default="", db_default="")
    mark = models.CharField(max_length=32, default="", db_default="")
    upload_id = models.TextField(default="", db_default="")
    who = models.CharField(max_length=255, default="", db_default="")
    started_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "files_operation"
        default_permissions = ()
        verbose_name = _("operation")
        verbose_name_plural = _("operations")
        indexes = [
            models.Index(fields=["object_key"], name="files_operation_key"),
            models.Index(
                fields=["copy_key"], condition=~models.Q(copy_key=""), name="files_operation_copy"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.object_key!r}"

    @classmethod
    def begin(cls, kind: str, key: str, **values: Any) -> "Operation":
        """Commit the row of an operation, also inside a caller's transaction, before it begins."""
        operation = cls(kind=kind, object_key=key, mark=uuid.uuid4().hex, who=_who())
        for name, value in values.items():
            setattr(operation, name, value)
        names = ["kind", "object_key", "copy_key", "file_id", "etag", "mark", "who"]
        columns, places = ", ".join(names), ", ".join(["%s"] * len(names))
        operation.pk, operation.started_at = _committed(
            f"INSERT INTO files_operation ({columns}) VALUES ({places})"  # noqa: S608
            " RETURNING id, started_at",
            [getattr(operation, name) for name in names],
        )
        return operation

    @property
    def keys(self) -> list[str]:
        """The keys that it is about: that of the file, and that of the copy."""
        return [self.object_key, self.copy_key] if self.copy_key else [self.object_key]

    @property
    def is_late(self) -> bool:
        """Whether nothing can happen any more that it has asked for; an upload takes its time."""
        return self.kind != self.Kind.UPLOAD and self.started_at < timezone.now() - LATE

    def become_deletion(self, etag: str) -> None:
        """Note that only the old object, of this ETag, is left to be deleted."""
        self.kind, self.copy_key, self.etag, self.upload_id = self.Kind.DELETE, "", etag, ""
        self.save(update_fields=["kind", "copy_key", "etag", "upload_id"])

    def note_upload(self, upload_id: str) -> None:
        """Commit S3's id of the multipart upload that has been begun."""
        self.upload_id = upload_id
        _committed(
            "UPDATE files_operation SET upload_id = %s WHERE id = %s RETURNING id",
            [upload_id, self.pk],
        )


def _who() -> str:
    return f"{socket.gethostname()[:200]}:{os.getpid()}"


def _committed(sql: str, parameters: list[Any]) -> Any:
    """Execute a statement that is committed now, whatever becomes of the caller's transaction.

    Inside one it needs a connection of its own for the moment.
    """
    own = connection.copy() if in_callers_transaction() else None
    try:
        with (own or connection).cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchone()
    finally:
        if own is not None:
            own.close()


# Transactions and locks


def in_callers_transaction() -> bool:
    """Return whether a transaction is open that is not just the one around a TestCase."""
    return connection.in_atomic_block and not connection.atomic_blocks[-1]._from_testcase  # type: ignore[attr-defined]


def _refuse_transaction(action: str) -> None:
    if in_callers_transaction():
        raise transaction.TransactionManagementError(
            f"{action}() cannot be undone by the database, so it refuses to run inside a"
            " transaction (it needs a durable one of its own): call it outside of atomic()."
        )


@contextmanager
def _locked(*keys: str) -> Iterator[None]:
    """Let nobody else operate on the keys meanwhile. Raises ConflictError.

    Inside a caller's transaction they stay locked until its end.
    """
    if in_callers_transaction():
        _lock("pg_try_advisory_xact_lock", keys)
        yield
        return
    _lock("pg_try_advisory_lock", keys)
    try:
        yield
    finally:
        _unlock(keys)


def _lock(function: str, keys: tuple[str, ...]) -> None:
    held = _call(function, keys)
    if not all(held):
        if function == "pg_try_advisory_lock":
            _unlock(tuple(key for key, is_held in zip(keys, held, strict=True) if is_held))
        raise _conflict(keys[held.index(False)])


def _unlock(keys: tuple[str, ...]) -> None:
    """Give locks of the session back. Where that fails, end the session, and its locks with it."""
    try:
        _call("pg_advisory_unlock", keys)
    except DatabaseError:
        connection.close()


def _call(function: str, keys: tuple[str, ...]) -> list[bool]:
    calls = ", ".join([f"{function}(hashtextextended(%s, {LOCKS}))"] * len(keys))
    if not keys:
        return []
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {calls}", keys)
        return list(cursor.fetchone())


def _conflict(key: str) -> ConflictError:
    text = "Another operation on the file is under way or has changed it: try again"
    return ConflictError(errno.ESTALE, text, key)


# What was interrupted


def interrupted(prefix: str, before: datetime) -> "models.QuerySet[Operation]":
    """Return what was begun before, on keys that begin with the prefix; uploads are left out."""
    found = Operation.objects.filter(object_key__startswith=prefix, started_at__lt=before)
    return found.exclude(kind=Operation.Kind.UPLOAD).order_by("pk")


def open_uploads(prefix: str, before: datetime) -> "models.QuerySet[Operation]":
    """Return the uploads by browsers and programs that were begun before and have not ended."""
    found = Operation.objects.filter(object_key__startswith=prefix, started_at__lt=before)
    return found.filter(kind=Operation.Kind.UPLOAD).order_by("pk")


def foreign_keys() -> Iterator[str]:
    """Yield the keys below the reserved prefix that neither a row nor an operation names."""
    for key, _stat in _storage().list(RESERVED):
        named = Operation.objects.filter(Q(object_key=key) | Q(copy_key=key))
        if not _rows().filter(object_key=key).exists() and not named.exists():
            yield key


def end(operation: Operation) -> None:
    """End an interrupted operation. Raises ConflictError while it is under way, and S3's errors."""
    with _locked(*operation.keys):
        if Operation.objects.filter(pk=operation.pk).exists():
            _settle(operation, is_over=True)


def _settle_all(keys: Sequence[str], but: Operation | None) -> None:
    """End what was interrupted on the keys, which this session has locked."""
    on_keys = Q(object_key__in=keys) | Q(copy_key__in=keys)
    for operation in Operation.objects.filter(on_keys):
        if but is None or operation.pk != but.pk:
            with _locked(*(key for key in operation.keys if key not in keys)):
                _settle(operation, is_over=operation.is_late)


def _settle(operation: Operation, *, is_over: bool) -> None:
    """Bring rows and objects to what they were before the operation or are to be after it.

    Where what S3 was asked for has not happened and is not `is_over` yet, nothing is done.
    """
    settle = {
        Operation.Kind.CREATE: _settle_new_object,
        Operation.Kind.UPLOAD: _settle_new_object,
        Operation.Kind.REPLACE: _settle_replacement,
        Operation.Kind.RENAME: _settle_rename,
        Operation.Kind.DELETE: _settle_deletion,
    }[Operation.Kind(operation.kind)]
    if settle(operation, is_over):
        _abort_uploads(operation)
        operation.delete()


def _settle_new_object(operation: Operation, is_over: bool) -> bool:
    """Delete the object of a row that was not saved."""
    if _rows().filter(object_key=operation.object_key).exists():
        return True
    return _undo(operation.object_key, operation.mark) or is_over


def _settle_rename(operation: Operation, is_over: bool) -> bool:
    """Delete the copy under the new key: the file has still its own."""
    if _rows().filter(object_key=operation.copy_key).exists():
        return True
    return _undo(operation.copy_key, operation.mark) or is_over


def _undo(key: str, mark: str) -> bool:
    """Delete the object that was written with the mark; return whether it was there."""
    found = _storage().find(key)
    if found is None or found[1] != mark:
        return False
    _storage().delete(key, found[0].etag)
    return True


def _settle_replacement(operation: Operation, is_over: bool) -> bool:
    """Note the new content where it has been written, and drop the copy of the old one if not."""
    found = _storage().find(operation.object_key)
    if found is not None and found[1] == operation.mark:
        _record_replacement(operation, found[0])
        return True
    row = _rows().filter(pk=operation.file_id, object_key=operation.object_key)
    if is_over and found is None and operation.etag and row.exists():
        _keep_copy(operation)  # the last that there is, unless the file was moved or deleted
    elif is_over:
        _storage().delete(operation.copy_key)
    return is_over


def _record_replacement(operation: Operation, stat: ObjectStat) -> None:
    with transaction.atomic():
        _keep_copy(operation)
        _rows().filter(pk=operation.file_id, object_key=operation.object_key).update(
            **stat._asdict(), missing_at=None
        )


def _keep_copy(operation: Operation) -> None:
    """Make a row in the trash for the copy of the content that was replaced."""
    found = _storage().find(operation.copy_key)
    if found is not None and not _rows().filter(object_key=operation.copy_key).exists():
        _insert_kept(operation, found[0], operation.object_key)


def _insert_kept(operation: Operation, stat: ObjectStat, original_key: str) -> None:
    row = _rows().model(
        object_key=operation.copy_key,
        original_key=original_key,
        deleted_at=timezone.now(),
        **stat._asdict(),
    )
    _rows().bulk_create([row])


def _settle_deletion(operation: Operation, is_over: bool) -> bool:
    """Delete the object whose row is gone, as long as it is the one that the row had."""
    if _is_pending(operation):
        raise _conflict(operation.object_key)
    if not _rows().filter(object_key=operation.object_key).exists():
        _delete_object(operation)
    return True


def _delete_object(operation: Operation) -> None:
    """Delete the object that has the operation's ETag; one that has another is not ours."""
    try:
        _storage().delete(operation.object_key, operation.etag)
    except ObjectChangedError:
        logger.warning(
            "The object %r stays: it is not the one that was deleted.", operation.object_key
        )


def _is_pending(operation: Operation) -> bool:
    """Return whether the deletion waits for the commit of this connection's own transaction."""
    hooks = [hook for _, hook, *_ in connection.run_on_commit]
    return any(getattr(hook, "args", ())[:1] == (operation,) for hook in hooks)


def _abort_uploads(operation: Operation) -> None:
    """Abort the multipart upload, also one of which the id was not learned in time.

    S3's listing shows no mark of ours, so that one is known by its key and its time.
    """
    if operation.upload_id:
        for key in operation.keys:
            _storage().abort_upload(key, operation.upload_id)
        return
    first, last = operation.started_at - CLOCKS, operation.started_at + LATE
    for key in operation.keys:
        named = set(Operation.objects.filter(object_key=key).values_list("upload_id", flat=True))
        for upload_id, initiated in _storage().open_uploads(key):
            is_ours = key.startswith(RESERVED) or first < initiated < last
            if is_ours and upload_id not in named:
                _storage().abort_upload(key, upload_id)


def _rows() -> Any:
    return apps.get_model("files", "File").objects


def _storage() -> ObjectStorage:
    return cast("ObjectStorage", apps.get_model("files", "File").object_key.field.storage)


# What every operation does


@contextmanager
def _changing(file: "File", *new_keys: str, but: Operation | None = None) -> Iterator["File"]:
    """Lock the file and its new keys, end what was interrupted on them, and check the row.

    Yields the row's key and ETag of now. Raises ConflictError where the row has another key by now,
    or was trashed or restored, and FileExistsError where a new key is another file's.
    """
    keys = [str(file), *new_keys]
    with _locked(*keys):
        _settle_all(keys, but)
        rows = _rows().filter(object_key__in=keys).only("object_key", "deleted_at", "etag")
        found = {str(row): row for row in rows}
        row = found.pop(str(file), None)
        if row is None or row.pk != file.pk or (row.deleted_at is None) != (not file.deleted_at):
            raise _conflict(str(file))
        for key in found:
            raise FileExistsError(errno.EEXIST, "There is a file of this key", key)
        yield row


@contextmanager
def _under_way(operation: Operation) -> Iterator[None]:
    """End the operation where it fails.

    Where S3 did not answer, what it was asked for may happen yet: the next attempt ends it.
    """
    try:
        yield
    except S3UnavailableError:
        raise
    except Exception:
        try:
            _settle(operation, is_over=True)
        except (OSError, DatabaseError) as error:
            logger.warning("What the %s left stays for purge_files: %s", operation, error)
        raise


def _record(file: "File", **values: Any) -> None:
    """Write columns of the row, and nothing else."""
    for name, value in values.items():
        setattr(file, name, value)
    _rows().filter(pk=file.pk).update(**values)


# The operations


@contextmanager
def creating(
    file: "File", make: Callable[..., ObjectStat], operation: Operation | None = None
) -> Iterator[None]:
    """Write the object of a new file by `make(mark=..., on_upload=...)`; save its row inside.

    `operation` is one that has begun already, as an upload. Raises FileExistsError where there is a
    file or an object of this key, ConflictError while somebody else writes one, and S3's errors.
    """
    key = str(file)
    validate_new_key(key)
    with _locked(key):
        _settle_all([key], operation)
        if _rows().filter(object_key=key).exists():
            raise FileExistsError(errno.EEXIST, "There is a file of this key", key)
        operation = operation or Operation.begin(Operation.Kind.CREATE, key)
        with _under_way(operation):
            stat = make(mark=operation.mark, on_upload=operation.note_upload)
            for name, value in stat._asdict().items():
                setattr(file, name, value)
            with transaction.atomic():
                yield
                operation.delete()


def trash(file: "File") -> None:
    """Put the file into the trash, where its object stays as it is. Raises ConflictError."""
    with _locked(str(file)):
        since = file.deleted_at or timezone.now()
        row = _rows().filter(pk=file.pk, object_key=str(file))
        if not row.update(deleted_at=Coalesce("deleted_at", Value(since))):
            raise _conflict(str(file))
        file.deleted_at = since


def restore(file: "File") -> None:
    """Take the file out of the trash: see `File.restore`."""
    _refuse_transaction("restore")
    if file.original_key:
        _move(file, _free_key(file.original_key), original_key="", deleted_at=None)
        return
    with _changing(file):
        stat = _storage().stat(str(file))
        _record(file, **stat._asdict(), missing_at=None, deleted_at=None)


def _free_key(key: str) -> str:
    """Return the key, or one with a suffix, that neither an object nor a row has."""
    free = _storage().get_available_name(key)
    while _rows().filter(object_key=free).exists():
        alternative = _storage().get_alternative_name(*posixpath.splitext(key))
        free = _storage().get_available_name(alternative)
    return free


def rename(file: "File", key: str) -> None:
    """Give the file another key: see `File.rename`."""
    _refuse_transaction("rename")
    validate_new_key(key)
    if key != str(file):
        _move(file, key)


def _move(file: "File", key: str, **changes: Any) -> None:
    """Copy the object, give the row the new key, delete the old object."""
    old = str(file)
    with _changing(file, key):
        operation = Operation.begin(
            Operation.Kind.RENAME, old, copy_key=key, file_id=file.pk, etag=file.etag
        )
        with _under_way(operation):
            etag, stat = _copy(operation)
            with transaction.atomic():
                _record(file, object_key=key, **stat._asdict(), missing_at=None, **changes)
                operation.become_deletion(etag)
        _destroy_left(operation)


def _copy(operation: Operation) -> tuple[str, ObjectStat]:
    """Copy the object that the row knows, or the one that S3 has by now; return the source's ETag.

    Somebody else may have written the object without telling the row.
    """
    source, target = operation.object_key, operation.copy_key
    about: Any = {"mark": operation.mark, "on_upload": operation.note_upload}
    if operation.etag:
        try:
            stat = _storage().copy(source, target, etag=operation.etag, **about)
        except ObjectChangedError:
            pass
        else:
            return operation.etag, stat
    etag = _storage().stat(source).etag
    return etag, _storage().copy(source, target, etag=etag, **about)


def _destroy_left(operation: Operation) -> None:
    """Delete the object that a rename has left, or leave that to purge_files where S3 does not."""
    try:
        _delete_object(operation)
        operation.delete()
    except OSError as error:
        logger.warning("%r stays for purge_files: %s", operation.object_key, error)


def replace(file: "File", content: Any) -> None:
    """Put another content under the key: see `File.replace`."""
    with replacing(file) as operation:
        about: Any = {"mark": operation.mark, "on_upload": operation.note_upload}
        if operation.etag:
            _storage().replace(str(file), content, operation.etag, **about)
        else:
            _storage().create(str(file), content, **about)


@contextmanager
def replacing(file: "File", upload: Operation | None = None) -> Iterator[Operation]:
    """Keep a copy of the content in the trash while another one is written over it inside.

    Yields the operation: its `etag` is that of the object to be replaced, empty where there is
    none, and its `mark`, that of the upload where there is one, must be the mark of the write.
    """
    _refuse_transaction("replace")
    with _changing(file, but=upload):
        found = _storage().find(str(file))
        operation = Operation.begin(
            Operation.Kind.REPLACE,
            str(file),
            copy_key=f"{RESERVED}{uuid.uuid4().hex}",
            file_id=file.pk,
            etag=found[0].etag if found else "",
            **({"mark": upload.mark} if upload else {}),
        )
        with _under_way(operation):
            kept = operation.etag and _storage().copy(
                str(file), operation.copy_key, etag=operation.etag, on_upload=operation.note_upload
            )
            yield operation
            stat = _storage().stat(str(file))
            with transaction.atomic():
                if kept:
                    _insert_kept(operation, kept, file.name)
                _record(file, **stat._asdict(), missing_at=None, deleted_at=None)
                operation.delete()


def begin_upload(key: str, content_type: str, who: str) -> Operation:
    """Begin an upload in parts that somebody else sends. Raises ValidationError, and S3's errors."""
    validate_new_key(key)
    operation = Operation.begin(Operation.Kind.UPLOAD, key, who=who)
    with _under_way(operation):
        operation.note_upload(_storage().begin_upload(key, content_type, operation.mark))
    return operation


def finish_upload(operation: Operation, file: "File", *, digests: Sequence[str], size: int) -> None:
    """Make the object of the parts: that of a new file, or another content of one that is there.

    The parts must have these SHA-256, in Base64, and `size` bytes in all. Raises what `create` and
    `File.replace` raise, and S3Error where S3 has other parts. What was interrupted on its way can
    be finished again.
    """
    finish = partial(
        _storage().finish_upload,
        operation.object_key,
        operation.upload_id,
        digests=digests,
        size=size,
        mark=operation.mark,
    )
    if file._state.adding:
        with creating(file, lambda **_: finish(), operation):
            file.save()
        return
    with _changing(file, but=operation):  # which records a replacement that has happened already
        is_done = _storage().is_marked(operation.object_key, operation.mark)
    if not is_done:
        with replacing(file, operation) as replacement:
            finish(etag=replacement.etag or None)
    operation.delete()


def delete(file: "File", delete_row: Callable[[], Any]) -> Any:
    """Delete the row, and its object when the database has agreed: see `File.delete`."""
    waits = in_callers_transaction()
    with _changing(file) as current:
        if current.etag != file.etag:  # a content that the caller has not seen
            raise _conflict(str(file))
        row, result = _copy_of_row(file), None
        operation = Operation(kind=Operation.Kind.DELETE, object_key=str(file), file_id=file.pk)
        operation.etag, operation.who = file.etag or _etag_of(str(file)), _who()
        with transaction.atomic():
            operation.save()
            result = delete_row()
            if connection.in_atomic_block and not waits:
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


def _etag_of(key: str) -> str:
    found = _storage().find(key)
    return found[0].etag if found else ""


def _destroy_after_commit(operation: Operation, row: "File") -> None:
    with _locked(operation.object_key):
        if Operation.objects.filter(pk=operation.pk).exists():  # nobody has ended it meanwhile
            _destroy(operation, row)


def _destroy(operation: Operation, row: "File") -> None:
    """Delete the object. Where S3 refuses, the row comes back, into the trash."""
    try:
        if operation.etag:
            _storage().delete(operation.object_key, operation.etag)
    except OSError:
        with transaction.atomic():
            row.deleted_at = row.deleted_at or timezone.now()
            _rows().bulk_create([row])
            operation.delete()
        raise
    operation.delete()
