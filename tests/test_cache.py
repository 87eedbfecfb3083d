"""A browser's cache: each view asks, so that it shows what is there to those who may see it."""

import pytest
from django.contrib.auth.models import User

from files.models import File
from tests.test_browser import browser, errors, open_page  # noqa: F401 - fixtures

pytestmark = pytest.mark.django_db(transaction=True)

OLD = "Mon, 01 Jan 2001 00:00:00 GMT"  # by which a browser guesses that nothing changes for years


@pytest.fixture
def show(open_page, make_file, proxy):  # noqa: F811
    """Return what follows a link to a file of the text `old`, and returns what the page says."""
    file = make_file("a.txt", b"old", ContentType="text/plain")
    proxy.headers = {"Last-Modified": OLD}
    page = open_page("view_file")

    def show():
        page.goto("/login/")
        page.evaluate("address => { location.href = address }", file.get_absolute_url())
        page.wait_for_url(f"**{file.get_absolute_url()}")
        return page.locator("body").inner_text()

    return show


def test_a_content_that_was_replaced_is_shown(show, put, proxy):
    assert show() == "old"
    put("a.txt", b"new", ContentType="text/plain")
    assert show() == "new"


def test_a_content_that_is_the_same_is_not_sent_again(show, proxy):
    assert (show(), show()) == ("old", "old")
    file = File.objects.get()
    asked = [headers.get("If-None-Match") for method, headers in proxy.requests if method == "GET"]
    assert asked == [None, file.etag]


def test_a_content_is_not_shown_once_the_permission_is_gone(show, errors):  # noqa: F811
    assert show() == "old"
    User.objects.get().user_permissions.clear()
    assert "Not allowed" in show()
    errors.clear()
