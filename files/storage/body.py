"""The body of S3's answer, which is continued where it breaks."""

import errno
import re
from collections.abc import Iterator

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from files.storage.bucket import NETWORK_ERRORS, Bucket, Response, back_off
from files.storage.errors import S3Error, S3UnavailableError, changed

CHUNK = 2**20  # bytes
# A body may break this often before 8 MiB more have come.
BREAKS = 5
PROGRESS = 8 * 2**20

REPLACED = _("The object changed while it was being read")


class Body:
    """The bytes `position` to `stop` of an object, from the answer to a GET.

    A body that breaks is continued from the byte it broke at, as long as the object is the same.
    """

    def __init__(self, bucket: Bucket, key: str, response: Response) -> None:
        self._bucket = bucket
        self._key = key
        self._response = response
        self._etag = response.headers["ETag"]
        self.position, self.stop, self.size = _extent(response)
        self._breaks = 0
        self._regained = 0
        self._is_closed = False

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
        """End the transfer, also where another thread is about to continue it."""
        self._is_closed = True
        self._response.close()

    def _continue(self) -> None:
        self._response.close()
        if self._regained > PROGRESS:
            self._breaks = 0
        self._regained = 0
        self._breaks += 1
        if self._breaks > BREAKS:
            text = f"The transfer broke {self._breaks} times near byte {self.position}"
            raise S3UnavailableError(errno.EIO, text, self._key)
        back_off(self._breaks)
        wanted = {"Range": f"bytes={self.position}-{self.stop - 1}", "If-Match": self._etag}
        try:
            response = self._bucket.request("GET", self._key, wanted)
        except FileNotFoundError:
            raise changed(self._key, REPLACED) from None
        if response.status != 206 or _extent(response) != (self.position, self.stop, self.size):
            response.close()
            raise changed(self._key, REPLACED)
        self._response = response
        if self._is_closed:
            response.close()
            raise S3UnavailableError(errno.ECANCELED, "The transfer was ended", self._key)


def _extent(response: Response) -> tuple[int, int, int]:
    """Return first byte, byte after the last, and size of the object (RFC 9110 section 14.4)."""
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
        if not found:
            raise S3Error(errno.EIO, gettext("S3 sent a part of an object without saying which"))
        first, last, size = map(int, found.groups())
        return first, last + 1, size
    size = int(response.headers.get("Content-Length", 0))
    return 0, size, size
