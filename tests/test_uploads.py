"""Uploads by the API, which programs and the list of files in a browser ask: what they get."""

import base64
import hashlib
import io
import json
import random
from datetime import timedelta
from urllib.parse import urlencode

import hypothesis
import pytest
import urllib3
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import resolve
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from files.api.serializers import etag_of
from files.changes import IN_TRASH
from files.models import File, Operation
from files.operations import changes
from files.storage.checksums import of_parts
from files.storage.multipart import MultipartUpload
from files.uploads import requests, steps
from tests import location
from tests.operations import objects

pytestmark = pytest.mark.django_db

FILES = "/api/files/"
STEPS = {"begin": "", **{name: f"{name}/" for name in ("parts", "state", "finish", "abort")}}
PART = 5 * 2**20
DATA = random.Random(0).randbytes(PART * 2 + 1000)
SIZE = len(DATA)
DIGEST = base64.b64encode(bytes(32)).decode()
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=1),
)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(steps, "PART_SIZE", PART)


def ask(client, step, **asked):
    return client.post(f"/api/uploads/{STEPS[step]}", asked, content_type="application/json")


def whole(client, key, data=b"new", kind="text/plain", headers=None, **asked):
    """Send a small file as a browser does."""
    query = urlencode({"key": key, **asked})
    return client.post(f"{FILES}?{query}", data, content_type=kind, headers=headers)


def refused(response):
    """Return status and sentence of a refusal."""
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status_code, response.json()["detail"]


def conflict(response):
    """Return what the dialogue about a key that is taken needs."""
    assert response.status_code == 409
    told = response.json()
    return {name: told[name] for name in told.keys() & {"detail", "taken", "replaceable", "file"}}


def begin(client, key="big.bin", size=SIZE, **asked):
    asked = {"key": key, "size": size, "type": "", "direct": True} | asked
    return ask(client, "begin", **asked)


def abort(client, plan):
    assert ask(client, "abort", ticket=plan["ticket"]).status_code == 204


def send(client, plan, data=DATA):
    """Send the parts as a browser does; return their checksums."""
    digests = []
    for start in range(0, len(data), plan["part_size"]):
        part = data[start : start + plan["part_size"]]
        digests.append(base64.b64encode(hashlib.sha256(part).digest()).decode())
        asked = {"ticket": plan["ticket"], "number": len(digests), "sha256": digests[-1]}
        signed = ask(client, "parts", **asked).json()
        answer = urllib3.request("PUT", signed["url"], body=part, headers=signed["headers"])
        assert answer.status == 200
    return digests


def sha256(data):
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def open_uploads(storage):
    found = location.client().list_multipart_uploads(Bucket=storage.bucket_name)
    return [upload["Key"] for upload in found.get("Uploads", ())]


@pytest.fixture
def ticket(admin_client, storage):
    return begin(admin_client).json()["ticket"]


class BrokenStream(io.BytesIO):
    """A body whose connection breaks."""

    def read(self, *arguments):
        raise OSError("reset")


