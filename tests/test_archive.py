"""Archives: safe names, entries that cannot be read, flat memory, zip64, both kinds of server."""

import asyncio
import io
import itertools
import logging
import os
import shutil
import subprocess
import threading
import time
import tracemalloc
import unicodedata
import zipfile
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from django.test import AsyncRequestFactory, RequestFactory
from django.utils import translation
from django.utils.translation import trans_real
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from files.delivery import archive
from files.models import File
from files.storage import base
from files.storage.body import CHUNK, Body
from tests.faults import PATIENCE
from tests.isolation import other_sessions
from tests.responses import closing
from tests.waiting import until

pytestmark = pytest.mark.django_db

MIB = 2**20
NOTE = "NOT READ.txt"
MOMENT = datetime(2024, 2, 29, 12, 30, 58, tzinfo=UTC)


def respond(files, base="", *, method="GET", **options):
    return archive.respond(RequestFactory().generic(method, "/"), files, base, **options)


def respond_by_asgi(files):
    return archive.respond(AsyncRequestFactory().get("/"), files)


def read(files, base=""):
    """Return names and contents of the archive, which is checked."""
    with closing(respond(files, base)) as response:
        return unpack(b"".join(response))


def unpack(data):
    with zipfile.ZipFile(io.BytesIO(data)) as made:
        assert made.testzip() is None
        return {entry.filename: made.read(entry) for entry in made.infolist()}


def approve(path):
    """Let another program than Python test the archive, where there is one."""
    if unzip := shutil.which("unzip"):
        tested = subprocess.run([unzip, "-tqq", path], capture_output=True, check=False)
        assert (tested.returncode, tested.stdout, tested.stderr) == (0, b"", b"")
    else:
        with zipfile.ZipFile(path) as made:
            assert made.testzip() is None


def row(key, moment=MOMENT):
    """Return a file as the database has it, without the database."""
    return File(object_key=key, original_key="", modified_at=moment)


class FakeBucket:
    """S3 without the network, for objects too many or too large to be stored."""

    def __init__(self):
        self.sizes = {}
        self.bodies = {}

    def request(self, method, key, headers=None):
        body = io.BytesIO(self.bodies[key]) if key in self.bodies else Zeros(self.sizes[key])
        size = len(self.bodies[key]) if key in self.bodies else self.sizes[key]
        return SimpleNamespace(
            status=200,
            headers={"Content-Length": str(size), "ETag": '"x"'},
            raw=body,
            close=lambda: None,
        )


class Zeros:
    SOME = bytes(CHUNK)

    def __init__(self, size):
        self.left = size

    def read(self, size):
        size = min(size, self.left)
        self.left -= size
        return self.SOME[:size]


@pytest.fixture
def fake_bucket(monkeypatch):
    fake = FakeBucket()
    monkeypatch.setattr(base, "bucket", lambda *place: fake)
    return fake


# What is in an archive


def test_an_archive_has_names_contents_and_dates(make_file, tmp_path):
    contents = {"a.txt": b"text", "ünï/😀": bytes(range(256)) * 8000, "empty": b"", "b/c/d": b"d"}
    files = [make_file(f"base/{key}", data) for key, data in contents.items()]
    File.objects.update(modified_at=MOMENT)
    path = tmp_path / "files.zip"
    with closing(respond(File.objects.order_by("pk").iterator(), "base/")) as response:
        path.write_bytes(b"".join(response))
    approve(path)
    with zipfile.ZipFile(path) as made:
        assert {name: made.read(name) for name in made.namelist()} == contents
        assert {entry.date_time for entry in made.infolist()} == {(2024, 2, 29, 12, 30, 58)}
        assert {entry.extract_version for entry in made.infolist()} == {zipfile.DEFAULT_VERSION}
    assert len(files) == 4


