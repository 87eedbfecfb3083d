"""Reading objects by signed requests: what is done thousands of times a second.

botocore's models, parsers and handlers are most of the work of a small request, and it never
continues a body that breaks. So reads are requests of our own: by urllib3, on which botocore is
built too, with botocore's credentials and presigned URLs. All else that is asked of S3 goes through
boto3's client.
"""

import errno
import io
import itertools
import random
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import IO, TYPE_CHECKING, Any, NoReturn, cast
from urllib.parse import parse_qs, quote, urlsplit
from xml.etree import ElementTree

import urllib3
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import File

from files.keys import MAX_KEY_LENGTH
from files.storage.errors import (
    TRANSIENT,
    Refusal,
    S3Error,
    S3UnavailableError,
    changed,
    failed,
    refused,
    unreachable,
)
from files.storage.opening import parse_mode
from files.storage.stat import read_stat
from project import aws

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from botocore.session import Session
    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT = 3  # seconds
READ_TIMEOUT = 15  # seconds without a byte
# An attempt that starts within the first 10 s ends within 3 + 15 more: under 30 s for a request.
LAST_ATTEMPT = 10
ATTEMPTS = 3
# A body may break this often before 8 MiB more have come.
BREAKS = 5
PROGRESS = 8 * 2**20

FIRST_WINDOW = BUFFER = 256 * 2**10  # bytes
LAST_WINDOW = 64 * 2**20
CHUNK = 2**20

POOL = 64  # connections that are kept, at least as many as a server has threads
CONFIG = Config(
    signature_version="s3v4",
    connect_timeout=CONNECT_TIMEOUT,
    read_timeout=READ_TIMEOUT,
    retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    max_pool_connections=POOL,
)

REPLACED = "The object changed while it was being read"
NO_BUCKET = (
    "The name of the bucket is missing: set APP_BUCKET_NAME in the environment, or bucket_name in"
    " STORAGES."
)

CHECKSUM = "x-amz-checksum-sha256"  # the header that a part comes with

NETWORK_ERRORS = (urllib3.exceptions.HTTPError, OSError)


class Response:
    """S3's answer to a request: `status`, `headers`, and `raw`, the body as it comes."""

    def __init__(self, raw: urllib3.BaseHTTPResponse) -> None:
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers
        self.raw = raw

    def close(self) -> None:
        """Give the connection back, or close it when there is more of the body."""
        if self.raw.length_remaining == 0:  # as after HEAD and with 304
            self.raw.drain_conn()
        self.raw.close()
        self.raw.release_conn()


_lock = threading.RLock()


def client(endpoint: str | None = None, region: str | None = None) -> "S3Client":
    """Return the process's boto3 client for this place. Raises ImproperlyConfigured."""
    with _lock:
        return _client(endpoint or None, region or None)


@cache
def _client(endpoint: str | None, region: str | None) -> "S3Client":
    with _configuration_errors():
        found = aws.session().create_client(
            "s3", endpoint_url=endpoint, region_name=region, config=CONFIG
        )
        return cast("S3Client", found)


def bucket(
    name: str, endpoint: str | None = None, region: str | None = None, location: str = ""
) -> "Bucket":
    """Return the bucket to read from. Raises ImproperlyConfigured."""
    if not name:
        raise ImproperlyConfigured(NO_BUCKET)
    with _lock:
        return _bucket(name, endpoint or None, region or None, location)


@cache
def _bucket(name: str, endpoint: str | None, region: str | None, location: str) -> "Bucket":
    with _configuration_errors():
        return Bucket(aws.session(), _client(endpoint, region), name, location)


@contextmanager
def _configuration_errors() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ValueError) as error:
        raise ImproperlyConfigured(f"S3 cannot be used: {error}") from error


def _pool(session: "Session", origin: str) -> urllib3.HTTPConnectionPool:
    """Return connections to S3, by the proxies and the certificates that boto3 would use."""
    options: dict[str, Any] = {
        "maxsize": POOL,
        "timeout": urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT),
        "ca_certs": get_cert_path(session.get_config_variable("ca_bundle") or True),
        "cert_reqs": "CERT_REQUIRED",
    }
    scheme = origin.partition("://")[0]
    proxy = get_environ_proxies(origin).get(scheme)
    manager = urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
    return manager.connection_from_url(origin)


