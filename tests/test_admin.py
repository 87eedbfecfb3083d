"""The admin's pages."""

import html
import io
import json
import re
import zipfile

import hypothesis
import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connection
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from files import listing, operations
from files.admin import changelist
from files.admin.actions import NOTHING_LEFT
from files.admin.columns import STATES
from files.admin.files import FileAdmin
from files.models import File, Work
from tests.operations import create, elsewhere

pytestmark = pytest.mark.django_db

LIST = "/admin/files/file/"


def messages(response):
    """Return the texts, without what undoes it."""
    shown = map(str, response.context["messages"])
    return [re.sub(" <button.*</button>", "", message) for message in shown]


def undo_address(response):
    """Return where the button of the last message leads."""
    *_, message = map(str, response.context["messages"])
    (address,) = re.findall('formaction="(.*?)"', message)
    return address


def undo(client, response):
    """Press the button of the last message."""
    return client.post(undo_address(response), follow=True)


def keys(response):
    """Return what the list shows: folders, then files."""
    shown = response.context["cl"]
    return [*(name for name, _ in shown.folders), *map(str, shown.result_list)]


def shown(response):
    """Return the files that the list shows."""
    return response.context["cl"].result_list


def make(*keys, **values):
    return File.objects.bulk_create([File(object_key=key, **values) for key in keys])


def test_the_list_is_readable_with_no_data(admin_client):
    page = admin_client.get(LIST).content.decode()
    assert "Nothing is here yet." in page
    assert "0 files" in page


def test_the_list_asks_s3_nothing(admin_client, make_file, storage, monkeypatch):
    make_file("folder/a.txt", b"text", ContentType="text/plain")
    monkeypatch.setattr(storage.objects, "request", None)
    page = admin_client.get(LIST, {"folder": "folder/"}).content.decode()
    for shown in ("a.txt</a>", "4\xa0bytes", "text/plain"):
        assert shown in page


def test_the_list_opens_at_the_top_and_goes_down(admin_client):
    make("/b", "a//c", "a/d", "e")
    assert keys(admin_client.get(LIST)) == ["(no name)/", "a/", "e"]
    assert keys(admin_client.get(LIST, {"folder": "a/"})) == ["(no name)/", "a/d"]
    assert keys(admin_client.get(LIST, {"folder": "a//"})) == ["a//c"]
    page = admin_client.get(LIST, {"folder": "a//"}).content.decode()
    assert page.count("(no name)/</li>") == 1
    assert 'href="?folder=a%2F"' in page
    assert 'href="?"' in page


def test_folders_are_counted_too(admin_client, monkeypatch):
    make(*(f"{number}/a" for number in range(150)), "b")
    for cursor in ({}, {"after": '["folder", "140/"]'}):
        assert admin_client.get(LIST, cursor).context["cl"].total == "150 folders, 1 file"
    monkeypatch.setattr(listing, "COUNTED", 50)
    total = admin_client.get(LIST).context["cl"].total
    assert total == "more than 50 folders, 1 file"
    assert admin_client.get(LIST, {"below": 1}).context["cl"].total == "more than 50 files"
    make(*(f"c/{number}" for number in range(150)))
    assert admin_client.get(LIST, {"folder": "c/"}).context["cl"].total == "more than 50 files"


def test_many_are_counted_with_separators():
    assert (changelist._folders(1001), changelist._about(1, 0)) == (
        "more than 1,000 folders",
        "about 1 file",
    )
    assert changelist._about(1234567, 1000) == "about 1,200,000 files"
    assert changelist._about(100, 100) == "more than 100 files"


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ({}, "All files"),
        ({"folder": "a/b\u202e/"}, "b[U+202E]/"),
        ({"folder": "a//"}, "(no name)/"),
        ({"q": "x y", "folder": "a/"}, "“x y” in a/"),
        ({"q": "x"}, "“x” in All files"),
        ({"state": "trash"}, "Trash"),
        ({"state": "trash", "q": "x"}, "“x” in Trash"),
    ],
)
def test_the_title_names_the_place(admin_client, query, title):
    page = admin_client.get(LIST, query).content.decode()
    assert (f"<title>{title} | Files</title>" in page, f"<h1>{title}</h1>" in page) == (True, True)


@pytest.mark.parametrize("query", [{"type": "image/"}, {"size": "small"}, {"state": "missing"}])
def test_a_filter_is_of_all_below(admin_client, query):
    values = {"content_type": "image/png", "size": 1, "missing_at": timezone.now()}
    make("a/b/c.png", "d.png", **values)
    make("e.txt")
    response = admin_client.get(LIST, query)
    assert keys(response) == ["a/b/c.png", "d.png"]
    assert b"All files below this folder that match." in response.content
    assert response.context["cl"].folder_url == "?"
    assert keys(admin_client.get(LIST, query | {"folder": "a/"})) == ["a/b/c.png"]


def test_everything_below_a_folder_is_one_list(admin_client):
    make("a/b/c", "a/d", "e")
    assert keys(admin_client.get(LIST, {"folder": "a/", "below": 1})) == ["a/b/c", "a/d"]
    assert keys(admin_client.get(LIST, {"below": 1})) == ["a/b/c", "a/d", "e"]


DEEP = "[" * 100_000

WRONG = [
    {"folder": "a\0/"},
    {"folder": "/" * 1025},
    {"x": 1},
    {"object_key__regex": "("},
    {"folder__regex": "["},
    {"object_key__range": 1},
    {"object_key__startswith": "a"},
    {"id__in": "x"},
    {"type": "\0"},
    {"size": "x"},
    {"state": "x"},
    {"after": "x"},
    {"after": DEEP},
    {"before": DEEP},
    {"after": '["file", 1]'},
    {"after": '["file", "\\ud800"]'},
    {"after": '["folder", 1]'},
    {"after": '["folder", "a"]', "below": 1},
    {"after": '["file", 1e999, 1]', "o": "3"},
    {"after": '["file", true, 1]', "o": "3"},
    {"after": '["file", "2026-01-01T00:00", 1]', "o": "4"},
]


@pytest.mark.parametrize("query", WRONG, ids=lambda query: str(query)[:50])
def test_an_address_that_is_wrong_shows_the_top(admin_client, query):
    response = admin_client.get(LIST, query)
    assert (response.status_code, response.headers.get("Location")) == (302, f"{LIST}?e=1")


