"""`manage.py sandbox`, as a person starts it: with nothing configured."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import urllib3
from django.core.management import CommandError, call_command

from project.sandbox import services
from project.sandbox.samples import samples
from tests import leaks
from tests.processes import ROOT, heed_signals, manage, wait_for
from tests.test_startup import NOTHING

pytestmark = pytest.mark.alike


@pytest.fixture
def nothing_left(monkeypatch):
    """Fail where a folder or a process of a sandbox outlives it."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # root's sandbox runs PostgreSQL as nobody
        monkeypatch.setenv("TMPDIR", folder)
        yield
        assert os.listdir(folder) == []
        assert not [process for process in processes() if folder in process]


def processes():
    """Return the commands and environments of all processes but this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if path.name != str(os.getpid()):
                text = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
                found.append(text.decode(errors="replace"))
    return found


@pytest.mark.usefixtures("nothing_left")
def test_read_file_prints_the_text_and_nothing_else_whatever_is_configured():
    environ = {**NOTHING, "APP_BUCKET_NAME": "ours", "HTTP_PROXY": "http://127.0.0.1:9"}
    done = manage("sandbox", "--services=embedded", "read_file", "1", environ=environ)
    assert done.stdout == next(samples())[1]
    assert done.stderr.startswith(b"sandbox: embedded: ")
    assert len(done.stderr.splitlines()) == 1
    assert done.returncode == 0


@pytest.mark.usefixtures("nothing_left")
def test_radosgw_serves_the_objects_where_it_is_asked_for():
    if not shutil.which("radosgw"):
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("radosgw is not installed (Debian: radosgw ceph-mon ceph-osd)")
    show = (
        "import os, urllib3; print(urllib3.request('GET', os.environ['AWS_ENDPOINT_URL_S3']).data)"
    )
    done = manage("sandbox", "--services=radosgw", "shell", "-v0", "-c", show, environ=NOTHING)
    assert b"<ID>anonymous</ID>" in done.stdout
    assert (done.stderr.count(b"\n"), done.returncode) == (1, 0)


@pytest.mark.usefixtures("nothing_left")
def test_where_radosgw_is_missing_it_says_what_installs_it(tmp_path):
    environ = NOTHING | {"PATH": str(tmp_path)}
    done = manage("sandbox", "--services=radosgw", "check", environ=environ)
    assert done.stderr.splitlines()[-1] == (
        b"CommandError: radosgw is not installed: `apt-get install --no-install-recommends radosgw"
        b" ceph-mon ceph-osd` installs it."
    )
    assert done.returncode == 1


@pytest.mark.usefixtures("nothing_left")
def test_with_nothing_configured_the_status_is_that_of_the_command():
    done = manage("sandbox", "--services=embedded", "read_file", "1000", environ=NOTHING)
    assert done.returncode == 1
    assert done.stderr.endswith(b"CommandError: There is no file with the id 1000.\n")


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_bare_it_serves_the_admin_until_it_is_told_to_end(end):
    with sandbox(f"--port={services.free_port()}") as process:
        try:
            line = process.stdout.readline().decode()
            found = re.fullmatch(r"(\S+)  login: (\S+)  password: (\S+)\n", line)
            assert found, line
            browse(*found.groups())
        finally:
            process.send_signal(end)
            output = communicate(process)
    assert process.returncode == 128 + end
    assert b"Traceback" not in b"".join(output)


@pytest.mark.usefixtures("nothing_left")
def test_what_a_killed_sandbox_leaves_is_ended_by_the_next():
    port = services.free_port()
    with sandbox(f"--port={port}") as process:
        process.stdout.readline()
        wait_for(port)
        process.kill()
    wait_for(port)
    done = manage("sandbox", "--services=embedded", "check", environ=NOTHING)
    assert done.returncode == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def sandbox(*arguments):
    """Start the sandbox on embedded services, as on a terminal with nothing configured."""
    environ = {name: value for name, value in os.environ.items() if name not in NOTHING}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "sandbox", "--services=embedded", *arguments],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_signals,
    )


def communicate(process):
    try:
        written = process.communicate(timeout=30)
        leaks.check(*(text.decode() for text in written))
        return written
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def browse(url, login, password):
    """Log in as a browser does, and look for the samples."""
    http = urllib3.PoolManager(retries=urllib3.Retry(20, backoff_factor=0.05, redirect=0))
    page = http.request("GET", url + "login/")
    token = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', page.data)[1].decode()
    cookie = page.headers["Set-Cookie"].partition(";")[0]
    answer = http.request(
        "POST",
        url + "login/?next=/admin/files/file/",
        fields={"csrfmiddlewaretoken": token, "username": login, "password": password},
        encode_multipart=False,
        headers={"Cookie": cookie},
        redirect=False,
    )
    assert answer.status == 302
    cookies = "; ".join(value.partition(";")[0] for value in answer.headers.getlist("Set-Cookie"))
    everything = url + "files/file/?below=1"
    page = http.request("GET", everything, headers={"Cookie": cookies}).data.decode()
    for key, _ in samples():
        assert key in page


@pytest.mark.usefixtures("nothing_left")
def test_ended_while_it_starts_it_leaves_nothing():
    with sandbox("check") as process:
        assert process.stderr.readline().startswith(b"sandbox: embedded")
        wait_for_child(process, "initdb")
        process.terminate()
        rest = communicate(process)
    assert process.returncode == 143
    assert rest == (b"", b"")


def wait_for_child(process, name):
    """Return when the process, or a child of it, has started a program of this name."""
    started = []
    while name not in started:
        assert process.poll() is None, started
        with contextlib.suppress(psutil.NoSuchProcess):
            started = [child.name() for child in psutil.Process(process.pid).children(True)]
        time.sleep(0.01)


def test_samples_that_s3_does_not_take_end_with_one_sentence(db, unreachable):
    unreachable()
    with pytest.raises(CommandError) as caught:
        call_command("load_samples")
    assert str(caught.value) == (
        "/root/text.txt: S3 is out of reach at http://127.0.0.1:9 (NewConnectionError)."
    )