def history():
    return [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")]


@pytest.mark.needs("checksums")
def test_a_large_file_goes_in_parts_and_then_has_a_row(admin_client, storage):
    plan = begin(admin_client, "a//b.pdf").json()
    assert (plan["direct"], plan["part_size"]) == (True, PART)
    digests = send(admin_client, plan)
    assert not File.objects.exists()
    stored = ask(admin_client, "finish", ticket=plan["ticket"], sha256=digests).json()
    file = File.objects.get()
    assert (stored["id"], stored["key"], stored["version"]) == (file.pk, str(file), etag_of(file))
    assert file.open().read() == DATA
    assert (file.size, file.content_type) == (len(DATA), "application/pdf")
    assert file.etag == storage.stat("a//b.pdf").etag
    assert file.checksum == of_parts(digests, PART)
    assert history() == ["Added."]


def test_a_small_file_goes_whole(admin_client, storage):
    assert begin(admin_client, size=PART).json() == {"direct": False}
    assert begin(admin_client, direct=False).json() == {"direct": False}
    assert open_uploads(storage) == []
    response = whole(admin_client, "a//b\tc", b"text", "text/plain; charset=utf-8")
    file = File.objects.get()
    assert (response.status_code, response.json()["key"]) == (201, "a//b\tc")
    assert response.headers["Location"] == f"http://testserver/api/files/{file.pk}/"
    assert response.headers["ETag"] == response.json()["version"] == etag_of(file)
    assert (str(file), file.checksum) == ("a//b\tc", f"SHA256:{sha256(b'text')}")
    assert (file.read_text(), file.content_type) == ("text", "text/plain; charset=utf-8")
    assert history() == ["Added."]


@pytest.mark.parametrize(
    ("key", "message"),
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
def test_a_key_that_is_taken_is_asked_for(admin_client, make_file, put, storage, key, message):
    files = {name: make_file(name) for name in ("taken", "trashed")}
    files["trashed"].trash()
    put("object", b"old")
    asked = {"detail": message, "taken": True, "replaceable": key != "object"}
    if key in files:
        asked["file"] = files[key].pk
    assert conflict(begin(admin_client, key)) == asked
    assert conflict(whole(admin_client, key)) == asked
    assert storage.open(key).read() != b"new"
    assert open_uploads(storage) == []


@pytest.mark.needs("checksums")
def test_a_key_that_is_taken_meanwhile_is_not_overwritten(admin_client, put, storage):
    plan = begin(admin_client).json()
    digests = send(admin_client, plan)
    put("big.bin", b"first")
    response = ask(admin_client, "finish", ticket=plan["ticket"], sha256=digests)
    message = (
        "The bucket has an object of this key that is not in the catalogue: choose another key."
    )
    assert conflict(response) == {"detail": message, "taken": True, "replaceable": False}
    assert storage.open("big.bin").read() == b"first"
    assert not File.objects.exists()


@pytest.mark.needs("checksums")
def test_a_file_that_came_meanwhile_can_be_replaced(admin_client, make_file):
    plan = begin(admin_client).json()
    digests = send(admin_client, plan)
    file = make_file("big.bin", b"first")
    response = ask(admin_client, "finish", ticket=plan["ticket"], sha256=digests)
    message = "There is a file of this key already."
    asked = {"detail": message, "taken": True, "replaceable": True, "file": file.pk}
    assert conflict(response) == asked
    assert File.objects.get().read_text() == "first"
    abort(admin_client, plan)


@pytest.mark.needs("checksums")
@pytest.mark.parametrize("in_trash", [False, True])
def test_a_file_is_replaced_when_that_is_asked(admin_client, make_file, in_trash):
    file = make_file("big.bin", b"old")
    if in_trash:
        file.trash()
    plan = begin(admin_client, replace=True).json()
    stored = ask(admin_client, "finish", ticket=plan["ticket"], sha256=send(admin_client, plan))
    assert stored.json()["id"] == file.pk
    live = File.objects.live().get()
    assert (live.pk, str(live), live.open().read()) == (file.pk, "big.bin", DATA)
    assert File.objects.trashed().get().read_text() == "old"
    assert whole(admin_client, "big.bin", b"small", replace="true").json()["size"] == 5
    assert live.read_text() == "small"
    assert File.objects.trashed().count() == 2
    assert (
        history()
        == [
            "Replaced the content; the former one is in the trash.",
            "Another content was put under its key.",
        ]
        * 2
    )


def interrupt(*arguments):
    raise KeyboardInterrupt


@pytest.mark.needs("checksums")
def test_a_replacement_that_was_interrupted_is_noted(admin_client, make_file, monkeypatch):
    make_file("big.bin", b"old")
    plan = begin(admin_client, replace=True).json()
    finish = {"ticket": plan["ticket"], "sha256": send(admin_client, plan)}
    with monkeypatch.context() as patch:
        patch.setattr(changes, "insert_kept", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ask(admin_client, "finish", **finish)
    assert File.objects.get().size == 3
    for _ in range(2):
        assert ask(admin_client, "finish", **finish).json()["size"] == SIZE
        sizes = [(row.name, row.size) for row in File.objects.order_by("size")]
        assert sizes == [("big.bin", 3), ("big.bin", SIZE)]


@pytest.mark.usefixtures("unfinished_uploads")
@pytest.mark.parametrize("change", ["rename", "delete"])
def test_a_file_to_be_replaced_that_is_gone_is_a_sentence(admin_client, make_file, change):
    file = make_file("big.bin", b"old")
    plan = begin(admin_client, replace=True).json()
    file.rename("other") if change == "rename" else file.delete()
    response = ask(admin_client, "finish", ticket=plan["ticket"], sha256=[])
    assert refused(response) == (400, "The file has been moved or deleted: begin again.")


def test_parts_that_are_missing_make_no_file(admin_client, storage):
    plan = begin(admin_client).json()
    digests = send(admin_client, plan, DATA[:PART])
    response = ask(admin_client, "finish", ticket=plan["ticket"], sha256=digests)
    assert refused(response) == (502, f"S3 has {PART} bytes of {len(DATA)}.")
    assert not File.objects.exists()
    assert not storage.exists("big.bin")


def test_parts_that_are_not_what_was_sent_make_no_file(admin_client, storage):
    plan = begin(admin_client).json()
    digests = send(admin_client, plan)
    response = ask(admin_client, "finish", ticket=plan["ticket"], sha256=digests[::-1])
    assert response.status_code == 502
    assert not File.objects.exists()
    assert not storage.exists("big.bin")


@pytest.mark.needs("checksums")
def test_finishing_again_is_the_same(admin_client, make_file):
    plan = begin(admin_client).json()
    finish = {"ticket": plan["ticket"], "sha256": send(admin_client, plan)}
    first, second = (ask(admin_client, "finish", **finish) for _ in range(2))
    assert (first.json(), second.status_code) == (second.json(), 201)
    assert File.objects.count() == 1


@pytest.mark.needs("checksums")
def test_finishing_a_replacement_again_is_the_same(admin_client, make_file):
    make_file("big.bin", b"old")
    plan = begin(admin_client, replace=True).json()
    finish = {"ticket": plan["ticket"], "sha256": send(admin_client, plan)}
    first, second = (ask(admin_client, "finish", **finish) for _ in range(2))
    assert (first.json(), second.status_code) == (second.json(), 201)
    assert File.objects.trashed().get().read_text() == "old"


def state(client, plan):
    """Return number, size and SHA-256 of each part that has been sent."""
    response = ask(client, "state", ticket=plan["ticket"])
    assert response.status_code == 200
    return [(part["number"], part["size"], part.get("sha256")) for part in response.json()["parts"]]


@pytest.mark.needs("checksums")
def test_the_state_is_the_parts_that_have_been_sent(admin_client, storage):
    plan = begin(admin_client).json()
    assert state(admin_client, plan) == []
    first = send(admin_client, plan, DATA[:PART])
    assert state(admin_client, plan) == [(1, PART, first[0])]
    digests = send(admin_client, plan)
    assert state(admin_client, plan) == [
        (number, size, digest)
        for number, (size, digest) in enumerate(zip([PART, PART, 1000], digests, strict=True), 1)
    ]
    abort(admin_client, plan)


def test_the_state_has_no_checksum_where_s3_lists_none(admin_client, storage, monkeypatch):
    plan = begin(admin_client).json()
    parts = [{"PartNumber": 2, "Size": PART, "ETag": '"1"'}]
    monkeypatch.setattr(MultipartUpload, "listed", lambda upload: parts)
    told = ask(admin_client, "state", ticket=plan["ticket"]).json()
    assert told == {"parts": [{"number": 2, "size": PART}]}
    abort(admin_client, plan)


def test_all_pages_of_the_parts_are_the_state(admin_client, storage):
    """S3 has pages of 1,000 parts; these are of two."""
    plan = begin(admin_client).json()
    send(admin_client, plan)

    def shorten(params, **about):
        params["MaxParts"] = 2

    event = "provide-client-params.s3.ListParts"
    storage.client.meta.events.register(event, shorten)
    try:
        assert [number for number, *_ in state(admin_client, plan)] == [1, 2, 3]
    finally:
        storage.client.meta.events.unregister(event, shorten)
    abort(admin_client, plan)


@pytest.mark.needs("checksums")
@pytest.mark.usefixtures("unfinished_uploads")
@pytest.mark.parametrize("end", ["finish", "abort", "S3", "row"])
def test_an_upload_that_is_over_has_no_state(admin_client, storage, end):
    plan = begin(admin_client).json()
    digests = send(admin_client, plan)
    if end == "finish":
        ask(admin_client, "finish", ticket=plan["ticket"], sha256=digests)
    elif end == "abort":
        abort(admin_client, plan)
    elif end == "S3":
        storage.abort_upload("big.bin", Operation.objects.get().upload_id)
    else:
        Operation.objects.all().delete()
    response = ask(admin_client, "state", ticket=plan["ticket"])
    assert refused(response) == (410, "This upload is over: begin again.")
    abort(admin_client, plan)


def test_an_upload_is_aborted(admin_client, storage):
    plan = begin(admin_client).json()
    send(admin_client, plan, DATA[:PART])
    assert open_uploads(storage) == ["big.bin"]
    abort(admin_client, plan)
    assert open_uploads(storage) == []


def test_a_ticket_is_for_its_user_alone(admin_client, client, django_user_model):
    plan = begin(admin_client).json()
    django_user_model.objects.create_superuser("other")
    client.force_login(django_user_model.objects.get(username="other"))
    assert_refused_each(client, plan)
    abort(admin_client, plan)


def assert_refused_each(client, plan):
    """Check that no step of the upload is for this client."""
    ticket = plan["ticket"]
    assert ask(client, "parts", ticket=ticket, number=1, sha256=DIGEST).status_code == 403
    assert ask(client, "state", ticket=ticket).status_code == 403
    assert ask(client, "finish", ticket=ticket, sha256=[]).status_code == 403
    assert ask(client, "abort", ticket=ticket).status_code == 403


@pytest.mark.parametrize("ticket", ["", "x", "WzFd:1tabcd:AAAA"])
def test_a_ticket_that_nobody_wrote_is_refused(admin_client, ticket):
    response = ask(admin_client, "parts", ticket=ticket, number=1, sha256=DIGEST)
    assert refused(response) == (400, "This is no ticket of an upload: begin again.")


@pytest.mark.usefixtures("unfinished_uploads")
@pytest.mark.parametrize("step", ["parts", "state", "finish", "abort"])
def test_an_upload_that_is_too_old_is_over(admin_client, monkeypatch, step):
    plan = begin(admin_client).json()
    monkeypatch.setattr(requests, "MAX_AGE", -1)
    response = ask(admin_client, step, ticket=plan["ticket"], number=1, sha256=DIGEST)
    assert refused(response) == (410, "This upload is too old: begin again.")


@pytest.mark.usefixtures("unfinished_uploads")
@pytest.mark.parametrize(
    ("permissions", "status"),
    [
        (["view_file"], 403),
        (["view_file", "add_file"], 403),
        pytest.param(
            ["add_file", "replace_file"], 201, marks=pytest.mark.needs("conditional puts")
        ),
    ],
)
def test_adding_and_replacing_are_permissions(
    client, make_file, django_user_model, permissions, status
):
    make_file("a", b"old")
    user = django_user_model.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    assert begin(client, "a", replace=True).status_code == status
    assert whole(client, "a", replace="true").status_code == status


KEPT = {"key": "a", "size": SIZE, "type": ""}
DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"key": ""}, "A key must not be empty."),
        ({"key": "x" * 1025}, "A key has at most 1,024 bytes in UTF-8; this one has 1,025."),
        ({"key": "\ud800"}, "A key must be valid Unicode."),
        ({"key": 1}, "“key” must be a text."),
        ({"key": None}, "“key” must be a text."),
        ({"size": "x"}, "“size” must be a whole number of bytes, 0 or more."),
        ({"size": -1}, "“size” must be a whole number of bytes, 0 or more."),
        ({"size": True}, "“size” must be a whole number of bytes, 0 or more."),
        ({"size": 1.5}, "“size” must be a whole number of bytes, 0 or more."),
        ({"type": "text/plain\r\nx: y"}, "“type” must be printable ASCII: no header can hold it."),
        ({"type": "text/ü"}, "“type” must be printable ASCII: no header can hold it."),
        ({"type": "\ud800"}, "“type” must be printable ASCII: no header can hold it."),
        ({"type": 1}, "“type” must be a text."),
        ({"direct": "no"}, "“direct” must be true or false."),
        ({"replace": 1}, "“replace” must be true or false."),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(admin_client, storage, asked, message):
    response = ask(admin_client, "begin", **KEPT | asked)
    assert refused(response) == (400, message)
    assert open_uploads(storage) == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"size": 2**60}, "A file may have at most 48.0\xa0TB."),
        ({"size": 10**500}, "A file may have at most 48.0\xa0TB."),
        ({"direct": False}, "More than 5.0\xa0MB can be sent from a page with HTTPS alone."),
    ],
)
def test_what_is_too_large_is_refused_before_it_is_sent(
    admin_client, storage, settings, asked, message
):
    settings.MAX_UPLOAD = PART
    response = ask(admin_client, "begin", **KEPT | asked)
    assert refused(response) == (413, message)
    assert open_uploads(storage) == []


