"""What programs change by the API, and who may: keys, contents, the trash, and what is gone."""

import json
from urllib.parse import urlencode

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.files.base import ContentFile
from django.db import connection
from django.test import Client

from files import background
from files.api.serializers import etag_of
from files.circuit import Bulkhead
from files.models import File, Token, Work
from files.tokens import expiry
from tests.operations import kept, objects, rows, state
from tests.test_admin import PERMISSIONS
from tests.waiting import until

pytestmark = pytest.mark.django_db

CSRF = "t" * 32
PATIENCE = 30  # seconds: only what never comes takes as long
ODD = [
    *("/root/a.txt", "a//b", "./c", "a/../b", "%2F", "a/b/", "a\\b", " a ", "a\n\t\x1f\x7f"),
    *("ü😀+&=#?", "a%00", "é" * 512),
]


class Asker:
    """Somebody who asks: a program with a token, or a person with a session."""

    def __init__(self, *codenames, way="token", prefix="", scope=Token.Scope.WRITE):
        name = f"user{User.objects.count()}"
        self.user = User.objects.create(username=name, is_superuser=not codenames)
        self.user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        if way == "token":
            values = {"scope": scope, "prefix": prefix, "expires_at": expiry(1)}
            _, text = Token.objects.issue(self.user, **values)
            self.client = Client(headers={"Authorization": f"Bearer {text}"})
        else:
            self.client = Client(enforce_csrf_checks=True, headers={"X-CSRFToken": CSRF})
            self.client.force_login(self.user)
            self.client.cookies["csrftoken"] = CSRF

    def ask(self, method, path, data=b"", **headers):
        """Ask for what is below `/api/files/`, and send JSON or bytes."""
        kind, body = "text/plain", data
        if not isinstance(data, bytes):
            kind, body = "application/json", json.dumps(data)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.generic(method, f"/api/files/{path}", body, kind, headers=headers)

    def create(self, key, data=b"text"):
        return self.ask("POST", f"?{urlencode({'key': key})}", data)


CHANGES = {
    "rename": lambda asker, file, **headers: asker.ask(
        "PATCH", f"{file.pk}/", {"key": "b"}, **headers
    ),
    "replace": lambda asker, file, **headers: asker.ask(
        "PUT", f"{file.pk}/content/", b"new", **headers
    ),
    "trash": lambda asker, file, **headers: asker.ask("POST", f"{file.pk}/trash/", **headers),
    "restore": lambda asker, file, **headers: asker.ask("POST", f"{file.pk}/restore/", **headers),
    "delete": lambda asker, file, **headers: asker.ask("DELETE", f"{file.pk}/", **headers),
}


@pytest.fixture(params=["token", "session"])
def asker(request, storage):
    """Somebody who may do all."""
    return Asker(way=request.param)


@pytest.fixture
def audit(transactional_db, caplog):
    """Return what has been done and committed, to which key."""
    caplog.set_level("INFO", "files.audit")
    return lambda: [
        (record.facts["action"], record.facts["outcome"], record.facts["key"])
        for record in caplog.records
        if record.name == "files.audit" and "key" in record.facts
    ]


def history():
    found = LogEntry.objects.order_by("pk")
    return [(entry.user.username, entry.get_change_message()) for entry in found]


def kind_of(response):
    """Return status and kind of a refusal."""
    return response.status_code, response.json()["type"].removeprefix("urn:problem-type:files:")


def assert_tells(response, file):
    """Check that the answer tells of the file as it is now."""
    file.refresh_from_db()
    assert response.status_code == 200, response.content
    told = response.json()
    assert (told["id"], told["key"], told["etag"]) == (file.pk, str(file), file.etag)
    assert response.headers["ETag"] == told["version"] == etag_of(file)


def test_a_file_is_renamed(asker, make_file, storage, audit):
    file = make_file("a//b.txt")
    assert_tells(asker.ask("PATCH", f"{file.pk}/", {"key": "./c"}), file)
    assert (str(file), objects(storage)) == ("./c", {"./c": b"text"})
    assert history() == [(asker.user.username, "Renamed from a//b.txt.")]
    assert audit()[-1] == ("rename", "done", "a//b.txt")
    assert_tells(asker.ask("PATCH", f"{file.pk}/", {"key": "./c"}), file)
    assert len(history()) == 1


