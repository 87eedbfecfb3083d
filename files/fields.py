"""The field that holds an object's key."""

from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.fields.files import FieldFile

from files import operations
from files.keys import validate_object_key

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


def is_new(file: Any) -> bool:
    """Say whether content has been assigned that is not in S3 yet."""
    return bool(file) and not file._committed


class ObjectKey(FieldFile):
    """The value of the field: the object's key, and where content has been assigned, that."""

    def save(self, name: str, content: Any, save: bool = True) -> None:
        """Write the content: the object of a new file, or another one for a file that is there.

        Raises ValueError where the name is another key than the file's, and what `File.save` and
        `File.replace` raise.
        """
        self.name, self.file, self._committed = name, content, False
        setattr(self.instance, self.field.attname, self)
        if save:
            self.instance.save()
            return
        with operations.creating(self.instance, partial(self.storage.create, name, content)):
            self._committed = True
        setattr(self.instance, self.field.attname, name)

    def delete(self, save: bool = True) -> None:
        """Put the file into the trash, `save` or not."""
        self.instance.trash()


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
