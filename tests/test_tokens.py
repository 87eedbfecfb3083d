"""Programs come with a token: how it is made, what it may do, and how it ends."""

import contextlib
import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from urllib.parse import quote

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import Permission, User
from django.core.files.base import ContentFile
from django.core.management import CommandError
from django.db import IntegrityError, connection
from django.db.models import Sum
from django.db.models.signals import pre_delete
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from files import tokens
from files.authentication import find_user
from files.models import File, Token
from project.logs import JSONFormatter
from tests import leaks
from tests.processes import run_command
from tests.responses import closing

pytestmark = pytest.mark.django_db

ALL = ("view", "add", "change", "replace", "delete", "restore", "purge")
UNKNOWN = "This token is not known, has expired or was revoked: ask for another one."


@pytest.fixture
def make_user():
    """Make a machine user, which has no password, with these permissions for files."""

    def make_user(*names, username="machine", **fields):
        user = User.objects.create_user(username, **fields)
        codenames = [f"{name}_file" for name in names]
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        return user

    return make_user


@pytest.fixture
def issue(make_user):
    """Make a token of a user who may view files, and return it with its text."""

    def issue(user=None, days=1, **values):
        user = user or User.objects.filter(username="machine").first() or make_user("view")
        token, text = Token.objects.issue(user, expires_at=tokens.expiry(days), **values)
        leaks.add(text)
        return token, text

    return issue


def bearer(text):
    return {"Authorization": f"Bearer {text}"}


def get(text, path, client=None, **headers):
    """Return status and body of a program's request."""
    with closing((client or Client()).get(path, headers=bearer(text) | headers)) as response:
        body = response.getvalue()
        if response.headers.get("Content-Type") == "application/problem+json":
            document = json.loads(body)
            assert document["status"] == response.status_code
            return response.status_code, document["detail"]
        return response.status_code, body


# Made, listed and revoked by commands


def test_a_token_is_printed_once_and_alone(make_user, make_file):
    make_user("view")
    make_file("a/b.txt")
    (text,), told, status = run_command(
        "create_token", "machine", "--name=backup", "--scope=write", "--prefix=a/", "--days=2"
    )
    leaks.add(text)
    assert re.fullmatch(r"files_[0-9a-f]{40}", text)
    assert status == 0
    token = Token.objects.get()
    until = f"{token.expires_at:%Y-%m-%d %H:%M} UTC"
    assert told == f"Token {token.pk} of machine is good until {until}.\n"
    assert (token.name, token.scope, token.prefix) == ("backup", "write", "a/")
    left = token.expires_at - timezone.now()
    assert timedelta(days=1.9) < left < timedelta(days=2)
    assert text not in str(Token.objects.values().get())
    assert get(text, "/files/by-key/a/b.txt") == (200, b"text")


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["nobody"], "There is no user 'nobody': make one in the admin, without a password"),
        (["machine", "--days=0"], "A token lasts from 1 to 365 days."),
        (["machine", "--days=366"], "A token lasts from 1 to 365 days."),
        (["machine", "--prefix=a"], "A prefix must end in a slash, as the keys of a folder begin."),
        (["machine", "--prefix=a\0/"], "PostgreSQL cannot keep a key with a NUL character."),
        (["machine", "--prefix=\udcff/"], "A key must be valid Unicode."),
        (["machine", "--prefix=.files/"], "Keys that begin with .files/ are reserved"),
        (["machine", f"--prefix={'a' * 1024}/"], "A key has at most 1,024 bytes in UTF-8"),
        (["machine", f"--name={'a' * 201}"], "Ensure this value has at most 200 characters"),
        (["idle"], "The user 'idle' is switched off, so that no token of it is good."),
    ],
)
def test_a_token_that_cannot_be_is_refused_in_a_sentence(make_user, arguments, found):
    make_user("view")
    make_user(username="idle", is_active=False)
    with pytest.raises(CommandError, match=f"^{re.escape(found)}"):
        run_command("create_token", *arguments)
    assert not Token.objects.exists()


