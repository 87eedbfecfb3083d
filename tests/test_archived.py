"""Objects that S3 has archived: each way to them says so, and what needs no bytes works."""

import io
import zipfile

import pytest
import urllib3
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from files.admin.preview import preview
from files.models import File, Operation
from files.storage import ArchivedError, ObjectStorage
from files.storage.stat import is_archived
from tests.operations import kept, rows, state
from tests.responses import told
from tests.test_admin import LIST, act, do, keys, messages
from tests.test_delivery import cookie, delivery_date
from tests.test_preview import PNG, notice
from tests.test_storage import listed
from tests.test_uploads import begin
from tests.waiting import until

pytestmark = [pytest.mark.django_db, pytest.mark.needs("archived objects")]

SENTENCE = "The object is archived: restore it in S3 first, by `aws s3api restore-object`."
CLASSES = ["GLACIER", "DEEP_ARCHIVE"]


@pytest.fixture
def archived(make_file):
    """A file whose object is archived, as its row knows."""
    return make_file("a.txt", b"text", StorageClass="GLACIER")


def forget_class(file):
    """Let the row know no more that the object is archived, as where a rule of S3's has done it."""
    File.objects.filter(pk=file.pk).update(storage_class="STANDARD")
    file.refresh_from_db()


def stored(storage):
    return [entry["Key"] for entry in listed(storage)]


# What S3 tells


@pytest.mark.parametrize(
    ("storage_class", "restore", "status", "expected"),
    [
        (None, None, None, False),
        ("GLACIER_IR", None, None, False),
        ("GLACIER", None, None, True),
        ("DEEP_ARCHIVE", 'ongoing-request="true"', None, True),
        ("DEEP_ARCHIVE", 'ongoing-request="false", expiry-date="Fri, ..."', None, False),
        ("INTELLIGENT_TIERING", None, None, False),
        ("INTELLIGENT_TIERING", None, "ARCHIVE_ACCESS", True),
        ("INTELLIGENT_TIERING", 'ongoing-request="true"', "DEEP_ARCHIVE_ACCESS", True),
    ],
)
def test_headers_tell_what_must_be_restored(storage_class, restore, status, expected):
    headers = {
        "x-amz-storage-class": storage_class,
        "x-amz-restore": restore,
        "x-amz-archive-status": status,
    }
    assert is_archived({name: value for name, value in headers.items() if value}) == expected


@pytest.mark.parametrize("storage_class", CLASSES)
def test_a_read_is_refused(storage, put, storage_class):
    put("a", b"text", StorageClass=storage_class)
    with pytest.raises(ArchivedError) as raised:
        storage.open("a").read()
    assert (f"{raised.value.strerror}.", raised.value.filename) == (SENTENCE, "a")
    assert (storage.exists("a"), storage.size("a")) == (True, 4)


@pytest.mark.parametrize(
    ("storage_class", "expected"),
    [("GLACIER", True), ("DEEP_ARCHIVE", True), ("GLACIER_IR", False), ("STANDARD", False)],
)
def test_a_row_knows_whether_its_object_is_archived(make_file, storage_class, expected):
    assert make_file(StorageClass=storage_class).is_archived == expected


def test_what_was_restored_is_read_and_sent_though_its_class_stays(
    own_services, archived, s3, bucket, viewer, settings
):
    settings.DELIVERY = "redirect"
    s3.restore_object(Bucket=bucket, Key="a.txt", RestoreRequest={"Days": 1})
    address = f"/files/{archived.pk}/"
    until(lambda: viewer.head(address).status_code != 409)
    archived.refresh_from_storage()
    assert (archived.storage_class, archived.read_text()) == ("GLACIER", "text")
    assert (viewer.head(address).status_code, viewer.get(address).status_code) == (200, 302)


# Delivery


