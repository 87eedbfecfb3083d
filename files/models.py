"""The catalogue: a row for each file."""

import errno
import logging
import posixpath
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, cast

from django.db import DataError, IntegrityError, connection, models, transaction
from django.db.models.functions import Coalesce, Now
from django.db.models.lookups import LessThanOrEqual
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from files.fields import ObjectKeyField, is_new
from files.keys import MAX_KEY_LENGTH, validate_object_key
from files.storage import ObjectChangedError, ObjectFile, S3UnavailableError

if TYPE_CHECKING:
    from files.storage import ObjectStorage

TRASH = ".trash/"  # where the content is kept that another one has replaced

logger = logging.getLogger(__name__)


class FileQuerySet(models.QuerySet["File"]):
    """Files, those in the trash among them."""

    def live(self) -> Self:
        """Return those that are not in the trash."""
        return self.filter(deleted_at=None)

    def trashed(self) -> Self:
        """Return those in the trash."""
        return self.filter(deleted_at__isnull=False)


class File(models.Model):
    """A file: its key here, its bytes in S3.

    ``File.objects.create(object_key=ContentFile(data, name=key))`` writes a new object and its row;
    ``File.objects.create(object_key=key)`` makes a row for an object that is there.

    What changes both follows one rule: a live row has its bytes, whatever stops in between. So an
    object is made, and one that is no longer wanted is left, under a row in the trash.
    """

    object_key = ObjectKeyField(_("key"))
    size = models.BigIntegerField(_("size"), null=True, blank=True, editable=False)
    content_type = models.CharField(
        _("type"), max_length=255, blank=True, db_default="", editable=False
    )
    etag = models.CharField("ETag", max_length=255, blank=True, db_default="", editable=False)
    modified_at = models.DateTimeField(_("modified"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("added"), db_default=Now(), editable=False)
    missing_at = models.DateTimeField(_("missing since"), null=True, blank=True, editable=False)
    deleted_at = models.DateTimeField(_("in the trash since"), null=True, editable=False)
    # The key that the content had before another one took its place.
    original_key = models.TextField(
        _("original key"), blank=True, default="", db_default="", editable=False
    )
    # The key up to its last slash, in the key's own order: what a folder is listed by.
    folder = models.GeneratedField(
        expression=models.Func(
            models.F("object_key"),
            models.Value("[^/]*$"),
            models.Value(""),
            function="regexp_replace",
        ),
        output_field=models.TextField(db_collation="C"),
        db_persist=True,
        verbose_name=_("folder"),
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
                fields=["folder", "object_key"],
                condition=models.Q(deleted_at=None),
                name="files_folder",
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
                fields=["object_key"],
                condition=models.Q(missing_at__isnull=False),
                name="files_missing",
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
        ]

    def __str__(self) -> str:
        return self.object_key.name or ""

    def get_absolute_url(self) -> str:
        """Return the address of the content."""
        return reverse("files:content", args=[self.pk])

    @property
    def name(self) -> str:
        """The key, and in the trash the one that the content had before it was replaced."""
        return self.original_key or str(self)

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

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the row, and first the object where content has been assigned.

        An object that was written for a row which the database then refuses is deleted again.
        """
        new = is_new(self.object_key)
        try:
            super().save(*args, **kwargs)
        except (IntegrityError, DataError):
            if new and not is_new(self.object_key):
                try:
                    self.storage.delete(str(self))
                except OSError as error:
                    logger.warning("The object %r has no row: %s", str(self), error)
            raise

    def refresh_from_storage(self) -> None:
        """Bring the row in step with its object, by one HEAD request. Raises what `stat` raises."""
        try:
            stat = self.storage.stat(str(self))
        except FileNotFoundError:
            self.mark_missing(True)
            return
        self.mark_missing(False)
        known = {name: getattr(self, name) for name in stat._fields}
        if known != stat._asdict():
            for name, value in stat._asdict().items():
                setattr(self, name, value)
            super().save(update_fields=stat._fields)

    def mark_missing(self, missing: bool) -> None:
        """Note in the row whether its object is missing, without touching anything else."""
        if missing != (self.missing_at is not None):
            self.missing_at = timezone.now() if missing else None
            type(self).objects.filter(pk=self.pk).update(missing_at=self.missing_at)

    # What is done with the file

    def trash(self) -> None:
        """Put the file into the trash, where its object stays as it is."""
        self._record(deleted_at=self.deleted_at or timezone.now())

    def restore(self) -> None:
        """Take the file out of the trash.

        What had been replaced comes back to its key, or to one beside it where that is taken.
        Raises FileNotFoundError where the object is gone, and what `rename` raises.
        """
        if self.original_key:
            self._move(_free_key(self.storage, self.original_key), original_key="", deleted_at=None)
        else:
            with self._alone():
                self.revive()

    def rename(self, key: str) -> None:
        """Give the file another key, by a copy on S3's side.

        Raises ValidationError for what is no key, FileExistsError for one that is taken,
        ObjectChangedError when somebody else changes the file, and S3's errors.
        """
        validate_object_key(key)
        if key != str(self):
            self._move(key)

    def replace(self, content: Any) -> None:
        """Put another content under the key; the one that was there goes to the trash.

        Raises ObjectChangedError when somebody else changes the file, and S3's errors.
        """
        with self.replacing() as etag:
            if etag is None:
                self.storage.create(str(self), content)
            else:
                self.storage.replace(str(self), content, etag)

    @contextmanager
    def replacing(self) -> Iterator[str | None]:
        """Keep the content that there is in the trash while another one is written over it.

        Yields the ETag of the object to be replaced, None where there is none.
        """
        with self._alone():
            kept, etag = self._keep()
            try:
                yield etag
            except S3UnavailableError:
                raise  # the write may take effect yet
            except BaseException as error:
                refused = isinstance(error, ObjectChangedError)
                if kept and (refused or self._is_still(etag)):
                    kept._discard()
                raise
            self.revive()

    def revive(self) -> None:
        """Note what is under the key now, in a row that is live. Raises FileNotFoundError."""
        stat = self.storage.stat(str(self))
        self._record(**stat._asdict(), missing_at=None, deleted_at=None)

    def _is_gone(self) -> bool:
        try:
            return not self.storage.exists(str(self))
        except OSError:
            return False

    def _is_still(self, etag: str | None) -> bool:
        try:
            return self.storage.stat(str(self)).etag == etag
        except OSError:
            return False

    def _keep(self) -> tuple["File | None", str | None]:
        """Copy the content to the trash; return its row and the ETag."""
        try:
            etag = self.storage.stat(str(self)).etag
        except FileNotFoundError:
            return None, None
        with transaction.atomic(durable=True):
            kept = _reserve(f"{TRASH}{uuid.uuid4().hex}", original_key=self.name)
        with kept._alone():
            kept._copy_from(self)
        return kept, etag

    def _move(self, key: str, **changes: Any) -> None:
        """Copy under a row in the trash, exchange the keys of both rows, delete the old object."""
        with self._alone():
            etag = self.storage.stat(str(self)).etag
            with transaction.atomic(durable=True):
                copy = _reserve(key)
            with copy._alone():
                copy._copy_from(self)
                with transaction.atomic(durable=True):
                    File.objects.filter(pk=copy.pk).delete()
                    left = self._give_way(copy, changes)
        if left._is_still(etag):  # what somebody else has put there meanwhile stays in the trash
            left._discard()

    def _discard(self) -> None:
        """Delete what nobody needs, or leave it in the trash where S3 does not."""
        try:
            self.delete()
        except OSError as error:
            logger.warning("%r stays in the trash: %s", str(self), error)

    def _give_way(self, copy: "File", changes: dict[str, Any]) -> "File":
        """Take over key and content of the copy; return a row in the trash for the old ones."""
        old = str(self)
        names = ("size", "content_type", "etag", "modified_at")
        about = {name: getattr(copy, name) for name in names}
        self._record(object_key=str(copy), missing_at=None, **about, **changes)
        return _reserve(old)

    def _copy_from(self, file: "File") -> None:
        """Copy the object of another file to the key of this row, which goes if that fails.

        Where the copy may have been made after all, the row stays in the trash.
        """
        try:
            stat = self.storage.copy(str(file), str(self))
        except BaseException as error:
            if isinstance(error, FileExistsError) or self._is_gone():
                File.objects.filter(pk=self.pk).delete()
            raise
        self._record(**stat._asdict())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let nobody else change key or object meanwhile; PostgreSQL ends that with the session."""
        pk = self.pk  # a delete takes it from the instance
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(hashtextextended('files', %s))", [pk])
            (free,) = cursor.fetchone()
            if not free:
                raise _overtaken(str(self))
            try:
                in_trash = self.deleted_at is not None
                known = File.objects.filter(pk=pk, object_key=str(self))
                if not known.filter(deleted_at__isnull=not in_trash).exists():
                    raise _overtaken(str(self))
                yield
            finally:
                cursor.execute("SELECT pg_advisory_unlock(hashtextextended('files', %s))", [pk])

    def _record(self, **values: Any) -> None:
        """Write columns of this row, and nothing else."""
        for name, value in values.items():
            setattr(self, name, value)
        File.objects.filter(pk=self.pk).update(**values)

    def delete(
        self, using: str | None = None, keep_parents: bool = False
    ) -> tuple[int, dict[str, int]]:
        """Delete the object and then the row, for good.

        What stops in between leaves a row in the trash, and deleting it again ends it.
        Raises ObjectChangedError when somebody else changes the file, and S3's errors.
        """
        with self._alone():
            if self.deleted_at is None:
                self.trash()
            self.storage.delete(str(self))
            return super().delete(using=using, keep_parents=keep_parents)


def _free_key(storage: "ObjectStorage", key: str) -> str:
    """Return the key, or one beside it, that neither an object nor a row has."""
    free = storage.get_available_name(key)
    while File.objects.filter(object_key=free).exists():
        free = storage.get_available_name(storage.get_alternative_name(*posixpath.splitext(key)))
    return free


def _reserve(key: str, **values: Any) -> File:
    """Make a row in the trash, which holds the key. Raises FileExistsError where it is taken."""
    try:
        with transaction.atomic():
            return File.objects.create(object_key=key, deleted_at=timezone.now(), **values)
    except IntegrityError:
        raise FileExistsError(errno.EEXIST, "There is a file of this key", key) from None


def _overtaken(key: str) -> ObjectChangedError:
    return ObjectChangedError(errno.ESTALE, "Somebody else is changing the file", key)
