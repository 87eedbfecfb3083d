"""Conditional writes: a new object overwrites nothing, and what is replaced has a known ETag."""

import hashlib
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from files.keys import can_be_folded, guess_type
from files.storage import checksums
from files.storage.base import NEW
from files.storage.errors import S3UnavailableError, changed, folded
from files.storage.marks import MarkedObjects, OnUpload, Write, marked
from files.storage.multipart import MultipartUpload, part_size
from files.storage.naming import refuse_reserved
from files.storage.stat import ObjectStat

if TYPE_CHECKING:
    from django.core.files.base import File

PART_SIZE = 8 * 2**20  # bytes: what is larger goes up in parts
HEADER = re.compile(r"[ -~]*")  # printable ASCII: RFC 9110 section 5.5 without what is obsolete
PACKED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2"}  # types by encoding


class ConditionalWrites(MarkedObjects):
    """Writes and deletions of whole objects, each under a condition."""

    default_acl: str | None
    default_content_type: str

    def create(
        self,
        key: str,
        content: "File[Any]",
        *,
        mark: str | None = None,
        on_upload: OnUpload | None = None,
    ) -> ObjectStat:
        """Write the content to the object `key`. Raises FileExistsError where there is one.

        A small object goes up in one request, a large one in parts, with one of them in memory.
        Both are conditional writes (``If-None-Match: *``), so that of many writers one succeeds.
        `mark` is the hexadecimal text by which the object is known again; `on_upload` gets the id
        of the upload when the content goes in parts. Raises ObjectChangedError where somebody else
        has written the object right afterwards.
        """
        write = Write(NEW, mark or uuid.uuid4().hex, on_upload)
        checksum = self._write(key, content, write)
        return self._written(key, write)._replace(checksum=checksum)

    def replace(
        self,
        key: str,
        content: "File[Any]",
        etag: str,
        *,
        mark: str | None = None,
        on_upload: OnUpload | None = None,
    ) -> ObjectStat:
        """Write the content over the object `key`, as long as that has this ETag: see `create`.

        Raises ObjectChangedError when it has another one, FileNotFoundError when it is gone.
        """
        self.refuse_folded(key)
        write = Write({"IfMatch": etag}, mark or uuid.uuid4().hex, on_upload)
        checksum = self._write(key, content, write)
        return self._written(key, write)._replace(checksum=checksum)

    def put_own(self, key: str, data: bytes, etag: str = "") -> None:
        """Write a small object of the project's own, below the reserved prefix, by one request.

        It takes the place of the object of this ETag, and of none where that is empty. Raises as
        `create` and `replace` do.
        """
        write = Write({"IfMatch": etag} if etag else NEW, uuid.uuid4().hex)
        parameters = marked(self._parameters(key, None), write.mark)
        with self._recognizing(key, write):
            self._put(key, data, **parameters, **write.condition)

    def _write(self, key: str, content: "File[Any]", write: Write) -> str:
        """Write the content; return its checksum."""
        refuse_reserved(key)
        if content.seekable():
            content.seek(0)
        size = part_size(_length(content), PART_SIZE)
        parameters = marked(self._get_write_parameters(key, content), write.mark)
        data = _read_part(content, size)
        digest = hashlib.sha256(data)
        with self._recognizing(key, write):
            if len(data) < size:
                self._put(key, data, **parameters, **write.condition)
            else:
                with self._uploading(key, write, **parameters) as upload:
                    parts = [upload.put(1, data)]
                    while data := _read_part(content, size):
                        digest.update(data)
                        parts.append(upload.put(len(parts) + 1, data))
                    upload.complete(parts, **write.condition)
        self._undo_folded(key, write.mark)
        return checksums.of_whole(digest.digest())

    def _undo_folded(self, key: str, mark: str) -> None:
        """Delete the object just written where S3 keeps it by another key. Raises S3Error then."""
        if self._is_folded(key):
            self.undo(key, mark)
            raise folded(key)

    def undo(self, key: str, mark: str) -> bool:
        """Delete the object that was written with the mark; return whether it was there."""
        found = self._find(key)
        if found is None or found[1] != mark:
            return False
        self._drop(key, found[0].etag)
        return True

    def _delete(self, key: str, etag: str | None) -> None:
        """Delete the object, if it has that ETag: see `delete`.

        Servers that are not AWS's may ignore the condition, so that there the ETag is compared
        first; and some take the key for that of another object, which stays.
        """
        if self._is_folded(key):
            return
        if etag and not self._is_aws:
            found = self._find(key)
            if found is None:
                return
            if found[0].etag != etag:
                raise changed(key)
        self._drop(key, etag)

    def _drop(self, key: str, etag: str | None) -> None:
        condition: dict[str, Any] = {"IfMatch": etag} if etag else {}
        with suppress(FileNotFoundError), self._boundary(key, condition):
            self.client.delete_object(**self._at(key), **condition)

    def delete_many(self, etags: Mapping[str, str]) -> dict[str, OSError]:
        """Delete objects by one request, each if it has its ETag; return what S3 refuses, by key.

        There may be 1,000. Servers that are not AWS's may ignore the condition.
        """
        try:
            deleted = self._drop_many(etags)
        except S3UnavailableError as error:
            return dict.fromkeys(etags, error)
        except OSError:
            deleted = set()
        refused = {}
        for key, etag in etags.items():  # one by one, which tells what S3 refuses, and why
            try:
                if key not in deleted:
                    self._delete(key, etag)
            except OSError as error:
                refused[key] = error
        return refused

    def _drop_many(self, etags: Mapping[str, str]) -> set[str]:
        """Return the keys of the objects that are deleted by it; some keys do not go into XML."""
        plain = {
            self.objects.full_key(key): key
            for key in etags
            if key.isprintable() and key == key.strip() and (self._is_aws or not can_be_folded(key))
        }
        if not plain:
            return set()
        objects: Any = [{"Key": full, "ETag": etags[key]} for full, key in plain.items()]
        with self._boundary("", {}):
            answer = self.client.delete_objects(
                Bucket=self.objects.name, Delete={"Objects": objects}
            )
        return {plain[entry["Key"]] for entry in answer.get("Deleted", ()) if entry["Key"] in plain}

    def _put(self, key: str, data: bytes, **parameters: Any) -> None:
        self.client.put_object(**self._at(key), Body=data, **parameters)

    @contextmanager
    def _uploading(self, key: str, write: Write, **parameters: Any) -> Iterator[MultipartUpload]:
        upload = MultipartUpload.begin(self.client, **self._at(key), **parameters)
        with upload:
            if write.on_upload is not None:
                write.on_upload(upload.id)
            yield upload

    def guess_type(self, key: str) -> str:
        """Return the type of a new object that comes without one."""
        guessed, encoding = guess_type(key)
        if encoding:
            guessed = PACKED.get(encoding)
        return guessed or self.default_content_type

    def _get_write_parameters(self, name: str, content: Any = None) -> dict[str, Any]:
        return self._parameters(name, getattr(content, "content_type", None))

    def _parameters(self, name: str, content_type: str | None) -> dict[str, Any]:
        """Add the type. Never ``Content-Encoding``: it would make clients unpack a `.tar.gz`."""
        parameters: dict[str, Any] = self.get_object_parameters(name)
        if self.default_acl:
            parameters.setdefault("ACL", self.default_acl)
        parameters.setdefault("ContentType", content_type or self.guess_type(name))
        if not HEADER.fullmatch(parameters["ContentType"]):
            text = f"The type {parameters['ContentType']!r} has characters that no header can hold"
            raise ValueError(text)
        return parameters


def _length(content: "File[Any]") -> int:
    """Return the content's size in bytes, 0 when it cannot be known in advance."""
    try:
        return content.size
    except (AttributeError, OSError, TypeError):
        return 0


def _read_part(content: "File[Any]", size: int) -> bytes:
    """Read `size` bytes, fewer only at the end. Text is written as UTF-8."""
    read: Callable[[int], bytes | str] = content.read
    data = bytearray()
    while len(data) < size and (piece := read(size - len(data))):
        data += piece.encode() if isinstance(piece, str) else piece
    return bytes(data)