def test_the_settings_bound_the_life_of_a_token(make_user, settings):
    settings.TOKEN_DAYS = 7
    make_user("view")
    (text,), _, _ = run_command("create_token", "machine")
    leaks.add(text)
    left = Token.objects.get().expires_at - timezone.now()
    assert timedelta(days=6.9) < left < timedelta(days=7)


def test_tokens_are_listed_without_their_text(issue):
    token, text = issue(name="a\tb\nc", prefix="a/")
    Token.objects.filter(pk=token.pk).update(
        expires_at="2026-01-02T03:04:05Z", last_used_at="2026-01-01T07:00:00Z"
    )
    printed, _, _ = run_command("list_tokens")
    row = f"{token.pk}\tmachine\tread\ta/\t2026-01-02 (over)\t2026-01-01 07:00\ta b c"
    assert printed == ["id\tuser\tscope\tprefix\texpires\tlast used\tname", row]
    (line,), _, _ = run_command("list_tokens", "machine", "--json")
    assert json.loads(line) == {
        "id": token.pk,
        "user": "machine",
        "scope": "read",
        "prefix": "a/",
        "expires": "2026-01-02T03:04:05+00:00",
        "last_used": "2026-01-01T07:00:00+00:00",
        "name": "a\tb\nc",
    }
    assert run_command("list_tokens", "somebody") == ([], "", 0)
    assert text not in line


def test_a_token_is_revoked_by_its_id_or_by_itself(issue, make_file):
    file = make_file()
    (first, _), (second, text) = issue(name="first"), issue()
    assert get(text, f"/files/{file.pk}/")[0] == 200
    told, _, _ = run_command("revoke_token", str(first.pk), text)
    assert told == [
        f"Revoked token {first.pk} (first) of machine.",
        f"Revoked token {second.pk} (no name) of machine.",
    ]
    assert get(text, f"/files/{file.pk}/") == (401, UNKNOWN)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("9" * 18, f"There is no token {'9' * 18}: "),
        ("9" * 19, f"'{'9' * 19}' is no token: "),
        ("x", "'x' is no token: name its id, as list_tokens prints it."),
        ("files_" + "0" * 40, "There is no token files_0000...: "),
    ],
)
def test_what_is_no_token_is_not_revoked_and_nothing_else_is(issue, text, found):
    token, _ = issue()
    with pytest.raises(CommandError, match=f"^{re.escape(found)}"):
        run_command("revoke_token", str(token.pk), text)
    assert Token.objects.filter(pk=token.pk).exists()


# What it opens


@pytest.mark.parametrize(
    "key",
    ["a/b.txt", "/root/a.txt", "a//b", "./c", "a/../b", "a%2Fb", "a b+c?d#e", "trail/", "ü/😀"],
)
def test_a_file_is_found_by_its_exact_key(issue, make_file, key):
    make_file(key, key.encode())
    _, text = issue()
    escaped = quote(key, safe="")
    assert get(text, f"/files/by-key?key={escaped}") == (200, key.encode())
    assert get(text, f"/files/by-key/{escaped}") == (200, key.encode())


@pytest.mark.parametrize("key", ["a\nb", "a\r", "\x01", "line\n"])
def test_a_file_is_found_by_a_key_with_control_characters(issue, make_file, key):
    try:
        make_file(key, b"text")
    except Exception as error:  # noqa: BLE001 - whatever the S3 of the run says to it
        pytest.skip(f"S3 keeps no such key: {error}")
    _, text = issue()
    assert get(text, f"/files/by-key?key={quote(key)}") == (200, b"text")
    assert get(text, f"/files/by-key/{quote(key)}") == (200, b"text")