def test_an_archive_is_saved_and_never_run_by_a_browser():
    response = respond([], name='a"b\r\nX-Evil: ü.zip')
    assert dict(response.headers) == {
        "Content-Type": "application/zip",
        "Content-Disposition": "attachment; filename*=utf-8''a%22b__X-Evil%3A%20%C3%BC.zip",
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    assert respond([]).headers["Content-Disposition"] == 'attachment; filename="files.zip"'


def test_an_entry_of_packed_bytes_says_so(make_file):
    files = [
        make_file("a.css", b"1", ContentEncoding="gzip"),
        make_file("b.svg", b"2", ContentEncoding="br"),
        make_file("c.css.gz", b"3", ContentEncoding="gzip"),
        make_file("d.tar.gz", b"4"),
        make_file("e.txt", b"5", ContentEncoding="identity"),
    ]
    assert read(files) == {
        "a.css.gz": b"1",
        "b.svg.br": b"2",
        "c.css.gz": b"3",
        "d.tar.gz": b"4",
        "e.txt": b"5",
    }


def test_an_archive_of_nothing_is_one():
    assert read([]) == {}


def test_head_asks_for_nothing():
    def files():
        pytest.fail("iterated")
        yield

    assert b"".join(respond(files(), method="HEAD")) == b""


@pytest.mark.parametrize(
    ("moment", "date"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), (1980, 1, 1, 0, 0, 0)),
        (datetime(1980, 1, 1, tzinfo=UTC), (1980, 1, 1, 0, 0, 0)),
        (datetime(2107, 12, 31, 23, 59, 59, tzinfo=UTC), (2107, 12, 31, 23, 59, 58)),
        (datetime(2200, 6, 1, tzinfo=UTC), (2107, 12, 31, 23, 59, 58)),
    ],
)
def test_a_date_is_within_what_a_zip_can_have(fake_bucket, moment, date):
    fake_bucket.bodies["a"] = b"text"
    with closing(respond([row("a", moment)])) as response:
        (entry,) = zipfile.ZipFile(io.BytesIO(b"".join(response))).infolist()
    assert entry.date_time == date


# Names


def names(keys, base=""):
    names = archive._Names(base)
    return [names.for_key(key) for key in keys]


@pytest.mark.parametrize(
    ("keys", "base", "expected"),
    [
        (["f/a", "f/g/b"], "f/", ["a", "g/b"]),
        (["/root/a", "a//b", "//"], "", ["root/a", "a/b", "_"]),
        (
            ["a/../b", "../../c", "./d", "e/...", "f/. ."],
            "",
            ["a/__/b", "__/__/c", "_/d", "e/___", "f/___"],
        ),
        (
            ["a\\b", "..\\c", "d\0e\nf", "\u202egpj", "C:/g", "h/d:i", "12:30"],
            "",
            ["a_b", ".._c", "d_e_f", "_gpj", "C_/g", "h/d_i", "12:30"],
        ),
        (
            ["a.txt", "A.txt", "a.TXT", "b/a.txt"],
            "",
            ["a.txt", "A (2).txt", "a (3).TXT", "b/a.txt"],
        ),
        (["a\0", "a\1", "a_"], "", ["a_", "a_ (2)", "a_ (3)"]),
        (["a", "a (2)", "A"], "", ["a", "a (2)", "A (3)"]),
        (
            [".env", ".ENV", "c.tar.gz", "C.tar.gz"],
            "",
            [".env", ".ENV (2)", "c.tar.gz", "C.tar (2).gz"],
        ),
        (
            ["\u00fc", "u\u0308", "STRASSE", "straße"],
            "",
            ["\u00fc", "u\u0308 (2)", "STRASSE", "straße (2)"],
        ),
        (["f/", "f/a", "F/b", "f"], "", ["f", "f (2)/a", "F (2)/b", "f (3)"]),
        (["f/", "f/a"], "f/", ["f", "a"]),
        (["f/a", "f", "f/b", "f (2)/c"], "", ["f/a", "f (2)", "f/b", "f (2) (2)/c"]),
        (
            ["x" * 300 + ".txt", "x" * 400 + ".txt", "ü" * 300],
            "",
            ["x" * 251 + ".txt", "x" * 247 + " (2).txt", "ü" * 127],
        ),
        (["a." + "x" * 253, "A." + "x" * 253], "", ["a." + "x" * 253, "A." + "x" * 249 + " (2)"]),
    ],
)
def test_a_name_is_the_key_where_that_is_safe_and_new(keys, base, expected):
    assert names(keys, base) == expected


