"""The walk: the bucket's listing and the rows side by side, in the order of the keys' UTF-8 bytes.

It goes by stretches of the key space, of which each has a page of the listing at most, so that
memory is constant, and no object is asked for by itself.
"""

import errno
import re
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from django.db import connection

from files.keys import prefix_end
from files.models import File
from files.storage import Entry, Page, S3Error, be_in_background

if TYPE_CHECKING:
    from django.db.models import QuerySet

ROWS = 2000  # in a stretch
FEW = 8  # keys that are looked at by HEAD; for more a page of the listing takes less

COLUMNS = (
    "id, object_key, size, etag, deleted_at IS NOT NULL, missing_at IS NOT NULL,"
    " changed_at IS NOT NULL"
)


Q = TypeVar("Q", bound="QuerySet[Any]")


class Row(NamedTuple):
    """What a row knows of its object, and whether it is in the trash and marked.

    `is_young` says that it was written or marked since the object was seen, as in an old report.
    """

    id: int
    key: str
    size: int | None
    etag: str
    is_trashed: bool
    is_missing: bool
    is_changed: bool
    is_young: bool = False


class Stretch(NamedTuple):
    """What there is with keys behind `after`, up to `upto`, or to the end where that is None.

    `unusable` are objects of which no row can hold the key: with NUL, or bytes that are not UTF-8.
    """

    after: str
    upto: str | None
    objects: dict[str, Entry]
    rows: dict[str, Row]
    unusable: Sequence[Entry] = ()


class Part(NamedTuple):
    """A part of the key space: keys with the prefix behind `after`, up to `upto` or to the end."""

    prefix: str = ""
    after: str = ""
    upto: str | None = None

    def __str__(self) -> str:
        bounds = [f"behind {self.after!r}"] if self.after else []
        bounds += [f"up to {self.upto!r}"] if self.upto is not None else []
        return f"keys that begin with {self.prefix!r} {' '.join(bounds)}".rstrip()


def within(part: Part, found: Q) -> Q:
    """Return those rows with a column `object_key` whose key is of the part."""
    if part.prefix:
        found = found.filter(object_key__startswith=part.prefix)
    if part.after:
        found = found.filter(object_key__gt=part.after)
    return found if part.upto is None else found.filter(object_key__lte=part.upto)


class Walk:
    """Walks through one part."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.storage = File().storage
        self._page: Page | None = None  # the last that was listed

    def stretches(self) -> Iterator[Stretch]:
        """Yield the whole part in stretches. Raises S3's errors, and S3Error for lack of order."""
        after = self.part.after
        for entries, is_last in self._pages():
            upto = self.part.upto if is_last else max(after, usable(entries[-1].key))
            yield from self._with_rows(after, upto, entries)
            after = upto or after

    def _pages(self) -> Iterator[tuple[list[Entry], bool]]:
        """Yield the objects of each page in order, and whether it is the last one of the part.

        The next page is on its way meanwhile.
        """
        pages = self.storage.pages(self.part.prefix, after=self.part.after)
        with ThreadPoolExecutor(1, "listing", initializer=be_in_background) as thread:
            last, coming = self.part.after, thread.submit(next, pages)
            try:
                while True:
                    page = coming.result()
                    if page.token:
                        coming = thread.submit(next, pages)
                    self._page = page
                    _refuse_disorder(last, page.entries)
                    entries = _up_to(self.part.upto, page.entries)
                    is_last = not page.token or len(entries) < len(page.entries)
                    if entries or is_last:
                        yield entries, is_last
                    if is_last:
                        return
                    last = page.entries[-1].key if page.entries else last
            finally:
                coming.cancel()

    def _with_rows(self, after: str, upto: str | None, entries: list[Entry]) -> Iterator[Stretch]:
        """Yield the page with its rows, in more than one stretch where there are many."""
        objects = {entry.key: entry for entry in entries}
        unusable = [objects.pop(entry.key) for entry in entries if usable(entry.key) != entry.key]
        while len(rows := self._rows(after, upto)) == ROWS:
            last = next(reversed(rows))
            here = {key: objects.pop(key) for key in list(objects) if key <= last}
            yield Stretch(after, last, here, rows)
            after = last
        yield Stretch(after, upto, objects, rows, unusable)

    def _rows(self, after: str, upto: str | None) -> dict[str, Row]:
        conditions, parameters = key_range(self.part.prefix, after, upto)
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {COLUMNS} FROM files WHERE {conditions}"  # noqa: S608
                f" ORDER BY object_key LIMIT {ROWS}",
                parameters,
            )
            return {row[1]: Row(*row) for row in cursor}

    def look_again(self, stretch: Stretch, keys: Collection[str]) -> Stretch:
        """Return what there is of these keys of the stretch now, without those in work.

        What an operation under way names, or has changed meanwhile, is left out: of the others the
        row and the object were seen at one time, whatever is done by this catalogue meanwhile.
        """
        before, named_before = _look(keys)
        objects = self.objects_now(stretch, keys)
        rows, named = _look(keys)
        settled = {
            key
            for key in keys
            if before.get(key) == rows.get(key) and key not in named_before | named
        }
        return stretch._replace(
            objects={key: found for key, found in objects.items() if key in settled},
            rows={key: row for key, row in rows.items() if key in settled},
        )

    def objects_now(self, stretch: Stretch, keys: Collection[str]) -> dict[str, Entry]:
        """Return the objects of these keys of the stretch that there are now, in order."""
        if len(keys) <= FEW:
            return {key: entry for key in keys if (entry := self.storage.entry(key))}
        found: dict[str, Entry] = {}
        options: Any = {"after": stretch.after, "known": self._page}
        for page in self.storage.pages(self.part.prefix, **options):
            found.update({entry.key: entry for entry in page.entries if entry.key in keys})
            if stretch.upto and page.entries and page.entries[-1].key >= stretch.upto:
                break
        return found


