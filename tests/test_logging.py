"""What the servers write to stderr, each as a process."""

import contextlib
import http.client
import json
import logging
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import urllib3
from django.core.files.base import ContentFile

from files import activity
from files.storage import S3Error
from project import logs
from tests import leaks
from tests.processes import ROOT, wait_for
from tests.responses import closing
from tests.servers import ASGI, WSGI, lines

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"

SERVERS = {"wsgi": WSGI, "asgi": ASGI}


@pytest.fixture(params=SERVERS)
def production(request, serve):
    return serve(*SERVERS[request.param], APP_DEBUG="false")


@pytest.fixture
def session(viewer):
    return {"Cookie": f"__Host-sessionid={viewer.cookies['sessionid'].value}"}


def get(url, path, **headers):
    """Return the answer, and what the server has logged of it."""
    answer = urllib3.request("GET", url + path, headers=headers, redirect=False, retries=False)
    return answer, lines_of(url, answer.headers["X-Request-ID"])


def lines_of(url, request_id):
    """Return the lines of the request without times, once the last is there."""
    end = time.monotonic() + 10
    while True:
        found = [line for line in lines(url) if line.get("request_id") == request_id]
        if found and found[-1]["logger"] == "project.requests":
            for line in found:
                assert re.fullmatch(ISO, line.pop("time"))
                for name in ("seconds", "s3_seconds"):
                    assert 0 <= line.pop(name, 0) < 30
            return found
        assert time.monotonic() < end
        time.sleep(0.05)


def expected(request_id, path, status, **facts):
    """Return the line of a request for a page that needs nothing."""
    return {
        "level": "INFO",
        "logger": "project.requests",
        "message": f"GET {path} {status}",
        "request_id": request_id,
        "user": None,
        "client": "127.0.0.1",
        "method": "GET",
        "route": None,
        "path": path,
        "status": status,
        "whole": True,
        "file": None,
        "s3_requests": 0,
    } | facts


def test_a_page_that_is_not_there_leaves_one_line(production):
    answer, log = get(production, "/nowhere/?password=s3cret", **{"X-Request-ID": "a-1"})
    assert answer.status == 404
    assert log == [expected("a-1", "/nowhere/", 404, bytes=len(answer.data))]


def test_a_body_that_is_not_read_leaves_a_line(production):
    server = http.client.HTTPConnection(urlsplit(production).netloc, timeout=10)
    with contextlib.closing(server):
        server.putrequest("POST", "/login/")
        server.putheader("Content-Length", str(300 * 2**20))
        server.endheaders()
        answer = server.getresponse()
        request_id = answer.headers["X-Request-ID"]
        found = expected(request_id, "/login/", 413, bytes=len(answer.read()))
    (log,) = lines_of(production, request_id)
    facts = {"method": "POST", "message": "POST /login/ 413", "route": log["route"]}
    assert log == found | facts


def test_a_download_leaves_what_s3_has_answered_and_a_line(production, make_file, session):
    file = make_file("a.txt", b"text")
    answer, (s3, log) = get(production, f"/files/{file.pk}/", **session)
    request_id = answer.headers["X-Request-ID"]
    user = {"id": 1, "name": "viewer"} | {"id": log["user"]["id"]}
    assert s3.pop("s3_request_id")
    assert s3 == {
        "level": "INFO",
        "logger": "files.s3",
        "message": "S3 answers 200 to GetObject",
        "request_id": request_id,
        "user": user,
        "client": "127.0.0.1",
        "operation": "GetObject",
        "key": f"{file.storage.location}a.txt",
        "status": 200,
        "code": "",
    }
    facts = {"route": "files/<int:pk>/", "bytes": 4, "file": file.pk, "s3_requests": 1}
    assert log == expected(request_id, f"/files/{file.pk}/", 200, user=user, **facts)


def test_a_client_that_leaves_gets_fewer_bytes(production, make_file, session):
    size = 40 * 2**20
    file = make_file("large", bytes(size))
    answer = urllib3.request(
        "GET", f"{production}/files/{file.pk}/", headers=session, preload_content=False
    )
    answer.read(1000)
    answer.close()
    *_, log = lines_of(production, answer.headers["X-Request-ID"])
    assert (log["status"], log["whole"]) == (200, False)
    assert log["bytes"] < size


def test_requests_at_once_have_lines_of_their_own(production, make_file, session):
    files = [make_file(f"{number}.txt", bytes(number * 2**20)) for number in range(1, 9)]

    def download(file):
        _answer, log = get(production, f"/files/{file.pk}/", **session)
        return [(line.get("key"), line.get("file"), line.get("bytes")) for line in log]

    with ThreadPoolExecutor(len(files)) as threads:
        assert list(threads.map(download, files)) == [
            [(f"{file.storage.location}{file}", None, None), (None, file.pk, file.size)]
            for file in files
        ]


def test_what_follows_a_request_is_no_part_of_it(make_file, viewer):
    with closing(viewer.get(f"/files/{make_file().pk}/")):
        assert activity.current().client == "127.0.0.1"
    assert activity.current() is None


