"""Lists of files at any scale: by folder, by pages on an index, without counting or skipping."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import psycopg.errors
from django.db import OperationalError, connection, models, transaction
from django.db.models import F, Func, Q, QuerySet, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce, Collate

from files.keys import folder_of, prefix_end
from files.models import FOLDER, NAME, File

Order = Literal["object_key", "size", "modified_at", "deleted_at"]
Entry = str | File  # a folder, by the beginning of its keys, or a file
T = TypeVar("T")

# What an order sorts by, each with an index of its own. Only the key is unique.
ORDERS: dict[Order, tuple[Any, ...]] = {
    "object_key": (F("object_key"),),
    "size": (Coalesce("size", 0), F("id")),
    "modified_at": (Coalesce("modified_at", "created_at"), F("id")),
    "deleted_at": (F("deleted_at"), F("id")),  # for the trash alone
}

# The values of a cursor in each order, and their types.
CURSORS: dict[Order, Callable[[Any], list[Any]]] = {
    "object_key": lambda file: [str(file)],
    "size": lambda file: [file.size or 0, file.pk],
    "modified_at": lambda file: [(file.modified_at or file.created_at).isoformat(), file.pk],
    "deleted_at": lambda file: [file.deleted_at.isoformat(), file.pk],
}
CURSOR_TYPES: dict[Order, tuple[type, ...]] = {
    "object_key": (str,),
    "size": (int, int),
    "modified_at": (datetime, int),
    "deleted_at": (datetime, int),
}

SECONDS = 5  # that a list may take
COUNTED = 1000  # files, and folders, that a list counts on its way
WALK_SECONDS = 0.4  # that an index may be walked for the few of its rows that match
MANY = 200_000  # files that match, which take longer to gather than a page may
SOME_SECONDS = 0.2  # that the table may be looked through for some of them
SPARE = 10  # times as many are looked through: they lie together, and the planner may be wrong
BATCH = 50_000  # files that are counted at a time

BITMAP_SCANS = {
    "enable_indexscan": "off",
    "enable_indexonlyscan": "off",
    "enable_seqscan": "off",
    "jit": "off",  # compiling takes longer than it saves
    "work_mem": "64MB",  # keeps a bitmap of 2 GB exact
}

# As the index `files_folder` has them.
LIVE_FOLDERS = (
    "(SELECT regexp_replace(object_key, '[^/]*$', '') AS folder"
    " FROM files WHERE deleted_at IS NULL) AS live"
)


class TooSlowError(Exception):
    """The database did not answer in the time that a list may take."""


class CursorError(ValueError):
    """The text is no cursor of this list."""


class Page(NamedTuple):
    """Folders first, then files; `previous` and `next` are cursors, None at either end."""

    folders: list[str]
    files: list[File]
    previous: str | None
    next: str | None


class Usage(NamedTuple):
    """How many files and bytes there are; at least, where it is not `complete`."""

    files: int
    bytes: int
    complete: bool


@contextmanager
def _as_too_slow() -> Iterator[None]:
    """Raise TooSlowError for a statement that the database ends since it takes too long."""
    try:
        yield
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.QueryCanceled):
            raise TooSlowError from error
        raise


@contextmanager
def time_limit(seconds: float = SECONDS, options: Mapping[str, str] = {}) -> Iterator[None]:
    """End each statement that takes longer, and read with these options of the database.

    Raises TooSlowError.
    """
    options = {"statement_timeout": str(max(1, int(seconds * 1000))), **options}
    calls = ", ".join(["set_config(%s, %s, true)"] * len(options))
    with _as_too_slow(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SELECT {calls}", [*chain.from_iterable(options.items())])
        yield


def bitmap_scans() -> AbstractContextManager[None]:
    """Read lists by finding and sorting all rows that match, not along the order's index.

    The planner assumes that matches are spread evenly over the list. Where all of them are behind
    millions of other rows, walking there takes longer than sorting them.
    """
    return time_limit(options=BITMAP_SCANS)


def in_time(
    find: Callable[[], T], *, is_filtered: bool, instead: Callable[[], T | None] | None = None
) -> T:
    """Return what `find` returns; where few of many files match, by a walk or else by sorting them.

    Before they are sorted, `instead` may have another answer. What is not filtered begins where the
    index is entered: for that the server's own limit is enough, and no transaction is opened.
    Raises TooSlowError.
    """
    if is_filtered:
        try:
            with time_limit(WALK_SECONDS):
                return find()
        except TooSlowError:
            if instead and (found := instead()):
                return found
            with bitmap_scans():
                return find()
    with _as_too_slow():
        return find()


def inside(files: QuerySet[File], folder: str) -> QuerySet[File]:
    """Return the files that are in the folder itself, not below it."""
    return files.alias(folder=FOLDER).filter(folder=folder)


def search(files: QuerySet[File], text: str, *, in_trash: bool = False) -> QuerySet[File]:
    """Return the files whose keys contain all words of the text, in any place and either case.

    In the trash it looks at the keys that the contents had. It compares by the database's own
    collation: the key's, "C", knows the case of ASCII alone.
    """
    files = files.alias(searched=Collate(NAME if in_trash else F("object_key"), "default"))
    words = dict.fromkeys(text.split())
    return files.filter(*(Q(searched__icontains=word) for word in words))


def estimate(files: QuerySet[File]) -> int:
    """Return how many files the planner expects: none of them is read."""
    (plan,) = json.loads(files.order_by().explain(format="json"))
    return int(plan["Plan"]["Plan Rows"])


def some(files: QuerySet[File], expected: int, limit: int) -> list[File]:
    """Return so many of the `expected` files in no order; none where they are not found at once.

    They come from blocks of the table that lie anywhere, the same ones each time. An order, or the
    table's own, would pass millions of others first where all that match are at its end.
    """
    blocks = RawSQL(
        '"files"."ctid" = ANY'
        " (ARRAY(SELECT ctid FROM files TABLESAMPLE SYSTEM (%s) REPEATABLE (0)))",
        [min(100, 100 * SPARE * limit / expected)],
        output_field=models.BooleanField(),
    )
    try:
        with time_limit(SOME_SECONDS):
            found = list(files.order_by().filter(blocks)[:limit])
    except TooSlowError:
        return []
    return found if len(found) == limit else []


def count(files: QuerySet[File]) -> int:
    """Return how many files there are, or one more than `COUNTED`."""
    return files.order_by()[: COUNTED + 1].count()


def count_inside(folder: str) -> tuple[int, int]:
    """Return how many folders and live files are in the folder, each up to one over `COUNTED`."""
    return _Folders(folder).count(COUNTED + 1)


def folders(prefix: str, limit: int) -> list[str]:
    """Return the first folders whose keys begin so, up to the next slash."""
    return _Folders(prefix).entries(None, limit, backward=False)


def usage(files: QuerySet[File], seconds: float = 2) -> Usage:
    """Count files and bytes, for little longer than `seconds`."""
    end = time.monotonic() + seconds
    count = size = 0
    last = ""
    while True:
        batch = files.filter(object_key__gt=last).order_by("object_key")[:BATCH]
        found = batch.aggregate(
            count=models.Count("pk"), size=models.Sum("size"), last=models.Max("object_key")
        )
        count, size, last = count + found["count"], size + (found["size"] or 0), found["last"]
        if found["count"] < BATCH:
            return Usage(count, size, complete=True)
        if time.monotonic() > end:
            return Usage(count, size, complete=False)


def page(
    files: QuerySet[File],
    *,
    folder: str | None = None,
    order: Order = "object_key",
    descending: bool = False,
    after: str | None = None,
    before: str | None = None,
    limit: int = 100,
) -> Page:
    """Return the page after or before a cursor, or the first one; the last one is before "".

    With `folder`, its subfolders come first. Raises CursorError.
    """
    sections: list[_Section] = [] if folder is None else [_Folders(folder)]
    sections.append(_Files(files, order, descending))
    if before is not None:
        cursor = _decode(before, sections) if before else None
        entries = _entries(sections, cursor, limit + 1, backward=True)
        if len(entries) > limit:
            return _page(entries[limit - 1 :: -1], order, previous=True, next_=bool(before))
        after = None  # fewer than a page come before it, so that this is the first
    cursor = None if after is None else _decode(after, sections)
    entries = _entries(sections, cursor, limit + 1, backward=False)
    more = len(entries) > limit
    return _page(entries[:limit], order, previous=cursor is not None, next_=more)


def neighbours(
    files: QuerySet[File], file: File, order: Order = "object_key", descending: bool = False
) -> tuple[File | None, File | None]:
    """Return the files before and after this one in an order, None at either end."""
    section = _Files(files, order, descending)
    _, *cursor = _decode(_encode(file, order), [section])
    before, after = (section.entries(cursor, 1, backward=back) for back in (True, False))
    return next(iter(before), None), next(iter(after), None)


def _page(entries: list[Entry], order: Order, *, previous: bool, next_: bool) -> Page:
    return Page(
        [entry for entry in entries if isinstance(entry, str)],
        [entry for entry in entries if isinstance(entry, File)],
        _encode(entries[0], order) if previous and entries else None,
        _encode(entries[-1], order) if next_ and entries else None,
    )


def _entries(
    sections: Sequence["_Section"], cursor: list[Any] | None, limit: int, *, backward: bool
) -> list[Entry]:
    """Return up to `limit` entries that follow the cursor, across the sections."""
    entries: list[Entry] = []
    waiting = cursor is not None
    for section in reversed(sections) if backward else sections:
        own = None
        if waiting and cursor is not None:
            if cursor[0] != section.name:
                continue
            own, waiting = cursor[1:], False
        entries += section.entries(own, limit - len(entries), backward=backward)
    return entries


def _encode(entry: Entry, order: Order) -> str:
    if isinstance(entry, str):
        return json.dumps(["folder", entry], ensure_ascii=False)
    return json.dumps(["file", *CURSORS[order](entry)], ensure_ascii=False)


def _decode(cursor: str, sections: Sequence["_Section"]) -> list[Any]:
    """Return the name of a section, and the values of the cursor in it. Raises CursorError."""
    try:
        name, *values = json.loads(cursor)
        (types,) = [section.types for section in sections if section.name == name]
        return [name, *(_read(*pair) for pair in zip(types, values, strict=True))]
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise CursorError(cursor) from None


def _read(kind: type, value: object) -> Any:
    """Return a value of a cursor, as the database can compare it. Raises ValueError."""
    if kind is int and type(value) is int and abs(value) < 2**63:
        return value
    if kind is str and isinstance(value, str) and "\0" not in value and value.encode():
        return value
    if kind is datetime and isinstance(value, str):
        return _moment(value)
    raise ValueError(value)


def _moment(text: str) -> datetime:
    """Return an aware time. Raises ValueError, and OverflowError where UTC has no such year."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment.astimezone(UTC)


