"""What was interrupted: the next attempt on its keys ends it, or a sweep."""

import logging
from collections.abc import Collection, Sequence
from datetime import datetime

from django.db import connection, models, transaction
from django.db.models import Q

from files.keys import RESERVED
from files.operations.locking import conflict, locked
from files.operations.operation import LATE, Operation
from files.operations.sides import columns, put_into_trash, rows, storage
from files.storage import ObjectChangedError, ObjectStat

logger = logging.getLogger(__name__)


def interrupted(prefix: str, before: datetime) -> "models.QuerySet[Operation]":
    """Return what was begun before, to or from keys with the prefix; uploads are left out."""
    named = Q(object_key__startswith=prefix) | Q(copy_key__startswith=prefix)
    found = Operation.objects.filter(named, started_at__lt=before)
    return found.exclude(kind=Operation.Kind.UPLOAD).order_by("pk")


def open_uploads(prefix: str, before: datetime) -> "models.QuerySet[Operation]":
    """Return the uploads by browsers and programs that were begun before and have not ended."""
    found = Operation.objects.filter(object_key__startswith=prefix, started_at__lt=before)
    return found.filter(kind=Operation.Kind.UPLOAD).order_by("pk")


def is_left_over(key: str) -> bool:
    """Return whether an operation under way, or an interrupted one, names the key."""
    return on_keys([key]).exists()


def on_keys(keys: Collection[str]) -> "models.QuerySet[Operation]":
    """Return the operations under way, and those that were interrupted, that name the keys."""
    return Operation.objects.filter(Q(object_key__in=keys) | Q(copy_key__in=keys))


def named(keys: Collection[str]) -> set[str]:
    """Return those of the keys that operations under way, or interrupted ones, name."""
    return {key for operation in on_keys(keys) for key in operation.keys}.intersection(keys)


def end(operation: Operation) -> None:
    """End an interrupted operation. Raises ConflictError while it is under way, and S3's errors."""
    with locked(*operation.keys):
        for current in Operation.objects.filter(pk=operation.pk):  # it may have gone on meanwhile
            settle(current, is_over=True)


def settle_all(keys: Sequence[str], but: Operation | None) -> None:
    """End what was interrupted on the keys, which this session has locked."""
    found = on_keys(keys)
    if but is not None and but.pk:
        found = found.exclude(pk=but.pk)
    if connection.in_atomic_block:  # in REPEATABLE READ an old snapshot ends in an error by this
        found = found.select_for_update()
    for operation in found:
        with locked(*(key for key in operation.keys if key not in keys)):
            settle(operation, is_over=operation.is_late)


def settle(operation: Operation, *, is_over: bool, was_killed: bool = True) -> None:
    """Bring rows and objects to what they were before the operation or are to be after it.

    Where what S3 was asked for has not happened and is not `is_over` yet, nothing is done. A
    process that was killed may have begun an upload without noting that.
    """
    settle = {
        Operation.Kind.CREATE: _settle_new_object,
        Operation.Kind.UPLOAD: _settle_new_object,
        Operation.Kind.REPLACE: _settle_replacement,
        Operation.Kind.RENAME: _settle_rename,
        Operation.Kind.DELETE: _settle_deletion,
    }[Operation.Kind(operation.kind)]
    if is_over and operation.upload_id:  # so that S3 makes no object of it any more
        _abort_upload(operation)
    if settle(operation, is_over):
        _abort_upload(operation)
        if was_killed:
            _abort_unnoted_uploads(operation)
        operation.delete()


def _settle_new_object(operation: Operation, is_over: bool) -> bool:
    """Delete the object of a row that was not saved.

    An upload to a key that has a row may be going on, to replace the content. A write that S3 is
    late with may come yet, once that row and its object have gone.
    """
    if rows().filter(object_key=operation.object_key).exists():
        return is_over
    return storage().undo(operation.object_key, operation.mark) or is_over


