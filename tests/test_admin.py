"""The admin's pages."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from files.models import File

pytestmark = pytest.mark.django_db

LIST = "/admin/files/file/"


def messages(response):
    return [str(message) for message in response.context["messages"]]


def test_the_list_is_readable_with_no_data(admin_client):
    assert b"0 files" in admin_client.get(LIST).content


def test_the_list_asks_s3_nothing(admin_client, make_file, storage, monkeypatch):
    make_file("folder/a.txt", b"text")
    monkeypatch.setattr(storage.objects, "request", None)
    page = admin_client.get(LIST).content.decode()
    for shown in ("folder/a.txt", "4\xa0bytes"):
        assert shown in page


def test_the_list_finds_a_part_of_a_key(admin_client):
    for key in ("reports/2024.csv", "reports/2025.csv", "images/a.png"):
        File.objects.create(object_key=key)
    page = admin_client.get(LIST, {"q": "2025"}).content.decode()
    assert "reports/2025.csv" in page
    assert "reports/2024.csv" not in page


@pytest.mark.parametrize("term", ["ünï", "ÜNÏ", "größe", "Größe ünï", "100%_", "\\"])
def test_the_search_finds_any_part_in_any_case(admin_client, term):
    File.objects.create(object_key="ünï/Größe 100%_\\.txt")
    File.objects.create(object_key="other/1000.txt")
    page = admin_client.get(LIST, {"q": term}).content.decode()
    assert "ünï/Größe" in page
    assert "other/1000.txt" not in page


def test_a_file_has_a_link_to_its_content(admin_client, make_file):
    file = make_file("a.txt")
    page = admin_client.get(f"{LIST}{file.pk}/change/").content.decode()
    assert f'href="/files/{file.pk}/"' in page
    assert '<input type="file"' not in page
    assert 'name="object_key"' not in page


def test_a_file_whose_object_is_gone_is_readable_and_says_so(admin_client, make_file, storage):
    file = make_file("a.txt")
    storage.delete("a.txt")
    response = admin_client.get(f"{LIST}{file.pk}/change/")
    assert response.status_code == 200
    assert b"The object is missing from the bucket." in response.content


def test_a_file_is_readable_with_s3_out_of_reach(admin_client, make_file, unreachable):
    file = make_file("a.txt")
    unreachable()
    response = admin_client.get(f"{LIST}{file.pk}/change/")
    assert response.status_code == 200
    assert "S3 is out of reach" in messages(response)[0]


def upload(client, name="a b.txt", data=b"text", **fields):
    content = SimpleUploadedFile(name, data, "text/plain")
    return client.post(f"{LIST}add/", {"content": content, **fields}, follow=True)


def test_an_upload_writes_the_object_and_records_it(admin_client, storage):
    response = upload(admin_client)
    assert "was added successfully" in messages(response)[0]
    file = File.objects.get()
    stat = storage.stat("a_b.txt")
    assert (str(file), file.size, file.etag) == ("a_b.txt", 4, stat.etag)
    assert file.content_type == "text/plain"
    assert file.read_text() == "text"


def test_an_upload_takes_the_key_as_it_is(admin_client, storage):
    upload(admin_client, key=" /x//../ü b.txt")
    assert File.objects.get().object_key.name == " /x//../ü b.txt"
    assert storage.exists(" /x//../ü b.txt")


@pytest.mark.parametrize("in_catalogue", [True, False])
def test_an_upload_never_overwrites(admin_client, put, in_catalogue):
    put("a", b"first")
    if in_catalogue:
        File.objects.create(object_key="a")
    response = upload(admin_client, key="a")
    assert "There is a file of this key already" in response.content.decode()
    assert File.objects.count() == in_catalogue


def test_a_key_that_is_too_long_is_refused(admin_client):
    response = upload(admin_client, key="ü" * 513)
    assert "at most 1024 bytes" in response.content.decode()


def test_an_upload_that_s3_does_not_take_is_a_message(admin_client, unreachable):
    unreachable()
    response = upload(admin_client)
    assert "S3 is out of reach" in response.content.decode()
    assert not File.objects.exists()


def test_delete_asks_and_deletes_both(admin_client, make_file, storage):
    file = make_file("a")
    url = f"{LIST}{file.pk}/delete/"
    assert b"Are you sure" in admin_client.get(url).content
    admin_client.post(url, {"post": "yes"})
    assert not File.objects.exists()
    assert not storage.exists("a")


def test_several_are_deleted_at_once(admin_client, make_file, storage):
    files = [make_file(key) for key in "abc"]
    chosen = [files[0].pk, files[2].pk]
    admin_client.post(
        LIST, {"action": "delete_selected", "_selected_action": chosen, "post": "yes"}
    )
    assert [str(file) for file in File.objects.all()] == ["b"]
    assert [storage.exists(key) for key in "abc"] == [False, True, False]


def test_a_delete_that_s3_refuses_keeps_the_row(admin_client, make_file, storage, monkeypatch):
    file = make_file("a")

    def refuse(name):
        raise PermissionError(13, "S3 refuses DeleteObject")

    monkeypatch.setattr(storage._wrapped, "delete", refuse)
    response = admin_client.post(f"{LIST}{file.pk}/delete/", {"post": "yes"}, follow=True)
    assert messages(response) == ["S3 refuses DeleteObject."]
    assert File.objects.exists()


def test_without_permissions_there_is_nothing_to_see(viewer, make_file):
    assert viewer.get(LIST).status_code == 302