_UNUSABLE = re.compile("[\0\ud800-\udfff]")


def usable(key: str) -> str:
    """Return the key up to what no row can hold, which is nearly always all of it."""
    found = _UNUSABLE.search(key)
    return key[: found.start()] if found else key


def _refuse_disorder(last: str, entries: list[Entry]) -> None:
    """Raise S3Error where the keys are not in the order of their bytes, as in directory buckets."""
    for entry in entries:
        if entry.key <= last and _bytes(entry.key) <= _bytes(last):
            text = (
                "S3 does not list this bucket in the order of the keys, as with directory buckets"
                " and some other servers, so that it cannot be compared with the catalogue"
            )
            raise S3Error(errno.ENOTSUP, text, entry.key)
        last = entry.key


def _bytes(key: str) -> bytes:
    return key.encode(errors="surrogateescape")


def _up_to(last: str | None, entries: list[Entry]) -> list[Entry]:
    if last is None or not entries or entries[-1].key <= last:
        return entries
    return [entry for entry in entries if entry.key <= last]


def key_range(prefix: str, after: str = "", upto: str | None = None) -> tuple[str, list[str]]:
    """Return the condition of the rows with the prefix, as a range of the index on the keys."""
    conditions = ["object_key > %s", "object_key >= %s"]
    parameters = [after, prefix]
    if (end := prefix_end(prefix)) is not None:
        conditions.append("object_key < %s")
        parameters.append(end)
    if upto is not None:
        conditions.append("object_key <= %s")
        parameters.append(upto)
    return " AND ".join(conditions), parameters


def _look(keys: Collection[str]) -> tuple[dict[str, Row], set[str]]:
    """Return the rows of the keys, and those that operations under way name, at one moment."""
    rows, named = {}, set()
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT true, {COLUMNS} FROM files WHERE object_key = ANY(%(keys)s)
            UNION ALL
            SELECT false, NULL, unnest(ARRAY[object_key, copy_key]), NULL, NULL, NULL, NULL, NULL
            FROM files_operation WHERE object_key = ANY(%(keys)s) OR copy_key = ANY(%(keys)s)
            """,  # noqa: S608
            {"keys": list(keys)},
        )
        for is_row, *found in cursor:
            if is_row:
                rows[found[1]] = Row(*found)
            else:
                named.add(found[1])
    return rows, named