@pytest.mark.parametrize("query", [{"q": "\0"}, {"p": "x"}, {"o": "x"}, {"_popup": ""}, {"e": 1}])
def test_an_address_that_is_odd_shows_the_list(admin_client, query):
    make("a")
    response = admin_client.get(LIST, query)
    assert (response.status_code, keys(response)) == (200, ["a"])


VALUES = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", "\0", "1", "-1", "x", "a/", "trash", "text/", "9" * 30, DEEP]),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=1),
    ).map(json.dumps),
    st.lists(st.integers() | st.text() | st.floats() | st.datetimes().map(str), max_size=3).map(
        lambda values: json.dumps(["file", *values])
    ),
    st.text().map(lambda folder: json.dumps(["folder", folder])),
)
NAMES = (
    "after all before below e folder id__in o object_key__regex p pk q size state type usage"
    " _facets _popup _to_field"
)


@given(st.dictionaries(st.sampled_from(NAMES.split()), VALUES, max_size=4))
@hypothesis.settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_address_is_an_error_of_the_server(admin_client, query):
    assert admin_client.get(LIST, query).status_code in {200, 302, 400}


def test_the_pages_lead_forward_and_back(admin_client):
    names = [f"{number:03}" for number in range(250)]
    make(*names)
    shown, query = [], "?"
    while query:
        response = admin_client.get(LIST + query)
        shown.append(keys(response))
        query = response.context["cl"].next
    assert [len(page) for page in shown] == [100, 100, 50]
    assert [name for page in shown for name in page] == names
    back = admin_client.get(LIST + response.context["cl"].previous)
    assert keys(back) == shown[1]
    assert keys(admin_client.get(LIST + back.context["cl"].previous)) == shown[0]
    assert back.context["cl"].total == "250 files"


@pytest.mark.parametrize("order", ["1", "-1", "3", "-3", "4", "-4"])
def test_the_list_is_sorted_by_its_columns(admin_client, order):
    for size, key in enumerate("cab"):
        make(key, size=size, modified_at=f"2026-01-0{size + 1}T00:00Z")
    ascending = {"1": "abc", "3": "cab", "4": "cab"}[order[-1]]
    assert keys(admin_client.get(LIST, {"o": order})) == list(
        reversed(ascending) if order[0] == "-" else ascending
    )


@pytest.mark.parametrize("order", ["99", "2", "x", "."])
def test_an_order_that_there_is_not_is_by_key(admin_client, order):
    make("b", "a")
    assert keys(admin_client.get(LIST, {"o": order})) == ["a", "b"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"type": "image/"}, ["png"]),
        ({"type": "application/pdf"}, ["pdf"]),
        ({"size": "empty"}, ["empty"]),
        ({"size": "medium"}, ["pdf"]),
        ({"state": "missing"}, ["gone"]),
        ({"state": "changed"}, ["other"]),
        ({"state": "damaged"}, ["rotten"]),
        ({"type": "text/", "size": "small", "q": "t"}, ["text"]),
    ],
)
def test_the_filters_find(admin_client, query, found):
    make("png", content_type="image/png", size=5)
    make("pdf", content_type="application/pdf", size=2**20)
    make("text", content_type="text/plain", size=5)
    make("empty", content_type="text/plain", size=0)
    make("unknown")
    make("gone", missing_at="2026-01-01T00:00Z")
    make("other", changed_at="2026-01-01T00:00Z")
    make("rotten", damaged_at="2026-01-01T00:00Z")
    make("trash", content_type="image/png", deleted_at="2026-01-01T00:00Z", missing_at=None)
    assert keys(admin_client.get(LIST, query)) == found


def test_what_takes_too_long_is_a_message(admin_client, monkeypatch):
    make("a")

    def slow(*arguments, **options):
        raise listing.TooSlowError

    monkeypatch.setattr(listing, "page", slow)
    narrower = "Search for more letters, or below a folder."
    response = admin_client.get(LIST, {"q": "x"})
    assert (keys(response), messages(response)) == ([], [f"That took too long. {narrower}"])
    response = admin_client.get(LIST, {"q": "a"})
    message = f"Too many files match: these are some, in no order. {narrower}"
    assert (keys(response), messages(response)) == (["a"], [message])
    admin_client.get(LIST, {"q": "a"}, headers={"X-Requested-With": "fetch"})
    assert messages(admin_client.get(LIST, {"q": "a"})) == [message]


def test_counting_that_takes_too_long_is_a_message(admin_client, monkeypatch):
    make("a/b")

    def slow(files):
        raise listing.TooSlowError

    monkeypatch.setattr(listing, "usage", slow)
    response = admin_client.get(LIST, {"folder": "a/", "usage": 1})
    assert (keys(response), messages(response)) == (["a/b"], ["Counting took too long."])


def test_a_search_that_walks_too_long_gathers_instead(admin_client, monkeypatch):
    make("a/x", "b")
    page, settings = listing.page, []

    def slow_at_first(*arguments, **options):
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('enable_indexscan')")
            settings.append(cursor.fetchone()[0])
        if len(settings) == 1:
            raise listing.TooSlowError
        return page(*arguments, **options)

    monkeypatch.setattr(listing, "page", slow_at_first)
    assert keys(admin_client.get(LIST, {"q": "x"})) == ["a/x"]
    assert settings == ["on", "off"]


def test_usage_is_counted_when_it_is_asked(admin_client, monkeypatch):
    make("a/b", "a/c/d", size=1000)
    make("e", size=1)
    assert b"2 files, 2.0" in admin_client.get(LIST, {"folder": "a/", "usage": 1}).content
    monkeypatch.setattr(listing, "usage", lambda files: listing.Usage(7, 1024, complete=False))
    assert b"more than 7 files, 1.0" in admin_client.get(LIST, {"usage": 1}).content


def test_the_search_finds_below_the_folder(admin_client):
    make("reports/2024.csv", "reports/x/2025.csv", "other/2025.csv")
    response = admin_client.get(LIST, {"q": "2025", "folder": "reports/"})
    assert keys(response) == ["reports/x/2025.csv"]
    assert b"All files below this folder that match." in response.content


