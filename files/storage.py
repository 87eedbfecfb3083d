"""The storage: exact keys, reads by ranges, writes that never overwrite. Knows no model."""

import errno
import logging
import math
import mimetypes
import posixpath
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import IO, TYPE_CHECKING, Any, NamedTuple, NoReturn

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError
from django.core.files.base import File
from django.utils.timezone import make_naive
from storages.backends.s3 import S3Storage
from storages.utils import setting

from files import s3
from files.s3 import ObjectChangedError, ObjectFile, S3Error, S3UnavailableError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = [
    "ObjectChangedError",
    "ObjectFile",
    "ObjectStat",
    "ObjectStorage",
    "S3Error",
    "S3UnavailableError",
]

MIB = 2**20
PART_SIZE = 8 * MIB  # what is larger goes up in parts
MAX_PARTS = 10_000  # S3's limit for one upload
MAX_KEY_LENGTH = 1024  # bytes of UTF-8, S3's limit
SAVES = 8  # how often a save may find that somebody was faster
WRITE_MARK = "write"  # the object's metadata by which a write knows its own object

logger = logging.getLogger(__name__)


class ObjectStat(NamedTuple):
    """What S3 tells of an object: `size` in bytes, the rest as in its headers."""

    size: int
    content_type: str
    etag: str
    modified_at: datetime


