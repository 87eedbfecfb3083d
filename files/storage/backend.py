"""The storage: exact keys, reads by ranges, writes that never overwrite. Knows no model."""

import base64
import errno
import hashlib
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count, repeat
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, overload
from urllib.parse import quote, urlencode

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import File
from django.utils.timezone import make_naive
from storages.backends.s3 import S3Storage
from storages.utils import setting

from files.keys import guess_type
from files.storage import reading
from files.storage.errors import ObjectChangedError, S3Error, S3UnavailableError
from files.storage.multipart import MultipartUpload, part_size
from files.storage.naming import alternative_name, fits
from files.storage.opening import NewObjectFile, parse_mode, taken
from files.storage.reading import CHECKSUM, Body, Bucket, ObjectFile, Response

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Name = str | os.PathLike[str]  # an object's key; pathlib takes double slashes and dots out

MIB = 2**20
PART_SIZE = 8 * MIB  # what is larger goes up in parts
COPY_PART_SIZE = 64 * MIB  # which S3 copies within the time that it may be silent
COPIES = 16  # parts that are copied at a time
SAVES = 8  # how often a save may find that somebody was faster
WRITE_MARK = "write"  # the object's metadata by which a write knows its own object
MAX_TYPE_LENGTH = 255  # characters that are kept of an object's type
NEW = {"IfNoneMatch": "*"}  # the condition of a write that makes a new object