@pytest.mark.parametrize("query", ["", "?key=", "?other=a"])
def test_a_key_must_be_named(issue, query):
    _, text = issue()
    told = "Name the key in the path, or as “?key=”, percent-encoded."
    assert get(text, f"/files/by-key{query}") == (400, told)


@pytest.mark.parametrize("key", ["none", "a%00", "x" * 1025, "%ED%A0%80"])
def test_a_key_that_no_file_has_is_not_found(issue, key):
    _, text = issue()
    assert get(text, f"/files/by-key/{key}")[0] == 404


@pytest.mark.parametrize("address", ["/files/{}/", "/files/by-key/a.txt"])
def test_http_is_the_same_for_programs(issue, make_file, address):
    file = make_file("a.txt", b"0123456789")
    _, text = issue()
    address = address.format(file.pk)
    client = Client(headers=bearer(text))
    with closing(client.get(address, headers={"Range": "bytes=2-4"})) as part:
        assert (part.status_code, part.getvalue()) == (206, b"234")
        etag = part.headers["ETag"]
    for headers, status in [
        ({"If-None-Match": etag}, 304),
        ({"If-Match": '"x"'}, 412),
        ({"Range": "bytes=10-"}, 416),
    ]:
        with closing(client.get(address, headers=headers)) as response:
            assert response.status_code == status
    head = client.head(address)
    assert (head.status_code, head.headers["Content-Length"]) == (200, "10")
    refused = client.post(address)
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")


def test_a_download_takes_two_queries(issue, make_file, django_assert_num_queries):
    file = make_file()
    _, text = issue()
    get(text, f"/files/{file.pk}/")  # the first of an hour notes it
    for path in (f"/files/{file.pk}/", "/files/by-key/a.txt"):
        with django_assert_num_queries(2):
            assert get(text, path)[0] == 200


def test_a_session_takes_one_query_for_the_user_with_all_permissions(
    viewer, make_file, django_assert_num_queries
):
    file = make_file()
    with django_assert_num_queries(3), closing(viewer.get(f"/files/{file.pk}/")) as response:
        assert response.status_code == 200


def test_the_last_use_is_noted_to_the_hour(issue, make_file):
    file = make_file()
    token, text = issue()
    assert token.last_used_at is None
    get(text, f"/files/{file.pk}/")
    token.refresh_from_db()
    assert token.last_used_at == timezone.now().replace(minute=0, second=0, microsecond=0)


# What it does not open


def spoiled(text):
    return [
        ("Bearer " + text[:-1] + ("0" if text[-1] != "0" else "1"), 401),
        ("Bearer " + text[:-1], 401),
        ("Bearer " + text + "0", 401),
        ("Bearer " + text.upper(), 401),
        ("Bearer " + text + ", Bearer " + text, 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        ("Bearer é", 401),
        ("Token " + text, 401),
        ("bearer   " + text + " ", 200),
    ]


def test_only_the_token_itself_opens(issue, make_file):
    file = make_file()
    _, text = issue()
    for header, status in spoiled(text):
        with closing(
            Client().get(f"/files/{file.pk}/", headers={"Authorization": header})
        ) as response:
            assert (header, response.status_code) == (header, status)
        if status == 401:
            assert response.headers["WWW-Authenticate"].startswith('Bearer realm="files"')
            assert response.headers["Content-Type"] == "application/problem+json"


def expire(token):
    Token.objects.filter(pk=token.pk).update(expires_at=timezone.now())


def switch_off(token):
    User.objects.filter(pk=token.user_id).update(is_active=False)


def take_away(token):
    token.user.user_permissions.clear()


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (expire, 401),
        (Token.delete, 401),
        (switch_off, 401),
        (lambda token: token.user.delete(), 401),
        (take_away, 403),
    ],
)
def test_a_token_ends_at_once(issue, make_file, end, status):
    file = make_file()
    token, text = issue()
    assert get(text, f"/files/{file.pk}/")[0] == 200
    end(token)
    assert get(text, f"/files/{file.pk}/")[0] == status


