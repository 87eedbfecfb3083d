"""`manage.py verify_files`: what it finds, in which order, how much at a time, and stopped."""

import base64
import hashlib
import os
import signal
import subprocess
import sys
import threading
import zlib
from argparse import ArgumentTypeError
from contextlib import contextmanager
from datetime import timedelta
from fractions import Fraction

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError
from django.db import connection
from django.utils import timezone

from files import operations
from files.catalogue import verify
from files.management.running import age, amount
from files.models import File, Operation
from files.storage.checksums import Comparison, algorithms, of_s3, of_whole
from tests.operations import MIB, content, elsewhere
from tests.processes import ROOT, heed_signals, run_command
from tests.test_uploads import SIZE, ask, begin, send
from tests.waiting import eventually

pytestmark = pytest.mark.django_db

LONG_AGO = timezone.now() - timedelta(days=90)
FIRST = "first read (checksum filled in)"


def run(*arguments):
    """Return status, lines on stdout, and the last line on stderr without what was read."""
    lines, stderr, status = run_command("verify_files", *arguments)
    return status, lines, stderr.splitlines()[-1]


def counted(*arguments):
    """Return the counts that the last line tells."""
    return run(*arguments)[2].partition(": ")[2]


def checksum(data):
    return of_whole(hashlib.sha256(data).digest())


@pytest.fixture
def make_old(make_file):
    """Make files that have their checksums, and were verified so many days before 90 ago."""

    def make_old(key, days=0, data=b"text", **parameters):
        file = make_file(key, data, **parameters)
        verified_at = None if days is None else LONG_AGO - timedelta(days=days)
        File.objects.filter(pk=file.pk).update(checksum=checksum(data), verified_at=verified_at)
        file.refresh_from_db()
        return file

    return make_old


def overwrite(put, file, data):
    """Put other bytes in place of the object's, of which the row knows no more than the ETag."""
    put(str(file), data)
    etag = file.storage.stat(str(file)).etag
    File.objects.filter(pk=file.pk).update(etag=etag)


def reads(proxy):
    """Return the headers of each GET."""
    return [headers for method, headers in proxy.requests if method == "GET"]


def verified():
    """Return the keys of the files that were verified by now."""
    files = File.objects.filter(verified_at__gt=LONG_AGO)
    return sorted(map(str, files))


def columns(*names):
    return [tuple(row) for row in File.objects.order_by("object_key").values_list(*names)]


# What is found


def test_what_is_as_it_was_is_intact(make_old):
    make_old("a")
    make_old("b", data=content("b", 3 * MIB))
    assert run() == (0, [], "2 files, 3.0\xa0MB: 2 intact.")
    assert verified() == ["a", "b"]


def test_a_file_without_a_checksum_gets_that_of_what_is_read(make_file):
    make_file("a", b"text")
    assert run() == (0, [], f"1 file, 4\xa0bytes: 1 {FIRST}.")
    assert columns("checksum") == [(checksum(b"text"),)]
    assert counted() == "1 intact."


def test_a_row_that_knows_nothing_of_its_object_is_filled(put):
    put("a", b"text", ContentType="text/x")
    File.objects.create(object_key="a", check=False)
    assert counted() == f"1 {FIRST}."
    stat = File().storage.stat("a")
    assert columns("size", "content_type", "etag", "checksum") == [
        (4, "text/x", stat.etag, checksum(b"text"))
    ]


def test_other_bytes_are_damage_since_they_were_first_found(make_old, put):
    overwrite(put, make_old("a\t"), b"tExt")
    line = "! a␉: its SHA-256 is not that of the row"
    assert run() == (1, [line], "1 file, 4\xa0bytes: 1 damaged.")
    ((damaged_at, verified_at),) = columns("damaged_at", "verified_at")
    assert run() == (1, [line], "1 file, 4\xa0bytes: 1 damaged.")
    assert columns("damaged_at") == [(damaged_at,)]
    assert File.objects.get().verified_at > verified_at >= damaged_at


def test_what_is_right_again_is_damaged_no_more(make_old, put):
    file = make_old("a")
    overwrite(put, file, b"tExt")
    run()
    overwrite(put, file, b"text")
    assert counted() == "1 intact."
    assert columns("damaged_at") == [(None,)]


