"""What browsers and programs get where there is no page."""

import pytest
import urllib3
from django.test import Client

from files import delivery
from tests.responses import told
from tests.test_views import BROWSER

pytestmark = pytest.mark.django_db

SENTENCES = {
    400: (
        "Bad request",
        "This request cannot be understood: go back, reload the page and try again.",
    ),
    403: ("Not allowed", "You may not do this: ask an administrator for the permission."),
    "csrf": (
        "Not sent",
        "This form is out of date: go back, reload the page, allow cookies and send it again.",
    ),
    404: (
        "Page not found",
        "There is nothing at this address: check it, or look for it in the list of files.",
    ),
    413: ("Too large", "You can send no more than 64.0\xa0KB to this address."),
    500: (
        "Server error",
        "Something is wrong here: try again, and tell an administrator if it stays.",
    ),
}


@pytest.fixture
def ask(viewer, make_file, monkeypatch):
    """Cause an error and return the answer."""
    viewer.raise_request_exception = False
    strict = Client(enforce_csrf_checks=True)
    large = {"username": "x" * 3_000_000}
    url = make_file().get_absolute_url()

    def fails(request, file):
        raise RuntimeError("a secret")

    def ask(error, **headers):
        if error == 500:
            monkeypatch.setattr(delivery, "respond", fails)
        return {
            400: lambda: viewer.get("/", headers=headers | {"Host": "evil.example.com"}),
            403: lambda: viewer.get("/admin/files/file/add/", headers=headers),
            "csrf": lambda: strict.post("/login/", headers=headers),
            404: lambda: viewer.get("/nothing/", headers=headers),
            413: lambda: Client().post("/login/", large, headers=headers),
            500: lambda: viewer.get(url, headers=headers),
        }[error]()

    return ask


@pytest.mark.parametrize("error", SENTENCES)
def test_a_program_gets_a_problem_document(ask, error):
    answer = ask(error)
    assert told(answer) == SENTENCES[error][1]
    assert answer.status_code == (403 if error == "csrf" else error)
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Accept" in answer.headers["Vary"]


@pytest.mark.parametrize("error", SENTENCES)
def test_a_browser_gets_a_page(ask, error):
    title, text = SENTENCES[error]
    answer = ask(error, Accept=BROWSER)
    page = answer.content.decode()
    assert answer.status_code == (403 if error == "csrf" else error)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert (f"<title>{title} | Files</title>" in page, f"<p>{text}</p>" in page) == (True, True)
    assert "a secret" not in page


START = '<a href="/admin/">Back to the start</a>'
HERE = "http://testserver/admin/files/file/?folder=a/"


@pytest.mark.parametrize(
    ("referer", "link"),
    [
        (HERE, f'<a href="{HERE}">Back to where you were</a>'),
        ("", START),
        ("https://evil.example.com/", START),
        ("http://testserver.evil.example.com/", START),
        ("javascript://testserver/", START),
        ("http://testserver/admin/files/file/add/?folder=a/", START),  # this one
    ],
)
def test_a_page_leads_back(ask, referer, link):
    page = ask(403, Accept=BROWSER, Host="testserver", Referer=referer).content.decode()
    assert [line for line in page.splitlines() if "Back to" in line] == [f"<p>{link}"]


@pytest.mark.parametrize("error", [400, 404, 413, "csrf"])
def test_a_page_asks_the_database_nothing(ask, django_assert_num_queries, error):
    with django_assert_num_queries(0):
        assert "<h1>" in ask(error, Accept=BROWSER).content.decode()


def test_a_browser_gets_the_sentence_where_no_static_files_were_collected(serve, tmp_path):
    url = serve(APP_DEBUG="false", APP_STATIC_ROOT=str(tmp_path))
    answer = urllib3.request("GET", f"{url}/nothing/", headers={"Accept": BROWSER})
    assert (answer.status, answer.data.decode()) == (404, SENTENCES[404][1])


UNREADABLE = "text/html; title*=unknown''a"


def test_an_accept_that_cannot_be_read_is_that_of_a_program(ask):
    assert told(ask(404, Accept=UNREADABLE)) == SENTENCES[404][1]


def test_a_content_type_that_cannot_be_read_is_refused(serve):
    for body in (b"", bytes(100_000)):
        headers = {"Content-Type": UNREADABLE}
        answer = urllib3.request("POST", f"{serve()}/login/", headers=headers, body=body)
        assert answer.status == 400
        assert told(answer) == "The header Content-Type cannot be understood."
