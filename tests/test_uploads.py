"""Uploads by the browser: what the script asks, and what it gets."""

import base64
import hashlib
import io
import json
import random

import hypothesis
import pytest
import urllib3
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from files.models import File
from files.operations import changes
from files.storage.checksums import of_parts
from files.uploads import json_views, steps
from tests import location

pytestmark = pytest.mark.django_db

UPLOAD = "/admin/files/file/upload/"
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
    return client.post(f"{UPLOAD}{step}/", asked, content_type="application/json")


def begin(client, key="big.bin", size=SIZE, **asked):
    asked = {"key": key, "size": size, "type": "", "direct": True} | asked
    return ask(client, "begin", **asked)


def abort(client, plan):
    assert client.post(f"{UPLOAD}abort/", {"ticket": plan["ticket"]}).status_code == 200


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
    assert (plan["direct"], plan["partSize"]) == (True, PART)
    digests = send(admin_client, plan)
    assert not File.objects.exists()
    stored = ask(admin_client, "finish", ticket=plan["ticket"], digests=digests).json()
    file = File.objects.get()
    assert stored == {"key": "a//b.pdf", "url": f"/admin/files/file/{file.pk}/change/"}
    assert file.open().read() == DATA
    assert (file.size, file.content_type) == (len(DATA), "application/pdf")
    assert file.etag == storage.stat("a//b.pdf").etag
    assert file.checksum == of_parts(digests, PART)
    assert history() == ["Added."]


def test_a_small_file_goes_whole(admin_client, storage):
    assert begin(admin_client, size=PART).json() == {"direct": False}
    assert begin(admin_client, direct=False).json() == {"direct": False}
    assert open_uploads(storage) == []
    content = SimpleUploadedFile("x", b"text", "text/plain")
    fields = {"key": json.dumps("a//b\tc"), "content": content}
    stored = admin_client.post(f"{UPLOAD}whole/", fields).json()
    file = File.objects.get()
    assert str(file) == "a//b\tc"
    assert stored == {"key": "a//b␉c", "url": f"/admin/files/file/{file.pk}/change/"}
    assert (file.read_text(), file.content_type) == ("text", "text/plain")


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
    make_file("taken")
    make_file("trashed").trash()
    put("object", b"old")
    refused = {"message": message, "taken": True, "replaceable": key != "object"}
    response = begin(admin_client, key)
    assert (response.status_code, response.json()) == (409, refused)
    fields = {"key": json.dumps(key), "content": SimpleUploadedFile("x", b"new")}
    response = admin_client.post(f"{UPLOAD}whole/", fields)
    assert (response.status_code, response.json()) == (409, refused)
    assert storage.open(key).read() != b"new"
    assert open_uploads(storage) == []


@pytest.mark.needs("checksums")
def test_a_key_that_is_taken_meanwhile_is_not_overwritten(admin_client, put, storage):
    plan = begin(admin_client).json()
    digests = send(admin_client, plan)
    put("big.bin", b"first")
    response = ask(admin_client, "finish", ticket=plan["ticket"], digests=digests)
    message = "There is an object of this key."
    refused = {"message": message, "taken": True, "replaceable": False}
    assert (response.status_code, response.json()) == (409, refused)
    assert storage.open("big.bin").read() == b"first"
    assert not File.objects.exists()


@pytest.mark.needs("checksums")
@pytest.mark.parametrize("in_trash", [False, True])
def test_a_file_is_replaced_when_that_is_asked(admin_client, make_file, in_trash):
    file = make_file("big.bin", b"old")
    if in_trash:
        file.trash()
    plan = begin(admin_client, replace=True).json()
    stored = ask(admin_client, "finish", ticket=plan["ticket"], digests=send(admin_client, plan))
    assert stored.json()["url"] == f"/admin/files/file/{file.pk}/change/"
    live = File.objects.live().get()
    assert (live.pk, str(live), live.open().read()) == (file.pk, "big.bin", DATA)
    assert File.objects.trashed().get().read_text() == "old"
    content = SimpleUploadedFile("x", b"small")
    small = {"key": json.dumps("big.bin"), "content": content, "replace": "on"}
    admin_client.post(f"{UPLOAD}whole/", small)
    assert live.read_text() == "small"
    assert File.objects.trashed().count() == 2
    assert history() == ["Replaced the content; the former one is in the trash."] * 2


