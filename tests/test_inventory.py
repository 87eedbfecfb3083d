"""`import_files` and `check_files` with reports of S3 Inventory, as AWS writes them."""

import contextlib
import csv
import gzip
import hashlib
import io
import itertools
import json
from datetime import timedelta
from urllib.parse import quote_plus

import pytest
from django.core.files.base import ContentFile
from django.core.management.base import CommandError
from django.db import DatabaseError
from django.utils import timezone

from files.catalogue import importing, inventory
from files.catalogue.importing import import_file
from files.catalogue.inventory import Report
from files.models import File, Operation
from project.sandbox import services
from tests import location
from tests.faults import Kill, KilledError, Steps
from tests.operations import execute
from tests.test_check_files import check
from tests.test_import_files import rows
from tests.test_import_files import run as import_files
from tests.test_storage import KEYS, listed

pytestmark = pytest.mark.django_db

SCHEMA = "Bucket, Key, Size, LastModifiedDate, ETag, StorageClass"
VERSIONED = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag"
MANIFEST = "reports/2026-11-27T01-00Z/manifest.json"
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def reports(own_services, bucket):
    """The name of a bucket of its own for reports."""
    name, s3 = f"{bucket}-reports", location.client()
    services.make_bucket(s3, name)
    yield name
    for entry in s3.list_objects_v2(Bucket=name).get("Contents", ()):
        s3.delete_object(Bucket=name, Key=entry["Key"])
    s3.delete_bucket(Bucket=name)


def packed(lines):
    """Return the lines as S3 writes them: every field quoted, and no header."""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(lines)
    return gzip.compress(text.getvalue().encode())


def line(storage, key, **other):
    """Return the fields of an object, as it is now or with other values."""
    found = {"Bucket": storage.bucket_name, "Key": quote_plus(key, "/")}
    if "ETag" not in other:
        stat = storage.stat(key)
        found["Size"], found["ETag"] = str(stat.size), stat.etag.strip('"')
        found["StorageClass"] = stat.storage_class
        found["LastModifiedDate"] = f"{stat.modified_at:%Y-%m-%dT%H:%M:%S.000Z}"
    return found | other


@pytest.fixture
def publish(reports, s3, storage):
    """Write a report of the objects that there are, in so many files; return the option for it.

    `lines` are other lines than these, `age` is that of the report, `other` more of the manifest.
    """

    def publish(lines=None, files=1, schema=SCHEMA, age=0 * DAY, **other):
        if lines is None:
            lines = [line(storage, entry["Key"]) for entry in listed(storage)[::-1]]
        found = []
        for number in range(files):
            mine = [[each[name] for name in schema.split(", ")] for each in lines[number::files]]
            data, key = packed(mine), f"reports/data/{number}.csv.gz"
            s3.put_object(Bucket=reports, Key=key, Body=data)
            md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
            found.append({"key": key, "size": len(data), "MD5checksum": md5})
        manifest = {
            "sourceBucket": storage.bucket_name,
            "destinationBucket": f"arn:aws:s3:::{reports}",
            "version": "2016-11-30",
            "creationTimestamp": str(int((timezone.now() - age).timestamp() * 1000)),
            "fileFormat": "CSV",
            "fileSchema": schema,
            "files": found,
        }
        s3.put_object(Bucket=reports, Key=MANIFEST, Body=json.dumps(manifest | other).encode())
        return f"--inventory=s3://{reports}/{MANIFEST}"

    return publish


def grow_old():
    """Let all rows be older than a report of now, in this transaction too."""
    execute("UPDATE files SET created_at = created_at - interval '1 hour', modified_at = NULL")


# As by a listing


