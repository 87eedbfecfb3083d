"""The two sides of an operation: the rows, and the storage of their objects.

The model is looked up when it is needed, because it is made of the operations.
"""

from typing import Any, cast

from django.apps import apps

from files.storage import ObjectStorage


def rows() -> Any:
    """Return the manager of the files."""
    return apps.get_model("files", "File").objects


def storage() -> ObjectStorage:
    """Return the storage of the files' field."""
    return cast("ObjectStorage", apps.get_model("files", "File").object_key.field.storage)
