"""Reports of S3 Inventory in place of a listing: a manifest, and files of CSV packed by gzip.

A report tells what there was when S3 began it, or soon after, in no order.
"""

import csv
import errno
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple, Self
from urllib.parse import unquote_plus, urlsplit

from django.db import connection

from files.catalogue.walk import COLUMNS, Part, Row, Stretch, Walk, key_range, usable
from files.models import File
from files.storage import Entry, ObjectFile, ObjectStorage, S3Error, be_in_background

BATCH = 5000  # objects of a file that are written at a time
PAGE = 1000  # differences that are judged at a time
LOOKERS = 16  # HEAD requests at a time

# Of each object it is looked up whether its row was written, or looked at, after the report began.
IS_YOUNG = "greatest(created_at, modified_at, missing_at, changed_at) > %s"
COPY = "COPY files_reported FROM STDIN"
REPORTED = """
    DROP TABLE IF EXISTS pg_temp.files_reported;
    CREATE TEMPORARY TABLE files_reported (
        key text COLLATE "C", bytes bigint, tag text, modified text, class text
    )
"""
# By the index key for key: of so many keys PostgreSQL would read a table of middle size whole.
ROWS_OF = f"""
    SELECT found.* FROM unnest(%s::text[]) AS wanted (key)
    CROSS JOIN LATERAL (
        SELECT {COLUMNS}, {IS_YOUNG} FROM files WHERE object_key = wanted.key LIMIT 1
    ) AS found
"""  # noqa: S608
# What agrees stays in the database, but for what was marked before.
DIFFERENCES = f"""
    SELECT {COLUMNS}, {IS_YOUNG}, key, bytes, tag, modified, class
    FROM (SELECT * FROM files WHERE {{rows}}) AS rows
    FULL JOIN files_reported ON key = object_key
    WHERE deleted_at IS NULL
        AND (%s OR (bytes, tag) IS DISTINCT FROM (size, etag)
            OR missing_at IS NOT NULL OR changed_at IS NOT NULL)
    ORDER BY coalesce(key, object_key)
"""  # noqa: S608

CHOOSE = "choose Size, Last modified, ETag and Storage class in its configuration"


class InventoryError(Exception):
    """What is named is no report that can be used: the text says what to do."""


class ReportFile(NamedTuple):
    """A file of a report, with the MD5 that its manifest tells in hexadecimal digits."""

    key: str
    md5: str

    def __str__(self) -> str:
        return f"the inventory's file {self.key!r}"


