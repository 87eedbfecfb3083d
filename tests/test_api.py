"""What programs read by the API: files, lists, how much there is, zips, work and runs."""

import io
import json
import zipfile
from datetime import UTC, datetime
from urllib.parse import urlencode, urlsplit

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.base import ContentFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from files import listing
from files.api import zips
from files.models import File, Range, Run, Token, Work
from files.tokens import expiry

pytestmark = pytest.mark.django_db

JANUARY, JUNE = datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 6, 15, tzinfo=UTC)

ODD = ["/root/a.txt", "a//b", "./c", "a/../b", "a/\n\t\x1f", "a/b/", "a\\b", " a ", "ü%2F+&=#?"]


class Program:
    """A client that comes with a token."""

    def __init__(self, *codenames, scope=Token.Scope.READ, prefix=""):
        self.user = User.objects.create(
            username=f"user{User.objects.count()}", is_superuser="all" in codenames
        )
        self.user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        values = {"scope": scope, "prefix": prefix, "expires_at": expiry(1)}
        self.token, text = Token.objects.issue(self.user, **values)
        self._client = Client(headers={"Authorization": f"Bearer {text}"})

    def get(self, url, headers=None, **query):
        address = f"{url}?{urlencode(query)}" if query else url
        return self._client.get(address, headers=headers)

    def post(self, url, data, content_type="application/json"):
        return self._client.post(url, data, content_type)

    def files(self, **query):
        """Return a page, with the keys of its files and the beginnings of its folders alone."""
        response = self.get("/api/files/", **query)
        assert response.status_code == 200, response.content
        page = response.json()
        page["folders"] = [folder["prefix"] for folder in page["folders"]]
        page["files"] = [file["key"] for file in page["files"]]
        return page

    def keys(self, **query):
        return self.files(**query)["files"]

    def follow(self, page, to="next"):
        parts = urlsplit(page[to])
        response = self.get(f"{parts.path}?{parts.query}").json()
        return {**response, "files": [file["key"] for file in response["files"]]}


@pytest.fixture
def program():
    return Program("view_file")


def rows(*keys, **values):
    """Make rows without objects."""
    return File.objects.bulk_create(
        [File(object_key=key, **{"original_key": "", **values}) for key in keys]
    )


def problem(status, kind, detail, **members):
    return {
        "type": f"urn:problem-type:files:{kind}",
        "title": kind.replace("-", " ").capitalize(),
        "status": status,
        "detail": detail,
        **members,
    }


# One file


def test_all_that_is_known_of_a_file_is_told(program):
    values = {"size": 3, "content_type": "text/plain", "etag": '"e"', "checksum": "sha256:ab"}
    (file,) = rows("a/ü.txt", **values, created_at=JANUARY, modified_at=JUNE)
    response = program.get(f"/api/files/{file.pk}/")
    version = response.headers["ETag"]
    empty = ("verified_at", "missing_at", "changed_at", "damaged_at", "deleted_at")
    assert response.json() == {
        "id": file.pk,
        "key": "a/ü.txt",
        "size": 3,
        "type": "text/plain",
        "etag": '"e"',
        "checksum": "sha256:ab",
        "storage_class": "",
        "deleted_by": "",
        "original_key": "",
        "created_at": "2026-01-15T00:00:00Z",
        "modified_at": "2026-06-15T00:00:00Z",
        **dict.fromkeys(empty),
        "version": version,
        "content": f"http://testserver/files/{file.pk}/",
    }
    assert response.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("tag", "status"),
    [("{}", 200), ("*", 200), ('"other", {}', 200), ('"other"', 412), ("W/", 412)],
)
def test_a_file_is_told_where_it_is_as_the_client_has_seen_it(program, tag, status):
    (file,) = rows("a")
    version = program.get(f"/api/files/{file.pk}/").headers["ETag"]
    headers = {"If-Match": tag.format(version)}
    assert program.get(f"/api/files/{file.pk}/", headers=headers).status_code == status


def test_the_version_changes_with_the_key_and_the_content(program, make_file):
    file = make_file("a")
    changes = [lambda: None, lambda: file.rename("b"), lambda: file.replace(ContentFile(b"new"))]
    seen = set()
    for change in changes:
        change()
        seen.add(program.get(f"/api/files/{file.pk}/").headers["ETag"])
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("codenames", "status"), [(["view_file"], 404), (["view_file", "restore_file"], 200)]
)
def test_what_is_in_the_trash_is_told_to_those_who_may_restore_it(codenames, status):
    (file,) = rows("a", deleted_at=timezone.now())
    assert Program(*codenames).get(f"/api/files/{file.pk}/").status_code == status


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("*/*", 200),
        ("application/json", 200),
        ("application/json; version=1", 200),
        ("application/json; version=2", 406),
        ("application/xml", 406),
        ("text/html", 406),
    ],
)
def test_accept_says_which_version_is_wanted(program, accept, status):
    assert program.get("/api/files/", headers={"Accept": accept}).status_code == status