@pytest.mark.needs("conditional puts")
def test_a_content_is_replaced(asker, make_file, storage, audit):
    file = make_file("a.txt", b"old")
    assert_tells(asker.ask("PUT", f"{file.pk}/content/", b"new"), file)
    assert (file.read_text(), file.content_type) == ("new", "text/plain")
    assert kept().read_text() == "old"
    assert history() == [
        (asker.user.username, "Replaced the content; the former one is in the trash."),
        (asker.user.username, "Another content was put under its key."),
    ]
    assert audit()[-1] == ("replace", "done", "a.txt")


def test_a_file_goes_to_the_trash_and_comes_back(asker, make_file, audit):
    file = make_file("a.txt")
    for _ in range(2):  # the second time, nothing happens
        assert_tells(asker.ask("POST", f"{file.pk}/trash/"), file)
        assert file.deleted_at is not None
    for _ in range(2):
        assert_tells(asker.ask("POST", f"{file.pk}/restore/"), file)
        assert file.deleted_at is None
    found = ["Moved to the trash.", "Restored from the trash."]
    assert history() == [(asker.user.username, text) for text in found]
    assert audit()[-2:] == [("trash", "done", "a.txt"), ("restore", "done", "a.txt")]


@pytest.mark.needs("conditional puts")
def test_a_content_that_was_replaced_comes_back(asker, make_file, storage):
    make_file("a.txt", b"old").replace(ContentFile(b"new"))
    file = kept()
    assert_tells(asker.ask("POST", f"{file.pk}/restore/"), file)
    assert file.deleted_at is None
    assert sorted(objects(storage).values()) == [b"new", b"old"]
    assert file.read_text() == "old"


def test_a_file_is_deleted_for_good_from_the_trash_alone(asker, make_file, storage, audit):
    file = make_file("a.txt")
    assert kind_of(asker.ask("DELETE", f"{file.pk}/")) == (409, "not-in-trash")
    file.trash()
    response = asker.ask("DELETE", f"{file.pk}/")
    assert (response.status_code, response.content) == (204, b"")
    assert (rows(), objects(storage)) == ([], {})
    entry = LogEntry.objects.get()
    assert (entry.is_deletion(), entry.object_id) == (True, str(file.pk))
    assert audit()[-1] == ("delete", "done", "a.txt")
    assert kind_of(asker.ask("DELETE", f"{file.pk}/")) == (404, "not-found")


def test_a_file_that_is_needed_is_not_deleted(asker, make_file, referring):
    file = make_file("a.txt")
    file.trash()
    referring("a.txt")
    assert kind_of(asker.ask("DELETE", f"{file.pk}/")) == (409, "needed")


@pytest.mark.parametrize("change", ["rename", "replace"])
def test_a_file_in_the_trash_is_restored_first(asker, make_file, change):
    file = make_file("a.txt")
    file.trash()
    before = state()
    assert kind_of(CHANGES[change](asker, file)) == (409, "in-trash")
    assert state() == before


@pytest.mark.parametrize(
    ("key", "kind"),
    [("taken", "taken"), ("trashed", "in-trash"), ("object", "object-without-file")],
)
def test_a_key_that_is_taken_is_not_given_again(asker, make_file, put, storage, key, kind):
    make_file("taken", b"old")
    make_file("trashed", b"old").trash()
    put("object", b"old")
    file = make_file("a.txt")
    assert kind_of(asker.ask("PATCH", f"{file.pk}/", {"key": key})) == (409, kind)
    assert storage.open(key).read() == b"old"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"key": ""}, 400),
        ({"key": "x" * 1025}, 400),
        ({"key": ".files/a"}, 400),
        ({"key": "a\0b"}, 400),
        ({"key": "\ud800"}, 400),
        ({"key": 1}, 400),
        ({"key": None}, 400),
        ({}, 400),
        ([], 400),
        ("x", 400),
        (b"{}", 415),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_key_is_refused(asker, make_file, body, status):
    file = make_file("a.txt")
    before = state()
    response = asker.ask("PATCH", f"{file.pk}/", body)
    assert (response.status_code, bool(response.json()["detail"])) == (status, True)
    assert state() == before


