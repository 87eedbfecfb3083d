"""`manage.py read_file`, in this process; test_startup.py runs it as a process."""

import os
import subprocess
import sys

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from tests.processes import ROOT, manage

pytestmark = pytest.mark.django_db


def read(*arguments, capfdbinary):
    call_command("read_file", *map(str, arguments))
    return capfdbinary.readouterr().out


def test_text_comes_out_byte_for_byte(make_file, capfdbinary):
    data = "\ufeffGrüße\r\nohne Ende".encode()
    assert read(make_file(data=data).pk, capfdbinary=capfdbinary) == data


def test_a_character_across_two_pieces_is_whole(make_file, capfdbinary):
    data = b"x" + "😀".encode() * 300_000
    assert read(make_file(data=data).pk, capfdbinary=capfdbinary) == data


def test_an_empty_file_prints_nothing(make_file, capfdbinary):
    assert read(make_file(data=b"").pk, capfdbinary=capfdbinary) == b""


def test_another_encoding_is_printed_as_utf_8(make_file, capfdbinary):
    file = make_file(data="Grüße".encode("utf-16"))
    out = read(file.pk, "--encoding=utf-16", capfdbinary=capfdbinary)
    assert out == "Grüße".encode()


def test_raw_prints_any_bytes(make_file, capfdbinary):
    file = make_file(data=b"\xff\x00")
    assert read(file.pk, "--raw", capfdbinary=capfdbinary) == b"\xff\x00"


def test_output_writes_a_file(make_file, capfdbinary, tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    read(make_file(data=b"new").pk, f"--output={path}", capfdbinary=capfdbinary)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()
    assert os.listdir(tmp_path) == ["out.txt"]


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"abc\xff", "byte 0xff at 3, invalid start byte"),
        (b"x" * 2**20 + b"\xc3", "byte 0xc3 at 1048576, unexpected end of data"),
        (b"x" * (2**20 - 1) + b"\xc3(", "byte 0xc3 at 1048575, invalid continuation byte"),
    ],
)
def test_what_is_not_utf_8_names_byte_and_offset_and_leaves_no_file(
    make_file, tmp_path, data, told
):
    file = make_file(data=data)
    with pytest.raises(CommandError) as raised:
        call_command("read_file", file.pk, output=str(tmp_path / "out"))
    assert str(raised.value) == (
        f"File {file.pk} is not utf-8: {told}."
        " --raw prints the bytes, --encoding names what they are in."
    )
    assert os.listdir(tmp_path) == []


def test_what_its_codec_refuses_is_one_sentence(make_file):
    file = make_file(data=b"text without a mark")
    with pytest.raises(CommandError, match=r"is not utf-16: .*tream does not start with BOM"):
        call_command("read_file", file.pk, encoding="utf-16")


def test_a_table_that_is_not_migrated_is_one_sentence(make_file):
    with connection.cursor() as cursor:
        cursor.execute("alter table files drop column size")
    with pytest.raises(CommandError, match=r"run `manage\.py migrate`"):
        call_command("read_file", "1")


@pytest.mark.parametrize("id", [17, -1, 10**30])
def test_an_unknown_id_is_one_sentence(id):
    with pytest.raises(CommandError, match=rf"^There is no file with the id {id}\.$"):
        call_command("read_file", str(id))


@pytest.mark.parametrize("name", ["utf-9", "base64", "rot13", "a\0b", ""])
def test_an_unknown_encoding_is_one_sentence(name):
    with pytest.raises(CommandError, match="There is no text encoding"):
        call_command("read_file", 1, encoding=name)


def test_a_missing_object_is_one_sentence(make_file, storage):
    file = make_file("gone.txt")
    storage.delete("gone.txt")
    with pytest.raises(CommandError) as raised:
        call_command("read_file", file.pk)
    assert str(raised.value) == (
        f"File {file.pk}: There is no such object in the bucket {storage.bucket_name}: 'gone.txt'."
    )


def test_a_folder_that_is_not_there_is_one_sentence(make_file, tmp_path):
    with pytest.raises(CommandError, match="No such file or directory"):
        call_command("read_file", make_file().pk, output=str(tmp_path / "no" / "out"))


@pytest.mark.django_db(transaction=True)
def test_s3_out_of_reach_is_one_line(make_file):
    environ = {
        "APP_DB_NAME": settings.DATABASES["default"]["NAME"],
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    }
    done = manage("read_file", str(make_file().pk), environ=environ)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"S3 is out of reach at http://127.0.0.1:9" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.django_db(transaction=True)
def test_a_reader_that_has_enough_ends_it_quietly(make_file):
    file = make_file(data=b"line\n" * 600_000)  # more than the pipe and a piece hold
    command = [sys.executable, str(ROOT / "manage.py"), "read_file", str(file.pk)]
    environ = os.environ | {"APP_DB_NAME": settings.DATABASES["default"]["NAME"]}
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_read_text_and_open(make_file):
    file = make_file(data="grüße\n".encode())
    assert file.read_text() == "grüße\n"
    with file.open() as content:
        assert content.readline() == "grüße\n".encode()


def test_output_to_a_pipe_writes_into_it(make_file, tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    call_command("read_file", make_file(data=b"text").pk, output=str(path))
    assert os.read(pipe, 10) == b"text"
    os.close(pipe)


def test_output_to_a_link_writes_where_it_leads(make_file, tmp_path):
    (tmp_path / "link").symlink_to("target")
    call_command("read_file", make_file(data=b"text").pk, output=str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"text"


def test_a_file_in_the_trash_says_so(make_file):
    file = make_file()
    file.trash()
    with pytest.raises(CommandError, match=rf"^File {file.pk} is in the trash: restore it"):
        call_command("read_file", file.pk)
