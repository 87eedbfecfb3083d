"""What the servers write to stderr, each as a process."""

import re
import socket
import subprocess
import sys
import threading
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.processes import ROOT, wait_for

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("log") / "stderr"


@pytest.fixture
def production(serve, log):
    """Start the production server on a database without tables; return what gets a page.

    It returns the status, and what has come to stderr since.
    """
    capture = f"--capture-output --error-logfile={log} --access-logfile=/dev/null"
    url = serve(APP_DEBUG="false", APP_DB_NAME="postgres", GUNICORN_CMD_ARGS=capture)

    def get(path, **headers):
        before = len(log.read_text())
        status = fetch(url + path, headers)
        return status, re.sub(r"(?m)^\[.*\n", "", log.read_text()[before:])  # gunicorn's own lines

    return get


def fetch(url, headers):
    """Return the status."""
    try:
        return urlopen(Request(url, headers=headers)).status
    except HTTPError as error:
        return error.code


def test_an_error_in_production_leaves_the_time_and_a_traceback(production):
    status, log = production("/files/1/", Cookie=f"__Host-sessionid={32 * 'a'}")
    assert status == 500
    first, second, *_ = log.strip().splitlines()
    assert re.fullmatch(rf"{TIME} ERROR django\.request: Internal Server Error: /files/1/", first)
    assert second == "Traceback (most recent call last):"
    assert 'django.db.utils.ProgrammingError: relation "django_session" does not exist' in log


def test_a_page_that_is_not_there_leaves_one_line(production):
    status, log = production("/nowhere/")
    assert status == 404
    assert re.fullmatch(rf"{TIME} WARNING django\.request: Not Found: /nowhere/\n", log)


def test_a_host_that_is_not_allowed_leaves_one_line(production):
    status, log = production("/", Host="elsewhere.example")
    assert status == 400
    assert re.fullmatch(
        rf"{TIME} ERROR django\.security\.DisallowedHost: Invalid HTTP_HOST header:"
        r" 'elsewhere\.example'\. You may need to add 'elsewhere\.example' to ALLOWED_HOSTS\.\n",
        log,
    )


def read_to(server, text):
    """Return what the server has logged up to the line with this text."""
    watchdog = threading.Timer(30, server.kill)
    watchdog.start()
    log = b""
    for line in server.stderr:
        log += line
        if text in line:
            break
    watchdog.cancel()
    return log.decode()


def test_runserver_keeps_its_own_lines():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "manage.py", "runserver", "--noreload", "--skip-checks"]
    server = subprocess.Popen([*command, f"127.0.0.1:{port}"], cwd=ROOT, stderr=subprocess.PIPE)
    try:
        wait_for(port)
        fetch(f"http://127.0.0.1:{port}/nowhere/", {})
        log = read_to(server, b'"GET /nowhere/')  # which is written after the answer
    finally:
        server.terminate()
        server.communicate()
    own = r'\[\d\d/\w{3}/\d{4} \d\d:\d\d:\d\d\] "GET /nowhere/ HTTP/1\.1" 404 \d+\n'
    assert re.search(rf"{TIME} WARNING django\.request: Not Found: /nowhere/\n{own}$", log)
