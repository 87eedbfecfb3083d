"""The catalogue: a row for each file."""

from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.fields.files import FieldFile
from django.db.models.functions import Now
from django.db.models.lookups import LessThanOrEqual
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from files import s3

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from files.storage import ObjectStorage

MAX_KEY_LENGTH = 1024  # bytes of UTF-8, S3's limit


def validate_object_key(value: object) -> None:
    """Refuse what is no key: an empty one, more than 1,024 bytes, NUL, half a surrogate pair."""
    key = str(value)
    if "\0" in key:
        raise ValidationError(_("PostgreSQL cannot keep a key with a NUL character."), "nul")
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        raise ValidationError(_("A key must be valid Unicode."), "unicode") from None
    if not length:
        raise ValidationError(_("A key must not be empty."), "empty")
    if length > MAX_KEY_LENGTH:
        text = _("A key has at most %(limit)d bytes in UTF-8; this one has %(length)d.")
        raise ValidationError(text, "length", {"limit": MAX_KEY_LENGTH, "length": length})


def _is_new(file: Any) -> bool:
    """Say whether content has been assigned that is not in S3 yet."""
    return bool(file) and not file._committed


class ObjectKey(FieldFile):
    """The value of the field: the object's key, and where content has been assigned, that."""

    def save(self, name: str, content: Any, save: bool = True) -> None:
        """Write the object, and note in the row what S3 tells of it."""
        super().save(name, content, save=False)
        stat = cast("ObjectStorage", self.storage).stat(str(self))
        for field, value in stat._asdict().items():
            setattr(self.instance, field, value)
        if save:
            self.instance.save()


class ObjectKeyField(models.FileField):
    """A file field of which the name is the object's key, exactly.

    A ``text`` column in the collation "C", whose order is the order of an S3 listing. When content
    has been assigned, saving the row writes the object.
    """

    attr_class = ObjectKey
    default_validators = [validate_object_key]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["max_length"] = None
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        kwargs.pop("max_length", None)
        return name, path, args, kwargs

    def get_internal_type(self) -> str:
        return "TextField"

    def db_parameters(self, connection: "BaseDatabaseWrapper") -> Any:
        return {**super().db_parameters(connection), "collation": "C"}

    def generate_filename(self, instance: models.Model | None, filename: str | Any) -> str:
        return str(filename)


class File(models.Model):
    """A file: its key here, its bytes in S3.

    ``File.objects.create(object_key=ContentFile(data, name=key))`` writes a new object and its row;
    ``File.objects.create(object_key=key)`` makes a row for an object that is there.
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

    class Meta:
        db_table = "files"
        ordering = ["object_key"]
        verbose_name = _("file")
        verbose_name_plural = _("files")
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
    def storage(self) -> "ObjectStorage":
        """The storage, which writes."""
        return cast("ObjectStorage", self.object_key.storage)

    @property
    def bucket(self) -> s3.Bucket:
        """The bucket, to read the object from."""
        return s3.bucket(settings.BUCKET_NAME)

    def open(self) -> s3.ObjectFile:
        """Return the content as a seekable binary file that is fetched as it is read."""
        return self.bucket.open(str(self))

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the whole content as text. Raises UnicodeDecodeError, and what `open` raises."""
        with self.open() as content:
            text: str = content.read().decode(encoding)
        return text

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the row, and first the object where content has been assigned.

        An object that was written for a row which then cannot be saved is deleted again.
        """
        new = _is_new(self.object_key)
        try:
            super().save(*args, **kwargs)
        except BaseException:
            if new and not _is_new(self.object_key):
                self.storage.delete(str(self))
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

    def delete(
        self, using: str | None = None, keep_parents: bool = False
    ) -> tuple[int, dict[str, int]]:
        """Delete the object and then the row.

        What stops in between leaves a row whose object is missing, and deleting it again ends it.
        """
        self.storage.delete(str(self))
        return super().delete(using=using, keep_parents=keep_parents)
