"""Rows for objects that have none."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from django.db import IntegrityError, connection, transaction

from files.catalogue.inventory import Report, ReportFile, ReportWalk
from files.catalogue.walk import Part, Row, Stretch, Walk
from files.keys import RESERVED
from files.models import File
from files.storage import Entry

LOOKS = 100  # objects of a report that are looked at, of each BATCH

COLUMNS = "object_key, size, etag, modified_at, storage_class, content_type"
# What is listed, for the moment: COPY takes a quarter of the CPU of an INSERT's parameters.
LISTED = """
    CREATE TEMPORARY TABLE IF NOT EXISTS files_listed (
        key text COLLATE "C", bytes bigint, tag text, modified timestamptz, class text, guess text,
        kind text, file_id bigint, old_tag text
    ) ON COMMIT DELETE ROWS;
    DELETE FROM files_listed
"""
# What is under way, or was interrupted, is not ours to make a row of.
NOT_NAMED = """
    NOT EXISTS (SELECT FROM files_operation WHERE object_key = key)
    AND NOT EXISTS (SELECT FROM files_operation WHERE copy_key = key)
"""
INSERT = f"""
    INSERT INTO files ({COLUMNS})
    SELECT key, bytes, tag, modified, class, coalesce(kind, guess)
    FROM files_listed WHERE file_id IS NULL AND {NOT_NAMED}
    ON CONFLICT (object_key) DO NOTHING
    RETURNING object_key
"""  # noqa: S608
UPDATE = f"""
    UPDATE files
    SET size = bytes, etag = tag, modified_at = modified,
        storage_class = class, content_type = coalesce(kind, nullif(content_type, ''), guess),
        missing_at = NULL, changed_at = NULL,
        damaged_at = CASE WHEN tag = old_tag THEN damaged_at END,
        verified_at = CASE WHEN tag = old_tag THEN verified_at END,
        checksum = CASE WHEN tag = old_tag THEN checksum ELSE '' END
    FROM files_listed
    WHERE id = file_id AND object_key = key AND etag = old_tag AND {NOT_NAMED}
    RETURNING object_key
"""  # noqa: S608


class Imported(NamedTuple):
    """What became of a stretch that ends with the key `upto`, or with the part.

    `added` and `updated` are keys, `unusable` those that no row can hold, `reserved` how many
    objects there are that the project keeps for itself; of a report, `unseen` is how many rows are
    as it says, and `files` how many of its files end here.
    """

    upto: str | None
    objects: int
    bytes: int
    added: Sequence[str]
    updated: Sequence[str]
    unusable: Sequence[str]
    reserved: int
    unseen: int = 0
    files: int = 0


def import_objects(
    part: Part, *, update: bool = False, dry_run: bool = False
) -> Iterator[Imported]:
    """Make a row for each object that has none, stretch by stretch, each of them committed.

    A row without size or ETag is completed, and with `update` one whose object is another by now is
    brought in step. A dry run writes nothing and yields the same. Raises S3's errors.
    """
    walk = Walk(part)
    for stretch in walk.stretches():
        yield _import(walk, stretch, update, dry_run)


def import_file(
    file: ReportFile,
    report: Report,
    *,
    prefix: str = "",
    update: bool = False,
    dry_run: bool = False,
) -> Iterator[Imported]:
    """Do as `import_objects` with what a file of a report tells, BATCH objects at a time.

    Objects are looked at where there are no more than LOOKS to write; more are taken as reported.
    """
    walk = ReportWalk(report, prefix, LOOKS)
    for stretch in walk.of_file(file):
        found = _import(walk, stretch, update, dry_run)
        written = len(found.added) + len(found.updated)
        yield found._replace(unseen=written if written > LOOKS else 0)
    yield Imported(None, 0, 0, (), (), (), 0, files=1)


def _import(walk: Walk, stretch: Stretch, update: bool, dry_run: bool) -> Imported:
    objects = stretch.objects
    behind = {
        key: entry
        for key, entry in objects.items()
        if not key.startswith(RESERVED) and _is_behind(stretch.rows.get(key), entry, update)
    }
    take = _tell if dry_run else _write
    added, updated = take(walk, stretch, behind) if behind else ([], [])
    return Imported(
        stretch.upto,
        len(objects) + len(stretch.unusable),
        sum(entry.size for entry in objects.values()),
        added,
        updated,
        [entry.key for entry in stretch.unusable],
        sum(key.startswith(RESERVED) for key in objects),
    )


def _is_behind(row: Row | None, entry: Entry, update: bool) -> bool:
    """Return whether the row is to be written: it lacks what the listing tells, or is another's."""
    if row is None:
        return True
    if row.is_trashed:
        return False
    if row.size is None or not row.etag:
        return True
    if row.is_young:
        return False
    is_same = (row.size, row.etag) == (entry.size, entry.etag)
    return row.is_missing or row.is_changed if is_same else update


