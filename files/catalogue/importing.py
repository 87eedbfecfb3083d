"""Rows for objects that have none."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from django.db import connection, transaction

from files.catalogue.walk import Part, Row, Stretch, Walk
from files.keys import RESERVED
from files.models import File
from files.storage import Entry

# What is under way, or was interrupted, is not ours to make a row of.
NOT_NAMED = """
    NOT EXISTS (SELECT FROM files_operation WHERE object_key = key)
    AND NOT EXISTS (SELECT FROM files_operation WHERE copy_key = key)
"""
OBJECTS = """
    unnest(
        %(keys)s::text[], %(sizes)s::bigint[], %(etags)s::text[], %(modified)s::timestamptz[],
        %(classes)s::text[], %(types)s::text[], %(ids)s::bigint[], %(old)s::text[]
    ) AS o (key, bytes, tag, modified, class, kind, file_id, old_tag)
"""
INSERT = f"""
    INSERT INTO files (object_key, size, etag, modified_at, storage_class, content_type)
    SELECT key, bytes, tag, date_trunc('second', modified), class, kind
    FROM {OBJECTS} WHERE {NOT_NAMED}
    ON CONFLICT (object_key) DO NOTHING
    RETURNING object_key
"""  # noqa: S608
UPDATE = f"""
    UPDATE files
    SET size = bytes, etag = tag, modified_at = date_trunc('second', modified),
        storage_class = class, content_type = coalesce(nullif(content_type, ''), kind),
        missing_at = NULL, changed_at = NULL,
        damaged_at = CASE WHEN tag = old_tag THEN damaged_at END,
        verified_at = CASE WHEN tag = old_tag THEN verified_at END,
        checksum = CASE WHEN tag = old_tag THEN checksum ELSE '' END
    FROM {OBJECTS}
    WHERE id = file_id AND object_key = key AND etag = old_tag AND {NOT_NAMED}
    RETURNING object_key
"""  # noqa: S608


class Imported(NamedTuple):
    """What became of a stretch that ends with the key `upto`, or with the part.

    `added` and `updated` are keys, `unusable` those that no row can hold, `reserved` how many
    objects there are that the project keeps for itself.
    """

    upto: str | None
    objects: int
    bytes: int
    added: Sequence[str]
    updated: Sequence[str]
    unusable: Sequence[str]
    reserved: int


def import_objects(
    part: Part, *, update: bool = False, dry_run: bool = False
) -> Iterator[Imported]:
    """Make a row for each object that has none, stretch by stretch, each of them committed.

    A row without size or ETag is completed, and with `update` one whose object is another by now is
    brought in step. A dry run writes nothing and yields the same. Raises S3's errors.
    """
    walk = Walk(part)
    for stretch in walk.stretches():
        objects = stretch.objects
        behind = {
            key: entry
            for key, entry in objects.items()
            if not key.startswith(RESERVED) and _is_behind(stretch.rows.get(key), entry, update)
        }
        write = _tell if dry_run else _write
        added, updated = write(walk, stretch, behind) if behind else ([], [])
        yield Imported(
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
    is_same = (row.size, row.etag) == (entry.size, entry.etag)
    return row.is_missing or row.is_changed if is_same else update


def _tell(walk: Walk, stretch: Stretch, found: dict[str, Entry]) -> tuple[list[str], list[str]]:
    """Return the keys that would be added and updated."""
    now = walk.look_again(stretch, found)
    added = [key for key in now.objects if key not in now.rows]
    return added, [key for key in now.objects if key in now.rows]


def _write(walk: Walk, stretch: Stretch, found: dict[str, Entry]) -> tuple[list[str], list[str]]:
    """Write the rows of these objects; return the keys that were added and updated.

    Before the commit, but when nobody else of this catalogue can delete an object of these any
    more, they are looked at once more: where one has changed or gone, it is done again.
    """
    while True:
        with transaction.atomic():
            added = execute(INSERT, [(entry, None) for entry in found.values()])
            old = [
                (entry, stretch.rows[key]) for key, entry in found.items() if key in stretch.rows
            ]
            updated = execute(UPDATE, old)
            written = {*added, *updated}
            now = walk.objects_now(stretch, written)
            if all(_is_same(now.get(key), found[key]) for key in written):
                return added, updated
            transaction.set_rollback(True)
        found = {key: now[key] for key in found if key in now}


def _is_same(now: Entry | None, entry: Entry) -> bool:
    return now is not None and (now.size, now.etag) == (entry.size, entry.etag)


def execute(sql: str, found: "Sequence[tuple[Entry, Row | None]]") -> list[str]:
    """Write the rows; return the keys of those that are written."""
    if not found:
        return []
    guess_type = File().storage.guess_type
    parameters: Any = {
        "keys": [entry.key for entry, _row in found],
        "sizes": [entry.size for entry, _row in found],
        "etags": [entry.etag for entry, _row in found],
        "modified": [entry.modified for entry, _row in found],
        "classes": [entry.storage_class for entry, _row in found],
        "types": [guess_type(entry.key) for entry, _row in found],
        "ids": [row and row.id for _entry, row in found],
        "old": [row and row.etag for _entry, row in found],
    }
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return [key for (key,) in cursor]
