"""`GET /files/<id>/`, in this process; test_delivery.py asks over HTTP."""

import pytest
from django.contrib.auth.models import User

from files.models import File
from tests.conftest import closing

pytestmark = pytest.mark.django_db


def body(response):
    return b"".join(response.streaming_content)


def headers(client, url):
    """Return the headers, and leave the body where it is."""
    with closing(client.get(url)) as response:
        return response.headers


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
    "Cache-Control": "private",
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


def test_nobody_is_sent_to_the_login(make_file, client):
    response = client.get(f"/files/{make_file().pk}/")
    assert response.status_code == 302
    assert response.headers["Location"].startswith("/login/?next=/files/")
    assert b"<form" in client.get(response.headers["Location"]).content


def test_a_user_without_the_permission_gets_403(make_file, client):
    client.force_login(User.objects.create_user("somebody"))
    assert client.get(f"/files/{make_file().pk}/").status_code == 403


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


def test_other_methods_are_refused(make_file, viewer):
    response = viewer.post(f"/files/{make_file().pk}/")
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD")
