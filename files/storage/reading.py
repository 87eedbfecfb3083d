"""Reading objects by signed requests: what is done thousands of times a second.

botocore's models, parsers and handlers are most of the work of a small request, and it never
continues a body that breaks. So reads are requests of our own: by urllib3, on which botocore is
built too, with botocore's credentials and presigned URLs. All else that is asked of S3 goes through
boto3's client in `files.storage`. This module does without that one, and without django-storages,
so that a command that reads one file starts faster.
"""

import errno
import hashlib
import hmac
import io
import itertools
import random
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import IO, TYPE_CHECKING, Any, NoReturn, cast
from urllib.parse import parse_qs, quote, urlsplit
from xml.etree import ElementTree

import urllib3
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import File

from files.storage.errors import ObjectChangedError, S3Error, S3UnavailableError
from files.storage.opening import parse_mode
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

CHECKSUM = "x-amz-checksum-sha256"  # the header that a part comes with

ARCHIVED = "The object is archived: restore it in S3 first"
TRANSIENT = {429, 500, 502, 503, 504}
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


def client() -> "S3Client":
    """Return the process's one boto3 client. Raises ImproperlyConfigured."""
    with _lock:
        return _client()


@cache
def _client() -> "S3Client":
    with _configuration_errors():
        return cast("S3Client", aws.session().create_client("s3", config=CONFIG))


def bucket(name: str) -> "Bucket":
    """Return the bucket to read from. Raises ImproperlyConfigured."""
    with _lock:
        return _bucket(name)


@cache
def _bucket(name: str) -> "Bucket":
    if not name:
        raise ImproperlyConfigured(settings.NOTHING_TO_WORK_ON)
    with _configuration_errors():
        return Bucket(aws.session(), _client(), name)


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

    def __init__(self, session: "Session", client: "S3Client", name: str) -> None:
        """`client` tells where the bucket is: botocore knows a dozen rules for that."""
        self.name = name
        example = urlsplit(
            client.generate_presigned_url("get_object", Params={"Bucket": name, "Key": "x"})
        )
        # botocore presigns for the global host, which knows no region launched after March 2019.
        regional = urlsplit(client.meta.endpoint_url).netloc
        host = example.netloc.replace("s3.amazonaws.com", regional)
        self._origin = f"{example.scheme}://{host}"
        default_port = {"http": ":80", "https": ":443"}[example.scheme]
        self._host = host.removesuffix(default_port)
        self._path = example.path.removesuffix("x")
        credential = parse_qs(example.query)["X-Amz-Credential"][0]
        self._region = credential.split("/")[-3]
        self._credentials = cast("Credentials", session.get_credentials())
        self._http = _pool(session, self._origin)

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
        small letters, must come with the request as they are. The rules are those of
        "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)".
        """
        credentials = self._credentials.get_frozen_credentials()
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope = f"{now[:8]}/{self._region}/s3/aws4_request"
        signed = {"host": self._host, **(headers or {})}
        names = ";".join(sorted(signed))
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{credentials.access_key}/{scope}",
            "X-Amz-Date": now,
            "X-Amz-Expires": str(expires),
            "X-Amz-SignedHeaders": names,
        }
        if credentials.token:
            query["X-Amz-Security-Token"] = credentials.token
        if params:
            query.update(params)
        path = self._path + quote(key, safe="/")
        encoded = "&".join(f"{name}={quote(query[name], safe='')}" for name in sorted(query))
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        request = f"{method}\n{path}\n{encoded}\n{lines}\n{names}\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(request.encode()).hexdigest()
        signature = hmac.digest(
            _signing_key(credentials.secret_key, now[:8], self._region),
            f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}".encode(),
            "sha256",
        ).hex()
        return f"{self._origin}{path}?{encoded}&X-Amz-Signature={signature}"

    def request(self, method: str, key: str, headers: Mapping[str, str] | None = None) -> Response:
        """Send one request and return its answer: 200, 206, 304, 412 or 416.

        Failures that may pass are tried again, for less than 30 s in all. Raises FileNotFoundError,
        PermissionError, S3UnavailableError, S3Error.
        """
        end = time.monotonic() + LAST_ATTEMPT
        for attempt in itertools.count(1):
            try:
                response = self._send(method, key, headers or {})
            except NETWORK_ERRORS as error:
                if attempt == ATTEMPTS or time.monotonic() > end:
                    text = f"S3 is out of reach at {self._origin} ({type(error).__name__})"
                    raise S3UnavailableError(errno.EHOSTUNREACH, text) from None
            except BotoCoreError as error:
                raise PermissionError(errno.EACCES, str(error)) from error
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
        """Raise what Python has for S3's refusal.

        An answer to HEAD has no body and so no code: a 404 is taken for a missing object.
        """
        code, message = _error_code(response)
        if response.status == 404 and code in {"NoSuchKey", ""}:
            text = f"There is no such object in the bucket {self.name}"
            raise FileNotFoundError(errno.ENOENT, text, key)
        if code == "InvalidObjectState":
            raise S3Error(errno.EIO, ARCHIVED, key)
        if response.status == 403:
            text = (
                f"S3 refuses the object ({code or 'Forbidden'}): allow s3:GetObject on it to the"
                f" role of this process, and s3:ListBucket on the bucket {self.name}, without which"
                " S3 refuses a missing object too"
            )
            raise PermissionError(errno.EACCES, text, key)
        if response.status in TRANSIENT:
            text = f"S3 fails at {self._origin}: {response.status} {code}".rstrip()
            raise S3UnavailableError(errno.EAGAIN, text)
        if region := response.headers.get("x-amz-bucket-region"):
            message = f"the bucket {self.name} is in {region}: set AWS_REGION"
        text = f"S3 refuses {method} in the bucket {self.name}: {response.status} {code} {message}"
        raise S3Error(errno.EIO, text.rstrip())


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


@lru_cache(maxsize=8)
def _signing_key(secret: str, date: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


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
            raise _changed(self._key) from None
        if response.status != 206 or _extent(response) != (self.position, self.stop, self.size):
            response.close()
            raise _changed(self._key)
        self._response = response


def _changed(key: str) -> ObjectChangedError:
    return ObjectChangedError(errno.ESTALE, "The object changed while it was being read", key)


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
            self._etag = response.headers["ETag"]
            self._size = int(response.headers["Content-Length"])
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
            raise _changed(self._key)
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
