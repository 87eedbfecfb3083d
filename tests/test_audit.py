"""Who did what: the lines of the logger `files.audit`."""

import getpass
import json
import zipfile
from contextlib import suppress

import pytest
import urllib3
from django.contrib.auth.models import Group, Permission, User
from django.core.files.base import ContentFile
from django.db import transaction

from files.audit import lines
from files.models import File
from files.operations import ConflictError
from files.storage import S3UnavailableError
from project import logs
from tests import servers
from tests.processes import manage
from tests.responses import closing
from tests.waiting import until

SYSTEM = {"id": None, "name": f"{getpass.getuser()}, manage.py"}


@pytest.fixture
def audit(caplog):
    """Return the lines since the last call, without the request's id."""
    caplog.set_level("INFO", "files.audit")

    def audit():
        found = [record.facts for record in caplog.records if record.name == "files.audit"]
        caplog.clear()
        return [
            {name: value for name, value in facts.items() if name != "request_id"}
            for facts in found
        ]

    return audit


@pytest.fixture
def who(viewer, audit):
    """Return what each line of a request by `viewer` has."""
    audit()
    user = User.objects.get(username="viewer")
    return {"user": {"id": user.pk, "name": "viewer"}, "client": "127.0.0.1"}


def download(client, file, read=True, **headers):
    with closing(client.get(f"/files/{file.pk}/", headers=headers)) as response:
        if read and response.streaming:
            list(response.streaming_content)


# Downloads


@pytest.mark.parametrize(
    ("headers", "read", "status", "sent", "outcome"),
    [
        ({}, True, 200, 4, "complete"),
        ({"Range": "bytes=1-2"}, True, 206, 2, "complete"),
        ({}, False, 200, 0, "cut off"),
        ({"Range": "bytes=1-2"}, False, 206, 0, "cut off"),
        ({"If-None-Match": "*"}, True, 304, 0, "not modified"),
        ({"If-Match": '"another"'}, True, 412, 0, "not matched"),
        ({"Range": "bytes=9-"}, True, 416, 0, "not matched"),
    ],
)
def test_a_download_is_told_with_its_bytes(
    make_file, viewer, audit, who, headers, read, status, sent, outcome
):
    file = make_file("a.txt", b"text")
    audit()
    download(viewer, file, read, **headers)
    of_file = {"file": file.pk, "key": "a.txt", "bytes": sent, "status": status}
    assert audit() == [{"action": "download", "outcome": outcome} | who | of_file]


@pytest.mark.parametrize("way", ["redirect", "accel"])
def test_bytes_that_others_carry_are_not_counted(make_file, viewer, audit, who, settings, way):
    settings.DELIVERY = way
    file = make_file()
    audit()
    download(viewer, file)
    (line,) = audit()
    assert (line["action"], line["outcome"], line["bytes"]) == ("download", "handed on", None)


def test_a_missing_object_is_told(make_file, viewer, audit, who, storage):
    file = make_file()
    storage.delete("a.txt")
    audit()
    download(viewer, file)
    assert [(line["outcome"], line["status"]) for line in audit()] == [("missing", 404)]


@pytest.mark.needs("archived objects")
def test_an_archived_object_is_told(make_file, viewer, audit, who):
    file = make_file(StorageClass="GLACIER")
    audit()
    download(viewer, file)
    assert [(line["outcome"], line["status"]) for line in audit()] == [("archived", 409)]


def test_head_is_no_download(make_file, viewer, audit, who):
    file = make_file()
    audit()
    viewer.head(f"/files/{file.pk}/")
    assert audit() == []


def test_a_download_without_the_permission_is_told(make_file, client, audit):
    user = User.objects.create_user("nobody")
    client.force_login(user)
    file = make_file()
    audit()
    assert client.get(f"/files/{file.pk}/").status_code == 403
    assert audit() == [
        {"action": "download", "outcome": "refused", "file": file.pk}
        | {"user": {"id": user.pk, "name": "nobody"}, "client": "127.0.0.1"}
    ]