class ObjectStorage(S3Storage):
    """django-storages' S3 storage, for keys as they are.

    A name is the object's key, byte for byte; nothing is cleaned, joined or stripped. S3's errors
    are raised as FileNotFoundError, PermissionError, S3UnavailableError (out of reach: try later),
    and S3Error for the rest, all of them OSError.
    """

    bucket_name: str
    querystring_expire: int

    def get_default_settings(self) -> dict[str, Any]:
        """Leave region, endpoint and credentials to boto3, so that temporary ones refresh."""
        defaults: dict[str, Any] = super().get_default_settings()
        return defaults | {
            "access_key": None,
            "secret_key": None,
            "security_token": None,
            "file_overwrite": False,
            "signature_version": "s3v4",
            "client_config": s3.CONFIG,
        }

    @property
    def client(self) -> "S3Client":
        """The process's boto3 client: it may be shared by threads, a resource may not."""
        return s3.client()

    @property
    def objects(self) -> s3.Bucket:
        """The bucket, to read objects from."""
        return s3.bucket(self.bucket_name)

    # Reading

    def open(self, name: str, mode: str = "rb") -> ObjectFile:
        """Return the object as a file. Makes no request, so that a missing one shows at a read."""
        if mode not in {"rb", "r"}:
            raise ValueError(f"mode {mode!r}: an object is written whole, by save()")
        return self.objects.open(name)

    def stat(self, name: str) -> ObjectStat:
        """Return what S3 tells of the object, by one HEAD request."""
        response = self.objects.request("HEAD", name)
        response.close()
        headers = response.headers
        return ObjectStat(
            size=int(headers["Content-Length"]),
            content_type=headers.get("Content-Type", ""),
            etag=headers.get("ETag", ""),
            modified_at=_http_date(headers["Last-Modified"]),
        )

    def exists(self, name: str) -> bool:
        """Say whether there is an object of this key."""
        try:
            self.stat(name)
        except FileNotFoundError:
            return False
        return True

    def size(self, name: str) -> int:
        """Return the object's size in bytes."""
        return self.stat(name).size

    def get_modified_time(self, name: str) -> datetime:
        """Return when the object was written, aware with USE_TZ."""
        modified_at = self.stat(name).modified_at
        return modified_at if setting("USE_TZ") else make_naive(modified_at)

    def url(  # type: ignore[override] # as in django-storages
        self,
        name: str,
        parameters: Mapping[str, str] | None = None,
        expire: int | None = None,
        http_method: str | None = None,
    ) -> str:
        """Return a presigned URL, valid for `expire` seconds (an hour unless told)."""
        return self.objects.presign(
            http_method or "GET",
            name,
            expires=expire or self.querystring_expire,
            params=parameters,
        )

    def listdir(self, name: str) -> tuple[list[str], list[str]]:
        """Return the names of folders and of objects below the prefix `name`, without it."""
        prefix = f"{name}/" if name and not name.endswith("/") else name
        folders: list[str] = []
        files: list[str] = []
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket_name, Prefix=prefix, Delimiter="/"
        )
        with self._boundary(name):
            for page in pages:
                folders += [
                    entry["Prefix"].removeprefix(prefix).removesuffix("/")
                    for entry in page.get("CommonPrefixes", ())
                ]
                files += [
                    entry["Key"].removeprefix(prefix)
                    for entry in page.get("Contents", ())
                    if entry["Key"] != prefix
                ]
        return folders, files

    # Writing

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        """Return the key itself where it is free, and otherwise one with Django's suffix."""
        stem, extension = posixpath.splitext(name)
        while len(f"{stem}_1234567{extension}".encode()) > MAX_KEY_LENGTH and stem:
            stem = stem[:-1]
        while self.exists(name):
            name = self.get_alternative_name(stem, extension)
        return name

    def save(self, name: str | None, content: IO[Any], max_length: int | None = None) -> str:
        """Write the content to a new object; return its key.

        An object that is there is never overwritten, whoever wrote it and when: as with Django's
        other storages, a taken key gets a suffix. When this raises, there is no new object and no
        open upload. Raises FileExistsError where somebody was faster and the content cannot be read
        again, or too often.
        """
        if name is None:
            name = content.name
        source = content if isinstance(content, File) else File(content, name)
        for attempt in range(SAVES):
            key = self.get_available_name(name, max_length)
            try:
                self.create(key, source)
            except FileExistsError:  # somebody was faster, or is writing just now
                if attempt + 1 == SAVES or not source.seekable():
                    raise
            else:
                return key
        raise AssertionError("the last attempt returns or raises")

    def create(self, key: str, content: "File[Any]") -> None:
        """Write the content to the object `key`. Raises FileExistsError where there is one.

        A small object goes up in one request, a large one in parts, with one of them in memory.
        Both are conditional writes (``If-None-Match: *``), so that of many writers one succeeds.
        """
        if content.seekable():
            content.seek(0)
        part_size = max(PART_SIZE, math.ceil(_length(content) / MAX_PARTS))
        parameters = self._get_write_parameters(key, content)
        mark = uuid.uuid4().hex
        parameters["Metadata"] = {**parameters.get("Metadata", {}), WRITE_MARK: mark}
        first = _read_part(content, part_size)
        try:
            with self._boundary(key):
                if len(first) < part_size:
                    self._put(key, first, parameters)
                else:
                    self._put_parts(key, first, content, part_size, parameters)
        except (FileExistsError, S3Error):
            # The answer may have been lost on its way, and the write repeated: then it is ours.
            if not self._is_marked(key, mark):
                raise

    def _is_marked(self, key: str, mark: str) -> bool:
        try:
            response = self.objects.request("HEAD", key)
        except OSError:
            return False
        response.close()
        return response.headers.get(f"x-amz-meta-{WRITE_MARK}") == mark

    def _get_write_parameters(self, name: str, content: Any = None) -> dict[str, Any]:
        """Add the type. Never ``Content-Encoding``: it would make clients unpack a `.tar.gz`."""
        parameters: dict[str, Any] = self.get_object_parameters(name)
        if "ContentType" not in parameters:
            guessed, encoding = mimetypes.guess_type(name)
            packed = {"gzip": "application/gzip", "bzip2": "application/x-bzip2"}
            if encoding:
                guessed = packed.get(encoding, self.default_content_type)
            parameters["ContentType"] = (
                getattr(content, "content_type", None) or guessed or self.default_content_type
            )
        return parameters

    def _put(self, key: str, data: bytes, parameters: dict[str, Any]) -> None:
        self.client.put_object(
            Bucket=self.bucket_name, Key=key, Body=data, IfNoneMatch="*", **parameters
        )

    def _put_parts(
        self,
        key: str,
        first: bytes,
        content: "File[Any]",
        part_size: int,
        parameters: dict[str, Any],
    ) -> None:
        target: dict[str, Any] = {"Bucket": self.bucket_name, "Key": key}
        upload = self.client.create_multipart_upload(**target, **parameters)
        target["UploadId"] = upload["UploadId"]
        parts: list[Any] = []
        data = first
        try:
            while data:
                number = len(parts) + 1
                part = self.client.upload_part(**target, PartNumber=number, Body=data)
                parts.append({"PartNumber": number, "ETag": part["ETag"]})
                data = _read_part(content, part_size)
            self.client.complete_multipart_upload(
                **target, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
        except BaseException:
            try:
                self.client.abort_multipart_upload(**target)
            except (BotoCoreError, ClientError) as error:
                logger.warning("The upload %s of %r stays open: %s", target["UploadId"], key, error)
            raise

    def delete(self, name: str) -> None:
        """Delete the object; it is no error when there is none."""
        with self._boundary(name):
            self.client.delete_object(Bucket=self.bucket_name, Key=name)

    # S3's errors

    @contextmanager
    def _boundary(self, key: str) -> Iterator[None]:
        """Raise Python's own errors for boto3's."""
        try:
            yield
        except ClientError as error:
            self._refuse(key, error)
        except (NoConnectionError, HTTPClientError) as error:
            endpoint = self.client.meta.endpoint_url
            text = f"S3 is out of reach at {endpoint} ({type(error).__name__})"
            raise S3UnavailableError(errno.EHOSTUNREACH, text) from error
        except BotoCoreError as error:
            raise S3Error(errno.EIO, str(error), key) from error

    def _refuse(self, key: str, error: ClientError) -> NoReturn:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        code, operation = error.response["Error"]["Code"], error.operation_name
        if status in {409, 412} and code in {"PreconditionFailed", "ConditionalRequestConflict"}:
            raise FileExistsError(errno.EEXIST, "There is an object of this key", key) from error
        if status == 403:
            text = f"S3 refuses {operation} ({code}): allow it to the role of this process"
            raise PermissionError(errno.EACCES, text, key) from error
        if status in s3.TRANSIENT:
            raise S3UnavailableError(errno.EAGAIN, f"S3 fails: {status} {code}") from error
        text = f"S3 refuses {operation} in the bucket {self.bucket_name}: {status} {code}"
        raise S3Error(errno.EIO, text, key) from error


def _http_date(text: str) -> datetime:
    return parsedate_to_datetime(text).astimezone(UTC)


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
