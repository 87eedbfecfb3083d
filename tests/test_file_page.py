"""The page of one file, its preview, and how a file looks in the list."""

import json
import re
from datetime import timedelta
from html import unescape

import pytest
from botocore.exceptions import ClientError
from django.contrib.auth.models import Permission
from django.contrib.staticfiles import finders
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from files import listing
from files.admin import columns
from files.models import File

pytestmark = pytest.mark.django_db

LIST = "/admin/files/file/"


def make(*keys, **values):
    return File.objects.bulk_create([File(object_key=key, **values) for key in keys])


def page_of(client, file, name="change", **query):
    response = client.get(f"{LIST}{file.pk}/{name}/", query)
    assert response.status_code == 200
    return response.content.decode()


def only_row(client):
    page = client.get(LIST).content.decode()
    (row,) = re.findall(r'<tr><td class="action-checkbox">.*?</tr>', page, re.DOTALL)
    return row


def told(html):
    """Return what the page of the object shows: its tables by their captions."""
    tables = re.findall(r"<caption>(.*?)</caption>(.*?)</table>", html, re.DOTALL)
    return {caption: re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", rows) for caption, rows in tables}


# The page


def test_the_content_comes_first_and_its_type_once(admin_client, make_file):
    file = make_file("a.csv", b"name,note\r\nx,y\r\n", ContentType="text/csv")
    page = page_of(admin_client, file)
    assert page.index("<td>x</td>") < page.index("field-key")
    assert page.count("text/csv") == 1


def test_what_is_copied_is_exact(admin_client, make_file, bucket):
    file = make_file(' a/\r\n"ü" &amp;')
    copies = re.findall(r'data-copy="(.*?)">(.*?)<', page_of(admin_client, file))
    assert {label: json.loads(unescape(text)) for text, label in copies} == {
        "Copy key": str(file),
        "Copy S3 URI": f"s3://{bucket}/{file}",
        "Copy address": f"http://testserver/files/{file.pk}/",
        "Copy command": f"manage.py read_file {file.pk}",
    }


STATES = [
    ("missing_at", "missing", "error", "put the object back into the bucket"),
    ("damaged_at", "damaged", "error", "replace them by a good copy"),
    ("changed_at", "changed", "warning", "another object of this key"),
    ("deleted_at", "", "warning", "until somebody restores it or deletes it permanently"),
]


@pytest.mark.parametrize(("column", "word", "level", "meaning"), STATES)
def test_a_warning_is_a_word_and_a_sentence(
    admin_client, make_file, unreachable, column, word, level, meaning
):
    file = make_file()
    File.objects.update(**{column: timezone.now()})
    unreachable()  # or the page would find out that all is well
    page = page_of(admin_client, file)
    (warning,) = re.findall(rf'<p class="files-warning {level}">(.*?)</p>', page)
    assert meaning in warning
    if word:
        assert f'<span class="files-state {level}">{word}</span>' in only_row(admin_client)


def test_a_file_that_is_well_has_no_warning(admin_client, make_file):
    file = make_file()
    assert "files-warning" not in page_of(admin_client, file)
    assert "files-state" not in only_row(admin_client)


def test_what_has_changed_in_the_bucket_is_said_where_it_is_taken_over(
    admin_client, make_file, put
):
    file = make_file("a.txt", b"old")
    put("a.txt", b"other")
    File.objects.update(changed_at=timezone.now())
    text = "“a.txt”: It was changed in the bucket, and not from here"
    assert text in page_of(admin_client, file)
    assert File.objects.get().changed_at is None
    assert text not in page_of(admin_client, file)


@pytest.mark.parametrize(
    ("age", "shown"),
    [
        ({"seconds": -5}, "now"),
        ({"seconds": 40}, "now"),
        ({"seconds": 60}, "1 minute ago"),
        ({"hours": 5, "minutes": 30}, "5 hours ago"),
        ({"days": 1}, "1 day ago"),
        ({"days": 29}, "4 weeks ago"),
        ({"days": 364}, "12 months ago"),
        ({"days": 800}, "2 years ago"),
    ],
)
def test_times_say_how_long_ago_and_exactly(admin_client, age, shown):
    when = timezone.now() - timedelta(**age)
    (file,) = make("a", modified_at=when)
    exact = columns.exact(when)
    assert exact.endswith(" UTC")
    time = f'<time datetime="{when.isoformat()}" title="{exact}">{shown}</time>'
    assert f'<td class="field-modified">{time}</td>' in only_row(admin_client)
    assert f"{time} <small>{exact}</small>" in page_of(admin_client, file)


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("text/plain; charset=utf-8", "text"),
        ("application/json", "text"),
        ("application/pdf", "text"),
        ("text/csv", "table"),
        ("image/png", "image"),
        ("image/svg+xml", "image"),
        ("AUDIO/MPEG", "audio"),
        ("video/mp4", "video"),
        ("application/zip", "archive"),
        ("application/octet-stream", ""),
        ("", ""),
    ],
)
def test_a_file_has_the_icon_of_its_kind(admin_client, content_type, kind):
    make("a", content_type=content_type)
    assert f'data-kind="{kind}">a</a>' in only_row(admin_client)


