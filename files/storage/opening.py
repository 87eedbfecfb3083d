"""The modes of Django's `open()`, and new objects as files to write."""

import io
import logging
from contextlib import closing
from tempfile import SpooledTemporaryFile
from typing import Any, Protocol

from django.conf import settings
from django.core.files.base import File
from django.utils.translation import gettext_lazy as _

from files.storage.errors import taken

READING = {"r", "rt", "br"}  # modes, each with its letters in order
WRITING = {"w", "tw", "bw", "x", "tx", "bx"}
TAKEN = _("There is an object of this key; File.replace() puts another content under it")
SPOOL = 8 * 2**20  # bytes that wait in memory, the rest in a temporary file

logger = logging.getLogger(__name__)


class Storage(Protocol):
    """What stores a new object, and raises FileExistsError where there is one of its key."""

    def create(self, key: str, content: "File[Any]") -> object: ...


def parse_mode(mode: str) -> tuple[bool, bool]:
    """Return whether a file of this mode is written, and whether it is text. Raises ValueError."""
    letters = "".join(sorted(mode))
    if letters not in READING | WRITING:
        raise ValueError(
            f"mode {mode!r}: an object is read ('rb', 'r') or written whole ('wb', 'w')"
        )
    return letters in WRITING, "b" not in letters


class NewObjectFile(File):
    """A new object that is being written, and stored by `close`, whole or not at all.

    What is written waits in a temporary file, of which 8 MiB are in memory, rather than in parts
    that S3 has already: so that it can be sought in, as `zipfile` and Pillow do; that the size is
    known when the parts are cut; and that nothing is left in S3, whatever stops in between.
    """

    def __init__(self, storage: Storage, key: str, mode: str) -> None:
        self._storage = storage
        self._spool: Any = SpooledTemporaryFile(SPOOL, dir=settings.FILE_UPLOAD_TEMP_DIR)  # noqa: SIM115
        _, text = parse_mode(mode)
        # Text keeps its ends of lines, so that it is the same bytes on every platform.
        super().__init__(
            io.TextIOWrapper(self._spool, "utf-8", newline="") if text else self._spool, key
        )
        self.mode = mode

    @property
    def size(self) -> int:
        """The number of bytes that were written."""
        self.flush()
        position = self._spool.tell()
        size: int = self._spool.seek(0, io.SEEK_END)
        self._spool.seek(position)
        return size

    def open(self, mode: str | None = None, *args: Any, **kwargs: Any) -> "NewObjectFile":
        """Go back to the start. Raises ValueError where the file is closed, and so is stored."""
        if self.closed or mode not in {None, self.mode}:
            raise ValueError(f"{self.name!r} was written: open it again by the storage")
        self.seek(0)
        return self

    def close(self) -> None:
        """Store the object. Raises FileExistsError where it is there by now, and S3's errors."""
        if self.closed:
            return
        with closing(self.file):  # type: ignore[type-var]
            self.flush()
            try:
                self._storage.create(str(self.name), File(self._spool, self.name))
            except FileExistsError:
                raise taken(str(self.name), TAKEN) from None

    def discard(self) -> None:
        """Close the file and store nothing."""
        self.file.close()  # type: ignore[union-attr]

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        if getattr(self, "file", None) is not None and not self.closed:
            logger.warning("%r was not closed, so that nothing of it is stored", self.name)
            self.discard()