@pytest.mark.parametrize("term", ["ünï", "ÜNÏ", "größe", "Größe ünï", "100%_", "\\"])
def test_the_search_finds_any_part_in_any_case(admin_client, term):
    File.objects.create(object_key="ünï/Größe 100%_\\.txt", check=False)
    File.objects.create(object_key="other/1000.txt", check=False)
    page = admin_client.get(LIST, {"q": term}).content.decode()
    assert "ünï/Größe" in page
    assert "other/1000.txt" not in page


def test_what_is_counted_is_the_total_too(admin_client):
    make(*(f"a/{number:03}" for number in range(150)))
    assert admin_client.get(LIST, {"q": "a"}).context["cl"].total == "more than 100 files"
    counted = {"q": "a", "usage": 1}
    assert admin_client.get(LIST, counted).context["cl"].total == "150 files"


def test_what_is_known_of_a_search_grows_with_its_pages(admin_client):
    make(*(f"a/{number:03}" for number in range(150)))
    after = {"q": "a", "after": '["file", "a/099"]'}
    assert admin_client.get(LIST, after).context["cl"].total == "more than 150 files"


@pytest.mark.parametrize("query", [{}, {"below": 1}, {"q": "a"}, {"o": "3"}])
def test_a_last_page_that_has_gone_leads_to_the_one_before(admin_client, query):
    query = {"folder": "a/"} | query
    make(*(f"a/{number:03}" for number in range(150)), size=1, missing_at=timezone.now())
    page = admin_client.get(LIST, query)
    while page.context["cl"].next:
        last = page.context["cl"].next
        page = admin_client.get(LIST + last)
    File.objects.filter(pk__in=[file.pk for file in shown(page)]).delete()
    before = admin_client.get(LIST, query)
    assert keys(admin_client.get(LIST + last)) == keys(before) != []


def test_a_file_has_a_link_to_its_content(admin_client, make_file):
    file = make_file("a.txt")
    page = admin_client.get(f"{LIST}{file.pk}/change/").content.decode()
    assert f'href="{LIST}{file.pk}/preview/"' in page
    assert f'href="/files/{file.pk}/?download"' in page
    assert '<input type="file"' not in page
    assert 'name="object_key"' not in page


def test_a_file_whose_object_is_gone_is_readable_and_says_so(admin_client, make_file, storage):
    file = make_file("a.txt")
    storage.delete("a.txt")
    response = admin_client.get(f"{LIST}{file.pk}/change/")
    assert response.status_code == 200
    told = re.findall(r"<p[^>]*>(.*missing.*)</p>", response.content.decode(), re.IGNORECASE)
    assert told == [STATES["missing_at"].meaning]


def test_a_file_is_readable_with_s3_out_of_reach(admin_client, make_file, unreachable):
    file = make_file("a.txt")
    unreachable()
    response = admin_client.get(f"{LIST}{file.pk}/change/")
    assert response.status_code == 200
    assert "S3 is out of reach" in messages(response)[0]


def upload(client, query="", file_name="a b.txt", **fields):
    content = SimpleUploadedFile(file_name, b"text", "text/plain")
    return client.post(f"{LIST}add/{query}", {"content": content, **fields}, follow=True)


def test_an_upload_writes_the_object_and_records_it(admin_client, storage):
    response = upload(admin_client)
    file = File.objects.get()
    assert messages(response) == [
        f'<a href="{LIST}{file.pk}/change/">“a b.txt”: The file was added.</a>'
    ]
    stat = storage.stat("a b.txt")
    assert (str(file), file.size, file.etag) == ("a b.txt", 4, stat.etag)
    assert file.content_type == "text/plain"
    assert file.read_text() == "text"


def test_an_upload_takes_the_key_as_it_is(admin_client, storage):
    upload(admin_client, folder=" /x//../", name="ü b.txt")
    assert File.objects.get().object_key.name == " /x//../ü b.txt"
    assert storage.exists(" /x//../ü b.txt")


@pytest.mark.parametrize("in_catalogue", [True, False])
def test_an_upload_never_overwrites(admin_client, put, in_catalogue):
    put("a", b"first")
    if in_catalogue:
        File.objects.create(object_key="a")
    response = upload(admin_client, name="a")
    message = "There is a file of this key already" if in_catalogue else "not in the catalogue"
    assert message in response.content.decode()
    assert File.objects.count() == in_catalogue


def test_a_key_that_is_too_long_is_refused(admin_client):
    response = upload(admin_client, name="ü" * 513)
    assert "at most 1,024 bytes" in response.content.decode()


def test_an_upload_that_s3_does_not_take_is_a_message(admin_client, unreachable):
    unreachable()
    response = upload(admin_client)
    assert "S3 is out of reach" in response.content.decode()
    assert not File.objects.exists()


UNREACHABLE = "S3 is out of reach; try again in a moment."


@pytest.mark.parametrize("what", ["add", "rename", "replace", "change"])
def test_s3_out_of_reach_names_no_endpoint_but_in_the_log(
    admin_client, make_file, unreachable, caplog, what
):
    file = make_file("a\v")
    unreachable()
    if what == "change":
        response = admin_client.get(f"{LIST}{file.pk}/change/")
    elif what == "add":
        response = upload(admin_client, name="a\t")
    else:
        content = SimpleUploadedFile("x", b"new")
        response = do(admin_client, file, what, name="b", content=content)
    page = response.content.decode()
    assert UNREACHABLE in page
    assert "127.0.0.1" not in page
    subject = "Upload of 'a\\t'" if what == "add" else f"File {file.pk} ('a\\x0b')"
    records = [record for record in caplog.records if record.name.startswith("files.admin")]
    assert {record.getMessage().partition(": [Errno")[0] for record in records} == {subject}


@pytest.mark.parametrize("what", ["add", "replace"])
def test_a_type_that_no_header_holds_is_an_error_of_the_form(admin_client, make_file, what):
    url = f"{LIST}add/" if what == "add" else f"{LIST}{make_file('a').pk}/replace/"
    content = SimpleUploadedFile("x", b"new", "text/ü")
    page = admin_client.post(url, {"content": content}).content.decode()
    assert "“type” must be printable ASCII: no header can hold it." in page
    assert [file.read_text() for file in File.objects.all()] == ["text"] * (what == "replace")


