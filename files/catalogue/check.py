"""The differences between bucket and rows, by rclone's signs."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from django.db import connection

from files.catalogue.inventory import Report, ReportWalk
from files.catalogue.walk import Part, Row, Stretch, Walk
from files.keys import OWNER
from files.storage import ARCHIVED, Entry

SAME, NO_OBJECT, NO_ROW, DIFFERS = "=", "-", "+", "*"


class Finding(NamedTuple):
    """What there is of a key, and the sign for it."""

    sign: str
    key: str
    object: Entry | None
    row: Row | None


class Checked(NamedTuple):
    """What was found in a stretch that ends with the key `upto`, or with the part.

    Of a report, `young` is how many rows differ that are younger, `files` how many files end here.
    """

    upto: str | None
    objects: int
    rows: int
    archived: int
    findings: Sequence[Finding]
    young: int = 0
    files: int = 0


def check(part: Part, *, with_same: bool = False, mark: bool = False) -> Iterator[Checked]:
    """Yield what is found, stretch by stretch; `mark` writes it to the rows too.

    Files in the trash are no difference, nor is what operations under way name; what differs has
    been looked at twice. Raises S3's errors.
    """
    walk = Walk(part)
    for stretch in walk.stretches():
        found = _judge(walk, stretch, mark)
        yield Checked(
            stretch.upto,
            len(stretch.objects) + len(stretch.unusable),
            len(stretch.rows),
            _archived(stretch.objects.values()),
            [finding for finding in found if with_same or finding.sign != SAME],
        )


def check_report(
    report: Report, *, prefix: str = "", with_same: bool = False, mark: bool = False
) -> Iterator[Checked]:
    """Do as `check` with a report in place of the listing: it is copied, and the database compares.

    Each object that differs is looked at. Rows that are younger than the report are not judged.
    """
    walk = ReportWalk(report, prefix, math.inf)
    walk.make_table()
    for file in report.files:
        for entries, unusable in walk.load(file):
            alone = [Finding(NO_ROW, entry.key, entry, None) for entry in unusable]
            yield Checked(None, len(entries) + len(unusable), 0, _archived(entries), alone)
        yield Checked(None, 0, 0, 0, [], files=1)
    yield Checked(None, 0, walk.number_of_rows(), 0, [])
    for stretch in walk.differences(with_same=with_same):
        found = _judge(walk, stretch, mark)
        young = sum(_is_unjudged(stretch, row) for row in stretch.rows.values())
        told = [finding for finding in found if with_same or finding.sign != SAME]
        yield Checked(None, 0, 0, 0, told, young)


def _judge(walk: Walk, stretch: Stretch, mark: bool) -> list[Finding]:
    """Return the findings, those that differ looked at once more, and write them to the rows."""
    found = compare(stretch)
    differing = [finding.key for finding in found if finding.sign != SAME]
    if differing:
        again = compare(walk.look_again(stretch, differing))
        found = [finding for finding in found if finding.sign == SAME] + again
        found.sort(key=lambda finding: finding.key)
    found += [Finding(NO_ROW, entry.key, entry, None) for entry in stretch.unusable]
    if mark:
        _mark(found)
    return found


def _archived(entries: Iterable[Entry]) -> int:
    return sum(entry.storage_class in ARCHIVED for entry in entries)


def _is_unjudged(stretch: Stretch, row: Row) -> bool:
    return row.is_young and _sign(stretch.objects.get(row.key), row) != SAME


def compare(stretch: Stretch) -> list[Finding]:
    """Return a finding for each key of the stretch, in order, but for files in the trash.

    Nor is there one for a row that differs from what is older than itself.
    """
    objects, rows = stretch.objects, stretch.rows
    return [
        Finding(_sign(objects.get(key), rows.get(key)), key, objects.get(key), rows.get(key))
        for key in sorted(objects.keys() | rows.keys())
        if key != OWNER
        and not (key in rows and (rows[key].is_trashed or _is_unjudged(stretch, rows[key])))
    ]


def _sign(entry: Entry | None, row: Row | None) -> str:
    if row is None:
        return NO_ROW
    if entry is None:
        return NO_OBJECT
    return SAME if (entry.size, entry.etag) == (row.size, row.etag) else DIFFERS


def _mark(findings: Sequence[Finding]) -> None:
    """Write to the rows what is found, where it is new, as long as they are those seen here."""
    marks = [
        (row.id, row.key, row.etag, sign)
        for sign, _key, _object, row in findings
        if row is not None
        and not row.is_young
        and (row.is_missing, row.is_changed) != (sign == NO_OBJECT, sign == DIFFERS)
    ]
    if not marks:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE files
            SET missing_at = CASE WHEN sign = '-' THEN coalesce(missing_at, now()) END,
                changed_at = CASE WHEN sign = '*' THEN coalesce(changed_at, now()) END
            FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[]) AS o (pk, key, tag, sign)
            WHERE id = pk AND object_key = key AND etag = tag
            """,
            [list(column) for column in zip(*marks, strict=True)],
        )
