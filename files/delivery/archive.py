"""Several files as one zip, which is made while it is sent.

One object is read at a time, and no more of it is held than a piece. What grows with the number of
files is the index that a zip ends with, and the names given: about 1 KiB for each file.
"""

import io
import itertools
import logging
import re
import unicodedata
import zipfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone, translation
from django.utils.http import content_disposition_header
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from files import audit
from files.delivery import content
from files.delivery.headers import CACHE_CONTROL, file_name
from files.delivery.streams import stream_rows
from files.errors import reason
from files.models import File
from files.storage import CHUNK, ArchivedError, Body, ObjectChangedError, S3UnavailableError

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

logger = logging.getLogger(__name__)

LAST_YEAR = 2107  # of zip's dates, which begin in 1980
MAX_SEGMENT = 255  # bytes, which file systems allow

# What names usually end in, by HTTP's content coding (RFC 9110 section 8.4.1).
CODING_SUFFIXES = {"gzip": ".gz", "x-gzip": ".gz", "br": ".br", "zstd": ".zst", "compress": ".Z"}

_EXTENSION = re.compile(r"(?<=.)\.\w{1,16}\Z", re.DOTALL)

CHANGED = _("The content changed while it was being read, and ends short here.")
BROKEN = _("The content broke off while it was being read, and ends short here.")


def respond(
    request: HttpRequest, files: Iterable[File], base: str = "", name: str = "files.zip"
) -> HttpResponseBase:
    """Answer with the files, named by their keys without the prefix `base`.

    `files` is iterated while the answer is sent. What cannot be read is listed in a last entry.
    """
    pieces = _pieces(files, base, translation.get_language())
    disposition = content_disposition_header(True, file_name(name))
    return stream_rows(
        request,
        pieces,
        "archive",
        headers={
            "Content-Type": "application/zip",
            "Content-Disposition": disposition or "attachment",
            "Cache-Control": CACHE_CONTROL,
            "X-Content-Type-Options": "nosniff",
        },
    )


def _pieces(files: Iterable[File], base: str, language: str | None) -> Generator[bytes]:
    """Yield the archive in pieces, none of them empty."""
    archive = _Archive(base)
    with archive.zip:
        for file in files:
            yield from archive.add(file)
        # The language of the request is no longer the thread's.
        with translation.override(language):
            archive.add_note()
    yield archive.drain()