def test_an_upload_goes_to_the_folder_shown_and_comes_back_to_it(admin_client, storage):
    page = admin_client.get(f"{LIST}add/", {"folder": "a//"}).content.decode()
    assert re.findall('name="folder" value="(.*?)"', page) == ["a//"]
    assert f'<a href="{LIST}?folder=a%2F%2F" class="closelink">Cancel</a>' in page
    response = upload(admin_client, folder="a//")
    assert storage.exists("a//a b.txt")
    assert response.redirect_chain == [(f"{LIST}?folder=a%2F%2F", 302)]
    response = upload(
        admin_client, folder="a//", file_name="b", query="?folder=a//", _addanother="1"
    )
    assert response.redirect_chain == [(f"{LIST}add/?folder=a//", 302)]


def test_an_upload_stays_in_a_folder_that_cannot_be_typed(admin_client, storage):
    query = "?folder=a%0A/"
    page = admin_client.get(f"{LIST}add/{query}").content.decode()
    assert "Empty: it stays “a␊/”, which has line ends" in page
    upload(admin_client, query=query)
    assert storage.exists("a\n/a b.txt")


def test_who_may_add_files_alone_goes_on_adding(staff):
    response = upload(staff("add_file"), query="?folder=a/", folder="a/")
    assert (response.status_code, response.redirect_chain[0][0]) == (200, f"{LIST}add/?folder=a/")
    assert messages(response) == ["“a/a b.txt”: The file was added."]


def test_the_name_of_an_upload_has_no_slash(admin_client):
    assert "A name has no slash" in upload(admin_client, name="a/b").content.decode()
    assert not File.objects.exists()


def test_an_upload_to_a_key_in_the_trash_says_so(admin_client, make_file):
    make_file("a").trash()
    response = upload(admin_client, name="a")
    assert "A file of this key is in the trash" in response.content.decode()


# What is done with one file


def do(client, file, what, **data):
    return client.post(f"{LIST}{file.pk}/{what}/", data, follow=True)


def history():
    return [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")]


def test_rename_moves_the_object(admin_client, make_file, storage):
    file = make_file("x/a")
    page = admin_client.get(f"{LIST}{file.pk}/rename/").content.decode()
    assert ('name="name" value="a"' in page, 'name="folder" value="x/"' in page) == (True, True)
    response = do(admin_client, file, "rename", name="c ", folder="b//")
    assert messages(response) == ["“b//c␣”: Renamed from x/a."]
    assert str(File.objects.get(pk=file.pk)) == "b//c "
    assert (storage.exists("x/a"), storage.exists("b//c ")) == (False, True)
    assert history() == ["Renamed from x/a."]


@pytest.mark.parametrize(
    ("key", "name", "folder", "renamed"),
    [
        ("a/b", "b", "c", "c/b"),
        ("a/b", "c", "", "c"),
        ("a/", "b", "a/", "a/b"),
        ("a\n/b", "c", "", "a\n/c"),
        ("a/b\r", "", "c/", "c/b\r"),
        ("a\tb", "a\tb", "\x01/", "\x01/a\tb"),
    ],
)
def test_name_and_folder_make_the_key(admin_client, make_file, key, name, folder, renamed):
    file = make_file(key)
    assert admin_client.get(f"{LIST}{file.pk}/rename/").status_code == 200
    do(admin_client, file, "rename", name=name, folder=folder)
    assert str(File.objects.get(pk=file.pk)) == renamed


@pytest.mark.parametrize(
    ("folder", "name", "message"),
    [
        ("", "taken", "There is a file of this key already"),
        ("", "a", "Nothing would change"),
        ("", "trashed", "A file of this key is in the trash"),
        ("", "object", "The bucket has an object of this key"),
        ("images/", "", "This field is required"),
        ("", "images/", "A name has no slash"),
        ("", "x" * 1025, "A key has at most 1,024 bytes"),
        (".files/", "x", "Keys that begin with .files/ are reserved"),
    ],
)
def test_a_key_that_cannot_be_had_is_an_error_of_the_form_alone(
    admin_client, make_file, put, caplog, folder, name, message
):
    file = make_file("a")
    make_file("taken")
    make_file("trashed").trash()
    put("object", b"")
    response = do(admin_client, file, "rename", name=name, folder=folder)
    assert message in response.content.decode()
    assert File.objects.get(pk=file.pk).read_text() == "text"
    assert [record for record in caplog.records if record.name.startswith("files.admin")] == []


@pytest.mark.parametrize(
    ("typed", "folders", "is_new"),
    [
        ("", ["/", "a/", "ab/"], False),
        ("a", ["a/", "ab/"], False),
        ("a/", ["a//", "a/b/"], False),
        ("a/c", [], True),
        ("ab/", [], False),
        ("/", [], False),
        ("x\0", [], True),
    ],
)
def test_folders_are_completed(admin_client, typed, folders, is_new):
    make("/x", "a/b/c", "a/c", "a//d", "ab/e", "b")
    make("trashed/a", deleted_at=timezone.now())
    found = admin_client.get(f"{LIST}folders/", {"folder": typed}).json()
    assert found == {"folders": folders, "is_new": is_new}


def test_rename_of_a_missing_object_is_an_error_of_the_form(admin_client, make_file, storage):
    file = make_file("a")
    storage.delete("a")
    assert b"There is no such object" in do(admin_client, file, "rename", name="b").content


def test_replace_keeps_the_old_content_in_the_trash(admin_client, make_file):
    file = make_file("a", b"old")
    assert b'type="file"' in admin_client.get(f"{LIST}{file.pk}/replace/").content
    do(admin_client, file, "replace", content=SimpleUploadedFile("x", b"new"))
    assert File.objects.live().get().read_text() == "new"
    assert File.objects.trashed().get().read_text() == "old"
    assert history() == [
        "Replaced the content; the former one is in the trash.",
        "Another content was put under its key.",
    ]
    response = admin_client.get(LIST, {"state": "trash"})
    assert ">a</a>" in response.content.decode()


def test_the_trash_shows_keys_and_who_has_put_them_there_by_time(admin_client, make_file):
    for key in ("a/1", "b", "a/2"):
        make_file(key).trash()
    file = make_file("a/3", b"old")
    do(admin_client, file, "replace", content=SimpleUploadedFile("x", b"new"))
    response = admin_client.get(LIST, {"state": "trash"})
    assert [file.name for file in shown(response)] == ["a/3", "a/2", "b", "a/1"]
    assert [header["text"] for header in response.context["cl"].headers()][-2:] == [
        "in the trash since",
        "put there by",
    ]
    page = response.content.decode()
    assert re.findall('<td class="field-trashed_by">(.*?)</td>', page)[0] == "admin"
    assert ".files/" not in page
    response = admin_client.get(LIST, {"state": "trash", "o": "4"})
    assert [file.name for file in shown(response)] == ["a/1", "b", "a/2", "a/3"]


@pytest.mark.parametrize(
    ("query", "found"),
    [({"folder": "a/"}, ["a/3", "a/2", "a/1"]), ({"q": "A/3"}, ["a/3"]), ({"q": "files"}, [])],
)
def test_the_trash_is_narrowed_by_the_keys_that_contents_had(admin_client, make_file, query, found):
    for key in ("a/1", "b", "a/2"):
        make_file(key).trash()
    file = make_file("a/3", b"old")
    do(admin_client, file, "replace", content=SimpleUploadedFile("x", b"new"))
    response = admin_client.get(LIST, {"state": "trash"} | query)
    assert [file.name for file in shown(response)] == found


def test_pages_of_the_trash_follow_each_other(admin_client, make_file, monkeypatch):
    monkeypatch.setattr(FileAdmin, "list_per_page", 2)
    for key in "abcde":
        make_file(key).trash()
    pages, query = [], "?state=trash"
    while query:
        response = admin_client.get(LIST + query)
        pages.append("".join(file.name for file in shown(response)))
        query = response.context["cl"].next
    assert pages == ["ed", "cb", "a"]
    response = admin_client.get(LIST + response.context["cl"].previous)
    assert "".join(file.name for file in shown(response)) == "cb"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({}, "Nothing is here yet."),
        ({"state": "trash"}, "The trash is empty."),
        ({"state": "trash", "q": "x"}, "No file matches."),
        ({"state": "missing"}, "No file matches."),
        ({"folder": "a/"}, "No file is here, so this folder does not exist: the first makes it."),
    ],
)
def test_an_empty_list_says_why(admin_client, query, text):
    assert f'<p class="files-empty">{text}</p>' in admin_client.get(LIST, query).content.decode()