def test_a_wrong_token_is_no_matter_of_the_session(viewer, make_file):
    file = make_file()
    assert get("files_" + "0" * 40, f"/files/{file.pk}/", viewer, Accept="text/html")[0] == 401


def test_a_token_wins_over_the_session(issue, make_user, make_file, admin_client):
    file = make_file()
    _, text = issue(make_user())
    assert get(text, f"/files/{file.pk}/", admin_client)[0] == 403


@pytest.mark.parametrize("address", ["/admin/", "/admin/files/file/", "/login/"])
def test_no_page_for_people_takes_a_token(issue, make_user, address):
    _, text = issue(make_user(*ALL, is_staff=True, is_superuser=True))
    assert b"Log out" not in Client().get(address, headers=bearer(text), follow=True).content


@pytest.mark.parametrize("name", ["access_token", "token"])
def test_a_token_in_an_address_is_refused(issue, make_file, viewer, name):
    file = make_file()
    _, text = issue()
    told = "Send the token in the header Authorization: addresses are logged and remembered."
    assert get(text, f"/files/{file.pk}/?{name}={text}") == (400, told)
    refused = viewer.get(f"/files/{file.pk}/?{name}={text}")  # a session makes it no better
    assert refused.status_code == 400


def test_who_sends_no_token_is_asked_for_one(make_file):
    file = make_file()
    for path in (f"/files/{file.pk}/", "/files/by-key/a.txt", "/api/files/1/"):
        response = Client().get(path)
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (
            401,
            'Bearer realm="files"',
        )
        told = "Send a token in the header Authorization, or log in."
        assert response.json()["detail"] == told
    page = Client().get(f"/files/{file.pk}/", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["Location"]) == (302, f"/login/?next=/files/{file.pk}/")


# Scope and prefix


def test_a_file_outside_the_prefix_is_like_one_that_is_not_there(issue, make_file):
    inside, outside = make_file("a/b.txt"), make_file("ab.txt")
    _, text = issue(prefix="a/")
    assert get(text, f"/files/{inside.pk}/")[0] == 200
    not_there = get(text, "/files/999999/")
    assert not_there[0] == 404
    assert get(text, f"/files/{outside.pk}/") == not_there
    assert get(text, "/files/by-key/ab.txt") == get(text, "/files/by-key/none.txt") == not_there


@pytest.mark.needs("conditional puts")
def test_a_content_that_was_replaced_belongs_to_its_former_folder(issue, make_user, make_file):
    user = make_user("view", "restore")
    file = make_file("a/b.txt", b"old")
    file.refresh_from_storage()
    file.replace(ContentFile(b"new"))
    kept = File.objects.exclude(pk=file.pk).get()
    assert get(issue(user, prefix="a/")[1], f"/files/{kept.pk}/") == (200, b"old")
    assert get(issue(user, prefix="b/")[1], f"/files/{kept.pk}/")[0] == 404


def test_the_trash_is_for_those_who_may_see_it(issue, make_user, make_file):
    file = make_file()
    file.trash()
    _, text = issue(make_user("view"))
    assert get(text, f"/files/{file.pk}/")[0] == 404
    _, text = issue(make_user("view", "restore", username="other"))
    assert get(text, f"/files/{file.pk}/")[0] == 200


# Those who guess


def test_tokens_that_fail_are_throttled_like_logins(issue, make_file):
    file = make_file()
    _, text = issue()
    client = Client(REMOTE_ADDR="192.0.2.1")
    wrong = [get(f"files_{n:040x}", f"/files/{file.pk}/", client)[0] for n in range(11)]
    assert wrong == [401] * 9 + [429] * 2
    refused = client.get(f"/files/{file.pk}/", headers=bearer("files_" + "0" * 40))
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 1800
    assert get(text, f"/files/{file.pk}/", client)[0] == 200  # nobody guesses 160 bits
    elsewhere = Client(REMOTE_ADDR="198.51.100.7")
    assert get("files_" + "0" * 40, f"/files/{file.pk}/", elsewhere)[0] == 401
    attempts = AccessAttempt.objects.filter(ip_address="192.0.2.1")
    assert {attempt.username for attempt in attempts} == {"(token)"}