SEGMENTS = ["a", "A", "a.txt", "A.TXT", "a (2)", "a (2).txt", "ü", "u\u0308", "", ".", "..", "\\"]
SEGMENTS += ["C:", "NOT READ.txt", "x" * 255, "X" * 256, "a" * 250 + ".txt", "\0", "\1", " "]
keys = st.lists(
    st.text(min_size=1) | st.lists(st.sampled_from(SEGMENTS), min_size=1).map("/".join),
    unique=True,
    max_size=30,
)


def is_safe(segment):
    return (
        segment.strip(". ") != ""
        and len(segment.encode()) <= 255
        and not any(unicodedata.category(character) == "Cc" for character in segment)
        and "\\" not in segment
        and not (segment[1:2] == ":" and segment[0].isascii() and segment[0].isalpha())
    )


@given(keys=keys, base=st.sampled_from(["", "a/", "/"]))
@example(keys=["a/", "a/b", "A", "a"], base="")
@example(keys=["a/", "a", "a/a"], base="a/")
@hypothesis_settings(deadline=None)
def test_names_are_safe_and_different_whatever_the_keys_are(keys, base):
    given = names(keys, base)
    assert all(is_safe(segment) for name in given for segment in name.split("/"))
    files = {unicodedata.normalize("NFC", name).casefold() for name in given}
    assert len(files) == len(keys)
    folders = {"/".join(name.split("/")[:end]) for name in files for end in range(name.count("/"))}
    assert not files & (folders - {""})


@given(keys=keys)
@hypothesis_settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_file_is_lost_whatever_the_keys_are(fake_bucket, keys):
    keys = [key for key in keys if key]
    fake_bucket.bodies = {key: key.encode("utf-8", "surrogatepass") for key in keys}
    made = read(row(key) for key in keys)
    assert sorted(made.values()) == sorted(fake_bucket.bodies.values())
    assert list(made) == names(keys)


def test_many_files_of_one_name_are_named_in_time():
    start = time.thread_time()  # which others on the machine do not add to
    assert len(set(names("x" * 255 + str(number) for number in range(5_000)))) == 5_000
    assert time.thread_time() - start < 10  # linear takes a tenth of a second, quadratic a minute


def test_a_file_in_the_trash_has_the_name_that_it_had(make_file):
    file = make_file(".trash/3f", b"old")
    file.original_key = "f/a.txt"
    assert read([file], "f/") == {"a.txt": b"old"}


# What cannot be read

LARGE = bytes(range(253)) * 10_000  # 2.5 MB, in several pieces


def lines(made):
    return made[NOTE].decode().splitlines()


def test_a_missing_object_is_listed_and_marked(make_file, storage):
    files = [make_file(key) for key in ("a", "gone\tü\\", "b")]
    storage.delete("gone\tü\\")
    made = read(files)
    assert list(made) == ["a", "b", NOTE]
    assert lines(made) == [r"'gone\tü\\': The content is missing."]
    assert File.objects.get(pk=files[1].pk).missing_at


def test_an_object_that_is_there_again_is_unmarked(make_file):
    file = make_file()
    file.mark_missing(True)
    assert list(read([file])) == ["a.txt"]
    assert File.objects.get().missing_at is None


def test_a_list_of_what_was_not_read_takes_no_file_its_name(make_file, storage):
    files = [make_file("gone"), make_file("not read.TXT", b"mine")]
    storage.delete("gone")
    made = read(files)
    assert list(made) == ["not read.TXT", "NOT READ (2).txt"]
    assert made["not read.TXT"] == b"mine"


