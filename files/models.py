"""The catalogue: a row for each file."""

from functools import partial
from typing import TYPE_CHECKING, Any, Self, cast

from django.db import models
from django.db.models.functions import Coalesce, Now, NullIf
from django.db.models.lookups import LessThanOrEqual
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from files import audit, operations
from files.fields import ObjectKeyField, is_new
from files.keys import MAX_KEY_LENGTH, RESERVED, key_after, validate_new_key
from files.operations import Operation
from files.runs import Range, Run
from files.storage import ARCHIVED, ObjectFile
from files.tokens import Token
from files.work import Work

if TYPE_CHECKING:
    from files.storage import ObjectStorage

__all__ = ["File", "FileQuerySet", "Operation", "Range", "Run", "Token", "Work"]

# The key up to its last slash, in the key's own order: what a folder is listed by.
FOLDER = models.Func(
    models.F("object_key"),
    models.Value("[^/]*$"),
    models.Value(""),
    function="regexp_replace",
    output_field=models.TextField(db_collation="C"),
)

# The key that people know: that of a content in the trash is the one which it had.
NAME = Coalesce(
    NullIf("original_key", models.Value("")), "object_key", output_field=models.TextField()
)


class FileQuerySet(models.QuerySet["File"]):
    """Files, those in the trash among them."""

    def live(self) -> Self:
        """Return those that are not in the trash."""
        return self.filter(deleted_at=None)

    def trashed(self) -> Self:
        """Return those in the trash."""
        return self.filter(deleted_at__isnull=False)

    def below(self, folder: str) -> Self:
        """Return those whose keys begin with the folder, by a range of the index."""
        if not folder:
            return self
        return self.filter(object_key__gte=folder, object_key__lt=key_after(folder))

    def create(  # type: ignore[override] # as a keyword more is taken
        self, *, check: bool = True, **values: Any
    ) -> "File":
        """Save a new file and return it: `check` is that of `File.save`."""
        file = self.model(**values)
        file.save(force_insert=True, using=self.db, check=check)
        return file