def test_a_program_with_a_token_that_is_over_locks_nobody_out(make_user):
    """It may ask for ever at the address of a whole office."""
    make_user("view", username="somebody", password="s3cret")
    client = Client(REMOTE_ADDR="192.0.2.1")
    for n in range(110):
        get("files_" + "0" * 40, "/files/1/", client, **{"User-Agent": str(n)})
    assert AccessAttempt.objects.aggregate(sum=Sum("failures_since_start")) == {"sum": 10}
    fields = {"username": "somebody", "password": "s3cret"}
    assert client.post("/login/", fields).status_code == 302


def test_the_database_compares_no_token_but_digests_of_what_is_sent(issue):
    """How long that takes tells nothing: who guesses does not know what is compared."""
    _, text = issue()
    near = text[:-1] + ("0" if text[-1] != "0" else "1")
    for sent, is_found in ((near, False), (text, True)):
        with CaptureQueriesContext(connection) as queries:
            assert (find_user(sent) is not None) is is_found
        (query,) = queries
        assert hashlib.sha256(sent.encode()).hexdigest() in query["sql"]
        assert sent[6:16] not in query["sql"]


def test_the_log_names_the_token_by_its_number(issue, make_file, caplog):
    caplog.set_level("INFO")
    file = make_file()
    token, text = issue(name="backup")
    get(text, f"/files/{file.pk}/?access_token={text}")
    get(text, f"/files/by-key/{text}")
    get(text, f"/files/{file.pk}/")
    told = [record.facts for record in caplog.records if hasattr(record, "facts")]
    (sent,) = [facts for facts in told if facts.get("action") == "download"]
    assert sent["user"] == {"id": token.user_id, "name": "machine", "token": token.pk}
    lines = [JSONFormatter().format(record) for record in caplog.records]
    assert [line for line in lines if "/files/by-key/files_..." in line]
    assert not [line for line in lines if text in line]


@pytest.mark.django_db(transaction=True)
def test_the_audit_tells_who_made_and_who_revoked_a_token(issue, caplog):
    caplog.set_level("INFO", "files.audit")
    token, text = issue(name="backup", prefix="a/", scope="write")
    pk = token.pk
    token.user.delete()
    found = [record.facts for record in caplog.records if record.name == "files.audit"]
    found = [facts for facts in found if facts["action"] != "permissions"]
    assert [facts["action"] for facts in found] == ["create token", "revoke token"]
    for facts in found:
        assert facts["of"] == {
            "id": pk,
            "name": "backup",
            "user": {"id": facts["of"]["user"]["id"], "name": "machine"},
            "scope": "write",
            "prefix": "a/",
            "expires_at": token.expires_at,
        }
    assert text not in str(found)


# In the admin

LIST = "/admin/files/token/"


@pytest.fixture
def page_of(make_user, client):
    """A client of somebody who is not staff and may view files."""
    client.force_login(make_user("view"))
    return client