def test_another_size_than_that_of_the_row_is_damage(make_old):
    file = make_old("a")
    File.objects.filter(pk=file.pk).update(size=1005)
    assert run()[:2] == (1, ["! a: it has 4 bytes in place of 1,005"])


@pytest.mark.parametrize("damaged", ["row", "s3"])
def test_a_checksum_of_s3_counts_besides(make_old, proxy, damaged):
    make_old("a")
    crc = zlib.crc32(b"text" if damaged == "row" else b"tExt").to_bytes(4, "big")
    proxy.headers = {
        "x-amz-checksum-crc32": base64.b64encode(crc).decode(),
        "x-amz-checksum-type": "FULL_OBJECT",
    }
    if damaged == "row":
        File.objects.update(checksum=checksum(b"tExt"))
    text = {
        "row": "its SHA-256 is not that of the row",
        "s3": "its CRC32 is not the one that S3 has of it",
    }
    assert run()[:2] == (1, [f"! a: {text[damaged]}"])


@pytest.mark.needs("checksums")
def test_s3_is_asked_for_the_known_version_and_its_checksum(make_old, proxy):
    file = make_old("a", ChecksumAlgorithm="SHA256")
    assert counted() == "1 intact."
    (headers,) = reads(proxy)
    assert (headers["If-Match"], headers["x-amz-checksum-mode"]) == (file.etag, "ENABLED")
    response = file.storage.request("GET", "a", {"x-amz-checksum-mode": "ENABLED"})
    response.close()
    assert of_s3(response.headers) == {"sha256": checksum(b"text").partition(":")[2]}


def test_another_object_than_that_of_the_row_is_changed_since_it_was_first_found(make_old, put):
    make_old("a")
    put("a", b"theirs")
    File.objects.update(missing_at=LONG_AGO)
    assert run() == (1, ["* a"], "1 file: 1 changed.")
    ((changed_at, *rest),) = columns("changed_at", "verified_at", "damaged_at", "missing_at")
    assert (changed_at > LONG_AGO, rest) == (True, [None, None, None])
    assert run()[1] == ["* a"]
    assert columns("changed_at") == [(changed_at,)]


def test_an_object_that_is_gone_is_missing_since_it_was_first_found(make_old, storage):
    make_old("a")
    storage.delete("a")
    assert run() == (1, ["- a"], "1 file: 1 missing.")
    ((missing_at, verified_at),) = columns("missing_at", "verified_at")
    assert (missing_at > LONG_AGO, verified_at) == (True, None)
    assert run()[1] == ["- a"]
    assert columns("missing_at") == [(missing_at,)]


def test_what_is_there_again_is_marked_no_more(make_old, storage, put):
    make_old("a")
    File.objects.update(missing_at=LONG_AGO, changed_at=LONG_AGO)
    assert counted() == "1 intact."
    assert columns("missing_at", "changed_at") == [(None, None)]


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_what_is_archived_is_counted_and_not_read(make_old, proxy, storage_class):
    make_old("a")
    make_old("b")
    File.objects.filter(object_key="a").update(storage_class=storage_class)
    assert run() == (0, [], "1 file, 4\xa0bytes: 1 intact, 1 archived (not read).")
    assert len(reads(proxy)) == 1
    assert columns("object_key", "verified_at")[0] == ("a", LONG_AGO)


@pytest.mark.needs("archived objects")
def test_what_s3_has_archived_and_the_row_does_not_know_is_counted(make_old):
    make_old("a", StorageClass="GLACIER")
    File.objects.update(storage_class="STANDARD")
    assert run() == (0, [], "1 file: 1 archived (not read).")
    assert columns("verified_at", "changed_at") == [(None, None)]


def test_what_s3_refuses_is_told_and_the_rest_is_read(make_old, proxy):
    for key in "ab":
        make_old(key)
    proxy.faults = [("status", 403)]
    status, (line,), last = run("--workers=1")
    assert (status, line[:26]) == (2, "! a: S3 refuses the object")
    assert last.startswith("Not finished: 2 files, 4\xa0bytes: 1 intact, 1 failed. Run it again")
    assert columns("object_key", "verified_at")[0] == ("a", None)


