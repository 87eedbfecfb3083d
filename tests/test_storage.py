"""The storage: exact keys, reads by ranges, writes that never overwrite."""

import base64
import contextlib
import csv
import hashlib
import io
import random
import threading
import unicodedata
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import quote_plus

import pytest
import urllib3
from botocore.exceptions import ClientError
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage

from files.storage import ObjectChangedError, ObjectStorage, S3Error, S3UnavailableError
from files.storage.backend import SAVES
from files.storage.base import NEW
from files.storage.bucket import Bucket
from files.storage.checksums import of_whole
from files.storage.marks import WRITE_MARK
from files.storage.multipart import MultipartUpload, part_size
from files.storage.stat import read_stat
from files.storage.writing import PART_SIZE
from tests import location

MIB = 2**20

KEYS = [
    "/root/text.txt",
    "root/text.txt",
    "a//b",
    "./c",
    "a/../b",
    "../up",
    "trail/",
    "//x",
    "back\\slash",
    "sp ace+plus%25&x=1?y#z",
    " lead and trail ",
    "ünï/😀",
    unicodedata.normalize("NFC", "é"),
    unicodedata.normalize("NFD", "é"),
    "control\x01\t\r\n\x7f",
    "quote'\"<>`{}|^~[]*",
    "x" * location.limit(),
    "ü" * (location.limit() // 2),
]


@pytest.mark.parametrize("key", KEYS)
def test_every_key_reads_its_own_object(storage, put, key):
    others = {other: other.encode() for other in KEYS}
    for other in {key, "root/text.txt", "/root/text.txt", "b", "c", "é"}:
        put(other, others.get(other, b"other"))
    with storage.open(key) as file:
        assert file.read() == key.encode()
    assert storage.exists(key)
    assert storage.size(key) == len(key.encode())


@pytest.mark.parametrize("key", KEYS)
def test_save_and_delete_take_the_key_as_it_is(storage, key):
    assert storage.save(key, ContentFile(b"saved")) == key
    listed = location.client().get_object(Bucket=storage.bucket_name, Key=key)
    assert listed["Body"].read() == b"saved"
    storage.delete(key)
    assert not storage.exists(key)


def test_deleting_what_is_not_there_is_no_error(storage):
    storage.delete("nothing")


def test_open_makes_no_request_and_a_missing_object_shows_at_the_read(storage):
    file = storage.open("nothing")
    with pytest.raises(FileNotFoundError, match="no such object in the bucket"):
        file.read(1)


@pytest.mark.parametrize("size", [0, 1, 2**18 - 1, 2**18, 2**18 + 1, 3 * 2**20 + 7])
def test_a_file_reads_like_the_bytes_it_holds(storage, put, size):
    data = bytes(range(251)) * (size // 251 + 1)
    data = data[:size]
    put("data", data)
    with storage.open("data") as file:
        assert file.read() == data
        assert file.read(1) == b""
        assert file.seek(-1 if size else 0, io.SEEK_END) == max(0, size - 1)
        assert file.read() == data[-1:]
        assert file.seek(size // 2) == size // 2
        assert file.read(10) == data[size // 2 : size // 2 + 10]
        assert file.seek(size + 5) == size + 5
        assert file.read(10) == b""
        assert b"".join(file.chunks(70_000)) == data
        assert file.size == size
    with storage.open("data") as beyond:
        beyond.seek(size + 5)
        assert beyond.read() == b""


@pytest.mark.parametrize("position", [10, 300_000, 900_000])
def test_a_file_reads_on_where_it_was_sent_in_the_middle_of_a_range(storage, put, position):
    data = random.Random(0).randbytes(2**20)
    put("data", data)
    with storage.open("data") as file:
        file.read(2**18 + 1)
        file.seek(position)
        assert file.read(2**18) == data[position : position + 2**18]


def test_a_seek_before_the_start_is_refused(storage, put):
    put("data", b"text")
    with storage.open("data") as file, pytest.raises(ValueError, match="negative"):
        file.seek(-1)


def test_a_file_iterates_over_lines(storage, put):
    lines = [b"line %d\n" % n for n in range(100_000)]
    put("lines", b"".join(lines))
    with storage.open("lines") as file:
        assert list(file) == lines


def test_a_file_works_in_csv(storage, put):
    put("table.csv", "a,b\r\n1,ü\r\n".encode())
    with storage.open("table.csv") as file:
        rows = list(csv.reader(io.TextIOWrapper(file, "utf-8", newline="")))
    assert rows == [["a", "b"], ["1", "ü"]]


def test_a_file_works_in_zipfile(storage, put):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("large", bytes(3 * 2**20))
        archive.writestr("small", b"text")
    put("archive.zip", target.getvalue())
    with storage.open("archive.zip") as file, zipfile.ZipFile(file) as archive:
        assert archive.read("small") == b"text"


def test_reading_one_byte_asks_for_one_buffer(storage, put, monkeypatch):
    put("large", bytes(2**20))
    asked = []
    request = storage.objects.request

    def record(method, key, headers=None):
        asked.append((method, headers))
        return request(method, key, headers)

    monkeypatch.setattr(storage.objects, "request", record)
    with storage.open("large") as file:
        assert asked == []
        assert file.read(1) == b"\0"
    assert asked == [("GET", {"Range": "bytes=0-262143"})]


def test_closing_a_file_ends_the_transfer(storage, put, monkeypatch):
    put("large", bytes(2**20))
    answers, request = [], storage.objects.request

    def record(*about):
        answers.append(request(*about))
        return answers[-1]

    monkeypatch.setattr(storage.objects, "request", record)
    with storage.open("large") as file:
        file.read(2**18 + 1)
        assert [answer.raw.closed for answer in answers] == [True, False]
    assert [answer.raw.closed for answer in answers] == [True, True]


def test_a_replaced_object_ends_the_read_instead_of_mixing_two(storage, put):
    put("data", b"a" * 2**20)
    with storage.open("data") as file:
        file.read(1)
        put("data", b"b" * 2**20)
        with pytest.raises(OSError, match="changed while it was being read"):
            file.read()


def test_stat_tells_what_was_written(storage, put):
    put("page.html", b"<p>", ContentType="text/html; charset=utf-8")
    stat = storage.stat("page.html")
    assert stat.size == 3
    assert stat.content_type == "text/html; charset=utf-8"
    assert stat.etag.startswith('"')
    assert abs(stat.modified_at - datetime.now(UTC)) < timedelta(minutes=5)
    assert storage.get_modified_time("page.html") == stat.modified_at


@pytest.mark.parametrize("key", [key for key in KEYS if ".." not in key and "./" not in key])
def test_url_gives_the_object_to_a_plain_client(storage, put, key):
    put(key, b"by url")
    answer = urllib3.request("GET", storage.url(key, expire=60))
    assert (answer.status, answer.data) == (200, b"by url")


def test_url_carries_overrides(storage, put):
    put("a", b"text", ContentType="text/html")
    url = storage.url("a", {"response-content-type": "text/plain; charset=utf-8"})
    assert urllib3.request("GET", url).headers["Content-Type"] == "text/plain; charset=utf-8"


def test_listdir_tells_folders_and_objects(storage, put):
    for key in ("a/b/c", "a/b/d", "a/e", "a//f", "/g"):
        put(key, b"")
    assert storage.listdir("a") == (["", "b"], ["e"])
    assert storage.listdir("") == (["", "a"], [])


def test_a_taken_key_gets_a_suffix_and_nothing_is_overwritten(storage, put):
    put("folder/a.txt", b"first")
    key = storage.save("folder/a.txt", ContentFile(b"second"))
    assert key != "folder/a.txt"
    assert key.startswith("folder/a_")
    assert key.endswith(".txt")
    assert storage.open("folder/a.txt").read() == b"first"
    assert storage.open(key).read() == b"second"


def test_of_many_writers_of_one_key_one_succeeds(storage):
    outcomes = []
    start = threading.Barrier(8)

    def write(number):
        content = ContentFile(bytes([number]))
        start.wait()
        try:
            storage.create("contested", content)
        except FileExistsError:
            outcomes.append(None)
        else:
            outcomes.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [outcome for outcome in outcomes if outcome is not None]
    assert len(outcomes) == 8
    assert storage.open("contested").read() == bytes([winner])


def test_eight_savers_of_one_name_lose_nothing(storage):
    keys = []
    start = threading.Barrier(8)

    def save(number):
        start.wait()
        keys.append((storage.save("name", ContentFile(bytes([number]))), number))

    threads = [threading.Thread(target=save, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({key for key, number in keys}) == 8
    assert all(storage.open(key).read() == bytes([number]) for key, number in keys)


class Stream(io.BytesIO):
    """Content that can be read once."""

    def seekable(self):
        return False


class OvertakenStream(Stream):
    """Content during whose reading somebody else writes the object."""

    def __init__(self, data, overtake):
        super().__init__(data)
        self.overtake = overtake

    def read(self, size=-1):
        self.overtake()
        return super().read(size)


def test_content_that_can_be_read_once_is_not_saved_empty_after_a_race(storage, put):
    with pytest.raises(FileExistsError):
        storage.save("name", OvertakenStream(b"ours", lambda: put("name", b"theirs")))
    assert [entry["Key"] for entry in listed(storage)] == ["name"]


@pytest.mark.parametrize("error", [FileExistsError(17, "taken"), S3UnavailableError(5, "lost")])
def test_a_write_whose_answer_was_lost_is_known_again(storage, monkeypatch, error):
    put = ObjectStorage._put

    def lose_the_answer(self, *arguments, **parameters):
        put(self, *arguments, **parameters)
        raise error

    monkeypatch.setattr(ObjectStorage, "_put", lose_the_answer)
    assert storage.save("a", ContentFile(b"text")) == "a"
    assert storage.open("a").read() == b"text"


def test_a_write_that_cannot_be_looked_for_has_failed(storage, monkeypatch, unreachable):
    def fail(self, *arguments, **parameters):
        unreachable()
        raise S3UnavailableError(5, "lost")

    monkeypatch.setattr(ObjectStorage, "_put", fail)
    with pytest.raises(S3UnavailableError):
        storage.save("a", ContentFile(b"text"))


def test_a_suffix_leaves_the_key_within_its_bytes(storage, put):
    longest = "ü" * (location.limit() // 2)
    put(longest, b"first")
    key = storage.save(longest, ContentFile(b"second"))
    assert len(key.encode()) <= location.limit()
    assert storage.open(key).read() == b"second"


def test_parts_grow_so_that_there_are_not_too_many(storage, monkeypatch):
    monkeypatch.setattr("files.storage.multipart.MAX_PARTS", 2)
    storage.save("large", ContentFile(bytes(3 * PART_SIZE)))
    assert storage.stat("large").etag.endswith('-2"')


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", PermissionError),
        (503, "SlowDown", S3UnavailableError),
        (409, "OperationAborted", S3UnavailableError),
        (412, "PreconditionFailed", FileExistsError),
    ],
)
def test_what_s3_refuses_is_an_error_of_python(storage, status, code, kind):
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    with pytest.raises(kind) as raised, storage._boundary("a"):
        raise ClientError(answer, "PutObject")
    assert type(raised.value) is kind


def test_the_object_of_a_folder_is_not_listed_in_it(storage, put):
    for key in ("a/", "a/e"):
        put(key, b"")
    assert storage.listdir("a") == ([], ["e"])


def listed(storage):
    return location.client().list_objects_v2(Bucket=storage.bucket_name).get("Contents", [])


class Overtaken(io.BytesIO):
    """Content during whose upload somebody else writes the object."""

    def __init__(self, data, overtake):
        super().__init__(data)
        self.overtake = overtake

    def read(self, size=-1):
        if self.tell() >= PART_SIZE and self.overtake:
            self.overtake()
            self.overtake = None
        return super().read(size)


@pytest.mark.needs("conditional completions")
def test_a_write_in_parts_does_not_overwrite_what_came_meanwhile(storage, put):
    content = Overtaken(bytes(PART_SIZE + 1), lambda: put("contested", b"theirs"))
    with pytest.raises(FileExistsError):
        storage.create("contested", File(content))
    assert storage.open("contested").read() == b"theirs"
    assert open_uploads(storage) == []


class Failing(io.BytesIO):
    """Content that cannot be read to its end."""

    def read(self, size=-1):
        data = super().read(size)
        if self.tell() > PART_SIZE * 1.5:
            raise RuntimeError("the disk is gone")
        return data


def test_a_failing_save_leaves_no_object_and_no_open_upload(storage):
    content = Failing(bytes(3 * PART_SIZE))
    with pytest.raises(RuntimeError, match="the disk is gone"):
        storage.save("large", content)
    assert not storage.exists("large")
    assert open_uploads(storage) == []


def test_a_large_content_goes_up_in_parts(storage):
    data = bytes(range(256)) * (PART_SIZE // 256) * 2 + b"end"
    assert storage.save("large", ContentFile(data)) == "large"
    assert storage.stat("large").etag.endswith('-3"')
    assert storage.open("large").read() == data


class Trickling(io.BytesIO):
    """Content of which a read gives less than it was asked for, as a pipe does."""

    def read(self, size=-1):
        return super().read(min(size, 3 * PART_SIZE // 4))


def test_parts_are_of_one_size_however_the_content_comes(storage):
    storage.save("large", Trickling(bytes(3 * PART_SIZE)))
    assert storage.stat("large").etag.endswith('-3"')


def test_text_content_is_written_as_utf_8(storage):
    storage.save("text", ContentFile("ü"))
    assert storage.open("text").read() == "ü".encode()


@pytest.mark.parametrize(
    ("key", "content_type"),
    [
        ("a.tar.gz", "application/gzip"),
        ("a.csv.bz2", "application/x-bzip2"),
        ("a.xz", "application/octet-stream"),
    ],
)
def test_a_packed_file_is_not_declared_as_an_encoding(storage, key, content_type):
    storage.save(key, ContentFile(b"packed"))
    head = location.client().head_object(Bucket=storage.bucket_name, Key=key)
    assert (head["ContentType"], head.get("ContentEncoding")) == (content_type, None)


def test_all_threads_share_one_client(storage):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(default_storage.client)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {id(client) for client in found} == {id(storage.client)}


def test_a_missing_bucket_is_not_a_missing_object():
    storage = ObjectStorage(bucket_name="no-such-bucket-here")
    with pytest.raises(OSError, match="NoSuchBucket") as raised:
        storage.open("a").read()
    assert not isinstance(raised.value, FileNotFoundError)


def test_s3_out_of_reach_is_said_so(storage, unreachable):
    unreachable()
    with pytest.raises(S3UnavailableError, match=r"out of reach at http://127\.0\.0\.1:9"):
        storage.open("a").read()


# Over another object, and copies


@pytest.mark.needs("conditional puts")
@pytest.mark.parametrize("size", [0, 1, PART_SIZE - 1, PART_SIZE, PART_SIZE + 1])
def test_replace_overwrites_the_object_of_that_etag(storage, put, size):
    put("a.txt", b"old")
    new = random.Random(0).randbytes(size)
    storage.replace("a.txt", ContentFile(new), storage.stat("a.txt").etag)
    assert storage.open("a.txt").read() == new
    assert (storage.stat("a.txt").content_type, open_uploads(storage)) == ("text/plain", [])


def test_replace_refuses_an_object_of_another_etag(storage, put):
    put("a", b"old")
    etag = storage.stat("a").etag
    put("a", b"theirs")
    with pytest.raises(ObjectChangedError, match="changed meanwhile"):
        storage.replace("a", ContentFile(b"ours"), etag)
    assert storage.open("a").read() == b"theirs"


def test_replace_makes_no_object_where_there_is_none(storage):
    with pytest.raises((FileNotFoundError, ObjectChangedError)):
        storage.replace("a", ContentFile(b"ours"), '"0123456789abcdef0123456789abcdef"')
    assert listed(storage) == []


def test_replace_that_fails_leaves_the_old_content_and_no_upload(storage, put):
    put("a", b"old")
    with pytest.raises(RuntimeError, match="the disk is gone"):
        storage.replace("a", File(Failing(bytes(3 * PART_SIZE))), storage.stat("a").etag)
    assert (storage.open("a").read(), open_uploads(storage)) == (b"old", [])


@pytest.mark.needs("conditional puts")
def test_of_many_who_replace_one_object_one_succeeds(storage, put):
    put("contested", b"old")
    etag, start, winners = storage.stat("contested").etag, threading.Barrier(8), []

    def replace(number):
        content = ContentFile(bytes([number]))
        start.wait()
        with contextlib.suppress(ObjectChangedError):
            storage.replace("contested", content, etag)
            winners.append(number)

    threads = [threading.Thread(target=replace, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [bytes(winners)] == [storage.open("contested").read()]


@pytest.mark.parametrize("size", [0, 1, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 16 * MIB + 3])
def test_a_copy_has_the_same_bytes(storage, put, monkeypatch, size):
    monkeypatch.setattr("files.storage.copying.COPY_PART_SIZE", 5 * MIB)
    data = random.Random(0).randbytes(size)
    put("a", data, ContentType="text/x-own")
    stat = storage.copy("a", "b")
    assert (storage.open("a").read() == data, storage.open("b").read() == data) == (True, True)
    assert (stat, stat.size, stat.content_type) == (storage.stat("b"), size, "text/x-own")


def test_a_copy_goes_in_parts(storage, put, monkeypatch):
    monkeypatch.setattr("files.storage.copying.COPY_PART_SIZE", 5 * MIB)
    put("a", bytes(11 * MIB))
    assert storage.copy("a", "b").etag.endswith('-3"')


@pytest.mark.parametrize("data", [b"", b"text"])
def test_a_copy_refuses_a_key_that_is_taken(storage, put, data):
    put("a", data)
    put("b", b"theirs")
    with pytest.raises(FileExistsError):
        storage.copy("a", "b")
    assert (storage.open("b").read(), open_uploads(storage)) == (b"theirs", [])


def test_a_copy_of_nothing_leaves_nothing(storage):
    with pytest.raises(FileNotFoundError):
        storage.copy("a", "b")
    assert (listed(storage), open_uploads(storage)) == ([], [])


def test_a_copy_that_fails_begins_no_further_part(storage, put, monkeypatch):
    """The next one may have begun before the failure of this one is seen."""
    begun, copy, is_seen = [], MultipartUpload.copy, threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, *about, **more):
            is_seen.set()
            super().shutdown(*about, **more)

    def record(upload, number, *about):
        begun.append(number)
        if number == 2:
            storage.delete("a")
        if number > 2:
            assert is_seen.wait(30)
        return copy(upload, number, *about)

    monkeypatch.setattr("files.storage.copying.COPY_PART_SIZE", 5 * MIB)
    monkeypatch.setattr("files.storage.copying.COPIES", 1)
    monkeypatch.setattr("files.storage.copying.ThreadPoolExecutor", Pool)
    monkeypatch.setattr(MultipartUpload, "copy", record)
    put("a", bytes(21 * MIB))
    with pytest.raises(FileNotFoundError):
        storage.copy("a", "b")
    assert begun in ([1, 2], [1, 2, 3])
    assert (listed(storage), open_uploads(storage)) == ([], [])


@pytest.mark.parametrize(
    ("size", "least", "expected"),
    [(0, 8, 8), (80_000, 8, 8), (80_001, 8, 9), (5 * 2**40, 512 * MIB, 549_755_814)],
)
def test_parts_are_as_large_as_ten_thousand_of_them_must_be(size, least, expected):
    assert part_size(size, least) == expected


def test_an_upload_shows_nothing_before_it_is_completed(storage):
    upload = MultipartUpload.begin(
        storage.client, storage.bucket_name, storage.objects.full_key("a")
    )
    parts = [upload.put(1, bytes(5 * MIB)), upload.put(2, b"end")]
    assert (listed(storage), len(open_uploads(storage))) == ([], 1)
    upload.complete(parts, IfNoneMatch="*")
    assert storage.open("a").read() == bytes(5 * MIB) + b"end"
    assert open_uploads(storage) == []


def test_an_upload_that_cannot_be_aborted_is_logged(storage, caplog):
    upload = MultipartUpload(storage.client, "no-such-bucket-here", "a", "nothing")
    with pytest.raises(RuntimeError, match="the cause"), upload:
        raise RuntimeError("the cause")
    assert "The upload nothing of 'a' stays open" in caplog.text


def test_an_upload_that_is_gone_needs_no_abort(storage, caplog):
    upload_id = storage.begin_upload("a", "text/plain", "mark")
    storage.abort_upload("a", upload_id)
    storage.abort_upload("a", upload_id)
    assert (open_uploads(storage), caplog.text) == ([], "")


# MiniStack's listing of uploads is no XML where a key has a control character.
@pytest.mark.usefixtures("unfinished_uploads")
@pytest.mark.parametrize("key", [key for key in KEYS if key.isprintable()])
def test_open_uploads_are_those_of_exactly_that_key(storage, key):
    upload_id = storage.begin_upload(key, "text/plain", "mark")
    if len(key) < 450:
        storage.begin_upload(f"{key}x", "text/plain", "mark")
    assert [found for found, begun in storage.open_uploads(key)] == [upload_id]
    assert storage.open_uploads("x") == []


@pytest.mark.usefixtures("unfinished_uploads")
def test_open_uploads_are_found_on_every_page(storage, monkeypatch):
    begun = {storage.begin_upload("a", "text/plain", "mark") for _ in range(3)}
    page = partial(storage.client.list_multipart_uploads, MaxUploads=1)
    monkeypatch.setattr(storage.client, "list_multipart_uploads", page)
    assert {found for found, _ in storage.open_uploads("a")} == begun


def test_a_listing_of_uploads_goes_on_behind_the_decoded_key(storage, monkeypatch):
    """As AWS encodes it; the services of the tests send it as it is."""
    key, begun = "a +\x01", datetime.now(UTC)
    full, asked = storage.objects.full_key(key), []

    def page_of_one(Prefix, EncodingType, KeyMarker="", UploadIdMarker="0", **about):  # noqa: N803
        asked.append((Prefix, EncodingType, KeyMarker))
        following = int(UploadIdMarker) + 1
        return {
            "EncodingType": "url",
            "Uploads": [{"Key": quote_plus(full), "UploadId": UploadIdMarker, "Initiated": begun}],
            "IsTruncated": following < 3,
            "NextKeyMarker": quote_plus(full),
            "NextUploadIdMarker": str(following),
        }

    with monkeypatch.context() as context:
        context.setattr(storage.client, "list_multipart_uploads", page_of_one)
        assert storage.open_uploads(key) == [("0", begun), ("1", begun), ("2", begun)]
    assert asked == [(full, "url", ""), (full, "url", full), (full, "url", full)]


def test_headers_of_s3_are_signed_as_aws_asks(storage, put, monkeypatch):
    put("a", b"text")
    sent, send = [], Bucket.send

    def record(bucket, url, *arguments):
        sent.append(url)
        return send(bucket, url, *arguments)

    monkeypatch.setattr(Bucket, "send", record)
    headers = {"x-amz-checksum-mode": "ENABLED", "Range": "bytes=0-0"}
    storage.request("GET", "a", headers).close()
    assert "X-Amz-SignedHeaders=host%3Bx-amz-checksum-mode&" in sent[0]


@pytest.mark.needs("checksums")
def test_a_finished_upload_tells_of_its_object(storage):
    data = b"text"
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    upload_id = storage.begin_upload("a", "text/x-own", "mark")
    url, header = storage.sign_part("a", upload_id, 1, digest, 4)
    assert urllib3.request("PUT", url, body=data, headers={header: digest}).status == 200
    stat = storage.finish_upload("a", upload_id, digests=[digest], size=4, part_size=4, mark="mark")
    assert stat.checksum == f"SHA256:{digest}"
    assert (stat._replace(checksum=""), "mark") == storage.find("a")


# What is found, written, copied and deleted, and at what cost


@pytest.fixture
def requests(storage, monkeypatch):
    """Record method or operation of each request, as it is sent."""
    sent, send = [], Bucket._send

    def read(bucket, method, key, headers):
        sent.append(method)
        return send(bucket, method, key, headers)

    def record(request, **about):
        sent.append(about["event_name"].rpartition(".")[2])

    monkeypatch.setattr(Bucket, "_send", read)
    storage.client.meta.events.register("before-send.s3", record)
    yield sent
    storage.client.meta.events.unregister("before-send.s3", record)


@pytest.fixture
def at_aws(monkeypatch):
    """Take the server for AWS's own, which judges every condition."""
    monkeypatch.setattr(ObjectStorage, "_is_aws", True)


def test_a_small_object_is_read_to_its_end_by_one_request(storage, put, requests):
    put("a", b"text")
    with storage.open("a") as file:
        assert (file.read(), file.read()) == (b"text", b"")
    assert requests == ["GET"]


def test_a_file_that_is_open_goes_back_to_its_start_without_a_request(storage, put, requests):
    put("a", b"text")
    with storage.open("a") as file:
        assert (file.read(1), file.open().read(1), file.open("rb").read(1)) == (b"t", b"t", b"t")
    assert requests == ["GET"]


def test_find_tells_of_the_object_and_of_the_write_that_made_it(storage, put, requests):
    put("theirs", b"text")
    storage.create("ours", ContentFile(b"text"), mark="abc")
    requests.clear()
    found = [storage.find(key) for key in ("ours", "theirs", "nothing")]
    assert requests == ["HEAD"] * 3
    assert found == [(storage.stat("ours"), "abc"), (storage.stat("theirs"), ""), None]


@pytest.mark.needs("conditional puts")
@pytest.mark.parametrize("size", [0, 1, PART_SIZE + 1])
def test_a_write_tells_of_its_object_and_of_its_upload(storage, size):
    uploads = []
    for number in range(2):
        content = ContentFile(bytes([number]) * size)
        condition = {"etag": storage.stat("a").etag} if number else {}
        write = storage.replace if number else storage.create
        stat = write("a", content, **condition, mark=f"m{number}", on_upload=uploads.append)
        assert storage.find("a") == (stat._replace(checksum=""), f"m{number}")
        assert stat.checksum == of_whole(hashlib.sha256(bytes([number]) * size).digest())
    assert len(uploads) == (2 if size > PART_SIZE else 0)


def test_an_upload_whose_id_cannot_be_noted_is_aborted(storage):
    def fail(upload_id):
        raise RuntimeError("the database is gone")

    with pytest.raises(RuntimeError, match="the database is gone"):
        storage.create("a", ContentFile(bytes(PART_SIZE)), on_upload=fail)
    assert (listed(storage), open_uploads(storage)) == ([], [])


def test_a_write_that_is_overtaken_at_once_is_told(storage, put, monkeypatch):
    write = ObjectStorage._put

    def overtake(self, key, data, **parameters):
        write(self, key, data, **parameters)
        put(key, b"theirs")

    monkeypatch.setattr(ObjectStorage, "_put", overtake)
    with pytest.raises(ObjectChangedError, match="changed meanwhile"):
        storage.create("a", ContentFile(b"ours"))


KEPT = {
    "CacheControl": "no-store",
    "ContentDisposition": "attachment",
    "ContentEncoding": "x-own",
    "ContentLanguage": "de",
    "ContentType": "text/x-own",
    "Metadata": {"own": "a b", WRITE_MARK: "m"},
    "StorageClass": "STANDARD_IA",
}


BOTH_COPIES = [False, pytest.param(True, marks=pytest.mark.needs("whole copies"))]


@pytest.mark.parametrize("aws", BOTH_COPIES)
@pytest.mark.parametrize("size", [0, 4, PART_SIZE, PART_SIZE + 1])
def test_a_copy_keeps_what_the_object_has_beside_its_bytes(storage, put, monkeypatch, aws, size):
    monkeypatch.setattr(ObjectStorage, "_is_aws", aws)
    put("a", bytes(size), **KEPT)
    assert (storage.copy("a", "b", mark="n"), "n") == storage.find("b")
    head = location.client().head_object(Bucket=storage.bucket_name, Key="b")
    expected = KEPT | {"Metadata": {"own": "a b", WRITE_MARK: "n"}}
    assert {name: head.get(name) for name in KEPT} == expected
    assert storage.open("b").read() == bytes(size)


@pytest.mark.parametrize("aws", BOTH_COPIES)
@pytest.mark.parametrize(
    "size",
    [0, 4, PART_SIZE, pytest.param(PART_SIZE + 1, marks=pytest.mark.needs("tags of uploads"))],
)
def test_a_copy_keeps_tags(storage, put, monkeypatch, aws, size):
    monkeypatch.setattr(ObjectStorage, "_is_aws", aws)
    put("a", bytes(size), Tagging="one=1&two=a%2Bb%20%3D")
    storage.copy("a", "b")
    tags = location.client().get_object_tagging(Bucket=storage.bucket_name, Key="b")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"one": "1", "two": "a+b ="}


def test_a_rename_of_a_small_object_costs_six_requests(storage, put, requests):
    put("a", b"text")
    requests.clear()
    stat = storage.copy("a", "b", etag=storage.stat("a").etag)
    storage.delete("a", stat.etag)
    assert requests[1:] == [
        *("GET", "GetObjectTagging", "PutObject", "HEAD"),
        *("HEAD", "DeleteObject"),
    ]


def test_a_rename_costs_three_requests_at_aws(storage, put, requests, at_aws):
    put("a", b"text")
    requests.clear()
    stat = storage.copy("a", "b")
    storage.delete("a", stat.etag)
    assert requests == ["HEAD", "CopyObject", "DeleteObject"]


def test_a_save_that_finds_each_key_taken_gives_up(storage, put, monkeypatch, requests):
    put("a", b"theirs")
    monkeypatch.setattr(ObjectStorage, "get_available_name", lambda self, name, limit: name)
    with pytest.raises(FileExistsError):
        storage.save("a", ContentFile(b"ours"))
    assert (requests.count("PutObject"), storage.open("a").read()) == (SAVES, b"theirs")


def test_a_large_object_is_copied_in_parts_at_aws(storage, put, monkeypatch, requests, at_aws):
    monkeypatch.setattr("files.storage.copying.COPY_PART_SIZE", 5 * MIB)
    put("a", bytes(11 * MIB))
    requests.clear()
    uploads = []
    assert storage.copy("a", "b", on_upload=uploads.append).etag.endswith('-3"')
    assert (requests.count("UploadPartCopy"), len(uploads)) == (3, 1)


@pytest.mark.parametrize("size", [4, PART_SIZE + 1])
def test_a_copy_of_an_object_of_another_etag_is_refused(storage, put, size):
    put("a", bytes(size))
    with pytest.raises(ObjectChangedError):
        storage.copy("a", "b", etag='"0123456789abcdef0123456789abcdef"')
    assert [entry["Key"] for entry in listed(storage)] == ["a"]


@pytest.mark.parametrize(
    ("condition", "kind"),
    [("If-None-Match", FileExistsError), ("x-amz-copy-source-If-Match", ObjectChangedError)],
)
def test_what_copy_object_refuses_is_told_by_its_condition(storage, condition, kind):
    answer = {
        "Error": {"Code": "PreconditionFailed", "Condition": condition},
        "ResponseMetadata": {"HTTPStatusCode": 412},
    }
    with pytest.raises(kind) as raised, storage._boundary("a", NEW):
        raise ClientError(answer, "CopyObject")
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    "aws", [False, pytest.param(True, marks=pytest.mark.needs("conditional deletes"))]
)
def test_delete_leaves_an_object_of_another_etag(storage, put, monkeypatch, aws):
    monkeypatch.setattr(ObjectStorage, "_is_aws", aws)
    put("a", b"old")
    etag = storage.stat("a").etag
    put("a", b"theirs")
    with pytest.raises(ObjectChangedError, match="changed meanwhile"):
        storage.delete("a", etag)
    storage.delete("a", storage.stat("a").etag)
    storage.delete("a", etag)
    assert listed(storage) == []


def test_list_tells_of_every_object_in_the_order_of_the_keys(storage, put):
    for key in KEYS:
        put(key, key.encode())
    found = list(storage.list())
    assert [key for key, stat in found] == sorted(KEYS, key=str.encode)
    assert found == [(key, storage.stat(key)._replace(content_type="")) for key, stat in found]
    assert [key for key, stat in storage.list("a")] == ["a/../b", "a//b"]


def test_an_answer_about_the_bucket_is_not_taken_for_an_object():
    with pytest.raises(S3Error, match="does not keep this key"):
        read_stat("/", {"Content-Length": "0", "x-amz-bucket-region": "eu-central-1"})


def open_uploads(storage):
    return location.client().list_multipart_uploads(Bucket=storage.bucket_name).get("Uploads", [])