def test_the_way_to_a_file_in_the_trash_leads_there(admin_client, make_file):
    file = make_file("a/b")
    file.trash()
    trail = admin_client.get(f"{LIST}{file.pk}/change/").context["trail"]
    assert trail == [
        ("All files", LIST),
        ("Trash", f"{LIST}?state=trash"),
        ("b", f"{LIST}{file.pk}/change/"),
    ]


def test_the_trash_gives_back_what_it_took(admin_client, make_file, storage):
    file = make_file("f/a")
    response = do(admin_client, file, "trash")
    assert response.redirect_chain == [(f"{LIST}?folder=f%2F", 302)]
    assert keys(admin_client.get(LIST)) == []
    assert storage.exists("f/a")
    assert keys(admin_client.get(LIST, {"state": "trash"})) == ["f/a"]
    do(admin_client, file, "restore")
    assert keys(admin_client.get(LIST, {"folder": "f/"})) == ["f/a"]
    assert history() == ["Moved to the trash.", "Restored from the trash."]


def test_permanent_deletion_asks_and_is_of_the_trash_alone(admin_client, make_file, storage):
    file = make_file("a")
    url = f"{LIST}{file.pk}/delete/"
    assert admin_client.get(url).url == f"{LIST}{file.pk}/change/"
    file.trash()
    page = admin_client.get(url).content.decode()
    assert "<h1>Delete permanently: a</h1>" in page
    assert "This cannot be undone." in page
    assert storage.exists("a")
    response = admin_client.post(url, {"confirmed": "True"}, follow=True)
    assert messages(response) == ["“a”: Deleted permanently."]
    assert response.redirect_chain == [(f"{LIST}?state=trash", 302)]
    assert not File.objects.exists()
    assert not storage.exists("a")


@pytest.mark.parametrize("what", ["rename", "replace", "trash", "restore", "delete"])
def test_a_file_that_another_tab_has_changed_is_a_message(admin_client, make_file, what):
    file = make_file("a")
    if what in {"rename", "replace", "trash"}:
        file.trash()
        text = "“a”: It is in the trash by now."
    else:
        text = "“a”: It is not in the trash any more."
    response = do(admin_client, file, what)
    assert (messages(response), response.context["original"]) == ([text], file)
    came_from = "?_changelist_filters=folder%3Dx%252F"
    for ask, page in ((admin_client.post, what), (admin_client.get, "change")):
        response = ask(f"{LIST}{file.pk + 1}/{page}/{came_from}", follow=True)
        (message,) = messages(response)
        assert str(file.pk + 1) in message
        assert response.redirect_chain == [(f"{LIST}?folder=x%2F", 302)]


def test_one_is_back_where_one_was_after_the_trash(admin_client, make_file):
    file = make_file("a/b")
    page = admin_client.get(LIST, {"q": "b", "folder": "a/"}).content.decode()
    (address,) = re.findall(rf'href="({file.pk}/change/[^"]+)"', page)
    page = admin_client.get(LIST + html.unescape(address)).content.decode()
    (address,) = re.findall(rf'action="({LIST}{file.pk}/trash/[^"]+)"', page)
    response = admin_client.post(html.unescape(address))
    assert response.url == f"{LIST}?q=b&folder=a%2F"


def test_what_is_deleted_is_named_whole(admin_client, make_file):
    file = make_file("<a>/<b>")
    file.trash()
    page = admin_client.get(f"{LIST}{file.pk}/delete/").content.decode()
    assert '<li><span class="files-path">&lt;a&gt;/</span>&lt;b&gt;</li>' in page


def test_a_folder_without_its_slash_is_that_folder(admin_client):
    make("a/b")
    assert keys(admin_client.get(LIST, {"folder": "a"})) == ["a/b"]
    page = admin_client.get(LIST, {"folder": "none"}).content.decode()
    assert "No file is here, so this folder does not exist" in page


def test_a_list_that_there_is_not_is_told(admin_client):
    response = admin_client.get(LIST, {"state": "x"}, follow=True)
    assert messages(response) == ["There is no list of that address."]