@pytest.mark.parametrize("key", ODD, ids=ascii)
def test_keys_are_exact(asker, storage, key):
    response = asker.create(key)
    assert (response.status_code, response.json().get("key")) == (201, key), response.content
    file = File.objects.get()
    assert (str(file), objects(storage)) == (key, {key: b"text"})
    assert asker.client.get(response.json()["content"]).getvalue() == b"text"
    assert_tells(asker.ask("PATCH", f"{file.pk}/", {"key": "b"}), file)
    assert_tells(asker.ask("PATCH", f"{file.pk}/", {"key": key}), file)
    assert (str(file), objects(storage)) == (key, {key: b"text"})


# If-Match


def ready(make_file, change):
    """Return a file to which this can be done."""
    file = make_file("a.txt", b"old")
    if change in {"restore", "delete"}:
        file.trash()
    return file


@pytest.mark.needs("conditional puts")
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_is_as_it_was_seen_is_changed(asker, make_file, change):
    file = ready(make_file, change)
    version = asker.ask("GET", f"{file.pk}/").headers["ETag"]
    assert CHANGES[change](asker, file, If_Match=f'"x", {version}').status_code in {200, 204}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_has_changed_since_it_was_seen_is_left_alone(asker, make_file, change):
    file = ready(make_file, change)
    version = etag_of(file)
    File.objects.update(etag='"other"')
    before = state()
    assert kind_of(CHANGES[change](asker, file, If_Match=version)) == (412, "changed")
    assert state() == before


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("if_match", [True, False])
def test_a_file_that_changes_just_then_is_left_alone(asker, make_file, change, if_match):
    file = ready(make_file, change)
    headers = {"If_Match": etag_of(file)} if if_match else {}

    def meanwhile(execute, sql, *arguments):
        if "pg_try_advisory_lock" in sql:
            with connection.cursor() as cursor:
                cursor.execute("UPDATE files SET etag = 'other'")
        return execute(sql, *arguments)

    with connection.execute_wrapper(meanwhile):
        response = CHANGES[change](asker, file, **headers)
    assert kind_of(response) == ((412, "changed") if if_match else (409, "conflict"))
    assert (rows(), history()) == ([("a.txt", "a.txt", file.deleted_at is None)], [])


# Who may


@pytest.mark.needs("conditional puts")
@pytest.mark.parametrize("way", ["token", "session"])
@pytest.mark.parametrize("change", CHANGES)
def test_each_change_asks_for_its_permission(make_file, change, way):
    file = ready(make_file, change)
    before = state()
    others = {*PERMISSIONS.values(), "view_file", "add_file"} - {PERMISSIONS[change]}
    assert kind_of(CHANGES[change](Asker(*others, way=way), file)) == (403, "not-allowed")
    assert state() == before
    own = Asker("view_file", PERMISSIONS[change], way=way)
    assert CHANGES[change](own, file).status_code in {200, 204}


@pytest.mark.parametrize("change", CHANGES)
def test_who_may_not_see_a_file_changes_nothing(make_file, change):
    file = ready(make_file, change)
    before = state()
    assert kind_of(CHANGES[change](Asker(PERMISSIONS[change]), file)) == (404, "not-found")
    assert kind_of(CHANGES[change](Asker(prefix="b/"), file)) == (404, "not-found")
    assert state() == before


@pytest.mark.parametrize("change", CHANGES)
def test_a_token_that_reads_changes_nothing(make_file, change):
    file = ready(make_file, change)
    before = state()
    reader = Asker(scope=Token.Scope.READ)
    assert kind_of(CHANGES[change](reader, file)) == (403, "not-allowed")
    assert kind_of(reader.create("new")) == (403, "not-allowed")
    assert state() == before


@pytest.mark.parametrize("change", CHANGES)
def test_a_session_needs_a_csrf_token(make_file, change):
    file = ready(make_file, change)
    before, asker = state(), Asker(way="session")
    response = CHANGES[change](asker, file, X_CSRFToken="")
    assert kind_of(response) == (403, "not-allowed")
    assert asker.ask("POST", "?key=new", X_CSRFToken="").status_code == 403
    assert state() == before


@pytest.mark.parametrize(
    ("asker", "headers", "text"),
    [
        ({"way": "session"}, {"X_CSRFToken": ""}, "Send what the CSRF cookie has in the header X-"),
        ({"codenames": ["view_file"], "way": "session"}, {}, "You may not do this: ask an admini"),
        ({"codenames": ["view_file"]}, {}, "Your token may not do this, by its scope or by the "),
        ({"scope": Token.Scope.READ}, {}, "Your token may not do this, by its scope or by the pe"),
        ({"prefix": "b/"}, {}, "Your token is for the keys of one folder alone, not for this."),
    ],
)
def test_why_somebody_may_not_is_said(db, asker, headers, text):
    response = Asker(*asker.pop("codenames", ()), **asker).ask("POST", "?key=a", **headers)
    assert kind_of(response) == (403, "not-allowed")
    assert response.json()["detail"].startswith(text)


