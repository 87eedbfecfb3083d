"""What nginx spares the application: slow clients, too many of them, and bodies that are too large.

That it carries the bytes as the application would is in test_delivery.py.
"""

import http.client
import select
import socket
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import pytest
import urllib3

from tests.faults import PATIENCE
from tests.responses import told
from tests.test_views import BROWSER
from tests.waiting import until

pytestmark = pytest.mark.django_db

SLOW_HEADERS = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
# With the cookie Django reads the body, to compare the token in it.
SLOW_BODY = (
    b"POST /admin/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nCookie: csrftoken="
    + b"a" * 32
    + b"\r\n\r\na"
)


@pytest.fixture
def connect():
    """Return what sends the beginning of a request, and keeps the connection."""
    with ExitStack() as stack:

        def connect(url, start):
            place = urlsplit(url)
            client = socket.create_connection((place.hostname, place.port), PATIENCE)
            stack.enter_context(client).sendall(start)
            return client

        yield connect


@pytest.mark.parametrize("start", [SLOW_HEADERS, SLOW_BODY])
def test_slow_requests_hold_no_thread(nginx, connect, start):
    for _ in range(40):
        connect(nginx(), start)
    assert urllib3.request("GET", f"{nginx()}/login/", timeout=5, retries=False).status == 200


def test_slow_readers_hold_no_thread(make_file, viewer, nginx, connect):
    file = make_file("large.bin", bytes(8 * 2**20))
    cookie = f"Cookie: sessionid={viewer.cookies['sessionid'].value}"
    start = f"GET /files/{file.pk}/ HTTP/1.1\r\nHost: 127.0.0.1\r\n{cookie}\r\n\r\n"
    begun = [connect(nginx(), start.encode()).recv(12) for _ in range(40)]
    assert set(begun) == {b"HTTP/1.1 200"}
    assert urllib3.request("GET", f"{nginx()}/login/", timeout=5, retries=False).status == 200


def test_one_address_has_a_limited_number_of_requests(nginx, connect):
    clients = [connect(nginx(), SLOW_BODY) for _ in range(101)]
    (refused,), _, _ = select.select(clients, [], [], PATIENCE)
    answer = http.client.HTTPResponse(refused)
    answer.begin()
    found = urllib3.HTTPResponse(answer.read(), answer.getheaders(), answer.status)
    assert (found.status, found.headers["Retry-After"]) == (429, "5")
    assert told(found) == "Too many ask at once from your address; try again in a moment."


def test_one_address_has_a_limited_number_of_logins(nginx):
    addresses = ["/login/", "/admin/login/"] * 15
    found = [urllib3.request("POST", nginx() + each, retries=False).status for each in addresses]
    assert (set(found[:21]), found[-1]) == ({403}, 429)
    assert urllib3.request("GET", f"{nginx()}/login/").status == 200


UPLOAD = "/api/files/"


@pytest.mark.parametrize(
    ("address", "mebibytes", "is_refused"),
    [
        ("/admin/", 2.4, False),
        ("/admin/", 2.6, True),
        (UPLOAD, 16.5, False),
        (UPLOAD, 17.1, True),
        ("/admin/files/file/add/", 16.5, False),
        ("/admin/files/file/42/replace/", 16.5, False),
        ("/api/files/42/content/", 16.5, False),
        ("/api/uploads/", 2.6, True),
    ],
)
def test_a_body_has_the_size_that_its_address_takes(nginx, address, mebibytes, is_refused):
    body = bytes(int(mebibytes * 2**20))
    answer = urllib3.request("POST", nginx() + address, body=body, retries=False)
    assert answer.status == 413  # of the application too, for somebody who has not logged in
    assert (told(answer) == "This is too large to be sent at once.") == is_refused


@pytest.fixture
def ask_in_vain(front):
    """Return what asks where the application does not answer, of a client that accepts this."""
    _, url = front("http://127.0.0.1:9")

    def ask_in_vain(accept):
        headers = {"Accept": accept}
        answer = urllib3.request("GET", f"{url}/files/1/", headers=headers, retries=False)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert answer.headers["Vary"] == "Accept"
        return answer

    return ask_in_vain


NO_ANSWER = "This site cannot be reached now; try again in a moment."


@pytest.mark.parametrize("accept", ["*/*", "text/*", "text/html;q=0, */*", "application/json"])
def test_nginx_tells_programs_a_problem_document(ask_in_vain, accept):
    assert told(ask_in_vain(accept)) == NO_ANSWER


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "image/png, Text/HTML ; q=0.1"])
def test_nginx_tells_browsers_a_sentence(ask_in_vain, accept):
    answer = ask_in_vain(accept)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.data.decode() == NO_ANSWER


@pytest.mark.parametrize(
    ("limit", "start"),
    [
        ("client_header_timeout 10s;", SLOW_HEADERS),
        ("client_body_timeout 15s;", SLOW_BODY),
        ("keepalive_timeout 30s;", SLOW_HEADERS + b"\r\n"),
    ],
)
def test_a_client_that_says_no_more_is_left(serve, front, connect, limit, start):
    """The limits are shortened, so that the test need not wait for them."""
    name, _ = limit.split()
    _, url = front(serve(APP_DELIVERY="accel"), (limit, f"{name} 1s;"))
    client = connect(url, start)
    with suppress(ConnectionResetError):  # TimeoutError, where nginx does not end it
        while client.recv(2**16):
            pass


@pytest.mark.parametrize(
    "query", ["token={}", "key=a&access_token={}&download", "token={}&token={}"]
)
def test_a_token_in_an_address_stands_in_no_log(nginx_with_logs, query):
    folder, url = nginx_with_logs()
    token = "files_" + "1" * 40
    answer = urllib3.request("GET", f"{url}/files/1/?{query.format(token, token)}", retries=False)
    assert (answer.status, told(answer)) == (
        400,
        "Send the token in the header Authorization: addresses are logged and remembered.",
    )

    def logged():
        log = (folder / "access.log").read_text()
        return log if "GET /files/1/?" in log else ""

    log = until(logged)  # nginx writes the line once it has answered
    assert "token=..." in log
    assert token not in log