@pytest.mark.needs("exact keys")
@pytest.mark.parametrize("looks", [0, 100])
def test_an_import_makes_the_same_rows_as_by_a_listing(put, publish, monkeypatch, looks):
    for key in KEYS:
        put(key, key.encode())
    put("a.txt", b"text", StorageClass="STANDARD_IA")
    import_files()
    expected = rows()
    execute("TRUNCATE files")
    monkeypatch.setattr(importing, "LOOKS", looks)
    monkeypatch.setattr(inventory, "BATCH", 5)
    option = publish(files=3)
    _, summary, status = import_files(option, "--workers=1")
    assert (status, rows()) == (0, expected)
    assert f"3 of 3 files: {len(KEYS) + 1} rows added" in summary
    assert ("not looked at" in summary) == (looks == 0)
    assert "3 of 3 files: 0 rows added, as of" in import_files(option, "--workers=1")[1]


@pytest.fixture
def sides(make_file, put, storage):
    """Make files that are whole, without an object, changed, in the trash, and objects alone."""
    for key in ("a/same", "a/missing", "b/other", "trashed", "back"):
        make_file(key)
    storage.delete("a/missing")
    put("b/other", b"theirs")
    put("a\talone", b"text")
    put(".files/theirs", b"text")
    put(".files/owner", b"text")
    put("under way", b"text")
    Operation.begin("create", "under way")
    File.objects.get(object_key="trashed").trash()
    File.objects.get(object_key="back").mark_missing(True)
    execute("UPDATE files SET missing_at = missing_at - interval '1 hour'")
    grow_old()


@pytest.mark.parametrize(
    "options", [[], ["--all"], ["--only=-*"], ["--mark"], ["a/"], ["a/", "--all"], ["none"]]
)
def test_a_check_tells_the_same_as_by_a_listing(sides, publish, monkeypatch, options):
    def marked():
        return [bool(row.missing_at or row.changed_at) for row in File.objects.all()]

    monkeypatch.setattr(inventory, "PAGE", 2)
    option = publish(files=2)
    found, found_marks = check(option, *options), marked()
    if "--mark" in options:
        execute("UPDATE files SET missing_at = NULL, changed_at = NULL")
    expected = check(*options)
    assert (found[0], found[2], found_marks) == (expected[0], expected[2], marked())
    if options == ["--all"]:
        counts = expected[1].removesuffix(".\n").replace(" objects,", " objects, 2 of 2 files,")
        assert found[1].startswith(f"{counts}, as of the inventory of 20")


def test_json_is_as_by_a_listing(sides, publish):
    def told(*options):
        return [json.loads(text) for text in check("--json", *options)[0]]

    assert told(publish()) == told()


def test_it_is_read_without_a_listing(sides, publish, caplog):
    option = publish()
    with caplog.at_level("DEBUG", "files.s3"):
        assert (import_files(option)[2], check(option)[2]) == (0, 1)
    asked = {record.args[1] for record in caplog.records if record.name == "files.s3"}
    assert asked == {"GetObject", "HeadObject"}


# What a report is


def test_versions_that_are_not_current_are_left_out(put, publish, storage, monkeypatch):
    monkeypatch.setattr(importing, "LOOKS", 0)
    for key in ("a", "b"):
        put(key, b"text")
    now = {"IsLatest": "true", "IsDeleteMarker": "false", "VersionId": "2"}
    old = now | {"IsLatest": "false", "VersionId": "1", "Size": "9", "ETag": "old"}
    old |= {"LastModifiedDate": "2020-01-01T00:00:00.000Z"}
    gone = old | {"IsLatest": "true", "IsDeleteMarker": "true", "Size": "", "ETag": ""}
    lines = [line(storage, key, **each) for key in ("a", "b") for each in (now, old)]
    lines += [line(storage, "c", **each) for each in (old, gone)]
    import_files(publish(lines, schema=VERSIONED))
    assert {key: row[1] for key, row in rows().items()} == {
        key: storage.stat(key).etag for key in ("a", "b")
    }


def test_times_and_classes_may_be_missing(put, publish, storage):
    put("a", b"text")
    import_files(publish(schema="Bucket, Key, Size, ETag"))
    etag = storage.stat("a").etag
    assert rows() == {"a": (4, etag, None, "", "application/octet-stream")}


