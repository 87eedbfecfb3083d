"""The admin's list at scale: how much a page asks, and what it shows where very many match."""

import pytest
from django.db import connection

from files import listing
from files.models import File

pytestmark = pytest.mark.django_db

LIST = "/admin/files/file/"
NO_ORDER = b"The first found, in no order: too many match to sort them quickly."


def keys(response):
    return [str(file) for file in response.context["cl"].result_list]


@pytest.fixture
def files():
    """Make enough for some pages, in another order than that of their keys."""
    made = [
        File(
            object_key=f"{folder}/{number * 7 % 250:03}.png",
            size=number % 2,
            content_type="image/png",
        )
        for folder in ("a", "b")
        for number in range(250)
    ]
    File.objects.bulk_create(made)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE files")


@pytest.fixture
def walks_too_long(monkeypatch):
    """Let no page be found in the time of a walk. Returns whether each was found by bitmaps."""
    page, settings = listing.page, []

    def slow(*arguments, **options):
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            if cursor.fetchone() == ("400ms",):
                raise listing.TooSlowError
            cursor.execute("SHOW enable_indexscan")
            settings.extend(cursor.fetchone())
        return page(*arguments, **options)

    monkeypatch.setattr(listing, "page", slow)
    return settings


@pytest.fixture
def many(monkeypatch):
    """Let 200 files be too many to sort them."""
    monkeypatch.setattr(listing, "MANY", 200)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"folder": "a/"},
        {"folder": "a/", "after": '["file", "a/099.png"]'},
        {"below": 1},
        {"below": 1, "o": "-3"},
        {"q": "099"},
        {"q": "png"},
        {"q": "png", "o": "3", "folder": "a/"},
        {"q": "png", "sorted": 1},
        {"q": "none"},
        {"type": "image/"},
        {"size": "empty"},
        {"state": "missing"},
        {"state": "trash"},
    ],
)
def test_a_page_takes_few_queries(
    admin_client, files, monkeypatch, django_assert_max_num_queries, query
):
    monkeypatch.setattr(listing, "COUNTED", 100)  # so that the planner is asked for more
    with django_assert_max_num_queries(8):
        admin_client.get(LIST, query)


@pytest.mark.usefixtures("files", "many", "walks_too_long")
@pytest.mark.parametrize(
    ("query", "among", "total"),
    [
        ({"q": "PNG"}, "ab", "about 500 files"),
        ({"q": "png", "folder": "b/"}, "b", "about 250 files"),
        ({"q": "png", "o": "-2"}, "ab", "about 500 files"),
        ({"type": "image/"}, "ab", "about 500 files"),
        ({"type": "image/", "size": "small", "q": "png"}, "ab", "about 250 files"),
    ],
)
def test_of_very_many_some_are_shown_in_no_order(
    admin_client, django_assert_max_num_queries, query, among, total
):
    with django_assert_max_num_queries(12 + 1):  # one asks how long a walk may take
        response = admin_client.get(LIST, query)
    shown, found = response.context["cl"], keys(response)
    assert (len(set(found)), {key[0] for key in found} <= set(among)) == (100, True)
    assert found != sorted(found)
    assert (shown.total, shown.previous, shown.next) == (total, None, None)
    assert (NO_ORDER in response.content, b"that match." in response.content) == (True, False)
    assert b"sortoptions" not in response.content


@pytest.mark.usefixtures("files", "many")
def test_very_many_are_sorted_when_that_is_asked(admin_client, walks_too_long):
    unsorted = admin_client.get(LIST, {"q": "png", "folder": "a/"})
    address = unsorted.context["cl"].sorted_url
    assert f'<a href="{address.replace("&", "&amp;")}">Sort them</a>' in unsorted.content.decode()
    first = admin_client.get(LIST + address)
    second = admin_client.get(LIST + first.context["cl"].next)
    assert keys(first) + keys(second) == [f"a/{number:03}.png" for number in range(200)]
    assert (NO_ORDER in first.content, NO_ORDER in second.content) == (False, False)
    assert b"sortoptions" in first.content
    assert walks_too_long == ["off", "off"]
    assert "sorted" not in first.context["cl"].next + first.context["cl"].folder_url


@pytest.mark.usefixtures("files", "many")
def test_what_a_walk_finds_in_time_is_sorted(admin_client):
    response = admin_client.get(LIST, {"q": "png"})
    assert keys(response) == [f"a/{number:03}.png" for number in range(100)]
    assert NO_ORDER not in response.content


@pytest.mark.usefixtures("files", "walks_too_long")
@pytest.mark.parametrize(("text", "expected"), [("a/", 500), ("a/07", 1)])
def test_what_narrows_is_sorted(admin_client, monkeypatch, text, expected):
    """Whether the planner knows that, or expects far more files than there are."""
    monkeypatch.setattr(listing, "MANY", expected)
    response = admin_client.get(LIST, {"q": text})
    found = [f"a/{number:03}.png" for number in range(250)]
    assert keys(response) == [key for key in found if text in key][:100]
    assert NO_ORDER not in response.content


@pytest.mark.usefixtures("files")
def test_sorted_is_no_order_of_a_folder(admin_client, walks_too_long):
    response = admin_client.get(LIST, {"folder": "a/", "sorted": 1})
    assert keys(response) == [f"a/{number:03}.png" for number in range(100)]
    assert walks_too_long == ["on"]
