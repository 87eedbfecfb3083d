"""Objects without a row, which get one in the trash, to be restored until that is emptied."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import connection

from files.activity import actor_name
from files.catalogue.importing import NOT_NAMED
from files.catalogue.walk import Part, Stretch, Walk
from files.keys import OWNER, RESERVED
from files.storage import Entry

# S3's console makes an object of the prefix alone, where somebody makes a folder.
NEVER = {OWNER, RESERVED}

# One statement, so that what a row or an operation names by then is left as it is.
INSERT = f"""
    INSERT INTO files (object_key, size, etag, modified_at, storage_class, content_type,
                       deleted_at, deleted_by, original_key)
    SELECT key, bytes, tag, date_trunc('second', modified), class, kind,
           now(), %s, CASE WHEN starts_with(key, '{RESERVED}') THEN key ELSE '' END
    FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::timestamptz[], %s::text[], %s::text[])
        AS o (key, bytes, tag, modified, class, kind)
    WHERE {NOT_NAMED}
    ON CONFLICT (object_key) DO NOTHING
    RETURNING object_key
"""  # noqa: S608


class Orphans(NamedTuple):
    """What was found in a stretch that ends with the key `upto`, or with the part.

    `unusable` are keys that no row can hold.
    """

    upto: str | None
    objects: int
    keys: Sequence[str]
    unusable: Sequence[str]


def find_orphans(
    part: Part, *, before: datetime | None = None, trash: bool = False
) -> Iterator[Orphans]:
    """Yield the objects that neither a row nor an operation names, stretch by stretch.

    They were written before, and have been looked at twice. With `trash` each gets a row in the
    trash, and those that have got one are yielded. Raises S3's errors.
    """
    walk = Walk(part)
    for stretch in walk.stretches():
        found = _without_row(stretch, before)
        if found:
            found = _without_row(walk.look_again(stretch, found), before)
        keys = _trash(walk, found.values()) if trash and found else found
        unusable = [entry.key for entry in stretch.unusable if _is_older(entry, before)]
        yield Orphans(
            stretch.upto, len(stretch.objects), [key for key in found if key in keys], unusable
        )


def _without_row(stretch: Stretch, before: datetime | None) -> dict[str, Entry]:
    return {
        key: entry
        for key, entry in stretch.objects.items()
        if key not in stretch.rows and key not in NEVER and _is_older(entry, before)
    }


def _is_older(entry: Entry, before: datetime | None) -> bool:
    return before is None or entry.modified_at < before


def _trash(walk: Walk, entries: Collection[Entry]) -> set[str]:
    """Make rows in the trash; return the keys of those that are made."""
    rows = [(*entry[:5], walk.storage.guess_type(entry.key)) for entry in entries]
    with connection.cursor() as cursor:
        columns = [list(column) for column in zip(*rows, strict=True)]
        cursor.execute(INSERT, [actor_name(), *columns])
        return {key for (key,) in cursor}