def test_a_file_that_is_not_the_one_of_the_manifest_is_status_2_and_the_rest_goes_on(
    put, publish, s3, reports
):
    for key in ("a", "b"):
        put(key, b"text")
    option = publish(files=2)
    s3.put_object(Bucket=reports, Key="reports/data/0.csv.gz", Body=packed([]))
    lines, summary, status = import_files(option, "--workers=1")
    assert (lines, list(rows()), status) == (
        [
            "! the inventory's file 'reports/data/0.csv.gz': The file is not the one that the"
            " manifest of the inventory names: 'reports/data/0.csv.gz'"
        ],
        ["a"],
        2,
    )
    assert summary.startswith("Not finished: 1 object")
    (told,), _, status = check(option)
    assert (told.partition(" UTC: ")[2], status) == (lines[0].partition(".gz': ")[2], 2)


def test_a_file_that_is_no_csv_is_one_sentence(put, publish, s3, reports, storage):
    put("a", b"text")
    option = publish(
        [line(storage, "a", ETag="x", Size="many", LastModifiedDate="", StorageClass="")]
    )
    lines, _, status = import_files(option)
    assert (lines[0].rpartition(": ")[0].rpartition(": ")[2], status) == (
        "The file is no CSV of S3 Inventory, packed by gzip",
        2,
    )


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ({"fileFormat": "Parquet"}, "The inventory is in Parquet: choose CSV"),
        ({"sourceBucket": "theirs"}, "The inventory is of the bucket theirs, and not of "),
        ({"fileSchema": "Bucket, Key, Size"}, "The inventory does not tell ETag: choose Size,"),
        ({"fileSchema": "Bucket, Key"}, "The inventory does not tell Size and ETag: choose Size,"),
        ({"fileSchema": None}, "is no manifest.json of S3 Inventory."),
        ({"creationTimestamp": "today"}, "is no manifest.json of S3 Inventory."),
    ],
)
def test_what_cannot_be_used_is_one_sentence(publish, other, text):
    option = publish(**other)  # of no objects
    for command in (import_files, check):
        with pytest.raises(CommandError, match=text) as raised:
            command(option)
        assert raised.value.returncode == 2


def test_options_that_make_no_sense_are_one_sentence(publish):
    option = publish()
    with pytest.raises(CommandError, match="leave out --after"):
        import_files(option, "--after=a")
    with pytest.raises(CommandError, match="leave out --workers"):
        check(option, "--workers=2")
    with pytest.raises(CommandError, match="is no address such as s3://"):
        check("--inventory=manifest.json")


def test_a_missing_manifest_is_one_sentence(reports):
    with pytest.raises(CommandError, match=r"^There is no manifest at s3://.*/none\.$"):
        check(f"--inventory=s3://{reports}/none")


def test_only_keys_below_the_location_count(put, publish, storage, monkeypatch):
    for key in ("production/a", "production/", "a"):
        put(key, b"text")
    option = publish()
    monkeypatch.setattr(storage._wrapped, "location", "production/")
    lines, _, status = import_files(option)
    assert (lines, list(rows()), status) == (["!  (no row can hold this key)"], ["a"], 1)
    grow_old()
    assert check(option)[0] == ["+ "]


def test_keys_that_no_row_can_hold_are_told(publish, storage):
    seen = {"ETag": "x", "Size": "1", "LastModifiedDate": "2020-01-01T00:00:00.000Z"}
    seen["StorageClass"] = "STANDARD"
    option = publish([line(storage, "", **seen, Key=key) for key in ("a%00b", "c%FFd")])
    told = ["a␀b", "c\\udcffd"]
    expected = [f"! {key} (no row can hold this key)" for key in told]
    assert import_files(option)[::2] == (expected, 1)
    assert check(option)[::2] == ([f"+ {key}" for key in told], 1)


# What has been done since


