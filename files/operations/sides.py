"""The two sides of an operation: the rows, and the storage of their objects.

The model is looked up when it is needed, because it is made of the operations.
"""

from typing import TYPE_CHECKING, Any, cast

from django.apps import apps
from django.utils import timezone

from files.activity import actor_name
from files.storage import ObjectStat, ObjectStorage

if TYPE_CHECKING:
    from files.models import File


def rows() -> Any:
    """Return the manager of the files."""
    return apps.get_model("files", "File").objects


def storage() -> ObjectStorage:
    """Return the storage of the files' field."""
    return cast("ObjectStorage", apps.get_model("files", "File").object_key.field.storage)


def columns(stat: ObjectStat, file: "File | None" = None) -> dict[str, Any]:
    """Return the columns of a row whose object this is.

    Where the object is still the one that the row of `file` knows, its checksum stays, and what was
    found of its bytes.
    """
    found = stat._asdict() | {"missing_at": None, "changed_at": None}
    if file is not None and file.etag == stat.etag:
        return found | {"checksum": stat.checksum or file.checksum}
    return found | {"damaged_at": None, "verified_at": None}


def put_into_trash(row: "File") -> None:
    """Note that the row is in the trash from now on, if it was not there before."""
    if row.deleted_at is None:
        row.deleted_at, row.deleted_by = timezone.now(), actor_name()
