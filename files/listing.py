"""Lists of files at any scale: by folder, by pages on an index, without counting or skipping."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol

import psycopg.errors
from django.db import OperationalError, connection, models, transaction
from django.db.models import F, Func, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Collate

from files.models import File

Order = Literal["object_key", "size", "modified_at"]
Entry = str | File  # a folder, by the beginning of its keys, or a file

# What an order sorts by, each with an index of its own. Only the key is unique.
ORDERS: dict[Order, tuple[Any, ...]] = {
    "object_key": (F("object_key"),),
    "size": (Coalesce("size", 0), F("id")),
    "modified_at": (Coalesce("modified_at", "created_at"), F("id")),
}

SECONDS = 5  # that a list may take
WALK_SECONDS = 0.4  # that an index may be walked for the few of its rows that match
BATCH = 50_000  # files that are counted at a time


class TooSlowError(Exception):
    """The database did not answer in the time that a list may take."""


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
def limited(seconds: float = SECONDS) -> Iterator[None]:
    """Let no statement take longer than that. Raises TooSlowError."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, true)",
                [str(max(1, int(seconds * 1000)))],
            )
            yield
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.QueryCanceled):
            raise TooSlowError from error
        raise


@contextmanager
def gathered() -> Iterator[None]:
    """Let lists be read from all rows that match, sorted, instead of along the order's index.

    The planner takes it that what matches is spread evenly over the list. Where it is all behind
    millions of other rows, walking there takes longer than gathering it does.
    """
    with limited(), connection.cursor() as cursor:
        for name in ("enable_indexscan", "enable_indexonlyscan", "enable_seqscan"):
            cursor.execute(f"SET LOCAL {name} = off")
        cursor.execute("SET LOCAL work_mem = '64MB'")  # keeps a bitmap of 2 GB exact
        yield


def below(folder: str) -> Q:
    """Match the keys that begin with the folder, as a range of the index."""
    return Q(object_key__gte=folder, object_key__lt=_after(folder)) if folder else Q()


def _after(folder: str) -> str:
    """Return the first key that no longer begins with the folder: "0" follows the slash."""
    return f"{folder[:-1]}0"


def search(files: QuerySet[File], text: str) -> QuerySet[File]:
    """Find all words of the text in the keys, in any place and in either case.

    It compares by the database's own collation: the key's, "C", knows the case of ASCII alone.
    """
    files = files.alias(searched=Collate("object_key", "default"))
    for word in text.split():
        files = files.filter(searched__icontains=word)
    return files


def about(files: QuerySet[File]) -> int:
    """Return the planner's estimate of how many there are: it reads none of them."""
    (plan,) = json.loads(files.order_by().explain(format="json"))
    return int(plan["Plan"]["Plan Rows"])


def usage(files: QuerySet[File], seconds: float = 2) -> Usage:
    """Count files and bytes, for about as long as that."""
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
    """Return the page after or before a cursor, or the first one.

    With `folder`, its subfolders come first. Raises ValueError for what is no cursor.
    """
    sections: list[_Section] = [] if folder is None else [_Folders(folder)]
    sections.append(_Files(files, order, descending))
    if before is not None:
        entries = _entries(sections, _decode(before), limit + 1, backward=True)
        if len(entries) > limit:
            return _page(entries[limit - 1 :: -1], order, previous=True, next_=True)
        after = None  # fewer than a page come before it, so that this is the first
    cursor = None if after is None else _decode(after)
    entries = _entries(sections, cursor, limit + 1, backward=False)
    more = len(entries) > limit
    return _page(entries[:limit], order, previous=cursor is not None, next_=more)


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
    values: dict[Order, list[Any]] = {
        "object_key": [str(entry)],
        "size": [entry.size or 0, entry.pk],
        "modified_at": [(entry.modified_at or entry.created_at).isoformat(), entry.pk],
    }
    return json.dumps(["file", *values[order]], ensure_ascii=False)


def _decode(cursor: str) -> list[Any]:
    values = json.loads(cursor)
    if not isinstance(values, list) or values[:1] not in (["folder"], ["file"]):
        raise ValueError(cursor)
    if any("\0" in str(value) for value in values):
        raise ValueError(cursor)
    return values


class _Section(Protocol):
    """One part of a list, in an order of its own."""

    name: str

    def entries(self, cursor: list[Any] | None, limit: int, *, backward: bool) -> list[Any]:
        """Return up to `limit` entries that follow the cursor, the nearest first."""


class _Folders:
    """The folders in a folder.

    The index is entered once for each: at the first key behind the folder before (a "loose index
    scan"), so that what is inside is never read.
    """

    name = "folder"

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def entries(self, cursor: list[Any] | None, limit: int, *, backward: bool) -> list[str]:
        edge = "folder > %(folder)s" + (" AND folder < %(end)s" if self._folder else "")
        step = "folder < prefix" if backward else "folder >= left(prefix, -1) || '0'"
        start = edge
        if cursor is not None:
            start += " AND " + step.replace("prefix", "%(cursor)s::text")
        find = (
            "SELECT left(folder, %(length)s + strpos(substr(folder, %(length)s + 1), '/'))"  # noqa: S608
            " FROM files WHERE deleted_at IS NULL AND {}"
            f" ORDER BY folder {'DESC' if backward else 'ASC'} LIMIT 1"
        )
        sql = (
            f"WITH RECURSIVE found (prefix) AS (({find.format(start)}) UNION ALL"  # noqa: S608
            f" SELECT ({find.format(f'{edge} AND {step}')}) FROM found WHERE prefix IS NOT NULL)"
            " SELECT prefix FROM found WHERE prefix IS NOT NULL LIMIT %(limit)s"
        )
        with connection.cursor() as database:
            database.execute(
                sql,
                {
                    "folder": self._folder,
                    "length": len(self._folder),
                    "end": _after(self._folder),
                    "cursor": str(cursor[0]) if cursor else None,
                    "limit": limit,
                },
            )
            return [prefix for (prefix,) in database.fetchall()]


class _Files:
    """Files by keyset: a page begins where the one before ended, at the same cost at any depth."""

    name = "file"

    def __init__(self, files: QuerySet[File], order: Order, descending: bool) -> None:
        self._files = files
        self._order = order
        self._descending = descending

    def entries(self, cursor: list[Any] | None, limit: int, *, backward: bool) -> list[File]:
        columns = ORDERS[self._order]
        descending = self._descending != backward
        files = self._files.order_by(
            *(column.desc() if descending else column.asc() for column in columns)
        )
        if cursor is not None:
            files = files.filter(_Beyond(columns, self._values(cursor), descending))
        return list(files[:limit])

    def _values(self, cursor: list[Any]) -> list[Any]:
        kinds: dict[Order, list[Callable[[Any], Any]]] = {
            "object_key": [str],
            "size": [int, int],
            "modified_at": [datetime.fromisoformat, int],
        }
        return [kind(value) for kind, value in zip(kinds[self._order], cursor, strict=True)]


class _Beyond(Func):
    """A comparison of rows, ``(a, b) > (x, y)``, which PostgreSQL answers from one index."""

    template = "%(expressions)s"
    output_field = models.BooleanField()

    def __init__(self, columns: Sequence[Any], values: Sequence[Any], descending: bool) -> None:
        super().__init__(_row(*columns), _row(*map(Value, values)))
        self.arg_joiner = " < " if descending else " > "


def _row(*expressions: Any) -> Func:
    return Func(*expressions, template="(%(expressions)s)", output_field=models.TextField())