def test_each_file_of_a_zip_is_told(make_file, admin_client, audit, storage, tmp_path):
    files = [make_file("a", b"text"), make_file("b", b"gone"), make_file("c", b"more text")]
    storage.delete("b")
    audit()
    data = {"action": "download", "_selected_action": [file.pk for file in files]}
    with closing(admin_client.post("/admin/files/file/", data)) as response:
        (tmp_path / "zip").write_bytes(b"".join(response.streaming_content))
    assert zipfile.ZipFile(tmp_path / "zip").read("c") == b"more text"
    told = [[line[name] for name in ("action", "outcome", "key", "bytes")] for line in audit()]
    assert told == [
        ["zip", "complete", "a", 4],
        ["zip", "failed", "b", 0],
        ["zip", "complete", "c", 9],
    ]


def test_a_preview_is_told(make_file, admin_client, audit):
    file = make_file("a.txt", b"text", ContentType="text/plain")
    audit()
    admin_client.get(f"/admin/files/file/{file.pk}/change/")
    (line,) = audit()
    assert (line["action"], line["key"], line["bytes"]) == ("preview", "a.txt", 4)


# Changes


@pytest.mark.django_db(transaction=True)
def test_changes_are_told_by_file_and_key(audit, monkeypatch):
    monkeypatch.setattr("sys.argv", ["manage.py"])
    file = File.objects.create(object_key=ContentFile(b"text", name="a"))
    file.rename("b")
    file.replace(ContentFile(b"other"))
    file.trash()
    file.restore()
    pk = file.pk
    file.delete()
    of_file = {"outcome": "done", "user": SYSTEM, "file": pk}
    assert audit() == [
        {"action": "upload", "key": "a"} | of_file,
        {"action": "rename", "key": "a", "new_key": "b"} | of_file,
        *({"action": name, "key": "b"} | of_file for name in ("replace", "trash", "restore")),
        {"action": "delete", "key": "b"} | of_file,
    ]


@pytest.mark.django_db(transaction=True)
def test_a_change_that_fails_is_told_with_its_reason(make_file, audit):
    file = make_file("a")
    File.objects.get().rename("b")
    audit()
    with pytest.raises(ConflictError):
        file.trash()
    (line,) = audit()
    assert (line["action"], line["outcome"], line["key"]) == ("trash", "failed", "a")
    assert line["error"].startswith("ConflictError: [Errno 116] Another operation")


@pytest.mark.django_db(transaction=True)
def test_a_change_in_a_transaction_is_told_after_the_commit(make_file, audit):
    first, second = make_file("a"), make_file("b")
    audit()
    with transaction.atomic():
        first.trash()
        second.delete()
        assert audit() == []
    assert [line["action"] for line in audit()] == ["trash", "delete"]


@pytest.mark.django_db(transaction=True)
def test_a_change_that_is_rolled_back_is_not_told(make_file, audit):
    file = make_file("a")
    audit()
    with transaction.atomic():
        file.trash()
        transaction.set_rollback(True)
    assert audit() == []


@pytest.mark.django_db(transaction=True)
def test_a_deletion_that_s3_refuses_is_told_as_failed(make_file, audit, monkeypatch):
    def refuse(*arguments):
        raise S3UnavailableError("S3 is out")

    file = make_file("a")
    audit()
    monkeypatch.setattr("files.storage.ObjectStorage._delete", refuse)
    with transaction.atomic():
        file.delete()
    assert [(line["action"], line["outcome"]) for line in audit()] == [("delete", "failed")]


# Users


def test_logins_and_logouts_are_told(client, audit, db):
    user = User.objects.create_user("somebody", password="s3cret", is_staff=True)
    page = "/login/"
    client.post(page, {"username": "s3cret", "password": "typed in the wrong field"})
    client.post(page, {"username": "somebody", "password": "wrong"})
    client.post(page, {"username": "somebody", "password": "s3cret"})
    client.post("/admin/logout/")
    named, client_address = {"id": user.pk, "name": "somebody"}, {"client": "127.0.0.1"}
    unknown = {"id": None, "name": None}
    assert audit() == [
        {"action": "login", "outcome": "failed", "user": unknown} | client_address,
        {"action": "login", "outcome": "failed", "user": named} | client_address,
        {"action": "login", "outcome": "done", "user": named} | client_address,
        {"action": "logout", "outcome": "done", "user": named} | client_address,
    ]