def test_a_file_that_other_rows_need_is_not_deleted(admin_client, make_file, referring):
    file = make_file("a")
    file.trash()
    referring("a")
    page = admin_client.post(f"{LIST}{file.pk}/delete/", {"confirmed": "1"}).content.decode()
    assert "Other rows of the database need this file: delete those first." in page
    assert File.objects.get().deleted_at


@pytest.mark.parametrize(("what", "permission"), [("trash", "delete"), ("rename", "change")])
def test_the_key_of_a_file_in_the_trash_is_for_who_may_see_it(staff, make_file, what, permission):
    file = make_file("secret")
    file.trash()
    client = staff("view_file", f"{permission}_file")
    response = client.get(f"{LIST}{file.pk}/{what}/", follow=True)
    assert messages(response) == ["It is in the trash by now."]
    assert "secret" not in response.content.decode()


@pytest.mark.parametrize("what", ["rename", "replace"])
def test_cancel_leads_to_where_one_was(staff, admin_client, make_file, what):
    file = make_file("a")
    filters = "?_changelist_filters=q%3Da"
    page = admin_client.get(f"{LIST}{file.pk}/{what}/{filters}").content.decode()
    assert f'href="{LIST}{file.pk}/change/{filters}" class="closelink"' in page
    page = staff("change_file", "replace_file").get(f"{LIST}{file.pk}/{what}/").content.decode()
    assert 'href="/admin/" class="closelink"' in page


def test_a_form_without_a_folder_keeps_it(admin_client, make_file):
    do(admin_client, make_file("a/x"), "rename", name="y")
    assert str(File.objects.get()) == "a/y"


def test_a_deletion_that_s3_refuses_keeps_the_row(admin_client, make_file, storage, monkeypatch):
    file = make_file("a")
    file.trash()

    def refuse(name, etag=None):
        raise PermissionError(13, "S3 refuses DeleteObject")

    monkeypatch.setattr(storage._wrapped, "delete", refuse)
    response = do(admin_client, file, "delete", confirmed="True")
    assert b"S3 refuses DeleteObject." in response.content
    assert File.objects.exists()


def test_what_is_restored_without_its_object_stays_in_the_trash(admin_client, make_file, storage):
    file = make_file("a")
    file.trash()
    storage.delete("a")
    assert "There is no such object" in messages(do(admin_client, file, "restore"))[0]
    assert File.objects.trashed().exists()


# What is done with several


def act(client, action, *files, query="", **data):
    chosen = {"action": action, "_selected_action": [file.pk for file in files]}
    return client.post(LIST + query, chosen | {"index": 0} | data, follow=True)


def test_several_are_moved(admin_client, make_file, storage):
    files = [make_file(f"a/{name}") for name in ("b", "c", "taken")]
    make_file("new/taken")
    response = act(admin_client, "move", *files, query="?folder=a/")
    assert 'name="folder" value="a/"' in response.content.decode()
    chosen = {"_selected_action": [file.pk for file in files], "folder": "new"}
    response = admin_client.post(f"{LIST}?folder=a/", chosen | {"action": "move"}, follow=True)
    assert messages(response) == [
        "“a/taken”: “new/taken”: There is a file of this key already.",
        f'<a href="{LIST}?folder=new%2F">Moved 2 files to “new/”.</a>',
    ]
    assert sorted(storage.listdir("new")[1]) == ["b", "c", "taken"]
    assert storage.listdir("a") == ([], ["taken"])


def test_several_go_to_the_trash_and_back(admin_client, make_file):
    files = [make_file(key) for key in "abc"]
    assert messages(act(admin_client, "trash", *files[:2])) == ["Moved 2 files to the trash."]
    assert keys(admin_client.get(LIST)) == ["c"]
    response = act(admin_client, "restore", files[0], query="?state=trash")
    assert messages(response) == ["Restored 1 file."]
    assert keys(admin_client.get(LIST)) == ["a", "c"]


def test_what_was_done_last_is_undone(admin_client, make_file):
    files = [make_file(f"a/{name}") for name in "bc"]
    moved = act(admin_client, "move", *files, query="?folder=a/", folder="x/")
    response = undo(admin_client, moved)
    assert messages(response) == ["2 files are where they were."]
    assert response.redirect_chain == [(f"{LIST}?folder=a/", 302)]
    assert keys(response) == ["a/b", "a/c"]
    response = undo(admin_client, act(admin_client, "trash", *files, query="?folder=a/"))
    assert keys(response) == ["a/b", "a/c"]
    response = undo(admin_client, do(admin_client, files[0], "trash"))
    assert (messages(response), keys(response)) == (["1 file is where it was."], ["a/b", "a/c"])
    response = undo(admin_client, do(admin_client, files[0], "rename", name="x", folder=""))
    assert (messages(response), str(response.context["original"])) == (
        ["1 file is where it was."],
        "a/b",
    )


def test_what_others_have_changed_since_is_not_undone(admin_client, make_file):
    files = [make_file(key) for key in "abcd"]
    moved = act(admin_client, "move", *files, folder="x/")
    File.objects.get(object_key="x/d").trash()
    File.objects.get(object_key="x/a").rename("a2")
    File.objects.get(object_key="x/b").delete()
    response = undo(admin_client, moved)
    assert messages(response) == [
        "3 files have been changed or deleted since, and stay so.",
        "1 file is where it was.",
    ]
    assert File.objects.trashed().get().name == "x/d"
    assert keys(response) == ["a2", "c"]
    assert messages(undo(admin_client, moved)) == [NOTHING_LEFT]


def test_what_others_have_trashed_or_replaced_since_is_not_undone(admin_client, make_file):
    file = make_file("a")
    trashed = do(admin_client, file, "trash")
    File.objects.get().restore()
    File.objects.get().trash()
    stays = ["1 file has been changed or deleted since, and stays so."]
    assert messages(undo(admin_client, trashed)) == stays
    assert File.objects.get().deleted_at
    File.objects.get().restore()
    renamed = do(admin_client, file, "rename", name="b", folder="")
    File.objects.get().replace(ContentFile(b"other"))
    assert messages(undo(admin_client, renamed)) == stays
    assert str(File.objects.live().get()) == "b"