def test_the_list_is_in_the_language_of_the_request(make_file, storage, monkeypatch):
    file = make_file("gone")
    storage.delete("gone")
    german = trans_real.translation("de")._catalog._catalogs[0]
    monkeypatch.setitem(german, NOTE, "NICHT GELESEN.txt")
    monkeypatch.setitem(german, "The content is missing.", "Der Inhalt fehlt.")
    with translation.override("de"):
        response = respond([file])
    with closing(response):
        assert unpack(b"".join(response)) == {"NICHT GELESEN.txt": b"'gone': Der Inhalt fehlt.\n"}


def test_a_body_that_breaks_is_continued(make_file, proxy):
    file = make_file("large", LARGE)
    proxy.faults[:] = [("reset", 1_500_000), ("status", 503), ("short", 10)]
    assert read([file]) == {"large": LARGE}


def test_a_body_that_breaks_for_good_is_listed_and_ends_short(make_file, proxy, tmp_path):
    files = [make_file("a"), make_file("large", LARGE), make_file("z")]
    proxy.faults[:] = [None] + [("short", 300_000)] * 6
    with closing(respond(files)) as response:
        data = b"".join(response)
    (tmp_path / "files.zip").write_bytes(data)
    approve(tmp_path / "files.zip")
    made = unpack(data)
    assert list(made) == ["a", "large", "z", NOTE]
    assert made["z"] == b"text"
    assert len(made["large"]) == 6 * 300_000
    assert LARGE.startswith(made["large"])
    assert lines(made) == [
        "'large': The content broke off while it was being read, and ends short here."
    ]


def test_an_object_that_changes_meanwhile_is_listed_and_ends_short(make_file, proxy, put):
    file = make_file("large", LARGE)
    proxy.faults[:] = [("call", 300_000)]
    proxy.on_call = lambda: put("large", b"other" * 600_000)
    made = read([file, file])
    assert made["large"] == LARGE[:300_000]
    assert made["large (2)"] == b"other" * 600_000
    assert lines(made) == [
        "'large': The content changed while it was being read, and ends short here."
    ]


def test_s3_out_of_reach_is_listed_and_the_log_names_the_file(make_file, unreachable, caplog):
    files = [make_file("a"), make_file("b")]
    unreachable()
    reason = "The content cannot be reached now; try again in a moment."
    assert lines(read(files)) == [f"'a': {reason}", f"'b': {reason}"]
    assert not File.objects.exclude(missing_at=None)
    assert f"File {files[0].pk} ('a'): [Errno 113] S3 is out of reach at" in caplog.text


def test_a_refusal_is_listed_and_the_log_names_the_permission(make_file, proxy, caplog):
    files = [make_file("a"), make_file("b")]
    proxy.faults[:] = [("status", 403)]
    with caplog.at_level(logging.ERROR):
        made = read(files)
    assert list(made) == ["b", NOTE]
    assert lines(made) == ["'a': The content cannot be read; tell the administrator of this site."]
    assert "allow s3:GetObject on it" in caplog.text


# Streams


def test_the_first_bytes_come_before_the_second_object_is_asked_for(make_file, proxy):
    file = make_file("a", bytes(2 * MIB))
    proxy.requests.clear()

    def files():
        yield file
        pytest.fail("asked for the second")

    with closing(respond(files())) as response:
        assert not proxy.requests
        pieces = response.streaming_content
        assert sum(len(next(pieces)) for _ in range(2)) > 2 * MIB
        assert len(proxy.requests) == 1


def test_one_body_is_open_at_a_time_and_none_when_the_client_is_gone(make_file, monkeypatch):
    open_bodies = []

    class Watched(Body):
        def __init__(self, *arguments):
            assert not open_bodies
            open_bodies.append(self)
            super().__init__(*arguments)

        def close(self):
            super().close()
            if self in open_bodies:
                open_bodies.remove(self)

    monkeypatch.setattr(base, "Body", Watched)
    files = [make_file(key, bytes(3 * MIB)) for key in "abc"]
    assert len(read(files)) == 3
    with closing(respond(files)) as response:
        pieces = response.streaming_content
        assert len(list(itertools.islice(pieces, 5))) == 5
        (body,) = open_bodies
    assert not open_bodies
    assert body._response.raw.closed
    assert body._response.raw.connection is None


