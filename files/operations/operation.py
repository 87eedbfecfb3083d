"""The table of what is under way, or was interrupted."""

import os
import socket
import uuid
from datetime import timedelta
from typing import Any

from django.db import connection, models
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from files.operations.locking import in_callers_transaction

# A request that S3 may still be working on, after its answer was given up, is over by then.
LATE = timedelta(minutes=1)


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
        operation = cls(kind=kind, object_key=key, mark=uuid.uuid4().hex, who=who())
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
        """The keys that it changes: that of the file, and that of the copy."""
        return [self.object_key, self.copy_key] if self.copy_key else [self.object_key]

    @property
    def is_late(self) -> bool:
        """Whether nothing can happen any more that it has asked for; an upload takes its time."""
        return self.kind != self.Kind.UPLOAD and self.started_at < timezone.now() - LATE

    def become_deletion(self, etag: str) -> None:
        """Note in the row that only the old object, of this ETag, is left to be deleted.

        Here the operation stays what it was, as that is what is left where the commit fails.
        """
        Operation.objects.filter(pk=self.pk).update(
            kind=self.Kind.DELETE, copy_key="", etag=etag, upload_id=""
        )

    def note_upload(self, upload_id: str) -> None:
        """Commit S3's id of the multipart upload that has been begun."""
        self.upload_id = upload_id
        _committed(
            "UPDATE files_operation SET upload_id = %s WHERE id = %s RETURNING id",
            [upload_id, self.pk],
        )


def who() -> str:
    return f"{socket.gethostname()[:200]}:{os.getpid()}"


def _committed(sql: str, parameters: list[Any]) -> Any:
    """Execute a statement that is committed now, whatever becomes of the caller's transaction.

    Inside one it needs a connection of its own for the moment, and not one of a pool: that may have
    none but those of transactions which wait for this.
    """
    own = connection.copy() if in_callers_transaction() else None
    try:
        if own is not None:
            own.settings_dict["OPTIONS"].pop("pool", None)
        with (own or connection).cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchone()
    finally:
        if own is not None:
            own.close()