def test_a_move_to_where_a_file_is_changes_nothing(admin_client, make_file):
    file = make_file("a/b")
    response = act(admin_client, "move", file, query="?folder=a/", folder="a/")
    assert messages(response) == ["“a/b”: It is in this folder already."]
    assert "Undo" not in response.content.decode()
    assert history() == []


def test_what_cannot_be_undone_now_can_be_undone_later(admin_client, make_file):
    files = [make_file(key) for key in "ab"]
    moved = act(admin_client, "move", *files, folder="x/")
    create("a", b"other")
    response = undo(admin_client, moved)
    assert "There is a file of this key already" in messages(response)[0]
    File.objects.get(object_key="a").delete()
    response = undo(admin_client, response)
    assert (messages(response), keys(response)) == (["1 file is where it was."], ["a", "b"])


@pytest.mark.parametrize("what", ["trash", "restore"])
def test_an_address_that_a_login_opens_changes_nothing(admin_client, make_file, what):
    file = make_file("a")
    if what == "restore":
        file.trash()
    response = admin_client.get(f"{LIST}{file.pk}/{what}/", follow=True)
    assert messages(response) == ["“a”: Nothing was changed: press the button again."]
    assert response.context["original"].deleted_at == file.deleted_at


def test_selected_files_that_are_gone_are_told(admin_client, make_file):
    files = [make_file(key) for key in "ab"]
    files[0].trash()
    assert messages(act(admin_client, "trash", *files)) == [
        "1 selected file is not here any more.",
        "Moved 1 file to the trash.",
    ]
    response = act(admin_client, "move", *files)
    assert messages(response) == ["2 selected files are not here any more."]
    assert response.redirect_chain == [(LIST, 302)]


def test_a_move_says_where_to_and_which_key_is_taken(admin_client, make_file):
    files = [make_file(key) for key in ("a/b", "a/c", "x/c")]
    response = act(admin_client, "move", *files[:2], query="?folder=a/", folder="x/")
    assert messages(response) == [
        "“a/c”: “x/c”: There is a file of this key already.",
        f'<a href="{LIST}?folder=x%2F">Moved 1 file to “x/”.</a>',
    ]


def test_undo_tells_of_files_that_are_gone(admin_client, make_file):
    files = [make_file(key) for key in "ab"]
    moved = act(admin_client, "move", *files, folder="x/")
    File.objects.get(object_key="x/a").delete()
    assert messages(undo(admin_client, moved)) == [
        "1 file has been changed or deleted since, and stays so.",
        "1 file is where it was.",
    ]


def test_undo_goes_on_where_the_database_has_broken_it_off(admin_client, make_file, monkeypatch):
    files = [make_file(key) for key in "abc"]
    moved = act(admin_client, "move", *files, folder="x/")
    rename = File.rename

    def fail(file, key):
        if key == "b":
            raise OperationalError
        rename(file, key)

    monkeypatch.setattr(File, "rename", fail)
    admin_client.raise_request_exception = False
    assert admin_client.post(undo_address(moved)).status_code == 503
    monkeypatch.undo()
    assert messages(undo(admin_client, moved)) == ["2 files are where they were."]
    assert keys(admin_client.get(LIST)) == ["a", "b", "c"]


def test_what_is_undone_offers_no_undo(admin_client, make_file):
    trashed = do(admin_client, make_file("a"), "trash")
    undo(admin_client, trashed)
    response = admin_client.get(undo_address(trashed), follow=True)
    assert messages(response) == [NOTHING_LEFT]
    assert "Undo" not in response.content.decode()
    Work.objects.all().delete()
    assert messages(undo(admin_client, trashed)) == [NOTHING_LEFT]


def test_undo_is_for_who_has_done_it_and_may_restore(staff, admin_client, make_file):
    file = make_file("a")
    trashed = do(admin_client, file, "trash")
    address = undo_address(trashed)
    response = admin_client.get(address, follow=True)
    assert messages(response) == ["Nothing was changed: press the button again."]
    assert undo_address(response) == address
    client = staff("view_file", "delete_file")
    assert messages(client.post(address, follow=True)) == [NOTHING_LEFT]
    File.objects.get().restore()
    assert "Undo" not in do(client, file, "trash").content.decode()
    User.objects.get(username="staff").user_permissions.add(
        Permission.objects.get(codename="restore_file")
    )
    assert messages(client.post(address, follow=True)) == [NOTHING_LEFT]
    File.objects.get().restore()
    trashed = do(client, file, "trash")
    address = undo_address(trashed)
    User.objects.get(username="staff").user_permissions.clear()
    assert client.post(address).status_code == 403
    assert File.objects.get().deleted_at


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "trash",
    [
        lambda client, file: do(client, file, "trash"),
        lambda client, file: act(client, "trash", file),
    ],
)
def test_a_file_that_somebody_else_changes_is_not_trashed(admin_client, make_file, trash):
    file, found = make_file("a"), []
    with operations.locked("a"):
        elsewhere(lambda: found.extend(messages(trash(admin_client, file))))
    text = "Another operation on the file is under way or has changed it: try again."
    assert (found, File.objects.live().get()) == ([f"“a”: {text}"], file)


def test_several_are_deleted_permanently(admin_client, make_file, storage):
    files = [make_file(key) for key in "abc"]
    for file in files[:2]:
        file.trash()
    trash = "?state=trash"
    page = act(admin_client, "delete", *files, query=trash).content.decode()
    assert "<li>a<input" in page
    assert "This cannot be undone." in page
    chosen = {"action": "delete", "_selected_action": [file.pk for file in files]}
    admin_client.post(LIST + trash, chosen | {"confirmed": "True"})
    assert [str(file) for file in File.objects.all()] == ["c"]
    assert [storage.exists(key) for key in "abc"] == [False, False, True]


@pytest.mark.parametrize("selected", ["x", "", "1.5", "9" * 30])
def test_a_selection_that_is_none_changes_nothing(admin_client, make_file, selected):
    file = make_file("a")
    chosen = {"action": "trash", "_selected_action": [selected], "index": 0}
    assert admin_client.post(LIST, chosen).status_code == 302
    assert File.objects.live().get() == file