def test_an_s3_out_of_reach_ends_the_run(make_old, unreachable):
    make_old("a")
    unreachable()
    with pytest.raises(CommandError, match=r"S3 is out of reach.*Run it again to go on") as raised:
        run()
    assert raised.value.returncode == 2
    assert columns("verified_at") == [(None,)]


def test_a_checksum_that_is_none_is_told(make_old):
    make_old("a")
    File.objects.update(checksum="MD5:x")
    assert run()[:2] == (2, ["! a: 'MD5:x' is no checksum of a row"])


# Objects in parts


@pytest.fixture
def in_parts(admin_client, monkeypatch):
    """Upload a file in parts, as a browser does."""
    monkeypatch.setattr("files.uploads.steps.PART_SIZE", 5 * MIB)
    plan = begin(admin_client).json()
    asked = {"ticket": plan["ticket"], "sha256": send(admin_client, plan)}
    assert ask(admin_client, "finish", **asked).status_code == 201
    return File.objects.get()


@pytest.mark.needs("checksums")
def test_a_checksum_of_parts_is_computed_again_also_after_a_rename(in_parts):
    assert in_parts.checksum.endswith(f"-3x{5 * MIB}")
    assert counted() == "1 intact."
    in_parts.rename("b")
    assert counted() == "1 intact."
    assert columns("checksum", "size") == [(in_parts.checksum, SIZE)]


@pytest.mark.needs("checksums")
def test_a_byte_of_a_part_that_is_another_is_damage(in_parts, put):
    with in_parts.open() as object_file:
        data = bytearray(object_file.read())
    data[6 * MIB] ^= 1
    overwrite(put, in_parts, bytes(data))
    assert run()[:2] == (1, ["! big.bin: its SHA-256 is not that of the row"])


@pytest.mark.parametrize("size", [1, 9, 10, 11, 20, 29, 30])
@pytest.mark.parametrize("step", [1, 3, 10, 64])
def test_parts_are_cut_wherever_the_bytes_come_apart(size, step):
    data = content("parts", size)
    digests = [
        base64.b64encode(hashlib.sha256(data[start : start + 10]).digest()).decode()
        for start in range(0, size, 10)
    ]
    joined = hashlib.sha256(b"".join(map(base64.b64decode, digests))).digest()
    comparison = Comparison(f"{of_whole(joined)}-{max(2, len(digests))}x10", {})
    for start in range(0, size, step):
        comparison.update(data[start : start + step])
    whole = checksum(data)
    expected = f"{of_whole(joined)}-{len(digests)}x10" if len(digests) > 1 else whole
    assert comparison.checksum() == expected


KNOWN = {  # of b"123456789", in the catalogue of parametrised CRC algorithms
    "crc32": "cbf43926",
    "sha1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "sha256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    "crc32c": "e3069283",
    "crc64nvme": "ae8b14860a799888",
}


@pytest.mark.parametrize("name", KNOWN)
def test_checksums_of_s3_are_computed_as_the_bytes_come(name):
    if name not in algorithms():
        pytest.skip("the package awscrt is not installed")
    found = algorithms()[name]()
    found.update(b"1234")
    found.update(b"56789")
    assert found.digest().hex() == KNOWN[name]


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"x-amz-checksum-type": "FULL_OBJECT", "ETag": '"a-2"'}, {"crc32": "AAAAAA=="}),
        ({"x-amz-checksum-type": "COMPOSITE", "ETag": '"a-2"'}, {}),
        ({"ETag": '"a-2"'}, {}),
        ({"ETag": '"a"'}, {"crc32": "AAAAAA=="}),
        ({"ETag": '"a"', "x-amz-checksum-crc32": "AAAAAA==-2"}, {}),
    ],
)
def test_a_checksum_of_s3_counts_where_it_is_that_of_the_whole(headers, found):
    assert of_s3({"x-amz-checksum-crc32": "AAAAAA==", **headers}) == found


# Which, in which order, how many


def test_what_was_not_verified_longest_is_read_first(make_old):
    for key, days in {"a": 1, "b": None, "c": 3, "d": 2, "e": None, "f": 3}.items():
        make_old(key, days)
    order = []
    while len(order) < 6:
        assert counted("--budget=1", "--workers=1") == "1 intact."
        order += [key for key in verified() if key not in order]
    assert order == ["b", "e", "c", "f", "d", "a"]