class _Sink(io.RawIOBase):
    """What zipfile writes to: it cannot seek, so that each entry is followed by size and CRC."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._written.append(data)
        return len(data)

    def drain(self) -> bytes:
        """Return what has been written since the last time."""
        data = b"".join(self._written)
        self._written.clear()
        return data


class _Archive:
    """An archive that is being made."""

    def __init__(self, base: str) -> None:
        sink = _Sink()
        self.drain = sink.drain
        # Not compressed: large files mostly are already, and Deflate would make a CPU the limit of
        # each download.
        self.zip = zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED)
        self._names = _Names(base)
        self._unread: list[tuple[str, _StrPromise | str]] = []

    def add(self, file: File) -> Iterator[bytes]:
        """Yield the entry of the file, or note that it cannot be read."""
        try:
            answer = file.storage.request("GET", str(file))
        except OSError as error:
            audit.record("zip", "failed", file=file.pk, key=str(file), bytes=0)
            self._unread.append((file.name, _reason(file, error)))
            return
        file.mark_missing(False)
        body = file.storage.body(str(file), answer)
        try:
            key = file.name + _coding_suffix(file.name, answer.headers.get("Content-Encoding", ""))
            yield from self._content(file, key, body)
        except OSError as error:
            logger.warning("%s: %s", content.log_name(file), error)
            text = CHANGED if isinstance(error, ObjectChangedError) else BROKEN
            self._unread.append((file.name, text))
        finally:  # also where the client leaves
            outcome = "complete" if body.position == body.size else "cut off"
            audit.record("zip", outcome, file=file.pk, key=str(file), bytes=body.position)
        yield self.drain()

    def _content(self, file: File, key: str, body: Body) -> Iterator[bytes]:
        """Yield all of the entry but its end."""
        date = _date(file.modified_at or file.created_at)
        entry = zipfile.ZipInfo(self._names.for_key(key), date)
        zip64 = body.size > zipfile.ZIP64_LIMIT
        with closing(body), self.zip.open(entry, "w", force_zip64=zip64) as target:
            while data := body.read(CHUNK):
                target.write(data)
                yield self.drain()

    def add_note(self) -> None:
        """Write what was not read into an entry, if there is any."""
        if self._unread:
            # As Python writes a text: exact, on one line, and with nothing that cannot be seen.
            lines = "".join(f"{key!r}: {reason}\n" for key, reason in self._unread)
            name = self._names.for_key(gettext("NOT READ.txt"))
            entry = zipfile.ZipInfo(name, _date(timezone.now()))
            self.zip.writestr(entry, lines)


def _coding_suffix(key: str, encoding: str) -> str:
    """Return what a name lacks to say how its bytes are packed, such as `.gz`.

    A zip has no Content-Encoding. The bytes go into it as they are stored, so that nothing about
    them can fail once the answer has begun.
    """
    codings = [coding.strip().lower() for coding in encoding.split(",")]
    suffix = "".join(CODING_SUFFIXES.get(coding, "") for coding in codings)
    return "" if key.lower().endswith(suffix) else suffix


def _reason(file: File, error: OSError) -> "_StrPromise | str":
    """Return why nothing of the file was read, as `respond` of a single file would answer."""
    if isinstance(error, FileNotFoundError):
        file.mark_missing(True)
        return content.MISSING
    if isinstance(error, ArchivedError):
        return reason(error)
    if isinstance(error, S3UnavailableError):
        logger.warning("%s: %s", content.log_name(file), error)
        return content.UNREACHABLE
    logger.error("%s: %s", content.log_name(file), error)
    return content.REFUSED


def _date(moment: datetime) -> tuple[int, int, int, int, int, int]:
    """Return the nearest date that a zip can have; by its convention it is local time."""
    local = timezone.localtime(moment)
    if local.year < 1980:
        return 1980, 1, 1, 0, 0, 0
    if local.year > LAST_YEAR:
        return LAST_YEAR, 12, 31, 23, 59, 58
    return local.year, local.month, local.day, local.hour, local.minute, local.second


class _Names:
    """Names of entries that are safe to unpack and all different.

    They are different also to file systems that know no case, or no two ways to compose a letter;
    and none is both a file's and a folder's.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self._taken: dict[str, bool] = {}  # folded paths, and whether they are folders
        self._numbers: dict[tuple[str, bool], int] = {}  # the last for what was wanted again

    def for_key(self, key: str) -> str:
        """Return a new name for the key, with a number like ` (2)` where it is taken."""
        segments = [segment for segment in key.removeprefix(self._base).split("/") if segment]
        *folders, last = map(_safe, segments or [key])
        path = ""
        for folder in folders:
            path = f"{self._claim(path, folder, is_folder=True)}/"
        return self._claim(path, last, is_folder=False)

    def _claim(self, parent: str, segment: str, *, is_folder: bool) -> str:
        wanted = _folded(parent + segment), is_folder
        for number in itertools.count(self._numbers.get(wanted, 1)):
            path = parent + _numbered(segment, number)
            folded = _folded(path)
            if folded not in self._taken or (is_folder and self._taken[folded]):
                break
        if number > 1:
            self._numbers[wanted] = number
        self._taken[folded] = is_folder
        return path


def _folded(path: str) -> str:
    """Return what is equal for names that differ in case or composition (Unicode, D145)."""
    decomposed = unicodedata.normalize("NFD", path).casefold()
    return unicodedata.normalize("NFD", decomposed)


def _safe(segment: str) -> str:
    name = file_name(segment.replace("\\", "_"))
    if not name.strip(". "):  # nothing, `.`, `..`, and what Windows takes for them
        return "_" * max(1, len(name))
    return re.sub(r"\A([A-Za-z]):", r"\1_", name)


def _numbered(segment: str, number: int) -> str:
    """Put a number above 1 before what looks like an extension, within the length allowed."""
    if number == 1:
        return segment
    extension = found[0] if (found := _EXTENSION.search(segment)) else ""
    suffix = f" ({number}){extension}"
    stem = segment.removesuffix(extension).encode()[: MAX_SEGMENT - len(suffix.encode())]
    return stem.decode(errors="ignore") + suffix