def test_a_token_of_ones_own_is_made_in_the_admin_and_shown_once(page_of, make_file):
    make_file("a/b.txt")
    form = page_of.get(f"{LIST}add/").content.decode()
    assert 'name="user"' not in form
    fields = {"name": "backup", "scope": "read", "prefix": "a/", "days": "3", "user": "1"}
    page = page_of.post(f"{LIST}add/", fields)
    (text,) = set(re.findall(r"files_[0-9a-f]{40}", page.content.decode()))
    leaks.add(text)
    assert "no-store" in page.headers["Cache-Control"]
    assert get(text, "/files/by-key/a/b.txt") == (200, b"text")
    token = Token.objects.get()
    assert token.user.username == "machine"
    for path in (LIST, f"{LIST}{token.pk}/change/", f"{LIST}{token.pk}/history/"):
        page = page_of.get(path)
        assert page.status_code == 200
        assert "backup" in page.content.decode()
        assert text not in page.content.decode()
        assert token.digest not in page.content.decode()


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"days": "366"}, "A token lasts from 1 to 365 days."),
        ({"days": "0"}, "Ensure this value is greater than or equal to 1."),
        ({"prefix": "a"}, "A prefix must end in a slash"),
        ({"scope": "all"}, "Select a valid choice"),
    ],
)
def test_a_form_that_is_wrong_says_why(page_of, fields, found):
    sent = {"name": "", "scope": "read", "prefix": "", "days": "3"} | fields
    page = page_of.post(f"{LIST}add/", sent)
    assert (page.status_code, found in page.content.decode()) == (200, True)
    assert not Token.objects.exists()


def test_a_token_is_revoked_in_the_admin(page_of, issue, make_file):
    file = make_file()
    token, text = issue()
    assert page_of.post(f"{LIST}{token.pk}/delete/", {"post": "yes"}).status_code == 302
    assert get(text, f"/files/{file.pk}/")[0] == 401


def test_the_tokens_of_others_are_for_superusers(page_of, issue, make_user, admin_client):
    token, _ = issue(make_user("view", username="other"), name="of another one")
    assert "of another one" not in page_of.get(LIST).content.decode()
    for path in ("change", "delete"):
        assert page_of.get(f"{LIST}{token.pk}/{path}/").status_code == 302  # to the index
    assert page_of.post(f"{LIST}{token.pk}/delete/", {"post": "yes"}).status_code == 302
    assert Token.objects.get() == token
    assert "of another one" in admin_client.get(LIST).content.decode()
    assert admin_client.get(f"{LIST}{token.pk}/change/").status_code == 200


def test_a_superuser_makes_a_token_of_a_machine_user(admin_client, make_user):
    user = make_user("view")
    fields = {"user": user.pk, "name": "", "scope": "write", "prefix": "", "days": "3"}
    assert admin_client.post(f"{LIST}add/", fields).status_code == 200
    assert Token.objects.get().user == user


def test_who_may_nothing_makes_no_token(make_user, client):
    client.force_login(make_user(is_staff=True))
    assert client.get(LIST).status_code == 403
    assert client.get(f"{LIST}add/").status_code == 403


# By API


def api(text, method, path, data=None):
    response = Client().generic(
        method, path, json.dumps(data), content_type="application/json", headers=bearer(text)
    )
    return response.status_code, response.json() if response.content else None


def test_a_program_makes_lists_and_revokes_tokens(issue, make_file):
    file = make_file("a/b.txt")
    token, text = issue(scope="write", days=3)
    wanted = {"name": "for a job", "prefix": "a/", "days": 1}
    status, made = api(text, "POST", "/api/tokens/", wanted)
    leaks.add(made["token"])
    assert status == 201
    assert made["made_by"] == token.pk
    assert (made["name"], made["scope"], made["prefix"]) == ("for a job", "read", "a/")
    assert get(made["token"], f"/files/{file.pk}/")[0] == 200
    _, found = api(text, "GET", "/api/tokens/")
    assert [one["id"] for one in found] == [made["id"], token.pk]
    assert not {"token", "digest"} & found[0].keys()
    assert api(text, "GET", f"/api/tokens/{made['id']}/") == (200, found[0])
    assert api(text, "DELETE", f"/api/tokens/{made['id']}/") == (204, None)
    assert get(made["token"], f"/files/{file.pk}/")[0] == 401


