"""The field that holds an object's key."""

from typing import TYPE_CHECKING, Any, cast

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.fields.files import FieldFile
from django.utils.translation import gettext_lazy as _

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


def is_new(file: Any) -> bool:
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
