"""What is done about the keys that events of S3 name.

Events come late, in any order and more than once, so that one is no more than a hint: the object is
asked for, and the row is brought in step with what is there now.
"""

from collections.abc import Collection, Iterable
from concurrent.futures import Executor
from functools import partial
from typing import TypeAlias

from django.db import transaction
from django.db.models import Exists
from django.utils import timezone

from files import operations
from files.catalogue.events import Place
from files.catalogue.importing import write
from files.catalogue.walk import usable
from files.keys import RESERVED
from files.models import File
from files.storage import Entry

Outcome: TypeAlias = str | OSError

# What became of a key: its row is new, brought in step, marked as missing, or was in step. Or it is
# to be come back to, as an operation names it, or somebody has changed row or object meanwhile.
ADDED, UPDATED, MISSING, SAME, BUSY = "+", "*", "-", "=", "~"


def ours(places: Iterable[Place]) -> set[str]:
    """Return the keys that are in this catalogue's part of the bucket, and not the project's own.

    There may be some of which no row can hold the key.
    """
    storage = File().storage
    bucket, location = storage.bucket_name, storage.location
    keys = {
        place.key[len(location) :]
        for place in places
        if place.bucket == bucket and place.key.startswith(location)
    }
    return {key for key in keys if key and not key.startswith(RESERVED)}


def is_usable(key: str) -> bool:
    """Return whether a row can hold the key."""
    return usable(key) == key


def sync(keys: Collection[str], threads: Executor) -> dict[str, Outcome]:
    """Bring rows in step with the objects of these keys; return what became of each.

    That is one of the signs, or S3's error, by which nothing was done. S3 is asked in the threads.
    What is in the trash stays as it is.
    """
    files = File.objects.in_bulk(list(keys), field_name="object_key")
    named = operations.named(keys)
    found = _ask(sorted(key for key in {*keys} - named if not _is_trashed(files.get(key))), threads)
    behind = {
        key: entry
        for key, entry in found.items()
        if isinstance(entry, Entry) and _is_behind(files.get(key), entry)
    }
    gone = [
        files[key]
        for key, entry in found.items()
        if entry is None and key in files and not files[key].missing_at
    ]
    unwritten = {*behind, *map(str, gone)}
    outcomes: dict[str, Outcome] = dict.fromkeys(sorted(keys), SAME)
    outcomes |= dict.fromkeys(named | unwritten, BUSY)
    outcomes |= {key: error for key, error in found.items() if isinstance(error, OSError)}
    try:
        outcomes |= _write(behind, files, threads)
        outcomes |= _mark_missing(gone, threads)
    except OSError as error:
        outcomes |= {key: error for key in unwritten if outcomes[key] == BUSY}
    return outcomes


def _is_trashed(file: File | None) -> bool:
    return file is not None and file.deleted_at is not None


def _is_behind(file: File | None, entry: Entry) -> bool:
    """Return whether there is no row, or one that tells of the object what is not so."""
    if file is None:
        return True
    columns = operations.columns(entry.stat, file)
    return {name: getattr(file, name) for name in columns} != columns


def _write(
    behind: dict[str, Entry], files: dict[str, File], threads: Executor
) -> dict[str, Outcome]:
    known = {key: (files[key].pk, files[key].etag) for key in behind if key in files}
    added, updated = write(behind, known, partial(_look, threads))
    return {**dict.fromkeys(added, ADDED), **dict.fromkeys(updated, UPDATED)}


def _mark_missing(gone: list[File], threads: Executor) -> dict[str, Outcome]:
    """Note that the objects are missing, unless one is back before that is committed."""
    with transaction.atomic():
        marked = [str(file) for file in gone if _mark(file)]
        if not _look(threads, marked):
            return dict.fromkeys(marked, MISSING)
        transaction.set_rollback(True)
    return {}


def _mark(file: File) -> bool:
    """Write it to the row that was seen, unless an operation names the key."""
    same = File.objects.live().filter(pk=file.pk, object_key=str(file), etag=file.etag)
    free = same.filter(~Exists(operations.on_keys([str(file)])))
    return bool(free.update(missing_at=timezone.now(), changed_at=None))


def _ask(keys: list[str], threads: Executor) -> dict[str, Entry | OSError | None]:
    return dict(zip(keys, threads.map(_entry, keys), strict=True))


def _entry(key: str) -> Entry | OSError | None:
    try:
        return File().storage.entry(key)
    except OSError as error:
        return error


def _look(threads: Executor, keys: Collection[str]) -> dict[str, Entry]:
    """Return the objects that there are now. Raises S3's errors."""
    found = zip(keys, threads.map(File().storage.entry, keys), strict=True)
    return {key: entry for key, entry in found if entry is not None}