def test_problems_are_documents(program):
    response = program.get("/api/files/999/")
    text = "There is nothing of this address that you may see."
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json() == problem(404, "not-found", text)
    assert Client().get("/api/files/").json()["status"] == 401
    response = Client().get("/api/files/")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="files"'


# Lists


def test_a_folder_is_listed_with_its_folders_first(program):
    rows("b.txt", "a/1", "a/b/2", "a/c/3", "/root", "c//d")
    top = {"folders": ["/", "a/", "c/"], "files": ["b.txt"], "next": None, "previous": None}
    assert program.files() == program.files(folder="") == top
    assert program.files(folder="a/") == top | {"folders": ["a/b/", "a/c/"], "files": ["a/1"]}
    assert program.files(folder="nowhere/") == top | {"folders": [], "files": []}


def test_all_below_a_folder_is_one_list(program):
    rows("b.txt", "a/1", "a/b/2", "a0")
    assert program.files(below="true") == {
        "folders": [],
        "files": ["a/1", "a/b/2", "a0", "b.txt"],
        "next": None,
        "previous": None,
    }
    assert program.keys(folder="a/", below="1") == ["a/1", "a/b/2"]


@pytest.mark.parametrize("key", ODD)
def test_a_key_is_taken_and_told_exactly(program, key):
    rows(*ODD)
    assert program.keys(key=key) == [key]
    folder = key[: key.rfind("/") + 1]
    assert key in program.keys(folder=folder)


@pytest.mark.parametrize(
    ("key", "status"), [("a\0", 400), ("x" * 2000, 200), ("%ed%a0%80", 200), ("", 400)]
)
def test_what_is_no_key_has_no_file(program, key, status):
    quoted = key if "%" in key else urlencode({"": key})[1:]
    response = program.get(f"/api/files/?key={quoted}")
    assert response.status_code == status
    assert response.json().get("files", []) == []


@pytest.fixture
def assorted():
    """Files that each filter tells apart."""
    rows("a/cat.png", size=10, content_type="image/png", modified_at=JANUARY)
    rows("a/Dog.txt", size=20, content_type="text/plain", modified_at=JUNE)
    rows("b/cat.txt", size=0, content_type="text/plain", modified_at=JUNE, missing_at=JUNE)
    rows("b/old", content_type="", created_at=JANUARY, changed_at=JUNE)
    rows("bad", size=30, modified_at=JUNE, damaged_at=JUNE)
    rows("gone", size=40, modified_at=JUNE, deleted_at=JUNE)


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ({"q": "CAT"}, ["a/cat.png", "b/cat.txt"]),
        ({"q": "txt dog"}, ["a/Dog.txt"]),
        ({"q": "cat", "folder": "b/"}, ["b/cat.txt"]),
        ({"q": "%"}, []),
        ({"key": "b/old"}, ["b/old"]),
        ({"key": "b/old", "folder": "a/"}, []),
        ({"type": "image/"}, ["a/cat.png"]),
        ({"type": "text/plain", "folder": "a/"}, ["a/Dog.txt"]),
        ({"type": "text_plain"}, []),
        ({"min_size": 20}, ["a/Dog.txt", "bad"]),
        ({"max_size": 10}, ["a/cat.png", "b/cat.txt"]),
        ({"min_size": 10, "max_size": 20}, ["a/Dog.txt", "a/cat.png"]),
        ({"modified_before": "2026-06-15T00:00:00Z"}, ["a/cat.png", "b/old"]),
        ({"modified_since": "2026-06-15T02:00:00+02:00", "folder": "a/"}, ["a/Dog.txt"]),
        ({"state": "missing"}, ["b/cat.txt"]),
        ({"state": "changed"}, ["b/old"]),
        ({"state": "damaged"}, ["bad"]),
        ({"order": "-key", "below": "true", "folder": "b/"}, ["b/old", "b/cat.txt"]),
        ({"order": "size", "min_size": 0}, ["b/cat.txt", "a/cat.png", "a/Dog.txt", "bad"]),
        ({"order": "-size", "min_size": 15}, ["bad", "a/Dog.txt"]),
        ({"order": "modified", "q": "cat"}, ["a/cat.png", "b/cat.txt"]),
    ],
)
def test_filters_choose_of_all_below(program, assorted, query, keys):
    assert program.files(**query) == {
        "folders": [],
        "files": keys,
        "next": None,
        "previous": None,
    }


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("folder", "a", "A folder ends in a slash."),
        ("limit", "0", "Ensure this value is greater than or equal to 1."),
        ("limit", "1001", "Ensure this value is less than or equal to 1000."),
        ("min_size", "-1", "Ensure this value is greater than or equal to 0."),
        ("max_size", str(2**63), "Ensure this value is less than or equal to 9223372036854775807."),
        ("modified_since", "2026-01-01T00:00", "needs its offset, as in 2026-01-31T12:00:00Z."),
        ("state", "lost", '"lost" is not a valid choice.'),
        ("order", "etag", '"etag" is not a valid choice.'),
        ("cursor", "%", "This is no cursor of this list: begin at its first page."),
        ("cursor", "YWJj", "This is no cursor of this list: begin at its first page."),
        ("folders", "a/", "There is no such parameter here."),
    ],
)
def test_a_wrong_parameter_is_named(program, name, value, text):
    response = program.get("/api/files/", **{name: value})
    found = response.json()
    assert (response.status_code, list(found["errors"])) == (400, [name])
    assert text in found["errors"][name][0]
    assert found["detail"] == f"{name}: {found['errors'][name][0]}"