def test_memory_is_flat(make_file):
    file = make_file("large", bytes(50 * MIB))
    size = 0
    tracemalloc.start()
    try:
        with closing(respond([file] * 6)) as response:
            for piece in response:
                size += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 300 * MIB
    assert peak < 16 * MIB


# Large


def test_an_entry_and_an_archive_beyond_4_gib_are_valid(fake_bucket, tmp_path):
    large = 4 * 2**30 + 1
    fake_bucket.sizes = {"large": large}
    fake_bucket.bodies = {"after": b"text"}
    path = tmp_path / "files.zip"
    files = [row("large"), row("after")]
    with closing(respond(files)) as response, path.open("wb") as target:
        for piece in response:
            if piece == Zeros.SOME:
                target.seek(len(piece), os.SEEK_CUR)  # so that the disk stores no 4 GiB
            else:
                target.write(piece)
    with zipfile.ZipFile(path) as made:
        assert [(entry.filename, entry.file_size) for entry in made.infolist()] == [
            ("large", large),
            ("after", 4),
        ]
        assert made.getinfo("large").extract_version == zipfile.ZIP64_VERSION
        assert made.read("after") == b"text"


def test_more_than_65535_entries_are_valid(fake_bucket, tmp_path):
    count = 65_600
    fake_bucket.bodies = {"f/a.txt": b"text"}
    path = tmp_path / "files.zip"
    with closing(respond(itertools.repeat(row("f/a.txt"), count))) as response:
        path.write_bytes(b"".join(response))
    approve(path)
    with zipfile.ZipFile(path) as made:
        assert len(made.namelist()) == count
        assert made.read(f"f/a ({count}).txt") == b"text"


# ASGI


def test_asgi_streams_the_same(make_file, storage):
    files = [make_file("a", LARGE), make_file("gone"), make_file("b")]
    storage.delete("gone")

    async def collect():
        return [piece async for piece in respond_by_asgi(files)]

    made = unpack(b"".join(asyncio.run(collect())))
    assert list(made) == ["a", "b", NOTE]
    assert made["a"] == LARGE
    assert other_sessions(at_most=0) == []


def test_asgi_does_not_hold_up_the_event_loop(make_file, proxy):
    """S3 stalls until the loop turns."""
    file = make_file("stalls", bytes(4 * MIB))
    turned, waited = threading.Event(), []
    proxy.faults[:] = [("call", MIB + 10)]
    proxy.on_call = lambda: waited.append(turned.wait(PATIENCE))

    async def read():
        pieces = aiter(respond_by_asgi([file]))
        first = await anext(pieces)
        asyncio.get_running_loop().call_soon(turned.set)
        return [first] + [piece async for piece in pieces]

    assert len(asyncio.run(read())) >= 4
    assert waited == [True]


@pytest.mark.usefixtures("impatient")
def test_asgi_closes_the_body_when_the_client_is_gone(make_file, proxy, monkeypatch):
    file = make_file("stalls", bytes(4 * MIB))
    bodies, made = [], []
    pieces = archive._pieces
    monkeypatch.setattr(base, "Body", lambda *given: bodies.append(Body(*given)) or bodies[-1])
    # Kept, so that it is not the garbage collection that closes it.
    monkeypatch.setattr(archive, "_pieces", lambda *given: made.append(pieces(*given)) or made[-1])
    proxy.faults[:] = [("stall", MIB + 10)]

    async def read():
        pieces = respond_by_asgi([file]).streaming_content
        await anext(pieces)
        waiting = asyncio.ensure_future(anext(pieces))
        while not (made[0].gi_running or waiting.done()):  # until the thread reads
            await asyncio.sleep(0.001)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await pieces.aclose()

    asyncio.run(read())
    until(lambda: not made[0].gi_frame)
    assert bodies[0]._response.raw.closed