@pytest.mark.parametrize("way", ["stream", "redirect", "accel"])
def test_all_ways_answer_alike(archived, viewer, serve, nginx, way):
    start = nginx if way == "accel" else serve
    url = f"{start(APP_DELIVERY=way)}/files/{archived.pk}/"
    date = delivery_date(archived.modified_at)
    asked = [
        {},
        {"Range": "bytes=0-1"},
        {"Range": "bytes=9-"},
        {"If-None-Match": archived.etag},
        {"If-None-Match": "*"},
        {"If-Match": '"another"'},
        {"If-Modified-Since": date, "Range": "bytes=0-1"},
        {"If-Range": archived.etag, "Range": "bytes=0-1"},
    ]
    for method in ("GET", "HEAD"):
        for headers in asked:
            answer = urllib3.request(
                method, url, headers=headers | cookie(viewer), redirect=False, retries=False
            )
            assert (method, headers, answer.status) == (method, headers, 409)
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.headers["Cache-Control"] == "private, no-cache"
            assert (told(answer) == SENTENCE) if method == "GET" else (answer.data == b"")
            assert "Content-Disposition" not in answer.headers


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("way", ["stream", "accel"])
def test_what_the_row_does_not_know_is_told_too(archived, viewer, serve, nginx, way, method):
    forget_class(archived)
    start = nginx if way == "accel" else serve
    url = f"{start(APP_DELIVERY=way)}/files/{archived.pk}/"
    answer = urllib3.request(method, url, headers=cookie(viewer))
    assert answer.status == 409


def test_a_redirect_knows_as_soon_as_somebody_has_seen_the_page(
    archived, viewer, settings, admin_client
):
    settings.DELIVERY = "redirect"
    forget_class(archived)
    assert viewer.get(f"/files/{archived.pk}/").status_code == 302
    admin_client.get(f"{LIST}{archived.pk}/change/")
    assert viewer.get(f"/files/{archived.pk}/").status_code == 409


@pytest.mark.parametrize("way", ["stream", "redirect"])
@pytest.mark.parametrize("method", ["get", "head"])
def test_a_tier_that_is_archived_is_told(archived, viewer, settings, proxy, way, method):
    settings.DELIVERY = way
    proxy.headers = {
        "x-amz-storage-class": "INTELLIGENT_TIERING",
        "x-amz-archive-status": "ARCHIVE_ACCESS",
    }
    archived.refresh_from_storage()
    assert archived.storage_class == "INTELLIGENT_TIERING"
    assert getattr(viewer, method)(f"/files/{archived.pk}/").status_code == 409


def test_a_class_of_a_server_that_archives_nothing_changes_nothing(
    make_file, viewer, settings, proxy, at_aws
):
    settings.DELIVERY = "redirect"
    file = make_file("a.txt", b"text")
    proxy.headers = {"x-amz-storage-class": "GLACIER"}
    file.refresh_from_storage()
    statuses = [ask(f"/files/{file.pk}/").status_code for ask in (viewer.head, viewer.get)]
    assert (file.is_archived, statuses) == (True, [200, 302])
    file.rename("b.txt")
    assert str(file) == "b.txt"


def test_other_objects_are_sent_to_s3_without_a_request(make_file, viewer, settings, proxy):
    settings.DELIVERY = "redirect"
    file = make_file("a.txt", b"text")
    proxy.requests.clear()
    assert (viewer.get(f"/files/{file.pk}/").status_code, proxy.requests) == (302, [])


def test_a_zip_names_what_is_archived_and_has_the_rest(archived, make_file, admin_client):
    response = act(admin_client, "download", archived, make_file("b.txt", b"b"))
    with zipfile.ZipFile(io.BytesIO(response.getvalue())) as found:
        assert {name: found.read(name).decode() for name in found.namelist()} == {
            "b.txt": "b",
            "NOT READ.txt": f"'a.txt': {SENTENCE}\n",
        }


def test_read_file_says_so_in_one_line(archived):
    with pytest.raises(CommandError) as raised:
        call_command("read_file", str(archived.pk))
    assert str(raised.value) == f"File {archived.pk}: {SENTENCE.removesuffix('.')}: 'a.txt'."


# What copies is refused first


@pytest.fixture(params=[False, True], ids=["other", "AWS"])
def at_aws(request, monkeypatch):
    """Take the server for what it is, and for AWS's own."""
    monkeypatch.setattr(ObjectStorage, "_is_aws", request.param)


COPYING = {
    "rename": lambda file: file.rename("b.txt"),
    "replace": lambda file: file.replace(ContentFile(b"new")),
}


@pytest.mark.parametrize("action", COPYING)
@pytest.mark.parametrize("storage_class", CLASSES)
def test_what_copies_is_refused_before_it_begins(make_file, storage, action, storage_class):
    file, before = make_file("a.txt", b"text", StorageClass=storage_class), state()
    with (
        CaptureQueriesContext(
            connection,
        ) as queries,
        pytest.raises(ArchivedError),
    ):
        COPYING[action](file)
    assert not [query for query in queries if "INSERT" in query["sql"]]
    assert (state(), stored(storage), Operation.objects.count()) == (before, ["a.txt"], 0)