def test_a_cursor_of_another_order_is_refused(program):
    rows("a", "b")
    cursor = program.files(limit=1)["next"].rpartition("cursor=")[2]
    response = program.get("/api/files/", cursor=cursor, order="size")
    assert response.json() == problem(
        400, "bad-request", "This is no cursor of this list: begin at its first page."
    )


@pytest.mark.parametrize("query", [{}, {"folder": "f/"}, {"below": 1}, {"order": "-size"}])
def test_pages_lead_on_and_back(program, query):
    rows(*(f"{query.get('folder', '')}{number}/x" for number in range(3)))
    rows(*(f"{query.get('folder', '')}k{number}" for number in range(4)))
    pages = [program.get("/api/files/", limit=2, **query).json()]
    while pages[-1]["next"]:
        pages.append(program.get(pages[-1]["next"]).json())
    told = [[*page["folders"], *page["files"]] for page in pages]
    assert [len(page) for page in told] == [2, 2, 2, 1]
    back = [pages[-1]]
    while back[-1]["previous"]:
        back.append(program.get(back[-1]["previous"]).json())
    assert [[*page["folders"], *page["files"]] for page in reversed(back)] == told
    assert pages[0]["previous"] is None


def test_a_cursor_survives_what_others_delete_and_add(program):
    made = {str(file): file for file in rows("a", "c", "e", "g")}
    page = program.files(below=1, limit=2)
    assert page["files"] == ["a", "c"]
    File.objects.filter(pk=made["c"].pk).update(deleted_at=timezone.now())
    rows("b", "d")
    page = program.follow(page)
    assert page["files"] == ["d", "e"]
    assert program.follow(page, "previous")["files"] == ["a", "b"]


def test_the_trash_is_for_those_who_may_restore_or_purge(program, assorted):
    assert program.get("/api/files/", state="trash").status_code == 403
    assert Program("view_file", "purge_file").keys(state="trash") == ["gone"]
    assert "gone" not in program.keys(below=1)


def test_a_token_for_a_folder_sees_what_is_inside(assorted):
    program = Program("all", prefix="b/")
    inside = {"folders": [], "files": ["b/cat.txt", "b/old"], "next": None, "previous": None}
    assert program.files() == program.files(folder="b/") == program.files(below=1) == inside
    assert program.keys(q="cat") == ["b/cat.txt"]
    for query in ({"folder": "a/"}, {"folder": ""}, {"folder": "", "below": 1}, {"key": "bad"}):
        assert program.files(**query) == inside | {"files": []}
    assert program.get("/api/usage/", folder="").json()["files"] == 0


def test_contents_in_the_trash_belong_to_the_folder_that_they_were_in():
    now = timezone.now()
    rows(".files/1", deleted_at=now, original_key="a/b/1")
    rows(".files/2", deleted_at=now, original_key="c/2")
    rows("a/3", deleted_at=now)
    for program in (Program("all"), Program("all", prefix="a/")):
        assert program.keys(state="trash", folder="a/") == [".files/1", "a/3"]
        assert program.keys(state="trash", folder="a/b/") == [".files/1"]


