"""Who is let in where: staff, those who may view files, those who may nothing, and nobody."""

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import get_resolver

from files.models import File
from tests.responses import told

pytestmark = pytest.mark.django_db

LIST = "/admin/files/file/"
LACK = "You may not view files yet: ask an administrator for the permission “Can view file”."


@pytest.fixture
def make_user():
    """Make a user of the password `s3cret` with these permissions."""

    def make_user(*codenames, **fields):
        user = User.objects.create_user("somebody", password="s3cret", **fields)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        return user

    return make_user


@pytest.fixture
def reader(make_user, client):
    """A client of somebody who is not staff, may view files, and has a permission for users."""
    client.force_login(make_user("view_file", "view_user", "change_user"))
    return client


@pytest.fixture
def stranger(make_user, client):
    """A client of somebody who may nothing."""
    client.force_login(make_user())
    return client


@pytest.mark.parametrize("path", ["/login/", "/admin/login/"])
@pytest.mark.parametrize(
    ("codenames", "is_staff", "found"),
    [
        (["view_file"], True, ("/admin/", 200)),
        ([], True, ("/admin/", 200)),
        (["view_file"], False, (LIST, 200)),
        (["add_file"], False, ("/admin/", 403)),
        ([], False, ("/admin/", 403)),
    ],
)
def test_everybody_is_led_to_a_page_for_them(make_user, client, path, codenames, is_staff, found):
    make_user(*codenames, is_staff=is_staff)
    for answer in (
        client.post(path, {"username": "somebody", "password": "s3cret"}, follow=True),
        client.get("/", follow=True),
        client.get(path, follow=True),
    ):
        assert (answer.request["PATH_INFO"], answer.status_code) == found
        text = told(answer) if answer.status_code == 403 else answer.content.decode()
        assert (LACK in text) == (answer.status_code == 403)


def test_a_login_leads_back_to_where_it_was_asked_for(make_user, client):
    make_user("view_file")
    asked = client.get(f"{LIST}?folder=a/", follow=True)
    assert asked.request["PATH_INFO"] == "/admin/login/"
    fields = {"username": "somebody", "password": "s3cret", "next": asked.context["next"]}
    answer = client.post("/admin/login/", fields)
    assert (answer.status_code, answer.headers["Location"]) == (302, f"{LIST}?folder=a/")


@pytest.mark.parametrize("path", ["/logout/", "/admin/logout/"])
@pytest.mark.parametrize("is_staff", [True, False])
def test_everybody_can_log_out(make_user, client, path, is_staff):
    client.force_login(make_user(is_staff=is_staff))
    answer = client.post(path)
    assert (answer.status_code, "_auth_user_id" in client.session) == (200, False)
    assert b"Log in again" in answer.content


@pytest.mark.parametrize("path", ["/password_change/", "/admin/password_change/"])
@pytest.mark.parametrize("is_staff", [True, False])
def test_everybody_can_change_the_password(make_user, client, path, is_staff):
    user = make_user(is_staff=is_staff)
    client.force_login(user)
    assert b'action="/admin/logout/"' in client.get(path).content
    new = "another-s3cret"
    fields = {"old_password": "s3cret", "new_password1": new, "new_password2": new}
    answer = client.post(path, fields, follow=True)
    user.refresh_from_db()
    assert (answer.status_code, user.check_password(new)) == (200, True)
    assert b"Your password was changed." in answer.content


def test_a_page_without_permission_says_who_is_logged_in_and_lets_out(stranger):
    page = stranger.get(LIST, headers={"Accept": "text/html"}).content.decode()
    assert LACK in page
    assert "<strong>somebody</strong>" in page
    assert 'action="/admin/logout/"' in page


def test_a_reader_finds_all_of_the_files_and_links_to_nothing_else(reader, make_file):
    file = make_file("a.txt")
    for path in (LIST, "/admin/files/", f"{LIST}{file.pk}/change/", f"{LIST}{file.pk}/history/"):
        answer = reader.get(path)
        assert (path, answer.status_code) == (path, 200)
        assert b"/admin/auth/" not in answer.content
    assert reader.get("/admin/files/file").headers["Location"] == LIST
    assert reader.get("/admin/files/nothing/").status_code == 404


def addresses(patterns, start="/"):
    """Yield an address for each pattern, of what has the id 1."""
    for pattern in patterns:
        route = start + getattr(pattern.pattern, "_route", "")
        if hasattr(pattern, "url_patterns"):
            yield from addresses(pattern.url_patterns, route)
        else:
            yield re.sub("<.*?>", "1", route)


ADMIN = sorted({path for path in addresses(get_resolver().url_patterns) if "/admin/" in path})
ACCOUNT = {f"/admin/{name}/" for name in ("login", "logout", "password_change", "jsi18n")}
ACCOUNT |= {"/admin/password_change/done/"}


def test_each_address_of_the_admin_asks_somebody_unknown_to_log_in(client):
    for path in set(ADMIN) - {"/admin/login/"}:
        answer = client.get(path)
        assert (path, answer.status_code) == (path, 302)
        assert answer.headers["Location"] in {f"/admin/login/?next={path}", "/admin/"}


def test_no_other_address_of_the_admin_is_for_a_reader(reader):
    others = {path for path in ADMIN if not path.startswith("/admin/files/")} - ACCOUNT
    assert {"/admin/auth/user/", "/admin/auth/user/1/password/"} <= others
    for path in others - {"/admin/"}:
        for ask in (reader.get, reader.post):
            assert (path, ask(path).status_code) == (path, 403)


def test_a_reader_changes_nothing(reader, make_file):
    file = make_file("a.txt")
    own = {path.replace("/1/", f"/{file.pk}/") for path in ADMIN if path.startswith(LIST)}
    page = f"{LIST}{file.pk}/"
    shown = {f"{page}{name}/" for name in ("change", "history", "object", "preview")}
    reading = shown | {LIST, page, f"{LIST}folders/", f"{LIST}work/{file.pk}/"}
    undo = f"{LIST}work/{file.pk}/undo/"  # of work that nobody has done
    refused = {path: reader.post(path).status_code for path in own - reading}
    assert refused.pop(undo) == 302  # it says so
    assert {path for path, status in refused.items() if status != 403} == set()
    assert list(File.objects.values_list("object_key", "deleted_at")) == [("a.txt", None)]


def test_no_address_of_the_admin_but_the_accounts_is_for_a_stranger(stranger):
    found = {path for path in ADMIN if stranger.get(path).status_code != 403}
    assert found == ACCOUNT


def test_an_account_that_is_switched_off_is_let_in_nowhere(make_user, client):
    make_user("view_file", is_active=False)
    answer = Client().post("/login/", {"username": "somebody", "password": "s3cret"})
    assert (answer.status_code, "errornote" in answer.content.decode()) == (200, True)