def test_a_token_ends_with_the_one_that_made_it(issue, make_file):
    file = make_file()
    token, text = issue(scope="write", days=3)
    _, made = api(text, "POST", "/api/tokens/", {"days": 1})
    leaks.add(made["token"])
    token.delete()
    assert get(made["token"], f"/files/{file.pk}/")[0] == 401


@pytest.mark.parametrize("wanted", [{"prefix": ""}, {"prefix": "b/"}, {"days": 4}])
def test_a_token_makes_none_that_may_more(issue, wanted):
    _, text = issue(scope="write", prefix="a/", days=3)
    status, told = api(text, "POST", "/api/tokens/", {"prefix": "a/", "days": 1} | wanted)
    assert status == 400
    assert (
        told["detail"] == "A token makes none that may do more, elsewhere, or for longer than it."
    )


def test_a_token_of_the_scope_read_makes_no_others(issue):
    _, text = issue()
    assert api(text, "POST", "/api/tokens/", {})[0] == 403


def test_a_token_that_another_one_has_made_makes_none(issue):
    """Else who has found one could make a row of them too long for Django to revoke."""
    _, text = issue(scope="write", days=3)
    _, made = api(text, "POST", "/api/tokens/", {"scope": "write", "days": 1})
    leaks.add(made["token"])
    status, told = api(made["token"], "POST", "/api/tokens/", {})
    assert (status, told["detail"]) == (
        400,
        "A token that another one has made makes none itself.",
    )


def test_a_token_makes_no_more_than_can_be_revoked_at_once(issue, monkeypatch):
    monkeypatch.setattr(tokens, "MOST_MADE", 1)
    _, text = issue(scope="write", days=3)
    _, made = api(text, "POST", "/api/tokens/", {"days": 1})
    leaks.add(made["token"])
    status, told = api(text, "POST", "/api/tokens/", {"days": 1})
    assert (status, told["detail"]) == (
        400,
        "A token makes no more than 1 that are good: revoke some.",
    )
    expire(Token.objects.get(pk=made["id"]))
    status, made = api(text, "POST", "/api/tokens/", {"days": 1})
    leaks.add(made["token"])
    assert status == 201


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_alone", [True, False])
def test_a_token_that_makes_another_one_meanwhile_is_revoked_at_once(issue, is_alone):
    token, _ = issue(scope="write", days=3)
    values = {"expires_at": tokens.expiry(1), "parent": token}

    def make():
        with contextlib.suppress(IntegrityError), contextlib.closing(connection):
            leaks.add(Token.objects.issue(token.user, **values)[1])

    with ThreadPoolExecutor() as threads:

        def make_meanwhile(**about):
            """Make one when it is known which are to be deleted; it must wait for that."""
            wait([threads.submit(make)], 1)

        with contextlib.ExitStack() as stack:
            pre_delete.connect(make_meanwhile, sender=Token)
            stack.callback(pre_delete.disconnect, make_meanwhile, sender=Token)
            found = Token.objects.filter(pk=token.pk)
            (found.get() if is_alone else found).delete()
    assert not Token.objects.exists()


def test_a_token_neither_sees_nor_revokes_others(issue, make_user):
    _, text = issue(scope="write")
    mine, _ = issue()
    other, _ = issue(make_user("view", username="other"))
    for token in (mine, other):
        assert api(text, "GET", f"/api/tokens/{token.pk}/")[0] == 404
        assert api(text, "DELETE", f"/api/tokens/{token.pk}/")[0] == 404
    assert Token.objects.count() == 3


def test_a_session_makes_tokens_with_a_csrf_token_alone(make_user):
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("view"))
    refused = client.post("/api/tokens/", {}, content_type="application/json")
    assert refused.status_code == 403
    client.get("/admin/files/token/add/")
    csrf = client.cookies["csrftoken"].value
    made = client.post(
        "/api/tokens/", {}, content_type="application/json", headers={"X-CSRFToken": csrf}
    )
    assert made.status_code == 201
    leaks.add(made.json()["token"])