@pytest.mark.needs("conditional puts")
def test_a_row_that_is_younger_than_the_report_is_not_judged(
    make_file, publish, storage, monkeypatch
):
    monkeypatch.setattr(importing, "LOOKS", 0)
    make_file("a")
    option = publish(age=DAY)
    file = make_file("new")
    storage.delete("new")
    File.objects.get(object_key="a").replace(ContentFile(b"newer"))
    before = rows()
    lines, summary, status = check(option, "--mark")
    assert (lines, status) == ([], 0)
    assert "2 younger and not judged, as of the inventory of" in summary
    import_files(option, "--update")
    assert rows() == before
    file.refresh_from_db()
    assert file.missing_at is None


def test_a_mark_that_is_younger_than_the_report_stays(make_file, publish):
    make_file("a")
    grow_old()
    option = publish(age=DAY / 48)
    File.objects.get().mark_missing(True)
    check(option, "--mark")
    import_files(option)
    assert File.objects.get().missing_at


def test_what_went_since_gets_no_row_and_is_no_difference(put, make_file, publish, storage):
    put("a", b"text")
    make_file("b")
    option = publish()
    storage.delete("a")
    File.objects.get().delete()
    assert "0 rows added" in import_files(option)[1]
    assert (rows(), check(option)[::2]) == ({}, ([], 0))


def test_of_many_rows_the_summary_says_how_old_they_are(put, publish, storage, monkeypatch):
    monkeypatch.setattr(importing, "LOOKS", 1)
    for key in ("a", "b"):
        put(key, b"text")
    option = publish()
    storage.delete("a")
    summary = import_files(option)[1]
    text = "2 rows added, 2 of them not looked at (check_files --mark finds what was deleted since)"
    assert text in summary
    grow_old()
    assert check(publish())[0] == ["- a"]


# As without a report


def test_update_and_dry_run_work_as_by_a_listing(make_file, put, publish, storage):
    make_file("a")
    put("a", b"theirs")
    for key in "bc":
        put(key, b"text")
    execute("UPDATE files SET modified_at = NULL, created_at = created_at - interval '1 hour'")
    option = publish()
    assert import_files(option, "--dry-run")[0] == ["+ b", "+ c"]
    assert import_files(option, "--dry-run", "--update")[0] == ["+ b", "+ c", "* a"]
    assert list(rows()) == ["a"]
    import_files(option, "--update")
    assert {key: row[1] for key, row in rows().items()} == {
        key: storage.stat(key).etag for key in "abc"
    }


def test_rows_that_lack_something_are_completed(put, publish, storage):
    put("a", b"text")
    File.objects.bulk_create([File(object_key="a")])
    assert "0 rows added, 1 updated" in import_files(publish(age=DAY))[1]
    assert rows()["a"][1] == storage.stat("a").etag


@pytest.mark.django_db(transaction=True)
def test_files_are_read_at_the_same_time(put, publish):
    for number in range(10):
        put(f"{number}", b"text")
    assert "4 of 4 files: 10 rows added" in import_files(publish(files=4))[1]
    assert list(rows()) == [f"{number}" for number in range(10)]


@pytest.mark.django_db(transaction=True)
def test_an_import_that_was_killed_is_made_whole_by_the_next(put, publish, monkeypatch):
    """At each step, with two objects at a time."""
    monkeypatch.setattr(inventory, "BATCH", 2)
    for key in "abcdef":
        put(key, b"text")
    report = Report.read(publish().removeprefix("--inventory="))
    for step in itertools.count(1):
        execute("TRUNCATE files")
        with contextlib.suppress(KilledError, DatabaseError), Steps(Kill(step)) as steps:
            list(import_file(report.files[0], report))
        before = set(rows())
        added = [key for found in import_file(report.files[0], report) for key in found.added]
        assert (sorted([*before, *added]), list(rows())) == (list("abcdef"), list("abcdef")), step
        if not steps.is_dead:
            assert (step > 10, added) == (True, [])
            return
