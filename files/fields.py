"""The field that holds an object's key."""

import os
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from django.core.files.base import File
from django.db import models
from django.db.models.fields.files import FieldFile, FileDescriptor

from files import operations
from files.keys import validate_object_key
from files.storage.opening import parse_mode

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from files.storage import ObjectStorage


def is_new(file: Any) -> bool:
    """Return whether content has been assigned to a new row, and is not in S3 yet."""
    return bool(file) and not file._committed and file.instance._state.adding


class ObjectKey(FieldFile):
    """The value of the field: the object's key, and where content has been assigned, that.

    A FieldFile of Django's, by which an object is neither overwritten nor lost: what changes the
    object of a saved row goes through `File.replace` and `File.trash`.
    """

    def open(self, mode: str = "rb") -> "ObjectKey":  # type: ignore[override] # as in Django
        """Open the content from its start, as S3 has it now. Raises ValueError for writing."""
        writes, _ = parse_mode(mode)
        if writes:
            text = f"mode {mode!r}: a key is opened to read, and File.replace() writes its content"
            raise ValueError(text)
        if not self or not self._committed:
            super().open(mode)
            return self
        self.close()
        self.file = self.storage.open(str(self), mode)
        return self

    def save(self, name: str, content: Any, save: bool = True) -> None:
        """Write the object of a new row, and the row with `save`; replace that of a saved row.

        Raises FileExistsError where the key of a new row is taken, ValueError for another key than
        the saved row's, and what `File.replace` raises.
        """
        key = self.field.generate_filename(self.instance, name)
        source = content if isinstance(content, File) else File(content, key)
        if not self.instance._state.adding:
            self._replace(key, source)
        elif save:
            self.name, self.file, self._committed = key, source, False
            self.instance.__dict__[self.field.attname] = self
            self.instance.save()  # which writes the object first
        else:
            self._create(key, source)

    def delete(self, save: bool = True) -> None:
        """Put the row into the trash, whatever `save` is. Raises ValueError for a new row."""
        if not self:
            return
        if self.instance._state.adding:
            raise ValueError("The row is not saved, so that it cannot be put into the trash.")
        self.close()
        cast("Any", self.instance).trash()

    def _create(self, key: str, content: "File[Any]") -> None:
        """Write the object for a row that is saved by somebody else, as in `bulk_create`."""
        self.name = key
        self.instance.__dict__[self.field.attname] = self
        make = partial(cast("ObjectStorage", self.storage).create, key, content)
        with operations.creating(cast("Any", self.instance), make):
            self._commit(key)

    def _replace(self, key: str, content: "File[Any]") -> None:
        if key != self._saved_key():
            raise ValueError(f"The row has another key: rename({key!r}) gives it this one.")
        if self._committed:
            self.close()
        self._commit(key)
        try:
            cast("Any", self.instance).replace(content)
        except BaseException:
            self.instance.__dict__[self.field.attname] = self  # so that it can be tried again
            raise

    def _commit(self, key: str) -> None:
        self.name = key
        setattr(self.instance, self.field.attname, key)

    def _saved_key(self) -> str | None:
        """Return the key that the row has in the database."""
        if self._committed:
            return self.name
        rows = type(self.instance)._base_manager.filter(pk=self.instance.pk)
        return cast("str", rows.values_list(self.field.attname, flat=True).get())


class ObjectKeyDescriptor(FileDescriptor):
    """The attribute of the field, to which a path may be assigned too."""

    def __set__(self, instance: models.Model, value: Any) -> None:
        super().__set__(instance, os.fspath(value) if isinstance(value, os.PathLike) else value)


class ObjectKeyField(models.FileField):
    """A file field of which the name is the object's key, exactly.

    A ``text`` column in the collation "C", whose order is the order of an S3 listing. When content
    has been assigned, saving the row writes the object.
    """

    attr_class = ObjectKey
    descriptor_class = ObjectKeyDescriptor
    default_validators = [validate_object_key]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["max_length"] = None
        super().__init__(*args, **kwargs)

    def get_internal_type(self) -> str:
        return "TextField"

    def db_parameters(self, connection: "BaseDatabaseWrapper") -> Any:
        return {**super().db_parameters(connection), "collation": "C"}

    def generate_filename(self, instance: models.Model | None, filename: str | Any) -> str:
        return str(filename)
