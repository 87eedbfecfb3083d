"""`GET /files/<id>/`, in this process; test_delivery.py asks over HTTP."""

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from files import access
from files.models import File, Token
from files.tokens import expiry
from tests import leaks
from tests.responses import closing, told

pytestmark = pytest.mark.django_db


def body(response):
    return b"".join(response.streaming_content)


def headers(client, url):
    """Return the headers, and leave the body where it is."""
    with closing(client.get(url)) as response:
        return response.headers


def bearer(name="viewer"):
    """Return the header of a program that has a token of this user."""
    user = User.objects.get(username=name)
    _, text = Token.objects.issue(user, name="x", expires_at=expiry(3))
    leaks.add(text)
    return {"Authorization": f"Bearer {text}"}


def test_the_content_comes_with_its_headers(make_file, viewer):
    file = make_file("folder/ü.txt", "grüße".encode(), ContentType="text/plain")
    response = viewer.get(f"/files/{file.pk}/")
    assert response.status_code == 200
    assert body(response) == "grüße".encode()
    stat = file.storage.stat(str(file))
    found = {name: response.headers[name] for name in EXPECTED}
    assert found == EXPECTED | {"ETag": stat.etag, "Content-Length": "7"}
    assert response.headers["Last-Modified"].endswith(" GMT")


EXPECTED = {
    "Accept-Ranges": "bytes",
    "Cache-Control": "private, no-cache",
    "Content-Disposition": "inline; filename*=utf-8''%C3%BC.txt",
    "Content-Length": "",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Content-Type": "text/plain; charset=utf-8",
    "ETag": "",
    "X-Content-Type-Options": "nosniff",
}


def test_download_makes_an_attachment(make_file, viewer):
    found = headers(viewer, f"/files/{make_file('a.txt').pk}/?download")
    assert found["Content-Disposition"] == 'attachment; filename="a.txt"'


@pytest.mark.parametrize(
    ("key", "content_type"),
    [
        ("page.html", "text/html"),
        ("image.svg", "image/svg+xml"),
        ("data.xml", "application/xml"),
        ("code.js", "text/javascript"),
        ("page.xhtml", "application/xhtml+xml"),
        ("harmless.txt", "text/html"),
        ("what", "application/x-unknown"),
        ("a.png", "TEXT/HTML"),
        ("a.png", "not a type at all"),
    ],
)
def test_what_could_run_is_an_attachment(make_file, viewer, key, content_type):
    file = make_file(key, b"<script>", ContentType=content_type)
    found = headers(viewer, f"/files/{file.pk}/")
    assert found["Content-Disposition"].startswith("attachment")


def test_a_type_that_is_none_is_sent_as_bytes(make_file, viewer):
    file = make_file("a")
    File.objects.update(content_type="text/plain\r\nX-Evil: 1")
    found = headers(viewer, f"/files/{file.pk}/")
    assert found["Content-Type"] == "application/octet-stream"


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def test_a_browser_without_a_session_is_sent_to_the_login(make_file, client):
    response = client.get(f"/files/{make_file().pk}/?download", headers={"Accept": BROWSER})
    assert response.status_code == 302
    assert response.headers["Location"].startswith("/login/?next=/files/")
    assert response.headers["Location"].endswith("/%3Fdownload")
    assert "Accept" in response.headers["Vary"]
    assert b"<form" in client.get(response.headers["Location"]).content


@pytest.mark.parametrize(
    "accept", [None, "*/*", "text/*", "image/avif,image/*,*/*;q=0.8", "text/html;q=0, */*"]
)
def test_a_program_without_a_session_gets_401(make_file, client, accept):
    given = {"Accept": accept} if accept else {}
    response = client.get(f"/files/{make_file().pk}/", headers=given)
    text = "Send a token in the header Authorization, or log in."
    assert (response.status_code, told(response)) == (401, text)
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="files"'
    assert "Accept" in response.headers["Vary"]


@pytest.mark.parametrize("codenames", [[], ["change_file"]])
def test_a_user_without_the_permission_gets_403(make_file, client, codenames):
    user = User.objects.create_user("somebody")
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    assert client.get(f"/files/{make_file().pk}/").status_code == 403
    assert client.get("/files/17/").status_code == 403


@pytest.mark.parametrize("codenames", [[], ["change_file"], ["view_file"]])
def test_content_is_for_view_file_alone_by_one_file_and_by_many(make_file, codenames):
    user = User.objects.create_user("somebody")
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    file = make_file()
    may = codenames == ["view_file"]
    assert access.may_read(user, file) is may
    assert list(access.readable(user, File.objects.all())) == ([file] if may else [])


def test_a_row_that_is_not_there_is_404(viewer):
    assert viewer.get("/files/17/").status_code == 404
    assert viewer.get(f"/files/{10**30}/").status_code == 404


def test_an_object_that_is_gone_is_404_and_marked_until_it_is_back(make_file, viewer, storage, put):
    file = make_file("a")
    storage.delete("a")
    assert viewer.get(f"/files/{file.pk}/").status_code == 404
    assert File.objects.get().missing_at is not None
    put("a", b"back")
    assert body(viewer.get(f"/files/{file.pk}/")) == b"back"
    assert File.objects.get().missing_at is None


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_refused_before_login_and_csrf(viewer, method):
    for client in (viewer, Client(enforce_csrf_checks=True)):
        response = client.generic(method, "/files/1/")
        assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD")
        assert told(response) == "This address takes GET and HEAD alone."


def test_a_browser_reads_why_its_method_is_refused(client):
    response = client.post("/files/1/", headers={"Accept": BROWSER})
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.content == b"This address takes GET and HEAD alone."


def tables(client, url, **headers):
    """Return the table of each query of a request for the content, whatever it asks within."""
    with CaptureQueriesContext(connection) as queries:
        assert body(client.get(url, headers=headers)) == b"text"
    return [re.findall(r'(?:FROM|UPDATE) "(\w+)"', query["sql"])[-1] for query in queries]


def test_a_session_costs_a_query_each_for_itself_the_user_and_the_file(make_file, viewer):
    url = make_file(data=b"text").get_absolute_url()
    assert tables(viewer, url) == ["django_session", "auth_user", "files"]


@pytest.mark.usefixtures("viewer")
def test_a_token_costs_a_query_each_for_itself_and_the_file(make_file):
    url, headers = make_file(data=b"text").get_absolute_url(), bearer()
    used_first = tables(Client(), url, **headers)
    assert used_first == ["auth_user", "files_token", "files"]  # its use is noted by the hour
    assert tables(Client(), url, **headers) == ["auth_user", "files"]