def interrupt(*arguments):
    raise KeyboardInterrupt


@pytest.mark.needs("checksums")
def test_a_replacement_that_was_interrupted_is_noted(admin_client, make_file, monkeypatch):
    make_file("big.bin", b"old")
    plan = begin(admin_client, replace=True).json()
    finish = {"ticket": plan["ticket"], "digests": send(admin_client, plan)}
    with monkeypatch.context() as patch:
        patch.setattr(changes, "insert_kept", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ask(admin_client, "finish", **finish)
    assert File.objects.get().size == 3
    for _ in range(2):
        assert ask(admin_client, "finish", **finish).status_code == 200
        sizes = [(row.name, row.size) for row in File.objects.order_by("size")]
        assert sizes == [("big.bin", 3), ("big.bin", SIZE)]


@pytest.mark.usefixtures("unfinished_uploads")
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


@pytest.mark.needs("checksums")
def test_finishing_again_is_the_same(admin_client, make_file):
    plan = begin(admin_client).json()
    finish = {"ticket": plan["ticket"], "digests": send(admin_client, plan)}
    first, second = (ask(admin_client, "finish", **finish) for _ in range(2))
    assert (first.json(), second.status_code) == (second.json(), 200)
    assert File.objects.count() == 1


@pytest.mark.needs("checksums")
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
    asked = {"ticket": plan["ticket"], "number": 1, "digest": DIGEST, "digests": []}
    assert ask(client, "sign", **asked).status_code == 403
    assert ask(client, "finish", **asked).status_code == 403
    assert client.post(f"{UPLOAD}abort/", asked).status_code == 403
    assert admin_client.post(f"{UPLOAD}abort/", asked).status_code == 200


@pytest.mark.parametrize("ticket", ["", "x", "WzFd:1tabcd:AAAA"])
def test_a_ticket_that_nobody_wrote_is_refused(admin_client, ticket):
    response = ask(admin_client, "sign", ticket=ticket, number=1, digest=DIGEST)
    assert response.status_code == 400
    assert response.json()["message"] == "This upload is too old: begin again."


@pytest.mark.usefixtures("unfinished_uploads")
@pytest.mark.parametrize(
    ("permissions", "status"),
    [
        (["view_file"], 403),
        (["view_file", "add_file"], 403),
        pytest.param(
            ["add_file", "replace_file"], 200, marks=pytest.mark.needs("conditional puts")
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
    content = SimpleUploadedFile("x", b"new")
    small = {"key": json.dumps("a"), "content": content, "replace": "on"}
    assert client.post(f"{UPLOAD}whole/", small).status_code == status


KEPT = {"key": "a", "size": SIZE, "type": ""}
DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"key": ""}, "A key must not be empty."),
        ({"key": "x" * 1025}, "A key has at most 1024 bytes in UTF-8; this one has 1025."),
        ({"key": "\ud800"}, "A key must be valid Unicode."),
        ({"key": 1}, "“key” must be a text."),
        ({"key": None}, "“key” must be a text."),
        ({"size": "x"}, "“size” must be a whole number of bytes, 0 or more."),
        ({"size": -1}, "“size” must be a whole number of bytes, 0 or more."),
        ({"size": True}, "“size” must be a whole number of bytes, 0 or more."),
        ({"size": 1.5}, "“size” must be a whole number of bytes, 0 or more."),
        ({"size": float("inf")}, "“size” must be a whole number of bytes, 0 or more."),
        ({"size": float("nan")}, "“size” must be a whole number of bytes, 0 or more."),
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
    refused = {"message": message, "taken": False, "replaceable": False}
    assert (response.status_code, response.json()) == (400, refused)
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
    assert (response.status_code, response.json()["message"]) == (413, message)
    assert open_uploads(storage) == []


def test_a_form_takes_no_more_than_goes_through_the_application(admin_client, storage, settings):
    settings.MAX_UPLOAD = 3
    content = SimpleUploadedFile("x", b"text")
    fields = {"key": json.dumps("a"), "content": content}
    response = admin_client.post(f"{UPLOAD}whole/", fields)
    message = "At most 3\xa0bytes can be sent in a form; drop larger files on the list."
    assert (response.status_code, response.json()["message"]) == (413, message)
    content.seek(0)
    page = admin_client.post("/admin/files/file/add/", {"content": content, "key": "a"})
    assert page.context["adminform"].form.errors == {"content": [message]}


@pytest.mark.needs("presigned URLs")
@pytest.mark.parametrize(("number", "length"), [(1, PART + 1), (1, PART - 1), (3, PART)])
def test_a_part_is_sent_in_its_own_length_alone(admin_client, number, length):
    data = bytes(length)
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    plan = begin(admin_client).json()
    asked = {"ticket": plan["ticket"], "number": number, "digest": digest}
    signed = ask(admin_client, "sign", **asked).json()
    answer = urllib3.request("PUT", signed["url"], body=data, headers=signed["headers"])
    assert answer.status == 403
    abort(admin_client, plan)


def test_a_part_beyond_the_size_is_not_signed(admin_client):
    plan = begin(admin_client).json()
    response = ask(admin_client, "sign", ticket=plan["ticket"], number=4, digest=DIGEST)
    message = "The file has no part of this number."
    assert (response.status_code, response.json()["message"]) == (400, message)
    abort(admin_client, plan)


def test_a_user_has_only_so_many_uploads_open(admin_client, storage, monkeypatch):
    monkeypatch.setattr(steps, "MAX_OPEN", 2)
    plans = [begin(admin_client, key).json() for key in "ab"]
    response = begin(admin_client, "c")
    message = "You have 2 unfinished uploads: finish or cancel one first."
    assert (response.status_code, response.json()["message"]) == (429, message)
    abort(admin_client, plans[0])
    for plan in (plans[1], begin(admin_client, "c").json()):
        abort(admin_client, plan)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "The request must be JSON."),
        ("{", "The request must be JSON."),
        (b"\xff", "The request must be JSON."),
        (DEEP, "The request must be JSON."),
        ('{"size": ' + "9" * 5000 + "}", "The request must be JSON."),
        ("[]", "The request must be a JSON object."),
        ("null", "The request must be a JSON object."),
        ("{}", "“key” is missing."),
        ('{"key": "a", "size": 1e999}', "“size” must be a whole number of bytes, 0 or more."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_request_is_refused_in_a_sentence(admin_client, body, message):
    response = admin_client.post(f"{UPLOAD}begin/", body, content_type="application/json")
    assert (response.status_code, response.json()["message"]) == (400, message)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "“key” is missing."),
        ({"key": "a"}, "“key” must be JSON."),
        ({"key": DEEP}, "“key” must be JSON."),
        ({"key": "1"}, "“key” must be a text."),
        ({"key": '"a"'}, "“content” is missing."),
        ({"key": '"a"', "content": "text"}, "“content” is missing."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_small_file_is_refused_in_a_sentence(admin_client, fields, message):
    response = admin_client.post(f"{UPLOAD}whole/", fields)
    assert (response.status_code, response.json()["message"]) == (400, message)


def test_a_small_file_of_a_type_that_no_header_holds_is_refused(admin_client, storage):
    content = SimpleUploadedFile("x", b"text", "text/ü")
    response = admin_client.post(f"{UPLOAD}whole/", {"key": '"a"', "content": content})
    message = "“type” must be printable ASCII: no header can hold it."
    assert (response.status_code, response.json()["message"]) == (400, message)
    assert not storage.exists("a")


@pytest.mark.usefixtures("unfinished_uploads")
@pytest.mark.parametrize(
    ("step", "asked", "message"),
    [
        ("sign", {"number": 0}, "“number” must be a whole number from 1 to 10,000."),
        ("sign", {"number": 10_001}, "“number” must be a whole number from 1 to 10,000."),
        ("sign", {"number": True}, "“number” must be a whole number from 1 to 10,000."),
        ("sign", {"digest": "x"}, "“digest” must be a SHA-256 in Base64."),
        ("sign", {"digest": DIGEST[:-2] + "B="}, "“digest” must be a SHA-256 in Base64."),
        ("sign", {"digest": DIGEST + "\r\nx: y"}, "“digest” must be a SHA-256 in Base64."),
        ("sign", {"digest": 1}, "“digest” must be a text."),
        ("sign", {"ticket": 1}, "“ticket” must be a text."),
        ("sign", {"ticket": "\ud800:x:y"}, "This upload is too old: begin again."),
        ("finish", {"digests": "x"}, "“digests” must be a list."),
        ("finish", {"digests": [DIGEST, "x"]}, "“digests” must be a SHA-256 in Base64."),
        ("finish", {"digests": [DIGEST] * 10_001}, "“digests” has more than 10,000 parts."),
    ],
)
def test_what_is_no_part_is_refused_in_a_sentence(admin_client, storage, step, asked, message):
    ticket = begin(admin_client).json()["ticket"]
    whole = {"ticket": ticket, "number": 1, "digest": DIGEST, "digests": [DIGEST]}
    response = ask(admin_client, step, **whole | asked)
    assert (response.status_code, response.json()["message"]) == (400, message)


@given(st.dictionaries(st.sampled_from(["key", "size", "type", "direct", "replace"]), JSON))
@hypothesis.settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_request_is_an_error_of_the_server(admin_client, storage, asked):
    response = ask(admin_client, "begin", **asked)
    assert response.status_code in {200, 400, 409}
    assert response.json()


@pytest.mark.usefixtures("unfinished_uploads")
@given(
    st.sampled_from(["sign", "finish"]),
    st.dictionaries(st.sampled_from(["number", "digest", "digests"]), JSON),
)
@hypothesis.settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_part_is_an_error_of_the_server(admin_client, ticket, step, asked):
    response = ask(admin_client, step, ticket=ticket, **asked)
    is_expected = response.status_code in {200, 400, 410}
    assert is_expected or response.json()["message"].startswith("S3 has 0")


def test_a_request_that_breaks_off_is_refused_in_a_sentence(rf, admin_user):
    request = rf.post("/", b"{", content_type="application/json", CONTENT_LENGTH=10)
    request._stream = BrokenStream()
    request.user = admin_user
    response = json_views(lambda request, stored: {})["begin"](request)
    message = json.loads(response.content)["message"]
    assert (response.status_code, message) == (400, "The request broke off.")


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
    refused = {"message": message, "taken": False, "replaceable": False}
    assert (response.status_code, response.json()) == (503, refused)
    assert response.headers["Retry-After"] == "5"
    (line,) = [
        record.getMessage() for record in caplog.records if record.name.startswith("files.uploads")
    ]
    assert line.startswith(
        "Upload of 'a\\n.bin': [Errno 113] S3 is out of reach at http://127.0.0.1:9"
    )


# The trash


@pytest.fixture
def replacer(client, django_user_model):
    """Log in as somebody who may add and replace files, and no more."""
    user = django_user_model.objects.create_user("staff", is_staff=True)
    codenames = ["add_file", "replace_file"]
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return client


def small(key, data=b"new"):
    content = SimpleUploadedFile("x", data)
    return {"key": json.dumps(key), "content": content, "replace": "on"}


def test_replacing_takes_nothing_out_of_the_trash_without_permission(replacer, make_file):
    file = make_file("big.bin", b"old")
    file.trash()
    refused = {"message": str(steps.IN_TRASH), "taken": True, "replaceable": False}
    for response in (
        begin(replacer, replace=True),
        replacer.post(f"{UPLOAD}whole/", small("big.bin")),
    ):
        assert (response.status_code, response.json()) == (409, refused)
    file.refresh_from_db()
    assert (file.deleted_at is None, file.read_text()) == (False, "old")


@pytest.mark.usefixtures("unfinished_uploads")
def test_a_file_trashed_meanwhile_is_not_replaced_without_permission(replacer, make_file):
    file = make_file("big.bin", b"old")
    plan = begin(replacer, replace=True).json()
    digests = send(replacer, plan)
    file.trash()
    response = ask(replacer, "finish", ticket=plan["ticket"], digests=digests)
    assert (response.status_code, response.json()["message"]) == (409, str(steps.IN_TRASH))
    assert File.objects.trashed().get().read_text() == "old"


@pytest.mark.needs("checksums")
@pytest.mark.parametrize("replace", [False, True])
def test_finishing_again_takes_nothing_out_of_the_trash(admin_client, make_file, replace):
    if replace:
        make_file("big.bin", b"old")
    plan = begin(admin_client, replace=replace).json()
    finish = {"ticket": plan["ticket"], "digests": send(admin_client, plan)}
    first = ask(admin_client, "finish", **finish)
    File.objects.live().get().trash()
    again = ask(admin_client, "finish", **finish)
    assert (again.status_code, again.json()) == (200, first.json())
    assert not File.objects.live().exists()
    assert len(history()) == 1
