"""Programs as people have them: README's own lines, and clients that ask in their own way."""

import hashlib
import os
import re
import shutil
import subprocess
import sys

import pytest
from django.contrib.auth.models import Permission, User

from files.models import File, Token
from files.tokens import expiry
from tests import leaks
from tests.test_readme import README

SECTION = README.split("\n## From a program\n")[1].split("\n## ")[0]
SHELL = {text.split()[0]: text for text in re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)}
STREAM, UPLOAD = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)

KEY = "reports/2026.csv"
DATA = os.urandom(9 * 2**20)


@pytest.fixture
def token(transactional_db):
    """Return the text of a token for the folder `reports/`."""
    user = User.objects.create_user("backup")
    codenames = ("view_file", "add_file")
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    _, text = Token.objects.issue(user, scope="write", prefix="reports/", expires_at=expiry(1))
    leaks.add(text)
    return text


@pytest.fixture(params=["stream", "redirect"])
def run(request, serve, token, tmp_path):
    """Run a program with the site and the token in its environment, and return what it prints."""
    site = serve(APP_DELIVERY=request.param)

    def run(*command, check=True):
        environ = os.environ | {"SITE": site, "TOKEN": token}
        done = subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, timeout=60, check=False
        )
        assert not check or done.returncode == 0, done.stderr.decode()
        return done

    return run


@pytest.fixture
def forgets(request):
    """Skip a program that sends its token on to S3, as README says of it."""

    def forgets(program):
        delivery = request.node.callspec.params["run"]
        if delivery == "redirect" and program in {"wget", "aria2c", "ffmpeg"}:
            pytest.skip(f"{program} sends the token on to where it is redirected")

    return forgets


def needs(program):
    """Skip where a program is not installed, unless `CI` is set."""
    if not shutil.which(program) and not os.environ.get("CI"):
        pytest.skip(f"{program} is not installed")


@pytest.mark.parametrize("program", ["curl", "wget", "aria2c"])
def test_a_download_goes_as_readme_has_it(make_file, run, tmp_path, forgets, program):
    needs(program)
    forgets(program)
    make_file(KEY, DATA)
    run("bash", "-ec", SHELL[program])
    assert (tmp_path / "2026.csv").read_bytes() == DATA


@pytest.mark.parametrize("program", ["curl", "wget"])
def test_a_download_that_broke_off_goes_on(make_file, run, tmp_path, forgets, program):
    needs(program)
    forgets(program)
    make_file(KEY, DATA)
    (tmp_path / "2026.csv").write_bytes(DATA[: 5 * 2**20])
    run("bash", "-ec", SHELL[program])
    assert (tmp_path / "2026.csv").read_bytes() == DATA


@pytest.mark.parametrize("program", ["curl", "wget", "aria2c"])
def test_what_is_refused_is_no_file_and_no_success(run, tmp_path, program):
    needs(program)
    done = run("bash", "-ec", SHELL[program].replace("$TOKEN", "files_" + "0" * 40), check=False)
    assert done.returncode != 0
    left = tmp_path / "2026.csv"
    assert not left.exists() or left.read_bytes() == b""  # which wget leaves


def test_python_streams_a_download(make_file, run, tmp_path):
    make_file(KEY, DATA)
    run(sys.executable, "-c", STREAM)
    assert (tmp_path / "2026.csv").read_bytes() == DATA


@pytest.mark.parametrize("size", [0, 2**20, 17 * 2**20])
def test_twenty_lines_upload_a_file_of_any_size(run, tmp_path, size):
    data = os.urandom(size)
    (tmp_path / "data").write_bytes(data)
    told = run(sys.executable, "-c", UPLOAD, "data", "reports/new.bin").stdout
    file = File.objects.get(pk=int(told))
    assert str(file) == "reports/new.bin"
    with file.open() as content:
        assert hashlib.sha256(content.read()).digest() == hashlib.sha256(data).digest()


def test_the_upload_has_twenty_lines():
    (body,) = re.findall(r"^def upload.*?(?=\n\n\n)", UPLOAD, re.DOTALL | re.MULTILINE)
    assert len(body.splitlines()) <= 20


def test_ffmpeg_seeks_in_a_video(make_file, run, tmp_path, forgets):
    needs("ffmpeg")
    forgets("ffmpeg")
    run(
        *("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=duration=60:size=320x240:rate=10"),
        *("-c:v", "mpeg4", "-q:v", "1", "film.mp4"),
    )
    data = (tmp_path / "film.mp4").read_bytes()
    file = make_file("reports/film.mp4", data, ContentType="video/mp4")
    run(
        "bash",
        "-ec",
        "ffmpeg -v error -headers \"Authorization: Bearer $TOKEN\"$'\\r\\n' -ss 50"
        f' -i "$SITE/files/{file.pk}/" -frames:v 1 frame.png',
    )
    assert (tmp_path / "frame.png").read_bytes().startswith(b"\x89PNG")
