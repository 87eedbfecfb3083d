"""Uploads by the browser: what the script asks, and what it gets."""

import base64
import hashlib
import json
import random

import pytest
import urllib3
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile

from files import uploads
from files.models import File

pytestmark = pytest.mark.django_db

UPLOAD = "/admin/files/file/upload/"
PART = 5 * 2**20
DATA = random.Random(0).randbytes(PART * 2 + 1000)
SIZE = len(DATA)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(uploads, "PART_SIZE", PART)


def ask(client, step, **about):
    return client.post(f"{UPLOAD}{step}/", about, content_type="application/json")


def begin(client, key="big.bin", size=SIZE, **about):
    about = {"key": key, "size": size, "type": "", "direct": True} | about
    return ask(client, "begin", **about)


def send(client, plan, data=DATA):
    """Send the parts as a browser does; return their checksums."""
    digests = []
    for start in range(0, len(data), plan["partSize"]):
        part = data[start : start + plan["partSize"]]
        digests.append(base64.b64encode(hashlib.sha256(part).digest()).decode())
        asked = {"ticket": plan["ticket"], "number": len(digests), "digest": digests[-1]}
        signed = ask(client, "sign", **asked).json()
        answer = urllib3.request("PUT", signed["url"], body=part, headers=signed["headers"])
        assert answer.status == 200
    return digests


def open_uploads(storage):
    found = storage.client.list_multipart_uploads(Bucket=storage.bucket_name)
    return [upload["Key"] for upload in found.get("Uploads", ())]


def history():
    return [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")]


def test_a_large_file_goes_in_parts_and_then_has_a_row(admin_client, storage):
    plan = begin(admin_client, "a//b.pdf").json()
    assert (plan["direct"], plan["partSize"]) == (True, PART)
    digests = send(admin_client, plan)
    assert not File.objects.exists()
    told = ask(admin_client, "finish", ticket=plan["ticket"], digests=digests).json()
    file = File.objects.get()
    assert told == {"key": "a//b.pdf", "url": f"/admin/files/file/{file.pk}/change/"}
    assert file.open().read() == DATA
    assert (file.size, file.content_type) == (len(DATA), "application/pdf")
    assert file.etag == storage.stat("a//b.pdf").etag
    assert history() == ["Added."]


def test_a_small_file_goes_whole(admin_client, storage):
    assert begin(admin_client, size=PART).json() == {"direct": False}
    assert begin(admin_client, direct=False).json() == {"direct": False}
    assert open_uploads(storage) == []
    content = SimpleUploadedFile("x", b"text", "text/plain")
    fields = {"key": json.dumps("a//b\tc"), "content": content}
    told = admin_client.post(f"{UPLOAD}whole/", fields).json()
    file = File.objects.get()
    assert str(file) == "a//b\tc"
    assert told == {"key": "a//b␉c", "url": f"/admin/files/file/{file.pk}/change/"}
    assert (file.read_text(), file.content_type) == ("text", "text/plain")


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("taken", "There is a file of this key already."),
        (
            "object",
            "The bucket has an object of this key that is not in the catalogue: choose another"
            " key.",
        ),
        (
            "trashed",
            "A file of this key is in the trash: restore it, delete it permanently, or choose"
            " another key.",
        ),
    ],
)
def test_a_key_that_is_taken_is_asked_for(admin_client, make_file, put, storage, key, told):
    make_file("taken")
    make_file("trashed").trash()
    put("object", b"old")
    refused = {"message": told, "taken": True, "replaceable": key != "object"}
    response = begin(admin_client, key)
    assert (response.status_code, response.json()) == (409, refused)
    fields = {"key": json.dumps(key), "content": SimpleUploadedFile("x", b"new")}
    response = admin_client.post(f"{UPLOAD}whole/", fields)
    assert (response.status_code, response.json()) == (409, refused)
    assert storage.open(key).read() != b"new"
    assert open_uploads(storage) == []


def test_a_key_that_is_taken_meanwhile_is_not_overwritten(admin_client, put, storage):
    plan = begin(admin_client).json()
    digests = send(admin_client, plan)
    put("big.bin", b"first")
    response = ask(admin_client, "finish", ticket=plan["ticket"], digests=digests)
    told = "There is an object of this key."
    refused = {"message": told, "taken": True, "replaceable": False}
    assert (response.status_code, response.json()) == (409, refused)
    assert storage.open("big.bin").read() == b"first"
    assert not File.objects.exists()


@pytest.mark.parametrize("in_trash", [False, True])
def test_a_file_is_replaced_when_that_is_asked(admin_client, make_file, in_trash):
    file = make_file("big.bin", b"old")
    if in_trash:
        file.trash()
    plan = begin(admin_client, replace=True).json()
    told = ask(admin_client, "finish", ticket=plan["ticket"], digests=send(admin_client, plan))
    assert told.json()["url"] == f"/admin/files/file/{file.pk}/change/"
    live = File.objects.live().get()
    assert (live.pk, str(live), live.open().read()) == (file.pk, "big.bin", DATA)
    assert File.objects.trashed().get().read_text() == "old"
    content = SimpleUploadedFile("x", b"small")
    small = {"key": json.dumps("big.bin"), "content": content, "replace": "on"}
    admin_client.post(f"{UPLOAD}whole/", small)
    assert live.read_text() == "small"
    assert File.objects.trashed().count() == 2
    assert history() == ["Replaced the content; the former one is in the trash."] * 2