def test_a_file_leaves_the_folder_of_a_token_neither_way(make_file, storage):
    inside, outside, asker = make_file("a/x"), make_file("b/x"), Asker(prefix="a/")
    assert_tells(asker.ask("PATCH", f"{inside.pk}/", {"key": "a/y"}), inside)
    before = state()
    for key in ("b/x", "b/y", "a", "ab/"):  # whether it is taken or not
        response = asker.ask("PATCH", f"{inside.pk}/", {"key": key})
        assert kind_of(response) == (403, "not-allowed")
    response = asker.ask("PATCH", f"{outside.pk}/", {"key": "a/z"})
    assert kind_of(response) == (404, "not-found")
    assert state() == before


def test_a_token_uploads_into_its_folder_alone(make_file, put, storage):
    make_file("b/taken")
    put("b/object", b"text")
    asker = Asker(prefix="a/")
    assert asker.create("a/new").status_code == 201
    for key in ("b/taken", "b/object", "b/new", "a"):
        assert kind_of(asker.create(key)) == (403, "not-allowed")
        asked = json.dumps({"key": key, "size": 2**30})
        response = asker.client.post("/api/uploads/", asked, "application/json")
        assert kind_of(response) == (403, "not-allowed")
    assert sorted(objects(storage)) == ["a/new", "b/object", "b/taken"]


def test_a_ticket_is_for_the_folder_of_each_token_that_brings_it(storage):
    asker = Asker()
    _, text = Token.objects.issue(
        asker.user, scope=Token.Scope.WRITE, prefix="b/", expires_at=expiry(1)
    )
    other = Client(headers={"Authorization": f"Bearer {text}"})

    def ask(client, step, **asked):
        return client.post(f"/api/uploads/{step}", json.dumps(asked), "application/json")

    ticket = ask(asker.client, "", key="a/b", size=2**30).json()["ticket"]
    assert ask(other, "parts/", ticket=ticket, number=1, sha256=f"{'A' * 43}=").status_code == 403
    assert ask(other, "finish/", ticket=ticket, sha256=[]).status_code == 403
    assert ask(other, "abort/", ticket=ticket).status_code == 403
    assert ask(asker.client, "abort/", ticket=ticket).status_code == 204


# Long work


@pytest.fixture
def long_work(transactional_db, monkeypatch):
    """Let no request wait for what may take long."""
    monkeypatch.setattr(Bulkhead, "threads", 8)
    monkeypatch.setattr(background, "PATIENCE", 0)
    yield
    background.let_end(PATIENCE)


@pytest.mark.needs("conditional puts")
@pytest.mark.parametrize("change", ["rename", "replace", "restore"])
def test_what_takes_long_goes_on(long_work, make_file, storage, change):
    file, asker = ready(make_file, change), Asker()
    response = CHANGES[change](asker, file)
    work = Work.objects.get()
    url = f"http://testserver/api/works/{work.pk}/"
    assert (response.status_code, response.json()) == (202, {"work": url})
    assert response.headers["Location"] == url
    until(lambda: asker.client.get(url).json()["state"] == "ended", PATIENCE)
    name, text = history()[0]
    file.refresh_from_db()
    told = [{"level": "success", "text": f"“{file}”: {text}"}]
    assert (asker.client.get(url).json()["messages"], name) == (told, asker.user.username)
    data = b"new" if change == "replace" else b"old"
    assert objects(storage)[str(file)] == data


def test_what_fails_in_long_work_is_told_and_logged(long_work, make_file, storage, caplog):
    file, asker = make_file("a.txt"), Asker()
    storage.delete("a.txt")
    url = CHANGES["rename"](asker, file).json()["work"]
    until(lambda: asker.client.get(url).json()["state"] == "ended", PATIENCE)
    ((message,), failed) = (asker.client.get(url).json()[name] for name in ("messages", "failed"))
    assert (message["level"], failed, rows()) == ("error", 1, [("a.txt", "a.txt", True)])
    assert any(line.startswith("Rename or move: a.txt: ") for line in caplog.messages)