class Bucket:
    """One bucket, to read from. Safe to use from many threads."""

    def __init__(
        self, session: "Session", client: "S3Client", name: str, location: str = ""
    ) -> None:
        """`client` tells where the bucket is: botocore knows a dozen rules for that.

        `location` stands in front of every key.
        """
        self.name = name
        self._location = location
        example = urlsplit(
            client.generate_presigned_url("get_object", Params={"Bucket": name, "Key": "x"})
        )
        # botocore presigns for the global host, which knows no region launched after March 2019.
        regional = urlsplit(client.meta.endpoint_url).netloc
        host = example.netloc.replace("s3.amazonaws.com", regional)
        self._origin = f"{example.scheme}://{host}"
        self._path = example.path.removesuffix("x")
        credential = parse_qs(example.query)["X-Amz-Credential"][0]
        self._region = credential.split("/")[-3]
        self._credentials = cast("Credentials", session.get_credentials())
        self._http = _pool(session, self._origin)

    def full_key(self, key: str) -> str:
        """Return the key with the location. Raises S3Error where it is longer than S3's limit."""
        full = self._location + key
        if len(full.encode()) > MAX_KEY_LENGTH:
            text = f"S3 keeps no key of more than {MAX_KEY_LENGTH} bytes, the location among them"
            raise S3Error(errno.ENAMETOOLONG, text, key)
        return full

    def address(self, key: str) -> str:
        """Return the URL of the object, unsigned."""
        return f"{self._origin}{self._path}{quote(self.full_key(key), safe='/')}"

    def open(self, key: str, mode: str = "rb") -> "ObjectFile":
        """Return the object as a file. Makes no request: a missing one shows at the first read."""
        return ObjectFile(self, key, mode)

    def presign(
        self,
        method: str,
        key: str,
        *,
        expires: int = 60,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Return a URL that allows `method` on the object for `expires` seconds.

        `params` are query parameters such as ``response-content-type``; `headers`, with names in
        small letters, must come with the request as they are.
        """
        credentials = self._credentials.get_frozen_credentials()
        request = AWSRequest(method, self.address(key), headers, params=dict(params or {}))
        S3SigV4QueryAuth(credentials, "s3", self._region, expires).add_auth(request)
        return cast("str", request.url)

    def request(self, method: str, key: str, headers: Mapping[str, str] | None = None) -> Response:
        """Send one request and return its answer: 200, 206, 304, 412 or 416.

        Failures that may pass are tried again, for less than 30 s in all. Raises FileNotFoundError,
        PermissionError, S3UnavailableError, S3Error.
        """
        end = time.monotonic() + LAST_ATTEMPT
        for attempt in itertools.count(1):
            try:
                response = self._send(method, key, headers or {})
            except S3Error:  # is an OSError too
                raise
            except NETWORK_ERRORS as error:
                if attempt == ATTEMPTS or time.monotonic() > end:
                    raise unreachable(self._origin, key, error) from None
            except BotoCoreError as error:
                raise failed(self._origin, key, error) from None
            else:
                if response.status in {200, 206, 304, 412, 416}:
                    return response
                last = attempt == ATTEMPTS or time.monotonic() > end
                if response.status not in TRANSIENT or last:
                    self._refuse(method, key, response)
                response.close()
            _back_off(attempt)
        raise AssertionError("the last attempt returns or raises")

    def _send(self, method: str, key: str, headers: Mapping[str, str]) -> Response:
        url = self.presign(method, key)
        if not self._http.proxy or self._http.scheme == "https":
            url = url.removeprefix(self._origin)
        return Response(
            self._http.urlopen(
                method,
                url,
                headers=headers,
                retries=False,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
            )
        )

    def _refuse(self, method: str, key: str, response: Response) -> NoReturn:
        """Raise what Python has for S3's refusal."""
        if method == "HEAD" and response.status in {400, 403}:
            response = self._explained(key, response)
        code, message = _error_code(response)
        region = response.headers.get("x-amz-bucket-region", "")
        about = (response.status, code, message, self._origin, region)
        raise refused(Refusal(method, self.name, key, *about))

    def _explained(self, key: str, response: Response) -> Response:
        """Return the answer to a GET where that is as the one to HEAD, which has no body."""
        response.close()
        try:
            found = self._send("GET", key, {"Range": "bytes=0-0"})
        except (*NETWORK_ERRORS, BotoCoreError):
            return response
        if found.status == response.status:
            return found
        found.close()
        return response


def _back_off(attempt: int) -> None:
    """Sleep 0.1 s, 0.2 s, 0.4 s ... and at most 2 s, less up to half of it at random."""
    time.sleep(min(2, 0.1 * 2 ** (attempt - 1)) * random.uniform(0.5, 1))  # noqa: S311


def _error_code(response: Response) -> tuple[str, str]:
    """Return code and message of S3's error document, empty where there is none."""
    try:
        root = ElementTree.fromstring(response.raw.read(64 * 2**10))  # noqa: S314 - from S3
    except (*NETWORK_ERRORS, ElementTree.ParseError):
        return "", ""
    finally:
        response.close()
    return root.findtext("Code") or "", root.findtext("Message") or ""


class Body:
    """The bytes `position` to `stop` of an object, from the answer to a GET.

    A body that breaks is continued from the byte it broke at, as long as the object is the same.
    """

    def __init__(self, bucket: Bucket, key: str, response: Response) -> None:
        self._bucket = bucket
        self._key = key
        self._response = response
        self._etag = response.headers.get("ETag", "")
        self.position, self.stop, self.size = _extent(response)
        self._breaks = 0
        self._regained = 0

    def read(self, size: int) -> bytes:
        """Return at least one and at most `size` bytes, or none at the end.

        Raises S3UnavailableError when the body breaks too often, ObjectChangedError.
        """
        while self.position < self.stop:
            try:
                data = self._response.raw.read(min(size, self.stop - self.position))
            except NETWORK_ERRORS:
                data = b""
            if data:
                self.position += len(data)
                self._regained += len(data)
                return data
            self._continue()
        self.close()
        return b""

    def __iter__(self) -> Iterator[bytes]:
        try:
            while data := self.read(CHUNK):
                yield data
        finally:
            self.close()

    def close(self) -> None:
        """End the transfer."""
        self._response.close()

    def _continue(self) -> None:
        self.close()
        if self._regained > PROGRESS:
            self._breaks = 0
        self._regained = 0
        self._breaks += 1
        if self._breaks > BREAKS or not self._etag:
            text = f"The transfer broke {self._breaks} times near byte {self.position}"
            raise S3UnavailableError(errno.EIO, text, self._key)
        _back_off(self._breaks)
        wanted = {"Range": f"bytes={self.position}-{self.stop - 1}", "If-Match": self._etag}
        try:
            response = self._bucket.request("GET", self._key, wanted)
        except FileNotFoundError:
            raise changed(self._key, REPLACED) from None
        if response.status != 206 or _extent(response) != (self.position, self.stop, self.size):
            response.close()
            raise changed(self._key, REPLACED)
        self._response = response


def _extent(response: Response) -> tuple[int, int, int]:
    """Return first byte, byte after the last, and size of the object (RFC 9110 section 14.4)."""
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
        if not found:
            raise S3Error(errno.EIO, "S3 sent a part of an object without saying which")
        first, last, size = map(int, found.groups())
        return first, last + 1, size
    size = int(response.headers.get("Content-Length", 0))
    return 0, size, size


class ObjectReader(io.RawIOBase):
    """An object as a raw file: seekable, and fetched by ranges as it is read.

    The ranges grow from 256 KiB to 64 MiB while it is read on, so that a look costs little and a
    large object few requests. All of them are of one version of the object.
    """

    def __init__(self, bucket: Bucket, key: str) -> None:
        super().__init__()
        self._bucket = bucket
        self._key = key
        self._position = 0
        self._body: Body | None = None
        self._window = FIRST_WINDOW
        self._etag: str | None = None
        self._size: int | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def size(self) -> int:
        """Return the object's size in bytes, by a HEAD request where nothing has been read yet."""
        if self._size is None:
            response = self._bucket.request("HEAD", self._key)
            response.close()
            stat = read_stat(self._key, response.headers)
            self._etag, self._size = stat.etag, stat.size
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(whence)
        if start is None:
            start = self.size()
        if start + offset < 0:
            raise ValueError(f"negative seek position {start + offset}")
        if start + offset != self._position:
            self._position = start + offset
            self._window = FIRST_WINDOW
            self._end_body()
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self.closed:
            raise ValueError("I/O operation on closed file")
        while True:
            if self._size is not None and self._position >= self._size:
                self._end_body()
                return 0
            if self._body is None and not self._open_window():
                return 0
            assert self._body is not None  # noqa: S101 - for the type checker
            data = self._body.read(len(buffer))
            if data:
                buffer[: len(data)] = data
                self._position += len(data)
                return len(data)
            self._body = None

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(CHUNK) or b"", b""))

    def close(self) -> None:
        if not self.closed:
            self._end_body()
        super().close()

    def _end_body(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def _open_window(self) -> bool:
        """Ask for the next range; return False where the object has ended."""
        last = self._position + self._window - 1
        headers = {"Range": f"bytes={self._position}-{last}"}
        if self._etag:
            headers["If-Match"] = self._etag
        response = self._bucket.request("GET", self._key, headers)
        if response.status == 412:
            response.close()
            raise changed(self._key, REPLACED)
        if response.status == 416:  # an empty object has no range; RFC 9110 section 15.5.17
            response.close()
            self.size()
            return False
        self._body = Body(self._bucket, self._key, response)
        if self._body.position != self._position:
            self._end_body()
            raise S3Error(errno.EIO, "S3 sent other bytes than it was asked for", self._key)
        self._etag = response.headers.get("ETag")
        self._size = self._body.size
        self._window = min(2 * self._window, LAST_WINDOW)
        return True


class ObjectFile(File):
    """An object opened for reading: a seekable file that keeps one buffer in memory.

    In the modes "r" and "rt" it is text in UTF-8, with ``\\n`` at the end of each line. Opening
    makes no request. A read raises FileNotFoundError, PermissionError, S3UnavailableError,
    ObjectChangedError, and of text UnicodeDecodeError.
    """

    def __init__(self, bucket: Bucket, key: str, mode: str = "rb") -> None:
        self._bucket = bucket
        super().__init__(self._start(key, mode), key)
        self.mode = mode

    def _start(self, key: str, mode: str) -> IO[Any]:
        writes, is_text = parse_mode(mode)
        if writes:
            raise ValueError(f"mode {mode!r}: the file is opened to read")
        self._reader = ObjectReader(self._bucket, key)
        self._buffer = io.BufferedReader(self._reader, BUFFER)
        return io.TextIOWrapper(self._buffer, "utf-8") if is_text else self._buffer

    @property
    def size(self) -> int:
        """The object's size in bytes."""
        return self._reader.size()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.file or ())

    def chunks(self, chunk_size: int | None = None) -> Iterator[Any]:
        """Yield the whole object in pieces of `chunk_size` bytes (of text: characters), or 1 Mi."""
        self.seek(0)
        while data := self.read(chunk_size or CHUNK):
            yield data

    def peek(self, size: int = 0) -> bytes:
        """Return bytes of the buffer without moving on: see io.BufferedReader."""
        return self._buffer.peek(size)

    def read1(self, size: int = -1) -> bytes:
        """Return what one request has: see io.BufferedReader."""
        return self._buffer.read1(size)

    def open(self, mode: str | None = None, *args: Any, **kwargs: Any) -> "ObjectFile":
        """Go back to the start, and open again what is closed, or has another mode."""
        wanted = mode or self.mode
        if self.closed or wanted != self.mode:
            buffer, self.file = self._buffer, self._start(str(self.name), wanted)
            buffer.close()
            self.mode = wanted
        self.seek(0)
        return self
