"""Django's contract of a storage: what third-party code relies on."""

import csv
import gc
import io
import json
import random
import re
import subprocess
import sys
import tempfile
import tracemalloc
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import openpyxl
import pytest
from django.contrib.staticfiles.storage import ManifestFilesMixin
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage
from django.core.management import call_command
from PIL import Image

from files.storage import ObjectStorage
from files.storage.writing import PART_SIZE
from tests import location
from tests.processes import ROOT
from tests.test_storage import KEYS, Failing, listed, open_uploads


@pytest.fixture(autouse=True)
def temporary_files(tmp_path, settings):
    """Return the folder of temporary files, which must be empty at the end."""
    settings.FILE_UPLOAD_TEMP_DIR = folder = tmp_path / "temporary"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []


def keys(storage):
    return [entry["Key"] for entry in listed(storage)]


# Reading


@pytest.mark.parametrize("mode", ["r", "rt"])
def test_a_text_mode_reads_utf_8(storage, put, mode):
    put("a.txt", "ü\r\nzwei\n".encode())
    with storage.open("a.txt", mode) as file:
        assert (list(file), file.mode, file.name, file.size) == (
            ["ü\n", "zwei\n"],
            mode,
            "a.txt",
            9,
        )
        assert (file.seek(0), file.readline(), file.read(2)) == (0, "ü\n", "zw")
        assert list(file.chunks(3)) == ["ü\nz", "wei", "\n"]
    assert file.closed


def test_a_text_that_is_not_utf_8_is_refused(storage, put):
    put("a.txt", b"\xff")
    with storage.open("a.txt", "r") as file, pytest.raises(UnicodeDecodeError):
        file.read()


@pytest.mark.parametrize("mode", ["rb", "r"])
def test_a_file_that_was_closed_opens_again(storage, put, mode):
    put("a.txt", b"text")
    file = storage.open("a.txt", mode)
    first = file.read()
    file.close()
    with file.open() as again:
        assert (again.read(), again is file) == (first, True)


def test_a_file_opens_again_in_another_mode(storage, put):
    put("a.txt", b"text")
    file = storage.open("a.txt")
    assert [file.open(mode).read() for mode in ("r", "rb", None, "rt")] == [
        "text",
        b"text",
        b"text",
        "text",
    ]
    file.close()
    assert (file.open("rb").read(), file.mode) == (b"text", "rb")
    with file, pytest.raises(ValueError, match=r"'wb': .* opened to read"):
        file.open("wb")


@pytest.mark.parametrize("mode", ["a", "ab", "r+", "rb+", "w+", "w+b", "x+", "rw", "b", "", "rbt"])
def test_a_mode_that_changes_an_object_in_place_is_refused(storage, mode):
    with pytest.raises(ValueError, match=r"read .* or written whole"):
        storage.open("a", mode)


# Writing