def test_a_replacement_whose_answer_was_lost_is_noted(admin_client, make_file, storage):
    file = make_file("big.bin", b"old")
    file.trash()
    plan = begin(admin_client, replace=True).json()
    finish = {"ticket": plan["ticket"], "digests": send(admin_client, plan)}
    ask(admin_client, "finish", **finish)
    File.objects.filter(pk=file.pk).update(size=3, deleted_at="2026-01-01T00:00Z")
    assert ask(admin_client, "finish", **finish).status_code == 200
    assert File.objects.live().get().size == SIZE


@pytest.mark.parametrize("change", ["rename", "delete"])
def test_a_file_to_be_replaced_that_is_gone_is_a_sentence(admin_client, make_file, change):
    file = make_file("big.bin", b"old")
    plan = begin(admin_client, replace=True).json()
    file.rename("other") if change == "rename" else file.delete()
    response = ask(admin_client, "finish", ticket=plan["ticket"], digests=[])
    assert response.status_code == 400
    assert response.json()["message"] == "The file has been moved or deleted: begin again."


def test_parts_that_are_missing_make_no_file(admin_client, storage):
    plan = begin(admin_client).json()
    digests = send(admin_client, plan, DATA[:PART])
    response = ask(admin_client, "finish", ticket=plan["ticket"], digests=digests)
    assert response.status_code == 502
    assert response.json()["message"] == f"S3 has {PART} bytes of {len(DATA)}."
    assert not File.objects.exists()
    assert not storage.exists("big.bin")


def test_parts_that_are_not_what_was_sent_make_no_file(admin_client, storage):
    plan = begin(admin_client).json()
    digests = send(admin_client, plan)
    response = ask(admin_client, "finish", ticket=plan["ticket"], digests=digests[::-1])
    assert response.status_code == 502
    assert not File.objects.exists()
    assert not storage.exists("big.bin")


def test_finishing_again_is_the_same(admin_client, make_file):
    plan = begin(admin_client).json()
    finish = {"ticket": plan["ticket"], "digests": send(admin_client, plan)}
    first, second = (ask(admin_client, "finish", **finish) for _ in range(2))
    assert (first.json(), second.status_code) == (second.json(), 200)
    assert File.objects.count() == 1


def test_finishing_a_replacement_again_is_the_same(admin_client, make_file):
    make_file("big.bin", b"old")
    plan = begin(admin_client, replace=True).json()
    finish = {"ticket": plan["ticket"], "digests": send(admin_client, plan)}
    first, second = (ask(admin_client, "finish", **finish) for _ in range(2))
    assert (first.json(), second.status_code) == (second.json(), 200)
    assert File.objects.trashed().get().read_text() == "old"


def test_an_upload_is_aborted(admin_client, storage):
    plan = begin(admin_client).json()
    send(admin_client, plan, DATA[:PART])
    assert open_uploads(storage) == ["big.bin"]
    response = admin_client.post(f"{UPLOAD}abort/", {"ticket": plan["ticket"]})
    assert (response.status_code, open_uploads(storage)) == (200, [])


def test_a_ticket_is_for_its_user_alone(admin_client, client, django_user_model):
    plan = begin(admin_client).json()
    django_user_model.objects.create_superuser("other")
    client.force_login(django_user_model.objects.get(username="other"))
    about = {"ticket": plan["ticket"], "number": 1, "digest": "x", "digests": []}
    assert ask(client, "sign", **about).status_code == 403
    assert ask(client, "finish", **about).status_code == 403
    assert client.post(f"{UPLOAD}abort/", about).status_code == 403


@pytest.mark.parametrize("ticket", ["", "x", "WzFd:1tabcd:AAAA"])
def test_a_ticket_that_nobody_wrote_is_refused(admin_client, ticket):
    response = ask(admin_client, "sign", ticket=ticket, number=1, digest="x")
    assert response.status_code == 400
    assert response.json()["message"] == "This upload is too old: begin again."


@pytest.mark.parametrize(
    ("permissions", "status"),
    [(["view_file"], 403), (["view_file", "add_file"], 403), (["add_file", "replace_file"], 200)],
)
def test_adding_and_replacing_are_permissions(
    client, make_file, django_user_model, permissions, status
):
    make_file("a", b"old")
    user = django_user_model.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    assert begin(client, "a", replace=True).status_code == status
    content = SimpleUploadedFile("x", b"new")
    small = {"key": json.dumps("a"), "content": content, "replace": "on"}
    assert client.post(f"{UPLOAD}whole/", small).status_code == status


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({"key": "", "size": 1}, "A key must not be empty."),
        (
            {"key": "x" * 1025, "size": 1},
            "A key has at most 1024 bytes in UTF-8; this one has 1025.",
        ),
        ({"key": "a", "size": 2**50}, "S3 keeps no file of that size."),
        ({"key": "a", "size": "x"}, "The request is not what an upload sends."),
        ({}, "The request is not what an upload sends."),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(admin_client, about, told):
    response = ask(admin_client, "begin", type="", direct=True, **about)
    refused = {"message": told, "taken": False, "replaceable": False}
    assert (response.status_code, response.json()) == (400, refused)


def test_s3_out_of_reach_is_told(admin_client, unreachable):
    unreachable()
    response = begin(admin_client)
    assert response.status_code == 502
    assert "S3 is out of reach" in response.json()["message"]
