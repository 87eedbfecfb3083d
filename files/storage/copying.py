"""Copies of objects, made by S3 itself where it judges the condition or the object is large."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count, repeat
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from files import activity
from files.storage import writing
from files.storage.base import NEW
from files.storage.circuit import be_in_background
from files.storage.errors import changed
from files.storage.marks import OnUpload, Write, marked
from files.storage.multipart import part_size
from files.storage.stat import ObjectStat, read_parameters, read_stat, whole_seconds

COPY_PART_SIZE = 64 * 2**20  # bytes, which S3 copies within the time that it may be silent
COPIES = 16  # parts that are copied at a time


class Original(NamedTuple):
    """The object that is copied; `data` is None where its bytes were not read."""

    key: str
    stat: ObjectStat
    parameters: dict[str, Any]
    has_tags: bool
    data: bytes | None


class Copies(writing.ConditionalWrites):
    """Copies that keep all but the key."""

    def copy(
        self,
        source: str,
        target: str,
        *,
        etag: str = "",
        mark: str | None = None,
        on_upload: OnUpload | None = None,
    ) -> ObjectStat:
        """Copy an object to a new key; return what S3 tells of the copy.

        Type, metadata, tags, storage class and encryption go with it. Raises FileExistsError where
        the target is there, FileNotFoundError where the source is not, ArchivedError where it must
        be restored first, ObjectChangedError when it has another ETag than `etag` or is replaced
        meanwhile. `mark` and `on_upload` are those of `create`. Large objects are copied by S3
        itself, in parts and in parallel.
        """
        write = Write(NEW, mark or uuid.uuid4().hex, on_upload)
        original = self._original(source, etag)
        parameters = marked(original.parameters, write.mark)
        if self._is_aws and original.stat.size < COPY_PART_SIZE:
            return self._copy_whole(original, target, parameters, write)
        if original.has_tags and (tags := self.tags(source)):
            parameters["Tagging"] = urlencode(tags, quote_via=quote)  # radosgw takes `+` as it is
        with self._recognizing(target, write):
            if original.data is None:
                self._copy_parts(original, target, parameters, write)
            else:
                self._put(target, original.data, **parameters, **NEW)
        self._undo_folded(target, write.mark)
        return self._written(target, write)

    def _original(self, key: str, etag: str) -> Original:
        """Return the object, with its bytes if it is small and S3 cannot be trusted to copy it."""
        headers = {"If-Match": etag} if etag else {}
        response = self.request("HEAD" if self._is_aws else "GET", key, headers)
        with closing(response):
            if response.status == 412:
                raise changed(key)
            stat = read_stat(key, response.headers)
            if self._is_aws:  # to GET an archived object is refused already
                self.refuse_unreadable(key, response.headers)
            is_read = not self._is_aws and stat.size <= writing.PART_SIZE
            data = b"".join(self.body(key, response)) if is_read else None
        acl = {"ACL": self.default_acl} if self.default_acl else {}  # which S3 does not copy
        parameters = read_parameters(response.headers) | acl
        # Other servers than AWS's may not tell that there are tags.
        has_tags = not self._is_aws or bool(response.headers.get("x-amz-tagging-count"))
        return Original(key, stat, parameters, has_tags, data)

    def _copy_whole(
        self, original: Original, target: str, parameters: dict[str, Any], write: Write
    ) -> ObjectStat:
        """Copy by one CopyObject, of which only AWS judges the condition. S3 copies the tags."""
        with self._recognizing(target, write):
            copy = self.client.copy_object(
                **self._at(target),
                CopySource=self._at(original.key),
                CopySourceIfMatch=original.stat.etag,
                MetadataDirective="REPLACE",
                **parameters,
                **NEW,
            )["CopyObjectResult"]
            return original.stat._replace(
                etag=copy["ETag"], modified_at=whole_seconds(copy["LastModified"])
            )
        return self._written(target, write)  # the answer was lost

    def _copy_parts(
        self, original: Original, target: str, parameters: dict[str, Any], write: Write
    ) -> None:
        size = original.stat.size
        step = part_size(size, COPY_PART_SIZE)
        extents = [(first, min(first + step, size) - 1) for first in range(0, size, step)]
        with (
            self._uploading(target, write, **parameters) as upload,
            ThreadPoolExecutor(min(len(extents), COPIES), initializer=be_in_background) as pool,
        ):
            source = repeat(self._at(original.key)), repeat(original.stat.etag)
            # Unlike `submit`, `map` drops the parts not begun when one fails.
            copies = []
            for copy in pool.map(upload.copy, count(1), *source, extents):
                copies.append(copy)
                activity.tell_copied(len(copies), len(extents))
            upload.complete(copies, **NEW)