@pytest.mark.django_db(transaction=True)
def test_permissions_that_are_given_and_taken_are_told(audit):
    user, group = User.objects.create_user("somebody"), Group.objects.create(name="readers")
    view = Permission.objects.get(codename="view_file")
    user.user_permissions.add(view)
    group.permissions.add(view)
    user.groups.add(group)
    group.permissions.remove(view)
    user.groups.clear()
    told = [(line["of"]["kind"], line["of"]["name"], line["changed"]) for line in audit()]
    assert told == [
        ("user", "somebody", {"added": [str(view)], "relation": "user_user_permissions"}),
        ("group", "readers", {"added": [str(view)], "relation": "group_permissions"}),
        ("user", "somebody", {"added": ["readers"], "relation": "user_groups"}),
        ("group", "readers", {"removed": [str(view)], "relation": "group_permissions"}),
        ("user", "somebody", {"removed": "all", "relation": "user_groups"}),
    ]


@pytest.mark.django_db(transaction=True)
def test_a_new_superuser_and_one_that_is_none_any_more_are_told(audit):
    user = User.objects.create_superuser("root")
    user.is_superuser = False
    user.save()
    user.save()
    assert [line["changed"] for line in audit()] == [
        {"is_staff": True, "is_superuser": True},
        {"is_superuser": False},
    ]


# Where it is written


def written(url, request_id):
    """Return the lines of a request to a server that other tests ask too."""
    return [line for line in servers.lines(url, "stdout") if line.get("request_id") == request_id]


def test_the_audit_of_a_server_is_json_on_stdout(serve, make_file, viewer):
    url = serve(APP_DEBUG="false")
    file = make_file("a\nb", b"text")
    cookie = {
        "Cookie": f"__Host-sessionid={viewer.cookies['sessionid'].value}",
        "X-Request-ID": "x1",
    }
    urllib3.request("GET", f"{url}/files/{file.pk}/", headers=cookie)
    (line,) = until(lambda: written(url, "x1"))
    del line["time"]
    assert line["user"].pop("id")
    assert line == {
        "level": "INFO",
        "logger": "files.audit",
        "message": "download: complete",
        "action": "download",
        "outcome": "complete",
        "user": {"name": "viewer"},
        "client": "127.0.0.1",
        "request_id": "x1",
        "file": file.pk,
        "key": "a\nb",
        "bytes": 4,
        "status": 200,
    }


def test_the_audit_of_a_token_that_fails_before_a_large_body_names_the_client(serve):
    url = serve(APP_DEBUG="false")
    headers = {"Authorization": "Bearer files_none", "X-Request-ID": "x2"}
    answer = urllib3.request("POST", f"{url}/api/tokens/", headers=headers, body=bytes(100_000))
    assert answer.status == 401
    (line,) = written(url, "x2")
    assert (line["action"], line["outcome"], line["client"]) == ("login", "failed", "127.0.0.1")


def test_the_audit_of_a_command_is_in_the_file_and_names_the_command(
    transactional_db, make_file, settings, tmp_path
):
    file = make_file("a", b"text")
    path = tmp_path / "audit.log"
    path.write_text('{"kept": true}\n')
    environ = {"APP_AUDIT_FILE": str(path), "APP_DB_NAME": settings.DATABASES["default"]["NAME"]}
    done = manage("read_file", str(file.pk), environ=environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"text", b"")
    kept, line = map(json.loads, path.read_text().splitlines())
    assert kept == {"kept": True}
    assert (line["action"], line["file"], line["bytes"]) == ("download", file.pk, 4)
    assert line["user"] == {"id": None, "name": f"{SYSTEM['name']} read_file"}


@pytest.mark.parametrize("place", ["/dev/full", "/nowhere/audit.log"])
def test_a_line_that_cannot_be_written_fails_nothing_and_is_in_the_log(
    make_file, viewer, caplog, place
):
    handler = logs.AuditFile(place, encoding="utf-8", delay=True)
    handler.setFormatter(logs.JSONFormatter())
    lines.logger.addHandler(handler)
    file = make_file("a.txt", b"text")
    caplog.clear()
    with closing(viewer.get(f"/files/{file.pk}/")) as response:
        assert response.getvalue() == b"text"
    lines.logger.removeHandler(handler)
    found = [record for record in caplog.records if record.name == "project.logs"]
    assert [(record.levelname, record.facts["key"]) for record in found] == [("ERROR", "a.txt")]
    with suppress(OSError):
        handler.close()