def test_each_file_is_read_once_from_however_many_batches(make_old, proxy, monkeypatch):
    monkeypatch.setattr(verify, "ROWS", 2)
    monkeypatch.setattr(verify, "BATCH", 3)
    days = [None, None, None, None, None, 1, 2, 2, 2]
    for key, number in zip("abcdefghi", days, strict=True):
        make_old(key, number)
    assert counted() == "9 intact."
    assert len(reads(proxy)) == 9


def test_a_prefix_and_what_is_live_limit_what_is_read(make_old):
    for key in ("a/x", "a/y", "b", "a_"):
        make_old(key)
    File.objects.get(object_key="a/y").trash()
    assert counted("a/") == "1 intact."
    assert verified() == ["a/x"]


def test_what_was_verified_lately_is_left_out(make_old):
    for key, days in {"a": -89, "b": -87, "c": 0, "d": None}.items():
        make_old(key, days)
    assert counted("--max-age=2") == "3 intact."
    assert counted("--max-age=12h") == "1 intact."
    assert counted("--max-age=30d") == "nothing was to be read."


@pytest.mark.parametrize(
    ("budget", "number"),
    [
        ("1", 1),
        ("1000", 1),
        ("1001", 2),
        ("2KB", 2),
        ("2KiB", 3),
        ("50%", 2),
        ("1/4", 1),
        ("1/5000", 1),
    ],
)
def test_no_file_is_begun_once_the_budget_is_spent(make_old, budget, number):
    for key in "abcd":
        make_old(key, data=bytes(1000))
    assert counted(f"--budget={budget}") == f"{number} intact."
    assert verified() == list("abcd"[:number])


def test_a_budget_is_kept_for_files_that_are_read(make_old, put):
    for key in "abc":
        make_old(key, data=bytes(1000))
    put("a", b"theirs")
    assert counted("--budget=1500") == "2 intact, 1 changed."


def test_days_in_the_settings_spread_the_work(make_old, settings):
    settings.VERIFY_DAYS = 4
    for key in "abcdefgh":
        make_old(key)
    for number in (2, 4, 6, 8):
        assert counted() == "2 intact."
        assert len(verified()) == number
    assert counted() == "nothing was to be read."
    assert counted("--budget=100%") == "8 intact."


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("100", 100),
        ("1.5KB", 1500),
        ("1KiB", 1024),
        ("500MB", 500 * 10**6),
        ("10 GB", 10**10),
        ("1GiB", 2**30),
        ("2TiB", 2**41),
        ("2.5%", Fraction(1, 40)),
        ("1/30", Fraction(1, 30)),
        ("100%", Fraction(1)),
    ],
)
def test_amounts_are_bytes_or_a_share(text, found):
    assert (amount(text), type(amount(text))) == (found, type(found))


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "1/0", "2/1", "101%", "0%", "1XB", "1e9"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(ArgumentTypeError, match="is no amount of bytes"):
        amount(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [("30d", {"days": 30}), ("12h", {"hours": 12}), ("0.5", {"hours": 12}), ("0", {})],
)
def test_ages_are_days_or_hours(text, found):
    assert age(text) == timedelta(**found)


@pytest.mark.parametrize("text", ["", "-1", "x", "1w", "1e3", "nan", "999999", "9" * 400])
def test_what_is_no_age_is_refused(text):
    with pytest.raises(ArgumentTypeError, match="is no number of days up to now"):
        age(text)


def test_a_dry_run_tells_how_much_and_reads_nothing(make_old, proxy):
    for key in "abc":
        make_old(key, data=bytes(1000))
    assert run("--dry-run") == (0, [], "Would read 3 files, 3,000 bytes.")
    assert run("--dry-run", "--budget=1/2")[2] == "Would read 2 files, 2,000 bytes."
    assert (reads(proxy), verified()) == ([], [])


# While others work, and what breaks


def test_a_body_that_breaks_is_read_on(make_old, proxy):
    make_old("a")
    proxy.faults = [("reset", 2)]
    assert counted() == "1 intact."
    assert [headers.get("Range") for headers in reads(proxy)] == [None, "bytes=2-3"]