@pytest.mark.parametrize(
    ("mode", "size"),
    [("wb", 0), ("xb", 1), ("bw", PART_SIZE - 1), ("wb", PART_SIZE), ("wb", PART_SIZE + 1)],
)
def test_what_was_written_is_committed_at_the_end(storage, mode, size):
    data = random.Random(0).randbytes(size)
    with storage.open("a.bin", mode) as file:
        file.write(data[: size // 2])
        file.write(data[size // 2 :])
        assert (file.size, keys(storage), open_uploads(storage)) == (size, [], [])
    assert (storage.open("a.bin").read() == data, open_uploads(storage)) == (True, [])


@pytest.mark.parametrize("mode", ["w", "x", "wt"])
def test_a_text_is_written_as_utf_8_with_its_ends_of_lines(storage, mode):
    with storage.open("a.csv", mode) as file:
        file.write("ü\r\n")
        file.writelines(["1\n", "2"])
        assert file.size == 7
    assert storage.open("a.csv").read() == "ü\r\n1\n2".encode()
    assert storage.stat("a.csv").content_type == "text/csv"


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_written_exactly(storage, key):
    with storage.open(key, "wb") as file:
        file.write(b"text")
    assert keys(storage) == [key]


@pytest.mark.parametrize("mode", ["wb", "w", "xb", "x"])
def test_a_key_that_is_there_is_refused_before_any_work(storage, put, mode):
    put("a", b"first")
    with pytest.raises(FileExistsError, match=r"File\.replace\(\)") as raised:
        storage.open("a", mode)
    assert (raised.value.filename, storage.open("a").read()) == ("a", b"first")


def test_a_key_that_is_taken_meanwhile_is_refused_at_the_end(storage, put):
    file = storage.open("a", "wb")
    file.write(b"second")
    put("a", b"first")
    with pytest.raises(FileExistsError, match=r"File\.replace\(\)"):
        file.close()
    assert (file.closed, storage.open("a").read()) == (True, b"first")


def test_a_file_that_is_written_is_opened_again_by_the_storage_alone(storage):
    with storage.open("a", "wb") as file:
        file.write(b"text")
        assert file.open().tell() == 0
        with pytest.raises(ValueError, match="open it again by the storage"):
            file.open("rb")
    with pytest.raises(ValueError, match="open it again by the storage"):
        file.open()
    assert storage.open("a").read() == b"text"


@pytest.mark.parametrize("size", [0, 10, 2 * PART_SIZE])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_block_that_fails_commits_nothing(storage, size, error):
    file = storage.open("a", "wb")
    file.write(bytes(size))
    with pytest.raises(error), file:
        raise error
    file.close()
    assert (file.closed, keys(storage), open_uploads(storage)) == (True, [], [])


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_file_that_nobody_closed_commits_nothing_and_is_logged(storage, caplog, mode):
    file = storage.open("a", mode)
    file.write("text" if mode == "w" else bytes(2 * PART_SIZE))
    del file
    gc.collect()
    assert "'a' was not closed, so that nothing of it is stored" in caplog.text
    assert (keys(storage), open_uploads(storage)) == ([], [])


def test_a_file_that_was_written_is_closed_for_good(storage):
    with storage.open("a", "wb") as file:
        file.write(b"text")
    file.close()
    with pytest.raises(ValueError, match=r"open it again by the storage"):
        file.open()
    with pytest.raises(ValueError, match="closed"):
        file.write(b"more")
    assert storage.open("a").read() == b"text"


def test_a_file_that_is_being_written_is_not_opened_to_read(storage):
    with storage.open("a", "wb") as file:
        file.write(b"text")
        with pytest.raises(ValueError, match=r"open it again by the storage"):
            file.open("rb")
        assert file.open("wb").read() == b"text"


def test_writing_takes_flat_memory(storage):
    chunk = bytes(2**20)
    tracemalloc.start()
    with storage.open("large", "wb") as file:
        for _ in range(40):
            file.write(chunk)
        _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (peak < 2 * PART_SIZE, storage.size("large")) == (True, 40 * 2**20)


def test_a_commit_that_fails_leaves_nothing(storage, monkeypatch):
    def refuse(self, *arguments, **parameters):
        raise PermissionError(13, "S3 refuses PutObject")

    monkeypatch.setattr("files.storage.backend.ObjectStorage.create", refuse)
    file = storage.open("a", "wb")
    with pytest.raises(PermissionError), file:
        file.write(b"text")
    assert (file.closed, keys(storage)) == (True, [])


# Names


def test_a_path_is_a_name_everywhere(storage):
    path, other = Path("folder/a.txt"), Path("folder/b.txt")
    assert storage.save(path, ContentFile(b"text")) == "folder/a.txt"
    assert (storage.open(path).read(), storage.open(path).name) == (b"text", "folder/a.txt")
    assert (storage.exists(path), storage.size(path), storage.stat(path).size) == (True, 4, 4)
    assert storage.get_modified_time(path) == storage.get_modified_time("folder/a.txt")
    assert "/folder/a.txt?" in storage.url(path)
    assert storage.listdir(Path("folder")) == ([], ["a.txt"])
    assert storage.get_available_name(other) == "folder/b.txt"
    with storage.open(other, "w") as file:
        file.write("text")
    storage.delete(path)
    assert keys(storage) == ["folder/b.txt"]


@pytest.mark.parametrize(
    "write",
    [
        lambda storage, key: storage.save(key, ContentFile(b"x")),
        lambda storage, key: storage.create(key, ContentFile(b"x")),
        lambda storage, key: storage.open(key, "wb"),
    ],
)
def test_a_reserved_name_is_not_written(storage, write):
    with pytest.raises(SuspiciousFileOperation, match=r"begin with \.files/ are reserved"):
        write(storage, ".files/a")
    assert list(storage.list()) == []


@pytest.mark.parametrize("mode", ["x", "w"])
def test_an_empty_name_is_no_object(storage, put, mode):
    put("a", b"text")
    with pytest.raises(ValueError, match="delete"):
        storage.delete("")
    with pytest.raises(ValueError, match="name"):
        storage.open("", mode)
    with pytest.raises(SuspiciousFileOperation):
        storage.save("", ContentFile(b"text"))
    assert keys(storage) == ["a"]


@pytest.mark.parametrize(
    ("name", "max_length", "begin", "end"),
    [
        ("folder/" + "x" * 200 + ".txt", 100, "folder/xxx", ".txt"),
        ("folder/" + "ü" * 600 + ".txt", 100, "folder/üüü", ".txt"),
        ("folder/" + "ü" * 600 + ".tar.gz", None, "folder/üüü", ".tar.gz"),
        ("x" * 2000, 1500, "xxx", ""),
    ],
)
def test_a_long_name_is_shortened(storage, name, max_length, begin, end):
    key = storage.save(name, ContentFile(b"text"), max_length=max_length)
    assert (key.startswith(begin), key.endswith(end)) == (True, True)
    assert len(key) == (max_length or 0) or -1 <= len(key.encode()) - location.limit() <= 0
    assert keys(storage) == [key]


@pytest.mark.parametrize("max_length", [None, 8, 100])
def test_a_name_that_fits_is_kept(storage, max_length):
    assert storage.get_available_name("folder/a", max_length) == "folder/a"


@pytest.mark.parametrize("name", ["a.txt", "folder.d/a", "a.tar.gz", "a/.hidden", "a/a.", "ü"])
def test_a_name_gets_a_suffix_where_django_puts_it(storage, put, name):
    django = InMemoryStorage()
    django.save(name, ContentFile(b"first"))
    put(name, b"first")
    names = [other.get_available_name(name) for other in (storage, django)]
    ours, theirs = (re.sub("_[A-Za-z0-9]{7}", "_", found) for found in names)
    assert ours == theirs != name


@pytest.mark.parametrize(
    ("name", "max_length"),
    [
        ("folder/" + "x" * 100 + ".txt", 15),
        ("f" * 1020 + "/a.txt", None),
        ("a." + "x" * 1100, None),
    ],
)
def test_a_name_that_cannot_be_shortened_is_refused(storage, name, max_length):
    with pytest.raises(SuspiciousFileOperation, match="available filename"):
        storage.save(name, ContentFile(b"text"), max_length=max_length)
    assert keys(storage) == []


def test_a_save_that_fails_leaves_no_object(storage):
    with pytest.raises(RuntimeError, match="the disk is gone"):
        storage.save("small", Failing(bytes(2 * PART_SIZE)))
    with pytest.raises(TypeError):
        storage.save("mixed", io.StringIO)
    assert (keys(storage), open_uploads(storage)) == ([], [])


# The standard library


def test_csv_reads_and_writes(storage):
    rows = [["a", "ü"], ["1", "two\nlines"]]
    with storage.open("table.csv", "w") as file:
        csv.writer(file).writerows(rows)
    with storage.open("table.csv", "r") as file:
        assert list(csv.reader(file)) == rows


def test_zipfile_reads_and_writes(storage):
    with storage.open("a.zip", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("small", b"text")
        archive.writestr("large", bytes(2 * PART_SIZE))
    with storage.open("a.zip") as file, zipfile.ZipFile(file) as archive:
        assert (archive.testzip(), archive.read("small")) == (None, b"text")
        assert archive.namelist() == ["small", "large"]


def test_a_zip_that_fails_leaves_nothing(storage):
    file = storage.open("a.zip", "wb")
    with pytest.raises(KeyError), file, zipfile.ZipFile(file, "w") as archive:
        archive.read("nothing")
    assert keys(storage) == []


def test_tempfile_copies_to_and_from(storage):
    with tempfile.TemporaryFile() as source:
        source.write(b"text")
        assert storage.save("a", source) == "a"
    assert storage.open("a").read() == b"text"


# Django's static files


class Manifest(ManifestFilesMixin, ObjectStorage):
    """The storage for static files, as a project may define it."""


@pytest.fixture
def static_files(tmp_path, settings, storage):
    """Make static files that name each other, and configure `Manifest` with options for them."""
    files = {"a.css": '@import "b.css"; i {background: url("img/x y.png#z")}', "b.css": "b {}"}
    (tmp_path / "static" / "img").mkdir(parents=True)
    (tmp_path / "static" / "img" / "x y.png").write_bytes(b"png")
    for name, text in files.items():
        (tmp_path / "static" / name).write_text(text)

    def configure(**options):
        backend = "django.contrib.staticfiles.finders.FileSystemFinder"
        place = {"bucket_name": storage.bucket_name, "location": storage.location}
        options = place | options
        settings.STATICFILES_FINDERS = [backend]
        settings.STATICFILES_DIRS = [tmp_path / "static"]
        settings.STORAGES = settings.STORAGES | {
            "staticfiles": {"BACKEND": "tests.test_contract.Manifest", "OPTIONS": options}
        }

    return configure


@pytest.mark.parametrize("options", [{"querystring_auth": False}, {"custom_domain": "cdn.test"}])
def test_static_files_are_collected_twice(static_files, storage, options):
    static_files(**options)
    for _ in range(2):
        call_command("collectstatic", interactive=False, verbosity=0)
    hashed = json.loads(storage.open("staticfiles.json").read())["paths"]
    text = storage.open(hashed["a.css"]).read().decode()
    image, other = hashed["img/x y.png"], hashed["b.css"]
    assert text == f'@import url("{other}"); i {{background: url("{image}#z")}}'
    assert set(keys(storage)) == {*hashed, *hashed.values(), "staticfiles.json"}


def test_a_url_without_a_signature_is_the_same_each_time(storage):
    plain = location.alike(storage, querystring_auth=False)
    signed = urlsplit(storage.url("a b/ü"))
    assert plain.url("a b/ü") == f"{signed.scheme}://{signed.netloc}{signed.path}"
    assert plain.url("a", {"versionId": "1 2"}).endswith("/a?versionId=1+2")


def test_a_url_of_another_domain_names_the_key(storage):
    cdn = location.alike(storage, custom_domain="cdn.test")
    assert cdn.url("/a b/ü?#") == f"https://cdn.test/{storage.location}/a%20b/%C3%BC%3F%23"
    assert cdn.url("a", {"x": "1 2"}) == f"https://cdn.test/{storage.location}a?x=1+2"


# Other packages


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP"])
def test_pillow_reads_and_writes(storage, kind):
    image = Image.effect_noise((300, 200), 50)
    with storage.open(f"image.{kind.lower()}", "wb") as file:
        image.save(file, kind)
    with storage.open(f"image.{kind.lower()}") as file, Image.open(file) as found:
        found.load()
        assert (found.format, found.size) == (kind, image.size)


def test_openpyxl_reads_and_writes(storage):
    book = openpyxl.Workbook()
    book.active.append(["a", "ü"])
    with storage.open("a.xlsx", "wb") as file:
        book.save(file)
    for read_only in (False, True):
        with storage.open("a.xlsx") as file:
            found = openpyxl.load_workbook(file, read_only=read_only)
            assert list(found.active.values) == [("a", "ü")]
            found.close()


THUMBNAILS = """
import os, sys, django
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.management import call_command

place = dict(zip(["bucket_name", "location"], sys.argv[1:]))
backend = {"BACKEND": "files.storage.ObjectStorage", "OPTIONS": place}
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["easy_thumbnails"],
    STORAGES={"default": backend},
)
django.setup()
call_command("migrate", verbosity=0)
from django.core.files.storage import default_storage
from easy_thumbnails.files import get_thumbnailer

for _ in range(2):
    thumbnail = get_thumbnailer(default_storage, "a.png").get_thumbnail({"size": (50, 50)})
    print(thumbnail.name, thumbnail.width, thumbnail.height)
"""


def test_easy_thumbnails_makes_a_thumbnail_once(storage):
    with storage.open("a.png", "wb") as file:
        Image.new("RGB", (300, 200)).save(file)
    command = [sys.executable, "-c", THUMBNAILS, storage.bucket_name, storage.location]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    line = "a.png.50x50_q85.jpg 50 33\n"
    assert (done.stdout, done.stderr, done.returncode) == (2 * line, "", 0)
    assert keys(storage) == ["a.png", "a.png.50x50_q85.jpg"]