def test_a_page_costs_the_same_however_many_files_it_has(program):
    rows(*(f"{number:03}" for number in range(300)))
    for query in ({"limit": 2}, {"limit": 250}, {"limit": 100, "below": 1}, {"q": "1"}):
        with CaptureQueriesContext(
            connection,
        ) as found:
            program.files(**query)
        asked = [
            each["sql"]
            for each in found.captured_queries
            if each["sql"].split()[0] in {"SELECT", "WITH"}
        ]
        # The token with its user, one for the files, and one for the folders or the time limit.
        assert len(asked) == 3
        assert not any(" OFFSET " in sql or "COUNT(" in sql for sql in asked)


def test_what_takes_the_database_too_long_is_said(program, monkeypatch):
    def page(*arguments, **options):
        raise listing.TooSlowError

    monkeypatch.setattr(listing, "page", page)
    text = "This takes the database too long: ask for less of it."
    assert program.get("/api/files/").json() == problem(503, "too-slow", text)


def test_usage_counts_what_the_filters_choose(program, assorted):
    told = program.get("/api/usage/").json()
    assert told == {"files": 5, "bytes": 60, "complete": True}
    told = program.get("/api/usage/", folder="a/", min_size=15).json()
    assert told == {"files": 1, "bytes": 20, "complete": True}


# Zips


def unpack(response):
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(b"".join(response))) as made:
        return {name: made.read(name) for name in made.namelist()}


def test_a_folder_comes_as_a_zip(program, make_file):
    make_file("a/1.txt", b"one")
    make_file("a/b/2.txt", b"two")
    make_file("c.txt", b"three")
    response = program.get("/api/zip/", folder="a/")
    assert response.headers["Content-Disposition"] == 'attachment; filename="a.zip"'
    assert unpack(response) == {"1.txt": b"one", "b/2.txt": b"two"}
    assert program.get("/api/zip/", folder="b/").status_code == 404


def test_files_come_as_a_zip_by_their_ids(make_file):
    program = Program("view_file", prefix="a/")
    ids = [make_file(key, key.encode()).pk for key in ("a/1", "a/2", "b/3")]
    assert unpack(program.post("/api/zip/", {"ids": ids})) == {"a/1": b"a/1", "a/2": b"a/2"}
    assert program.post("/api/zip/", {"ids": ids[2:]}).status_code == 404


def test_a_folder_that_is_too_large_for_a_zip_is_refused(program, monkeypatch):
    monkeypatch.setattr(zips, "MOST_FILES", 2)
    rows("a/1", "a/2", "a/3")
    found = program.get("/api/zip/", folder="a/").json()
    assert found["errors"] == {"folder": "A zip has at most 2 files: ask for a folder below."}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"ids": []}', "Ensure this field has at least 1 elements."),
        ('{"ids": [0]}', "Ensure this value is greater than or equal to 1."),
        (json.dumps({"ids": [1] * 1001}), "Ensure this field has no more than 1000 elements."),
        ("{}", "This field is required."),
        ("[]", "Invalid data. Expected a dictionary, but got list."),
        ("[" * 60_000, "This is nested too deep."),
        ('{"ids": [1]', "JSON parse error"),
        ('{"ids": [NaN]}', "JSON parse error"),
    ],
)
def test_a_wrong_body_is_said_to_be_so(program, body, text):
    response = program.post("/api/zip/", body)
    assert response.status_code == 400
    assert text in response.json()["detail"]


def test_a_body_of_another_type_is_refused(program):
    assert program.post("/api/zip/", "ids=1", "text/plain").status_code == 415


# Work and runs


def test_work_is_told_to_its_user():
    program, now = Program("view_file"), timezone.now()
    work = Work.objects.create(
        user_id=program.user.pk,
        title="Move",
        total=3,
        done=2,
        failed=1,
        seen_at=JUNE,
        started_at=JUNE,
        ended_at=JUNE,
        messages=[[25, "Moved."], [40, "Not moved."]],
    )
    others = Work.objects.create(user_id=program.user.pk + 1, title="Other", seen_at=now)
    Work.objects.create(user_id=program.user.pk, title="Quick", seen_at=now, is_told=True)
    moment = "2026-06-15T00:00:00Z"
    told = {
        "id": work.pk,
        "title": "Move",
        "state": "ended",
        "total": 3,
        "done": 2,
        "failed": 1,
        "messages": [
            {"level": "success", "text": "Moved."},
            {"level": "error", "text": "Not moved."},
        ],
        "started_at": moment,
        "seen_at": moment,
        "ended_at": moment,
    }
    assert program.get("/api/works/").json() == {"works": [told], "next": None}
    assert program.get(f"/api/works/{work.pk}/").json() == told
    assert program.get(f"/api/works/{others.pk}/").status_code == 404
    assert Program("all").get(f"/api/works/{others.pk}/").json()["title"] == "Other"