# The preview


@pytest.fixture
def some():
    """Return files by their keys."""
    values = {
        "b.txt": {"size": 1},
        "a/b.txt": {"size": 30},
        "a/c.txt": {"size": 10},
        "a/d.png": {"size": 20, "content_type": "image/png"},
        "a/e.txt": {"size": 40},
        "a/e/f.png": {"size": 5, "content_type": "image/png"},
        "a/t.txt": {"deleted_at": timezone.now()},
        "t.txt": {"deleted_at": timezone.now() - timedelta(days=1)},
    }
    return {key: make(key, **columns)[0] for key, columns in values.items()}


@pytest.mark.parametrize(
    ("key", "filters", "previous", "following"),
    [
        ("a/c.txt", "", "a/b.txt", "a/d.png"),
        ("a/b.txt", "", None, "a/c.txt"),
        ("a/e.txt", "folder=a/", "a/d.png", None),
        ("b.txt", "", None, None),
        ("a/c.txt", "folder=a/&o=-3", "a/d.png", None),
        ("a/c.txt", "below=1&o=3", "a/e/f.png", "a/d.png"),
        ("a/d.png", "type=image/", None, "a/e/f.png"),
        ("a/e.txt", "q=txt&folder=a/", "a/c.txt", None),
        ("a/e/f.png", "type=image/&p=1&usage=1&before=x", "a/d.png", None),
        ("t.txt", "", "a/t.txt", None),
        ("a/t.txt", "state=trash", None, "t.txt"),
        ("a/c.txt", "state=trash&o=-4", "a/b.txt", "a/d.png"),  # it has been restored
        ("a/t.txt", "folder=a/", None, "t.txt"),
        ("a/c.txt", "folder=none/", "a/b.txt", "a/d.png"),
        ("a/c.txt", "no_such_filter=1", "a/b.txt", "a/d.png"),
    ],
)
def test_a_preview_leads_on_in_the_list_that_one_came_from(
    admin_client, some, key, filters, previous, following
):
    query = {"_changelist_filters": filters} if filters else {}
    response = admin_client.get(f"{LIST}{some[key].pk}/preview/", query)
    found = {rel: response.context[name] for rel, name in (("prev", "previous"), ("next", "next"))}
    assert {rel: near and str(near) for rel, near in found.items()} == {
        "prev": previous,
        "next": following,
    }
    links = dict(re.findall(r'<a rel="(\w+)".*? href="(.*?)"', response.content.decode()))
    kept = response.context["query"]
    assert links == {rel: f"{LIST}{near.pk}/preview/{kept}" for rel, near in found.items() if near}


def test_a_preview_warns_too(admin_client, make_file):
    file = make_file("a.txt", b"text")
    File.objects.update(damaged_at=timezone.now())
    page = admin_client.get(f"{LIST}{file.pk}/preview/").content.decode()
    assert str(columns.STATES["damaged_at"].meaning) in unescape(page)


def test_a_preview_takes_few_queries(admin_client, make_file, some, django_assert_max_num_queries):
    file = make_file("a/x.txt")
    for query in ({}, {"_changelist_filters": "q=txt&o=-3"}):
        with django_assert_max_num_queries(9):
            page_of(admin_client, file, "preview", **query)


def test_neighbours_that_take_too_long_are_left_out(admin_client, some, monkeypatch):
    monkeypatch.setattr(listing, "WALK_SECONDS", 0)

    def neighbours(*arguments):
        listing.connection.cursor().execute("SELECT pg_sleep(1)")

    monkeypatch.setattr(listing, "neighbours", neighbours)
    assert 'rel="' not in page_of(admin_client, some["a/c.txt"], "preview").split("<main")[1]


def test_a_preview_shows_the_content_and_the_way_back(admin_client, make_file):
    file = make_file("a/b.txt", b"line\n" * 100_000, ContentType="text/plain")
    page = page_of(admin_client, file, "preview", _changelist_filters="folder=a/")
    assert "<h1>Preview: b.txt</h1>" in page
    assert "The first 64.0\xa0KB of 488.3\xa0KB" in page
    assert f'href="/files/{file.pk}/?download">Download' in page
    assert f'href="{LIST}{file.pk}/change/?_changelist_filters=folder%3Da%2F">Back' in page


