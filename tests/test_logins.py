"""Who guesses passwords is slowed down, and locks nobody else out."""

from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.db.models import F
from django.test import Client, RequestFactory

from project.addresses import client_address
from project.logins import network
from tests.responses import told
from tests.test_views import BROWSER

pytestmark = pytest.mark.django_db

HERE, THERE = "192.0.2.1", "198.51.100.7"
NEW = "n0body-guesses"
LOCKED = "Too many logins have failed: try again in 30 minutes, or ask an administrator."


@pytest.fixture
def log_in():
    """Try to log in at an address, and return the answer: 302 is a success, 200 a failure."""
    User.objects.create_user("somebody", password="s3cret")
    User.objects.create_user("attacker", password="s3cret")

    def log_in(name, password, address=HERE, path="/login/", **headers):
        fields = {"username": name, "password": password}
        return Client(headers=headers, REMOTE_ADDR=address).post(path, fields)

    return log_in


def statuses(log_in, names, *arguments):
    return [log_in(name, "wrong", *arguments).status_code for name in names]


@pytest.mark.parametrize("path", ["/login/", "/admin/login/"])
def test_ten_failures_lock_a_user_out_at_that_address(log_in, path):
    assert statuses(log_in, ["somebody"] * 10, HERE, path) == [200] * 9 + [429]
    answer = log_in("somebody", "s3cret", HERE, path)
    assert (answer.status_code, told(answer)) == (429, LOCKED)
    assert 1790 < int(answer.headers["Retry-After"]) <= 1800


def test_ten_guesses_of_the_old_password_lock_a_user_out_at_that_address(log_in):
    def change(old, address=HERE):
        client = Client(REMOTE_ADDR=address)
        client.force_login(User.objects.get(username="somebody"))
        fields = {"old_password": old, "new_password1": NEW, "new_password2": NEW}
        return client.post("/password_change/", fields)

    assert [change("wrong").status_code for _ in range(10)] == [200] * 9 + [429]
    answer = change("s3cret")
    assert (answer.status_code, told(answer)) == (429, LOCKED)
    assert log_in("somebody", NEW, THERE).status_code == 200  # it has not been changed
    assert change("s3cret", THERE).status_code == 302
    assert log_in("somebody", NEW, THERE).status_code == 302


def test_others_log_in_while_one_is_guessed(log_in):
    statuses(log_in, ["somebody"] * 200)
    assert log_in("somebody", "s3cret", THERE).status_code == 302
    assert log_in("attacker", "s3cret", HERE).status_code == 302


def test_a_hundred_failures_lock_an_address_out(log_in):
    assert statuses(log_in, map(str, range(100))) == [200] * 99 + [429]
    assert log_in("somebody", "s3cret").status_code == 429
    assert log_in("somebody", "s3cret", THERE).status_code == 302


def test_a_success_makes_no_failure_forgotten(log_in):
    statuses(log_in, ["somebody"] * 9)
    assert log_in("somebody", "s3cret").status_code == 302
    assert log_in("attacker", "s3cret").status_code == 302
    assert log_in("somebody", "wrong").status_code == 429


def test_a_lock_ends_half_an_hour_after_the_last_failure_that_counts(log_in):
    statuses(log_in, ["somebody"] * 15)
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=29.5))
    assert "try again in 1 minute," in told(log_in("somebody", "s3cret"))
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=0.5))
    assert statuses(log_in, ["somebody"] * 10) == [200] * 9 + [429]


def test_a_failure_that_is_over_is_deleted_by_the_next_login(log_in):
    statuses(log_in, ["somebody", "nobody"])
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=30))
    log_in("somebody", "s3cret", THERE)
    assert not AccessAttempt.objects.exists()


def test_a_row_for_each_user_keeps_nothing_of_the_form(log_in):
    for _ in range(20):
        log_in("somebody", "wrong", path="/login/?next=/secret/", user_agent="curl")
    (row,) = AccessAttempt.objects.values()
    assert row | {"id": 1, "attempt_time": None} == {
        "id": 1,
        "attempt_time": None,
        "failures_since_start": 10,
        "get_data": "",
        "http_accept": "<unknown>",
        "ip_address": HERE,
        "path_info": "/login/",
        "post_data": "",
        "user_agent": "curl",
        "username": "somebody",
    }


def test_a_browser_that_is_locked_out_gets_a_page(log_in):
    statuses(log_in, ["somebody"] * 10)
    answer = log_in("somebody", "s3cret", accept=BROWSER)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert LOCKED in answer.content.decode()
    assert b"<h1>Too many failed logins</h1>" in answer.content


def test_failures_are_in_the_log_with_the_address_and_without_what_was_typed(log_in, caplog):
    statuses(log_in, ["pass\nword"] * 2)
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    client = f'{{username: "********************", ip_address: "{HERE}", path_info: "/login/"}}'
    assert lines == [
        f"AXES: New login failure by {client}. Created new record in the database.",
        f"AXES: Repeated login failure by {client}. Updated existing record in the database.",
    ]


# Whose failures count together


def request(peer, forwarded=None):
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    return RequestFactory(headers=headers).get("/", REMOTE_ADDR=peer)


@pytest.mark.parametrize(
    ("proxies", "forwarded", "found"),
    [
        (0, "1.1.1.1", "9.9.9.9"),
        (1, None, "9.9.9.9"),
        (1, "1.1.1.1", "1.1.1.1"),
        (1, "6.6.6.6, 1.1.1.1", "1.1.1.1"),
        (2, "6.6.6.6,1.1.1.1 , 2.2.2.2", "1.1.1.1"),
        (2, "1.1.1.1", "9.9.9.9"),
        (1, "2001:db8::1", "2001:db8::1"),
        (1, "6.6.6.6, unknown", "9.9.9.9"),
        (1, ", ,", "9.9.9.9"),
    ],
)
def test_the_address_is_what_our_proxies_say(settings, proxies, forwarded, found):
    settings.TRUSTED_PROXIES = proxies
    assert client_address(request("9.9.9.9", forwarded)) == found


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::"),
        ("fe80::1%eth0", "fe80::"),
        ("", None),
    ],
)
def test_failures_count_by_address_and_in_ipv6_by_network(address, found):
    assert network(request(address)) == found


def test_a_client_of_no_address_is_locked_out_too(log_in):
    assert statuses(log_in, ["somebody"] * 10, "") == [200] * 9 + [429]