def test_a_token_for_a_folder_sees_the_work_that_it_has_begun():
    program = Program("view_file", prefix="a/")
    values = {"user_id": program.user.pk, "title": "Move"}
    Work.objects.create(**values)  # which may name keys in other folders
    own = Work.objects.create(**values, token_id=program.token.pk)
    assert [work["id"] for work in program.get("/api/works/").json()["works"]] == [own.pk]


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({}, "waiting"),
        ({"started_at": JUNE}, "under-way"),
        ({"started_at": JUNE, "seen_at": JUNE}, "interrupted"),
        ({"started_at": JUNE, "seen_at": JUNE, "ended_at": JUNE}, "ended"),
    ],
)
def test_work_has_a_state(program, values, state):
    values = {"seen_at": timezone.now(), **values}
    work = Work.objects.create(user_id=program.user.pk, title="Move", **values)
    assert program.get(f"/api/works/{work.pk}/").json()["state"] == state


def test_work_comes_in_pages(program):
    values = {"user_id": program.user.pk, "seen_at": timezone.now()}
    ids = [Work.objects.create(title=title, **values).pk for title in "abc"]
    page = program.get("/api/works/", limit=2).json()
    assert [work["id"] for work in page["works"]] == [ids[2], ids[1]]
    page = program.get(page["next"]).json()
    assert ([work["id"] for work in page["works"]], page["next"]) == ([ids[0]], None)


def test_a_run_is_told_with_what_it_prints():
    program = Program("view_run")
    run = Run.objects.create(command="check_files", prefix="a/", began_at=JANUARY)
    ended = {"status": 1, "ended_at": JUNE, "attempts": 1}
    run.ranges.create(**ended, done=5, bytes=6, counts={"missing": 2}, lines=1002, output="- é\n")
    run.ranges.create(done=1, counts={"missing": 1}, lines=1, output="- b\n")
    url = f"http://testserver/api/runs/{run.pk}/lines/"
    told = {
        "id": run.pk,
        "command": "check_files",
        "prefix": "a/",
        "options": {},
        "state": "under-way",
        "status": None,
        "counts": {"missing": 3},
        "lines": url,
        "ranges": 2,
        "ranges_done": 1,
        "done": 6,
        "bytes": 6,
        "began_at": "2026-01-15T00:00:00Z",
        "ended_at": None,
    }
    assert program.get("/api/runs/").json() == {"runs": [told], "next": None}
    assert program.get(f"/api/runs/{run.pk}/").json() == told
    response = program.get(url)
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert b"".join(response).decode() == (
        "- é\n(1,001 more lines of these keys were not kept)\n- b\n"
    )


@pytest.mark.parametrize(
    ("part", "ended", "state", "status"),
    [
        ({}, None, "waiting", None),
        ({"attempts": 1}, None, "under-way", None),
        ({"attempts": 1, "status": 0, "ended_at": JUNE}, JUNE, "ended", 0),
        ({"attempts": 1, "ended_at": JUNE}, JUNE, "stopped", None),
    ],
)
def test_a_run_has_a_state(part, ended, state, status):
    run = Run.objects.create(command="check_files", ended_at=ended)
    Range.objects.create(run=run, **part)
    told = Program("view_run").get(f"/api/runs/{run.pk}/").json()
    assert (told["state"], told["status"]) == (state, status)


# The API itself


def test_programs_are_told_the_addresses(program):
    found = program.get("/api/").json()
    assert (
        found.items()
        >= {
            name: f"http://testserver/api/{name}/"
            for name in ("files", "usage", "zip", "works", "runs", "schema")
        }.items()
    )
    assert all(url.startswith("http://testserver/api/") for url in found.values())


def test_browsers_are_told_to_log_in(client):
    response = client.get("/api/", headers={"Accept": "text/html"})
    assert (response.status_code, response.url) == (302, "/login/?next=/api/")
    assert client.get("/api/").status_code == 401


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("application/vnd.oai.openapi+json", "application/vnd.oai.openapi+json"),
        ("application/yaml", "application/yaml"),
    ],
)
def test_the_schema_comes_as_json_or_yaml(program, accept, kind):
    response = program.get("/api/schema/", headers={"Accept": accept})
    assert response.headers["Content-Type"].partition(";")[0] == kind
    assert (b"\nopenapi: 3.1" in b"\n" + response.content) is (kind == "application/yaml")