def test_no_more_goes_at_once_than_through_the_application(admin_client, storage, settings):
    settings.MAX_UPLOAD = 3
    content = SimpleUploadedFile("x", b"text")
    message = "At most 3\xa0bytes can be sent at once; larger files go in parts, as from the list."
    assert refused(whole(admin_client, "a", b"text")) == (413, message)
    page = admin_client.post("/admin/files/file/add/", {"content": content, "name": "a"})
    assert page.context["adminform"].form.errors == {"content": [message]}


@pytest.mark.needs("presigned URLs")
@pytest.mark.parametrize(("number", "length"), [(1, PART + 1), (1, PART - 1), (3, PART)])
def test_a_part_is_sent_in_its_own_length_alone(admin_client, number, length):
    data = bytes(length)
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    plan = begin(admin_client).json()
    asked = {"ticket": plan["ticket"], "number": number, "sha256": digest}
    signed = ask(admin_client, "parts", **asked).json()
    answer = urllib3.request("PUT", signed["url"], body=data, headers=signed["headers"])
    assert answer.status == 403
    abort(admin_client, plan)


def test_a_part_beyond_the_size_is_not_signed(admin_client):
    plan = begin(admin_client).json()
    response = ask(admin_client, "parts", ticket=plan["ticket"], number=4, sha256=DIGEST)
    assert refused(response) == (400, "The file has no part of this number.")
    abort(admin_client, plan)