# What a copy takes over of its original, beside the bytes.
COPIED = (
    "BucketKeyEnabled",
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "Expires",
    "Metadata",
    "SSEKMSKeyId",
    "ServerSideEncryption",
    "StorageClass",
)


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
    querystring_auth: bool
    custom_domain: str | None
    url_protocol: str

    def get_default_settings(self) -> dict[str, Any]:
        """Leave region, endpoint and credentials to boto3, so that temporary ones refresh."""
        defaults: dict[str, Any] = super().get_default_settings()
        return defaults | {
            "access_key": None,
            "secret_key": None,
            "security_token": None,
            "file_overwrite": False,
            "signature_version": "s3v4",
            "client_config": reading.CONFIG,
        }

    @property
    def client(self) -> "S3Client":
        """The process's boto3 client: it may be shared by threads, a resource may not."""
        return reading.client()

    @property
    def objects(self) -> Bucket:
        """The bucket, to read objects from."""
        return reading.bucket(self.bucket_name)

    # Reading

    def request(self, method: str, key: str, headers: Mapping[str, str] | None = None) -> Response:
        """Send a GET or HEAD with these headers on to S3: see `Bucket.request`."""
        return self.objects.request(method, key, headers)

    def body(self, key: str, response: Response) -> Body:
        """Return the body of the answer to a GET, which is continued where it breaks."""
        return reading.Body(self.objects, key, response)

    def presign(
        self,
        method: str,
        key: str,
        *,
        expires: int = 60,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Return a URL that allows `method` for `expires` seconds: see `Bucket.presign`."""
        return self.objects.presign(method, key, expires=expires, params=params, headers=headers)

    @overload  # type: ignore[override] # the stubs know no paths and no overloads
    def open(self, name: Name, mode: Literal["rb", "r", "rt"] = "rb") -> ObjectFile: ...

    @overload
    def open(self, name: Name, mode: str) -> "File[Any]": ...

    def open(self, name: Name, mode: str = "rb") -> "File[Any]":
        """Return the object as a file to read, or a new one to write; text is UTF-8.

        Reading makes no request yet, so that a missing object shows at a read. What is written is
        stored by `close()`, and not at all where the `with` block fails. Raises FileExistsError
        where the key is taken, ValueError for a mode that changes an object in place.
        """
        writes, _ = parse_mode(mode)
        if writes:
            if not name:
                raise ValueError("The name must be given to open().")
            if self.exists(name):
                raise taken(str(name))
            return NewObjectFile(self, str(name), mode)
        return self.objects.open(str(name), mode)

    def stat(self, name: Name) -> ObjectStat:
        """Return what S3 tells of the object, by one HEAD request."""
        response = self.request("HEAD", str(name))
        response.close()
        headers = response.headers
        return ObjectStat(
            size=int(headers["Content-Length"]),
            content_type=headers.get("Content-Type", "")[:MAX_TYPE_LENGTH],
            etag=headers.get("ETag", ""),
            modified_at=_http_date(headers["Last-Modified"]),
        )

    def exists(self, name: Name) -> bool:
        """Say whether there is an object of this key."""
        try:
            self.stat(name)
        except FileNotFoundError:
            return False
        return True

    def size(self, name: Name) -> int:
        """Return the object's size in bytes."""
        return self.stat(name).size

    def get_modified_time(self, name: Name) -> datetime:
        """Return when the object was written, aware with USE_TZ."""
        modified_at = self.stat(name).modified_at
        return modified_at if setting("USE_TZ") else make_naive(modified_at)

    def url(  # type: ignore[override] # as in django-storages
        self,
        name: Name,
        parameters: Mapping[str, str] | None = None,
        expire: int | None = None,
        http_method: str | None = None,
    ) -> str:
        """Return a presigned URL, valid for `expire` seconds (an hour unless told).

        With `custom_domain`, or without `querystring_auth`, it is unsigned, and stays the same.
        """
        if self.custom_domain or not self.querystring_auth:
            return self._plain_url(str(name), parameters or {})
        return self.presign(
            http_method or "GET",
            str(name),
            expires=expire or self.querystring_expire,
            params=parameters,
        )

    def _plain_url(self, key: str, parameters: Mapping[str, str]) -> str:
        if self.custom_domain:
            url = f"{self.url_protocol}//{self.custom_domain}/{quote(key, safe='/~')}"
        else:
            url = self.presign("GET", key).partition("?")[0]
        return f"{url}?{urlencode(parameters)}" if parameters else url

    def listdir(self, name: Name) -> tuple[list[str], list[str]]:
        """Return the names of folders and of objects below the prefix `name`, without it."""
        name = str(name)
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

    def get_available_name(self, name: Name, max_length: int | None = None) -> str:
        """Return the key itself where it is free and fits, and otherwise one with Django's suffix.

        Counts characters for `max_length` and bytes for S3's limit. Raises SuspiciousFileOperation
        where no name fits.
        """
        if not name:
            raise SuspiciousFileOperation("Could not derive file name from ''")
        key = str(name)
        while not fits(key, max_length) or self.exists(key):
            key = alternative_name(str(name), self.get_alternative_name, max_length)
        return key

    def _save(self, name: Name, content: "File[Any]") -> str:
        """Write the object of exactly this name, as ManifestFilesMixin asks for."""
        self.create(str(name), content)
        return str(name)

    def save(self, name: Name | None, content: IO[Any], max_length: int | None = None) -> str:
        """Write the content to a new object; return its key.

        An object that is there is never overwritten, whoever wrote it and when: as with Django's
        other storages, a taken key gets a suffix. When this raises, there is no new object and no
        open upload. Raises FileExistsError where somebody was faster and the content cannot be read
        again, or too often; SuspiciousFileOperation where no name has `max_length` characters.
        """
        if name is None:
            name = content.name or ""
        source = content if isinstance(content, File) else File(content, str(name))
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
        self._write(key, content, NEW)

    def replace(self, key: str, content: "File[Any]", etag: str) -> None:
        """Write the content over the object `key`, as long as that has this ETag.

        Raises ObjectChangedError when it has another one, FileNotFoundError when it is gone.
        """
        self._write(key, content, {"IfMatch": etag})

    def _write(self, key: str, content: "File[Any]", condition: dict[str, str]) -> None:
        if content.seekable():
            content.seek(0)
        size = part_size(_length(content), PART_SIZE)
        parameters = self._get_write_parameters(key, content)
        first = _read_part(content, size)
        with self._marking(key, parameters, condition):
            if len(first) < size:
                self._put(key, first, **parameters, **condition)
                return
            with self._begin(key, **parameters) as upload:
                parts: list[Any] = []
                data = first
                while data:
                    parts.append(upload.put(len(parts) + 1, data))
                    data = _read_part(content, size)
                upload.complete(parts, **condition)

    def copy(self, source: str, target: str) -> ObjectStat:
        """Copy an object on S3's side to a new key; return what S3 tells of the copy.

        Type, metadata and tags go with it. Raises FileExistsError where the target is there,
        ObjectChangedError when the source is replaced meanwhile. It goes in parts at any size: the
        completion of an upload is a conditional write on all S3 servers, CopyObject not yet.
        """
        if self.exists(target):
            raise FileExistsError(errno.EEXIST, "There is an object of this key", target)
        with self._boundary(source):
            head = self.client.head_object(Bucket=self.bucket_name, Key=source)
            parameters = {name: head[name] for name in COPIED if name in head}  # type: ignore[literal-required]
            if head.get("TagCount"):
                parameters["Tagging"] = self._tags(source)
        size, etag = head["ContentLength"], head["ETag"]
        step = part_size(size, COPY_PART_SIZE)
        extents = [(first, min(first + step, size) - 1) for first in range(0, size, step)]
        with self._marking(target, parameters, NEW):
            if not extents:  # an upload has one part at least, and a copied part one byte
                self._put(target, b"", **parameters, **NEW)
                return self.stat(target)
            with (
                self._begin(target, **parameters) as upload,
                ThreadPoolExecutor(min(len(extents), COPIES)) as pool,
            ):
                # Unlike `submit`, `map` drops the parts not begun when one fails.
                copies = pool.map(upload.copy, count(1), repeat(source), repeat(etag), extents)
                upload.complete(list(copies), **NEW)
        return self.stat(target)

    @contextmanager
    def _marking(
        self, key: str, parameters: dict[str, Any], condition: Mapping[str, str]
    ) -> Iterator[None]:
        """Mark the object that is written inside, and know it again when the answer was lost."""
        mark = uuid.uuid4().hex
        parameters["Metadata"] = {**parameters.get("Metadata", {}), WRITE_MARK: mark}
        try:
            with self._boundary(key, condition):
                yield
        except (FileExistsError, S3Error):
            # The answer may have been lost on its way, and the write repeated: then it is ours.
            if not self.is_marked(key, mark):
                raise

    def is_marked(self, key: str, mark: str) -> bool:
        """Say whether the object carries the mark of this very write."""
        try:
            response = self.request("HEAD", key)
        except OSError:
            return False
        response.close()
        return response.headers.get(f"x-amz-meta-{WRITE_MARK}") == mark

    def _tags(self, key: str) -> str:
        tags = self.client.get_object_tagging(Bucket=self.bucket_name, Key=key)["TagSet"]
        return urlencode([(tag["Key"], tag["Value"]) for tag in tags])

    def _get_write_parameters(self, name: str, content: Any = None) -> dict[str, Any]:
        return self._parameters(name, getattr(content, "content_type", None))

    def _parameters(self, name: str, content_type: str | None) -> dict[str, Any]:
        """Add the type. Never ``Content-Encoding``: it would make clients unpack a `.tar.gz`."""
        parameters: dict[str, Any] = self.get_object_parameters(name)
        if "ContentType" not in parameters:
            guessed, encoding = guess_type(name)
            packed = {"gzip": "application/gzip", "bzip2": "application/x-bzip2"}
            if encoding:
                guessed = packed.get(encoding, self.default_content_type)
            parameters["ContentType"] = content_type or guessed or self.default_content_type
        return parameters

    def _put(self, key: str, data: bytes, **parameters: Any) -> None:
        self.client.put_object(Bucket=self.bucket_name, Key=key, Body=data, **parameters)

    def _begin(self, key: str, **parameters: Any) -> MultipartUpload:
        return MultipartUpload.begin(self.client, self.bucket_name, key, **parameters)

    # Uploads that somebody else sends, in parts, by presigned URLs

    def begin_upload(self, key: str, content_type: str, mark: str) -> str:
        """Begin an upload of which each part comes with its SHA-256; return S3's id of it.

        `mark` is what the object is known by when the answer to its completion was lost.
        """
        parameters = self._parameters(key, content_type) | {"ChecksumAlgorithm": "SHA256"}
        parameters["Metadata"] = {**parameters.get("Metadata", {}), WRITE_MARK: mark}
        with self._boundary(key):
            return self._begin(key, **parameters).id

    def sign_part(self, key: str, upload_id: str, number: int, digest: str) -> tuple[str, str]:
        """Return URL and checksum header for PUT of a part whose SHA-256 is `digest`, in Base64."""
        params = {"partNumber": str(number), "uploadId": upload_id}
        url = self.presign("PUT", key, expires=3600, params=params, headers={CHECKSUM: digest})
        return url, CHECKSUM

    def finish_upload(
        self,
        key: str,
        upload_id: str,
        *,
        digests: Sequence[str],
        size: int,
        mark: str,
        etag: str | None = None,
    ) -> None:
        """Make the object of the parts, when they are `size` bytes with these SHA-256, in Base64.

        It is a new one, or replaces the one of that ETag. Raises FileExistsError,
        ObjectChangedError, and S3Error where S3 has other parts than these; then no object is made.
        """
        condition = NEW if etag is None else {"IfMatch": etag}
        upload = MultipartUpload(self.client, self.bucket_name, key, upload_id)
        try:
            with self._boundary(key, condition):
                parts, received = upload.parts()
                if received != size or len(parts) != len(digests):
                    raise S3Error(errno.EIO, f"S3 has {received} bytes of {size}", key)
                for part, digest in zip(parts, digests, strict=True):
                    part["ChecksumSHA256"] = digest
                upload.complete(parts, **condition)
        except (FileExistsError, S3Error):
            if not self.is_marked(key, mark):
                raise
        with self._boundary(key):
            self._check(key, size, digests, is_new=etag is None)

    def _check(self, key: str, size: int, digests: Sequence[str], *, is_new: bool) -> None:
        """Compare the object with the checksum of its parts' checksums; delete a new one if wrong.

        S3 has compared each part as it came, so that this should find nothing.
        """
        head = self.client.head_object(Bucket=self.bucket_name, Key=key, ChecksumMode="ENABLED")
        expected = hashlib.sha256(b"".join(map(base64.b64decode, digests))).digest()
        told = head.get("ChecksumSHA256", "").partition("-")[0]
        if head["ContentLength"] != size or told != base64.b64encode(expected).decode():
            if is_new:
                self.delete(key)
            raise S3Error(errno.EIO, "The object is not what was sent", key)

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Throw the parts away."""
        MultipartUpload(self.client, self.bucket_name, key, upload_id).abort()

    def delete(self, name: Name) -> None:
        """Delete the object; it is no error when there is none."""
        if not name:
            raise ValueError("The name must be given to delete().")
        name = str(name)
        with self._boundary(name):
            self.client.delete_object(Bucket=self.bucket_name, Key=name)

    def stale_uploads(self, prefix: str, before: datetime) -> Iterator[tuple[str, str]]:
        """Yield key and S3's id of each upload that was begun before, and has not ended."""
        pages = self.client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self.bucket_name, Prefix=prefix
        )
        with self._boundary(prefix):
            for page in pages:
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < before:
                        yield upload["Key"], upload["UploadId"]

    def cors_rules(self) -> list[Any]:
        """Return the bucket's CORS rules, as S3 has them."""
        try:
            with self._boundary(self.bucket_name):
                return self.client.get_bucket_cors(Bucket=self.bucket_name)["CORSRules"]
        except FileNotFoundError:
            return []

    # S3's errors

    @contextmanager
    def _boundary(self, key: str, condition: Mapping[str, str] = NEW) -> Iterator[None]:
        """Raise Python's own errors for boto3's."""
        try:
            yield
        except ClientError as error:
            self._refuse(key, condition, error)
        except (NoConnectionError, HTTPClientError) as error:
            endpoint = self.client.meta.endpoint_url
            text = f"S3 is out of reach at {endpoint} ({type(error).__name__})"
            raise S3UnavailableError(errno.EHOSTUNREACH, text) from error
        except BotoCoreError as error:
            raise S3Error(errno.EIO, str(error), key) from error

    def _refuse(self, key: str, condition: Mapping[str, str], error: ClientError) -> NoReturn:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        code, operation = error.response["Error"]["Code"], error.operation_name
        if status in {409, 412} and code in {"PreconditionFailed", "ConditionalRequestConflict"}:
            if condition is NEW and operation != "UploadPartCopy":
                text = "There is an object of this key"
                raise FileExistsError(errno.EEXIST, text, key) from error
            raise ObjectChangedError(
                errno.ESTALE, "The object has changed meanwhile", key
            ) from error
        if status == 404 and code in {"NoSuchKey", "NoSuchCORSConfiguration", "404"}:
            text = f"There is no such object in the bucket {self.bucket_name}"
            raise FileNotFoundError(errno.ENOENT, text, key) from error
        if code == "InvalidObjectState":
            raise S3Error(errno.EIO, reading.ARCHIVED, key) from error
        if status == 403:
            text = f"S3 refuses {operation} ({code}): allow it to the role of this process"
            raise PermissionError(errno.EACCES, text, key) from error
        if status in reading.TRANSIENT:
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
