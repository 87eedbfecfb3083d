"""Objects as files to read."""

import errno
import io
from collections.abc import Iterator
from typing import IO, Any

from django.core.files.base import File
from django.utils.translation import gettext

from files.storage.body import CHUNK, REPLACED, Body
from files.storage.bucket import Bucket
from files.storage.errors import S3Error, changed
from files.storage.opening import parse_mode
from files.storage.stat import read_stat

FIRST_WINDOW = BUFFER = 256 * 2**10  # bytes
LAST_WINDOW = 64 * 2**20


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
            text = gettext("S3 sent other bytes than it was asked for")
            raise S3Error(errno.EIO, text, self._key)
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
