"""Bodies of requests, which both kinds of server bound before they read them."""

import asyncio
import http.client
from contextlib import closing
from urllib.parse import urlsplit

import pytest
import urllib3
from django.contrib.auth.models import Permission

from files.models import File
from project import handler
from tests.responses import told
from tests.servers import ASGI, WSGI

pytestmark = pytest.mark.django_db(transaction=True)

MIB = 2**20
WHOLE = "/api/files/?key=a"
TO_ANYBODY = "You can send no more than 64.0\xa0KB to this address."


@pytest.fixture(params=[WSGI, ASGI], ids=["wsgi", "asgi"])
def url(request, serve):
    return serve(*request.param, APP_MAX_UPLOAD="4MiB")


@pytest.fixture
def session(client, django_user_model):
    """Return the headers of a session of a user with these permissions."""

    def session(*permissions):
        user = django_user_model.objects.create_user("somebody", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return {"Cookie": f"sessionid={client.cookies['sessionid'].value}"}

    return session


def announce(url, path, headers):
    """Send the headers of a request and nothing of its body; return status and sentence."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as server:
        server.putrequest("POST", path)
        for name, value in headers.items():
            server.putheader(name, value)
        server.endheaders()
        response = server.getresponse()
        found = urllib3.HTTPResponse(response.read(), response.getheaders(), response.status)
        return found.status, told(found)


def test_a_body_for_a_login_is_refused_before_it_is_read(url):
    large = {"Content-Length": str(300 * MIB), "Content-Type": "multipart/form-data; boundary=x"}
    assert announce(url, "/login/", large) == (413, TO_ANYBODY)
    assert announce(url, "/nowhere/", large)[0] == 413


def test_a_body_without_a_length_is_read_no_further_than_it_may(serve):
    sent = []

    def body():
        while len(sent) < 1000:
            sent.append(2**14)
            yield bytes(2**14)

    try:
        answer = urllib3.request("POST", f"{serve()}/login/", body=body(), retries=False)
    except urllib3.exceptions.HTTPError:
        pytest.fail("the server has not answered")
    assert (answer.status, told(answer)) == (413, TO_ANYBODY)


def test_wsgi_takes_no_body_without_a_length(serve):
    answer = announce(serve(*WSGI), "/login/", {"Transfer-Encoding": "chunked"})
    assert answer == (411, "A body must come with its length here.")


@pytest.mark.parametrize(
    ("permissions", "path", "size", "most"),
    [
        (["add_file"], WHOLE, 4 * MIB + 2**16 + 1, "4.1\xa0MB"),
        (["add_file"], "/admin/", 3 * MIB, "2.5\xa0MB"),
        (["view_file"], WHOLE, 3 * MIB, "2.5\xa0MB"),
        (["view_file"], "/files/1/", 3 * MIB, "2.5\xa0MB"),
    ],
)
def test_only_those_who_may_upload_send_more_and_only_there(
    url, session, permissions, path, size, most
):
    headers = session(*permissions) | {"Content-Length": str(size)}
    text = f"You can send no more than {most} to this address."
    assert announce(url, path, headers) == (413, text)


@pytest.mark.parametrize("size", [4 * MIB, 4 * MIB + 1])
def test_an_upload_may_have_its_limit(url, session, size):
    token = "t" * 32
    headers = session("add_file") | {"X-CSRFToken": token}
    headers["Cookie"] += f"; csrftoken={token}"
    answer = urllib3.request("POST", url + WHOLE, body=bytes(size), headers=headers)
    is_kept = size == 4 * MIB
    # The server may know a content type of the admin's log by the id that it had in the last test.
    assert (answer.status == 413) is not is_kept
    assert [file.size for file in File.objects.all()] == [size] * is_kept


def test_a_body_in_chunks_arrives(serve, session, storage):
    token = "t" * 32
    headers = session("add_file") | {"X-CSRFToken": token}
    headers["Cookie"] += f"; csrftoken={token}"
    url, chunks = serve(), [b'{"key": "a", ', b'"size": 1}']
    answer = urllib3.request("POST", url + WHOLE, body=iter(chunks), headers=headers)
    assert (answer.status, storage.open("a").read()) == (201, b"".join(chunks))
    headers["Content-Type"] = "application/json"
    answer = urllib3.request("POST", f"{url}/api/uploads/", body=iter(chunks), headers=headers)
    assert (answer.status, answer.json()["type"]) == (409, "urn:problem-type:files:taken")


def test_a_body_of_which_nothing_comes_is_given_up(monkeypatch):
    monkeypatch.setattr(handler, "BODY_TIMEOUT", 0.1)
    monkeypatch.setattr(handler, "LINGER", 0.1)
    sent = []

    async def send(message):
        sent.append(message)

    async def ask():
        headers = [(b"content-length", b"10")]
        scope = {"type": "http", "path": "/login/", "method": "POST", "headers": headers}
        await handler.Handler(1)(scope, asyncio.Event().wait, send)

    asyncio.run(ask())
    start, body, end = sent
    headers = [(name.decode(), value.decode()) for name, value in start["headers"]]
    answer = urllib3.HTTPResponse(body["body"], headers, start["status"])
    assert (answer.status, end) == (408, {"type": "http.response.body"})
    assert told(answer) == "Nothing of the request has come for too long; try again."