def _settle_rename(operation: Operation, is_over: bool) -> bool:
    """Delete the copy under the new key: the file has still its own."""
    if rows().filter(object_key=operation.copy_key).exists():  # of another file: S3 may be late
        return is_over
    return storage().undo(operation.copy_key, operation.mark) or is_over


def _settle_replacement(operation: Operation, is_over: bool) -> bool:
    """Note the new content where it has been written, and drop the copy of the old one if not."""
    found = storage().find(operation.object_key)
    file = rows().filter(pk=operation.file_id, object_key=operation.object_key)
    is_there = file.exists()  # it may have been deleted or renamed since
    if is_there and found is not None and found[1] == operation.mark:
        _record_replacement(operation, found[0])
        return True
    if is_over and is_there and found is None and operation.etag:
        _keep_copy(operation)  # the last that there is
    elif is_over:
        _drop_copy(operation)
    if not is_there and not rows().filter(object_key=operation.object_key).exists():
        storage().undo(operation.object_key, operation.mark)
    return is_over


def _drop_copy(operation: Operation) -> None:
    """Delete the copy that no row names."""
    found = storage().find(operation.copy_key)
    if found is not None and not rows().filter(object_key=operation.copy_key).exists():
        storage().delete(operation.copy_key, found[0].etag)


def _record_replacement(operation: Operation, stat: ObjectStat) -> None:
    with transaction.atomic():
        _keep_copy(operation)
        rows().filter(pk=operation.file_id, object_key=operation.object_key).update(**columns(stat))


def _keep_copy(operation: Operation) -> None:
    """Make a row in the trash for the copy of the content that was replaced."""
    found = storage().find(operation.copy_key)
    if found is not None and not rows().filter(object_key=operation.copy_key).exists():
        insert_kept(operation, found[0], operation.object_key)


def insert_kept(operation: Operation, stat: ObjectStat, original_key: str) -> None:
    row = rows().model(
        object_key=operation.copy_key,
        original_key=original_key,
        **columns(stat),
    )
    put_into_trash(row)
    rows().bulk_create([row])


def _settle_deletion(operation: Operation, is_over: bool) -> bool:
    """Delete the object whose row is gone, as long as it is the one that the row had."""
    if _is_pending(operation):
        raise conflict(operation.object_key)
    if not rows().filter(object_key=operation.object_key).exists():
        delete_object(operation)
    return True


def delete_object(operation: Operation) -> None:
    """Delete the object that has the operation's ETag; one that has another is not ours."""
    if not operation.etag:  # there was none, so that one that is there by now is not ours
        return
    try:
        storage().delete(operation.object_key, operation.etag)
    except ObjectChangedError:
        logger.warning(
            "The object %r stays: it is not the one that was deleted.", operation.object_key
        )


def _is_pending(operation: Operation) -> bool:
    """Return whether the deletion waits for the commit of this connection's own transaction."""
    hooks = [hook for _, hook, *_ in connection.run_on_commit]
    return any(getattr(hook, "args", ())[:1] == (operation,) for hook in hooks)


def _abort_upload(operation: Operation) -> None:
    for key in operation.keys if operation.upload_id else ():
        storage().abort_upload(key, operation.upload_id)


def _abort_unnoted_uploads(operation: Operation) -> None:
    """Abort multipart uploads of which the id was not noted before the process was killed.

    S3's listing shows no mark of ours, so they are known by their key and their time, in seconds.
    An upload by a client is one upload alone: where its id was noted, all others are not ours.
    """
    if operation.kind == Operation.Kind.UPLOAD and operation.upload_id:
        return
    first, last = operation.started_at.replace(microsecond=0), operation.started_at + LATE
    for key in operation.keys:
        named = set(Operation.objects.filter(object_key=key).values_list("upload_id", flat=True))
        for upload_id, initiated in storage().open_uploads(key):
            is_ours = key.startswith(RESERVED) or first <= initiated < last
            if is_ours and upload_id not in named:
                storage().abort_upload(key, upload_id)
