"""Marks: the metadata by which a write knows its own object, also when S3's answer was lost."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from files.keys import can_be_folded, folder_of
from files.storage.base import BucketStorage
from files.storage.errors import S3Error, changed, folded
from files.storage.stat import METADATA, ObjectStat, read_stat

WRITE_MARK = "write"  # the name of the metadata

# What is called with the id of an upload in parts, once it has begun.
OnUpload = Callable[[str], object]


class Write(NamedTuple):
    """A write of one object: S3's condition of it, and the mark that the object gets."""

    condition: dict[str, Any]
    mark: str
    on_upload: OnUpload | None = None


def marked(parameters: Mapping[str, Any], mark: str) -> dict[str, Any]:
    """Return boto3's parameters of a write, with the mark among the metadata."""
    return {**parameters, "Metadata": {**parameters.get("Metadata", {}), WRITE_MARK: mark}}


class MarkedObjects(BucketStorage):
    """Objects that are known by the mark of the write that made them."""

    def find(self, key: str) -> tuple[ObjectStat, str] | None:
        """Return what S3 tells of the object and the mark of its write, by one HEAD request.

        The mark is empty where the object has none; None stands for no object. One that S3 lists by
        another key is no object of this one, and so may not be replaced or deleted by it.
        """
        found = self._find(key)
        return None if found and self._is_folded(key) else found

    def refuse_folded(self, key: str) -> None:
        """Raise S3Error where there is an object, but by another key, of which it is."""
        if self._is_folded(key) and self._find(key):
            raise folded(key)

    def _is_folded(self, key: str) -> bool:
        """Return whether S3 lists no object by a key that some servers take for another.

        Their listings tell the key that they keep; SeaweedFS tells the name as it was asked for,
        but not the folder. Only such keys cost requests, and none at AWS.
        """
        if self._is_aws or not can_be_folded(key):
            return False
        full = self.objects.full_key(key)
        folder = folder_of(full)
        with self._boundary(key):
            return self._first(full) != full or not self._first(folder).startswith(folder)

    def _first(self, prefix: str) -> str:
        """Return the first key that is listed for the prefix, empty where there is none."""
        page = self.client.list_objects_v2(Bucket=self.objects.name, Prefix=prefix, MaxKeys=1)
        return next((entry["Key"] for entry in page.get("Contents", ())), "")

    def _find(self, key: str) -> tuple[ObjectStat, str] | None:
        try:
            headers = self._head(key)
        except FileNotFoundError:
            return None
        return read_stat(key, headers), headers.get(f"{METADATA}{WRITE_MARK}", "")

    def is_marked(self, key: str, mark: str) -> bool:
        """Return whether the object has the mark of this very write; False where S3 fails."""
        try:
            found = self._find(key)
        except OSError:
            return False
        return found is not None and found[1] == mark

    @contextmanager
    def _recognizing(self, key: str, write: Write) -> Iterator[None]:
        """Raise Python's errors for those of the write inside, unless the object has its mark."""
        try:
            with self._boundary(key, write.condition):
                yield
        except (FileExistsError, S3Error):
            # The answer may have been lost on its way, and the write repeated: then it is ours.
            if not self.is_marked(key, write.mark):
                raise

    def _written(self, key: str, write: Write) -> ObjectStat:
        """Return what S3 tells of the object just written. Raises ObjectChangedError."""
        found = self._find(key)
        if found is None or found[1] != write.mark:
            raise changed(key)
        return found[0]