class Report(NamedTuple):
    """A report of our bucket that S3 began `at` this time, as its manifest tells."""

    storage: ObjectStorage
    at: datetime
    columns: dict[str, int]
    files: list[ReportFile]

    @classmethod
    def read(cls, url: str) -> Self:
        """Read a manifest at ``s3://bucket/key``. Raises InventoryError, and S3's errors."""
        place = urlsplit(url, allow_fragments=False)
        storage = File().storage.of_bucket(place.netloc)
        try:
            with storage.open(url.removeprefix(f"s3://{place.netloc}/")) as file:
                text = file.read()
        except FileNotFoundError:
            raise InventoryError(f"There is no manifest at {url}.") from None
        try:
            manifest = json.loads(text)
            names = [name.strip() for name in manifest["fileSchema"].split(",")]
            _refuse_unusable(manifest, names)
            return cls(
                storage,
                datetime.fromtimestamp(int(manifest["creationTimestamp"]) / 1000, UTC),
                {name: number for number, name in enumerate(names)},
                [ReportFile(each["key"], each["MD5checksum"]) for each in manifest["files"]],
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InventoryError(f"{url} is no manifest.json of S3 Inventory.") from None

    def batches(self, file: ReportFile) -> Iterator[list[Entry]]:
        """Yield the objects of a file, BATCH at a time, once its MD5 has been found right.

        Keys are as in a listing. Raises S3's errors, and S3Error for a file that is damaged.
        """
        with self.storage.open(file.key) as content:
            if _md5(content) != file.md5:
                text = "The file is not the one that the manifest of the inventory names"
                raise S3Error(errno.EIO, text, file.key)
            content.seek(0)
            try:
                entries = self._entries(content)
                while batch := list(islice(entries, BATCH)):
                    yield batch
            except (csv.Error, EOFError, IndexError, ValueError, gzip.BadGzipFile, zlib.error):
                text = "The file is no CSV of S3 Inventory, packed by gzip"
                raise S3Error(errno.EIO, text, file.key) from None

    def _entries(self, content: ObjectFile) -> Iterator[Entry]:
        """Yield the current versions of the objects; what was not chosen is empty."""
        location, find = File().storage.location, self.columns.get
        key, size, etag = self.columns["Key"], self.columns["Size"], self.columns["ETag"]
        modified, kind = find("LastModifiedDate"), find("StorageClass")
        is_latest, is_deleted = find("IsLatest"), find("IsDeleteMarker")
        with gzip.open(content) as packed, io.TextIOWrapper(packed, "utf-8", newline="") as text:
            for line in csv.reader(text):
                if is_latest is not None and line[is_latest] != "true":
                    continue
                if is_deleted is not None and line[is_deleted] == "true":
                    continue
                full_key = unquote_plus(line[key], errors="surrogateescape")
                if full_key.startswith(location):
                    yield Entry(
                        full_key[len(location) :],
                        int(line[size]),
                        f'"{line[etag]}"',
                        line[modified] if modified is not None else "",
                        line[kind] if kind is not None else "",
                    )

    def __str__(self) -> str:
        return f"the inventory of {self.at:%Y-%m-%d %H:%M} UTC"


def _refuse_unusable(manifest: Any, names: list[str]) -> None:
    """Raise InventoryError for another bucket or format, and for columns that are missing."""
    ours, theirs = File().storage.bucket_name, manifest["sourceBucket"]
    if theirs != ours:
        raise InventoryError(f"The inventory is of the bucket {theirs}, and not of {ours}.")
    if (found := manifest["fileFormat"]) != "CSV":
        raise InventoryError(
            f"The inventory is in {found}: choose CSV as its format in its configuration, and take"
            " the next report."
        )
    if missing := [name for name in ("Size", "ETag") if name not in names]:
        raise InventoryError(
            f"The inventory does not tell {' and '.join(missing)}: {CHOOSE}, and take the next"
            " report."
        )


def _md5(content: ObjectFile) -> str:
    found = hashlib.md5(usedforsecurity=False)
    for chunk in content.chunks():
        found.update(chunk)
    return found.hexdigest()


class ReportWalk(Walk):
    """Goes through what a report tells of the keys with a prefix.

    Where it is asked for more than `looks` objects of one stretch, it says what the report does.
    """

    def __init__(self, report: Report, prefix: str, looks: float) -> None:
        super().__init__(Part(prefix))
        self.report = report
        self.looks = looks

    def of_file(self, file: ReportFile) -> Iterator[Stretch]:
        """Yield what a file tells, with the rows of its keys, in stretches of BATCH objects.

        Each is in order, so that two workers never wait for each other's rows in a circle.
        """
        for entries, unusable in self._batches(file):
            entries.sort()
            objects = {entry.key: entry for entry in entries}
            yield Stretch("", None, objects, self._rows_of(list(objects)), unusable)

    def make_table(self) -> None:
        """Make the table of this session into which the report is copied, anew."""
        with connection.cursor() as cursor:
            cursor.execute(REPORTED)

    def load(self, file: ReportFile) -> Iterator[tuple[list[Entry], list[Entry]]]:
        """Copy a file of the report into the table; yield its objects, as it goes, by `_batches`.

        Those of which no row can hold the key are not in the table.
        """
        for entries, unusable in self._batches(file):
            with (
                connection.cursor() as cursor,
                connection.wrap_database_errors,
                cursor.copy(COPY) as copy,
            ):
                for entry in entries:
                    copy.write_row(entry[:5])
            yield entries, unusable

    def number_of_rows(self) -> int:
        """Return how many rows there are, those in the trash among them."""
        condition, parameters = key_range(self.part.prefix)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM files WHERE {condition}", parameters)  # noqa: S608
            return int(cursor.fetchone()[0])

    def differences(self, *, with_same: bool) -> Iterator[Stretch]:
        """Yield where the rows and the table of the report differ, in the order of the keys.

        The database finds and sorts them, and keeps them until they are taken.
        """
        condition, parameters = key_range(self.part.prefix)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE files_reported")
        with connection.chunked_cursor() as cursor:
            sql = DIFFERENCES.format(rows=condition)
            cursor.execute(sql, [self.report.at, *parameters, with_same])
            while found := cursor.fetchmany(PAGE):
                rows = [Row(*each[: len(Row._fields)]) for each in found]
                entries = [Entry(*each[len(Row._fields) :]) for each in found]
                yield Stretch(
                    "",
                    None,
                    {entry.key: entry for entry in entries if entry.key is not None},
                    {row.key: row for row in rows if row.key is not None},
                )

    def objects_now(self, stretch: Stretch, keys: Collection[str]) -> dict[str, Entry]:
        """Return the objects of these keys that there are now, or as in the report where many."""
        if len(keys) > self.looks:
            return {key: stretch.objects[key] for key in keys if key in stretch.objects}
        with ThreadPoolExecutor(LOOKERS, "look", initializer=be_in_background) as threads:
            found = threads.map(self.storage.entry, keys)
            return {entry.key: entry for entry in found if entry}

    def _batches(self, file: ReportFile) -> Iterator[tuple[list[Entry], list[Entry]]]:
        """Yield the objects with the prefix, and apart those of which no row can hold the key."""
        for batch in self.report.batches(file):
            entries: list[Entry] = []
            unusable: list[Entry] = []
            for entry in batch:
                if entry.key.startswith(self.part.prefix):
                    is_usable = entry.key and usable(entry.key) == entry.key
                    (entries if is_usable else unusable).append(entry)
            yield entries, unusable

    def _rows_of(self, keys: list[str]) -> dict[str, Row]:
        with connection.cursor() as cursor:
            cursor.execute(ROWS_OF, [keys, self.report.at])
            return {row[1]: Row(*row) for row in cursor}