class File(models.Model):
    """A file: its key here, its bytes in S3.

    ``File.objects.create(object_key=ContentFile(data, name=key))`` writes a new object and its row;
    ``File.objects.create(object_key=key)`` makes a row for an object that is there.

    What changes both is in `operations`: a live row has its bytes, whatever stops in between.
    """

    object_key = ObjectKeyField(_("key"))
    size = models.BigIntegerField(_("size"), null=True, blank=True, editable=False)
    content_type = models.CharField(
        _("type"), max_length=255, blank=True, db_default="", editable=False
    )
    etag = models.CharField("ETag", max_length=255, blank=True, db_default="", editable=False)
    modified_at = models.DateTimeField(_("modified"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("added"), db_default=Now(), editable=False)
    storage_class = models.CharField(
        _("storage class"), max_length=64, blank=True, db_default="", editable=False
    )
    # Of the bytes as they were written or first read: see `files.storage.checksums`.
    checksum = models.CharField(
        _("checksum"), max_length=255, blank=True, db_default="", editable=False
    )
    # When all bytes were last read; null where they never were, or a reading has not ended.
    verified_at = models.DateTimeField(_("verified"), null=True, blank=True, editable=False)
    # What `check_files --mark` and `verify_files` have found: a time is the first of it.
    missing_at = models.DateTimeField(_("missing since"), null=True, blank=True, editable=False)
    changed_at = models.DateTimeField(_("changed since"), null=True, blank=True, editable=False)
    damaged_at = models.DateTimeField(_("damaged since"), null=True, blank=True, editable=False)
    deleted_at = models.DateTimeField(_("in the trash since"), null=True, editable=False)
    # The name of a user, or of the system's user and the command.
    deleted_by = models.CharField(
        _("put there by"), max_length=255, blank=True, default="", db_default="", editable=False
    )
    # The key that the content had before another one took its place.
    original_key = models.TextField(
        _("original key"), blank=True, default="", db_default="", editable=False
    )

    objects = FileQuerySet.as_manager()

    class Meta:
        db_table = "files"
        ordering = ["object_key"]
        verbose_name = _("file")
        verbose_name_plural = _("files")
        permissions = [
            ("replace_file", "Can replace the content of file"),
            ("restore_file", "Can see and restore file in the trash"),
            ("purge_file", "Can delete file permanently"),
        ]
        indexes = [
            models.Index(
                FOLDER, "object_key", condition=models.Q(deleted_at=None), name="files_folder"
            ),
            models.Index(Coalesce("size", 0), "id", name="files_size"),
            models.Index(Coalesce("modified_at", "created_at"), "id", name="files_modified"),
            models.Index(
                fields=["content_type"], opclasses=["varchar_pattern_ops"], name="files_type"
            ),
            models.Index(
                fields=["object_key"],
                condition=models.Q(deleted_at__isnull=False),
                name="files_trashed",
            ),
            models.Index(
                fields=["deleted_at", "id"],
                condition=models.Q(deleted_at__isnull=False),
                name="files_deleted",
            ),
            models.Index(
                fields=["object_key"],
                condition=models.Q(missing_at__isnull=False),
                name="files_missing",
            ),
            models.Index(
                fields=["object_key"],
                condition=models.Q(changed_at__isnull=False),
                name="files_changed",
            ),
            models.Index(
                fields=["object_key"],
                condition=models.Q(damaged_at__isnull=False),
                name="files_damaged",
            ),
            models.Index(
                models.F("verified_at").asc(nulls_first=True),
                "id",
                condition=models.Q(deleted_at=None),
                name="files_verified",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["object_key"],
                name="files_object_key_unique",
                violation_error_message=_("There is a file of this key already."),
            ),
            models.CheckConstraint(
                condition=LessThanOrEqual(
                    models.Func(
                        models.F("object_key"),
                        function="octet_length",
                        output_field=models.IntegerField(),
                    ),
                    MAX_KEY_LENGTH,
                ),
                name="files_object_key_length",
                violation_error_message=_("A key has at most 1,024 bytes in UTF-8."),
            ),
            models.CheckConstraint(
                condition=~models.Q(object_key=""),
                name="files_object_key_not_empty",
                violation_error_message=_("A key must not be empty."),
            ),
            # Only the copy of a content that was replaced lies there, which has an original key.
            models.CheckConstraint(
                condition=~models.Q(object_key__startswith=RESERVED) | ~models.Q(original_key=""),
                name="files_object_key_not_reserved",
                violation_error_message=_("This key is reserved: choose another key."),
            ),
        ]

    def __str__(self) -> str:
        return str(self.object_key.name or "")

    def get_absolute_url(self) -> str:
        """Return the address of the content."""
        return reverse("files:content", args=[self.pk])

    @property
    def name(self) -> str:
        """The key, and in the trash the one that the content had before it was replaced."""
        return self.original_key or str(self)

    @property
    def is_archived(self) -> bool:
        """Whether S3 has archived the object, by its class: it may have been restored since."""
        return self.storage_class in ARCHIVED

    @property
    def storage(self) -> "ObjectStorage":
        """The storage of the object: the one door to S3."""
        return cast("ObjectStorage", self.object_key.storage)

    def open(self) -> ObjectFile:
        """Return the content as a seekable binary file that is fetched as it is read."""
        return self.storage.open(str(self))

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the whole content as text. Raises UnicodeDecodeError, and what `open` raises."""
        with self.open() as content:
            text: str = content.read().decode(encoding)
        return text

    def save(self, *args: Any, check: bool = True, **kwargs: Any) -> None:
        """Save the row, and first the object where content has been assigned.

        A new row of an object that is there gets size, ETag and the like by one HEAD, unless
        `check` is false. Raises FileNotFoundError where there is no such object, FileExistsError
        where there is an object or a file of the key of a new content, ConflictError, S3Error where
        S3 takes the key for that of another object, ValidationError for a key that a file cannot
        have, and S3's errors.
        """
        if is_new(self.object_key):
            self._save_with_content(*args, **kwargs)
            return
        if not self._state.adding:
            super().save(*args, **kwargs)
            return
        with audit.change("register", self):
            validate_new_key(self.object_key)
            self.storage.refuse_folded(str(self))
            if check:
                self._take(operations.columns(self.storage.stat(str(self))))
            super().save(*args, **kwargs)

    def _save_with_content(self, *args: Any, **kwargs: Any) -> None:
        assigned, key = self.object_key, str(self)
        try:
            with operations.creating(self, partial(self.storage.create, key, assigned.file)):
                self.object_key = key
                super().save(*args, **kwargs)
        except BaseException:
            self.object_key = assigned
            raise

    def refresh_from_storage(self) -> None:
        """Bring the row in step with its object, by one HEAD request. Raises what `stat` raises.

        A row that somebody else has changed since it was read stays as it is.
        """
        try:
            stat = self.storage.stat(str(self))
        except FileNotFoundError:
            self.mark_missing(True)
            return
        self.mark_missing(False)
        found = operations.columns(stat, self)
        if {name: getattr(self, name) for name in found} != found:
            self._same_row().filter(etag=self.etag).update(**found)
            self._take(found)

    def _take(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            setattr(self, name, value)

    def mark_missing(self, missing: bool) -> None:
        """Note in the row whether its object is missing, as long as the row has still that key."""
        if missing != (self.missing_at is not None):
            self.missing_at = timezone.now() if missing else None
            self._same_row().update(missing_at=self.missing_at)

    def _same_row(self) -> FileQuerySet:
        return type(self).objects.filter(pk=self.pk, object_key=str(self))

    # What changes row and object together

    def trash(self) -> None:
        """Put the file into the trash, where its object stays as it is. Raises ConflictError."""
        operations.trash(self)

    def restore(self) -> None:
        """Take the file out of the trash.

        A content that had been replaced comes back to its key, or to one with a suffix where that
        is taken. Raises FileNotFoundError where the object is gone, and what `rename` raises.
        """
        operations.restore(self)

    def rename(self, key: str) -> None:
        """Give the file another key, by a copy on S3's side.

        Raises ValidationError for a key that a file cannot have, FileExistsError for one that is
        taken, ArchivedError, ConflictError, TransactionManagementError inside a transaction, and
        S3's errors.
        """
        operations.rename(self, key)

    def replace(self, content: Any) -> None:
        """Put another content under the key; the one that was there goes to the trash.

        Raises ObjectChangedError where somebody else writes the object meanwhile, ArchivedError
        where the one that was there cannot be copied, ConflictError, TransactionManagementError
        inside a transaction, and S3's errors.
        """
        operations.replace(self, content)

    def delete(
        self, using: str | None = None, keep_parents: bool = False
    ) -> tuple[int, dict[str, int]]:
        """Delete the row for good, and its object once that is committed.

        Where S3 refuses, the file is in the trash again. Raises ConflictError, ObjectChangedError
        where the object is not the one that the row knows, and S3's errors.
        """
        deleted: tuple[int, dict[str, int]] = operations.delete(
            self, partial(super().delete, using=using, keep_parents=keep_parents)
        )
        return deleted