@pytest.mark.parametrize("action", COPYING)
def test_what_the_row_does_not_know_is_not_copied_either(archived, storage, at_aws, action):
    forget_class(archived)
    before = state()
    with pytest.raises(ArchivedError):
        COPYING[action](archived)
    assert (state(), stored(storage), Operation.objects.count()) == (before, ["a.txt"], 0)


def test_a_tier_that_is_archived_is_not_copied(archived, proxy, at_aws):
    proxy.headers = {
        "x-amz-storage-class": "INTELLIGENT_TIERING",
        "x-amz-archive-status": "DEEP_ARCHIVE_ACCESS",
    }
    archived.refresh_from_storage()
    with pytest.raises(ArchivedError):
        archived.rename("b.txt")
    assert Operation.objects.count() == 0


def test_a_replaced_content_is_not_restored(make_file, put, storage):
    make_file("a.txt", b"old").replace(ContentFile(b"new"))
    file = kept()
    put(str(file), b"old", StorageClass="GLACIER")
    file.refresh_from_storage()
    before, keys_before = state(), stored(storage)
    with CaptureQueriesContext(connection) as queries, pytest.raises(ArchivedError):
        file.restore()
    assert not [query for query in queries if "INSERT" in query["sql"]]
    assert (state(), stored(storage), Operation.objects.count()) == (before, keys_before, 0)


def test_the_trash_takes_it_and_gives_it_back(archived, storage):
    archived.trash()
    archived.restore()
    assert (rows(), stored(storage)) == ([("a.txt", "a.txt", True)], ["a.txt"])


def test_it_is_deleted(archived, storage):
    archived.delete()
    assert (rows(), stored(storage), Operation.objects.count()) == ([], [], 0)


def test_a_missing_one_is_replaced(archived, storage):
    storage.delete("a.txt")
    archived.replace(ContentFile(b"new"))
    assert (archived.read_text(), archived.storage_class) == ("new", "STANDARD")


# The admin


def test_the_page_shows_class_and_sentence(archived, admin_client):
    page = admin_client.get(f"{LIST}{archived.pk}/change/").content.decode()
    assert [text in page for text in ("GLACIER", "Storage class", SENTENCE)] == [True] * 3


def test_the_page_shows_no_class_that_is_usual(make_file, admin_client):
    page = admin_client.get(f"{LIST}{make_file().pk}/change/").content.decode()
    assert "Storage class" not in page


def test_the_list_shows_it(archived, make_file, admin_client):
    make_file("b.txt")
    response = admin_client.get(LIST)
    found = [file.is_archived for file in response.context["cl"].result_list]
    assert (keys(response), found) == (["a.txt", "b.txt"], [True, False])
    assert response.content.decode().count(">archived<") == 1


@pytest.mark.parametrize(("key", "data"), [("a.txt", b"text"), ("a.png", PNG)])
def test_the_preview_says_so(make_file, key, data):
    parameters = {"ContentType": "image/png"} if data == PNG else {}
    file = make_file(key, data, StorageClass="GLACIER", **parameters)
    assert notice(preview(file)) == SENTENCE


def test_a_form_shows_the_sentence(archived, admin_client):
    response = do(admin_client, archived, "rename", name="b.txt")
    assert response.context["form"].non_field_errors() == [SENTENCE]
    content = SimpleUploadedFile("x", b"new")
    response = do(admin_client, archived, "replace", content=content)
    assert response.context["form"].non_field_errors() == [SENTENCE]


def test_of_several_those_that_are_not_archived_are_moved(archived, make_file, admin_client):
    chosen = {"_selected_action": [archived.pk, make_file("b.txt").pk], "folder": "f/"}
    data = chosen | {"action": "move", "index": 0}
    response = admin_client.post(LIST, data, follow=True)
    assert messages(response) == [
        f"“a.txt”: {SENTENCE}",
        '<a href="/admin/files/file/?folder=f%2F">Moved 1 file to “f/”.</a>',
    ]


@pytest.mark.parametrize("size", [1, 2**30])
def test_an_upload_in_its_place_is_refused_before_it_is_sent(archived, admin_client, size):
    response = begin(admin_client, "a.txt", size, replace=True)
    assert (response.status_code, response.json()["detail"]) == (409, SENTENCE)
    assert Operation.objects.count() == 0


def test_an_upload_in_place_of_a_missing_one_begins(archived, admin_client, storage):
    storage.delete("a.txt")
    response = begin(admin_client, "a.txt", 1, replace=True)
    assert (response.status_code, response.json()) == (200, {"direct": False})