def _tell(walk: Walk, stretch: Stretch, found: dict[str, Entry]) -> tuple[list[str], list[str]]:
    """Return the keys that would be added and updated."""
    now = walk.look_again(stretch, found)
    added = [key for key in now.objects if key not in now.rows]
    return added, [key for key in now.objects if key in now.rows]


def _write(walk: Walk, stretch: Stretch, found: dict[str, Entry]) -> tuple[list[str], list[str]]:
    known = {key: (row.id, row.etag) for key, row in stretch.rows.items() if key in found}
    return write(found, known, partial(walk.objects_now, stretch))


def write(
    found: Mapping[str, Entry],
    known: Mapping[str, tuple[int, str]],
    look: Callable[[Collection[str]], Mapping[str, Entry]],
) -> tuple[list[str], list[str]]:
    """Write the rows of these objects; return the keys that were added and updated.

    `known` are id and ETag of the rows that there are, which stay as they are where somebody has
    changed them. Before the commit, but when nobody else of this catalogue can delete an object of
    these any more, they are looked at once more: where one has changed or gone, it is done again.
    """
    while found:
        with transaction.atomic():
            added, updated = _execute(found, known)
            written = {*added, *updated}
            now = look(written)
            if all(_is_same(now.get(key), found[key]) for key in written):
                return added, updated
            transaction.set_rollback(True)
        found = {key: now[key] for key in found if key in now}
    return [], []


def _copied(found: Mapping[str, Entry]) -> bool:
    """Make rows of all of them at once, unless somebody has one by now, or is working on it."""
    try:
        with transaction.atomic():
            facts = (
                (*each, guess if kind is None else kind) for *each, guess, kind in _facts(found)
            )
            _copy(f"files ({COLUMNS})", facts)
            is_free = not _is_worked_on(found)
            transaction.set_rollback(not is_free)
    except IntegrityError:
        return False
    return is_free


def _is_worked_on(found: Mapping[str, Entry]) -> bool:
    """Return whether an operation names one of them; the keys are asked for as a range."""
    bounds = [min(found), max(found)]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT unnest(ARRAY[object_key, copy_key]) FROM files_operation"
            " WHERE object_key BETWEEN %s AND %s OR copy_key BETWEEN %s AND %s",
            bounds * 2,
        )
        return any(key in found for (key,) in cursor)


def _copy(table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    with (
        connection.cursor() as cursor,
        connection.wrap_database_errors,
        cursor.copy(f"COPY {table} FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)


def _facts(found: Mapping[str, Entry]) -> Iterator[tuple[Any, ...]]:
    """Yield what rows have of each object, the type as it is guessed and as it is told.

    Times are in whole seconds; a report may have none.
    """
    guess_type = File().storage.guess_type
    for key, size, etag, modified, storage_class, kind in found.values():
        time = f"{modified[:19]}Z" if modified.endswith("Z") else modified or None
        yield key, size, etag, time, storage_class, guess_type(key), kind


def _is_same(now: Entry | None, entry: Entry) -> bool:
    return now is not None and (now.size, now.etag) == (entry.size, entry.etag)


def _execute(
    found: Mapping[str, Entry], known: Mapping[str, tuple[int, str]]
) -> tuple[list[str], list[str]]:
    if known.keys().isdisjoint(found) and _copied(found):
        return list(found), []
    with connection.cursor() as cursor:
        cursor.execute(LISTED)
        facts = ((*each, *known.get(each[0], (None, None))) for each in _facts(found))
        _copy("files_listed", facts)
        cursor.execute(INSERT)
        added = [key for (key,) in cursor]
        if known.keys().isdisjoint(found):
            return added, []
        cursor.execute(UPDATE)
        return added, [key for (key,) in cursor]