@pytest.mark.django_db(transaction=True)
def test_no_page_changes_keys_or_contents_in_a_transaction(admin_client, make_file, monkeypatch):
    in_transaction = {}

    def noting(name, change):
        def note(*arguments):
            in_transaction[name] = connection.in_atomic_block
            return change(*arguments)

        return note

    for name in ("rename", "replace", "restore"):
        monkeypatch.setattr(File, name, noting(name, getattr(File, name)))
    file = make_file("a")
    do(admin_client, file, "rename", name="b")
    act(admin_client, "move", File.objects.get(), folder="f/")
    do(admin_client, file, "replace", content=SimpleUploadedFile("x", b"new"))
    act(admin_client, "trash", file)
    act(admin_client, "restore", *File.objects.all(), query="?state=trash")
    assert in_transaction == {"rename": False, "replace": False, "restore": False}
    assert sorted(file.read_text() for file in File.objects.live()) == ["new", "text"]


def test_a_deletion_that_s3_refuses_leaves_the_others(
    admin_client, make_file, storage, monkeypatch
):
    files = [make_file(key) for key in "abc"]
    for file in files:
        file.trash()
    delete = storage._wrapped.delete

    def refuse(name, etag=None):
        if name in "ab":
            raise PermissionError(13, f"S3 refuses {name}")
        delete(name, etag)

    monkeypatch.setattr(storage._wrapped, "delete", refuse)
    chosen = {"action": "delete", "_selected_action": [file.pk for file in files]}
    response = admin_client.post(f"{LIST}?state=trash", chosen | {"confirmed": 1}, follow=True)
    assert messages(response) == [
        "“b”: S3 refuses b.",
        "“a”: S3 refuses a.",
        "Deleted 1 file permanently.",
    ]
    assert [str(file) for file in File.objects.all()] == ["a", "b"]
    assert LogEntry.objects.get().object_repr == "c"


def test_several_are_downloaded_as_a_zip(admin_client, make_file):
    files = [make_file("a/b.txt", b"b"), make_file("a/c/d.txt", b"d")]
    response = act(admin_client, "download", *files, query="?folder=a/&below=1")
    assert response["Content-Disposition"] == 'attachment; filename="a.zip"'
    with zipfile.ZipFile(io.BytesIO(response.getvalue())) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "b.txt": b"b",
            "c/d.txt": b"d",
        }


# Who may do what


@pytest.fixture
def staff(client, django_user_model):
    """Log in as somebody of the staff with these permissions."""

    def staff(*codenames):
        user = django_user_model.objects.create_user("staff", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client.force_login(user)
        return client

    return staff


PERMISSIONS = {
    "rename": "change_file",
    "replace": "replace_file",
    "trash": "delete_file",
    "restore": "restore_file",
    "delete": "purge_file",
}


@pytest.mark.parametrize("what", PERMISSIONS)
def test_each_is_a_permission_of_its_own(staff, make_file, what):
    file = make_file("a")
    if what in {"restore", "delete"}:
        file.trash()
    others = {*PERMISSIONS.values(), "view_file", "add_file"} - {PERMISSIONS[what]}
    client = staff(*others)
    fields = {"name": "b", "content": SimpleUploadedFile("x", b"new"), "confirmed": "True"}
    assert client.post(f"{LIST}{file.pk}/{what}/", fields).status_code == 403
    page = client.get(f"{LIST}{file.pk}/change/").content.decode()
    assert f"{LIST}{file.pk}/{what}/" not in page
    client.get("/admin/logout/")


@pytest.mark.parametrize("what", PERMISSIONS)
def test_a_permission_is_enough(staff, make_file, what):
    file = make_file("a")
    if what in {"restore", "delete"}:
        file.trash()
    client = staff("view_file", PERMISSIONS[what])
    fields = {"name": "b", "content": SimpleUploadedFile("x", b"new"), "confirmed": "True"}
    assert client.post(f"{LIST}{file.pk}/{what}/", fields).status_code == 302


@pytest.mark.parametrize("permission", ["restore_file", "purge_file"])
def test_the_trash_shows_its_contents_to_those_who_may_see_it(staff, make_file, permission):
    file = make_file("a")
    file.trash()
    client = staff("view_file", permission)
    assert client.get(f"/files/{file.pk}/").getvalue() == b"text"


def test_nothing_is_counted_of_a_trash_that_one_may_not_see(staff, make_file):
    make_file("a").trash()
    page = staff("view_file").get(LIST, {"state": "trash"}).content.decode()
    assert ("You may not see the trash" in page, "Count files" in page) == (True, False)
    assert "0 files" not in page


def test_the_trash_is_for_those_who_may_restore_or_purge(staff, make_file):
    file = make_file("a")
    file.trash()
    client = staff("view_file", "delete_file")
    response = client.get(LIST, {"state": "trash"})
    assert keys(response) == []
    assert "You may not see the trash" in response.content.decode()
    assert client.get(f"{LIST}{file.pk}/change/").status_code == 302
    assert client.get(f"/files/{file.pk}/").status_code == 404


@pytest.mark.parametrize("action", ["move", "trash"])
def test_an_action_needs_its_permission(staff, make_file, action):
    file = make_file("a")
    response = act(staff("view_file", "restore_file"), action, file, folder="b/")
    assert messages(response) == ["No action selected."]
    assert str(File.objects.live().get()) == "a"


@pytest.fixture
def page_of(client):
    """Return the status of the pages that show contents or their list."""

    def page_of(file):
        return {
            "list": client.get(LIST).status_code,
            "page": client.get(f"{LIST}{file.pk}/change/").status_code,
            "history": client.get(f"{LIST}{file.pk}/history/").status_code,
            "zip": act(client, "download", file).status_code,
            "content": client.get(f"/files/{file.pk}/").status_code,
        }

    return page_of


@pytest.mark.parametrize("permission", ["change_file", "replace_file", "delete_file", "add_file"])
def test_content_is_for_those_who_may_view_files(staff, make_file, page_of, permission):
    file = make_file("a")
    staff(permission)
    refused = {"list": 403, "page": 403, "history": 302, "zip": 403, "content": 403}
    assert page_of(file) == refused


def test_renaming_needs_no_permission_but_its_own(staff, make_file):
    file = make_file("a")
    response = do(staff("change_file"), file, "rename", name="b")
    assert (response.status_code, messages(response)) == (200, ["“b”: Renamed from a."])


def test_without_permissions_there_is_nothing_to_see(staff, make_file):
    assert staff().get(LIST).status_code == 403