class _Section(Protocol):
    """One part of a list, in an order of its own."""

    name: str
    types: tuple[type, ...]  # of the values of a cursor

    def entries(self, cursor: list[Any] | None, limit: int, *, backward: bool) -> list[Any]:
        """Return up to `limit` entries that follow the cursor, the nearest first."""


class _Folders:
    """The folders in a folder, or those of its folders whose keys begin in the same way.

    The index is entered once for each: at the first key behind the folder before (a "loose index
    scan"), so that what is inside is never read.
    """

    name = "folder"
    types: tuple[type, ...] = (str,)

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._end = prefix_end(prefix)

    def entries(self, cursor: list[Any] | None, limit: int, *, backward: bool) -> list[str]:
        sql = self._sql(backward=backward, is_first=cursor is None)
        found = self._fetch(sql, limit=limit, cursor=cursor[0] if cursor else None)
        return [prefix for (prefix,) in found]

    def count(self, limit: int) -> tuple[int, int]:
        """Return how many folders, and how many files beside them, there are up to a limit."""
        folders = self._sql(backward=False, is_first=True)
        files = f"SELECT FROM {LIVE_FOLDERS} WHERE folder = %(prefix)s LIMIT %(limit)s"
        sql = (
            f"SELECT (SELECT count(*) FROM ({folders}) AS folders),"  # noqa: S608
            f" (SELECT count(*) FROM ({files}) AS files)"
        )
        ((folder_count, file_count),) = self._fetch(sql, limit=limit)
        return folder_count, file_count

    def _fetch(self, sql: str, **values: Any) -> list[Any]:
        about: dict[str, Any] = {
            "prefix": self._prefix,
            "length": len(folder_of(self._prefix)),
            "end": self._end,
        }
        with connection.cursor() as database:
            database.execute(sql, about | values)
            return list(database.fetchall())

    def _sql(self, *, backward: bool, is_first: bool) -> str:
        inside = "folder > %(prefix)s" + (" AND folder < %(end)s" if self._end else "")
        step = "folder < {0}" if backward else "folder >= left({0}, -1) || '0'"
        start = inside if is_first else f"{inside} AND {step.format('%(cursor)s::text')}"
        find = (
            "SELECT left(folder, %(length)s + strpos(substr(folder, %(length)s + 1), '/'))"  # noqa: S608
            f" FROM {LIVE_FOLDERS} WHERE {{}}"
            f" ORDER BY folder {'DESC' if backward else 'ASC'} LIMIT 1"
        )
        following = find.format(f"{inside} AND {step.format('prefix')}")
        return (
            f"WITH RECURSIVE found (prefix) AS (({find.format(start)}) UNION ALL"  # noqa: S608
            f" SELECT ({following}) FROM found WHERE prefix IS NOT NULL)"
            " SELECT prefix FROM found WHERE prefix IS NOT NULL LIMIT %(limit)s"
        )


class _Files:
    """Files by keyset: a page begins where the one before ended, at the same cost at any depth."""

    name = "file"

    def __init__(self, files: QuerySet[File], order: Order, descending: bool) -> None:
        self._files = files
        self._order = order
        self.types = CURSOR_TYPES[order]
        self._descending = descending

    def entries(self, cursor: list[Any] | None, limit: int, *, backward: bool) -> list[File]:
        columns = ORDERS[self._order]
        descending = self._descending != backward
        files = self._files.order_by(
            *(column.desc() if descending else column.asc() for column in columns)
        )
        if cursor is not None:
            files = files.filter(_Beyond(columns, cursor, descending))
        return list(files[:limit])


class _Beyond(Func):
    """A comparison of rows, ``(a, b) > (x, y)``, which PostgreSQL answers from one index."""

    template = "%(expressions)s"
    output_field = models.BooleanField()

    def __init__(self, columns: Sequence[Any], values: Sequence[Any], descending: bool) -> None:
        super().__init__(_row(*columns), _row(*map(Value, values)))
        self.arg_joiner = " < " if descending else " > "


def _row(*expressions: Any) -> Func:
    return Func(*expressions, template="(%(expressions)s)", output_field=models.TextField())