@pytest.mark.parametrize("batch", [1, 20])
def test_as_many_files_as_workers_are_read_at_a_time(make_old, proxy, monkeypatch, batch):
    monkeypatch.setattr(verify, "BATCH", batch)
    together = threading.Barrier(3, timeout=10)
    for key in "abc":
        make_old(key)
    proxy.faults, proxy.on_call = [("call", 0)] * 3, together.wait
    assert counted("--workers=3") == "3 intact."


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda: File.objects.get().rename("b"), "b"),
        (lambda: File.objects.update(etag='"another"', verified_at=None), "a"),
        (lambda: File.objects.get().trash() or File.objects.get().delete(), None),
    ],
    ids=["renamed", "replaced", "deleted"],
)
def test_a_row_that_is_another_by_now_is_left_alone(transactional_db, make_old, proxy, change, key):
    make_old("a")
    proxy.faults, proxy.on_call = [("call", 0)], lambda: elsewhere(change)
    assert run() == (0, [], "1 file, 4\xa0bytes: 1 changed meanwhile.")
    assert columns("object_key", "verified_at") == ([(key, None)] if key else [])


@pytest.mark.needs("conditional puts")
def test_what_is_replaced_while_it_is_read_has_changed_meanwhile(transactional_db, proxy):
    File.objects.create(object_key=ContentFile(content("old", 3 * MIB), name="a"))
    proxy.faults = [("call", MIB)]
    proxy.on_call = lambda: elsewhere(lambda: File.objects.get().replace(ContentFile(b"new")))
    assert counted() == "1 changed meanwhile."
    assert columns("object_key", "changed_at", "verified_at")[1:] == [("a", None, None)]


@pytest.mark.usefixtures("unfinished_uploads")
def test_what_somebody_is_replacing_is_not_said_to_be_changed(make_old, put):
    file = make_old("a")
    put("a", b"new")
    Operation.begin("replace", "a", copy_key=".files/0", file_id=file.pk)
    assert run()[:2] == (0, [])
    assert columns("changed_at") == [(None,)]
    Operation.objects.all().delete()
    operations.begin_upload("a", "", "somebody")  # which has changed nothing yet
    assert run()[:2] == (1, ["* a"])


# What is stopped


@contextmanager
def stopped(proxy, *faults):
    """Start the command; yield its process in the middle of a file, and what lets that go on."""
    begun, goes_on = threading.Event(), threading.Event()

    def wait():
        begun.set()
        goes_on.wait(30)

    proxy.faults, proxy.on_call = list(faults), wait
    variables = {
        "APP_DB_NAME": connection.settings_dict["NAME"],
        "AWS_ENDPOINT_URL_S3": f"http://{proxy.host}",
    }
    command = [sys.executable, "manage.py", "verify_files", "--workers=1"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_signals,
    ) as process:
        try:
            assert begun.wait(30)
            yield process, goes_on
        finally:
            goes_on.set()
            process.kill()


def test_what_a_killed_run_was_reading_is_read_first_by_the_next(transactional_db, make_old, proxy):
    for number, key in enumerate("edcba"):
        make_old(key, -number)
    with stopped(proxy, None, None, ("call", 2)) as (process, _):
        eventually(verified, ["d", "e"])  # the third is being read while the second is noted
        process.kill()
        process.wait()
    assert verified() == ["d", "e"]
    assert columns("verified_at")[2] == (None,)
    assert counted("--budget=1") == "1 intact."
    assert verified() == ["c", "d", "e"]
    assert counted("--max-age=1") == "2 intact."


def test_an_interrupted_run_reads_no_further_and_tells_how_to_go_on(
    transactional_db, make_old, proxy
):
    for number, key in enumerate("abc"):
        make_old(key, -number, content(key, 4 * MIB))
    proxy.requests.clear()
    with stopped(proxy, None, ("call", 10)) as (process, goes_on):
        eventually(verified, ["a"])
        process.send_signal(signal.SIGINT)
        told = [process.stderr.readline(), process.stderr.readline()]
        goes_on.set()
        assert process.wait(30) == 130
    assert told[1].startswith("Interrupted: 1 file, ")
    assert told[1].endswith(
        " 1 intact. Run it again to go on: it begins with what was not read to the end.\n"
    )
    assert (len(reads(proxy)), verified()) == (2, ["a"])
