"""The storage: exact keys, reads by ranges, writes that never overwrite. Knows no model."""

import base64
import errno
import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import count, repeat
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, overload
from urllib.parse import quote, unquote_plus, urlencode, urlsplit

from botocore.exceptions import BotoCoreError, ClientError
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import File
from django.utils.timezone import make_naive
from storages.backends.s3 import S3Storage
from storages.utils import setting

from files.keys import MAX_KEY_LENGTH, guess_type
from files.storage import reading
from files.storage.errors import Refusal, S3Error, changed, failed, refused
from files.storage.multipart import MultipartUpload, part_size
from files.storage.naming import alternative_name, fits
from files.storage.opening import NewObjectFile, parse_mode, taken
from files.storage.options import FIXED, check_options
from files.storage.reading import CHECKSUM, Body, Bucket, ObjectFile, Response
from files.storage.stat import (
    MAX_TYPE_LENGTH,
    METADATA,
    ObjectStat,
    read_parameters,
    read_stat,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Name = str | os.PathLike[str]  # an object's key; pathlib takes double slashes and dots out

MIB = 2**20
PART_SIZE = 8 * MIB  # what is larger goes up in parts
COPY_PART_SIZE = 64 * MIB  # which S3 copies within the time that it may be silent
COPIES = 16  # parts that are copied at a time
SAVES = 8  # how often a save may find that somebody was faster
WRITE_MARK = "write"  # the object's metadata by which a write knows its own object
HEADER = re.compile(r"[ -~]*")  # printable ASCII: RFC 9110 section 5.5 without what is obsolete
NEW: dict[str, Any] = {"IfNoneMatch": "*"}  # the condition of a write that makes a new object


# What is told the id of an upload in parts, once it has begun.
OnUpload = Callable[[str], object]
Uploads = list[tuple[str, datetime]]


class Write(NamedTuple):
    """A write of one object: S3's condition of it, and the mark that the object gets."""

    condition: dict[str, Any]
    mark: str
    on_upload: OnUpload | None = None


class ObjectStorage(S3Storage):
    """django-storages' S3 storage, for keys as they are.

    A name is the object's key, byte for byte; nothing is cleaned, joined or stripped. S3's errors
    are raised as FileNotFoundError, PermissionError, S3UnavailableError (out of reach: try later),
    and S3Error for the rest, all of them OSError.
    """

    bucket_name: str
    endpoint_url: str | None
    region_name: str | None
    location: str
    default_acl: str | None
    custom_domain: str | None
    url_protocol: str
    querystring_auth: bool
    querystring_expire: int

    def __init__(self, **options: Any) -> None:
        """Take django-storages' options. Raises ImproperlyConfigured for one that cannot hold."""
        check_options(type(self), options)
        location = options.pop("location", None)
        super().__init__(**options)
        if location is not None:  # django-storages takes none that begins with a slash
            self.location = location

    def get_default_settings(self) -> dict[str, Any]:
        """Return the options that hold where none is given: django-storages', but for FIXED."""
        defaults: dict[str, Any] = super().get_default_settings()
        return defaults | {name: held for name, (held, *_) in FIXED.items() if name in defaults}

    @property
    def client(self) -> "S3Client":
        """The process's boto3 client: it may be shared by threads, a resource may not."""
        return reading.client(self.endpoint_url, self.region_name)

    @property
    def objects(self) -> Bucket:
        """The bucket, to read objects from."""
        about = (self.bucket_name, self.endpoint_url, self.region_name, self.location)
        return reading.bucket(*about)

    def _at(self, key: str) -> Any:
        """Return the parameters by which boto3 finds the object."""
        return {"Bucket": self.objects.name, "Key": self.objects.full_key(key)}

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
        return read_stat(str(name), self._head(str(name)))

    def find(self, key: str) -> tuple[ObjectStat, str] | None:
        """Return what S3 tells of the object and the mark of its write, by one HEAD request.

        The mark is empty where the object has none; None stands for no object.
        """
        try:
            headers = self._head(key)
        except FileNotFoundError:
            return None
        return read_stat(key, headers), headers.get(f"{METADATA}{WRITE_MARK}", "")

    def _head(self, key: str) -> Mapping[str, str]:
        response = self.request("HEAD", key)
        response.close()
        return response.headers

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
        """Return a URL that is valid for `expire` seconds (an hour unless told).

        It is one of `custom_domain` where that is set, and signed unless `querystring_auth` is off.
        `parameters` are S3's, by their names in the query or boto3's.
        """
        params = {_query_name(name): value for name, value in (parameters or {}).items()}
        expires = self.querystring_expire if expire is None else expire
        if not self.custom_domain and self.querystring_auth:
            return self.presign(http_method or "GET", str(name), expires=expires, params=params)
        name = str(name)
        url = self.objects.address(name)
        if self.custom_domain:
            path = quote(self.objects.full_key(name), safe="/")
            url = f"{self.url_protocol}//{self.custom_domain}/{path}"
        url += f"?{urlencode(params)}" if params else ""
        if self.querystring_auth and self.cloudfront_signer:
            end = datetime.now(UTC) + timedelta(seconds=expires)
            url = self.cloudfront_signer.generate_presigned_url(url, date_less_than=end)
        return url

    def listdir(self, name: Name) -> tuple[list[str], list[str]]:
        """Return the names of folders and of objects below the prefix `name`, without it."""
        name = str(name)
        prefix = f"{name}/" if name and not name.endswith("/") else name
        folders: Any = []
        files: Any = []
        for page in self._pages(prefix, Delimiter="/"):
            full = self.location + prefix
            folders += [
                entry["Prefix"].removeprefix(full).removesuffix("/")
                for entry in page.get("CommonPrefixes", ())
            ]
            files += [
                entry["Key"].removeprefix(full)
                for entry in page.get("Contents", ())
                if entry["Key"] != full
            ]
        return folders, files

    def list(self, prefix: str = "") -> Iterator[tuple[str, ObjectStat]]:
        """Yield key and stat of each object, in the order of the keys; a listing tells no type."""
        for page in self._pages(prefix):
            for entry in page.get("Contents", ()):
                stat = ObjectStat(entry["Size"], "", entry["ETag"], entry["LastModified"])
                yield entry["Key"].removeprefix(self.location), stat

    def _pages(self, prefix: str, **parameters: Any) -> Iterator[Any]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.objects.name, Prefix=self.location + prefix, **parameters
        )
        with self._boundary(prefix):
            yield from pages

    # Writing

    def get_available_name(self, name: Name, max_length: int | None = None) -> str:
        """Return the key itself where it is free and fits, and otherwise one with Django's suffix.

        Counts characters for `max_length` and bytes for S3's limit. Raises SuspiciousFileOperation
        where no name fits.
        """
        if not name:
            raise SuspiciousFileOperation("Could not derive file name from ''")
        key = str(name)
        limit = MAX_KEY_LENGTH - len(self.location.encode())
        while not fits(key, max_length, limit) or self.exists(key):
            key = alternative_name(str(name), self.get_alternative_name, max_length, limit)
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
                self._write(key, source, Write(NEW, uuid.uuid4().hex))
            except FileExistsError:  # somebody was faster, or is writing just now
                if attempt + 1 == SAVES or not source.seekable():
                    raise
            else:
                return key
        raise AssertionError("the last attempt returns or raises")

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
        self._write(key, content, write)
        return self._written(key, write)

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
        write = Write({"IfMatch": etag}, mark or uuid.uuid4().hex, on_upload)
        self._write(key, content, write)
        return self._written(key, write)

    def _write(self, key: str, content: "File[Any]", write: Write) -> None:
        if content.seekable():
            content.seek(0)
        size = part_size(_length(content), PART_SIZE)
        parameters = self._get_write_parameters(key, content)
        first = _read_part(content, size)
        with self._marking(key, parameters, write):
            if len(first) < size:
                self._put(key, first, **parameters, **write.condition)
                return
            with self._uploading(key, write, **parameters) as upload:
                parts: list[Any] = []
                data = first
                while data:
                    parts.append(upload.put(len(parts) + 1, data))
                    data = _read_part(content, size)
                upload.complete(parts, **write.condition)

    def _written(self, key: str, write: Write) -> ObjectStat:
        """Return what S3 tells of the object just written, which nobody else has touched since."""
        found = self.find(key)
        if found is None or found[1] != write.mark:
            raise changed(key)
        return found[0]

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
        the target is there, FileNotFoundError where the source is not, ObjectChangedError when it
        has another ETag than `etag` or is replaced meanwhile. `mark` and `on_upload` are those of
        `create`. Large objects are copied by S3 itself, in parts and in parallel.
        """
        write = Write(NEW, mark or uuid.uuid4().hex, on_upload)
        original = self.request(
            "HEAD" if self._is_aws else "GET", source, {"If-Match": etag} if etag else {}
        )
        with closing(original):
            if original.status == 412:
                raise changed(source)
            stat = read_stat(source, original.headers)
            parameters = read_parameters(original.headers) | self._acl
            whole = self._is_aws or stat.size > PART_SIZE
            data = b"" if whole else b"".join(self.body(source, original))
        if self._is_aws and stat.size < COPY_PART_SIZE:
            return self._copy_whole(source, target, stat, parameters, write)
        with self._boundary(source):
            if not self._is_aws or original.headers.get("x-amz-tagging-count"):
                parameters |= self._tags(source)
        with self._marking(target, parameters, write):
            if whole:
                self._copy_parts(source, target, stat, parameters, write)
            else:
                self._put(target, data, **parameters, **NEW)
        return self._written(target, write)

    def _copy_whole(
        self, source: str, target: str, stat: ObjectStat, parameters: dict[str, Any], write: Write
    ) -> ObjectStat:
        """Copy by one CopyObject, of which only AWS judges the condition. S3 copies the tags."""
        with self._marking(target, parameters, write):
            copy = self.client.copy_object(
                **self._at(target),
                CopySource=self._at(source),
                CopySourceIfMatch=stat.etag,
                MetadataDirective="REPLACE",
                **parameters,
                **NEW,
            )["CopyObjectResult"]
            return stat._replace(etag=copy["ETag"], modified_at=copy["LastModified"])
        return self._written(target, write)  # the answer was lost

    def _copy_parts(
        self, source: str, target: str, stat: ObjectStat, parameters: dict[str, Any], write: Write
    ) -> None:
        step = part_size(stat.size, COPY_PART_SIZE)
        extents = [(first, min(first + step, stat.size) - 1) for first in range(0, stat.size, step)]
        with (
            self._uploading(target, write, **parameters) as upload,
            ThreadPoolExecutor(min(len(extents), COPIES)) as pool,
        ):
            # Unlike `submit`, `map` drops the parts not begun when one fails.
            copies = pool.map(
                upload.copy, count(1), repeat(self._at(source)), repeat(stat.etag), extents
            )
            upload.complete(list(copies), **NEW)

    @property
    def _is_aws(self) -> bool:
        """Whether S3 is AWS's own, which keeps conditions that other servers ignore."""
        host = urlsplit(self.client.meta.endpoint_url).hostname or ""
        return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))

    @property
    def _acl(self) -> dict[str, Any]:
        """The access that objects are written with, which S3 does not copy."""
        return {"ACL": self.default_acl} if self.default_acl else {}

    @contextmanager
    def _marking(self, key: str, parameters: dict[str, Any], write: Write) -> Iterator[None]:
        """Mark the object that is written inside, and know it again when the answer was lost."""
        parameters["Metadata"] = {**parameters.get("Metadata", {}), WRITE_MARK: write.mark}
        try:
            with self._boundary(key, write.condition):
                yield
        except (FileExistsError, S3Error):
            # The answer may have been lost on its way, and the write repeated: then it is ours.
            if not self.is_marked(key, write.mark):
                raise

    def is_marked(self, key: str, mark: str) -> bool:
        """Say whether the object carries the mark of this very write."""
        try:
            found = self.find(key)
        except OSError:
            return False
        return found is not None and found[1] == mark

    def _tags(self, key: str) -> dict[str, str]:
        answer = self.client.get_object_tagging(**self._at(key))
        tags = answer.get("TagSet", ())  # LocalStack answers for the bucket where the key is "/"
        return {"Tagging": urlencode([(tag["Key"], tag["Value"]) for tag in tags])} if tags else {}

    def _get_write_parameters(self, name: str, content: Any = None) -> dict[str, Any]:
        return self._parameters(name, getattr(content, "content_type", None))

    def _parameters(self, name: str, content_type: str | None) -> dict[str, Any]:
        """Add the type. Never ``Content-Encoding``: it would make clients unpack a `.tar.gz`."""
        parameters: dict[str, Any] = self.get_object_parameters(name)
        if self.default_acl:
            parameters.setdefault("ACL", self.default_acl)
        if "ContentType" not in parameters:
            guessed, encoding = guess_type(name)
            packed = {"gzip": "application/gzip", "bzip2": "application/x-bzip2"}
            if encoding:
                guessed = packed.get(encoding, self.default_content_type)
            parameters["ContentType"] = content_type or guessed or self.default_content_type
        if not HEADER.fullmatch(parameters["ContentType"]):
            text = f"The type {parameters['ContentType']!r} has characters that no header can hold"
            raise ValueError(text)
        return parameters

    def _put(self, key: str, data: bytes, **parameters: Any) -> None:
        self.client.put_object(**self._at(key), Body=data, **parameters)

    @contextmanager
    def _uploading(self, key: str, write: Write, **parameters: Any) -> Iterator[MultipartUpload]:
        upload = MultipartUpload.begin(self.client, **self._at(key), **parameters)
        with upload:
            if write.on_upload is not None:
                write.on_upload(upload.id)
            yield upload

    # Uploads that somebody else sends, in parts, by presigned URLs

    def begin_upload(self, key: str, content_type: str, mark: str) -> str:
        """Begin an upload of which each part comes with its SHA-256; return S3's id of it.

        `mark` is what the object is known by when the answer to its completion was lost.
        """
        parameters = self._parameters(key, content_type) | {"ChecksumAlgorithm": "SHA256"}
        parameters["Metadata"] = {**parameters.get("Metadata", {}), WRITE_MARK: mark}
        with self._boundary(key):
            return MultipartUpload.begin(self.client, **self._at(key), **parameters).id

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
    ) -> ObjectStat:
        """Make the object of the parts, when they are `size` bytes with these SHA-256, in Base64.

        It is a new one, or replaces the one of that ETag; return what S3 tells of it. Raises
        FileExistsError, ObjectChangedError, and S3Error where S3 has other parts than these; then
        no object is made.
        """
        condition = NEW if etag is None else {"IfMatch": etag}
        upload = MultipartUpload(self.client, **self._at(key), upload_id=upload_id)
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
            return self._check(key, size, digests, is_new=etag is None)

    def _check(self, key: str, size: int, digests: Sequence[str], *, is_new: bool) -> ObjectStat:
        """Compare the object with the checksum of its parts' checksums; delete a new one if wrong.

        S3 has compared each part as it came, so that this should find nothing.
        """
        head = self.client.head_object(**self._at(key), ChecksumMode="ENABLED")
        expected = hashlib.sha256(b"".join(map(base64.b64decode, digests))).digest()
        told = head.get("ChecksumSHA256", "").partition("-")[0]
        if head["ContentLength"] != size or told != base64.b64encode(expected).decode():
            if is_new:
                self.delete(key, head["ETag"])
            raise S3Error(errno.EIO, "The object is not what was sent", key)
        content_type = head.get("ContentType", "")[:MAX_TYPE_LENGTH]
        return ObjectStat(size, content_type, head["ETag"], head["LastModified"])

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Throw the parts away; it is no error when there is no such upload."""
        with self._boundary(key):
            MultipartUpload(self.client, **self._at(key), upload_id=upload_id).abort()

    def open_uploads(self, key: str) -> Uploads:
        """Return S3's id of each upload to this key that has not ended, and when it was begun."""
        found = self._uploads(key)
        return [(upload_id, begun) for name, upload_id, begun in found if name == key]

    def delete(self, name: Name, etag: str | None = None) -> None:
        """Delete the object, if it has that ETag; it is no error when there is none.

        Raises ObjectChangedError for an object of another ETag. Servers that are not AWS's may
        ignore the condition, so that there the ETag is compared first.
        """
        if not name:
            raise ValueError("The name must be given to delete().")
        name = str(name)
        condition: dict[str, Any] = {"IfMatch": etag} if etag else {}
        if etag and not self._is_aws:
            found = self.find(name)
            if found is None:
                return
            if found[0].etag != etag:
                raise changed(name)
        with suppress(FileNotFoundError), self._boundary(name, condition):
            self.client.delete_object(**self._at(name), **condition)

    def _uploads(self, prefix: str) -> Iterator[tuple[str, str, datetime]]:
        """Yield key, id and begin of the uploads that are open.

        The keys come encoded, as XML has no control characters; boto3 decodes objects' alone.
        """
        about: Any = {"Bucket": self.objects.name, "Prefix": self.location + prefix}
        while True:
            with self._boundary(prefix):
                page = self.client.list_multipart_uploads(**about, EncodingType="url")
            decode = unquote_plus if page.get("EncodingType") == "url" else str
            for upload in page.get("Uploads", ()):
                key = decode(upload["Key"]).removeprefix(self.location)
                yield key, upload["UploadId"], upload["Initiated"]
            if not page.get("IsTruncated"):
                return
            about["KeyMarker"] = decode(page["NextKeyMarker"])
            about["UploadIdMarker"] = page["NextUploadIdMarker"]

    def cors_rules(self) -> Sequence[Any]:
        """Return the bucket's CORS rules, as S3 has them."""
        try:
            with self._boundary(self.bucket_name):
                return self.client.get_bucket_cors(Bucket=self.objects.name)["CORSRules"]
        except FileNotFoundError:
            return []

    # S3's errors

    @contextmanager
    def _boundary(self, key: str, condition: Mapping[str, str] = NEW) -> Iterator[None]:
        """Raise Python's own errors for boto3's."""
        try:
            yield
        except ClientError as error:
            raise refused(self._refusal(key, condition, error)) from error
        except BotoCoreError as error:  # its text may tell the whole address
            raise failed(self.client.meta.endpoint_url, key, error) from None

    def _refusal(self, key: str, condition: Mapping[str, str], error: ClientError) -> Refusal:
        about, answer = error.response["Error"], error.response["ResponseMetadata"]
        of_source = (  # a copy has a condition of its source too
            error.operation_name == "UploadPartCopy"
            or "copy-source" in str(about.get("Condition")).lower()
        )
        return Refusal(
            operation=error.operation_name,
            bucket=self.bucket_name,
            key=key,
            status=answer["HTTPStatusCode"],
            code=about["Code"],
            endpoint=self.client.meta.endpoint_url,
            region=answer.get("HTTPHeaders", {}).get("x-amz-bucket-region", ""),
            makes_new=condition is NEW and not of_source,
        )


def _query_name(name: str) -> str:
    """Return S3's name in the query for boto3's: ``ResponseContentType``, ``VersionId``."""
    if name.startswith("Response"):
        return re.sub("(?<=.)(?=[A-Z])", "-", name).lower()
    return {"VersionId": "versionId", "PartNumber": "partNumber"}.get(name, name)


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