@pytest.mark.parametrize("given", ["", "two words", "a\u00e9", 129 * "a", "{}"])
def test_an_id_that_is_not_sane_is_replaced(production, given):
    _answer, log = get(production, "/nowhere/", **{"X-Request-ID": given.encode()})
    assert re.fullmatch(r"[0-9a-f]{32}", log[0]["request_id"])


def test_an_error_leaves_its_traceback(serve):
    url = serve(APP_DEBUG="false", APP_DB_NAME="postgres")  # which has no tables
    answer, log = get(url, "/files/1/", Cookie=f"__Host-sessionid={32 * 'a'}")
    assert answer.status == 500
    error, line = log
    assert (error["level"], error["logger"]) == ("ERROR", "django.request")
    assert error["message"] == "Internal Server Error: /files/1/"
    assert error["traceback"].startswith("Traceback (most recent call last):\n")
    assert 'relation "django_session" does not exist' in error["traceback"]
    assert (line["status"], line["file"]) == (500, 1)


def test_a_host_that_is_not_allowed_leaves_its_name(production):
    answer, (refusal, line) = get(production, "/", Host="elsewhere.example")
    assert (answer.status, line["status"]) == (400, 400)
    assert refusal["logger"] == "django.security.DisallowedHost"
    assert "'elsewhere.example'" in refusal["message"]
    assert "traceback" not in refusal


def test_a_missing_csrf_token_leaves_its_reason(production):
    answer = urllib3.request("POST", f"{production}/login/", body=b"password=s3cret")
    refusal, line = lines_of(production, answer.headers["X-Request-ID"])
    assert (answer.status, line["status"]) == (403, 403)
    assert refusal["logger"] == "django.security.csrf"
    assert refusal["message"] == "Forbidden (CSRF cookie not set.): /login/"


def test_questions_for_health_leave_no_line(production):
    for path in ("/healthz", "/readyz"):
        assert urllib3.request("GET", production + path).status == 200
    get(production, "/nowhere/")
    assert "z" not in "".join(line.get("path", "") for line in lines(production))


def test_what_a_server_says_of_itself_is_json(production):
    of_itself = {line["message"] for line in lines(production) if "request_id" not in line}
    assert any(re.search("Booting worker|Serving at", text) for text in of_itself)


# Lines


def record(message, **extra):
    made = logging.LogRecord("a.b", logging.INFO, "path", 1, message, (), None)
    made.__dict__.update(extra)
    return made


def test_a_line_of_json_is_one_line_of_ascii_whatever_is_in_it():
    odd = 'a\nb\r\u2028\x1b[2J\udcff"}'
    line = logs.JSONFormatter().format(record(odd, facts={"key": odd}))
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line)
    assert (found["message"], found["key"]) == (odd, odd)


@pytest.mark.parametrize("formatter", [logs.JSONFormatter(), logs.LineFormatter()])
def test_a_signature_is_left_out(formatter):
    url = "/a?X-Amz-Signature=0123abc&X-Amz-Credential=AK%2Feu&X-Amz-Security-Token=t0ken&b=1"
    line = formatter.format(record(f"failed: {url}"))
    hidden = "/a?X-Amz-Signature=...&X-Amz-Credential=...&X-Amz-Security-Token=...&b=1"
    assert f"failed: {hidden}" in line


# What S3 answers


@pytest.fixture
def s3_log(caplog):
    caplog.set_level("INFO", "files.s3")

    def s3_log():
        return [
            [record.facts[name] for name in ("operation", "key", "status", "code")]
            for record in caplog.records
            if record.name == "files.s3"
        ]

    return s3_log


def test_s3_answers_are_logged_for_reads_and_writes(storage, s3_log):
    storage.save("a/ü", ContentFile(b"text"))
    storage.open("a/ü").read()
    storage.delete("a/ü")
    prefix = storage.location
    assert s3_log() == [
        ["HeadObject", f"{prefix}a/ü", 404, ""],
        ["PutObject", f"{prefix}a/ü", 200, ""],
        ["GetObject", f"{prefix}a/ü", 206, ""],
        ["DeleteObject", f"{prefix}a/ü", 204, ""],
    ]


def test_s3_refusals_are_logged_with_their_code(storage, proxy, no_waits, s3_log, put):
    proxy.faults[:] = [("status", 403)]
    with pytest.raises(PermissionError):
        storage.open("a").read()
    assert s3_log()[0][:3] == ["GetObject", f"{storage.location}a", 403]


def test_s3_out_of_reach_is_logged_for_each_attempt(storage, unreachable, s3_log):
    unreachable()
    with pytest.raises(S3Error):
        storage.open("a").read()
    assert s3_log() == 3 * [
        ["GetObject", f"{storage.location}a", None, "NewConnectionError"],
    ]


# runserver


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
        urllib3.request("GET", f"http://127.0.0.1:{port}/nowhere/")
        log = read_to(server, b'"GET /nowhere/')  # which is written after the answer
    finally:
        server.terminate()
        server.communicate()
    leaks.check(log)
    own = r'\[\d\d/\w{3}/\d{4} \d\d:\d\d:\d\d\] "GET /nowhere/ HTTP/1\.1" 404 \d+\n'
    assert re.search(rf"{TIME} WARNING django\.request: Not Found: /nowhere/\n{own}$", log)