@pytest.mark.parametrize("name", ["preview", "object"])
def test_what_may_not_be_read_is_not_shown(viewer, make_file, name):
    file = make_file()
    address = f"{LIST}{file.pk}/{name}/"
    assert viewer.get(address).status_code == 200
    assert Client().get(address).status_code == 302
    file.trash()
    response = viewer.get(address, follow=True)
    assert response.redirect_chain == [(LIST, 302)]
    assert f"There is no file with the ID {file.pk}" in response.content.decode()
    Permission.objects.get(codename="view_file").user_set.clear()
    assert viewer.get(address).status_code == 403


# The object


def test_what_s3_keeps_with_the_object_is_told(admin_client, make_file, s3, bucket):
    file = make_file(
        "a.txt",
        ContentType="text/x",
        CacheControl="no-cache",
        ContentLanguage="de",
        Metadata={"owner": "<Jo>"},
    )
    tags = [{"Key": "kind", "Value": "a + b"}]
    s3.put_object_tagging(Bucket=bucket, Key="a.txt", Tagging={"TagSet": tags})
    found = told(page_of(admin_client, file, "object"))
    shown = found.pop("Headers and metadata")
    pairs = dict(zip(shown[::2], shown[1::2], strict=True))
    assert (
        pairs.items()
        >= {
            "cache-control": "no-cache",
            "content-language": "de",
            "content-type": "text/x",
            "x-amz-meta-owner": "&lt;Jo&gt;",
            "x-amz-storage-class": "STANDARD",
        }.items()
    )
    assert found == {"Tags": ["kind", "a + b"]}


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (403, "AccessDenied", "allow s3:GetObjectTagging to the role of this process."),
        (501, "NotImplemented", "501 NotImplemented."),
    ],
)
def test_tags_that_s3_does_not_tell_are_said(
    admin_client, make_file, storage, during, status, code, sentence
):
    file = make_file()
    about = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}

    def refuse():
        raise ClientError(about, "GetObjectTagging")

    during("GetObjectTagging", refuse)
    found = told(page_of(admin_client, file, "object"))
    assert "x-amz-storage-class" in found["Headers and metadata"]
    (text,) = found["Tags"]
    assert text.endswith(sentence)


def test_an_object_that_is_gone_is_said(admin_client, make_file, storage):
    file = make_file()
    storage.delete(str(file))
    (text,) = told(page_of(admin_client, file, "object"))["Headers and metadata"]
    assert text.startswith("There is no such object in the bucket")


def test_nothing_is_asked_of_the_object_before_it_is_opened(admin_client, make_file, during):
    asked = []
    during("GetObjectTagging", lambda: asked.append(True))
    page_of(admin_client, make_file())
    assert asked == []


# Keys in the trash, numbers, the icon


@pytest.mark.parametrize("what", ["add", "rename"])
def test_a_key_in_the_trash_leads_to_its_file(admin_client, make_file, what):
    trashed, file = make_file("trashed"), make_file("a")
    trashed.trash()
    fields = {"name": "trashed", "folder": ""}
    if what == "add":
        fields["content"] = SimpleUploadedFile("x", b"new")
    address = f"{LIST}add/" if what == "add" else f"{LIST}{file.pk}/rename/"
    page = admin_client.post(address, fields).content.decode()
    assert f'choose another key. <a href="{LIST}{trashed.pk}/change/">Show that file</a>' in page


def test_who_may_not_see_the_trash_is_not_led_there(client, django_user_model, make_file):
    make_file("trashed").trash()
    user = django_user_model.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_file", "add_file"]))
    client.force_login(user)
    fields = {"name": "trashed", "folder": "", "content": SimpleUploadedFile("x", b"new")}
    page = client.post(f"{LIST}add/", fields).content.decode()
    assert "choose another key.</li>" in page


def test_many_files_are_counted_with_separators(admin_client):
    make(*(f"a/{number}" for number in range(1001)), size=1024)
    assert ">1,001 files, 1001.0\xa0KB<" in admin_client.get(LIST, {"usage": 1}).content.decode()


def test_pages_of_people_have_an_icon(client):
    found = client.get("/favicon.ico")
    assert (found.status_code, found.url) == (302, "/static/files/favicon.svg")
    assert finders.find("files/favicon.svg")
    for address in ("/login/", "/nothing/"):
        page = client.get(address, headers={"Accept": "text/html"}).content.decode()
        assert f'<link rel="icon" href="{found.url}">' in page