def test_a_user_has_only_so_many_uploads_open(admin_client, storage, monkeypatch):
    monkeypatch.setattr(steps, "MAX_OPEN", 2)
    plans = [begin(admin_client, key).json() for key in "ab"]
    response = begin(admin_client, "c")
    message = "You have 2 unfinished uploads: finish or cancel one first."
    assert refused(response) == (429, message)
    abort(admin_client, plans[0])
    for plan in (plans[1], begin(admin_client, "c").json()):
        abort(admin_client, plan)


def test_no_upload_makes_room_for_who_has_the_name_of_its_user_now(
    admin_client, client, django_user_model, storage, monkeypatch
):
    monkeypatch.setattr(steps, "MAX_OPEN", 1)
    plan = begin(admin_client, "a").json()
    Operation.objects.update(started_at=timezone.now() - timedelta(hours=25))
    django_user_model.objects.filter(username="admin").update(username="former")
    client.force_login(django_user_model.objects.create_superuser("admin"))
    other = begin(client, "b").json()
    assert open_uploads(storage) == ["a", "b"]
    abort(admin_client, plan)
    abort(client, other)


def test_the_oldest_upload_of_a_user_makes_room(admin_client, storage, monkeypatch):
    """Another browser may have begun it, and nobody goes on with it."""
    monkeypatch.setattr(steps, "MAX_OPEN", 2)
    begun = timezone.now() - timedelta(hours=25)
    plans = {key: begin(admin_client, key).json() for key in "ab"}
    Operation.objects.filter(object_key="b").update(started_at=begun)
    plans["c"] = begin(admin_client, "c").json()
    assert open_uploads(storage) == ["a", "c"]
    assert refused(ask(admin_client, "state", ticket=plans["b"]["ticket"]))[0] == 410
    assert begin(admin_client, "d").status_code == 429
    for key in "ac":
        abort(admin_client, plans[key])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "“key” is missing."),
        ("{", "JSON parse error - "),
        (b"\xff", "JSON parse error - "),
        (DEEP, "This is nested too deep."),
        ('{"size": ' + "9" * 5000 + "}", "JSON parse error - "),
        ('{"size": NaN}', "JSON parse error - "),
        ('{"size": -Infinity}', "JSON parse error - "),
        ("[]", "The request must be a JSON object."),
        ("null", "The request must be a JSON object."),
        ("{}", "“key” is missing."),
        ('{"key": "a", "size": 1e999}', "“size” must be a whole number of bytes, 0 or more."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_request_is_refused_in_a_sentence(admin_client, body, message):
    response = admin_client.post("/api/uploads/", body, content_type="application/json")
    status, told = refused(response)
    assert (status, told[: len(message)]) == (400, message)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "“key” is missing."),
        ("key", "A key must not be empty."),
        ("key=%00", "PostgreSQL cannot keep a key with a NUL character."),
        ("key=%FF", "A key must be valid Unicode."),
        ("key=%ED%A0%80", "A key must be valid Unicode."),
        ("key=.files/a", "Keys that begin with .files/ are reserved: choose another key."),
        (f"key={'x' * 1025}", "A key has at most 1,024 bytes in UTF-8; this one has 1,025."),
        ("key=a&replace=yes", "“replace” must be true or false."),
        ("key=a&replace", "“replace” must be true or false."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_small_file_is_refused_in_a_sentence(admin_client, storage, query, message):
    response = admin_client.post(f"{FILES}?{query}", b"text", content_type="text/plain")
    assert refused(response) == (400, message)
    assert objects(storage) == {}


def test_a_small_file_of_a_type_that_no_header_holds_is_refused(admin_client, storage):
    message = "“type” must be printable ASCII: no header can hold it."
    assert refused(whole(admin_client, "a", kind="text/ü")) == (400, message)
    assert not storage.exists("a")


@pytest.mark.parametrize(
    ("kind", "found"),
    [("", "text/csv"), ("application/x-www-form-urlencoded", "text/csv"), ("x/y", "x/y")],
)
def test_a_type_that_nobody_has_told_is_guessed(admin_client, storage, kind, found):
    assert whole(admin_client, "a.csv", b"a=b", kind).json()["type"] == found
    assert File.objects.get().read_text() == "a=b"


def test_a_form_is_no_content(admin_client, storage):
    response = admin_client.post(f"{FILES}?key=a", {"file": SimpleUploadedFile("x", b"text")})
    assert refused(response) == (415, "Send the content itself as the body, not a form.")
    assert objects(storage) == {}


def test_an_empty_file_goes_whole(admin_client, storage):
    assert whole(admin_client, "a", b"").json()["size"] == 0
    assert objects(storage) == {"a": b""}


def test_storing_the_same_again_is_the_same(admin_client, storage):
    first, second = (whole(admin_client, "a", b"text") for _ in range(2))
    assert (first.json(), second.status_code) == (second.json(), 201)
    assert second.headers["Location"] == first.headers["Location"]
    assert history() == ["Added."]
    assert conflict(whole(admin_client, "a", b"other"))["taken"]
    storage.delete("a")
    assert conflict(whole(admin_client, "a", b"text"))["taken"]
    File.objects.get().trash()
    assert conflict(whole(admin_client, "a", b"text"))["detail"] == str(IN_TRASH)


@pytest.mark.parametrize(
    ("digest", "status"),
    [
        (f"sha-256=:{sha256(b'text')}:", 201),
        (f"sha-512=:AAAA:, sha-256=:{sha256(b'text')}:", 201),
        ("sha-512=:AAAA:", 201),
        (f"sha-256=:{sha256(b'other')}:", 400),
        ("sha-256=:AAAA:", 400),
        ("sha-256=", 400),
    ],
)
def test_a_content_is_compared_with_its_digest(admin_client, storage, digest, status):
    response = whole(admin_client, "a", b"text", headers={"Content-Digest": digest})
    assert response.status_code == status
    assert objects(storage) == ({"a": b"text"} if status == 201 else {})


@pytest.mark.usefixtures("unfinished_uploads")
@pytest.mark.parametrize(
    ("step", "asked", "message"),
    [
        ("parts", {"number": 0}, "“number” must be a whole number from 1 to 10,000."),
        ("parts", {"number": 10_001}, "“number” must be a whole number from 1 to 10,000."),
        ("parts", {"number": True}, "“number” must be a whole number from 1 to 10,000."),
        ("parts", {"sha256": "x"}, "“sha256” must be a SHA-256 in Base64."),
        ("parts", {"sha256": DIGEST[:-2] + "B="}, "“sha256” must be a SHA-256 in Base64."),
        ("parts", {"sha256": DIGEST + "\r\nx: y"}, "“sha256” must be a SHA-256 in Base64."),
        ("parts", {"sha256": 1}, "“sha256” must be a text."),
        ("parts", {"ticket": 1}, "“ticket” must be a text."),
        ("parts", {"ticket": "\ud800:x:y"}, "This is no ticket of an upload: begin again."),
        ("state", {"ticket": 1}, "“ticket” must be a text."),
        ("finish", {"sha256": "x"}, "“sha256” must be a list."),
        ("finish", {"sha256": [DIGEST, "x"]}, "“sha256” must be a SHA-256 in Base64."),
        ("finish", {"sha256": [DIGEST] * 10_001}, "“sha256” has more than 10,000 parts."),
    ],
)
def test_what_is_no_part_is_refused_in_a_sentence(admin_client, storage, step, asked, message):
    ticket = begin(admin_client).json()["ticket"]
    good = {"ticket": ticket, "number": 1, "sha256": DIGEST if step == "parts" else [DIGEST]}
    assert refused(ask(admin_client, step, **good | asked)) == (400, message)


@given(st.dictionaries(st.sampled_from(["key", "size", "type", "direct", "replace"]), JSON))
@hypothesis.settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_request_is_an_error_of_the_server(admin_client, storage, asked):
    response = ask(admin_client, "begin", **asked)
    assert response.status_code in {200, 201, 400, 409, 413}
    assert response.json()


@pytest.mark.usefixtures("unfinished_uploads")
@given(
    st.sampled_from(["parts", "finish"]),
    st.dictionaries(st.sampled_from(["number", "sha256"]), JSON),
)
@hypothesis.settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_part_is_an_error_of_the_server(admin_client, ticket, step, asked):
    response = ask(admin_client, step, ticket=ticket, **asked)
    is_expected = response.status_code in {200, 400, 410}
    assert is_expected or refused(response)[1].startswith("S3 has 0")


@pytest.mark.parametrize("path", ["/api/uploads/", f"{FILES}?key=a"])
def test_a_request_that_breaks_off_is_refused_in_a_sentence(rf, admin_user, storage, path):
    request = rf.post(path, b"{", content_type="application/json", CONTENT_LENGTH=10)
    request._stream = BrokenStream()
    request._dont_enforce_csrf_checks = True
    request.user = admin_user
    response = resolve(request.path_info).func(request)
    assert (response.status_code, json.loads(response.content)["detail"]) == (
        400,
        "The request broke off.",
    )
    assert objects(storage) == {}


def test_a_mistake_of_ours_is_an_error_of_the_server(admin_client, storage, monkeypatch):
    def mistaken(*arguments):
        raise KeyError("ours")

    monkeypatch.setattr(type(storage._wrapped), "begin_upload", mistaken)
    with pytest.raises(KeyError, match="ours"):
        begin(admin_client)


def test_s3_out_of_reach_names_no_endpoint_but_in_the_log(admin_client, unreachable, caplog):
    unreachable()
    response = begin(admin_client, "a\n.bin")
    message = "S3 is out of reach; try again in a moment."
    assert refused(response) == (503, message)
    assert response.headers["Retry-After"] == "5"
    (line,) = [
        record.getMessage() for record in caplog.records if record.name.startswith("files.api")
    ]
    assert line.startswith(
        "POST /api/uploads/: [Errno 113] S3 is out of reach at http://127.0.0.1:9"
    )
    assert line.endswith(": 'a\\n.bin'")


# The trash


@pytest.fixture
def replacer(client, django_user_model):
    """Log in as somebody who may add and replace files, and no more."""
    user = django_user_model.objects.create_user("staff", is_staff=True)
    codenames = ["add_file", "replace_file"]
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return client


def test_replacing_takes_nothing_out_of_the_trash_without_permission(replacer, make_file):
    file = make_file("big.bin", b"old")
    file.trash()
    asked = {"detail": str(IN_TRASH), "taken": True, "replaceable": False}
    assert conflict(begin(replacer, replace=True)) == asked
    assert conflict(whole(replacer, "big.bin", replace="true")) == asked
    file.refresh_from_db()
    assert (file.deleted_at is None, file.read_text()) == (False, "old")


@pytest.mark.usefixtures("unfinished_uploads")
def test_a_file_trashed_meanwhile_is_not_replaced_without_permission(replacer, make_file):
    file = make_file("big.bin", b"old")
    plan = begin(replacer, replace=True).json()
    digests = send(replacer, plan)
    file.trash()
    response = ask(replacer, "finish", ticket=plan["ticket"], sha256=digests)
    assert conflict(response)["detail"] == str(IN_TRASH)
    assert File.objects.trashed().get().read_text() == "old"


@pytest.mark.needs("checksums")
@pytest.mark.parametrize("replace", [False, True])
def test_finishing_again_takes_nothing_out_of_the_trash(admin_client, make_file, replace):
    if replace:
        make_file("big.bin", b"old")
    plan = begin(admin_client, replace=replace).json()
    finish = {"ticket": plan["ticket"], "sha256": send(admin_client, plan)}
    first = ask(admin_client, "finish", **finish)
    File.objects.live().get().trash()
    again = ask(admin_client, "finish", **finish)
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert not File.objects.live().exists()
    assert len(history()) == 1 + replace  # and that of the former content
